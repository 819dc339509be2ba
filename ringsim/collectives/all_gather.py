"""All-gather in a ring: every rank brings one segment, and ends with all of them.

    rank 0 ──► rank 1 ──► ... ──► rank N-1 ──► rank 0

    k = 0 .. N-2    send segment r+1-k, receive segment r-k and keep it                        (all modulo N)

The second half of ring all-reduce, with its numbering: rank r brings segment r+1, which is what a reduce-scatter left
it with. Cost, on uniform links: (N-1) (path latency + ceil(8 * segment bytes / bandwidth)). What is not here: the first
half (`reduce_scatter.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

from ringsim.collectives.cost import alpha_beta_ns
from ringsim.collectives.ring_times import ring_connections, ring_times
from ringsim.collectives.vectors import join, odd_one_out, segment_length
from ringsim.errors import UsageError
from ringsim.node import Operation
from ringsim.plan import Seat, Times, Wires


@dataclass(frozen=True)
class AllGather:
    """Put together a float32 vector of `length` elements, of which rank r brings segment (r+1) mod N.

    A rank whose buffer has another length than its segment raises UsageError. A receive that takes longer than
    `timeout_ns` (None: never) raises ReceiveTimeout. The result is read-only.
    """

    length: int
    timeout_ns: int | None = None
    name: str = "all_gather"
    has_closed_form: ClassVar[bool] = True

    def messages(self, seat: Seat, buffer: Any) -> Operation[Any]:
        """Play it for one rank; `buffer` is its segment, or a Blank."""
        members, rank = seat.members, seat.rank
        ranks = len(members)
        left, right = members[rank - 1], members[(rank + 1) % ranks]
        segments = {(rank + 1) % ranks: self._checked(buffer, rank, ranks)}

        for step in range(ranks - 1, 2 * (ranks - 1)):
            outgoing, incoming = (rank - step) % ranks, (rank - step - 1) % ranks
            seat.send(right, segments[outgoing], segments[outgoing].nbytes, tag=step)
            message = yield from seat.receive(left, tag=step, timeout_ns=self.timeout_ns, watching=[right])
            segments[incoming] = message.payload
        return join([segments[segment] for segment in range(ranks)])

    def connections(self, ranks: int) -> list[tuple[int, int]]:
        """Each rank's connection to its right."""
        return ring_connections(ranks)

    def times(self, buffer: Any, enter_ns: Sequence[int], wires: Wires, every_flight: bool) -> Times:
        """Return when all is done, by the recurrence of `ring_times.py`. The length is the plan's, not the buffer's."""
        ranks = len(enter_ns)
        return ring_times(range(ranks - 1, 2 * (ranks - 1)), self.length, enter_ns, wires, every_flight)

    def results(self, buffers: Sequence[Any]) -> list[Any]:
        """Return all segments in order: one read-only vector, which all ranks share."""
        ranks = len(buffers)
        pieces = [self._checked(buffers[segment - 1], (segment - 1) % ranks, ranks) for segment in range(ranks)]
        return [join(pieces)] * ranks

    def predicted_ns(self, ranks: int, size_bytes: int, alpha_ns: int, bandwidth: int) -> int:
        """Return (N-1) alpha + (N-1)/N S/B in ns, S being the whole vector's size (Thakur et al. 2005).

        >>> AllGather(250).predicted_ns(ranks=4, size_bytes=1_000, alpha_ns=40_000, bandwidth=50_000_000)
        240000
        """
        return alpha_beta_ns(ranks - 1, Fraction((ranks - 1) * size_bytes, ranks), alpha_ns, bandwidth)

    def number_of_messages(self, ranks: int) -> int:
        """Return how many messages all ranks send together: N(N-1)."""
        return ranks * (ranks - 1)

    def disagreement(self, results: Sequence[Any]) -> str | None:
        """Say which rank ended with other bits than rank 0."""
        return odd_one_out("an all-gather", results)

    def _checked(self, buffer: Any, rank: int, ranks: int) -> Any:
        segment = (rank + 1) % ranks
        length = segment_length(self.length, ranks, segment)
        if len(buffer) != length:
            raise UsageError(
                f"rank {rank} brings {len(buffer)} elements to an all-gather of {self.length} on {ranks} ranks; "
                f"its segment, number {segment}, has {length}"
            )
        return buffer
