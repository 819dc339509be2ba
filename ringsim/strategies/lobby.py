"""The rendezvous' lobby: who waits for the next ring, who is missing, who failed, and who is set aside.

    in a ring ─► registers ─► present ─► in the next ring
        │                        ▲
        ├─► reset, silent, accused, late: failed, and the ring goes on without it
        │       └─► registers: set aside for the cooldown, or for ever ─► registers ─► present
        └─► its next life registers: failed, likewise

What is not here: when a ring is formed, and of whom (`rendezvous.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from ringsim.errors import PeerLost, ReceiveTimeout, Suspected
from ringsim.node import Group, Member, Node, Operation
from ringsim.scenario import Heartbeat
from ringsim.strategies import detection
from ringsim.strategies.membership import (
    CONTROL_BYTES,
    Answer,
    AskAgain,
    JobOver,
    Ring,
    Standing,
    newcomer_tag,
)
from ringsim.strategies.training import GaveUp


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
class _Registration:
    incarnation: int
    standing: Standing


class Lobby:
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
        detection.watch_nobody(self._node, self._rules.heartbeat)
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
        """Say whether nobody is here who has the state, and yet somebody may be alive who has.

        It may even train on, and beside it there must be no second ring.
        """
        if ring.generation < 0 or self.survivors(ring) or (self._rules.is_saved and self._has_ended(ring)):
            return False
        return not all(self._is_here(member) or self._is_over(member) for member in ring.members)

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
            self._node.send(ring.names[0], None, CONTROL_BYTES, tag=newcomer_tag(ring))

    def _set_aside(self, name: str) -> None:
        cooldown_ns = 0 if self._rules.forgives else self._rules.cooldown_ns
        if cooldown_ns is None:
            self._over[name] = self._lives.get(name, 0)
            self._answer(name, JobOver())
        else:
            del self._failed[name]
            self._aside[name] = None
            self._answer(name, AskAgain(cooldown_ns))

    def _answer(self, name: str, answer: Answer) -> None:
        self._node.send(name, answer, CONTROL_BYTES, tag="answer")
