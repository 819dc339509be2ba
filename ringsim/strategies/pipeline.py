"""A stage of a pipeline on its node: what model parallelism and all pipelines do with it.

    node0  layers 0, 1   ── activations ─►  node1  layers 2      ── activations ─►  node2  layers 3, 4: loss
    node0  layers 0, 1   ◄─ gradients ────  node1  layers 2      ◄─ gradients ────  node2

Every worker is one stage. A step takes the samples that all workers of the cluster together would take, so it is a step
of the local twin. The first stage reads the samples and the last one their labels, each from its own copy of the data;
between stages go the activations, and back the gradients of them: float32 numbers for the samples that there are. A
forward pass takes the work of its layers, a backward pass twice that. Who waits for a dead stage gives up, and the next
one for it: any death is the end of the job. What is not here: which pass comes when (the strategies).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from ringsim.collectives.ring import RingAllReduce
from ringsim.learning.parameters import Version
from ringsim.learning.sampler import Cursor
from ringsim.learning.stages import Stage
from ringsim.node import Group, Member, Message, Node, Operation, Sent
from ringsim.scenario import Pipelined, Scenario, global_batch_size, worker_names
from ringsim.strategies.partition import balanced, by_hand
from ringsim.strategies.training import Deployment, Role, State, Training

Worker = Callable[["Pipe", State], Operation[State]]


@dataclass(frozen=True)
class Micro:
    """A piece of a step's mini-batch, which the replicas of a stage take by turns. `share`: of the step's samples."""

    step: int
    number: int
    turn: int
    samples: tuple[int, ...]
    epoch: int
    share: float


@dataclass
class _Peak:
    versions: int = 0
    size_bytes: int = 0


@dataclass(frozen=True)
class Pipe:
    """One stage on its node, and the way to the stages before and after it.

    stages: who has each of them; several workers who have the same one are its replicas, and take pieces in turn.
    group: who owns the samples: the first worker alone.
    """

    node: Node
    training: Training
    stage: Stage
    stages: tuple[tuple[str, ...], ...]
    group: Group
    _peak: _Peak = field(default_factory=_Peak)

    @property
    def index(self) -> int:
        """Which stage it is, from 0."""
        return _index(self.stages, self.node)

    @property
    def replicas(self) -> tuple[str, ...]:
        """Who has this stage."""
        return self.stages[self.index]

    def mine(self, pieces: Sequence[Micro]) -> list[Micro]:
        """Return the pieces that this replica of its stage takes."""
        return [micro for micro in pieces if self._who(self.index, micro) == self.node.name]

    def _who(self, index: int, micro: Micro) -> str:
        """Return which replica of a stage takes a piece."""
        return self.stages[index][micro.turn % len(self.stages[index])]

    def begin(self, step: int, cursor: Cursor, pieces: int = 1, turn: int = 0) -> tuple[Micro, ...]:
        """Return the pieces of a step's mini-batch, which replicas take by turns from `turn` on.

        Whose turn it is at the first stage says that the step begins.
        """
        (batch,) = self.training.sampler.batches(cursor, self.group.names)
        total = len(batch.samples)
        ends = [total * number // pieces for number in range(pieces + 1)]
        cuts = [batch.samples[start:stop] for start, stop in pairwise(ends)]
        micros = tuple(
            Micro(step, number, turn + number, some, cursor.epoch, len(some) / total)
            for number, some in enumerate(cuts)
            if some
        )
        if self.node.name == self._opens(0, micros):
            samples = [int(sample) for sample in batch.samples]
            self.node.begin_step(step, epoch=cursor.epoch, generation=0, samples=samples)
        return micros

    def _opens(self, index: int, pieces: Sequence[Micro]) -> str:
        """Return which replica of a stage a step's turns begin with, though its piece may be empty."""
        return self.stages[index][(pieces[0].turn - pieces[0].number) % len(self.stages[index])]

    def forward(self, micro: Micro, parameters: Version) -> Operation[np.ndarray]:
        """Take what comes from the stage before, pass on what comes out; return the inputs, for the way back."""
        if self.index == 0:
            inputs = self.stage.samples(micro.samples)
        else:
            before = self._who(self.index - 1, micro)
            message = yield from self.node.receive(before, tag=("forward", micro.step, micro.number))
            inputs = message.payload
        yield from self.node.compute(self._flop(1, micro))
        if not self.stage.is_last:
            outputs = self.stage.forward(parameters, inputs, micro.samples, micro.epoch)
            self._pass(self.index + 1, outputs, "forward", micro, self.stage.output_bytes)
        return inputs

    def backward(self, micro: Micro, parameters: Version, inputs: np.ndarray) -> Operation[tuple[np.ndarray, float]]:
        """Take the gradient that comes from the stage after, pass on that of the inputs; return that of the parameters.

        With it comes the mean loss, which only the last stage knows; elsewhere it is 0.
        """
        if self.stage.is_last:
            found = self.stage.backward_from_labels(parameters, inputs, micro.samples, micro.epoch, micro.share)
            loss, gradient, below = found
        else:
            after = self._who(self.index + 1, micro)
            above = yield from self.node.receive(after, tag=("backward", micro.step, micro.number))
            gradient, below = self.stage.backward(parameters, inputs, micro.samples, micro.epoch, above.payload)
            loss = 0.0
        yield from self.node.compute(self._flop(2, micro))
        if self.index > 0:
            self._pass(self.index - 1, below, "backward", micro, self._input_bytes)
        return gradient, loss

    def _pass(self, index: int, numbers: np.ndarray, what: str, micro: Micro, sample_bytes: int) -> None:
        size_bytes = sample_bytes * len(micro.samples)
        self.node.send(self._who(index, micro), numbers, size_bytes, tag=(what, micro.step, micro.number))

    @property
    def _input_bytes(self) -> int:
        """What one sample's inputs take."""
        layers, first = self.training.engine.model.layers, self.stage.first
        return 4 * int(
            np.prod(layers[first - 1].output_shape if first else self.training.engine.dataset.shape.features)
        )

    def _flop(self, passes: int, micro: Micro) -> int:
        """Return the work of this stage: `passes` of the three parts of the whole, of which the forward pass is one."""
        costs = self.training.engine.model.costs
        total = passes * len(micro.samples) * self.training.engine.flop_per_sample
        before, after = (sum(costs[:end]) for end in (self.stage.first, self.stage.last))
        whole = 3 * sum(costs)
        return total * after // whole - total * before // whole

    def added_up(self, step: int, numbers: np.ndarray) -> Operation[np.ndarray]:
        """Add up what all replicas of this stage have, by a ring all-reduce."""
        total: np.ndarray = yield from RingAllReduce().messages(_Seat(self.node, self.replicas, step), numbers)
        return total

    def tell_loss(self, cursor: Cursor, loss: float, pieces: Sequence[Micro]) -> None:
        """Tell the mean loss of a step of these pieces, if this is the last stage: whose turn is the first does."""
        if self.node.name == self._opens(len(self.stages) - 1, pieces):
            samples = sum(len(micro.samples) for micro in pieces)
            about = {"step": pieces[0].step, "epoch": cursor.epoch, "generation": 0, "samples": samples}
            self.node.record("loss", **about, loss=loss, worker=self._opens(0, pieces))

    def updated(self, state: State, gradient: np.ndarray, staleness: int | None = None, mini_batches: int = 1) -> State:
        """Apply the gradient of a step, or the mean one of several at the first one's rate, to the stage."""
        training, reports = self.training, self.node.name == self.stages[0][0]
        state = training.update_apart(self.node, state, gradient, self.group, reports=reports, staleness=staleness)
        fields = {} if staleness is None else {"staleness": staleness}
        for _ in range(mini_batches - 1):
            state = training.goes_on(self.node, state, self.group, world_size=1, **fields)
        return state

    def keeps(self, state: State, versions: Sequence[Version], pieces: Sequence[Micro], other_bytes: int = 0) -> None:
        """Say how much this stage keeps, if it is more than ever: versions, optimizer, gradient, inputs, others."""
        there = {version.id: version for version in (state.model.parameters, *versions)}
        numbers = sum(version.array.nbytes for version in there.values()) + state.model.parameters.array.nbytes
        optimizer = self.training.engine.size_bytes(state.model) - state.model.parameters.array.nbytes
        inputs = self._input_bytes * sum(len(micro.samples) for micro in pieces)
        size_bytes, peak = numbers + optimizer + inputs + other_bytes, self._peak
        if size_bytes > peak.size_bytes or len(there) > peak.versions:
            peak.versions, peak.size_bytes = max(peak.versions, len(there)), max(peak.size_bytes, size_bytes)
            self.node.record("memory", versions=peak.versions, size_bytes=peak.size_bytes)


@dataclass(frozen=True)
class _Seat:
    """A replica's place in an all-reduce of its stage, which is no group of the whole training: plain messages."""

    node: Node
    members: tuple[str, ...]
    step: int

    @property
    def rank(self) -> int:
        return self.members.index(self.node.name)

    def send(self, to: str, payload: Any, size_bytes: int, tag: Any) -> Sent:
        return self.node.send(to, payload, size_bytes, tag=("sum", self.step, tag))

    def receive(
        self, source: str, tag: Any, timeout_ns: int | None = None, watching: Sequence[str] = ()
    ) -> Operation[Message]:
        return self.node.receive(source, ("sum", self.step, tag), timeout_ns, watching)


def deploy(scenario: Scenario, run: Worker, pieces: int = 1, replicas: Sequence[int] | None = None) -> Deployment:
    """Put a stage on every rank of the cluster; `run(pipe, state)` is what each does.

    pieces: of a mini-batch. replicas: how many ranks have the same stage; None: each has one of its own.
    """
    names, settings = worker_names(scenario), scenario.strategy
    assert isinstance(settings, Pipelined)
    ends = list(accumulate([1] * len(names) if replicas is None else replicas))
    stages = tuple(tuple(names[start:end]) for start, end in pairwise([0, *ends]))
    work = partial(_stage, run=run, stages=stages, layers=settings.layers, pieces=pieces)
    roles = [Role(name, work) for name in names]
    return Deployment(roles, {names[0]: global_batch_size(scenario)}, full_size=1)


def _index(stages: tuple[tuple[str, ...], ...], node: Node) -> int:
    """Return which stage a node has."""
    return next(index for index, names in enumerate(stages) if node.name in names)


def _stage(
    node: Node,
    training: Training,
    run: Worker,
    stages: tuple[tuple[str, ...], ...],
    layers: Sequence[int] | None,
    pieces: int,
) -> Operation[State]:
    """Take the stage that is this node's, and run."""
    engine = training.engine
    index = _index(stages, node)
    cuts = balanced(engine.model.costs, list(map(len, stages))) if layers is None else by_hand(layers)
    stage = Stage(engine, *cuts[index], rows=-(-engine.rows // pieces))
    group = Group(0, (Member(stages[0][0], 0),))
    whole = training.initial()
    part = stage.part
    state = State(0, whole.cursor, engine.cut(whole.model, part), part=(part.start, part.stop))
    return (yield from run(Pipe(node, training, stage, stages, group), state))
