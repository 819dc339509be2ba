"""A ring: every machine has a link to the next, and the last to the first. It is a torus of one dimension.

    node0 ── node1 ── node2
      └────── node3 ────┘

What a strategy adds has a link to the first machine. What is not here: the ring of a strategy's messages, which may
run on any topology (`collectives/ring.py`), and its best order (`order.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ringsim.scenario import Host, Network
from ringsim.topology import torus
from ringsim.topology.edge import Edge


def edges(settings: Network, hosts: Sequence[Host], extra: Sequence[Host]) -> Iterator[Edge]:
    """Yield the edges of a ring.

    >>> [edge[:2] for edge in edges(Network(), [Host(name=name) for name in "abc"], [])]
    [('a', 'b'), ('a', 'c'), ('b', 'c'), ('b', 'a'), ('c', 'a'), ('c', 'b')]
    """
    yield from torus.grid(settings, hosts, extra, (len(hosts),))
