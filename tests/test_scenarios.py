"""The shipped scenarios: each gives what its golden record says, and what its own comments promise."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import pytest

from ringsim import load, records, shipped, simulate
from ringsim.checkpointing import daly_ns, young_ns
from ringsim.cli import run_command
from ringsim.result import Outcome, Result
from ringsim.scenario_file import MODELINE
from ringsim.scenario_file.schema import json_schema
from ringsim.trace import Event

NAMES = shipped.names()
# Those of the paper train for a minute or two each.
TO_PLAY = [pytest.param(name, marks=pytest.mark.long) if name.startswith("paper/") else name for name in NAMES]
_played: dict[tuple[str, ...], Result] = {}


def played(name: str, *overrides: str) -> Result:
    """Play a shipped scenario, as it is or with overrides, once for all tests of this file."""
    if (name, *overrides) not in _played:
        _played[name, *overrides] = simulate(load(name, overrides).scenario)
    return _played[name, *overrides]


def seconds(result: Result) -> float:
    """Return the virtual time of a run as the comments say it: seconds, to a tenth."""
    return round(result.virtual_time_ns / 1e9, 1)


def ring_sizes(result: Result) -> list[int]:
    """Return how many gradients the updates that count were made of, each size once for as long as it lasted."""
    return [size for size, _ in groupby(row.world_size for row in result.metrics if row.committed)]


def same_parameters(one: Result, other: Result) -> bool:
    assert one.parameters is not None
    assert other.parameters is not None
    return one.parameters.tobytes() == other.parameters.tobytes()


@pytest.mark.parametrize("name", TO_PLAY)
def test_a_shipped_scenario_gives_what_was_recorded(name: str) -> None:
    record = records.read(records.record_path(shipped.find(name)))
    assert records.verify(played(name), record).difference is None


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_scenario_opens_with_question_hint_and_answer(name: str) -> None:
    lines = shipped.find(name).read_text().splitlines()
    assert lines[0] == MODELINE.replace("=", "=" + "../" * name.count("/"))
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


def test_of_two_halves_the_one_with_the_rendezvous_trains_on() -> None:
    result = played("partition_heals")
    (failure,) = result.failures
    assert failure.detected_at_ns is not None
    assert failure.resumed_at_ns is not None
    assert failure.ended_at_ns is not None
    assert failure.recovered_at_ns is not None
    assert ring_sizes(result) == [4, 2, 4]
    assert result.lost_work == failure.rolled_back_steps == 2
    assert all(epoch.counted == 1_437 and epoch.lost == 0 for epoch in result.epochs)
    assert failure.detected_at_ns - failure.at_ns < 1e9 < failure.resumed_at_ns - failure.at_ns < 2.2e9
    assert round((failure.recovered_at_ns - failure.ended_at_ns) / 1e9, 1) == 2.4
    updates = [event for event in result.trace if event.kind == "update"]
    meanwhile = {event.node for event in updates if failure.at_ns < event.time_ns < failure.recovered_at_ns}
    assert meanwhile == {"node0", "node1"}, "never two models"
    blind = played("partition_heals", "strategy.timeout=null")
    assert [seconds(run) for run in (result, blind, played("slow_link", "faults=[]"))] == [40.7, 42.9, 34.9]
    assert blind.failures[0].detected_at_ns is None


def test_a_rendezvous_that_reaches_both_halves_forms_rings_that_break() -> None:
    halves = "faults=[{kind: partition, groups: [[node0, node1], [node2, node3]], at: 15.05 s, lasts: 8 s}]"
    result = played("partition_heals", halves)
    (failure,) = result.failures
    worlds = {event.fields["generation"]: event for event in result.trace if event.kind == "world"}
    assert all(len(event.fields["members"]) == 4 for event in worlds.values())
    assert sum(failure.at_ns < event.time_ns < (failure.ended_at_ns or 0) for event in worlds.values()) > 3
    between = [
        row for row in result.metrics if failure.at_ns + 10**9 < row.virtual_time_ns < (failure.ended_at_ns or 0)
    ]
    assert between == []


def test_as_many_spares_as_die_together() -> None:
    def short_for(result: Result) -> list[float | None]:
        ended = [(failure.at_ns, failure.recovered_at_ns) for failure in result.failures]
        return [None if end is None else round((end - at_ns) / 1e9, 1) for at_ns, end in ended]

    two, one, once = (played("rack_dies", *sets) for sets in ((), ("strategy.spares=1",), ("strategy.set_aside=null",)))
    assert short_for(two) == [2.2, 2.4]
    assert ring_sizes(two) == [4]
    assert [event.fields["members"] for event in two.trace if event.kind == "world"][-1] == [
        "node4", "node5", "node0", "node1",
    ], "the rack that has come back is the spare of the next"  # fmt: skip
    assert short_for(one) == [7.8, 7.8]
    assert ring_sizes(one) == [5, 4, 5, 4, 5]
    assert short_for(once) == [2.2, None]
    assert ring_sizes(once) == [4, 2]
    assert all(run.samples.counted == 28_740 and run.samples.lost == 0 for run in (two, one, once))


def test_machines_that_come_and_go_learn_as_much_in_more_time() -> None:
    churn, calm, elastic, waiting = (
        played("churn", *sets)
        for sets in ((), ("faults=[]",), ("strategy.on_failure=elastic",), ("strategy.on_failure=wait",))
    )
    assert len(churn.failures) == 12
    assert churn.accuracy == pytest.approx(calm.accuracy, abs=0.01)
    assert [seconds(run) for run in (churn, calm, elastic, waiting)] == [44.5, 35.3, 47.2, 100.7]
    assert (churn.samples.counted, churn.samples.lost, churn.lost_work) == (28_429, 311, 0)
    assert sum(len(event.fields["samples"]) for event in churn.trace if event.kind == "dropped") == 311
    assert elastic.samples.lost == waiting.samples.lost == 0
    assert [round(run.goodput or 0, 1) for run in (churn, calm)] == [7.1, 6.8]
    unlucky = simulate(load("churn", seed=1).scenario)
    assert unlucky.outcome == Outcome.LOST
    deaths = [failure.at_ns for failure in unlucky.failures]
    assert round((deaths[-1] - deaths[0]) / 1e9, 1) == 2.1
    assert len({failure.node for failure in unlucky.failures}) == len(deaths) == 4


def test_most_flipped_bits_do_nothing_and_one_ends_the_learning() -> None:
    flipped, checked, calm = played("flipped_bit"), played("flipped_bit", "faults.0.detected=true"), played("4node")
    updates = [event for event in flipped.trace if event.kind == "update" and event.node == "node2"]
    flips = [event.time_ns for event in flipped.trace if event.kind == "wrong_number"]
    assert flipped.wrong_numbers == len(flips)
    struck = [sum(update.time_ns < time_ns for update in updates) + 1 for time_ns in flips]
    assert len(struck) > 7
    assert struck[6] == 137
    losses = [(row.loss, other.loss) for row, other in zip(flipped.metrics, calm.metrics, strict=True)]
    assert all(abs((loss or 0) - (right or 0)) < 1e-4 for loss, right in losses[:137])
    assert losses[struck[0]][0] != losses[struck[0]][1], "the first flip is in the parameters"
    assert not math.isnan(losses[137][0] or 0)
    assert all(math.isnan(loss or 0) for loss, _ in losses[138:])
    assert flipped.outcome == Outcome.FINISHED
    assert flipped.failures[0].detected_at_ns is None
    assert flipped.accuracy is not None
    assert flipped.accuracy < 0.15
    assert same_parameters(checked, calm)
    assert round(seconds(checked) - seconds(calm), 1) == 3.7


def test_a_chain_of_servers_loses_nothing_with_its_head() -> None:
    chain, alone = played("server_chain"), played("server_chain", "strategy.server.replicas=1")
    (failure,) = chain.failures
    assert chain.outcome == Outcome.FINISHED
    assert round(((failure.resumed_at_ns or 0) - failure.at_ns) / 1e9, 2) == 0.16
    assert (chain.lost_work, chain.samples.repeated, chain.samples.lost) == (0, 0, 0)
    assert same_parameters(chain, played("4node_ps"))
    assert alone.outcome == Outcome.LOST
    assert alone.virtual_time_ns - failure.at_ns < 0.2e9
    undisturbed = played("server_chain", "faults=[]")
    assert [seconds(run) for run in (chain, undisturbed, played("4node_ps"))] == [90.9, 96.5, 79.8]


def test_saving_as_often_as_young_and_daly_say_is_about_the_best() -> None:
    by_interval = {10: played("server_checkpoint")} | {
        every: played("server_checkpoint", f"strategy.server.checkpoint_every={every}") for every in (1, 5, 20, 40)
    }
    times = {every: round(run.virtual_time_ns / 1e9) for every, run in by_interval.items()}
    assert times == {1: 164, 5: 106, 10: 102, 20: 105, 40: 123}
    thrown_away = {every: (run.lost_work, len(run.failures)) for every, run in by_interval.items()}
    assert (thrown_away[10], thrown_away[40], thrown_away[1]) == ((21, 4), (89, 5), (5, 8))
    assert round(by_interval[1].checkpoints.saving_ns / 1e9) == 64
    saves, between = by_interval[10].checkpoints, by_interval[10].virtual_time_ns // 4
    save_ns = saves.saving_ns // saves.saves
    said = (saves.mean_interval_ns or 0, save_ns, young_ns(save_ns, between), daly_ns(save_ns, between))
    assert [round(time_ns / 1e9, 2) for time_ns in said] == [3.32, 0.26, 3.66, 3.49]
    assert all(run.samples.lost == 0 and same_parameters(run, played("4node_ps")) for run in by_interval.values())


def test_a_slow_machine_costs_more_than_a_dead_one() -> None:
    slow = played("slow_link")
    dead = played("slow_link", "faults=[{kind: crash, node: node2, at: 15.05 s}]")
    assert [seconds(run) for run in (slow, dead, played("slow_link", "faults=[]"))] == [83.2, 39.9, 34.9]
    assert slow.failures[0].detected_at_ns is None
    assert (ring_sizes(slow), ring_sizes(dead)) == ([4], [4, 3])


def test_a_false_alarm_costs_a_machine_or_two_re_forms_or_some_patience() -> None:
    alarmed = played("false_alarm")
    back = played("false_alarm", "strategy.set_aside={cooldown: 0 s}")
    patient = played("false_alarm", "strategy.heartbeat.timeout=5 s")
    without = played("false_alarm", "strategy.heartbeat=null")
    took = [round(seconds(run), 1) for run in (alarmed, back, patient)]
    assert took == [40.8, 36.8, 36.9]
    assert [ring_sizes(run) for run in (alarmed, back, patient)] == [[4, 3], [4, 3, 4], [4]]
    assert (alarmed.false_suspicions > 0, back.false_suspicions > 0, patient.false_suspicions) == (True, True, 0)
    assert patient.samples.repeated == 0
    (failure,) = back.failures
    assert failure.detected_at_ns is not None
    assert failure.resumed_at_ns is not None
    assert failure.recovered_at_ns is not None
    assert failure.ended_at_ns is not None
    assert failure.resumed_at_ns - failure.detected_at_ns == pytest.approx(0.3 * 10**9, abs=0.05 * 10**9)
    assert failure.recovered_at_ns - failure.ended_at_ns == pytest.approx(0.7 * 10**9, abs=0.05 * 10**9)
    assert patient.virtual_time_ns - without.virtual_time_ns == pytest.approx(0.02 * 10**9, abs=0.005 * 10**9)


@pytest.mark.parametrize("name", NAMES)
def test_the_manual_says_what_a_shipped_scenario_is_about(name: str) -> None:
    assert f"| `{name}` |" in (Path(__file__).parents[1] / "docs" / "index.md").read_text(encoding="utf-8")


def test_strategies_ring_says_where_a_step_spends_its_time() -> None:
    ring, twin = played("strategies/ring"), played("strategies/ring", "strategy.name=local")
    assert round(twin.virtual_time_ns / ring.virtual_time_ns, 1) == 2.8
    assert round(ring.total_ns("exposed_communication_ns") / 4 / ring.virtual_time_ns, 2) == 0.30
    node = ring.nodes[0]
    assert round(node.compute_ns / ring.steps / 1e6, 1) == 3.4
    assert round(node.payload_bytes_sent * 8 / ring.steps / 1e6, 1) == 0.9  # Mbit, at 1 Gbit/s: ms


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
    assert "the loss is nan" in str(records.verify(replace(elsewhere, loss=math.nan), record).difference)
