"""Parameter servers on the workers' own machines, all in step: every worker also serves a range of the parameters.

    node0  ▓▓ gradient ▓▓ ─┬─► node0: mean, update of the first third ──┬─► ▓▓ gradient ▓▓
    node1  ▓▓ gradient ▓▓ ─┼─► node1: mean, update of the second third ─┼─► ▓▓ gradient ▓▓
    node2  ▓▓ gradient ▓▓ ─┴─► node2: mean, update of the last third ───┴─► ▓▓ gradient ▓▓

    1  every rank computes the mean gradient over its own samples, weighs it, and sends each other one its range of it
    2  it adds up what it gets in rank order, and updates its own range
    3  it sends that to all others

The ring's bytes without the ring's hops (Jiang et al. 2020, BytePS, section 2): cost of a step after the slowest
computation, S bytes, N ranks,

    T = 2 (path latency + ceil(8 (N-1) S/N / bandwidth))

which is the ring's time less 2(N-2) path latencies. Who dies takes a range with it, so any death is the end, as in
plain MPI. Adding up takes no time. What is not here: servers on machines of their own (`server_sharded.py`).
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from ringsim.node import Group, Node, Operation
from ringsim.scenario import Scenario, worker_shares
from ringsim.strategies.parameter_server import whole_group
from ringsim.strategies.server_sharded import assembled, evaluated, ranges, updated
from ringsim.strategies.training import Deployment, Role, State, Training


def deploy(scenario: Scenario) -> Deployment:
    """Put a worker that serves on every rank of the cluster."""
    group = whole_group(scenario)
    return Deployment([Role(name, partial(worker, group=group)) for name in group.names], worker_shares(scenario))


def worker(node: Node, training: Training, group: Group) -> Operation[State]:
    """Train to the end, in step with the others."""
    where = ranges(training.engine.size, group.names)
    part, state = where[node.name], training.initial()
    own = replace(state, model=training.engine.cut(state.model, part), part=(part.start, part.stop))
    while not training.is_finished(state):
        batch = training.begin_step(node, state, group)
        gradient = yield from training.gradient(node, state, batch, group)
        weighted = batch.weight * gradient.array
        slices = yield from _exchanged(node, group, {name: weighted[one] for name, one in where.items()}, "push")
        mean = slices[0]
        for numbers in slices[1:]:
            mean = mean + numbers
        own = updated(node, training, own, mean, group, reports=node.name == group.names[0])
        numbers = own.model.parameters.array
        found = yield from _exchanged(node, group, dict.fromkeys(group.names, numbers), "pull")
        state = assembled(training, state, found, cursor=own.cursor, step=own.step)
        state = evaluated(node, training, state, group)
    return state


def _exchanged(node: Node, group: Group, given: dict[str, np.ndarray], what: str) -> Operation[list[np.ndarray]]:
    """Give each of the others something, and return what all give us, in rank order; our own is there at once."""
    for name in group.names:
        if name != node.name:
            node.send(name, given[name], given[name].nbytes, tag=what)
    got: list[np.ndarray] = []
    for name in group.names:
        if name == node.name:
            got.append(given[name])
        else:
            got.append((yield from node.receive(name, tag=what)).payload)
    return got
