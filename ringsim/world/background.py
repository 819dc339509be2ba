"""Background traffic: flows between machines that belong to nobody, and only take bandwidth from those that do.

What is not here: how flows share links (`sharing.py`).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import simpy

from ringsim.scenario import Background
from ringsim.world.clock import Phase
from ringsim.world.connection import Link, Route
from ringsim.world.network import Network
from ringsim.world.sharing import ENDLESS, NANO, Sharing, Task
from ringsim.world.traffic import acknowledged_bytes


class BackgroundTraffic:
    """All background flows of a run, and the bytes that they have sent on each link direction."""

    def __init__(self, network: Network, sharing: Sharing):
        self._network = network
        self._sharing = sharing
        self._under_way: dict[Task, Route] = {}
        self._sent: dict[Link, int] = {}

    def play(self, flow: Background) -> Generator[Any, Any, None]:
        """Send one flow, as a process of the world."""
        route = self._network.route(flow.source, flow.target)
        resources, weights = route.resources, route.weights
        if flow.rate is not None:
            # A resource of its own that is as fast as the flow may be.
            resources = (*resources, self._sharing.resource(flow.rate))
            weights = None if weights is None else (*weights, weights[0])
        # After everybody's messages and timers.
        key = ((1 << 40, 0, 0), flow.source, flow.target)
        for begin_ns, end_ns in _spells(flow):
            yield self._at(begin_ns, flow)
            self._network.announce(route.resources)
            task = Task(ENDLESS, resources, Phase.DEPART, key, _nothing, weights)
            self._under_way[task] = route
            self._sharing.begin(task)
            if end_ns is None:
                return
            yield self._at(end_ns, flow)
            self._end(task)

    def close_books(self) -> dict[Link, int]:
        """End what is under way, and return how many bytes were sent on each link direction."""
        for task in list(self._under_way):
            self._end(task)
        return self._sent

    def _at(self, when_ns: int, flow: Background) -> simpy.Event:
        clock = self._network.clock
        event = clock.event()
        clock.at(when_ns, Phase.WAKE, (1 << 40, flow.source, flow.target), lambda: _succeed(event), daemon=True)
        return event

    def _end(self, task: Task) -> None:
        route = self._under_way.pop(task)
        passed_bytes = self._sharing.stop(task) // (8 * NANO)
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
