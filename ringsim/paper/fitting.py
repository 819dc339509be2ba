"""Least squares in one unknown rate, where all times are straight lines in its inverse: work / rate + the rest.

What is not here: whose times these are (`hypotheses.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Lines:
    """Times that are `rests` + `works` / rate, in seconds, one of each for every time."""

    rests: tuple[float, ...]
    works: tuple[float, ...]


def linear(seconds: Callable[[int], Sequence[float]], probes: tuple[int, int]) -> Lines:
    """Return the lines that go through the times at two rates.

    >>> linear(lambda rate: [5 + 100 / rate], (10, 20))
    Lines(rests=(5.0,), works=(100.0,))
    """
    slow, fast = probes
    pairs = list(zip(seconds(slow), seconds(fast), strict=True))
    works = tuple((one - other) / (1 / slow - 1 / fast) for one, other in pairs)
    return Lines(tuple(one - work / slow for (one, _), work in zip(pairs, works, strict=True)), works)


def solved(line: Lines, seconds: float) -> int:
    """Return the rate at which a single line takes so long.

    >>> solved(Lines((5.0,), (100.0,)), 9.0)
    25
    """
    (rest,), (work,) = line.rests, line.works
    return round(work / (seconds - rest))


def nearest(lines: Lines, measured: Sequence[float]) -> int | None:
    """Return the rate for which the sum of the squared differences is least; None: the faster the better.

    >>> nearest(Lines((1.0, 1.0), (10.0, 30.0)), [3.0, 7.0])
    5
    >>> nearest(Lines((5.0,), (10.0,)), [4.0]) is None
    True
    """
    pairs = list(zip(lines.rests, lines.works, measured, strict=True))
    inverse = sum(work * (time - rest) for rest, work, time in pairs) / sum(work**2 for work in lines.works)
    return round(1 / inverse) if inverse > 0 else None
