"""Whole trainings on tiny scenarios: closed forms, equal numbers across strategies, failures, and crashes everywhere.

What the trace says is counted here anew, by a walk of its own; nothing of `ringsim.accounting` is used. What is not
here: the world by itself (`test_world.py`), gradients by themselves (`test_learning.py`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from worlds import MS, TINY, US, Watched, crash, select, train, training

from ringsim.result import Outcome, Result
from ringsim.scenario import Scenario
from ringsim.simulation import simulate
from ringsim.trace import Event

COMPUTE_NS = 1 * MS  # of a full batch on every worker, in these scenarios
PATH_NS = 100 * US
TINY_BYTES = 4 * (TINY["features"] + 1) * TINY["classes"]  # softmax: weights and biases

ELASTIC = {"name": "ring", "on_failure": "elastic"}
PS_TIMEOUT = {"name": "parameter_server", "on_failure": "timeout", "timeout": "20 ms"}


# --- the trace, counted anew ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tally:
    """What became of the samples of one epoch."""

    counted: int
    repeated: int
    lost: int


def updates_of_the_end(events: Iterable[Event]) -> dict[int, int]:
    """Return which generation made each update that the final parameters went through, from the last one backwards.

    A generation begins with what its rank 0 had kept: that is the last state that this node restored or committed in
    an earlier generation, or what some ring had saved, if it loaded that. So the way back goes from ring to ring along
    their rank 0.
    """
    kept: dict[tuple[str, int], int] = {}  # (node, generation) -> the latest update it restored or committed there
    first: dict[int, int] = {}  # generation -> the update it began with
    rank_0: dict[int, str] = {}
    at: dict[str, tuple[int, int]] = {}  # node -> the generation that it is in, and its last update there
    saved, loaded = (0, 0), {}  # the same of what is in the store, and of what each generation began with from there
    for event in events:
        fields = event.fields
        if event.kind in ("restore", "update"):
            at[event.node] = fields["generation"], fields["step"]
        elif event.kind == "save_end":
            saved = at[event.node]
        elif event.kind == "load_end":
            loaded[max(generation for generation, first in rank_0.items() if first == event.node)] = saved
        if event.kind == "world":
            rank_0[fields["generation"]] = fields["members"][0]
        elif event.kind in ("restore", "commit"):
            key = (event.node, fields["generation"])
            kept[key] = max(kept.get(key, 0), fields["step"])
            if event.kind == "restore":
                assert first.setdefault(fields["generation"], fields["step"]) == fields["step"]
    if not kept:  # nobody commits: all updates are of one generation
        return {event.fields["step"]: event.fields["generation"] for event in events if event.kind == "update"}
    generation = max(first)
    # Of the last one any member will do: rank 0 may have died when others had finished.
    step = max(step for (_, where), step in kept.items() if where == generation)
    made = {}
    while True:
        made.update(dict.fromkeys(range(first[generation] + 1, step + 1), generation))
        step = first[generation]
        if step == 0:
            return made
        if generation in loaded:
            generation, saved_step = loaded[generation]
            assert saved_step == step, "a ring goes on from what was saved last"
            continue
        node = rank_0[generation]
        generation = max(g for (name, g) in kept if name == node and g < generation)
        assert kept[node, generation] == step, "a ring goes on from what its rank 0 had kept last"


def recount(events: tuple[Event, ...], made: dict[int, int]) -> dict[int, Tally]:
    """Return epoch -> what became of its samples, from the events alone."""
    given_out: dict[int, set[int]] = defaultdict(set)
    counted: dict[int, Counter[int]] = defaultdict(Counter)
    computed: dict[int, Counter[int]] = defaultdict(Counter)
    dropped = {(e.fields["worker"], e.fields["generation"], e.fields["step"]) for e in select(events, "dropped")}
    batches = {}
    for event in select(events, "step_begin"):
        batches[event.node, event.fields["generation"], event.fields["step"]] = event.fields
    for event in select(events, "dropped"):
        key = (event.fields["worker"], event.fields["generation"], event.fields["step"])
        batches.setdefault(key, event.fields)
    for key, fields in batches.items():
        epoch, samples = fields["epoch"], fields["samples"]
        given_out[epoch].update(samples)
        if made.get(fields["step"] + 1) == fields["generation"] and key not in dropped:
            counted[epoch].update(samples)
            assert max(counted[epoch].values(), default=1) == 1, f"a sample counts twice in epoch {epoch}"
    for event in select(events, "loss"):
        fields = batches[event.node, event.fields["generation"], event.fields["step"]]
        computed[fields["epoch"]].update(fields["samples"])
    return {
        epoch: Tally(
            counted=counted[epoch].total(),
            repeated=sum(times - 1 for times in computed[epoch].values()),
            lost=len(given_out[epoch] - set(counted[epoch])),
        )
        for epoch in given_out
    }


def assert_samples_are_as_the_trace_says(result: Result) -> None:
    """The result's figures are those of the recount."""
    made = updates_of_the_end(result.trace)
    assert result.steps == max(made, default=0)
    assert {row.epoch: Tally(row.counted, row.repeated, row.lost) for row in result.epochs} == recount(
        result.trace, made
    )
    committed = {row.step: row.generation for row in result.metrics if row.committed}
    assert committed == made


def assert_committed_samples_are_counted_exactly_once(result: Result) -> None:
    """In each epoch that is over, every sample; in the last one, none twice; and all updates from 1 on."""
    made = updates_of_the_end(result.trace)
    assert sorted(made) == list(range(1, result.steps + 1))
    epochs: dict[int, Counter[int]] = defaultdict(Counter)
    for event in select(result.trace, "step_begin"):
        if made.get(event.fields["step"] + 1) == event.fields["generation"]:
            epochs[event.fields["epoch"]].update(event.fields["samples"])
    for epoch, samples in epochs.items():
        assert max(samples.values()) == 1
        if epoch < max(epochs) or result.scenario.task.epochs is not None:
            assert set(samples) == set(range(TINY["samples"]))


def assert_replicas_are_equal(watched: Watched) -> None:
    """After every update of every generation all that made it hold the same bits."""
    for at, replicas in watched.replicas.items():
        assert len(set(replicas.values())) == 1, f"replicas differ after update {at}"


def assert_times_add_up(result: Result) -> None:
    for node in result.nodes:
        parts = (node.compute_ns, node.exposed_communication_ns, node.idle_ns, node.recovery_ns, node.down_ns)
        assert sum(parts) == result.virtual_time_ns
        assert min(parts) >= 0


# --- time -------------------------------------------------------------------------------------------------------------


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def update_times(result: Result) -> list[int]:
    """Return when the last node held each update."""
    latest: dict[int, int] = {}
    for event in select(result.trace, "update"):
        latest[event.fields["step"]] = max(event.time_ns, latest.get(event.fields["step"], 0))
    return [latest[step] for step in sorted(latest)]


@pytest.mark.parametrize("nodes", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("bandwidth", ["999999937 bit/s", "1 Mbit/s"])
def test_a_step_of_the_ring_takes_the_computation_and_the_ring(nodes, bandwidth):
    rate = {"999999937 bit/s": 999_999_937, "1 Mbit/s": 10**6}[bandwidth]
    result = simulate(training("ring", nodes=nodes, network={"bandwidth": bandwidth}, steps=3))
    segment_bytes = 4 * ceil_div(TINY_BYTES // 4, nodes)
    ring_ns = 2 * (nodes - 1) * (PATH_NS + ceil_div(8 * segment_bytes * 10**9, rate))
    # All begin the first step together. If segments are unequal, members end it apart, and overlap the next.
    assert update_times(result)[0] == COMPUTE_NS + ring_ns
    if TINY_BYTES // 4 % nodes == 0:
        assert update_times(result) == [step * (COMPUTE_NS + ring_ns) for step in (1, 2, 3)]


@pytest.mark.parametrize("nodes", [1, 2, 3, 5, 8])
@pytest.mark.parametrize(("bandwidth", "rate"), [("100 Mbit/s", 10**8), ("7654321 bit/s", 7_654_321)])
def test_a_step_of_the_parameter_server_takes_its_closed_form(nodes, bandwidth, rate):
    strategy = {"name": "parameter_server", "server": {"bandwidth": bandwidth, "latency": "20 us"}}
    result = simulate(training(strategy, nodes=nodes, steps=3, dataset={**TINY, "samples": 960}))
    one_way_ns = 50 * US + 20 * US + ceil_div(8 * nodes * TINY_BYTES * 10**9, rate)
    begun = sorted({event.time_ns for event in select(result.trace, "step_begin")})
    assert begun == [step * (COMPUTE_NS + 2 * one_way_ns) for step in range(3)]
    assert result.virtual_time_ns == 3 * (COMPUTE_NS + 2 * one_way_ns)


def test_a_step_of_local_takes_the_whole_batch_on_one_machine():
    result = simulate(training("local", nodes=3, steps=4))
    assert update_times(result) == [3 * COMPUTE_NS * step for step in (1, 2, 3, 4)]
    assert result.bytes_sent == 0


def test_the_slowest_worker_sets_the_pace_and_the_others_idle():
    nodes = [{}, {"speed": "2 GFLOP/s"}, {}, {}]
    for strategy in ("ring", "parameter_server"):
        result = simulate(training(strategy, nodes=nodes, steps=2))
        assert result.virtual_time_ns > 2 * 4 * COMPUTE_NS
        fast, slow = result.nodes[0], result.nodes[1]
        assert (slow.compute_ns, fast.compute_ns) == (8 * COMPUTE_NS, 2 * COMPUTE_NS)
        assert fast.idle_ns + fast.exposed_communication_ns >= 6 * COMPUTE_NS


def test_bytes_sent_are_those_of_the_algorithm():
    ring = simulate(training("ring", nodes=3, steps=2))
    assert ring.bytes_sent == ring.payload_bytes_sent == 2 * 2 * (3 - 1) * TINY_BYTES
    server = simulate(training("parameter_server", nodes=3, steps=2))
    assert server.bytes_sent == 2 * 2 * 3 * TINY_BYTES
    framed = simulate(training("ring", nodes=3, steps=2, network={"transport": {"kind": "framed"}}))
    assert framed.payload_bytes_sent == ring.payload_bytes_sent
    assert framed.bytes_sent == ring.bytes_sent + 2 * 3 * 4 * 66


# --- the same numbers under every strategy ----------------------------------------------------------------------------

MODELS = {
    "softmax": {"model": {"kind": "softmax"}},
    "mlp": {"model": {"kind": "mlp", "hidden": [8]}},
    "cnn": {"model": {"kind": "cnn"}, "dataset": {**TINY, "features": 36}, "batch_size": 2},
}
SGD = {"kind": "sgd", "learning_rate": 0.1}
ADAM = {"kind": "adam", "learning_rate": 0.01}


def parameters(strategy: Any, **scenario: Any) -> np.ndarray:
    watched = train(training(strategy, **scenario))
    assert_replicas_are_equal(watched)
    assert watched.result.parameters is not None
    return watched.result.parameters


def assert_close(one: np.ndarray, other: np.ndarray, tolerance: float) -> None:
    """Relative to the largest number: float32 sums in another order differ in the last places of that."""
    assert np.abs(one - other).max() <= tolerance * np.abs(other).max()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("optimizer", [SGD, ADAM], ids=["sgd", "adam"])
def test_one_step_gives_the_same_parameters_under_every_strategy(model, optimizer):
    task = {**MODELS[model], "optimizer": optimizer, "steps": 1, "nodes": 3}
    reference = parameters("local", **task)
    for strategy in ("ring", "parameter_server", ELASTIC, PS_TIMEOUT):
        # Adam divides by the gradient's own size, so what is rounding there is more than rounding here.
        assert_close(parameters(strategy, **task), reference, 1e-6 if optimizer is SGD else 1e-4)


@pytest.mark.parametrize("model", MODELS)
def test_twenty_steps_of_sgd_stay_close_under_every_strategy(model):
    task = {**MODELS[model], "optimizer": SGD, "steps": 20, "nodes": 3}
    reference = parameters("local", **task)
    for strategy in ("ring", "parameter_server"):
        assert_close(parameters(strategy, **task), reference, 1e-4)


def test_every_step_of_adam_from_equal_states_is_the_same_under_ring_and_server():
    """Two workers add up two numbers, in which order does not matter: so not one bit differs, however many steps."""
    task = {**MODELS["mlp"], "optimizer": ADAM, "steps": 12, "nodes": 2}
    ring, server = (parameters(strategy, **task) for strategy in ("ring", "parameter_server"))
    assert ring.tobytes() == server.tobytes()


@pytest.mark.parametrize("strategy", ["ring", "parameter_server"])
def test_unequal_shares_give_the_weighted_mean_which_is_that_of_local(strategy):
    nodes = [{"shard_weight": 1}, {"shard_weight": 0.25}, {"shard_weight": 2.5}]
    task = {"nodes": nodes, "optimizer": SGD, "steps": 5}
    assert_close(parameters(strategy, **task), parameters("local", **task), 1e-5)
    result = simulate(training(strategy, **task))
    sizes = {(e.node, len(e.fields["samples"])) for e in select(result.trace, "step_begin", step=0)}
    assert sizes == {("node0", 8), ("node1", 2), ("node2", 20)}


@pytest.mark.parametrize("strategy", ["ring", ELASTIC, "parameter_server", "local"], ids=str)
def test_the_last_batch_of_an_epoch_is_short_and_no_sample_is_repeated(strategy):
    # 97 samples for 40 a step: the third step has 17.
    watched = train(training(strategy, nodes=5, epochs=2, dataset={**TINY, "samples": 97}))
    assert_replicas_are_equal(watched)
    result = watched.result
    assert [(row.epoch, row.counted, row.repeated, row.lost) for row in result.epochs] == [(0, 97, 0, 0), (1, 97, 0, 0)]
    assert result.steps == 6


@pytest.mark.parametrize("strategy", ["ring", ELASTIC, "parameter_server"], ids=str)
def test_a_worker_for_whom_no_sample_is_left_takes_part_with_an_empty_batch(strategy):
    # 17 samples for 16 a step: the second step has one, so one worker has none.
    watched = train(training(strategy, nodes=2, epochs=1, dataset={**TINY, "samples": 17}))
    assert_replicas_are_equal(watched)
    assert [(row.counted, row.repeated, row.lost) for row in watched.result.epochs] == [(17, 0, 0)]
    local = simulate(training("local", nodes=2, epochs=1, dataset={**TINY, "samples": 17}))
    assert_close(watched.result.parameters, local.parameters, 1e-6)


def test_work_that_takes_no_time_is_accounted_for():
    result = simulate(training("ring", nodes=2, flop_per_sample="0 FLOP", epochs=1))
    assert result.samples.counted == TINY["samples"]


def test_elastic_without_faults_ends_with_the_bits_of_the_plain_ring():
    task = {"nodes": 4, "epochs": 2, "optimizer": ADAM}
    assert parameters(ELASTIC, **task).tobytes() == parameters("ring", **task).tobytes()


@pytest.mark.parametrize("strategy", ["ring", ELASTIC, "parameter_server", PS_TIMEOUT, "local"], ids=str)
def test_neither_shared_replicas_nor_the_order_of_ties_nor_the_detail_change_a_digest(strategy):
    nodes = [{}, {}, {"speed": "4 GFLOP/s"}]
    faults = [] if strategy == "local" else [crash("node1", 2_500 * US, restart_after="1 ms")]
    scenario = training(strategy, nodes=nodes, epochs=2, faults=faults, evaluate_every=2, cluster={"jitter": "5 %"})
    first = simulate(scenario)
    others = [
        simulate(scenario, share_replicas=False),
        simulate(scenario, trace="messages"),
        *(simulate(scenario, shuffle_ties=seed) for seed in range(5)),
    ]
    for other in others:
        assert (other.schedule_digest, other.numbers_digest) == (first.schedule_digest, first.numbers_digest)
        assert other.outcome_sentence == first.outcome_sentence


def test_two_processes_on_a_machine_are_two_workers_that_share_its_speed():
    one_each = simulate(training("ring", nodes=4, epochs=1))
    paired = simulate(training("ring", nodes=[{"name": "a", "processes": 2}, {"name": "b", "processes": 2}], epochs=1))
    assert [node.node for node in paired.nodes] == ["a.0", "a.1", "b.0", "b.1"]
    assert paired.parameters.tobytes() == one_each.parameters.tobytes()
    assert select(paired.trace, "compute_end")[0].time_ns == 2 * COMPUTE_NS
    died = simulate(
        training(ELASTIC, nodes=[{"name": "a", "processes": 2}, {"name": "b"}], epochs=1, faults=[crash("a", 2 * MS)])
    )
    assert died.outcome is Outcome.FINISHED
    assert [event.node for event in select(died.trace, "crash")] == ["a.0", "a.1"]
    assert died.samples.counted == TINY["samples"]


# --- targets and rates ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["ring", ELASTIC, "parameter_server", "local"], ids=str)
def test_training_stops_at_the_first_evaluation_that_reaches_its_target(strategy):
    task = {"nodes": 2, "steps": 60, "evaluate_every": 3, "target_accuracy": "80 %"}
    result = simulate(training(strategy, **task))
    assert result.outcome is Outcome.TARGET_REACHED
    assert result.outcome_sentence.startswith(f"stopped at its target: {result.steps} steps")
    accuracies = [row.accuracy for row in result.metrics if row.accuracy is not None]
    assert accuracies[-1] >= 0.8
    assert all(accuracy < 0.8 for accuracy in accuracies[:-1])
    assert result.steps % 3 == 0
    assert result.steps < 60


@pytest.mark.parametrize(("rule", "factor"), [("none", 1), ("linear", 4), ("sqrt", 2), ("inverse", 0.25)])
def test_the_learning_rate_follows_the_number_of_workers_as_its_rule_says(rule, factor):
    for strategy in ("ring", "parameter_server", "local", ELASTIC):
        result = simulate(training(strategy, nodes=4, learning_rate_scaling=rule, steps=2, optimizer=SGD))
        assert [row.learning_rate for row in result.metrics] == pytest.approx([0.1 * factor] * 2)


def test_the_warm_up_goes_in_a_straight_line_to_the_scaled_rate():
    # 3 steps an epoch, warm-up over 2 epochs: six steps from 0.1 to 0.4.
    scenario = training("ring", nodes=4, learning_rate_scaling="linear", warm_up_epochs=2.0, epochs=3, optimizer=SGD)
    rates = [row.learning_rate for row in simulate(scenario).metrics]
    assert rates == pytest.approx([0.1 + 0.3 * step / 6 for step in range(6)] + [0.4] * 3)


# --- failures by policy -----------------------------------------------------------------------------------------------


def test_a_crash_under_plain_ring_loses_the_job_and_says_who_noticed():
    at_ns = COMPUTE_NS + 50 * US  # in the first step of the ring
    result = simulate(training("ring", nodes=3, faults=[crash("node1", at_ns)]))
    assert result.outcome is Outcome.LOST
    assert "lost the connection to node1" in result.outcome_sentence
    assert [event.time_ns for event in select(result.trace, "ended", "node2")] == [at_ns + PATH_NS]
    assert result.parameters is None
    (failure,) = result.failures
    assert (failure.node, failure.at_ns, failure.detected_at_ns) == ("node1", at_ns, at_ns + PATH_NS)
    assert failure.resumed_at_ns is failure.recovered_at_ns is None


def test_a_silent_death_under_plain_ring_stalls_or_times_out():
    fault = crash("node1", 1_500 * US, notice="silence")
    stalled = simulate(training("ring", nodes=3, faults=[fault]))
    assert stalled.outcome is Outcome.STALLED
    assert "node2 waits for node1" in stalled.outcome_sentence
    lost = simulate(training({"name": "ring", "timeout": "50 ms"}, nodes=3, faults=[fault]))
    assert lost.outcome is Outcome.LOST
    assert "node2 nothing from node1 for 50 ms" in lost.outcome_sentence


def test_local_loses_everything_with_its_machine_and_nothing_with_another():
    assert simulate(training("local", faults=[crash("node0", MS)])).outcome is Outcome.LOST
    other = simulate(training("local", faults=[crash("node1", MS)]))
    assert other.outcome is Outcome.FINISHED
    assert other.faults_not_applicable == ("faults[0]: crash of node1 at 1 ms",)


def test_a_parameter_server_that_waits_stalls_for_a_dead_worker_and_names_it():
    for notice in ("reset", "silence"):
        fault = crash("node1", 1_500 * US, notice=notice)
        result = simulate(training("parameter_server", nodes=3, faults=[fault]))
        assert result.outcome is Outcome.STALLED
        assert "server0 waits for node1" in result.outcome_sentence
        assert "node0 waits for server0" in result.outcome_sentence
        assert result.parameters is None


# In computation, while its push travels, when it waits for an answer, when the answer travels; others are slower.
PS_INSTANTS = [500 * US, 1_050 * US, 2_500 * US, 3_900 * US, 4_150 * US, 4_500 * US]


@pytest.mark.parametrize("at_ns", PS_INSTANTS)
@pytest.mark.parametrize("notice", ["reset", "silence"])
@pytest.mark.parametrize("restart_after", ["1 us", "300 us", "2 ms", "30 ms"])
@pytest.mark.parametrize("strategy", ["parameter_server", PS_TIMEOUT], ids=["wait", "timeout"])
def test_a_parameter_server_takes_back_a_worker_that_restarts_at_any_moment(at_ns, notice, restart_after, strategy):
    nodes = [{}, {}, {"speed": "2 GFLOP/s"}]
    faults = [crash("node1", at_ns, restart_after, notice)]
    watched = train(training(strategy, nodes=nodes, steps=14, faults=faults))
    result = watched.result
    assert result.outcome is Outcome.FINISHED
    assert result.steps == 14
    assert result.metrics[-1].world_size == 3
    assert_samples_are_as_the_trace_says(result)
    assert_times_add_up(result)
    if strategy == "parameter_server":
        plain = simulate(training(strategy, nodes=nodes, steps=14))
        assert result.parameters.tobytes() == plain.parameters.tobytes()
        assert result.samples.lost == 0


def test_the_timeout_policy_drops_a_dead_worker_and_goes_on_with_the_mean_over_those_alive():
    for notice in ("reset", "silence"):
        fault = crash("node1", 500 * US, notice=notice)
        result = simulate(training(PS_TIMEOUT, nodes=3, steps=3, faults=[fault], learning_rate_scaling="linear"))
        assert result.outcome is Outcome.FINISHED
        assert [row.world_size for row in result.metrics] == [2, 2, 2]
        assert [row.learning_rate for row in result.metrics] == pytest.approx([0.2] * 3)
        (drop,) = select(result.trace, "dropped")
        assert (drop.fields["worker"], len(drop.fields["samples"])) == ("node1", 8)
        assert_samples_are_as_the_trace_says(result)
        assert result.samples.lost == 8


def test_the_mean_over_those_alive_is_that_of_a_cluster_without_the_dead():
    """The first step's samples of the two that live are those of local on the same two thirds of the block."""
    nodes = [{}, {}, {"shard_weight": 2}]
    fault = crash("node2", 500 * US)
    result = simulate(training(PS_TIMEOUT, nodes=nodes, steps=1, faults=[fault], optimizer=SGD))
    smaller = simulate(training("local", nodes=2, steps=1, optimizer=SGD))
    taken = [set(e.fields["samples"]) for e in select(result.trace, "step_begin") if e.node != "node2"]
    (block,) = [set(e.fields["samples"]) for e in select(smaller.trace, "step_begin")]
    assert set.union(*taken) == block
    assert_close(result.parameters, smaller.parameters, 1e-6)


def test_a_worker_that_is_late_is_dropped_once_and_comes_back():
    nodes = [{}, {}, {"straggle": {"probability": "30 %", "factor": 100}}]
    result = simulate(training(PS_TIMEOUT, nodes=nodes, steps=12))
    assert result.outcome is Outcome.FINISHED
    assert {event.fields["worker"] for event in select(result.trace, "dropped")} == {"node2"}
    assert {row.world_size for row in result.metrics} == {2, 3}
    assert_samples_are_as_the_trace_says(result)


@pytest.mark.parametrize("restart_after", ["1 us", "1 ms", "100 ms"])
def test_workers_that_all_die_and_return_under_the_timeout_policy_go_on(restart_after):
    faults = [crash(f"node{index}", 500 * US, restart_after) for index in range(2)]
    result = simulate(training(PS_TIMEOUT, nodes=2, steps=3, faults=faults))
    assert result.outcome is Outcome.FINISHED
    assert result.steps == 3


def test_who_returns_within_a_step_computes_the_samples_that_were_its_own():
    """node0 is given up before node1 asks where the step stands: that must not move node1 to the samples of node0."""
    faults = [crash("node0", 300 * US), crash("node1", 600 * US, "100 us", "silence")]
    result = simulate(training(PS_TIMEOUT, nodes=3, steps=2, faults=faults))
    first, again = select(result.trace, "step_begin", "node1", step=0)
    assert first.fields["samples"] == again.fields["samples"]
    assert_samples_are_as_the_trace_says(result)


def test_a_step_whose_only_sample_went_with_its_worker_is_an_update_of_nothing():
    # 17 samples for 16 a step: node1 has the last one, and dies with it.
    fault = crash("node1", {"step": 1})
    data = {**TINY, "samples": 17}
    result = simulate(training(PS_TIMEOUT, nodes=2, epochs=1, dataset=data, faults=[fault]))
    assert result.outcome is Outcome.FINISHED
    assert (result.samples.counted, result.samples.lost) == (16, 1)


REDONE = {
    "by one who had been given up": [
        crash("node0", 0, "3500 us"),
        crash("node1", 1_800 * US),
        crash("node2", 1_800 * US),
    ],
    "by one who had begun it and lost it": [
        crash("node0", 0, "3500 us"),
        crash("node1", 1_800 * US),
        crash("node2", 1_800 * US, "3 ms"),
        crash("node0", 4 * MS),
    ],
}


@pytest.mark.parametrize("how", REDONE)
def test_a_step_that_is_redone_because_all_who_had_it_died_counts_for_those_who_redid_it(how):
    result = simulate(training(PS_TIMEOUT, nodes=3, epochs=1, faults=REDONE[how]))
    assert result.outcome is Outcome.FINISHED
    assert_samples_are_as_the_trace_says(result)
    # In the first step node0 took its samples with it.
    assert (result.samples.counted, result.samples.lost) == (TINY["samples"] - 8, 8)


def test_the_death_of_the_server_is_the_end():
    lost = simulate(training("parameter_server", nodes=2, faults=[crash("server0", 1_500 * US)]))
    assert lost.outcome is Outcome.LOST
    assert "lost the connection to server0 (crashed: server0); the state is gone" in lost.outcome_sentence
    silent = simulate(training("parameter_server", nodes=2, faults=[crash("server0", 1_500 * US, notice="silence")]))
    assert silent.outcome is Outcome.STALLED
    assert "node0 waits for server0" in silent.outcome_sentence
    back = simulate(training("parameter_server", nodes=2, faults=[crash("server0", 1_500 * US, "1 ms")]))
    assert back.outcome is Outcome.LOST


def test_faults_that_came_to_nothing_are_listed():
    faults = [crash("node1", 3_600_000 * MS), crash("server0", MS), crash("node0", {"step": 3})]
    result = simulate(training("ring", nodes=2, steps=2, faults=faults[:2]))
    assert result.faults_not_reached == ("faults[0]: crash of node1 at 1 h",)
    assert result.faults_not_applicable == ("faults[1]: crash of server0 at 1 ms",)
    assert result.failures == ()
    stopped = {"steps": 40, "evaluate_every": 1, "target_accuracy": "1 %", "nodes": 2}
    result = simulate(training("ring", faults=faults[2:], **stopped))
    assert result.faults_not_reached == ("faults[0]: crash of node0 at step 3",)


# --- elastic: crashes in every phase ----------------------------------------------------------------------------------

RANKS = 4
LAST_MESSAGE = 2 * (RANKS - 1)
EPOCHS = 2
STEPS = EPOCHS * TINY["samples"] // (RANKS * 8)


def elastic(faults: Iterable[Any] = (), **strategy: Any) -> Scenario:
    """Four workers, three steps an epoch, two epochs; Adam, so that the optimizer's state travels too."""
    return training(
        {**ELASTIC, "timeout": "20 ms", "rendezvous_timeout": "200 ms", **strategy},
        nodes=RANKS,
        faults=faults,
        epochs=EPOCHS,
        optimizer=ADAM,
        learning_rate_scaling="linear",
        max_virtual_time="10 s",
    )


def assert_elastic_promises(watched: Watched) -> None:
    """What holds however a run went; and more, if it came to its end."""
    result = watched.result
    assert_replicas_are_equal(watched)
    assert_times_add_up(result)
    if not result.outcome.is_success:
        assert result.outcome in (Outcome.LOST, Outcome.STALLED)
        sentence = result.outcome_sentence
        said = ("node", "rendezvous", "min_workers", "every worker", "no worker", "nobody is left", "re-formed")
        assert any(words in sentence for words in said)
        assert "max_virtual_time" not in sentence
        return
    assert_samples_are_as_the_trace_says(result)
    assert_committed_samples_are_counted_exactly_once(result)
    assert [row.counted for row in result.epochs] == [TINY["samples"]] * EPOCHS
    sizes = {event.fields["generation"]: len(event.fields["members"]) for event in select(result.trace, "world")}
    for row in result.metrics:
        assert row.world_size == sizes[row.generation]
        if row.learning_rate is not None:
            assert row.learning_rate == pytest.approx(ADAM["learning_rate"] * row.world_size)


def phase(events: Iterable[Event], node: str, at_ns: int) -> str:
    """Say what `node` was in the middle of at `at_ns`, from the events before."""
    begun: dict[Any, str] = {}
    for event in sorted(events, key=lambda event: event.time_ns):
        fields = event.fields
        key = (fields.get("generation"), fields.get("sequence"))
        if event.node != node or event.time_ns > at_ns:
            continue
        if event.kind == "collective_enter":
            first = fields["sequence"] == 0
            name = "ring" if fields["plan"] == "ring_all_reduce" else "state broadcast" if first else "vote"
            begun[key] = name
        elif event.kind in ("collective_finish", "collective_abort") and event.time_ns < at_ns:
            begun[key] = ""
        elif event.kind == "compute_begin":
            begun["computation", event.time_ns] = "computation"
    ends = select(events, "compute_end", node)
    for key in [key for key in begun if key[0] == "computation"]:
        if any(key[1] <= end.time_ns < at_ns for end in ends):
            del begun[key]
    now = [(key, name) for key, name in begun.items() if name]
    if not now:
        return "rendezvous"
    (key, name), *more = now
    assert not more, "a node does one thing at a time"
    if name != "ring":
        return name
    deliveries = select(events, "deliver", node)
    arrived = {e.fields["tag"] for e in deliveries if e.time_ns <= at_ns}
    step = 0
    while f"({key[1]}, {step})" in arrived:
        step += 1
    return f"ring {step}"


@cache
def base_run() -> Result:
    return simulate(elastic(), trace="messages")


def middle(events: Iterable[Event], begin: str, end: str, node: str, **fields: Any) -> int:
    """Return the instant in the middle between two events of one node."""
    start = select(events, begin, node, **fields)[0].time_ns
    until = min(event.time_ns for event in select(events, end, node, **fields) if event.time_ns > start)
    return (start + until) // 2


def instants() -> dict[str, tuple[str, Any]]:
    """Return where to crash: what it must hit -> (node, when)."""
    events = base_run().trace
    ring, vote = 3, 4  # state broadcast, ring, vote, ring, vote: those of step 1
    entered = select(events, "collective_enter", "node0", sequence=ring)[0].time_ns
    first_message = select(events, "deliver", "node0", tag=f"({ring}, 0)")[0].time_ns
    places: dict[str, tuple[str, Any]] = {
        "rendezvous": ("node2", select(events, "world", "node2")[0].time_ns // 2),
        "state broadcast": ("node3", middle(events, "collective_enter", "collective_finish", "node3", sequence=0)),
        "computation": ("node1", middle(events, "compute_begin", "compute_end", "node1") + 2 * MS),
        "ring 0": ("node0", (entered + first_message) // 2),
        "vote": ("node3", middle(events, "collective_enter", "collective_finish", "node3", sequence=vote)),
    }
    for received in range(1, LAST_MESSAGE):
        places[f"ring {received}"] = (f"node{received % RANKS}", {"step": 2, "segment": received})
    return places


PHASES = ["rendezvous", "state broadcast", "computation", *(f"ring {k}" for k in range(LAST_MESSAGE)), "vote"]
RETURNS = {
    "stays dead": (None, {}),
    "never taken back": ("3 ms", {}),
    "taken back": ("3 ms", {"set_aside": {"cooldown": "1 ms"}}),
    "waited for": ("3 ms", {"set_aside": {"cooldown": "0 ns"}, "min_workers": RANKS}),
    "waited for in vain": (None, {"min_workers": RANKS}),
}


@pytest.mark.parametrize("returns", RETURNS)
@pytest.mark.parametrize("notice", ["reset", "silence"])
@pytest.mark.parametrize("where", PHASES)
def test_elastic_keeps_its_promises_through_a_crash_in_every_phase(where, notice, returns):
    node, at = instants()[where]
    restart_after, strategy = RETURNS[returns]
    scenario = elastic([crash(node, at, restart_after, notice)], **strategy)
    watched = train(scenario, trace="messages")
    result = watched.result
    (death,) = select(result.trace, "crash")
    assert death.node == node
    assert phase(result.trace, node, death.time_ns) == where
    assert_elastic_promises(watched)
    if returns == "waited for in vain":
        assert result.outcome is Outcome.LOST
        assert "fewer than min_workers (4)" in result.outcome_sentence
        return
    assert result.outcome is Outcome.FINISHED
    assert result.metrics[-1].world_size == (RANKS - 1 if returns in ("stays dead", "never taken back") else RANKS)


def test_the_phases_of_the_crashes_are_all_there_are():
    assert set(instants()) == set(PHASES)


@pytest.mark.parametrize("node", [f"node{rank}" for rank in range(RANKS)])
@pytest.mark.parametrize("notice", ["reset", "silence"])
@pytest.mark.parametrize("commit_every", [1, 2, 4])
def test_elastic_survives_a_crash_in_the_last_all_gather_of_the_last_step(node, notice, commit_every):
    fault = crash(node, {"step": STEPS - 1, "segment": LAST_MESSAGE - 1}, notice=notice)
    watched = train(elastic([fault], commit_every=commit_every), trace="messages")
    (death,) = select(watched.result.trace, "crash")
    assert phase(watched.result.trace, node, death.time_ns) == f"ring {LAST_MESSAGE - 1}"
    assert watched.result.outcome is Outcome.FINISHED
    assert_elastic_promises(watched)


@cache
def run_with_one_crash(notice: str) -> Result:
    strategy = {"set_aside": {"cooldown": "1 ms"}, "commit_every": 2}
    return simulate(elastic([crash("node1", {"step": 3, "segment": 2}, "5 ms", notice)], **strategy), trace="messages")


@pytest.mark.parametrize("second", [0, 2, 3])
@pytest.mark.parametrize("notice", ["reset", "silence"])
@pytest.mark.parametrize("where", ["rendezvous", "state broadcast"])
@pytest.mark.parametrize("restart_after", [None, "4 ms"])
def test_elastic_survives_a_second_crash_during_the_recovery(second, notice, where, restart_after):
    first = run_with_one_crash(notice)
    node = f"node{second}"
    if where == "rendezvous":
        aborted = select(first.trace, "collective_abort", node)[0].time_ns
        at_ns = (aborted + select(first.trace, "world", node, generation=1)[0].time_ns) // 2
    else:
        begin = select(first.trace, "collective_enter", node, generation=1, sequence=0)[0].time_ns
        end = select(first.trace, "collective_finish", node, generation=1, sequence=0)[0].time_ns
        at_ns = (begin + end) // 2
    faults = [crash("node1", {"step": 3, "segment": 2}, "5 ms", notice), crash(node, at_ns, restart_after, notice)]
    strategy = {"set_aside": {"cooldown": "1 ms"}, "commit_every": 2}
    watched = train(elastic(faults, **strategy), trace="messages")
    result = watched.result
    death = select(result.trace, "crash", node)[0]
    assert phase(result.trace, node, death.time_ns) == where
    assert result.outcome is Outcome.FINISHED
    assert_elastic_promises(watched)


@pytest.mark.parametrize("where", PHASES)
def test_a_run_with_a_crash_has_the_same_digests_again_and_under_other_ties(where):
    node, at = instants()[where]
    scenario = elastic([crash(node, at, "3 ms")], set_aside={"cooldown": "1 ms"}, commit_every=2)
    first = simulate(scenario)
    for other in (simulate(scenario), simulate(scenario, shuffle_ties=1)):
        assert (other.schedule_digest, other.numbers_digest) == (first.schedule_digest, first.numbers_digest)


@pytest.mark.parametrize("commit_every", [1, 2, 3, 4, 100])
def test_a_failure_rolls_back_to_the_last_commit(commit_every):
    fault = crash("node1", {"step": 5, "segment": 2})
    watched = train(elastic([fault], commit_every=commit_every))
    assert_elastic_promises(watched)
    result = watched.result
    back_to = 5 // commit_every * commit_every
    assert {event.fields["step"] for event in select(result.trace, "restore", generation=1)} == {back_to}
    (failure,) = result.failures
    assert failure.rolled_back_steps == 5 - back_to
    # What was computed and rolled back is computed again, by three: the dead one's last batch never was in an update.
    assert result.steps_executed == result.steps + 5 - back_to


def test_a_newcomer_joins_at_a_commit_without_a_rollback():
    fault = crash("node1", {"step": 1, "segment": 2}, "1 ms")
    watched = train(elastic([fault], set_aside={"cooldown": "100 us"}))
    assert_elastic_promises(watched)
    result = watched.result
    assert [row.world_size for row in result.metrics][-1] == RANKS
    last = max(event.fields["generation"] for event in select(result.trace, "world"))
    joined = select(result.trace, "restore", generation=last)
    assert {e.fields["from_step"] - e.fields["step"] for e in joined if e.node != "node1"} == {0}
    assert select(result.trace, "world", generation=last)[0].fields["members"] == ["node0", "node2", "node3", "node1"]
    (failure,) = result.failures
    assert failure.at_ns < failure.detected_at_ns < failure.resumed_at_ns < failure.recovered_at_ns


def test_the_job_waits_for_min_workers_and_gives_up_in_the_end():
    waited = simulate(elastic([crash("node1", 2 * MS, "50 ms")], min_workers=RANKS, set_aside={"cooldown": "1 ms"}))
    assert waited.outcome is Outcome.FINISHED
    assert {row.world_size for row in waited.metrics} == {RANKS}
    gave_up = simulate(elastic([crash("node1", 2 * MS)], min_workers=RANKS))
    assert gave_up.outcome is Outcome.LOST
    assert "fewer than min_workers (4) workers are left" in gave_up.outcome_sentence
    assert "200 ms" in gave_up.outcome_sentence


def test_a_job_that_gives_up_is_lost_though_one_worker_had_come_to_the_end():
    # node0 has sent so much of the last all-gather that node3 can finish, and nobody else.
    fault = crash("node0", {"step": STEPS - 1, "segment": 4}, notice="silence")
    result = simulate(elastic([fault], min_workers=RANKS))
    assert {event.node for event in select(result.trace, "update", step=STEPS)} == {"node3"}
    assert result.outcome is Outcome.LOST
    assert "fewer than min_workers (4)" in result.outcome_sentence


def test_silence_without_a_timer_stalls_elastic_training_and_names_somebody():
    result = simulate(elastic([crash("node1", {"step": 2, "segment": 2}, notice="silence")], timeout=None))
    assert result.outcome is Outcome.STALLED
    assert "node2 waits for node1" in result.outcome_sentence


def test_the_death_of_the_rendezvous_is_the_end_of_the_job_once_somebody_needs_it():
    unneeded = train(elastic([crash("rendezvous", 2 * MS)]))
    assert unneeded.result.outcome is Outcome.FINISHED
    assert_elastic_promises(unneeded)
    needed = simulate(elastic([crash("rendezvous", 2 * MS), crash("node1", 3 * MS)]))
    assert needed.outcome is Outcome.LOST
    assert "rendezvous" in needed.outcome_sentence


def test_when_only_newcomers_are_left_the_state_is_gone_and_nobody_begins_anew_in_silence():
    back = crash("node3", 1 * MS, restart_after="500 us")
    rest = [crash(f"node{rank}", 2 * MS) for rank in range(3)]
    result = simulate(elastic([back, *rest], set_aside={"cooldown": "5 ms"}))
    assert result.outcome is Outcome.LOST
    assert "nobody is left of the last ring, who had the state" in result.outcome_sentence


def test_when_all_die_the_state_is_gone():
    faults = [crash(f"node{rank}", 2 * MS) for rank in range(RANKS)]
    result = simulate(elastic(faults))
    assert result.outcome is Outcome.LOST
    assert "every worker is dead" in result.outcome_sentence


# --- elastic: crashes at random ---------------------------------------------------------------------------------------


@st.composite
def crashes(draw, most: int = 4):
    end_ns = base_run().virtual_time_ns
    instant = st.integers(0, 2 * end_ns) | st.builds(
        lambda step, segment: {"step": step, "segment": segment} if segment else {"step": step},
        st.integers(0, STEPS - 1),
        st.integers(0, LAST_MESSAGE),
    )
    after = st.sampled_from([None, "1 ns", "10 us", "150 us", "1 ms", "4 ms", "30 ms"])
    notice = st.sampled_from(["reset", "silence"])
    fault = st.builds(crash, st.sampled_from([f"node{rank}" for rank in range(RANKS)]), instant, after, notice)
    faults = draw(st.lists(fault, min_size=1, max_size=most))
    if draw(st.integers(0, 9)) == 7:
        faults.append(crash("rendezvous", draw(st.integers(0, end_ns)), draw(after), draw(notice)))
    return faults


policies = st.fixed_dictionaries(
    {
        "commit_every": st.sampled_from([1, 2, 3]),
        "collective": st.sampled_from(["ring", "ring", "tree", "halving_doubling", "hierarchical"]),
        "min_workers": st.sampled_from([1, 2, RANKS]),
        # The two shorter ones are less than a step's computation takes: the living are suspected too.
        "timeout": st.sampled_from(["100 us", "1 ms", "20 ms", "20 ms"]),
        "set_aside": st.sampled_from([None, {"cooldown": "0 ns"}, {"cooldown": "1 ms"}]),
    }
)
RANDOM = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}


def assert_promises_through(faults: list[Any], strategy: dict[str, Any]) -> None:
    scenario = elastic(faults, **strategy)
    watched = train(scenario)
    assert_elastic_promises(watched)
    again = simulate(scenario, shuffle_ties=1)
    assert (again.schedule_digest, again.numbers_digest) == (
        watched.result.schedule_digest,
        watched.result.numbers_digest,
    )


@settings(max_examples=20, **RANDOM)
@given(crashes(), policies)
def test_elastic_keeps_its_promises_through_random_crashes(faults, strategy):
    assert_promises_through(faults, strategy)


@pytest.mark.long
@settings(max_examples=2_000, **RANDOM)
@given(crashes(most=6), policies)
def test_elastic_keeps_its_promises_through_many_random_crashes(faults, strategy):
    assert_promises_through(faults, strategy)


@st.composite
def server_crashes(draw):
    fault = st.builds(
        crash,
        st.sampled_from([*["node0", "node1", "node2"] * 3, "server0"]),
        st.integers(0, 12 * MS),
        st.sampled_from([None, "1 ns", "10 us", "150 us", "1 ms", "4 ms", "30 ms"]),
        st.sampled_from(["reset", "silence"]),
    )
    return draw(st.lists(fault, min_size=1, max_size=4))


def assert_server_promises_through(faults: list[Any], strategy: Any) -> None:
    nodes = [{}, {"speed": "4 GFLOP/s"}, {}]
    result = simulate(training(strategy, nodes=nodes, steps=6, faults=faults, max_virtual_time="100 s"))
    assert_times_add_up(result)
    assert "max_virtual_time" not in result.outcome_sentence
    if result.outcome.is_success:
        assert_samples_are_as_the_trace_says(result)
    else:
        assert any(name in result.outcome_sentence for name in ("node", "server", "every worker"))


server_strategies = st.sampled_from(["parameter_server", PS_TIMEOUT])


@settings(max_examples=40, **RANDOM)
@given(server_crashes(), server_strategies)
def test_a_parameter_server_keeps_its_books_through_random_crashes(faults, strategy):
    assert_server_promises_through(faults, strategy)


@pytest.mark.long
@settings(max_examples=1_500, **RANDOM)
@given(server_crashes(), server_strategies)
def test_a_parameter_server_keeps_its_books_through_many_random_crashes(faults, strategy):
    assert_server_promises_through(faults, strategy)
