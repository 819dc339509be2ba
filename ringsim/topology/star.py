"""A star: every machine has one link to the only switch.

    node0 ──┐     ┌── node2
            switch
    node1 ──┘     └── node3

What a strategy adds has a link to the switch like all others. What is not here: other trees (`two_tier.py`,
`fat_tree.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ringsim.scenario import SWITCH, Host, Network
from ringsim.topology.edge import Edge, access


def edges(settings: Network, hosts: Sequence[Host], extra: Sequence[Host]) -> Iterator[Edge]:
    """Yield the edges of a star.

    >>> [edge[:2] for edge in edges(Network(), [Host(name="a"), Host(name="b")], [])]
    [('a', 'switch'), ('switch', 'a'), ('b', 'switch'), ('switch', 'b')]
    """
    for host in (*hosts, *extra):
        yield from access(settings, host, SWITCH)
