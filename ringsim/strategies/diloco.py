"""DiLoCo: everybody trains alone for H steps; how far all came is the gradient of an outer step (Douillard 2023).

    node0  θ ─► ▓▓ update ▓▓ update ▓▓ update: x0 ─┐
    node1  θ ─► ▓▓ update ▓▓ update ▓▓ update: x1 ─┼─► Δ = θ - mean of x ─► v = μ v + Δ ─► θ = θ - η (Δ + μ v)
    node2  θ ─► ▓▓ update ▓▓ update ▓▓ update: x2 ─┘

The outer optimizer is SGD with Nesterov's momentum (section 2, algorithm 1); with η = 1 and μ = 0 this is `local_sgd`.
Every worker makes the same outer step from the same mean, and keeps θ and v for it; what its inner optimizer remembers
is its own, and goes on from one round to the next. Cost and failures are those of `local_sgd`. What is not here: the
steps in between (`local_sgd.py`).
"""

from __future__ import annotations

from functools import partial

import numpy as np

from ringsim.node import Group, Node, Operation
from ringsim.plan import Plan
from ringsim.scenario import DiLoCo, Scenario, worker_names
from ringsim.strategies import replicas
from ringsim.strategies.all_reduce import all_reduce
from ringsim.strategies.local_sgd import steps_alone
from ringsim.strategies.replicas import parameters
from ringsim.strategies.training import Deployment, State, Training


def deploy(scenario: Scenario) -> Deployment:
    """Put a worker on every rank of the cluster."""
    settings = scenario.strategy
    assert isinstance(settings, DiLoCo)
    collective = all_reduce(scenario, replicas.everybody(worker_names(scenario)))
    return replicas.deploy(scenario, partial(worker, collective=collective, settings=settings))


def worker(node: Node, training: Training, group: Group, collective: Plan, settings: DiLoCo) -> Operation[State]:
    """Train alone for some steps, make an outer step, and so on."""
    node.join(group)
    rate, momentum = np.float32(settings.outer_learning_rate), np.float32(settings.outer_momentum)
    state = training.initial()
    outer, velocity = parameters(state), np.zeros(training.engine.size, np.float32)
    keeps(node, training, state)
    while not training.is_finished(state):
        state, weight = yield from steps_alone(node, training, state, group, settings.average_every)
        change = yield from node.collective(collective, weight * (outer - parameters(state)))
        velocity = momentum * velocity + change
        outer = outer - rate * (change + momentum * velocity)
        state = replicas.averaged(node, training, state, outer, group)
    return state


def keeps(node: Node, training: Training, state: State) -> None:
    """Say what a worker keeps: its replica with its optimizer and a gradient, and the outer parameters and momentum."""
    size_bytes = training.engine.size_bytes(state.model) + 3 * training.gradient_size_bytes
    node.record("memory", versions=2, size_bytes=size_bytes)
