"""The command `run`: play a scenario, show what came out, and say what to do next.

What is not here: playing several side by side (`comparing.py`), and once more, against a record (`again.py`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ringsim.commands.wiring import (
    COULD_NOT_FINISH,
    command_words,
    file_,
    json_,
    load,
    placed,
    play,
    quiet_,
    seed_,
    set_,
    show,
)

if TYPE_CHECKING:
    from ringsim.result import Result
    from ringsim.scenario_file import Loaded


@click.command()
@file_
@set_
@seed_
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Write the run folder here.")
@click.option(
    "--trace",
    type=click.Choice(["steps", "messages"]),
    default="steps",
    show_default=True,
    help="Detail of trace.jsonl.",
)
@click.option(
    "--fidelity",
    type=click.Choice(["auto", "message"]),
    default="auto",
    show_default=True,
    help="message: play every message, also of collectives that nothing disturbs. The digests are the same.",
)
@click.option("--speed-up", is_flag=True, help="Play the local twin as well, and say how many times faster this is.")
@json_
@quiet_
def run(
    file: str,
    overrides: tuple[str, ...],
    seed: int | None,
    out: Path | None,
    trace: Any,
    fidelity: Any,
    speed_up: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Play FILE, a scenario or the name of a shipped one, to its end."""
    from ringsim.report import run_folder

    if out is not None:
        run_folder.prepare(out)
    loaded = load(file, overrides, seed, quiet)
    with placed(loaded):
        result = play(loaded.scenario, trace, shown=not (quiet or as_json), fidelity=fidelity)
    result = result.with_command(command_words("run", file, overrides, seed))
    faster = _speed_up(loaded, result) if speed_up else None
    if out is not None:
        run_folder.write(result, out)
    if as_json:
        extra = {} if faster is None else {"speed_up": faster}
        click.echo(json.dumps({**result.summary(), **extra}, indent=2))
    elif not quiet:
        from ringsim.report.table import run_table

        show(run_table(result, faster))
        _suggest(file, overrides, seed, result, out)
    return 0 if result.outcome.is_success else COULD_NOT_FINISH


def _speed_up(loaded: Loaded, result: Result) -> float | None:
    """Return how many times as fast this was as the local twin, a sample for a sample."""
    from ringsim.comparing.playing import local_twin
    from ringsim.comparing.requirements import against_local
    from ringsim.simulation import simulate

    if not result.outcome.is_success:
        return None
    return against_local(result, simulate(local_twin(loaded.scenario))).speed_up


def _suggest(file: str, overrides: Sequence[str], seed: int | None, result: Result, out: Path | None) -> None:
    """Say what to do next, on stderr, so that stdout stays the table. What was set is set there too."""
    kept = [words for words in overrides if not words.startswith("strategy")]
    strategy = result.scenario.strategy
    remedies = {("ring", "abort"): "elastic", ("ring", "wait"): "elastic", ("parameter_server", "wait"): "timeout"}
    remedy = remedies.get((strategy.name, getattr(strategy, "on_failure", "")))
    if not result.outcome.is_success and remedy is not None:
        following = command_words("run", file, [*kept, f"strategy.on_failure={remedy}"], seed)
    elif strategy.name == "local":
        following = command_words("run", file, [*kept, "strategy.name=ring"], seed)
    else:
        following = f"{command_words('compare', file, kept, seed)} --strategies ring,parameter_server,local"
    if out is not None:
        click.echo(f"The run folder is {out}.", err=True)
    click.echo(f"Next: {following}", err=True)
