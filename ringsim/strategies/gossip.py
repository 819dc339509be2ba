"""Gossip: now and then a worker sends its parameters to one other, and nobody waits (Blot et al. 2016: GoSGD).

    node0  ▓▓ update ▓▓ update ─── (x, w/2) ──┐      ▓▓ update ▓▓ ...
    node1  ▓▓▓▓ update ▓▓▓▓ update ▓▓▓▓ update └─► x = (w x + w' x') / (w + w'), w = w + w' ▓▓▓▓ ...

A worker begins a step with all messages that have come, and ends it with a message with some probability. Half of its
weight goes with the parameters, so that the weights of all, those on their way included, always add up to the same
(push-sum; Kempe et al. 2003): who sends often counts less. Cost: none that is waited for; a message is S bytes. Whoever
is slow just takes part less often. A peer that is known to be dead is sent nothing; the weight that was on its way is
gone, and weights only count against each other. The samples of the dead are taken by nobody. What is not here: pairs
that average (`adpsgd.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from ringsim.node import Group, Node, Operation
from ringsim.scenario import Gossip, Scenario
from ringsim.seeds import below
from ringsim.strategies import replicas
from ringsim.strategies.replicas import parameters, with_parameters
from ringsim.strategies.training import Deployment, State, Training

_WEIGHT_BYTES = 8
_MILLION = 1_000_000


@dataclass(frozen=True)
class Rumor:
    """A replica, and how much it counts."""

    numbers: np.ndarray
    weight: float


def deploy(scenario: Scenario) -> Deployment:
    """Put a worker on every rank of the cluster."""
    settings = scenario.strategy
    assert isinstance(settings, Gossip)
    return replicas.deploy(scenario, partial(worker, seed=scenario.seed, probability_ppm=settings.probability))


def worker(node: Node, training: Training, group: Group, seed: int, probability_ppm: int) -> Operation[State]:
    """Take in what has come, compute, update, and perhaps pass it on."""
    state, weight = training.initial(), 1.0
    peers = [name for name in group.names if name != node.name]
    while not training.is_finished(state):
        state, weight = heard(node, training, state, weight)
        batch = training.begin_step(node, state, group)
        gradient = yield from training.gradient(node, state, batch, group)
        state = replicas.updated(node, training, state, gradient.array, group)
        peers = [peer for peer in peers if not node.has_lost(peer)]
        if peers and below(seed, "gossip", "whether", node.name, state.step, bound=_MILLION) < probability_ppm:
            peer = peers[below(seed, "gossip", "whom", node.name, state.step, bound=len(peers))]
            weight /= 2
            rumor = Rumor(parameters(state), weight)
            node.send(peer, rumor, training.gradient_size_bytes + _WEIGHT_BYTES, tag="rumor")
    last, _ = heard(node, training, state, weight)
    return last if last is state else replicas.averaged(node, training, last, parameters(last), group)


def heard(node: Node, training: Training, state: State, weight: float) -> tuple[State, float]:
    """Return the replica with all that has come, and its weight."""
    while (message := node.poll(tag="rumor")) is not None:
        rumor: Rumor = message.payload
        total = weight + rumor.weight
        # Who sends hundreds of times before it hears anything weighs nothing at all; of two such each keeps its own.
        share = np.float32(rumor.weight / total if total else 0)
        numbers = (np.float32(1) - share) * parameters(state) + share * rumor.numbers
        state, weight = with_parameters(training, state, numbers), total
    return state, weight
