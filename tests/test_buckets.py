"""Gradient buckets and the order of the ring: cuts, overlap in closed form, and failures while buckets are under way.

What is not here: the ring itself (`test_collectives.py`), trainings in one bucket (`test_strategies.py`).
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_strategies import (
    ADAM,
    ELASTIC,
    EPOCHS,
    PATH_NS,
    SGD,
    assert_close,
    assert_elastic_promises,
    assert_replicas_are_equal,
    assert_times_add_up,
    ceil_div,
    update_times,
)
from worlds import MS, TINY, US, crash, select, train, training

from ringsim.learning.engine import Engine
from ringsim.learning.sampler import Batch
from ringsim.result import Outcome, Result
from ringsim.scenario import Scenario
from ringsim.simulation import simulate
from ringsim.strategies.buckets import Bucket, LayerWork, cut, parts
from ringsim.trace import Event

# Two dense layers of 8 x 8 weights and 8 biases: equal in numbers and in FLOP. 8 samples of 3 MFLOP take 3 ms.
SQUARE = {
    "model": {"kind": "mlp", "hidden": [8]},
    "dataset": {**TINY, "features": 8, "classes": 8},
    "flop_per_sample": "3 MFLOP",
}
LAYER_NUMBERS = 72
ONE_LAYER = f"{4 * LAYER_NUMBERS} B"
FORWARD_NS, LAYER_NS = 1 * MS, 1 * MS  # the forward pass, and the backward pass of a layer

RING = {"name": "ring"}
BUCKETS = {"name": "ring", "bucket_size": ONE_LAYER}


def ring_ns(numbers: int, ranks: int, rate: int) -> int:
    """Return how long the all-reduce of so many numbers takes, if the segments are equal."""
    assert numbers % ranks == 0
    return 2 * (ranks - 1) * (PATH_NS + ceil_div(8 * 4 * (numbers // ranks) * 10**9, rate))


# --- the plan ---------------------------------------------------------------------------------------------------------

layers = st.lists(st.builds(LayerWork, st.integers(0, 40), st.integers(0, 1_000)), min_size=1, max_size=6).filter(
    lambda of: any(layer.flop for layer in of)
)
sizes = st.none() | st.integers(1, 50)
shares = st.none() | st.fractions(Fraction(1, 1_000), 1)


def ready(of: list[LayerWork]) -> list[Fraction]:
    """Return the share of a step that is done when each number's gradient is there: a third, and two a layer's part."""
    costs = [layer.flop for layer in of]
    whole = sum(costs)
    found = []
    for index, layer in enumerate(of):
        found += layer.numbers * [Fraction(whole + 2 * sum(costs[index:]), 3 * whole)]
    return found


@given(layers, sizes, shares)
def test_buckets_hold_each_number_once_from_the_end_and_never_before_it_is_there(of, most, longest):
    buckets, there = cut(of, most, longest), ready(of)
    assert [number for bucket in buckets for number in reversed(range(bucket.start, bucket.stop))] == list(
        reversed(range(len(there)))
    )
    assert all(bucket.start < bucket.stop for bucket in buckets) or not there
    assert list(buckets) == sorted(buckets, key=lambda bucket: bucket.after)
    for bucket in buckets:
        assert max(there[bucket.part], default=0) <= bucket.after <= 1


@given(layers, sizes, shares)
def test_a_bucket_is_closed_when_it_is_full_or_its_time_is_over_or_nothing_more_comes(of, most, longest):
    buckets, there = cut(of, most, longest), ready(of)
    for index, bucket in enumerate(buckets):
        held = there[bucket.part]
        assert most is None or len(held) <= most
        deadline = 1 if longest is None or not held else held[-1] + longest
        full = most is not None and len(held) == most
        if full:
            assert bucket.after == held[0] <= deadline
        elif index < len(buckets) - 1:
            assert bucket.after == deadline < there[bucket.start - 1], "what comes until its time is over gets in"
        else:
            assert bucket.after == min(1, deadline)


def test_without_settings_there_is_one_bucket_at_the_end_whatever_the_model():
    assert cut([LayerWork(3, 5), LayerWork(0, 9), LayerWork(4, 1)], None, None) == (Bucket(0, 7, Fraction(1)),)
    assert cut([LayerWork(0, 9), LayerWork(4, 1)], None, None) == (Bucket(0, 4, Fraction(1)),)
    assert cut([], None, None) == (Bucket(0, 0, Fraction(1)),)


@given(layers, sizes, shares, st.integers(0, 10**15))
def test_the_parts_of_a_computation_are_the_whole(of, most, longest, flop):
    buckets = cut(of, most, longest)
    found = parts(flop, buckets)
    assert sum(found) == flop
    assert min(found) >= 0
    assert len(found) == len(buckets) + 1
    for index, bucket in enumerate(buckets):
        assert 0 <= flop * bucket.after - sum(found[: index + 1]) < 1


# --- time -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ranks", [2, 3, 4])
@pytest.mark.parametrize("rate", [10**6, 4 * 10**6, 30 * 10**6])
def test_a_bucket_is_added_up_while_the_next_one_is_computed(ranks, rate):
    network = {"bandwidth": f"{rate} bit/s"}
    both = simulate(training(BUCKETS, nodes=ranks, network=network, steps=3, **SQUARE))
    one_ns = ring_ns(LAYER_NUMBERS, ranks, rate)
    # The first bucket goes when the second layer's gradient is there; the second follows when both can.
    step_ns = FORWARD_NS + LAYER_NS + max(LAYER_NS, one_ns) + one_ns
    assert update_times(both) == [step_ns, 2 * step_ns, 3 * step_ns]
    assert_times_add_up(both)
    for node in both.nodes:
        assert node.compute_ns == 3 * 3 * MS
        assert node.exposed_communication_ns == both.virtual_time_ns - node.compute_ns
    whole = simulate(training(RING, nodes=ranks, network=network, steps=3, **SQUARE))
    step_ns = 3 * MS + ring_ns(2 * LAYER_NUMBERS, ranks, rate)
    assert update_times(whole) == [step_ns, 2 * step_ns, 3 * step_ns]


def test_a_bucket_goes_after_its_cycle_at_the_same_share_of_the_work_on_fast_and_slow():
    # The slow one computes for 6 ms, and has the second layer's gradient after 4: half a millisecond later is 3/4.
    nodes = [{}, {"speed": "4 GFLOP/s"}, {}]
    strategy = {"name": "ring", "cycle_time": "500 us"}
    result = simulate(training(strategy, nodes=nodes, steps=1, **SQUARE))
    entered = [(event.node, event.time_ns) for event in select(result.trace, "collective_enter", sequence=0)]
    assert entered == [("node0", 2_250 * US), ("node2", 2_250 * US), ("node1", 4_500 * US)]
    # In two milliseconds of the slow one, the first layer's gradient is there as well; it just gets in.
    strategy["cycle_time"] = "2 ms"
    result = simulate(training(strategy, nodes=nodes, steps=1, **SQUARE))
    assert [event.time_ns for event in select(result.trace, "collective_enter")] == [3 * MS, 3 * MS, 6 * MS]


def test_two_ranks_of_a_machine_are_as_slow_as_they_are_together():
    strategy = {"name": "ring", "cycle_time": "500 us"}
    nodes = [{"name": "a", "processes": 2}, {"name": "b"}]
    result = simulate(training(strategy, nodes=nodes, steps=1, **SQUARE))
    entered = {event.node: event.time_ns for event in select(result.trace, "collective_enter", sequence=0)}
    assert entered == {"a.0": 4_500 * US, "a.1": 4_500 * US, "b": 2_250 * US}


def test_who_takes_more_samples_is_slower():
    # Half as much again: 4.5 ms for a step, the second layer's gradient after 3, and half a millisecond later is 7/9.
    strategy = {"name": "ring", "cycle_time": "500 us"}
    nodes = [{"shard_weight": 1.5}, {}]
    result = simulate(training(strategy, nodes=nodes, steps=1, **SQUARE))
    entered = {event.node: event.time_ns for event in select(result.trace, "collective_enter", sequence=0)}
    assert entered == {"node0": 3_500 * US, "node1": -(-3 * MS * 7 // 9)}


@pytest.mark.parametrize("cluster", [{"jitter": "30 %"}, {"straggle": {"probability": "40 %", "factor": 3}}], ids=str)
def test_a_step_s_slow_down_is_drawn_once_however_many_buckets(cluster):
    def durations(strategy: Any) -> dict[Any, int]:
        result = simulate(training(strategy, nodes=3, steps=6, cluster=cluster, **SQUARE))
        begun = [(event.node, event.time_ns) for event in select(result.trace, "step_begin")]
        spent: Counter[Any] = Counter()
        for kind, sign in (("compute_begin", -1), ("compute_end", 1)):
            for event in select(result.trace, kind):
                # A computation belongs to the step that was begun last before its end, or at its beginning.
                step = sum(node == event.node and at_ns < event.time_ns + (sign < 0) for node, at_ns in begun)
                spent[event.node, step] += sign * event.time_ns
        return dict(spent)

    whole, cut_up = durations(RING), durations({"name": "ring", "bucket_size": "100 B"})
    assert len(set(whole.values())) > 1
    assert whole.keys() == cut_up.keys()
    # Each part ends on a whole nanosecond.
    assert all(0 <= cut_up[at] - whole[at] <= 3 for at in whole)


def test_a_layer_larger_than_a_bucket_goes_in_several_and_takes_the_bytes_of_each():
    strategy = {"name": "ring", "bucket_size": "100 B"}  # 25 numbers of 144
    scenario = training(strategy, nodes=3, steps=1, **SQUARE)
    result = simulate(scenario, trace="messages")
    sent: Counter[str] = Counter()
    for event in select(result.trace, "depart"):
        sent[event.fields["tag"].split(",")[0]] += event.fields["size_bytes"]
    assert list(sent.values()) == [2 * 2 * 4 * numbers for numbers in (25, 25, 25, 25, 25, 19)]
    # The third bucket has the rest of the second layer, and waits for the first one.
    entered = [event.time_ns for event in select(result.trace, "collective_enter", "node0")]
    assert entered[:2] == sorted(entered[:2])
    assert entered[0] == 2 * MS
    computed = [event.fields["flop"] for event in select(result.trace, "compute_begin", "node0")]
    assert computed == [16_000_000, 8_000_000]
    assert result.payload_bytes_sent == simulate(training(RING, nodes=3, steps=1, **SQUARE)).payload_bytes_sent


@pytest.mark.parametrize("strategy", [RING, ELASTIC], ids=["abort", "elastic"])
def test_a_bucket_that_takes_everything_is_the_run_without_buckets(strategy):
    scenario = training(strategy, nodes=3, steps=3, **SQUARE)
    large = training({**strategy, "bucket_size": "576 B", "cycle_time": "1 s"}, nodes=3, steps=3, **SQUARE)
    assert [event.line() for event in simulate(large).trace] == [event.line() for event in simulate(scenario).trace]


# --- numbers ----------------------------------------------------------------------------------------------------------


def sum_around(pieces: list[np.ndarray]) -> np.ndarray:
    """Return the sum in which segment s is added up from rank s on, number by number."""
    ranks, length = len(pieces), len(pieces[0])
    longer = length % ranks
    total, start = [], 0
    for first in range(ranks):
        stop = start + length // ranks + (first < longer)
        for number in range(start, stop):
            value = pieces[first][number]
            for hop in range(1, ranks):
                value = np.float32(value + pieces[(first + hop) % ranks][number])
            total.append(value)
        start = stop
    return np.array(total, np.float32)


def test_each_bucket_is_summed_in_the_order_of_its_own_segments():
    strategy = {"name": "ring", "bucket_size": "100 B"}
    scenario = training(strategy, nodes=4, steps=1, optimizer=SGD, seed=3, **SQUARE)
    result = simulate(scenario)
    engine = Engine(scenario.task, scenario.seed, rows=8)
    state = engine.initial()
    gradients = []
    for event in select(result.trace, "step_begin"):
        batch = Batch(tuple(event.fields["samples"]), total=32)
        gradients.append(batch.weight * engine.gradient(state.parameters, batch.samples).value().array)
    bounds = [0, 19, 44, 69, 94, 119, 144]
    mean = np.concatenate(
        [sum_around([one[begin:end] for one in gradients]) for begin, end in itertools.pairwise(bounds)]
    )
    assert result.parameters.tobytes() == engine.update(state, mean, 0.1).parameters.array.tobytes()
    whole = engine.update(state, sum_around(gradients), 0.1).parameters.array
    assert (
        whole.tobytes()
        == simulate(training(RING, nodes=4, steps=1, optimizer=SGD, seed=3, **SQUARE)).parameters.tobytes()
    )
    assert whole.tobytes() != result.parameters.tobytes(), "other segments are summed in another order"
    assert_close(result.parameters, whole, 1e-6)


CNN = {"model": {"kind": "cnn"}, "dataset": {**TINY, "features": 36}, "batch_size": 2, "flop_per_sample": "40 MFLOP"}


def test_communication_that_the_cnn_leaves_exposed_falls_with_buckets():
    network = {"bandwidth": "100 Mbit/s"}
    whole = train(training(RING, nodes=3, steps=2, network=network, **CNN)).result
    for size in ("32 KiB", "8 KiB"):
        watched = train(training({"name": "ring", "bucket_size": size}, nodes=3, steps=2, network=network, **CNN))
        assert_replicas_are_equal(watched)
        assert_close(watched.result.parameters, whole.parameters, 1e-5)
        assert watched.result.bytes_sent == whole.bytes_sent
        assert watched.result.virtual_time_ns < whole.virtual_time_ns
        exposed_ns, before_ns = (run.total_ns("exposed_communication_ns") for run in (watched.result, whole))
        assert exposed_ns < before_ns


# --- the same run, told in other ways ---------------------------------------------------------------------------------

MANY = [{"bucket_size": "100 B"}, {"cycle_time": "300 us"}, {"bucket_size": "200 B", "cycle_time": "300 us"}]


@pytest.mark.parametrize("policy", [RING, {**ELASTIC, "commit_every": 2}], ids=["abort", "elastic"])
@pytest.mark.parametrize("cuts", MANY, ids=str)
@pytest.mark.parametrize("bandwidth", ["1 Mbit/s", "20 Mbit/s"])
def test_closed_forms_and_messages_and_other_ties_tell_the_same(policy, cuts, bandwidth):
    nodes = [{}, {}, {"speed": "5 GFLOP/s"}, {}]
    scenario = training(
        {**policy, **cuts}, nodes=nodes, epochs=1, cluster={"jitter": "5 %"}, network={"bandwidth": bandwidth}, **SQUARE
    )
    lines = [event.line() for event in simulate(scenario, trace="messages").trace]
    for options in ({"fidelity": "message"}, {"shuffle_ties": 1}, {"shuffle_ties": 2}, {"share_replicas": False}):
        assert [event.line() for event in simulate(scenario, trace="messages", **options).trace] == lines


# --- failures while buckets are under way -----------------------------------------------------------------------------

RANKS = 4
STEPS = EPOCHS * TINY["samples"] // (RANKS * 8)
MESSAGES = 6 * 2 * (RANKS - 1)  # of a step: 144 numbers in buckets of 25


def overlapping(faults: Iterable[Any] = (), **strategy: Any) -> Scenario:
    """Four workers, three steps an epoch, two epochs, six buckets a step of which two go before the end."""
    return training(
        {**ELASTIC, "bucket_size": "100 B", "timeout": "20 ms", "rendezvous_timeout": "200 ms", **strategy},
        nodes=RANKS,
        faults=faults,
        epochs=EPOCHS,
        optimizer=ADAM,
        learning_rate_scaling="linear",
        max_virtual_time="10 s",
        network={"bandwidth": "5 Mbit/s"},
        **SQUARE,
    )


def assert_nothing_of_an_old_ring_is_left(events: Iterable[Event]) -> None:
    """What a node begins of a ring it ends before it joins another, unless it dies; having given up, it begins none."""
    rings: dict[Any, dict[str, list[Event]]] = defaultdict(lambda: defaultdict(list))
    died: dict[str, list[int]] = defaultdict(list)
    for event in events:
        if event.kind == "world" or event.kind.startswith("collective"):
            rings[event.node, event.fields["generation"]][event.kind].append(event)
        elif event.kind == "crash":
            died[event.node].append(event.time_ns)
    for (node, generation), ring in rings.items():
        joined_ns = ring["world"][0].time_ns
        later = [found["world"][0].time_ns for (other, g), found in rings.items() if other == node and g > generation]
        died_ns = [time_ns for time_ns in died[node] if time_ns >= joined_ns]
        over_ns = min([*later, *died_ns], default=None)
        ended = {event.fields["sequence"] for kind in ("finish", "abort") for event in ring[f"collective_{kind}"]}
        begun = {event.fields["sequence"] for event in ring["collective_enter"]}
        assert ended <= begun
        assert begun == ended or (over_ns in died_ns and len(begun - ended) == 1)
        assert len(ring["collective_abort"]) <= 1
        for event in itertools.chain(*ring.values()):
            assert joined_ns <= event.time_ns
            assert over_ns is None or event.time_ns <= over_ns
        if ring["collective_abort"]:
            assert max(begun) == ring["collective_abort"][0].fields["sequence"]


def test_the_error_of_a_bucket_comes_when_its_result_is_asked_for():
    at_ns = FORWARD_NS + LAYER_NS + 50 * US  # the first bucket is under way, and the second is being computed
    strategy = {"name": "ring", "bucket_size": ONE_LAYER}
    result = simulate(training(strategy, nodes=3, steps=2, faults=[crash("node1", at_ns)], **SQUARE))
    assert result.outcome is Outcome.LOST
    assert [event.time_ns for event in select(result.trace, "collective_abort", "node2")] == [at_ns + PATH_NS]
    assert [event.time_ns for event in select(result.trace, "compute_end", "node2")] == [2 * MS, 3 * MS]
    assert [event.time_ns for event in select(result.trace, "ended", "node2")] == [3 * MS]
    assert "lost the connection to node1" in result.outcome_sentence
    # The second bucket was never played: its ring was broken before.
    assert not select(result.trace, "collective_enter", sequence=1)


@cache
def undisturbed() -> Result:
    return simulate(overlapping())


@st.composite
def moments(draw) -> Any:
    """In the middle of a bucket, counted by messages; or at any time, so in computation over a bucket too."""
    if draw(st.booleans()):
        return {"step": draw(st.integers(0, STEPS - 1)), "segment": draw(st.integers(1, MESSAGES))}
    return draw(st.integers(0, undisturbed().virtual_time_ns))


faults = st.lists(
    st.builds(
        crash,
        st.sampled_from([f"node{rank}" for rank in range(RANKS)]),
        moments(),
        st.sampled_from([None, "1 us", "3 ms", "30 ms"]),
        st.sampled_from(["reset", "silence"]),
    ),
    min_size=1,
    max_size=3,
)
policies = st.fixed_dictionaries(
    {
        "commit_every": st.sampled_from([1, 3]),
        "timeout": st.sampled_from(["1 ms", "20 ms"]),
        "set_aside": st.sampled_from([None, {"cooldown": "1 ms"}]),
        "cycle_time": st.sampled_from([None, "300 us"]),
    }
)


def assert_promises_through(faults: list[Any], strategy: dict[str, Any]) -> None:
    scenario = overlapping(faults, **strategy)
    watched = train(scenario)
    assert_elastic_promises(watched)
    assert_nothing_of_an_old_ring_is_left(watched.result.trace)
    for options in ({"shuffle_ties": 1}, {"fidelity": "message"}):
        again = simulate(scenario, **options)
        assert [event.line() for event in again.trace] == [event.line() for event in watched.result.trace]


@pytest.mark.parametrize("bucket", range(6))
@pytest.mark.parametrize("notice", ["reset", "silence"])
def test_elastic_survives_a_crash_in_the_middle_of_each_bucket(bucket, notice):
    fault = crash("node1", {"step": 2, "segment": 6 * bucket + 3}, "3 ms", notice)
    watched = train(overlapping([fault], set_aside={"cooldown": "1 ms"}))
    (death,) = select(watched.result.trace, "crash")
    before = [
        event for event in select(watched.result.trace, "collective_enter", "node1") if event.time_ns < death.time_ns
    ]
    # In the first ring: a broadcast of the state, and in each step the buckets and a vote.
    assert before[-1].fields["sequence"] == 1 + 2 * 7 + bucket
    assert watched.result.outcome is Outcome.FINISHED
    assert watched.result.metrics[-1].world_size == RANKS
    assert_elastic_promises(watched)
    assert_nothing_of_an_old_ring_is_left(watched.result.trace)


RANDOM = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}


@settings(max_examples=15, **RANDOM)
@given(faults, policies)
def test_elastic_in_buckets_keeps_its_promises_through_random_crashes(faults, strategy):
    assert_promises_through(faults, strategy)


@pytest.mark.long
@settings(max_examples=1_000, **RANDOM)
@given(faults, policies)
def test_elastic_in_buckets_keeps_its_promises_through_many_random_crashes(faults, strategy):
    assert_promises_through(faults, strategy)


# --- the order of the ring --------------------------------------------------------------------------------------------


def alternating(order: str, ranks: int, faults: Iterable[Any] = (), **strategy: Any) -> Scenario:
    """Two racks whose machines are listed in turn, on 1 Mbit/s links; the link between the racks is no wider."""
    racks = ["west.switch", "east.switch"]
    links = [{"source": f"node{rank}", "target": racks[rank % 2]} for rank in range(ranks)]
    links.append({"source": racks[0], "target": racks[1], "latency": "0 s", "bandwidth": "1 Mbit/s"})
    network = {"topology": {"kind": "graph"}, "links": links, "bandwidth": "1 Mbit/s"}
    numbers = {"dataset": {**TINY, "samples": 192, "features": 7}}  # 24 numbers: equal segments for 2, 4, 6 and 8 ranks
    strategy = {"name": "ring", "order": order, **strategy}
    return training(strategy, nodes=ranks, faults=faults, network=network, steps=2, **numbers)


@pytest.mark.parametrize("ranks", [4, 6, 8])
def test_neighbours_in_other_racks_share_the_link_between_and_near_ones_do_not(ranks):
    def step_ns(flows: int) -> int:
        # 2(N-1) times: the path latency, then a segment at the share of a link that so many connections have.
        return 1 * MS + 2 * (ranks - 1) * (PATH_NS + ceil_div(flows * 8 * 4 * (24 // ranks) * 10**9, 10**6))

    # As listed every connection goes to the other rack, half of them each way. By topology one does each way.
    listed, near = (simulate(alternating(order, ranks)) for order in ("listed", "topology"))
    assert update_times(listed) == [step_ns(ranks // 2), 2 * step_ns(ranks // 2)]
    assert update_times(near) == [step_ns(1), 2 * step_ns(1)]
    assert listed.bytes_sent == near.bytes_sent
    order = [f"node{rank}" for rank in (*range(0, ranks, 2), *range(1, ranks, 2))]
    assert [node.node for node in near.nodes] == order
    assert select(near.trace, "world", "node0")[0].fields["members"] == order
    assert {event.node for event in select(near.trace, "rate")} == {"node0"}


def test_an_elastic_ring_begins_in_the_order_of_the_network_and_survivors_keep_it():
    fault = crash("node1", {"step": 0, "segment": 2}, "1 ms")
    elastic = {"on_failure": "elastic", "set_aside": {"cooldown": "1 us"}}
    result = simulate(alternating("topology", 6, [fault], **elastic))
    rings = {event.fields["generation"]: [*event.fields["members"]] for event in select(result.trace, "world", "node0")}
    assert rings[0] == ["node0", "node2", "node4", "node1", "node3", "node5"]
    assert rings[1] == ["node0", "node2", "node4", "node3", "node5"]
    assert rings[2] == ["node0", "node2", "node4", "node3", "node5", "node1"]
    assert result.outcome is Outcome.FINISHED
