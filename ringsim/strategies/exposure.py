"""Whose raw gradient each node could see, and what of it: the strategies' own declarations.

    local               nobody sees anybody's: there is one
    local_sgd, diloco   as ring, by their all-reduce: of what a worker did since the last average, not of one gradient
    ring                by linear algebra over what its all-reduce sends (`collectives/knowledge.py`): in a ring of N
                        the right neighbour hears 1/N raw; the left one finds another 1/N, as a total less what it
                        passed on. With top-k or QSGD everybody hears what is left of everybody's: so much of it
    parameter_server    a server is sent everybody's, whole or as much of it as the range that it holds. In step, every
                        worker learns the mean of a step, and of two that are in it each finds the other's; not in step,
                        who pulls after a single update of another's has found that one. The servers of a chain but the
                        first hear of means only, unless pushes are what is replicated
    dpsgd               neighbours: what all send first are the parameters that all begin with, and what they send
                        next tells of their first gradients. Of a single step nobody sees anything

and by rule, where a strategy is not listed:

    parts of a model    whoever holds a part of the parameters and updates it by itself, a stage or a shard, sees that
                        part of the gradient over the samples of those who read them; cannot be told if a run is lost,
                        or a stage has replicas
    replicas that differ, and your own function
                        whoever was sent as many bytes as a gradient has could have seen one whole, of fewer bytes that
                        part. Parameters count as well: all begin with the same, so the first that a worker passes on
                        are those less its first gradient

It counts what one node could work out that plays its part and remembers everything, in the step in which it sees the
most, while nobody is missing. Who goes on with fewer sees more: two that are left see each other's whole gradient. A
gradient counts as seen if it can be *derived*: with the samples of a step whose sum and all whose other summands are
known. Activations and parameters are not gradients, though they tell of samples as well. What is not here: what two
nodes find out together; and samples, which no strategy sends: every machine reads its own copy of the data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ringsim import measures
from ringsim.collectives.knowledge import knowledge
from ringsim.collectives.ring import RingAllReduce
from ringsim.measures import Exposure, Seen
from ringsim.node import Group, Member
from ringsim.plan import Plan
from ringsim.scenario import (
    AnyRing,
    Bsp,
    Compression,
    DiLoCo,
    DPsgd,
    LocalSgd,
    Qsgd,
    RingPeerRecovery,
    Scenario,
    Server,
    TopK,
    added_machines,
    full_size,
    planned_steps,
    rank_names,
    worker_names,
)
from ringsim.strategies.all_reduce import all_reduce
from ringsim.strategies.dpsgd import edges
from ringsim.strategies.ring import shares_in_ring_order

MOST_NODES = 64  # With more, playing the algebra would take longer than a short run.

Part = tuple[int, int]


@dataclass(frozen=True)
class Sight:
    """What a strategy declares: who sees what part of whose gradient, and between whom that was asked."""

    seen: Seen
    observers: Sequence[str]
    owners: Sequence[str]


@dataclass(frozen=True)
class Traces:
    """What a run left behind that the rules ask for.

    parts: what part of the parameters each node held in the end that held only a part. readers: who read samples. sent:
    payload bytes, by source and target; None where bytes say nothing.
    """

    parts: Mapping[str, Part]
    readers: Sequence[str]
    sent: Mapping[tuple[str, str], int] | None
    gradient_bytes: int


def exposure(scenario: Scenario, strategy: str, traces: Traces) -> Exposure | None:
    """Return who could see whose gradient in this scenario; None where it cannot be told.

    strategy: its name; a user's own has one that is not listed.
    """
    if len(worker_names(scenario)) > MOST_NODES:
        return None
    if strategy in DECLARED and strategy == scenario.strategy.name:
        sight = DECLARED[strategy](scenario)
    elif traces.parts:
        if _has_replicas(traces.parts):
            return None
        sight = _of_parts(traces)
    elif traces.sent is not None:
        sight = _of_bytes(traces.sent, traces)
    else:
        return None
    machines = {rank: host.name for host in scenario.cluster.nodes for rank in rank_names(host)}
    return measures.exposure(sight.seen, sight.observers, sight.owners, machines)


def _local(scenario: Scenario) -> Sight:
    only = worker_names(scenario)[:1]
    return Sight({}, only, only)


def _all_reduce(scenario: Scenario) -> Sight:
    settings = scenario.strategy
    assert isinstance(settings, AnyRing | LocalSgd | DiLoCo)
    ranks = shares_in_ring_order(scenario) if isinstance(settings, AnyRing) else worker_names(scenario)
    members = tuple(ranks)[: full_size(scenario)]
    told = _told_to_all(getattr(settings, "compression", None))
    if told is not None:
        return Sight({name: dict.fromkeys(members, told) for name in members}, members, members)
    plan: Plan = RingAllReduce()
    if not isinstance(settings, RingPeerRecovery):
        plan = all_reduce(scenario, Group(0, tuple(Member(name, 0) for name in members)))
    return Sight(_known(plan, members), members, members)


def _told_to_all(compression: Compression) -> float | None:
    """Return what part of its gradient each tells everybody else; None: they add up on the way."""
    if isinstance(compression, TopK):
        return float(compression.share / 1_000_000)
    return 1.0 if isinstance(compression, Qsgd) else None


def _parameter_server(scenario: Scenario) -> Sight:
    workers, added = tuple(worker_names(scenario)), added_machines(scenario.strategy)
    server = getattr(scenario.strategy, "server", None)
    assert isinstance(server, Server)
    in_step = isinstance(getattr(scenario.strategy, "consistency", Bsp(kind="bsp")), Bsp)
    in_a_mean = len(workers) - getattr(scenario.strategy, "backups", 0) if in_step else 1  # whoever they are
    holders = workers if server.co_located else added[: server.shards]
    seen: dict[str, Mapping[str, float]] = {name: dict.fromkeys(workers, 1 / len(holders)) for name in holders}
    everybody = dict.fromkeys(workers, 1.0)
    if in_a_mean <= 2:  # A worker takes its own gradient from the mean, and has the other one.
        seen |= dict.fromkeys(workers, everybody)
    if in_a_mean <= 1 or server.replicate == "pushes":
        seen |= dict.fromkeys(added, everybody)
    return Sight(seen, (*workers, *added), workers)


def _neighbours(scenario: Scenario) -> Sight:
    settings, workers = scenario.strategy, tuple(worker_names(scenario))
    assert isinstance(settings, DPsgd)
    near: dict[str, dict[str, float]] = {worker: {} for worker in workers}
    if planned_steps(scenario) > 1:
        for one, other in edges(settings, workers):
            near[one][other] = near[other][one] = 1.0
    return Sight(near, workers, workers)


def _known(plan: Plan, members: Sequence[str]) -> Seen:
    known = knowledge(plan, len(members))
    return {
        observer: {owner: float(part) for owner, part in zip(members, parts, strict=True)}
        for observer, parts in zip(members, known, strict=True)
    }


def _of_parts(traces: Traces) -> Sight:
    size = max(stop for _, stop in traces.parts.values())
    seen = {node: dict.fromkeys(traces.readers, (stop - start) / size) for node, (start, stop) in traces.parts.items()}
    return Sight(seen, tuple(dict.fromkeys((*traces.readers, *traces.parts))), traces.readers)


def _has_replicas(parts: Mapping[str, Part]) -> bool:
    """Say whether several nodes have one part: each has only some of the samples, and hears sums of the others."""
    held = [part for part in parts.values() if part[0] < part[1]]
    return len(set(held)) < len(held)


def _of_bytes(sent: Mapping[tuple[str, str], int], traces: Traces) -> Sight:
    seen: dict[str, dict[str, float]] = {}
    for (source, target), size_bytes in sent.items():
        seen.setdefault(target, {})[source] = min(1.0, size_bytes / traces.gradient_bytes)
    return Sight(seen, tuple(dict.fromkeys((*traces.readers, *seen))), traces.readers)


DECLARED: dict[str, Callable[[Scenario], Sight]] = {
    "local": _local,
    "ring": _all_reduce,
    "local_sgd": _all_reduce,
    "diloco": _all_reduce,
    "parameter_server": _parameter_server,
    "dpsgd": _neighbours,
}
