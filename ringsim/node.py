"""`Node`: everything a strategy can ask of the machine it runs on; it knows the world by nothing else.

The simulated world is one implementation (`world/node.py`); real processes can be another, whose operations simply
block. So there is no clock here: a strategy that branched on the time could not run for real. What is not here: how
messages travel (`world/network.py`), or what a strategy does with them (`strategies/`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from ringsim.plan import Plan

T = TypeVar("T")

# What a strategy yields is the world's business; what it gets back from `yield from` is T.
Operation = Generator[Any, Any, T]


class Member(NamedTuple):
    """One rank of a group: a node, and which life of it (0 until it first restarts)."""

    name: str
    incarnation: int


@dataclass(frozen=True)
class Group:
    """Who takes part, in rank order. A re-formed group has a higher `generation`; nothing of an older one reaches it.

    >>> Group(0, (Member("node0", 0), Member("node1", 0))).names
    ('node0', 'node1')
    """

    generation: int
    members: tuple[Member, ...]

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        # Every member looks its group up: that of a thousand would be hashed a thousand times.
        return hash((self.generation, self.members))

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(member.name for member in self.members)

    @cached_property
    def ranks(self) -> dict[str, int]:
        """Each member's rank, by name."""
        return {name: rank for rank, name in enumerate(self.names)}


class Message(NamedTuple):
    """What `receive` returns. `size_bytes` is what was charged to the network, whatever `payload` is."""

    source: str
    incarnation: int
    tag: Any
    payload: Any
    size_bytes: int


class Sent(Protocol):
    """The handle of a message under way."""

    def sent(self, timeout_ns: int | None = None) -> Operation[None]:
        """Wait until the last byte has left. Raises PeerLost, or ReceiveTimeout after `timeout_ns`."""
        ...


class Started(Protocol):
    """The handle of a collective under way."""

    def result(self) -> Operation[Any]:
        """Wait until it is done, and return its result. Raises what `Node.collective` raises."""
        ...


class Node(Protocol):
    """The machine under a strategy: one rank, which does one thing at a time."""

    name: str
    incarnation: int

    @property
    def group(self) -> Group:
        """The group this node has joined."""
        ...

    @property
    def rank(self) -> int:
        """This node's place in its group."""
        ...

    @property
    def members(self) -> tuple[str, ...]:
        """The names of the group, in rank order."""
        ...

    def join(self, group: Group) -> None:
        """Take part in `group` from now on; messages of older generations are thrown away."""
        ...

    def compute(self, flop: int, continues: bool = False) -> Operation[None]:
        """Work for as long as `flop` floating-point operations take here.

        `continues`: it is another part of the computation before, as fast or slow as that was drawn to be.
        """
        ...

    def send(self, to: str, payload: Any, size_bytes: int, tag: Any) -> Sent:
        """Queue a message on the connection to `to`. Does not wait; messages on one connection travel in order."""
        ...

    def receive(
        self,
        source: str | None = None,
        tag: Any = None,
        timeout_ns: int | None = None,
        watching: Sequence[str] = (),
        expecting: Sequence[str] = (),
    ) -> Operation[Message]:
        """Wait for a message from `source` (None: anybody) with `tag` (None: any).

        `watching` are peers whose loss ends the wait as well, such as one we are sending to. `expecting` only names,
        for the sentence of a run that stalls, those without whom it cannot go on.

        Raises PeerLost when the connection to `source` is broken and nothing that came before is left to read (with
        None: once for each peer, between the messages that came before and those that came after); ReceiveTimeout
        after `timeout_ns`. A message beats a timeout at the same instant.
        """
        ...

    def poll(self, source: str | None = None, tag: Any = None) -> Message | None:
        """Return a message that has already come, or None. Never waits."""
        ...

    def has_lost(self, peer: str) -> bool:
        """Say whether the connection to `peer` is known to be broken: a receive from it would raise. Never waits."""
        ...

    def beat(self, peers: Sequence[Member], interval_ns: int) -> None:
        """Send a heartbeat to each of `peers` now and every `interval_ns` from now on, on connections of their own.

        Calling it again replaces `peers`. They end with this life, and with its program. This node itself is left out.
        """
        ...

    def watch(self, peers: Sequence[Member], timeout_ns: int) -> None:
        """Take a life of a peer for lost when no heartbeat of it has come for `timeout_ns`, counted from now at first.

        It is as if a reset had come, though it may be alive: whoever waits for it gets Suspected, a PeerLost, in
        collectives too. Outside of them the next message, either way, makes a new connection. Calling it again
        replaces `peers`.
        """
        ...

    def tell_lost(self, to: Member, lost: Member) -> None:
        """Let `to` take `lost` for lost as well, as soon as a message has told it. Does not wait."""
        ...

    def collective(self, plan: Plan, buffer: Any) -> Operation[Any]:
        """Play `plan` with the group and return its result.

        If it raises, this node is out of the group and has closed the group's connections, so that the others learn of
        it one path latency later, hop by hop.
        """
        ...

    def start(self, plan: Plan, buffer: Any) -> Started:
        """Begin to play `plan` and go on meanwhile; what is started later is played after it.

        Once one has failed, this node is out of the group: what else was started, or is yet, fails of the same.
        """
        ...

    def sleep(self, duration_ns: int) -> Operation[None]:
        """Wait."""
        ...

    def save(self, name: str, payload: Any, size_bytes: int, token: int = 0) -> Operation[None]:
        """Put `payload` into the store that all machines share, in place of what is saved under `name`.

        Nothing replaces what was saved with a higher `token` (a fencing token): who was given up and goes on later,
        with that of an earlier generation, does no harm.

        Waits until all of it is there. If this node dies before, the version before stands.
        """
        ...

    def load(self, name: str) -> Operation[Any]:
        """Return what was saved last under `name`, by whichever node; None if nothing was."""
        ...

    def begin_step(self, step: int, **fields: Any) -> None:
        """Say that training step `step` (the one after update `step`) begins; `fields` go to the trace."""
        ...

    def random(self, *name: str | int) -> int:
        """Return 64 random bits of this node's own stream called `name`."""
        ...

    def record(self, kind: str, **fields: Any) -> None:
        """Write an event to the trace, at this instant, under this node's name."""
        ...


@dataclass(frozen=True)
class Program:
    """What one node runs: `run(node)` is started once, and anew after a restart of its machine if `restarts`.

    The run is over when no worker's program runs any more; helpers (a server, a rendezvous) do not keep it going.
    """

    node: str
    run: Callable[[Node], Operation[Any]]
    worker: bool = True
    restarts: bool = False
