"""The four requirements of the seed paper, each a number from one run, its local twin, and what its policy promises.

`DEFINITIONS` says in words what each of them is; the functions below are what is computed. What is not here: the runs
(`playing.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ringsim.promises import PROMISES, Losses, policy
from ringsim.result import Result
from ringsim.scenario import Crash, Scenario, added_machines, rank_names
from ringsim.units import format_duration

DEFINITIONS = {
    "fault tolerance": "The share of its machines, added ones included, whose death for good the training survives: "
    "any one of them, once, unannounced, while its connections tell of it by a reset. As the failure policy promises "
    "it, to which ringsim monkey holds it; with --crashes as it was played: a crash of each in the middle of the run.",
    "data privacy": "1 less the largest part of another's raw gradient that any one machine could see or work out: 0 % "
    "if somebody sees a whole one. It counts whoever plays their part and remembers everything; two who put what they "
    "know together know more. Samples themselves never leave their machine.",
    "accuracy": "The accuracy at the end less that of local training, on one machine without faults, in percentage "
    "points.",
    "efficiency": "The speed-up for each worker: samples that count for each second of virtual time over those of "
    "local training without faults, divided by the number of workers. Servers and the rendezvous are not counted.",
}


@dataclass(frozen=True)
class AgainstLocal:
    """How a run stands against local training on the same scenario without faults. None where one of them has none."""

    speed_up: float | None
    efficiency: float | None
    accuracy_gap: float | None


@dataclass(frozen=True)
class Requirements:
    """One number for each requirement, as `DEFINITIONS` says; None where it cannot be told."""

    fault_tolerance: float | None
    data_privacy: float | None
    accuracy: float | None
    efficiency: float | None


def against_local(result: Result, twin: Result) -> AgainstLocal:
    """Return how a run stands against its local twin; speeds only of a training that came to its end."""
    own, local = result.measures.samples_per_second, twin.measures.samples_per_second
    speed_up = own / local if result.outcome.is_success and own is not None and local else None
    efficiency = None if speed_up is None else speed_up / result.workers
    both = result.accuracy is not None and twin.accuracy is not None
    return AgainstLocal(speed_up, efficiency, result.accuracy - twin.accuracy if both else None)  # type: ignore[operator]


def requirements(result: Result, against: AgainstLocal, fault_tolerance: float | None) -> Requirements:
    """Return the four numbers."""
    exposure = result.measures.exposure
    privacy = None if exposure is None else 1 - exposure.maximum
    return Requirements(fault_tolerance, privacy, against.accuracy_gap, against.efficiency)


def machines(result: Result) -> dict[str, frozenset[str]]:
    """Return the machines that a run uses, each with the ranks that die with it; those that the strategy adds last."""
    workers = {node.node for node in result.nodes}
    hosts = {host.name: frozenset(rank_names(host)) for host in result.scenario.cluster.nodes}
    used = {name: ranks for name, ranks in hosts.items() if ranks & workers}
    return used | {name: frozenset((name,)) for name in added_machines(result.scenario.strategy)}


def promised_tolerance(result: Result) -> float | None:
    """Return the share of machines whose single death for good the policy promises to survive; None: unknown."""
    promise = PROMISES.get(policy(result))
    if promise is None:
        return None
    deaths = [promise(result, Losses(ever=ranks, for_good=ranks)) for ranks in machines(result).values()]
    return sum(deaths) / len(deaths)


def played_tolerance(result: Result, play: Callable[[Scenario], Result]) -> float:
    """Return the share of machines after whose crash in the middle of this run training comes to its end."""
    survived = []
    for name in machines(result):
        at = format_duration(result.virtual_time_ns // 2)
        crash = Crash.model_validate({"kind": "crash", "node": name, "at": at})
        scenario = result.scenario.model_copy(update={"faults": (*result.scenario.faults, crash)})
        survived.append(play(scenario).outcome.is_success)
    return sum(survived) / len(survived)
