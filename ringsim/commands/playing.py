"""The commands `run` and `compare`: play scenarios, show what came out, and say what to do next.

What is not here: playing once more, and comparing with a record (`again.py`).
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ringsim.commands.wiring import (
    COULD_NOT_FINISH,
    arguments,
    file_,
    files_,
    json_,
    load,
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
    result = play(loaded, trace, shown=not (quiet or as_json), fidelity=fidelity)
    result = result.with_command(_command("run", file, overrides, seed))
    faster = _speed_up(loaded, result) if speed_up else None
    if out is not None:
        run_folder.write(result, out)
    if as_json:
        extra = {} if faster is None else {"speed_up": faster}
        click.echo(json.dumps({**result.summary(), **extra}, indent=2))
    elif not quiet:
        from ringsim.report.table import run_table

        show(run_table(result, faster))
        _suggest(file, result, out)
    return 0 if result.outcome.is_success else COULD_NOT_FINISH


@click.command()
@files_
@click.option("--strategies", help="Play each scenario under each of these, such as ring,parameter_server,local.")
@set_
@seed_
@json_
@quiet_
def compare(
    files: tuple[str, ...],
    strategies: str | None,
    overrides: tuple[str, ...],
    seed: int | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Play FILES side by side, under each strategy.

    The cluster, the samples and the faults are the same; the strategies differ.
    """
    from ringsim.report.table import compare_table, strategy_words

    variants = [None] if strategies is None else [name.strip() for name in strategies.split(",")]
    results: list[tuple[str, Result]] = []
    for file in files:
        for variant in variants:
            chosen = overrides if variant is None else (*overrides, f"strategy.name={variant}")
            loaded = load(file, chosen, seed, quiet=quiet)
            result = play(loaded, "steps", shown=not (quiet or as_json))
            command = _command("run", file, chosen, seed)
            several = len(files) > 1 or variant is None
            heading = "\n".join(
                [*([result.scenario.name] if several else []), strategy_words(result, "{name} ({policy})")]
            )
            results.append((heading, result.with_command(command)))
    if as_json:
        click.echo(json.dumps([result.summary() for _, result in results], indent=2))
    elif not quiet:
        show(compare_table(results))
    return 0


def _speed_up(loaded: Loaded, result: Result) -> float | None:
    """Return how many times as fast this was as the local twin, a step for a step."""
    from ringsim.scenario import Local
    from ringsim.simulation import simulate

    if not result.outcome.is_success:
        return None
    twin = simulate(loaded.scenario.model_copy(update={"strategy": Local(name="local"), "faults": ()}))
    if not result.steps or not result.virtual_time_ns:
        return None
    return (twin.virtual_time_ns / twin.steps) / (result.virtual_time_ns / result.steps)


def _command(command: str, file: str, overrides: Sequence[str], seed: int | None) -> str:
    return shlex.join(["ringsim", command, *arguments(file, overrides, seed)])


def _suggest(file: str, result: Result, out: Path | None) -> None:
    """Say what to do next, on stderr, so that stdout stays the table."""
    quoted = shlex.quote(file)
    strategy = result.scenario.strategy
    remedies = {("ring", "abort"): "elastic", ("ring", "wait"): "elastic", ("parameter_server", "wait"): "timeout"}
    remedy = remedies.get((strategy.name, getattr(strategy, "on_failure", "")))
    if not result.outcome.is_success and remedy is not None:
        following = f"ringsim run {quoted} --set strategy.on_failure={remedy}"
    elif strategy.name == "local":
        following = f"ringsim run {quoted} --set strategy.name=ring"
    else:
        following = f"ringsim compare {quoted} --strategies ring,parameter_server,local"
    if out is not None:
        click.echo(f"The run folder is {out}.", err=True)
    click.echo(f"Next: {following}", err=True)
