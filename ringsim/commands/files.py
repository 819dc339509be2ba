"""The commands `list`, `validate`, `schema` and `new`: scenario files, without playing them.

What is not here: what a scenario may say (`scenario/`, `scenario_file/`).
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click

from ringsim.commands.wiring import files_, json_, load, set_
from ringsim.errors import ScenarioInvalid, UsageError


@click.command("list")
@json_
def list_(as_json: bool) -> int:
    """Show the shipped scenarios and the question each of them asks."""
    from ringsim import shipped

    found = {name: shipped.question(shipped.find(name)) for name in shipped.names()}
    if as_json:
        click.echo(json.dumps([{"name": name, "question": question} for name, question in found.items()], indent=2))
        return 0
    width = max(map(len, found), default=0)
    for name, question in found.items():
        click.echo(
            click.wrap_text(question, 100, initial_indent=f"{name:{width}}  ", subsequent_indent=" " * (width + 2))
        )
    click.echo("\nPlay one with: ringsim run NAME")
    return 0


@click.command()
@files_
@set_
@json_
def validate(files: tuple[str, ...], overrides: tuple[str, ...], as_json: bool) -> int:
    """Find every mistake in FILES, without playing them."""

    report, worst = [], 0
    for file in files:
        try:
            loaded = load(file, overrides, None, quiet=True)
        except ScenarioInvalid as error:
            worst = error.exit_code
            problems = [vars(problem) for problem in error.problems]
            report.append({"file": file, "valid": False, "problems": problems})
            if not as_json:
                click.echo(str(error), err=True)
        else:
            report.append({"file": file, "valid": True, "problems": []})
            if not as_json:
                click.echo(f"{file}: valid ({loaded.scenario.name})")
    if as_json:
        click.echo(json.dumps(report, indent=2))
    return worst


@click.command()
def schema() -> int:
    """Print the JSON Schema of a scenario file, for editors."""
    from ringsim.scenario_file.schema import json_schema

    click.echo(json.dumps(json_schema(), indent=2))
    return 0


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--nodes", type=click.IntRange(1, 100_000), default=4, show_default=True, help="Machines.")
def new(file: Path, nodes: int) -> int:
    """Write a commented scenario to FILE, which must not exist yet."""
    from ringsim.report.run_folder import write_whole
    from ringsim.scenario_file import template

    if file.exists():
        raise UsageError(f"{file} exists already; give another name, or remove it first")
    if file.suffix not in (".yaml", ".yml"):
        raise UsageError(f"{file} should end in .yaml")
    write_whole(file, template(nodes, _scenario_name(file)))
    click.echo(f"wrote {file}; play it with: ringsim run {shlex.quote(str(file))}")
    click.echo("For completion in an editor, once in its folder: ringsim schema > ringsim.schema.json", err=True)
    return 0


def _scenario_name(file: Path) -> str:
    name = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "_-") else "_" for letter in file.stem)
    return name if name[:1].isalnum() else f"s{name}"
