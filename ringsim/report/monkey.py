"""A hunt of the monkey as a table, and sentences below it. What is not here: the figures (`monkey/hunt.py`)."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ringsim.monkey.hunt import Hunt, Speed
from ringsim.scenario import Settings
from ringsim.units import about_duration

OUTCOMES = ("finished", "target_reached", "stalled", "lost", "broken")


def monkey_table(found: Hunt) -> RenderableType:
    """Return what `monkey` prints: the outcomes by kind of fault, the worst cases, and what is wrong."""
    lines = [Text(line) for line in _lines(found)]
    if not found.verdicts:
        return Group(*lines)
    counts = found.outcomes()
    outcomes = [name for name in OUTCOMES if any(name in count for count in counts.values())]
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("fault", "tried", *(name.replace("_", " ") for name in outcomes)):
        table.add_column(heading, justify="left" if heading == "fault" else "right")
    for kind, count in counts.items():
        table.add_row(kind, f"{sum(count.values()):,}", *(f"{count.get(name, 0):,}" for name in outcomes))
    return Group(table, Text(), *lines)


def _lines(found: Hunt) -> Iterator[str]:
    ground, base = found.ground, found.ground.base.result
    if base is not None:
        yield f"Without any of them: {base.outcome_sentence}."
    if ground.cases:
        yield (
            f"Tried: {len(found.verdicts):,} of {ground.product.size:,} faults, "
            f"at {len(ground.product.instants):,} instants."
        )
    slowest, worst = found.slowest, found.worst
    if slowest is not None and slowest.recovery_ns is not None:
        yield f"Longest until training went on: {about_duration(slowest.recovery_ns)}, after {slowest.case}."
    if worst is not None and worst.accuracy is not None:
        yield f"Least accuracy of those that finished: {100 * worst.accuracy:.1f} %, after {worst.case}."
    yield from _violations(found)


def _violations(found: Hunt) -> Iterator[str]:
    if not found.violations:
        yield "Every invariant holds."
    for name, sentence in found.ground.base.violations.items():
        yield f"The scenario itself breaks {name}: {sentence}"
    for name, number in found.violations.items():
        if found.verdicts:
            yield f"{name}: broken in {number:,} {'case' if number == 1 else 'cases'}."
    for one in found.shrunk:
        faults = "; ".join(_fault(fault) for fault in one.scenario.faults)
        yield f"{one.invariant}: {one.sentence}"
        yield f"  found by {one.case}; enough for it: {faults}"
        yield f"  again: {one.command}"


def _fault(fault: Settings) -> str:
    return ", ".join(f"{key}: {value}" for key, value in fault.model_dump(mode="json", exclude_none=True).items())


def speed_line(speed: Speed) -> str | None:
    """Return how fast it went, or None if nothing was played.

    >>> speed_line(Speed(played=100, seconds=5.0, asked=2_000, computed=100))
    '100 cases in 5.0 s, 20.0 a second; 95.0 % of 2,000 gradients were remembered'
    """
    if not speed.played:
        return None
    rate = f"{speed.played:,} cases in {speed.seconds:.1f} s, {speed.played / max(speed.seconds, 1e-9):.1f} a second"
    if not speed.asked:
        return rate
    return f"{rate}; {100 * (1 - speed.computed / speed.asked):.1f} % of {speed.asked:,} gradients were remembered"
