"""Which all-reduce a group of workers adds its gradients up with: the scenario's, fitted to whoever is in the group.

A group that is re-formed gets one of its own, as the groups of `hierarchical` follow from who is there. What is not
here: the plans and how they are fitted (`collectives/`), and when one is played (`ring.py`).
"""

from __future__ import annotations

from dataclasses import replace

from ringsim.collectives.fitted import fitted
from ringsim.collectives.halving_doubling import HalvingDoubling
from ringsim.collectives.hierarchical import Hierarchical
from ringsim.collectives.ring import RingAllReduce
from ringsim.collectives.tree import TreeAllReduce
from ringsim.node import Group
from ringsim.plan import Plan
from ringsim.scenario import BucketedRing, DiLoCo, LocalSgd, Scenario

_ANY_LENGTH = 0  # An all-reduce takes a vector of any length: each bucket has its own.
_AllReduce = RingAllReduce | TreeAllReduce | HalvingDoubling | Hierarchical


def all_reduce(scenario: Scenario, group: Group) -> Plan:
    """Return the all-reduce of the scenario's strategy for the members of `group`."""
    settings = scenario.strategy
    assert isinstance(settings, BucketedRing | LocalSgd | DiLoCo)
    plan = fitted(settings.collective, scenario.cluster, _ANY_LENGTH, group.names)
    assert isinstance(plan, _AllReduce), "the schema lets in no other"
    return replace(plan, timeout_ns=settings.timeout)
