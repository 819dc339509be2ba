"""Background traffic: flows between machines that belong to nobody, and only take bandwidth from those that do.

What is not here: how flows share links (`sharing.py`).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import simpy

from ringsim.scenario import Background
from ringsim.world.clock import Phase
from ringsim.world.connection import Link, Route
from ringsim.world.network import Network
from ringsim.world.sharing import ENDLESS, NANO, Sharing, Task
from ringsim.world.traffic import acknowledged_bytes


@dataclass(eq=False)
class _Spell:
    """A flow from when it begins to when it ends. `task`: it flows; `limit`: the resource that holds it to its rate."""

    flow: Background
    limit: int | None
    route: Route
    task: Task | None = None


class BackgroundTraffic:
    """All background flows of a run, and the bytes that they have sent on each link direction."""

    def __init__(self, network: Network, sharing: Sharing):
        self._network = network
        self._sharing = sharing
        self._under_way: list[_Spell] = []
        self._sent: dict[Link, int] = {}

    def play(self, flow: Background) -> Generator[Any, Any, None]:
        """Send one flow, as a process of the world."""
        # A resource of its own that is as fast as the flow may be.
        limit = None if flow.rate is None else self._sharing.resource(flow.rate)
        for begin_ns, end_ns in _spells(flow):
            yield self._at(begin_ns, flow)
            spell = _Spell(flow, limit, self._network.route(flow.source, flow.target))
            self._under_way.append(spell)
            self._begin(spell)
            if end_ns is None:
                return
            yield self._at(end_ns, flow)
            self._end(spell)
            self._under_way.remove(spell)

    def look(self) -> None:
        """Links are not what they were: flows stop where no way is open, and begin where one is again."""
        for spell in self._under_way:
            route = self._network.route(spell.flow.source, spell.flow.target)
            if route.is_open != (spell.task is not None):
                self._end(spell)
                spell.route = route
                self._begin(spell)

    def close_books(self) -> dict[Link, int]:
        """End what is under way, and return how many bytes were sent on each link direction."""
        for spell in self._under_way:
            self._end(spell)
        return self._sent

    def _begin(self, spell: _Spell) -> None:
        route = spell.route
        if not route.is_open:
            return
        self._network.announce(route.resources)
        resources, weights = route.resources, route.weights
        if spell.limit is not None:
            resources = (*resources, spell.limit)
            weights = None if weights is None else (*weights, weights[0])
        # After everybody's messages and timers.
        key = ((1 << 40, 0, 0), spell.flow.source, spell.flow.target)
        spell.task = Task(ENDLESS, resources, Phase.DEPART, key, _nothing, weights)
        self._sharing.begin(spell.task)

    def _at(self, when_ns: int, flow: Background) -> simpy.Event:
        clock = self._network.clock
        event = clock.event()
        clock.at(when_ns, Phase.WAKE, (1 << 40, flow.source, flow.target), lambda: _succeed(event), daemon=True)
        return event

    def _end(self, spell: _Spell) -> None:
        if spell.task is None:
            return
        route, passed_bytes = spell.route, self._sharing.stop(spell.task) // (8 * NANO)
        spell.task = None
        for link in route.links:
            self._sent[link] = self._sent.get(link, 0) + passed_bytes
        for link in route.back:
            self._sent[link] = self._sent.get(link, 0) + acknowledged_bytes(route, passed_bytes)


def _spells(flow: Background) -> Iterator[tuple[int, int | None]]:
    """Yield when a background flow begins and ends, again and again; None: never."""
    begin_ns = flow.start
    while flow.stop is None or begin_ns < flow.stop:
        if flow.burst is None:
            yield begin_ns, flow.stop
            return
        end_ns = begin_ns + flow.burst
        yield begin_ns, end_ns if flow.stop is None else min(end_ns, flow.stop)
        begin_ns = end_ns + (flow.pause or 0)


def _succeed(event: simpy.Event) -> None:
    event.succeed()


def _nothing() -> None:
    """A background flow has no end that anybody waits for."""
