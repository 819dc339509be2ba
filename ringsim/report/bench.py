"""Figures of the benchmark as a table a person understands, with what does not fit in it below.

What is not here: the measuring (`bench/`).
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ringsim.bench.case import Bars, Figure
from ringsim.report.collective import about_size
from ringsim.units import about_duration

_MET = {True: "yes", False: "no", None: "-"}


def bench_table(figures: Sequence[Figure]) -> RenderableType:
    """Return what `bench` prints: a line for each figure, then sentences."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("name", "what", "time", "reference", "its time", "ratio", "bar", "met"):
        table.add_column(heading, justify="right" if heading in ("time", "its time", "ratio") else "left")
    for one in figures:
        table.add_row(
            one.name,
            one.what,
            about_seconds(one.seconds),
            one.reference or "-",
            "-" if one.reference_seconds is None else about_seconds(one.reference_seconds),
            "-" if one.ratio is None else about_ratio(one.ratio),
            bar_words(one.bars) or "-",
            _MET[one.met],
        )
    notes = [Text(note) for one in figures for note in _notes(one)]
    return Group(table, Text(), *notes) if notes else table


def about_seconds(seconds: float) -> str:
    """Return a measured time for people: three significant digits.

    >>> about_seconds(0.00423456), about_seconds(3.7)
    ('4.23 ms', '3.7 s')
    """
    return about_duration(int(float(f"{seconds * 1e9:.3g}")))


def about_ratio(ratio: float) -> str:
    """Return a ratio of times in words.

    >>> about_ratio(1 / 300), about_ratio(1.25)
    ('300 times as fast', '1.25 times the time')
    """
    return f"{_digits(1 / ratio)} times as fast" if ratio < 1 else f"{_digits(ratio)} times the time"


def bar_words(bars: Bars) -> str:
    """Return what has to be reached, in words.

    >>> bar_words(Bars(seconds_max=0.012, ratio_max=1 / 300))
    'at most 12 ms, at least 300 times as fast'
    """
    most = [] if bars.seconds_max is None else [f"at most {about_seconds(bars.seconds_max)}"]
    if bars.ratio_max is not None:
        most.append(f"at {'least' if bars.ratio_max < 1 else 'most'} {about_ratio(bars.ratio_max)}")
    most += [] if bars.bytes_max is None else [f"at most {about_size(bars.bytes_max)}"]
    return ", ".join(most)


def _notes(one: Figure) -> list[str]:
    notes = []
    if one.messages is not None and one.messages_per_s is not None:
        notes.append(f"{one.name}: stands for {one.messages:,} messages, {_digits(one.messages_per_s)} a second")
    if one.ways is not None:
        closed, played = one.ways
        notes.append(f"{one.name}: of its collectives {closed:,} in closed form, {played:,} by messages")
    if one.peak_bytes is not None:
        how = "the whole process" if one.of_process else "by tracemalloc in an untimed run"
        notes.append(f"{one.name}: holds {about_size(one.peak_bytes)} at most, {how}")
    if one.elsewhere is not None:
        notes.append(f"{one.name}: measured elsewhere, not here: {one.elsewhere}")
    return notes


def _digits(number: float) -> str:
    rounded = float(f"{number:.3g}")
    return f"{rounded:,.0f}" if rounded >= 100 else f"{rounded:g}"
