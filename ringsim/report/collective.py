"""Measured collectives as a table a person understands, and a sentence on which is the fastest when.

What is not here: the measuring (`measure.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ringsim.measure import Comparison, Crossover, Measurement
from ringsim.scenario_file.words import listed
from ringsim.units import SIZE, about_duration


def collective_table(found: Comparison) -> RenderableType:
    """Return what `collective` prints: each size with its algorithms, and who is the fastest when."""
    measurements = found.measurements
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("size", "algorithm", "time", "algbw", "busbw", "predicted", "error"):
        table.add_column(heading, justify="left" if heading == "algorithm" else "right")
    for index, one in enumerate(measurements):
        first_of_its_size = index == 0 or measurements[index - 1].size_bytes != one.size_bytes
        table.add_row(
            about_size(one.size_bytes) if first_of_its_size else "",
            one.algorithm,
            about_duration(one.time_ns),
            about_rate(one.algbw_bits_per_s),
            about_rate(one.busbw_bits_per_s),
            about_duration(one.predicted_ns),
            _error(one),
        )
    lines = [Text(sentence(crossing)) for crossing in found.crossovers]
    lines += [Text(f"{_win(found.always)} at every size.")] if found.always else []
    return Group(table, Text(), *lines) if lines else table


def sentence(crossing: Crossover) -> str:
    """Say where one algorithm takes over from another.

    >>> sentence(Crossover(38_400, ("tree",), ("ring",)))
    'Below 38 KB tree wins, above it ring.'
    >>> sentence(Crossover(38_400, ("ring", "tree"), ("ring",)))
    'Below 38 KB ring and tree are equally fast, above it ring wins.'
    """
    one_each = len(crossing.below) == len(crossing.above) == 1
    above = crossing.above[0] if one_each else _win(crossing.above)
    return f"Below {about_size(crossing.size_bytes)} {_win(crossing.below)}, above it {above}."


def _win(names: Sequence[str]) -> str:
    return f"{names[0]} wins" if len(names) == 1 else f"{listed(names, 'and')} are equally fast"


def about_size(size_bytes: int) -> str:
    """Return a size for people: exactly where that takes five digits at most, and otherwise two significant ones.

    >>> about_size(256_000), about_size(1_048_576), about_size(38_404), about_size(123_456_789), about_size(12)
    ('256 KB', '1 MiB', '38 KB', '120 MB', '12 B')
    >>> about_size(4 * 10**12), about_size(1_234_567_890_123_456)
    ('4 TB', '1200 TB')
    """
    if size_bytes < 1_000:
        return f"{size_bytes} B"
    decimal = [
        (size_bytes / factor, unit) for unit, factor in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("KB", 10**3))
    ]
    for number, unit in decimal:
        if number.is_integer() and number < 100_000:
            return f"{number:.0f} {unit}"
    exact = SIZE.format(size_bytes)
    if exact.endswith("iB") and len(exact) <= len("1024 KiB"):
        return exact
    number, unit = next(one for one in decimal if one[0] >= 1)
    return f"{_digits(number, 2)} {unit}"


def about_rate(bits_per_s: int) -> str:
    """Return a rate for people: four significant digits.

    >>> about_rate(49_875_311), about_rate(999)
    ('49.88 Mbit/s', '999 bit/s')
    """
    for unit, factor in (("Tbit/s", 10**12), ("Gbit/s", 10**9), ("Mbit/s", 10**6), ("kbit/s", 10**3)):
        if bits_per_s >= factor:
            return f"{_digits(bits_per_s / factor, 4)} {unit}"
    return f"{bits_per_s} bit/s"


def _digits(number: float, digits: int) -> str:
    return f"{float(f'{number:.{digits}g}'):g}"


def _error(one: Measurement) -> str:
    if not one.predicted_ns:
        return "-"
    return f"{100 * (one.time_ns - one.predicted_ns) / one.predicted_ns:+.1f} %"
