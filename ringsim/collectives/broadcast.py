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
from typing import Any, ClassVar

from ringsim.collectives.cost import alpha_beta_ns, rounds_of_a_tree
from ringsim.errors import InvariantBroken
from ringsim.node import Operation
from ringsim.plan import Seat, Times, Wires


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
    has_closed_form: ClassVar[bool] = False

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

    def connections(self, ranks: int) -> list[tuple[int, int]]:
        """Each edge of the tree, from parent to child."""
        return [(rank, child) for rank in range(ranks) for child in parent_and_children(rank, ranks)[1]]

    def times(self, buffer: Any, enter_ns: Sequence[int], wires: Wires, every_flight: bool) -> Times:
        """Raise InvariantBroken: rank 0 can finish before the last rank has entered."""
        raise InvariantBroken("a broadcast has no closed form, because rank 0 can finish before the last has entered")

    def results(self, buffers: Sequence[Any]) -> list[Any]:
        """Return rank 0's payload for all."""
        return [buffers[0]] * len(buffers)

    def predicted_ns(self, ranks: int, size_bytes: int, alpha_ns: int, bandwidth: int) -> int:
        """Return ceil(log2 N) (alpha + S/B) in ns (Thakur et al. 2005).

        >>> Broadcast(1_000).predicted_ns(ranks=4, size_bytes=1_000, alpha_ns=40_000, bandwidth=50_000_000)
        400000
        """
        rounds = rounds_of_a_tree(ranks)
        return alpha_beta_ns(rounds, rounds * size_bytes, alpha_ns, bandwidth)

    def number_of_messages(self, ranks: int) -> int:
        """Return how many messages all ranks send together: N-1."""
        return ranks - 1

    def disagreement(self, results: Sequence[Any]) -> str | None:
        """Say which rank holds something else than rank 0."""
        for rank, result in enumerate(results):
            if result is not results[0] and result != results[0]:
                return f"rank {rank} ended a broadcast with something else than rank 0 sent"
        return None
