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

from ringsim.commands.wiring import ctrl_c, json_, play, set_, show

if TYPE_CHECKING:
    from ringsim.node import Node, Operation
    from ringsim.paper.experiment import Curve
    from ringsim.paper.hypotheses import Fit
    from ringsim.paper.store import Reading
    from ringsim.result import Result
    from ringsim.scenario import Scenario
    from ringsim.strategies.training import State, Training


@click.command()
@click.option(
    "--out",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Train as well, keep each curve in DIR as soon as it is there, and draw DIR/loss.svg.",
)
@click.option("--seeds", type=click.IntRange(min=1), default=5, show_default=True, help="With --out: how many.")
@click.option("--no-picture", is_flag=True, help="With --out: no picture, which needs matplotlib.")
@set_
@json_
def paper(out: Path | None, seeds: int, no_picture: bool, overrides: tuple[str, ...], as_json: bool) -> int:
    """Do the seed paper's experiment again, and hold hypotheses against its table.

    Without --out only times are played, which takes seconds. With it the paper's network is trained on one, three and
    four machines by both of its learning rates: thirty trainings of a minute or more each. What is in DIR already is
    not played again, so the command can be stopped and goes on where it was. --set changes these trainings.
    """
    if out is not None and not no_picture:
        from ringsim.report.paper import refuse_without_matplotlib

        refuse_without_matplotlib()  # Now, and not after an hour.
    fits, readings = _times(shown=not as_json)
    curves = [] if out is None else _curves(out, seeds, overrides, shown=not as_json)
    if as_json:
        click.echo(json.dumps(_data(fits, readings, curves), indent=2))
    else:
        _show(fits, readings, curves)
    if out is not None and not no_picture:
        from ringsim.report.paper import picture

        drawn = picture(curves, out / "loss.svg")
        click.echo(f"the losses as a picture: {drawn}", err=True)
    if out is None and not as_json:
        click.echo("To train as well, about an hour on two cores:  ringsim paper --out DIR", err=True)
    return 0


def _times(shown: bool) -> tuple[list[Fit], list[Reading]]:
    """Play what the paper's table is held against, and where the data lie."""
    from ringsim.learning.memo import Memo
    from ringsim.paper.hypotheses import COUNTED, HYPOTHESES, MACHINES, fitted
    from ringsim.paper.store import readings
    from ringsim.report.progress import counted
    from ringsim.simulation import simulate

    memo = Memo()  # All have the same first parameters, which are drawn once.

    def play_by(scenario: Scenario, strategy: Callable[[Node, Training], Operation[State]]) -> Result:
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


def _curves(out: Path, seeds: int, overrides: Sequence[str], shown: bool) -> list[Curve]:
    from ringsim.paper.experiment import curves, trainings

    todo, found = trainings(seeds, overrides), []
    for curve in curves(todo, out, lambda scenario: play(scenario, "steps", shown=shown)):
        found.append(curve)
        if shown:
            click.echo(
                f"{len(found)} of {len(todo)}: {curve.cluster}, rate {curve.rule}, seed {curve.seed}: "
                f"accuracy {curve.epochs[-1].accuracy:.1%}",
                err=True,
            )
    return found


def _show(fits: Sequence[Fit], readings: Sequence[Reading], curves: Sequence[Curve]) -> None:
    from ringsim.report.paper import accuracy_table, hypotheses_table, readings_table

    click.echo("What the paper's table could have measured\n")
    show(hypotheses_table(fits))
    click.echo("\nA copy of MNIST on each machine, or a central store: hypothesis a, all at 1 Gbit/s\n")
    show(readings_table(readings))
    if curves:
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
