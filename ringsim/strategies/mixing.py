"""Which workers are neighbours, and how much each counts in the other's mean.

    a ── b ── c     W = 2/3 1/3  0        weights of Metropolis and Hastings: 1 / (1 + the larger of the two degrees);
                        1/3 1/3 1/3       what is left of 1 is a worker's own (Xiao and Boyd 2004, section 4.2)
                         0  1/3 2/3

W is symmetric, its rows and columns add up to 1, and on a complete graph of N workers all of it is 1/N. What is not
here: who averages when (`dpsgd.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import combinations, pairwise

Edges = Iterable[tuple[str, str]]


def edges_of(graph: str, workers: Sequence[str]) -> list[tuple[str, str]]:
    """Return the pairs of neighbours in a graph of this kind: ring, line, star (round the first one), or full.

    >>> edges_of("ring", ["a", "b", "c", "d"])
    [('a', 'b'), ('b', 'c'), ('c', 'd'), ('d', 'a')]
    """
    first, *others = workers
    match graph:
        case "full":
            return list(combinations(workers, 2))
        case "star":
            return [(first, other) for other in others]
        case "ring" if len(workers) > 2:
            return [*pairwise(workers), (workers[-1], first)]
    return list(pairwise(workers))


def metropolis_hastings(edges: Edges, workers: Sequence[str]) -> dict[str, dict[str, Fraction]]:
    """Return each worker's weights: its own and its neighbours', in the order of `workers`.

    >>> metropolis_hastings([("a", "b"), ("b", "c")], ["a", "b", "c"])["a"]
    {'a': Fraction(2, 3), 'b': Fraction(1, 3)}
    """
    near: dict[str, list[str]] = {worker: [] for worker in workers}
    for one, other in dict.fromkeys((*sorted(edge),) for edge in edges):
        near[one].append(other)
        near[other].append(one)
    weights = {}
    for worker, neighbours in near.items():
        others = {other: Fraction(1, 1 + max(len(neighbours), len(near[other]))) for other in neighbours}
        row = {**others, worker: 1 - sum(others.values(), Fraction())}
        weights[worker] = {name: row[name] for name in workers if name in row}
    return weights
