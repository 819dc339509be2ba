"""Local SGD: everybody trains alone, and every H steps all average their parameters (Stich 2019; McMahan et al. 2017).

    node0  ▓▓ update ▓▓ update ▓▓ update ░░ mean of all ░░ ▓▓ update ▓▓ ...
    node1  ▓▓ update ▓▓ update ▓▓ update ░░ mean of all ░░ ▓▓ update ▓▓ ...

Each replica weighs as many samples as it took since the last average. With H = 1 and plain SGD this is data
parallelism; with more the replicas part in between, and the mean is of parameters and not of gradients. What an
optimizer remembers is not averaged. The last step is followed by an average, whatever H. Cost: one all-reduce for H
steps, of S bytes; the slowest worker is waited for there. A death is the end, as in plain MPI. What is not here: an
outer optimizer (`diloco.py`).
"""

from __future__ import annotations

from functools import partial

import numpy as np

from ringsim.node import Group, Node, Operation
from ringsim.plan import Plan
from ringsim.scenario import LocalSgd, Scenario, worker_names
from ringsim.strategies import replicas
from ringsim.strategies.all_reduce import all_reduce
from ringsim.strategies.replicas import parameters
from ringsim.strategies.training import Deployment, State, Training


def deploy(scenario: Scenario) -> Deployment:
    """Put a worker on every rank of the cluster."""
    settings = scenario.strategy
    assert isinstance(settings, LocalSgd)
    collective = all_reduce(scenario, replicas.everybody(worker_names(scenario)))
    return replicas.deploy(scenario, partial(worker, collective=collective, every=settings.average_every))


def worker(node: Node, training: Training, group: Group, collective: Plan, every: int) -> Operation[State]:
    """Train alone for some steps, average, and so on."""
    node.join(group)
    state = training.initial()
    while not training.is_finished(state):
        state, weight = yield from steps_alone(node, training, state, group, every)
        mean = yield from node.collective(collective, weight * parameters(state))
        state = replicas.averaged(node, training, state, mean, group)
    return state


def steps_alone(
    node: Node, training: Training, state: State, group: Group, count: int
) -> Operation[tuple[State, np.float32]]:
    """Take so many steps, or as many as are left; return which part of all samples of these were this worker's."""
    own = total = 0
    for _ in range(count):
        if training.is_finished(state):
            break
        batch = training.begin_step(node, state, group)
        gradient = yield from training.gradient(node, state, batch, group)
        state = replicas.updated(node, training, state, gradient.array, group)
        own, total = own + len(batch.samples), total + batch.total
    return state, np.float32(own / total)
