"""Facts of a network: how far apart its machines are, how much it carries, and which links connections share.

    diameter       the longest route, in links and in latency
    bisection      what one half of the machines can send to the other at most, for the worst choice of halves
    loads          how many connections use each direction of a link (in `order.py`, which compares rings by it)

What is not here: showing them (`report/inspection.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from ringsim.topology.order import depth_first
from ringsim.topology.routes import Links, Routes

if TYPE_CHECKING:
    import networkx

    DiGraph = networkx.DiGraph[str]

MOST_FOR_ALL_CUTS = 10  # Machines: 126 ways to halve them.
MOST_FOR_KERNIGHAN_LIN = 128  # Machines: it compares all pairs.
MOST_ROTATIONS = 16
_SEED = 0  # Of Kernighan and Lin's first halves.


@dataclass(frozen=True)
class Diameter:
    """The most links between two machines, and the longest path latency; they need not be of one pair."""

    links: int
    latency_ns: int


@dataclass(frozen=True)
class Bisection:
    """Bit/s from one half of the machines to the other; at most so much if not `exact`: only some halves were tried."""

    bandwidth: int
    exact: bool


def path_latency_ns(graph: DiGraph, links: Links) -> int:
    """Return the sum of the latencies of a route."""
    return sum(int(graph.edges[link]["latency_ns"]) for link in links)


def diameter(graph: DiGraph, routes: Routes, machines: Sequence[str]) -> Diameter:
    """Return how far apart two machines can be, by the routes that messages take.

    All routes to one machine form a tree, so each place in it is looked at once for each machine.

    >>> from ringsim.scenario import Host, Network
    >>> from ringsim.topology.build import build
    >>> hosts = [Host(name=name) for name in "abcd"]
    >>> line = build(Network(topology="line"), hosts)
    >>> diameter(line, Routes(line, hosts), "abcd")
    Diameter(links=3, latency_ns=150000)
    """
    latency = {edge: int(graph.edges[edge]["latency_ns"]) for edge in graph.edges}
    farthest: dict[str, list[tuple[int, str]]] = {}
    inner: list[str] = []
    for name in machines:
        switch = routes.only_neighbour(name)
        if switch is None:
            inner.append(name)
        else:
            farthest.setdefault(switch, []).append((latency[name, switch], name))
    # Of the machines at one switch only the farthest counts, or the second if the farthest is the target.
    leaves = [leaf for found in farthest.values() for leaf in sorted(found, reverse=True)[:2]]
    longest_links = longest_ns = 0
    for target in machines:
        away = {target: (0, 0)}
        sources = [name for name in inner if name != target] + [name for _, name in leaves if name != target]
        for source in sources:
            links, ns = _away(source, target, routes, latency, away)
            longest_links, longest_ns = max(longest_links, links), max(longest_ns, ns)
    return Diameter(longest_links, longest_ns)


def _away(
    source: str,
    target: str,
    routes: Routes,
    latency: dict[tuple[str, str], int],
    away: dict[str, tuple[int, int]],
) -> tuple[int, int]:
    """Return links and latency from `source` to `target`; `away` holds what is known of places on the way."""
    way, here = [], source
    while here not in away:
        following = routes.following(here, target)
        way.append((here, following))
        here = following
    for before, following in reversed(way):
        links, ns = away[following]
        away[before] = links + 1, ns + latency[before, following]
    return away[source]


# --- bisection --------------------------------------------------------------------------------------------------------


def bisection(graph: DiGraph, routes: Routes, machines: Sequence[str]) -> Bisection:
    """Return the bisection bandwidth: the least that one half of the machines can send to the other, over all halves.

    For a given choice it is the greatest flow from all machines of one half to all of the other. (Dally and Towles,
    *Principles and Practices of Interconnection Networks*, 2004, section 3.1.2.) With more than MOST_FOR_ALL_CUTS
    machines these halves are tried: as listed and depth first over the graph, both rotated, and by the heuristic of
    Kernighan and Lin (1970). An odd machine belongs to the second half.

    >>> from ringsim.scenario import Host, Network
    >>> from ringsim.topology.build import build
    >>> hosts = [Host(name=name) for name in "abcd"]
    >>> ring = build(Network(topology="ring"), hosts)
    >>> bisection(ring, Routes(ring, hosts), "abcd")
    Bisection(bandwidth=2000000000, exact=True)
    """
    exact = len(machines) <= MOST_FOR_ALL_CUTS
    halves = combinations(machines, len(machines) // 2) if exact else _canonical_halves(graph, routes, machines)
    return Bisection(min((_across(graph, half, machines) for half in halves if half), default=0), exact)


def _canonical_halves(graph: DiGraph, routes: Routes, machines: Sequence[str]) -> Iterator[tuple[str, ...]]:
    half = len(machines) // 2
    # Depth first, machines of one rack stand together, however they are listed.
    for order in dict.fromkeys((tuple(machines), tuple(depth_first(graph, machines)))):
        twice = (*order, *order)
        for start in range(0, half, max(1, -(-half // MOST_ROTATIONS))):
            yield twice[start : start + half]
    if len(machines) <= MOST_FOR_KERNIGHAN_LIN:
        yield _kernighan_lin(routes, machines)


def _kernighan_lin(routes: Routes, machines: Sequence[str]) -> tuple[str, ...]:
    """Return the smaller half of a cut through few near neighbours."""
    import networkx

    distances = {pair: len(routes.links(*pair)) for pair in combinations(machines, 2)}
    longest = max(distances.values())
    near: networkx.Graph[str] = networkx.Graph()
    near.add_weighted_edges_from((one, other, longest + 1 - links) for (one, other), links in distances.items())
    halves = networkx.community.kernighan_lin_bisection(near, seed=_SEED)
    smaller = min(halves, key=len)
    return tuple(name for name in machines if name in smaller)


def _across(graph: DiGraph, half: Sequence[str], machines: Sequence[str]) -> int:
    """Return the greatest flow between `half` and the others, in the direction that has less."""
    import networkx

    side = dict.fromkeys(machines, "others") | dict.fromkeys(half, "half")
    merged: networkx.DiGraph[str] = networkx.DiGraph()
    merged.add_nodes_from(("half", "others"))
    for source, target in graph.edges:
        ends = side.get(source, source), side.get(target, target)
        if ends[0] != ends[1]:
            before = merged.edges[ends]["capacity"] if merged.has_edge(*ends) else 0
            merged.add_edge(*ends, capacity=before + graph.edges[source, target]["bandwidth"])
    return min(int(networkx.maximum_flow_value(merged, *ends)) for ends in (("half", "others"), ("others", "half")))
