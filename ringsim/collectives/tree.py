"""Tree all-reduce: reduce to rank 0 along a binomial tree, then broadcast the sum back along the same tree.

    reduce                                           broadcast
    4 ──► 0, 5 ──► 1, 6 ──► 2, 7 ──► 3               0 ──► 1
    2 ──► 0, 3 ──► 1                                 0 ──► 2, 1 ──► 3
    1 ──► 0                                          0 ──► 4, 1 ──► 5, 2 ──► 6, 3 ──► 7

    up      receive from the children, the smallest subtree first, and add each; send the sum to the parent
    down    receive the total from the parent; send it to the children one after another, the largest subtree first

Every message is the whole vector. So a rank's sum is ((own + last child) + ...) + first child, and all ranks have rank
0's bits. Cost, on uniform links: 2 ceil(log2 N) (path latency + S / bandwidth) where N is a power of two, and at most
that elsewhere: few messages one after another, many bytes. What is not here: two trees at once, each for half of the
vector (Sanders, Speck and Träff 2009).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ringsim.collectives.broadcast import parent_and_children
from ringsim.collectives.cost import alpha_beta_ns, rounds_of_a_tree
from ringsim.collectives.in_memory import play_in_memory
from ringsim.collectives.rounds import Round, connections_of, round_times
from ringsim.collectives.vectors import ELEMENT_BYTES, join, odd_one_out
from ringsim.node import Operation
from ringsim.plan import Seat, Times, Wires


@dataclass(frozen=True)
class TreeAllReduce:
    """Sum a float32 vector of any length over the group along a binomial tree.

    A wait that takes longer than `timeout_ns` (None: never) raises ReceiveTimeout. The result is read-only.
    """

    timeout_ns: int | None = None
    name: str = "tree_all_reduce"
    has_closed_form: ClassVar[bool] = True

    def messages(self, seat: Seat, buffer: Any) -> Operation[Any]:
        """Play it for one rank; `buffer` is its float32 vector, or a Blank."""
        members = seat.members
        parent, children = parent_and_children(seat.rank, len(members))
        total = join([buffer[:]])
        for child in reversed(children):
            message = yield from seat.receive(members[child], tag="up", timeout_ns=self.timeout_ns)
            total = total + message.payload
        if parent is None:
            total = join([total])
        else:
            sending = seat.send(members[parent], total, total.nbytes, tag="up")
            yield from sending.sent(self.timeout_ns)
            message = yield from seat.receive(members[parent], tag="down", timeout_ns=self.timeout_ns)
            total = message.payload
        for child in children:
            sending = seat.send(members[child], total, total.nbytes, tag="down")
            yield from sending.sent(self.timeout_ns)
        return total

    @staticmethod
    def rounds(ranks: int, length: int) -> list[Round]:
        """Return its rounds: those of the reduction, then the same edges the other way and in the other order.

        >>> [(one.tag, one.sources.tolist(), one.targets.tolist()) for one in TreeAllReduce.rounds(4, 1)]
        [('up', [2, 3], [0, 1]), ('up', [1], [0]), ('down', [0], [1]), ('down', [0, 1], [2, 3])]
        """
        parents = [np.arange(min(1 << k, ranks - (1 << k))) for k in range(rounds_of_a_tree(ranks))]
        edges = [(parent, parent + (1 << k), ELEMENT_BYTES * length + 0 * parent) for k, parent in enumerate(parents)]
        up = [Round("up", child, parent, size_bytes) for parent, child, size_bytes in reversed(edges)]
        return up + [Round("down", parent, child, size_bytes) for parent, child, size_bytes in edges]

    def connections(self, ranks: int) -> list[tuple[int, int]]:
        """Every edge of the tree, both ways."""
        return connections_of(self.rounds(ranks, 0), ranks)

    def times(self, buffer: Any, enter_ns: Sequence[int], wires: Wires, every_flight: bool) -> Times:
        """Return when all is done, round by round, and always every flight."""
        return round_times(self.rounds(len(enter_ns), len(buffer)), enter_ns, wires)

    def results(self, buffers: Sequence[Any]) -> list[Any]:
        """Return the total: one read-only vector, which all ranks share."""
        return play_in_memory(self, buffers)

    def predicted_ns(self, ranks: int, size_bytes: int, alpha_ns: int, bandwidth: int) -> int:
        """Return 2 ceil(log2 N) (alpha + S/B) in ns (Thakur et al. 2005).

        >>> TreeAllReduce().predicted_ns(ranks=4, size_bytes=1_000, alpha_ns=40_000, bandwidth=50_000_000)
        800000
        """
        rounds = 2 * rounds_of_a_tree(ranks)
        return alpha_beta_ns(rounds, rounds * size_bytes, alpha_ns, bandwidth)

    def number_of_messages(self, ranks: int) -> int:
        """Return how many messages all ranks send together: 2(N-1)."""
        return 2 * (ranks - 1)

    def disagreement(self, results: Sequence[Any]) -> str | None:
        """Say which rank ended with other bits than rank 0."""
        return odd_one_out("tree all-reduce", results)
