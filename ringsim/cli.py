"""The command line: parse, call, show. Data goes to stdout, progress and errors to stderr.

Exit codes: 0 finished, 1 a fault in ringsim itself, 2 usage, 3 the scenario is invalid, 4 the simulated training could
not finish, 5 an expectation or a golden record is not met, 130 Ctrl-C. Nothing heavy is imported before a command
needs it: `--help` and `validate` know neither jax nor numpy. What is not here: anything but words and wiring.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ringsim import __version__
from ringsim.commands.monkey import monkey
from ringsim.commands.wiring import (
    COULD_NOT_FINISH,
    CTRL_C,
    FAULT_IN_RINGSIM,
    NOT_MET,
    complain,
    ctrl_c,
    file_,
    files_,
    json_,
    load,
    quiet_,
    seed_,
    set_,
    show,
)
from ringsim.errors import RingsimError, ScenarioInvalid, UsageError

if TYPE_CHECKING:
    from ringsim.result import Result
    from ringsim.scenario import Scenario
    from ringsim.scenario_file import Loaded
    from ringsim.trace import Event


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    sys.exit(run_command(arguments))


def run_command(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code. Every error is a sentence, never a traceback."""
    try:
        code = cli.main(args=None if arguments is None else list(arguments), prog_name="ringsim", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except ScenarioInvalid as error:
        # No prefix: editors and CI look for `file:line:column:` at the beginning of a line.
        click.echo(str(error), err=True)
        return error.exit_code
    except RingsimError as error:
        complain(str(error))
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return UsageError.exit_code
    except click.ClickException as error:
        error.show()
        return UsageError.exit_code
    except (KeyboardInterrupt, click.Abort):
        complain("stopped")
        return CTRL_C
    except SystemExit:
        return 0  # So click ends when whoever read our output has gone: there is nobody left to tell.
    except OSError as error:
        complain(f"cannot write: {error.strerror or error}")
        return UsageError.exit_code
    except Exception as error:
        if "RINGSIM_TRACEBACK" in os.environ:
            raise
        complain(
            f"a fault in ringsim itself: {type(error).__name__}: {error}\n"
            "Set RINGSIM_TRACEBACK=1 to see where, and please report it with the scenario."
        )
        return FAULT_IN_RINGSIM


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}, no_args_is_help=True)
@click.version_option(__version__, prog_name="ringsim")
def cli() -> None:
    """A deterministic laboratory for distributed training: virtual time, real gradients, the same digest every run.

    Start with:  ringsim run 4node_fail
    """


# --- playing ----------------------------------------------------------------------------------------------------------


@cli.command()
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
    result = _play(loaded, trace, shown=not (quiet or as_json), fidelity=fidelity)
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


@cli.command()
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
            result = _play(loaded, "steps", shown=not (quiet or as_json))
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


@cli.command()
@click.argument("file", required=False)
@click.option("--topology", metavar="NAME", help="How machines are linked, such as star.")
@click.option("--nodes", metavar="NUMBER", help="Machines.  [default: 8]")
@click.option("--bandwidth", metavar="RATE", help='Of each link and direction.  [default: "50 Mbit/s"]')
@click.option("--latency", metavar="DURATION", help='Of each link.  [default: "20 us"]')
@click.option("--transport", metavar="NAME", help="What travels beside the payload, such as ideal or framed.")
@click.option("--algorithm", metavar="NAMES", default="ring,tree", show_default=True, help="Collectives to measure.")
@click.option(
    "--size",
    metavar="SIZES",
    default="4KB:4MB:x10",
    show_default=True,
    help="Of the vector: a list, or from:to:xFACTOR.",
)
@click.option(
    "--fidelity",
    type=click.Choice(["auto", "message"]),
    default="auto",
    show_default=True,
    help="message: play every message, also where nothing disturbs them.",
)
@set_
@json_
def collective(
    file: str | None,
    algorithm: str,
    size: str,
    fidelity: Any,
    overrides: tuple[str, ...],
    as_json: bool,
    **options: str | None,
) -> int:
    """Time collectives alone on a network, by size: the nccl-tests of the simulator.

    The network is that of FILE, a scenario, or a star of equal machines. Options that are given change it.
    """
    scenario = _scenario_of_cluster(file, options, overrides, quiet=as_json)
    from ringsim.measure import compare, sizes_of
    from ringsim.report.progress import counted

    names = list(dict.fromkeys(name.strip() for name in algorithm.split(",")))
    sizes = sizes_of(size)
    with counted("measuring", len(names) * len(sizes), shown=not as_json) as done, ctrl_c():
        found = compare(scenario.cluster, names, sizes, fidelity, lambda: done(1), scenario.seed)
    if as_json:
        click.echo(json.dumps([one.summary() for one in found.measurements], indent=2))
    else:
        from ringsim.report.collective import collective_table

        show(collective_table(found))
    return 0


@cli.command()
@click.option("--only", metavar="NAMES", help="These rows alone, such as messages_64,validate.")
@click.option("--quick", is_flag=True, help="Leave out the rows that take minutes, or thousands of machines.")
@json_
def bench(only: str | None, quick: bool, as_json: bool) -> int:
    """Measure how fast ringsim is, beside references in the same process.

    What counts is the ratio of two times that were taken in turn. A bar that is not met is a figure, not an error.
    """
    from ringsim.bench.stopwatch import measure
    from ringsim.bench.suite import chosen

    figures = []
    for case in chosen(only, quick=quick):
        if not as_json:
            click.echo(f"measuring {case.name} ...", err=True)
        with ctrl_c():
            figures.append(measure(case))
    if as_json:
        click.echo(json.dumps([figure.summary() for figure in figures], indent=2))
    else:
        from ringsim.report.bench import bench_table

        show(bench_table(figures))
    return 0


@cli.command("list")
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


cli.add_command(monkey)


# --- scenario files ---------------------------------------------------------------------------------------------------


@cli.command()
@files_
@set_
@json_
def validate(files: tuple[str, ...], overrides: tuple[str, ...], as_json: bool) -> int:
    """Find every mistake in FILES, without playing them."""
    from ringsim.errors import ScenarioInvalid

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


@cli.command()
@file_
@set_
@click.option("--from", "source", metavar="MACHINE", help="With --to: tell the route between two machines.")
@click.option("--to", "target", metavar="MACHINE", help="With --from.")
@click.option("--collective", metavar="NAME", help="Tell which links its connections share, such as ring or tree.")
@json_
def inspect(
    file: str,
    overrides: tuple[str, ...],
    source: str | None,
    target: str | None,
    collective: str | None,
    as_json: bool,
) -> int:
    """Look at the network of FILE, without playing it: links, distances, routes, what is shared."""
    if (source is None) != (target is None):
        raise UsageError("--from and --to belong together; give two machines, such as --from node0 --to node1")
    loaded = load(file, overrides, None, quiet=as_json)
    from ringsim import inspection

    way = None if source is None or target is None else (source, target)
    found = inspection.inspect(loaded.scenario, way, collective)
    if as_json:
        click.echo(json.dumps(inspection.summary(found), indent=2))
    else:
        from ringsim.report.inspection import inspection_table

        show(inspection_table(found))
    return 0


@cli.command()
def schema() -> int:
    """Print the JSON Schema of a scenario file, for editors."""
    from ringsim.scenario_file.schema import json_schema

    click.echo(json.dumps(json_schema(), indent=2))
    return 0


@cli.command()
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


# --- the same again ---------------------------------------------------------------------------------------------------


@cli.command()
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
        result = _play(load(file, (), None, quiet=False), "steps", shown=True)
        target = records.record_path(path)
        there = "replaced" if target.exists() else "new"
        write_whole(target, json.dumps(records.make(result), indent=1) + "\n")
        click.echo(f"{target} ({there}): {result.outcome_sentence}")
    return 0


@cli.command()
@files_
@json_
def verify(files: tuple[str, ...], as_json: bool) -> int:
    """Play FILES and compare them with their golden records."""
    from ringsim import records, shipped

    known = [(file, records.read(records.record_path(shipped.find(file)))) for file in files]
    report = []
    for file, golden in known:
        result = _play(load(file, (), None, quiet=as_json), "steps", shown=not as_json)
        verdict = records.verify(result, golden)
        report.append({"file": file, "met": verdict.difference is None, **vars(verdict)})
        if not as_json:
            met = f"as recorded (schedule exactly, numbers {verdict.numbers})"
            click.echo(f"{file}: {verdict.difference or met}")
    if as_json:
        click.echo(json.dumps(report, indent=2))
    return 0 if all(line["met"] for line in report) else NOT_MET


@cli.command()
@file_
@set_
@seed_
@json_
def check(file: str, overrides: tuple[str, ...], seed: int | None, as_json: bool) -> int:
    """Play FILE twice, and name any difference.

    The second time is in another process, with another number of cores and another hash seed.
    """
    from ringsim.check import replay

    result = _play(load(file, overrides, seed, quiet=as_json), "steps", shown=not as_json)
    again = replay(result, _arguments(file, overrides, seed))
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


# --- wiring -----------------------------------------------------------------------------------------------------------


# The options of `collective` that change the network, and the keys that they stand for.
_NETWORK = {
    "nodes": "cluster.nodes",
    "topology": "cluster.network.topology",
    "bandwidth": "cluster.network.bandwidth",
    "latency": "cluster.network.latency",
    "transport": "cluster.network.transport",
}
_EIGHT_MACHINES = """
name: collective
task: {steps: 1}
cluster: {nodes: 8, network: {bandwidth: 50 Mbit/s, latency: 20 us}}
strategy: {name: local}
"""


def _scenario_of_cluster(
    file: str | None, options: Mapping[str, str | None], overrides: Sequence[str], quiet: bool
) -> Scenario:
    """Return a scenario, or one of eight machines, with what the options say of its cluster. Mistakes name the option.

    Only its cluster and its seed mean anything, and only these may be set.
    """
    from ringsim import scenario_file

    for words in overrides:
        key = words.partition("=")[0].strip()
        if key != "seed" and key.partition(".")[0] != "cluster":
            raise UsageError(
                f"--set {words}: a collective alone has only a cluster and a seed; "
                "set one of their keys, such as cluster.network.message_overhead"
            )
    given = {f"--set {_NETWORK[name]}={text}": f"--{name} {text}" for name, text in options.items() if text is not None}
    sets = [*(words.removeprefix("--set ") for words in given), *overrides]
    try:
        if file is not None:
            # Faults are not played here, and need not fit the machines that the options leave.
            return load(file, ["faults=[]", *sets], None, quiet).scenario
        return scenario_file.parse(_EIGHT_MACHINES, "<eight machines>", sets).scenario
    except ScenarioInvalid as error:
        raise ScenarioInvalid(
            tuple(replace(problem, place=given.get(problem.place, problem.place)) for problem in error.problems)
        ) from None


def _play(loaded: Loaded, trace: Any, *, shown: bool, fidelity: Any = "auto") -> Result:
    from ringsim.report.progress import progress
    from ringsim.simulation import simulate

    with progress(loaded.scenario, shown=shown) as watch, ctrl_c() as pressed:

        def look(event: Event) -> None:
            if pressed:
                raise KeyboardInterrupt
            if watch is not None:
                watch(event)

        return simulate(loaded.scenario, trace=trace, fidelity=fidelity, watch=look)


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


def _arguments(file: str, overrides: Sequence[str], seed: int | None) -> list[str]:
    sets = [part for override in overrides for part in ("--set", override)]
    return [file, *sets, *([] if seed is None else ["--seed", str(seed)])]


def _command(command: str, file: str, overrides: Sequence[str], seed: int | None) -> str:
    return shlex.join(["ringsim", command, *_arguments(file, overrides, seed)])


def _scenario_name(file: Path) -> str:
    name = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "_-") else "_" for letter in file.stem)
    return name if name[:1].isalnum() else f"s{name}"


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
