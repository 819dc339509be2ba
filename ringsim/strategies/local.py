"""Local training: one machine computes every sample. The reference that all other strategies are measured against.

    node0   ▓▓▓▓▓▓▓▓▓▓▓▓ all samples ▓▓▓▓▓▓▓▓▓▓▓▓ update ▓▓▓▓▓▓▓▓▓▓▓▓ ...

It takes the samples that all workers of the cluster together would take in a step, so a synchronous strategy on the
same scenario has the same mean gradient, up to the order of float additions. Cost of a step: the whole batch's FLOP
over the speed of one machine. If it dies, all is lost.
"""

from __future__ import annotations

from ringsim.node import Group, Member, Node, Operation
from ringsim.scenario import Scenario, global_batch_size, worker_names
from ringsim.strategies.training import Deployment, Role, State, Training


def deploy(scenario: Scenario) -> Deployment:
    """Put everything on the first rank of the first machine."""
    first = worker_names(scenario)[0]
    return Deployment([Role(first, worker)], {first: global_batch_size(scenario)})


def worker(node: Node, training: Training) -> Operation[State]:
    """Stochastic gradient descent, as in the textbook."""
    group = Group(0, (Member(node.name, node.incarnation),))
    state = training.initial()
    while not training.is_finished(state):
        batch = training.begin_step(node, state, group)
        gradient = yield from training.gradient(node, state, batch, group)
        state = training.update(node, state, gradient.array, group, reports=True)
    return state
