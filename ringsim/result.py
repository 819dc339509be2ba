"""`Result`: everything a run leaves behind, as plain data. What is not here: how it came about, and how it is shown."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from ringsim.checkpointing import daly_ns, young_ns
from ringsim.measures import Measures
from ringsim.scenario import Scenario
from ringsim.trace import Event

if TYPE_CHECKING:
    import numpy as np


class Outcome(StrEnum):
    """How a simulated training ended."""

    FINISHED = "finished"
    TARGET_REACHED = "target_reached"
    STALLED = "stalled"
    LOST = "lost"

    @property
    def is_success(self) -> bool:
        """Say whether the training did what it was asked.

        >>> Outcome.STALLED.is_success
        False
        """
        return self in (Outcome.FINISHED, Outcome.TARGET_REACHED)


@dataclass(frozen=True)
class Samples:
    """What became of the samples.

    counted: part of an update in the history of the final parameters. repeated: gradients computed again after
    they had been computed before. lost: handed out to a worker, but in no such update.
    """

    counted: int
    repeated: int
    lost: int


@dataclass(frozen=True)
class EpochSamples(Samples):
    """The same for one epoch."""

    epoch: int


@dataclass(frozen=True)
class Failure:
    """What one fault did, each time that it struck. Times are None where it never came to that."""

    node: str  # what it struck: a machine, or a link, or what a partition separates
    kind: str
    at_ns: int
    ended_at_ns: int | None  # the machine was back, the link up again, the partition healed
    detected_at_ns: int | None  # the first survivor that saw an error
    resumed_at_ns: int | None  # the first update after that
    recovered_at_ns: int | None  # the first update with all workers again
    rolled_back_steps: int


@dataclass(frozen=True)
class Checkpoints:
    """What was saved in the store that all machines share: sums over all nodes.

    `mean_interval_ns`: what lay between two saves under one name, or a load and the next save, or the beginning of the
    run and the first.
    """

    saves: int
    saving_ns: int
    saved_bytes: int
    mean_interval_ns: int | None  # None if nobody began to save
    loads: int = 0  # how often somebody went back to a save


@dataclass(frozen=True)
class NodeTime:
    """Where one worker's virtual time went; the five add up to the run's."""

    node: str
    compute_ns: int
    exposed_communication_ns: int
    idle_ns: int
    recovery_ns: int
    down_ns: int
    bytes_sent: int
    payload_bytes_sent: int


@dataclass(frozen=True)
class Whereabouts:
    """Where the bytes on the wire came to; together they are all that was sent.

    >>> Whereabouts(received=8, lost=1) + Whereabouts(received=2)
    Whereabouts(received=10, thrown_away=0, cut_off=0, lost=1, in_flight=0, acknowledgements=0)
    """

    received: int = 0
    thrown_away: int = 0  # came to a machine that was dead by then, or had restarted
    cut_off: int = 0  # of messages whose last byte never left: their sender or receiver died, gave up, or was too late
    lost: int = 0  # by a link with `drop`
    in_flight: int = 0  # had left, and not arrived, when the run ended
    acknowledgements: int = 0  # flow back beside the data, and are not followed

    def __add__(self, other: Whereabouts) -> Whereabouts:
        return Whereabouts(*map(operator.add, vars(self).values(), vars(other).values()))

    @property
    def total(self) -> int:
        """All of them."""
        return sum(vars(self).values())


@dataclass(frozen=True)
class StepRow:
    """One executed update: a line of metrics.csv. `committed`: it is in the history of the final parameters."""

    step: int
    generation: int
    epoch: int
    virtual_time_ns: int
    loss: float | None  # None for an update of no samples
    learning_rate: float | None  # None if rank 0 died before it could tell
    world_size: int
    test_loss: float | None
    accuracy: float | None
    committed: bool


@dataclass(frozen=True, eq=False)
class Result:
    """What a run leaves behind. Times in nanoseconds, sizes in bytes, accuracy from 0 to 1.

    `bytes_sent` are on the wire, framing included, by workers and servers alike; the times are sums over workers.
    """

    scenario: Scenario
    strategy: str  # the scenario's, or the name of the function that was played instead
    outcome: Outcome
    outcome_sentence: str
    workers: int
    steps: int
    steps_executed: int
    virtual_time_ns: int
    loss: float | None
    accuracy: float | None
    learning_rate: float | None
    bytes_sent: int
    payload_bytes_sent: int
    whereabouts: Whereabouts  # of `bytes_sent`
    collectives_in_closed_form: int  # played without their messages, because nothing disturbed them: the same answer
    collectives_by_messages: int
    nodes: tuple[NodeTime, ...]
    checkpoints: Checkpoints
    failures: tuple[Failure, ...]
    false_suspicions: int  # how often somebody was taken for dead who was not
    faults_not_reached: tuple[str, ...]
    faults_not_applicable: tuple[str, ...]
    samples: Samples
    epochs: tuple[EpochSamples, ...]
    measures: Measures
    schedule_digest: str
    numbers_digest: str
    environment: Mapping[str, Any]
    metrics: tuple[StepRow, ...]
    trace: tuple[Event, ...]
    parameters: np.ndarray | None  # the final ones, float32 [size], where training could finish
    replicas: Mapping[str, str]  # sha256 of these, by each node that has come to the end and must have the same
    shares: Mapping[str, int]  # samples a step, by worker
    command: str | None = None
    cut_short: bool = False  # by `max_virtual_time`, or after too many faults without a new step

    def with_command(self, command: str) -> Result:
        """Return the same result, with the command that repeats it."""
        return replace(self, command=command)

    @property
    def lost_work(self) -> int:
        """Return how many updates were made and given up again."""
        return self.steps_executed - self.steps

    @property
    def wrong_numbers(self) -> int:
        """Return how many messages came with a flipped bit that nobody noticed."""
        return sum(event.kind == "wrong_number" for event in self.trace)

    @property
    def goodput(self) -> float | None:
        """Return how many updates that count there were for each second of virtual time."""
        return None if not self.virtual_time_ns else self.steps * 1e9 / self.virtual_time_ns

    @property
    def best_intervals_ns(self) -> tuple[int, int] | None:
        """Return how long to work between two saves, by Young and by Daly: for the run's own saves and failures.

        None if nobody has saved, or nobody has gone back to a save.
        """
        saved = self.checkpoints
        if not saved.saves or not saved.loads:
            return None
        save_ns, between_failures_ns = saved.saving_ns // saved.saves, self.virtual_time_ns // saved.loads
        return young_ns(save_ns, between_failures_ns), daly_ns(save_ns, between_failures_ns)

    def total_ns(self, field: str) -> int:
        """Return a time of `NodeTime` summed over the workers."""
        return sum(int(getattr(node, field)) for node in self.nodes)

    def summary(self) -> dict[str, Any]:
        """Return summary.json: everything but the metrics, the trace and the parameters."""
        young, daly = self.best_intervals_ns or (None, None)
        return {
            "scenario": self.scenario.name,
            "seed": self.scenario.seed,
            "strategy": self.strategy,
            "outcome": str(self.outcome),
            "outcome_sentence": self.outcome_sentence,
            "workers": self.workers,
            "steps": self.steps,
            "steps_executed": self.steps_executed,
            "lost_work": self.lost_work,
            "virtual_time_ns": self.virtual_time_ns,
            "goodput": self.goodput,
            "loss": self.loss,
            "accuracy": self.accuracy,
            "learning_rate": {"scaling": self.scenario.task.learning_rate_scaling, "last": self.learning_rate},
            "bytes_sent": self.bytes_sent,
            "payload_bytes_sent": self.payload_bytes_sent,
            "collectives": {
                "in_closed_form": self.collectives_in_closed_form,
                "by_messages": self.collectives_by_messages,
            },
            **{field: self.total_ns(field) for field in TIMES},
            "checkpoints": {**asdict(self.checkpoints), "young_ns": young, "daly_ns": daly},
            "failures": [asdict(failure) for failure in self.failures],
            "false_suspicions": self.false_suspicions,
            "wrong_numbers": self.wrong_numbers,
            "faults_not_reached": list(self.faults_not_reached),
            "faults_not_applicable": list(self.faults_not_applicable),
            "nodes": [asdict(node) for node in self.nodes],
            "samples": {**asdict(self.samples), "epochs": [asdict(epoch) for epoch in self.epochs]},
            **asdict(self.measures),
            "digest": {"schedule": self.schedule_digest, "numbers": self.numbers_digest},
            "command": self.command,
            "environment": dict(self.environment),
        }


TIMES = ("compute_ns", "exposed_communication_ns", "idle_ns", "recovery_ns", "down_ns")
