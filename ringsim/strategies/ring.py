"""Synchronous data parallelism by ring all-reduce (Gibiansky 2017; Horovod, Sergeev 2018). No coordinator.

    node0  ▓▓ gradient ▓▓ ░░ all-reduce ░░ update ▓▓ gradient ▓▓ ░░ ...
    node1  ▓▓ gradient ▓▓ ░░ all-reduce ░░ update ▓▓ gradient ▓▓ ░░ ...

    1  every rank computes the mean gradient over its own samples
    2  it weighs it by its share of the step's samples, and all add theirs up in the ring, or by the all-reduce that
       `collective` names: the weighted mean
    3  every rank applies the same update to the same parameters, so all replicas stay equal

Cost of a step: the slowest rank's computation, then 2(N-1) (path latency + ceil(8 S/N / bandwidth)) for S bytes; that
of the other all-reduces stands in their files. In buckets, the pieces of the gradient that are there early are added up
during the rest of the computation; each is cut into segments of its own, so the sum's last bits are others. One death
ends the job for all, as in plain MPI: nobody here catches PeerLost. What is not here: which all-reduce
(`all_reduce.py`), which buckets (`buckets.py`), and going on without the dead (`ring_elastic.py`,
`ring_peer_recovery.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ringsim.collectives.vectors import Weighted, join
from ringsim.node import Group, Member, Node, Operation, Started
from ringsim.plan import Plan
from ringsim.scenario import AnyRing, Host, RingAbort, Scenario, full_size, rank_names, worker_shares
from ringsim.strategies import detection
from ringsim.strategies.all_reduce import all_reduce
from ringsim.strategies.buckets import Bucket, parts, plan
from ringsim.strategies.training import Deployment, Role, State, Training
from ringsim.topology import Routes, build, ring_order


def deploy(scenario: Scenario) -> Deployment:
    """Put a worker on every rank of the cluster."""
    settings = scenario.strategy
    assert isinstance(settings, RingAbort)
    shares = shares_in_ring_order(scenario)
    group = Group(0, tuple(Member(name, 0) for name in shares))
    collective = all_reduce(scenario, group)
    run = partial(worker, group=group, collective=collective, scenario=scenario, settings=settings)
    return Deployment([Role(name, run) for name in shares], shares)


def shares_in_ring_order(scenario: Scenario, machines: Sequence[Host] = ()) -> dict[str, int]:
    """Return how many samples a step each worker takes, in the order of the ring: as listed, or as the network lies.

    Spares follow as listed. machines: those that the strategy adds to the network.
    """
    settings, shares = scenario.strategy, worker_shares(scenario)
    assert isinstance(settings, AnyRing)
    if settings.order == "listed":
        return shares
    hosts = scenario.cluster.nodes
    graph = build(scenario.cluster.network, hosts, machines)
    ranks = [(rank, host.name) for host in hosts for rank in rank_names(host)]
    members = full_size(scenario)
    ordered = ring_order(graph, Routes(graph, hosts), ranks[:members])
    return {rank: shares[rank] for rank in (*ordered, *(name for name, _ in ranks[members:]))}


def worker(
    node: Node, training: Training, group: Group, collective: Plan, scenario: Scenario, settings: RingAbort
) -> Operation[State]:
    """Train to the end, in step with the others."""
    node.join(group)
    detection.watch_neighbours(node, settings.heartbeat)
    state, buckets = training.initial(), plan(scenario, training.engine)
    while not training.is_finished(state):
        state = yield from train_step(node, training, state, collective, buckets)
    return state


def train_step(
    node: Node, training: Training, state: State, collective: Plan, buckets: Sequence[Bucket]
) -> Operation[State]:
    """Compute, all-reduce each bucket as soon as the backward pass has produced it, update."""
    group = node.group
    batch = training.begin_step(node, state, group)
    gradient = training.deferred_gradient(state, batch)
    *before, rest = parts(training.flop(batch), buckets)
    sums: list[Started] = []
    for flop, bucket in zip(before, buckets, strict=True):
        if flop or not sums:  # Several buckets may be there at one instant.
            yield from node.compute(flop, continues=bool(sums))
        own = gradient.value().array[bucket.part]
        sums.append(node.start(collective, Weighted(own, batch.weight)))
    if rest:
        yield from node.compute(rest, continues=True)
    training.taken(node, state, batch, group, gradient)
    pieces = []
    for one in reversed(sums):  # The last bucket is the beginning of the vector.
        pieces.append((yield from one.result()))
    mean = pieces[0] if len(pieces) == 1 else join(pieces)
    return training.update(node, state, mean, group, reports=node.rank == 0)
