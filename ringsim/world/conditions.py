"""What faults make of the network while they last: links that are down, slower, or lossy, and partitions.

Each fault puts its condition on some directions of links, and takes it off again. Where several are on one link, the
latest says what the bandwidth and the latency are, the worst loss holds, and one that is down is down. What is not
here: what becomes of the messages on their way (`network.py`).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from ringsim.world.connection import Link

if TYPE_CHECKING:
    import networkx

    Graph = networkx.DiGraph[str]


@dataclass(frozen=True)
class Condition:
    """What a fault changes about a link; None: nothing."""

    is_down: bool = False
    bandwidth: int | None = None
    latency_ns: int | None = None
    drop_ppm: int = 0
    corrupt_ppm: int = 0
    detected_ppm: int = 0  # ... of messages whose corruption a checksum finds


class LinkState(NamedTuple):
    """A direction of a link as it is now."""

    bandwidth: int
    latency_ns: int
    drop_ppm: int
    corrupt_ppm: int = 0
    detected_ppm: int = 0
    is_down: bool = False


class Conditions:
    """The network's links, and what is the matter with them.

    >>> import networkx
    >>> graph = networkx.DiGraph()
    >>> graph.add_edge("a", "b", bandwidth=100, latency_ns=5, drop=0)
    >>> conditions = Conditions(graph)
    >>> conditions.put("fault 0", [("a", "b")], Condition(bandwidth=10))
    >>> conditions.link(("a", "b")).bandwidth, conditions.take_off("fault 0"), conditions.link(("a", "b")).bandwidth
    (10, [('a', 'b')], 100)
    """

    def __init__(self, graph: Graph):
        self._graph = graph
        self._on: dict[Hashable, tuple[Sequence[Link], Condition]] = {}
        self._partitions: dict[Hashable, Sequence[Sequence[str]]] = {}

    @property
    def are_normal(self) -> bool:
        """Whether nothing is the matter."""
        return not self._on and not self._partitions

    def put(self, fault: Hashable, links: Iterable[Link], condition: Condition) -> None:
        """Put a condition on directions of links."""
        self._on[fault] = tuple(links), condition

    def take_off(self, fault: Hashable) -> Sequence[Link]:
        """Take a fault's condition off; return from where."""
        links, _ = self._on.pop(fault)
        return list(links)

    def part(self, fault: Hashable, groups: Sequence[Sequence[str]]) -> None:
        """Separate groups of machines."""
        self._partitions[fault] = groups

    def heal(self, fault: Hashable) -> None:
        """Let the groups that a fault has separated reach each other again."""
        del self._partitions[fault]

    def link(self, link: Link) -> LinkState:
        """Return a direction of a link as it is now."""
        edge = self._graph.edges[link]
        state = LinkState(int(edge["bandwidth"]), int(edge["latency_ns"]), int(edge["drop"]))
        for links, condition in self._on.values():
            if link in links:
                state = _under(state, condition)
        return state

    def separate(self, source: str, target: str) -> bool:
        """Say whether two machines are in different groups of a partition."""
        for groups in self._partitions.values():
            sides = [index for end in (source, target) for index, members in enumerate(groups) if end in members]
            if len(sides) == 2 and sides[0] != sides[1]:
                return True
        return False


def _under(state: LinkState, condition: Condition) -> LinkState:
    return LinkState(
        bandwidth=state.bandwidth if condition.bandwidth is None else condition.bandwidth,
        latency_ns=state.latency_ns if condition.latency_ns is None else condition.latency_ns,
        drop_ppm=max(state.drop_ppm, condition.drop_ppm),
        corrupt_ppm=max(state.corrupt_ppm, condition.corrupt_ppm),
        detected_ppm=max(state.detected_ppm, condition.detected_ppm),
        is_down=state.is_down or condition.is_down,
    )
