"""The rendezvous: a machine of its own that says who is in the ring (Horovod's driver; torchft's lighthouse).

    worker       register ─► join ─► train ... ─► register ─► ... ─► register (finished)
    rendezvous   wait until all of the present ring have registered or are lost ─► tell everybody the new ring

It alone decides, so nobody can disagree: survivors keep their order, the oldest is rank 0, and newcomers follow in the
order in which they came, up to the greatest size that a ring may have. Who is too many stays registered and waits: a
spare. Who failed and comes back waits for a cooldown first, is taken at once, or never again. What makes the policies
differ is said by `Rules`; what a ring trains, and what a new one goes on from, the rendezvous does not know. A worker
tells it how far it is, and it tells all members what each of them has said.

What is not here: what workers do with a ring (`ring_elastic.py`, `ring_peer_recovery.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ringsim.collectives.broadcast import Broadcast
from ringsim.errors import PeerLost, ReceiveTimeout, Suspected
from ringsim.node import Group, Member, Node, Operation
from ringsim.scenario import RENDEZVOUS, Heartbeat, Host, SetAside
from ringsim.strategies import detection
from ringsim.strategies.training import Deployment, GaveUp, Role, State, Training
from ringsim.units import format_duration

MACHINE = Host(name=RENDEZVOUS)

_CONTROL_BYTES = 256  # A registration, or the answer to it; small beside any gradient.


@dataclass(frozen=True)
class Rules:
    """What makes a ring. Times in nanoseconds.

    least: a ring has at least so many members, and at most `most`. patience_ns: the job gives up when there are too few
    and nobody has come for so long; None: never. timeout_ns: who does not follow the others of a broken ring for so
    long is given up; None: never. reset_limit: the job gives up if the ring is re-formed more often than this without
    a step forward. cooldown_ns: for so long is set aside who failed; 0 is a wait too; None: who failed never returns.
    forgives: who failed is taken back at once, whatever the cooldown is: for a ring that has not gone on without it.
    heartbeat: who watches whom besides; None: nobody. is_saved: the state is in the store as well, so a ring may go on
    of which nobody has it.
    """

    least: int
    most: int
    patience_ns: int | None
    timeout_ns: int | None
    reset_limit: int
    cooldown_ns: int | None = None
    forgives: bool = False
    heartbeat: Heartbeat | None = None
    is_saved: bool = False


@dataclass(frozen=True)
class Standing:
    """What a worker tells the rendezvous: the last update that it could go on from, whether that is the end of the
    task, and whether it has ever had the state: one that restarted has not, until a ring has given it to it.

    `carries` is for the other members, if it has the state. `accused` is whose heartbeats it has missed in the ring.
    """

    step: int
    finished: bool
    has_state: bool
    carries: Any = None
    accused: str | None = None


@dataclass(frozen=True)
class Ring:
    """The rendezvous' answer to those in the new ring: who is in it, and how each of them stands, in rank order.

    Only of a survivor of the last ring it is said that it has the state: who comes anew may hold another history.
    """

    group: Group
    standings: tuple[Standing, ...]

    def has_state(self, name: str) -> bool:
        """Say whether this member has the state that the ring goes on from."""
        return self.standings[self.group.ranks[name]].has_state


@dataclass(frozen=True)
class _SetAside:
    """The rendezvous' answer to one who failed: come again after the cooldown."""

    cooldown_ns: int


@dataclass(frozen=True)
class JobOver:
    """The rendezvous' answer to everybody when all have finished, or to one it will never take again.

    `finishers` have the result. Who was wrongly given up may have come to an end as well, but of a history that the
    others have not gone on from.
    """

    finishers: tuple[Member, ...] = ()

    def is_result_of(self, node: Node) -> bool:
        """Say whether what this node ended with is the result."""
        return Member(node.name, node.incarnation) in self.finishers


_Answer = Ring | _SetAside | JobOver | GaveUp


def cooldown_ns(set_aside: SetAside | None) -> int | None:
    """Return for how long a setting sets aside who failed; None: for ever."""
    return None if set_aside is None else set_aside.cooldown


def around_a_rendezvous(
    run: Callable[[Node, Training], Operation[State | GaveUp | None]], shares: Mapping[str, int], rules: Rules
) -> Deployment:
    """Put `run` on every rank, which begins anew when its machine restarts, and the rendezvous on its own machine."""
    workers = [Role(name, run, restarts=True) for name in shares]
    launcher = Role(RENDEZVOUS, partial(rendezvous, rules=rules, workers=tuple(shares)), worker=False)
    return Deployment([*workers, launcher], shares, (MACHINE,), full_size=rules.most)


# --- what a worker asks ----------------------------------------------------------------------------------------------


def register(node: Node, standing: Standing) -> Operation[Ring | JobOver | GaveUp]:
    """Ask for a place in the next ring, and wait for it; who is set aside asks again after the cooldown."""
    patience_ns = None
    while True:
        node.send(RENDEZVOUS, standing, _CONTROL_BYTES, tag="register")
        try:
            while True:
                message = yield from node.receive(RENDEZVOUS, tag="answer", timeout_ns=patience_ns)
                answer: _Answer = message.payload
                if isinstance(answer, _SetAside):
                    patience_ns = answer.cooldown_ns
                elif not isinstance(answer, Ring) or Member(node.name, node.incarnation) in answer.group.members:
                    return answer
                # Else it is what our former life asked for; the answer to us is still to come.
        except ReceiveTimeout:
            patience_ns = None


def newcomer_waits(node: Node, timeout_ns: int | None) -> Operation[bool]:
    """Let rank 0 say whether to re-form the ring, so that all leave it at the same step."""
    asked = node.rank == 0 and node.poll(RENDEZVOUS, tag=_newcomer(node.group)) is not None
    word: bool = yield from node.collective(Broadcast(size_bytes=1, timeout_ns=timeout_ns), asked)
    return word


def _newcomer(group: Group) -> str:
    # With the generation, so that word of a newcomer who is in the ring by now is not taken for another.
    return f"newcomer for generation {group.generation}"


# --- the rendezvous ---------------------------------------------------------------------------------------------------


def rendezvous(node: Node, training: Training, rules: Rules, workers: tuple[str, ...]) -> Operation[None]:
    """Form one ring after another until the job is over. It knows nothing of what is trained."""
    del training
    ring = Group(-1, tuple(Member(name, 0) for name in workers))
    lobby = _Lobby(node, rules, workers)
    furthest, in_vain = -1, 0
    while True:
        detection.watch_ring(node, ring, rules.heartbeat)
        enough = yield from lobby.gather(ring)
        if not enough:
            assert rules.patience_ns is not None, "only patience that has an end can come to it"
            few = f"fewer than min_workers ({rules.least}) workers are left"
            gone = "nobody is left of the last ring, who had the state, though some of it may be alive"
            reason = few if len(lobby.present) < rules.least else gone
            reason += f", and nobody came for {format_duration(rules.patience_ns)}"
            return (yield from lobby.close(GaveUp(reason)))
        step = max(registration.standing.step for registration in lobby.present.values())
        furthest, in_vain = (step, 0) if step > furthest else (furthest, in_vain + 1)
        if in_vain > rules.reset_limit:
            reason = f"the ring was re-formed {in_vain} times without a new commit (reset_limit)"
            return (yield from lobby.close(GaveUp(reason)))
        survivors = lobby.survivors(ring)
        if not survivors and ring.generation >= 0 and not rules.is_saved:
            return (yield from lobby.close(GaveUp("nobody is left of the last ring, who had the state")))
        if lobby.have_finished(survivors):
            return (yield from lobby.close(JobOver(survivors)))
        newcomers = tuple(
            Member(name, registration.incarnation)
            for name, registration in lobby.present.items()
            if Member(name, registration.incarnation) not in survivors
        )
        ring = Group(ring.generation + 1, (survivors + newcomers)[: rules.most])
        lobby.let_go(ring, survivors)


@dataclass(frozen=True)
class _Registration:
    incarnation: int
    standing: Standing


class _Lobby:
    """Who waits for the next ring, and who failed and must be set aside first."""

    def __init__(self, node: Node, rules: Rules, workers: tuple[str, ...]):
        self.present: dict[str, _Registration] = {}
        self._node = node
        self._rules = rules
        self._workers = workers
        self._missing: dict[str, None] = {}  # of the present ring
        self._failed: dict[str, None] = {}
        self._aside: dict[str, None] = {}  # ... and wait out their cooldown
        self._lives: dict[str, int] = {}  # the latest incarnation heard of
        self._over: dict[str, int] = {}  # the latest incarnation that cannot train any more

    def gather(self, ring: Group) -> Operation[bool]:
        """Wait until everybody in `ring` has registered or is lost; False if there are too few in the end."""
        self._missing = dict.fromkeys(ring.names)
        while self._missing or self._too_few(ring) or self._may_train_elsewhere(ring):
            try:
                message = yield from self._node.receive(
                    tag="register", timeout_ns=self._patience_ns(ring), expecting=self._expected()
                )
            except Suspected as suspected:
                self._suspect(suspected.peer, ring)
            except PeerLost as lost:
                self._over[lost.peer] = self._lives.get(lost.peer, 0)
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
        return self._is_here(member) and self.present[member.name].standing.has_state

    def have_finished(self, survivors: tuple[Member, ...]) -> bool:
        """Say whether the task is done for all who are left of a ring."""
        return bool(survivors) and all(self.present[member.name].standing.finished for member in survivors)

    def let_go(self, ring: Group, survivors: tuple[Member, ...]) -> None:
        """Tell the new ring to its members; the others stay."""
        standings = (self.present[name].standing for name in ring.names)
        answer = Ring(
            ring,
            tuple(
                standing if member in survivors else replace(standing, has_state=False)
                for member, standing in zip(ring.members, standings, strict=True)
            ),
        )
        for name in ring.names:
            self._answer(name, answer)
            del self.present[name]

    def close(self, answer: JobOver | GaveUp) -> Operation[None]:
        """Tell everybody that it is over: who waits, who is set aside, and who comes later."""
        for name in (*self.present, *self._aside):
            self._answer(name, answer)
        while True:
            try:
                message = yield from self._node.receive(tag="register")
                self._answer(message.source, answer)
            except PeerLost:
                pass  # It does not matter any more.

    def _too_few(self, ring: Group) -> bool:
        return len(self.present) < self._rules.least and not self.have_finished(self.survivors(ring))

    def _may_train_elsewhere(self, ring: Group) -> bool:
        """Say whether the ring that nobody comes from may go on without us; beside it there must be no second one."""
        if not self._rules.is_saved or ring.generation < 0 or self._has_ended(ring):
            return False
        return not all(self._is_over(member) for member in ring.members)

    def _has_ended(self, ring: Group) -> bool:
        """Say whether a member has left the ring: it makes no further step, nor has made one if that has no state."""
        return any(self._is_here(member) for member in ring.members)

    def _is_here(self, member: Member) -> bool:
        return member.name in self.present and self.present[member.name].incarnation == member.incarnation

    def _is_over(self, member: Member) -> bool:
        name, life = member
        return self._over.get(name, -1) >= life or self._lives.get(name, 0) > life

    def _expected(self) -> list[str]:
        """Return without whom it cannot go on."""
        return list(self._missing) or [name for name in self._workers if name not in self.present]

    def _patience_ns(self, ring: Group) -> int | None:
        if not self._missing:
            return self._rules.patience_ns  # too few, but more may come
        if self.survivors(ring) or (self._rules.is_saved and self._has_ended(ring)):
            return self._rules.timeout_ns  # some have given the ring up; who does not follow is dead
        return None  # the ring trains, or nothing can be done without those who have the state

    def _give_up(self, names: Iterable[str]) -> None:
        for name in names:
            for place in (self.present, self._missing, self._aside):
                place.pop(name, None)
            self._failed[name] = None

    def _suspect(self, name: str, ring: Group) -> None:
        """Give up who is silent, let the others leave the ring, and tell it so, in case that it is alive."""
        has_asked = name in self.present
        self._condemn(name, ring)
        if has_asked:
            self._set_aside(name)

    def _condemn(self, name: str, ring: Group) -> None:
        """Give up who is taken for lost, or was, and tell those in the ring, if none of us has had a reset."""
        is_news = name in self._missing
        self._give_up([name])
        if is_news and self._rules.heartbeat is not None:
            detection.tell_ring(self._node, ring, ring.members[ring.ranks[name]])

    def _welcome(self, name: str, registration: _Registration, ring: Group) -> None:
        if registration.incarnation > self._lives.get(name, 0):
            # It has died since we heard of it, perhaps without anybody noticing.
            self._lives[name] = registration.incarnation
            self._condemn(name, ring)
        # Nobody has gone on without the only member of a ring.
        is_forgiven = self._rules.forgives or ring.members == (Member(name, registration.incarnation),)
        if name in self._failed and not is_forgiven:
            self._set_aside(name)
            return
        self._failed.pop(name, None)
        self._missing.pop(name, None)
        self._aside.pop(name, None)
        self.present[name] = registration
        accused = registration.standing.accused
        # Who is in no ring speaks of one that has been re-formed since.
        if accused in self._missing and Member(name, registration.incarnation) in ring.members:
            self._condemn(accused, ring)
        if self._missing and not self.survivors(ring) and len(self._missing) < self._rules.most:
            # The ring trains, and is short: rank 0 tells the others at their next commit that somebody waits.
            self._node.send(ring.names[0], None, _CONTROL_BYTES, tag=_newcomer(ring))

    def _set_aside(self, name: str) -> None:
        cooldown_ns = 0 if self._rules.forgives else self._rules.cooldown_ns
        if cooldown_ns is None:
            self._over[name] = self._lives.get(name, 0)
            self._answer(name, JobOver())
        else:
            del self._failed[name]
            self._aside[name] = None
            self._answer(name, _SetAside(cooldown_ns))

    def _answer(self, name: str, answer: _Answer) -> None:
        self._node.send(name, answer, _CONTROL_BYTES, tag="answer")
