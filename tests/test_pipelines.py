"""Model parallelism and pipelines: stages' numbers against a network in plain NumPy, and times against closed forms.

What is not here: what they are held to with all others (`test_every_strategy.py`), and one stage alone
(`test_stages.py`).
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from plain_numpy import Layer, flat, moved, oracle
from worlds import MS, crash, select, training

from ringsim.errors import ScenarioInvalid
from ringsim.invariants import broken
from ringsim.learning.models.layers import dense
from ringsim.learning.models.model import Model
from ringsim.result import Outcome, Result
from ringsim.scenario import Scenario
from ringsim.simulation import simulate
from ringsim.trace import Event

FREE = {"bandwidth": "100 Tbit/s", "latency": "0 s"}
EIGHT = {"kind": "synthetic", "samples": 96, "features": 8, "classes": 8}
EQUAL = {"kind": "mlp", "hidden": [8, 8, 8]}  # four layers of the same work
RATE = 0.1


def pipeline(
    name: str, *, nodes: Any = 4, network: Any = FREE, task: dict[str, Any] | None = None, **settings: Any
) -> Scenario:
    """Return four equal layers: a worker's 8 samples are 3 ms of work, and a stage's pass of all 32 is 1 ms or 2."""
    given = {"dataset": EIGHT, "model": EQUAL, "flop_per_sample": "3 MFLOP", "steps": 12, **(task or {})}
    return training({"name": name, **settings}, nodes=nodes, network=network, **given)


# --- numbers: against plain NumPy -------------------------------------------------------------------------------------


def trained(scenario: Scenario, result: Result, way: str) -> np.ndarray:
    """Play a pipeline of one layer a stage by its recurrences, from versions alone: no stage, no queue, no time.

    Mini-batch m goes through stage k forward at version f(m, k) and back at version b(m, k).
    """
    numbers, mini_batches = oracle(scenario), [step.fields["samples"] for step in select(result.trace, "step_begin")]
    stages = len(numbers.layers)
    versions = [[layer] for layer in numbers.layers]

    def ahead(k: int, version: int, updates: int) -> Layer:
        newest = versions[k][version]
        if version == 0:
            return newest
        before = versions[k][version - 1]
        return moved(newest, (newest[0] - before[0], newest[1] - before[1]), updates)

    for m, samples in enumerate(mini_batches):
        then = [max(0, m - (stages - 1 if way == "vertical sync" else stages - 1 - k)) for k in range(stages)]
        there = [versions[k][then[k]] for k in range(stages)]
        back = [versions[k][m] for k in range(stages)] if way == "newest" else there
        if way == "predicted":
            there = [ahead(k, then[k], k // 2 + stages - 1 - k) for k in range(stages)]
            back = [ahead(k, m, k // 2) for k in range(stages)]
        gradients = numbers.gradients(samples, numbers.inputs(samples, there), back)
        for k, gradient in enumerate(gradients):
            versions[k].append(moved(versions[k][m], gradient, -RATE))
    return flat([of_layer[-1] for of_layer in versions])


@pytest.mark.parametrize(
    ("settings", "way"),
    [
        ({"name": "model_parallel"}, "in step"),
        ({"name": "gpipe"}, "in step"),
        ({"name": "pipedream"}, "stashed"),
        ({"name": "pipedream", "vertical_sync": True}, "vertical sync"),
        ({"name": "pipedream", "stashing": False}, "newest"),
        ({"name": "spectrain"}, "predicted"),
    ],
    ids=str,
)
def test_every_gradient_is_that_of_the_recurrence(settings: dict[str, Any], way: str) -> None:
    scenario = pipeline(**settings)
    result = simulate(scenario)
    assert result.parameters is not None
    if way == "in step":
        numbers = oracle(scenario)
        layers = list(numbers.layers)
        for step in select(result.trace, "step_begin"):
            samples = step.fields["samples"]
            gradients = numbers.gradients(samples, numbers.inputs(samples, layers), layers)
            layers = [moved(layer, gradient, -RATE) for layer, gradient in zip(layers, gradients, strict=True)]
        expected = flat(layers)
    else:
        expected = trained(scenario, result, way)
    np.testing.assert_allclose(result.parameters, expected, rtol=0, atol=2e-6)


def test_the_ways_to_choose_weights_are_really_different() -> None:
    """The oracle above would pass nothing off as something else: the four end further apart than its tolerance."""
    scenario = pipeline("pipedream")
    result = simulate(scenario)
    ends = [trained(scenario, result, way) for way in ("stashed", "vertical sync", "newest", "predicted")]
    for one, other in itertools.combinations(ends, 2):
        assert np.abs(one - other).max() > 1e-3


def in_rounds(scenario: Scenario, result: Result, workers: list[int]) -> np.ndarray:
    """Play stages of several workers by their recurrence: a round of r mini-batches is one update, of their mean."""
    begun = sorted(select(result.trace, "step_begin"), key=lambda step: step.fields["step"])
    numbers, mini_batches = oracle(scenario), [step.fields["samples"] for step in begun]
    versions = [[layer] for layer in numbers.layers]
    waiting: list[list[tuple[int, Layer]]] = [[] for _ in workers]
    then = [
        [max(0, m // r - (sum(workers[k:]) - 1) // r) for m in range(len(mini_batches))] for k, r in enumerate(workers)
    ]
    for m, samples in enumerate(mini_batches):
        there = [versions[k][then[k][m]] for k in range(len(workers))]
        gradients = numbers.gradients(samples, numbers.inputs(samples, there), there)
        for k, r in enumerate(workers):
            waiting[k].append((len(samples), gradients[k]))
            if len(waiting[k]) == r or m == len(mini_batches) - 1:
                total, change = sum(size for size, _ in waiting[k]), versions[k][-1]
                for size, gradient in waiting[k]:
                    change = moved(change, gradient, -RATE * size / total)
                versions[k].append(change)
                waiting[k] = []
    return flat([of_layer[-1] for of_layer in versions])


ROUNDS: list[list[int]] = [[2, 1, 1, 1], [1, 1, 2, 1], [3, 1, 2, 1], [2, 2, 2, 2], [1, 1, 1, 3], [5, 1, 1, 1]]


@pytest.mark.parametrize("workers", ROUNDS, ids=str)
def test_replicas_of_a_stage_take_mini_batches_in_turn(workers: list[int]) -> None:
    """Mini-batches of 24 samples of 96, or the last of an epoch of 80: so rounds are cut, and of unequal sizes."""
    dataset = {**EIGHT, "samples": 100}
    task = {"dataset": dataset, "steps": 11, "batch_size": 3}
    scenario = pipeline("pipedream", nodes=sum(workers), workers=workers, task=task)
    result = simulate(scenario)
    assert result.parameters is not None
    expected = in_rounds(scenario, result, workers)
    np.testing.assert_allclose(result.parameters, expected, rtol=0, atol=2e-6)
    assert result.steps == 11
    for k, r in enumerate(workers):
        for number in range(sum(workers[:k]), sum(workers[: k + 1])):
            ages = {update.fields["step"]: update.fields.get("staleness") for update in of_node(result, number)}
            mine = [m for m in range(11) if m % r == (number - sum(workers[:k])) % r]
            ahead = (sum(workers[k:]) - 1) // r
            assert list(ages) == list(range(1, 12))
            assert all(ages[m + 1] == r * min(m // r, ahead) for m in mine)


def of_node(result: Result, number: int) -> list[Event]:
    return select(result.trace, "update", f"node{number}")


def test_a_round_has_the_rate_of_its_first_mini_batch() -> None:
    task = {"learning_rate_scaling": "linear", "warm_up_epochs": 2.0}
    result = simulate(pipeline("pipedream", workers=[2, 1, 1], task=task))
    assert not broken(result)
    rates = [row.learning_rate for row in sorted(result.metrics, key=lambda row: row.step)]
    twin = [row.learning_rate for row in simulate(pipeline("local", task=task)).metrics]
    assert rates == [rate if step % 2 == 0 else None for step, rate in enumerate(twin)]


def test_a_fault_at_a_step_finds_the_first_worker() -> None:
    faults = [{"kind": "crash", "node": "node0", "at": {"step": 3}}]
    layers = {"workers": [2, 1, 1], "micro_batches": 5}
    scenario = training({"name": "gpipe", **layers}, nodes=4, dataset=EIGHT, model=EQUAL, epochs=2, faults=faults)
    assert simulate(scenario).outcome is Outcome.LOST


def test_replicas_of_a_stage_share_its_work_and_add_up() -> None:
    """Of three layers in the first stage and one in the second: three workers and one are equally fast."""
    task = {"batch_size": 6, "steps": 24}
    alone = simulate(pipeline("pipedream", nodes=2, layers=[3, 1], task={**task, "batch_size": 12}))
    shared = simulate(pipeline("pipedream", nodes=4, workers=[3, 1], layers=[3, 1], task=task))
    pace = 9 * MS // 4  # of 24 samples, one layer
    for result, slowest in ((alone, 3), (shared, 1)):
        times = [update.time_ns for update in select(result.trace, "update", f"node{len(result.nodes) - 1}")]
        assert times[20] - times[8] == pytest.approx(12 * slowest * pace, rel=1e-4)
    rounds, stage_bytes, passed = 8, 3 * (8 * 8 + 8) * 4, 24 * 8 * 4
    for replica in shared.nodes[:3]:
        # Its third of the mini-batches, and of a vector of n bytes 2 (r - 1)/r each round: r - 1 thirds twice.
        assert replica.payload_bytes_sent == rounds * passed + rounds * 2 * 2 * stage_bytes // 3


def test_without_stashing_a_high_rate_loses_what_stashing_keeps() -> None:
    """What breaks without stashing: a backward pass at other weights than the forward one is no gradient at all."""
    task = {
        "dataset": {"kind": "digits"},
        "model": {"kind": "mlp", "hidden": [64, 64, 64]},
        "optimizer": {"kind": "sgd", "learning_rate": 0.3},
        "steps": None,
        "epochs": 5,
        "batch_size": 4,
    }
    stashed, newest = (simulate(pipeline("pipedream", task=task, stashing=stashing)) for stashing in (True, False))
    assert stashed.accuracy is not None
    assert newest.accuracy is not None
    assert stashed.accuracy - newest.accuracy > 0.2


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize("name", ["model_parallel", "gpipe", "pipedream", "spectrain"])
def test_of_one_stage_it_is_local(name: str, optimizer: str) -> None:
    task = {"optimizer": {"kind": optimizer, "learning_rate": 0.05}}
    result, twin = simulate(pipeline(name, nodes=1, task=task)), simulate(pipeline("local", nodes=1, task=task))
    assert result.parameters is not None
    assert twin.parameters is not None
    # Pieces of a mini-batch add up in another order, and the loss goes back through a vector-Jacobian product.
    np.testing.assert_allclose(result.parameters, twin.parameters, rtol=0, atol=1e-5)
    if name != "gpipe":
        assert result.virtual_time_ns == twin.virtual_time_ns


def test_every_optimizer_works_on_parts() -> None:
    for optimizer in ("momentum", "adam"):
        task = {"optimizer": {"kind": optimizer, "learning_rate": 0.01}}
        result, twin = simulate(pipeline("gpipe", task=task)), simulate(pipeline("local", task=task))
        assert result.parameters is not None
        assert twin.parameters is not None
        np.testing.assert_allclose(result.parameters, twin.parameters, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["model_parallel", "gpipe", "pipedream", "spectrain"])
def test_a_stage_may_be_a_layer_without_parameters(name: str) -> None:
    """The pool of a cnn has none, and it is a stage of its own on four machines and on five."""
    image = {"dataset": {"kind": "digits"}, "model": {"kind": "cnn"}, "steps": 2, "batch_size": 2}
    for nodes in (4, 5):
        result = simulate(pipeline(name, nodes=nodes, task={**image, "flop_per_sample": None}))
        assert result.outcome is Outcome.FINISHED
        assert result.accuracy is not None
        if name in ("model_parallel", "gpipe"):
            twin = simulate(pipeline("local", nodes=nodes, task={**image, "flop_per_sample": None}))
            assert result.parameters is not None
            assert twin.parameters is not None
            np.testing.assert_allclose(result.parameters, twin.parameters, rtol=0, atol=1e-5)


def test_layers_that_do_not_say_what_they_cost_cost_the_same() -> None:
    silent = Model(tuple(replace(dense(f"layer{index}", 8, 8), flop=0) for index in range(4)))
    one, other = (simulate(pipeline("gpipe"), model=model) for model in (silent, None))
    assert one.virtual_time_ns == other.virtual_time_ns
    assert simulate(pipeline("gpipe", task={"flop_per_sample": None}), model=silent).outcome is Outcome.FINISHED


# --- versions ---------------------------------------------------------------------------------------------------------


def staleness(result: Result, stage: int) -> list[int]:
    return [update.fields["staleness"] for update in select(result.trace, "update", f"node{stage}")]


@pytest.mark.parametrize("stages", [1, 2, 3, 4])
def test_weights_are_as_old_as_pipedream_says(stages: int) -> None:
    result = simulate(pipeline("pipedream", nodes=stages))
    for k in range(stages):
        assert staleness(result, k) == [min(m, stages - 1 - k) for m in range(12)]
    memory = {one.node: one.versions for one in result.measures.memory}
    assert memory == {f"node{k}": stages - k for k in range(stages)}


@pytest.mark.parametrize("stages", [1, 2, 3, 4])
def test_in_vertical_sync_they_are_as_old_everywhere(stages: int) -> None:
    result = simulate(pipeline("pipedream", nodes=stages, vertical_sync=True))
    for k in range(stages):
        assert staleness(result, k) == [min(m, stages - 1) for m in range(12)]
    assert {one.versions for one in result.measures.memory} == {stages}


def test_drained_every_epoch_begins_with_fresh_weights() -> None:
    for settings in ({"vertical_sync": False}, {"vertical_sync": True}):
        result = simulate(pipeline("pipedream", drain="epoch", **settings))  # 96 samples: an epoch is 3 steps of 32
        old = [3] * 4 if settings["vertical_sync"] else [3, 2, 1, 0]
        for k in range(4):
            assert staleness(result, k) == [min(m % 3, old[k]) for m in range(12)]


def test_memory_is_counted() -> None:
    """Stage 0 of 4: 72 numbers a version, as many for the gradient, and the inputs of what is under way."""
    inputs, numbers = 32 * 8 * 4, 72 * 4
    sizes = {
        name: {one.node: one.size_bytes for one in simulate(pipeline(name)).measures.memory}
        for name in ("model_parallel", "gpipe", "pipedream", "spectrain")
    }
    assert sizes["model_parallel"]["node0"] == sizes["gpipe"]["node0"] == 2 * numbers + inputs
    assert sizes["pipedream"]["node0"] == 5 * numbers + 4 * inputs
    assert sizes["pipedream"]["node3"] == 2 * numbers + inputs
    assert sizes["spectrain"]["node0"] == 3 * numbers + 4 * inputs  # the last update is as large as a version


# --- time -------------------------------------------------------------------------------------------------------------


def busy(result: Result) -> list[float]:
    """Return which part of the time each node computes."""
    return [node.compute_ns / result.virtual_time_ns for node in result.nodes]


@pytest.mark.parametrize("stages", [2, 4])
def test_one_stage_at_a_time_is_busy(stages: int) -> None:
    result = simulate(pipeline("model_parallel", nodes=stages, layers=[4 // stages] * stages))
    assert busy(result) == pytest.approx([1 / stages] * stages, rel=1e-5)
    slow = simulate(pipeline("model_parallel", nodes=stages, network={"latency": "1 ms"}))
    assert max(busy(slow)) < 1 / stages


@pytest.mark.parametrize("pieces", [1, 2, 4, 8, 32])
@pytest.mark.parametrize("stages", [2, 4])
def test_the_bubble_of_gpipe(stages: int, pieces: int) -> None:
    task = {"batch_size": 32 // stages}
    scenario = pipeline("gpipe", nodes=stages, micro_batches=pieces, task=task)
    bubble = (stages - 1) / (pieces + stages - 1)
    assert [1 - one for one in busy(simulate(scenario))] == pytest.approx([bubble] * stages, rel=1e-4)
    slow = scenario.model_copy(update={"cluster": pipeline("gpipe", nodes=stages, network={"latency": "1 ms"}).cluster})
    assert min(1 - one for one in busy(simulate(slow))) > bubble


@pytest.mark.parametrize("pieces", [2, 4, 8])
def test_replicas_take_pieces_in_turn(pieces: int) -> None:
    """Two stages of two workers each: half of the pieces follow one another on each, and one is on its way."""
    result = simulate(pipeline("gpipe", workers=[2, 2], micro_batches=pieces))
    a_piece = 6 * MS / pieces  # half of the 12 ms of all 32 samples
    step = (pieces / 2 + 1) * a_piece
    assert result.virtual_time_ns == pytest.approx(12 * step, rel=1e-4)
    twin = simulate(pipeline("local"))
    assert result.parameters is not None
    assert twin.parameters is not None
    np.testing.assert_allclose(result.parameters, twin.parameters, rtol=0, atol=1e-5)
    a_stage = 2 * (8 * 8 + 8) * 4  # bytes
    adding_up = 12 * a_stage  # of two replicas each sends half of its vector twice
    first, last = result.nodes[0].payload_bytes_sent, result.nodes[-1].payload_bytes_sent
    assert first == 12 * 16 * 8 * 4 + adding_up + 12 * 4  # and the loss, in the one stage as in the other
    assert last == first


def test_the_stage_with_most_of_the_work_can_have_most_of_the_workers() -> None:
    large = {"model": {"kind": "mlp", "hidden": [64, 64]}}
    alone, shared = (
        simulate(pipeline("gpipe", nodes=nodes, task={**large, "batch_size": 32 // nodes}, **settings))
        for nodes, settings in ((2, {}), (4, {"workers": [3, 1], "micro_batches": 12}))
    )
    assert alone.virtual_time_ns > 1.5 * shared.virtual_time_ns


@pytest.mark.parametrize("name", ["pipedream", "spectrain"])
@pytest.mark.parametrize(("layers", "slowest"), [([1, 1, 1, 1], 1), ([1, 2, 1], 2), ([3, 1], 3)])
def test_once_full_the_slowest_stage_is_the_pace(name: str, layers: list[int], slowest: int) -> None:
    stages = len(layers)
    result = simulate(pipeline(name, nodes=stages, layers=layers, task={"batch_size": 24 // stages}))
    a_step = 9 * MS * slowest // 4  # 24 samples of 3 MFLOP at 8 GFLOP/s are 9 ms, in four layers
    for k in range(stages):
        times = [update.time_ns for update in select(result.trace, "update", f"node{k}")]
        steady = [after - before for before, after in itertools.pairwise(times)][stages:-stages]
        assert steady == pytest.approx([a_step] * len(steady), abs=20)


def test_what_is_on_the_wire_is_activations_and_their_gradients() -> None:
    for name in ("model_parallel", "gpipe", "pipedream", "spectrain"):
        result = simulate(pipeline(name))
        a_cut = 12 * 32 * 8 * 4  # steps, samples, width, float32
        assert [node.payload_bytes_sent for node in result.nodes] == [a_cut, 2 * a_cut, 2 * a_cut, a_cut]


def test_time_on_a_real_network_is_the_closed_form() -> None:
    """A step of model parallelism: all work, and for each cut the activations there and their gradients back."""
    result = simulate(pipeline("model_parallel", network={"bandwidth": "1 Mbit/s", "latency": "1 ms"}))
    a_way = 2 * MS + 32 * 8 * 4 * 8 * 1_000  # two links; 8 kbit at 1 us a bit
    assert result.virtual_time_ns == 12 * (12 * MS + 3 * 2 * a_way)


# --- mistakes, and deaths ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model_parallel", "gpipe", "pipedream", "spectrain"])
def test_a_dead_stage_is_the_end(name: str) -> None:
    for stage in range(4):
        result = simulate(
            training({"name": name}, dataset=EIGHT, model=EQUAL, steps=12, faults=[crash(f"node{stage}", 10 * MS)])
        )
        assert result.outcome is Outcome.LOST
        assert f"node{stage}" in result.outcome_sentence


@pytest.mark.parametrize(
    ("scenario", "place", "sentence"),
    [
        (pipeline("gpipe", nodes=5), "strategy.name", "the model's 4 are not enough for 5 stages"),
        (pipeline("gpipe", layers=[1, 1, 2]), "strategy.layers", "one number for each of 4 stages, 4 in sum"),
        (pipeline("gpipe", workers=[2, 1]), "strategy.workers", "must add up to 4, the number of workers, not to 3"),
        (pipeline("pipedream", layers=[1, 1, 1, 2]), "strategy.layers", "not [1, 1, 1, 2], which is 4 and 5"),
        (pipeline("pipedream", vertical_sync=True, stashing=False), "strategy.vertical_sync", "stashing: false"),
        (pipeline("pipedream", workers=[]), "strategy.workers", "must add up to 4, the number of workers, not to 0"),
        (pipeline("pipedream", vertical_sync=True, workers=[3, 1]), "strategy.vertical_sync", "leave it or workers"),
        (
            pipeline("pipedream", workers=[2, 1]),
            "strategy.workers",
            "must add up to 4, the number of workers, not to 3",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(scenario: Scenario, place: str, sentence: str) -> None:
    with pytest.raises(ScenarioInvalid) as refused:
        simulate(scenario)
    assert f"{place}: " in str(refused.value)
    assert sentence in str(refused.value)


def test_the_layers_of_a_model_of_ones_own_are_counted() -> None:
    own = Model(tuple(dense(f"layer{index}", 8, 8) for index in range(6)))
    scenario = pipeline("gpipe", nodes=[{"name": f"node{index}"} for index in range(6)])
    assert simulate(scenario, model=own).outcome is Outcome.FINISHED
    with pytest.raises(ScenarioInvalid, match="the model's 4 are"):
        simulate(scenario)
    with pytest.raises(ScenarioInvalid, match="the model's 6 are"):
        simulate(replace_nodes(scenario, 7), model=own)


def replace_nodes(scenario: Scenario, nodes: int) -> Scenario:
    return scenario.model_copy(update={"cluster": pipeline("gpipe", nodes=nodes).cluster})
