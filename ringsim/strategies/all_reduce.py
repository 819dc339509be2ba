"""Which all-reduce a group of workers adds its gradients up with: the scenario's, fitted to whoever is in the group.

    ring, tree, halving_doubling    know any number of ranks
    hierarchical                    groups of ranks that are near each other: of a machine, a rack or a site; where
                                    these are not of one size, near-square groups of neighbours

What is not here: the plans (`collectives/`), and when one is played (`ring.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

from ringsim.collectives.fitted import groups_of
from ringsim.collectives.halving_doubling import HalvingDoubling
from ringsim.collectives.hierarchical import Hierarchical
from ringsim.collectives.ring import RingAllReduce
from ringsim.collectives.table import near_square_groups
from ringsim.collectives.tree import TreeAllReduce
from ringsim.node import Group
from ringsim.plan import Plan
from ringsim.scenario import BucketedRing, Cluster, Scenario, rank_names


def all_reduce(scenario: Scenario, group: Group) -> Plan:
    """Return the all-reduce of the scenario's strategy for the members of `group`."""
    settings = scenario.strategy
    assert isinstance(settings, BucketedRing)
    match settings.collective:
        case "ring":
            return RingAllReduce(settings.timeout)
        case "tree":
            return TreeAllReduce(settings.timeout)
        case "halving_doubling":
            return HalvingDoubling(settings.timeout)
        case "hierarchical":
            return Hierarchical(groups_among(scenario.cluster, group.names), settings.timeout)


def groups_among(cluster: Cluster, names: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """Return which ranks are near each other where rank r is called names[r]; the groups have one size.

    >>> racks = {"nodes": 6, "network": {"topology": {"kind": "two_tier", "racks": 2}}}
    >>> cluster = Cluster.model_validate(racks)
    >>> groups_among(cluster, ["node5", "node0", "node4", "node1"])
    ((0, 2), (1, 3))
    >>> groups_among(cluster, ["node0", "node1", "node2", "node5"])
    ((0, 1), (2, 3))
    """
    listed = [name for host in cluster.nodes for name in rank_names(host)]
    place = {listed[rank]: number for number, ranks in enumerate(groups_of(cluster)) for rank in ranks}
    near: dict[int | None, list[int]] = {}
    for rank, name in enumerate(names):
        near.setdefault(place.get(name), []).append(rank)
    if None in near or len({len(ranks) for ranks in near.values()}) > 1:
        return near_square_groups(len(names))
    return tuple(tuple(ranks) for ranks in near.values())
