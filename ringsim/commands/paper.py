"""The command `paper`: the seed paper's experiment, done again and questioned, in one go.

What is not here: what is played (`ringsim/paper/`), and the tables and the picture (`report/paper.py`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ringsim.commands.wiring import ctrl_c, json_, play, show
from ringsim.errors import UsageError

if TYPE_CHECKING:
    from ringsim.node import Node, Operation
    from ringsim.paper.experiment import Curve, Training
    from ringsim.paper.hypotheses import Fit
    from ringsim.paper.store import Reading
    from ringsim.result import Result
    from ringsim.scenario import Scenario
    from ringsim.strategies.training import State
    from ringsim.strategies.training import Training as Task


@click.command()
@click.option(
    "--out",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Train as well, keep each curve in DIR as soon as it is there, and draw DIR/loss.svg.",
)
@click.option("--seeds", type=click.IntRange(min=1), help="With --out: how many.  [default: 5]")
@click.option("--no-picture", is_flag=True, help="With --out: no picture, which needs matplotlib.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="With --out: override a key of the task.")
@json_
def paper(out: Path | None, seeds: int | None, no_picture: bool, overrides: tuple[str, ...], as_json: bool) -> int:
    """Do the seed paper's experiment again, and hold hypotheses against its table.

    Without --out only times are played, which takes seconds. With it the paper's network is trained on one, three and
    four machines by both of its learning rates: thirty trainings of a minute or more each. What is in DIR already is
    not played again, so the command can be stopped and goes on where it was.
    """
    if out is None and (seeds is not None or no_picture or overrides):
        raise UsageError("--seeds, --set and --no-picture are of the trainings; add --out DIR")
    todo = [] if out is None else _prepared(out, seeds or 5, overrides, no_picture)
    fits, readings = _times(shown=not as_json)
    if not as_json:
        _show_times(fits, readings)
    if out is None:
        if as_json:
            click.echo(json.dumps(_data(fits, readings, []), indent=2))
        else:
            click.echo("To train as well, about an hour on two cores:  ringsim paper --out DIR", err=True)
        return 0
    curves = _curves(todo, out, shown=not as_json)
    if as_json:
        click.echo(json.dumps(_data(fits, readings, curves), indent=2))
    else:
        _show_curves(curves)
    if not no_picture:
        from ringsim.report.paper import picture

        click.echo(f"the losses as a picture: {picture(curves, out / 'loss.svg')}", err=True)
    return 0


def _prepared(out: Path, seeds: int, overrides: Sequence[str], no_picture: bool) -> list[Training]:
    """Return the trainings; whatever is wrong with them is told now, and not after an hour."""
    from ringsim.paper.experiment import trainings
    from ringsim.report.paper import refuse_without_matplotlib
    from ringsim.report.run_folder import prepare

    if not no_picture:
        refuse_without_matplotlib()
    todo = trainings(seeds, overrides)
    prepare(out)
    return todo


def _times(shown: bool) -> tuple[list[Fit], list[Reading]]:
    """Play what the paper's table is held against, and where the data lie."""
    from ringsim.learning.memo import Memo
    from ringsim.paper.hypotheses import COUNTED, HYPOTHESES, MACHINES, fitted
    from ringsim.paper.store import readings
    from ringsim.report.progress import counted
    from ringsim.simulation import simulate

    memo = Memo()  # All have the same first parameters, which are drawn once.

    def play_by(scenario: Scenario, strategy: Callable[[Node, Task], Operation[State]]) -> Result:
        return simulate(scenario, strategy=strategy, memo=memo)

    pairs = [(hypothesis, n) for hypothesis in HYPOTHESES for n in COUNTED]
    with counted("hypotheses", len(pairs) + len(MACHINES), shown=shown) as done, ctrl_c():
        fits = []
        for hypothesis, n in pairs:
            fits.append(fitted(hypothesis, n, play_by))
            done(1)
        found = []
        for machines in MACHINES:
            found.append(readings(machines, play_by))
            done(1)
    return fits, found


def _curves(todo: Sequence[Training], out: Path, shown: bool) -> list[Curve]:
    from ringsim.paper.experiment import curves

    found = []
    for curve, is_kept in curves(todo, out, lambda scenario: play(scenario, "steps", shown=shown)):
        found.append(curve)
        where = f", from {out}" if is_kept else ""
        click.echo(
            f"{len(found)} of {len(todo)}: {curve.cluster}, rate {curve.rule}, seed {curve.seed}: "
            f"accuracy {100 * curve.epochs[-1].accuracy:.1f} %{where}",
            err=True,
        )
    return found


def _show_times(fits: Sequence[Fit], readings: Sequence[Reading]) -> None:
    from ringsim.report.paper import hypotheses_table, readings_table

    click.echo("What the paper's table could have measured\n")
    show(hypotheses_table(fits))
    click.echo("\nA copy of MNIST on each machine, or a central store: hypothesis a, all at 1 Gbit/s\n")
    show(readings_table(readings))


def _show_curves(curves: Sequence[Curve]) -> None:
    from ringsim.report.paper import accuracy_table

    click.echo("\nThe paper's trainings\n")
    show(accuracy_table(curves))


def _data(fits: Sequence[Fit], readings: Sequence[Reading], curves: Sequence[Curve]) -> dict[str, Any]:
    return {
        "hypotheses": [
            {
                "letter": fit.hypothesis.letter,
                "words": fit.hypothesis.words,
                "n_counts": fit.counted,
                "unknown": fit.hypothesis.unknown,
                "found": fit.found,
                "speed_flops": fit.speed_flops,
                "seconds": fit.seconds,
                "residuals": fit.residuals,
                "rms_seconds": fit.rms_seconds,
            }
            for fit in fits
        ],
        "readings": [asdict(one) for one in readings],
        "curves": [asdict(curve) for curve in curves],
    }
