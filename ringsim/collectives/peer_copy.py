"""Peer copy: ranks that lack what the others have get it, each from one of them.

    sources (None, None, 0, 1, 0)        rank 0 ─► rank 2, then ─► rank 4
                                         rank 1 ─► rank 3

Nobody is the root: those who have it share the work, and so the links. One who is asked by several sends to them one
after another, in rank order; at once they would share its uplink, and all take longer. Cost, on uniform links with M
sources for K copies: ceil(K / M) S / bandwidth + path latency. This is how a healing replica recovers in torchft
(src/manager.rs, recovery assignments). What is not here: who copies from whom (`strategies/ring_peer_recovery.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ringsim.errors import InvariantBroken
from ringsim.node import Operation
from ringsim.plan import Seat, Times, Wires


@dataclass(frozen=True)
class PeerCopy:
    """Give rank r the payload of rank `sources[r]`, which must not be changed afterwards; None: it keeps its own.

    size_bytes: of one copy. Equality of the results is by `==`.
    """

    size_bytes: int
    sources: tuple[int | None, ...]
    timeout_ns: int | None = None
    name: str = "peer_copy"
    has_closed_form: ClassVar[bool] = False

    def messages(self, seat: Seat, buffer: Any) -> Operation[Any]:
        """Play it for one rank."""
        members, source = seat.members, self.sources[seat.rank]
        if source is not None:
            message = yield from seat.receive(members[source], tag="copy", timeout_ns=self.timeout_ns)
            return message.payload
        for target in self.copiers(seat.rank):
            sending = seat.send(members[target], buffer, self.size_bytes, tag="copy")
            yield from sending.sent(self.timeout_ns)
        return buffer

    def copiers(self, rank: int) -> list[int]:
        """Return who copies from `rank`, in rank order.

        >>> PeerCopy(8, (None, None, 0, 1, 0)).copiers(0)
        [2, 4]
        """
        return [target for target, source in enumerate(self.sources) if source == rank]

    def connections(self, ranks: int) -> list[tuple[int, int]]:
        """One from each source to each of its copiers."""
        return [(source, target) for target, source in enumerate(self.sources) if source is not None]

    def times(self, buffer: Any, enter_ns: Sequence[int], wires: Wires, every_flight: bool) -> Times:
        """Raise InvariantBroken: who neither gives nor takes can finish before the last rank has entered."""
        raise InvariantBroken("a peer copy has no closed form, because some finish before the last has entered")

    def results(self, buffers: Sequence[Any]) -> list[Any]:
        """Return each rank's own payload, or that of its source."""
        return [buffers[rank if source is None else source] for rank, source in enumerate(self.sources)]

    def disagreement(self, results: Sequence[Any]) -> str | None:
        """Say which rank holds something else than its source."""
        for rank, source in enumerate(self.sources):
            if source is not None and results[rank] is not results[source] and results[rank] != results[source]:
                return f"rank {rank} ended a peer copy with something else than rank {source} has"
        return None
