"""Broadcast: every rank ends with what rank 0 had, along a binomial tree.

    round 0        round 1              round 2
    0 ──► 1        0 ──► 2, 1 ──► 3     0 ──► 4, 1 ──► 5, 2 ──► 6, 3 ──► 7

A parent sends to its children one after another, the one with the largest subtree first; at once they would share the
uplink and take longer. Cost, on uniform links: ceil(log2 N) (path latency + S / bandwidth) where N is a power of two,
and at most that elsewhere.
What is not here: a root other than rank 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ringsim.node import Operation
from ringsim.plan import Seat


def parent_and_children(rank: int, ranks: int) -> tuple[int | None, tuple[int, ...]]:
    """Return whom a rank receives from (None: it is the root), and whom it sends to, in order.

    >>> parent_and_children(0, 6), parent_and_children(1, 6), parent_and_children(5, 6)
    ((None, (1, 2, 4)), (0, (3, 5)), (1, ()))
    """
    first_round = rank.bit_length()
    parent = rank - (1 << (first_round - 1)) if rank else None
    rounds = range(first_round, (ranks - 1).bit_length())
    return parent, tuple(rank + (1 << k) for k in rounds if rank + (1 << k) < ranks)


@dataclass(frozen=True)
class Broadcast:
    """Give every rank the payload of rank 0, which must not be changed afterwards; `size_bytes` is its size.

    Ranks other than 0 pass anything as their buffer. Equality of the results is by `==`.
    """

    size_bytes: int
    timeout_ns: int | None = None
    name: str = "broadcast"

    def messages(self, seat: Seat, buffer: Any) -> Operation[Any]:
        """Play it for one rank."""
        members = seat.members
        parent, children = parent_and_children(seat.rank, len(members))
        payload = buffer
        if parent is not None:
            message = yield from seat.receive(members[parent], tag="down", timeout_ns=self.timeout_ns)
            payload = message.payload
        for child in children:
            sending = seat.send(members[child], payload, self.size_bytes, tag="down")
            yield from sending.sent(self.timeout_ns)
        return payload

    def disagreement(self, results: Sequence[Any]) -> str | None:
        """Say which rank holds something else than rank 0."""
        for rank, result in enumerate(results):
            if result is not results[0] and result != results[0]:
                return f"rank {rank} ended a broadcast with something else than rank 0 sent"
        return None
