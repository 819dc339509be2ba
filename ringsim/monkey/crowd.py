"""Many cases, on so many processes: each has its own JAX and its own memo, and is told a few cases at a time.

Which process plays which case changes nothing in a verdict, only how often a gradient is found in a memo. Whoever
presses Ctrl-C stops all of them within a moment; what they had finished is kept, and none outlives its parent. What is
not here: one case (`playing.py`), and writing verdicts down (`folder.py`).
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing.synchronize import Event as Flag

from ringsim.learning.memo import Memo
from ringsim.monkey.cases import Case, Durations, with_fault
from ringsim.monkey.playing import Verdict, judge
from ringsim.scenario import Scenario
from ringsim.world.world import rare_collections

_CASES_AT_A_TIME = 8


@dataclass(frozen=True)
class Batch:
    """Verdicts, and how many gradients were asked for and computed on the way."""

    verdicts: tuple[Verdict, ...]
    asked: int
    computed: int


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def play_all(
    scenario: Scenario, durations: Durations, cases: Sequence[Case], jobs: int, take: Callable[[Batch], None]
) -> None:
    """Play all cases on `jobs` processes, and hand their verdicts to `take` as they come, in any order."""
    if jobs == 1 or len(cases) <= _CASES_AT_A_TIME:
        player = Player(scenario, durations)
        with rare_collections():
            for case in cases:
                take(player.play([case]))
        return
    portions = [cases[start : start + _CASES_AT_A_TIME] for start in range(0, len(cases), _CASES_AT_A_TIME)]
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    executor = ProcessPoolExecutor(min(jobs, len(portions)), context, _begin, (scenario, durations, stop))
    taken: set[Future[Batch]] = set()
    futures = [executor.submit(_play, portion) for portion in portions]
    try:
        for future in as_completed(futures):
            taken.add(future)
            take(future.result())
    finally:
        stop.set()
        executor.shutdown(wait=True, cancel_futures=True)
        for future in futures:
            if future not in taken and not future.cancelled() and future.exception() is None:
                take(future.result())


class Player:
    """Plays cases of one scenario, one after another, with one memo."""

    def __init__(self, scenario: Scenario, durations: Durations, is_over: Callable[[], bool] = lambda: False):
        self._scenario = scenario
        self._durations = durations
        self._is_over = is_over
        self._memo = Memo()

    def play(self, cases: Sequence[Case]) -> Batch:
        """Play cases until all are done, or it is over."""
        asked, computed = self._memo.asked, self._memo.computed
        verdicts = []
        with contextlib.suppress(_Over):
            for case in cases:
                self._look()
                faulty = with_fault(self._scenario, case, self._durations)
                verdicts.append(judge(case, faulty, self._memo, self._look))
        return Batch(tuple(verdicts), self._memo.asked - asked, self._memo.computed - computed)

    def _look(self) -> None:
        if self._is_over():
            raise _Over


class _Over(BaseException):
    """Nobody waits for verdicts any more."""


# --- in a process of the crowd ----------------------------------------------------------------------------------------

# The player of this process: what it was told when it began is not told again with each portion.
_players: list[Player] = []


def _begin(scenario: Scenario, durations: Durations, stop: Flag) -> None:
    # The terminal tells all processes of Ctrl-C; the parent alone decides what to do.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    gc.set_threshold(100_000, 20, 100)
    _players.append(Player(scenario, durations, stop.is_set))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _play(cases: Sequence[Case]) -> Batch:
    return _players[0].play(cases)
