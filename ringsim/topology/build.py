"""The edges of any topology, and the networkx graph of them.

    edges     every direction of every link, as plain data: quick, and without networkx
    build     the graph of a run

What is not here: which edges a topology has (a file each), and the routes (`routes.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from ringsim.scenario import Host, Network
from ringsim.topology import fat_tree, full, graph, line, ring, star, torus, two_tier, wan
from ringsim.topology.edge import Edge

if TYPE_CHECKING:
    import networkx

    DiGraph = networkx.DiGraph[str]

_EDGES: dict[str, Callable[[Network, Sequence[Host], Sequence[Host]], Iterator[Edge]]] = {
    "star": star.edges,
    "ring": ring.edges,
    "line": line.edges,
    "full": full.edges,
    "torus": torus.edges,
    "two_tier": two_tier.edges,
    "fat_tree": fat_tree.edges,
    "wan": wan.edges,
    "graph": graph.edges,
}


def edges(settings: Network, hosts: Sequence[Host], extra: Sequence[Host] = ()) -> dict[tuple[str, str], Edge]:
    """Return each direction of each link, as its topology and then `network.links` say; loopbacks are not in it.

    >>> list(edges(Network(topology="line"), [Host(name="a"), Host(name="b")]))
    [('a', 'b'), ('b', 'a')]
    """
    found = {edge[:2]: edge for edge in _EDGES[settings.topology.kind](settings, hosts, extra)}
    if settings.topology.kind == "graph":
        return found
    for link in settings.links:
        said = {"bandwidth": link.bandwidth, "latency_ns": link.latency, "drop": link.drop}
        changes = {key: value for key, value in said.items() if value is not None}
        for direction in graph.directions(link):
            # Another strategy may add no such machine; whether there could be one, has been checked with the scenario.
            if direction in found:
                found[direction] = found[direction]._replace(**changes)
    return found


def build(settings: Network, hosts: Sequence[Host], extra: Sequence[Host] = ()) -> DiGraph:
    """Return the graph of `hosts` and of the machines in `extra` that a strategy adds.

    Every edge is one direction of a link and has `bandwidth` (bit/s), `latency_ns` and `drop` (ppm). A machine of
    several ranks has an edge to itself: its loopback, which loses nothing. The scenario's keys must agree.

    >>> graph = build(Network(), [Host(name="a"), Host(name="b", bandwidth="10 Gbit/s")], [Host(name="server0")])
    >>> graph.edges["b", "switch"]
    {'bandwidth': 10000000000, 'latency_ns': 50000, 'drop': 0}
    >>> list(graph.successors("switch"))
    ['a', 'b', 'server0']
    """
    import networkx

    graph: DiGraph = networkx.DiGraph()
    for edge in edges(settings, hosts, extra).values():
        graph.add_edge(edge.source, edge.target, bandwidth=edge.bandwidth, latency_ns=edge.latency_ns, drop=edge.drop)
    loopback = settings.loopback
    for host in (*hosts, *extra):
        graph.add_node(host.name)
        if host.processes > 1:
            graph.add_edge(host.name, host.name, bandwidth=loopback.bandwidth, latency_ns=loopback.latency, drop=0)
    return graph
