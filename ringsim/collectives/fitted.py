"""A collective by name as a cluster gets it: the groups of `hierarchical` are those whose ranks are near each other.

    several ranks on a machine    a group is a machine
    two_tier                      ... a rack
    wan                           ... a site
    otherwise                     near-square groups of neighbours (`table.py`)

What is not here: the plans.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

from ringsim.collectives.hierarchical import Hierarchical
from ringsim.collectives.table import CostedPlan, algorithm_named
from ringsim.scenario import Cluster, TwoTier, Wan
from ringsim.topology.two_tier import racks


def fitted(name: str, cluster: Cluster, length: int) -> CostedPlan:
    """Return the collective called `name` for a float32 vector of `length` elements on all ranks of a cluster.

    Raises UsageError, with a suggestion, if there is none.
    """
    chosen = algorithm_named(name)
    plan = chosen.plan(sum(host.processes for host in cluster.nodes) + chosen.servers, length)
    groups = groups_of(cluster)
    return replace(plan, groups=groups) if isinstance(plan, Hierarchical) and groups else plan


def groups_of(cluster: Cluster) -> tuple[tuple[int, ...], ...]:
    """Return the ranks that are near each other, for `hierarchical`: of a machine, a rack, or a site; () if none are.

    >>> groups_of(Cluster.model_validate({"nodes": 4, "network": {"topology": {"kind": "two_tier", "racks": 2}}}))
    ((0, 1), (2, 3))
    """
    hosts, topology = cluster.nodes, cluster.network.topology
    ranks = range(sum(host.processes for host in hosts))
    groups: list[Sequence[int]]
    if any(host.processes > 1 for host in hosts):
        groups = _blocks([host.processes for host in hosts])
    elif isinstance(topology, TwoTier):
        groups = racks(topology, ranks)
    elif isinstance(topology, Wan):
        groups = _blocks([site.nodes for site in topology.sites])
    else:
        return ()
    if len({len(group) for group in groups}) > 1:
        return ()  # Horovod's algorithm needs groups of one size.
    return tuple(tuple(group) for group in groups)


def _blocks(sizes: Sequence[int]) -> list[Sequence[int]]:
    ends = list(accumulate(sizes))
    return [range(end - size, end) for size, end in zip(sizes, ends, strict=True)]
