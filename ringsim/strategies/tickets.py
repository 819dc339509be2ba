"""Who computes which samples where workers are not in step: a server hands them out in the order of the shuffle.

    the epoch's shuffle   | 7 2 | 9 4 | 1 0 | 8 3 | ...
    handed out to           a     b     a     c         whoever asks first

A fast worker computes more of them than a slow one, and each sample of an epoch counts once whoever is slow or dies: a
ticket that is given back goes to whoever asks next. What is not here: when a worker may have one (`consistency.py`),
and what it does with it (`server_asynchronous.py`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
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
        return Batch(self.samples, len(self.samples))


@dataclass
class Tickets:
    """The book of what is handed out, up to `end` in the data; `step`s are counted for each worker by itself."""

    sampler: Sampler
    end: Cursor
    cursor: Cursor = field(default_factory=Cursor)
    given_back: deque[Ticket] = field(default_factory=deque)
    held: dict[str, dict[int, Ticket]] = field(default_factory=dict)  # by worker and its step
    begun: dict[str, int] = field(default_factory=dict)

    @property
    def are_left(self) -> bool:
        """Whether there is anything to hand out."""
        return bool(self.given_back) or self.cursor < self.end

    def hand_out(self, worker: str, count: int) -> tuple[Ticket, ...]:
        """Give `worker` up to `count` tickets, of its share of samples each."""
        found: list[Ticket] = []
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

    def take_back(self, worker: str) -> None:
        """Let others have what `worker` holds."""
        self.given_back.extend(self.held.pop(worker, {}).values())

    def used(self, worker: str, step: int) -> Ticket | None:
        """Return the ticket of a gradient that has come, which nobody holds any more; None if it was taken back."""
        return self.held.get(worker, {}).pop(step, None)

    def holders(self, workers: Sequence[str]) -> list[str]:
        """Return who holds any."""
        return [worker for worker in workers if self.held.get(worker)]
