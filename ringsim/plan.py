"""`Plan`: a collective, such as ring all-reduce, with its two faces; one file each under `collectives/`.

    messages    the truth: what each member sends and receives, one generator for each
    times       the same schedule in closed form: when everybody is done, if nothing else happens on the network

The world plays whichever it may (`world/stage.py`), and knows collectives by nothing else. What is not here: the
collectives.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from ringsim.node import Message, Operation, Sent

Nanoseconds = npt.NDArray[np.int64]


class Seat(Protocol):
    """One member's place in a collective: what its generator may use, and all it may use."""

    @property
    def rank(self) -> int: ...

    @property
    def members(self) -> tuple[str, ...]:
        """The names of the group, in rank order."""
        ...

    def send(self, to: str, payload: Any, size_bytes: int, tag: Any) -> Sent:
        """Queue a message to a member, in order after those before it. Does not wait."""
        ...

    def receive(
        self, source: str, tag: Any, timeout_ns: int | None = None, watching: Sequence[str] = ()
    ) -> Operation[Message]:
        """Wait for the message `tag` of this collective from `source`.

        `watching` are members whose loss ends the wait as well. Raises PeerLost, and ReceiveTimeout after `timeout_ns`.
        """
        ...


class Wires(Protocol):
    """What a closed form may know of the network: a connection between two ranks that nobody else uses."""

    def transmission_ns(self, source: int, target: int, size_bytes: int) -> int:
        """Return how long a message keeps its connection busy: the per-message overhead, then its bytes."""
        ...

    def latency_ns(self, source: int, target: int) -> int:
        """Return the path latency: a message arrives so long after its last byte has left."""
        ...

    def free_ns(self, source: int, target: int) -> int:
        """Return when the last message of the collective before will have left; 0 if there is none."""
        ...


class Flight(NamedTuple):
    """One message as a closed form tells it. `depart_ns`: it goes on the wire, its per-message overhead first."""

    source: int
    target: int
    size_bytes: int
    tag: Any
    depart_ns: int
    left_ns: int
    arrive_ns: int


class Parcels(NamedTuple):
    """`number` messages of one size on one connection."""

    source: int
    target: int
    size_bytes: int
    number: int


class Gaps(NamedTuple):
    """Ranks that were blocked from `begin_ns` to `end_ns` while no byte that they sent or awaited was on the wire."""

    ranks: npt.NDArray[np.int64]
    begin_ns: Nanoseconds
    end_ns: Nanoseconds


@dataclass(frozen=True)
class Times:
    """A collective in closed form. Ranks are indices into `finish_ns`.

    `left_ns` and `arrive_ns`: when the last message of each connection leaves, and arrives. `flights`: every message,
    if the closed form was asked for them, or if it needs the world to see that no two of them meet on a link
    (`may_meet`): where they do, the answer is wrong, and messages must be played.
    """

    finish_ns: Nanoseconds
    parcels: Sequence[Parcels]
    left_ns: Mapping[tuple[int, int], int]
    arrive_ns: Mapping[tuple[int, int], int]
    gaps: Sequence[Gaps] = ()
    flights: Sequence[Flight] = field(default=())
    may_meet: bool = False


class Plan(Protocol):
    """A collective."""

    @property
    def name(self) -> str:
        """What the trace calls it."""
        ...

    @property
    def timeout_ns(self) -> int | None:
        """How long a member waits for one message, or for one to leave, before it gives up; None: for ever."""
        ...

    def messages(self, seat: Seat, buffer: Any) -> Operation[Any]:
        """Play it message by message for one member; return that member's result."""
        ...

    @property
    def has_closed_form(self) -> bool:
        """Whether `times` can be asked.

        Not if a member can finish before the last has entered (a broadcast), or if its messages always meet (many to
        one). `connections` and `results` are asked by the world only if it can.
        """
        ...

    def connections(self, ranks: int) -> Iterable[tuple[int, int]]:
        """Return (source, target) of every connection it uses."""
        ...

    def times(self, buffer: Any, enter_ns: Sequence[int], wires: Wires, every_flight: bool) -> Times:
        """Return when all is done, given when each rank enters. `buffer`: any rank's; all have one size."""
        ...

    def results(self, buffers: Sequence[Any]) -> list[Any]:
        """Return what each rank ends with: the very bits that `messages` gives, without playing them."""
        ...

    def disagreement(self, results: Sequence[Any]) -> str | None:
        """Say in a sentence where the members' results (in rank order) differ though they must not, or None."""
        ...
