"""GPipe: pieces of a mini-batch follow one another through the stages, and make one update (Huang et al. 2019).

    node0  F0 F1 F2 F3 ░░░░░░░░░░░░░░ B3 B2 B1 B0
    node1  ░░ F0 F1 F2 F3 ░░░░░░░░ B3 B2 B1 B0 ░░
    node2  ░░░░░ F0 F1 F2 F3 B3 B2 B1 B0 ░░░░░░░░

All M pieces are taken at the same parameters, so the numbers are those of one machine. Each stage keeps the inputs of
all pieces until they come back. Cost of a step with K equal stages on a network that costs nothing: (M + K - 1)/M times
a stage's work (section 2.3): in (K - 1)/(M + K - 1) of the time it has none, the bubble. A stage with r
replicas takes each r-th piece on each of them, and they add up their gradients in a ring of their own before the
update. What is not here: weights of several updates at a time (`pipedream.py`).
"""

from __future__ import annotations

import numpy as np

from ringsim.node import Operation
from ringsim.scenario import GPipe, Scenario
from ringsim.strategies import pipeline
from ringsim.strategies.pipeline import Pipe
from ringsim.strategies.training import Deployment, State


def deploy(scenario: Scenario) -> Deployment:
    """Put a stage on every rank of the cluster."""
    settings = scenario.strategy
    assert isinstance(settings, GPipe)
    run = lambda pipe, state: stage(pipe, state, settings.micro_batches)  # noqa: E731
    return pipeline.deploy(scenario, run, settings.micro_batches, settings.workers)


def stage(pipe: Pipe, state: State, micro_batches: int) -> Operation[State]:
    """All forward, all backward, update."""
    while not pipe.training.is_finished(state):
        parameters = state.model.parameters
        pieces = pipe.begin(state.step, state.cursor, micro_batches)
        mine = pipe.mine(pieces)
        pipe.keeps(state, (), mine)
        inputs: list[np.ndarray] = []
        for micro in mine:
            inputs.append((yield from pipe.forward(micro, parameters)))
        total, mean_loss = np.zeros(len(parameters.array), np.float32), 0.0
        for micro in reversed(mine):
            gradient, loss = yield from pipe.backward(micro, parameters, inputs.pop())
            total, mean_loss = total + gradient, mean_loss + loss * micro.share
        if len(pipe.replicas) > 1:
            everything = yield from pipe.added_up(state.step, np.append(total, np.float32(mean_loss)))
            total, mean_loss = everything[:-1], float(everything[-1])
        pipe.tell_loss(state.cursor, mean_loss, pieces)
        state = pipe.updated(state, total)
    return state
