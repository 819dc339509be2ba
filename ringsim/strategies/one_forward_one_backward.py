"""1F1B: stages take forward and backward passes in turn, so that several mini-batches are under way, each an update.

    node0  F0 F1 F2 ░░░░ B0 F3 B1 F4 B2 ...
    node1  ░░ F0 F1 ░ B0 F2 B1 F3 B2 F4 ...
    node2  ░░░░░ F0 B0 F1 B1 F2 B2 F3 B3 ...

Stage k of K makes K - 1 - k forward passes ahead (Narayanan et al. 2019, section 3.2). So mini-batch m goes forward
there after update max(0, m - (K - 1 - k)) and comes back after update m, min(m, K - 1 - k) updates later. Cost of an
update once the pipeline is full: the forward and backward pass of the slowest stage. What is not here: at which
parameters a pass is made (`pipedream.py`, `spectrain.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np

from ringsim.learning.parameters import Version
from ringsim.learning.sampler import Cursor
from ringsim.node import Operation
from ringsim.strategies.pipeline import Micro, Pipe
from ringsim.strategies.training import State


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


@dataclass(frozen=True)
class _UnderWay:
    """A mini-batch that went forward and has not come back."""

    cursor: Cursor
    micro: Micro
    inputs: np.ndarray


def train(pipe: Pipe, state: State, weights: Weights, drain: Literal["never", "epoch"]) -> Operation[State]:
    """Forward as far as may be, then one backward; and so on. drain: before a new epoch everything comes back."""
    training, ahead = pipe.training, len(pipe.stages) - 1 - pipe.index
    under_way: list[_UnderWay] = []
    next_cursor = state.cursor
    while not training.is_finished(state):
        while len(under_way) <= ahead and _may_begin(pipe, state, next_cursor, len(under_way), drain):
            step = state.step + len(under_way)
            (micro,) = pipe.begin(step, next_cursor)
            parameters = weights.forward(step, state)
            pipe.keeps(state, list(weights.kept()), [*(one.micro for one in under_way), micro])
            inputs = yield from pipe.forward(micro, parameters)
            under_way.append(_UnderWay(next_cursor, micro, inputs))
            next_cursor = training.sampler.after(next_cursor, pipe.group.names)
        one = under_way.pop(0)
        parameters, staleness = weights.backward(state.step, state)
        gradient, loss = yield from pipe.backward(one.micro, parameters, one.inputs)
        pipe.tell_loss(state.step, one.cursor, loss, [one.micro])
        before, state = state, pipe.updated(state, gradient, staleness)
        weights.updated(before, state)
    return state


def _may_begin(pipe: Pipe, state: State, cursor: Cursor, under_way: int, drain: Literal["never", "epoch"]) -> bool:
    """Say whether there is another mini-batch for now."""
    if drain == "epoch" and under_way and cursor.epoch > state.cursor.epoch:
        return False
    return not pipe.training.is_finished(replace(state, step=state.step + under_way, cursor=cursor))
