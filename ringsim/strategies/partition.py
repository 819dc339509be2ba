"""How a model's layers are cut into stages, one after another: so that the slowest is as fast as can be.

What is not here: who gets which stage (`pipeline.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

Layers = tuple[int, int]  # from, to: the last one is not in it


def balanced(flop: Sequence[int], stages: int) -> list[Layers]:
    """Return the cut of layers with this much work into stages whose largest has the least (dynamic programming).

    No stage is empty. Of several cuts that are as good, it is the one whose first stages are the shortest.

    >>> balanced([3, 1, 1, 1, 4], stages=3)
    [(0, 1), (1, 4), (4, 5)]
    """
    assert 1 <= stages <= len(flop), f"{len(flop)} layers do not make {stages} stages"
    before, count = [0, *accumulate(flop)], len(flop)
    # best[k][i]: the largest stage of the best cut of the layers from i on into k stages.
    best = [[0] * (count + 1), [before[count] - before[start] for start in range(count + 1)]]
    for left in range(2, stages + 1):
        best.append(
            [
                min(
                    (
                        max(before[end] - before[start], best[left - 1][end])
                        for end in range(start + 1, count - left + 2)
                    ),
                    default=before[count],
                )
                for start in range(count + 1)
            ]
        )
    cuts = [0]
    for left in range(stages, 1, -1):
        start = cuts[-1]
        ends = range(start + 1, count - left + 2)
        cuts.append(
            next(end for end in ends if max(before[end] - before[start], best[left - 1][end]) <= best[stages][0])
        )
    return list(pairwise([*cuts, count]))


def by_hand(sizes: Sequence[int]) -> list[Layers]:
    """Return the cut into stages of so many layers.

    >>> by_hand([1, 2, 1])
    [(0, 1), (1, 3), (3, 4)]
    """
    return list(pairwise([0, *accumulate(sizes)]))
