"""`measure`: one case timed, ours and its reference in turn.

    round 1   ours ▓ reference ▓▓▓▓▓▓    round 2   ours ▓ reference ▓▓▓▓▓▓    ...    of each the best time counts

Other work on the machine only ever adds time, so the best is the nearest to the truth; and work that goes on for a
while hits both. This is the only place where wall time is read. What is not here: what is run (`rings.py` and its
neighbours).
"""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

from ringsim.bench.case import Case, Contest, Figure
from ringsim.errors import InvariantBroken


def measure(case: Case, size: int | None = None, rounds: int | None = None) -> Figure:
    """Time a case at its size, or at another one.

    Raises InvariantBroken if ours and the reference do not agree.
    """
    size, rounds = size or case.size, rounds or case.rounds
    contest = case.prepare(size)
    found, seconds, reference_seconds = _best(case, contest, rounds)
    ratio = None if reference_seconds is None else seconds / reference_seconds
    peak_bytes = None if case.bars.bytes_max is None else _peak_bytes(contest, found)
    return Figure(
        name=case.name,
        what=case.what.format(size=f"{size:,}"),
        size=size,
        rounds=rounds,
        seconds=seconds,
        reference=case.reference,
        reference_seconds=reference_seconds,
        ratio=ratio,
        bars=case.bars,
        met=case.bars.met(seconds, ratio, peak_bytes),
        peak_bytes=peak_bytes,
        of_process=contest.peak_bytes is not None,
        messages=contest.messages,
        messages_per_s=None if contest.messages is None else int(contest.messages / seconds),
        ways=None if contest.ways is None else contest.ways(found),
        elsewhere=case.elsewhere,
    )


def _best(case: Case, contest: Contest, rounds: int) -> tuple[Any, float, float | None]:
    """Return what ours found last, and the best times of both."""
    ours, theirs, found = [], [], None
    for _ in range(rounds):
        found = None  # What the round before found is garbage before this one begins.
        found, seconds = _timed(contest.ours)
        answer = contest.answer(found)
        ours.append(seconds)
        if contest.reference is None:
            continue
        expected, seconds = _timed(contest.reference)
        theirs.append(seconds)
        if contest.same is not None and not contest.same(answer, expected):
            here, there = _first_difference(answer, expected)
            raise InvariantBroken(f"{case.name}: ringsim answers {here}, and its reference ({case.reference}) {there}")
    return found, min(ours), min(theirs, default=None)


def _first_difference(answer: Any, expected: Any) -> tuple[Any, Any]:
    """Return what differs: the two answers, or the first two of their items that do."""
    if isinstance(answer, list) and isinstance(expected, list):
        return next(((one, other) for one, other in zip(answer, expected, strict=True) if one != other))
    return answer, expected


def _timed(run: Callable[[], Any]) -> tuple[Any, float]:
    gc.collect()  # Nobody pays for the garbage of whoever ran before.
    begin = time.perf_counter()
    answer = run()
    return answer, time.perf_counter() - begin


def _peak_bytes(contest: Contest, found: Any) -> int:
    """Return the most memory that a run holds at once: beyond what was there before it, or its process as a whole."""
    if contest.peak_bytes is not None:
        return contest.peak_bytes(found)
    gc.collect()
    tracemalloc.start()
    try:
        contest.ours()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
