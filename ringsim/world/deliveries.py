"""What becomes of messages: they go on the wire and come off it, and somebody takes them in, or answers with a reset.

    on the wire ─► landed ─► the detector | a collective | the mailbox
                        └─► nobody lives there any more: thrown away, and a reset for the sender if the machine is up

What is not here: when they arrive (`network.py`), and news of deaths (`news.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ringsim.node import Message
from ringsim.trace import Trace
from ringsim.world.account import Account
from ringsim.world.clock import Clock
from ringsim.world.connection import Address, Transfer
from ringsim.world.news import News
from ringsim.world.node import SimNode


class Deliveries:
    """Where messages come to. nodes: each rank in its latest life. answers: whether a machine tells of what it lost."""

    def __init__(
        self,
        clock: Clock,
        trace: Trace,
        nodes: Mapping[str, SimNode],
        answers: Callable[[str], bool],
        accounts: Mapping[str, Account],
        news: Callable[[], News],
    ):
        self.has_wrong_numbers = False  # a flipped bit has come to somebody who has not noticed
        self._clock = clock
        self._trace = trace
        self._tells_messages = trace.detail == "messages"
        self._nodes = nodes
        self._answers = answers
        self._accounts = accounts
        self._news = news

    def landed(self, transfer: Transfer) -> None:
        """A message arrives: it is off the wire, and its target has it."""
        self.on_wire(transfer, -1)
        source, conversation = transfer.connection.source, transfer.conversation
        target = self._nodes[transfer.connection.target.name]
        if not target.alive or target.incarnation != transfer.life:
            transfer.connection.throw_away(transfer.size_bytes)
            if self._answers(transfer.connection.target.host):
                self._answer_with_reset(transfer, target)
            return
        if self._tells_messages:
            self._trace_message("deliver", target.name, transfer, source=source.name)
        if transfer.is_wrong:
            self.has_wrong_numbers = True
            target.record("wrong_number", source=source.name, size_bytes=transfer.size_bytes)
        message = Message(source.name, source.incarnation, transfer.tag, transfer.payload, transfer.size_bytes)
        if conversation is not None:
            target.take_in(message, conversation)
        elif transfer.connection.channel is not None:
            target.detector.hear(message)  # It is a heartbeat, or says who is lost.
        else:
            target.mailbox.put(message)
            target.look()

    def _answer_with_reset(self, transfer: Transfer, target: SimNode) -> None:
        """Nobody here has that connection, or ever had it."""
        sender = transfer.connection.source
        source = self._nodes[sender.name]
        if not source.alive or source.address is not sender:
            return
        if transfer.life > target.incarnation:
            self._news().refused(target.address, source)
        else:
            lost = Address(target.address.index, target.name, target.address.host, transfer.life)
            self._news().lost(lost, source, restarted=target.alive)

    def on_wire(self, transfer: Transfer, change: int) -> None:
        """Count a message that goes on the wire (+1) or comes off it (-1), for its sender and for who awaits it."""
        connection, conversation, now_ns = transfer.connection, transfer.conversation, self._clock.now_ns
        if self._tells_messages and change > 0:
            self._trace_message("depart", connection.source.name, transfer, to=connection.target.name)
        if conversation is None and connection.channel is not None:
            return  # It is for the detector: nobody waits for it.
        self._accounts[connection.source.name].wire(now_ns, change)
        node = self._nodes[connection.target.name]
        if conversation is None:
            node.account.wire(now_ns, change)
            return
        seat = node.seats.get(conversation)
        if seat is None:
            node.is_approached(conversation, change)
        elif change > 0 or seat.incoming:
            seat.incoming += change
            node.account.wire(now_ns, change)

    def _trace_message(self, kind: str, rank: str, transfer: Transfer, **fields: Any) -> None:
        tag = transfer.tag if transfer.conversation is None else (transfer.conversation[1], transfer.tag)
        self._trace.record(self._clock.now_ns, rank, kind, tag=str(tag), size_bytes=transfer.size_bytes, **fields)
