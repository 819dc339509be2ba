"""Replicas of their own: numbers against plain NumPy, times against closed forms, deaths and partitions.

What is not here: what they are held to with all others (`test_every_strategy.py`).
"""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_numpy import Layer, flat, gradient, mixed, moved, oracle, stepped
from worlds import MS, US, crash, select, training

from ringsim import load
from ringsim.errors import ScenarioInvalid
from ringsim.result import Outcome, Result
from ringsim.scenario import Scenario
from ringsim.simulation import simulate
from ringsim.strategies.mixing import edges_of, metropolis_hastings

FREE = {"bandwidth": "100 Tbit/s", "latency": "0 s"}
RATE = 0.1
TASK = {
    "dataset": {"kind": "synthetic", "samples": 90, "features": 8, "classes": 4},  # the last step of an epoch is short
    "model": {"kind": "mlp", "hidden": [6]},
    "epochs": 3,
}
WHOLE = {"dataset": {"kind": "synthetic", "samples": 96, "features": 8, "classes": 4}}  # steps of one length
PARAMETERS = 4 * (8 * 6 + 6 + 6 * 4 + 4)  # bytes


def alone(
    name: str, *, nodes: Any = 4, network: Any = FREE, faults: Any = (), task: Any = None, **settings: Any
) -> Scenario:
    return training({"name": name, **settings}, nodes=nodes, network=network, faults=faults, **{**TASK, **(task or {})})


def batches(result: Result) -> list[list[list[int]]]:
    """Return the samples of each step, of each worker."""
    workers = [node.node for node in result.nodes]
    steps = [[event.fields["samples"] for event in select(result.trace, "step_begin", name)] for name in workers]
    return [list(step) for step in zip(*steps, strict=True)]


def close(result: Result, replicas: list[list[Layer]], tolerance: float = 2e-6) -> None:
    assert result.parameters is not None
    mean = mixed([1 / len(replicas)] * len(replicas), replicas)
    np.testing.assert_allclose(result.parameters, flat(mean), rtol=0, atol=tolerance)


# --- averages of all now and then -------------------------------------------------------------------------------------


@pytest.mark.parametrize("every", [1, 2, 3, 5, 100])
@pytest.mark.parametrize("name", ["local_sgd", "diloco"])
def test_in_between_everybody_is_alone(name: str, every: int) -> None:
    scenario = alone(name, average_every=every)
    result = simulate(scenario)
    numbers, steps = oracle(scenario), batches(result)
    outer = list(numbers.layers)
    velocity = [(0 * kernel, 0 * bias) for kernel, bias in outer]
    for start in range(0, len(steps), every):
        round_of = steps[start : start + every]
        taken = [sum(len(step[worker]) for step in round_of) for worker in range(4)]
        replicas = []
        for worker in range(4):
            layers = outer
            for step in round_of:
                layers = stepped(numbers, layers, step[worker], RATE)
            replicas.append(layers)
        mean = mixed([count / sum(taken) for count in taken], replicas)
        if name == "local_sgd":
            outer = mean
            continue
        change = mixed([1, -1], [outer, mean])
        velocity = mixed([0.9, 1], [velocity, change])
        outer = mixed([1, -0.7, -0.7 * 0.9], [outer, change, velocity])
    close(result, [outer])


def test_an_outer_step_of_one_without_momentum_is_an_average() -> None:
    average, outer = (
        simulate(alone("local_sgd")),
        simulate(alone("diloco", outer_learning_rate=1.0, outer_momentum=0.0)),
    )
    assert average.parameters is not None
    assert outer.parameters is not None
    np.testing.assert_allclose(outer.parameters, average.parameters, rtol=0, atol=1e-6)


def test_averages_that_are_rarer_cost_less_and_let_replicas_part() -> None:
    task = {"epochs": None, "steps": 24, "evaluate_every": 23}  # the distance a step before an average
    runs = {every: simulate(alone("local_sgd", average_every=every, task=task)) for every in (1, 2, 4, 8)}
    ring = simulate(alone("ring", task=task))
    for every, result in runs.items():
        assert result.payload_bytes_sent * every == ring.payload_bytes_sent
    apart = [select(result.trace, "consensus")[0].fields["distance"] for result in runs.values()]
    assert apart == sorted(apart)
    assert apart[-1] > apart[1] > apart[0] == 0
    assert {result.measures.consensus for result in runs.values()} == {0.0}, "the last step is followed by an average"


# --- averages with neighbours -----------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(1, 8), st.data())
def test_weights_are_symmetric_and_lose_nothing(count: int, data: Any) -> None:
    workers = [f"node{rank}" for rank in range(count)]
    edges = data.draw(st.lists(st.sampled_from(list(combinations(workers, 2)) or [("", "")]), max_size=20))
    weights = metropolis_hastings([edge for edge in edges if edge != ("", "")], workers)
    for one, row in weights.items():
        assert sum(row.values()) == 1
        assert min(row.values()) > 0
        assert list(row) == [name for name in workers if name in row]
        assert all(weights[other][one] == weight for other, weight in row.items())


def test_on_a_complete_graph_all_weigh_the_same() -> None:
    workers = ["a", "b", "c", "d", "e"]
    weights = metropolis_hastings(edges_of("full", workers), workers)
    assert all(weight == Fraction(1, 5) for row in weights.values() for weight in row.values())
    assert all(len(row) == 5 for row in weights.values())


@pytest.mark.parametrize(
    ("workers", "graph", "edges"),
    [(1, "ring", 0), (2, "ring", 1), (3, "ring", 3), (5, "ring", 5), (5, "line", 4), (5, "star", 4), (5, "full", 10)],
)
def test_the_graphs(workers: int, graph: str, edges: int) -> None:
    assert len(edges_of(graph, [f"node{rank}" for rank in range(workers)])) == edges


BY_HAND = [["node0", "node1"], ["node0", "node2"], ["node2", "node3"], ["node1", "node2"]]


@pytest.mark.parametrize(
    "settings",
    [{"graph": "ring"}, {"graph": "line"}, {"graph": "star"}, {"graph": "full"}, {"edges": BY_HAND}],
    ids=str,
)
def test_every_step_mixes_and_goes_on_from_the_own_gradient(settings: dict[str, Any]) -> None:
    scenario = alone("dpsgd", **settings)
    result = simulate(scenario)
    numbers, names = oracle(scenario), [node.node for node in result.nodes]
    pairs = settings.get("edges") or edges_of(settings["graph"], names)
    weights = metropolis_hastings([(one, other) for one, other in pairs], names)
    replicas = [list(numbers.layers)] * 4
    for step in batches(result):
        gradients = [gradient(numbers, replica, samples) for replica, samples in zip(replicas, step, strict=True)]
        means = [mixed([float(weights[name].get(other, 0)) for other in names], replicas) for name in names]
        replicas = [
            [moved(layer, by, -RATE) for layer, by in zip(mean, found, strict=True)]
            for mean, found in zip(means, gradients, strict=True)
        ]
    close(result, replicas)
    apart = np.array([flat(replica) for replica in replicas])
    expected = np.sqrt(np.square(apart - apart.mean(0)).sum(1).mean())
    assert result.measures.consensus == pytest.approx(expected, rel=1e-4)


def test_where_more_are_neighbours_replicas_are_nearer_and_bytes_are_more() -> None:
    runs = [simulate(alone("dpsgd", nodes=8, graph=graph)) for graph in ("full", "ring", "line")]
    apart = [run.measures.consensus or 0.0 for run in runs]
    assert apart == sorted(apart)
    assert apart[2] > 1.2 * apart[0]
    steps = runs[0].steps
    assert [run.payload_bytes_sent for run in runs] == [2 * edges * steps * PARAMETERS for edges in (28, 8, 7)]


def test_a_step_takes_as_long_as_the_longer_of_computing_and_sending() -> None:
    task = {**WHOLE, "epochs": None, "steps": 8}
    slow = {"bandwidth": "1 Mbit/s", "latency": "50 us"}
    for graph, neighbours in (("ring", 2), ("full", 3)):
        sending = 100 * US + 1_000 * 8 * PARAMETERS * neighbours
        computing = 1 * MS  # 8 samples of 1 MFLOP, at 8 GFLOP/s
        result = simulate(alone("dpsgd", graph=graph, network=slow, task=task))
        assert result.virtual_time_ns == 8 * max(sending, computing)
        quick = simulate(alone("dpsgd", graph=graph, network={"bandwidth": "1 Gbit/s", "latency": "50 us"}, task=task))
        assert quick.virtual_time_ns == 8 * computing


def begins(result: Result, node: str) -> list[int]:
    return [event.time_ns for event in select(result.trace, "step_begin", node)]


def test_a_pause_is_felt_one_edge_further_each_step() -> None:
    pause = [{"kind": "pause", "node": "node0", "at": "2500 us", "lasts": "10 ms"}]
    task = {"epochs": None, "steps": 8}
    calm, paused = (simulate(alone("dpsgd", graph="line", task=task, faults=faults)) for faults in ((), pause))
    # node0 stands still in step 2, and what it is to send for step 3 is late; for node1, in turn, step 3 ends late.
    for edge in range(1, 4):
        node = f"node{edge}"
        late = [one < other for one, other in zip(begins(calm, node), begins(paused, node), strict=True)]
        assert late.index(True) == 3 + edge


def test_through_a_partition_replicas_part_and_then_meet_again() -> None:
    partition = [
        {"kind": "partition", "groups": [["node0", "node1"], ["node2", "node3"]], "at": "20 ms", "lasts": "80 ms"}
    ]
    task = {"epochs": None, "steps": 240, "evaluate_every": 1, "batch_size": 2}
    scenario = alone("dpsgd", graph="full", timeout="2 ms", faults=partition, task=task)
    result = simulate(scenario)
    assert result.outcome is Outcome.FINISHED
    distances = [(event.time_ns, event.fields["distance"]) for event in select(result.trace, "consensus")]
    before = np.mean([distance for when, distance in distances if 5 * MS < when < 20 * MS])
    during = np.mean([distance for when, distance in distances if 80 * MS < when < 100 * MS])
    after = np.mean([distance for when, distance in distances if when > 110 * MS])
    assert during > 2 * before
    assert after < 1.25 * before
    # Without a timeout everybody waits for the other side, and nobody parts.
    waits = simulate(alone("dpsgd", graph="full", faults=partition, task=task))
    assert waits.outcome is Outcome.FINISHED
    assert waits.virtual_time_ns >= 100 * MS
    assert waits.parameters is not None
    calm = simulate(alone("dpsgd", graph="full", task=task))
    assert calm.parameters is not None
    np.testing.assert_array_equal(waits.parameters, calm.parameters)


# --- out of step ------------------------------------------------------------------------------------------------------


Rumor = tuple[list[Layer], float]


def heard(replica: list[Layer], weight: float, rumor: Rumor | None) -> Rumor:
    """Return a replica and its weight after a rumor, by push-sum."""
    if rumor is None:
        return replica, weight
    total = weight + rumor[1]
    return mixed([weight / total, rumor[1] / total], [replica, rumor[0]]), total


def test_two_that_gossip_all_the_time_share_as_push_sum_says() -> None:
    """Both send after every step; it comes just after the next step has begun, and is heard at the one after that."""
    scenario = alone("gossip", nodes=2, probability="100 %")
    result = simulate(scenario)
    numbers = oracle(scenario)
    held: list[Rumor] = [(list(numbers.layers), 1.0)] * 2
    older: list[Rumor | None] = [None, None]  # sent at the end of the last step but one
    newer: list[Rumor | None] = [None, None]
    for step in batches(result):
        held = [heard(*held[worker], older[1 - worker]) for worker in range(2)]
        held = [(stepped(numbers, held[worker][0], step[worker], RATE), held[worker][1] / 2) for worker in range(2)]
        older, newer = newer, [*held]
        on_the_way = [rumor[1] for rumor in (*older, *newer) if rumor is not None]
        assert sum(weight for _, weight in held) + sum(on_the_way) == pytest.approx(2.0), "no weight is lost"
    close(result, [heard(*held[worker], older[1 - worker])[0] for worker in range(2)])


def test_who_sends_without_end_before_it_hears_anything_weighs_nothing() -> None:
    """Two halve their weights 1,120 times until the first message comes: no weight is left, and each keeps its own."""
    far = {"network": {"latency": "70 ms"}, "task": {**WHOLE, "epochs": None, "steps": 2_600, "batch_size": 1}}
    result = simulate(alone("gossip", nodes=2, probability="100 %", **far))
    assert result.outcome is Outcome.FINISHED
    assert begins(result, "node0")[-1] > 2 * 140 * MS, "those without any weight are heard"
    assert result.parameters is not None
    assert np.isfinite(result.parameters).all()


def test_an_evaluation_is_of_what_an_average_has_come_to() -> None:
    """Every second step is followed by an average: then replicas are equal, and in between they are not."""
    result = simulate(alone("local_sgd", average_every=2, task={"evaluate_every": 1}))
    apart = {event.fields["step"]: event.fields["distance"] for event in select(result.trace, "consensus")}
    assert [apart[step] == 0 for step in sorted(apart)] == [
        step % 2 == 0 or step == max(apart) for step in sorted(apart)
    ]
    told = {event.fields["step"]: event.time_ns for event in select(result.trace, "evaluation")}
    averaged = {event.fields["step"]: event.time_ns for event in select(result.trace, "average")}
    assert {step: told[step] for step in averaged} == averaged


def test_a_gradient_in_pairs_is_stale_by_the_averages_meanwhile() -> None:
    result = simulate(alone("adpsgd", nodes=2, task=WHOLE))
    assert result.measures.staleness is not None
    assert result.measures.staleness.histogram == {1: 2 * result.steps}


def test_two_in_pairs_average_each_step() -> None:
    scenario = alone("adpsgd", nodes=2, task=WHOLE)  # else the two would not stay side by side, to the nanosecond
    result = simulate(scenario)
    numbers = oracle(scenario)
    replicas = [list(numbers.layers)] * 2
    for step in batches(result):
        gradients = [gradient(numbers, replica, samples) for replica, samples in zip(replicas, step, strict=True)]
        mean = mixed([0.5, 0.5], replicas)
        replicas = [[moved(layer, by, -RATE) for layer, by in zip(mean, found, strict=True)] for found in gradients]
    close(result, replicas)


@pytest.mark.parametrize("name", ["local_sgd", "diloco", "dpsgd", "gossip", "adpsgd"])
def test_of_one_worker_it_is_local(name: str) -> None:
    settings = {"outer_learning_rate": 1.0, "outer_momentum": 0.0} if name == "diloco" else {}
    result, twin = simulate(alone(name, nodes=1, **settings)), simulate(alone("local", nodes=1))
    assert result.parameters is not None
    assert twin.parameters is not None
    np.testing.assert_allclose(result.parameters, twin.parameters, rtol=0, atol=1e-6)
    assert abs(result.virtual_time_ns - twin.virtual_time_ns) <= 16 * result.steps, "a part of a step is rounded up"


@pytest.mark.parametrize("name", ["gossip", "adpsgd"])
def test_who_is_not_waited_for_slows_nobody(name: str) -> None:
    slow = [{"name": "node0"}, {"name": "node1", "speed": "2 GFLOP/s"}, {"name": "node2"}, {"name": "node3"}]
    task = {"epochs": None, "steps": 16}
    calm, uneven = (simulate(alone(name, nodes=nodes, task=task)) for nodes in (4, slow))
    for node in ("node0", "node2", "node3"):
        assert begins(uneven, node) == begins(calm, node)
    assert begins(uneven, "node1")[-1] > 3 * begins(calm, "node1")[-1]
    in_step = simulate(alone("dpsgd", nodes=slow, task=task))
    assert begins(in_step, "node2")[-1] > 2 * begins(calm, "node2")[-1]


@pytest.mark.parametrize("name", ["local_sgd", "diloco", "dpsgd", "gossip", "adpsgd"])
def test_it_learns_as_well_as_in_step_but_for_a_little(name: str) -> None:
    task = {"dataset": {"kind": "digits"}, "model": {"kind": "mlp", "hidden": [32]}, "epochs": 12}
    result, ring = simulate(alone(name, task=task)), simulate(alone("ring", task=task))
    assert result.accuracy is not None
    assert ring.accuracy is not None
    assert result.accuracy > ring.accuracy - 0.03


# --- deaths, and mistakes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dpsgd", "gossip", "adpsgd"])
def test_who_is_left_goes_on(name: str) -> None:
    faults = [crash(f"node{rank}", (3 + rank) * MS) for rank in range(3)]
    result = simulate(alone(name, faults=faults))
    assert result.outcome is Outcome.FINISHED
    last = select(result.trace, "update")[-1]
    assert (last.node, last.fields["step"]) == ("node3", result.steps)
    assert 0 < result.samples.counted < 3 * 90


def test_a_dead_neighbour_s_weight_is_one_s_own() -> None:
    """In a line of three whose middle dies at once, the ends train alone."""
    scenario = alone("dpsgd", nodes=3, graph="line", faults=[crash("node1", 0)])
    result = simulate(scenario)
    numbers = oracle(scenario)
    steps = [
        [event.fields["samples"] for event in select(result.trace, "step_begin", name)] for name in ("node0", "node2")
    ]
    ends = []
    for mine in steps:
        layers = list(numbers.layers)
        for samples in mine:
            layers = stepped(numbers, layers, samples, RATE)
        ends.append(layers)
    close(result, ends)


@pytest.mark.parametrize("name", ["local_sgd", "diloco"])
def test_a_death_is_the_end_where_all_average(name: str) -> None:
    result = simulate(alone(name, faults=[crash("node2", 5 * MS)]))
    assert result.outcome is Outcome.LOST


def test_a_message_cannot_be_more_than_certain() -> None:
    with pytest.raises(ScenarioInvalid, match=r"strategy\.probability: must be at most 100 %, not 150 %"):
        simulate(alone("gossip", probability="150 %"))


def test_an_edge_has_two_ends() -> None:
    for ends, sentence in (("node0", "at least 2 items"), ("node0, node1, node2", "at most 2 items, not 3")):
        with pytest.raises(ScenarioInvalid, match=rf"strategy\.edges\[0\]: must have {sentence}"):
            load("4node", [f"strategy={{name: dpsgd, edges: [[{ends}]]}}"])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"edges": [["node0", "node9"]]}, "edges[0]: there is no node9; the nodes are node0 to node3"),
        ({"edges": [["node0", "node0"], ["node0", "node1"]]}, "edges[0]: node0 is no neighbour of itself"),
        ({"edges": [["node0", "node1"], ["node2", "node3"]]}, "edges: leaves no way from node0 to node2; add an edge"),
        ({"edges": [["node0", "node1"]], "graph": "star"}, "edges: stands beside graph: star; keep one of them"),
    ],
    ids=str,
)
def test_a_graph_that_is_none_is_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ScenarioInvalid) as refused:
        simulate(alone("dpsgd", **settings))
    assert sentence in str(refused.value)
