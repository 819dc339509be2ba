"""Ring all-reduce that survives its members: Horovod's elastic training (docs/elastic.rst, common/elastic.py).

    worker       register ─► join ─► restore ─► train, commit, train, commit ... ─► register (finished)
                    ▲                                 │ PeerLost: back to the last commit
                    └─────────────────────────────────┘ or, at a commit, a newcomer waits: no rollback

    rendezvous   wait until all of the present ring have registered or are lost ─► tell everybody the new ring

The rendezvous (`rendezvous.py`) says who is in the ring: survivors keep their order, the oldest is rank 0, newcomers
follow. Everybody then takes rank 0's commit: parameters, optimizer and the place in the epoch, so a sample that was
committed is counted exactly once whoever comes and goes. The learning rate and the shares follow the new ring by
themselves. A worker that finishes waits at the rendezvous until all have, because until then it may be asked to go on.

Cost of a failure: detection (one path latency a hop, or the timeout), the steps since the commit, two control messages,
at most ceil(log2 N) (path latency + S / bandwidth) to send the state. Cost of a commit: a one-byte broadcast, by which
rank 0 says whether a newcomer waits. What is not here: the step itself (`ring.py`), and policies that only make a ring
by other rules (`ring_wait.py`, `ring_spares.py`).
"""

from __future__ import annotations

from functools import partial

from ringsim.collectives.broadcast import Broadcast
from ringsim.errors import PeerLost, ReceiveTimeout
from ringsim.node import Node, Operation
from ringsim.scenario import RingElastic, RingSpares, RingWait, Scenario
from ringsim.strategies import detection
from ringsim.strategies.all_reduce import all_reduce
from ringsim.strategies.buckets import plan
from ringsim.strategies.lobby import Rules
from ringsim.strategies.membership import Ring, Standing, newcomer_waits, register
from ringsim.strategies.rendezvous import MACHINE, around_a_rendezvous, cooldown_ns
from ringsim.strategies.ring import shares_in_ring_order, train_step
from ringsim.strategies.ring_checkpoint import is_wanted, last_checkpoint, save_if_due
from ringsim.strategies.training import Deployment, GaveUp, State, Training


def deploy(scenario: Scenario) -> Deployment:
    """Put a worker on every rank, and the rendezvous on a machine of its own."""
    settings = scenario.strategy
    assert isinstance(settings, RingElastic)
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
    return around_a_rendezvous(partial(worker, scenario=scenario, settings=settings), shares, rules)


def worker(
    node: Node, training: Training, scenario: Scenario, settings: RingElastic | RingWait | RingSpares
) -> Operation[State | GaveUp | None]:
    """Train to the end in whatever ring there is."""
    buckets = plan(scenario, training.engine)
    state = committed = training.initial()
    has_state, accused = node.incarnation == 0, None
    detection.report(node, settings.heartbeat)
    while True:
        finished = training.is_finished(committed)
        try:
            answer = yield from register(node, Standing(committed.step, finished, has_state, accused=accused))
        except PeerLost:
            if finished:
                return committed  # The rendezvous is gone, and we need it no more.
            raise
        if not isinstance(answer, Ring):
            return answer if isinstance(answer, GaveUp) else committed if answer.is_result_of(node) else None
        node.join(answer.group)
        collective = all_reduce(scenario, answer.group)
        has_state, accused = answer.has_state(node.name), None
        detection.watch_neighbours(node, settings.heartbeat)
        try:
            if is_wanted(node, answer, settings.checkpoint_every):
                committed = yield from last_checkpoint(node, training)
            committed = yield from _take_from_rank_0(node, training, committed, settings.timeout)
            state, has_state = training.restore(node, state, committed, node.group), True
            while not training.is_finished(state):
                state = yield from train_step(node, training, state, collective, buckets)
                if state.step % settings.commit_every == 0 or training.is_finished(state):
                    committed = training.commit(node, state, node.group)
                yield from save_if_due(node, training, state, settings.checkpoint_every)
                may_pause = committed is state and not training.is_finished(state)
                if may_pause and (yield from newcomer_waits(node, settings.timeout)):
                    break
        except (PeerLost, ReceiveTimeout) as error:
            # The collective has closed our connections, so that our neighbours learn of it too.
            accused = detection.accused_by(error)
        detection.watch_nobody(node, settings.heartbeat)


def _take_from_rank_0(node: Node, training: Training, committed: State, timeout_ns: int | None) -> Operation[State]:
    """Everybody goes on from what rank 0 had committed."""
    broadcast = Broadcast(training.state_size_bytes(committed), timeout_ns)
    state: State = yield from node.collective(broadcast, committed)
    return state
