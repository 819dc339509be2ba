"""`ringsim compare`: what its entries mean, what it prints, and the four requirements."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ringsim import load, parse, simulate
from ringsim.cli import run_command
from ringsim.commands import comparing as command
from ringsim.comparing.entries import Entry, entries, split
from ringsim.comparing.playing import Arena, Standing, local_twin
from ringsim.comparing.requirements import DEFINITIONS, against_local, machines, played_tolerance, promised_tolerance
from ringsim.errors import UsageError
from ringsim.report.comparison import MOST_COLUMNS, WIDTH, comparison
from ringsim.result import Result
from ringsim.scenario import STRATEGY_NAMES, Scenario, policies

DOCS = Path(__file__).parents[1] / "docs"

SMALL = """
name: small
task: {dataset: {kind: synthetic, samples: 64}, model: {kind: softmax}, steps: 3, batch_size: 4, evaluate_every: 1}
cluster: {nodes: 3, speed: 10 MFLOP/s, network: {bandwidth: 10 Mbit/s}}
strategy: {name: ring, on_failure: elastic}
"""


@pytest.fixture
def small(tmp_path: Path) -> str:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return str(path)


def compared(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    assert run_command(["compare", *arguments, "--json"]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


# --- entries ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("ring", ["ring"]),
        ("a, b ,c", ["a", "b", "c"]),
        ("{name: a, b: [1, 2], c: {d: 1, e: 2}},f", ["{name: a, b: [1, 2], c: {d: 1, e: 2}}", "f"]),
        ("{name: 'a,}', b: \"]{\"},c", ["{name: 'a,}', b: \"]{\"}", "c"]),
        ("a,,b", ["a", "", "b"]),
    ],
)
def test_commas_in_brackets_and_quotes_part_nothing(text: str, parts: list[str]) -> None:
    assert split(text) == parts


def test_entries_are_overrides() -> None:
    assert entries("ring:elastic, local") == (
        Entry("ring:elastic", ("strategy.name=ring", "strategy.on_failure=elastic")),
        Entry("local", ("strategy.name=local",)),
    )
    every = entries("all")
    assert [entry.words for entry in every] == list(STRATEGY_NAMES)
    assert not any(entry.is_asked for entry in every)
    assert [entry.words for entry in entries("ring:all")] == [f"ring:{policy}" for policy in policies("ring")]
    (of_file,) = entries("server_chain")
    settings = load("4node", of_file.overrides).scenario.strategy
    assert settings == load("server_chain").scenario.strategy


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("rong", 'there is no strategy "rong"; did you mean "ring"?'),
        ("quantum", 'there is no strategy "quantum"; choose local, '),
        ("ring,,local", "--strategies: choose local, "),
        ("server_chian", 'did you mean "server_chain"?'),
        ("ring:elstic", '--strategies ring:elstic: ring has no failure policy "elstic"; did you mean "elastic"?'),
        ("ring:x", 'ring has no failure policy "x"; it has abort, elastic, wait, spares and peer_recovery'),
        ("local:wait", 'local has no failure policy "wait"; it has none'),
        ("{name: rong}", 'there is no strategy "rong"; did you mean "ring"?'),
        ("{on_failure: wait}", "name the strategy, such as {name: ring, on_failure: elastic}"),
        ("{name: ring", "a } is missing at the end"),
        ("{name: [ring}, local", "a ] is missing at the end"),
        ("{name: ring]}", "--strategies {name: ring]}: "),
        ("{name: [ring]}", 'there is no strategy "'),
        ("no_such.yaml", "no_such.yaml"),
    ],
)
def test_an_entry_that_means_nothing_is_a_sentence_and_code_2(
    text: str, sentence: str, small: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["compare", small, "--strategies", text]) == 2
    said = capsys.readouterr()
    assert sentence in said.err
    assert "Traceback" not in said.err
    assert said.out == ""


@pytest.mark.parametrize("entry", ["{name: ring, on_failre: elastic}", "{name: ring, timeout: 3}"])
def test_settings_that_a_strategy_does_not_have_are_the_entry_s_mistake(
    entry: str, small: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["compare", small, "--strategies", entry]) == 2
    assert f"error: --strategies {entry}: strategy." in capsys.readouterr().err


def test_a_mistake_of_the_file_is_told_as_such(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path(small).write_text(SMALL.replace("nodes: 3", "nods: 3"))
    assert run_command(["compare", small, "--strategies", "ring"]) == 3
    assert capsys.readouterr().err.startswith(f"{small}:4:")
    Path(small).write_text(SMALL.replace("on_failure: elastic", "on_failre: elastic"))
    assert run_command(["compare", small, "--strategies", "{name: ring}", "--set", "seed=3"]) == 0
    capsys.readouterr()


# --- playing ----------------------------------------------------------------------------------------------------------


def test_settings_of_the_file_hold_on_for_a_name_and_not_for_a_mapping(
    small: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (small, "--strategies", "ring,{name: ring},ring:wait,server_chain")
    nodes = [{memory["node"] for memory in line["memory"]} for line in compared(capsys, *arguments)]
    assert ["rendezvous" in names for names in nodes] == [True, False, True, False]
    assert run_command(["compare", *arguments]) == 0
    heading = capsys.readouterr().out.splitlines()[0].split("  ")
    assert [part.strip() for part in heading if part.strip()] == [
        "ring (elastic)", "ring", "ring (wait)", "server_chain",
    ]  # fmt: skip


def test_all_play_the_same_samples_as_local(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = compared(capsys, small, "--strategies", "ring,parameter_server,local")
    for line in lines:
        against = line["against_local"]
        assert against["speed_up"] == pytest.approx(lines[-1]["virtual_time_ns"] / line["virtual_time_ns"])
        assert against["efficiency"] == pytest.approx(against["speed_up"] / line["workers"])
        assert against["accuracy_gap"] == pytest.approx(line["accuracy"] - lines[-1]["accuracy"])
        assert line["requirements"]["data_privacy"] == 1 - line["exposure"]["maximum"]
        assert line["requirements"]["efficiency"] == against["efficiency"]
        assert line["command"].startswith("ringsim run ")
    assert lines[-1]["against_local"] == {"speed_up": 1.0, "efficiency": 1.0, "accuracy_gap": 0.0}


def test_the_twin_and_what_is_asked_twice_are_played_once() -> None:
    plays: list[Scenario] = []

    def play(scenario: Scenario) -> Result:
        plays.append(scenario)
        return simulate(scenario)

    arena = Arena(play)
    ring, server = (parse(SMALL, overrides=entry.overrides).scenario for entry in entries("ring,parameter_server"))
    for scenario in (ring, server, ring, local_twin(server)):
        arena.standing(lambda result: (result.strategy,), scenario, crashes=False)
    assert plays == [ring, local_twin(ring), server]


def test_what_the_scenario_cannot_have_is_listed_if_it_was_not_asked_for(
    small: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(scenario: Scenario, *arguments: Any, **more: Any) -> Result:
        if scenario.strategy.name == "parameter_server":
            raise UsageError("a model of one layer has no two stages")
        return simulate(scenario)

    monkeypatch.setattr(command, "play", refuse)
    lines = {line["strategy"]: line for line in compared(capsys, small, "--strategies", "all")}
    assert lines["parameter_server"] == {
        "strategy": "parameter_server", "outcome": None, "not_played": "a model of one layer has no two stages",
    }  # fmt: skip
    assert set(lines) == set(STRATEGY_NAMES)
    assert run_command(["compare", small, "--strategies", "all"]) == 0
    assert "parameter_server is not possible here: a model of one layer" in capsys.readouterr().out
    assert run_command(["compare", small, "--strategies", "ring,parameter_server"]) == 2
    assert "error: a model of one layer has no two stages" in capsys.readouterr().err


def test_a_run_that_is_lost_has_no_speed(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    dies = "faults=[{kind: crash, node: node1, at: 2 ms}]"
    abort, elastic = compared(capsys, small, "--strategies", "ring:abort,ring:elastic", "--set", dies)
    assert abort["outcome"] == "lost"
    assert abort["against_local"]["speed_up"] is None
    assert abort["requirements"]["efficiency"] is None
    assert elastic["against_local"]["speed_up"] > 0


# --- fault tolerance --------------------------------------------------------------------------------------------------


def tolerance(entry: str, played: bool = False) -> float | None:
    (one,) = entries(entry)
    result = simulate(parse(SMALL, overrides=one.overrides).scenario)
    return played_tolerance(result, simulate) if played else promised_tolerance(result)


@pytest.mark.parametrize(
    ("entry", "promised", "seen"),
    [
        ("local", 0, 0),
        ("ring:abort", 0, 0),
        ("ring:elastic", 3 / 4, 1),  # The rendezvous is not asked while nobody else dies.
        ("ring:wait", 0, 1 / 4),
        ("parameter_server:wait", 0, 0),
        ("{name: parameter_server, consistency: asp}", 3 / 4, 3 / 4),
        ("{name: parameter_server, on_failure: timeout, timeout: 50 ms}", 3 / 4, 3 / 4),
        ("{name: parameter_server, on_failure: timeout, timeout: 50 ms, server: {replicas: 2}}", 1, 1),
    ],
)
def test_fault_tolerance_is_promised_and_seen(entry: str, promised: float, seen: float) -> None:
    assert tolerance(entry) == promised
    assert tolerance(entry, played=True) == seen


def test_ranks_of_one_machine_die_together() -> None:
    scenario = parse(SMALL, overrides=["cluster.nodes=[{processes: 2}, {}]"]).scenario
    used = machines(simulate(scenario))
    assert [len(ranks) for ranks in used.values()] == [2, 1, 1]
    assert list(used)[-1] == "rendezvous"


def test_crashes_are_played_if_asked(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = compared(capsys, small, "--strategies", "ring", "--crashes")
    assert line["requirements"]["fault_tolerance"] == 1


# --- printing ---------------------------------------------------------------------------------------------------------


def printed(standings: list[Standing], explain: bool = False) -> list[str]:
    text = io.StringIO()
    Console(width=1_000, file=text).print(comparison(standings, explain))
    return [line.rstrip() for line in text.getvalue().splitlines()]


def standing(heading: str) -> Standing:
    return Arena(simulate).standing(lambda result: (heading,), parse(SMALL).scenario, crashes=False)


def test_few_runs_are_columns_and_many_are_rows_that_fit() -> None:
    one = standing("ring (elastic)")
    few = printed([one] * MOST_COLUMNS)
    assert any(line.startswith("virtual time") for line in few)
    many = printed([one] * (MOST_COLUMNS + 1))
    assert not any(line.startswith("virtual time") for line in many)
    assert max(map(len, many)) <= WIDTH
    assert sum(line.startswith("ring (elastic)") for line in many) % (MOST_COLUMNS + 1) == 0
    assert any(" speed-up " in line for line in many)


def test_a_figure_that_is_nothing_everywhere_is_left_out() -> None:
    lines = printed([standing("ring")])
    assert not [line for line in lines if line.startswith(("faults", "down", "samples lost", "staleness"))]
    assert [line for line in lines if line.startswith("compute")]


def test_the_four_requirements_stand_at_the_end_and_are_explained_if_asked() -> None:
    lines = printed([standing("ring (elastic)")])
    assert re.split(r" {2,}", lines[-2].strip()) == list(DEFINITIONS)
    assert re.fullmatch(r"ring \(elastic\) +75\.0 % +66\.7 % +[+-]\d+\.\d points +\d+\.\d %", lines[-1])
    text = " ".join(printed([standing("ring")], explain=True))
    assert all(f"{name}: {definition}" in text for name, definition in DEFINITIONS.items())


def test_explain_is_one_flag_away(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["compare", small, "--explain"]) == 0
    assert "data privacy: 1 less the largest part" in capsys.readouterr().out
    assert run_command(["compare", small]) == 0
    said = capsys.readouterr()
    assert "1 less" not in said.out
    assert "--explain" in said.err


# --- the lesson -------------------------------------------------------------------------------------------------------

ALPHA_NS, BANDWIDTH, SIZE_BYTES, COMPUTE_NS = 100_000, 10**9, 153_640, 7_274_496


def transmission_ns(size_bytes: int) -> int:
    return -(-8 * size_bytes * 10**9 // BANDWIDTH)


@pytest.mark.parametrize("nodes", [2, 4, 8, 16])
def test_ring_and_server_take_their_closed_forms_and_what_the_docs_say(nodes: int) -> None:
    ring, server = (
        simulate(load("ring_vs_ps", [f"cluster.nodes={nodes}", f"strategy.name={name}"]).scenario)
        for name in ("ring", "parameter_server")
    )
    longest = 4 * -(-SIZE_BYTES // 4 // nodes)
    step_ns = COMPUTE_NS + 2 * (nodes - 1) * (ALPHA_NS + transmission_ns(longest))
    # The segments are not all of one length, so a rank may begin the next step a few elements early.
    elements_ns = 2 * (nodes - 1) * transmission_ns(4)
    assert 10 * (step_ns - elements_ns) <= ring.virtual_time_ns <= 10 * step_ns
    assert server.virtual_time_ns == 10 * (COMPUTE_NS + 2 * (ALPHA_NS + transmission_ns(nodes * SIZE_BYTES)))
    assert against_local(ring, ring).speed_up == 1

    told = [f"{run.virtual_time_ns / 1e7:.2f}" for run in (ring, server)]
    told += [f"{run.measures.samples_per_second:,.0f}" for run in (ring, server)]
    assert f"| {nodes} | {' | '.join(told)} |" in (DOCS / "comparing.md").read_text(encoding="utf-8")
    answer = load_text("ring_vs_ps")
    assert all(f"{run.virtual_time_ns / 1e7:.1f}" in answer for run in (ring, server))


def load_text(name: str) -> str:
    from ringsim import shipped

    return shipped.find(name).read_text(encoding="utf-8")


def test_on_long_ways_the_ring_loses() -> None:
    far = ["cluster.nodes=16", "cluster.network.latency=5 ms"]
    text = (DOCS / "comparing.md").read_text(encoding="utf-8").replace("\n", " ")
    for name in ("ring", "parameter_server"):
        result = simulate(load("ring_vs_ps", [*far, f"strategy.name={name}"]).scenario)
        words = "the ring" if name == "ring" else "the server"
        assert f"{result.virtual_time_ns / 1e7:.1f} ms with {words}" in text
