"""`Scenario`: all keys together, and what follows from them at once. What is not here: the keys of each section."""

from __future__ import annotations

from decimal import Decimal

from pydantic import Field

from ringsim.scenario.cluster import Cluster, Host
from ringsim.scenario.faults import Fault
from ringsim.scenario.settings import Duration, Name, Settings
from ringsim.scenario.strategy import RingSpares, Strategy
from ringsim.scenario.task import DIGITS_TRAIN_SIZE, Digits, Task


class Scenario(Settings):
    """One experiment. The same scenario and the same ringsim give the same events and numbers, every time."""

    name: Name = Field(examples=["my_scenario"])
    seed: int = Field(0, ge=0, lt=2**63)
    task: Task = Field(examples=[{"steps": 20}])
    cluster: Cluster = Field(examples=[{"nodes": 4}])
    strategy: Strategy = Field(examples=[{"name": "ring"}])
    faults: tuple[Fault, ...] = Field(
        (),
        strict=False,
        examples=[[{"kind": "crash", "node": "node0", "at": "3 s"}]],
        description="what goes wrong, when",
    )
    max_virtual_time: Duration = Field(1_000 * 3_600 * 10**9, description="a run that lasts longer has stalled")


def worker_names(scenario: Scenario) -> tuple[str, ...]:
    """Return the ranks of the cluster in order: a machine's name, or `name.0`, `name.1`, ... if it runs several.

    >>> worker_names(Scenario.model_validate({"name": "a", "task": {"steps": 1}, "strategy": {"name": "ring"},
    ...                                       "cluster": {"nodes": [{"name": "a"}, {"name": "b", "processes": 2}]}}))
    ('a', 'b.0', 'b.1')
    """
    return tuple(name for host in scenario.cluster.nodes for name in rank_names(host))


def rank_names(host: Host) -> tuple[str, ...]:
    """Return the names of the ranks on one machine."""
    if host.processes == 1:
        return (host.name,)
    return tuple(f"{host.name}.{index}" for index in range(host.processes))


def share(scenario: Scenario, host: Host) -> int:
    """Return how many samples each rank of `host` takes a step: `batch_size` times its weight, at least one.

    With `accumulate` as often as that: gradients of several batches make one update.
    """
    return max(1, int(exactly(host.shard_weight) * scenario.task.batch_size)) * scenario.task.accumulate


def exactly(number: float) -> Decimal:
    """Return the number that the file says, and not the binary one next to it.

    >>> int(0.29 * 100), int(exactly(0.29) * 100)
    (28, 29)
    """
    return Decimal(repr(number))


def worker_shares(scenario: Scenario) -> dict[str, int]:
    """Return how many samples a step each worker takes, by name."""
    return {name: share(scenario, host) for host in scenario.cluster.nodes for name in rank_names(host)}


def full_size(scenario: Scenario) -> int:
    """Return how many workers a step has while nobody is missing: all but the spares, which are the last ones."""
    workers = sum(host.processes for host in scenario.cluster.nodes)
    spares = scenario.strategy.spares if isinstance(scenario.strategy, RingSpares) else 0
    return max(1, workers - spares)  # Too many spares are a mistake that is told elsewhere.


def global_batch_size(scenario: Scenario) -> int:
    """Return how many samples a step takes while nobody is missing."""
    return sum(list(worker_shares(scenario).values())[: full_size(scenario)])


def train_size(scenario: Scenario) -> int:
    """Return how many samples an epoch has."""
    dataset = scenario.task.dataset
    return DIGITS_TRAIN_SIZE if isinstance(dataset, Digits) else dataset.samples


def planned_steps(scenario: Scenario) -> int:
    """Return how many updates the run takes if nobody is missing."""
    if scenario.task.steps is not None:
        return scenario.task.steps
    assert scenario.task.epochs is not None, "a scenario has epochs or steps"
    return scenario.task.epochs * -(-train_size(scenario) // global_batch_size(scenario))
