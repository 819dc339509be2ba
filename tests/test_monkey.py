"""The monkey from the command line to its folder: what it tries, what it keeps, and how it shrinks what is wrong."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from worlds import training

from ringsim import invariants, load, parse, simulate
from ringsim.cli import run_command
from ringsim.errors import InvariantBroken
from ringsim.invariants import INVARIANTS, repeats
from ringsim.learning.memo import Memo
from ringsim.monkey import cases, crowd
from ringsim.monkey.cases import KINDS, Case, Durations, Product, instants, kinds_of, product, with_fault
from ringsim.monkey.hunt import Wishes, hunt, scout
from ringsim.monkey.playing import PLAYS, PLAYS_SENTENCE, judge, play
from ringsim.monkey.shrink import shrink
from ringsim.result import Result
from ringsim.scenario import Scenario
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
    found = {every.case(number) for number in range(every.size)}
    assert len(found) == every.size
    machines = {case.target for case in found}
    assert machines == {("node0",), ("node1",), ("node2",), ("rendezvous",)}
    departures = {event.time_ns for event in result.trace if event.kind == "depart"}
    assert departures < {case.at_ns for case in found}
    assert sorted(every.drawn(every.size, 3), key=repr) == sorted(found, key=repr)


def test_every_link_is_a_target_once_for_both_directions() -> None:
    ends = [("node0", "switch"), ("node1", "switch"), ("node2", "switch"), ("rendezvous", "switch")]
    assert cases.links(parse(SMALL).scenario) == ends
    two_tier = parse(SMALL, overrides=["cluster.network.topology={kind: two_tier, racks: 2}"]).scenario
    assert len(cases.links(two_tier)) == 6


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


@pytest.mark.parametrize(("kind", "target"), [("restart", ("node1",)), ("link_down", ("node1", "switch"))])
def test_how_long_it_took_until_training_went_on_is_known_of_every_kind(kind: str, target: tuple[str, ...]) -> None:
    elastic = {"name": "ring", "on_failure": "elastic", "set_aside": {"cooldown": "0 s"}, "timeout": "3 ms"}
    case = Case(kind, target, 3_000_000)
    scenario = with_fault(training(elastic, nodes=3, steps=8), case, Durations(10**6, 20 * 10**6))
    (failure,) = simulate(scenario).failures
    assert failure.resumed_at_ns is not None
    assert judge(case, scenario, Memo()).recovery_ns == failure.resumed_at_ns - case.at_ns


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


def test_verdicts_on_other_code_are_not_taken_for_those_on_this(
    small: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["monkey", small, "--limit", "1", "--jobs", "1", "--out", "kept", "--quiet"]
    assert run_command(command) == 0
    Path("mended").mkdir()
    Path("mended/__init__.py").write_text("")
    monkeypatch.setattr("ringsim.__file__", str(Path("mended/__init__.py")))
    assert run_command(command) == 2
    assert "kept holds cases of another version of ringsim; give another folder" in capsys.readouterr().err


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
        (["--restart-after", "0 s"], '--restart-after: "0 s" is too small; it must be more than 0'),
        (["--restart-after", "-1s"], '--restart-after: "-1s" is too small; it must be more than 0'),
        (["--out", "small.yaml/inside"], "cannot write to the folder small.yaml/inside"),
        (["--limit", "-1"], "--limit"),
        (["--jobs", "0"], "--jobs"),
    ],
)
def test_wrong_input_is_told_in_a_sentence(
    small: str, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["monkey", small, "--limit", "1", "--jobs", "1", "--out", "new", *arguments]) == 2
    assert words in capsys.readouterr().err
    assert not Path("new").exists()


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
    assert asked == [2, 1, 2, 1]


def test_what_could_not_be_left_out_at_first_is_tried_again() -> None:
    faults = ", ".join(f"{{kind: crash, node: node{rank}, at: 1 ms}}" for rank in (1, 2))
    scenario = parse(SMALL, overrides=[f"faults=[{faults}]"]).scenario

    def breaks(candidate: Scenario) -> dict[str, str]:
        # The crash of node1 is needed as long as there is one of node2, and a restart as long as there is another.
        own, case = [fault.node for fault in candidate.faults[:-1]], candidate.faults[-1]
        wrong = own in (["node1", "node2"], ["node1"], []) and (case.restart_after is not None or not own)
        return {"ends": "it hangs"} if wrong else {}

    found = shrink(scenario, Case("restart", ("node0",), 5), Durations(1, 1), "ends", "it hung", breaks)
    assert [(fault.node, fault.restart_after) for fault in found.scenario.faults] == [("node0", None)]


def test_what_cannot_be_made_smaller_stays_as_it_was() -> None:
    scenario = parse(SMALL).scenario
    case = Case("restart", ("node0",), 5)
    found = shrink(scenario, case, Durations(1, 1), "ends", "it hung", lambda _: {})
    assert found.scenario == with_fault(scenario, case, Durations(1, 1))
    assert found.sentence == "it hung"


def test_an_error_of_ringsim_s_own_is_a_violation(
    small: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ringsim.strategies import lobby

    def fail(*arguments: Any) -> Any:
        raise ZeroDivisionError("nobody thought of that")

    monkeypatch.setattr(lobby.Lobby, "_give_up", fail)
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


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_page_says_what_the_invariants_say_of_themselves() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+?) \|", (DOCS / "monkey.md").read_text(encoding="utf-8"), re.M))
    said = {one.__name__: (one.__doc__ or "").splitlines()[0] for one in (*INVARIANTS, repeats)}
    assert rows.items() >= {PLAYS: PLAYS_SENTENCE, **said}.items()
    assert set(KINDS) <= set(rows)


@pytest.mark.parametrize(
    "block", re.findall(r"^```console\n\$ (ringsim monkey .*?)^```$", (DOCS / "monkey.md").read_text(), re.M | re.S)
)
def test_the_page_shows_what_the_command_prints(block: str, capsys: pytest.CaptureFixture[str]) -> None:
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
