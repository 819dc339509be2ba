"""The store: one durable place that every machine reaches, and that no fault touches.

    save   ── latency ── bytes, shared max-min with everybody who saves or loads ── the new version replaces the old
    load   ── latency ── bytes, the same way ── the version that was there when its first byte came

A save is atomic: until its last byte is there, and if its machine dies before, the previous version stands. The way to
the store is its own and takes nothing of the network's links. What is not here: what is saved, and when
(`strategies/`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import simpy

from ringsim.node import Operation
from ringsim.scenario import Storage
from ringsim.world.clock import Clock, Phase
from ringsim.world.sharing import NANO, Sharing, Task

_BITS = 8


class _Version(NamedTuple):
    payload: Any
    size_bytes: int
    token: int


# Does an action now, or when the waiter no longer stands still.
Tell = Callable[[Callable[[], None]], None]


def _now(action: Callable[[], None]) -> None:
    action()


class Store:
    """What is saved, by name. `key` says who acts first of those who are done at one instant.

    >>> clock = Clock()
    >>> store = Store(clock, Sharing(clock), Storage(bandwidth="8 bit/s", latency="1 s"))
    >>> def program():
    ...     yield from store.save("model", 42, size_bytes=3, key=(0,))
    ...     print(clock.now_ns)
    ...     print((yield from store.load("model", key=(0,))), clock.now_ns)
    ...     print((yield from store.load("nothing", key=(0,))), clock.now_ns)
    >>> _ = clock.start(program())
    >>> clock.run(is_over=lambda: False, limit_ns=100 * NANO)
    4000000000
    (42, 3) 8000000000
    (None, None) 9000000000
    'dry'
    """

    def __init__(self, clock: Clock, sharing: Sharing, settings: Storage):
        self._clock = clock
        self._sharing = sharing
        self._latency_ns = settings.latency
        self._resource = sharing.resource(settings.bandwidth)
        self._versions: dict[str, _Version] = {}

    def save(
        self,
        name: str,
        payload: Any,
        size_bytes: int,
        key: tuple[Any, ...],
        token: int = 0,
        tell: Tell = _now,
        done: Callable[[bool], None] = lambda _kept: None,
    ) -> Operation[None]:
        """Replace what is saved under `name`, once all of it is there, unless that has a higher `token`.

        Then `done` is called with whether it was kept. `tell` says when the waiter hears of it: one that stands still
        does so later.
        """
        version = _Version(payload, size_bytes, token)

        def replace() -> None:
            # Here and not in the process that waits: who is last at one instant is for the agenda to say.
            before = self._versions.get(name)
            is_kept = before is None or before.token <= token
            if is_kept:
                self._versions[name] = version
            done(is_kept)

        yield from self._wait(key, tell)
        yield from self._transfer(size_bytes, key, replace, tell)

    def load(self, name: str, key: tuple[Any, ...], tell: Tell = _now) -> Operation[tuple[Any, int | None]]:
        """Return what is saved under `name` and its size in bytes, or (None, None) if nothing is."""
        yield from self._wait(key, tell)
        version = self._versions.get(name)
        if version is None:
            return None, None
        yield from self._transfer(version.size_bytes, key, lambda: None, tell)
        return version.payload, version.size_bytes

    def _wait(self, key: tuple[Any, ...], tell: Tell) -> Operation[None]:
        done = self._clock.event()
        over = lambda: tell(lambda: _succeed(done))  # noqa: E731
        timer = self._clock.at(self._clock.now_ns + self._latency_ns, Phase.WAKE, key, over)
        try:
            yield done
        finally:
            self._clock.cancel(timer)

    def _transfer(
        self, size_bytes: int, key: tuple[Any, ...], finish: Callable[[], None], tell: Tell
    ) -> Operation[None]:
        done = self._clock.event()

        def finished() -> None:
            finish()
            tell(lambda: _succeed(done))

        task = Task(size_bytes * _BITS * NANO, [self._resource], Phase.WAKE, key, finished)
        self._sharing.begin(task)
        try:
            yield done
        finally:
            if not done.triggered:
                self._sharing.stop(task)


def _succeed(event: simpy.Event) -> None:
    event.succeed()
