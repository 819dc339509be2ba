"""The network: messages that travel on a graph of machines and switches as flows.

    node ──► connection ──► link ──► switch ──► link ──► node
             one message     └─ shared max-min fairly ─┘
             at a time

A message waits until those before it on its connection (source, destination, channel) have left, keeps the connection
busy for the per-message overhead, then flows over all links of its route at once (cut through); it arrives one path
latency after its last byte has left. Links are full duplex: each direction is a resource of its own.

What is not here: what a node does with a message (`node.py`, `seat.py`), how rates are worked out (`sharing.py`), the
graph and its routes (`topology/`), and what a transport adds to a message (`transport.py`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import simpy

from ringsim import seeds
from ringsim.node import Operation
from ringsim.scenario import Background, Host, Tcp
from ringsim.scenario import Network as Settings
from ringsim.topology import Routes, build
from ringsim.world.clock import Clock, Entry, Phase
from ringsim.world.mailbox import Channel
from ringsim.world.sharing import ENDLESS, NANO, Sharing, Task
from ringsim.world.transport import (
    SlowStart,
    acknowledgement_bytes,
    acknowledgement_weights,
    payload_bytes,
    wire_size_bytes,
)

if TYPE_CHECKING:
    import networkx

    Graph = networkx.DiGraph[str]

Link = tuple[str, str]

# A group's generation, and the number of a collective in it.
Conversation = tuple[int, int]

_NEVER = 1 << 62
_MILLION = 10**6


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
        "connection",
        "conversation",
        "done",
        "left_ns",
        "life",
        "moment",
        "number",
        "on_left",
        "payload",
        "sender",
        "since_ns",
        "size_bytes",
        "tag",
        "task",
    )

    daemon = False
    number: int  # of its connection's messages
    since_ns: int  # when its flow began
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
        self.left_ns = _NEVER  # as far as is known
        self.on_left: Callable[[], None] | None = None
        self.task: Task | None = None  # its flow, if it is not alone on its route
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
        connection = self.connection
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
        "slow_start",
        "source",
        "target",
    )

    def __init__(self, network: Network, source: Address, target: Address, channel: Channel, route: Route):
        self.network = network
        self.source = source
        self.target = target
        self.channel = channel
        self.route = route
        # Sender, receiver, channel: None, the connection outside of groups, comes first.
        self.order = (target.index, source.index, -1 if channel is None else channel)
        self.slow_start: SlowStart | None = None
        self.life = target.incarnation  # of the target, as the latest message is for it
        self.is_plain = False  # a message that is alone leaves after a time that is known beforehand
        self.durations: dict[int, int] = {}  # ... this, by its size in bytes
        self.queue: deque[Transfer] = deque()
        self.current: Transfer | None = None  # the latest that went on its way, until somebody sees that it has left
        self.free_ns = 0  # when the last byte of `current` leaves, as far as is known
        self.departure: Entry | None = None  # of `current`, if somebody must be told
        self.count = 0
        self.sent: dict[int, int] = {}  # how many messages went on their way and were not broken, by size
        self.broken: list[tuple[int, int]] = []  # of those that did not: bytes on the wire, and of payload
        self.lost_bytes = 0  # what left, and did not arrive

    def add(self, number: int, size_bytes: int) -> None:
        """Count messages that went on their way, and have left."""
        self.sent[size_bytes] = self.sent.get(size_bytes, 0) + number


@dataclass
class Traffic:
    """Bytes that left, counted per link direction and per node; background traffic is in `links` only."""

    links: dict[Link, int]
    wire: dict[str, int] = field(default_factory=dict)
    payload: dict[str, int] = field(default_factory=dict)
    messages: int = 0


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

    @property
    def loses(self) -> bool:
        return any(self.drop_ppm)


class Network:
    """The links and everything that is on its way."""

    def __init__(
        self,
        clock: Clock,
        sharing: Sharing,
        settings: Settings,
        hosts: Iterable[Host],
        extra: Iterable[Host],
        seed: int,
        landed: Callable[[Transfer], None],
        wire: Callable[[Transfer, int], None],
    ):
        """`landed(transfer)` is called at each arrival; `wire(transfer, change)` when a message goes on the wire (+1),
        and when it is taken off before it arrives (-1).
        """
        self.clock = clock
        self.settings = settings
        self._sharing = sharing
        self._seed = seed
        self.landed = landed
        self._wire = wire
        everybody = list(hosts)
        self.graph: Graph = build(settings, everybody, list(extra))
        self._routing = Routes(self.graph, everybody)
        self._resource: dict[Link, int] = {
            (end, to): sharing.resource(attributes["bandwidth"]) for end, to, attributes in self.graph.edges(data=True)
        }
        self._routes: dict[Link, Route] = {}
        self._connections: dict[tuple[str, int, str, Channel], Connection] = {}
        self._background = dict.fromkeys(self._resource, 0)
        self._background_tasks: dict[Task, Route] = {}
        # Resources that somebody must hear of before a flow begins there.
        self.claims: dict[int, Callable[[int], None]] = {}

    # --- routes and connections ---------------------------------------------------------------------------------------

    def route(self, source: str, target: str) -> Route:
        """Return the way from one host to another (the same host: its loopback link)."""
        route = self._routes.get((source, target))
        if route is None:
            route = self._routes[source, target] = self._find(source, target)
        return route

    def _find(self, source: str, target: str) -> Route:
        links = self._routing.links(source, target)
        attributes = [self.graph.edges[link] for link in links]
        weights = {self._resource[link]: 1 for link in links}
        back: tuple[Link, ...] = ()
        transport = self.settings.transport
        if isinstance(transport, Tcp) and transport.acknowledgement:
            back = self._routing.links(target, source)
            data, acknowledgement = acknowledgement_weights(transport)
            weights = dict.fromkeys(weights, data)
            for link in back:
                resource = self._resource[link]
                weights[resource] = weights.get(resource, 0) + acknowledgement
        return Route(
            resources=tuple(weights),
            weights=tuple(weights.values()) if back else None,
            links=links,
            back=back,
            latency_ns=sum(int(edge["latency_ns"]) for edge in attributes),
            capacity=min(int(edge["bandwidth"]) for edge in attributes),
            drop_ppm=tuple(int(edge["drop"]) for edge in attributes),
        )

    def latency_ns(self, source: str, target: str) -> int:
        """Return the path latency between two hosts."""
        return self.route(source, target).latency_ns

    def connection(self, source: Address, target: Address, channel: Channel) -> Connection:
        """Return the connection from a life of a node to a node."""
        key = (source.name, source.incarnation, target.name, channel)
        connection = self._connections.get(key)
        if connection is None:
            route = self.route(source.host, target.host)
            connection = self._connections[key] = Connection(self, source, target, channel, route)
            connection.slow_start = self._slow_start(connection)
            if connection.slow_start is None and not self.settings.message_overhead and not route.loses:
                connection.is_plain = True
        return connection

    def _slow_start(self, connection: Connection) -> SlowStart | None:
        transport, route = self.settings.transport, connection.route
        if not isinstance(transport, Tcp):
            return None
        back_ns = self.latency_ns(connection.target.host, connection.source.host)
        return SlowStart(transport, route.latency_ns + back_ns, route.capacity)

    def is_quiet(self, resources: Iterable[int]) -> bool:
        """Say whether no flow is on any of these resources."""
        return all(self._sharing.is_idle(resource) for resource in resources)

    def transmission_ns(self, connection: Connection, size_bytes: int) -> int:
        """Return how long a message keeps its connection busy, if nobody else is on its links."""
        duration_ns = connection.durations.get(size_bytes)
        if duration_ns is None:
            work = wire_size_bytes(self.settings.transport, size_bytes) * 8 * NANO
            duration_ns = int(self.settings.message_overhead) - (-work // connection.route.capacity)
            connection.durations[size_bytes] = duration_ns
        return duration_ns

    # --- sending ------------------------------------------------------------------------------------------------------

    def send(self, transfer: Transfer) -> None:
        """Queue a message on its connection."""
        connection = transfer.connection
        if self.claims:
            self.announce(connection.route.resources)
        connection.count += 1
        transfer.number = connection.count
        if connection.queue or connection.free_ns > self.clock.now_ns:
            connection.queue.append(transfer)
            self._watch_departure(connection)
        else:
            self._start(connection, transfer)

    def call_when_left(self, transfer: Transfer, call: Callable[[], None]) -> None:
        """Call `call` when the last byte of a message that has not left yet leaves."""
        transfer.on_left = call
        if transfer.connection.current is transfer:
            self._watch_departure(transfer.connection)

    def _start(self, connection: Connection, transfer: Transfer) -> None:
        connection.current, size_bytes = transfer, transfer.size_bytes
        connection.sent[size_bytes] = connection.sent.get(size_bytes, 0) + 1
        if connection.slow_start is not None and transfer.life != connection.life:
            # A peer that has restarted knows of no old connection.
            connection.life, connection.slow_start = transfer.life, self._slow_start(connection)
        self._wire(transfer, +1)
        if connection.is_plain and self._sharing.occupy(connection.route.resources, transfer):
            transfer.since_ns = self.clock.now_ns
            duration_ns = connection.durations.get(size_bytes)
            if duration_ns is None:
                duration_ns = self.transmission_ns(connection, size_bytes)
            left_ns = connection.free_ns = transfer.left_ns = transfer.since_ns + duration_ns
            arrival_ns = left_ns + connection.route.latency_ns
            self.clock.enter(transfer, arrival_ns, Phase.DELIVER, (connection.order, transfer.number))
            if connection.queue or transfer.on_left is not None:
                self._watch_departure(connection)
        elif self.settings.message_overhead:
            self._flow_later(connection, transfer, self.clock.now_ns + int(self.settings.message_overhead))
        else:
            self._flow(connection, transfer)

    def _flow(self, connection: Connection, transfer: Transfer) -> None:
        wire_bytes = wire_size_bytes(self.settings.transport, transfer.size_bytes)
        slow_start, now_ns = connection.slow_start, self.clock.now_ns
        if slow_start is not None:
            ready_ns = slow_start.ready_ns(now_ns)
            if ready_ns > now_ns:
                self._flow_later(connection, transfer, ready_ns)
                return
            wire_bytes = slow_start.take(now_ns, wire_bytes)
        if self.claims:
            self.announce(connection.route.resources)
        connection.free_ns = _NEVER
        transfer.task = self._task(transfer, wire_bytes)
        self._sharing.begin(transfer.task)

    def _task(self, transfer: Transfer, wire_bytes: int) -> Task:
        route, key = transfer.connection.route, transfer.key
        amount = wire_bytes * 8 * NANO
        return Task(amount, route.resources, Phase.DEPART, key, transfer.flow_ended, route.weights)

    def displaced(self, transfer: Transfer) -> Task:
        """A message was alone on its route, and is not any more: nobody knows now when it will have left."""
        connection = transfer.connection
        self.clock.cancel(transfer)
        self.clock.cancel(connection.departure)
        connection.free_ns = transfer.left_ns = _NEVER
        transfer.task = self._task(transfer, wire_size_bytes(self.settings.transport, transfer.size_bytes))
        transfer.task.since_ns = transfer.since_ns
        return transfer.task

    def flow_ended(self, transfer: Transfer) -> None:
        """The flow of a message has ended: it has left, or goes on in another round, or was lost."""
        connection, now_ns, slow_start = transfer.connection, self.clock.now_ns, transfer.connection.slow_start
        transfer.task = None
        if slow_start is not None:
            slow_start.ended(now_ns)
        if slow_start is not None and slow_start.has_more:
            self._flow(connection, transfer)
            return
        if slow_start is not None:
            slow_start.forget()
        if connection.route.loses and self._is_lost(transfer):
            self._flow_later(connection, transfer, now_ns + int(self.settings.resend_after))
        else:
            self._leaves(transfer, now_ns)
            self._departed(connection)

    def _flow_later(self, connection: Connection, transfer: Transfer, when_ns: int) -> None:
        connection.free_ns = _NEVER
        connection.departure = self.clock.at(
            when_ns, Phase.DEPART, transfer.key, lambda: self._flow(connection, transfer)
        )

    def _is_lost(self, transfer: Transfer) -> bool:
        """Draw whether a link loses a message whose last byte leaves now. What it has sent is sent, and is counted."""
        connection = transfer.connection
        name = (connection.source.name, connection.source.incarnation, connection.target.name)
        channel = -1 if connection.channel is None else connection.channel
        for position, ppm in enumerate(connection.route.drop_ppm):
            if not ppm:
                continue
            when = (transfer.number, self.clock.now_ns, position)
            if seeds.below(self._seed, "drop", *name, channel, *when, bound=_MILLION) < ppm:
                connection.lost_bytes += wire_size_bytes(self.settings.transport, transfer.size_bytes)
                return True
        return False

    def _leaves(self, transfer: Transfer, left_ns: int) -> None:
        connection = transfer.connection
        connection.free_ns = transfer.left_ns = left_ns
        self.clock.enter(
            transfer, left_ns + connection.route.latency_ns, Phase.DELIVER, (connection.order, transfer.number)
        )

    def _watch_departure(self, connection: Connection) -> None:
        """See to it that somebody is there when the current message leaves; one that is not alone is seen to."""
        if connection.free_ns < _NEVER and (connection.departure is None or connection.departure.done):
            key = (connection.order, connection.count)
            when_ns = max(connection.free_ns, self.clock.now_ns)
            connection.departure = self.clock.at(when_ns, Phase.DEPART, key, lambda: self._departed(connection))

    def _departed(self, connection: Connection) -> None:
        transfer, connection.current = connection.current, None
        if transfer is not None and transfer.on_left is not None:
            transfer.on_left()
        self._next(connection)

    def _next(self, connection: Connection) -> None:
        if connection.queue and connection.free_ns <= self.clock.now_ns:
            self._start(connection, connection.queue.popleft())

    def rewound(self, connections: Iterable[Connection]) -> Callable[[], None]:
        """Put aside what is now on these connections, while the clock is rewound; call what is returned afterwards."""
        every = list(connections)
        aside = [(one.current, one.queue, one.free_ns, one.departure) for one in every]
        for one in every:
            one.current, one.queue, one.free_ns, one.departure = None, deque(), 0, None

        def back() -> None:
            for one, (current, queue, free_ns, departure) in zip(every, aside, strict=True):
                if current is None and not queue:
                    one.free_ns = max(one.free_ns, free_ns)
                    continue
                assert not one.queue, "what is played again has left this connection by now"
                one.current, one.queue, one.free_ns, one.departure = current, queue, free_ns, departure

        return back

    # --- background traffic -------------------------------------------------------------------------------------------

    def background(self, flow: Background) -> Generator[Any, Any, None]:
        """One background flow, as a process of the world."""
        route = self.route(flow.source, flow.target)
        resources = route.resources
        if flow.rate is not None:
            resources = (*resources, self._sharing.resource(flow.rate))
        key = ((1 << 40, 0, 0), flow.source, flow.target)
        for begin_ns, end_ns in _spells(flow):
            yield self._at(begin_ns, key)
            if self.claims:
                self.announce(route.resources)
            weights = (
                None if route.weights is None else (*route.weights, *((route.weights[0],) * (flow.rate is not None)))
            )
            task = Task(ENDLESS, resources, Phase.DEPART, key, _nothing, weights)
            self._background_tasks[task] = route
            self._sharing.begin(task)
            if end_ns is None:
                return
            yield self._at(end_ns, key)
            self._end_background(task)

    def _at(self, when_ns: int, key: tuple[Any, ...]) -> Any:
        event = self.clock.event()
        self.clock.at(when_ns, Phase.WAKE, (1 << 40, *key[1:]), lambda: _succeed(event), daemon=True)
        return event

    def _end_background(self, task: Task) -> None:
        route = self._background_tasks.pop(task)
        passed_bytes = self._sharing.stop(task) // (8 * NANO)
        for link in route.links:
            self._background[link] += passed_bytes
        for link in route.back:
            self._background[link] += self._acknowledged(route, passed_bytes)

    @staticmethod
    def _acknowledged(route: Route, wire_bytes: int) -> int:
        """Return what the acknowledgements of so much data take on the way back."""
        assert isinstance(route.weights, tuple), "there is a way back"
        return wire_bytes * min(route.weights) // max(route.weights)

    def announce(self, resources: Iterable[int]) -> None:
        """A flow is about to begin on these resources."""
        for resource in resources:
            claim = self.claims.get(resource)
            if claim is not None:
                claim(resource)

    # --- ends ---------------------------------------------------------------------------------------------------------

    def kill(self, doomed: Callable[[Transfer], bool]) -> None:
        """Take every doomed message whose last byte has not left off the network; its handle never completes."""
        for connection in self._connections.values():
            if connection.queue:
                connection.queue = deque(transfer for transfer in connection.queue if not doomed(transfer))
            current = connection.current
            if current is not None and not current.has_left and doomed(current):
                self._break(connection, current)

    def _break(self, connection: Connection, transfer: Transfer) -> None:
        self.clock.cancel(connection.departure)
        self.clock.cancel(transfer)
        passed_bytes = 0
        if connection.slow_start is not None:
            passed_bytes = connection.slow_start.passed_bytes
            connection.slow_start.forget()
        if transfer.task is not None:
            passed_bytes += self._sharing.stop(transfer.task) // (8 * NANO)
        elif transfer.left_ns < _NEVER:
            # It was alone until now.
            self._sharing.vacate(connection.route.resources)
            elapsed_ns = self.clock.now_ns - transfer.since_ns
            passed_bytes = elapsed_ns * connection.route.capacity // (8 * NANO)
        whole = wire_size_bytes(self.settings.transport, transfer.size_bytes)
        passed_bytes = min(passed_bytes, whole)
        payload = payload_bytes(self.settings.transport, passed_bytes, transfer.size_bytes)
        connection.sent[transfer.size_bytes] -= 1
        connection.broken.append((passed_bytes, payload))
        self._wire(transfer, -1)
        connection.current = None
        connection.free_ns = self.clock.now_ns
        self._next(connection)

    def close_books(self) -> Traffic:
        """Count what messages still under way have sent so far, and return all that was sent."""
        self.kill(lambda _: True)
        for task in list(self._background_tasks):
            self._end_background(task)
        traffic = Traffic(dict(self._background))
        for connection in self._connections.values():
            self._add_up(connection, traffic)
        return traffic

    def _add_up(self, connection: Connection, traffic: Traffic) -> None:
        transport, sent, broken = self.settings.transport, connection.sent.items(), connection.broken
        source, target = connection.source.name, connection.target.name
        wire = sum(number * wire_size_bytes(transport, size) for size, number in sent) + connection.lost_bytes
        wire += sum(on_wire for on_wire, _ in broken)
        payload = sum(number * size for size, number in sent) + sum(of_payload for _, of_payload in broken)
        traffic.messages += sum(connection.sent.values())
        traffic.wire[source] = traffic.wire.get(source, 0) + wire
        traffic.payload[source] = traffic.payload.get(source, 0) + payload
        for link in connection.route.links:
            traffic.links[link] += wire
        if connection.route.back:
            back = sum(number * acknowledgement_bytes(transport, size) for size, number in sent)
            back += sum(self._acknowledged(connection.route, on_wire) for on_wire, _ in broken)
            traffic.wire[target] = traffic.wire.get(target, 0) + back
            for link in connection.route.back:
                traffic.links[link] += back


def _spells(flow: Background) -> Iterator[tuple[int, int | None]]:
    """Yield when a background flow begins and ends, again and again; None: never."""
    begin_ns = flow.start
    while flow.stop is None or begin_ns < flow.stop:
        if flow.burst is None:
            yield begin_ns, flow.stop
            return
        end_ns = begin_ns + flow.burst
        yield begin_ns, end_ns if flow.stop is None else min(end_ns, flow.stop)
        begin_ns = end_ns + (flow.pause or 0)


def _succeed(event: simpy.Event) -> None:
    event.succeed()


def _nothing() -> None:
    """A background flow has no end that anybody waits for."""
