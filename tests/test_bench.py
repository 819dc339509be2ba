"""The references of the benchmark are right, and its rows are data. Nothing here looks at how long anything took."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from ringsim.bench import children, flows, rings, start, training
from ringsim.bench.case import Bars, Case, Contest, Figure
from ringsim.bench.flows import Flow, refilled_ends, shared_ends
from ringsim.bench.stopwatch import measure
from ringsim.bench.suite import CASES, chosen
from ringsim.cli import run_command
from ringsim.collectives.ring import RingAllReduce
from ringsim.errors import InvariantBroken, UsageError
from ringsim.learning.data import load
from ringsim.learning.models.build import build
from ringsim.learning.plain_loop import plain_loop, rows_of
from ringsim.report.bench import bar_words, bench_table
from ringsim.scenario import Softmax, Synthetic
from ringsim.simulation import simulate
from ringsim.world.naive import naive_ring_ns

# At which size each row is run here: small enough to be over at once.
SMALLER = {"thousand_nodes": 4, "mlp_64_workers": 3, "numbers_64_workers": 3, "cnn_4_workers": 1}
TINY = {case.name: SMALLER.get(case.name, 16) for case in CASES}
PROCESSES = ("validate", "first_step", "memory")
WITHOUT_A_PROCESS = [case for case in CASES if not case.name.startswith(PROCESSES) and "all_cores" not in case.name]

# --- the references ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ranks", [2, 3, 5, 8])
def test_naive_simpy_ends_at_the_textbook_s_time(ranks):
    size_bytes, bandwidth, latency_ns = 4_000 * ranks, 10**9, 100_000
    expected = RingAllReduce().predicted_ns(ranks, size_bytes, latency_ns, bandwidth)
    assert naive_ring_ns([4_000] * ranks, bandwidth, latency_ns) == expected


@pytest.mark.parametrize("ranks", [2, 7, 16, 32])  # 7 does not divide the length: the segments differ
def test_closed_form_whole_run_messages_and_naive_simpy_end_at_the_same_nanosecond(ranks):
    contests = [
        rings.closed_form(ranks, against_naive=True),
        rings.whole(ranks, against_naive=True),
        rings.whole(ranks, fidelity="message", against_naive=True),
    ]
    answers = [one for contest in contests for one in (contest.answer(contest.ours()), contest.reference())]
    assert len(set(answers)) == 1
    assert answers[0] > 0


def test_a_ring_that_stands_for_messages_says_how_many():
    assert rings.whole(16).messages == rings.closed_form(16).messages == 2 * 16 * 15


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_global_refill_gives_every_flow_the_nanosecond_that_the_world_gives_it(data):
    links = data.draw(st.integers(1, 6))
    # Few different rates, so that flows come to have equal ones, part, and have equal ones again.
    capacity = data.draw(st.lists(st.sampled_from([10**9, 2 * 10**9]), min_size=links, max_size=links))
    route = st.lists(st.integers(0, links - 1), min_size=1, max_size=3, unique=True).map(tuple)
    flow = st.builds(Flow, st.integers(0, 20_000), st.integers(1, 60_000), route)
    every = data.draw(st.lists(flow, min_size=1, max_size=12))
    assert shared_ends(every, capacity) == refilled_ends(every, capacity)


def test_equal_flows_into_one_link_end_together_and_the_refill_knows_it():
    assert refilled_ends([Flow(0, 1_000, (0,))] * 5, [10**6]) == [5 * 10**6] * 5


def test_the_flows_of_the_benchmark_end_at_different_times_and_share_links():
    for contest in (flows.one_link(64, refilled=True), flows.fat_tree(64, refilled=True)):
        ends = contest.ours()
        assert len(set(ends)) == 64
        assert contest.reference() == ends
    every, capacity = flows.fat_tree(64, refilled=True).ours.args
    alone = [shared_ends([flow], capacity)[0] for flow in every]
    slowed = [end > quickest for end, quickest in zip(flows.fat_tree(64, refilled=True).ours(), alone, strict=True)]
    assert sum(slowed) > 32


@pytest.mark.parametrize("cuts", [[(0, 1, 2), (3, 4, 5)], [(0, 1, 2, 3), (4, 5)], [(0, 1, 2, 3, 4, 5)]], ids=str)
def test_the_plain_loop_takes_one_step_as_the_formula_says(cuts):
    data = load(Synthetic(kind="synthetic", samples=6, features=3, classes=4), seed=1)
    nothing = [{"bias": np.zeros(4, np.float32), "kernel": np.zeros((3, 4), np.float32)}]
    # However the samples are cut among workers, and however much a batch is filled up.
    rows = [rows_of(samples, rows=max(map(len, cuts)), total=6) for samples in cuts]
    # From zeros every chance is 1/4, so the gradient of softmax regression is known by hand.
    wrong = np.full((6, 4), 0.25) - np.eye(4)[data.train_y]
    bias, kernel = -0.5 * wrong.mean(axis=0), -0.5 * data.train_x.T @ wrong / 6
    logits = data.test_x @ kernel + bias
    right = logits[np.arange(len(data.test_y)), data.test_y]
    expected = float(np.mean(np.log(np.exp(logits).sum(axis=1)) - right))
    model = build(Softmax(kind="softmax"), data)
    unused = np.zeros(2, np.uint32)
    assert plain_loop(model, data, nothing, [rows], 0.5, unused) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "contest",
    [
        lambda: training.against_loop(training.softmax_scenario(3)),
        lambda: training.against_loop(training.mlp_scenario(7)),  # Every 13th step is short: 93 samples for 112 rows.
        lambda: training.against_big_batch(training.mlp_scenario(7)),
    ],
    ids=["softmax", "mlp", "one big batch"],
)
def test_the_plain_loop_and_the_whole_run_end_at_the_same_loss(contest):
    contest = contest()
    loss, expected = contest.answer(contest.ours()), contest.reference()
    assert contest.same is not None
    assert contest.same(loss, expected)
    assert not contest.same(loss, expected * 1.01)
    assert 0 < loss < math.log(10)  # It has learned something, so that the loop had to learn the same.


def test_the_numbers_alone_are_those_of_the_whole_run_bit_by_bit():
    scenario = training.mlp_scenario(7)  # with short steps
    assert training.numbers_alone(scenario) == simulate(scenario).loss


# --- the rows ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", WITHOUT_A_PROCESS, ids=lambda case: case.name)
def test_every_row_runs_at_a_tiny_size_and_is_plain_data(case: Case):
    figure = measure(case, size=TINY[case.name], rounds=1)
    summary = json.loads(json.dumps(figure.summary()))
    assert summary["name"] == case.name
    assert (summary["reference_seconds"] is None) == (case.reference is None) == (summary["ratio"] is None)
    assert (summary["peak_bytes"] is None) == (case.bars.bytes_max is None)
    assert str(TINY[case.name]) in summary["what"]
    steps = {"thousand": training.STEPS, "cnn": training.CNN_STEPS, "mlp": training.MLP_STEPS}
    ways = {"whole": (1, 0), "messages": (0, 1)} | {name: (count, 0) for name, count in steps.items()}
    ways = ways.get(case.name.split("_")[0])
    assert summary["ways"] == (ways and {"in_closed_form": ways[0], "by_messages": ways[1]})


def test_validate_and_its_reference_both_succeed():
    (case,) = chosen("validate")
    contest = case.prepare(2)
    assert contest.reference is not None
    assert contest.ours() == contest.reference() == 0


@pytest.mark.long  # It compiles all of JAX's bytecode.
def test_a_first_step_is_made_in_a_fresh_process_and_leaves_its_functions_in_a_cache_of_its_own(monkeypatch):
    seen: list = []

    def exit_code(folder, *arguments):
        seen.append((arguments[1].split("\n")[1], (folder / "cache").exists()))
        return start_exit_code(folder, *arguments)

    start_exit_code = start._exit_code
    monkeypatch.setattr(start, "_exit_code", exit_code)
    contest = start.first_step_cold(2)
    assert contest.reference is not None
    assert [contest.ours(), contest.reference()] == [0, 0]
    assert [is_warm for _, is_warm in seen] == [False, True]
    seen.clear()
    monkeypatch.setattr(start, "_exit_code", lambda folder, *arguments: seen.append(arguments) or 0)
    warm = start.first_step_warm(2)
    assert len(seen) == 2  # Both have filled their caches.
    assert warm.reference is not None
    assert start_exit_code(*warm.reference.args) == 0


def test_a_child_on_one_core_gives_the_numbers_of_one_on_all_and_tells_its_memory():
    scenario = training.softmax_scenario(2)
    contest = children.cores(scenario)
    here = simulate(scenario)
    answer = contest.answer(contest.ours())
    assert answer == here.numbers_digest
    assert contest.same is not None
    if contest.reference is not None:
        there = contest.reference()
        assert contest.same(answer, there)
        assert not contest.same("sha256:0", there)
    alone = children.memory(scenario)
    assert alone.peak_bytes is not None
    held = alone.peak_bytes(alone.ours())
    assert 10**8 < held < 2 * 10**9  # JAX alone takes more than the first.


def test_a_process_s_own_memory_counts_where_a_contest_tells_it():
    case = Case("made_up", "{size} things", 2, lambda size: Contest(lambda: 7, peak_bytes=lambda found: 100 * found))
    figure = measure(replace(case, bars=Bars(bytes_max=699)))
    assert (figure.peak_bytes, figure.of_process, figure.met) == (700, True, False)
    console = Console(width=200)
    with console.capture() as shown:
        console.print(bench_table([figure]))
    assert "made_up: holds 700 B at most, the whole process" in shown.get()


def test_names_are_unique_and_quick_leaves_out_what_is_slow():
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    left_out = set(names) - {case.name for case in chosen(quick=True)}
    assert left_out == {"thousand_nodes", "closed_form_4096", "whole_4096", "growth", "memory_64_workers"}


@pytest.mark.parametrize(
    ("only", "quick", "said"),
    [
        ("mesages_64", False, 'there is no row "mesages_64"; choose from messages_64'),
        ("messages_64,xyzzy", False, "choose from closed_form_256, whole_256"),
        ("growth", True, "growth is one of the rows that --quick leaves out"),
    ],
)
def test_a_row_that_cannot_be_chosen_is_refused_with_what_would_be_right(only, quick, said):
    with pytest.raises(UsageError, match=r"^--only: ") as caught:
        chosen(only, quick=quick)
    assert said in str(caught.value)


NO_BARS = Bars()


def case_of(ours, reference=None, bars: Bars = NO_BARS) -> Case:
    return Case("made_up", "{size} things", 2, lambda size: Contest(ours, reference), "another way", bars)


@pytest.mark.parametrize(
    ("answer", "expected", "said"),
    [(1, 2, r"answers 1, and its reference \(another way\) 2$"), ([5, 6, 7], [5, 8, 9], r"answers 6, .* 8$")],
)
def test_a_fast_wrong_answer_is_an_error_that_says_what_differs(answer, expected, said):
    with pytest.raises(InvariantBroken, match=said):
        measure(case_of(lambda: answer, lambda: expected))


def test_each_side_runs_once_a_round_and_in_turn():
    ran: list[str] = []
    measure(case_of(lambda: ran.append("ours"), lambda: ran.append("reference")), rounds=3)
    assert ran == ["ours", "reference"] * 3


@pytest.mark.parametrize(
    ("bars", "met"),
    [
        (Bars(), None),
        (Bars(seconds_max=2.0), True),
        (Bars(seconds_max=0.5), False),
        (Bars(ratio_max=0.25), True),
        (Bars(seconds_max=2.0, ratio_max=0.1), False),
        (Bars(bytes_max=100), False),
        (Bars(bytes_max=1_000), True),
    ],
    ids=lambda value: bar_words(value) or "no bar" if isinstance(value, Bars) else str(value),
)
def test_all_bars_have_to_be_met(bars: Bars, met):
    assert bars.met(seconds=1.0, ratio=0.2, peak_bytes=500) is met


def test_a_bar_whose_figure_is_missing_is_not_met():
    assert Bars(ratio_max=1.0).met(seconds=1.0, ratio=None, peak_bytes=None) is False


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_suite(monkeypatch):
    """A suite of two rows which are over at once; the second misses its bar, whatever the machine."""
    rows = (case_of(lambda: 1, lambda: 1), case_of(lambda: 1, bars=Bars(seconds_max=0.0)))
    monkeypatch.setattr("ringsim.bench.suite.CASES", rows)


def test_json_has_all_figures_and_a_missed_bar_is_no_failure(small_suite, capsys):
    assert run_command(["bench", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["met"] for row in rows] == [None, False]
    assert all(set(row) == set(Figure.__dataclass_fields__) for row in rows)


def test_the_table_is_on_stdout_and_progress_on_stderr(small_suite, capsys):
    assert run_command(["bench"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("name ")
    assert "by messages" not in out
    assert "at most 0 s" in out
    assert err == "measuring made_up ...\n" * 2


def test_a_row_that_plays_collectives_says_how(capsys):
    (case,) = chosen("whole_256")
    shown = bench_table([measure(case, size=4, rounds=1)])
    console = Console(width=200)
    console.print(shown)
    assert "whole_256: of its collectives 1 in closed form, 0 by messages" in capsys.readouterr().out


def test_a_row_that_does_not_exist_is_a_mistake_of_usage(capsys):
    assert run_command(["bench", "--only", "xyzzy"]) == 2
    assert "there is no row" in capsys.readouterr().err


# --- growth, by counting and not by timing ----------------------------------------------------------------------------


def calls_of(play) -> int:
    """Count what is called, in Python and in C, while `play` runs for the second time: no machine's speed is in it."""
    play()
    count = 0

    def profile(_frame, event: str, _argument) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        play()
    finally:
        sys.setprofile(before)
    return count


def test_a_machine_costs_no_more_calls_among_many():
    few, many = (calls_of(rings.whole(ranks).ours) / ranks for ranks in (64, 512))
    assert many < 1.1 * few, (few, many)


def test_a_message_costs_no_more_calls_than_it_did():
    ranks = 64
    per_message = calls_of(rings.whole(ranks, fidelity="message").ours) / (2 * ranks * (ranks - 1))
    assert per_message < 42, per_message


def test_a_worker_and_step_cost_no_more_calls_than_they_did_and_no_more_among_many():
    few, many = (
        calls_of(training.against_loop(training.softmax_scenario(workers)).ours) / (workers * training.STEPS)
        for workers in (8, 64)
    )
    assert many < 1.1 * few, (few, many)
    assert many < 420, many
