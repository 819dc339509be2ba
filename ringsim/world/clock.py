"""Virtual time in integer nanoseconds, and the canonical order of everything that happens at one instant.

SimPy resumes processes in the order in which their events were created. That order is an accident of the program, so
nothing here relies on it: whatever moves the world (a fault, a delivery, a timer, ...) stands in an agenda sorted by
(time, phase, key). The clock takes all entries of one time and phase, lets every process that they wake run until it
waits again, and only then looks at the next. `shuffle_ties` makes SimPy's own order random, to prove the point.

What is not here: what the entries do.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Generator, Iterator
from enum import IntEnum
from typing import Any

import simpy

from ringsim import seeds


class Phase(IntEnum):
    """What comes first when several things happen at one instant."""

    FAULT = 0
    DEPART = 1  # the last byte of a message leaves
    DELIVER = 2  # a message, or the news that a connection broke, arrives
    WAKE = 3  # timers and ends of computations: a message beats a timeout
    SETTLE = 4  # the shares of links and processors are worked out anew, once


class Entry:
    """One line of the agenda."""

    __slots__ = ("action", "daemon", "done", "time_ns")

    def __init__(self, time_ns: int, action: Callable[[], None], daemon: bool):
        self.time_ns = time_ns
        self.action = action
        self.daemon = daemon
        self.done = False  # it has happened, or was cancelled


class Clock:
    """The agenda of a run. Entries marked `daemon` do not keep a run alive by themselves.

    >>> clock = Clock()
    >>> for name, phase in [("timeout", Phase.WAKE), ("message", Phase.DELIVER)]:
    ...     _ = clock.at(5, phase, (0,), lambda name=name: print(name, clock.now_ns))
    >>> clock.run(is_over=lambda: False, limit_ns=100)
    message 5
    timeout 5
    'dry'
    """

    def __init__(self, shuffle_ties: int | None = None):
        self.environment = simpy.Environment()
        self.now_ns = 0
        self._order: Iterator[Any] = itertools.count()
        if shuffle_ties is not None:
            self._order = _shuffled(shuffle_ties)
            self.environment._eid = self._order  # type: ignore[assignment]
        self._agenda: list[tuple[int, Phase, tuple[Any, ...], Any, Entry]] = []
        self._live = 0

    def at(
        self, time_ns: int, phase: Phase, key: tuple[Any, ...], action: Callable[[], None], *, daemon: bool = False
    ) -> Entry:
        """Do `action` at `time_ns`; among entries of one time and phase, in the order of `key`."""
        assert time_ns >= self.now_ns, f"virtual time never goes back: {time_ns} ns is before {self.now_ns} ns"
        entry = Entry(time_ns, action, daemon)
        heapq.heappush(self._agenda, (time_ns, phase, key, next(self._order), entry))
        self._live += not daemon
        return entry

    def cancel(self, entry: Entry | None) -> None:
        """Strike an entry out. Striking out one that is gone, or None, does nothing."""
        if entry is not None and not entry.done:
            entry.done = True
            self._live -= not entry.daemon

    def event(self) -> simpy.Event:
        """Return something that a process can wait for."""
        return self.environment.event()

    def start(self, generator: Generator[Any, Any, Any]) -> simpy.Process:
        """Run a generator from this instant on."""
        return self.environment.process(generator)

    def run(self, is_over: Callable[[], bool], limit_ns: int) -> str:
        """Turn until `is_over()`, until nothing can happen any more, or past `limit_ns`.

        Returns which of the three it was: 'over', 'dry' or 'late'.
        """
        while True:
            self._let_processes_run()
            if is_over():
                return "over"
            self._drop_struck_out()
            if not self._live:
                return "dry"
            next_ns = self._agenda[0][0]
            if next_ns > limit_ns:
                self._advance(limit_ns)
                return "late"
            self._advance(next_ns)
            for entry in self._take_batch():
                # An earlier entry of the batch may have struck out a later one.
                if not entry.done:
                    self.cancel(entry)
                    entry.action()

    def _let_processes_run(self) -> None:
        """Let SimPy play this instant to its end: every process that was woken runs until it waits again."""
        environment = self.environment
        while environment.peek() <= self.now_ns:
            environment.step()

    def _advance(self, time_ns: int) -> None:
        """Move SimPy's clock. Nothing of SimPy's own lies between: processes wait for the agenda only."""
        if time_ns > self.now_ns:
            self.environment.timeout(time_ns - self.now_ns)
            self.environment.step()
            self.now_ns = time_ns

    def _drop_struck_out(self) -> None:
        while self._agenda and self._agenda[0][4].done:
            heapq.heappop(self._agenda)

    def _take_batch(self) -> list[Entry]:
        time_ns, phase = self._agenda[0][:2]
        batch = []
        if phase is Phase.FAULT:
            # One fault is through before the next begins: a crash and a restart of one machine do not commute.
            return [heapq.heappop(self._agenda)[4]]
        while self._agenda and self._agenda[0][:2] == (time_ns, phase):
            batch.append(heapq.heappop(self._agenda)[4])
        return batch


def _shuffled(seed: int) -> Iterator[tuple[int, int]]:
    for number in itertools.count():
        yield int(seeds.words(seed, "ties", number)[0]), number
