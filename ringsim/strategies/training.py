"""What a strategy is given besides its node: `Training`, the numbers of the task; and what it gives: a `Deployment`.

A strategy says who does what when. What a gradient, an update or an evaluation *is*, and what the trace hears of it,
is the same for all of them and stands here. What is not here: waiting for anybody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ringsim.learning.engine import Deferred, Engine, Gradient, ModelState
from ringsim.learning.learning_rate import learning_rate
from ringsim.learning.sampler import Batch, Cursor, Sampler
from ringsim.node import Group, Member, Node, Operation
from ringsim.scenario import Host, Task
from ringsim.strategies.observer import Observer, Replicas

_MILLION = 10**6


@dataclass(frozen=True)
class State:
    """Where training stands after update `step`. Immutable, so that a commit is nothing but a reference.

    part: from where to where in the parameters `model` is, if it is not all of them.
    """

    step: int
    cursor: Cursor
    model: ModelState
    reached_target: bool = False
    part: tuple[int, int] | None = None


@dataclass(frozen=True)
class Role:
    """What one node does: `run(node, training)`. The other fields are those of `node.Program`."""

    node: str
    run: Callable[[Node, Training], Operation[State | GaveUp | None]]
    worker: bool = True
    restarts: bool = False


@dataclass(frozen=True)
class GaveUp:
    """What a program returns when it saw that the training cannot go on, and why."""

    reason: str


@dataclass(frozen=True)
class Training:
    """The task as a strategy sees it. All methods mean the same on every node, and none of them waits for another."""

    task: Task
    engine: Engine
    sampler: Sampler
    observer: Observer = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "observer", Observer(self.engine, self.workers))

    @property
    def workers(self) -> tuple[str, ...]:
        """The names of all workers, in rank order."""
        return tuple(self.sampler.shares)

    def initial(self) -> State:
        """Return the state before the first update: the same on every node, from the seed."""
        return State(0, Cursor(0, 0), self.engine.initial())

    def is_finished(self, state: State) -> bool:
        """Say whether the task asks for no more updates."""
        if self.task.steps is not None:
            return state.reached_target or state.step >= self.task.steps
        assert self.task.epochs is not None
        return state.reached_target or state.cursor.epoch >= self.task.epochs

    def batches(self, state: State, group: Group) -> tuple[Batch, ...]:
        """Return which samples each member takes in the step after `state`, in rank order."""
        return self.sampler.batches(state.cursor, group.names)

    def begin_step(self, node: Node, state: State, group: Group) -> Batch:
        """Begin the step after `state` on this node; return its own samples."""
        batch = self.batches(state, group)[group.ranks[node.name]]
        self.begin(node, state, batch, group)
        return batch

    def begin(self, node: Node, state: State, batch: Batch, group: Group) -> None:
        """Say that a step begins on this node, with the samples of `batch`."""
        node.begin_step(
            state.step, epoch=state.cursor.epoch, generation=group.generation, samples=[int(i) for i in batch.samples]
        )

    def gradient(self, node: Node, state: State, batch: Batch, group: Group) -> Operation[Gradient]:
        """Compute the mean gradient over `batch`: real numbers, while the node's virtual time passes."""
        deferred = self.deferred_gradient(state, batch)
        yield from node.compute(self.flop(batch))
        return self.taken(node, state, batch, group, deferred)

    def deferred_gradient(self, state: State, batch: Batch) -> Deferred:
        """Begin with the numbers of the mean gradient over `batch`, without the time that their `flop` take."""
        return self.engine.gradient(state.model.parameters, batch.samples, batch.epoch)

    def flop(self, batch: Batch) -> int:
        """Return the work of the gradient over `batch`, forward and backward."""
        return len(batch.samples) * self.engine.flop_per_sample

    def taken(self, node: Node, state: State, batch: Batch, group: Group, deferred: Deferred) -> Gradient:
        """Return the gradient over `batch`, for which all work is done now, and tell the loss."""
        gradient = deferred.value()
        node.record(
            "loss",
            step=state.step,
            epoch=state.cursor.epoch,
            generation=group.generation,
            samples=len(batch.samples),
            loss=gradient.loss,
        )
        return gradient

    def learning_rate(self, state: State, group: Group) -> float:
        """Return the rate of the step after `state`; it follows the batch that the present group takes (Goyal 2018)."""
        world = self.sampler.full_step(group.names) / self.task.batch_size
        progress_epochs = state.cursor.epoch + state.cursor.position / self.sampler.train_size
        return learning_rate(self.task, world, progress_epochs)

    def update(
        self,
        node: Node,
        state: State,
        mean: np.ndarray,
        group: Group,
        *,
        reports: bool,
        contributors: Group | None = None,
    ) -> State:
        """Apply a mean gradient to the state it was taken at.

        group: who the step's samples were cut among. contributors: whose gradients are in the mean, if not all of
        theirs; the learning rate follows these. The evaluations that are due are made by every node that updates, and
        told, with the rate, by the one that `reports`.
        """
        contributors = contributors or group
        cursor = self.sampler.after(state.cursor, group.names)
        state = self.applied(
            node, state, mean, group, cursor, reports=reports, whose=contributors, world_size=len(contributors.members)
        )
        return self.evaluated(node, state, group, reports, self.is_due(state), self.is_finished(state))

    def update_apart(
        self,
        node: Node,
        state: State,
        gradient: np.ndarray,
        group: Group,
        *,
        reports: bool,
        batches: Sequence[tuple[str, int]] | None = None,
        staleness: int | None = None,
    ) -> State:
        """Apply a gradient to what only this node holds: a replica of its own, or a part of the parameters.

        group: who the step's samples were cut among. batches: whose samples the gradient is of, each (worker, step of
        that worker), if not those of the whole group in this step; the rate follows these workers. staleness: how many
        updates old the parameters were at which it was taken. What is due is not evaluated, but shown to the observer.
        """
        fields: dict[str, object] = {"world_size": len(group.members) if batches is None else len(batches)}
        whose = group
        if batches is not None:
            fields["batches"] = [list(batch) for batch in batches]
            whose = Group(group.generation, tuple(Member(name, 0) for name, _ in batches))
        if staleness is not None:
            fields["staleness"] = staleness
        cursor = self.sampler.after(state.cursor, group.names)
        state = self.applied(node, state, gradient, group, cursor, reports=reports, whose=whose, **fields)
        self.show(node, state, group)
        return state

    def goes_on(self, node: Node, state: State, group: Group, **fields: object) -> State:
        """Say that an update is of the next step too: the parameters after that one are these."""
        state = replace(state, step=state.step + 1, cursor=self.sampler.after(state.cursor, group.names))
        node.record("update", step=state.step, generation=group.generation, **fields)
        self.show(node, state, group)
        return state

    def show(self, node: Node, state: State, group: Group) -> None:
        """Show the observer what this node holds, if that is due."""
        if self.is_due(state) or self.is_finished(state):
            self.observer.keep(node.name, group.generation, state)

    def applied(
        self,
        node: Node,
        state: State,
        gradient: np.ndarray,
        group: Group,
        cursor: Cursor,
        *,
        reports: bool,
        whose: Group,
        **fields: object,
    ) -> State:
        """Apply a gradient of `whose` samples, and say so; `cursor`: where training stands then in its data."""
        rate = self.learning_rate(state, whose)
        model = self.engine.update(state.model, gradient, rate)
        state = State(state.step + 1, cursor, model, part=state.part)
        node.record("update", step=state.step, generation=group.generation, **fields)
        if reports:
            node.record("rate", step=state.step, generation=group.generation, learning_rate=rate)
        return state

    def own_write(self, state: State, gradient: np.ndarray, group: Group) -> State:
        """Apply an own gradient to a copy of parameters that others keep: it is no update (Ho 2013: read-my-writes)."""
        return replace(state, model=self.engine.update(state.model, gradient, self.learning_rate(state, group)))

    def is_due(self, state: State) -> bool:
        """Say whether the task asks for an evaluation after this update."""
        every = self.task.evaluate_every
        return every is not None and state.step % every == 0

    def commit(self, node: Node, state: State, group: Group) -> State:
        """Keep `state` as what a failure rolls back to."""
        node.record("commit", step=state.step, generation=group.generation)
        return state

    def restore(self, node: Node, state: State, committed: State, group: Group) -> State:
        """Go on from `committed`, giving up what `state` had beyond it."""
        node.record("restore", step=committed.step, from_step=state.step, generation=group.generation)
        return committed

    def carry(self, node: Node, state: State, batch: Batch, group: Group, origin: Group) -> None:
        """Bring the gradient over `batch`, which was computed for a step that failed in `origin`, into `group`."""
        node.record(
            "carry",
            step=state.step,
            epoch=state.cursor.epoch,
            generation=group.generation,
            from_generation=origin.generation,
            samples=[int(sample) for sample in batch.samples],
        )

    def drop(self, node: Node, state: State, worker: str, group: Group) -> None:
        """Give up the samples that `worker` has in the step after `state`, which `group` completes without it."""
        node.record(
            "dropped",
            step=state.step,
            epoch=state.cursor.epoch,
            generation=group.generation,
            worker=worker,
            samples=[int(sample) for sample in self.batches(state, group)[group.ranks[worker]].samples],
        )

    def state_size_bytes(self, state: State) -> int:
        """Return what it takes to send all of `state`: parameters, optimizer, and 24 bytes of counters."""
        return self.engine.size_bytes(state.model) + 24

    @property
    def gradient_size_bytes(self) -> int:
        """Return the size of a gradient, or of the parameters: float32."""
        return 4 * self.engine.size

    def evaluated(self, node: Node, state: State, group: Group, reports: bool, due: bool, is_last: bool) -> State:
        """Evaluate `state` if that is due, or it is the last one; see whether it has reached the target."""
        if not (due or is_last):
            return state
        evaluation = self.engine.evaluate(state.model.parameters)
        if reports:
            node.record(
                "evaluation",
                step=state.step,
                epoch=state.cursor.epoch,
                generation=group.generation,
                loss=evaluation.loss,
                accuracy=evaluation.accuracy,
            )
        return replace(state, reached_target=due and self.is_at_target(state))

    def is_at_target(self, state: State) -> bool:
        """Say whether the parameters reach the task's target on the test split, if it has one."""
        target_ppm = self.task.target_accuracy
        if target_ppm is None:
            return False
        accuracy = self.engine.evaluate(state.model.parameters).accuracy
        return bool(round(accuracy * _MILLION, 3) >= target_ppm)


@dataclass(frozen=True)
class Deployment:
    """Who does what, how many samples a step each worker takes, and the machines that the strategy adds.

    full_size: how many workers a step has while nobody is missing; None: all of them. replicas: whether all who hold
    the parameters hold the same. is_finished: whether who returns a state has come to the end of the task.
    """

    roles: Sequence[Role]
    shares: Mapping[str, int]
    machines: Sequence[Host] = ()
    full_size: int | None = None
    name: str = ""  # of a user's own strategy
    replicas: Replicas = "equal"
    is_finished: Callable[[Training, State], bool] = Training.is_finished
