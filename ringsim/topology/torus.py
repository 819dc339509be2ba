"""A torus: a grid in any number of dimensions, each row of which closes to a ring.

    dimensions: [2, 3]      ┌──────────────────┐
                          node0 ── node1 ── node2       a column of two has one link, not two
    the last dimension      │        │        │
    counts fastest        node3 ── node4 ── node5
                            └──────────────────┘

Each machine lists its neighbours dimension by dimension, plus before minus: by that order machines forward, so a
message goes the way of dimension-order routing (Dally and Towles, *Principles and Practices of Interconnection
Networks*, 2004, section 8.4.2). What a strategy adds has a link to the first machine. What is not here: the routes
(`routes.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from ringsim.scenario import Host, Network, Torus
from ringsim.topology.edge import Edge, both_ways, leaving


def edges(settings: Network, hosts: Sequence[Host], extra: Sequence[Host]) -> Iterator[Edge]:
    """Yield the edges of a torus; the product of its dimensions is the number of machines."""
    assert isinstance(settings.topology, Torus)
    yield from grid(settings, hosts, extra, settings.topology.dimensions)


def grid(settings: Network, hosts: Sequence[Host], extra: Sequence[Host], dimensions: Sequence[int]) -> Iterator[Edge]:
    """Yield the edges of a torus of these dimensions."""
    for index, host in enumerate(hosts):
        for neighbour in neighbours(index, dimensions):
            yield leaving(settings, host, hosts[neighbour].name)
    for host in extra:
        yield from both_ways(settings, host, hosts[0])


def neighbours(index: int, dimensions: Sequence[int]) -> list[int]:
    """Return the places next to one, dimension by dimension, plus before minus, each once.

    >>> neighbours(0, [3, 4]), neighbours(5, [2, 3])
    ([4, 8, 1, 3], [2, 3, 4])
    """
    found: dict[int, None] = {}
    stride = math.prod(dimensions)
    for size in dimensions:
        stride //= size
        here = index // stride % size
        for step in (1, -1):
            found[index + ((here + step) % size - here) * stride] = None
    found.pop(index, None)
    return list(found)
