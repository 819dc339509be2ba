"""`Routes`: the way of a message from one machine to another; one way for each pair, and it does not change.

    fewest links       no way has fewer
    a switch           that has several neighbours on such ways takes number (d // stride) mod (how many there are),
                       where d is the number of the destination among the machines
    a machine          that passes traffic on (ring, line, torus) takes the first of them in the order of its links

The stride is 1 at the switches next to machines, and one tier up it is multiplied by how many ways up a switch below
has. So in a fat tree destinations 0, 1, 2, ... go over different aggregation switches, and those that come to one
aggregation switch go over different core switches: D-mod-k (E. Zahavi, "D-Mod-K routing providing non-blocking traffic
for shift permutations on real life fat trees", Technion CCIT report 776, 2010). Where a message goes next depends on
where it is and on its destination alone, as with a real forwarding table.

What is not here: how long it takes (`world/`), and links that are out of order: a route does not avoid them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from ringsim.errors import UsageError
from ringsim.scenario import SWITCH, Host

if TYPE_CHECKING:
    import networkx

    DiGraph = networkx.DiGraph[str]

Links = tuple[tuple[str, str], ...]


class Routes:
    """The routes over one graph. `hosts`: the cluster's machines; those that a strategy adds are numbered after them.

    Most ways need no search: a machine with one link has no choice, and neither has who is next to the destination. The
    others are searched once for each place in the middle of the graph.
    """

    def __init__(self, graph: DiGraph, hosts: Sequence[Host]):
        self._next: dict[str, Mapping[str, object]] = dict(graph.adjacency())
        self._before: dict[str, list[str]] = {name: [] for name in self._next}
        for name, neighbours in self._next.items():
            for other in neighbours:
                self._before[other].append(name)
        self._number = {host.name: number for number, host in enumerate(hosts)}
        for name in graph.nodes:
            if name not in self._number and not is_switch(name):
                self._number[name] = len(self._number)
        self._hosts = tuple(host.name for host in hosts)
        self._distance: dict[str, dict[str, int]] = {}
        self._choices: dict[tuple[str, str], tuple[str, ...]] = {}

    def links(self, source: str, target: str) -> Links:
        """Return the directions of links from one machine to another, in order; to itself, its loopback.

        Raises UsageError if there is no way.

        >>> from ringsim.scenario import Network
        >>> from ringsim.topology.build import build
        >>> hosts = [Host(name=name) for name in "abcde"]
        >>> Routes(build(Network(topology="ring"), hosts), hosts).links("a", "d")
        (('a', 'e'), ('e', 'd'))
        """
        if source == target:
            return ((source, target),)
        way, here = [], source
        while here != target:
            following = self.following(here, target)
            way.append((here, following))
            here = following
            if len(way) > len(self._next):
                raise _no_way(source, target)
        return tuple(way)

    def following(self, here: str, target: str) -> str:
        """Return the neighbour to whom `here` passes what is for the machine `target`. Raises UsageError if none."""
        neighbours = self._next[here]
        if target in neighbours:
            return target
        if (only := self.only_neighbour(here)) is not None:
            return only
        choices = self.choices(here, target)
        if not is_switch(here):
            return choices[0]
        return choices[self._number[target] // self._strides[here] % len(choices)]

    def choices(self, here: str, target: str) -> tuple[str, ...]:
        """Return the neighbours of `here` from whom `target` is nearest, in the order of the links."""
        goal = self.only_neighbour(target) or target
        if (here, goal) not in self._choices:
            distance = self._distances_to(goal)
            if here not in distance:
                raise _no_way(here, target)
            nearer = distance[here] - 1
            self._choices[here, goal] = tuple(name for name in self._next[here] if distance.get(name) == nearer)
        return self._choices[here, goal]

    def only_neighbour(self, name: str) -> str | None:
        """Return the neighbour of a leaf, or None if this is none: a leaf has one link, and it goes both ways."""
        neighbours = self._next[name]
        if len(neighbours) > 2:
            return None
        others = [other for other in neighbours if other != name]
        if len(others) != 1 or [before for before in self._before[name] if before != name] != others:
            return None
        return others[0]

    def _distances_to(self, goal: str) -> dict[str, int]:
        """Return how many links it is to `goal` from whatever lies between others: from all but leaves."""
        if goal not in self._distance:
            distance, reached = {goal: 0}, [goal]
            for name in reached:
                for before in self._inner.get(name, ()):
                    if before not in distance:
                        distance[before] = distance[name] + 1
                        reached.append(before)
            self._distance[goal] = distance
        return self._distance[goal]

    @cached_property
    def _inner(self) -> dict[str, list[str]]:
        """The graph without its leaves: from whom one comes to each node."""
        inner = {name: before for name, before in self._before.items() if self.only_neighbour(name) is None}
        return {name: [other for other in before if other in inner] for name, before in inner.items()}

    @cached_property
    def _strides(self) -> dict[str, int]:
        """The stride of each switch: by tiers, from those next to a machine upwards."""
        tier = dict.fromkeys((host for host in self._hosts if host in self._next), 0)
        reached = list(tier)
        stride = dict.fromkeys(reached, 1)
        for name in reached:
            switches = [other for other in self._next[name] if is_switch(other)]
            above = [other for other in switches if tier.setdefault(other, tier[name] + 1) > tier[name]]
            for other in above:
                wider = stride[name] * (1 if tier[name] == 0 else len(above))
                if other not in stride:
                    reached.append(other)
                stride[other] = max(stride.get(other, 1), wider)
        return {**dict.fromkeys(self._next, 1), **stride}


def _no_way(source: str, target: str) -> UsageError:
    # A scenario file is checked for that; but a graph may lead through a machine that only its own strategy adds.
    return UsageError(f"there is no way from {source} to {target} through the machines and switches that are here")


def is_switch(name: str) -> bool:
    """Say whether a node of a graph is a switch: of no machine has the name a dot in it, or is that of a star's switch.

    >>> is_switch("rack0.switch"), is_switch("switch"), is_switch("node0")
    (True, True, False)
    """
    return "." in name or name == SWITCH
