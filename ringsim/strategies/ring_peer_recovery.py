"""Ring all-reduce that rolls nothing back: survivors finish the step, and who returns copies the state from a peer.

    node0  ▓ gradient ▓ ░ all-reduce ✗ register ┊ join ░ all-reduce of the same gradients ░ update ▓ gradient ▓ ...
    node1  ▓ gradient ▓ ░ all-reduce ✝          ┊   its samples of this step are dropped
    node2  ▓ gradient ▓ ░ all-reduce ✗ register ┊ join ░ all-reduce of the same gradients ░ update ▓ gradient ▓ ...
    node1            back, after its cooldown: register ... taken in after a step, copies the state from node0 or node2

There is no commit: what every replica holds is the copy of what the others hold. When an all-reduce fails, the
rendezvous (`rendezvous.py`) forms a ring of those who are left and tells each of them how far the others are:

    all are at the same step, and have the gradients that they computed for it: they add these up once more. The mean
        is over their samples. The dead one's samples of this step are lost; nothing is computed again
    otherwise the highest step wins: those behind copy parameters, optimizer and place in the epoch from a peer that is
        there, as those do who come back after a crash; then all begin that step anew

The i-th of those who copy does so from the (i mod M)-th of the M who are up to date. Who copies while gradients are
carried on has no part in that step: it adds zeros, and makes the same update. Newcomers are taken in between two steps
as the elastic ring does at a commit, by the same one-byte broadcast.

After torchft (torchft/manager.py, src/manager.rs): the highest step, the choice of peers, the zeros and the mean over
those who take part are its own. Two things are not. In torchft all replicas skip a step whose all-reduce failed: the
gradients of the living are thrown away too. And it votes on every step before it updates; here those who were done have
updated, and the others catch up with them. What is not here: buckets. A gradient that may have to be added up once more
is kept in one piece.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from ringsim.collectives.peer_copy import PeerCopy
from ringsim.collectives.ring import RingAllReduce
from ringsim.errors import PeerLost, ReceiveTimeout
from ringsim.learning.sampler import Batch
from ringsim.node import Group, Node, Operation
from ringsim.scenario import RingPeerRecovery, Scenario
from ringsim.strategies import detection
from ringsim.strategies.lobby import Rules
from ringsim.strategies.membership import Ring, Standing, newcomer_waits, register
from ringsim.strategies.rendezvous import MACHINE, around_a_rendezvous, cooldown_ns
from ringsim.strategies.ring import shares_in_ring_order
from ringsim.strategies.ring_checkpoint import is_wanted, last_checkpoint, save_if_due
from ringsim.strategies.training import Deployment, GaveUp, State, Training


@dataclass(frozen=True)
class Part:
    """What a worker says of the step that it could not finish: among whom its samples were cut, and of how many it has
    the gradient. None: it has copied the state since, and has no part in this step."""

    origin: Group
    samples: int | None


@dataclass(frozen=True)
class Recovery:
    """How the members of a new ring come to the same state, and what they do with the step after it.

    sources: by rank, whom it copies from; None: it is up to date. origin: among whom the samples of the gradients were
    cut that are carried on; None: the step begins anew. contributors: the ranks that have such a gradient, of
    `samples` samples together.
    """

    sources: tuple[int | None, ...]
    origin: Group | None = None
    contributors: tuple[int, ...] = ()
    samples: int = 0


def recovery(standings: Sequence[Standing]) -> Recovery:
    """Return what follows from how the members stand; all of them ask, and come to the same.

    >>> ahead, behind, back = Standing(4, False, True), Standing(3, False, True), Standing(0, False, False)
    >>> recovery([behind, ahead, behind, ahead, back])
    Recovery(sources=(1, None, 3, None, 1), origin=None, contributors=(), samples=0)
    >>> failed = Standing(4, False, True, Part(Group(0, ()), 8))
    >>> recovery([failed, failed, back])
    Recovery(sources=(None, None, 0), origin=Group(generation=0, members=()), contributors=(0, 1), samples=16)
    >>> recovery([back, back]).sources
    (None, 0)
    """
    holders = [rank for rank, standing in enumerate(standings) if standing.has_state]
    if not holders:  # Rank 0 gets it from the store; or, before the first ring, from the seed.
        return Recovery((None, *[0] * (len(standings) - 1)))
    step = max(standings[rank].step for rank in holders)
    up_to_date = [rank for rank in holders if standings[rank].step == step]
    behind = [rank for rank in range(len(standings)) if rank not in up_to_date]
    peers = {rank: up_to_date[number % len(up_to_date)] for number, rank in enumerate(behind)}
    sources = tuple(peers.get(rank) for rank in range(len(standings)))
    parts = [standings[rank].carries for rank in up_to_date]
    if up_to_date != holders or any(part is None or part.origin != parts[0].origin for part in parts):
        return Recovery(sources)
    contributors = tuple(rank for rank in up_to_date if standings[rank].carries.samples is not None)
    samples = sum(standings[rank].carries.samples for rank in contributors)
    if not samples:
        return Recovery(sources)  # All who had computed anything are gone.
    return Recovery(sources, parts[0].origin, contributors, samples)


def deploy(scenario: Scenario) -> Deployment:
    """Put a worker on every rank, and the rendezvous on a machine of its own."""
    settings = scenario.strategy
    assert isinstance(settings, RingPeerRecovery)
    shares = shares_in_ring_order(scenario, [MACHINE])
    rules = Rules(
        least=settings.min_workers,
        most=len(shares),
        patience_ns=settings.rendezvous_timeout,
        timeout_ns=settings.timeout,
        reset_limit=settings.reset_limit,
        cooldown_ns=cooldown_ns(settings.set_aside),
        heartbeat=settings.heartbeat,
        is_saved=settings.checkpoint_every is not None,
    )
    return around_a_rendezvous(partial(worker, settings=settings), shares, rules)


@dataclass(frozen=True)
class _Carried:
    """The gradient of the step after a replica's state, which has failed. batch None: it has no part in that step."""

    origin: Group
    batch: Batch | None
    gradient: np.ndarray | None

    @property
    def part(self) -> Part:
        return Part(self.origin, None if self.batch is None else len(self.batch.samples))


@dataclass
class _Replica:
    """What a worker holds: it must outlive a step that fails at any point."""

    state: State
    has_state: bool
    carried: _Carried | None = None
    accused: str | None = None

    def standing(self, training: Training) -> Standing:
        part = None if self.carried is None else self.carried.part
        return Standing(self.state.step, training.is_finished(self.state), self.has_state, part, self.accused)


def worker(node: Node, training: Training, settings: RingPeerRecovery) -> Operation[State | GaveUp | None]:
    """Train to the end in whatever ring there is."""
    replica, timeout_ns = _Replica(training.initial(), has_state=node.incarnation == 0), settings.timeout
    detection.report(node, settings.heartbeat)
    while True:
        finished = training.is_finished(replica.state)
        try:
            answer = yield from register(node, replica.standing(training))
        except PeerLost:
            if finished:
                return replica.state  # The rendezvous is gone, and we need it no more.
            raise
        if not isinstance(answer, Ring):
            return answer if isinstance(answer, GaveUp) else replica.state if answer.is_result_of(node) else None
        node.join(answer.group)
        replica.has_state, replica.accused = answer.has_state(node.name), None
        detection.watch_neighbours(node, settings.heartbeat)
        found = recovery(answer.standings)
        try:
            if is_wanted(node, answer, settings.checkpoint_every):
                replica.state = yield from last_checkpoint(node, training)
            yield from _catch_up(node, training, replica, found, timeout_ns)
            while not training.is_finished(replica.state):
                if replica.carried is not None:
                    yield from _finish_step(node, training, replica, found, timeout_ns)
                else:
                    yield from _train_step(node, training, replica, timeout_ns)
                yield from save_if_due(node, training, replica.state, settings.checkpoint_every)
                if not training.is_finished(replica.state) and (yield from newcomer_waits(node, timeout_ns)):
                    break
        except (PeerLost, ReceiveTimeout) as error:
            # The collective has closed our connections, so that our neighbours learn of it too.
            replica.accused = detection.accused_by(error)
        detection.watch_nobody(node, settings.heartbeat)


def _catch_up(
    node: Node, training: Training, replica: _Replica, found: Recovery, timeout_ns: int | None
) -> Operation[None]:
    """Come to the state of the highest step, by a copy if need be."""
    source, before = found.sources[node.rank], replica.state
    if source is None and found.origin is None:
        replica.carried = None  # If we had a gradient of the step that begins anew, it is thrown away.
    if any(rank is not None for rank in found.sources):
        copy = PeerCopy(training.state_size_bytes(before), found.sources, timeout_ns)
        replica.state = yield from node.collective(copy, before)
    if source is not None:
        # Until here it may still be that all who were ahead die, and our own gradient is wanted.
        replica.carried = None if found.origin is None else _Carried(found.origin, None, None)
    replica.state, replica.has_state = training.restore(node, before, replica.state, node.group), True


def _train_step(node: Node, training: Training, replica: _Replica, timeout_ns: int | None) -> Operation[None]:
    """Compute, all-reduce, update; what was computed is kept until the update is made."""
    state, group = replica.state, node.group
    batch = training.begin_step(node, state, group)
    gradient = yield from training.gradient(node, state, batch, group)
    replica.carried = _Carried(group, batch, gradient.array)
    mean = yield from node.collective(RingAllReduce(timeout_ns), batch.weight * gradient.array)
    replica.state = training.update(node, state, mean, group, reports=node.rank == 0)
    replica.carried = None


def _finish_step(
    node: Node, training: Training, replica: _Replica, found: Recovery, timeout_ns: int | None
) -> Operation[None]:
    """Add up once more what the survivors had computed; the mean is over their samples alone."""
    state, carried, group = replica.state, replica.carried, node.group
    assert carried is not None
    # The place in the epoch moves on by what the step had been cut into.
    cut = Group(group.generation, carried.origin.members)
    contributors = Group(group.generation, tuple(group.members[rank] for rank in found.contributors))
    if node.rank == 0:
        for lost in (name for name in cut.names if name not in contributors.names):
            training.drop(node, state, lost, cut)
    if carried.batch is None or carried.gradient is None:
        weighted = np.zeros(training.engine.size, np.float32)
    else:
        training.carry(node, state, carried.batch, group, carried.origin)
        weighted = np.float32(len(carried.batch.samples) / found.samples) * carried.gradient
    mean = yield from node.collective(RingAllReduce(timeout_ns), weighted)
    replica.state = training.update(node, state, mean, cut, reports=node.rank == 0, contributors=contributors)
    replica.carried = None
