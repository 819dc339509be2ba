"""`scenarios/strategies/`: what each of them says in its first lines is what comes out, number by number.

What is not here: their golden records (`test_scenarios.py`).
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from ringsim import load, shipped, simulate
from ringsim.result import Result
from ringsim.scenario import STRATEGY_NAMES

FOLDER = "strategies/"
MS = 10**6


@cache
def played(name: str, *overrides: str) -> Result:
    return simulate(load(FOLDER + name, overrides).scenario)


def other(name: str, strategy: str, *overrides: str) -> Result:
    """Play a scenario with another strategy: its name, or its settings."""
    settings = strategy if strategy.startswith("{") else f"{{name: {strategy}}}"
    return played(name, f"strategy={settings}", *overrides)


def seconds(result: Result) -> str:
    return f"{result.virtual_time_ns / 1e9:.2f} s"


def step_ms(result: Result) -> str:
    return f"{result.virtual_time_ns / result.steps / MS:.1f} ms"


def busy(result: Result) -> float:
    """Return which part of the time workers compute."""
    return sum(node.compute_ns for node in result.nodes) / len(result.nodes) / result.virtual_time_ns


def percent(share: float | None) -> str:
    return f"{100 * (share or 0):.0f} %"


def right(result: Result) -> str:
    return percent(result.accuracy)


def megabytes(result: Result) -> str:
    return f"{result.payload_bytes_sent / 1e6:.1f} MB"


def staleness(result: Result) -> str:
    assert result.measures.staleness is not None
    return f"{result.measures.staleness.mean:.1f}"


def distance(result: Result) -> str:
    """Return the consensus distance, in the mean over the run."""
    told = [event.fields["distance"] for event in result.trace if event.kind == "consensus"]
    return f"{sum(told) / len(told):.2f}"


def ring_compressed() -> list[str]:
    own, full = played("ring_topk"), other("ring_topk", "ring")
    forgets = played("ring_topk", "strategy.compression.error_feedback=false")
    losses = [f"{result.metrics[-1].test_loss:.2f}" for result in (full, own, forgets)]
    return [
        f"{megabytes(own)} instead of {megabytes(full)}",
        f"{step_ms(own)} a step instead of {step_ms(full)}",
        "the loss at the end is {} with all of it, {} with 1 %, and {} if what is left out is forgotten".format(
            *losses
        ),
    ]


def parameter_server() -> list[str]:
    own, ring = played("parameter_server"), other("parameter_server", "ring")
    computing = own.nodes[0].compute_ns / own.steps / MS
    return [
        f"a step takes {step_ms(own)}, with a ring {step_ms(ring)}, {computing:.1f} ms of it computing in both",
        f"compute for {percent(busy(own))} of the time, in the ring for {percent(busy(ring))}",
    ]


def sharded() -> list[str]:
    own = played("parameter_server_sharded")
    one, ring = (other("parameter_server_sharded", kind) for kind in ("parameter_server", "ring"))
    return [f"a step takes {step_ms(own)}; with one server {step_ms(one)}, with a ring {step_ms(ring)}"]


def co_located() -> list[str]:
    own, ring = played("parameter_server_co_located"), other("parameter_server_co_located", "ring")
    assert own.payload_bytes_sent == ring.payload_bytes_sent
    less_ns = ring.virtual_time_ns - own.virtual_time_ns
    assert less_ns == pytest.approx(own.steps * 4 * 100_000, rel=1e-3), "2 (N - 2) path latencies"
    return [
        f"the very bytes of the ring, {megabytes(own)}",
        f"{less_ns / own.steps / MS:.1f} ms less a step: {step_ms(own)}, not {step_ms(ring)}",
    ]


def bounded_delay() -> list[str]:
    name = "parameter_server_bounded_delay"
    runs = [played(name, f"strategy.consistency.tau={tau}") for tau in (0, 2, 16)]
    idle = [percent(1 - busy(run)) for run in runs]
    return [
        "{} of the workers' time with tau 0, {} with 2, {} with 16".format(*idle),
        "{}, {} and {} updates old in the mean".format(*map(staleness, runs)),
        f"in step it takes {seconds(other(name, 'parameter_server'))}, with tau 16 {seconds(runs[2])}",
    ]


def ssp() -> list[str]:
    name = "parameter_server_ssp"
    runs = [played(name, f"strategy.consistency.slack={slack}") for slack in (0, 2, 48)]
    shares = [statistics.mean(seeds_right(name, slack)) for slack in (0, 2, 48)]
    delay = other(name, "{name: parameter_server, consistency: {kind: bounded_delay, tau: 2}}")
    return [
        f"sends {megabytes(runs[1])}, bounded delay {megabytes(delay)}",
        "{}, {} and {} updates old in the mean".format(*map(staleness, runs)),
        "{:.0f} %, {:.0f} % and {:.0f} % of the test samples are right in the mean of five seeds".format(*shares),
    ]


@cache
def seeds_right(name: str, slack: int) -> list[float]:
    """Return how many of a hundred test samples are right, with five seeds."""
    slack_of = f"strategy.consistency.slack={slack}"
    results = [played(name, slack_of, f"seed={seed}") for seed in range(7, 12)]
    return [100 * result.accuracy for result in results if result.accuracy is not None]


def asp() -> list[str]:
    own, in_step = played("parameter_server_asp"), other("parameter_server_asp", "parameter_server")
    delay = other("parameter_server_asp", "{name: parameter_server, consistency: bounded_delay}")
    return [
        f"{seconds(own)} for ten epochs, in step {seconds(in_step)}, with bounded delay {seconds(delay)}",
        f"{staleness(own)} updates old in the mean",
    ]


def model_parallel() -> list[str]:
    own, local = played("model_parallel"), other("model_parallel", "local")
    return [
        f"{seconds(own)}, one machine alone {seconds(local)}",
        f"compute for {percent(busy(own))} of the time",
    ]


def gpipe() -> list[str]:
    runs = [played("gpipe", f"strategy.micro_batches={pieces}") for pieces in (1, 4, 8, 32)]
    return [
        "{} in one piece, {} in 4, {} in 8 and {} in 32".format(*map(seconds, runs)),
        f"one machine alone takes {seconds(other('gpipe', 'local'))}",
    ]


def pipedream() -> list[str]:
    own, twin = played("pipedream"), other("pipedream", "local")
    gpipe, newest = other("pipedream", "gpipe"), played("pipedream", "strategy.stashing=false")
    stashes = {one.node: one.versions for one in own.measures.memory}
    assert stashes == {"node0": 4, "node1": 3, "node2": 2, "node3": 1}
    return [
        f"{seconds(own)}; GPipe takes {seconds(gpipe)}",
        f"{right(own)} of the test samples are right, and {right(twin)} with one machine",
        f"without stashing {right(newest)}",
    ]


def spectrain() -> list[str]:
    stashed, plain = other("spectrain", "pipedream"), "task.optimizer={kind: sgd, learning_rate: 0.1}"
    losses = [other("spectrain", name, plain).metrics[-1].test_loss or 0.0 for name in ("spectrain", "pipedream")]
    assert losses[0] > losses[1], "with plain gradient descent it is the worse of the two"
    ends = right(played("spectrain")), right(stashed), right(other("spectrain", "local"))
    return ["{} of the test samples are right; {} with PipeDream, {} with one machine".format(*ends)]


def local_sgd() -> list[str]:
    runs = [played("local_sgd", f"strategy.average_every={every}") for every in (1, 4, 16)]
    return [
        "{}, {} and {} for ten epochs, {}, {} and {}".format(*map(seconds, runs), *map(megabytes, runs)),
        "distance of {}, {} and {}".format(*map(distance, runs)),
    ]


def diloco() -> list[str]:
    own, plain = played("diloco"), other("diloco", "{name: local_sgd, average_every: 4}")
    return [
        f"{right(own)} of the test samples are right, with local_sgd {right(plain)}",
        f"both send {megabytes(own)}",
    ]


def dpsgd() -> list[str]:
    runs = [played("dpsgd", "cluster.nodes=8", f"strategy.graph={graph}") for graph in ("ring", "full")]
    ring = other("dpsgd", "ring")
    own = played("dpsgd")
    return [
        f"{step_ms(own)} a step, with an all-reduce {step_ms(ring)}",
        "{} on a ring and {} if all are neighbours, for which {} and {} are sent".format(
            *map(distance, runs), *map(megabytes, runs)
        ),
    ]


def gossip() -> list[str]:
    own, ring = played("gossip"), other("gossip", "ring")
    return [
        f"{megabytes(own)} are sent, with a ring {megabytes(ring)}",
        f"{percent(busy(own))} of the time",
        f"{right(own)} of the test samples are right, with the ring {right(ring)}",
    ]


def adpsgd() -> list[str]:
    slow = "cluster.nodes=[{name: node0}, {name: node1, speed: 250 MFLOP/s}, {name: node2}, {name: node3}]"

    def done(result: Result) -> str:
        """Return when node0 had made its last update."""
        last = max(event.time_ns for event in result.trace if event.kind == "update" and event.node == "node0")
        return f"{last / 1e9:.2f} s"

    own, in_step = played("adpsgd", slow), other("adpsgd", "dpsgd", slow)
    return [f"after {done(own)}, as if nobody were slow; with dpsgd after {done(in_step)}"]


CLAIMS: dict[str, Callable[[], list[str]]] = {
    "ring_topk": ring_compressed,
    "parameter_server": parameter_server,
    "parameter_server_sharded": sharded,
    "parameter_server_co_located": co_located,
    "parameter_server_bounded_delay": bounded_delay,
    "parameter_server_ssp": ssp,
    "parameter_server_asp": asp,
    "model_parallel": model_parallel,
    "gpipe": gpipe,
    "pipedream": pipedream,
    "spectrain": spectrain,
    "local_sgd": local_sgd,
    "diloco": diloco,
    "dpsgd": dpsgd,
    "gossip": gossip,
    "adpsgd": adpsgd,
}


@pytest.mark.parametrize("name", CLAIMS)
def test_it_answers_with_what_comes_out(name: str) -> None:
    lines = shipped.find(FOLDER + name).read_text(encoding="utf-8").splitlines()
    words = " ".join(line.lstrip("# ") for line in lines if line.startswith("#"))
    for phrase in CLAIMS[name]():
        assert phrase in words


def test_every_strategy_has_a_scenario() -> None:
    there = {name.removeprefix(FOLDER) for name in shipped.names() if name.startswith(FOLDER)}
    assert there == {*CLAIMS, "ring"}, "ring is held to its claims in test_scenarios.py"
    strategies = {load(FOLDER + name).scenario.strategy.name for name in there}
    assert strategies == {*STRATEGY_NAMES} - {"local"}, "local is what each of them is compared with"


# --- the tables of the manual -----------------------------------------------------------------------------------------

DOCS = Path(__file__).parents[1] / "docs"
MOMENTUM = "task.optimizer={kind: momentum, learning_rate: 0.01, momentum: 0.9}"


def rows(page: str, heading: str) -> list[list[str]]:
    """Return the cells of a page's one table that begins with these headings."""
    lines = [*(DOCS / page).read_text(encoding="utf-8").splitlines(), ""]
    (begin,) = [number for number, line in enumerate(lines) if line.startswith(heading)]
    found = [
        [cell.strip() for cell in line.strip("| ").split("|")] for line in lines[begin + 2 : lines.index("", begin)]
    ]
    assert len(found) > 3
    return found


def test_the_table_of_consistency() -> None:
    for kind, *cells in rows("strategies.md", "| `consistency` | idle |"):
        settings = f"{{name: parameter_server, consistency: {kind.strip('`')}}}"
        result = other("parameter_server_bounded_delay", settings)
        stale = "–" if result.measures.staleness is None else staleness(result)
        assert cells == [percent(1 - busy(result)), stale, right(result), seconds(result), megabytes(result)], kind
    spread = seeds_right("parameter_server_ssp", 16)
    text = f"between {min(spread):.0f} % and {max(spread):.0f} % with five seeds"
    assert text in (DOCS / "strategies.md").read_text(encoding="utf-8")


def test_the_table_of_compression() -> None:
    for kind, *cells in rows("strategies.md", "| `compression` | a step |"):
        compression = "" if kind == "none" else f", compression: {kind.strip('`')}"
        result = other("ring_topk", f"{{name: ring{compression}}}")
        loss = f"{result.metrics[-1].test_loss:.2f}"
        assert cells == [step_ms(result), megabytes(result), right(result), loss], kind


def test_the_table_of_pipelines() -> None:
    for strategy, *cells in rows("pipelines.md", "| strategy | takes | busy | versions |"):
        result, smooth = (other("pipedream", strategy.strip("`"), *optimizer) for optimizer in ((), (MOMENTUM,)))
        first = result.measures.memory[0]
        kept = [f"{first.versions}", f"{first.size_bytes / 1e3:.0f} KB"]
        assert cells == [seconds(result), percent(busy(result)), *kept, right(result), right(smooth)], strategy


def test_no_pipeline_is_busier_than_its_largest_stage_allows() -> None:
    flop = [64 * 128, 128 * 64, 64 * 32, 32 * 10]
    assert percent(sum(flop) / (4 * max(flop))) in (DOCS / "pipelines.md").read_text(encoding="utf-8")


def test_the_table_of_replicas() -> None:
    for strategy, *cells in rows("decentralised.md", "| strategy | takes | sent | busy | distance |"):
        result = other("dpsgd", strategy.strip("`"))
        apart = "–" if result.measures.consensus is None else distance(result)
        assert cells == [seconds(result), megabytes(result), percent(busy(result)), apart, right(result)], strategy
