"""The command line as a user meets it: exit codes, sentences, files; run in a process of its own where that matters."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ringsim import load, shipped, simulate
from ringsim.cli import run_command
from ringsim.errors import UsageError
from ringsim.report.run_folder import read_trace
from ringsim.trace import NUMBERS_KINDS, SCHEDULE_KINDS, digest

SMALL = """\
name: small
task: {dataset: {kind: synthetic, samples: 256}, model: {kind: softmax}, steps: 6, batch_size: 8, evaluate_every: 3}
cluster: {nodes: 3}
strategy: {name: ring}
"""

SUMMARY_KEYS = {
    *("scenario", "seed", "strategy", "outcome", "outcome_sentence", "workers", "steps", "steps_executed"),
    *("virtual_time_ns", "loss", "accuracy", "bytes_sent", "payload_bytes_sent", "nodes", "failures", "samples"),
    *("compute_ns", "exposed_communication_ns", "idle_ns", "recovery_ns", "down_ns"),
    *("digest", "command", "environment"),
}


@pytest.fixture
def small(tmp_path: Path) -> str:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return str(path)


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def test_json_summary_has_every_promised_key_and_failure_detail(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["run", "4node_fail", "--set", "task.evaluate_every=12", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert set(summary) >= SUMMARY_KEYS
    assert set(summary["samples"]) >= {"counted", "repeated", "lost", "epochs"}
    (failure,) = summary["failures"]
    assert failure["node"] == "node2"
    assert failure["kind"] == "crash"
    assert failure["at_ns"] < failure["detected_at_ns"] < failure["resumed_at_ns"] < failure["recovered_at_ns"]
    assert failure["rolled_back_steps"] == 2  # The crash is in step 102, and the last commit was update 100.
    assert summary["command"] == "ringsim run 4node_fail --set task.evaluate_every=12"
    for node in summary["nodes"]:
        assert sum(value for key, value in node.items() if key.endswith("_ns")) == summary["virtual_time_ns"]


def test_the_command_that_repeats_a_run_is_told_as_it_was_given(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    parted = "faults=[{kind: partition, groups: [[node0], [node1, node2]], at: 9 h}]"
    assert run_command(["run", small, "--set", parted]) == 0
    assert f"ringsim run {small} --set '{parted}'" in capsys.readouterr().out


def test_the_run_folder_holds_everything_and_no_temporary_file(small: str, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    assert run_command(["run", small, "--out", str(out), "--quiet"]) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "metrics.csv",
        "scenario.yaml",
        "summary.json",
        "trace.jsonl",
    ]
    summary = json.loads((out / "summary.json").read_text())
    rows = list(csv.DictReader((out / "metrics.csv").read_text().splitlines()))
    assert [int(row["step"]) for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row["accuracy"] != "" for row in rows] == [False, False, True, False, False, True]
    assert float(rows[-1]["accuracy"]) == summary["accuracy"]
    events = read_trace(out)
    assert digest(events, SCHEDULE_KINDS) == summary["digest"]["schedule"]
    assert digest(events, NUMBERS_KINDS) == summary["digest"]["numbers"]
    assert run_command(["run", str(out / "scenario.yaml"), "--out", str(tmp_path / "again"), "--quiet"]) == 0
    again = json.loads((tmp_path / "again" / "summary.json").read_text())
    assert again["digest"] == summary["digest"], "the resolved scenario plays as the file did"


def test_a_run_that_is_killed_leaves_no_half_file(small: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ringsim.report.run_folder.os.replace", die)
    assert run_command(["run", small, "--out", str(out), "--quiet"]) == 130
    assert list(out.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (
            ["run", "4nod_fail"],
            2,
            "error: there is no file and no shipped scenario called 4nod_fail; did you mean 4node_fail?",
        ),
        (["run", "nothing.yaml"], 2, "nothing.yaml"),
        (["run", "4node", "--set", "cluster"], 2, "cluster"),
        (["run", "4node", "--seed", "x"], 2, "'x' is not a valid integer"),
        (["rnu"], 2, "No such command 'rnu'"),
        (["run", "4node", "--set", "cluster.nods=3"], 3, "--set cluster.nods=3: cluster.nods: "),
        (["run", "4node", "--set", "strategy.name=rign"], 3, 'did you mean "ring"?'),
        (["run", "4node_ring_abort", "--set", "task.epochs=9", "-q"], 4, ""),
        (["verify", "nothing"], 2, "nothing"),
        (["compare", "4node", "--strategies", "ring,quantum"], 2, "quantum"),
    ],
)
def test_wrong_input_gives_a_sentence_and_its_exit_code(
    arguments: list[str], code: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(arguments) == code
    said = capsys.readouterr()
    assert sentence in said.err
    assert "Traceback" not in said.err
    assert said.out == ""


def test_an_unwritable_folder_is_refused_before_anything_is_played(
    small: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["run", small, "--out", f"{small}/inside"]) == 2
    assert "cannot write to the folder" in capsys.readouterr().err


def test_a_stalled_run_names_who_waits_for_whom_and_exits_with_4(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["run", "4node_ps_fail", "--set", "task.epochs=10", "--json"]
    assert run_command(arguments) == 4
    summary = json.loads(capsys.readouterr().out)
    assert summary["outcome"] == "stalled"
    assert "server0 waits for node2" in summary["outcome_sentence"]
    assert "node0 waits for server0" in summary["outcome_sentence"]


def test_compare_plays_each_strategy_on_the_same_samples(capsys: pytest.CaptureFixture[str], small: str) -> None:
    arguments = ["compare", small, "--strategies", "ring,parameter_server,local"]
    assert run_command([*arguments, "--json"]) == 0
    summaries = json.loads(capsys.readouterr().out)
    assert [summary["strategy"] for summary in summaries] == ["ring", "parameter_server", "local"]
    assert len({summary["samples"]["counted"] for summary in summaries}) == 1
    assert len({round(summary["loss"], 5) for summary in summaries}) == 1
    assert run_command(arguments) == 0
    table = capsys.readouterr().out
    assert "ring (abort)" in table
    assert "exposed communication" in table


def test_new_writes_a_scenario_that_plays_and_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    assert run_command(["new", str(path), "--nodes", "2"]) == 0
    assert run_command(["run", str(path), "--quiet", "--set", "task.steps=3"]) == 0
    before = path.read_text()
    assert run_command(["new", str(path)]) == 2
    assert path.read_text() == before


def test_list_tells_every_question(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {line["name"] for line in listed} >= {
        "1node", "4node", "4node_fail", "4node_ps", "4node_ps_fail", "4node_ring_abort",
    }  # fmt: skip
    assert all(line["question"].endswith("?") for line in listed)


def test_speed_up_is_against_the_local_twin(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["run", small, "--speed-up", "--json"]) == 0
    ring = json.loads(capsys.readouterr().out)
    assert run_command(["run", small, "--set", "strategy.name=local", "--json"]) == 0
    local = json.loads(capsys.readouterr().out)
    assert ring["speed_up"] == pytest.approx(local["virtual_time_ns"] / ring["virtual_time_ns"])


HEAVY = ("jax", "networkx", "numpy", "simpy", "optax", "rich", "pooch")


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["validate", "4node_fail"], ["list"], ["schema"], ["collective", "--help"], ["monkey", "--help"]],
)
def test_light_commands_import_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import sys\nfrom ringsim.cli import run_command\n"
        f"code = run_command({arguments!r})\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], code, file=sys.stderr)"
    )
    done = python("-c", program)
    assert done.stderr.strip().splitlines()[-1] == "[] 0"


def test_a_table_says_of_which_data_the_accuracy_is(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["run", small]) == 0
    assert "% on the test split of synthetic (loss" in capsys.readouterr().out


def test_a_command_is_imported_when_it_is_asked_for_and_each_has_its_name() -> None:
    program = (
        "import sys\nfrom ringsim.cli import cli, run_command\n"
        "run_command(['validate', '4node_fail'])\n"
        "print(sorted(name for name in sys.modules if name.startswith('ringsim.commands.')), file=sys.stderr)\n"
        "print([name for name in cli.commands if cli.commands[name].name != name], file=sys.stderr)"
    )
    imported, misnamed = python("-c", program).stderr.strip().splitlines()[-2:]
    assert imported == "['ringsim.commands.files', 'ringsim.commands.wiring']"
    assert misnamed == "[]"


def test_a_command_that_does_not_exist_is_told_with_one_that_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["valdate", "4node_fail"]) == 2
    assert "No such command 'valdate'. Did you mean 'validate'?" in capsys.readouterr().err


def test_ctrl_c_ends_with_130_and_a_word(small: str) -> None:
    # The child raises its own SIGINT from inside the run, so nothing here waits or races.
    program = (
        "import os, signal, ringsim.simulation\n"
        "from ringsim.cli import run_command\n"
        "def interrupt(*a, **k): os.kill(os.getpid(), signal.SIGINT)\n"
        "ringsim.simulation.simulate = interrupt\n"
        f"raise SystemExit(run_command(['run', {small!r}]))"
    )
    if not hasattr(signal, "SIGINT") or sys.platform == "win32":
        pytest.skip("Windows has no os.kill(SIGINT) for the own process")
    done = python("-c", program)
    assert done.returncode == 130
    assert done.stderr.strip().endswith("stopped")


def test_ctrl_c_is_not_lost_where_python_drops_exceptions(small: str) -> None:
    # An exception in a weakref's callback is printed and dropped; the run has to stop all the same.
    program = (
        "import os, signal, weakref, ringsim.simulation\n"
        "from ringsim.cli import run_command\n"
        "play = ringsim.simulation.simulate\n"
        "class Thing: pass\n"
        "def interrupt(*a, **k):\n"
        "    thing = Thing()\n"
        "    keep = weakref.ref(thing, lambda _: os.kill(os.getpid(), signal.SIGINT) or [0 for _ in range(99)])\n"
        "    del thing\n"
        "    return play(*a, **k)\n"
        "ringsim.simulation.simulate = interrupt\n"
        f"raise SystemExit(run_command(['run', {small!r}]))"
    )
    if sys.platform == "win32":
        pytest.skip("Windows has no os.kill(SIGINT) for the own process")
    done = python("-c", program)
    assert done.returncode == 130
    assert done.stdout == ""


def test_output_that_cannot_be_written_is_no_fault_of_ringsim(small: str) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full (Linux)")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "ringsim", "schema"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert done.stderr.startswith("error: cannot write: ")


def test_one_mistake_stands_at_the_beginning_of_its_line(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path(small).write_text(SMALL.replace("nodes: 3", "nods: 3"))
    assert run_command(["validate", small]) == 3
    assert capsys.readouterr().err.startswith(f"{small}:3:")


def test_the_record_of_a_shipped_scenario_is_not_overwritten_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["record", "4node"]) == 2
    assert "copy" in capsys.readouterr().err


@pytest.mark.parametrize("trace", ["all", None])
def test_a_wrong_argument_in_python_is_a_sentence(trace: str | None) -> None:
    with pytest.raises(UsageError, match="trace is one of steps, messages"):
        simulate(load("1node").scenario, trace=trace)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"load\('4node'\).scenario"):
        simulate("4node")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no `yield from`"):
        simulate(load("1node").scenario, strategy=lambda node, training: None)  # type: ignore[arg-type, return-value]


def test_the_module_and_the_shipped_names_work_from_anywhere(tmp_path: Path) -> None:
    root = str(Path(shipped.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-m", "ringsim", "run", "1node", "--set", "task.epochs=1", "--json"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": root}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 12


def test_what_was_set_is_set_in_the_next_command_too(capsys: pytest.CaptureFixture[str]) -> None:
    sets = ["--set", "task.steps=2", "--set", "task.epochs=null", "--set", "strategy.name=ring"]
    assert run_command(["run", "1node", *sets, "--seed", "3"]) == 0
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("Next:"))
    kept = "ringsim compare 1node --set task.steps=2 --set task.epochs=null --seed 3"
    assert line == f"Next: {kept} --strategies ring,parameter_server,local"
    assert run_command([*kept.split()[1:], "--strategies", "local"]) == 0
