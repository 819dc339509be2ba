"""Who could see whose gradient: the linear algebra against textbook schedules and brute force, and what strategies say.

The oracle writes down what every rank hears by the schedule's textbook rule, with no plan played, and asks NumPy for
ranks of matrices. What is not here: the plans' own messages (`test_collective_plans.py`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringsim import parse, simulate
from ringsim.collectives.halving_doubling import HalvingDoubling
from ringsim.collectives.hierarchical import Hierarchical
from ringsim.collectives.knowledge import knowledge, solved
from ringsim.collectives.parameter_server import ParameterServerAllReduce
from ringsim.collectives.ring import RingAllReduce
from ringsim.collectives.table import ALGORITHMS
from ringsim.collectives.tree import TreeAllReduce
from ringsim.node import Node, Operation
from ringsim.plan import Plan
from ringsim.result import Result
from ringsim.scenario import STRATEGY_NAMES
from ringsim.strategies.exposure import DECLARED, MOST_NODES, Traces, exposure
from ringsim.strategies.training import State, Training

DOCS = Path(__file__).parents[1] / "docs"

Heard = dict[int, list[set[int]]]  # by element: the sums that a rank hears, each as the ranks in it


def part_known(ranks: int, rank: int, heard: Heard, elements: int) -> list[Fraction]:
    """Return what part of each rank's vector follows: a symbol that adds no rank to the matrix of what is known."""
    known = [0] * ranks
    for element in range(elements):
        sums = [{rank}, *heard.get(element, [])]
        matrix = np.array([[float(owner in one) for owner in range(ranks)] for one in sums])
        for owner in range(ranks):
            more = np.vstack([matrix, np.eye(ranks)[owner]])
            known[owner] += int(np.linalg.matrix_rank(more) == np.linalg.matrix_rank(matrix))
    return [Fraction(count, elements) for count in known]


def ring_hears(ranks: int, rank: int) -> Heard:
    """Segment s begins at rank s: rank s + k adds itself to the sum of s .. s + k - 1. Then totals go round."""
    everybody = set(range(ranks))
    return {
        segment: [
            *([{(segment + j) % ranks for j in range((rank - segment) % ranks)}] if rank != segment else []),
            everybody,
        ]
        for segment in range(ranks)
    }


def tree_hears(ranks: int, rank: int) -> Heard:
    """In the round of a bit, those below it hear of whoever has this bit more: for all that end in the same bits."""
    sums = [set(range(ranks))]
    bit = 1
    while bit < ranks:
        if rank < bit and rank + bit < ranks:
            sums.append({other for other in range(ranks) if other % (2 * bit) == rank + bit})
        bit *= 2
    return {0: sums}


def halving_hears(ranks: int, rank: int) -> Heard:
    """At distance d a rank hears the half that it keeps from its partner: the sum of all that equal that modulo 2d."""
    heard: Heard = {segment: [set(range(ranks))] for segment in range(ranks)}
    distance = ranks // 2
    while distance:
        partner = rank ^ distance
        spoken_for = {other for other in range(ranks) if other % (2 * distance) == partner % (2 * distance)}
        for segment in range(ranks):
            if segment // distance == rank // distance:
                heard[segment].append(spoken_for)
        distance //= 2
    return heard


def groups_hear(size: int, groups: int, rank: int) -> Heard:
    """Inside, as in a ring of the group's slices; across, as in a ring of whole groups, of the one slice it owns."""
    group, place = divmod(rank, size)
    heard: Heard = {}
    for element in range(size * groups):
        piece, smaller = divmod(element, groups)
        sums = [{group * size + (piece + j) % size for j in range((place - piece) % size)}]
        if piece == (place + 1) % size:
            before = [(smaller + j) % groups for j in range((group - smaller) % groups)]
            sums.append({other * size + one for other in before for one in range(size)})
        heard[element] = [one for one in [*sums, set(range(size * groups))] if one]
    return heard


@pytest.mark.parametrize(("size", "groups"), [(2, 2), (3, 2), (2, 3), (4, 2), (3, 3), (1, 5), (5, 1)])
def test_what_groups_tell_is_what_their_rings_tell(size: int, groups: int) -> None:
    ranks = size * groups
    plan = Hierarchical(tuple(tuple(range(first, first + size)) for first in range(0, ranks, size)))
    expected = [part_known(ranks, rank, groups_hear(size, groups, rank), ranks) for rank in range(ranks)]
    assert [list(row) for row in knowledge(plan, ranks)] == expected


@pytest.mark.parametrize("ranks", range(2, 9))
def test_what_a_ring_tells_is_what_its_schedule_tells(ranks: int) -> None:
    expected = [part_known(ranks, rank, ring_hears(ranks, rank), ranks) for rank in range(ranks)]
    assert [list(row) for row in knowledge(RingAllReduce(), ranks)] == expected


@pytest.mark.parametrize("ranks", range(2, 10))
def test_what_a_tree_tells_is_what_its_schedule_tells(ranks: int) -> None:
    expected = [part_known(ranks, rank, tree_hears(ranks, rank), 1) for rank in range(ranks)]
    assert [list(row) for row in knowledge(TreeAllReduce(), ranks)] == expected


@pytest.mark.parametrize("ranks", [2, 4, 8, 16])
def test_what_halving_and_doubling_tells_is_what_its_schedule_tells(ranks: int) -> None:
    expected = [part_known(ranks, rank, halving_hears(ranks, rank), ranks) for rank in range(ranks)]
    assert [list(row) for row in knowledge(HalvingDoubling(), ranks)] == expected


@pytest.mark.parametrize("ranks", [3, 4, 5, 8, 11])
def test_in_a_ring_both_neighbours_know_a_segment_and_nobody_else_any(ranks: int) -> None:
    for rank, row in enumerate(knowledge(RingAllReduce(), ranks)):
        neighbours = {(rank - 1) % ranks, (rank + 1) % ranks}
        assert [part for owner, part in enumerate(row) if owner in neighbours] == [Fraction(1, ranks)] * 2
        assert not [part for owner, part in enumerate(row) if part and owner not in {*neighbours, rank}]


@pytest.mark.parametrize("plan", [RingAllReduce(), TreeAllReduce(), HalvingDoubling(), Hierarchical(((0,), (1,)))])
def test_two_find_out_each_others_whole_vector(plan: Plan) -> None:
    assert knowledge(plan, 2) == ((1, 1), (1, 1))


def test_groups_of_two_know_half_of_each_other() -> None:
    # A pair's halves go raw, and are two-element sums afterwards; across, only sums of pairs.
    seen = knowledge(Hierarchical(((0, 1), (2, 3), (4, 5))), 6)
    for rank, row in enumerate(seen):
        assert [part for owner, part in enumerate(row) if owner != rank and part] == [Fraction(1, 2)]
        assert row[rank ^ 1] == Fraction(1, 2)


def test_a_server_knows_its_range_of_everybody_and_workers_know_the_sum() -> None:
    assert knowledge(ParameterServerAllReduce(servers=2), 5) == (
        (1, 0, 0), (0, 1, 0), (0, 0, 1),
        (Fraction(1, 2),) * 3, (Fraction(1, 2),) * 3,
    )  # fmt: skip
    assert knowledge(ParameterServerAllReduce(), 3) == ((1, 1), (1, 1), (1, 1))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_what_a_system_determines_is_what_the_ranks_of_matrices_say(data: st.DataObject) -> None:
    unknowns = data.draw(st.integers(1, 5))
    rows = data.draw(st.lists(st.tuples(*[st.integers(-2, 2)] * unknowns), min_size=1, max_size=6))
    matrix = np.array(rows, float)
    rank = np.linalg.matrix_rank(matrix)
    expected = [
        column
        for column in range(unknowns)
        if np.linalg.matrix_rank(np.vstack([matrix, np.eye(unknowns)[column]])) == rank
    ]
    assert list(solved(rows)) == expected


# --- what strategies say ----------------------------------------------------------------------------------------------

BASE = """
name: seen
task: {dataset: {kind: synthetic, samples: 64}, model: {kind: softmax}, steps: 2, batch_size: 4}
cluster: {nodes: 4}
strategy: {name: ring}
"""


def played(*overrides: str, **more: Any) -> Result:
    return simulate(parse(BASE, overrides=overrides).scenario, **more)


def seen(result: Result) -> dict[str, dict[str, float]]:
    assert result.measures.exposure is not None
    return {observer: dict(owners) for observer, owners in result.measures.exposure.seen.items()}


def most(*overrides: str) -> float:
    found = played(*overrides).measures.exposure
    assert found is not None
    return found.maximum


@pytest.mark.parametrize("name", STRATEGY_NAMES)
def test_every_strategy_lets_know_who_could_see_what(name: str) -> None:
    found = played(f"strategy={{name: {name}}}", "task.model={kind: mlp, hidden: [8, 8, 8]}").measures.exposure
    assert found is not None
    assert 0 <= found.mean <= found.maximum <= 1
    assert all(part > 0 for owners in found.seen.values() for part in owners.values())
    assert not [observer for observer, owners in found.seen.items() if observer in owners]


def test_a_ring_sees_a_quarter_of_each_neighbour() -> None:
    result = played()
    assert seen(result) == {
        f"node{rank}": {f"node{other}": 0.25 for other in sorted(((rank - 1) % 4, (rank + 1) % 4))} for rank in range(4)
    }
    assert result.measures.exposure is not None
    assert result.measures.exposure.mean == pytest.approx(8 * 0.25 / 12)


def test_alone_there_is_nothing_to_see() -> None:
    for result in (played("strategy={name: local}"), played("cluster.nodes=1")):
        assert seen(result) == {}
        assert result.measures.exposure is not None
        assert (result.measures.exposure.maximum, result.measures.exposure.mean) == (0, 0)


def test_the_collective_decides_what_a_ring_s_strategy_shows() -> None:
    assert most("strategy.collective=tree") == 1
    assert most("strategy.collective=halving_doubling") == 0.5
    assert most("strategy.collective=hierarchical") == 0.5
    assert most("cluster.nodes=2") == 1


def test_a_spare_sees_nothing_and_the_others_what_a_smaller_ring_sees() -> None:
    shown = seen(played("strategy.on_failure=spares"))
    assert set(shown) == {"node0", "node1", "node2"}
    assert {part for owners in shown.values() for part in owners.values()} == {1 / 3}


def test_a_server_sees_all_of_everybody_and_workers_the_mean() -> None:
    workers = [f"node{rank}" for rank in range(4)]
    assert seen(played("strategy.name=parameter_server")) == {"server0": dict.fromkeys(workers, 1.0)}
    chain = seen(played("strategy={name: parameter_server, server: {replicas: 2}}"))
    assert set(chain) == {"server0"}, "the second hears of means"
    pushes = seen(played("strategy={name: parameter_server, server: {replicas: 2, replicate: pushes}}"))
    assert pushes == {"server0": dict.fromkeys(workers, 1.0), "server1": dict.fromkeys(workers, 1.0)}


def test_who_serves_a_range_sees_it_of_everybody() -> None:
    workers = [f"node{rank}" for rank in range(4)]
    shards = seen(played("strategy={name: parameter_server, server: {shards: 2}}"))
    assert shards == {f"server{index}": dict.fromkeys(workers, 0.5) for index in range(2)}
    assert seen(played("strategy={name: parameter_server, server: {co_located: true}}")) == {
        worker: {other: 0.25 for other in workers if other != worker} for worker in workers
    }


@pytest.mark.parametrize("consistency", ["bounded_delay", "ssp", "asp"])
def test_not_in_step_a_worker_can_find_another_s_single_update(consistency: str) -> None:
    shown = seen(played(f"strategy={{name: parameter_server, consistency: {consistency}}}"))
    assert shown["server0"] == dict.fromkeys([f"node{rank}" for rank in range(4)], 1.0)
    assert shown["node0"] == {f"node{rank}": 1.0 for rank in (1, 2, 3)}


@pytest.mark.parametrize(("nodes", "backups", "everybody"), [(2, 0, True), (3, 0, False), (3, 1, True), (4, 1, False)])
def test_where_two_make_a_mean_each_has_the_others(nodes: int, backups: int, everybody: bool) -> None:
    policy = f"on_failure: backup, backups: {backups}" if backups else "on_failure: wait"
    shown = seen(played(f"cluster.nodes={nodes}", f"strategy={{name: parameter_server, {policy}}}"))
    assert ("node0" in shown) is everybody
    # The rule is the algebra's: those in the mean, a server, and who is told the sum.
    algebra = knowledge(ParameterServerAllReduce(), nodes - backups + 1)
    assert (algebra[0][1] == 1) is everybody


def test_who_holds_a_part_sees_that_part_of_whoever_reads() -> None:
    traces = Traces({"a": (0, 30), "b": (30, 40)}, ("a",), None, 160)
    found = exposure(parse(BASE).scenario, "stages", traces)
    assert found is not None
    assert found.seen == {"b": {"a": 0.25}}, "its own does not count"
    assert exposure(parse(BASE).scenario, "stages", Traces({}, ("a",), None, 160)) is None
    replicas = Traces({"a": (0, 30), "b": (0, 30), "c": (30, 30), "d": (30, 30), "e": (30, 40)}, ("a", "b"), None, 160)
    assert exposure(parse(BASE).scenario, "stages", replicas) is None, "replicas hear sums"


def test_on_one_machine_nothing_is_hidden_and_nothing_counts() -> None:
    shown = seen(played("cluster.nodes=[{name: a, processes: 2}, {name: b, processes: 2}]"))
    assert shown == {"a.0": {"b.1": 0.25}, "a.1": {"b.0": 0.25}, "b.0": {"a.1": 0.25}, "b.1": {"a.0": 0.25}}
    alone = played("cluster.nodes=[{name: a, processes: 2}]").measures.exposure
    assert alone is not None
    assert (alone.maximum, alone.mean) == (0, 0)


def test_first_parameters_are_no_gradients() -> None:
    assert seen(played("strategy={name: dpsgd}", "task.steps=1")) == {}
    assert most("strategy={name: dpsgd}", "task.steps=2") == 1


def apart(node: Node, training: Training) -> Operation[State]:
    """Train alone, and show the left half of the parameters to node1 once."""
    from ringsim.node import Group, Member

    group, state = Group(0, (Member(node.name, 0),)), training.initial()
    while not training.is_finished(state):
        batch = training.begin_step(node, state, group)
        gradient = yield from training.gradient(node, state, batch, group)
        state = training.update(node, state, gradient.array, group, reports=True)
    if node.name == "node0":
        node.send("node1", None, training.gradient_size_bytes // 2, tag="half")
    elif node.name == "node1":
        yield from node.receive("node0", tag="half")
    return state


def test_a_function_of_ones_own_shows_what_it_sends() -> None:
    assert seen(played("cluster.nodes=2", strategy=apart)) == {"node1": {"node0": 0.5}}


def test_of_very_many_nodes_it_is_not_worked_out() -> None:
    crowd = parse(BASE, overrides=[f"cluster.nodes={MOST_NODES + 1}"]).scenario
    assert exposure(crowd, "ring", Traces({}, (), None, 1)) is None
    assert f"more than {MOST_NODES} workers" in (DOCS / "outputs.md").read_text(encoding="utf-8")


def test_every_declaration_is_of_a_strategy() -> None:
    assert set(DECLARED) <= set(STRATEGY_NAMES)


def test_the_table_of_the_docs_is_what_is_worked_out() -> None:
    text = (DOCS / "comparing.md").read_text(encoding="utf-8").split("## Who sees")[1]
    head, *rows = re.findall(r"^\| (\S+) \| (\S+) \| (\S+) \| (\S+) \| (\S+) \|$", text, re.MULTILINE)
    sizes = [int(size) for size in head[1:]]
    assert len(rows) == 5
    for name, *parts in rows:
        algorithm = ALGORITHMS[name.strip("`")]
        assert parts == [str(largest(algorithm.plan(n + algorithm.servers, n), n + algorithm.servers)) for n in sizes]


def largest(plan: Plan, ranks: int) -> Fraction:
    rows: Sequence[Sequence[Fraction]] = knowledge(plan, ranks)
    return max(part for rank, row in enumerate(rows) for owner, part in enumerate(row) if owner != rank)
