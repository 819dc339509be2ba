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

import numpy as np
import numpy.typing as npt

from ringsim.node import Operation
from ringsim.plan import Seat

Vector = npt.NDArray[np.float32]


def segment_bounds(length: int, ranks: int) -> list[int]:
    """Return where the segments begin and end: `ranks` + 1 offsets; the first `length` mod `ranks` are one longer.

    >>> segment_bounds(10, 4)
    [0, 3, 6, 8, 10]
    """
    shortest, longer = divmod(length, ranks)
    return [rank * shortest + min(rank, longer) for rank in range(ranks + 1)]


@dataclass(frozen=True)
class RingAllReduce:
    """Sum a float32 vector of any length over the group, element by element in ring order.

    A receive that takes longer than `timeout_ns` (None: never) raises ReceiveTimeout. The result is read-only.
    """

    timeout_ns: int | None = None
    name: str = "ring_all_reduce"

    def messages(self, seat: Seat, buffer: Vector) -> Operation[Vector]:
        """Play it for one rank; `buffer` is its float32 vector."""
        members, rank = seat.members, seat.rank
        ranks = len(members)
        left, right = members[rank - 1], members[(rank + 1) % ranks]
        segments = _cut(buffer, ranks)

        for step in range(2 * (ranks - 1)):
            outgoing, incoming = self.segments_at(step, rank, ranks)
            seat.send(right, segments[outgoing], segments[outgoing].nbytes, tag=step)
            message = yield from seat.receive(left, tag=step, timeout_ns=self.timeout_ns, watching=[right])
            if step < ranks - 1:
                segments[incoming] = message.payload + segments[incoming]
            else:
                segments[incoming] = message.payload

        result: Vector = np.concatenate(segments)
        result.flags.writeable = False
        return result

    @staticmethod
    def segments_at(step: int, rank: int, ranks: int) -> tuple[int, int]:
        """Return which segment `rank` sends and which it receives in `step` (0 to 2(N-1) - 1).

        >>> [RingAllReduce.segments_at(step, 0, 3) for step in range(4)]
        [(0, 2), (2, 1), (1, 0), (0, 2)]
        """
        # The all-gather goes on where the reduce-scatter has come to: one rule for both.
        return (rank - step) % ranks, (rank - step - 1) % ranks

    def disagreement(self, results: Sequence[Vector]) -> str | None:
        """Say which rank got which segment wrong, and in which step: the first on the segment's way from its owner."""
        if all(np.array_equal(_bits(results[0]), _bits(other)) for other in results[1:]):
            return None
        ranks = len(results)
        bounds = segment_bounds(len(results[0]), ranks)
        for segment in range(ranks):
            here = slice(bounds[segment], bounds[segment + 1])
            owner = (segment - 1) % ranks
            for hop in range(1, ranks):
                rank = (owner + hop) % ranks
                if not np.array_equal(_bits(results[rank][here]), _bits(results[owner][here])):
                    step = ranks - 2 + hop
                    return (
                        f"rank {rank} ended ring all-reduce with other bits in segment {segment} than rank {owner}, "
                        f"which summed it; it received that segment in step {step} (all-gather step {hop - 1})"
                    )
        raise AssertionError("the whole differs, so some segment does")


def _cut(vector: Vector, ranks: int) -> list[Vector]:
    bounds = segment_bounds(len(vector), ranks)
    return [vector[bounds[rank] : bounds[rank + 1]] for rank in range(ranks)]


def _bits(vector: Vector) -> npt.NDArray[np.uint32]:
    # As integers, because NaN differs from itself and 0.0 equals -0.0.
    return np.ascontiguousarray(vector).view(np.uint32)
