"""A member's seat in a collective that is played message by message. Implements `ringsim.plan.Seat`.

The plan's generator is driven from here, by what reaches the node: no process and no event for a message, because a
ring on N nodes has 2N(N-1) of them. What is not here: who plays what when (`stage.py`).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

from ringsim.errors import NodeError, PeerLost, ReceiveTimeout, UsageError
from ringsim.node import Message, Operation
from ringsim.plan import Plan
from ringsim.world.clock import Entry, Phase
from ringsim.world.connection import Connection, Transfer

if TYPE_CHECKING:
    from ringsim.world.node import SimNode
    from ringsim.world.stage import Stage


class Seat:
    """One member in one collective, number `sequence` of its group."""

    def __init__(self, node: SimNode, stage: Stage, sequence: int, plan: Plan, buffer: Any):
        self.node = node
        self.stage = stage
        self.sequence = sequence
        self.conversation = (stage.group.generation, sequence)
        self.plan = plan
        self.buffer = buffer
        self.rank = stage.group.ranks[node.name]
        self.members = stage.group.names
        self.entered_ns = node.now_ns
        self.entered_moment = node.moment
        self.finished_ns: int | None = None  # where that was known before it was played
        self.received_before = node.received
        self.received = 0
        self._is_counted = node.is_counted
        self.incoming = 0  # messages on their way here
        self._inbox: dict[tuple[str, Any], Message] = {}
        self._generator: Generator[Any, Any, Any] | None = None
        self._connections: dict[str, tuple[Connection, int]] = {}
        self._wanted: tuple[str, Any] | None = None  # the message that it waits for
        self._leaving: Transfer | None = None  # ... or the one that must leave first
        self._watching: Sequence[str] = ()
        self._timeout: tuple[str, int] = ("", 0)  # whom it waits for, how long at most
        self._deadline_ns = 0
        self._timer: Entry | None = None
        self._timer_ns = 0

    # --- what the plan asks -------------------------------------------------------------------------------------------

    def send(self, to: str, payload: Any, size_bytes: int, tag: Any) -> Transfer:
        known = self._connections.get(to)
        if known is None:
            if to == self.node.name or size_bytes < 0:
                raise UsageError(
                    f"{self.node.name} sends {size_bytes} bytes to {to}; it can send 0 or more, to another"
                )
            known = self._connections[to] = self.stage.connection(self.node, to), self.stage.lives[to]
        connection, life = known
        transfer = Transfer(connection, self, payload, size_bytes, tag, life, self.conversation)
        if self.node.alive:
            connection.network.send(transfer)
        return transfer

    def receive(
        self, source: str, tag: Any, timeout_ns: int | None = None, watching: Sequence[str] = ()
    ) -> Operation[Message]:
        wanted = (source, tag)
        message: Message | None = self._inbox.pop(wanted, None)
        if message is None:
            if self.node.mailbox.has_bad_news:
                self._check(source, *watching)
            self._wanted, self._watching = wanted, watching
            if timeout_ns is not None or self._timer is not None:
                self._set_timer(timeout_ns, source)
            message = yield
            self._wanted = None
        assert message is not None, "a seat is woken with its message"
        self.received += 1
        if self._is_counted:
            self.node.has_received(self.received_before + self.received)
        return message

    def wait_until_left(self, transfer: Transfer, timeout_ns: int | None) -> Operation[None]:
        """Wait until the last byte of a message has left."""
        if transfer.has_left:
            return
        target = transfer.connection.target.name
        if self.node.mailbox.has_bad_news:
            self._check(target)
        self._leaving, self._watching = transfer, ()
        transfer.connection.network.call_when_left(transfer, self._has_left)
        if timeout_ns is not None or self._timer is not None:
            self._set_timer(timeout_ns, target)
        yield
        self._leaving = None

    # --- what reaches it ----------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Play from the beginning until it waits."""
        self._generator = self.plan.messages(self, self.buffer)
        self._go(None)

    def take_and_begin(self) -> None:
        """Enter once more, in time that is wound back."""
        self.node.take(self)
        self.begin()

    def put(self, message: Message) -> None:
        """A message of this collective has come."""
        key = (message.source, message.tag)
        if key == self._wanted and not self.node.is_paused:
            self._go(message)
        else:
            assert key not in self._inbox, f"two messages {message.tag} from {message.source} in one collective"
            self._inbox[key] = message

    def look(self) -> None:
        """A connection broke: is it one that this waits for?"""
        try:
            if self._wanted is not None:
                self._check(self._wanted[0], *self._watching)
            elif self._leaving is not None:
                self._check(self._leaving.connection.target.name)
        except PeerLost as error:
            self._throw(error)

    def wake(self) -> None:
        """The node stood still until now: what it waits for may be there."""
        if self._wanted is not None and self._wanted in self._inbox:
            self._go(self._inbox.pop(self._wanted))
        else:
            self._has_left()

    @property
    def timer(self) -> Entry | None:
        """What ends its wait, if nothing else does."""
        return self._timer

    def waits_for(self) -> str | None:
        """Say in words what it waits for."""
        if self._leaving is not None:
            return f"{self._leaving.connection.target.name} (to take the last byte)"
        if self._wanted is None:
            return None
        what = self.node.in_words(self.received_before + self.received + 1, self.plan.name)
        return f"{self._wanted[0]} ({what})"

    def leave(self) -> None:
        """It is over for this member."""
        self.node.clock.cancel(self._timer)
        self._wanted = self._leaving = None
        if self.incoming:
            self.node.wire(-self.incoming)
            self.incoming = 0

    # --- driving ------------------------------------------------------------------------------------------------------

    def _go(self, message: Message | None) -> None:
        assert self._generator is not None, "it has begun"
        try:
            self._generator.send(message)
        except StopIteration as stop:
            self.stage.finish(self, stop.value)
        except NodeError as error:
            self.stage.abort(self, error)

    def _throw(self, error: NodeError) -> None:
        assert self._generator is not None, "it has begun"
        self._wanted = self._leaving = None
        try:
            self._generator.throw(error)
        except StopIteration as stop:
            self.stage.finish(self, stop.value)
        except NodeError as raised:
            self.stage.abort(self, raised)

    def _has_left(self) -> None:
        if self._leaving is not None and self._leaving.has_left and not self.node.is_paused:
            self._go(None)

    def _check(self, *peers: str) -> None:
        mailbox, generation = self.node.mailbox, self.stage.group.generation
        try:
            mailbox.check_group(generation)
            for peer in peers:
                mailbox.check(peer, generation)
        except PeerLost as lost:
            self.node.record("peer_lost", peer=lost.peer)
            raise

    def _set_timer(self, timeout_ns: int | None, source: str) -> None:
        """Give up this wait after `timeout_ns`. One entry in the agenda serves many waits, each later than the last."""
        if timeout_ns is None:
            self.node.clock.cancel(self._timer)
            self._timer = None
            return
        self._timeout = (source, timeout_ns)
        self._deadline_ns = self.node.now_ns + timeout_ns
        if self._timer is None or self._timer.done or self._timer_ns > self._deadline_ns:
            self._arm()

    def _arm(self) -> None:
        self.node.clock.cancel(self._timer)
        self._timer_ns = self._deadline_ns
        key = (self.node.address.index, 0)
        self._timer = self.node.clock.at(self._timer_ns, Phase.WAKE, key, self._expire)

    def _expire(self) -> None:
        self.node.unless_paused(self._run_out)

    def _run_out(self) -> None:
        if self._wanted is None and self._leaving is None:
            return
        if self._deadline_ns > self.node.now_ns:
            self._arm()
            return
        source, timeout_ns = self._timeout
        self.node.record("receive_timeout", source=source, timeout_ns=timeout_ns)
        self._throw(ReceiveTimeout(source, timeout_ns))
