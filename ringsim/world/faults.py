"""What goes wrong: one small generator for each kind of fault, run as a process of the world.

    crash  pause  slow_down                    one machine
    churn                                      machines that come and go
    link_down  link_degrade  drop  corrupt     links
    partition  switch_down                     several at once

A fault waits for its moment, once or again and again, then uses the verbs of the world, which come in pairs: crash and
restart, pause and resume, part and heal. What it strikes must be as it was, or it is left alone: a dead machine does
not die. What is not here: how a strategy takes it, and how long the waits are (`waits.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

import simpy

from ringsim import scenario as settings
from ringsim import seeds
from ringsim.scenario import ANY, At, exactly, struck
from ringsim.world.clock import Clock, Phase
from ringsim.world.conditions import Condition
from ringsim.world.connection import Link
from ringsim.world.waits import wait_ns

if TYPE_CHECKING:
    from ringsim.world.world import World

Process = Generator[Any, Any, None]

IN_VAIN = 10_000  # so many faults without a new step in between, and the run gets nowhere


class Strike(NamedTuple):
    """One time that a fault strikes: which fault of the scenario, and how often it had struck before."""

    number: int
    nth: int = 0


# --- moments ----------------------------------------------------------------------------------------------------------


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
        self._furthest = -1  # step that any node has begun
        self._since = 0  # how often a fault has struck since then

    def struck(self) -> None:
        """A fault strikes, or would if it found anything to strike."""
        self._since += 1

    @property
    def are_in_vain(self) -> bool:
        """Whether faults strike again and again, and nobody comes any further between them."""
        return self._since >= IN_VAIN

    def at(self, strike: Strike, time_ns: int) -> simpy.Event:
        """Return an event at a virtual time."""
        event = self._clock.event()
        # A daemon: that something will still go wrong does not keep a run from having stalled.
        self._clock.at(time_ns, Phase.FAULT, (strike.number, strike.nth, 0), once(event), daemon=True)
        return event

    def reached(self, number: int, ranks: tuple[str, ...], at: At) -> simpy.Event:
        """Return an event at the moment at which one of `ranks` has come so far."""
        assert at.step is not None, "a fault has a time or a step"
        event = self._clock.event()
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
        if step > self._furthest:
            self._furthest, self._since = step, 0
        for moment in self._waiting:
            here = rank in moment.ranks and (moment.step, moment.segment) == (step, segment)
            if here and not moment.event.triggered:
                self._clock.at(self._clock.now_ns, Phase.FAULT, (moment.number, 0, 0), once(moment.event))


def once(event: simpy.Event) -> Callable[[], None]:
    """Return an action that triggers `event`, unless something else has."""

    def fire() -> None:
        if not event.triggered:
            event.succeed()

    return fire


def applies(world: World, fault: settings.Fault) -> bool:
    """Say whether what a fault strikes exists under this strategy."""
    if isinstance(fault, (settings.Crash, settings.Pause, settings.SlowDown)):
        return fault.node == ANY or world.has(fault.node)
    if isinstance(fault, settings.Partition):
        there = [group for group in fault.groups if any(machine in world.network.graph for machine in group)]
        return len(there) > 1
    if isinstance(fault, settings.Churn):
        return any(map(world.has, _churning(world, fault)))
    if isinstance(fault, settings.SwitchDown):
        return fault.switch in world.network.graph
    return bool(_directions(world, fault))


def start(world: World, number: int, fault: settings.Fault) -> None:
    """Let a fault strike whenever its moment comes."""
    if isinstance(fault, settings.Churn):
        for index, machine in enumerate(_churning(world, fault)):
            if world.has(machine):
                world.clock.start(_churn(world, number, fault, machine, index))
        return
    if fault.at.step is not None:
        # Its moment is made here, before any program runs, so that none can come too early for it.
        ranks = world.ranks(fault.at.node or str(getattr(fault, "node", None)))
        moments = iter([world.moments.reached(number, ranks, fault.at)])
    else:
        moments = _moments(world, number, fault.at, _machines_at_risk(world, fault))
    world.clock.start(_strikes(world, number, fault, next(moments, None), moments))


def _moments(world: World, number: int, at: At, machines: int) -> Iterator[simpy.Event]:
    if at.time is not None:
        yield world.moments.at(Strike(number), at.time)
        return
    assert at.every is not None, "a fault has a time, a step, or waits"
    time_ns, count = at.start or 0, 0
    while True:
        time_ns += wait_ns(at.every, machines, world.seed, "fault", number, count)
        if at.stop is not None and time_ns >= at.stop:
            return
        yield world.moments.at(Strike(number, count), time_ns)
        count += 1


def _strikes(
    world: World,
    number: int,
    fault: settings.Fault,
    moment: simpy.Event | None,
    later: Iterator[simpy.Event],
) -> Process:
    count = 0
    while moment is not None:
        yield moment
        world.moments.struck()
        world.clock.start(_KINDS[type(fault)](world, Strike(number, count), fault))
        moment, count = None if _is_for_good(fault) else next(later, None), count + 1


def _is_for_good(fault: settings.Fault) -> bool:
    """Say whether a fault never ends and always strikes the same: there is nothing left for it to strike again."""
    if isinstance(fault, settings.Churn) or getattr(fault, "node", None) == ANY:
        return False
    return (fault.restart_after if isinstance(fault, (settings.Crash, settings.SwitchDown)) else fault.lasts) is None


def _machines_at_risk(world: World, fault: settings.Fault) -> int:
    return len(world.scenario.cluster.nodes) if getattr(fault, "node", None) == ANY else 1


# --- machines ---------------------------------------------------------------------------------------------------------


def crash(world: World, strike: Strike, fault: settings.Crash) -> Process:
    """A machine dies with all it held; after `restart_after` it is back, empty."""
    machine = _chosen(world, strike, fault.node)
    if machine is None or not world.is_up(machine):
        return
    world.note(strike, machine, world.ranks(machine))
    world.crash(machine, fault.notice)
    if fault.restart_after is not None:
        yield world.restart_moment(strike, machine, fault.restart_after)
        world.restart(machine)
        world.note_end(strike)


def pause(world: World, strike: Strike, fault: settings.Pause) -> Process:
    """A machine stands still; after `lasts` it goes on."""
    machine = _chosen(world, strike, fault.node)
    if machine is None or not world.is_up(machine) or world.is_paused(machine):
        return
    world.note(strike, machine, world.ranks(machine))
    world.pause(strike, machine)
    if fault.lasts is not None:
        yield world.moment(strike, fault.lasts, matters=True)
        world.resume(strike, machine)


def slow_down(world: World, strike: Strike, fault: settings.SlowDown) -> Process:
    """A machine computes so many times as slow; after `lasts` it is as fast as before."""
    machine = _chosen(world, strike, fault.node)
    if machine is None or (fault.lasts is None and world.is_slowed(machine, strike.number)):
        return
    world.note(strike, machine, world.ranks(machine))
    world.slow_down(strike, machine, Fraction(exactly(fault.factor)))
    if fault.lasts is not None:
        yield world.moment(strike, fault.lasts, matters=False)
        world.speed_up(strike, machine)
        world.note_end(strike)


def _churn(world: World, number: int, fault: settings.Churn, machine: str, index: int) -> Process:
    """One machine comes and goes."""
    machines, count, time_ns = len(_churning(world, fault)), 0, 0
    while True:
        # Machines that churn together are told apart by their places, among the strikes of one fault.
        strike = Strike(number, count * machines + index)
        time_ns = world.clock.now_ns + wait_ns(fault.up, 1, world.seed, "up", number, machine, count)
        yield world.moments.at(strike, time_ns)
        world.moments.struck()
        down_ns = wait_ns(fault.down, 1, world.seed, "down", number, machine, count)
        if world.is_up(machine):
            world.note(strike, machine, world.ranks(machine))
            world.crash(machine, fault.notice)
            yield world.restart_moment(strike, machine, down_ns)
            world.restart(machine)
            world.note_end(strike)
        count += 1


def _churning(world: World, fault: settings.Churn) -> Sequence[str]:
    return fault.nodes or [host.name for host in world.scenario.cluster.nodes]


def _chosen(world: World, strike: Strike, node: str) -> str | None:
    """Return the machine that is meant: for `any`, one of those that are up, if any is."""
    if node != ANY:
        return node
    names = [host.name for host in world.scenario.cluster.nodes if world.has(host.name) and world.is_up(host.name)]
    if not names:
        return None
    return names[seeds.below(world.seed, "struck", *strike, bound=len(names))]


# --- links ------------------------------------------------------------------------------------------------------------


def _on_link(world: World, strike: Strike, fault: settings.LinkFault) -> Process:
    """A link is not what it was; after `lasts` it is again."""
    links = _directions(world, fault)
    condition = _condition(fault)
    ranks = tuple(rank for end in links[0] if world.has(end) for rank in world.ranks(end))
    world.note(strike, struck(fault), ranks)
    world.degrade(strike, links, condition)
    if fault.lasts is not None:
        yield world.moment(strike, fault.lasts, matters=condition.is_down)
        world.restore(strike, links)
        world.note_end(strike)


def _condition(fault: settings.LinkFault) -> Condition:
    if isinstance(fault, settings.LinkDown):
        return Condition(is_down=True)
    if isinstance(fault, settings.LinkDegrade):
        return Condition(bandwidth=fault.bandwidth, latency_ns=fault.latency)
    if isinstance(fault, settings.Drop):
        return Condition(drop_ppm=fault.probability)
    return Condition(detected_ppm=fault.probability) if fault.detected else Condition(corrupt_ppm=fault.probability)


def _directions(world: World, fault: settings.LinkFault) -> list[Link]:
    there, back = (fault.source, fault.target), (fault.target, fault.source)
    return [link for link in ((there,) if fault.one_way else (there, back)) if world.network.graph.has_edge(*link)]


# --- several at once --------------------------------------------------------------------------------------------------


def partition(world: World, strike: Strike, fault: settings.Partition) -> Process:
    """Groups of machines do not reach each other; after `lasts` they do."""
    ranks = tuple(rank for group in fault.groups for end in group if world.has(end) for rank in world.ranks(end))
    world.note(strike, struck(fault), ranks)
    world.part(strike, fault.groups)
    if fault.lasts is not None:
        yield world.moment(strike, fault.lasts, matters=True)
        world.heal(strike, fault.groups)
        world.note_end(strike)


def switch_down(world: World, strike: Strike, fault: settings.SwitchDown) -> Process:
    """A switch dies with all under it; after `restart_after` it is back, and so are the machines."""
    graph = world.network.graph
    links = [link for link in graph.edges if fault.switch in link]
    under = [end for end in graph.successors(fault.switch) if world.has(end) and world.is_up(end)]
    world.note(strike, fault.switch, tuple(rank for machine in under for rank in world.ranks(machine)))
    world.degrade(strike, links, Condition(is_down=True))
    for machine in under:
        world.crash(machine, fault.notice)
    if fault.restart_after is not None:
        for machine in under:
            world.restart_moment(strike, machine, fault.restart_after)  # The run is not over before.
        # Also where no program begins anew: what waits for the links may flow then.
        yield world.moment(strike, fault.restart_after, matters=True)
        world.restore(strike, links)
        for machine in under:
            world.restart(machine)
        world.note_end(strike)


_KINDS: dict[type[settings.Settings], Callable[[World, Strike, Any], Process]] = {
    settings.Crash: crash,
    settings.Pause: pause,
    settings.SlowDown: slow_down,
    settings.LinkDown: _on_link,
    settings.LinkDegrade: _on_link,
    settings.Drop: _on_link,
    settings.Corrupt: _on_link,
    settings.Partition: partition,
    settings.SwitchDown: switch_down,
}
