"""`ringsim monkey FILE`: parse, hunt, show. What is not here: the hunt (`ringsim/monkey/`)."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ringsim.commands.wiring import NOT_MET, ctrl_c, file_, json_, load, placed, quiet_, set_, show
from ringsim.errors import UsageError


@click.command()
@file_
@click.option("--limit", type=click.IntRange(min=0), default=1_000, show_default=True, help="At most; 0: FILE alone.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the order of cases.")
@click.option("--kinds", metavar="NAMES", help="These kinds of fault alone, such as crash,restart.")
@click.option("--restart-after", metavar="DURATION", help="Until a machine is back.  [default: a tenth of the run]")
@click.option("--lasts", metavar="DURATION", help="How long a link is down.  [default: a tenth of the run]")
@click.option("--jobs", type=click.IntRange(min=1), help="Processes.  [default: one a core]")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep what is done in this folder; the same command goes on from there.",
)
@set_
@json_
@quiet_
def monkey(
    file: str,
    limit: int,
    seed: int,
    kinds: str | None,
    restart_after: str | None,
    lasts: str | None,
    jobs: int | None,
    out: Path | None,
    overrides: tuple[str, ...],
    as_json: bool,
    quiet: bool,
) -> int:
    """Play FILE with every fault at every instant, one at a time, and check what must always hold.

    A case that breaks an invariant is made as small as it goes, and written as a scenario.
    """
    loaded = load(file, overrides, None, quiet=quiet or as_json)
    from ringsim.monkey.cases import kinds_of
    from ringsim.monkey.crowd import cores
    from ringsim.monkey.hunt import Wishes, hunt, scout
    from ringsim.report import run_folder
    from ringsim.report.monkey import monkey_table, speed_line
    from ringsim.report.progress import counted

    durations = _duration("--restart-after", restart_after), _duration("--lasts", lasts)
    wishes = Wishes(kinds_of(kinds), limit, seed, *durations)
    run_folder.prepare(out or Path())  # Here what breaks an invariant will be written.
    shown = not (quiet or as_json)
    with ctrl_c() as pressed:
        with placed(loaded):
            ground = scout(loaded.scenario, wishes)
        with counted("trying", len(ground.cases), shown=shown) as tell:

            def done(number: int) -> None:
                if pressed:
                    raise KeyboardInterrupt
                tell(number)

            found = hunt(ground, jobs or cores(), out, done)
    speed = speed_line(found.speed)
    if speed is not None and not quiet:
        click.echo(speed, err=True)
    if as_json:
        click.echo(json.dumps(found.summary(), indent=2))
    elif not quiet:
        show(monkey_table(found))
    return NOT_MET if found.violations else 0


def _duration(option: str, text: str | None) -> int | None:
    """Return a duration in nanoseconds. Raises UsageError for what is none, or takes no time."""
    if text is None:
        return None
    from ringsim.scenario_file.words import of_units
    from ringsim.units import POSITIVE_DURATION

    try:
        return POSITIVE_DURATION.parse(text)
    except ValueError as error:
        raise UsageError(f"{option}: {of_units(str(error), text)}") from None
