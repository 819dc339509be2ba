"""Cases, contests and figures: what is timed, what runs, and what came of it, as plain data.

What is not here: the timing (`stopwatch.py`), and which cases there are (`suite.py`).
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple


@dataclass(frozen=True)
class Bars:
    """What a case has to reach; None: no bar. `ratio_max` is time over the reference's time: 1/4 is 4 times as fast."""

    seconds_max: float | None = None
    ratio_max: float | None = None
    bytes_max: int | None = None

    def met(self, seconds: float, ratio: float | None, peak_bytes: int | None) -> bool | None:
        """Say whether all bars are met; None if there is none.

        >>> Bars(seconds_max=1.0, ratio_max=0.25).met(seconds=0.5, ratio=0.3, peak_bytes=None)
        False
        """
        pairs = ((self.seconds_max, seconds), (self.ratio_max, ratio), (self.bytes_max, peak_bytes))
        asked = [(most, found) for most, found in pairs if most is not None]
        return all(found is not None and found <= most for most, found in asked) if asked else None


class Ways(NamedTuple):
    """How many collectives a simulation played each way."""

    in_closed_form: int
    by_messages: int


def _itself(found: Any) -> Any:
    return found


@dataclass(frozen=True)
class Contest:
    """A case that is ready to go: nothing in `ours` or `reference` is preparation.

    answer: what counts of that which `ours` returns. same: whether the two answers agree; None: they answer different
    questions. messages: how many messages of the simulated network `ours` stands for, if that is what it is about.
    ways: how many collectives it played each way, read from what it returns. peak_bytes: how much memory the process
    that played it has held at most, read from what it returns; None: what Python and NumPy hold here is measured.
    """

    ours: Callable[[], Any]
    reference: Callable[[], Any] | None = None
    same: Callable[[Any, Any], bool] | None = operator.eq
    answer: Callable[[Any], Any] = _itself
    messages: int | None = None
    ways: Callable[[Any], Ways] | None = None
    peak_bytes: Callable[[Any], int] | None = None


@dataclass(frozen=True)
class Case:
    """One row of the benchmark.

    what: in words, with `{size}` in it. prepare: make a contest of a size. rounds: how often each of the two runs; the
    best counts. is_slow: takes a minute or more, or much memory. elsewhere: figures of others, not measured here.
    """

    name: str
    what: str
    size: int
    prepare: Callable[[int], Contest]
    reference: str | None = None
    bars: Bars = Bars()
    rounds: int = 3
    is_slow: bool = False
    elsewhere: str | None = None


@dataclass(frozen=True)
class Figure:
    """What came of a case. Times in seconds, the best of `rounds`; `ratio` is `seconds` over `reference_seconds`.

    `peak_bytes`: the most that Python and NumPy held at once, by tracemalloc, in a run of its own that was not timed;
    or `of_process`: the most that a whole process held, with all libraries. `met`: whether all bars are met; None:
    there is none.
    """

    name: str
    what: str
    size: int
    rounds: int
    seconds: float
    reference: str | None
    reference_seconds: float | None
    ratio: float | None
    bars: Bars
    met: bool | None
    peak_bytes: int | None = None
    of_process: bool = False
    messages: int | None = None
    messages_per_s: int | None = None
    ways: Ways | None = None
    elsewhere: str | None = None

    def summary(self) -> dict[str, Any]:
        """Return all of it as plain data."""
        return {**asdict(self), "ways": None if self.ways is None else self.ways._asdict()}
