"""`inspect(scenario)`: what its network is like, without playing it.

    nodes, links       the graph, with the machines that the strategy adds
    diameter           how far apart machines are
    bisection          what one half can send to the other
    route              the way between two machines, if asked
    collective         which links its connections share, if asked; and whether a ring had better be ordered

What is not here: the facts themselves (`topology/`), and the table (`report/inspection.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ringsim.collectives.fitted import fitted
from ringsim.collectives.table import algorithm_named
from ringsim.errors import UsageError
from ringsim.scenario import SERVER, Host, Scenario, rank_names
from ringsim.scenario_file.words import no_machine
from ringsim.strategies.table import deploy
from ringsim.topology import Routes, build, ring_order
from ringsim.topology.facts import Bisection, Diameter, bisection, diameter, path_latency_ns
from ringsim.topology.order import loads
from ringsim.topology.routes import Links, is_switch

if TYPE_CHECKING:
    from ringsim.topology.build import DiGraph


@dataclass(frozen=True)
class Direction:
    """One direction of a link."""

    source: str
    target: str
    bandwidth: int
    latency_ns: int
    drop_ppm: int


@dataclass(frozen=True)
class Route:
    """A way between two machines: its path latency, and the bit/s of its slowest link."""

    links: Links
    latency_ns: int
    bandwidth: int


@dataclass(frozen=True)
class Sharing:
    """How connections lie over the links: each direction that more than one uses, the busiest first, with how many."""

    connections: int
    links: int
    shared: tuple[tuple[str, str, int], ...]

    @property
    def most(self) -> int:
        """How many connections are on one direction at most.

        >>> Sharing(2, 4, ()).most
        1
        """
        return self.shared[0][2] if self.shared else min(1, self.connections)


@dataclass(frozen=True)
class Collective:
    """A collective on this network; of a ring also the best order of its ranks that is known, and what it changes."""

    name: str
    sharing: Sharing
    order: tuple[str, ...] | None = None
    ordered: Sharing | None = None


@dataclass(frozen=True)
class Inspection:
    """Everything there is to say."""

    scenario: str
    topology: str
    machines: tuple[str, ...]
    added: tuple[str, ...]
    switches: tuple[str, ...]
    links: tuple[Direction, ...]
    diameter: Diameter
    bisection: Bisection
    route: Route | None = None
    collective: Collective | None = None


def inspect(scenario: Scenario, way: tuple[str, str] | None = None, collective: str | None = None) -> Inspection:
    """Look at a scenario's network. way: two machines whose route to tell. collective: a name, such as `ring`.

    Raises UsageError if there is no such machine or collective.

    >>> from ringsim.scenario_file import parse
    >>> loaded = parse("{name: a, task: {steps: 1}, cluster: {nodes: 4}, strategy: {name: ring}}")
    >>> inspect(loaded.scenario, collective="ring").collective.sharing
    Sharing(connections=4, links=8, shared=())
    """
    hosts, extra = scenario.cluster.nodes, deploy(scenario).machines
    graph = build(scenario.cluster.network, hosts, extra)
    routes = Routes(graph, hosts)
    machines = [host.name for host in hosts]
    added = [host.name for host in extra]
    return Inspection(
        scenario=scenario.name,
        topology=scenario.cluster.network.topology.kind,
        machines=tuple(machines),
        added=tuple(added),
        switches=tuple(name for name in graph if is_switch(name)),
        links=tuple(Direction(*edge, *_figures(graph, edge)) for edge in graph.edges),
        diameter=diameter(graph, routes, machines),
        bisection=bisection(graph, routes, machines),
        route=None if way is None else _route(graph, routes, way, [*machines, *added]),
        collective=None if collective is None else _collective(scenario, extra, graph, routes, collective),
    )


def _figures(graph: DiGraph, edge: tuple[str, str]) -> tuple[int, int, int]:
    attributes = graph.edges[edge]
    return attributes["bandwidth"], attributes["latency_ns"], attributes["drop"]


def _route(graph: DiGraph, routes: Routes, way: tuple[str, str], machines: Sequence[str]) -> Route:
    for name in way:
        if name not in machines:
            raise UsageError(no_machine(name, machines))
    links = routes.links(*way) if way[0] != way[1] or graph.has_edge(*way) else ()
    slowest = min((int(graph.edges[link]["bandwidth"]) for link in links), default=0)
    return Route(links, path_latency_ns(graph, links), slowest)


def _collective(scenario: Scenario, extra: Sequence[Host], graph: DiGraph, routes: Routes, name: str) -> Collective:
    """Return how a collective lies on the links: all ranks of the cluster, and a server if it takes one."""
    cluster, servers = scenario.cluster, [SERVER] * algorithm_named(name).servers
    if any(server not in graph for server in servers):
        graph = build(cluster.network, cluster.nodes, [*extra, *(Host(name=server) for server in servers)])
        routes = Routes(graph, cluster.nodes)
    ranks = [(rank, host.name) for host in cluster.nodes for rank in rank_names(host)]
    pairs = list(fitted(name, cluster, len(ranks)).connections(len(ranks) + len(servers)))
    sharing = _sharing(routes, pairs, [*(host for _, host in ranks), *servers])
    if name != "ring":
        return Collective(name, sharing)
    host_of = dict(ranks)
    order = ring_order(graph, routes, ranks)
    return Collective(name, sharing, order, _sharing(routes, pairs, [host_of[rank] for rank in order]))


def _sharing(routes: Routes, pairs: Sequence[tuple[int, int]], hosts: Sequence[str]) -> Sharing:
    """Return how connections between ranks lie on the links, given the machine of each rank."""
    connections = [(hosts[source], hosts[target]) for source, target in pairs]
    used = loads(routes, connections)
    shared = [(*link, number) for link, number in used.items() if number > 1]
    return Sharing(len(connections), sum(used.values()), tuple(sorted(shared, key=lambda one: -one[2])))


def summary(found: Inspection) -> dict[str, Any]:
    """Return an inspection as plain data, for JSON: rates in bit/s, latencies in nanoseconds, drops in ppm."""
    data: dict[str, Any] = {
        "scenario": found.scenario,
        "topology": found.topology,
        "machines": list(found.machines),
        "added": list(found.added),
        "switches": list(found.switches),
        "links": [vars(link) for link in found.links],
        "diameter": vars(found.diameter),
        "bisection": vars(found.bisection),
    }
    if found.route is not None:
        data["route"] = {**vars(found.route), "links": [list(link) for link in found.route.links]}
    if found.collective is not None:
        collective = found.collective
        data["collective"] = {"name": collective.name, **_plain(collective.sharing)}
        if collective.ordered is not None:
            data["collective"]["topology_order"] = {"ranks": collective.order, **_plain(collective.ordered)}
    return data


def _plain(sharing: Sharing) -> dict[str, Any]:
    keys = ("source", "target", "connections")
    return {**vars(sharing), "shared": [dict(zip(keys, one, strict=True)) for one in sharing.shared]}
