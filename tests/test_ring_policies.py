"""What a ring does about deaths, policy by policy: in every phase, at random, and against books kept by another hand.

The oracles are of these tests alone: a walk along the messages says whose state each replica has, a replay of the
samples with the engine says what the numbers must be, and times are worked out on paper. What is not here: the elastic
ring by itself (`test_strategies.py`), a model of Horovod's books (`test_horovod_books.py`), and what is told only of
peer recovery (`test_peer_recovery.py`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_strategies import (
    ADAM,
    COMPUTE_NS,
    SGD,
    assert_close,
    assert_committed_samples_are_counted_exactly_once,
    assert_replicas_are_equal,
    assert_samples_are_as_the_trace_says,
    assert_times_add_up,
    ceil_div,
    updates_of_the_end,
)
from worlds import MS, TINY, US, Watched, crash, select, train, training

from ringsim.learning.engine import Engine
from ringsim.result import Outcome, Result
from ringsim.scenario import Scenario
from ringsim.simulation import simulate
from ringsim.trace import Event

RANKS, EPOCHS = 4, 2
PATH_NS = 100 * US
CONTROL_NS = 256 * 8  # on a link of 1 Gbit/s
AGAIN = {"set_aside": {"cooldown": "1 ms"}}
PATIENT = {"rendezvous_timeout": "200 ms"}
POLICIES: dict[str, dict[str, Any]] = {
    "elastic": {**AGAIN, **PATIENT},
    "wait": {},
    "spares": {**AGAIN, **PATIENT},
    "peer_recovery": {**AGAIN, **PATIENT},
}
NEW = [policy for policy in POLICIES if policy != "elastic"]


def ring(policy: str, faults: Iterable[Any] = (), task: Any = None, nodes: int = RANKS, **strategy: Any) -> Scenario:
    """Four workers of 8 samples a step, 96 samples, two epochs; Adam, so that the optimizer's state travels too."""
    defaults = {"epochs": EPOCHS, "optimizer": ADAM, "learning_rate_scaling": "linear", "max_virtual_time": "10 s"}
    settings = {"name": "ring", "on_failure": policy, "timeout": "20 ms", **POLICIES[policy], **strategy}
    return training(settings, nodes=nodes, faults=faults, **{**defaults, **(task or {})})


# --- oracles ----------------------------------------------------------------------------------------------------------


def lineage(events: Iterable[Event]) -> dict[int, int]:
    """Return which generation made each update that the final parameters went through.

    By the replicas themselves: each of them has the updates that it made, after those of the state that it began with
    or was sent by a peer. For the policies without commits; the trace must have its messages.
    """
    replica: dict[str, dict[int, int]] = defaultdict(dict)
    leaving: dict[tuple[str, str], dict[int, int]] = {}
    sent: dict[str, dict[int, int]] = {}
    saved: dict[int, int] = {}
    furthest: dict[int, int] = {}
    for event in events:
        fields, node = event.fields, event.node
        if event.kind == "restart":
            replica[node] = {}
        elif event.kind == "depart" and fields["tag"].endswith(", 'copy')"):
            leaving[node, fields["to"]] = dict(replica[node])  # It may arrive when its sender is dead.
        elif event.kind == "deliver" and fields["tag"].endswith(", 'copy')"):
            sent[node] = leaving[fields["source"], node]
        elif event.kind == "save_end":
            saved = dict(replica[node])
        elif event.kind == "load_end":
            replica[node] = dict(saved)
        elif event.kind == "restore":
            replica[node] = sent.pop(node, replica[node])
            assert max(replica[node], default=0) == fields["step"]
        elif event.kind == "update":
            assert max(replica[node], default=0) == fields["step"] - 1
            replica[node][fields["step"]] = fields["generation"]
            furthest = dict(replica[node])
    return furthest


def contributions(result: Result, made: dict[int, int]) -> dict[int, dict[str, list[int]]]:
    """Return update -> node -> the samples whose gradients are in it."""
    dropped = {(e.fields["worker"], e.fields["generation"], e.fields["step"]) for e in select(result.trace, "dropped")}
    steps: dict[int, dict[str, list[int]]] = defaultdict(dict)
    for kind in ("step_begin", "carry"):
        for event in select(result.trace, kind):
            generation, step = event.fields["generation"], event.fields["step"]
            if made.get(step + 1) == generation and (event.node, generation, step) not in dropped:
                steps[step + 1][event.node] = event.fields["samples"]
    return steps


def replayed(result: Result, made: dict[int, int]) -> np.ndarray:
    """Return the parameters that plain training on just those samples ends with, at the rates that the rule gives."""
    task = result.scenario.task
    steps = contributions(result, made)
    engine = Engine(task, result.scenario.seed, rows=RANKS * 8)
    state = engine.initial()
    for step in range(1, result.steps + 1):
        samples = [sample for batch in steps[step].values() for sample in batch]
        world = next(e for e in select(result.trace, "update", step=step, generation=made[step]))
        rate = task.optimizer.learning_rate * world.fields["world_size"]
        state = engine.update(state, engine.gradient(state.parameters, samples).value().array, rate)
    return state.parameters.array


def assert_peer_recovery_books(result: Result) -> None:
    """Each sample is counted once or listed as dropped; what was computed twice is repeated; nothing is rolled back."""
    made = lineage(result.trace)
    assert {row.step: row.generation for row in result.metrics if row.committed} == made
    epoch_of = {}
    counted: dict[int, Counter[int]] = defaultdict(Counter)
    lost: dict[int, Counter[int]] = defaultdict(Counter)
    for event in result.trace:
        if event.kind in ("step_begin", "carry", "dropped"):
            epoch_of[event.fields["generation"], event.fields["step"]] = event.fields["epoch"]
    for step, batches in contributions(result, made).items():
        for samples in batches.values():
            counted[epoch_of[made[step], step - 1]].update(samples)
    for event in select(result.trace, "dropped"):
        if made.get(event.fields["step"] + 1) == event.fields["generation"]:
            lost[event.fields["epoch"]].update(event.fields["samples"])
    computed: dict[int, Counter[int]] = defaultdict(Counter)
    begun = {(e.node, e.fields["generation"], e.fields["step"]): e.fields for e in select(result.trace, "step_begin")}
    for event in select(result.trace, "loss"):
        fields = begun[event.node, event.fields["generation"], event.fields["step"]]
        computed[fields["epoch"]].update(fields["samples"])
    for row in result.epochs:
        # A sample may have been dropped with an update whose only makers died, and be counted all the same.
        assert counted[row.epoch] + lost[row.epoch] == Counter(range(TINY["samples"]))
        assert (row.counted, row.lost) == (counted[row.epoch].total(), lost[row.epoch].total())
        assert row.repeated == computed[row.epoch].total() - len(computed[row.epoch])


def assert_rates_follow_the_world(result: Result) -> None:
    worlds = {event.fields["generation"]: len(event.fields["members"]) for event in select(result.trace, "world")}
    for row in result.metrics:
        if row.learning_rate is not None:
            rate = result.scenario.task.optimizer.learning_rate * row.world_size
            assert row.learning_rate == pytest.approx(rate)
        carried = select(result.trace, "carry", generation=row.generation, step=row.step - 1)
        assert row.world_size == (len(carried) or worlds[row.generation])
        sizes = {
            e.fields["world_size"]
            for e in select(result.trace, "update", step=row.step)
            if e.fields["generation"] == row.generation
        }
        assert sizes == {row.world_size}


def assert_promises(watched: Watched) -> None:
    """What holds however a run went, and more if it came to its end. The trace must have its messages."""
    result = watched.result
    policy, names = result.scenario.strategy.on_failure, [node.node for node in result.nodes]
    assert_replicas_are_equal(watched)
    assert_times_add_up(result)
    assert_rates_follow_the_world(result)
    if not result.outcome.is_success:
        assert result.outcome in (Outcome.LOST, Outcome.STALLED)
        assert "max_virtual_time" not in result.outcome_sentence
        said = (*names, "rendezvous", "min_workers", "every worker", "no worker", "nobody is left", "re-formed")
        assert any(words in result.outcome_sentence for words in said)
        return
    if policy == "peer_recovery":
        assert_peer_recovery_books(result)
        made = lineage(result.trace)
    else:
        assert_samples_are_as_the_trace_says(result)
        assert_committed_samples_are_counted_exactly_once(result)
        made = updates_of_the_end(result.trace)
        assert [(row.counted, row.lost) for row in result.epochs] == [(TINY["samples"], 0)] * EPOCHS
    if policy == "wait":
        assert {row.world_size for row in result.metrics} == {len(names)}
    if policy == "spares":
        assert max(row.world_size for row in result.metrics) <= len(names) - result.scenario.strategy.spares
    assert_close(result.parameters, replayed(result, made), 1e-3)


def assert_same_however_it_is_played(scenario: Scenario, result: Result) -> None:
    again = simulate(scenario, shuffle_ties=1, fidelity="message")
    assert (again.schedule_digest, again.numbers_digest) == (result.schedule_digest, result.numbers_digest)


# --- without faults ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", NEW)
def test_without_faults_it_is_the_plain_ring(policy):
    scenario = ring(policy)
    watched = train(scenario, trace="messages")
    assert_promises(watched)
    nodes = RANKS - 1 if policy == "spares" else RANKS
    plain = simulate(training("ring", nodes=nodes, epochs=EPOCHS, optimizer=ADAM, learning_rate_scaling="linear"))
    assert watched.result.parameters.tobytes() == plain.parameters.tobytes()
    assert_same_however_it_is_played(scenario, watched.result)


# --- one death in every phase -----------------------------------------------------------------------------------------


@cache
def base_run(policy: str) -> Result:
    return simulate(ring(policy), trace="messages")


def instants(policy: str) -> list[Any]:
    """Return moments of every phase of node1: at the rendezvous, in the copy of the state, computing, each message of
    the all-reduce, the vote after it, and after the last step."""
    events = base_run(policy).trace
    joined = select(events, "world", "node1")[0].time_ns
    begun = select(events, "step_begin", "node1", step=1)[0].time_ns
    updated = select(events, "update", "node1", step=2)[0].time_ns
    last = 2 * ((RANKS - 1 if policy == "spares" else RANKS) - 1)
    return [
        joined // 2,
        joined + 150 * US,
        begun + COMPUTE_NS // 2,
        {"step": 0},
        *({"step": 2, "segment": number} for number in range(1, last + 1)),
        updated + 50 * US,
        base_run(policy).virtual_time_ns - 50 * US,
    ]


@pytest.mark.parametrize("number", range(12))
@pytest.mark.parametrize("notice", ["reset", "silence"])
@pytest.mark.parametrize("policy", NEW)
def test_a_death_in_any_phase(policy, notice, number):
    moments = instants(policy)
    at = moments[number % len(moments)]
    for restart_after in ("3 ms", None):
        watched = train(ring(policy, [crash("node1", at, restart_after, notice)]), trace="messages")
        assert_promises(watched)
        if policy != "wait" or restart_after:
            assert watched.result.outcome is Outcome.FINISHED


@pytest.mark.parametrize("number", range(10))
@pytest.mark.parametrize("notice", ["reset", "silence"])
@pytest.mark.parametrize("policy", POLICIES)
def test_a_second_death_in_any_phase_of_the_recovery(policy, notice, number):
    first = crash("node1", {"step": 3, "segment": 2}, "2 ms", notice)
    events = simulate(ring(policy, [first])).trace
    broken = select(events, "collective_abort")[0].time_ns
    recovered = [e for e in select(events, "update") if e.fields["generation"] > 0][-1].time_ns
    at_ns = broken + (recovered - broken) * number // 10
    node = f"node{number % RANKS}"
    scenario = ring(policy, [first, crash(node, at_ns, "4 ms" if number % 3 else None, notice)])
    watched = train(scenario, trace="messages")
    assert_promises(watched)
    assert_same_however_it_is_played(scenario, watched.result)


@pytest.mark.parametrize("policy", NEW)
def test_the_death_of_the_rendezvous_is_the_end_once_somebody_needs_it(policy):
    unneeded = train(ring(policy, [crash("rendezvous", 2 * MS)]), trace="messages")
    assert unneeded.result.outcome is Outcome.FINISHED
    assert_promises(unneeded)
    needed = simulate(ring(policy, [crash("rendezvous", 2 * MS), crash("node1", 3 * MS)]))
    assert needed.outcome is Outcome.LOST
    assert "rendezvous" in needed.outcome_sentence
    silent = simulate(ring(policy, [crash("rendezvous", 2 * MS, None, "silence")]))
    assert silent.outcome is Outcome.STALLED
    assert "node0 waits for rendezvous (answer)" in silent.outcome_sentence


# --- wait -------------------------------------------------------------------------------------------------------------


def state_bytes(scenario: Scenario) -> int:
    engine = Engine(scenario.task, scenario.seed, rows=8)
    return engine.size_bytes(engine.initial()) + 24


def all_reduce_ns(ranks: int) -> int:
    numbers = (TINY["features"] + 1) * TINY["classes"]
    return 2 * (ranks - 1) * (PATH_NS + ceil_div(8 * 4 * ceil_div(numbers, ranks) * 10**9, 10**9))


def test_a_ring_that_waits_goes_on_as_soon_as_the_last_one_is_back():
    scenario = ring("wait", [crash("node1", {"step": 2}, "3 ms")], nodes=2)
    watched = train(scenario, trace="messages")
    assert_promises(watched)
    (failure,) = watched.result.failures
    back_ns = failure.at_ns + 3 * MS
    registered_ns = back_ns + PATH_NS + CONTROL_NS
    joined_ns = registered_ns + PATH_NS + 2 * CONTROL_NS  # both answers share the link of the rendezvous
    restored_ns = joined_ns + PATH_NS + 8 * state_bytes(scenario)
    assert {e.time_ns for e in select(watched.result.trace, "world", generation=1)} == {joined_ns}
    assert select(watched.result.trace, "restore", "node1", generation=1)[0].time_ns == restored_ns
    assert failure.resumed_at_ns == failure.recovered_at_ns
    begun_ns = select(watched.result.trace, "step_begin", "node1", generation=1)[0].time_ns
    updated = select(watched.result.trace, "update", "node1", generation=1)[0]
    # Of 27 numbers, rank 1 waits twice for the shorter half.
    assert updated.time_ns == begun_ns + COMPUTE_NS + 2 * (PATH_NS + 8 * 4 * 13)


@pytest.mark.parametrize("notice", ["reset", "silence"])
def test_a_ring_that_waits_for_one_who_never_comes_stalls_and_names_it(notice):
    faults = [crash("node1", {"step": 2}, None, notice), crash("node3", {"step": 2}, None, notice)]
    result = simulate(ring("wait", faults))
    assert result.outcome is Outcome.STALLED
    waits = result.outcome_sentence.split("rendezvous waits for ")[1]
    assert waits == "node1, node3 (register)"
    assert "node0 waits for rendezvous" in result.outcome_sentence


def test_a_ring_that_waits_learns_what_it_would_have_learned():
    faults = [crash("node3", {"step": 1, "segment": 3}, "5 ms"), crash("node2", {"step": 4}, "30 ms", "silence")]
    task = {"optimizer": SGD}
    watched = train(ring("wait", faults, task), trace="messages")
    assert_promises(watched)
    assert_close(watched.result.parameters, simulate(ring("wait", (), task)).parameters, 1e-5)


def test_a_ring_that_waits_loses_the_state_with_the_last_who_had_it():
    together = [crash(f"node{rank}", 3 * MS, "1 ms") for rank in range(RANKS)]
    result = simulate(ring("wait", together))
    assert result.outcome is Outcome.LOST
    assert "nobody is left of the last ring, who had the state" in result.outcome_sentence


def test_a_ring_that_waits_needs_nobody_once_all_who_are_left_have_finished():
    first = base_run("wait")
    finished = max(e.time_ns for e in select(first.trace, "commit"))
    for notice in ("reset", "silence"):
        result = simulate(ring("wait", [crash("node1", finished + 1 * US, None, notice)]))
        if notice == "reset":
            assert result.outcome is Outcome.FINISHED
            few = simulate(ring("elastic", [crash("node1", finished + 1 * US)], min_workers=RANKS))
            assert few.outcome is Outcome.FINISHED, "nor does one that wants as many"
        else:
            assert "rendezvous waits for node1 (register)" in result.outcome_sentence


def test_a_ring_that_cannot_keep_its_own_timeout_gives_up_and_does_not_form_for_ever():
    nodes = [{}, {}, {"speed": "1 MFLOP/s"}]
    settings = {"name": "ring", "on_failure": "wait", "timeout": "9 ms", "reset_limit": 3}
    result = simulate(training(settings, nodes=nodes, max_virtual_time="100 h"))
    assert result.outcome is Outcome.LOST
    assert "re-formed 4 times without a new commit (reset_limit)" in result.outcome_sentence


# --- spares -----------------------------------------------------------------------------------------------------------


def rings(result: Result) -> dict[int, list[str]]:
    return {event.fields["generation"]: event.fields["members"] for event in select(result.trace, "world")}


def test_a_spare_takes_the_place_of_the_dead_after_the_survivors():
    watched = train(ring("spares", [crash("node1", {"step": 3, "segment": 2})]), trace="messages")
    assert_promises(watched)
    assert rings(watched.result) == {0: ["node0", "node1", "node2"], 1: ["node0", "node2", "node3"]}
    assert {row.world_size for row in watched.result.metrics} == {RANKS - 1}
    (failure,) = watched.result.failures
    assert failure.recovered_at_ns == failure.resumed_at_ns is not None


def test_who_comes_back_while_the_ring_is_whole_is_a_spare_and_nobody_notices():
    back = crash("node1", {"step": 1, "segment": 2}, "100 us")
    watched = train(ring("spares", [back]), trace="messages")
    assert_promises(watched)
    assert rings(watched.result) == {0: ["node0", "node1", "node2"], 1: ["node0", "node2", "node3"]}
    later = crash("node0", {"step": 5})
    watched = train(ring("spares", [back, later]), trace="messages")
    assert_promises(watched)
    assert rings(watched.result)[2] == ["node2", "node3", "node1"]
    assert {row.world_size for row in watched.result.metrics} == {RANKS - 1}


def test_with_no_spare_left_the_ring_goes_on_with_fewer_and_takes_the_next_one_at_a_commit():
    faults = [crash("node1", {"step": 1}), crash("node2", {"step": 3}, "1 ms")]
    watched = train(ring("spares", faults), trace="messages")
    assert_promises(watched)
    assert rings(watched.result) == {
        0: ["node0", "node1", "node2"],
        1: ["node0", "node2", "node3"],
        2: ["node0", "node3"],
        3: ["node0", "node3", "node2"],
    }
    assert [row.world_size for row in watched.result.metrics if row.generation == 2] != []
    second = watched.result.failures[1]
    assert second.resumed_at_ns < second.recovered_at_ns
    joined = [e.fields["from_step"] - e.fields["step"] for e in select(watched.result.trace, "restore", generation=3)]
    assert max(joined) == 0, "who was there loses nothing when a newcomer joins"


@pytest.mark.parametrize("notice", ["reset", "silence"])
def test_the_death_of_a_spare_that_waits_is_of_no_account(notice):
    result = simulate(ring("spares", [crash("node3", 3 * MS, None, notice)]))
    undisturbed = base_run("spares")
    assert result.outcome is Outcome.FINISHED
    assert result.metrics == undisturbed.metrics
    assert result.parameters.tobytes() == undisturbed.parameters.tobytes()
    both = train(ring("spares", [crash("node3", 3 * MS, None, notice), crash("node1", {"step": 3})]), trace="messages")
    assert_promises(both)
    assert list(rings(both.result).values())[-1] == ["node0", "node2"]


def test_without_set_aside_the_dead_are_no_spares_again():
    faults = [crash("node1", {"step": 1}, "1 us"), crash("node2", {"step": 4})]
    result = simulate(ring("spares", faults, set_aside=None))
    assert rings(result)[2] == ["node0", "node3"]
    assert result.outcome is Outcome.FINISHED


def test_spares_stand_last_in_the_order_of_the_network_too():
    topology = {"topology": {"kind": "two_tier", "racks": 2, "placement": "in_turn"}}
    for order, ranks in (("listed", [0, 1, 2, 3]), ("topology", [0, 2, 1, 3])):
        result = simulate(ring("spares", [crash("node2", {"step": 2})], {"network": topology}, nodes=5, order=order))
        assert rings(result)[0] == [f"node{rank}" for rank in ranks]
        assert rings(result)[1] == [f"node{rank}" for rank in [*(rank for rank in ranks if rank != 2), 4]]


# --- at the rendezvous ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["elastic", "peer_recovery"])
def test_who_dies_while_it_waits_at_the_rendezvous_is_in_no_ring(policy):
    # Three are wanted; node0 and node2 are there, and node2 dies before the others are back.
    faults = [
        crash("node1", {"step": 2, "segment": 1}, "6 ms"),
        crash("node3", {"step": 2, "segment": 1}, "7 ms"),
        crash("node2", 6 * MS),
    ]
    result = simulate(ring(policy, faults, min_workers=3))
    assert result.outcome is Outcome.FINISHED
    assert rings(result)[1] == ["node0", "node1", "node3"]


@pytest.mark.parametrize("policy", ["elastic", "spares", "peer_recovery"])
def test_the_end_is_told_to_those_who_are_set_aside_too(policy):
    fault = crash("node1", {"step": 2, "segment": 1}, "1 ms")
    result = simulate(ring(policy, [fault], set_aside={"cooldown": "9 s"}))
    assert result.outcome is Outcome.FINISHED
    assert result.virtual_time_ns < 20 * MS, "nobody waits for its cooldown"


@pytest.mark.parametrize("policy", ["elastic", "peer_recovery"])
def test_who_failed_joins_again_when_its_cooldown_is_over_or_never(policy):
    fault = crash("node1", {"step": 1, "segment": 1}, "1 ms")
    never = simulate(ring(policy, [fault], set_aside=None))
    assert all("node1" not in members for generation, members in rings(never).items() if generation > 0)
    result = simulate(ring(policy, [fault], set_aside={"cooldown": "4 ms"}))
    (back,) = select(result.trace, "restart", "node1")
    _, joined = select(result.trace, "world", "node1")
    assert joined.time_ns > back.time_ns + 4 * MS
    assert rings(result)[2] == ["node0", "node2", "node3", "node1"]


def test_a_rendezvous_that_stalls_names_those_of_the_last_ring():
    faults = [crash("node1", 1_500 * US), crash("node2", 6 * MS, notice="silence")]
    result = simulate(ring("elastic", faults, nodes=3, timeout=None))
    assert result.outcome is Outcome.STALLED
    assert result.outcome_sentence.endswith("rendezvous waits for node0, node2 (register)")


# --- at random --------------------------------------------------------------------------------------------------------


@st.composite
def troubles(draw, most: int = 4):
    """A policy with its settings, and a list of crashes."""
    policy = draw(st.sampled_from(list(POLICIES)))
    end_ns = base_run(policy).virtual_time_ns
    instant = st.integers(0, 2 * end_ns) | st.builds(
        lambda step, segment: {"step": step, "segment": segment} if segment else {"step": step},
        st.integers(0, 5),
        st.integers(0, 4 if policy == "spares" else 6),
    )
    after = st.sampled_from([None, "1 ns", "10 us", "150 us", "1 ms", "4 ms", "30 ms"])
    notice = st.sampled_from(["reset", "reset", "silence"])
    fault = st.builds(crash, st.sampled_from([f"node{rank}" for rank in range(RANKS)]), instant, after, notice)
    faults = draw(st.lists(fault, min_size=1, max_size=most))
    # The two shorter ones are less than a step's computation takes: the living are suspected too.
    strategy = {"timeout": draw(st.sampled_from(["100 us", "1 ms", "20 ms", "20 ms"]))}
    if policy in ("elastic", "wait", "spares"):
        strategy["commit_every"] = draw(st.sampled_from([1, 2, 3]))
    if policy != "wait":
        strategy["min_workers"] = draw(st.sampled_from([1, 2, 3]))
        strategy["set_aside"] = draw(st.sampled_from([None, {"cooldown": "0 ns"}, {"cooldown": "1 ms"}]))
    if policy == "spares":
        strategy["spares"] = 1
    strategy["checkpoint_every"] = draw(st.sampled_from([None, 1, 2, 3]))
    # The last one is silent for less than a step now and then, when beats wait behind a segment.
    beats = draw(st.sampled_from([None, None, ("1 ms", "5 ms"), ("300 us", "1 ms"), ("50 us", "140 us")]))
    if beats is not None:
        by = draw(st.sampled_from(["neighbours", "rendezvous"]))
        strategy["heartbeat"] = {"interval": beats[0], "timeout": beats[1], "by": by}
    return policy, strategy, faults


RANDOM = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}


def assert_promises_through(trouble: Any) -> None:
    policy, strategy, faults = trouble
    scenario = ring(policy, faults, **strategy)
    watched = train(scenario, trace="messages")
    assert_promises(watched)
    assert_same_however_it_is_played(scenario, watched.result)


def test_a_ring_that_breaks_after_it_has_finished_the_step_of_another_ring():
    # node0 dies as it comes to be, twice, and once more in the step that the others finish without it.
    faults = [crash("node0", 0, "1 ns"), crash("node0", 0), crash("node0", {"step": 1, "segment": 1})]
    strategy = {"timeout": "1 ms", "set_aside": {"cooldown": "0 ns"}, "checkpoint_every": 1}
    assert_promises_through(("peer_recovery", strategy, [*faults, crash("node1", {"step": 1})]))


def test_rank_0_dies_when_others_have_finished_and_it_has_not():
    strategy = {"timeout": "20 ms", "commit_every": 3, "set_aside": None, "checkpoint_every": 2}
    finished = simulate(ring("elastic", [crash("node1", 3_324_705)], **strategy))
    first = min(event.time_ns for event in select(finished.trace, "commit", step=finished.steps))
    assert_promises_through(("elastic", strategy, [crash("node0", first + 1), crash("node1", 3_324_705)]))


@settings(max_examples=25, **RANDOM)
@given(troubles())
def test_every_policy_keeps_its_promises_through_random_crashes(trouble):
    assert_promises_through(trouble)


@pytest.mark.long
@settings(max_examples=3_000, **RANDOM)
@given(troubles(most=6))
def test_every_policy_keeps_its_promises_through_many_random_crashes(trouble):
    assert_promises_through(trouble)
