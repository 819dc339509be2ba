"""What is measured of any strategy, recounted from events and in small runs; who sees what is in `test_exposure.py`."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from typing import Any

import pytest

from ringsim import measures, parse, simulate
from ringsim.measures import LinkBytes, Memory, Staleness
from ringsim.node import Group, Member, Node, Operation
from ringsim.result import Result, StepRow
from ringsim.scenario import worker_names
from ringsim.strategies.training import State, Training
from ringsim.trace import Event
from tests.worlds import select

BASE = """
name: measured
task:
  dataset: {kind: synthetic, samples: 60, features: 12, classes: 4, noise: 0.5}
  model: {kind: mlp, hidden: [8]}
  optimizer: {kind: momentum, learning_rate: 0.1, momentum: 0.9}
  epochs: 3
  batch_size: 5
  evaluate_every: 1
cluster: {nodes: 4, speed: 10 MFLOP/s, network: {bandwidth: 10 Mbit/s, latency: 100 us}}
strategy: {name: ring}
"""
PARAMETERS = 4 * (12 * 8 + 8 + 8 * 4 + 4)


@cache
def played(*overrides: str) -> Result:
    return simulate(parse(BASE, overrides=overrides).scenario)


def event(kind: str, node: str = "a", time_ns: int = 0, **fields: Any) -> Event:
    return Event(time_ns, node, kind, fields)


# --- the target -------------------------------------------------------------------------------------------------------


def row(time_ns: int, accuracy: float | None, committed: bool = True) -> StepRow:
    return StepRow(1, 0, 0, time_ns, 0.5, 0.1, 4, 0.5, accuracy, committed)


def test_the_target_is_reached_when_an_update_that_counts_is_first_seen_to_be_so_good() -> None:
    rows = [row(1, None), row(2, 0.95, committed=False), row(3, 0.89), row(4, 0.9), row(5, 0.99)]
    assert measures.time_to_target_ns(rows, 900_000) == 4
    assert measures.time_to_target_ns(rows, 1_000_000) is None
    assert measures.time_to_target_ns(rows, None) is None


def test_who_stops_at_the_target_has_reached_it_then() -> None:
    result = played("task.target_accuracy=50 %")
    assert str(result.outcome) == "target_reached"
    assert result.measures.time_to_target_ns == result.metrics[-1].virtual_time_ns
    assert result.measures.time_to_target_ns == result.virtual_time_ns


# --- speed ------------------------------------------------------------------------------------------------------------


def test_an_epoch_takes_its_share_of_the_time() -> None:
    result = played()
    assert result.samples.counted == 180
    assert result.measures.epoch_ns == result.virtual_time_ns // 3
    assert result.measures.samples_per_second == pytest.approx(180e9 / result.virtual_time_ns)


def test_what_did_not_count_is_not_sped_through() -> None:
    late = played("strategy={name: parameter_server, on_failure: backup, backups: 1}")
    assert late.samples.lost
    assert late.measures.samples_per_second == pytest.approx(late.samples.counted * 1e9 / late.virtual_time_ns)
    nothing = played("faults=[{kind: crash, node: node1, at: 1 ns}]")
    assert nothing.samples.counted == 0
    assert nothing.measures.epoch_ns is None
    assert nothing.measures.samples_per_second == 0


# --- the network ------------------------------------------------------------------------------------------------------


def test_the_busiest_link_is_the_server_s() -> None:
    server = played("strategy={name: parameter_server}")
    busiest = server.measures.busiest_link
    assert busiest is not None
    # What goes in comes out: 9 steps of 4 gradients and, but for the last step, 4 times the parameters.
    assert {busiest.source, busiest.target} == {"server0", "switch"}
    assert busiest.bytes == max(one.fields["bytes"] for one in select(server.trace, "link_bytes"))
    assert busiest.bytes == 9 * 4 * PARAMETERS
    assert played("strategy={name: local}").measures.busiest_link is None


def test_of_links_that_are_as_busy_the_first_is_told() -> None:
    links = [event("link_bytes", node, to="s", bytes=7) for node in ("a", "b")]
    assert measures.busiest_link(links) == LinkBytes("a", "s", 7)


# --- memory -----------------------------------------------------------------------------------------------------------


def test_a_node_that_tells_nothing_keeps_one_version_and_what_goes_with_it() -> None:
    workers = [Memory(f"node{rank}", 1, 3 * PARAMETERS) for rank in range(4)]  # parameters, gradient, momentum
    assert played().measures.memory == tuple(workers)
    elastic = played("strategy.on_failure=elastic").measures.memory
    assert elastic == (*workers, Memory("rendezvous", 0, 0))
    adam = played("task.optimizer={kind: adam, learning_rate: 0.01}").measures.memory
    assert 4 * PARAMETERS <= adam[0].size_bytes <= 4 * PARAMETERS + 16, "two moments, and a count"


def test_a_server_keeps_the_optimizer_s_memory_and_everybody_s_gradient() -> None:
    memory = played("strategy={name: parameter_server, server: {replicas: 2}}").measures.memory
    assert {one.node: one.size_bytes // PARAMETERS for one in memory} == {
        **dict.fromkeys([f"node{rank}" for rank in range(4)], 2), "server0": 2 + 4, "server1": 2 + 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("server", "worker", "others"),
    [
        ("server: {replicas: 2, replicate: pushes}", 2, {"server0": 2 + 4, "server1": 2 + 4}),
        ("server: {shards: 2}", 2, {"server0": (2 + 4) / 2, "server1": (2 + 4) / 2}),
        ("server: {co_located: true}", 2 + (1 + 4) / 4, {}),
        ("consistency: asp", 2, {"server0": 2 + 1}),
    ],
)
def test_what_other_servers_keep(server: str, worker: float, others: dict[str, float]) -> None:
    memory = played(f"strategy={{name: parameter_server, {server}}}").measures.memory
    expected = {**dict.fromkeys([f"node{rank}" for rank in range(4)], worker), **others}
    assert {one.node for one in memory} == set(expected)
    for one in memory:
        assert one.size_bytes / PARAMETERS == pytest.approx(expected[one.node], abs=6 * 4 / PARAMETERS)


def test_of_what_a_node_tells_the_most_counts() -> None:
    told = [event("memory", versions=2, size_bytes=90), event("memory", versions=1, size_bytes=100)]
    default = [Memory("a", 1, 5), Memory("b", 1, 6)]
    assert measures.peak_memory(told, default) == (Memory("a", 2, 100), Memory("b", 1, 6))


# --- staleness and consensus ------------------------------------------------------------------------------------------


def alone(node: Node, training: Training) -> Operation[State]:
    """Make own updates of own batches, and say that the gradients of the second are one update old."""
    group = Group(0, tuple(Member(name, 0) for name in training.workers))
    state = training.initial()
    while not training.is_finished(state):
        batch = training.begin_step(node, state, group)
        gradient = yield from training.gradient(node, state, batch, group)
        mine, stale = [(node.name, state.step)], int(state.step == 1)
        reports = node.name == training.workers[0]
        state = training.update_apart(
            node, state, gradient.array, group, reports=reports, batches=mine, staleness=stale
        )
    return state


def test_staleness_is_that_of_the_updates_that_tell_it() -> None:
    scenario = parse(BASE, overrides=["task.epochs=1"]).scenario
    result = simulate(scenario, strategy=alone)
    told = [one.fields["staleness"] for one in select(result.trace, "update")]
    assert len(told) == 3 * len(worker_names(scenario))
    assert result.measures.staleness == Staleness(sum(told) / len(told), 1, dict(Counter(told)))
    assert played().measures.staleness is None


def test_consensus_is_the_last_that_was_asked() -> None:
    asked = [
        event("consensus", "", time_ns, step=time_ns, generation=0, distance=distance)
        for time_ns, distance in ((1, 0.5), (2, 0.25))
    ]
    assert measures.consensus(asked) == 0.25
    assert played().measures.consensus is None


# --- the summary ------------------------------------------------------------------------------------------------------


def test_the_summary_has_all_of_them_as_json() -> None:
    result = simulate(parse(BASE, overrides=["task.epochs=1"]).scenario, strategy=alone)
    summary = json.loads(json.dumps(result.summary()))
    assert summary["busiest_link"] is None
    assert summary["staleness"]["histogram"] == {"0": 8, "1": 4}
    assert summary["raw_sample_bytes_sent"] == 0
    assert summary["memory"][0] == {"node": "node0", "versions": 1, "size_bytes": 3 * PARAMETERS}
    assert summary["exposure"] == {"seen": {}, "maximum": 0.0, "mean": 0.0}, "nobody has sent anything"
    assert summary["epoch_ns"] == result.measures.epoch_ns
