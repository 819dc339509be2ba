"""All-reduce by recursive halving and doubling (Rabenseifner 2004; Thakur, Rabenseifner and Gropp 2005).

    halving     0 ◄─────────► 2    distance 2: exchange halves,       doubling: the same exchanges backwards, in
                1 ◄─────────► 3                keep and add one       which everybody copies what it lacks
                0 ◄► 1   2 ◄► 3    distance 1: exchange quarters

    fold        rank P+i sends its whole vector to rank i, which adds it          P: the power of two at or below N
    halving     d = P/2, P/4, .., 1    exchange with rank r xor d: who lacks the bit d keeps the lower half of its part
    doubling    d = 1, 2, .., P/2      exchange parts with rank r xor d: who lacks the bit d holds the lower one
    unfold      rank i sends the whole sum to rank P+i

In an exchange a rank sends, receives its partner's message, and waits until its own last byte has left. An element is
summed over a tree of halves: the folded vectors, then those P/2 apart, then P/4, ...; addition of two floats commutes,
so the order is the same for every part, and it is that of the binomial tree. Cost, on uniform links and with N a power
of two:

    T = 2 log2(N) path latency + 2 (N-1)/N S / bandwidth

the bytes of the ring with the latency of a tree. Fold and unfold add path latency + S / bandwidth each; on a star the
fold takes longer, because a rank that waits for none sends its first half at once, on the downlink of its partner's
fold. What is not here: topologies on which exchanges over long distances share links (the network knows).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np

from ringsim.collectives.cost import alpha_beta_ns
from ringsim.collectives.in_memory import play_in_memory
from ringsim.collectives.rounds import Integers, Round, connections_of, exchange, messages_of, round_times
from ringsim.collectives.vectors import ELEMENT_BYTES, join, odd_one_out, segment_bounds
from ringsim.node import Operation
from ringsim.plan import Seat, Times, Wires


def power_of_two_within(ranks: int) -> int:
    """Return the largest power of two that is not above `ranks`.

    >>> [power_of_two_within(ranks) for ranks in (1, 2, 3, 7, 8)]
    [1, 2, 2, 4, 8]
    """
    return 1 << (ranks.bit_length() - 1)


@dataclass(frozen=True)
class HalvingDoubling:
    """Sum a float32 vector of any length over a group of any size by recursive halving and doubling.

    A wait that takes longer than `timeout_ns` (None: never) raises ReceiveTimeout. The result is read-only.
    """

    timeout_ns: int | None = None
    name: str = "halving_doubling"
    has_closed_form: ClassVar[bool] = True

    def messages(self, seat: Seat, buffer: Any) -> Operation[Any]:
        """Play it for one rank; `buffer` is its float32 vector, or a Blank."""
        members, rank = seat.members, seat.rank
        inner = power_of_two_within(len(members))
        part = buffer[:]
        if rank >= inner:
            return (yield from self._outside(seat, members[rank - inner], part))
        folded = members[rank + inner] if rank + inner < len(members) else None
        if folded is not None:
            message = yield from seat.receive(folded, tag="fold", timeout_ns=self.timeout_ns)
            part = part + message.payload

        bounds = segment_bounds(len(buffer), inner)
        first = 0  # of the segments in `part`, which are 2 * distance before an exchange, and half of them after it
        for distance in _halvings(inner):
            middle = bounds[first + distance] - bounds[first]
            lower, upper = part[:middle], part[middle:]
            has_bit = bool(rank & distance)
            kept, given = (upper, lower) if has_bit else (lower, upper)
            partner = members[rank ^ distance]
            part = kept + (yield from exchange(seat, partner, given, ("halve", distance), self.timeout_ns))
            first += distance * has_bit

        for distance in reversed(_halvings(inner)):
            partner = members[rank ^ distance]
            other = yield from exchange(seat, partner, part, ("double", distance), self.timeout_ns)
            part = join([other, part] if rank & distance else [part, other])

        total = join([part])
        if folded is not None:
            sending = seat.send(folded, total, total.nbytes, tag="unfold")
            yield from sending.sent(self.timeout_ns)
        return total

    def _outside(self, seat: Seat, partner: str, own: Any) -> Operation[Any]:
        """Play it for a rank above the power of two: give all away, and wait for the sum."""
        sending = seat.send(partner, own, own.nbytes, tag="fold")
        yield from sending.sent(self.timeout_ns)
        message = yield from seat.receive(partner, tag="unfold", timeout_ns=self.timeout_ns)
        return message.payload

    @staticmethod
    def rounds(ranks: int, length: int) -> list[Round]:
        """Return its rounds.

        >>> [(one.tag, one.targets.tolist(), one.size_bytes.tolist()) for one in HalvingDoubling.rounds(2, 3)]
        [(('halve', 1), [1, 0], [4, 8]), (('double', 1), [1, 0], [8, 4])]
        """
        inner = power_of_two_within(ranks)
        inside, outside = np.arange(inner), np.arange(inner, ranks)
        offsets = ELEMENT_BYTES * np.array(segment_bounds(length, inner))

        def part_bytes(rank: Integers, segments: int) -> Integers:
            """Return the size of the part of so many segments that a rank's own segment is in."""
            first = rank - rank % segments
            size_bytes: Integers = offsets[first + segments] - offsets[first]
            return size_bytes

        whole_bytes = np.full(len(outside), ELEMENT_BYTES * length)
        fold = Round("fold", outside, outside - inner, whole_bytes)
        unfold = Round("unfold", outside - inner, outside, whole_bytes)
        # A rank gives away the half in which its partner's segment is, and gets it back finished.
        halving = [Round(("halve", d), inside, inside ^ d, part_bytes(inside ^ d, d)) for d in _halvings(inner)]
        doubling = [Round(("double", d), inside, inside ^ d, part_bytes(inside, d)) for d in reversed(_halvings(inner))]
        exchanges = halving + doubling
        return [fold, *exchanges, unfold] if ranks > inner else exchanges

    def connections(self, ranks: int) -> list[tuple[int, int]]:
        """Every exchange, both ways."""
        return connections_of(self.rounds(ranks, 0), ranks)

    def times(self, buffer: Any, enter_ns: Sequence[int], wires: Wires, every_flight: bool) -> Times:
        """Return when all is done, round by round, and always every flight."""
        return round_times(self.rounds(len(enter_ns), len(buffer)), enter_ns, wires)

    def results(self, buffers: Sequence[Any]) -> list[Any]:
        """Return the total of each rank, read-only."""
        return play_in_memory(self, buffers)

    def predicted_ns(self, ranks: int, size_bytes: int, alpha_ns: int, bandwidth: int) -> int:
        """Return 2 log2 P alpha + 2(P-1)/P S/B in ns, and 2 (alpha + S/B) more if N is not P (Thakur et al. 2005).

        >>> HalvingDoubling().predicted_ns(ranks=4, size_bytes=1_000, alpha_ns=40_000, bandwidth=50_000_000)
        400000
        """
        inner = power_of_two_within(ranks)
        foldings = 2 * (ranks > inner)
        volume = Fraction(2 * (inner - 1) * size_bytes, inner) + foldings * size_bytes
        return alpha_beta_ns(2 * len(_halvings(inner)) + foldings, volume, alpha_ns, bandwidth)

    def number_of_messages(self, ranks: int) -> int:
        """Return how many messages all ranks send together: those of all rounds."""
        return messages_of(self.rounds(ranks, 0))

    def disagreement(self, results: Sequence[Any]) -> str | None:
        """Say which rank ended with other bits than rank 0."""
        return odd_one_out("halving-doubling", results)


def _halvings(inner: int) -> list[int]:
    """Return the distances of the halving, the longest first.

    >>> _halvings(8), _halvings(1)
    ([4, 2, 1], [])
    """
    return [1 << k for k in reversed(range(inner.bit_length() - 1))]
