"""A parameter server whose workers are not in step: who may begin when, how stale gradients are, and what that costs.

What is not here: what it is held to with all others (`test_every_strategy.py`), and workers in step.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import MS, TINY, US, crash, select, training

from ringsim.errors import ScenarioInvalid
from ringsim.invariants import broken
from ringsim.learning.engine import Engine
from ringsim.result import Outcome, Result
from ringsim.scenario import Scenario
from ringsim.scenario_file import parse
from ringsim.simulation import simulate

SGD = {"kind": "sgd", "learning_rate": 0.1}
ADAM = {"kind": "adam", "learning_rate": 0.01}
FREE = {"bandwidth": "100 Tbit/s", "latency": "0 s"}
STRAGGLES = {"straggle": {"probability": "25 %", "factor": 5.0}}
KINDS = [
    {"kind": "bounded_delay", "tau": 0},
    {"kind": "bounded_delay", "tau": 2},
    {"kind": "ssp", "slack": 2},
    {"kind": "asp"},
]
every_kind = pytest.mark.parametrize("consistency", KINDS, ids=str)


def served(consistency: Any = "asp", **settings: Any) -> dict[str, Any]:
    return {"name": "parameter_server", "consistency": consistency, **settings}


def begins(result: Result, node: str) -> list[int]:
    """Return when a worker began its steps."""
    return [event.time_ns for event in select(result.trace, "step_begin", node)]


def idle_share(result: Result) -> float:
    """Return how much of their time workers spend on nothing, waits for the network included."""
    return 1 - sum(node.compute_ns for node in result.nodes) / (len(result.nodes) * result.virtual_time_ns)


@pytest.mark.parametrize("optimizer", [SGD, ADAM], ids=["sgd", "adam"])
@every_kind
def test_with_one_worker_it_is_local(consistency: dict[str, Any], optimizer: dict[str, Any]) -> None:
    task = {"nodes": 1, "epochs": 2, "optimizer": optimizer}
    result, twin = (simulate(training(strategy, **task)) for strategy in (served(consistency), "local"))
    assert result.parameters is not None
    assert twin.parameters is not None
    assert result.parameters.tobytes() == twin.parameters.tobytes()
    assert [row.loss for row in result.metrics] == [row.loss for row in twin.metrics]


def test_without_any_delay_a_round_takes_as_long_as_in_step() -> None:
    in_step, result = (simulate(training(served(kind), steps=3)) for kind in ("bsp", KINDS[0]))
    for node in ("node0", "node3"):
        assert begins(result, node) == begins(in_step, node)
    assert result.steps == 4 * in_step.steps
    assert [row.world_size for row in result.metrics] == [1] * 12
    # The gradients of a round are of the same parameters: the first to come is fresh, and the others are not.
    assert staleness(result) == [0, 1, 2, 3] * 3


def staleness(result: Result) -> list[int]:
    return [event.fields["staleness"] for event in select(result.trace, "update")]


@pytest.mark.parametrize("delay", [0, 1, 3])
def test_ssp_begins_when_bounded_delay_does_where_a_pull_costs_nothing(delay: int) -> None:
    gates = ({"kind": "bounded_delay", "tau": delay}, {"kind": "ssp", "slack": delay})
    task = {"network": FREE, "cluster": STRAGGLES, "epochs": 4, "seed": 5}
    one, other = (simulate(training(served(gate), **task)) for gate in gates)
    # Who has taken samples ahead has them when others have none any more: so not to the very end.
    until_ns = 3 * min(one.virtual_time_ns, other.virtual_time_ns) // 4
    for node in one.shares:
        begun = [[time_ns for time_ns in begins(result, node) if time_ns < until_ns] for result in (one, other)]
        assert begun[0] == pytest.approx(begun[1], abs=US)  # 100 Tbit/s take a nanosecond
        assert len(begun[0]) > 3


@given(st.integers(0, 4), st.sampled_from(["bounded_delay", "ssp"]), st.integers(0, 1_000))
@settings(max_examples=25, deadline=None)
def test_nobody_is_further_ahead_than_allowed_and_no_gradient_staler(delay: int, kind: str, seed: int) -> None:
    gate = {"kind": kind, "tau" if kind == "bounded_delay" else "slack": delay}
    result = simulate(training(served(gate), cluster=STRAGGLES, epochs=3, nodes=3, seed=seed))
    finished: Counter[str] = Counter({f"node{index}": 0 for index in range(3)})
    moments = [event for event in result.trace if event.kind in ("step_begin", "update")]
    for event in sorted(moments, key=lambda event: (event.time_ns, event.kind == "step_begin")):
        if event.kind == "update":
            finished[event.fields["batches"][0][0]] += 1
        else:
            assert event.fields["step"] <= min(finished.values()) + delay
    # Between the pull of a worker and its push each other one may go from `delay` behind to `delay` ahead.
    assert max(staleness(result)) <= 2 * (2 * delay + 1)
    assert broken(result) == {}


@every_kind
@pytest.mark.parametrize("optimizer", [SGD, ADAM], ids=["sgd", "adam"])
def test_each_gradient_is_taken_at_parameters_as_old_as_it_says(consistency: Any, optimizer: Any) -> None:
    """The whole training is played again from who pulled when: under SSP a copy goes on with the own gradients."""
    scenario = training(served(consistency), cluster=STRAGGLES, epochs=2, optimizer=optimizer)
    result = simulate(scenario, trace="messages")
    engine, rate = Engine(scenario.task, scenario.seed, 8), scenario.task.optimizer.learning_rate
    steps = {(event.node, event.fields["step"]): event for event in select(result.trace, "step_begin")}
    pulls = {node: [event.time_ns for event in select(result.trace, "deliver", node)] for node in result.shares}
    versions, copies, own_writes = [engine.initial()], {}, 0
    gradients: dict[str, np.ndarray] = {}
    for event in select(result.trace, "update"):
        ((worker, step),) = event.fields["batches"]
        begun_ns = steps[worker, step].time_ns
        if step and not any(steps[worker, step - 1].time_ns < pull_ns <= begun_ns for pull_ns in pulls[worker]):
            copies[worker] = engine.update(copies[worker], gradients[worker], rate)
            own_writes += 1
        else:
            copies[worker] = versions[-1 - event.fields["staleness"]]
        samples = steps[worker, step].fields["samples"]
        gradients[worker] = engine.gradient(copies[worker].parameters, samples).value().array
        versions.append(engine.update(versions[-1], gradients[worker], rate))
    assert (own_writes > 0) == (consistency["kind"] == "ssp")
    assert result.parameters is not None
    assert versions[-1].parameters.array.tobytes() == result.parameters.tobytes()


def test_the_more_delay_the_less_idling_and_the_worse_each_update() -> None:
    """Li et al. 2014, section 5: idling falls from half of the time to next to nothing; the price is staleness."""
    task: dict[str, Any] = {
        "cluster": STRAGGLES,
        "epochs": 16,
        "network": {"bandwidth": "10 Gbit/s", "latency": "1 us"},
        "optimizer": {"kind": "momentum", "learning_rate": 0.05, "momentum": 0.9},
        "dataset": {**TINY, "samples": 480},
    }
    gates = [{"kind": "bounded_delay", "tau": tau} for tau in (0, 1, 4, 64)]
    runs = [simulate(training(served(gate), nodes=8, **task)) for gate in gates]
    idle = [idle_share(result) for result in runs]
    assert idle[0] > 0.5
    assert all(later < before - 0.1 for before, later in pairwise(idle))
    assert idle[-1] < 0.03
    stale = [float(np.mean(staleness(result))) for result in runs]
    assert all(later > before for before, later in pairwise(stale))
    # With as many updates of as many samples: the loss over the first quarter of them.
    losses = [float(np.mean([row.loss for row in result.metrics[:240]])) for result in runs]
    alone = simulate(training(served(), nodes=1, **task))  # nothing is stale
    fresh = float(np.mean([row.loss for row in alone.metrics[:240]]))
    assert fresh * 1.4 < losses[0] < losses[1] < losses[2] < losses[3]
    assert losses[3] > 1.5 * losses[0]


def slow_one(strategy: Any) -> Result:
    nodes = [{}, {}, {}, {"speed": "2 GFLOP/s"}]  # the others have 8
    return simulate(training(strategy, nodes=nodes, epochs=8))


def test_a_slow_worker_dictates_the_pace_in_step_and_not_otherwise() -> None:
    fast = {kind: simulate(training(served(kind), epochs=8)).virtual_time_ns for kind in ("bsp", "asp")}
    slow = {kind: slow_one(served(kind)) for kind in ("bsp", "asp")}
    assert slow["bsp"].virtual_time_ns > 3.2 * fast["bsp"]
    # Three machines and a quarter of one do what four did.
    assert slow["asp"].virtual_time_ns < 1.35 * fast["asp"]
    begun = Counter(event.node for event in select(slow["asp"].trace, "step_begin"))
    assert 3 < begun["node0"] / begun["node3"] < 5


def test_one_server_slows_with_the_workers_and_a_ring_hardly() -> None:
    task = {"dataset": {**TINY, "samples": 960, "features": 600}, "steps": 2}

    def moving(strategy: Any, nodes: int, messages: int) -> int:
        """Return how long a step moves bytes: neither computation nor the latency of messages one after another."""
        step_ns = simulate(training(strategy, nodes=nodes, **task)).virtual_time_ns // 2
        return step_ns - MS - messages * 100 * US

    server = [moving("parameter_server", nodes, 2) for nodes in (2, 4, 8)]
    ring = [moving("ring", nodes, 2 * (nodes - 1)) for nodes in (2, 4, 8)]
    assert all(1.7 < later / before < 2.3 for before, later in pairwise(server))
    assert all(later / before < 1.6 for before, later in pairwise(ring))


NODES = st.sampled_from(["node0", "node1", "node2"])


@given(
    st.sampled_from(KINDS),
    st.sampled_from(["wait", "timeout"]),
    st.lists(st.builds(crash, NODES, st.integers(0, 12 * MS), st.sampled_from(["1 us", "3 ms", None])), max_size=3),
    st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_whoever_dies_each_sample_counts_once(kind: Any, policy: str, faults: list[Any], straggles: bool) -> None:
    cluster = STRAGGLES if straggles else {}
    settings = {"timeout": "20 ms"} if policy == "timeout" else {}
    scenario = training(served(kind, on_failure=policy, **settings), nodes=3, faults=faults, cluster=cluster, epochs=2)
    result = simulate(scenario)
    assert broken(result, simulate(scenario, shuffle_ties=7, fidelity="message")) == {}
    if result.outcome is Outcome.FINISHED:
        assert result.samples.counted == 2 * TINY["samples"]


def test_who_is_too_late_does_its_work_in_vain_and_goes_on() -> None:
    nodes = [{}, {}, {"speed": "100 MFLOP/s"}]  # 80 ms a step, where others take 1
    gate = {"kind": "bounded_delay", "tau": 1}
    result = simulate(training(served(gate, on_failure="timeout", timeout="10 ms"), nodes=nodes, epochs=8))
    assert result.outcome is Outcome.FINISHED
    assert result.samples.repeated >= 8
    assert broken(result) == {}
    waits = simulate(training(served(gate), nodes=nodes, epochs=8))
    assert waits.samples.repeated == 0
    assert waits.virtual_time_ns > 2 * result.virtual_time_ns


@pytest.mark.parametrize("timeout", ["1 us", "300 us", "2 ms"])
@every_kind
def test_a_timeout_shorter_than_a_step_ends_all_the_same(consistency: dict[str, Any], timeout: str) -> None:
    """A step takes 1 ms of computing alone: all are late, and the first gradient of each ticket is used."""
    strategy = served(consistency, on_failure="timeout", timeout=timeout)
    uneven = {"kind": "synthetic", "samples": 100, "features": 8, "classes": 3}  # in the end somebody has nothing to do
    result = simulate(training(strategy, dataset=uneven, epochs=2, max_virtual_time="1 s"))
    assert result.outcome is Outcome.FINISHED
    assert [epoch.counted for epoch in result.epochs] == [100, 100]
    assert not broken(result)


@pytest.mark.parametrize("samples", [96, 100, 42, 68])
@pytest.mark.parametrize("slack", [0, 3, 10, 1_000_000])
def test_with_any_slack_workers_that_are_alike_compute_as_much(slack: int, samples: int) -> None:
    """Who may run far ahead has its own share of the samples, and not everybody's; what is over is done one by one."""
    task = {"dataset": {"kind": "synthetic", "samples": samples, "features": 8, "classes": 3}, "epochs": 8}
    result = simulate(training(served({"kind": "ssp", "slack": slack}), nodes=4, **task))
    steps = [len(begins(result, node.node)) for node in result.nodes]
    assert max(steps) - min(steps) <= 3
    assert sum(steps) == result.steps


@pytest.mark.parametrize(
    ("consistency", "timeout", "speeds", "fault"),
    [
        ({"kind": "bounded_delay", "tau": 0}, "700 us", [2, 2, 4], crash("w0", 10_562_541, notice="silence")),
        ({"kind": "bounded_delay", "tau": 1}, "100 us", [4, 1, 2, 2], crash("w0", 10_631_362, notice="silence")),
        (
            {"kind": "bounded_delay", "tau": 0},
            "700 us",
            [2, 2, 4],
            {"kind": "pause", "node": "w0", "at": "10562541 ns", "lasts": "5 s"},
        ),
        ({"kind": "ssp", "slack": 2}, "2 ms", [8, 2, 8], crash("w1", 8_200_000, notice="silence")),
    ],
    ids=str,
)
def test_who_computes_in_vain_and_falls_silent_is_given_up(
    consistency: dict[str, Any], timeout: str, speeds: list[int], fault: dict[str, Any]
) -> None:
    """It holds no samples any more, for a late gradient of them has come; and yet the others wait for it."""
    nodes = [{"name": f"w{index}", "speed": f"{speed} GFLOP/s"} for index, speed in enumerate(speeds)]
    strategy = served(consistency, on_failure="timeout", timeout=timeout)
    result = simulate(training(strategy, nodes=nodes, epochs=5, faults=[fault], max_virtual_time="1 s"))
    assert result.outcome is Outcome.FINISHED
    assert sum(epoch.counted for epoch in result.epochs) == 5 * 96
    assert not broken(result)


def test_it_stops_at_its_target_and_evaluates_as_often_as_in_step() -> None:
    task = {"epochs": 4, "evaluate_every": 3, "dataset": {**TINY, "samples": 100}}
    result, in_step = (simulate(training(served(kind), **task)) for kind in ("asp", "bsp"))
    points = [len([row for row in one.metrics if row.accuracy is not None]) for one in (result, in_step)]
    assert points[0] == points[1] == 6  # 16 steps: after 3, 6, 9, 12, 15, and at the end
    stopped = simulate(training(served(), target_accuracy="30 %", **task))
    assert stopped.outcome is Outcome.TARGET_REACHED
    assert stopped.accuracy is not None
    assert stopped.accuracy >= 0.3
    assert broken(stopped) == {}


@pytest.mark.parametrize("key", ["replicas: 2", "checkpoint_every: 2"])
def test_its_server_is_neither_replicated_nor_saved(key: str) -> None:
    text = f"""
name: a
task: {{steps: 2}}
cluster: {{nodes: 2}}
strategy: {{name: parameter_server, consistency: asp, server: {{{key}}}}}
"""
    with pytest.raises(ScenarioInvalid, match="works with consistency bsp only, not with asp") as caught:
        parse(text, "a.yaml")
    (problem,) = caught.value.problems
    assert problem.place.startswith("a.yaml:5:")


def test_the_words_for_a_consistency_may_stand_alone() -> None:
    scenario = Scenario.model_validate(
        {"name": "a", "task": {"steps": 1}, "cluster": {"nodes": 1}, "strategy": served("bounded_delay")}
    )
    assert scenario.strategy.consistency.tau == 2  # type: ignore[union-attr]
