"""The commands `record`, `verify` and `check`: the same run again, and whether it is the same.

What is not here: what is compared (`records.py`, `check.py`).
"""

from __future__ import annotations

import json
from pathlib import Path

import click

from ringsim.commands.wiring import NOT_MET, arguments, complain, file_, files_, json_, load, placed, play, seed_, set_
from ringsim.errors import UsageError


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
@set_
@seed_
@json_
def check(file: str, overrides: tuple[str, ...], seed: int | None, as_json: bool) -> int:
    """Play FILE twice, and name any difference.

    The second time is in another process, with another number of cores and another hash seed.
    """
    from ringsim.check import replay

    loaded = load(file, overrides, seed, quiet=as_json)
    with placed(loaded):
        result = play(loaded.scenario, "steps", shown=not as_json)
    again = replay(result, arguments(file, overrides, seed))
    digests = {"schedule": result.schedule_digest, "numbers": result.numbers_digest}
    if as_json:
        click.echo(json.dumps({**vars(again), "digest": digests}, indent=2))
    elif again.difference is None:
        click.echo(f"the same, event by event and bit by bit, in {again.how}")
        for name, value in digests.items():
            click.echo(f"{name:8}  {value}")
    else:
        complain(f"not the same in {again.how}; the first difference: {again.difference}")
    return 0 if again.difference is None else NOT_MET
