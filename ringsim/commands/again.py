"""The commands `record`, `verify` and `check`: the same run again, and whether it is the same.

What is not here: what is compared (`records.py`, `checking/`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ringsim.commands.wiring import (
    NOT_MET,
    arguments,
    complain,
    file_,
    files_,
    json_,
    load,
    placed,
    play,
    seed_,
    set_,
    show,
)
from ringsim.errors import UsageError

if TYPE_CHECKING:
    from ringsim.checking.replay import Finding


@click.command()
@files_
def record(files: tuple[str, ...]) -> int:
    """Play FILES and write a golden record beside each.

    It holds the digests, the key figures and the environment.
    """
    from ringsim import records, shipped
    from ringsim.report.run_folder import write_whole

    for file in files:
        path = shipped.find(file)
        if path != Path(file):
            raise UsageError(f"{file} is ringsim's own, with its own record; copy {path} first, and record the copy")
        loaded = load(file, (), None, quiet=False)
        with placed(loaded):
            result = play(loaded.scenario, "steps", shown=True)
        target = records.record_path(path)
        there = "replaced" if target.exists() else "new"
        write_whole(target, json.dumps(records.make(result), indent=1) + "\n")
        click.echo(f"{target} ({there}): {result.outcome_sentence}")
    return 0


@click.command()
@files_
@json_
def verify(files: tuple[str, ...], as_json: bool) -> int:
    """Play FILES and compare them with their golden records."""
    from ringsim import records, shipped

    known = [(file, records.read(records.record_path(shipped.find(file)))) for file in files]
    report = []
    for file, golden in known:
        loaded = load(file, (), None, quiet=as_json)
        with placed(loaded):
            result = play(loaded.scenario, "steps", shown=not as_json)
        verdict = records.verify(result, golden)
        report.append({"file": file, "met": verdict.difference is None, **vars(verdict)})
        if not as_json:
            met = f"as recorded (schedule exactly, numbers {verdict.numbers})"
            click.echo(f"{file}: {verdict.difference or met}")
    if as_json:
        click.echo(json.dumps(report, indent=2))
    return 0 if all(line["met"] for line in report) else NOT_MET


@click.command()
@file_
@click.option("--all", "under_all", is_flag=True, help="Play it under every condition that must not matter.")
@set_
@seed_
@json_
def check(file: str, under_all: bool, overrides: tuple[str, ...], seed: int | None, as_json: bool) -> int:
    """Play FILE twice, and name any difference.

    The second time is in another process, with another number of cores and another hash seed. With --all it is played
    under each of a list of conditions, among them other threads, flags and caches.
    """
    from ringsim.checking.conditions import CONDITIONS, another_process
    from ringsim.checking.replay import replay
    from ringsim.report.progress import counted

    conditions = CONDITIONS if under_all else (another_process(),)
    loaded = load(file, overrides, seed, quiet=as_json)
    with placed(loaded):
        result = play(loaded.scenario, "steps", shown=not as_json)
    with counted("checking", len(conditions), shown=under_all and not as_json) as tell:
        findings = replay(result, arguments(file, overrides, seed), conditions, tell)
    digests = {"schedule": result.schedule_digest, "numbers": result.numbers_digest}
    (_tell_all if under_all else _tell_one)(findings, digests, as_json)
    return NOT_MET if any(finding.verdict == "differs" for finding in findings) else 0


def _tell_one(findings: Sequence[Finding], digests: Mapping[str, str], as_json: bool) -> None:
    (again,) = findings
    difference = again.words or None
    if as_json:
        click.echo(json.dumps({"how": again.condition, "difference": difference, "digest": digests}, indent=2))
    elif difference is None:
        click.echo(f"the same, event by event and bit by bit, in {again.condition}")
        for name, value in digests.items():
            click.echo(f"{name:8}  {value}")
    else:
        complain(f"not the same in {again.condition}; the first difference: {difference}")


def _tell_all(findings: Sequence[Finding], digests: Mapping[str, str], as_json: bool) -> None:
    from ringsim.report.checking import condition_table

    different = [finding.condition for finding in findings if finding.verdict == "differs"]
    if as_json:
        rows = [asdict(finding) for finding in findings]
        click.echo(json.dumps({"met": not different, "conditions": rows, "digest": digests}, indent=2))
        return
    show(condition_table(findings, digests))
    if different:
        complain(f"not the same under: {'; '.join(different)}")
