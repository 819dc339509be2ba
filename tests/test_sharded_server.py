"""Parameter servers that hold a range each, on machines of their own or the workers': times, bytes, numbers, deaths.

What is not here: what they are held to with all others (`test_every_strategy.py`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import MS, TINY, US, crash, select, training

from ringsim.errors import ScenarioInvalid
from ringsim.invariants import broken
from ringsim.result import Outcome, Result
from ringsim.scenario_file import parse
from ringsim.simulation import simulate

ADAM = {"kind": "adam", "learning_rate": 0.01}
# softmax with 15 x 16 weights and 16 biases: 256 numbers, 1,024 bytes, which 2, 4 and 8 divide
EVEN = {**TINY, "features": 15, "classes": 16, "samples": 960}
SIZE_BYTES = 1_024
PATH_NS = 100 * US
CO_LOCATED = {"co_located": True}


def served(**server: Any) -> dict[str, Any]:
    return {"name": "parameter_server", "server": server}


def exchange_ns(result: Result, steps: int) -> int:
    """Return how long the communication of a step takes, where every computation takes 1 ms."""
    return result.virtual_time_ns // steps - MS


@pytest.mark.parametrize("bandwidth", [1_000, 250])
@pytest.mark.parametrize("nodes", [2, 4, 8])
@pytest.mark.parametrize("shards", [1, 2, 4, 8])
def test_a_step_takes_what_the_slower_side_needs(shards: int, nodes: int, bandwidth: int) -> None:
    server = {"shards": shards, "bandwidth": f"{bandwidth} Mbit/s"}
    result = simulate(training(served(**server), nodes=nodes, dataset=EVEN, steps=2))
    worker_ns, server_ns = 8 * SIZE_BYTES, -(-8 * nodes * SIZE_BYTES * 1_000 // (shards * bandwidth))
    if (worker_ns, server_ns) == (8 * SIZE_BYTES, 8 * SIZE_BYTES) or max(worker_ns, server_ns) == server_ns:
        assert exchange_ns(result, 2) == 2 * (PATH_NS + server_ns)
    else:
        assert exchange_ns(result, 2) == 2 * (PATH_NS + worker_ns)


@pytest.mark.parametrize("nodes", [2, 4, 8])
def test_on_the_workers_machines_it_has_the_rings_bytes_without_its_hops(nodes: int) -> None:
    result, ring = (
        simulate(training(one, nodes=nodes, dataset=EVEN, steps=2)) for one in (served(**CO_LOCATED), "ring")
    )
    assert result.payload_bytes_sent == ring.payload_bytes_sent
    assert result.bytes_sent == ring.bytes_sent
    assert ring.virtual_time_ns - result.virtual_time_ns == 2 * 2 * (nodes - 2) * PATH_NS
    sent_ns = -(-8 * (nodes - 1) * SIZE_BYTES // nodes)
    assert exchange_ns(result, 2) == 2 * (PATH_NS + sent_ns)


@pytest.mark.parametrize("optimizer", [{"kind": "sgd", "learning_rate": 0.1}, ADAM], ids=["sgd", "adam"])
@pytest.mark.parametrize("server", [{"shards": 2}, {"shards": 5}, CO_LOCATED], ids=str)
def test_each_update_is_that_of_one_server(server: dict[str, Any], optimizer: dict[str, Any]) -> None:
    nodes = [{}, {"shard_weight": 0.25}, {"shard_weight": 2.0}]
    task = {"nodes": nodes, "epochs": 2, "evaluate_every": 1, "optimizer": optimizer}
    result, one = (simulate(training(strategy, **task)) for strategy in (served(**server), "parameter_server"))
    assert result.parameters is not None
    assert one.parameters is not None
    np.testing.assert_allclose(result.parameters, one.parameters, rtol=0, atol=1e-6)
    assert [row.test_loss for row in result.metrics] == pytest.approx([row.test_loss for row in one.metrics], abs=1e-5)
    assert len(set(result.replicas.values())) == 1


def test_averaging_takes_each_server_its_part_of_the_time() -> None:
    at = {shards: {"shards": shards, "speed": "1 MFLOP/s"} for shards in (2, 4)}
    slow = {shards: simulate(training(served(**server), dataset=EVEN, steps=1)) for shards, server in at.items()}
    quick = {shards: simulate(training(served(shards=shards), dataset=EVEN, steps=1)) for shards in at}
    for shards in at:
        averaging_ns = 2 * 4 * 256 // shards * 1_000  # of 4 slices, two operations a number
        assert slow[shards].virtual_time_ns - quick[shards].virtual_time_ns == averaging_ns


NODES = st.sampled_from(["node0", "node1", "node2"])


@given(
    st.lists(st.builds(crash, NODES, st.integers(0, 6 * MS), st.sampled_from(["1 us", "400 us", "3 ms"])), max_size=3),
    st.sampled_from([2, 3]),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_a_worker_that_comes_back_computes_what_some_servers_still_wait_for(
    faults: list[Any], shards: int, straggles: bool
) -> None:
    cluster = {"straggle": {"probability": "25 %", "factor": 5.0}} if straggles else {}
    quiet, hit = (
        simulate(training(served(shards=shards), nodes=3, faults=some, cluster=cluster, optimizer=ADAM, epochs=2))
        for some in ((), faults)
    )
    assert hit.outcome is Outcome.FINISHED
    assert broken(hit) == {}
    assert hit.parameters is not None
    assert quiet.parameters is not None
    assert hit.parameters.tobytes() == quiet.parameters.tobytes()


def test_it_may_die_between_the_pushes_to_two_servers() -> None:
    # server1 is so far away that server0 has everything when node1 dies, and server1 has not.
    links = [{"source": "server1", "target": "switch", "bandwidth": "1 Mbit/s"}]
    scenario = training(
        served(shards=2), nodes=2, network={"links": links}, faults=[crash("node1", 1_500 * US, "1 ms")], steps=2
    )
    result = simulate(scenario)
    first = {event.node: event.time_ns for event in select(result.trace, "update", step=1)}
    assert first["server0"] < 1_500 * US < first["server1"]
    assert result.outcome is Outcome.FINISHED
    assert result.samples.repeated == 8
    assert broken(result) == {}


@pytest.mark.parametrize(
    ("server", "node"), [({"shards": 2}, "server1"), (CO_LOCATED, "node2")], ids=["its own machine", "a worker's"]
)
def test_a_server_takes_its_range_with_it(server: dict[str, Any], node: str) -> None:
    result = simulate(training(served(**server), faults=[crash(node, 1_500 * US, "1 ms")]))
    assert result.outcome is Outcome.LOST
    assert broken(result) == {}


@pytest.mark.parametrize(
    ("strategy", "sentence"),
    [
        (
            "server: {shards: 2, replicas: 2}",
            "replicas: stands beside shards: a server is replicated, or holds a range",
        ),
        ("server: {shards: 2, co_located: true}", "shards: stands beside co_located"),
        ("server: {co_located: true, latency: 1 ms}", "latency: is that of a machine of its own, and co_located adds"),
        ("server: {shards: 2}, consistency: asp", "shards: works with consistency bsp only, not with asp"),
        ("server: {shards: 2}, on_failure: timeout", "shards: works with on_failure wait only, not with timeout"),
    ],
)
def test_what_does_not_go_together_is_said(strategy: str, sentence: str) -> None:
    text = f"name: a\ntask: {{steps: 2}}\ncluster: {{nodes: 2}}\nstrategy: {{name: parameter_server, {strategy}}}\n"
    with pytest.raises(ScenarioInvalid) as caught:
        parse(text, "a.yaml")
    assert sentence in str(caught.value)
