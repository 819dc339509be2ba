"""D-PSGD: each step everybody averages its parameters with its neighbours', and no one with all (Lian et al. 2017).

    node0  x ─┬─► ▓▓ gradient at x ▓▓ ─► x = sum of W x_j over itself and its neighbours, less the gradient's step
    node1  x ─┴─► ▓▓ gradient at x ▓▓ ─► ...

W is that of Metropolis and Hastings on the graph (`mixing.py`). The parameters travel while the gradient is computed:
both are of the step's beginning (algorithm 1). Cost of a step: the longer of the two, with d neighbours
path latency + ceil(8 d S / bandwidth) for S bytes; nobody waits for who is not a neighbour, so a slow worker is felt
one edge further each step. A neighbour that dies is left out from then on, and its weight is the worker's own: W stays
symmetric. It is the same, for one step, with one that is late, if there is a `timeout`; what it sent is thrown away
when it comes. The samples of the dead are taken by nobody. What is not here: being out of step (`adpsgd.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from ringsim.errors import PeerLost, ReceiveTimeout
from ringsim.node import Group, Message, Node, Operation
from ringsim.scenario import DPsgd, Scenario, worker_names
from ringsim.strategies import replicas
from ringsim.strategies.mixing import edges_of, metropolis_hastings
from ringsim.strategies.replicas import parameters, with_parameters
from ringsim.strategies.training import Deployment, State, Training

Weights = Mapping[str, Mapping[str, np.float32]]


def deploy(scenario: Scenario) -> Deployment:
    """Put a worker on every rank of the cluster."""
    settings, names = scenario.strategy, worker_names(scenario)
    assert isinstance(settings, DPsgd)
    weights = {
        name: {other: np.float32(weight) for other, weight in row.items()}
        for name, row in metropolis_hastings(edges(settings, names), names).items()
    }
    return replicas.deploy(scenario, partial(worker, weights=weights, timeout_ns=settings.timeout))


def edges(settings: DPsgd, names: Sequence[str]) -> list[tuple[str, str]]:
    """Return the pairs of neighbours: those given by hand, or of the graph."""
    if settings.edges is None:
        return edges_of(settings.graph, names)
    return [(one, other) for one, other in settings.edges]


def worker(node: Node, training: Training, group: Group, weights: Weights, timeout_ns: int | None) -> Operation[State]:
    """Send the parameters, compute, average, update."""
    state, row = training.initial(), dict(weights[node.name])
    late: list[tuple[str, int]] = []  # whose parameters of which step are still to come, and of no use
    while not training.is_finished(state):
        for name in row:
            if name != node.name:
                node.send(name, parameters(state), training.gradient_size_bytes, tag=("parameters", state.step))
        batch = training.begin_step(node, state, group)
        gradient = yield from training.gradient(node, state, batch, group)
        late = [(name, step) for name, step in late if node.poll(name, ("parameters", step)) is None]
        mean = yield from mixed(node, state, row, timeout_ns, late)
        state = replicas.updated(node, training, with_parameters(training, state, mean), gradient.array, group)
    return state


def mixed(
    node: Node, state: State, row: dict[str, np.float32], timeout_ns: int | None, late: list[tuple[str, int]]
) -> Operation[np.ndarray]:
    """Return the weighted mean of the parameters; a neighbour that is lost leaves `row`, one that is late is noted."""
    own, tag, is_patient = parameters(state), ("parameters", state.step), True
    mean, left = np.zeros(len(own), np.float32), np.float32(1)
    for name, weight in list(row.items()):
        if name == node.name:
            continue
        message: Message | None = None
        try:
            # Who is not there when another one is late has had as long as that one.
            message = (yield from node.receive(name, tag, timeout_ns)) if is_patient else node.poll(name, tag)
        except PeerLost:
            del row[name]
            continue
        except ReceiveTimeout:
            is_patient = False
        if message is None:
            late.append((name, state.step))
        else:
            mean, left = mean + weight * message.payload, left - weight
    return mean + left * own
