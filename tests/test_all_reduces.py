"""Data parallelism by every all-reduce: its closed form, the numbers of `local`, and a new one for those who are left.

What is not here: the plans themselves (`test_collectives.py`), failures in a ring at any instant (`test_strategies.py`,
which draws these collectives too), the same world message by message (`test_fidelity.py`).
"""

from __future__ import annotations

from typing import Any, get_args

import pytest
from test_strategies import (
    ADAM,
    COMPUTE_NS,
    PATH_NS,
    SGD,
    assert_close,
    assert_elastic_promises,
    elastic,
    parameters,
    update_times,
)
from worlds import MS, TINY, crash, select, train, training

from ringsim.collectives.table import algorithm_named
from ringsim.result import Outcome
from ringsim.scenario.strategy import AllReduceName
from ringsim.simulation import simulate

COLLECTIVES = get_args(AllReduceName)
RATE = 10**9  # bit/s, of the small trainings
SIXTEEN = {**TINY, "features": 3, "classes": 4}  # softmax: 4 x 3 weights and 4 biases
RACKS = {"topology": {"kind": "two_tier", "racks": 2}}


def by(collective: str, **settings: Any) -> dict[str, Any]:
    return {"name": "ring", "collective": collective, **settings}


@pytest.mark.parametrize("nodes", [2, 4])
@pytest.mark.parametrize("collective", COLLECTIVES)
def test_a_step_takes_the_computation_and_the_textbook_time_of_its_collective(collective: str, nodes: int) -> None:
    result = simulate(training(by(collective), nodes=nodes, steps=1, dataset=SIXTEEN))
    predicted_ns = algorithm_named(collective).plan(nodes, 16).predicted_ns(nodes, 4 * 16, PATH_NS, RATE)
    # The formula divides once; a plan rounds each of its messages up to a whole nanosecond.
    assert predicted_ns <= update_times(result)[0] - COMPUTE_NS <= predicted_ns + 2 * nodes


BUSIEST = {  # by collective and N, in bytes for S = 64: the columns of the table in docs/strategies.md
    ("ring", 4): 96,
    ("ring", 8): 112,
    ("tree", 4): 128,
    ("tree", 6): 192,
    ("tree", 8): 192,
    ("halving_doubling", 6): 96 + 64,
    ("halving_doubling", 8): 112,
    ("hierarchical", 4): 96,
    ("hierarchical", 8): 112,
}


@pytest.mark.parametrize(("collective", "nodes"), BUSIEST)
def test_the_busiest_worker_sends_as_many_bytes_as_the_docs_say(collective: str, nodes: int) -> None:
    result = simulate(training(by(collective), nodes=nodes, steps=3, dataset={**SIXTEEN, "samples": 480}))
    assert max(node.payload_bytes_sent for node in result.nodes) == 3 * BUSIEST[collective, nodes]


@pytest.mark.parametrize("nodes", [1, 2, 3, 5, 6])
@pytest.mark.parametrize("collective", COLLECTIVES)
def test_every_collective_trains_as_one_machine_does(collective: str, nodes: int) -> None:
    task = {"nodes": nodes, "optimizer": SGD, "steps": 5}
    assert_close(parameters(by(collective), **task), parameters("local", **task), 1e-5)


@pytest.mark.parametrize("collective", COLLECTIVES)
def test_unequal_shares_and_buckets_give_the_weighted_mean_too(collective: str) -> None:
    nodes = [{"shard_weight": 1}, {"shard_weight": 0.25}, {"shard_weight": 2.5}, {}]
    task = {"nodes": nodes, "optimizer": SGD, "steps": 5}
    bucketed = parameters(by(collective, bucket_size="128 B"), **task)
    assert_close(bucketed, parameters("local", **task), 1e-5)


@pytest.mark.parametrize("nodes", [2, 4])
def test_two_numbers_have_one_sum_whoever_adds_them_up(nodes: int) -> None:
    bits = {parameters(by(name), nodes=nodes, optimizer=ADAM, steps=6).tobytes() for name in COLLECTIVES}
    assert len(bits) == 1 if nodes == 2 else len(bits) > 1


@pytest.mark.parametrize("returns", [None, "3 ms"])
@pytest.mark.parametrize("node", ["node0", "node3"])
@pytest.mark.parametrize("at_ms", [1, 3, 5])
@pytest.mark.parametrize("collective", COLLECTIVES)
def test_those_who_are_left_add_up_in_a_collective_of_their_own(
    collective: str, at_ms: int, node: str, returns: str | None
) -> None:
    watched = train(elastic([crash(node, at_ms * MS, returns)], collective=collective, set_aside={"cooldown": "0 s"}))
    assert_elastic_promises(watched)
    assert watched.result.outcome is Outcome.FINISHED
    sizes = [row.world_size for row in watched.result.metrics]
    assert 3 in sizes
    assert sizes[-1] == (4 if returns else 3)


def test_the_groups_are_the_racks_and_after_a_death_near_square() -> None:
    """Between two racks of three go only the slices of one rank a rack; of five who are left, five groups of one."""
    died = simulate(
        training(
            by("hierarchical", on_failure="elastic"),
            nodes=6,
            steps=4,
            network=RACKS,
            faults=[crash("node5", 4 * MS)],
        ),
        trace="messages",
    )
    assert died.outcome is Outcome.FINISHED
    racks = {f"node{rank}": rank // 3 for rank in range(6)}
    third_ns = select(died.trace, "update", step=3)[0].time_ns
    sums = [event for event in select(died.trace, "depart") if "across" in event.fields["tag"]]
    before = {(event.node, event.fields["to"]) for event in sums if event.time_ns < 4 * MS}
    assert before == {(one, other) for one in racks for other in racks if abs(int(one[-1]) - int(other[-1])) == 3}
    after = {(event.node, event.fields["to"]) for event in sums if event.time_ns > third_ns}
    assert after == {(f"node{rank}", f"node{(rank + 1) % 5}") for rank in range(5)}
