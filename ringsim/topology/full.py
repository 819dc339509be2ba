"""A full mesh: every machine has a link to every other.

    node0 ── node1
      │  ╲╱   │
      │  ╱╲   │
    node2 ── node3

What a strategy adds is linked with all as well. What is not here: switches, of which there is none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

from ringsim.scenario import Host, Network
from ringsim.topology.edge import Edge, both_ways


def edges(settings: Network, hosts: Sequence[Host], extra: Sequence[Host]) -> Iterator[Edge]:
    """Yield the edges of a full mesh.

    >>> [edge[:2] for edge in edges(Network(), [Host(name="a"), Host(name="b")], [])]
    [('a', 'b'), ('b', 'a')]
    """
    for host, other in combinations((*hosts, *extra), 2):
        yield from both_ways(settings, host, other)
