"""Topologies: edges against other generators, routes against shortest paths, facts against closed forms."""

# Sentences stand on one line each, so that a search for one finds it.
# ruff: noqa: E501

from __future__ import annotations

import itertools
import json
import math
import re
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import networkx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringsim.cli import run_command
from ringsim.errors import ScenarioInvalid, UsageError
from ringsim.scenario import STRATEGIES, Host, Network, Scenario, added_machines
from ringsim.scenario_file import dump, load, parse
from ringsim.strategies.table import deploy
from ringsim.topology import Routes, build, ring_order
from ringsim.topology.build import edges
from ringsim.topology.facts import Diameter, _canonical_halves, bisection, diameter, path_latency_ns
from ringsim.topology.order import loads
from ringsim.topology.torus import neighbours

GBIT, US, MS = 10**9, 1_000, 10**6

WAN = {
    "kind": "wan",
    "sites": [{"name": "paris", "nodes": 3}, {"name": "tokyo", "nodes": 2}, {"name": "lima", "nodes": 1}],
    "latencies": [["0 s", "105 ms", "80 ms"], ["110 ms", "0 s", "150 ms"], ["81 ms", "151 ms", "0 s"]],
}
SIX_LINKS = [
    {"source": "node0", "target": "a.switch"},
    {"source": "node1", "target": "a.switch"},
    {"source": "node2", "target": "b.switch"},
    {"source": "node3", "target": "b.switch"},
    {"source": "node4", "target": "node3"},
    {"source": "node5", "target": "node0"},
    {"source": "a.switch", "target": "b.switch"},
    {"source": "node5", "target": "node4", "one_way": True},
]
# Each topology on six machines.
SIX: dict[str, dict[str, Any]] = {
    "star": {},
    "ring": {"topology": "ring"},
    "line": {"topology": "line"},
    "full": {"topology": "full"},
    "torus": {"topology": {"kind": "torus", "dimensions": [2, 3]}},
    "two_tier": {"topology": {"kind": "two_tier", "racks": 4}},
    "fat_tree": {"topology": "fat_tree"},
    "wan": {"topology": WAN},
    "graph": {"topology": "graph", "links": SIX_LINKS},
}


def network(topology: Any = "star", **keys: Any) -> Network:
    return Network.model_validate({"topology": topology, **keys})


def hosts(number: int, **own: dict[str, Any]) -> list[Host]:
    """Return node0, node1, ...; `node1={"latency": "1 ms"}` gives one something of its own."""
    return [Host.model_validate({"name": f"node{n}", **own.get(f"node{n}", {})}) for n in range(number)]


def named(graph: networkx.Graph[Any], names: dict[Any, str] | None = None) -> set[tuple[str, str]]:
    """Return the edges of a networkx graph of numbers, both ways, as edges between machines."""
    of = names or {number: f"node{number}" for number in graph}
    return {(of[a], of[b]) for one, other in graph.edges for a, b in ((one, other), (other, one))}


def pairs(settings: Network, number: int) -> set[tuple[str, str]]:
    return set(edges(settings, hosts(number)))


def world(settings: Network, number: int, *extra: Host) -> tuple[networkx.DiGraph[str], Routes, list[str]]:
    machines = hosts(number)
    graph = build(settings, machines, extra)
    return graph, Routes(graph, machines), [host.name for host in machines]


def routes_of(graph: networkx.DiGraph[str], names: list[str]) -> Routes:
    return Routes(graph, [Host(name=name) for name in names])


# --- edges ------------------------------------------------------------------------------------------------------------


def test_direct_topologies_have_the_edges_of_networkx() -> None:
    for number in range(1, 9):
        cycle = networkx.cycle_graph(number)
        cycle.remove_edges_from(list(networkx.selfloop_edges(cycle)))
        assert pairs(network("ring"), number) == named(cycle)
        assert pairs(network("line"), number) == named(networkx.path_graph(number))
        assert pairs(network("full"), number) == named(networkx.complete_graph(number))
        assert pairs(network("star"), number) == {
            edge for n in range(number) for edge in ((f"node{n}", "switch"), ("switch", f"node{n}"))
        }


@pytest.mark.parametrize("dimensions", [[1], [2], [5], [2, 2], [3, 4], [1, 5, 1], [2, 3, 4], [4, 4, 4], [2, 2, 2, 2]])
def test_a_torus_is_the_periodic_grid_of_networkx(dimensions: list[int]) -> None:
    number = math.prod(dimensions)
    grid = networkx.grid_graph(tuple(reversed(dimensions)), periodic=True)
    grid = networkx.Graph(edge for edge in grid.edges if edge[0] != edge[1])
    order = sorted(itertools.product(*map(range, dimensions)))
    as_point = (lambda point: point) if len(dimensions) > 1 else (lambda point: point[0])
    names = {as_point(point): f"node{n}" for n, point in enumerate(order)}
    assert pairs(network({"kind": "torus", "dimensions": dimensions}), number) == named(grid, names)


def test_a_torus_lists_neighbours_by_dimension_and_plus_before_minus() -> None:
    place = dict(enumerate(itertools.product(range(4), range(5))))
    x, y = place[7]
    assert [place[index] for index in neighbours(7, [4, 5])] == [(x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)]
    graph, _, _ = world(network({"kind": "torus", "dimensions": [4, 5]}), 20)
    assert list(graph.successors("node7")) == [f"node{index}" for index in neighbours(7, [4, 5])]


@pytest.mark.parametrize(
    ("machines", "racks", "sizes"), [(8, 4, [2] * 4), (7, 3, [3, 2, 2]), (3, 3, [1] * 3), (5, 1, [5])]
)
def test_racks_are_filled_in_order_and_evenly(machines: int, racks: int, sizes: list[int]) -> None:
    graph, _, names = world(network({"kind": "two_tier", "racks": racks}), machines)
    filled = [[name for name in names if graph.has_edge(name, f"rack{rack}.switch")] for rack in range(racks)]
    assert [len(rack) for rack in filled] == sizes
    assert list(itertools.chain(*filled)) == names


def test_the_link_of_a_rack_is_oversubscribed_in_whole_bits() -> None:
    settings = network({"kind": "two_tier", "racks": 2, "oversubscription": 0.3}, bandwidth="1000 bit/s")
    graph = build(settings, hosts(3, node0={"bandwidth": "7 bit/s"}))
    assert graph.edges["rack0.switch", "core.switch"]["bandwidth"] == 1007 * 10 // 3
    assert graph.edges["core.switch", "rack1.switch"]["bandwidth"] == 1000 * 10 // 3
    tiny = build(network({"kind": "two_tier", "racks": 1, "oversubscription": 1000}, bandwidth="1 bit/s"), hosts(1))
    assert tiny.edges["rack0.switch", "core.switch"]["bandwidth"] == 1


@pytest.mark.parametrize("k", [2, 4, 6, 8])
def test_a_fat_tree_is_as_al_fares_describes_it(k: int) -> None:
    graph, _, names = world(network({"kind": "fat_tree", "k": k}), k**3 // 4)
    switches = [name for name in graph if name not in names]
    assert len(switches) == k * k + (k // 2) ** 2
    assert all(graph.out_degree(switch) == graph.in_degree(switch) == k for switch in switches)
    cores = [switch for switch in switches if switch.startswith("core")]
    assert len(cores) == (k // 2) ** 2
    for core in cores:
        assert sorted(name.split(".")[0] for name in graph.successors(core)) == sorted(f"pod{pod}" for pod in range(k))
    # The machines of one edge switch, then of one pod, are neighbours in the list.
    for name, number in zip(names, itertools.count()):
        (edge,) = graph.successors(name)
        assert edge == f"pod{number // (k * k // 4)}.edge{number // (k // 2) % (k // 2)}"
    for one, other in itertools.combinations(names[:: max(1, len(names) // 8)], 2):
        assert networkx.shortest_path_length(graph, one, other) in (2, 4, 6)


@pytest.mark.parametrize(("machines", "k"), [(1, 2), (2, 2), (3, 4), (16, 4), (17, 6), (54, 6), (55, 8)])
def test_a_fat_tree_without_k_is_the_least_that_fits(machines: int, k: int) -> None:
    assert pairs(network("fat_tree"), machines) == pairs(network({"kind": "fat_tree", "k": k}), machines)


def test_a_wan_has_each_latency_in_its_direction() -> None:
    graph, routes, _ = world(network({**WAN, "bandwidth": "200 Mbit/s"}, latency="1 ms"), 6)
    assert graph.edges["paris.switch", "tokyo.switch"] == {"bandwidth": 200_000_000, "latency_ns": 105 * MS, "drop": 0}
    assert graph.edges["tokyo.switch", "paris.switch"]["latency_ns"] == 110 * MS
    assert path_latency_ns(graph, routes.links("node4", "node5")) == (1 + 150 + 1) * MS
    assert path_latency_ns(graph, routes.links("node0", "node2")) == 2 * MS
    assert (
        world(network(WAN, bandwidth="3 Mbit/s"), 6)[0].edges["paris.switch", "lima.switch"]["bandwidth"] == 3 * 10**6
    )


def test_a_graph_has_the_links_that_are_listed() -> None:
    graph, _, _ = world(network(**SIX["graph"]), 6)
    assert graph.has_edge("node5", "node4")
    assert not graph.has_edge("node4", "node5")
    assert graph.number_of_edges() == 2 * len(SIX_LINKS) - 1


@pytest.mark.parametrize("kind", SIX)
def test_every_edge_says_its_bandwidth_latency_and_drop_in_integers(kind: str) -> None:
    graph = build(network(**SIX[kind], drop="2 %"), hosts(6, node1={"processes": 2}))
    for source, target, attributes in graph.edges(data=True):
        assert set(attributes) == {"bandwidth", "latency_ns", "drop"}
        assert {type(value) for value in attributes.values()} == {int}
        assert attributes["drop"] == (0 if source == target else 20_000)
    assert graph.edges["node1", "node1"] == {"bandwidth": 100 * GBIT, "latency_ns": 1 * US, "drop": 0}
    assert [edge for edge in graph.edges if edge[0] == edge[1]] == [("node1", "node1")]


@pytest.mark.parametrize("kind", SIX)
def test_a_machines_own_bandwidth_and_latency_hold_for_its_own_links(kind: str) -> None:
    own = {"node1": {"bandwidth": "7 bit/s", "latency": "9 ms"}}
    graph = build(network(**SIX[kind]), hosts(6, **own))
    # At a switch both ways; between machines only what leaves.
    slow = {edge for edge in graph.edges if graph.edges[edge]["latency_ns"] == 9 * MS}
    expected = {edge for edge in graph.edges if edge[0] == "node1" or (edge[1] == "node1" and "switch" in edge[0])}
    expected |= {edge for edge in graph.edges if edge[1] == "node1" and ".edge" in edge[0]}
    assert slow == expected
    assert slow
    assert {edge for edge in graph.edges if graph.edges[edge]["bandwidth"] == 7} == expected


def test_in_a_graph_a_links_own_figures_are_before_those_of_its_machines() -> None:
    links = [
        {"source": "node0", "target": "node1", "latency": "3 ms", "drop": "5 %"},
        {"source": "node1", "target": "x.switch"},
        {"source": "x.switch", "target": "y.switch"},
    ]
    settings = network("graph", links=links, latency="1 ms", drop="1 %")
    graph = build(settings, hosts(2, node0={"latency": "8 ms"}, node1={"latency": "9 ms", "bandwidth": "7 bit/s"}))
    figures = {edge: tuple(graph.edges[edge].values()) for edge in graph.edges}
    assert figures["node0", "node1"] == (GBIT, 3 * MS, 50_000)
    assert figures["node1", "node0"] == (7, 3 * MS, 50_000)
    assert figures["node1", "x.switch"] == figures["x.switch", "node1"] == (7, 9 * MS, 10_000)
    assert figures["x.switch", "y.switch"] == (GBIT, 1 * MS, 10_000)


EXTRA_LINKS = {
    "star": ["switch"],
    "two_tier": ["core.switch"],
    "fat_tree": ["core0.switch"],
    "wan": ["paris.switch"],
    "full": ["node0", "node1", "node2", "node3", "node4", "node5"],
    "ring": ["node0"],
    "line": ["node0"],
    "torus": ["node0"],
    "graph": ["node0"],
}


@pytest.mark.parametrize("kind", SIX)
def test_where_a_machine_that_a_strategy_adds_is_linked(kind: str) -> None:
    plain = build(network(**SIX[kind]), hosts(6))
    graph = build(network(**SIX[kind]), hosts(6), [Host(name="server0", latency="4 ms")])
    assert list(graph.successors("server0")) == list(graph.predecessors("server0")) == EXTRA_LINKS[kind]
    assert all(graph.edges["server0", end]["latency_ns"] == 4 * MS for end in EXTRA_LINKS[kind])
    graph.remove_node("server0")
    assert {edge: graph.edges[edge] for edge in graph.edges} == {edge: plain.edges[edge] for edge in plain.edges}


def test_in_a_graph_an_added_machine_has_the_links_that_name_it_and_only_if_it_is_there() -> None:
    links = [*SIX_LINKS, {"source": "server0", "target": "b.switch", "latency": "7 ms"}]
    settings = network("graph", links=links)
    assert "server0" not in build(settings, hosts(6))
    graph = build(settings, hosts(6), [Host(name="server0"), Host(name="rendezvous")])
    assert list(graph.successors("server0")) == ["b.switch"]
    assert graph.edges["b.switch", "server0"]["latency_ns"] == 7 * MS
    assert list(graph.successors("rendezvous")) == ["node0"]


def test_links_change_what_they_say_and_nothing_else() -> None:
    links = [
        {"source": "node1", "target": "switch", "latency": "5 ms", "one_way": True},
        {"source": "node2", "target": "switch", "bandwidth": "3 bit/s", "drop": "1 %"},
        {"source": "server0", "target": "switch", "latency": "8 ms"},
    ]
    before, after = edges(network(), hosts(4)), edges(network(links=links), hosts(4))
    changed = {edge: after[edge][2:] for edge in before if after[edge] != before[edge]}
    assert changed == {
        ("node1", "switch"): (GBIT, 5 * MS, 0),
        ("node2", "switch"): (3, 50 * US, 10_000),
        ("switch", "node2"): (3, 50 * US, 10_000),
    }
    assert list(after) == list(before)
    with_server = edges(network(links=links), hosts(4), [Host(name="server0")])
    assert with_server["switch", "server0"].latency_ns == 8 * MS


# --- routes -----------------------------------------------------------------------------------------------------------


def check_routes(graph: networkx.DiGraph[str], routes: Routes, names: list[str]) -> None:
    """The route of each pair has the fewest links, each of them exists, and places on the way agree how to go on."""
    fewest = dict(networkx.all_pairs_shortest_path_length(graph))
    for source, target in itertools.permutations(names, 2):
        way = routes.links(source, target)
        assert len(way) == fewest[source][target]
        assert (way[0][0], way[-1][1]) == (source, target)
        assert all(link in graph.edges for link in way)
        assert all(first[1] == second[0] for first, second in itertools.pairwise(way))
        for index, (here, following) in enumerate(way):
            assert routes.following(here, target) == following
            if here in names:
                assert routes.links(here, target) == way[index:]


@pytest.mark.parametrize("kind", SIX)
def test_routes_have_the_fewest_links(kind: str) -> None:
    graph, routes, names = world(network(**SIX[kind]), 6, Host(name="server0"))
    check_routes(graph, routes, [*names, "server0"])


@st.composite
def connected_graphs(draw: st.DrawFn) -> tuple[networkx.DiGraph[str], list[str]]:
    """Draw machines and switches, a circle through all of them that makes the graph connected, and more links."""
    names = [f"node{n}" for n in range(draw(st.integers(2, 6)))]
    nodes = draw(st.permutations([*names, *(f"s{n}.switch" for n in range(draw(st.integers(0, 5))))]))
    graph: networkx.DiGraph[str] = networkx.DiGraph()
    tree = draw(st.booleans())
    if tree:
        for index, name in enumerate(nodes[1:], start=1):
            other = nodes[draw(st.integers(0, index - 1))]
            graph.add_edges_from([(name, other), (other, name)])
    else:
        networkx.add_cycle(graph, nodes)
    for one, other in draw(st.lists(st.tuples(st.sampled_from(nodes), st.sampled_from(nodes)), max_size=12)):
        graph.add_edge(one, other)  # Loopbacks too: they must never be part of a way.
        if draw(st.booleans()):
            graph.add_edge(other, one)
    return graph, names


@given(connected_graphs())
@settings(max_examples=300, deadline=None)
def test_routes_over_any_graph_have_the_fewest_links(drawn: tuple[networkx.DiGraph[str], list[str]]) -> None:
    graph, names = drawn
    check_routes(graph, routes_of(graph, names), names)


@given(connected_graphs())
@settings(max_examples=150, deadline=None)
def test_a_machine_passes_on_to_the_first_and_a_switch_by_the_number_of_the_destination(
    drawn: tuple[networkx.DiGraph[str], list[str]],
) -> None:
    graph, names = drawn
    routes = routes_of(graph, names)
    fewest = dict(networkx.all_pairs_shortest_path_length(graph))
    beside = {end for name in names for end in graph.successors(name)}
    for target in names:
        for here in set(graph) - {target}:
            nearer = [other for other in graph.successors(here) if fewest[other][target] < fewest[here][target]]
            if here in names:
                assert routes.following(here, target) == nearer[0]
            elif here in beside:
                assert routes.following(here, target) == nearer[names.index(target) % len(nearer)]


def test_a_torus_goes_dimension_by_dimension_and_forwards_to_the_opposite() -> None:
    _, routes, names = world(network({"kind": "torus", "dimensions": [4, 5]}), 20)
    place = dict(zip(names, itertools.product(range(4), range(5)), strict=True))
    for source, target in itertools.permutations(names, 2):
        way = [place[source], *(place[end] for _, end in routes.links(source, target))]
        # What the textbook does, with no graph: finish one dimension, the shorter way round, then the next.
        expected, here = [place[source]], list(place[source])
        for axis, size in enumerate((4, 5)):
            ahead = (place[target][axis] - here[axis]) % size
            step = 1 if ahead <= size - ahead else -1
            while here[axis] != place[target][axis]:
                here[axis] = (here[axis] + step) % size
                expected.append(tuple(here))
        assert way == expected


@pytest.mark.parametrize("k", [4, 6, 8])
def test_shifts_meet_nowhere_in_a_full_fat_tree_and_use_its_whole_core(k: int) -> None:
    number = k**3 // 4
    graph, routes, names = world(network({"kind": "fat_tree", "k": k}), number, Host(name="server0"))
    into_core = {edge for edge in graph.edges if edge[1].startswith("core") and "aggregation" in edge[0]}
    for shift in range(1, number):
        used = loads(routes, [(name, names[(n + shift) % number]) for n, name in enumerate(names)])
        assert set(used.values()) == {1}
        if k * k // 4 <= shift <= number - k * k // 4:  # So far that every message leaves its pod.
            assert into_core <= set(used)


def test_one_machine_of_many_ranks_uses_its_loopback() -> None:
    graph = build(network(), hosts(2, node0={"processes": 4}))
    assert routes_of(graph, ["node0", "node1"]).links("node0", "node0") == (("node0", "node0"),)


@pytest.mark.parametrize("ways", ["ab ba cd dc", "ab bc cd db", "ab ba cd dc ce ec de ed"])
def test_where_there_is_no_way_a_sentence_says_so(ways: str) -> None:
    graph = networkx.DiGraph(tuple(way) for way in ways.split())
    with pytest.raises(UsageError, match=r"there is no way from \w to a"):
        routes_of(graph, list("abcd")).links("d", "a")


# --- the order of a ring ----------------------------------------------------------------------------------------------


def cost(graph: networkx.DiGraph[str], routes: Routes, order: list[str]) -> tuple[float, int]:
    ways = [routes.links(name, order[(n + 1) % len(order)]) for n, name in enumerate(order)]
    used = Counter(itertools.chain.from_iterable(ways))
    return max(number / graph.edges[link]["bandwidth"] for link, number in used.items()), sum(used.values())


def alone(names: list[str]) -> list[tuple[str, str]]:
    return [(name, name) for name in names]


def test_machines_that_are_listed_across_racks_are_brought_together() -> None:
    settings = network({"kind": "two_tier", "racks": 2})
    graph, routes, names = world(settings, 8)
    across = [names[n // 2 + 4 * (n % 2)] for n in range(8)]
    order = list(ring_order(graph, routes, alone(across)))
    assert sorted(order) == sorted(names)
    assert order[0] == across[0]
    crossings = [
        (one, other)
        for one, other in zip(order, [*order[1:], order[0]], strict=True)
        if len(routes.links(one, other)) > 2
    ]
    assert len(crossings) == 2


def test_ranks_of_one_machine_stand_together() -> None:
    graph = build(network(), hosts(2, node0={"processes": 2}, node1={"processes": 2}))
    ranks = [("node0.0", "node0"), ("node1.0", "node1"), ("node0.1", "node0"), ("node1.1", "node1")]
    assert ring_order(graph, routes_of(graph, ["node0", "node1"]), ranks) == (
        "node0.0",
        "node0.1",
        "node1.0",
        "node1.1",
    )


@pytest.mark.parametrize("kind", ["star", "ring", "full", "fat_tree", "two_tier"])
def test_a_good_order_is_left_as_it_is(kind: str) -> None:
    graph, routes, names = world(network(**SIX[kind]), 6)
    assert list(ring_order(graph, routes, alone(names))) == names


def test_in_a_grid_a_ring_of_its_links_is_found() -> None:
    graph, routes, names = world(network({"kind": "torus", "dimensions": [4, 4]}), 16)
    assert cost(graph, routes, names)[1] > len(names), "as listed, the ends of rows are not neighbours"
    assert cost(graph, routes, list(ring_order(graph, routes, alone(names))))[1] == len(names)


@given(connected_graphs(), st.data())
@settings(max_examples=150, deadline=None)
def test_the_order_of_a_ring_is_never_worse_than_as_listed(
    drawn: tuple[networkx.DiGraph[str], list[str]], data: st.DataObject
) -> None:
    graph, names = drawn
    for edge in graph.edges:
        graph.edges[edge]["bandwidth"] = data.draw(st.integers(1, 4))
    routes = routes_of(graph, names)
    listed = data.draw(st.permutations(names))
    order = list(ring_order(graph, routes, alone(listed)))
    assert sorted(order) == sorted(names)
    assert cost(graph, routes, order) <= cost(graph, routes, listed)


def test_the_order_does_not_depend_on_the_hash_seed() -> None:
    code = (
        "from ringsim.scenario import Host, Network\nfrom ringsim.topology import Routes, build, ring_order\n"
        "from ringsim.topology.facts import bisection\n"
        "names = [f'node{n * 5 % 12}' for n in range(12)]\n"
        "graph = build(Network.model_validate({'topology': {'kind': 'torus', 'dimensions': [3, 4]}}), [Host(name=n) for n in names])\n"
        "routes = Routes(graph, [Host(name=n) for n in names])\n"
        "print(ring_order(graph, routes, [(n, n) for n in reversed(names)]), bisection(graph, routes, names))\n"
    )
    told = {
        subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": seed},
                       capture_output=True, text=True, check=True).stdout
        for seed in "123"
    }  # fmt: skip
    assert len(told) == 1


# --- facts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SIX)
def test_the_diameter_is_the_longest_of_all_routes(kind: str) -> None:
    slow = hosts(6, node2={"latency": "3 ms"}, node3={"latency": "1 ms"})
    graph = build(network(**SIX[kind]), slow)
    names = [host.name for host in slow]
    routes = Routes(graph, slow)
    ways = [routes.links(*pair) for pair in itertools.permutations(names, 2)]
    longest_ns = max(sum(graph.edges[link]["latency_ns"] for link in way) for way in ways)
    assert diameter(graph, routes, names) == Diameter(max(map(len, ways)), longest_ns)


def test_the_diameter_of_one_machine_is_nothing() -> None:
    graph, routes, names = world(network(), 1)
    assert diameter(graph, routes, names) == Diameter(0, 0)
    assert bisection(graph, routes, names).bandwidth == 0


def torus_bisection(dimensions: list[int]) -> int:
    """Return how many links, each way, a torus of one even greatest dimension k > 2 has between its halves: 2 N/k."""
    return 2 * math.prod(dimensions) // max(dimensions)


BISECTIONS = [
    ("star", 8, 4), ("star", 7, 3), ("star", 64, 32),
    ("ring", 8, 2), ("ring", 10, 2), ("ring", 100, 2), ("ring", 2, 1),
    ("line", 8, 1), ("line", 40, 1),
    ("full", 6, 9), ("full", 7, 12), ("full", 20, 100),
    ({"kind": "torus", "dimensions": [2, 4]}, 8, torus_bisection([2, 4])),
    ({"kind": "torus", "dimensions": [4, 4]}, 16, torus_bisection([4, 4])),
    ({"kind": "torus", "dimensions": [4, 8]}, 32, torus_bisection([4, 8])),
    ({"kind": "torus", "dimensions": [8, 4]}, 32, torus_bisection([8, 4])),
    ({"kind": "torus", "dimensions": [4, 4, 4]}, 64, torus_bisection([4, 4, 4])),
    ({"kind": "two_tier", "racks": 2, "oversubscription": 4}, 8, 1),
    ({"kind": "two_tier", "racks": 4, "oversubscription": 4}, 32, 4),
    ({"kind": "two_tier", "racks": 4}, 16, 8),
    ("fat_tree", 2, 1), ("fat_tree", 10, 5), ("fat_tree", 16, 8), ("fat_tree", 54, 27),
]  # fmt: skip


@pytest.mark.parametrize(("topology", "machines", "links"), BISECTIONS, ids=str)
def test_the_bisection_is_that_of_the_closed_form(topology: Any, machines: int, links: int) -> None:
    found = bisection(*world(network(topology), machines))
    assert found.bandwidth == links * GBIT
    assert found.exact == (machines <= 10)


def test_a_graph_with_a_hidden_bottleneck_is_halved_there() -> None:
    # Machines of the two sides alternate in the list, so no cut in order finds it.
    links = [{"source": f"node{n}", "target": "ab"[n % 2] + ".switch"} for n in range(20)]
    links.append({"source": "a.switch", "target": "b.switch", "bandwidth": "3 Mbit/s"})
    assert bisection(*world(network("graph", links=links), 20)).bandwidth == 3_000_000


def test_the_direction_that_has_less_counts() -> None:
    links = [{"source": "node0", "target": "node1", "bandwidth": "5 bit/s", "one_way": True}]
    assert bisection(*world(network("full", links=links), 2)).bandwidth == 5


@given(connected_graphs(), st.data())
@settings(max_examples=60, deadline=None)
def test_tried_halves_never_say_less_than_all_halves(
    drawn: tuple[networkx.DiGraph[str], list[str]], data: st.DataObject
) -> None:
    graph, names = drawn
    for edge in graph.edges:
        graph.edges[edge]["bandwidth"] = data.draw(st.integers(1, 4))
    routes = routes_of(graph, names)
    flows = []
    for half in itertools.combinations(names, len(names) // 2):
        wide = networkx.DiGraph(graph)
        wide.add_edges_from(("from", name) for name in half)
        wide.add_edges_from((name, "to") for name in names if name not in half)
        flows.append(networkx.maximum_flow_value(wide, "from", "to", capacity="bandwidth"))
    if len(names) % 2 == 0:
        assert bisection(graph, routes, names).bandwidth == min(flows)
    else:
        assert bisection(graph, routes, names).bandwidth <= min(flows)
    tried = list(_canonical_halves(graph, routes, names))
    assert all(len(half) == len(set(half)) == len(names) // 2 for half in tried)


@pytest.mark.parametrize(("machines", "racks"), [(12, 5), (13, 3), (16, 5), (130, 2)])
def test_the_bisection_does_not_depend_on_how_racks_are_listed(machines: int, racks: int) -> None:
    tiers = {"kind": "two_tier", "racks": racks, "oversubscription": 4}
    blocks, in_turn = (
        bisection(*world(network({**tiers, "placement": placement}), machines)) for placement in ("blocks", "in_turn")
    )
    assert in_turn == blocks


# --- scenario files ---------------------------------------------------------------------------------------------------

FILE = """\
name: demo
task: {{epochs: 3}}
cluster:
  nodes: {nodes}
  network:
    {network}
strategy: {{name: ring}}
"""


def text(network: str, nodes: int = 4) -> str:
    return FILE.format(nodes=nodes, network=network)


def mistakes(source: str, *overrides: str, name: str = "f.yaml") -> list[str]:
    with pytest.raises(ScenarioInvalid) as caught:
        parse(source, name, overrides)
    return [str(problem).removeprefix("f.yaml:").replace("cluster.network.", "") for problem in caught.value.problems]


TWO_SITES = "{kind: wan, sites: [{name: a, nodes: 2}, {name: b, nodes: 2}], latencies: %s}"

WRONG = [
    ("topology: rign", "6:15: topology.kind: there is no topology \"rign\"; choose star, ring, line, full, torus, two_tier, fat_tree, wan or graph; did you mean \"ring\"?"),
    ("topology: torus", '6:5: topology: lacks the key "dimensions", such as dimensions: [2, 2]'),
    ("topology: {kind: ring, racks: 2}", '6:28: topology.racks: "racks" belongs to topology two_tier, and here it is ring'),
    ("topology: {kind: torus, dimensions: [3, 2]}", "6:29: topology.dimensions: must have the product 4, for 4 machines, such as [2, 2]; not 6"),
    ("topology: {kind: torus, dimensions: []}", "6:29: topology.dimensions: must have the product 4, for 4 machines, such as [2, 2]; not 1"),
    ("topology: {kind: torus, dimensions: [0, 2]}", "6:42: topology.dimensions[0]: must be at least 1, not 0"),
    ("topology: {kind: two_tier, racks: 5}", "6:39: topology.racks: must be at most 4, the number of machines, not 5"),
    ("topology: {kind: fat_tree, k: 5}", "6:35: topology.k: must be even, such as 6: half of a switch's ports lead up; not 5"),
    ("topology: {kind: fat_tree, k: 2}", "6:35: topology.k: must be at least 4 for 4 machines, not 2, which has room for 2; or leave the key out"),
    (f"topology: {TWO_SITES % '[[0 s, 1 ms], [1 ms]]'}", "6:78: topology.latencies: must be 2 rows of 2: from each site to each, with 0 s to itself; not a row of 1"),
    (f"topology: {TWO_SITES % '[[0 s, 1 ms]]'}", "6:78: topology.latencies: must be 2 rows of 2: from each site to each, with 0 s to itself; not 1 of them"),
    (f"topology: {TWO_SITES % '[[0 s, 1 ms], [1 ms, 2 ms]]'}", "6:110: topology.latencies[1][1]: is from b to itself, so it must be 0 s; latency says how long a link there is"),
    (f"topology: {TWO_SITES % '[[0 s, 1 ms], [1 ms, 0 s]]'}".replace("nodes: 2", "nodes: 3", 1), "6:27: topology.sites: must have 4 nodes together, the number of machines, not 5"),
    (f"topology: {TWO_SITES % '[[0 s, 1 ms], [1 ms, 0 s]]'}".replace("name: b", "name: a", 1), '6:63: topology.sites[1].name: "a" is the name of topology.sites[0] already; choose another'),
    ("topology: graph", "6:5: topology: lacks its links; write them in network.links, such as [{source: node0, target: node1}], or name a file: {kind: graph, file: net.graphml}"),
    ("drop: 100 %", "6:11: drop: must be less than 100 %, or nothing ever arrives; not 100 %"),
    ("links: [{source: node0, target: switch, drop: 120 %}]", "6:51: links[0].drop: must be less than 100 %, or nothing ever arrives; not 120 %"),
    ("links: [{source: node0, target: node1}]", "6:13: links[0]: there is no link from node0 to node1; node0 has links to switch"),
    ("links: [{source: nod0, target: switch}]", '6:13: links[0]: there is no nod0 in this star; did you mean "node0"?'),
    ("links: [{source: node0, target: node0}]", "6:37: links[0].target: must be another one than the source: a link has two ends"),
    ("links: [{source: node0, target: switch}, {source: switch, target: node0, one_way: true}]", "6:46: links[1]: is a second link from switch to node0; links[0] is one already"),
    ("background: [{source: node0, target: node9}]", "6:42: background[0].target: there is no node9; the nodes are node0 to node3"),
    ("background: [{source: node0, target: node0}]", "6:42: background[0].target: must be another machine than the source"),
    ("background: [{source: node0, target: node1, start: 2 s, stop: 2 s}]", "6:67: background[0].stop: must be later than the start, or the flow never is"),
    ("background: [{source: node0, target: node1, burst: 2 s}]", '6:18: background[0]: lacks the key "pause" beside "burst"; write both, such as burst: 10 ms and pause: 90 ms'),
    ("background: [{source: node0, target: node1, pause: 2 s}]", '6:18: background[0]: lacks the key "burst" beside "pause"; write both, such as burst: 10 ms and pause: 90 ms'),
    ("transport: udp", '6:16: transport.kind: there is no transport "udp"; choose ideal, framed or tcp'),
    ("resend_after: 0 s", '6:19: resend_after: "0 s" is too small; it must be more than 0'),
]  # fmt: skip


@pytest.mark.parametrize(("keys", "expected"), WRONG, ids=[keys[:60] for keys, _ in WRONG])
def test_a_mistake_in_the_network_is_told_with_its_place(keys: str, expected: str) -> None:
    assert mistakes(text(keys)) == [expected]


def test_a_full_mesh_that_no_memory_holds_is_refused() -> None:
    expected = "6:5: topology: of 1025 machines would have 524,800 links; at most 1,024 can be linked so"
    assert mistakes(text("topology: full", nodes=1025)) == [expected]
    assert parse(text("topology: full", nodes=1024)).scenario


WRONG_GRAPHS = [
    ("{source: node0, target: node1}", "links: node2 has no link; write one for each machine"),
    ("{source: node0, target: server0}, {source: server0, target: node1}, {source: node1, target: node2}", "links: there is no way from node0 to node1 or node2; a graph must be connected in both directions, and ring adds no server0"),
    ("{source: node0, target: node1}, {source: node2, target: x.switch}", "links: there is no way from node0 to node2 or x.switch; a graph must be connected in both directions"),
    ("{source: node0, target: node1}, {source: node1, target: node2, one_way: true}", "links: there is no way from node2 to node0; a graph must be connected in both directions"),
    ("{source: node0, target: node1}, {source: node2, target: node1, one_way: true}", "links: there is no way from node0 to node2; a graph must be connected in both directions"),
    ("{source: node0, target: node1}, {source: node1, target: node0}, {source: node1, target: node2}", "links[1]: is a second link from node1 to node0; links[0] is one already"),
    ("{source: node0, target: node1}, {source: node2, target: hub}", "links[1].target: there is no hub; the nodes are node0 to node2; a switch has a dot in its name, such as hub.switch"),
]  # fmt: skip


@pytest.mark.parametrize(("links", "expected"), WRONG_GRAPHS, ids=[links[-50:] for links, _ in WRONG_GRAPHS])
def test_a_mistaken_graph_is_told(links: str, expected: str) -> None:
    (found,) = mistakes(text(f"topology: graph\n    links: [{links}]", nodes=3))
    assert found.split(": ", 1)[1] == expected


def test_a_name_alone_is_written_back_as_a_name() -> None:
    written = [
        parse(text(keys)).scenario for keys in ("topology: {kind: ring}", "topology: ring", "transport: {kind: ideal}")
    ]
    assert written[0] == written[1]
    assert "topology: ring\n" in dump(written[0])
    assert "topology: star\n" in dump(written[2])
    assert "transport: ideal\n" in dump(written[2])
    tcp = parse(text("{topology: {kind: fat_tree, k: 4}, transport: tcp}")).scenario
    assert parse(dump(tcp)).scenario == tcp
    assert "initial_window: 10\n" in dump(tcp)


def test_overrides_reach_into_a_name_and_replace_a_mapping() -> None:
    assert (
        parse(
            text("topology: fat_tree"), overrides=["cluster.network.topology.k=6"]
        ).scenario.cluster.network.topology.k
        == 6
    )
    for words in ("cluster.network.topology=ring", "cluster.network.topology.kind=ring"):
        assert (
            parse(text("topology: {kind: fat_tree, k: 4}"), overrides=[words]).scenario.cluster.network.topology.kind
            == "ring"
        )
    told = mistakes(text("topology: ring"), "cluster.network.topology=rnig")
    assert told[0].startswith('--set topology=rnig: topology.kind: there is no topology "rnig"')


def write_graph(folder: Path, graph: networkx.Graph[str], kind: str) -> str:
    path = folder / f"net.{kind}"
    if kind == "graphml":
        networkx.write_graphml(graph, path)
    else:
        data = networkx.node_link_data(graph, edges=kind.split(".")[0])
        path = folder / f"{kind.split('.')[0]}.json"
        path.write_text(json.dumps(data), encoding="utf-8")
    return path.name


@pytest.mark.parametrize("kind", ["graphml", "links.json", "edges.json"])
@pytest.mark.parametrize("directed", [False, True])
def test_a_graph_from_a_file_becomes_links(tmp_path: Path, kind: str, directed: bool) -> None:
    graph: Any = networkx.DiGraph() if directed else networkx.Graph()
    for n in range(4):
        graph.add_edge(f"node{n}", "west", bandwidth="2 Gbit/s", colour="red")
        if directed:
            graph.add_edge("west", f"node{n}", latency="7 ms")
    name = write_graph(tmp_path, graph, kind)
    path = tmp_path / "s.yaml"
    path.write_text(text(f"topology: {{kind: graph, file: {name}}}"))
    scenario = load(path).scenario
    assert parse(dump(scenario)).scenario == scenario, "it needs the file no more"
    found = edges(scenario.cluster.network, scenario.cluster.nodes)
    assert found["node3", "west.switch"].bandwidth == 2 * GBIT
    assert found["west.switch", "node3"][2:4] == ((GBIT, 7 * MS) if directed else (2 * GBIT, 50 * US))
    assert len(found) == 8


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("net.graphml", None, 'topology.file: there is no file "{folder}/net.graphml"'),
        ("net.txt", "x", 'topology.file: "net.txt" must end in .graphml or .json'),
        ("net.graphml", "<a", 'topology.file: "net.graphml" is no GraphML: '),
        ("net.graphml", "<a/>", 'topology.file: "net.graphml" is no GraphML: '),
        ("net.json", "{", 'topology.file: "net.json" is no JSON: '),
        ("net.json", "[1]", 'topology.file: "net.json" must have a list "links" (or "edges") whose entries have a source and a target'),
        ("net.json", '{"links": []}', 'topology.file: "net.json" has no links'),
        ("net.graphml", "<graphml xmlns='http://graphml.graphdrawing.org/xmlns'><graph edgedefault='directed'/></graphml>", 'topology.file: "net.graphml" has no links'),
        ("net.json", '{"links": [{"source": "node0"}]}', 'topology.file: "net.json" must have a list "links"'),
        ("net.json", '{"links": [{"source": "node0", "target": "x", "latency": "5"}]}', 'links[0].latency: "5" has no unit'),
        ("net.json", '{"links": [{"source": "node0", "target": "x"}]}', "links: node1, node2 and node3 have no links"),
    ],
)  # fmt: skip
def test_a_mistaken_file_is_told_where_it_is_named(
    tmp_path: Path, name: str, content: str | None, expected: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content, encoding="utf-8")
    source = str(tmp_path / "f.yaml")
    (told,) = mistakes(text(f"topology: {{kind: graph, file: {name}}}"), name=source)
    assert told.removeprefix(f"{source}:").split(": ", 1)[1].startswith(expected.format(folder=tmp_path))
    assert told.removeprefix(source).startswith(":6:")


def test_what_graphml_says_of_all_edges_holds_where_an_edge_says_nothing(tmp_path: Path) -> None:
    edges = "<edge source='node0' target='node1'/><edge source='node1' target='node2'><data key='d0'>9 ms</data></edge>"
    (tmp_path / "net.graphml").write_text(
        "<graphml xmlns='http://graphml.graphdrawing.org/xmlns'>"
        "<key id='d0' for='edge' attr.name='latency' attr.type='string'><default>7 ms</default></key>"
        f"<graph edgedefault='undirected'><node id='node0'/><node id='node1'/><node id='node2'/>{edges}</graph></graphml>"
    )
    links = parse(
        text("topology: {kind: graph, file: net.graphml}", 3), str(tmp_path / "f.yaml")
    ).scenario.cluster.network.links
    assert [link.latency for link in links] == [7 * MS, 9 * MS]


def test_a_graph_may_hang_together_by_what_its_strategy_adds() -> None:
    source = text("topology: graph\n    links: [{source: node0, target: server0}, {source: server0, target: node1}]", 2)
    assert parse(source, overrides=["strategy.name=parameter_server"]).scenario.cluster.network.links
    assert len(mistakes(source)) == 1
    assert len(mistakes(source, "strategy.on_failure=elastic")) == 1


def test_a_collective_alone_has_no_machine_that_a_strategy_adds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = text("topology: graph\n    links: [{source: node0, target: server0}, {source: server0, target: node1}]", 2)
    path = tmp_path / "f.yaml"
    path.write_text(source.replace("name: ring", "name: parameter_server"))
    assert run_command(["collective", str(path), "--algorithm", "ring", "--size", "4KB"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == "error: there is no way from node0 to node1 through the machines and switches that are here"
    assert run_command(["collective", str(path), "--algorithm", "parameter_server", "--size", "4KB"]) == 0


@pytest.mark.parametrize("name", STRATEGIES, ids=str)
def test_what_a_strategy_is_said_to_add_is_what_it_adds(name: tuple[str, str | None]) -> None:
    strategy = {"name": name[0]} | ({} if name[1] is None else {"on_failure": name[1]})
    scenario = Scenario.model_validate(
        {"name": "a", "task": {"steps": 1}, "cluster": {"nodes": 2}, "strategy": strategy}
    )
    assert added_machines(scenario.strategy) == tuple(host.name for host in deploy(scenario).machines)


def test_a_file_stands_alone(tmp_path: Path) -> None:
    keys = "topology: {kind: graph, file: net.json}\n    links: [{source: node0, target: node1}]"
    assert mistakes(text(keys)) == ["6:35: topology.file: stands beside links; keep one of them"]


def test_a_scenario_that_was_made_in_python_cannot_name_a_file() -> None:
    scenario = parse(text("topology: star")).scenario.model_dump()
    scenario["cluster"]["network"]["topology"] = {"kind": "graph", "file": "net.json"}
    from ringsim import simulate
    from ringsim.scenario import Scenario

    with pytest.raises(ScenarioInvalid, match=r"is read with a scenario file; here, give network.links instead"):
        simulate(Scenario.model_validate(scenario))


def test_links_may_name_machines_that_a_strategy_may_add() -> None:
    keys = "links: [{source: server0, target: switch, latency: 5 ms}, {source: rendezvous, target: switch}]"
    assert parse(text(keys)).scenario.cluster.network.links


# --- inspect ----------------------------------------------------------------------------------------------------------

ACROSS = "[{name: a}, {name: c}, {name: b, latency: 1 ms}, {name: d}]"


@pytest.fixture
def racks(tmp_path: Path) -> str:
    """A ring that is listed across two racks: a and c are in one, b and d in the other."""
    path = tmp_path / "racks.yaml"
    links = "topology: graph\n    links: [{source: a, target: r0.switch}, {source: b, target: r0.switch}, "
    links += "{source: c, target: r1.switch}, {source: d, target: r1.switch}, "
    links += "{source: r0.switch, target: r1.switch, bandwidth: 500 Mbit/s, latency: 70 us}]"
    path.write_text(text(links).replace("nodes: 4", f"nodes: {ACROSS}"))
    return str(path)


def printed(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert run_command(["inspect", *arguments]) == code
    told = capsys.readouterr()
    return told.out if code == 0 else told.err


def test_inspect_tells_everything_as_json(racks: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads(printed(capsys, racks, "--from", "b", "--to", "c", "--collective", "ring", "--json"))
    assert (told["scenario"], told["topology"], told["added"]) == ("demo", "graph", [])
    assert told["machines"] == ["a", "c", "b", "d"]
    assert sorted(told["switches"]) == ["r0.switch", "r1.switch"]
    assert len(told["links"]) == 10
    middle = {"bandwidth": 500 * 10**6, "latency_ns": 70 * US, "drop_ppm": 0}
    assert {"source": "r1.switch", "target": "r0.switch", **middle} in told["links"]
    assert told["diameter"] == {"links": 3, "latency_ns": MS + 70 * US + 50 * US}
    assert told["bisection"] == {"bandwidth": 500 * 10**6, "exact": True}
    assert told["route"] == {
        "links": [["b", "r0.switch"], ["r0.switch", "r1.switch"], ["r1.switch", "c"]],
        "latency_ns": MS + 70 * US + 50 * US,
        "bandwidth": 500 * 10**6,
    }
    ring = told["collective"]
    assert (ring["connections"], ring["links"]) == (4, 12)
    assert ring["shared"] == [
        {"source": "r0.switch", "target": "r1.switch", "connections": 2},
        {"source": "r1.switch", "target": "r0.switch", "connections": 2},
    ]
    assert ring["topology_order"] == {"ranks": ["a", "b", "c", "d"], "connections": 4, "links": 10, "shared": []}


def test_inspect_prints_what_a_person_asks(racks: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        printed(capsys, racks, "--from", "b", "--to", "c", "--collective", "ring")
        == """\
topology    graph: 4 machines, 2 switches
diameter    3 links; 1.12 ms the longest path latency
bisection   500 Mbit/s, the least over all halves
route       b -> r0.switch -> r1.switch -> c: 1.12 ms, 500 Mbit/s
ring        4 connections over 12 links, at most 2 on one direction
            r0.switch -> r1.switch: 2
            r1.switch -> r0.switch: 2
best order  a, b, c, d: 4 connections over 10 links, no two on one direction of a link

link                      bandwidth  latency  drop
a <-> r0.switch            1 Gbit/s    50 us   0 %
b <-> r0.switch            1 Gbit/s     1 ms   0 %
r0.switch <-> r1.switch  500 Mbit/s    70 us   0 %
c <-> r1.switch            1 Gbit/s    50 us   0 %
d <-> r1.switch            1 Gbit/s    50 us   0 %
"""
    )


def test_a_long_list_is_shortened(capsys: pytest.CaptureFixture[str]) -> None:
    told = printed(capsys, "4node", "--set", "cluster.nodes=100")
    assert "\n... and 84 more; all of them with --json\n" in told
    assert "at most 500 Mbit/s, the least of the halves that were tried" in told
    all_of_them = json.loads(printed(capsys, "4node", "--set", "cluster.nodes=100", "--json"))
    assert len(all_of_them["links"]) == 200


def test_directions_that_differ_have_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    link = "cluster.network.links=[{source: node0, target: switch, latency: 9 ms, one_way: true}]"
    told = printed(capsys, "1node", "--set", link, "--set", "cluster.nodes=[{processes: 2}]")
    lines = [" ".join(line.split()) for line in told.splitlines()]
    for line in ("node0 -> switch 10 Mbit/s 9 ms 0 %", "switch -> node0 10 Mbit/s 1 ms 0 %"):
        assert line in lines
    assert "loopback of node0 100 Gbit/s 1 us 0 %" in lines


def test_inspect_counts_what_a_strategy_adds(capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads(printed(capsys, "4node_ps", "--from", "server0", "--to", "node3", "--json"))
    assert told["added"] == ["server0"]
    assert told["route"]["links"] == [["server0", "switch"], ["switch", "node3"]]
    itself = json.loads(printed(capsys, "4node_ps", "--from", "node1", "--to", "node1", "--json"))
    assert itself["route"]["links"] == []


def test_a_tree_of_all_collectives_shares_the_links_of_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["4node", "--set", "cluster.network.topology=line", "--collective", "tree", "--json"]
    tree = json.loads(printed(capsys, *arguments))["collective"]
    # Rank 0 has the children 1 and 2, and 1 has 3: one link, two and two, each way.
    assert (tree["connections"], tree["links"]) == (6, 10)
    assert "topology_order" not in tree


@pytest.mark.parametrize("scenario", ["4node", "4node_ps"])  # Only the second has a server of its own.
def test_everybody_meets_on_the_link_of_a_server(scenario: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads(printed(capsys, scenario, "--collective", "parameter_server", "--json"))["collective"]
    assert (told["connections"], told["links"]) == (8, 16)
    assert told["shared"] == [
        {"source": "switch", "target": "server0", "connections": 4},
        {"source": "server0", "target": "switch", "connections": 4},
    ]
    told = json.loads(printed(capsys, scenario, "--collective", "broadcast", "--json"))["collective"]
    assert (told["connections"], told["shared"]) == (3, [{"source": "node0", "target": "switch", "connections": 2}])


def test_a_server_that_is_there_is_not_added_again(capsys: pytest.CaptureFixture[str]) -> None:
    full = ["--set", "cluster.network.topology=full", "--collective", "parameter_server", "--json"]
    ring, server = (json.loads(printed(capsys, name, *full))["collective"] for name in ("4node", "4node_ps"))
    assert ring == server
    assert (ring["connections"], ring["links"], ring["shared"]) == (8, 8, [])


def test_groups_are_racks_as_in_the_collective_that_is_played(capsys: pytest.CaptureFixture[str]) -> None:
    two_tier = ["--set", "cluster.nodes=8", "--set", "cluster.network.topology={kind: two_tier, racks: 2}"]
    told = json.loads(printed(capsys, "4node", *two_tier, "--collective", "hierarchical", "--json"))["collective"]
    # Each of four has a partner in the other rack, and sends it both halves: two connections each way, four in all.
    shared = {(one["source"], one["target"]): one["connections"] for one in told["shared"]}
    assert shared["rack0.switch", "core.switch"] == 4
    assert shared["core.switch", "rack0.switch"] == 4


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--from", "node9", "--to", "node1"], "error: there is no node9; the nodes are node0 to node3\n"),
        (["--from", "node1"], "error: --from and --to belong together; give two machines, such as --from node0 --to node1\n"),
        (["--collective", "rong"], 'error: there is no collective "rong"; did you mean ring?\n'),
    ],
)  # fmt: skip
def test_a_question_that_makes_no_sense(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert printed(capsys, "4node", *arguments, code=2) == sentence


def test_the_page_shows_what_inspect_prints(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[1] / "docs" / "world.md").read_text(encoding="utf-8")
    ((command, shown),) = re.findall(r"^```console\n\$ ringsim ([^\n]*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert run_command(shlex.split(command)) == 0
    assert capsys.readouterr().out == shown
