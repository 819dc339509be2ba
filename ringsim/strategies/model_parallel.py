"""Model parallelism: layers are cut over nodes, and one mini-batch after another goes through (Chen et al. 2019).

    node0  F0 ░░░░░░░░░░ B0 F1 ░░░░░░░░░░ B1
    node1  ░░ F0 ░░░░ B0 ░░░░░ F1 ░░░░ B1 ░░
    node2  ░░░░░ F0 B0 ░░░░░░░░░░░ F1 B1 ░░░

One node works at a time, so K equal stages are each busy for 1/K of the time at best. The numbers are those of one
machine. Cost of a step: the whole batch's computation, and for each of the K - 1 cuts, with A bytes of activations,
2 (path latency + ceil(8 A / bandwidth)); but the first node begins the next step as soon as it has its gradient.
What is not here: several mini-batches at a time (`gpipe.py`, `pipedream.py`).
"""

from __future__ import annotations

from ringsim.node import Operation
from ringsim.scenario import Scenario
from ringsim.strategies import pipeline
from ringsim.strategies.pipeline import Pipe
from ringsim.strategies.training import Deployment, State


def deploy(scenario: Scenario) -> Deployment:
    """Put a stage on every rank of the cluster."""
    return pipeline.deploy(scenario, stage)


def stage(pipe: Pipe, state: State) -> Operation[State]:
    """Forward, backward, update."""
    while not pipe.training.is_finished(state):
        (batch,) = pieces = pipe.begin(state.step, state.cursor)
        pipe.keeps(state, (), pieces)
        inputs = yield from pipe.forward(batch, state.model.parameters)
        gradient, loss = yield from pipe.backward(batch, state.model.parameters, inputs)
        pipe.tell_loss(state.cursor, loss, pieces)
        state = pipe.updated(state, gradient)
    return state
