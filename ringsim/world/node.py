"""The simulated `Node`: one life of one rank, whose operations take virtual time.

Every wait is the same: a condition that is looked at now, and again whenever something reaches this node. So there is
nothing to clean up when a node dies while it waits. What is not here: what arrives when (`network.py`, `world.py`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import simpy

from ringsim import seeds
from ringsim.errors import NodeError, ReceiveTimeout, UsageError
from ringsim.node import Group, Member, Message, Operation
from ringsim.plan import Plan
from ringsim.scenario import exactly
from ringsim.world.account import Account
from ringsim.world.clock import Entry, Phase
from ringsim.world.connection import Address, Conversation, Transfer
from ringsim.world.heartbeat import Detector
from ringsim.world.mailbox import Mailbox
from ringsim.world.seat import Seat
from ringsim.world.sharing import Task
from ringsim.world.started import Started

if TYPE_CHECKING:
    from ringsim.world.stage import Stage
    from ringsim.world.world import World

_MILLION = 10**6
_NO_STEP = -1


class SimNode:
    """One life of a rank. Implements `ringsim.node.Node`."""

    def __init__(self, world: World, address: Address, account: Account):
        self.name = address.name
        self.incarnation = address.incarnation
        self.address = address
        self.account = account
        self.clock = world.clock
        self.mailbox = Mailbox()
        self.alive = True
        self.received = 0  # messages received in this step's collectives
        self.step = _NO_STEP  # the training step that was begun last in this group
        self.detector = Detector(self, world)
        self._world = world
        self._stage: Stage | None = None
        self._sequence = -1  # the collective started last in this group
        self._started: deque[Started] = deque()  # the first of them is being played
        self.seats: dict[Conversation, Seat] = {}
        self._early: dict[Conversation, list[Message]] = {}  # for collectives that it has not entered
        self._approaching: dict[Conversation, int] = {}  # ... and how many are on their way
        self._broken_by: NodeError | None = None  # what has thrown this node out of the group it had joined
        self.is_paused = False
        self._timer: Entry | None = None  # of the program's own wait
        self._overdue: list[Callable[[], None]] = []  # timers that ran out meanwhile
        self._work: Task | None = None  # the present computation
        self._computations = 0
        self._pace_ppm = _MILLION  # how long the present computation takes, against what the node's speed says
        self._waits_for: str | None = None
        self._ready: Callable[[], Any] | None = None
        self._event: simpy.Event | None = None

    # --- who takes part -----------------------------------------------------------------------------------------------

    @property
    def group(self) -> Group:
        assert self._stage is not None, f"{self.name} is in no group"
        return self._stage.group

    @property
    def members(self) -> tuple[str, ...]:
        return self.group.names

    @property
    def rank(self) -> int:
        return self.group.ranks[self.name]

    def join(self, group: Group) -> None:
        if self._stage is not None:
            self._stage.disturb()  # Once it is in a new group, nothing of the old one reaches it any more.
        self._stage = self._world.stage(group)
        self._broken_by = None
        self._sequence = -1
        self.step = _NO_STEP
        self.mailbox.join(group)
        for key in [key for key in self._early if key[0] < group.generation]:
            del self._early[key]
        if group.generation > 0:
            # The ring has been re-formed: until training goes on, this is the failure's time, not training's.
            self.account.set(self.now_ns, recovering=True)
        self.record("world", generation=group.generation, members=self._stage.member_names)

    # --- work and time ------------------------------------------------------------------------------------------------

    def compute(self, flop: int, continues: bool = False) -> Operation[None]:
        world, done = self._world, self._world.clock.event()
        if not continues:
            self._pace_ppm = self._slowdown_ppm()
        amount = flop * 1_000 * self._pace_ppm  # in 1e-9 FLOP
        key = (self.address.index, 1)
        self._work = Task(amount, [world.processor(self)], Phase.WAKE, key, lambda: _succeed(done))
        self.record("compute_begin", flop=flop)
        self.account.set(world.clock.now_ns, computing=True)
        world.sharing.begin(self._work)
        try:
            yield done
        finally:
            if not done.triggered:
                world.sharing.stop(self._work)
            self._work = None
            self.account.set(world.clock.now_ns, computing=False)
        self.record("compute_end")

    def _slowdown_ppm(self) -> int:
        """Draw how long this computation takes, in millionths of what the node's speed says."""
        host = self._world.host(self)
        self._computations += 1
        name = (self.name, self.incarnation, self._computations)
        ppm = _MILLION
        if host.jitter:
            ppm += seeds.below(self._world.seed, "jitter", *name, bound=2 * host.jitter + 1) - host.jitter
        straggle = host.straggle
        if straggle and seeds.below(self._world.seed, "straggle", *name, bound=_MILLION) < straggle.probability:
            ppm = ppm * int(exactly(straggle.factor) * _MILLION) // _MILLION
        return ppm

    def sleep(self, duration_ns: int) -> Operation[None]:
        if duration_ns < 0:
            raise UsageError(f"{self.name} cannot sleep for {duration_ns} ns")
        done = self.clock.event()
        self._ring_after(duration_ns, lambda: _succeed(done))
        try:
            yield done
        finally:
            self.clock.cancel(self._timer)

    # --- the store ----------------------------------------------------------------------------------------------------

    def save(self, name: str, payload: Any, size_bytes: int, token: int = 0) -> Operation[None]:
        self.record("save_begin", name=name, size_bytes=size_bytes)

        def done(is_kept: bool) -> None:
            self.record("save_end" if is_kept else "save_refused", name=name, size_bytes=size_bytes)

        key, tell = (self.address.index, 3), self.unless_paused
        yield from self._world.store.save(name, payload, size_bytes, key, token, tell, done)

    def load(self, name: str) -> Operation[Any]:
        self.record("load_begin", name=name)
        payload, size_bytes = yield from self._world.store.load(name, (self.address.index, 3), self.unless_paused)
        self.record("load_end", name=name, size_bytes=size_bytes)
        return payload

    # --- messages -----------------------------------------------------------------------------------------------------

    def send(self, to: str, payload: Any, size_bytes: int, tag: Any) -> Transfer:
        if to == self.name or size_bytes < 0:
            raise UsageError(f"{self.name} sends {size_bytes} bytes to {to}; it can send 0 bytes or more, to another")
        self.mailbox.reconnect(to)
        network = self._world.network
        connection = network.connection(self.address, self._world.address(to), None)
        transfer = Transfer(connection, self, payload, size_bytes, tag, self.mailbox.life(to, None))
        if self.alive:
            network.send(transfer)
        return transfer

    def wait_until_left(self, transfer: Transfer, timeout_ns: int | None) -> Operation[None]:
        """Wait until the last byte of a message has left."""
        target = transfer.connection.target.name

        def has_left() -> bool | None:
            if transfer.has_left:
                return True
            self.mailbox.check(target, None)
            return None

        if not transfer.has_left:
            self._world.network.call_when_left(transfer, self.look)
        yield from self.wait(has_left, f"{target} (to take the last byte)", target, timeout_ns)

    def receive(
        self,
        source: str | None = None,
        tag: Any = None,
        timeout_ns: int | None = None,
        watching: Sequence[str] = (),
        expecting: Sequence[str] = (),
    ) -> Operation[Message]:
        def ready() -> Message | None:
            message = self.mailbox.take(source, tag)
            if message is None:
                for peer in watching:
                    self.mailbox.check(peer, None)
            return message

        what = "a message" if tag is None else _said(tag)
        who = source or ", ".join(expecting) or "anybody"
        message: Message = yield from self.wait(ready, f"{who} ({what})", source, timeout_ns)
        return message

    def poll(self, source: str | None = None, tag: Any = None) -> Message | None:
        try:
            return self.mailbox.take(source, tag)
        except NodeError:
            return None  # Bad news keeps until somebody waits for it.

    def has_lost(self, peer: str) -> bool:
        try:
            self.mailbox.check(peer, None)
        except NodeError:
            self.record("peer_lost", peer=peer)
            return True
        return False

    # --- who is there -------------------------------------------------------------------------------------------------

    def beat(self, peers: Sequence[Member], interval_ns: int) -> None:
        self.detector.beat(peers, interval_ns)

    def watch(self, peers: Sequence[Member], timeout_ns: int) -> None:
        self.detector.watch(peers, timeout_ns)

    def tell_lost(self, to: Member, lost: Member) -> None:
        self.detector.tell_lost(to, lost)

    def suspect(self, member: Member) -> None:
        """Take the connections to one life of a peer for broken, as if a reset had come."""
        if self._stage is not None:
            self._stage.tear(member)
        self.mailbox.suspect(*member)
        self.look()

    # --- collectives --------------------------------------------------------------------------------------------------

    def collective(self, plan: Plan, buffer: Any) -> Operation[Any]:
        return (yield from self.start(plan, buffer).result())

    def start(self, plan: Plan, buffer: Any) -> Started:
        assert self._stage is not None or self._broken_by is not None, f"{self.name} is in no group"
        self._sequence += 1
        started = Started(self, plan, buffer, self._sequence, self.clock.event())
        if self._broken_by is not None:
            started.fail(self._broken_by)
            return started
        self._started.append(started)
        if len(self._started) == 1:
            self._enter(started)
        return started

    def _enter(self, started: Started) -> None:
        """Play a collective, in which all others before it are done here."""
        assert self._stage is not None, f"{self.name} is in no group"
        seat = Seat(self, self._stage, started.sequence, started.plan, started.buffer)
        self.record("collective_enter", **_fields(seat))
        self.take(seat)
        self._stage.enter(seat)

    def take(self, seat: Seat) -> None:
        """Take a seat: what comes for that collective is for it."""
        key = seat.conversation
        self.seats[key] = seat
        approaching = self._approaching.pop(key, 0)
        if approaching:
            seat.incoming += approaching
            self.wire(approaching)
        for message in self._early.pop(key, ()):
            seat.put(message)

    def has(self, seat: Seat) -> bool:
        """Say whether a seat is taken."""
        return seat.conversation in self.seats

    def drop(self, seat: Seat) -> None:
        """Leave a seat."""
        del self.seats[seat.conversation]

    def finished(self, seat: Seat, result: Any) -> None:
        """A collective is done here: whoever waits for its result gets it, and the next one begins."""
        self.drop(seat)
        self.record("collective_finish", **_fields(seat))
        self.received = seat.received_before + seat.received
        self._started.popleft().done.succeed(result)
        if self._started:
            self._enter(self._started[0])

    def aborted(self, seat: Seat, error: NodeError) -> None:
        """A collective is given up, and with it all that were to come: this node is out of its group."""
        self.drop(seat)
        self.record("collective_abort", **_fields(seat))
        self.received = seat.received_before + seat.received
        self._stage, self._broken_by = None, error
        for started in self._started:
            started.fail(error)
        self._started.clear()
        self._world.close(self, seat.stage)

    def take_in(self, message: Message, conversation: Conversation) -> None:
        """A message has come of a collective: for its seat, or to be kept until this node enters it."""
        seat = self.seats.get(conversation)
        if self.mailbox.has_bad_news and self.mailbox.has_closed(message.source, conversation[0]):
            return  # It takes the source for lost, and does not read that connection any more.
        if seat is not None:
            seat.put(message)
        elif self._stage is None or conversation[0] >= self._stage.group.generation:
            self._early.setdefault(conversation, []).append(message)

    def is_approached(self, conversation: Conversation, change: int) -> None:
        """A message goes on the wire (+1) or off it, of a collective that this node has not entered.

        It is awaited, and so counts for this node's account, once it has entered.
        """
        left = self._approaching.get(conversation, 0) + change
        if left > 0:
            self._approaching[conversation] = left
        else:
            self._approaching.pop(conversation, None)

    def has_received(self, number: int) -> None:
        """So many messages of this step's collectives have been received: is that some fault's moment?"""
        self._world.moments.progress(self.name, self.step, number)

    @property
    def is_counted(self) -> bool:
        """Whether some fault may wait for this node's progress."""
        return self._world.moments.waits

    def in_words(self, number: int, plan: str) -> str:
        """Say which message of a collective comes next, counted as a fault's `segment` is."""
        if self.step == _NO_STEP:
            return f"a message of {plan}"
        return f"message {number} of step {self.step}, {plan}"

    # --- waiting ------------------------------------------------------------------------------------------------------

    def wait(
        self, ready: Callable[[], Any], waits_for: str, source: str | None = None, timeout_ns: int | None = None
    ) -> Operation[Any]:
        """Wait until `ready()` is not None; what it raises is raised here, and written in the trace."""
        try:
            found = ready()
            if found is None:
                found = yield from self._wait(ready, waits_for, source, timeout_ns)
        except ReceiveTimeout as error:
            self.record("receive_timeout", source=error.source, timeout_ns=error.timeout_ns)
            raise
        except NodeError as error:
            self.record("peer_lost", peer=error.args[0])
            raise
        return found

    def _wait(
        self, ready: Callable[[], Any], waits_for: str, source: str | None, timeout_ns: int | None
    ) -> Operation[Any]:
        event = self._event = self.clock.event()
        self._ready, self._waits_for = ready, waits_for
        if timeout_ns is not None:
            self._ring_after(timeout_ns, lambda: self._fail(event, ReceiveTimeout(source, timeout_ns)))
        try:
            return (yield event)
        finally:
            self.clock.cancel(self._timer)
            self._ready = self._event = self._waits_for = None

    def _ring_after(self, duration_ns: int, action: Callable[[], None]) -> None:
        """Do `action` unless the program has gone on by then. It waits in one place at a time."""
        time_ns, key = self.now_ns + duration_ns, (self.address.index, 0)
        self._timer = self.clock.at(time_ns, Phase.WAKE, key, lambda: self.unless_paused(action))

    @property
    def waits_for(self) -> str | None:
        """Whom it waits for, and for what, in words."""
        if self.is_paused:
            return "its machine to go on"
        if self._waits_for is not None or self.account.computing:
            return self._waits_for
        return next((words for seat in self.seats.values() if (words := seat.waits_for())), None)

    def look(self) -> None:
        """Something has reached this node: is it what it waits for?"""
        if self.is_paused:
            return
        for seat in list(self.seats.values()):
            seat.look()
        event = self._event
        if event is None or event.triggered or self._ready is None:
            return
        try:
            found = self._ready()
        except NodeError as error:
            self._fail(event, error)
        else:
            if found is not None:
                event.succeed(found)

    @staticmethod
    def _fail(event: simpy.Event, error: NodeError) -> None:
        if not event.triggered:
            event.fail(error)

    # --- standing still -----------------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Stand still: nothing is computed, and nobody here looks at what comes, or at a clock."""
        self.is_paused = True
        self._set_timers_daemon(True)  # Who does not look at a clock is not woken by it, so nothing may come of it.
        if self._work is not None:
            amount = self._work.amount - self._world.sharing.stop(self._work)
            work = self._work
            self._work = Task(amount, work.route, work.phase, work.key, work.finished)

    def resume(self) -> None:
        """Go on: first with what has come, then with timers that have run out."""
        self.is_paused = False
        self._set_timers_daemon(False)
        if self._work is not None:
            self._world.sharing.begin(self._work)
        overdue, self._overdue = self._overdue, []
        come, index = [*(seat.wake for seat in self.seats.values()), self.look], self.address.index
        self.clock.at(self.now_ns, Phase.DELIVER, ((index, -2, 0), 0), lambda: self._see_to(come))
        self.clock.at(self.now_ns, Phase.WAKE, (index, -1), lambda: self._see_to(overdue))

    def _set_timers_daemon(self, daemon: bool) -> None:
        for timer in (self._timer, *(seat.timer for seat in self.seats.values())):
            self.clock.set_daemon(timer, daemon)

    def unless_paused(self, action: Callable[[], None]) -> None:
        """Do something now, or as soon as this node goes on."""
        if self.is_paused:
            self._overdue.append(action)
        else:
            action()

    def _see_to(self, actions: Sequence[Callable[[], None]]) -> None:
        if self.alive:
            for action in actions:
                self.unless_paused(action)

    # --- the rest -----------------------------------------------------------------------------------------------------

    @property
    def now_ns(self) -> int:
        return self.clock.now_ns

    @property
    def moment(self) -> int:
        return self.clock.moment

    def wire(self, change: int) -> None:
        """Messages of this node's go on the wire (+) or off it (-)."""
        self.account.wire(self.clock.now_ns, change)

    def die(self) -> None:
        """This life is over: nothing of it goes on."""
        self.alive = False
        self.detector.stop()
        for seat in list(self.seats.values()):
            seat.leave()
        self.seats.clear()
        self._started.clear()

    def begin_step(self, step: int, **fields: Any) -> None:
        if self._started and self._stage is not None:
            self._stage.step_begins(self, step)
        self.step, self.received = step, 0
        self.record("step_begin", step=step, **fields)
        self.account.set(self.now_ns, recovering=False)
        self._world.moments.progress(self.name, step, 0)

    def random(self, *name: str | int) -> int:
        return seeds.first_word(self._world.seed, "node", self.name, *name)

    def record(self, kind: str, **fields: Any) -> None:
        if self.alive:
            self._world.trace.write(self.clock.now_ns, self.name, kind, fields)


def _fields(seat: Seat) -> dict[str, Any]:
    return {"plan": seat.plan.name, "sequence": seat.sequence, "generation": seat.stage.group.generation}


def _succeed(event: simpy.Event) -> None:
    event.succeed()


def _said(tag: Any) -> str:
    """Return a tag in words.

    >>> _said("request"), _said(("forward", 3, 0)), _said(("sum", 4, ("reduce", 1)))
    ('request', 'forward 3 0', 'sum 4 reduce 1')
    """
    return " ".join(map(_said, tag)) if isinstance(tag, tuple) else str(tag)
