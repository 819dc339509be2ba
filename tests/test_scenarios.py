"""The shipped scenarios: each gives what its golden record says, and what its own comments promise."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ringsim import load, records, shipped, simulate
from ringsim.cli import run_command
from ringsim.result import Outcome, Result
from ringsim.scenario_file import MODELINE
from ringsim.scenario_file.schema import json_schema
from ringsim.trace import Event

NAMES = shipped.names()
_played: dict[str, Result] = {}


def played(name: str) -> Result:
    """Play a shipped scenario once for all tests of this file."""
    if name not in _played:
        _played[name] = simulate(load(name).scenario)
    return _played[name]


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_scenario_gives_what_was_recorded(name: str) -> None:
    record = records.read(records.record_path(shipped.find(name)))
    assert records.verify(played(name), record).difference is None


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_scenario_opens_with_question_hint_and_answer(name: str) -> None:
    lines = shipped.find(name).read_text().splitlines()
    assert lines[0] == MODELINE
    opening = "\n".join(line for line in lines if line.startswith("#"))
    for heading in ("# Question: ", "# Look at: ", "# Answer: "):
        assert heading in opening
    assert shipped.question(shipped.find(name)).endswith("?")


def test_the_schema_that_editors_read_is_the_program_s() -> None:
    assert json.loads((shipped.folder() / "ringsim.schema.json").read_text()) == json_schema()


def test_the_main_job_learns_and_tells_what_the_failure_cost() -> None:
    result = played("4node_fail")
    assert result.outcome == Outcome.FINISHED
    assert result.accuracy is not None
    assert result.accuracy > 0.93
    assert result.virtual_time_ns < 180 * 10**9
    (failure,) = result.failures
    began, ended = (
        [event.time_ns for event in result.trace if event.kind == kind and event.node == "node1"]
        for kind in ("collective_enter", "collective_abort")
    )
    assert max(time_ns for time_ns in began if time_ns < failure.at_ns) < failure.at_ns < ended[0], "in an all-reduce"
    assert failure.rolled_back_steps == 2
    assert failure.recovered_at_ns is not None
    assert all(epoch.counted == 1_437 and epoch.lost == 0 for epoch in result.epochs)
    assert result.samples.repeated == 384, "two steps of four workers and one of three quarters were done again"


def test_the_learning_rate_follows_the_ring_s_size() -> None:
    for row in played("4node_fail").metrics:
        if row.epoch >= 2:  # After the warm-up.
            assert row.learning_rate == pytest.approx(0.02 * row.world_size)


def test_the_answers_in_the_comments_are_what_comes_out() -> None:
    assert played("1node").virtual_time_ns / played("4node").virtual_time_ns == pytest.approx(2.4, abs=0.1)
    assert played("4node_ps").virtual_time_ns / played("4node").virtual_time_ns == pytest.approx(2.3, abs=0.1)
    assert played("4node_ring_abort").outcome == Outcome.LOST
    assert played("4node_ps_fail").outcome == Outcome.STALLED
    assert "server0 waits for node2" in played("4node_ps_fail").outcome_sentence
    one = simulate(load("buckets", ["strategy.bucket_size=null"]).scenario)
    exposed = [run.total_ns("exposed_communication_ns") / run.virtual_time_ns / 4 for run in (played("buckets"), one)]
    assert exposed == pytest.approx([0.025, 0.336], abs=0.0005)
    listed = simulate(load("rack_order", ["strategy.order=listed"]).scenario)
    assert listed.virtual_time_ns / played("rack_order").virtual_time_ns == pytest.approx(2.1, abs=0.05)
    assert listed.payload_bytes_sent == played("rack_order").payload_bytes_sent
    same = {round(played(name).accuracy or 0, 2) for name in ("1node", "4node", "4node_ps", "4node_fail")}
    assert len(same) == 1


def test_verify_names_the_first_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(shipped.find("4node").read_text().replace("epochs: 20", "epochs: 2"))
    assert run_command(["verify", str(path)]) == 2
    assert "there is no record" in capsys.readouterr().err
    assert run_command(["record", str(path)]) == 0
    assert run_command(["verify", str(path)]) == 0
    assert "as recorded (schedule exactly, numbers bit for bit)" in capsys.readouterr().out
    record = tmp_path / "mine.record.json"
    whole = record.read_text()
    for edited in (whole.replace('"steps": 24', '"steps": 25'), whole.replace("{", "[", 1), ""):
        record.write_text(edited)
        assert run_command(["verify", str(path)]) == 2, "an edited record is not one that is met"
    record.write_text(whole)
    path.write_text(path.read_text().replace("latency: 1 ms", "latency: 2 ms"))
    assert run_command(["verify", str(path), "--json"]) == 5
    (line,) = json.loads(capsys.readouterr().out)
    assert line["difference"].startswith("the scenario has changed")


def test_a_record_places_a_changed_schedule_and_a_changed_number() -> None:
    result = played("4node_ring_abort")
    record = records.make(result)
    assert records.verify(result, record).difference is None
    moved = tuple(
        Event(event.time_ns + (event.time_ns > 5 * 10**9), event.node, event.kind, event.fields)
        for event in result.trace
    )
    other = replace(result, trace=moved, schedule_digest="sha256:other")
    difference = records.verify(other, record).difference
    assert difference is not None
    assert difference.startswith("the schedule differs after update 34 (4.9")
    off = [index for index, event in enumerate(result.trace) if event.kind == "loss"][50]
    flipped = list(result.trace)
    flipped[off] = replace(flipped[off], fields={**flipped[off].fields, "loss": 0.123})
    other = replace(result, trace=tuple(flipped), numbers_digest="sha256:other")
    difference = records.verify(other, record).difference
    assert difference is not None
    assert difference.startswith("the numbers differ after update 12")


def test_elsewhere_the_numbers_are_compared_within_tolerances() -> None:
    result = played("4node_ring_abort")
    record = records.make(result)
    elsewhere = replace(result, environment={**result.environment, "processor": "another"}, numbers_digest="sha256:x")
    verdict = records.verify(elsewhere, record)
    assert verdict.difference is None
    assert "within tolerances" in verdict.numbers
    assert result.loss is not None
    worse = replace(elsewhere, loss=result.loss * 1.1)
    assert "the loss is" in str(records.verify(worse, record).difference)
