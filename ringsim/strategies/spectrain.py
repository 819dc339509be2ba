"""SpecTrain: 1F1B at predicted weights, of which none need be kept (Chen et al. 2019, section 4).

    stage k of K     forward at  W + (k // 2 + K - 1 - k) d     backward at  W + (k // 2) d

W are the newest weights and d is the last applied update: there the weights would be at the update that stage 0 makes
of the mini-batch, if they went on as they did. (The paper has W - s eta v with the momentum-smoothed gradient v; eta v
is what the optimizer's last update took off.) So the passes of one mini-batch see nearly the same weights at all
stages, and no version is stashed; d is as large as one. What is not here: the order of passes
(`one_forward_one_backward.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from ringsim.learning.engine import Engine
from ringsim.learning.parameters import Version
from ringsim.node import Operation
from ringsim.scenario import Scenario, SpecTrain
from ringsim.strategies import pipeline
from ringsim.strategies.one_forward_one_backward import train
from ringsim.strategies.pipeline import Pipe
from ringsim.strategies.training import Deployment, State


def deploy(scenario: Scenario) -> Deployment:
    """Put a stage on every rank of the cluster."""
    settings = scenario.strategy
    assert isinstance(settings, SpecTrain)
    return pipeline.deploy(scenario, lambda pipe, state: stage(pipe, state, settings))


def stage(pipe: Pipe, state: State, settings: SpecTrain) -> Operation[State]:
    """Train at predicted weights."""
    half, later = pipe.index // 2, len(pipe.stages) - 1 - pipe.index
    return train(pipe, state, Predicted(pipe.training.engine, half + later, half), settings.drain)


@dataclass
class Predicted:
    """Weights so many updates ahead of the newest ones, if all were as the last one was."""

    engine: Engine
    forward_by: int
    backward_by: int
    last: np.ndarray | None = None
    then: dict[int, int] = field(default_factory=dict)

    def forward(self, step: int, state: State) -> Version:
        """Predict those of the mini-batch's own update."""
        self.then[step] = state.step
        return self._ahead(state, self.forward_by)

    def backward(self, step: int, state: State) -> tuple[Version, int]:
        """Predict the same."""
        return self._ahead(state, self.backward_by), state.step - self.then.pop(step)

    def updated(self, before: State, after: State) -> None:
        """See by how much the weights have changed."""
        self.last = after.model.parameters.array - before.model.parameters.array

    def kept(self) -> Iterable[Version]:
        """Return none."""
        return ()

    def remembered_bytes(self) -> int:
        """Return the size of the last update, which is there from the first one on."""
        return 0 if self.last is None else self.last.nbytes

    def _ahead(self, state: State, updates: int) -> Version:
        parameters = state.model.parameters
        if self.last is None or not updates:
            return parameters
        return self.engine.share(parameters.array + np.float32(updates) * self.last)
