"""The monkey from the command line to its folder, what it tries, how it shrinks, and that each invariant can break."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import training

from ringsim import invariants, load, parse, simulate
from ringsim.cli import run_command
from ringsim.errors import InvariantBroken
from ringsim.invariants import INVARIANTS, broken, repeats
from ringsim.learning.memo import Memo
from ringsim.monkey import crowd
from ringsim.monkey.cases import KINDS, Case, Durations, Product, instants, kinds_of, product, with_fault
from ringsim.monkey.hunt import Wishes, hunt, scout
from ringsim.monkey.playing import PLAYS, PLAYS_SENTENCE, play
from ringsim.monkey.shrink import shrink
from ringsim.result import Outcome, Result, Whereabouts
from ringsim.scenario import Scenario
from ringsim.trace import Event
from ringsim.world import clock

DOCS = Path(__file__).parents[1] / "docs"

SMALL = """\
name: small
task:
  dataset: {kind: synthetic, samples: 96, features: 8, classes: 3}
  model: {kind: softmax}
  steps: 5
  batch_size: 8
  flop_per_sample: 1 MFLOP
cluster: {nodes: 3, speed: 8 GFLOP/s}
strategy: {name: ring, on_failure: elastic, commit_every: 2, set_aside: {cooldown: 1 ms}}
"""


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(SMALL)
    return "small.yaml"


def summary_of(*arguments: str, code: int, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert run_command(["monkey", *arguments, "--json"]) == code
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


# --- end to end -------------------------------------------------------------------------------------------------------


def test_the_summary_is_the_same_on_one_process_and_on_two(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    alone = summary_of(small, "--limit", "20", "--jobs", "1", code=0, capsys=capsys)
    together = summary_of(small, "--limit", "20", "--jobs", "2", code=0, capsys=capsys)
    assert alone == together
    assert alone["tried"] == 20
    assert sum(sum(counts.values()) for counts in alone["outcomes"].values()) == 20
    assert set(alone["outcomes"]) == set(KINDS)
    assert alone["violations"] == {}
    assert alone["worst_recovery"]["ns"] > 0
    assert 0 <= alone["worst_accuracy"]["accuracy"] <= 1


def test_the_table_tells_the_same_figures(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = summary_of(small, "--limit", "6", "--jobs", "1", code=0, capsys=capsys)
    assert run_command(["monkey", small, "--limit", "6", "--jobs", "1"]) == 0
    shown = capsys.readouterr()
    assert f"Tried: 6 of {found['cases']:,} faults, at {found['base']['instants']} instants." in shown.out
    assert found["worst_recovery"]["case"] in shown.out
    assert "Every invariant holds." in shown.out
    # How fast it went stands where no file keeps it.
    assert "a second" in shown.err
    assert "gradients were remembered" in shown.err
    assert "a second" not in shown.out


def test_quiet_is_quiet(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["monkey", small, "--limit", "2", "--jobs", "1", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_the_seed_draws_other_cases(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = (scout(parse(SMALL).scenario, Wishes(kinds_of(None), 10, seed)).cases for seed in (0, 1))
    assert one != other
    assert len(set(one)) == 10


# --- what is tried ----------------------------------------------------------------------------------------------------


def test_every_machine_and_every_instant_of_a_message_is_in_the_product() -> None:
    scenario = parse(SMALL).scenario
    result = simulate(scenario, trace="messages")
    every = product(scenario, ["crash", "restart"], instants(result))
    cases = {every.case(number) for number in range(every.size)}
    assert len(cases) == every.size
    machines = {case.target for case in cases}
    assert machines == {("node0",), ("node1",), ("node2",), ("rendezvous",)}
    departures = {event.time_ns for event in result.trace if event.kind == "depart"}
    assert departures < {case.at_ns for case in cases}
    assert sorted(every.drawn(every.size, 3), key=repr) == sorted(cases, key=repr)


def test_the_instants_are_the_same_in_every_fidelity() -> None:
    scenario = parse(SMALL).scenario
    foreseen, played = (simulate(scenario, trace="messages", fidelity=how) for how in ("auto", "message"))
    assert instants(foreseen) == instants(played)


def test_the_fault_is_added_to_the_scenario_s_own() -> None:
    scenario = parse(SMALL, overrides=["faults=[{kind: crash, node: node2, at: 1 ms}]"]).scenario
    faulty = with_fault(scenario, Case("restart", ("node0",), 1_234_567), Durations(5_000, 7_000))
    own, tried = faulty.faults
    assert own == scenario.faults[0]
    assert (tried.node, tried.at.time, tried.restart_after) == ("node0", 1_234_567, 5_000)


def test_what_heals_does_so_after_a_tenth_of_the_run_unless_told() -> None:
    scenario = parse(SMALL).scenario
    tenth = simulate(scenario).virtual_time_ns // 10
    assert scout(scenario, Wishes(("crash",), 1)).durations == Durations(tenth, tenth)
    assert scout(scenario, Wishes(("crash",), 1, 0, 5, 7)).durations == Durations(5, 7)


# --- the folder -------------------------------------------------------------------------------------------------------


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[Case]:
    """Return the cases that are really played."""
    played: list[Case] = []
    judge = crowd.judge

    def counting(case: Case, *rest: Any) -> Any:
        played.append(case)
        return judge(case, *rest)

    monkeypatch.setattr(crowd, "judge", counting)
    return played


def test_a_finished_case_is_not_played_again(
    small: str, counted: list[Case], capsys: pytest.CaptureFixture[str]
) -> None:
    whole = summary_of(small, "--limit", "12", "--jobs", "1", code=0, capsys=capsys)
    counted.clear()
    summary_of(small, "--limit", "5", "--jobs", "1", "--out", "kept", code=0, capsys=capsys)
    assert len(counted) == 5
    # As a process leaves it that is killed while it writes.
    with Path("kept/cases.jsonl").open("a") as file:
        file.write('{"case": {"kind": "cra')
    assert summary_of(small, "--limit", "12", "--jobs", "1", "--out", "kept", code=0, capsys=capsys) == whole
    assert len(counted) == len(set(counted)) == 12
    assert summary_of(small, "--limit", "12", "--jobs", "1", "--out", "kept", code=0, capsys=capsys) == whole
    assert len(counted) == 12
    assert len(Path("kept/cases.jsonl").read_text().splitlines()) == 12


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "seed=1"], "another scenario"),
        (["--restart-after", "3 ms"], "another duration of faults"),
    ],
)
def test_a_folder_of_something_else_is_refused(
    small: str, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["monkey", small, "--limit", "1", "--jobs", "1", "--out", "kept", "--quiet"]
    assert run_command(command) == 0
    assert run_command([*command, *arguments]) == 2
    assert f"kept holds cases of {words}; give another folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("monkey.json", "[", "is not what `ringsim monkey` has written"),
        ("cases.jsonl", "{}\n", "cases.jsonl:1: is no verdict of a case"),
    ],
)
def test_a_folder_that_was_damaged_is_refused(
    small: str, file: str, text: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["monkey", small, "--limit", "1", "--jobs", "1", "--out", "kept", "--quiet"]
    assert run_command(command) == 0
    Path("kept", file).write_text(text)
    assert run_command(command) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--kinds", "crash,flood"], "--kinds: 'flood' is no kind of fault; there are crash"),
        (["--lasts", "5"], "--lasts: "),
        (["--restart-after", "0 s"], "--restart-after: must be more than 0, not 0 s"),
        (["--out", "small.yaml/inside"], "cannot write to the folder small.yaml/inside"),
        (["--limit", "-1"], "--limit"),
        (["--jobs", "0"], "--jobs"),
    ],
)
def test_wrong_input_is_told_in_a_sentence(
    small: str, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["monkey", small, "--limit", "1", "--jobs", "1", *arguments]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no os.kill(SIGINT) for the own process")
def test_ctrl_c_leaves_no_process_and_a_folder_to_go_on_from(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    # The child interrupts itself when the first verdicts are written, so nothing here waits or races.
    program = (
        "import multiprocessing, os, signal, ringsim.monkey.folder as folder\n"
        "from ringsim.cli import run_command\n"
        "add = folder.Folder.add\n"
        "def interrupt(*a):\n"
        "    folder.Folder.add = add\n"
        "    add(*a)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "if __name__ == '__main__':\n"
        "    folder.Folder.add = interrupt\n"
        "    code = run_command(['monkey', 'small.yaml', '--limit', '60', '--jobs', '2', '--out', 'kept'])\n"
        "    print(len(multiprocessing.active_children()))\n"
        "    raise SystemExit(code)\n"
    )
    Path("interrupted.py").write_text(program)
    done = subprocess.run([sys.executable, "interrupted.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 130, done.stderr
    assert done.stderr.strip().endswith("stopped")
    assert "Traceback" not in done.stderr
    assert done.stdout.strip() == "0"
    written = len(Path("kept/cases.jsonl").read_text().splitlines())
    assert 8 <= written < 60
    resumed = summary_of(small, "--limit", "60", "--jobs", "1", "--out", "kept", code=0, capsys=capsys)
    assert resumed["tried"] == 60
    assert len(Path("kept/cases.jsonl").read_text().splitlines()) == 60


# --- violations -------------------------------------------------------------------------------------------------------


def test_a_violation_is_shrunk_to_what_it_needs() -> None:
    scenario = parse(
        SMALL,
        overrides=["faults=[{kind: crash, node: node1, at: 1 ms}, {kind: crash, node: node2, at: 2 ms}]"],
    ).scenario
    asked: list[int] = []

    def breaks(candidate: Scenario) -> dict[str, str]:
        # Wrong is whatever has a crash of node2 beside the one of node0.
        asked.append(len(candidate.faults))
        nodes = {fault.node for fault in candidate.faults}
        return {"ends": "it hangs"} if nodes >= {"node0", "node2"} else {}

    found = shrink(scenario, Case("restart", ("node0",), 5), Durations(1, 1), "ends", "it hung", breaks)
    assert [(fault.node, fault.restart_after) for fault in found.scenario.faults] == [("node2", None), ("node0", None)]
    assert found.sentence == "it hangs"
    assert asked == [2, 1, 2]


def test_what_cannot_be_made_smaller_stays_as_it_was() -> None:
    scenario = parse(SMALL).scenario
    case = Case("restart", ("node0",), 5)
    found = shrink(scenario, case, Durations(1, 1), "ends", "it hung", lambda _: {})
    assert found.scenario == with_fault(scenario, case, Durations(1, 1))
    assert found.sentence == "it hung"


def test_an_error_of_ringsim_s_own_is_a_violation(
    small: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ringsim.strategies import ring_elastic

    def fail(*arguments: Any) -> Any:
        raise ZeroDivisionError("nobody thought of that")

    monkeypatch.setattr(ring_elastic._Lobby, "_give_up", fail)
    command = [small, "--limit", "4", "--kinds", "crash", "--jobs", "1"]
    found = summary_of(*command, code=5, capsys=capsys)
    assert found["violations"][PLAYS] == found["outcomes"]["crash"]["broken"] > 0
    (one,) = found["shrunk"]
    assert "ZeroDivisionError: nobody thought of that" in one["sentence"]
    assert one["file"] == "small_plays_crash.yaml"
    assert run_command(["monkey", *command]) == 5
    assert one["command"] in capsys.readouterr().out


def test_a_scenario_that_is_wrong_itself_is_not_tried_further(
    small: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(invariants, "INVARIANTS", (lambda_that_breaks,))
    found = summary_of(small, "--limit", "4", "--jobs", "1", code=5, capsys=capsys)
    assert found["base"]["violations"] == {"lambda_that_breaks": "it is Monday"}
    assert found["tried"] == 0
    assert run_command(["monkey", small, "--limit", "0"]) == 5
    assert "The scenario itself breaks lambda_that_breaks: it is Monday" in capsys.readouterr().out


def lambda_that_breaks(result: Result) -> str | None:
    return "it is Monday"


def test_a_run_that_goes_round_in_circles_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    from ringsim.monkey import playing

    monkeypatch.setattr(playing, "_EVENTS_AT_LEAST", 20)
    monkeypatch.setattr(playing, "_EVENTS_A_STEP", 1)
    found = play(parse(SMALL).scenario, Memo())
    assert found.result is None
    assert "there is no end to it" in found.violations[PLAYS]


def test_an_instant_without_end_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "ENDLESS", 100)
    ticking = clock.Clock()

    def again() -> None:
        ticking.at(ticking.now_ns, clock.Phase.WAKE, (0,), again)

    ticking.at(5, clock.Phase.WAKE, (0,), again)
    with pytest.raises(InvariantBroken, match="at 5 ns, and there is no end to it"):
        ticking.run(is_over=lambda: False, limit_ns=10)

    def restless() -> Any:
        while True:
            done = ticking.event()
            done.succeed()
            yield done

    ticking = clock.Clock()
    ticking.start(restless())
    with pytest.raises(InvariantBroken, match="at 0 ns, and there is no end to it"):
        ticking.run(is_over=lambda: False, limit_ns=10)


# --- every invariant can break ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def result() -> Result:
    """Return a run with a rollback, a newcomer, and a rate that follows."""
    overrides = [
        "task.steps=12",
        "task.learning_rate_scaling=linear",
        "task.warm_up_epochs=1.0",
        "faults=[{kind: crash, node: node1, at: {step: 3}, restart_after: 1 ms}]",
    ]
    return simulate(parse(SMALL, overrides=overrides).scenario)


def with_events(result: Result, change: Callable[[Event], Event | None]) -> Result:
    changed = (change(event) for event in result.trace)
    return dataclasses.replace(result, trace=tuple(event for event in changed if event is not None))


def altered(event: Event, **fields: Any) -> Event:
    return dataclasses.replace(event, fields={**event.fields, **fields})


def test_all_hold_of_a_good_run(result: Result) -> None:
    assert broken(result, result) == {}
    assert result.samples.repeated > 0


def hangs(result: Result) -> Result:
    return dataclasses.replace(result, outcome=Outcome.STALLED, outcome_sentence="stalled: everybody is busy")


def gives_up(result: Result) -> Result:
    return dataclasses.replace(result, outcome=Outcome.LOST, outcome_sentence="lost at 3 ms: for no reason")


def splits(result: Result) -> Result:
    return dataclasses.replace(result, replicas={"node0": "a", "node1": "b"})


def restores_from_elsewhere(result: Result) -> Result:
    def change(event: Event) -> Event:
        other = event.kind == "restore" and event.node == "node2" and event.fields["generation"] > 0
        return altered(event, step=event.fields["step"] - 1) if other else event

    return with_events(result, change)


def takes_a_sample_twice(result: Result) -> Result:
    def change(event: Event) -> Event:
        first = event.kind == "step_begin" and event.node == "node0" and event.fields["step"] == 0
        samples = event.fields.get("samples", ())
        return altered(event, samples=[samples[1], *samples[1:]]) if first else event

    return with_events(result, change)


def forgets_a_worker(result: Result) -> Result:
    return with_events(
        result,
        lambda event: altered(event, world_size=1) if event.kind == "update" and event.fields["step"] == 1 else event,
    )


def drops_without_leave(result: Result) -> Result:
    def change(event: Event) -> Event:
        late = event.kind == "step_begin" and event.node == "node2" and event.fields["step"] == 11
        return dataclasses.replace(altered(event, worker="node2"), kind="dropped") if late else event

    dropped = with_events(result, change)
    return with_events(
        dropped,
        lambda event: altered(event, world_size=2) if event.kind == "update" and event.fields["step"] == 12 else event,
    )


def counts_wrong(result: Result) -> Result:
    return dataclasses.replace(result, samples=dataclasses.replace(result.samples, counted=result.samples.counted + 1))


def counts_an_epoch_wrong(result: Result) -> Result:
    first, *rest = result.epochs
    return dataclasses.replace(result, epochs=(dataclasses.replace(first, repeated=first.repeated + 1), *rest))


def keeps_the_rate(result: Result) -> Result:
    return with_events(result, lambda event: altered(event, learning_rate=0.3) if event.kind == "rate" else event)


def works_when_dead(result: Result) -> Result:
    died_ns = next(event.time_ns for event in result.trace if event.kind == "crash")
    ghost = Event(died_ns + 1, "node1", "compute_begin", {"flop": 1})
    return dataclasses.replace(result, trace=(*result.trace, ghost))


def happens_after_the_end(result: Result) -> Result:
    ghost = Event(result.virtual_time_ns + 1, "node0", "compute_end", {})
    return dataclasses.replace(result, trace=(*result.trace, ghost))


def loses_time(result: Result) -> Result:
    first, *rest = result.nodes
    return dataclasses.replace(result, nodes=(dataclasses.replace(first, idle_ns=first.idle_ns - 1), *rest))


def detects_too_early(result: Result) -> Result:
    (failure,) = result.failures
    return dataclasses.replace(result, failures=(dataclasses.replace(failure, detected_at_ns=failure.at_ns - 1),))


def loses_a_byte(result: Result) -> Result:
    return dataclasses.replace(result, whereabouts=result.whereabouts + Whereabouts(received=-1))


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (hangs, "ends"),
        (gives_up, "goes_on"),
        (splits, "replicas_agree"),
        (restores_from_elsewhere, "replicas_agree"),
        (takes_a_sample_twice, "samples_once"),
        (forgets_a_worker, "samples_once"),
        (drops_without_leave, "samples_once"),
        (counts_wrong, "samples_once"),
        (counts_an_epoch_wrong, "samples_once"),
        (keeps_the_rate, "learning_rate_follows"),
        (works_when_dead, "time_adds_up"),
        (happens_after_the_end, "time_adds_up"),
        (loses_time, "time_adds_up"),
        (detects_too_early, "time_adds_up"),
        (loses_a_byte, "bytes_add_up"),
    ],
)
def test_an_invariant_breaks_where_something_is_wrong(
    result: Result, change: Callable[[Result], Result], name: str
) -> None:
    assert name in broken(change(result))


def test_a_run_that_is_not_the_same_again_is_found(result: Result) -> None:
    again = dataclasses.replace(result, numbers_digest="sha256:0")
    assert repeats(result, again) == f"played again, numbers_digest is sha256:0, not {result.numbers_digest}"
    idle_ns = result.nodes[0].idle_ns
    assert repeats(result, loses_time(result)) == f"played again, nodes[0].idle_ns is {idle_ns - 1}, not {idle_ns}"
    assert "repeats" in broken(result, again)


# --- what it has found ------------------------------------------------------------------------------------------------

# Segments of no number at all, a neighbour's death, and a foreign burst that begins as the ring does.
BURSTS = """\
name: bursts
task:
  dataset: {kind: synthetic, samples: 96, features: 2, classes: 2}
  model: {kind: softmax}
  steps: 2
  batch_size: 8
  flop_per_sample: 1 MFLOP
cluster:
  nodes: 4
  speed: 8 GFLOP/s
  network:
    latency: 10 us
    background: [{source: node2, target: node0, rate: 500 Mbit/s, burst: 200 us, pause: 300 us}]
strategy: {name: ring, bucket_size: 8 B}
faults: [{kind: crash, node: node3, at: 0 us}]
"""


def test_an_empty_message_has_left_though_a_foreign_burst_begins_at_that_instant() -> None:
    # Whether it had was up to who was first at that instant, the burst or the ring, and so was where its time went.
    scenario = parse(BURSTS).scenario
    first, *others = (simulate(scenario, shuffle_ties=ties) for ties in (None, 1, 2, 3))
    assert [repeats(first, other) for other in others] == [None, None, None]


# --- bytes ------------------------------------------------------------------------------------------------------------


def test_bytes_come_to_where_the_closed_form_says() -> None:
    # Four workers, a ring of two steps: 24 messages of a quarter of the vector each, and nothing goes wrong.
    played = simulate(training("ring", nodes=4, steps=2))
    assert played.whereabouts == Whereabouts(received=played.bytes_sent)


@pytest.mark.parametrize("transport", ["ideal", "framed", "tcp"])
def test_bytes_that_do_not_arrive_are_found_again(transport: str) -> None:
    network = {"transport": transport, "bandwidth": "1 Mbit/s", "drop": "20 %", "resend_after": "1 ms"}
    fault = {"kind": "crash", "node": "node1", "at": "3 ms", "restart_after": "1 ms"}
    played = simulate(training({"name": "parameter_server"}, network=network, faults=[fault]))
    found = played.whereabouts
    assert found.total == played.bytes_sent
    assert found.lost > 0
    assert found.cut_off > 0
    assert (found.acknowledgements > 0) == (transport == "tcp")


def test_a_message_to_the_dead_is_thrown_away() -> None:
    # In silence nobody stops sending to it.
    fault = {"kind": "crash", "node": "node1", "at": "1500 us", "notice": "silence"}
    played = simulate(training({"name": "ring", "on_failure": "abort", "timeout": "5 ms"}, faults=[fault]))
    assert played.whereabouts.thrown_away > 0
    assert played.whereabouts.total == played.bytes_sent


# --- the memo ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit_bytes", [2**28, 2_000, 0])
def test_a_memo_changes_no_bit(limit_bytes: int) -> None:
    memo = Memo(limit_bytes)
    for fault in ("", "{kind: crash, node: node1, at: 2 ms, restart_after: 1 ms}", ""):
        scenario = parse(SMALL, overrides=[f"faults=[{fault}]"]).scenario
        fresh, remembered = simulate(scenario), simulate(scenario, memo=memo)
        assert remembered.numbers_digest == fresh.numbers_digest
        assert remembered.schedule_digest == fresh.schedule_digest
        assert remembered.parameters is not None
        assert fresh.parameters is not None
        assert remembered.parameters.tobytes() == fresh.parameters.tobytes()
    assert (3 * memo.computed < 2 * memo.asked) == (limit_bytes == 2**28)


def test_a_memo_holds_so_many_bytes_and_forgets_the_oldest() -> None:
    memo = Memo(limit_bytes=100)
    first, second, third = object(), object(), object()
    memo.hold(first, 40)
    memo.hold(second, 40)
    memo.hold(first, 40)
    memo.hold(third, 40)
    assert list(memo._held) == [first, third]
    assert memo._bytes == 80


def test_tasks_and_seeds_have_engines_of_their_own() -> None:
    memo = Memo()
    one = parse(SMALL).scenario
    other = parse(SMALL, overrides=["seed=1"]).scenario
    digests = {simulate(scenario, memo=memo).numbers_digest for scenario in (one, other)}
    assert digests == {simulate(scenario).numbers_digest for scenario in (one, other)}


# --- any faults at all ------------------------------------------------------------------------------------------------

STRATEGIES = [
    {"name": "local"},
    {"name": "ring", "on_failure": "abort"},
    {"name": "ring", "on_failure": "abort", "timeout": "3 ms", "bucket_size": "40 B"},
    {"name": "ring", "on_failure": "elastic", "set_aside": {"cooldown": "1 ms"}},
    {"name": "ring", "on_failure": "elastic", "commit_every": 3, "timeout": "3 ms", "min_workers": 2},
    {"name": "parameter_server", "on_failure": "wait"},
    {"name": "parameter_server", "on_failure": "timeout", "timeout": "2 ms"},
]


@st.composite
def trainings(draw: st.DrawFn) -> Scenario:
    crashes = st.fixed_dictionaries(
        {
            "kind": st.just("crash"),
            "node": st.sampled_from(["node0", "node1", "node2", "server0", "rendezvous"]),
            "at": st.integers(0, 12_000).map(lambda us: f"{us} us"),
            "notice": st.sampled_from(["reset", "reset", "silence"]),
        },
        optional={"restart_after": st.integers(1, 4_000).map(lambda us: f"{us} us")},
    )
    return training(
        draw(st.sampled_from(STRATEGIES)),
        nodes=3,
        faults=draw(st.lists(crashes, max_size=4)),
        network={"transport": draw(st.sampled_from(["ideal", "framed", "tcp"]))},
        steps=6,
        evaluate_every=3,
        learning_rate_scaling="linear",
    )


MEMO = Memo()


@settings(max_examples=25, deadline=None)
@given(trainings())
def test_every_invariant_holds_whatever_dies(scenario: Scenario) -> None:
    assert play(scenario, MEMO).violations == {}


@pytest.mark.long
@settings(max_examples=3_000, deadline=None)
@given(trainings())
def test_every_invariant_holds_of_thousands(scenario: Scenario) -> None:
    assert play(scenario, MEMO).violations == {}


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_page_says_what_the_invariants_say_of_themselves() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+?) \|", (DOCS / "monkey.md").read_text(encoding="utf-8"), re.M))
    said = {one.__name__: (one.__doc__ or "").splitlines()[0] for one in (*INVARIANTS, repeats)}
    assert rows.items() >= {PLAYS: PLAYS_SENTENCE, **said}.items()
    assert set(KINDS) <= set(rows)


def test_the_page_shows_what_the_command_prints(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (block,) = re.findall(r"^```console\n\$ (ringsim monkey .*?)^```$", (DOCS / "monkey.md").read_text(), re.M | re.S)
    command, _, printed = block.partition("\n")
    run_command([*shlex.split(command)[1:], "--jobs", "1"])

    def shown(text: str) -> list[str]:
        # The accuracy is that of one jaxlib.
        return [line.rstrip() for line in text.splitlines() if not line.startswith("Least accuracy")]

    assert shown(capsys.readouterr().out) == shown(printed)


def test_a_hunt_of_a_shipped_scenario(tmp_path: Path) -> None:
    scenario = load("4node_ps_fail", overrides=["task.steps=3", "faults=[]"]).scenario
    found = hunt(scout(scenario, Wishes(("restart",), 8)), 1)
    assert found.violations == {}
    assert found.outcomes()["restart"].get("stalled") is None, "it waits for whoever comes back"


def test_one_line_describes_a_case() -> None:
    assert str(Product((("crash", ("node0",)),), (7,)).case(0)) == "crash of node0 at 7 ns"
