"""The simulated `Node`: one life of one rank, whose operations take virtual time.

Every wait is the same: a condition that is looked at now, and again whenever something reaches this node. So there is
nothing to clean up when a node dies while it waits. What is not here: what arrives when (`network.py`, `world.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import simpy

from ringsim import seeds
from ringsim.errors import NodeError, ReceiveTimeout, UsageError
from ringsim.node import Group, Message, Operation, Sent
from ringsim.plan import Plan
from ringsim.scenario import exactly
from ringsim.world.clock import Phase
from ringsim.world.mailbox import Channel, Mailbox
from ringsim.world.network import Address, Transfer
from ringsim.world.sharing import Task

if TYPE_CHECKING:
    from ringsim.world.world import World

_MILLION = 10**6
_NO_STEP = -1


class SimNode:
    """One life of a rank. Implements `ringsim.node.Node`."""

    def __init__(self, world: World, address: Address):
        self.name = address.name
        self.incarnation = address.incarnation
        self.address = address
        self.mailbox = Mailbox()
        self.alive = True
        self.waits_for: str | None = None  # in words, while it waits
        self._world = world
        self._group: Group | None = None
        self._channel: Channel = None
        self._sequence = -1  # the collective entered last in this group
        self._plan = ""  # the collective that is played
        self._received = 0  # messages received in this step's collectives
        self._step = _NO_STEP  # the training step that was begun last in this group
        self._computations = 0
        self._ready: Callable[[], Any] | None = None
        self._event: simpy.Event | None = None

    # --- who takes part -----------------------------------------------------------------------------------------------

    @property
    def group(self) -> Group:
        assert self._group is not None, f"{self.name} is in no group"
        return self._group

    @property
    def members(self) -> tuple[str, ...]:
        return self.group.names

    @property
    def rank(self) -> int:
        return self.group.ranks[self.name]

    def join(self, group: Group) -> None:
        self._group = group
        self._sequence = -1
        self._step = _NO_STEP
        self.mailbox.join(group)
        if group.generation > 0:
            # The ring has been re-formed: until training goes on, this is the failure's time, not training's.
            self._world.account(self.name).set(self._world.clock.now_ns, recovering=True)
        self.record("world", generation=group.generation, members=list(group.names))

    # --- work and time ------------------------------------------------------------------------------------------------

    def compute(self, flop: int) -> Operation[None]:
        world, done = self._world, self._world.clock.event()
        amount = flop * 1_000 * self._slowdown_ppm()  # in 1e-9 FLOP
        key = (self.address.index, 1)
        task = Task(amount, [world.processor(self)], Phase.WAKE, key, lambda: _succeed(done))
        self.record("compute_begin", flop=flop)
        world.account(self.name).set(world.clock.now_ns, computing=True)
        world.sharing.begin(task)
        try:
            yield done
        finally:
            if not done.triggered:
                world.sharing.stop(task)
            world.account(self.name).set(world.clock.now_ns, computing=False)
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
        done = self._world.clock.event()
        key = (self.address.index, 0)
        timer = self._world.clock.at(self._world.clock.now_ns + duration_ns, Phase.WAKE, key, lambda: _succeed(done))
        try:
            yield done
        finally:
            self._world.clock.cancel(timer)

    # --- messages -----------------------------------------------------------------------------------------------------

    def send(self, to: str, payload: Any, size_bytes: int, tag: Any) -> Sent:
        if to == self.name or size_bytes < 0:
            raise UsageError(f"{self.name} sends {size_bytes} bytes to {to}; it can send 0 bytes or more, to another")
        channel = self._channel
        if channel is None:
            self.mailbox.reconnect(to)
        message = Message(self.name, self.incarnation, self._in_sequence(tag), payload, size_bytes)
        target = self._world.address(to)
        life = self.mailbox.life(to, channel)
        transfer = Transfer(message, self.address, to, target.index, target.host, life, channel)
        if self.alive:
            self._world.network.send(transfer)
        return _Sending(self, transfer)

    def receive(
        self,
        source: str | None = None,
        tag: Any = None,
        timeout_ns: int | None = None,
        watching: Sequence[str] = (),
        expecting: Sequence[str] = (),
    ) -> Operation[Message]:
        channel, wanted = self._channel, self._in_sequence(tag)

        def ready() -> Message | None:
            message = self.mailbox.take(channel, source, wanted)
            if message is None:
                for peer in watching:
                    self.mailbox.check(peer, channel)
            return message

        what = ("a message" if tag is None else str(tag)) if channel is None else self._in_words()
        who = source or ", ".join(expecting) or "anybody"
        message: Message = yield from self.wait(ready, f"{who} ({what})", source, timeout_ns)
        if channel is not None:
            self._received += 1
            self._world.moments.progress(self.name, self._step, self._received)
        return message

    def _in_words(self) -> str:
        """Say which message of a collective comes next, counted as a fault's `segment` is."""
        if self._step == _NO_STEP:
            return f"a message of {self._plan}"
        return f"message {self._received + 1} of step {self._step}, {self._plan}"

    def poll(self, source: str | None = None, tag: Any = None) -> Message | None:
        try:
            return self.mailbox.take(self._channel, source, self._in_sequence(tag))
        except NodeError:
            return None  # Bad news keeps until somebody waits for it.

    def collective(self, plan: Plan, buffer: Any) -> Operation[Any]:
        self._sequence += 1
        group, sequence = self.group, self._sequence
        fields = {"plan": plan.name, "sequence": sequence, "generation": group.generation}
        self._channel, self._plan = group.generation, plan.name
        self.record("collective_enter", **fields)
        try:
            result = yield from plan.messages(self, buffer)
        except NodeError:
            self.record("collective_abort", **fields)
            self._group = None
            self._world.close(self, group)
            raise
        finally:
            self._channel = None
        self.record("collective_finish", **fields)
        self._world.collective_finished(self, group, sequence, plan, result)
        return result

    def _in_sequence(self, tag: Any) -> Any:
        """Inside a collective a tag also says which one, so that nothing of another can be taken for it."""
        return tag if self._channel is None or tag is None else (self._sequence, tag)

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
        clock = self._world.clock
        event = self._event = clock.event()
        self._ready, self.waits_for = ready, waits_for
        timer = None
        if timeout_ns is not None:
            key = (self.address.index, 0)
            expire = lambda: self._fail(event, ReceiveTimeout(source, timeout_ns))  # noqa: E731
            timer = clock.at(clock.now_ns + timeout_ns, Phase.WAKE, key, expire)
        try:
            return (yield event)
        finally:
            clock.cancel(timer)
            self._ready = self._event = self.waits_for = None

    def look(self) -> None:
        """Something has reached this node: is it what it waits for?"""
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

    # --- the rest -----------------------------------------------------------------------------------------------------

    def begin_step(self, step: int, **fields: Any) -> None:
        self._step, self._received = step, 0
        self.record("step_begin", step=step, **fields)
        self._world.account(self.name).set(self._world.clock.now_ns, recovering=False)
        self._world.moments.progress(self.name, step, 0)

    def random(self, *name: str | int) -> int:
        return int(seeds.words(self._world.seed, "node", self.name, *name)[0])

    def record(self, kind: str, **fields: Any) -> None:
        if self.alive:
            self._world.trace.record(self._world.clock.now_ns, self.name, kind, **fields)


class _Sending:
    """The handle of a message under way. Implements `ringsim.node.Sent`."""

    def __init__(self, node: SimNode, transfer: Transfer):
        self._node = node
        self._transfer = transfer

    def sent(self, timeout_ns: int | None = None) -> Operation[None]:
        target = self._transfer.target
        self._transfer.on_left = self._node.look
        yield from self._node.wait(self._has_left, f"{target} (to take the last byte)", target, timeout_ns)

    def _has_left(self) -> bool | None:
        if self._transfer.has_left:
            return True
        self._node.mailbox.check(self._transfer.target, self._transfer.channel)
        return None


def _succeed(event: simpy.Event) -> None:
    event.succeed()
