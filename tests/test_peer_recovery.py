"""Recovery from peers: who copies from whom, what is carried on, what is lost; and the copy as a collective.

What is not here: deaths in every phase and at random, and the oracles (`test_ring_policies.py`).
"""

from __future__ import annotations

import numpy as np
import pytest
from test_ring_policies import PATH_NS, RANKS, all_reduce_ns, assert_promises, base_run, ring, rings
from test_strategies import SGD, assert_close
from worlds import MS, US, cluster, crash, play_collective, results_in_rank_order, select, train, training

from ringsim.collectives.peer_copy import PeerCopy
from ringsim.errors import InvariantBroken
from ringsim.invariants import broken
from ringsim.learning.engine import Engine
from ringsim.node import Group, Member
from ringsim.result import Outcome, Result
from ringsim.simulation import simulate
from ringsim.strategies.membership import Standing
from ringsim.strategies.ring_peer_recovery import Part, recovery

# --- the copy ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sources", [(None, 0), (None, None, 0, 1, 0), (1, None, 1, 1), (2, 2, None, None, 3, 2, 3)])
def test_copies_leave_one_after_another_and_sources_share_the_work(sources):
    size_bytes = 5_000
    have = [f"state of {rank}" for rank in range(len(sources))]
    story = play_collective(cluster(len(sources)), PeerCopy(size_bytes, sources), have)
    assert results_in_rank_order(story) == [
        have[rank if source is None else source] for rank, source in enumerate(sources)
    ]
    for rank, source in enumerate(sources):
        given = [other for other in range(len(sources)) if sources[other] == rank]
        (done_ns,) = story.times("collective_finish", f"node{rank}")
        if source is None:
            assert done_ns == len(given) * 8 * size_bytes
        else:
            place = [other for other in range(rank + 1) if sources[other] == source].index(rank)
            assert done_ns == (place + 1) * 8 * size_bytes + PATH_NS
    assert len(story.of("deliver")) == sum(source is not None for source in sources)


def test_a_copy_is_known_by_its_messages_alone():
    plan = PeerCopy(8, (None, 0, None, 2))
    assert plan.connections(4) == [(0, 1), (2, 3)]
    assert plan.results(["a", "b", "c", "d"]) == ["a", "a", "c", "c"]
    assert plan.disagreement(["a", "a", "c", "c"]) is None
    assert "rank 3 ended a peer copy with something else than rank 2" in str(plan.disagreement(["a", "a", "c", "x"]))
    with pytest.raises(InvariantBroken, match="no closed form"):
        plan.times("a", [0] * 4, None, False)


# --- who does what ----------------------------------------------------------------------------------------------------

ORIGIN = Group(3, tuple(Member(f"node{rank}", 0) for rank in range(5)))


def stands(step: int, samples: int | None = None, origin: Group | None = ORIGIN, has_state: bool = True) -> Standing:
    return Standing(step, False, has_state, None if origin is None else Part(origin, samples))


@pytest.mark.parametrize(
    ("standings", "sources", "contributors"),
    [
        ([stands(4, 8), stands(4, 8), stands(4, 3)], (None, None, None), (0, 1, 2)),
        ([stands(4, 8), stands(4, None), stands(0, has_state=False, origin=None)], (None, None, 0), (0,)),
        ([stands(4, None), stands(4, None)], (None, None), ()),
        ([stands(4, 0), stands(4, None)], (None, None), ()),
        ([stands(4, 8), stands(4, origin=None)], (None, None), ()),
        ([stands(4, 8), stands(5, origin=None), stands(4, 8)], (1, None, 1), ()),
        ([stands(4, 8), stands(5, 8), stands(4, 8), stands(5, 8)], (1, None, 3, None), ()),
        ([stands(4, 8), stands(4, 8, origin=Group(4, ORIGIN.members))], (None, None), ()),
        ([stands(0, origin=None, has_state=False)] * 3, (None, 0, 0), ()),
        ([stands(4, 8, has_state=False), stands(0, origin=None, has_state=False)], (None, 0), ()),
        ([stands(9, has_state=False, origin=None), stands(4, 8)], (1, None), (1,)),
    ],
)
def test_what_members_do_follows_from_how_they_stand(standings, sources, contributors):
    found = recovery(standings)
    assert found.sources == sources
    assert found.contributors == contributors
    assert (found.origin is None) == (not contributors)
    highest = max((s.step for s in standings if s.has_state), default=standings[0].step)
    assert all(s.step == highest for s, source in zip(standings, sources, strict=True) if source is None)


# --- whole trainings --------------------------------------------------------------------------------------------------


def test_survivors_add_up_once_more_what_they_had_computed():
    scenario = ring("peer_recovery", [crash("node1", {"step": 1, "segment": 1})], {"optimizer": SGD})
    watched = train(scenario, trace="messages")
    assert_promises(watched)
    result = watched.result
    carried = select(result.trace, "carry")
    assert [(e.node, e.fields["from_generation"], e.fields["generation"]) for e in carried] == [
        (node, 0, 1) for node in ("node0", "node2", "node3")
    ]
    (drop,) = select(result.trace, "dropped")
    assert (drop.node, drop.fields["worker"], len(drop.fields["samples"])) == ("node0", "node1", 8)
    assert (result.samples.lost, result.samples.repeated) == (8, 0)
    row = next(row for row in result.metrics if row.step == 2)
    assert (row.generation, row.world_size) == (1, 3)
    losses = {e.node: e.fields["loss"] for e in select(result.trace, "loss", generation=0, step=1)}
    assert row.loss == pytest.approx(np.mean([losses[node] for node in ("node0", "node2", "node3")]))
    # Nothing is computed again: after the new ring is there, only the sum takes time.
    joined_ns = max(e.time_ns for e in select(result.trace, "world", generation=1))
    (failure,) = result.failures
    assert failure.resumed_at_ns == joined_ns + all_reduce_ns(3)
    assert failure.rolled_back_steps == 0
    # The step after it begins where the whole step of four has ended.
    after = [s for e in select(result.trace, "step_begin", step=2) for s in e.fields["samples"]]
    before = [s for e in select(result.trace, "step_begin", step=1) for s in e.fields["samples"]]
    assert not set(after) & set(before)


def test_the_mean_is_over_the_survivors_samples_and_not_over_the_survivors():
    nodes = [{"shard_weight": weight} for weight in (1, 2, 0.5, 2.5)]
    strategy = {"name": "ring", "on_failure": "peer_recovery"}
    scenario = training(
        strategy, nodes=nodes, steps=1, optimizer=SGD, faults=[crash("node1", {"step": 0, "segment": 1})]
    )
    result = simulate(scenario)
    carried = {e.node: e.fields["samples"] for e in select(result.trace, "carry")}
    assert {node: len(samples) for node, samples in carried.items()} == {"node0": 8, "node2": 4, "node3": 20}
    engine = Engine(scenario.task, scenario.seed, rows=32)
    state = engine.initial()
    samples = [sample for batch in carried.values() for sample in batch]
    state = engine.update(state, engine.gradient(state.parameters, samples).value().array, SGD["learning_rate"])
    assert_close(result.parameters, state.parameters.array, 1e-6)


def test_a_death_while_gradients_are_carried_on_is_the_same_again():
    first = crash("node1", {"step": 2, "segment": 1})
    joined_ns = max(e.time_ns for e in select(simulate(ring("peer_recovery", [first])).trace, "world", generation=1))
    watched = train(ring("peer_recovery", [first, crash("node3", joined_ns + 150 * US)]), trace="messages")
    assert_promises(watched)
    result = watched.result
    assert {(e.fields["from_generation"], e.fields["generation"]) for e in select(result.trace, "carry")} == {
        (0, 1),
        (0, 2),
    }
    assert [row.world_size for row in result.metrics if row.step == 3] == [2]
    assert (result.samples.lost, result.samples.repeated) == (16, 0)


def test_when_one_had_finished_the_step_the_others_copy_it():
    """node0 has sent so much of the all-gather that node3 can finish, and nobody else."""
    watched = train(
        ring("peer_recovery", [crash("node0", {"step": 2, "segment": 4}, None, "silence")]), trace="messages"
    )
    assert_promises(watched)
    result = watched.result
    assert {e.node for e in select(result.trace, "update", step=3)} == {"node3"}
    copies = [(e.fields["source"], e.node) for e in select(result.trace, "deliver") if "copy" in e.fields["tag"]]
    assert copies == [("node3", "node1"), ("node3", "node2")]
    assert not select(result.trace, "carry")
    assert (result.samples.lost, result.samples.repeated) == (0, 0)
    assert [row.world_size for row in result.metrics] == [4, 4, 4, *[3] * (result.steps - 3)]


def test_a_gradient_that_one_had_computed_for_the_step_that_begins_anew_is_thrown_away():
    """A death in the vote: those it reached have begun the next step, those beyond have not."""
    found = 0
    for late in range(10, 220, 15):
        voted_ns = select(base_run("peer_recovery").trace, "update", "node0", step=2)[0].time_ns
        watched = train(ring("peer_recovery", [crash("node1", voted_ns + late * US)]), trace="messages")
        assert_promises(watched)
        found += watched.result.samples.repeated > 0
    assert found, "in some of these runs a gradient was there, and not carried on"


def test_who_returns_copies_a_peer_and_has_no_part_in_the_step_that_is_carried_on():
    """With three wanted, the two who are left wait at the rendezvous with their gradients until one is back."""
    faults = [crash("node1", {"step": 2, "segment": 1}, "2 ms"), crash("node3", {"step": 2, "segment": 1})]
    watched = train(ring("peer_recovery", faults, min_workers=3), trace="messages")
    assert_promises(watched)
    result = watched.result
    assert rings(result)[1] == ["node0", "node2", "node1"]
    assert [row.world_size for row in result.metrics if row.step == 3] == [2]
    assert {e.node for e in select(result.trace, "update", generation=1, step=3)} == {"node0", "node1", "node2"}
    assert {e.node for e in select(result.trace, "carry")} == {"node0", "node2"}
    dropped = {e.fields["worker"] for e in select(result.trace, "dropped")}
    assert dropped == {"node1", "node3"}
    copies = [(e.fields["source"], e.node) for e in select(result.trace, "deliver") if "copy" in e.fields["tag"]]
    assert copies == [("node0", "node1")]


def test_when_all_who_had_computed_the_step_are_gone_who_had_copied_begins_it_anew():
    faults = [crash("node1", {"step": 2, "segment": 1}, "2 ms")]
    first = simulate(ring("peer_recovery", faults, nodes=2, min_workers=2))
    healed_ns = select(first.trace, "restore", "node1", generation=1)[0].time_ns
    faults = [*faults, crash("node0", healed_ns + 50 * US, "2 ms")]
    watched = train(ring("peer_recovery", faults, nodes=2, min_workers=2), trace="messages")
    assert_promises(watched)
    assert watched.result.outcome is Outcome.FINISHED
    assert watched.result.samples.lost == 0
    assert watched.result.samples.repeated == 16
    assert select(watched.result.trace, "dropped"), "it was to be lost, and then was not"


def test_newcomers_join_between_two_steps_and_nobody_loses_work():
    watched = train(ring("peer_recovery", [crash("node1", {"step": 0, "segment": 1}, "1 ms")]), trace="messages")
    assert_promises(watched)
    result = watched.result
    assert rings(result)[2] == ["node0", "node2", "node3", "node1"]
    assert result.steps_executed == result.steps
    assert result.samples.repeated == 0
    (failure,) = result.failures
    assert failure.resumed_at_ns < failure.recovered_at_ns


def test_whether_somebody_waits_is_asked_between_two_steps_and_not_after_the_last():
    result = base_run("peer_recovery")
    votes = select(result.trace, "collective_enter", "node0", plan="broadcast")
    assert len(votes) == result.steps - 1


def test_nobody_is_left_who_had_the_state():
    together = [crash(f"node{rank}", 3 * MS, "1 ms") for rank in range(RANKS)]
    result = simulate(ring("peer_recovery", together))
    assert result.outcome is Outcome.LOST
    assert "nobody is left of the last ring, who had the state" in result.outcome_sentence


# --- a death in the copy ----------------------------------------------------------------------------------------------

AHEAD = crash("node0", {"step": 2, "segment": 4}, None, "silence")  # node3 has all that it needs, and nobody else
SLOW = {"network": {"bandwidth": "1 Mbit/s"}}


def copying() -> tuple[Result, list[int]]:
    """A run in which node3 gives its state to node1, then to node2; when these copies begin, and when they are over."""
    result = simulate(ring("peer_recovery", [AHEAD], SLOW), trace="messages")
    assert {e.node for e in select(result.trace, "update", step=3, generation=0)} == {"node3"}
    departed = [e.time_ns for e in select(result.trace, "depart", "node3") if "copy" in e.fields["tag"]]
    arrived = [e.time_ns for e in select(result.trace, "deliver") if "copy" in e.fields["tag"]]
    assert len(departed) == len(arrived) == 2
    return result, [departed[0], arrived[0], arrived[1]]


@pytest.mark.parametrize("notice", ["reset", "silence"])
def test_when_the_only_one_ahead_dies_in_the_copy_the_others_carry_their_own_gradients_on(notice):
    _, (began, first, _) = copying()
    fault = crash("node3", (began + first) // 2, None, notice)
    watched = train(ring("peer_recovery", [AHEAD, fault], SLOW), trace="messages")
    assert_promises(watched)
    result = watched.result
    assert result.outcome is Outcome.FINISHED
    assert [(row.generation, row.world_size, row.committed) for row in result.metrics if row.step == 3] == [
        (0, 4, False),
        (2, 2, True),
    ]
    assert {e.fields["worker"] for e in select(result.trace, "dropped")} == {"node0", "node3"}
    assert (result.samples.lost, result.samples.repeated) == (16, 0)


@pytest.mark.parametrize("notice", ["reset", "silence"])
def test_when_one_has_copied_the_next_copies_from_it(notice):
    _, (_, first, second) = copying()
    fault = crash("node3", (first + second - PATH_NS) // 2, None, notice)
    watched = train(ring("peer_recovery", [AHEAD, fault], SLOW), trace="messages")
    assert_promises(watched)
    result = watched.result
    copies = [(e.fields["source"], e.node) for e in select(result.trace, "deliver") if "copy" in e.fields["tag"]]
    assert copies == [("node3", "node1"), ("node1", "node2")]
    assert [(row.generation, row.committed) for row in result.metrics if row.step == 3] == [(0, True)]
    assert result.samples.lost == 0


@pytest.mark.parametrize(
    ("copier", "notice", "lost", "repeated"),
    [
        ("node1", "reset", 0, 0),  # nobody had begun the step
        ("node2", "reset", 0, 8),  # node1, which had its copy, had computed alone
        ("node1", "silence", 8, 0),  # the step breaks where all who are left have computed
        ("node2", "silence", 8, 0),
    ],
)
def test_the_death_of_one_who_copies_is_like_any_other(copier, notice, lost, repeated):
    _, (began, first, _) = copying()
    fault = crash(copier, (began + first) // 2, None, notice)
    watched = train(ring("peer_recovery", [AHEAD, fault], SLOW), trace="messages")
    assert_promises(watched)
    result = watched.result
    assert result.outcome is Outcome.FINISHED
    assert (result.samples.lost, result.samples.repeated) == (lost, repeated)
    assert [(row.generation, row.committed) for row in result.metrics if row.step == 3] == [(0, True)]


def test_a_ring_may_tell_of_what_it_carries_on_after_the_next_one_has_done_so():
    # node0 gets word of ring 1 only when the partition is over; by then node1 has gone on alone, in ring 2.
    parted = {"kind": "partition", "groups": [["rendezvous", "node1"], ["node0", "node2"]], "lasts": "1 ms"}
    faults = [crash("node2", 1_100 * US), {**parted, "at": "1300 us"}]
    result = simulate(ring("peer_recovery", faults, nodes=3, timeout="300 us", set_aside={"cooldown": "0 ns"}))
    told = {e.fields["generation"]: e.time_ns for e in select(result.trace, "dropped", step=0, worker="node2")}
    assert told[1] > told[2]
    assert result.outcome is Outcome.FINISHED
    assert broken(result) == {}
