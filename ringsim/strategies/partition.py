"""How a model's layers are cut into stages, one after another: so that the slowest is as fast as can be.

What is not here: who gets which stage (`pipeline.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate, pairwise

Layers = tuple[int, int]  # from, to: the last one is not in it


def balanced(flop: Sequence[int], replicas: Sequence[int]) -> list[Layers]:
    """Return the cut of layers with this much work into stages whose slowest takes the least (dynamic programming).

    replicas: how many workers share each stage's work. No stage is empty. Of several cuts that are as good, it is the
    one whose first stages are the shortest.

    >>> balanced([3, 1, 1, 1, 4], replicas=[1, 1, 1])
    [(0, 1), (1, 4), (4, 5)]
    >>> balanced([3, 1, 1, 1, 4], replicas=[1, 2])
    [(0, 1), (1, 5)]
    """
    stages, count, common = len(replicas), len(flop), math.lcm(*replicas)
    assert 1 <= stages <= count, f"{count} layers do not make {stages} stages"
    before = [0, *accumulate(flop)]

    def work(stage: int, start: int, end: int) -> int:
        return (before[end] - before[start]) * (common // replicas[stage])

    # slowest[k][i]: of the best cut of the layers from i on into stages k, k + 1, ..., for as many i as leave enough.
    slowest = {stages - 1: [work(stages - 1, start, count) for start in range(count)]}
    for stage in range(stages - 2, -1, -1):
        ends = count - (stages - 1 - stage)  # the next stages need a layer each
        slowest[stage] = [
            min(max(work(stage, start, end), slowest[stage + 1][end]) for end in range(start + 1, ends + 1))
            for start in range(ends)
        ]
    cuts, best = [0], slowest[0][0]
    for stage in range(stages - 1):
        start = cuts[-1]
        ends = count - (stages - 1 - stage)
        cuts.append(
            next(
                end
                for end in range(start + 1, ends + 1)
                if max(work(stage, start, end), slowest[stage + 1][end]) <= best
            )
        )
    return list(pairwise([*cuts, count]))


def by_hand(sizes: Sequence[int]) -> list[Layers]:
    """Return the cut into stages of so many layers.

    >>> by_hand([1, 2, 1])
    [(0, 1), (1, 3), (3, 4)]
    """
    return list(pairwise([0, *accumulate(sizes)]))
