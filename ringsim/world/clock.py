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
from collections.abc import Callable, Generator, Iterator, Sequence
from enum import IntEnum
from functools import partial
from typing import Any, Protocol

import simpy

from ringsim import seeds
from ringsim.errors import InvariantBroken


class Phase(IntEnum):
    """What comes first when several things happen at one instant."""

    FAULT = 0
    DEPART = 1  # the last byte of a message leaves
    DELIVER = 2  # a message, or the news that a connection broke, arrives
    WAKE = 3  # timers and ends of computations: a message beats a timeout
    SETTLE = 4  # the shares of links and processors are worked out anew, once


# (time, phase) as one integer, because the agenda compares them for every entry.
_PHASES = 8

# So often nothing can be woken within one nanosecond, unless it is for ever.
ENDLESS = 10_000_000


class Entry:
    """One line of the agenda: what it does when its time has come. Whatever has these three can stand in an agenda."""

    __slots__ = ("action", "daemon", "done", "moment")

    def __init__(self, action: Callable[[], None], daemon: bool = False):
        self.action = action
        self.daemon = daemon
        self.done = True  # it has happened, or was cancelled, or stands in no agenda yet
        self.moment = 0  # when it is due


class Agendum(Protocol):
    """What can stand in an agenda. `done`: it does not stand there any more. A later `moment` replaces an earlier."""

    done: bool
    moment: int

    @property
    def daemon(self) -> bool: ...

    @property
    def action(self) -> Callable[[], None]: ...


# Its key, a number that tells equal keys apart, and the entry.
_Line = tuple[tuple[Any, ...], Any, Agendum]


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
        self.moment = (
            0  # the time and phase that is being played: those of one phase have equal moments, later ones more
        )
        self.is_wound_back = False  # what is played now has been played before
        self._order: Iterator[Any] = itertools.count()
        if shuffle_ties is not None:
            self._order = _shuffled(shuffle_ties)
            self.environment._eid = self._order  # type: ignore[assignment]
        self._due: dict[int, list[_Line]] = {}  # the agenda, by moment
        self._moments: list[int] = []  # a heap of them
        self._live = 0
        self._stirred = 0  # the latest moment of a fault, or of an entry that was no daemon and did not only settle
        # Whether something may still come of what is left when only daemons are, if nothing has happened since then.
        self.lingers: Callable[[int], bool] = lambda stirred_ns: False  # noqa: ARG005
        self._turns = 0  # of the present nanosecond
        self._woken = self.environment._queue  # events of this instant that processes wait for

    def at(
        self, time_ns: int, phase: Phase, key: tuple[Any, ...], action: Callable[[], None], *, daemon: bool = False
    ) -> Entry:
        """Do `action` at `time_ns`; among entries of one time and phase, in the order of `key`."""
        entry = Entry(action, daemon)
        self.enter(entry, time_ns, phase, key)
        return entry

    def enter(self, entry: Agendum, time_ns: int, phase: Phase, key: tuple[Any, ...]) -> None:
        """Write down an entry that stands in no agenda."""
        assert time_ns >= self.now_ns, f"virtual time never goes back: {time_ns} ns is before {self.now_ns} ns"
        entry.done = False
        moment = entry.moment = time_ns * _PHASES + phase
        lines = self._due.get(moment)
        if lines is None:
            lines = self._due[moment] = []
            heapq.heappush(self._moments, moment)
        lines.append((key, next(self._order), entry))
        self._live += not entry.daemon

    def cancel(self, entry: Agendum | None) -> None:
        """Strike an entry out. Striking out one that is gone, or None, does nothing."""
        if entry is not None and not entry.done:
            entry.done = True
            self._live -= not entry.daemon

    def set_daemon(self, entry: Entry | None, daemon: bool) -> None:
        """Let an entry that stands in the agenda keep the run alive from now on, or no more; None is no entry."""
        if entry is not None and not entry.done and entry.daemon != daemon:
            entry.daemon = daemon
            self._live += -1 if daemon else 1

    def has_passed(self, time_ns: int, phase: Phase) -> bool:
        """Say whether what is due at that time and phase has happened, or is happening."""
        return time_ns * _PHASES + phase <= self.moment

    def event(self) -> simpy.Event:
        """Return something that a process can wait for."""
        return self.environment.event()

    def start(self, generator: Generator[Any, Any, Any]) -> simpy.Process:
        """Run a generator from this instant on."""
        return self.environment.process(generator)

    def stir(self) -> None:
        """Note that a daemon has done something that more may come of."""
        self._stirred = max(self._stirred, self.moment)

    def run(self, is_over: Callable[[], bool], limit_ns: int) -> str:
        """Turn until `is_over()`, until nothing can happen any more, or past `limit_ns`.

        Nothing can happen any more when only daemons are left in the agenda, and nothing `lingers`.

        Returns which of the three it was: 'over', 'dry' or 'late'.
        """
        last = (limit_ns + 1) * _PHASES - 1
        while True:
            self._let_processes_run()
            if is_over():
                return "over"
            while not self._woken:
                if not self._live and not self.lingers(self._stirred // _PHASES):
                    return "dry"
                moment = self._moments[0]  # At worst all of it was struck out.
                self._set(min(moment, last))
                if moment > last:
                    return "late"
                self._count_turn()
                self._play(moment)

    def rewound(self, begin: Sequence[tuple[int, Callable[[], None]]]) -> None:
        """Play `begin`, which are in order of their moments, and all that follows from it, up to the present.

        As with processes, an action comes when all that is due at its moment is through. What the present moment
        itself holds is played as well, because it may have happened already. What is then still to come is written in
        the agenda of the present. Nothing in it may wake a process.
        """
        present, due, moments = self.moment, self._due, self._moments
        self._due, self._moments, self.moment, self.is_wound_back = {}, [], 0, True
        for moment, action in begin:
            self._play_until(moment)
            action()
        self._play_until(present)
        self.is_wound_back = False
        for moment, lines in self._due.items():
            if moment not in due:
                heapq.heappush(moments, moment)
            due.setdefault(moment, []).extend(lines)
        self._due, self._moments = due, moments

    def _play_until(self, moment: int) -> None:
        while self._moments and self._moments[0] <= moment:
            self._set(self._moments[0])
            self._play(self._moments[0])
        self._set(moment)

    def _let_processes_run(self) -> None:
        """Let SimPy play this instant to its end: every process that was woken runs until it waits again."""
        environment = self.environment
        while environment.peek() <= self.now_ns:
            environment.step()
            self._count_turn()

    def due(self) -> Iterator[Agendum]:
        """Return what stands in the agenda, each once."""
        # Who was struck out and written in again at the same moment stands there twice.
        return iter(
            dict.fromkeys(
                entry
                for moment, lines in self._due.items()
                for _, _, entry in lines
                if not entry.done and entry.moment == moment
            )
        )

    def _count_turn(self) -> None:
        """See that this nanosecond ends: whatever moves the world for ever without time passing is a fault in it."""
        self._turns += 1
        if self._turns > ENDLESS:
            raise InvariantBroken(f"{ENDLESS:,} things have happened at {self.now_ns} ns, and there is no end to it")

    def _set(self, moment: int) -> None:
        # A fault may strike in the middle of an instant; what has happened in it has happened.
        self.moment = max(self.moment, moment)
        # Nothing of SimPy's own is ever in the future: processes wait for the agenda only. So its clock can be moved.
        now_ns = moment // _PHASES
        if now_ns != self.now_ns:
            self._turns = 0
            self.now_ns = self.environment._now = now_ns

    def _play(self, moment: int) -> None:
        """Play all entries of one time and phase."""
        phase = moment % _PHASES
        for _, _, entry in self._take_batch(moment):
            # An earlier entry of the batch may have struck out a later one.
            if not entry.done and entry.moment == moment:
                entry.done = True
                self._live -= not entry.daemon
                if moment > self._stirred and (phase == Phase.FAULT or not (entry.daemon or phase == Phase.SETTLE)):
                    self._stirred = moment
                entry.action()

    def _take_batch(self, moment: int) -> list[_Line]:
        lines = self._due[moment]
        if moment % _PHASES == Phase.FAULT and len(lines) > 1:
            # Of faults, one is through before the next begins: a crash and a restart of one machine do not commute.
            lines.sort()
            return [lines.pop(0)]
        heapq.heappop(self._moments)
        del self._due[moment]
        lines.sort()
        return lines


def _shuffled(seed: int) -> Iterator[tuple[int, int]]:
    # Not a generator: one that is thrown away has no next, and processes that are thrown away with it still ask.
    return map(partial(_tie, seed), itertools.count())


def _tie(seed: int, number: int) -> tuple[int, int]:
    return seeds.first_word(seed, "ties", number), number
