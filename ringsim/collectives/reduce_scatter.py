"""Reduce-scatter in a ring: the sum of all ranks' vectors, of which every rank ends with one segment.

    rank 0 ──► rank 1 ──► ... ──► rank N-1 ──► rank 0

    k = 0 .. N-2    send segment r-k, receive segment r-k-1 and add the own one to it          (all modulo N)

The first half of ring all-reduce: rank r ends with segment r+1, whose bits are those of the ring's sum. Cost, on
uniform links: (N-1) (path latency + ceil(8 * segment bytes / bandwidth)). What is not here: the other half
(`all_gather.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

from ringsim.collectives.cost import alpha_beta_ns
from ringsim.collectives.ring import sum_in_ring_order
from ringsim.collectives.ring_times import ring_connections, ring_times
from ringsim.collectives.vectors import cut, join
from ringsim.node import Operation
from ringsim.plan import Seat, Times, Wires


@dataclass(frozen=True)
class ReduceScatter:
    """Sum a float32 vector over the group; rank r's result is (index, segment), index being (r+1) mod N.

    A receive that takes longer than `timeout_ns` (None: never) raises ReceiveTimeout. The segment is read-only.
    """

    timeout_ns: int | None = None
    name: str = "reduce_scatter"
    has_closed_form: ClassVar[bool] = True

    def messages(self, seat: Seat, buffer: Any) -> Operation[tuple[int, Any]]:
        """Play it for one rank; `buffer` is its float32 vector, or a Blank."""
        members, rank = seat.members, seat.rank
        ranks = len(members)
        left, right = members[rank - 1], members[(rank + 1) % ranks]
        segments = cut(buffer, ranks)

        for step in range(ranks - 1):
            outgoing, incoming = (rank - step) % ranks, (rank - step - 1) % ranks
            seat.send(right, segments[outgoing], segments[outgoing].nbytes, tag=step)
            message = yield from seat.receive(left, tag=step, timeout_ns=self.timeout_ns, watching=[right])
            segments[incoming] = message.payload + segments[incoming]
        finished = (rank + 1) % ranks
        return finished, join([segments[finished]])

    def connections(self, ranks: int) -> list[tuple[int, int]]:
        """Each rank's connection to its right."""
        return ring_connections(ranks)

    def times(self, buffer: Any, enter_ns: Sequence[int], wires: Wires, every_flight: bool) -> Times:
        """Return when all is done, by the recurrence of `ring_times.py`."""
        return ring_times(range(len(enter_ns) - 1), len(buffer), enter_ns, wires, every_flight)

    def results(self, buffers: Sequence[Any]) -> list[tuple[int, Any]]:
        """Return each rank's segment of the sum in ring order."""
        ranks = len(buffers)
        segments = cut(sum_in_ring_order(buffers), ranks)
        return [((rank + 1) % ranks, segments[(rank + 1) % ranks]) for rank in range(ranks)]

    def predicted_ns(self, ranks: int, size_bytes: int, alpha_ns: int, bandwidth: int) -> int:
        """Return (N-1) alpha + (N-1)/N S/B in ns (Thakur et al. 2005).

        >>> ReduceScatter().predicted_ns(ranks=4, size_bytes=1_000, alpha_ns=40_000, bandwidth=50_000_000)
        240000
        """
        return alpha_beta_ns(ranks - 1, Fraction((ranks - 1) * size_bytes, ranks), alpha_ns, bandwidth)

    def number_of_messages(self, ranks: int) -> int:
        """Return how many messages all ranks send together: N(N-1)."""
        return ranks * (ranks - 1)

    def disagreement(self, results: Sequence[tuple[int, Any]]) -> str | None:
        """Say which rank ended with another's segment. (The bits of a segment have nothing to agree with.)"""
        for rank, (segment, _) in enumerate(results):
            if segment != (rank + 1) % len(results):
                return f"rank {rank} ended a reduce-scatter with segment {segment}, not {(rank + 1) % len(results)}"
        return None
