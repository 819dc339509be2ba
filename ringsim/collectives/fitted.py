"""A collective by name as a cluster gets it: the groups of `hierarchical` are those whose ranks are near each other.

    several ranks on a machine    a group is a machine
    two_tier                      ... a rack
    wan                           ... a site
    otherwise, or where these are not of one size: near-square groups of neighbours (`table.py`)

What is not here: the plans.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

from ringsim.collectives.hierarchical import Hierarchical
from ringsim.collectives.table import CostedPlan, algorithm_named
from ringsim.scenario import Cluster, TwoTier, Wan, rank_names
from ringsim.topology.two_tier import racks


def fitted(name: str, cluster: Cluster, length: int, members: Sequence[str] = ()) -> CostedPlan:
    """Return the collective called `name` for a float32 vector of `length` elements on the ranks of a cluster.

    members: their names in the order of their ranks, if these are not all of them as listed. Raises UsageError, with a
    suggestion, if there is none of that name.
    """
    chosen = algorithm_named(name)
    members = members or _listed(cluster)
    plan = chosen.plan(len(members) + chosen.servers, length)
    if isinstance(plan, Hierarchical):
        return replace(plan, groups=groups_of(cluster, members) or plan.groups)
    return plan


def groups_of(cluster: Cluster, members: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """Return which ranks are near each other where rank r is called members[r]; () if their groups have several sizes.

    >>> racks = {"nodes": 6, "network": {"topology": {"kind": "two_tier", "racks": 2}}}
    >>> cluster = Cluster.model_validate(racks)
    >>> groups_of(cluster, ["node5", "node0", "node4", "node1"])
    ((0, 2), (1, 3))
    >>> groups_of(cluster, ["node0", "node1", "node2", "node5"])
    ()
    """
    listed = _listed(cluster)
    place = {listed[rank]: number for number, ranks in enumerate(_near(cluster)) for rank in ranks}
    if not place:
        return ()
    groups: dict[int, list[int]] = {}
    for rank, name in enumerate(members):
        groups.setdefault(place[name], []).append(rank)
    if len({len(group) for group in groups.values()}) > 1:
        return ()  # Horovod's algorithm needs groups of one size.
    return tuple(tuple(group) for group in groups.values())


def _listed(cluster: Cluster) -> tuple[str, ...]:
    return tuple(name for host in cluster.nodes for name in rank_names(host))


def _near(cluster: Cluster) -> list[Sequence[int]]:
    """Return the ranks of a whole cluster that are near each other; [] if none are nearer than others."""
    hosts, topology = cluster.nodes, cluster.network.topology
    if any(host.processes > 1 for host in hosts):
        return _blocks([host.processes for host in hosts])
    if isinstance(topology, TwoTier):
        return racks(topology, range(len(hosts)))
    if isinstance(topology, Wan):
        return _blocks([site.nodes for site in topology.sites])
    return []


def _blocks(sizes: Sequence[int]) -> list[Sequence[int]]:
    ends = list(accumulate(sizes))
    return [range(end - size, end) for size, end in zip(sizes, ends, strict=True)]
