"""Keys of `cluster.network` that must agree: with each other, and with the machines of the cluster.

    topology      its numbers fit the number of machines
    links         lead from and to what there is, each direction once; as a graph, from everywhere to everywhere
    background    between machines that there are

What is not here: the shape of each key (`scenario/`), and the other sections (`checks.py`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ringsim.scenario import (
    RENDEZVOUS,
    FatTree,
    Full,
    Graph,
    Host,
    Scenario,
    Torus,
    TwoTier,
    Wan,
    added_machines,
)
from ringsim.scenario_file.conflict import Conflict
from ringsim.scenario_file.strict_yaml import Path, dotted
from ringsim.scenario_file.words import close, listed, no_machine, shortened
from ringsim.topology.build import edges
from ringsim.topology.edge import Edge
from ringsim.topology.fat_tree import ports
from ringsim.topology.graph import directions
from ringsim.units import SHARE

_HERE: Path = ("cluster", "network")
_NODES: Path = ("cluster", "nodes")
_TOPOLOGY: Path = (*_HERE, "topology")
_WHOLE = SHARE.parse("100 %")
_MOST_IN_FULL = 1_024  # Machines: a million directions of links.

Directions = dict[tuple[str, str], Path]


def network_conflicts(scenario: Scenario) -> Iterator[Conflict]:
    """Yield what is wrong between the keys of the network that are each right alone."""
    misfits = list(_check_topology(scenario))
    yield from misfits
    yield from _check_drop(scenario)
    links: Directions = {}
    mistaken = list(_check_links(scenario, links))
    yield from mistaken
    if not misfits and not mistaken:
        graph = isinstance(scenario.cluster.network.topology, Graph)
        yield from _check_whole(scenario, links) if graph else _check_known(scenario, links)
    yield from _check_background(scenario)


def may_be_added(name: str) -> bool:
    """Say whether a strategy may add a machine of this name.

    >>> may_be_added("server0"), may_be_added("node0")
    (True, False)
    """
    return name == RENDEZVOUS or re.fullmatch(r"server[0-9]+", name) is not None


def network_edges(scenario: Scenario) -> Mapping[tuple[str, str], Edge]:
    """Return each direction of each link between the cluster's machines and switches; none if there are mistakes.

    >>> scenario = Scenario.model_validate({"name": "a", "task": {"steps": 2}, "cluster": {"nodes": 2}, "strategy":
    ...     {"name": "ring"}})
    >>> list(network_edges(scenario))[:2]
    [('node0', 'switch'), ('switch', 'node0')]
    """
    if any(_check_topology(scenario)) or any(_check_links(scenario, {})):
        return {}
    return edges(scenario.cluster.network, scenario.cluster.nodes)


# --- topology ---------------------------------------------------------------------------------------------------------


def _check_topology(scenario: Scenario) -> Iterator[Conflict]:
    topology, machines = scenario.cluster.network.topology, len(scenario.cluster.nodes)
    if isinstance(topology, Torus):
        yield from _check_torus(topology, machines)
    elif isinstance(topology, TwoTier) and topology.racks > machines:
        sentence = f"must be at most {machines}, the number of machines, not {topology.racks}"
        yield Conflict((*_TOPOLOGY, "racks"), sentence, (_TOPOLOGY, _NODES))
    elif isinstance(topology, Full) and machines > _MOST_IN_FULL:
        links = machines * (machines - 1) // 2
        sentence = f"of {machines} machines would have {links:,} links; at most {_MOST_IN_FULL:,} can be linked so"
        yield Conflict(_TOPOLOGY, sentence, (_TOPOLOGY, _NODES))
    elif isinstance(topology, FatTree) and topology.k is not None:
        yield from _check_fat_tree(topology.k, machines)
    elif isinstance(topology, Wan):
        yield from _check_wan(topology, machines)
    elif isinstance(topology, Graph):
        yield from _check_graph(scenario, topology)


def _check_torus(topology: Torus, machines: int) -> Iterator[Conflict]:
    product = math.prod(topology.dimensions)
    if product != machines:
        there = "1 machine" if machines == 1 else f"{machines} machines"
        side = next(side for side in range(math.isqrt(machines), 0, -1) if machines % side == 0)
        sentence = f"must have the product {machines}, for {there}, such as [{side}, {machines // side}]; not {product}"
        yield Conflict((*_TOPOLOGY, "dimensions"), sentence, (_TOPOLOGY, _NODES))


def _check_fat_tree(k: int, machines: int) -> Iterator[Conflict]:
    path = (*_TOPOLOGY, "k")
    if k % 2:
        yield Conflict(path, f"must be even, such as {k + 1}: half of a switch's ports lead up; not {k}", (_TOPOLOGY,))
    elif k < ports(machines):
        sentence = (
            f"must be at least {ports(machines)} for {machines} machines, not {k}, which has room for {k**3 // 4}; "
            "or leave the key out"
        )
        yield Conflict(path, sentence, (_TOPOLOGY, _NODES))


def _check_wan(topology: Wan, machines: int) -> Iterator[Conflict]:
    sites, path = len(topology.sites), (*_TOPOLOGY, "sites")
    whole = sum(site.nodes for site in topology.sites)
    if whole != machines:
        sentence = f"must have {machines} nodes together, the number of machines, not {whole}"
        yield Conflict(path, sentence, (_TOPOLOGY, _NODES))
    names = [site.name for site in topology.sites]
    for index, name in enumerate(names):
        if name in names[:index]:
            earlier = dotted((*path, names.index(name)))
            yield Conflict((*path, index, "name"), f'"{name}" is the name of {earlier} already; choose another')
    path = (*_TOPOLOGY, "latencies")
    rows = [len(row) for row in topology.latencies]
    if rows != [sites] * sites:
        wrong = next((row for row in rows if row != sites), None)
        found = f"{len(rows)} of them" if wrong is None else f"a row of {wrong}"
        shape = "1 row of 1" if sites == 1 else f"{sites} rows of {sites}"
        sentence = f"must be {shape}: from each site to each, with 0 s to itself; not {found}"
        yield Conflict(path, sentence, (_TOPOLOGY,))
        return
    for index, row in enumerate(topology.latencies):
        if row[index]:
            sentence = f"is from {names[index]} to itself, so it must be 0 s; latency says how long a link there is"
            yield Conflict((*path, index, index), sentence, (_TOPOLOGY,))


def _check_graph(scenario: Scenario, topology: Graph) -> Iterator[Conflict]:
    if topology.file is not None:
        yield Conflict(
            (*_TOPOLOGY, "file"), "is read with a scenario file; here, give network.links instead", (_TOPOLOGY,)
        )
    elif not scenario.cluster.network.links:
        sentence = (
            "lacks its links; write them in network.links, such as [{source: node0, target: node1}], or name a file: "
            "{kind: graph, file: net.graphml}"
        )
        yield Conflict(_TOPOLOGY, sentence, (_TOPOLOGY, (*_HERE, "links")))


def _check_drop(scenario: Scenario) -> Iterator[Conflict]:
    network = scenario.cluster.network
    said = [((*_HERE, "drop"), network.drop)]
    said += [((*_HERE, "links", index, "drop"), link.drop) for index, link in enumerate(network.links)]
    for path, drop in said:
        if drop is not None and drop >= _WHOLE:
            yield Conflict(path, f"must be less than 100 %, or nothing ever arrives; not {SHARE.format(drop)}")


# --- links ------------------------------------------------------------------------------------------------------------


def _check_links(scenario: Scenario, first: Directions) -> Iterator[Conflict]:
    """Yield what is wrong with single links; put the path of each direction into `first`."""
    network = scenario.cluster.network
    graph = isinstance(network.topology, Graph)
    names = [host.name for host in scenario.cluster.nodes]
    known = dict.fromkeys(names)
    for index, link in enumerate(network.links):
        path = (*_HERE, "links", index)
        ends = [(*path, "source"), (*path, "target")]
        unknown = [
            (end, name)
            for end, name in zip(ends, (link.source, link.target), strict=True)
            if graph and "." not in name and name not in known and not may_be_added(name)
        ]
        for end, name in unknown:
            sentence = f"{no_machine(name, names)}; a switch has a dot in its name, such as {shortened(name)}.switch"
            yield Conflict(end, sentence, (end, _NODES, _TOPOLOGY))
        if link.source == link.target:
            yield Conflict(ends[1], "must be another one than the source: a link has two ends", (*ends,))
            continue
        for direction in directions(link):
            earlier = first.setdefault(direction, path)
            if earlier != path:
                sentence = f"is a second link from {direction[0]} to {direction[1]}; {dotted(earlier)} is one already"
                yield Conflict(path, sentence, (path, earlier))
                break


def _check_known(scenario: Scenario, links: Directions) -> Iterator[Conflict]:
    """Yield links that are to change what this topology does not have."""
    if not links:
        return
    cluster = scenario.cluster
    added = [Host(name=name) for name in _ends(links) if may_be_added(name)]
    there = edges(cluster.network.model_copy(update={"links": ()}), cluster.nodes, added)
    nodes = list(dict.fromkeys(end for direction in there for end in direction))
    reported: dict[Path, None] = {}
    for (source, target), path in links.items():
        if (source, target) in there or path in reported:
            continue
        reported[path] = None
        kind = cluster.network.topology.kind
        rests_on = (path, _NODES, _TOPOLOGY)
        if source in nodes:
            linked = [end for start, end in there if start == source]
            sentence = f"there is no link from {source} to {target}; {source} has links to {_some(linked)}"
        else:
            guess = close(source, nodes)
            hint = f'; did you mean "{guess}"?' if guess else f"; it has {_some(nodes)}"
            sentence = f"there is no {shortened(source)} in this {kind}{hint}"
        yield Conflict(path, sentence, rests_on)


def _check_whole(scenario: Scenario, links: Directions) -> Iterator[Conflict]:
    """Yield what in a graph cannot be reached, or cannot reach the others."""
    names = [host.name for host in scenario.cluster.nodes]
    ends = _ends(links)
    path = (*_HERE, "links")
    rests_on = (path, _NODES, _TOPOLOGY)
    alone = [name for name in names if name not in ends]
    if alone and links:
        have = "has no link" if len(alone) == 1 else "have no links"
        yield Conflict(path, f"{_some(alone)} {have}; write one for each machine", rests_on)
        return
    strategy = scenario.strategy
    missing = [end for end in ends if may_be_added(end) and end not in added_machines(strategy)]
    for without in ([], missing):
        sentence = _unreachable(names, links, without) if links else None
        if sentence is not None:
            why = f", and {strategy.name} adds no {_some(without, 'or')}" if without else ""
            words = f"{sentence}; a graph must be connected in both directions{why}"
            yield Conflict(path, words, (*rests_on, ("strategy",)) if without else rests_on)
            return


def _unreachable(names: Sequence[str], links: Directions, without: Sequence[str]) -> str | None:
    """Say which machines and switches cannot reach the first machine or be reached from it, if some do not exist."""
    ways = [way for way in links if not set(way) & set(without)]
    # A switch that nobody can use is a slip, but not while only a machine that does not exist is behind it.
    ends = names if without else _ends(links)
    for directed, words in (
        (ways, "there is no way from {first} to {others}"),
        ([(target, source) for source, target in ways], "there is no way from {others} to {first}"),
    ):
        reached = _reached(names[0], directed)
        others = [end for end in ends if end not in reached]
        if others:
            return words.format(first=names[0], others=_some(others, "or"))
    return None


def _reached(start: str, ways: Iterable[tuple[str, str]]) -> dict[str, None]:
    following: dict[str, list[str]] = {}
    for source, target in ways:
        following.setdefault(source, []).append(target)
    found, todo = {start: None}, [start]
    for name in todo:
        new = [other for other in following.get(name, ()) if other not in found]
        found |= dict.fromkeys(new)
        todo += dict.fromkeys(new)
    return found


def _ends(links: Directions) -> dict[str, None]:
    return dict.fromkeys(end for direction in links for end in direction)


def _some(names: Sequence[str], last: str = "and") -> str:
    return listed(names, last) if len(names) <= 6 else f"{', '.join(names[:5])} {last} {len(names) - 5} others"


# --- background -------------------------------------------------------------------------------------------------------


def _check_background(scenario: Scenario) -> Iterator[Conflict]:
    names = [host.name for host in scenario.cluster.nodes]
    known = dict.fromkeys(names)
    for index, flow in enumerate(scenario.cluster.network.background):
        path = (*_HERE, "background", index)
        ends = (*path, "source"), (*path, "target")
        for end, name in zip(ends, (flow.source, flow.target), strict=True):
            if name not in known and not may_be_added(name):
                yield Conflict(end, no_machine(name, names), (end, _NODES))
        if flow.source == flow.target:
            yield Conflict(ends[1], "must be another machine than the source", ends)
        if flow.stop is not None and flow.stop <= flow.start:
            sentence = "must be later than the start, or the flow never is"
            yield Conflict((*path, "stop"), sentence, ((*path, "start"), (*path, "stop")))
        if (flow.burst is None) != (flow.pause is None):
            said, other = ("burst", "pause") if flow.pause is None else ("pause", "burst")
            sentence = f'lacks the key "{other}" beside "{said}"; write both, such as burst: 10 ms and pause: 90 ms'
            yield Conflict(path, sentence, ((*path, "burst"), (*path, "pause")))
