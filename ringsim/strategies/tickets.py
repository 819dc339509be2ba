"""Who computes which samples where workers are not in step: a server hands them out in the order of the shuffle.

    the epoch's shuffle   | 7 2 | 9 4 | 1 0 | 8 3 | ...
    handed out to           a     b     a     c         whoever asks first

A fast worker computes more of them than a slow one, and each sample of an epoch counts once whoever is slow or dies: a
ticket that is taken back goes to whoever asks next, and of two gradients of it the first one to come is used. Several
at a time are handed out only up to a worker's share of all; what others leave of theirs is handed out one by one. What
is not here: when a worker may have one (`consistency.py`), and what it does with it (`server_asynchronous.py`).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from ringsim.learning.sampler import Batch, Cursor, Sampler


@dataclass(frozen=True)
class Ticket:
    """What one worker is to compute in its own step `step`: samples of the epoch of `cursor`."""

    step: int
    cursor: Cursor
    samples: tuple[int, ...]

    @property
    def batch(self) -> Batch:
        """The samples as a batch that is all of an update."""
        return Batch(self.samples, len(self.samples), self.cursor.epoch)


@dataclass
class Tickets:
    """The book of what is handed out, up to `end` in the data; `step`s are counted for each worker by itself."""

    sampler: Sampler
    end: Cursor
    cursor: Cursor = field(default_factory=Cursor)
    given_back: deque[Ticket] = field(default_factory=deque)
    held: dict[str, dict[int, Ticket]] = field(default_factory=dict)  # by worker and its step
    late: dict[str, dict[int, Ticket]] = field(default_factory=dict)  # taken back; their gradients may come yet
    begun: dict[str, int] = field(default_factory=dict)

    @property
    def _samples(self) -> int:
        return self.end.epoch * self.sampler.train_size + self.end.position

    @property
    def are_left(self) -> bool:
        """Whether there is anything to hand out."""
        return bool(self.given_back) or self.cursor < self.end

    def hand_out(self, worker: str, count: int) -> tuple[Ticket, ...]:
        """Give `worker` up to `count` tickets, of its share of samples each."""
        found: list[Ticket] = []
        own = -(-self._samples // sum(self.sampler.shares.values()))  # of its share of samples each
        count = min(count, max(1, own - self.begun.get(worker, 0)))
        while len(found) < count and self.are_left:
            number = self.begun[worker] = self.begun.get(worker, 0) + 1
            cursor, samples = self._next(self.sampler.shares[worker])
            found.append(Ticket(number - 1, cursor, samples))
            self.held.setdefault(worker, {})[number - 1] = found[-1]
        return tuple(found)

    def _next(self, share: int) -> tuple[Cursor, tuple[int, ...]]:
        if self.given_back:
            ticket = self.given_back.popleft()
            return ticket.cursor, ticket.samples
        cursor = self.cursor
        left = self.end.position - cursor.position if cursor.epoch == self.end.epoch else share
        samples = self.sampler.taken(cursor, min(share, left))
        self.cursor = self.sampler.moved(cursor, len(samples))
        return cursor, samples

    def take_back(self, worker: str, may_come: bool) -> None:
        """Let others have what `worker` holds; may_come: it may only be late with the gradients."""
        taken = self.held.pop(worker, {})
        self.given_back.extend(taken.values())
        if may_come:
            self.late.setdefault(worker, {}).update(taken)
        else:
            self.late.pop(worker, None)

    def used(self, worker: str, step: int) -> Ticket | None:
        """Return the ticket of a gradient that has come, which is over now; None if another one was used for it.

        >>> tickets = Tickets(Sampler(seed=7, train_size=4, shares={"a": 2, "b": 2}), Cursor(1, 0))
        >>> (ticket,) = tickets.hand_out("a", 1)
        >>> tickets.take_back("a", may_come=True)
        >>> same = tickets.hand_out("b", 1)[0].samples == ticket.samples
        >>> same, tickets.used("a", 0) == ticket, tickets.used("b", 0)
        (True, True, None)
        """
        ticket = self.held.get(worker, {}).pop(step, None) or self.late.get(worker, {}).pop(step, None)
        if ticket is not None:
            self._forget(ticket.cursor)
        return ticket

    def _forget(self, cursor: Cursor) -> None:
        """Nobody else need compute these samples."""
        self.given_back = deque(one for one in self.given_back if one.cursor != cursor)
        for book in (*self.held.values(), *self.late.values()):
            for step in [step for step, one in book.items() if one.cursor == cursor]:
                del book[step]
