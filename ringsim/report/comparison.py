"""Several runs side by side: a column for each run where they are few, else a row; and the four requirements.

A wide table is folded into several, each as wide as a terminal. What is the same nothing in every run is left out.
What is not here: what the figures mean (`Result`, `measures.py`, `comparing/requirements.py`).
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ringsim.comparing.playing import Standing
from ringsim.comparing.requirements import DEFINITIONS, AgainstLocal
from ringsim.report.table import Rows, after, costs, goodput
from ringsim.result import TIMES, Result
from ringsim.units import about_duration

FAILURES_IN_A_CELL = 8  # Of more, the number alone is told.
MOST_COLUMNS = 4  # Of more runs, each is a row.
WIDTH = 100

_GAP = 2  # Between two columns.
_WIDEST_HEADING = 40
_NOTHING = frozenset({"-", "0", "none", "0.0 %"})


def comparison(standings: Sequence[Standing], explain: bool = False) -> RenderableType:
    """Return all that `compare` prints. explain: also what the four requirements are."""
    played = [standing for standing in standings if standing.result is not None]
    parts: list[RenderableType] = []
    if played:
        parts += [*compare_tables(played), Text(), requirement_table(played)]
    for standing in standings:
        if standing.reason is not None:
            parts += [Text(), Text(f"{' '.join(standing.heading)} is not possible here: {standing.reason}")]
    if explain:
        for name, definition in DEFINITIONS.items():
            parts += [Text(), *map(Text, textwrap.wrap(f"{name}: {definition}", WIDTH))]
    return Group(*parts)


def compare_tables(played: Sequence[Standing]) -> list[RenderableType]:
    """Return the figures of several runs."""
    columns = [_rows(standing) for standing in played]
    told = [line for line in zip(*columns, strict=True) if not {value for _, value in line} <= _NOTHING]
    if len(played) <= MOST_COLUMNS:
        return [_upright(["\n".join(standing.heading) for standing in played], told)]
    return _across([" ".join(standing.heading) for standing in played], told)


Lines = Sequence[tuple[tuple[str, str], ...]]  # for each figure: its name and value, run by run


def _upright(headings: Sequence[str], lines: Lines) -> Table:
    table = Table(box=None, padding=(0, _GAP, 0, 0))
    table.add_column("")
    for heading in headings:
        table.add_column(heading, justify="right", overflow="fold")
    for line in lines:
        table.add_row(line[0][0], *(value for _, value in line))
    return table


def _across(headings: Sequence[str], lines: Lines) -> list[RenderableType]:
    """Return a row for each run, in as many tables as it takes, one below the other."""
    folded: list[list[tuple[tuple[str, str], ...]]] = []
    left = 0
    for line in lines:
        width = _GAP + _width(line)
        if width > left:
            folded.append([])
            left = WIDTH - min(_WIDEST_HEADING, max(map(len, headings))) - _GAP
        folded[-1].append(line)
        left -= width
    parts: list[RenderableType] = []
    for chunk in folded:
        parts += [Text(), _sideways(headings, chunk)] if parts else [_sideways(headings, chunk)]
    return parts


def _width(line: Sequence[tuple[str, str]]) -> int:
    """Return how wide a column is: as its widest value, or the longest word of its name."""
    return max(*(len(value) for _, value in line), *map(len, line[0][0].split()))


def _sideways(headings: Sequence[str], lines: Lines) -> Table:
    table = _table_of_runs(["\n".join(textwrap.wrap(line[0][0], _width(line))) for line in lines])
    for number, heading in enumerate(headings):
        table.add_row(heading, *(line[number][1] for line in lines))
    return table


def _table_of_runs(columns: Sequence[str]) -> Table:
    table = Table(box=None, padding=(0, _GAP, 0, 0))
    table.add_column("", max_width=_WIDEST_HEADING, overflow="fold")
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def requirement_table(played: Sequence[Standing]) -> Table:
    """Return the four requirements of the seed paper, side by side for each run."""
    table = _table_of_runs(list(DEFINITIONS))
    for standing in played:
        four = standing.requirements
        assert four is not None, "it was played"
        table.add_row(
            " ".join(standing.heading),
            _percent(four.fault_tolerance),
            _percent(four.data_privacy),
            _points(four.accuracy),
            _percent(four.efficiency),
        )
    return table


def _rows(standing: Standing) -> Rows:
    result, against = standing.result, standing.against
    assert result is not None, "it was played"
    assert against is not None, "it was played"
    failures = result.failures
    return [
        ("outcome", str(result.outcome)),
        ("faults", _faults(result)),
        ("accuracy", _percent(result.accuracy)),
        ("accuracy less local's", _points(against.accuracy_gap)),
        ("loss", "-" if result.loss is None else f"{result.loss:.4f}"),
        ("virtual time", about_duration(result.virtual_time_ns)),
        ("to the target", _duration(result.measures.time_to_target_ns)),
        ("an epoch", _duration(result.measures.epoch_ns)),
        *_speeds(against),
        ("steps", f"{result.steps:,}"),
        ("goodput", goodput(result)),
        *_network(result),
        *_shares(result),
        *_kept(result),
        ("detected after", _listed([after(f.at_ns, f.detected_at_ns) for f in failures])),
        ("resumed after", _listed([costs(failure)[1] for failure in failures])),
        ("false suspicions", f"{result.false_suspicions:,}"),
        ("steps rolled back", f"{result.lost_work:,}"),
        ("samples repeated", f"{result.samples.repeated:,}"),
        ("samples lost", f"{result.samples.lost:,}"),
    ]


def _speeds(against: AgainstLocal) -> Rows:
    return [
        ("speed-up", "-" if against.speed_up is None else f"{against.speed_up:.2f}"),
        ("efficiency", _percent(against.efficiency)),
    ]


def _network(result: Result) -> Rows:
    link = result.measures.busiest_link
    return [
        ("bytes sent", f"{result.bytes_sent:,}"),
        ("busiest link", "-" if link is None else f"{link.source} - {link.target}: {link.bytes:,}"),
    ]


def _shares(result: Result) -> Rows:
    total_ns = max(1, sum(result.total_ns(field) for field in TIMES))
    return [
        (field.removesuffix("_ns").replace("_", " "), f"{100 * result.total_ns(field) / total_ns:.1f} %")
        for field in TIMES
    ]


def _kept(result: Result) -> Rows:
    measures = result.measures
    stale, most = measures.staleness, max(measures.memory, key=lambda memory: memory.size_bytes, default=None)
    return [
        ("staleness, mean", "-" if stale is None else f"{stale.mean:.2f}"),
        ("staleness, most", "-" if stale is None else f"{stale.maximum}"),
        ("consensus distance", "-" if measures.consensus is None else f"{measures.consensus:.3g}"),
        ("versions kept", "-" if most is None else f"{max(memory.versions for memory in measures.memory)}"),
        ("most memory", "-" if most is None else f"{most.node}: {most.size_bytes:,}"),
        ("gradient seen, most", "-" if measures.exposure is None else f"{100 * measures.exposure.maximum:.1f} %"),
        ("gradient seen, mean", "-" if measures.exposure is None else f"{100 * measures.exposure.mean:.1f} %"),
    ]


def _faults(result: Result) -> str:
    counts = {
        "hit": len(result.failures),
        "not reached": len(result.faults_not_reached),
        "not applicable": len(result.faults_not_applicable),
    }
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count) or "none"


def _listed(texts: Sequence[str]) -> str:
    more = len(texts) - FAILURES_IN_A_CELL
    return ", ".join(texts[:FAILURES_IN_A_CELL]) + (f", and {more:,} more" if more > 0 else "") or "-"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _points(difference: float | None) -> str:
    return "-" if difference is None else f"{100 * difference:+.1f} points"


def _duration(nanoseconds: int | None) -> str:
    return "-" if nanoseconds is None else about_duration(nanoseconds)
