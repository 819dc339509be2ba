"""Bugs that Horovod's elastic training really had: they do not happen here, and the monkey would find them if they did.

Each is put in by a patch of what a worker or `Training` does, and must be caught by the invariant that is meant for it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ringsim import invariants, load, parse, simulate
from ringsim.cli import run_command
from ringsim.learning.sampler import Cursor
from ringsim.node import Group, Node, Operation
from ringsim.result import Outcome
from ringsim.strategies import ring_elastic
from ringsim.strategies.training import State, Training

# 96 samples, and 24 a step of three workers: an epoch has four steps.
ELASTIC = """\
name: elastic
task:
  dataset: {kind: synthetic, samples: 96, features: 8, classes: 3}
  model: {kind: softmax}
  steps: 10
  batch_size: 8
  flop_per_sample: 1 MFLOP
cluster: {nodes: 3, speed: 8 GFLOP/s}
strategy: {name: ring, on_failure: elastic, commit_every: 2, timeout: null, set_aside: {cooldown: 1 ms}}
"""
CRASH = "{kind: crash, node: node1, at: {step: 3}}"
RETURNS = "{kind: crash, node: node1, at: {step: 2}, restart_after: 1 ms}"

Restore = Callable[[Training, Node, State, State, Group], State]
restore: Restore = Training.restore


# --- the bugs ---------------------------------------------------------------------------------------------------------


def forget_the_place(training: Training, node: Node, state: State, committed: State, group: Group) -> State:
    """horovod#3399: the ring is re-formed, the parameters stay, and the sampler begins its epoch anew."""
    after = restore(training, node, state, committed, group)
    return replace(after, cursor=Cursor(after.cursor.epoch, 0))


def keep_the_place(training: Training, node: Node, state: State, committed: State, group: Group) -> State:
    """horovod#3143: the parameters go back to the commit, and the sampler does not: it goes on after the lost step."""
    after = restore(training, node, state, committed, group)
    return replace(after, cursor=training.sampler.after(after.cursor, group.names)) if group.generation else after


take_from_rank_0 = ring_elastic._take_from_rank_0


def sync_if_new(node: Node, training: Training, committed: State, *rest: Any) -> Operation[State]:
    """horovod#3494: who has the state already sees no need to sync, and who is new waits for the others to do so."""
    if node.incarnation == 0 and node.group.generation:
        return committed
    return (yield from take_from_rank_0(node, training, committed, *rest))


BUGS = [
    pytest.param((Training, "restore", forget_the_place), RETURNS, "samples_once", "more than once", id="horovod#3399"),
    pytest.param((Training, "restore", keep_the_place), CRASH, "samples_once", "never taken", id="horovod#3143"),
    pytest.param((ring_elastic, "_take_from_rank_0", sync_if_new), RETURNS, "goes_on", "waits for", id="horovod#3494"),
]


# --- they do not happen here ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [CRASH, RETURNS])
def test_every_invariant_holds_where_the_bugs_would_be(fault: str) -> None:
    result = simulate(parse(ELASTIC, overrides=[f"faults=[{fault}]"]).scenario)
    assert result.outcome is Outcome.FINISHED
    assert invariants.broken(result) == {}
    assert [epoch.lost for epoch in result.epochs] == [0, 0, 0][: len(result.epochs)]
    assert {event.fields["generation"] for event in result.trace if event.kind == "world"} > {0}, "the ring re-formed"


def test_the_newcomer_is_in_the_ring_again() -> None:
    result = simulate(parse(ELASTIC, overrides=[f"faults=[{RETURNS}]"]).scenario)
    assert result.failures[0].recovered_at_ns is not None


# --- and would be found -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bug", "fault", "invariant", "words"), BUGS)
def test_the_invariant_that_is_meant_for_it_breaks(
    bug: tuple[Any, str, Any], fault: str, invariant: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*bug)
    broken = invariants.broken(simulate(parse(ELASTIC, overrides=[f"faults=[{fault}]"]).scenario))
    assert words in broken[invariant]


@pytest.mark.parametrize(("bug", "fault", "invariant", "words"), BUGS)
def test_the_monkey_finds_it(
    bug: tuple[Any, str, Any],
    fault: str,
    invariant: str,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "elastic.yaml"
    file.write_text(ELASTIC)
    command = ["monkey", str(file), "--limit", "40", "--restart-after", "1 ms", "--jobs", "1"]
    monkeypatch.setattr(*bug)
    assert run_command([*command, "--out", str(tmp_path / "out"), "--json"]) == 5
    summary = json.loads(capsys.readouterr().out)
    assert summary["violations"][invariant] > 0
    small = next(one for one in summary["shrunk"] if one["invariant"] == invariant)
    assert words in small["sentence"]
    # What it has written is a valid scenario that breaks the same invariant, and nothing once the bug is gone.
    load(small["file"])
    program, *arguments = small["command"].split()
    assert program == "ringsim"
    assert run_command([*arguments, "--json"]) == 5
    assert invariant in json.loads(capsys.readouterr().out)["base"]["violations"]
    monkeypatch.undo()
    assert run_command([*arguments, "--json"]) == 0
