"""What came out under each condition, as a table. What is not here: playing under them (`checking/`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ringsim.checking.replay import Finding

_VERDICTS = {"same": "the same", "differs": "not the same", "refused": "refused, as promised", "skipped": "skipped"}
_STYLES = {"same": "green", "differs": "bold red", "refused": "green", "skipped": "yellow"}


def condition_table(findings: Sequence[Finding], digests: Mapping[str, str]) -> RenderableType:
    """Return what `check --all` prints."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("condition", no_wrap=True)
    table.add_column("what came out", overflow="fold")
    for finding in findings:
        table.add_row(finding.condition, Text(answer(finding), style=_STYLES[finding.verdict]))
    below = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in digests.items():
        below.add_row(name, value)
    return Group(table, Text(), Text(summary(findings)), below)


def answer(finding: Finding) -> str:
    """Return what came out under one condition. Why it was refused is as promised, and long.

    >>> answer(Finding("one core", "differs", "at 5 ns, node0: loss of step 3: 0.5 here, 0.25 there"))
    'not the same: at 5 ns, node0: loss of step 3: 0.5 here, 0.25 there'
    """
    told = _VERDICTS[finding.verdict]
    return f"{told}: {finding.words}" if finding.words and finding.verdict != "refused" else told


def summary(findings: Sequence[Finding]) -> str:
    """Return one sentence about all conditions.

    >>> summary([Finding("one core", "skipped", "there is one"), Finding("ties shuffled", "same")])
    'The same, event by event and bit by bit, under 1 condition; 1 skipped.'
    """
    counts = {verdict: sum(finding.verdict == verdict for finding in findings) for verdict in _VERDICTS}
    same = counts.pop("same")
    first = f"The same, event by event and bit by bit, under {same} {'condition' if same == 1 else 'conditions'}"
    return "; ".join([first, *(f"{count} {_VERDICTS[verdict]}" for verdict, count in counts.items() if count)]) + "."
