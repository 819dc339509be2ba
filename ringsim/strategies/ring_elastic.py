"""Ring all-reduce that survives its members: Horovod's elastic training (docs/elastic.rst, common/elastic.py).

    worker       register ─► join ─► restore ─► train, commit, train, commit ... ─► register (finished)
                    ▲                                 │ PeerLost: back to the last commit
                    └─────────────────────────────────┘ or, at a commit, a newcomer waits: no rollback

    rendezvous   wait until all of the present ring have registered or are lost ─► tell everybody the new ring

A machine of its own holds the rendezvous (Horovod's driver). It alone decides who is in the ring, so nobody can
disagree: survivors keep their order, the oldest is rank 0, newcomers follow. Everybody then takes rank 0's commit:
parameters, optimizer and the place in the epoch, so a sample that was committed is counted exactly once whoever comes
and goes. The learning rate and the shares follow the new ring by themselves. A worker that finishes waits at the
rendezvous until all have, because until then it may be asked to go on.

Cost of a failure: detection (one path latency a hop, or the timeout), the steps since the commit, two control messages,
at most ceil(log2 N) (path latency + S / bandwidth) to send the state. Cost of a commit: a one-byte broadcast, by which
rank 0 says whether a newcomer waits. What is not here: the step itself (`ring.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial

from ringsim.collectives.broadcast import Broadcast
from ringsim.collectives.ring import RingAllReduce
from ringsim.errors import PeerLost, ReceiveTimeout
from ringsim.node import Group, Member, Node, Operation
from ringsim.scenario import RENDEZVOUS, Host, RingElastic, Scenario
from ringsim.strategies.buckets import plan
from ringsim.strategies.ring import shares_in_ring_order, train_step
from ringsim.strategies.training import Deployment, GaveUp, Role, State, Training
from ringsim.units import format_duration

_CONTROL_BYTES = 256  # A registration, or the answer to it; small beside any gradient.


@dataclass(frozen=True)
class _Standing:
    """What a worker tells the rendezvous: its last commit, whether that is the end of the task, and whether it has ever
    had the state: one that restarted has not, until a ring has given it to it."""

    step: int
    finished: bool
    has_state: bool


@dataclass(frozen=True)
class _SetAside:
    """The rendezvous' answer to one who failed: come again after the cooldown."""

    cooldown_ns: int


@dataclass(frozen=True)
class _JobOver:
    """The rendezvous' answer to everybody when all have finished, or to one it will never take again."""


_Answer = Group | _SetAside | _JobOver | GaveUp


def deploy(scenario: Scenario) -> Deployment:
    """Put a worker on every rank, which begins anew when its machine restarts, and the rendezvous on its own."""
    settings = scenario.strategy
    assert isinstance(settings, RingElastic)
    machine = Host(name=RENDEZVOUS)
    shares = shares_in_ring_order(scenario, [machine])
    workers = [Role(name, partial(worker, scenario=scenario, settings=settings), restarts=True) for name in shares]
    launcher = Role(RENDEZVOUS, partial(rendezvous, settings=settings, workers=tuple(shares)), worker=False)
    return Deployment([*workers, launcher], shares, (machine,))


# --- the worker -------------------------------------------------------------------------------------------------------


def worker(
    node: Node, training: Training, scenario: Scenario, settings: RingElastic
) -> Operation[State | GaveUp | None]:
    """Train to the end in whatever ring there is."""
    all_reduce, buckets = RingAllReduce(settings.timeout), plan(scenario, training.engine)
    state = committed = training.initial()
    has_state = node.incarnation == 0
    while True:
        finished = training.is_finished(committed)
        try:
            answer, has_state = yield from _register(node, _Standing(committed.step, finished, has_state))
        except PeerLost:
            if finished:
                return committed  # The rendezvous is gone, and we need it no more.
            raise
        if not isinstance(answer, Group):
            return answer if isinstance(answer, GaveUp) else committed if finished else None
        node.join(answer)
        try:
            committed = yield from _take_from_rank_0(node, training, committed, settings)
            state, has_state = training.restore(node, state, committed, node.group), True
            while not training.is_finished(state):
                state = yield from train_step(node, training, state, all_reduce, buckets)
                if state.step % settings.commit_every == 0 or training.is_finished(state):
                    committed = training.commit(node, state, node.group)
                    if not training.is_finished(state) and (yield from _newcomer_waits(node, settings)):
                        break
        except (PeerLost, ReceiveTimeout):
            pass  # The collective has closed our connections, so that our neighbours learn of it too.


def _register(node: Node, standing: _Standing) -> Operation[tuple[_Answer, bool]]:
    """Ask for a place in the next ring, and wait for it; who is set aside asks again after the cooldown.

    Returns the answer, and whether we still have the state that the ring has.
    """
    patience_ns = None
    while True:
        node.send(RENDEZVOUS, standing, _CONTROL_BYTES, tag="register")
        try:
            while True:
                message = yield from node.receive(RENDEZVOUS, tag="answer", timeout_ns=patience_ns)
                answer: _Answer = message.payload
                if not isinstance(answer, _SetAside):
                    return answer, standing.has_state
                patience_ns = answer.cooldown_ns
        except ReceiveTimeout:
            # The ring has gone on without us: what we hold may be of a history that it has given up.
            patience_ns, standing = None, replace(standing, has_state=False)


def _take_from_rank_0(node: Node, training: Training, committed: State, settings: RingElastic) -> Operation[State]:
    """Everybody goes on from what rank 0 had committed."""
    broadcast = Broadcast(training.state_size_bytes(committed), settings.timeout)
    state: State = yield from node.collective(broadcast, committed)
    return state


def _newcomer_waits(node: Node, settings: RingElastic) -> Operation[bool]:
    """Let rank 0 say whether to re-form the ring, so that all leave it at the same commit."""
    asked = node.rank == 0 and node.poll(RENDEZVOUS, tag=_newcomer(node.group)) is not None
    word: bool = yield from node.collective(Broadcast(size_bytes=1, timeout_ns=settings.timeout), asked)
    return word


def _newcomer(group: Group) -> str:
    # With the generation, so that word of a newcomer who is in the ring by now is not taken for another.
    return f"newcomer for generation {group.generation}"


# --- the rendezvous ---------------------------------------------------------------------------------------------------


def rendezvous(node: Node, training: Training, settings: RingElastic, workers: Iterable[str]) -> Operation[None]:
    """Form one ring after another until the job is over. It knows nothing of what is trained."""
    del training
    ring = Group(-1, tuple(Member(name, 0) for name in workers))
    lobby = _Lobby(node, settings)
    furthest, in_vain = -1, 0
    while True:
        enough = yield from lobby.gather(ring)
        if not enough:
            few = f"fewer than min_workers ({settings.min_workers}) workers are left"
            reason = f"{few}, and nobody came for {format_duration(settings.rendezvous_timeout)}"
            return (yield from lobby.close(GaveUp(reason)))
        commit = max(registration.standing.step for registration in lobby.present.values())
        furthest, in_vain = (commit, 0) if commit > furthest else (furthest, in_vain + 1)
        if in_vain > settings.reset_limit:
            reason = f"the ring was re-formed {in_vain} times without a new commit (reset_limit)"
            return (yield from lobby.close(GaveUp(reason)))
        survivors = lobby.survivors(ring)
        if not survivors and ring.generation >= 0:
            return (yield from lobby.close(GaveUp("nobody is left of the last ring, who had the state")))
        if survivors and all(lobby.present[member.name].standing.finished for member in survivors):
            return (yield from lobby.close(_JobOver()))
        newcomers = tuple(
            Member(name, registration.incarnation)
            for name, registration in lobby.present.items()
            if Member(name, registration.incarnation) not in survivors
        )
        ring = Group(ring.generation + 1, survivors + newcomers)
        lobby.answer_all(ring)


@dataclass(frozen=True)
class _Registration:
    incarnation: int
    standing: _Standing


class _Lobby:
    """Who waits for the next ring, and who failed and must be set aside first."""

    def __init__(self, node: Node, settings: RingElastic):
        self.present: dict[str, _Registration] = {}
        self._node = node
        self._settings = settings
        self._missing: dict[str, None] = {}  # of the present ring
        self._failed: dict[str, None] = {}
        self._aside: dict[str, None] = {}  # ... and wait out their cooldown
        self._lives: dict[str, int] = {}  # the latest incarnation heard of

    def gather(self, ring: Group) -> Operation[bool]:
        """Wait until everybody in `ring` has registered or is lost; False if there are too few in the end."""
        self.present = {}
        self._missing = dict.fromkeys(ring.names)
        while self._missing or len(self.present) < self._settings.min_workers:
            try:
                message = yield from self._node.receive(
                    tag="register", timeout_ns=self._patience_ns(ring), expecting=list(self._missing)
                )
            except PeerLost as lost:
                self._give_up([lost.peer])
            except ReceiveTimeout:
                if not self._missing:
                    return False
                self._give_up(list(self._missing))
            else:
                self._welcome(message.source, _Registration(message.incarnation, message.payload), ring)
        return True

    def survivors(self, ring: Group) -> tuple[Member, ...]:
        """Return who of `ring` is here, has not been restarted since and has the state, in the order of the ring."""
        return tuple(member for member in ring.members if self._is_survivor(member))

    def _is_survivor(self, member: Member) -> bool:
        registration = self.present.get(member.name)
        if registration is None or registration.incarnation != member.incarnation:
            return False
        return registration.standing.has_state

    def answer_all(self, answer: _Answer) -> None:
        """Send the same answer to everybody who waits."""
        for name in self.present:
            self._answer(name, answer)

    def close(self, answer: _JobOver | GaveUp) -> Operation[None]:
        """Tell everybody that it is over: who waits, who is set aside, and who comes later."""
        self.answer_all(answer)
        for name in self._aside:
            self._answer(name, answer)
        while True:
            try:
                message = yield from self._node.receive(tag="register")
                self._answer(message.source, answer)
            except PeerLost:
                pass  # It does not matter any more.

    def _patience_ns(self, ring: Group) -> int | None:
        if not self._missing:
            return int(self._settings.rendezvous_timeout)  # too few, but more may come
        if self.survivors(ring):
            return self._settings.timeout  # some have given the ring up; who does not follow is dead
        return None  # the ring trains

    def _give_up(self, names: Iterable[str]) -> None:
        for name in names:
            for place in (self.present, self._missing, self._aside):
                place.pop(name, None)
            self._failed[name] = None

    def _welcome(self, name: str, registration: _Registration, ring: Group) -> None:
        if registration.incarnation > self._lives.get(name, 0):
            # It has died since we heard of it, perhaps without anybody noticing.
            self._lives[name] = registration.incarnation
            self._give_up([name])
        if name in self._failed:
            self._set_aside(name)
            return
        self._missing.pop(name, None)
        self._aside.pop(name, None)
        self.present[name] = registration
        if self._missing and not self.survivors(ring):
            # The ring trains: rank 0 tells the others at their next commit that somebody waits.
            self._node.send(ring.names[0], None, _CONTROL_BYTES, tag=_newcomer(ring))

    def _set_aside(self, name: str) -> None:
        if self._settings.set_aside is None:
            self._answer(name, _JobOver())
        else:
            del self._failed[name]
            self._aside[name] = None
            self._answer(name, _SetAside(self._settings.set_aside.cooldown))

    def _answer(self, name: str, answer: _Answer) -> None:
        self._node.send(name, answer, _CONTROL_BYTES, tag="answer")
