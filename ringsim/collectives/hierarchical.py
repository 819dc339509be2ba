"""Hierarchical all-reduce: first inside groups of ranks, then across them (Horovod's NCCLHierarchicalAllreduce).

    group 0      group 1            1  reduce-scatter inside each group: place p owns slice p+1 of the group's sum
    0 ─► 1       4 ─► 5             2  ring all-reduce of each slice across the groups: the ranks at place p
    ▲    ▼       ▲    ▼             3  all-gather inside each group
    3 ◄─ 2       7 ◄─ 6

For G groups of g ranks, on uniform links:

    T = 2(g-1) (path latency + S/g / bandwidth) + 2(G-1) (path latency + S/(gG) / bandwidth)

the bytes of one ring in 2(g-1) + 2(G-1) messages one after another instead of 2(gG-1), and of every rank's bytes
only 2(G-1)/(gG) S cross between groups. What is not here: which ranks are near each other (whoever makes the plan
knows).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np

from ringsim.collectives.all_gather import AllGather
from ringsim.collectives.cost import alpha_beta_ns
from ringsim.collectives.in_memory import play_in_memory
from ringsim.collectives.reduce_scatter import ReduceScatter
from ringsim.collectives.ring import RingAllReduce
from ringsim.collectives.rounds import Integers, Round, connections_of, messages_of, round_times
from ringsim.collectives.vectors import ELEMENT_BYTES, odd_one_out, segment_length
from ringsim.errors import UsageError
from ringsim.node import Message, Operation, Sent
from ringsim.plan import Seat, Times, Wires


@dataclass(frozen=True)
class Hierarchical:
    """Sum a float32 vector of any length inside groups of ranks, then across them.

    `groups` are tuples of ranks, all of one size, with every rank in one of them; otherwise UsageError. A receive that
    takes longer than `timeout_ns` (None: never) raises ReceiveTimeout. The result is read-only.

    >>> Hierarchical(((0, 1), (2,)))
    Traceback (most recent call last):
    ...
    ringsim.errors.UsageError: the groups of a hierarchical all-reduce have 2 and 1 ranks; they must have one size
    """

    groups: tuple[tuple[int, ...], ...]
    timeout_ns: int | None = None
    name: str = "hierarchical"
    has_closed_form: ClassVar[bool] = True

    def __post_init__(self) -> None:
        sizes = list(dict.fromkeys(map(len, self.groups)))
        if len(sizes) != 1 or sizes[0] == 0:
            listed = " and ".join(map(str, sizes)) or "no"
            raise UsageError(f"the groups of a hierarchical all-reduce have {listed} ranks; they must have one size")
        ranks = sorted(rank for group in self.groups for rank in group)
        if ranks != list(range(len(ranks))):
            raise UsageError(f"the groups of a hierarchical all-reduce hold ranks {ranks}; each must be there once")

    def messages(self, seat: Seat, buffer: Any) -> Operation[Any]:
        """Play it for one rank; `buffer` is its float32 vector, or a Blank."""
        self._check(len(seat.members))
        group = next(group for group in self.groups if seat.rank in group)
        across = tuple(other[group.index(seat.rank)] for other in self.groups)
        inner, outer = _Part(seat, group, "inside"), _Part(seat, across, "across")

        _, piece = yield from ReduceScatter(self.timeout_ns).messages(inner, buffer)
        piece = yield from RingAllReduce(self.timeout_ns).messages(outer, piece)
        return (yield from AllGather(len(buffer), self.timeout_ns).messages(inner, piece))

    def _check(self, ranks: int) -> None:
        expected = sum(map(len, self.groups))
        if ranks != expected:
            raise UsageError(f"a hierarchical all-reduce on {ranks} ranks has groups for {expected}")

    def rounds(self, length: int) -> list[Round]:
        """Return its rounds: all groups do theirs at once.

        >>> [(one.tag, one.targets.tolist()) for one in Hierarchical(((0, 1), (2, 3))).rounds(8)][:2]
        [(('inside', 0), [1, 0, 3, 2]), (('across', 0), [2, 0, 3, 1])]
        """
        inside = np.array(self.groups)
        groups, size = inside.shape
        whole = np.full(groups, length)
        slices = np.array([segment_length(length, size, (place + 1) % size) for place in range(size)])
        return [
            *_ring_rounds("inside", range(size - 1), inside, whole),
            *_ring_rounds("across", range(2 * (groups - 1)), inside.T, slices),
            *_ring_rounds("inside", range(size - 1, 2 * (size - 1)), inside, whole),
        ]

    def connections(self, ranks: int) -> list[tuple[int, int]]:
        """Each rank's connection to its right in the group, and to its right across the groups."""
        self._check(ranks)
        return connections_of(self.rounds(0), ranks)

    def times(self, buffer: Any, enter_ns: Sequence[int], wires: Wires, every_flight: bool) -> Times:
        """Return when all is done, round by round, and always every flight."""
        return round_times(self.rounds(len(buffer)), enter_ns, wires)

    def results(self, buffers: Sequence[Any]) -> list[Any]:
        """Return the total of each rank, read-only."""
        return play_in_memory(self, buffers)

    def predicted_ns(self, ranks: int, size_bytes: int, alpha_ns: int, bandwidth: int) -> int:
        """Return 2(g-1) (alpha + S/g/B) + 2(G-1) (alpha + S/(gG)/B) in ns: the sum of its three rings.

        >>> plan = Hierarchical(((0, 1), (2, 3)))
        >>> plan.predicted_ns(ranks=4, size_bytes=1_000, alpha_ns=40_000, bandwidth=50_000_000)
        400000
        """
        size, groups = len(self.groups[0]), len(self.groups)
        volume = Fraction(2 * (size - 1), size) + Fraction(2 * (groups - 1), ranks)
        return alpha_beta_ns(2 * (size - 1) + 2 * (groups - 1), volume * size_bytes, alpha_ns, bandwidth)

    def number_of_messages(self, ranks: int) -> int:
        """Return how many messages all ranks send together: those of all rounds."""
        return messages_of(self.rounds(0))

    def disagreement(self, results: Sequence[Any]) -> str | None:
        """Say which rank ended with other bits than rank 0."""
        return odd_one_out("hierarchical all-reduce", results)


@dataclass(frozen=True)
class _Part:
    """A seat among some of the ranks, whose tags say among which. Implements `ringsim.plan.Seat`."""

    seat: Seat
    ranks: tuple[int, ...]
    where: str

    @property
    def rank(self) -> int:
        return self.ranks.index(self.seat.rank)

    @property
    def members(self) -> tuple[str, ...]:
        return tuple(self.seat.members[rank] for rank in self.ranks)

    def send(self, to: str, payload: Any, size_bytes: int, tag: Any) -> Sent:
        return self.seat.send(to, payload, size_bytes, (self.where, tag))

    def receive(
        self, source: str, tag: Any, timeout_ns: int | None = None, watching: Sequence[str] = ()
    ) -> Operation[Message]:
        return self.seat.receive(source, (self.where, tag), timeout_ns, watching)


def _ring_rounds(where: str, steps: range, rings: Integers, lengths: Integers) -> list[Round]:
    """Return the steps of several rings at once, one in each row, each over a vector of its own length."""
    size = rings.shape[1]
    right = np.roll(rings, -1, axis=1)
    shortest, longer = (column[:, None] for column in divmod(lengths, size))
    rounds = []
    for step in steps:
        segment = (np.arange(size) - step) % size
        size_bytes = ELEMENT_BYTES * (shortest + (segment < longer))
        rounds.append(Round((where, step), rings.ravel(), right.ravel(), size_bytes.ravel(), waits=False))
    return rounds
