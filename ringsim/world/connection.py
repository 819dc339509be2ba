"""Connections and the messages on them: who sends what to whom, on which route, and how far it has come.

    connection   from one life of a node to another node, on one channel: messages in order, one at a time
    transfer     one message: queued, on its way, left, arrived, or broken
    route        the link directions between two machines, and what is the same for every message on them

Plain state, which `network.py` moves on. What is not here: when a message leaves and arrives.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ringsim.node import Operation
from ringsim.world.clock import Entry, Phase
from ringsim.world.mailbox import Channel
from ringsim.world.sharing import Task
from ringsim.world.transport import Window

if TYPE_CHECKING:
    from ringsim.world.network import Network

Link = tuple[str, str]

# A group's generation, and the number of a collective in it.
Conversation = tuple[int, int]

NEVER = 1 << 62


@dataclass(frozen=True, slots=True)
class Address:
    """One life of one node, and the machine it lives on. `index` is its place in the canonical order."""

    index: int
    name: str
    host: str
    incarnation: int


class Sender(Protocol):
    """Who sends: a node, or its seat in a collective."""

    def wait_until_left(self, transfer: Transfer, timeout_ns: int | None) -> Operation[None]: ...


class Transfer:
    """A message on its way, and the sender's handle of it. It stands in the agenda as its own arrival.

    `life` is the incarnation of the target that it is for; `conversation` says which collective it belongs to: the
    group's generation, and the number of the collective in it.
    """

    __slots__ = (
        "after_ns",
        "connection",
        "conversation",
        "done",
        "is_wrong",
        "left_ns",
        "life",
        "moment",
        "number",
        "on_left",
        "passed",
        "payload",
        "rest",
        "sender",
        "since_ns",
        "size_bytes",
        "tag",
        "task",
    )

    daemon = False
    number: int  # of its connection's messages
    since_ns: int  # when its flow began
    after_ns: int  # when those before it on its connection have arrived
    moment: int

    def __init__(
        self,
        connection: Connection,
        sender: Sender,
        payload: Any,
        size_bytes: int,
        tag: Any,
        life: int,
        conversation: Conversation | None = None,
    ):
        self.connection = connection
        self.sender = sender
        self.payload = payload
        self.size_bytes = size_bytes
        self.tag = tag
        self.life = life
        self.conversation = conversation
        self.left_ns = NEVER  # as far as is known
        self.on_left: Callable[[], None] | None = None
        self.task: Task | None = None  # its flow, if it is not alone on its route
        self.is_wrong = False  # a bit of it was flipped, and nobody has noticed
        self.passed = 0  # of the present chunk, in 1e-9 bit, before its flow was held up
        self.rest: int | None = None  # ... and what is left of the chunk, while it is
        self.done = True

    def sent(self, timeout_ns: int | None = None) -> Operation[None]:
        """Wait until the last byte has left."""
        return self.sender.wait_until_left(self, timeout_ns)

    @property
    def has_left(self) -> bool:
        return self.connection.network.clock.has_passed(self.left_ns, Phase.DEPART)

    @property
    def key(self) -> tuple[Any, ...]:
        return (self.connection.order, self.number)

    def action(self) -> None:
        """It arrives."""
        connection, size_bytes = self.connection, self.size_bytes
        connection.arrived[size_bytes] = connection.arrived.get(size_bytes, 0) + 1
        if connection.current is self:
            connection.current = None
        connection.network.landed(self)

    def displaced(self) -> Task:
        """Another flow comes to its route."""
        return self.connection.network.displaced(self)

    def flow_ended(self) -> None:
        """Its flow, which was not alone, has ended."""
        self.connection.network.flow_ended(self)


class Connection:
    """From one life of a node to another node, on one channel: messages in order, one at a time."""

    __slots__ = (
        "arrived",
        "arrives_ns",
        "broken",
        "channel",
        "count",
        "current",
        "departure",
        "durations",
        "free_ns",
        "is_plain",
        "life",
        "lost_bytes",
        "network",
        "order",
        "queue",
        "route",
        "sent",
        "source",
        "target",
        "thrown_away",
        "window",
    )

    def __init__(
        self, network: Network, source: Address, target: Address, channel: Channel, route: Route, window: Window
    ):
        self.network = network
        self.source = source
        self.target = target
        self.channel = channel
        self.route = route
        # Sender, receiver, channel: None, the connection outside of groups, comes first.
        self.order = (target.index, source.index, -1 if channel is None else channel)
        self.window = window
        self.life = target.incarnation  # of the target, as the latest message is for it
        self.is_plain = False  # a message that is alone leaves after a time that is known beforehand
        self.durations: dict[int, int] = {}  # ... this, by its size in bytes
        self.queue: deque[Transfer] = deque()
        self.current: Transfer | None = None  # the latest that went on its way, until it arrives
        self.free_ns = 0  # when the last byte of `current` leaves, as far as is known
        self.arrives_ns = 0  # when the latest that has left arrives: nothing arrives before it
        self.departure: Entry | None = None  # of `current`, if somebody must be told
        self.count = 0
        self.sent: dict[int, int] = {}  # how many messages went on their way and were not broken, by size
        self.broken: list[tuple[int, int]] = []  # of those that did not: bytes on the wire, and of payload
        self.lost_bytes = 0  # what left, and did not arrive
        self.arrived: dict[int, int] = {}  # how many messages have arrived, by size
        self.thrown_away: dict[int, int] = {}  # ... of these, where nobody was left to take them

    def add(self, number: int, size_bytes: int, *, is_numbered: bool = False) -> None:
        """Count messages that went on their way, and have arrived."""
        if not is_numbered:
            self.count += number  # The draws of later ones are by their numbers, however these were played.
        self.sent[size_bytes] = self.sent.get(size_bytes, 0) + number
        self.arrived[size_bytes] = self.arrived.get(size_bytes, 0) + number

    def throw_away(self, size_bytes: int) -> None:
        """Count a message that has arrived, and that nobody takes."""
        self.thrown_away[size_bytes] = self.thrown_away.get(size_bytes, 0) + 1


@dataclass(frozen=True, slots=True)
class Route:
    """The resources a flow takes, the links they belong to, and the sum of their latencies.

    weights: how much it takes of each resource, where acknowledgements go back on `back`; else it takes as much of all.
    """

    resources: tuple[int, ...]
    weights: tuple[int, ...] | None
    links: tuple[Link, ...]
    back: tuple[Link, ...]
    latency_ns: int
    capacity: int
    drop_ppm: tuple[int, ...]
    corrupt_ppm: tuple[tuple[int, int], ...] = ()  # by link: of all messages, and of those that a checksum finds
    is_open: bool = True  # something can pass

    @property
    def loses(self) -> bool:
        return any(self.drop_ppm) or bool(self.corrupt_ppm)
