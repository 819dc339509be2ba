"""What goes wrong: one small generator for each kind of fault, run as a process of the world.

A fault waits for its moment, then uses the verbs of the world, which come in pairs: crash and restart. What is not
here: how a strategy takes it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import simpy

from ringsim.scenario import At, Crash
from ringsim.world.clock import Clock, Phase

if TYPE_CHECKING:
    from ringsim.world.world import World

Fault = Generator[Any, Any, None]


@dataclass
class _Moment:
    ranks: tuple[str, ...]
    step: int
    segment: int
    event: simpy.Event
    number: int


class Moments:
    """When faults strike: at a virtual time, or when a node has come so far."""

    def __init__(self, clock: Clock):
        self._clock = clock
        self._waiting: list[_Moment] = []

    def event(self, number: int, ranks: tuple[str, ...], at: At) -> simpy.Event:
        """Return an event at the moment `at`, for fault `number` on the machine of `ranks`."""
        event = self._clock.event()
        if at.time is not None:
            # A daemon: that something will still go wrong does not keep a run from having stalled.
            self._clock.at(at.time, Phase.FAULT, (number,), once(event), daemon=True)
        else:
            assert at.step is not None, "a fault has a time or a step"
            self._waiting.append(_Moment(ranks, at.step, at.segment or 0, event, number))
        return event

    @property
    def waits(self) -> bool:
        """Whether there is a fault that waits for some node's progress."""
        return bool(self._waiting)

    def is_near(self, ranks: Sequence[str], step: int) -> bool:
        """Say whether a fault waits for one of `ranks` to receive so many messages, in `step` or before."""
        return any(
            moment.segment and moment.step <= step and not moment.event.triggered and rank in ranks
            for moment in self._waiting
            for rank in moment.ranks
        )

    def progress(self, rank: str, step: int, segment: int) -> None:
        """`rank` has begun `step`, or received its `segment`-th message in it: is that some fault's moment?"""
        if self._clock.is_wound_back:
            return  # No fault was waiting then, or it would not have to be played again.
        for moment in self._waiting:
            here = rank in moment.ranks and (moment.step, moment.segment) == (step, segment)
            if here and not moment.event.triggered:
                self._clock.at(self._clock.now_ns, Phase.FAULT, (moment.number,), once(moment.event))


def once(event: simpy.Event) -> Callable[[], None]:
    """Return an action that triggers `event`, unless something else has."""

    def fire() -> None:
        if not event.triggered:
            event.succeed()

    return fire


def crash(world: World, number: int, fault: Crash, moment: simpy.Event) -> Fault:
    """At `moment` a machine dies with all it held; after `restart_after` it is back, empty.

    A machine that is already dead when the moment comes is left alone.
    """
    yield moment
    if not world.is_up(fault.node):
        return
    world.crash(number, fault.node, fault.notice)
    if fault.restart_after is not None:
        yield world.restart_moment(number, fault.node, fault.restart_after)
        world.restart(fault.node)
