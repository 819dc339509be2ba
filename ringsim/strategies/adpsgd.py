"""AD-PSGD: each gradient goes with an average of two, whoever they are, and all others go on (Lian et al. 2018).

    node0 (active)   x0 ──┐ ▓▓ gradient at x0 ▓▓ ┌─► x0 = mean, less the gradient's step
    node1 (passive)  ▓▓▓▓▓└─► x1 = (x0 + x1) / 2 ┘ ▓▓ gradient ▓▓ update ...

Every second worker is active, the others are passive; an active one asks, a passive one answers, so nobody waits in a
circle (section 4). An active worker sends its parameters to a passive one, drawn anew for each step, and computes
meanwhile. Nothing changes its own parameters until the mean is back, so the two do have the mean at one moment. A
passive worker's parameters move while it computes: its gradient is stale by so many averages. It answers 16 times in a
gradient, where the paper has a thread that answers at once. Cost of a step: the computation, or, if that is longer, the
exchange 2 (path latency + ceil(8 S / bandwidth)) and up to 1/16 of the other's gradient. The dead are asked no more,
and nobody waits for them; their samples are taken by nobody. Who has no more steps to take answers until no active one
is left. What is not here: messages to which nobody answers (`gossip.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import numpy as np

from ringsim.errors import PeerLost
from ringsim.node import Group, Message, Node, Operation
from ringsim.scenario import Scenario
from ringsim.seeds import below
from ringsim.strategies import replicas
from ringsim.strategies.replicas import parameters, with_parameters
from ringsim.strategies.training import Deployment, State, Training

_ANSWERS = 16  # in a gradient
_DONE_BYTES = 64


def deploy(scenario: Scenario) -> Deployment:
    """Put a worker on every rank of the cluster; those of even rank are active."""
    return replicas.deploy(scenario, partial(worker, seed=scenario.seed))


def worker(node: Node, training: Training, group: Group, seed: int) -> Operation[State]:
    """Ask, or be asked."""
    asks, answers = group.names[::2], group.names[1::2]
    if node.name in asks:
        return (yield from active(node, training, group, answers, seed))
    return (yield from passive(node, training, group, asks))


def active(node: Node, training: Training, group: Group, others: Sequence[str], seed: int) -> Operation[State]:
    """Send the parameters, compute, take the mean, update."""
    state = training.initial()
    while not training.is_finished(state):
        others = [name for name in others if not node.has_lost(name)]
        other = others[below(seed, "adpsgd", node.name, state.step, bound=len(others))] if others else None
        if other is not None:
            node.send(other, parameters(state), training.gradient_size_bytes, tag="mine")
        batch = training.begin_step(node, state, group)
        gradient = yield from training.gradient(node, state, batch, group)
        taken_at = state
        if other is not None:
            state = yield from _averaged(node, training, state, other)
        averages = int(state is not taken_at)
        state = replicas.updated(node, training, state, gradient.array, group, staleness=averages)
    for name in others:
        node.send(name, None, _DONE_BYTES, tag="done")
    return state


def _averaged(node: Node, training: Training, state: State, other: str) -> Operation[State]:
    """Wait for the mean; of one that is dead there is none."""
    try:
        message = yield from node.receive(other, tag="mean")
    except PeerLost:
        return state
    return with_parameters(training, state, message.payload)


def passive(node: Node, training: Training, group: Group, others: Sequence[str]) -> Operation[State]:
    """Compute and update, answering meanwhile; and then answer until nobody can ask any more."""
    state = training.initial()
    while not training.is_finished(state):
        batch = training.begin_step(node, state, group)
        gradient = training.deferred_gradient(state, batch)
        flop, meanwhile = training.flop(batch), 0
        for number, (before, after) in enumerate(pairwise(flop * part // _ANSWERS for part in range(_ANSWERS + 1))):
            yield from node.compute(after - before, continues=number > 0)
            state, answers = _answered(node, training, state, others)
            meanwhile += answers
        taken = training.taken(node, state, batch, group, gradient)
        state = replicas.updated(node, training, state, taken.array, group, staleness=meanwhile)
    asking = list(others)
    while asking:
        try:
            message = yield from node.receive(expecting=asking)
        except PeerLost as error:
            asking = [name for name in asking if name != error.peer]
            continue
        if message.tag == "done":
            asking.remove(message.source)
        else:
            state = _answer(node, training, state, message)
            state = replicas.averaged(node, training, state, parameters(state), group)
    return state


def _answered(node: Node, training: Training, state: State, others: Sequence[str]) -> tuple[State, int]:
    """Answer all who have asked, in rank order; say how many these were."""
    answers = 0
    for name in others:
        while (message := node.poll(name, tag="mine")) is not None:
            state, answers = _answer(node, training, state, message), answers + 1
    return state, answers


def _answer(node: Node, training: Training, state: State, message: Message) -> State:
    mean = np.float32(0.5) * (parameters(state) + message.payload)
    node.send(message.source, mean, training.gradient_size_bytes, tag="mean")
    return with_parameters(training, state, mean)
