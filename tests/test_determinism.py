"""The same digests: twice, in two processes, with other hash seeds and cores, from Python and the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ringsim import load, simulate
from ringsim.checking.conditions import another_process
from ringsim.checking.difference import first_difference
from ringsim.checking.replay import replay
from ringsim.cli import run_command
from ringsim.trace import Event

# Crash, rollback and return included, in a couple of seconds.
SHORT = ("task.epochs=3", "faults=[{kind: crash, node: node2, at: {step: 8, segment: 3}, restart_after: 1 s}]")
ARGUMENTS = ["4node_fail", *(part for override in SHORT for part in ("--set", override))]


def digests_of_a_process(prefix: list[str], **environment: str) -> dict[str, str]:
    done = subprocess.run(
        [*prefix, sys.executable, "-m", "ringsim", "run", *ARGUMENTS, "--json"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    digests: dict[str, str] = json.loads(done.stdout)["digest"]
    return digests


@pytest.fixture(scope="module")
def here() -> dict[str, str]:
    result = simulate(load("4node_fail", overrides=list(SHORT)).scenario)
    assert result.failures[0].recovered_at_ns is not None, "the short run holds all that can go wrong"
    return {"schedule": result.schedule_digest, "numbers": result.numbers_digest}


def test_twice_in_one_process(here: dict[str, str]) -> None:
    again = simulate(load("4node_fail", overrides=list(SHORT)).scenario)
    assert {"schedule": again.schedule_digest, "numbers": again.numbers_digest} == here


@pytest.mark.parametrize("hash_seed", ["0", "4711"])
def test_in_another_process_with_another_hash_seed(here: dict[str, str], hash_seed: str) -> None:
    assert digests_of_a_process([], PYTHONHASHSEED=hash_seed) == here


@pytest.mark.skipif(not Path("/usr/bin/taskset").exists(), reason="needs taskset (Linux)")
@pytest.mark.parametrize("cores", ["0", "0,1"])
def test_on_one_core_and_on_two(here: dict[str, str], cores: str) -> None:
    if max(map(int, cores.split(","))) >= (os.cpu_count() or 1):
        pytest.skip("this machine has one core")
    assert digests_of_a_process(["taskset", "-c", cores]) == here


@pytest.mark.parametrize("options", [{"shuffle_ties": 1}, {"shuffle_ties": 2}, {"share_replicas": False}])
def test_with_simpy_s_ties_shuffled_and_with_replicas_apart(here: dict[str, str], options: dict[str, int]) -> None:
    result = simulate(load("4node_fail", overrides=list(SHORT)).scenario, **options)  # type: ignore[arg-type]
    assert {"schedule": result.schedule_digest, "numbers": result.numbers_digest} == here


def test_the_schedule_does_not_depend_on_the_detail_of_the_trace(here: dict[str, str]) -> None:
    result = simulate(load("4node_fail", overrides=list(SHORT)).scenario, trace="messages")
    assert any(event.kind == "deliver" for event in result.trace)
    assert {"schedule": result.schedule_digest, "numbers": result.numbers_digest} == here


def test_another_seed_is_another_run(here: dict[str, str]) -> None:
    other = simulate(load("4node_fail", overrides=list(SHORT), seed=8).scenario)
    assert other.schedule_digest != here["schedule"]
    assert other.numbers_digest != here["numbers"]


def test_check_says_the_same_and_names_what_differs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_command(["check", *ARGUMENTS, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["difference"] is None
    assert "another process" in report["how"]
    # A run that differs from what the other process plays: one event is moved by a nanosecond.
    result = simulate(load("4node_fail", overrides=list(SHORT)).scenario)
    place = next(index for index, event in enumerate(result.trace) if event.kind == "update")
    event = result.trace[place]
    moved = Event(event.time_ns, event.node, event.kind, {**event.fields, "step": 999})
    object.__setattr__(result, "trace", (*result.trace[:place], moved, *result.trace[place + 1 :]))
    (finding,) = replay(result, ARGUMENTS, [another_process()])
    assert finding.verdict == "differs"
    assert f"{event.node}: update" in finding.words
    assert '"step":999' in finding.words


def test_the_first_difference_may_be_an_end() -> None:
    event = Event(7, "node0", "update", {"step": 1})
    assert first_difference([event], [event]) is None
    assert first_difference([], [event]) == 'at 7 ns, node0: nothing here, update {"step":1} there'
