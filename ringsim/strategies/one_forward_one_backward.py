"""1F1B: stages take forward and backward passes in turn, so that several mini-batches are under way, each an update.

    node0  F0 F1 F2 ░░░░ B0 F3 B1 F4 B2 ...
    node1  ░░ F0 F1 ░ B0 F2 B1 F3 B2 F4 ...
    node2  ░░░░░ F0 B0 F1 B1 F2 B2 F3 B3 ...

Stage k of K makes K - 1 - k forward passes ahead (Narayanan et al. 2019, section 3.2). So mini-batch m goes forward
there after update max(0, m - (K - 1 - k)) and comes back after update m, min(m, K - 1 - k) updates later. Cost of an
update once the pipeline is full: the forward and backward pass of the slowest stage.

A stage that r workers have gives them mini-batches by turns (1F1B-RR). Each makes (W - 1) // r forward passes ahead,
where W workers have this stage and those after it; a round of r mini-batches is one update, of the mean gradient, for
which they add up in a ring of their own. So such a stage costs its passes / r a mini-batch, and the ring.
What is not here: at which parameters a pass is made (`pipedream.py`, `spectrain.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np

from ringsim.learning.parameters import Version
from ringsim.learning.sampler import Cursor
from ringsim.node import Operation
from ringsim.strategies.pipeline import Micro, Pipe
from ringsim.strategies.training import State

Drain = Literal["never", "epoch"]


class Weights(Protocol):
    """At which parameters a stage makes its passes."""

    def forward(self, step: int, state: State) -> Version:
        """Return those for the forward pass of a mini-batch; the stage holds `state`."""
        ...

    def backward(self, step: int, state: State) -> tuple[Version, int]:
        """Return those for its backward pass, and how many updates old those of its forward pass are."""
        ...

    def updated(self, before: State, after: State, /) -> None:
        """Hear of an update."""
        ...

    def kept(self) -> Iterable[Version]:
        """Return what is kept beside the newest."""
        ...

    def remembered_bytes(self) -> int:
        """Return how much else is kept."""
        ...


@dataclass(frozen=True)
class _Round:
    """The mini-batches of one update of a stage, one for each of its replicas; at the end there may be fewer."""

    step: int
    cursors: tuple[Cursor, ...]


@dataclass(frozen=True)
class _UnderWay:
    """A round of which this replica's mini-batch went forward and has not come back.

    mine: that mini-batch, and the inputs of its pass; None if the last round has none for it.
    """

    of: _Round
    mine: tuple[Micro, np.ndarray] | None


def train(pipe: Pipe, state: State, weights: Weights, drain: Drain) -> Operation[State]:
    """Forward as far as may be, then one backward; and so on. drain: before a new epoch everything comes back."""
    training = pipe.training
    ahead = (sum(map(len, pipe.stages[pipe.index :])) - 1) // len(pipe.replicas)
    under_way: list[_UnderWay] = []
    following = _round(pipe, state, state.cursor, 0, drain)
    while not training.is_finished(state):
        while len(under_way) <= ahead and following.cursors and _may_begin(state, following, under_way, drain):
            under_way.append((yield from _forward(pipe, state, weights, following, under_way)))
            cursor = training.sampler.after(following.cursors[-1], pipe.group.names)
            following = _round(pipe, state, cursor, following.step + len(following.cursors), drain)
        one = under_way.pop(0)
        gradient, staleness = yield from _backward(pipe, state, weights, one)
        before, state = state, pipe.updated(state, gradient, staleness, len(one.of.cursors))
        weights.updated(before, state)
    return state


def _round(pipe: Pipe, state: State, cursor: Cursor, step: int, drain: Drain) -> _Round:
    """Return the mini-batches from this step on that make an update together; none where training is over."""
    cursors: list[Cursor] = []
    for number in range(len(pipe.replicas)):
        is_next_epoch = bool(cursors) and cursor.epoch > cursors[0].epoch
        if pipe.training.is_finished(replace(state, step=step + number, cursor=cursor)):
            break
        if drain == "epoch" and is_next_epoch:
            break
        cursors.append(cursor)
        cursor = pipe.training.sampler.after(cursor, pipe.group.names)
    return _Round(step, tuple(cursors))


def _may_begin(state: State, one: _Round, under_way: Sequence[_UnderWay], drain: Drain) -> bool:
    """Say whether a round need not wait for those under way."""
    return not (drain == "epoch" and under_way and one.cursors[0].epoch > state.cursor.epoch)


def _forward(
    pipe: Pipe, state: State, weights: Weights, one: _Round, under_way: Sequence[_UnderWay]
) -> Operation[_UnderWay]:
    """Send this replica's mini-batch of a round forward."""
    steps = enumerate(one.cursors, one.step)
    mini_batches = [micro for step, cursor in steps for micro in pipe.begin(step, cursor, turn=step)]
    if not (mine := pipe.mine(mini_batches)):
        return _UnderWay(one, None)
    (micro,) = mine
    parameters = weights.forward(micro.step, state)
    before = [other.mine[0] for other in under_way if other.mine is not None]
    pipe.keeps(state, list(weights.kept()), [*before, micro], weights.remembered_bytes())
    return _UnderWay(one, (micro, (yield from pipe.forward(micro, parameters))))


def _backward(pipe: Pipe, state: State, weights: Weights, one: _UnderWay) -> Operation[tuple[np.ndarray, int | None]]:
    """Take this replica's mini-batch back; return the mean gradient of the round, and how old its weights were."""
    gradient, staleness, samples = np.zeros(len(state.model.parameters.array), np.float32), None, 0
    if one.mine is not None:
        micro, inputs = one.mine
        samples = len(micro.samples)
        parameters, staleness = weights.backward(micro.step, state)
        gradient, loss = yield from pipe.backward(micro, parameters, inputs)
        pipe.tell_loss(one.of.cursors[micro.step - one.of.step], loss, [micro])
    if len(pipe.replicas) > 1:
        batches = [pipe.training.sampler.batches(cursor, pipe.group.names)[0] for cursor in one.of.cursors]
        share = np.float32(samples / sum(len(batch.samples) for batch in batches))
        gradient = yield from pipe.added_up(one.of.step, gradient * share)
    return gradient, staleness
