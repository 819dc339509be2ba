"""`ringsim check`: each condition is what it says, and what differs is named, down to the last bit.

What is not here: that the bits are the same (`test_determinism.py`, `test_learning_bits.py`).
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ringsim import load, simulate
from ringsim.checking import replay as replaying
from ringsim.checking.conditions import CONDITIONS, USUAL, Condition, another_process
from ringsim.checking.difference import first_difference
from ringsim.checking.replay import Finding, process, replay
from ringsim.cli import run_command
from ringsim.errors import EnvironmentRefused, RingsimError
from ringsim.learning.pinned import jax
from ringsim.report.run_folder import trace_jsonl
from ringsim.result import Result
from ringsim.trace import Event
from ringsim.units import about_duration

DOCS = Path(__file__).parents[1] / "docs"

SMALL = """\
name: small
task: {dataset: {kind: synthetic, samples: 64}, model: {kind: softmax}, steps: 4, batch_size: 8, evaluate_every: 2}
cluster: {nodes: 2}
strategy: {name: ring}
"""
BY_NAME = {condition.name: condition for condition in CONDITIONS}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("scenario") / "small.yaml"
    path.write_text(SMALL)
    return str(path)


@pytest.fixture(scope="module")
def result(small: str) -> Result:
    return simulate(load(small).scenario)


# --- each condition is what it says -----------------------------------------------------------------------------------

# Tells what a process is given, and, where it is to start JAX, what ringsim makes of it.
TELL = """
import json, os, sys
told = {
    "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
    "variables": dict(os.environ), "hash": hash("ringsim"), "imported": "jax" in sys.modules,
}
from ringsim.learning import runtime
told["folder"] = str(runtime.cache_folder())
if "start" in sys.argv:
    told["before"] = sys.modules["jax"].config.jax_enable_x64 if told["imported"] else None
    runtime.start_jax()
    import jax
    told["entries"] = [len(list(runtime.cache_folder().glob("*-cache")))]
    told["numbers"] = jax.jit(lambda x: x * 3 + 1)(1.0).dtype.name
    told["entries"].append(len(list(runtime.cache_folder().glob("*-cache"))))
    told["pinned"] = {name: os.environ.get(name) for name in ("PJRT_NPROC", "XLA_FLAGS")}
print(json.dumps(told))
"""
ISA = "--xla_cpu_max_isa"


def told(name: str, compiled: Path, *arguments: str) -> dict[str, Any]:
    done = process(BY_NAME[name], TELL, arguments, compiled)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    assert answer["folder"].startswith(str(compiled)), "what it compiles stays away from the user's"
    return answer


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="a process does not choose its cores here")
def test_cores(tmp_path: Path) -> None:
    everything = len(os.sched_getaffinity(0))
    assert told("one core", tmp_path)["cores"] == 1
    assert told("all cores", tmp_path)["cores"] >= everything
    # Started from one core, all of them are more.
    steps = (BY_NAME["one core"].before, BY_NAME["all cores"].before, "print(len(os.sched_getaffinity(0)))")
    program = "\n".join(steps)
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert int(printed) >= everything


def test_threads(tmp_path: Path) -> None:
    for number in ("1", "3"):
        variables = told(f"OMP_NUM_THREADS={number}, of BLAS too", tmp_path)["variables"]
        assert {variables[f"{name}_NUM_THREADS"] for name in ("OMP", "OPENBLAS", "MKL")} == {number}


def test_hash_seeds(tmp_path: Path) -> None:
    hashes = {told(name, tmp_path)["hash"] for name in BY_NAME if name.startswith("PYTHONHASHSEED=") for _ in range(2)}
    assert len(hashes) == 2, "each seed gives its own, twice the same"


def test_the_number_of_threads_of_the_caller_is_overridden(tmp_path: Path) -> None:
    answer = told("PJRT_NPROC=1", tmp_path, "start")
    assert (answer["variables"]["PJRT_NPROC"], answer["pinned"]["PJRT_NPROC"]) == ("1", "2")


@pytest.mark.skipif(BY_NAME["XLA_FLAGS of SSE4_2"].skipped() is not None, reason="x86-64 only")
def test_the_instruction_set_of_the_caller_is_overridden_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = "--xla_cpu_multi_thread_eigen=true"
    monkeypatch.setenv("XLA_FLAGS", f"{other} {ISA}=AVX2")
    answer = told("XLA_FLAGS of SSE4_2", tmp_path, "start")
    assert answer["variables"]["XLA_FLAGS"] == f"{other} {ISA}=SSE4_2"
    assert answer["pinned"]["XLA_FLAGS"] == f"{other} {ISA}=AVX2"


def test_what_this_process_has_pinned_is_not_given_to_the_other(tmp_path: Path) -> None:
    assert os.environ["PJRT_NPROC"] == "2"
    variables = told("compiled afresh", tmp_path)["variables"]
    assert "PJRT_NPROC" not in variables
    assert ISA not in variables.get("XLA_FLAGS", "")


def test_compiled_afresh_and_found_compiled(tmp_path: Path) -> None:
    afresh = told("compiled afresh", tmp_path, "start")
    found = told("found compiled", tmp_path, "start")
    assert afresh["entries"][0] == 0
    assert afresh["entries"][1] > 0
    assert found["entries"] == [afresh["entries"][1]] * 2
    assert afresh["imported"] is found["imported"] is False


def test_a_notebook_that_has_imported_jax_and_chosen_float64_is_pinned_with_a_warning(tmp_path: Path) -> None:
    done = process(BY_NAME["JAX imported before"], TELL, ["start"], tmp_path)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["imported"], answer["before"], answer["numbers"]) == (True, True, "float32")
    (warning,) = [line for line in done.stderr.splitlines() if "UserWarning: " in line]
    assert "ringsim has set jax_enable_x64=False (it was True) for all of this process" in warning
    assert "run ringsim in a process of its own" in warning
    assert "async" not in warning, "nobody chose what JAX itself chooses"


def test_conditions_compile_apart_but_for_the_two_that_are_about_it(
    result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders: dict[str, Path] = {}

    def pretend(condition: Condition, program: str, arguments: list[str], compiled: Path) -> Any:
        out = Path(arguments[arguments.index("--out") + 1])
        out.mkdir()
        (out / "trace.jsonl").write_text(trace_jsonl(result.trace))
        folders[condition.name] = compiled
        return subprocess.CompletedProcess([], 0, "", "")

    monkeypatch.setattr(replaying, "process", pretend)
    seen: list[int] = []
    findings = replay(result, ["small.yaml"], CONDITIONS, seen.append)
    assert {finding.verdict for finding in findings} <= {"same", "skipped"}
    assert [finding.condition for finding in findings] == list(BY_NAME)
    assert sum(seen) == len(CONDITIONS)
    assert folders.pop("compiled afresh") == folders.pop("found compiled")
    assert len(set(folders.values())) == len(folders)


@pytest.mark.parametrize("condition", [one for one in CONDITIONS if one.options], ids=lambda one: one.name)
def test_an_option_of_simulate_is_given_to_it(
    condition: Condition, result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}
    other = simulate(result.scenario.model_copy(update={"seed": 8}))
    monkeypatch.setattr(replaying, "simulate", lambda scenario, **options: given.update(options) or other)
    (finding,) = replay(result, [], [condition])
    assert given == condition.options
    assert finding.verdict == "differs"


def test_what_cannot_be_had_here_is_skipped_with_a_sentence(result: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    names = ("one core", "all cores", "XLA_FLAGS of SSE4_2")
    assert replay(result, [], [BY_NAME[name] for name in names]) == [
        Finding("one core", "skipped", "Darwin does not let a process choose its cores"),
        Finding("all cores", "skipped", "Darwin does not let a process choose its cores"),
        Finding("XLA_FLAGS of SSE4_2", "skipped", "ringsim pins an instruction set on x86-64 only, and this is arm64"),
    ]
    assert "core" not in another_process().name


def test_every_condition_is_described() -> None:
    page = (DOCS / "determinism.md").read_text(encoding="utf-8")
    assert [name for name in BY_NAME if f"| {name} |" not in page] == []


# --- what JAX was told meanwhile --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "value", "pinned"),
    [
        ("jax_disable_jit", True, False),
        ("jax_threefry_partitionable", False, True),
        ("jax_enable_x64", True, False),
    ],
)
def test_a_setting_that_is_changed_after_the_start_is_refused(
    setting: str, value: bool, pinned: bool, result: Result
) -> None:
    jax.config.update(setting, value)
    try:
        with pytest.raises(EnvironmentRefused, match=f"JAX was set to {setting}={value} after ringsim") as refused:
            simulate(result.scenario)
    finally:
        jax.config.update(setting, pinned)
    assert f"set it back to {setting}={pinned} before" in str(refused.value)
    assert simulate(result.scenario).numbers_digest == result.numbers_digest


def test_a_setting_for_a_with_is_refused_too(result: Result) -> None:
    with jax.disable_jit(), pytest.raises(EnvironmentRefused, match="jax_disable_jit=True"):
        simulate(result.scenario)


# --- the command ------------------------------------------------------------------------------------------------------

# A process with what is compiled already, one that must refuse, and one option.
FEW = (
    Condition("another hash seed", {"PYTHONHASHSEED": "3"}, compiled=USUAL),
    BY_NAME["JAX used before"],
    BY_NAME["message by message"],
    Condition("never", skipped=lambda: "there is no such machine"),
)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ringsim.checking.conditions.CONDITIONS", FEW)


@pytest.mark.usefixtures("few")
def test_all_conditions_as_a_table(small: str, result: Result, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["check", small, "--all"]) == 0
    said = capsys.readouterr()
    assert [line.split("  ")[0] for line in said.out.splitlines()] == [
        "condition",
        *(condition.name for condition in FEW),
        "",
        "The same, event by event and bit by bit, under 2 conditions; 1 refused, as promised; 1 skipped.",
        "schedule",
        "numbers",
    ]
    assert "never               skipped: there is no such machine\n" in said.out
    assert "JAX used before     refused, as promised\n" in said.out
    assert result.numbers_digest in said.out
    assert said.err == ""


@pytest.mark.usefixtures("few")
def test_another_run_is_named_by_its_first_number(
    small: str, result: Result, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other processes learn at another rate, which first shows in the event that tells it."""
    other = ["--set", "task.optimizer.learning_rate=0.05"]
    monkeypatch.setattr("ringsim.commands.again.arguments", lambda *_: [small, *other])
    assert run_command(["check", small, "--all", "--json"]) == 5
    report = json.loads(capsys.readouterr().out)
    row, refused, message, _ = report["conditions"]
    first = next(event for event in result.trace if event.kind == "rate")
    place = f"at {about_duration(first.time_ns)}, node0: rate of step {first.fields['step']}, learning_rate"
    assert row["words"] == f"{place}: {first.fields['learning_rate']!r} here, 0.05 there"
    assert row["verdict"] == "differs"
    assert (refused["verdict"], message["verdict"], report["met"]) == ("refused", "same", False)
    assert refused["words"].startswith("JAX was already started with ")


def test_what_differs_stands_in_the_table_and_the_condition_on_stderr(
    small: str, result: Result, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = simulate(result.scenario.model_copy(update={"seed": 8}))
    monkeypatch.setattr("ringsim.checking.conditions.CONDITIONS", (BY_NAME["replicas apart"],))
    monkeypatch.setattr(replaying, "simulate", lambda scenario, **options: other)
    assert run_command(["check", small, "--all"]) == 5
    said = capsys.readouterr()
    assert f"replicas apart  not the same: {first_difference(result.trace, other.trace)}\n" in said.out
    assert "under 0 conditions; 1 not the same." in said.out
    assert said.err == "error: not the same under: replicas apart\n"


def test_a_refusal_that_nobody_promised_and_any_other_end_is_one_sentence(result: Result, small: str) -> None:
    used = Condition("surprise", before=BY_NAME["JAX used before"].before, compiled=USUAL)
    with pytest.raises(
        RingsimError, match=r"^it could not be played again \(surprise\): JAX was already started with "
    ):
        replay(result, [small], [used])
    dead = Condition("dead", before="import os, sys; print('one', 'two', sep=chr(10), file=sys.stderr); sys.exit(7)")
    with pytest.raises(RingsimError, match=r"^it could not be played again \(dead\): two \(exit code 7\)$") as error:
        replay(result, [small], [dead])
    assert error.value.exit_code == 1


# --- the first difference ---------------------------------------------------------------------------------------------


def loss(number: float, node: str = "node0", step: int = 3, time_ns: int = 1_200_000_000) -> Event:
    return Event(time_ns, node, "loss", {"step": step, "epoch": 0, "generation": 0, "loss": number, "samples": 8})


def parameters(letter: str) -> Event:
    return Event(1_200_000_000, "", "parameters", {"sha256": letter * 64})


@pytest.mark.parametrize(("one", "other"), [(0.1, math.nextafter(0.1, 1)), (0.0, -0.0), (1.0, math.nan), (1e16, 2e16)])
def test_two_floats_that_differ_in_one_bit_look_different(one: float, other: float) -> None:
    words = first_difference([loss(one)], [loss(other)])
    assert words is not None
    told = words.removeprefix("at 1.2 s, node0: loss of step 3: ").split(", ")
    shown = [float(told[0].removesuffix(" here")), float(told[1].removesuffix(" there"))]
    assert [number.hex() for number in shown] == [one.hex(), other.hex()]


def test_nothing_differs_where_nothing_does() -> None:
    assert first_difference([loss(math.nan), parameters("a")], [loss(math.nan), parameters("a")]) is None


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        (
            Event(5, "", "evaluation", {"step": 2, "loss": 0.5, "accuracy": 0.75}),
            Event(5, "", "evaluation", {"step": 2, "loss": 0.25, "accuracy": 1.0}),
            "at 5 ns: evaluation of step 2, accuracy: 0.75 here, 1.0 there; loss: 0.5 here, 0.25 there",
        ),
        (
            Event(5, "node0", "world", {"generation": 1, "members": ["node0", "node1"]}),
            Event(5, "node0", "world", {"generation": 1, "members": ["node0", "node2"]}),
            'at 5 ns, node0: world, members[1]: "node1" here, "node2" there',
        ),
        (
            Event(5, "node0", "world", {"members": ["node0"]}),
            Event(5, "node0", "world", {"members": ["node0", "node2"]}),
            "at 5 ns, node0: world, number of members: 1 here, 2 there",
        ),
        (
            Event(1_000_000_001, "node0", "commit", {"step": 3}),
            Event(1_000_000_000, "node0", "commit", {"step": 3}),
            "at 1 s, node0: commit of step 3, time_ns: 1000000001 here, 1000000000 there",
        ),
        (
            Event(5, "node0", "compute_begin", {"flop": 1}),
            Event(5, "node0", "compute_begin", {"flop": 1, "why": "x"}),
            'at 5 ns, node0: compute_begin, why: null here, "x" there',
        ),
        (
            Event(5, "node0", "world", {"world_size": 4}),
            Event(5, "node0", "world", {"world_size": 3}),
            "at 5 ns, node0: world, world_size: 4 here, 3 there",
        ),
        (
            Event(7, "node0", "commit", {"step": 3}),
            Event(5, "node1", "commit", {"step": 3}),
            'at 5 ns, node1: commit {"step":3} at 7 ns, node0 here, commit {"step":3} there',
        ),
        (
            Event(5, "node0", "commit", {"step": 3}),
            Event(5, "node0", "commit", {"step": 4}),
            'at 5 ns, node0: commit {"step":3} here, commit {"step":4} there',
        ),
    ],
)
def test_what_differs_is_named_with_both_values(one: Event, other: Event, words: str) -> None:
    assert first_difference([one], [other]) == words


def test_the_first_of_several_differences_counts() -> None:
    here = [loss(0.5, step=step) for step in range(3)]
    there = [here[0], loss(0.25, step=1), loss(0.25, step=2)]
    words = first_difference(here, there)
    assert words is not None
    assert "loss of step 1: 0.5 here, 0.25 there" in words


def test_parameters_that_differ_are_told_with_the_losses() -> None:
    told = f'at 1.2 s: parameters, sha256: "{"a" * 16}" here, "{"b" * 16}" there, '
    alone = first_difference([parameters("a"), loss(0.5)], [parameters("b"), loss(0.5)])
    assert alone == f"{told}though every loss, learning rate and evaluation has the same bits"
    # At the last instant, what belongs to the run as a whole stands before what belongs to a node.
    both = first_difference([parameters("a"), loss(0.5)], [parameters("b"), loss(0.25)])
    assert both == f"{told}and at 1.2 s, node0: loss of step 3: 0.5 here, 0.25 there"
