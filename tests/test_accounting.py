"""What a failure cost, whose history the parameters have, and that no figure depends on who acts first."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from worlds import cluster, crash, group_of, select, tell

from ringsim import load, parse, simulate
from ringsim.accounting import history
from ringsim.collectives.ring import segment_bounds
from ringsim.comparing.playing import Arena
from ringsim.failures import Failures
from ringsim.learning.engine import Engine
from ringsim.learning.sampler import Cursor, Sampler
from ringsim.report.comparison import FAILURES_IN_A_CELL, compare_tables
from ringsim.report.table import FAILURES_SHOWN, failure_table
from ringsim.result import Failure, Outcome, Result
from ringsim.scenario import Adam, Mlp, Synthetic, Task
from ringsim.trace import Event
from ringsim.world.mailbox import Mailbox
from ringsim.world.played import Injected

BASE = """\
name: base
task: {dataset: {kind: synthetic, samples: 160}, model: {kind: softmax}, steps: 10, batch_size: 8}
cluster: {nodes: 4, speed: 10 MFLOP/s, network: {bandwidth: 100 Mbit/s}}
strategy: {name: ring, on_failure: elastic, commit_every: 2, timeout: 20 ms, set_aside: {cooldown: 1 ms}}
"""
MS = 10**6
DOCS = Path(__file__).parents[1] / "docs"


def play(*faults: str, **options: Any) -> Result:
    listed = ", ".join(faults)
    overrides = [f"{key.replace('__', '.')}={value}" for key, value in options.items()]
    return simulate(parse(BASE, overrides=[f"faults=[{listed}]", *overrides]).scenario)


def event(kind: str, node: str, **fields: object) -> Event:
    return Event(0, node, kind, dict(fields))


# --- what a failure cost ----------------------------------------------------------------------------------------------


def test_each_of_two_failures_is_detected_by_its_own_sign() -> None:
    silent = "{kind: crash, node: node1, at: {step: 2}, notice: silence}"
    loud = "{kind: crash, node: node3, at: {step: 6}, restart_after: 2 ms}"
    first, second = play(silent, loud).failures
    assert first.detected_at_ns is not None
    assert second.detected_at_ns is not None
    assert first.detected_at_ns - first.at_ns >= 20 * MS, "silence is noticed by a timer"
    assert second.detected_at_ns - second.at_ns == 100_000, "a reset comes one path latency later"


def test_a_later_and_louder_failure_is_no_sign_of_a_silent_one() -> None:
    silent = "{kind: crash, node: node1, at: {step: 2}, notice: silence}"
    loud = "{kind: crash, node: node3, at: {step: 2, segment: 1}}"
    quiet, heard = play(silent, loud).failures
    assert heard.detected_at_ns == heard.at_ns + 100_000
    assert quiet.detected_at_ns != heard.detected_at_ns


def test_what_a_later_death_does_to_the_ring_is_no_sign_of_a_fault_that_nobody_notices() -> None:
    # The error of the death runs round the ring, and by that comes from node1 too.
    dies = "{kind: crash, node: node2, at: {step: 5, segment: 2}}"
    slower = "{kind: slow_down, node: node1, at: 1 ms, factor: 1.01}"
    wrong = (
        "{kind: corrupt, source: node1, target: switch, one_way: true, at: 1 ms, probability: 50 %, detected: false}"
    )
    result = play(slower, wrong, dies, cluster__nodes=6)
    assert result.wrong_numbers > 0, "and nobody knows"
    slow, flipped, dead = result.failures
    assert dead.detected_at_ns == dead.at_ns + 100_000
    assert (slow.detected_at_ns, flipped.detected_at_ns) == (None, None)
    cells = [re.split(r" {2,}", line) for line in failure_lines(result.failures)]
    rows = {row[0].split()[0]: row[2:] for row in cells}
    assert rows["slow_down"] == ["never", "-", "-", "-"], "there was nothing to come back from"
    assert rows["crash"][1] == "1"


def test_of_very_many_failures_the_first_ones_are_shown() -> None:
    failure = Failure("node1", "crash", MS, None, None, None, None, 0)
    shown = failure_lines([failure] * (FAILURES_SHOWN + 1_234))
    assert len(shown) == FAILURES_SHOWN + 1
    assert shown[-1].startswith("and 1,234 more")
    assert not any("more" in line for line in failure_lines([failure] * FAILURES_SHOWN))
    assert f"shows the first {FAILURES_SHOWN}:" in (DOCS / "outputs.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("number", "more"), [(FAILURES_IN_A_CELL, ""), (FAILURES_IN_A_CELL + 1_234, ", and 1,234 more")]
)
def test_of_very_many_failures_a_cell_tells_the_first_ones(number: int, more: str) -> None:
    failures = (Failure("node1", "crash", MS, None, 2 * MS, None, None, 0),) * number
    printed = StringIO()
    arena = Arena(lambda scenario: replace(simulate(scenario), failures=failures))
    standing = arena.standing(lambda result: ("ring",), play().scenario, crashes=False)
    Console(file=printed, width=200).print(*compare_tables([standing]))
    cells = dict(re.split(r" {2,}", line.strip()) for line in printed.getvalue().splitlines()[1:])
    assert cells["detected after"] == ", ".join(["1 ms"] * FAILURES_IN_A_CELL) + more
    assert cells["resumed after"] == ", ".join(["never"] * FAILURES_IN_A_CELL) + more


def failure_lines(failures: Sequence[Failure]) -> list[str]:
    """Return the lines of the table of failures as it is printed, without title and headings."""
    printed = StringIO()
    Console(file=printed, width=200).print(failure_table(failures))
    return [line.strip() for line in printed.getvalue().splitlines()[2:]]


def test_a_link_so_slow_that_somebody_waits_in_vain_was_noticed_by_that() -> None:
    slow = "{kind: link_degrade, source: node1, target: switch, at: 1 s, lasts: 2 s, latency: 300 ms}"
    slow_cluster = {"cluster__speed": "80 KFLOP/s", "cluster__network__bandwidth": "1 Mbit/s"}
    patient = {"strategy__on_failure": "peer_recovery", "strategy__timeout": "500 ms"}
    result = play(slow, **slow_cluster, **patient, task__steps=60, task__flop_per_sample="1 KFLOP")
    first, *_ = waits = select(result.trace, "receive_timeout")
    assert "node1" not in {event.fields["source"] for event in waits}, "whose link it is, nobody waits for"
    (failure,) = result.failures
    assert failure.detected_at_ns == first.time_ns
    assert failure.resumed_at_ns is not None
    assert failure.resumed_at_ns > failure.detected_at_ns


def test_the_rows_of_deaths_that_do_not_overlap_add_up_to_the_work_that_was_lost() -> None:
    dies = [f"{{kind: crash, node: server0, at: {at} ms, restart_after: 2 ms}}" for at in (30, 60, 80, 106)]
    server = "{name: parameter_server, server: {checkpoint_every: 8}}"
    result = play(*dies, strategy=server, task__steps=60)
    lost = [failure.rolled_back_steps for failure in result.failures]
    assert len(lost) == 4
    assert all((one.resumed_at_ns or 0) < after.at_ns for one, after in pairwise(result.failures))
    assert sum(steps > 0 for steps in lost) >= 2
    assert sum(lost) == result.lost_work == sum(not row.committed for row in result.metrics)


def test_a_pause_is_over_when_the_machine_dies() -> None:
    stands = "{kind: pause, node: node1, at: 5 ms, lasts: 50 ms}"
    paused, died = play(stands, "{kind: crash, node: node1, at: 9 ms, restart_after: 1 ms}").failures
    assert paused.ended_at_ns == died.at_ns == 9 * MS


def test_a_job_is_lost_though_somebody_stands_still_for_ever() -> None:
    wants_all = {"strategy__min_workers": 4, "strategy__rendezvous_timeout": "50 ms"}
    result = play("{kind: pause, node: node2, at: 5 ms}", **wants_all)
    assert result.outcome is Outcome.LOST
    assert "fewer than min_workers (4)" in result.outcome_sentence


def test_a_failure_counts_the_steps_that_survivors_roll_back_and_not_what_the_dead_lacks() -> None:
    result = play("{kind: crash, node: node2, at: {step: 5, segment: 2}, restart_after: 1 ms}")
    (failure,) = result.failures
    assert failure.rolled_back_steps == 1, "update 5 goes, update 4 was committed"
    assert failure.resumed_at_ns is not None
    assert failure.recovered_at_ns is not None
    assert failure.detected_at_ns is not None
    assert failure.detected_at_ns < failure.resumed_at_ns < failure.recovered_at_ns


def test_an_update_that_the_broken_ring_still_finishes_is_no_resumption() -> None:
    found = 0
    for segment in range(1, 11):
        fault = f"{{kind: crash, node: node2, at: {{step: 5, segment: {segment}}}}}"
        result = play(fault, cluster__nodes=6)
        (failure,) = result.failures
        assert failure.detected_at_ns is not None
        assert failure.resumed_at_ns == select(result.trace, "update", generation=1)[0].time_ns
        late = [e for e in select(result.trace, "update", generation=0) if e.time_ns > failure.detected_at_ns]
        found += len(late)
    assert found, "some rank has all that it needs, and finishes after the first one has noticed"


@pytest.mark.parametrize(("formed_ns", "resumed_ns"), [(40, 60), (15, None)])
def test_a_step_that_another_ring_had_begun_is_taken_up_when_this_one_is_formed(
    formed_ns: int, resumed_ns: int | None
) -> None:
    # Ring 1 finishes a step that ring 0 had begun, and breaks later. Was it formed for this death, or before it?
    events = [
        Event(10, "node1", "crash", {"notice": "reset"}),
        Event(20, "node0", "peer_lost", {"peer": "node1"}),
        Event(formed_ns, "node0", "world", {"generation": 1, "members": ["node0", "node2"]}),
        Event(60, "node0", "update", {"step": 2, "generation": 1, "world_size": 2}),
        Event(90, "node0", "collective_abort", {"plan": "ring_all_reduce", "sequence": 0, "generation": 1}),
    ]
    events.sort(key=lambda event: event.time_ns)
    death = Injected(number=0, struck="node1", ranks=("node1",), at_ns=10, ended_at_ns=None)
    assert Failures(events, (), full_size=3).of("crash", death).resumed_at_ns == resumed_ns


def test_word_of_a_newcomer_who_is_in_the_ring_by_now_is_not_taken_for_another() -> None:
    returns = "{kind: crash, node: node1, at: {step: 1}, restart_after: 3 ms}"
    dies = "{kind: crash, node: node3, at: {step: 5, segment: 2}}"
    result = play(returns, dies, strategy__commit_every=8)
    worlds = {e.fields["generation"]: e.fields["members"] for e in select(result.trace, "world")}
    assert worlds == {
        0: ["node0", "node1", "node2", "node3"],
        1: ["node0", "node2", "node3"],
        2: ["node0", "node2", "node1"],
    }


TWO = {"cluster__nodes": "[{name: a}, {name: b}]"}
LATE = {"cluster__nodes": "[{name: a}, {name: b, speed: 100 KFLOP/s}]", "strategy__timeout": "9 ms", "task__steps": 200}


@pytest.mark.parametrize(
    ("faults", "options"),
    [
        (
            ["{kind: crash, node: b, at: {step: 3}, restart_after: 100 us}"],
            {"cluster__nodes": "[{name: a}, {name: b}]"},
        ),
        ([], LATE),
    ],
    ids=["restarted", "set aside though alive"],
)
def test_who_has_not_got_the_ring_s_state_yet_never_leads_it(faults: list[str], options: dict[str, Any]) -> None:
    undisturbed = play(*faults, **options)
    joins = next(e for e in select(undisturbed.trace, "world", "b") if e.fields["generation"] > 0)
    assert joins.fields["members"] == ["a", "b"]
    # a dies while it gives b the state.
    result = play(*faults, f"{{kind: crash, node: a, at: {joins.time_ns + 1} ns}}", **options)
    assert not select(result.trace, "restore", "b", generation=joins.fields["generation"])
    assert "nobody is left of the last ring, who had the state" in result.outcome_sentence


def test_survivors_recover_from_the_abort_to_the_next_step() -> None:
    result = play("{kind: crash, node: node2, at: {step: 5, segment: 2}}")
    for node in ("node0", "node1", "node3"):
        (abort,) = select(result.trace, "collective_abort", node)
        again = next(e for e in select(result.trace, "step_begin", node) if e.time_ns > abort.time_ns)
        times = next(times for times in result.nodes if times.node == node)
        assert times.recovery_ns == again.time_ns - abort.time_ns


def test_a_ring_that_is_broken_for_good_is_never_resumed() -> None:
    (failure,) = play("{kind: crash, node: node2, at: {step: 5, segment: 2}}", strategy="{name: ring}").failures
    assert failure.detected_at_ns is not None
    assert (failure.resumed_at_ns, failure.recovered_at_ns) == (None, None)


def test_the_ring_is_re_formed_in_vain_as_often_as_reset_limit_says() -> None:
    options = {"cluster__nodes": "[{name: a}, {name: b}, {name: c, speed: 1 KFLOP/s}]", "strategy__timeout": "9 ms"}
    result = play(**options, strategy__min_workers=3, strategy__reset_limit=7)
    assert "re-formed 8 times without a new commit" in result.outcome_sentence
    generations = {event.fields["generation"] for event in select(result.trace, "world")}
    assert generations == set(range(8)), "the first ring, and seven more"


# --- whose history ----------------------------------------------------------------------------------------------------


def test_the_history_is_that_of_rank_0_even_where_a_ring_between_restored_less() -> None:
    events = [
        *(event("update", "a", step=step, generation=0) for step in (1, 2, 3, 4)),
        # a has committed 2 and b 4; the next ring has a as rank 0, which dies while it gives its state away:
        event("world", "a", generation=1, members=["a", "b", "c"]),
        event("restore", "c", step=2, from_step=4, generation=1),
        # b never got it, and leads the ring after that with its own commit.
        event("world", "b", generation=2, members=["b", "c"]),
        event("restore", "b", step=4, from_step=4, generation=2),
        event("update", "b", step=5, generation=2),
    ]
    assert history(events) == {1: 0, 2: 0, 3: 0, 4: 0, 5: 2}


def test_what_an_old_ring_still_reports_is_void() -> None:
    events = [
        event("update", "a", step=1, generation=0),
        event("world", "a", generation=1, members=["a"]),
        event("restore", "a", step=1, from_step=1, generation=1),
        event("update", "b", step=2, generation=0),
        event("update", "a", step=2, generation=1),
    ]
    assert history(events) == {1: 0, 2: 1}


# --- nobody acts first ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["{name: parameter_server}", "{name: ring}"])
def test_the_whole_summary_is_the_same_under_other_ties(strategy: str) -> None:
    fault = "{kind: crash, node: server0, at: 5 ms}" if "server" in strategy else "{kind: crash, node: node1, at: 5 ms}"
    scenario = parse(BASE, overrides=[f"faults=[{fault}]", f"strategy={strategy}"]).scenario
    first = simulate(scenario).summary()
    for seed in range(6):
        assert simulate(scenario, shuffle_ties=seed).summary() == first


@pytest.mark.parametrize("shuffle_ties", [None, *range(8)])
def test_a_restart_and_a_crash_at_one_instant_come_in_the_order_of_the_file(shuffle_ties: int | None) -> None:
    back_at_3_ms = crash("node1", 1 * MS, restart_after="2 ms")
    dies_at_3_ms = crash("node1", 3 * MS)

    def sleep(node):  # type: ignore[no-untyped-def]
        yield from node.sleep(9 * MS)

    scenario = cluster(2, faults=[back_at_3_ms, dies_at_3_ms])
    story = tell(scenario, {"node0": sleep, "node1": sleep}, restarts=["node1"], shuffle_ties=shuffle_ties)
    assert [injected.at_ns for injected in story.played.injected] == [1 * MS, 3 * MS]


def test_a_run_that_is_cut_off_has_lasted_until_then() -> None:
    result = simulate(load("1node", ["cluster.speed=1 FLOP/s", "max_virtual_time=2 h"]).scenario)
    assert result.virtual_time_ns == 7_200 * 10**9
    assert result.nodes[0].compute_ns == result.virtual_time_ns


def test_news_of_an_older_generation_is_not_kept() -> None:
    box = Mailbox()
    box.close("b", 2)
    box.close("b", 4)
    box.join(group_of(["a", "b"], generation=3))
    assert list(box._closed) == [("b", 4)]


# --- settings are what the file says ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("weight", "share"), [("0.29", 29), ("0.57", 57), ("2.3", 230), ("4.35", 435), ("0.001", 1)])
def test_a_share_is_the_decimal_product_and_not_the_binary_one(weight: str, share: int) -> None:
    result = play(
        task__batch_size=100,
        task__steps=1,
        cluster__nodes=f"[{{name: a, shard_weight: {weight}}}]",
        strategy="{name: ring}",
    )
    assert len(select(result.trace, "step_begin")[0].fields["samples"]) == min(share, 160)


def test_adam_from_equal_states_steps_alike_by_ring_and_by_one_machine() -> None:
    task = Task(
        dataset=Synthetic(kind="synthetic", samples=400), model=Mlp(kind="mlp", hidden=(16,)), steps=12,
        optimizer=Adam(kind="adam", learning_rate=0.01),
    )  # fmt: skip
    names = [f"node{rank}" for rank in range(4)]
    engine = Engine(task, seed=3, rows=32)
    sampler = Sampler(3, 400, dict.fromkeys(names, 8))
    state, cursor = engine.initial(), Cursor(0, 0)
    for _ in range(12):
        batches = sampler.batches(cursor, names)
        whole = engine.gradient(state.parameters, tuple(s for batch in batches for s in batch.samples)).value().array
        parts = [batch.weight * engine.gradient(state.parameters, batch.samples).value().array for batch in batches]
        by_ring = engine.update(state, ring_order_sum(parts), 0.01)
        alone = engine.update(state, whole, 0.01)
        difference = by_ring.parameters.array - alone.parameters.array
        assert np.linalg.norm(difference) <= 1e-4 * np.linalg.norm(alone.parameters.array)
        state, cursor = by_ring, sampler.after(cursor, names)


def ring_order_sum(parts: list[np.ndarray]) -> np.ndarray:
    """Add up segment s in the order of ranks s, s+1, ..., s-1."""
    bounds = segment_bounds(len(parts[0]), len(parts))
    total = np.zeros_like(parts[0])
    for segment in range(len(parts)):
        here = slice(bounds[segment], bounds[segment + 1])
        total[here] = parts[segment][here]
        for hop in range(1, len(parts)):
            total[here] = total[here] + parts[(segment + hop) % len(parts)][here]
    return total
