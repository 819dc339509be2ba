"""An order of a ring's ranks in which neighbours are near each other.

    as listed     node0 ─► rack1 ─► rack0 ─► rack1       each connection crosses the core
    by topology   node0 ─► rack0 ─► rack1 ─► rack1       two do

Three orders are compared: as listed; depth first over the graph, which visits one rack after the other (for trees it is
the best there is, Patarasuk and Yuan 2009); and always to the nearest that is left, which follows a grid. To
find the best of all is the travelling salesman's problem. What is not here: who asks for it, and the ring itself
(`collectives/ring.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from ringsim.topology.routes import Routes

if TYPE_CHECKING:
    import networkx

    DiGraph = networkx.DiGraph[str]

MOST_FOR_NEAREST = 128  # Machines beyond which looking for the nearest takes longer than it is worth.


def ring_order(graph: DiGraph, routes: Routes, ranks: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """Return the names of `ranks`, given as (rank, machine), in an order for a ring; never a worse one than theirs.

    The best of the compared orders has the least load on its busiest link direction (connections of the ring, divided
    by its bit/s), then the fewest links in all; of equal ones the first.

    >>> from ringsim.scenario import Host, Network
    >>> from ringsim.topology.build import build
    >>> hosts = [Host(name=name) for name in "abcd"]
    >>> racks = build(Network(topology={"kind": "two_tier", "racks": 2}), hosts)
    >>> ring_order(racks, Routes(racks, hosts), [("0", "a"), ("1", "c"), ("2", "b"), ("3", "d")])
    ('0', '2', '1', '3')
    """
    if len(ranks) < 3:
        return tuple(rank for rank, _ in ranks)
    by_machine: dict[str, list[tuple[str, str]]] = {}
    for rank in ranks:
        by_machine.setdefault(rank[1], []).append(rank)
    orders = [list(ranks)]
    for machines in _orders(graph, routes, list(by_machine)):
        orders.append([rank for machine in machines for rank in by_machine[machine]])
    best = min(orders, key=lambda order: _cost(graph, routes, [machine for _, machine in order]))
    return tuple(rank for rank, _ in best)


def depth_first(graph: DiGraph, machines: Sequence[str]) -> list[str]:
    """Return the machines in the order in which a search that goes as deep as it can meets them, from the first on."""
    import networkx

    wanted = dict.fromkeys(machines)
    return [name for name in networkx.dfs_preorder_nodes(graph, machines[0]) if name in wanted]


def _orders(graph: DiGraph, routes: Routes, machines: Sequence[str]) -> Iterator[list[str]]:
    yield depth_first(graph, machines)
    if len(machines) <= MOST_FOR_NEAREST:
        order, left = [machines[0]], list(machines[1:])
        while left:
            # Not networkx's greedy_tsp, which does the same, but takes of equally near ones the first of a set.
            nearest = min(left, key=lambda name: len(routes.links(order[-1], name)))
            left.remove(nearest)
            order.append(nearest)
        yield order


def _cost(graph: DiGraph, routes: Routes, machines: Sequence[str]) -> tuple[Fraction, int]:
    """Return connections over bit/s on the busiest link direction, and the links of all connections together."""
    used = loads(routes, [(machine, machines[(index + 1) % len(machines)]) for index, machine in enumerate(machines)])
    busiest = max(
        (Fraction(number, graph.edges[link]["bandwidth"]) for link, number in used.items()), default=Fraction(0)
    )
    return busiest, sum(used.values())


def loads(routes: Routes, connections: Sequence[tuple[str, str]]) -> Counter[tuple[str, str]]:
    """Return how many of the connections, given as (machine, machine), use each direction of a link."""
    return Counter(link for source, target in connections for link in routes.links(source, target))
