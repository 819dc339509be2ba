"""Max-min fair sharing of links and processors, exact at integer nanoseconds.

A *task* is an amount of something (bits of a message, FLOP of a computation) that must pass through all resources of
its route at once. Resources that several tasks want are shared max-min fairly: nobody's rate can grow but by taking
from somebody whose rate is no greater (`max_min.py`).

All in integers: a share is a pair (capacity, number of tasks), so that N tasks on a link of C finish exactly at
ceil(N * amount / C); an amount is counted in 1e-9 units, because one unit a second is one such in a nanosecond; what
is left of a task is worked out only when its rate changes. Changes at one instant are settled once. The work follows
what changes:

    alone      nobody else on its route: its end is known when it begins, and nothing is settled
    occupant   alone, and it sees to its end by itself: most messages
    in a flock tasks of one rate: they are sped up and slowed down together, and only the first end is waited for
    one link   tasks that meet on one resource and nowhere else: a change costs the same however many they are
    elsewhere  the rates of all tasks that shared resources connect to the change are worked out anew

What is not here: what a task means, and routes (`network.py`).
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from ringsim.world.clock import Clock, Entry, Phase
from ringsim.world.max_min import Share, max_min_shares, same

NANO = 10**9

# So many units a second that nothing is ever slowed by it, and so much that it is never done.
ENDLESS = 1 << 200


class Task:
    """An amount under way. `finished` is called once, in `phase`, when the last of it has passed.

    route: the resources it takes. weights: how much of each for every unit of a level (default: one); the amount is
    counted in units of the first. A `daemon` does not keep a run going by itself.
    """

    __slots__ = (
        "amount",
        "daemon",
        "entry",
        "finished",
        "flock",
        "key",
        "narrowest",
        "phase",
        "remaining",
        "route",
        "share",
        "since_ns",
        "target",
        "weights",
    )

    def __init__(
        self,
        amount: int,
        route: Sequence[int],
        phase: Phase,
        key: tuple[Any, ...],
        finished: Callable[[], None],
        weights: Sequence[int] | None = None,
    ):
        self.amount = amount  # in 1e-9 units
        self.route = route
        self.phase = phase
        self.key = key
        self.finished = finished
        self.weights = weights
        self.daemon = False
        self.narrowest = 0  # the least capacity on its route, once it is there
        self.entry: Entry | None = None  # its end, while it is in no flock
        self.share: Share | None = None  # while it is in no flock
        self.remaining = amount  # ... as of `since_ns`
        self.since_ns = 0
        self.flock: _Flock | None = None
        self.target = 0  # in its flock: what must have passed in all when this task is done


class Occupant(Protocol):
    """What has its whole route to itself, and sees to its own end."""

    left_ns: int

    def displaced(self) -> Task:
        """Somebody comes to its route: return the task that it is from now on, as of when it began."""
        ...


# A task's place in a flock: its target, its key, a number that tells equal ones apart, and the task.
_Place = tuple[int, tuple[Any, ...], int, Task]


class _Flock:
    """Tasks of one rate. `passed` counts what has passed of each since the flock was made."""

    __slots__ = ("daemons", "entry", "heap", "passed", "share", "since_ns", "size")

    def __init__(self, share: Share, since_ns: int):
        self.share = share
        self.since_ns = since_ns
        self.passed = 0
        self.size = 0
        self.daemons = 0  # of them
        self.heap: list[_Place] = []  # by target; some may have left
        self.entry: Entry | None = None

    def passed_until(self, now_ns: int) -> int:
        capacity, count = self.share
        return self.passed + (now_ns - self.since_ns) * capacity // count

    def change(self, share: Share, now_ns: int) -> None:
        """Go on at another rate."""
        self.passed = self.passed_until(now_ns)
        self.since_ns, self.share = now_ns, share


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
        self._occupant: list[Occupant | None] = []  # by resource; it may be done by now
        self._narrowest: list[int] = []  # by resource: no task on it has a tighter one than this on its route
        self._flock_at: dict[int, _Flock] = {}  # by resource: tasks that meet there and nowhere else
        self._changed: dict[int, None] = {}
        self._loose: dict[Task, None] = {}  # in no flock, and not alone any more
        self._order: Iterator[int] = itertools.count()

    def resource(self, capacity: int) -> int:
        """Add a resource of `capacity` units a second; return its number."""
        self._capacity.append(capacity)
        self._tasks.append({})
        self._occupant.append(None)
        self._narrowest.append(capacity)
        return len(self._capacity) - 1

    def change(self, resource: int, capacity: int) -> None:
        """Give a resource another capacity from this instant on. Whose rate that changes must have been `disclosed`."""
        self._capacity[resource] = self._narrowest[resource] = capacity
        self._flock_at.pop(resource, None)
        for task in self._tasks[resource]:
            task.narrowest = min(self._capacity[other] for other in task.route)
            for other in task.route:
                self._narrowest[other] = min(self._narrowest[other], task.narrowest)
            if task.flock is None:
                self._loose[task] = None
        if self._tasks[resource]:
            self._touch([resource])

    def disclose(self, resources: Iterable[int]) -> None:
        """Make who has some of these resources to itself a task like any other, because they are about to change."""
        for resource in resources:
            occupant = self._occupied_by(resource)
            if occupant is not None:
                self._displace(occupant)
                self._touch([resource])

    def is_idle(self, resource: int) -> bool:
        """Say whether nothing is on a resource."""
        return not self._tasks[resource] and self._occupied_by(resource) is None

    def occupy(self, resources: Sequence[int], occupant: Occupant) -> bool:
        """Give idle resources to somebody who knows when it will be done; False if they are not idle.

        Nothing is to be done when it is: its `left_ns` says so to whoever comes next.
        """
        now_ns = self._clock.now_ns
        for resource in resources:
            if self._tasks[resource]:
                return False
            before = self._occupant[resource]
            if before is not None and before.left_ns >= now_ns and self._occupied_by(resource) is not None:
                return False
        for resource in resources:
            self._occupant[resource] = occupant
        return True

    def vacate(self, resources: Sequence[int]) -> None:
        """Take an occupant off before it is done."""
        for resource in resources:
            self._occupant[resource] = None

    def begin(self, task: Task) -> None:
        """Let a task take its share from this instant on."""
        task.since_ns = self._clock.now_ns
        if not task.amount:
            self._go_alone(task, (1, 1))
            return
        for resource in task.route:
            occupant = self._occupied_by(resource)
            if occupant is not None:
                self._displace(occupant)
        alone = not any(self._tasks[resource] for resource in task.route)
        self._come(task)
        if not alone:
            self._loose[task] = None
            self._touch(task.route)
        elif task.weights is None:
            self._go_alone(task, (task.narrowest, 1))
        else:
            shares = max_min_shares({task: task.route}, self._capacity, {task: task.weights})
            self._go_alone(task, shares[task])

    def stop(self, task: Task) -> int:
        """Take a task off, finished or not; return what had passed of it, in 1e-9 units."""
        self._part(task)
        self._leave(task)
        return task.amount - task.remaining

    def rewound(self, resources: Iterable[int]) -> Callable[[], None]:
        """Put aside what is not settled yet, and what is now on `resources`, while the clock is rewound.

        Call what is returned when it is back. What has come to these resources since has come when whatever is played
        again had no more use for them, so the two do not meet.
        """
        changed, loose = self._changed, self._loose
        aside = {
            resource: (self._tasks[resource], self._occupant[resource], self._narrowest[resource])
            for resource in resources
        }
        self._changed, self._loose = {}, {}
        for resource in aside:
            self._tasks[resource], self._occupant[resource] = {}, None

        def back() -> None:
            self._changed, self._loose = {**changed, **self._changed}, {**loose, **self._loose}
            for resource, (tasks, occupant, narrowest) in aside.items():
                if tasks or not (occupant is None or self._clock.has_passed(occupant.left_ns, Phase.DEPART)):
                    assert self.is_idle(resource), "what is played again has left this resource by now"
                    self._tasks[resource], self._occupant[resource] = tasks, occupant
                    self._narrowest[resource] = narrowest

        return back

    # --- coming and being alone ---------------------------------------------------------------------------------------

    def _occupied_by(self, resource: int) -> Occupant | None:
        occupant = self._occupant[resource]
        if occupant is None or self._clock.has_passed(occupant.left_ns, Phase.DEPART):
            return None
        return occupant

    def _displace(self, occupant: Occupant) -> None:
        """Make an occupant a task like any other. It has been alone until now, and this instant settles the rest."""
        task = occupant.displaced()
        self.vacate(task.route)
        self._come(task)
        task.share = (task.narrowest, 1)
        self._loose[task] = None

    def _come(self, task: Task) -> None:
        narrowest = task.narrowest = min(self._capacity[resource] for resource in task.route)
        for resource in task.route:
            tasks = self._tasks[resource]
            if not tasks or narrowest < self._narrowest[resource]:
                self._narrowest[resource] = narrowest
            if len(tasks) == 1:
                (other,) = tasks
                if other.flock is None:
                    self._loose[other] = None
            tasks[task] = None

    def _go_alone(self, task: Task, share: Share) -> None:
        capacity, count = task.share = share
        end_ns = task.since_ns - (-task.remaining * count // capacity)
        if task.amount < ENDLESS:
            end = lambda: self._end_alone(task)  # noqa: E731
            task.entry = self._clock.at(end_ns, task.phase, task.key, end, daemon=task.daemon)

    def _end_alone(self, task: Task) -> None:
        task.remaining = 0
        self._leave(task)
        task.finished()

    def _part(self, task: Task) -> None:
        """Take a task out of its flock, or of its solitude, with what is left of it at this instant."""
        now_ns, flock = self._clock.now_ns, task.flock
        if flock is not None:
            task.remaining = max(0, task.target - flock.passed_until(now_ns))
            task.flock = None
            flock.size -= 1
            flock.daemons -= task.daemon
        else:
            if task.share is not None:
                capacity, count = task.share
                task.remaining = max(0, task.remaining - (now_ns - task.since_ns) * capacity // count)
            self._clock.cancel(task.entry)
        task.since_ns, task.share = now_ns, None

    # --- changes ------------------------------------------------------------------------------------------------------

    def _leave(self, task: Task) -> None:
        """Take a task off all its resources; who is left may go faster now."""
        for resource in task.route:
            self._tasks[resource].pop(task, None)
        self._loose.pop(task, None)
        if any(self._tasks[resource] for resource in task.route):
            self._touch(task.route)

    def _touch(self, resources: Iterable[int]) -> None:
        if not self._changed:
            self._clock.at(self._clock.now_ns, Phase.SETTLE, (), self._settle)
        self._changed.update(dict.fromkeys(resources))

    def _settle(self) -> None:
        busy = [resource for resource in self._changed if not self.is_idle(resource)]
        loose = list(self._loose)
        self._changed, self._loose = {}, {}
        if self._all_meet_at_one(busy, loose):
            return
        limits, resources = self._touched(busy)
        for resource in resources:
            self._flock_at.pop(resource, None)
        weights = {task: task.weights for task in limits if task.weights is not None}
        users = {resource: self._tasks[resource] for resource in resources}
        shares = max_min_shares(limits, self._capacity, weights, users)
        shared = [resource for resource in resources if len(self._tasks[resource]) > 1]
        self._assign(shares, shared[0] if len(shared) == 1 and not weights else None)

    def _all_meet_at_one(self, busy: Sequence[int], loose: Sequence[Task]) -> bool:
        """Share out one resource, if its tasks meet there and nowhere else, and nothing else has changed.

        Nobody looks at those who were there before: had one of them met somebody elsewhere, that would have changed.
        """
        shared = [resource for resource in busy if len(self._tasks[resource]) > 1]
        if len(shared) != 1:
            return False
        (resource,) = shared
        flock, here = self._flock_at.get(resource), self._tasks[resource]
        share = (self._capacity[resource], len(here))
        if flock is None or flock.size + len(loose) != len(here) or self._narrowest[resource] * share[1] < share[0]:
            return False
        if any(task.weights is not None or task not in here for task in loose):
            return False
        if any(task not in here for other in busy if other != resource for task in self._tasks[other]):
            return False
        flock.change(share, self._clock.now_ns)
        for task in loose:
            self._part(task)
            self._join(task, flock)
        self._schedule(flock)
        return True

    def _touched(self, busy: Sequence[int]) -> tuple[dict[Task, Sequence[int]], list[int]]:
        """Return every task that a change can reach by way of shared resources, each with its limits, and these."""
        resources = list(busy)
        seen = dict.fromkeys(resources)
        limits: dict[Task, Sequence[int]] = {}
        while resources:
            for task in self._tasks[resources.pop()]:
                if task not in limits:
                    limits[task] = self._limits(task)
                    for other in limits[task]:
                        if other not in seen:
                            seen[other] = None
                            resources.append(other)
        return limits, list(seen)

    def _limits(self, task: Task) -> Sequence[int]:
        """Return the resources that can hold a task up.

        What it has to itself can only if it is narrower than all that it shares: of those, no more than that passes.
        """
        if task.weights is not None:
            return task.route
        everybody, capacity = self._tasks, self._capacity
        shared = [resource for resource in task.route if len(everybody[resource]) > 1]
        for resource in shared:
            if capacity[resource] == task.narrowest:
                return shared
        return [*shared, next(resource for resource in task.route if capacity[resource] == task.narrowest)]

    def _assign(self, shares: dict[Task, Share], resource: int | None) -> None:
        """Give tasks their rates. Those whose rate stays are left alone, and flocks stay together where they can."""
        now_ns = self._clock.now_ns
        fresh: dict[Share, _Flock] = {}
        flocks: dict[_Flock, list[Task]] = {}
        single: list[Task] = []
        for task in shares:
            if task.flock is None:
                single.append(task)
            else:
                flocks.setdefault(task.flock, []).append(task)
        for flock, members in flocks.items():
            wanted = shares[members[0]]
            if len(members) == flock.size and all(shares[task] == wanted for task in members):
                if not same(flock.share, wanted):
                    flock.change(wanted, now_ns)
                    fresh.setdefault(wanted, flock)
                    self._schedule(flock)
            else:
                single += [task for task in members if not same(flock.share, shares[task])]
        for task in single:
            self._move(task, shares[task], fresh)
        for flock in fresh.values():
            self._schedule(flock)
        if resource is not None:
            self._keep_together(resource)

    def _move(self, task: Task, share: Share, fresh: dict[Share, _Flock]) -> None:
        if task.share is not None and same(task.share, share):
            # It was alone and is as fast as before: its amount is not to be rounded now.
            flock = _Flock(task.share, task.since_ns)
            self._clock.cancel(task.entry)
            task.share = None
            self._join(task, flock)
            self._schedule(flock)
            return
        self._part(task)
        if share not in fresh:
            fresh[share] = _Flock(share, self._clock.now_ns)
        self._join(task, fresh[share])

    def _keep_together(self, resource: int) -> None:
        """Remember a flock that is all that is on a resource."""
        (first, *others) = self._tasks[resource]
        flock = first.flock
        if flock is not None and flock.size == len(others) + 1 and all(task.flock is flock for task in others):
            self._flock_at[resource] = flock

    # --- flocks -------------------------------------------------------------------------------------------------------

    def _join(self, task: Task, flock: _Flock) -> None:
        task.flock = flock
        task.target = flock.passed + task.remaining
        flock.size += 1
        flock.daemons += task.daemon
        heapq.heappush(flock.heap, (task.target, task.key, next(self._order), task))

    def _schedule(self, flock: _Flock) -> None:
        """Wait for the first of a flock to be done."""
        self._clock.cancel(flock.entry)
        while flock.heap and not _stands(flock.heap[0], flock):
            heapq.heappop(flock.heap)
        if flock.heap:
            target, key, _, task = flock.heap[0]
            if task.amount >= ENDLESS:
                return
            capacity, count = flock.share
            end_ns = flock.since_ns - (-(target - flock.passed) * count // capacity)
            end = lambda: self._end_first(flock)  # noqa: E731
            # Whoever is first, the others wait for it.
            daemon = flock.daemons == flock.size
            flock.entry = self._clock.at(end_ns, task.phase, key, end, daemon=daemon)

    def _end_first(self, flock: _Flock) -> None:
        passed = flock.passed_until(self._clock.now_ns)
        done = []
        while flock.heap and (flock.heap[0][0] <= passed or not _stands(flock.heap[0], flock)):
            place = heapq.heappop(flock.heap)
            if _stands(place, flock):
                task = place[3]
                done.append(task)
                task.flock, task.remaining = None, 0
                flock.size -= 1
                flock.daemons -= task.daemon
        self._schedule(flock)
        for task in done:
            self._leave(task)
        for task in done:
            task.finished()


def _stands(place: _Place, flock: _Flock) -> bool:
    """Say whether a task still has this place: it may have left the flock, and come back with more to wait for."""
    target, _, _, task = place
    return task.flock is flock and task.target == target
