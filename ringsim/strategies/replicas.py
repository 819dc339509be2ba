"""Replicas of its own on every worker: what all strategies do with them whose workers do not hold the same parameters.

Each gradient is an update of the replica of who computed it. A step takes the samples that all workers of the cluster
together would take, cut among them as everywhere; the rate of an update follows its own samples. What the replicas are
together, their mean, is what is evaluated, and how far they are from it is the consensus distance (`observer.py`). What
is not here: how replicas come near each other (the strategies).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from ringsim.node import Group, Member, Node, Operation
from ringsim.scenario import Scenario, worker_shares
from ringsim.strategies.training import Deployment, Role, State, Training


def deploy(scenario: Scenario, run: Callable[..., Operation[State]]) -> Deployment:
    """Put a worker on every rank of the cluster; `run(node, training, group=everybody)` is what each does."""
    shares = worker_shares(scenario)
    group = everybody(tuple(shares))
    return Deployment([Role(name, partial(run, group=group)) for name in shares], shares, replicas="own")


def everybody(names: Sequence[str]) -> Group:
    """Return the group of all workers, in rank order."""
    return Group(0, tuple(Member(name, 0) for name in names))


def parameters(state: State) -> np.ndarray:
    """Return the parameters of a replica, float32 [size], read-only."""
    return state.model.parameters.array


def with_parameters(training: Training, state: State, numbers: np.ndarray) -> State:
    """Return the state with these parameters; what the optimizer remembers stays."""
    return replace(state, model=replace(state.model, parameters=training.engine.share(numbers)))


def averaged(node: Node, training: Training, state: State, numbers: np.ndarray, group: Group) -> State:
    """Take what an average has come to, and show it: what the last update left is not what training goes on with."""
    state = with_parameters(training, state, numbers)
    node.record("average", step=state.step, generation=group.generation)
    training.show(node, state, group)
    return state


def updated(
    node: Node, training: Training, state: State, gradient: np.ndarray, group: Group, staleness: int | None = None
) -> State:
    """Apply a worker's gradient to its own replica; staleness: how many averages came since the parameters it is of."""
    batches = [(node.name, state.step)]
    return training.update_apart(node, state, gradient, group, reports=True, batches=batches, staleness=staleness)
