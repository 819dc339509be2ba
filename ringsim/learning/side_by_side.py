"""Computations that wait until the first of their answers is needed; then all of them are made, on two threads.

    ask ask ask ask ............ answer            the program goes on while nobody needs a number
                                 ▓▓▓▓ ▓▓▓▓         this thread takes the later half,
                                 ▓▓▓▓ ▓▓▓▓         another one the earlier

What is computed beside what changes no answer: each is a call of its own. What is not here: what is computed
(`engine.py`).
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from ringsim.learning.runtime import PJRT_NPROC

Answer = TypeVar("Answer")


@functools.cache
def pool() -> ThreadPoolExecutor:
    """Return the threads that gradients are computed on, the same for all engines of a process.

    XLA already computes one gradient on PJRT_NPROC threads; two callers fill the gaps between its parallel parts (about
    a tenth for the cnn on 28x28 images and two cores), and more of them only wait for each other.
    """
    return ThreadPoolExecutor(_threads(), thread_name_prefix="ringsim-gradient")


def _threads() -> int:
    return min(PJRT_NPROC, os.cpu_count() or 1)


@dataclass(eq=False)
class _Asked(Generic[Answer]):
    """What is to be computed, or has been."""

    compute: Callable[[], Answer] | None
    answers: list[Answer] = field(default_factory=list)

    def make(self) -> None:
        if self.compute is not None:
            self.answers.append(self.compute())
            self.compute = None  # What it was computed from is needed no more.


@dataclass(eq=False)
class SideBySide(Generic[Answer]):
    """What was asked for and is not computed yet. `may_share`: whether another thread may take a half now.

    >>> queue = SideBySide(may_share=lambda: True)
    >>> ask = [queue.ask(lambda number=number: number**2) for number in range(4)]
    >>> ask[3](), ask[0]()
    (9, 0)
    """

    may_share: Callable[[], bool]
    _asked: list[_Asked[Answer]] = field(default_factory=list)

    def ask(self, compute: Callable[[], Answer]) -> Callable[[], Answer]:
        """Return what gives the answer, each time the same."""
        asked = _Asked(compute)
        self._asked.append(asked)
        return functools.partial(self._answer, asked)

    def _answer(self, asked: _Asked[Answer]) -> Answer:
        if not asked.answers:
            waiting, self._asked = self._asked, []
            half = len(waiting) // 2 if self.may_share() and _threads() > 1 else 0
            others = pool().submit(_make, waiting[:half]) if half else None
            _make(waiting[half:])
            if others is not None:
                others.result()
            asked.make()  # where an error came between
        return asked.answers[0]


def _make(asked: Sequence[_Asked[Answer]]) -> None:
    for one in asked:
        one.make()
