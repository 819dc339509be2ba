"""A collective played in memory: all generators with mailboxes and no time, for the numbers alone.

A rank runs until it waits for a message that nobody has sent yet; the first that can go on goes on. Which that is
changes no bit, because every receive names its source and its tag. What is not here: time, failures and who waits how
long (`world/`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ringsim.errors import InvariantBroken
from ringsim.node import Message, Operation
from ringsim.plan import Seat

Key = tuple[str, str, Any]  # source, target, tag


class Messages(Protocol):
    """What is asked of a plan here."""

    @property
    def name(self) -> str: ...

    def messages(self, seat: Seat, buffer: Any) -> Operation[Any]: ...


def play_in_memory(plan: Messages, buffers: Sequence[Any]) -> list[Any]:
    """Return what each rank ends with. Raises InvariantBroken if ranks wait for messages that are never sent."""
    members = tuple(map(str, range(len(buffers))))
    mail = _Mail({}, {}, deque())
    programs = [plan.messages(_Seat(rank, members, mail), buffer) for rank, buffer in enumerate(buffers)]
    results: dict[int, Any] = {}
    mail.runnable.extend(range(len(programs)))
    while mail.runnable:
        rank = mail.runnable.popleft()
        try:
            mail.waiting[next(programs[rank])] = rank
        except StopIteration as end:
            results[rank] = end.value
    if mail.waiting:
        source, target, tag = next(iter(mail.waiting))
        raise InvariantBroken(f"{plan.name}: rank {target} waits for message {tag} from rank {source}, never sent")
    return [results[rank] for rank in range(len(programs))]


@dataclass
class _Mail:
    """What has been sent and not received, who waits for what, and who can go on."""

    sent: dict[Key, deque[Message]]
    waiting: dict[Key, int]
    runnable: deque[int]


@dataclass
class _Seat:
    """Implements `ringsim.plan.Seat`. What it yields is the message it waits for."""

    rank: int
    members: tuple[str, ...]
    mail: _Mail

    def send(self, to: str, payload: Any, size_bytes: int, tag: Any) -> _Gone:
        key = (self.members[self.rank], to, tag)
        self.mail.sent.setdefault(key, deque()).append(Message(key[0], 0, tag, payload, size_bytes))
        if key in self.mail.waiting:
            self.mail.runnable.append(self.mail.waiting.pop(key))
        return _Gone()

    def receive(
        self, source: str, tag: Any, timeout_ns: int | None = None, watching: Sequence[str] = ()
    ) -> Operation[Message]:
        key = (source, self.members[self.rank], tag)
        if not self.mail.sent.get(key):
            yield key
        return self.mail.sent[key].popleft()


class _Gone:
    """The handle of a message that left at once. Implements `ringsim.node.Sent`."""

    def sent(self, timeout_ns: int | None = None) -> Operation[None]:
        yield from ()
