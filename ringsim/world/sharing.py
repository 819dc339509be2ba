"""Max-min fair sharing of links and processors, exact at integer nanoseconds.

A *task* is an amount of something (bits of a message, FLOP of a computation) that must pass through all resources of
its route at once. Resources that several tasks want are shared max-min fairly: nobody's rate can grow but by taking
from somebody whose rate is no greater (Bertsekas and Gallager, Data Networks, section 6.5.2; progressive filling).

All in integers: a share is a pair (capacity, number of tasks), so that N tasks on a link of C finish exactly at
ceil(N * amount / C); what a tighter bottleneck leaves of a link is rounded down to whole units a second; an amount is
counted in 1e-9 units, because one unit a second is one such in a nanosecond. Changes at one instant are settled once,
and only tasks that are linked to a change by shared resources are looked at.

What is not here: what a task means, and routes (`network.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ringsim.world.clock import Clock, Entry, Phase

NANO = 10**9

Share = tuple[int, int]


def max_min_shares(routes: Mapping[Any, Sequence[int]], capacity: Sequence[int]) -> dict[Any, Share]:
    """Return each task's rate as (capacity, n), meaning capacity / n units a second, by progressive filling.

    `routes` gives each task's resources; `capacity` is indexed by resource.

    >>> max_min_shares({"a": [0], "b": [0, 1], "c": [1]}, [10, 100])
    {'a': (10, 2), 'b': (10, 2), 'c': (95, 1)}
    """
    waiting: dict[int, dict[Any, None]] = {}
    for task, route in routes.items():
        for resource in route:
            waiting.setdefault(resource, {})[task] = None
    left = {resource: capacity[resource] for resource in waiting}
    shares: dict[Any, Share] = {}
    while waiting:
        # Resources that are equally tight are fixed together: one after another, rounding would favour the first.
        fixed: dict[Any, Share] = {}
        for resource in _tightest(waiting, left):
            fixed.update(dict.fromkeys(waiting[resource], (left[resource], len(waiting[resource]))))
        shares.update(fixed)
        rate, count = next(iter(fixed.values()))
        for resource, lost in _without(waiting, fixed, routes).items():
            # Rounded up here, so that what is left is rounded down; one unit a second always stays.
            left[resource] = max(1, left[resource] - -(-lost * rate // count))
    return {task: shares[task] for task in routes}


def _tightest(waiting: Mapping[int, Mapping[Any, None]], left: Mapping[int, int]) -> list[int]:
    """Return the resources that give each of their tasks least, by number."""
    best: list[int] = []
    for resource in sorted(waiting):
        here, there = left[resource], left[best[0]] if best else 0
        difference = here * len(waiting[best[0]]) - there * len(waiting[resource]) if best else 0
        if not best or difference == 0:
            best.append(resource)
        elif difference < 0:
            best = [resource]
    return best


def _without(
    waiting: dict[int, dict[Any, None]], fixed: Iterable[Any], routes: Mapping[Any, Sequence[int]]
) -> dict[int, int]:
    """Take the tasks whose rate is now fixed off their resources; return how many each resource lost."""
    counts: dict[int, int] = {}
    for task in fixed:
        for resource in routes[task]:
            del waiting[resource][task]
            counts[resource] = counts.get(resource, 0) + 1
            if not waiting[resource]:
                del waiting[resource]
    return counts


class Task:
    """An amount under way. `finished` is called once, in `phase`, when the last of it has passed."""

    __slots__ = ("_entry", "amount", "finished", "key", "phase", "remaining", "route", "share", "since_ns")

    def __init__(
        self, amount: int, route: Sequence[int], phase: Phase, key: tuple[Any, ...], finished: Callable[[], None]
    ):
        self.amount = amount  # in 1e-9 units
        self.remaining = amount
        self.route = route
        self.phase = phase
        self.key = key
        self.finished = finished
        self.share: Share | None = None
        self.since_ns = 0  # `remaining` is as of this time
        self._entry: Entry | None = None


class Sharing:
    """All resources and the tasks on them.

    >>> clock = Clock()
    >>> sharing = Sharing(clock)
    >>> link = sharing.resource(8)
    >>> for name in "ab":
    ...     sharing.begin(Task(8 * NANO, [link], Phase.DEPART, (name,), lambda name=name: print(name, clock.now_ns)))
    >>> clock.run(is_over=lambda: False, limit_ns=10 * NANO)
    a 2000000000
    b 2000000000
    'dry'
    """

    def __init__(self, clock: Clock):
        self._clock = clock
        self._capacity: list[int] = []
        self._tasks: list[dict[Task, None]] = []
        self._changed: dict[int, None] = {}

    def resource(self, capacity: int) -> int:
        """Add a resource of `capacity` units a second; return its number."""
        self._capacity.append(capacity)
        self._tasks.append({})
        return len(self._capacity) - 1

    def begin(self, task: Task) -> None:
        """Let a task take its share from this instant on."""
        task.since_ns = self._clock.now_ns
        if not task.remaining:
            task._entry = self._clock.at(task.since_ns, task.phase, task.key, task.finished)
            return
        for resource in task.route:
            self._tasks[resource][task] = None
        self._touch(task.route)

    def stop(self, task: Task) -> int:
        """Take a task off, finished or not; return what had passed of it, in 1e-9 units."""
        self._advance(task)
        self._clock.cancel(task._entry)
        self._leave(task)
        return task.amount - task.remaining

    def _leave(self, task: Task) -> None:
        for resource in task.route:
            self._tasks[resource].pop(task, None)
        if any(self._tasks[resource] for resource in task.route):
            self._touch(task.route)  # Somebody is left, who may go faster now.

    def _touch(self, resources: Iterable[int]) -> None:
        if not self._changed:
            self._clock.at(self._clock.now_ns, Phase.SETTLE, (), self._settle)
        self._changed.update(dict.fromkeys(resources))

    def _settle(self) -> None:
        routes = {task: task.route for task in self._touched_tasks()}
        self._changed.clear()
        for task, share in self._shares(routes).items():
            if task.share is None or task.share[0] * share[1] != share[0] * task.share[1]:
                self._advance(task)
                task.share = share
                self._schedule_end(task)

    def _touched_tasks(self) -> list[Task]:
        """Return every task that a change can reach by way of shared resources."""
        resources = list(self._changed)
        seen = dict.fromkeys(resources)
        tasks: dict[Task, None] = {}
        while resources:
            for task in self._tasks[resources.pop()]:
                if task not in tasks:
                    tasks[task] = None
                    fresh = [resource for resource in task.route if resource not in seen]
                    seen.update(dict.fromkeys(fresh))
                    resources.extend(fresh)
        return list(tasks)

    def _shares(self, routes: dict[Task, Sequence[int]]) -> dict[Task, Share]:
        if len(routes) == 1:
            ((task, route),) = routes.items()
            return {task: (min(self._capacity[resource] for resource in route), 1)}
        return max_min_shares(routes, self._capacity)

    def _advance(self, task: Task) -> None:
        """Bring `remaining` up to this instant."""
        now_ns = self._clock.now_ns
        if task.share is not None:
            capacity, count = task.share
            task.remaining = max(0, task.remaining - (now_ns - task.since_ns) * capacity // count)
        task.since_ns = now_ns

    def _schedule_end(self, task: Task) -> None:
        assert task.share is not None
        capacity, count = task.share
        self._clock.cancel(task._entry)
        end_ns = task.since_ns - (-task.remaining * count // capacity)
        task._entry = self._clock.at(end_ns, task.phase, task.key, lambda: self._end(task))

    def _end(self, task: Task) -> None:
        task.remaining = 0
        self._leave(task)
        task.finished()
