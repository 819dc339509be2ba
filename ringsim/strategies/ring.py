"""Synchronous data parallelism by ring all-reduce (Gibiansky 2017; Horovod, Sergeev 2018). No coordinator.

    node0  ▓▓ gradient ▓▓ ░░ all-reduce ░░ update ▓▓ gradient ▓▓ ░░ ...
    node1  ▓▓ gradient ▓▓ ░░ all-reduce ░░ update ▓▓ gradient ▓▓ ░░ ...

    1  every rank computes the mean gradient over its own samples
    2  it weighs it by its share of the step's samples, and all add theirs up in the ring: the weighted mean
    3  every rank applies the same update to the same parameters, so all replicas stay equal

Cost of a step: the slowest rank's computation, then 2(N-1) (path latency + ceil(8 S/N / bandwidth)) for S bytes. One
death ends the job for all, as in plain MPI: nobody here catches PeerLost. What is not here: going on without the
dead (`ring_elastic.py`).
"""

from __future__ import annotations

from functools import partial

from ringsim.collectives.ring import RingAllReduce
from ringsim.node import Group, Member, Node, Operation
from ringsim.scenario import RingAbort, Scenario, worker_names, worker_shares
from ringsim.strategies.training import Deployment, Role, State, Training


def deploy(scenario: Scenario) -> Deployment:
    """Put a worker on every rank of the cluster."""
    settings = scenario.strategy
    assert isinstance(settings, RingAbort)
    names = worker_names(scenario)
    group = Group(0, tuple(Member(name, 0) for name in names))
    run = partial(worker, group=group, all_reduce=RingAllReduce(settings.timeout))
    return Deployment([Role(name, run) for name in names], worker_shares(scenario))


def worker(node: Node, training: Training, group: Group, all_reduce: RingAllReduce) -> Operation[State]:
    """Train to the end, in step with the others."""
    node.join(group)
    state = training.initial()
    while not training.is_finished(state):
        state = yield from train_step(node, training, state, all_reduce)
    return state


def train_step(node: Node, training: Training, state: State, all_reduce: RingAllReduce) -> Operation[State]:
    """Compute, all-reduce, update."""
    batch = training.begin_step(node, state, node.group)
    gradient = yield from training.gradient(node, state, batch, node.group)
    mean = yield from node.collective(all_reduce, batch.weight * gradient.array)
    return training.update(node, state, mean, node.group, reports=node.rank == 0)
