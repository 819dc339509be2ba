"""The command `compare`: ways of training side by side, on the same machines, samples, seed and faults.

What is not here: reading what `--strategies` says and playing it (`ringsim/comparing/`), and the tables.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from ringsim.commands.wiring import command_words, files_, json_, load, placed, play, quiet_, seed_, set_, show
from ringsim.errors import (
    DataUnavailable,
    EnvironmentRefused,
    InvariantBroken,
    RingsimError,
    ScenarioInvalid,
    UsageError,
)

if TYPE_CHECKING:
    from ringsim.comparing.entries import Entry
    from ringsim.comparing.playing import Arena, Standing
    from ringsim.result import Result


@click.command()
@files_
@click.option(
    "--strategies",
    metavar="LIST",
    help="Play each scenario under each of these: ring,parameter_server,local; with a policy, ring:elastic; with "
    "settings, '{name: ring, order: topology}'; as in a shipped scenario, or FILE.yaml; or all.",
)
@click.option("--crashes", is_flag=True, help="Play the death of each machine as well: fault tolerance as it was seen.")
@click.option("--explain", is_flag=True, help="Say how each of the four requirements is measured.")
@set_
@seed_
@json_
@quiet_
def compare(
    files: tuple[str, ...],
    strategies: str | None,
    crashes: bool,
    explain: bool,
    overrides: tuple[str, ...],
    seed: int | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Play FILES side by side, under each strategy.

    The cluster, the samples and the faults are the same; the strategies differ. Each is held against local training.
    """
    from ringsim.comparing.entries import Entry, entries
    from ringsim.comparing.playing import Arena
    from ringsim.learning.memo import Memo
    from ringsim.report.comparison import comparison

    listed = (Entry("", ()),) if strategies is None else entries(strategies)
    memo = Memo()
    arena = Arena(lambda scenario: play(scenario, "steps", shown=not (quiet or as_json), memo=memo))
    several = len(files) > 1 or strategies is None
    standings = [
        _standing(arena, file, entry, (*overrides, *entry.overrides), seed, crashes, several, quiet)
        for file in files
        for entry in listed
    ]
    if as_json:
        click.echo(json.dumps([standing.line() for standing in standings], indent=2))
    elif not quiet:
        show(comparison(standings, explain))
        if not explain:
            click.echo("What the four requirements are, and how each is measured: --explain", err=True)
    return 0


def _standing(
    arena: Arena,
    file: str,
    entry: Entry,
    overrides: Sequence[str],
    seed: int | None,
    crashes: bool,
    several: bool,
    quiet: bool,
) -> Standing:
    """Play one entry on one file. What a scenario cannot have is a mistake if it was asked for by itself."""
    from ringsim.comparing.playing import Standing

    try:
        loaded = load(file, overrides, seed, quiet=quiet)
        with placed(loaded):
            standing = arena.standing(_heading(several, entry), loaded.scenario, crashes)
    except (DataUnavailable, EnvironmentRefused, InvariantBroken):
        raise
    except RingsimError as error:
        if not entry.is_asked and not _is_of_data(error):
            return Standing((*([file] if several else []), entry.words), reason=_reason(error))
        if isinstance(error, ScenarioInvalid) and entry.words and _is_of_strategy(error):
            load(file, (), seed, quiet=True)  # If the file itself is wrong, that is what to say.
            raise UsageError(f"--strategies {entry.words}: {_reason(error)}") from None
        raise
    return standing.with_command(command_words("run", file, overrides, seed))


def _heading(several: bool, entry: Entry) -> Callable[[Result], tuple[str, ...]]:
    """Return what makes the heading of an entry's run: its scenario where there are several, and how it trains."""

    def heading(result: Result) -> tuple[str, ...]:
        from ringsim.report.table import strategy_words
        from ringsim.scenario import STRATEGY_NAMES

        words = strategy_words(result, "{name} ({policy})")
        if entry.words.startswith("{"):  # Two entries with settings may be one strategy with one policy.
            words = entry.words.strip("{} ").removeprefix("name: ")
        elif entry.words and entry.words.partition(":")[0] not in STRATEGY_NAMES:
            words = entry.words  # another file's
        return (*([result.scenario.name] if several else []), words)

    return heading


def _is_of_strategy(error: ScenarioInvalid) -> bool:
    return all(problem.path.startswith("strategy") for problem in error.problems)


def _is_of_data(error: RingsimError) -> bool:
    """Say whether no strategy could have played this: the data themselves are mistaken."""
    paths = [problem.path for problem in error.problems] if isinstance(error, ScenarioInvalid) else []
    return any(path.startswith("task.dataset") for path in paths)


def _reason(error: RingsimError) -> str:
    """Return the sentences of an error, without the place in a file that nobody wrote."""
    if isinstance(error, ScenarioInvalid):
        return "; ".join(f"{problem.path}: {problem.sentence}" for problem in error.problems)
    return str(error)
