"""What the paper's table could have measured: hypotheses, each as scenarios with one thing unknown.

    cores     2    2    6    6    8    8
    seconds 482  473  125  131   67   62

A hypothesis says how many steps N workers take, each with 128 samples; N is the number of machines (1, 3, 4) or of
their processes (2, 6, 8). The speed of a machine follows from the two runs of one machine; the bandwidth, or what else
is unknown, is fitted (`fitting.py`). Only times matter here, so the ring is played without numbers; and from the second
on, all steps of a run are alike, so a few are played, and the rest is multiplied. What is not here: which of them is
right (docs/paper.md).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from ringsim import scenario_file, shipped
from ringsim.collectives.ring import RingAllReduce
from ringsim.collectives.vectors import Blank
from ringsim.node import Group, Member, Node, Operation
from ringsim.paper.fitting import linear, nearest, solved
from ringsim.result import Result
from ringsim.scenario import Scenario
from ringsim.strategies.training import State, Training

# Plays a scenario by a strategy of one's own.
Play = Callable[[Scenario, Callable[[Node, Training], Operation[State]]], Result]


@dataclass(frozen=True)
class Measured:
    """A row of the paper's table: so many machines of two cores each took so many seconds."""

    machines: int
    seconds: int

    @property
    def cores(self) -> int:
        """What the paper calls theoretical cores."""
        return 2 * self.machines


TABLE = (Measured(1, 482), Measured(1, 473), Measured(3, 125), Measured(3, 131), Measured(4, 67), Measured(4, 62))
MACHINES = (1, 3, 4)
ALONE_SECONDS = statistics.fmean(row.seconds for row in TABLE if row.machines == 1)

EPOCHS = 12
STEPS = 500  # an epoch of Horovod's TensorFlow 2 Keras example, for one worker
BATCH_SIZE = 128
PASS = 469  # steps of 128 samples that one pass over the 60,000 of MNIST takes


@dataclass(frozen=True)
class Hypothesis:
    """epochs, steps: how many of them N workers have; steps are those of an epoch. unknown: what is fitted."""

    letter: str
    words: str
    epochs: Callable[[int], int]
    steps: Callable[[int], int]
    unknown: Literal["bandwidth", "speed"] | None = "bandwidth"


HYPOTHESES = (
    Hypothesis("a", "the same work, divided by N", lambda _: EPOCHS, lambda n: math.ceil(PASS / n)),
    Hypothesis("b", "as a, the network is free", lambda _: EPOCHS, lambda n: math.ceil(PASS / n), None),
    Hypothesis("c", "epochs divided by N, each of all samples", lambda n: math.ceil(EPOCHS / n), lambda _: PASS),
    Hypothesis("d", "epochs and steps divided by N", lambda n: math.ceil(EPOCHS / n), lambda n: STEPS // n),
    Hypothesis("e", "steps divided by N, epochs fixed", lambda _: EPOCHS, lambda n: STEPS // n),
    Hypothesis("f", "as b, one machine was of another speed", lambda _: EPOCHS, lambda n: math.ceil(PASS / n), "speed"),
)
COUNTED = {"nodes": 1, "processes": 2}  # what N counts: ranks on a machine

FEW_STEPS = 5  # As many fit into an epoch of the scenario, whose last step would be shorter.
_FREE_BANDWIDTH = 10**18
_PROBES = {"bandwidth": (10**8, 10**9), "speed": (10**10, 10**11)}  # Any two rates tell a straight line.


@dataclass(frozen=True)
class Fit:
    """How near a hypothesis comes. `found`: the unknown, in bit/s or FLOP/s; None: the best is no limit at all.

    speed_flops: of the machine that was measured alone. seconds: for 1, 3 and 4 machines, as played.
    """

    hypothesis: Hypothesis
    counted: str
    speed_flops: int
    found: int | None
    seconds: tuple[float, ...]

    @property
    def residuals(self) -> tuple[float, ...]:
        """Played less measured, in seconds, in the order of the table."""
        return tuple(played - row.seconds for played, row in zip(_by_row(self.seconds), TABLE, strict=True))

    @property
    def rms_seconds(self) -> float:
        """The root of the mean square of the residuals."""
        return math.sqrt(statistics.fmean(residual**2 for residual in self.residuals))


def fitted(hypothesis: Hypothesis, counted: str, play: Play) -> Fit:
    """Return the hypothesis with its unknown fitted to the table by least squares, and played so."""
    clock = partial(_seconds, play, hypothesis, counted)
    # One machine alone sends nothing through the network, so any bandwidth will do.
    alone = partial(clock, 1, bandwidth=_FREE_BANDWIDTH)
    speed_flops = solved(linear(lambda speed: [alone(speed)], _PROBES["speed"]), ALONE_SECONDS)

    def seconds(unknown: int) -> tuple[float, ...]:
        elsewhere, bandwidth = (unknown, _FREE_BANDWIDTH) if hypothesis.unknown == "speed" else (speed_flops, unknown)
        return tuple(clock(n, speed_flops if n == 1 else elsewhere, bandwidth=bandwidth) for n in MACHINES)

    found = None
    if hypothesis.unknown is not None:
        lines = linear(lambda unknown: _by_row(seconds(unknown)), _PROBES[hypothesis.unknown])
        found = nearest(lines, [row.seconds for row in TABLE])
    return Fit(hypothesis, counted, speed_flops, found, seconds(_FREE_BANDWIDTH if found is None else found))


def _by_row(seconds: Sequence[float]) -> list[float]:
    """Return the times of 1, 3 and 4 machines in the rows of the table, which has two of each."""
    played = dict(zip(MACHINES, seconds, strict=True))
    return [played[row.machines] for row in TABLE]


def _seconds(
    play: Play, hypothesis: Hypothesis, counted: str, machines: int, speed_flops: int, *, bandwidth: int
) -> float:
    """Return how long a whole training takes: a few steps of it are played."""
    workers = machines * COUNTED[counted]
    steps = hypothesis.epochs(workers) * hypothesis.steps(workers)

    def played_ns(count: int) -> int:
        scenario = training_of(machines, COUNTED[counted], speed_flops, bandwidth, count)
        return play(scenario, ring_without_numbers).virtual_time_ns

    first_ns = played_ns(1)
    return (first_ns + (steps - 1) * (played_ns(FEW_STEPS) - first_ns) / (FEW_STEPS - 1)) / 1e9


def ring_without_numbers(node: Node, training: Training) -> Operation[State]:
    """Take the time of a ring's steps: computations, and all-reduces of vectors that have a size and no numbers."""
    node.join(Group(0, tuple(Member(name, 0) for name in training.workers)))
    state = training.initial()
    while not training.is_finished(state):
        batch = training.begin_step(node, state, node.group)
        yield from node.compute(training.flop(batch))
        yield from node.collective(RingAllReduce(), Blank(training.engine.size))
        cursor = training.sampler.after(state.cursor, node.group.names)
        state = replace(state, step=state.step + 1, cursor=cursor)
    return state


def training_of(machines: int, processes: int, speed_flops: int, bandwidth: int, steps: int) -> Scenario:
    """Return the scenario of so many steps of the ring, with 128 samples for each process."""
    nodes = ", ".join(f"{{name: node{index}, processes: {processes}}}" for index in range(machines))
    latency = "0 s" if bandwidth == _FREE_BANDWIDTH else "50 us"
    overrides = (
        f"cluster.nodes=[{nodes}]",
        f"cluster.speed={speed_flops} FLOP/s",
        f"cluster.network.bandwidth={bandwidth} bit/s",
        f"cluster.network.latency={latency}",
        "task.epochs=null",
        f"task.steps={steps}",
        f"task.batch_size={BATCH_SIZE}",
        "task.evaluate_every=null",
        "task.learning_rate_scaling=none",
    )
    return scenario_file.load(shipped.folder() / "paper" / "4nodes.yaml", overrides=overrides).scenario
