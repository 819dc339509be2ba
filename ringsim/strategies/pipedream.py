"""PipeDream: 1F1B with weight stashing (Narayanan et al. 2019, section 3.3).

    stage 0 of 3   F0 at w0   F1 at w0   F2 at w0   B0 at w0 -> w1   F3 at w1   B1 at w0 -> w2   F4 at w2 ...

A backward pass uses the very weights of its forward pass, which the stage has kept (stashed); the update goes to the
newest. Without that (`stashing: false`) it uses the newest, and its result is the gradient of nothing at all. With
`vertical_sync` a mini-batch uses at every stage the weights of as many updates as at the first one: they are
min(m, K - 1) updates old. Stage k keeps up to K - k versions, with vertical sync K. What is not here: the order of
passes and its cost (`one_forward_one_backward.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ringsim.learning.parameters import Version
from ringsim.node import Operation
from ringsim.scenario import PipeDream, Scenario
from ringsim.strategies import pipeline
from ringsim.strategies.one_forward_one_backward import Weights, train
from ringsim.strategies.pipeline import Pipe
from ringsim.strategies.training import Deployment, State


def deploy(scenario: Scenario) -> Deployment:
    """Put a stage on every rank of the cluster, or on several."""
    settings = scenario.strategy
    assert isinstance(settings, PipeDream)
    return pipeline.deploy(scenario, lambda pipe, state: stage(pipe, state, settings), replicas=settings.workers)


def stage(pipe: Pipe, state: State, settings: PipeDream) -> Operation[State]:
    """Train with the weights that the settings ask for."""
    return train(pipe, state, _weights(pipe, settings), settings.drain)


def _weights(pipe: Pipe, settings: PipeDream) -> Weights:
    if not settings.vertical_sync:
        return Stashed() if settings.stashing else Newest()
    sampler = pipe.training.sampler
    steps_an_epoch = -(-sampler.train_size // sampler.full_step(pipe.group.names))
    return InSync(len(pipe.stages), steps_an_epoch if settings.drain == "epoch" else None)


@dataclass
class Stashed:
    """Each mini-batch has its own weights: the newest when it went forward."""

    stash: dict[int, tuple[int, Version]] = field(default_factory=dict)  # by mini-batch: after which update, and which

    def forward(self, step: int, state: State) -> Version:
        """Take the newest, and keep them."""
        self.stash[step] = state.step, state.model.parameters
        return state.model.parameters

    def backward(self, step: int, state: State) -> tuple[Version, int]:
        """Return those that were kept."""
        then, parameters = self.stash.pop(step)
        return parameters, state.step - then

    def updated(self, _before: State, _after: State) -> None:
        """There is nothing to do."""

    def kept(self) -> Iterable[Version]:
        """Return those of all mini-batches under way."""
        return [parameters for _, parameters in self.stash.values()]

    def remembered_bytes(self) -> int:
        """Return nothing."""
        return 0


@dataclass
class Newest:
    """Every pass has the newest weights: those of a forward pass are gone when it comes back."""

    then: dict[int, int] = field(default_factory=dict)

    def forward(self, step: int, state: State) -> Version:
        """Take the newest."""
        self.then[step] = state.step
        return state.model.parameters

    def backward(self, step: int, state: State) -> tuple[Version, int]:
        """Take the newest."""
        return state.model.parameters, state.step - self.then.pop(step)

    def updated(self, _before: State, _after: State) -> None:
        """There is nothing to do."""

    def kept(self) -> Iterable[Version]:
        """Return none."""
        return ()

    def remembered_bytes(self) -> int:
        """Return nothing."""
        return 0


@dataclass
class InSync:
    """Each mini-batch has the weights of as many updates as at the first of the stages (vertical sync).

    drains_every: so many mini-batches, everything under way comes back.
    """

    stages: int
    drains_every: int | None
    versions: dict[int, Version] = field(default_factory=dict)  # by update

    def forward(self, step: int, state: State) -> Version:
        """Take those that are as old as at the first stage."""
        self.versions[state.step] = state.model.parameters
        return self.versions[self._entered(step)]

    def backward(self, step: int, state: State) -> tuple[Version, int]:
        """Take the same."""
        then = self._entered(step)
        return self.versions[then], state.step - then

    def updated(self, _before: State, after: State) -> None:
        """Keep the new ones, and forget those of mini-batches that are back."""
        self.versions[after.step] = after.model.parameters
        oldest = self._entered(after.step)
        self.versions = {update: one for update, one in self.versions.items() if update >= oldest}

    def kept(self) -> Iterable[Version]:
        """Return all that mini-batches under way, or to come, may need."""
        return self.versions.values()

    def remembered_bytes(self) -> int:
        """Return nothing."""
        return 0

    def _entered(self, step: int) -> int:
        """Return after how many updates of the first stage a mini-batch goes forward there."""
        opening = step - step % self.drains_every if self.drains_every else 0
        return max(opening, step - (self.stages - 1))
