"""The commands `collective`, `inspect` and `bench`: a network alone, and ringsim's own speed.

What is not here: what is measured (`measure.py`, `inspection.py`, `bench/`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from ringsim.commands.wiring import ctrl_c, file_, json_, load, set_, show
from ringsim.errors import ScenarioInvalid, UsageError

if TYPE_CHECKING:
    from ringsim.scenario import Scenario


@click.command()
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


@click.command()
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


@click.command()
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
