"""Ring all-reduce: every rank ends with the sum of all ranks' vectors (Gibiansky 2017; Patarasuk and Yuan 2009).

         ┌──────────► rank 1 ──────────┐         N ranks, the vector cut into N segments.
      rank 0                        rank 2       Each step every rank sends one segment to its right
         └◄────────── rank 3 ◄─────────┘         and receives one from its left, all at the same time.

    reduce-scatter  k = 0 .. N-2    send segment r-k,   receive segment r-k-1 and add the own one to it
    all-gather      k = 0 .. N-2    send segment r+1-k, receive segment r-k and keep it         (all modulo N)

After the reduce-scatter rank r owns the finished segment r+1. Segment s was added up in the order of ranks s, s+1, ...,
s-1, another order for each segment, so the bits are not those of a plain sum over ranks. But they are the same bits on
every rank, because the all-gather only copies.

Cost, on uniform links with nothing else on them: 2(N-1) messages a rank and, with the longest segment,

    T = 2(N-1) (path latency + ceil(8 * segment bytes / bandwidth))

so the bytes a rank sends hardly depend on N, and the latency it pays grows with it. What is not here: the mean; this
adds up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np

from ringsim.collectives.cost import alpha_beta_ns
from ringsim.collectives.ring_times import ring_connections, ring_times
from ringsim.collectives.vectors import Blank, cut, join, same_bits, segment_bounds
from ringsim.node import Operation
from ringsim.plan import Seat, Times, Wires


@dataclass(frozen=True)
class RingAllReduce:
    """Sum a vector of any length over the group, element by element in ring order: float32, or float16.

    Each hop rounds to what the elements are. A receive that takes longer than `timeout_ns` (None: never) raises
    ReceiveTimeout. The result is read-only.
    """

    timeout_ns: int | None = None
    name: str = "ring_all_reduce"
    has_closed_form: ClassVar[bool] = True

    def messages(self, seat: Seat, buffer: Any) -> Operation[Any]:
        """Play it for one rank; `buffer` is its vector, or a Blank."""
        members, rank = seat.members, seat.rank
        ranks = len(members)
        left, right = members[rank - 1], members[(rank + 1) % ranks]
        segments = cut(buffer, ranks)
        timeout_ns, watching = self.timeout_ns, (right,)

        for step in range(2 * (ranks - 1)):
            # The all-gather goes on where the reduce-scatter has come to: one rule for both.
            outgoing, incoming = (rank - step) % ranks, (rank - step - 1) % ranks
            piece = segments[outgoing]
            seat.send(right, piece, piece.nbytes, step)
            message = yield from seat.receive(left, step, timeout_ns, watching)
            if step < ranks - 1:
                segments[incoming] = message.payload + segments[incoming]
            else:
                segments[incoming] = message.payload
        return join(segments)

    def connections(self, ranks: int) -> list[tuple[int, int]]:
        """Each rank's connection to its right."""
        return ring_connections(ranks)

    def times(self, buffer: Any, enter_ns: Sequence[int], wires: Wires, every_flight: bool) -> Times:
        """Return when all is done, by the recurrence of `ring_times.py`."""
        steps = range(2 * (len(enter_ns) - 1))
        return ring_times(steps, len(buffer), enter_ns, wires, every_flight, buffer.itemsize)

    def results(self, buffers: Sequence[Any]) -> list[Any]:
        """Return the sum in ring order: one read-only vector, which all ranks share."""
        return [sum_in_ring_order(buffers)] * len(buffers)

    def predicted_ns(self, ranks: int, size_bytes: int, alpha_ns: int, bandwidth: int) -> int:
        """Return 2(N-1) alpha + 2(N-1)/N S/B in ns (Patarasuk and Yuan 2009).

        >>> RingAllReduce().predicted_ns(ranks=4, size_bytes=1_000, alpha_ns=40_000, bandwidth=50_000_000)
        480000
        """
        return alpha_beta_ns(2 * (ranks - 1), Fraction(2 * (ranks - 1) * size_bytes, ranks), alpha_ns, bandwidth)

    def number_of_messages(self, ranks: int) -> int:
        """Return how many messages all ranks send together: 2N(N-1)."""
        return 2 * ranks * (ranks - 1)

    def disagreement(self, results: Sequence[Any]) -> str | None:
        """Say which rank got which segment wrong, and in which step: the first on the segment's way from its owner."""
        if all(same_bits(results[0], other) for other in results[1:]):
            return None
        ranks = len(results)
        bounds = segment_bounds(len(results[0]), ranks)
        for segment in range(ranks):
            here = slice(bounds[segment], bounds[segment + 1])
            owner = (segment - 1) % ranks
            for hop in range(1, ranks):
                rank = (owner + hop) % ranks
                if not same_bits(results[rank][here], results[owner][here]):
                    step = ranks - 2 + hop
                    return (
                        f"rank {rank} ended ring all-reduce with other bits in segment {segment} than rank {owner}, "
                        f"which summed it; it received that segment in step {step} (all-gather step {hop - 1})"
                    )
        raise AssertionError("the whole differs, so some segment does")


def sum_in_ring_order(buffers: Sequence[Any]) -> Any:
    """Return the sum in which segment s is added up in the order of ranks s, s+1, ..., s-1. It is read-only.

    >>> sum_in_ring_order([np.full(4, value, np.float32) for value in (1e8, 1, -1e8, 1)]).tolist()
    [1.0, 0.0, 1.0, 0.0]
    """
    ranks, length = len(buffers), len(buffers[0])
    if isinstance(buffers[0], Blank):
        return buffers[0]
    bounds = segment_bounds(length, ranks)
    total = np.empty(length, buffers[0].dtype)
    # Going through the ranks in order, rank r begins segment r and adds to those before it: they go on from r. Going
    # through them once more, it adds to the segments after it, which have come from the last rank to the first.
    for rank, buffer in enumerate(buffers):
        own, after = bounds[rank], bounds[rank + 1]
        np.add(total[:own], buffer[:own], out=total[:own])
        total[own:after] = buffer[own:after]
    for rank, buffer in enumerate(buffers):
        after = bounds[rank + 1]
        np.add(total[after:], buffer[after:], out=total[after:])
    total.flags.writeable = False
    return total
