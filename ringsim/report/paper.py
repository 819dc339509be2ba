"""The seed paper's experiment as tables, and its loss curves as one picture.

What is not here: the playing and the fitting (`ringsim/paper/`).
"""

from __future__ import annotations

import io
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ringsim.errors import UsageError
from ringsim.paper.experiment import CLUSTERS, RULES, Curve
from ringsim.paper.hypotheses import MACHINES, TABLE, Fit
from ringsim.paper.store import Reading
from ringsim.report.run_folder import write_whole

_GAP = (0, 2, 0, 0)


def hypotheses_table(fits: Sequence[Fit]) -> RenderableType:
    """Return how near each hypothesis comes to the paper's table."""
    table = _table("", "hypothesis", "N counts", "fitted", "2 cores", "6 cores", "8 cores", "residuals", "rms")
    table.add_row("", "the paper's table", "", "", *(_measured(machines) for machines in MACHINES), "", "")
    for fit in fits:
        residuals = " ".join(f"{residual:+.0f}" for residual in fit.residuals)
        seconds = (f"{played:.1f}" for played in fit.seconds)
        hypothesis = fit.hypothesis
        table.add_row(
            hypothesis.letter, hypothesis.words, fit.counted, _found(fit), *seconds, residuals, f"{fit.rms_seconds:.1f}"
        )
    note = "Seconds; residuals are played less measured, in the order of the paper's table."
    return Group(table, Text(), Text(note))


def _measured(machines: int) -> str:
    return ", ".join(str(row.seconds) for row in TABLE if row.machines == machines)


def _found(fit: Fit) -> str:
    """Return the fitted unknown in words."""
    if fit.hypothesis.unknown is None:
        return "nothing"
    if fit.found is None:
        return f"{fit.hypothesis.unknown}: no limit"
    unit = "Gbit/s" if fit.hypothesis.unknown == "bandwidth" else "GFLOP/s"
    return f"{fit.hypothesis.unknown}: {fit.found / 1e9:.3g} {unit}"


def readings_table(readings: Sequence[Reading]) -> RenderableType:
    """Return what a copy of the data on each machine saves against a central store."""
    table = _table("machines", "data at hand", "copied first", "central store", "store costs")
    for one in readings:
        costs = 100 * (one.stored_seconds / one.copied_seconds - 1)
        seconds = (f"{found:.1f} s" for found in (one.at_hand_seconds, one.copied_seconds, one.stored_seconds))
        table.add_row(str(one.machines), *seconds, f"{costs:+.1f} %")
    return table


def accuracy_table(curves: Sequence[Curve]) -> RenderableType:
    """Return what each training ended with: mean and spread over the seeds, and against `local` seed by seed."""
    table = _table("", "rate", "seeds", "training loss", "test loss", "accuracy", "test loss less local's")
    for rule in RULES:
        for cluster in CLUSTERS:
            mine = _of(curves, cluster, rule)
            if not mine:
                continue
            last = [curve.epochs[-1] for curve in mine]
            table.add_row(
                cluster,
                rule,
                str(len(mine)),
                _spread([epoch.train_loss for epoch in last]),
                _spread([epoch.test_loss for epoch in last]),
                _spread([100 * epoch.accuracy for epoch in last], digits=1) + " %",
                "-" if cluster == "local" else _against(mine, _of(curves, "local", rule)),
            )
    note = "Mean over the seeds, and from the least to the most; after the last epoch."
    return Group(table, Text(), Text(note))


def _of(curves: Sequence[Curve], cluster: str, rule: str) -> list[Curve]:
    return [curve for curve in curves if (curve.cluster, curve.rule) == (cluster, rule)]


def _spread(numbers: Sequence[float], digits: int = 3) -> str:
    """Return mean, least and most.

    >>> _spread([1.0, 2.0, 6.0], digits=1)
    '3.0 (1.0 to 6.0)'
    """
    if len(numbers) == 1:
        return f"{numbers[0]:.{digits}f}"
    return f"{statistics.fmean(numbers):.{digits}f} ({min(numbers):.{digits}f} to {max(numbers):.{digits}f})"


def _against(curves: Sequence[Curve], local: Sequence[Curve]) -> str:
    """Return the mean difference of the test loss from local's of the same seed, and for how many seeds it is less."""
    before = {curve.seed: curve.epochs[-1].test_loss for curve in local}
    differences = [curve.epochs[-1].test_loss - before[curve.seed] for curve in curves if curve.seed in before]
    if not differences:
        return "-"
    less = sum(difference < 0 for difference in differences)
    return f"{statistics.fmean(differences):+.3f}, lower for {less} of {len(differences)} seeds"


def refuse_without_matplotlib() -> None:
    """Raise UsageError where matplotlib, of an extra, is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UsageError("a picture needs matplotlib; pip install matplotlib, or --no-picture") from None


def picture(curves: Sequence[Curve], path: Path) -> Path:
    """Draw the loss of every epoch, of all trainings on one plot, as SVG: lines are means, bands from least to most.

    Raises UsageError where the file cannot be written.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": "ringsim", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(9, 4.2), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        for axes, split in ((left, "train"), (right, "test")):
            _draw(axes, curves, split)
        left.set_ylabel("loss (nats)")
        right.legend(frameon=False)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return write_whole(path, text.getvalue())


# Colours that people who cannot tell red from green can tell apart (Okabe and Ito 2008).
_COLOURS = {"local": "#000000", "3 nodes": "#0072B2", "4 nodes": "#D55E00"}
_LINES = {"multiplied": "-", "divided": "--"}


def _draw(axes: Any, curves: Sequence[Curve], split: str) -> None:
    axes.set(title=f"{split}ing" if split == "train" else "test split", xlabel="epoch", yscale="log")
    axes.spines[["top", "right"]].set_visible(False)
    for cluster, colour in _COLOURS.items():
        for rule, line in _LINES.items():
            mine = _of(curves, cluster, rule)
            if not mine:
                continue
            losses = [[getattr(epoch, f"{split}_loss") for epoch in curve.epochs] for curve in mine]
            by_epoch = list(zip(*losses, strict=True))
            epochs = range(1, len(by_epoch) + 1)
            means = [statistics.fmean(found) for found in by_epoch]
            axes.plot(epochs, means, line, color=colour, label=f"{cluster}, rate {rule}")
            axes.fill_between(epochs, list(map(min, by_epoch)), list(map(max, by_epoch)), color=colour, alpha=0.12)


def _table(*headings: str) -> Table:
    table = Table(box=None, padding=_GAP)
    for heading in headings:
        table.add_column(heading)
    return table
