"""A line: every machine has a link to the next.

    node0 ── node1 ── node2 ── node3

What a strategy adds has a link to the first machine. What is not here: the link that closes a line to a ring
(`ring.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from ringsim.scenario import Host, Network
from ringsim.topology.edge import Edge, both_ways


def edges(settings: Network, hosts: Sequence[Host], extra: Sequence[Host]) -> Iterator[Edge]:
    """Yield the edges of a line.

    >>> [edge[:2] for edge in edges(Network(), [Host(name="a"), Host(name="b")], [Host(name="server0")])]
    [('a', 'b'), ('b', 'a'), ('server0', 'a'), ('a', 'server0')]
    """
    for host, following in pairwise(hosts):
        yield from both_ways(settings, host, following)
    for host in extra:
        yield from both_ways(settings, host, hosts[0])
