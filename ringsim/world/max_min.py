"""Max-min fair shares by progressive filling (Bertsekas and Gallager, Data Networks, section 6.5.2).

All rates grow together until a resource is full; its tasks are fixed, and the others grow on. In integers: a share is
(capacity, n), meaning capacity / n units a second; what a full resource's tasks leave of another one is rounded down
to whole units a second. What is not here: when shares change (`sharing.py`).
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

Share = tuple[int, int]

# A level is compared as an integer: two different fractions with denominators below 2**32 differ by more than 2**-64.
_SCALE = 64


def same(one: Share, other: Share) -> bool:
    """Say whether two shares are one rate.

    >>> same((10, 2), (5, 1))
    True
    """
    return one == other or one[0] * other[1] == other[0] * one[1]


def max_min_shares(
    routes: Mapping[Any, Sequence[int]],
    capacity: Sequence[int],
    weights: Mapping[Any, Sequence[int]] | None = None,
    users: Mapping[int, Collection[Any]] | None = None,
) -> dict[Any, Share]:
    """Return each task's rate as (capacity, n), meaning capacity / n units a second.

    `routes` gives each task's resources; `capacity` is indexed by resource. A task with `weights` takes, of each
    resource on its route, so much for every unit of its level; its rate is the first of them times the level. `users`:
    who is on each resource, for those who have it at hand.

    >>> max_min_shares({"a": [0], "b": [0, 1], "c": [1]}, [10, 100])
    {'a': (10, 2), 'b': (10, 2), 'c': (95, 1)}
    >>> max_min_shares({"data": [0, 1], "back": [1, 0]}, [1_600, 1_600], {"data": [15, 1], "back": [15, 1]})
    {'data': (24000, 16), 'back': (24000, 16)}
    """
    weights = weights or {}
    users = users or _users(routes)
    total = (
        _weight_on(routes, routes, weights) if weights else {resource: len(on) for resource, on in users.items() if on}
    )
    left = {resource: capacity[resource] for resource in total}
    level_of = {resource: (left[resource] << _SCALE) // weight for resource, weight in total.items()}
    # Entries whose level is not the resource's any more are skipped when they come up.
    heap = [(level, resource) for resource, level in level_of.items()]
    heapq.heapify(heap)
    shares: dict[Any, Share] = {}
    while len(shares) < len(routes):
        # Resources that are equally tight are fixed together: one after another, rounding would favour the first.
        tightest = _tightest(heap, level_of)
        if not tightest:
            continue
        share = left[tightest[0]], total[tightest[0]]
        fixed = [task for resource in tightest for task in users[resource] if task not in shares]
        shares.update(dict.fromkeys(fixed, share))
        for resource, lost in _weight_on(dict.fromkeys(fixed), routes, weights).items():
            total[resource] -= lost
            if total[resource]:
                # Rounded up here, so that what is left is rounded down; one unit a second always stays.
                rest = left[resource] = max(1, left[resource] - -(-lost * share[0] // share[1]))
                level = level_of[resource] = (rest << _SCALE) // total[resource]
                heapq.heappush(heap, (level, resource))
            else:
                del level_of[resource]
    return {
        task: (shares[task][0] * weights[task][0], shares[task][1]) if task in weights else shares[task]
        for task in routes
    }


def _users(routes: Mapping[Any, Sequence[int]]) -> dict[int, list[Any]]:
    users: dict[int, list[Any]] = {}
    for task, route in routes.items():
        for resource in route:
            users.setdefault(resource, []).append(task)
    return users


def _weight_on(
    tasks: Iterable[Any], routes: Mapping[Any, Sequence[int]], weights: Mapping[Any, Sequence[int]]
) -> dict[int, int]:
    """Return how much weight these tasks have on each resource."""
    if not weights:
        return Counter(resource for task in tasks for resource in routes[task])
    total: dict[int, int] = {}
    for task in tasks:
        for resource, weight in zip(routes[task], weights.get(task) or (1,) * len(routes[task]), strict=True):
            total[resource] = total.get(resource, 0) + weight
    return total


def _tightest(heap: list[tuple[int, int]], level_of: Mapping[int, int]) -> list[int]:
    """Take from the heap the resources that give each of their tasks least; [] if what comes up is out of date."""
    level = heap[0][0]
    found: dict[int, None] = {}
    while heap and heap[0][0] == level:
        _, resource = heapq.heappop(heap)
        if level_of.get(resource) == level:
            found[resource] = None
    return list(found)
