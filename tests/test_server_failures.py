"""Parameter servers and death: at every instant, of everybody, under every policy; nothing is lost without saying so.

What the trace says is counted here anew, and the parameters are computed anew from the samples that it says are in each
update; nothing of `ringsim.accounting` is used. What is not here: the store by itself (`test_storage.py`).
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from worlds import MS, TINY, US, crash, select, train, training

from ringsim.errors import ScenarioInvalid
from ringsim.learning.engine import Engine
from ringsim.learning.sampler import Cursor, Sampler
from ringsim.node import Group, Member
from ringsim.result import Outcome, Result
from ringsim.scenario import Scenario, train_size, worker_shares
from ringsim.simulation import simulate
from ringsim.strategies.training import State, Training

COMPUTE_NS, PATH_NS = 1 * MS, 100 * US
BYTES = 4 * (TINY["features"] + 1) * TINY["classes"]
STATE_BYTES = BYTES + 24  # plain SGD has no state of its own
GBIT_NS = 8  # of a byte
# A save or a load of the state takes 100 us and 1 us for each byte.
STORAGE = {"bandwidth": "8 Mbit/s", "latency": "100 us"}
SAVE_NS = 100 * US + STATE_BYTES * US

WAIT = {"on_failure": "wait"}
TIMEOUT = {"on_failure": "timeout", "timeout": "20 ms"}
BACKUP = {"on_failure": "backup", "backups": 1}
POLICIES = {"wait": WAIT, "timeout": TIMEOUT, "backup": BACKUP}
ONE, TWO, THREE, SAVES = {}, {"replicas": 2}, {"replicas": 3}, {"checkpoint_every": 2}
SERVERS = {"one server": ONE, "two in a chain": TWO, "three in a chain": THREE, "checkpoints": SAVES}


def scenario(server: Any = ONE, policy: Any = WAIT, **options: Any) -> Scenario:
    strategy = {"name": "parameter_server", **policy, "server": server}
    return training(strategy, **{"nodes": 3, "cluster": {"storage": STORAGE}, **options})


def digests(result: Result) -> tuple[str, str]:
    return result.schedule_digest, result.numbers_digest


# --- the trace, counted and computed anew -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Made:
    """An update of the final history: the generation that made it, its epoch, and the samples of each worker in it."""

    generation: int
    epoch: int
    batches: dict[str, tuple[int, ...]]


def history(result: Result) -> list[Made]:
    """Return the updates that the final parameters went through."""
    path: list[tuple[int, int]] = []
    for event in result.trace:
        if event.node.startswith("server") and event.kind == "restore":
            del path[event.fields["step"] :]
        elif event.kind == "update" and event.fields["step"] == len(path) + 1:
            path.append((event.fields["generation"], event.fields["step"] - 1))
    begun: dict[tuple[int, int], dict[str, tuple[int, ...]]] = defaultdict(dict)
    epochs: dict[tuple[int, int], int] = {}
    for event in select(result.trace, "step_begin"):
        place = event.fields["generation"], event.fields["step"]
        batch = tuple(event.fields["samples"])
        assert begun[place].setdefault(event.node, batch) == batch, "a step has the same samples whoever asks again"
        epochs[place] = event.fields["epoch"]
    for event in select(result.trace, "dropped"):
        begun[event.fields["generation"], event.fields["step"]].pop(event.fields["worker"], None)
    return [Made(place[0], epochs[place], begun[place]) for place in path]


def assert_books_are_right(result: Result) -> None:
    """Samples: each at most once an epoch; counted, repeated, lost as the trace says; world sizes too."""
    made = history(result)
    assert result.steps == len(made)
    counted: dict[int, Counter[int]] = defaultdict(Counter)
    for step in made:
        for batch in step.batches.values():
            counted[step.epoch].update(batch)
    assert all(max(samples.values(), default=1) == 1 for samples in counted.values())
    handed: dict[int, set[int]] = defaultdict(set)
    for event in (*select(result.trace, "step_begin"), *select(result.trace, "dropped")):
        handed[event.fields["epoch"]].update(event.fields["samples"])
    computed: dict[int, list[int]] = defaultdict(list)
    own = {
        (event.node, event.fields["generation"], event.fields["step"]): event.fields["samples"]
        for event in select(result.trace, "step_begin")
    }
    for event in select(result.trace, "loss"):
        computed[event.fields["epoch"]] += own[event.node, event.fields["generation"], event.fields["step"]]
    for epoch in result.epochs:
        assert epoch.counted == len(counted[epoch.epoch])
        assert epoch.lost == len(handed[epoch.epoch] - set(counted[epoch.epoch]))
        assert epoch.repeated == len(computed[epoch.epoch]) - len(set(computed[epoch.epoch]))
    sizes = {(e.fields["generation"], e.fields["step"]): e.fields["world_size"] for e in select(result.trace, "update")}
    for number, step in enumerate(made, start=1):
        assert sizes[step.generation, number] == len(step.batches)
    assert [row.step for row in result.metrics if row.committed] == list(range(1, result.steps + 1))
    assert result.lost_work == len(result.metrics) - len(made)
    latest = 0
    for event in result.trace:
        if event.node.startswith("server") and event.kind == "restore":
            assert event.fields["generation"] > latest, "a server that comes back begins a generation of its own"
        latest = max(latest, event.fields.get("generation", 0))
    for node in result.nodes:
        parts = (node.compute_ns, node.exposed_communication_ns, node.idle_ns, node.recovery_ns, node.down_ns)
        assert sum(parts) == result.virtual_time_ns


def computed_anew(result: Result) -> np.ndarray:
    """Return the parameters that come of the updates in the history, one plain step after another."""
    played = result.scenario
    shares = worker_shares(played)
    engine = Engine(played.task, played.seed, max(shares.values()))
    books = Training(played.task, engine, Sampler(played.seed, train_size(played), shares))
    model, cursor = engine.initial(), Cursor(0, 0)
    for step in history(result):
        names = [name for name in shares if name in step.batches]
        total = max(1, sum(len(step.batches[name]) for name in names))
        mean = None
        for name in names:
            gradient = engine.gradient(model.parameters, step.batches[name]).value().array
            part = np.float32(len(step.batches[name]) / total) * gradient
            mean = part if mean is None else mean + part
        rate = books.learning_rate(State(0, cursor, model), Group(0, tuple(Member(name, 0) for name in names)))
        model = engine.update(model, mean, rate)
    return model.parameters.array


def assert_promises(result: Result) -> None:
    assert_books_are_right(result)
    assert result.parameters is not None
    assert result.parameters.tobytes() == computed_anew(result).tobytes()


# --- time -------------------------------------------------------------------------------------------------------------


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


@pytest.mark.parametrize("replicas", [1, 2, 3, 5])
@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("replicate", ["means", "pushes"])
def test_a_step_with_a_chain_takes_its_closed_form(replicate, workers, replicas):
    server = {"replicas": replicas, "bandwidth": "100 Mbit/s", "latency": "20 us"}
    if replicas > 1:
        server["replicate"] = replicate
    result = simulate(scenario(server, nodes=workers, steps=3, dataset={**TINY, "samples": 960}))
    one_way_ns = 70 * US + ceil_div(8 * workers * BYTES * 10**9, 10**8)
    hop_ns = 2 * 40 * US + 80 * BYTES * (workers if replicate == "pushes" else 1) + 80 * 64
    step_ns = COMPUTE_NS + 2 * one_way_ns + (replicas - 1) * hop_ns
    assert sorted({event.time_ns for event in select(result.trace, "step_begin")}) == [0, step_ns, 2 * step_ns]
    assert result.virtual_time_ns == 3 * step_ns
    # The tail decides a step, and it alone tells of it; the last, which is evaluated, too.
    tail = f"server{replicas - 1}"
    assert [event.node for event in select(result.trace, "rate")] == [tail] * 3
    assert [event.node for event in select(result.trace, "evaluation")] == [tail]


@pytest.mark.parametrize(("every", "saves"), [(1, 4), (2, 2), (3, 2), (4, 1), (9, 1)])
def test_a_save_stands_between_the_update_and_its_answer(every, saves):
    plain, saving = simulate(scenario()), simulate(scenario({"checkpoint_every": every}))
    assert saving.virtual_time_ns == plain.virtual_time_ns + saves * SAVE_NS
    assert saving.checkpoints.saves == saves
    assert saving.checkpoints.saving_ns == saves * SAVE_NS
    assert saving.checkpoints.saved_bytes == saves * STATE_BYTES
    assert saving.parameters.tobytes() == plain.parameters.tobytes()


def test_a_server_that_comes_back_goes_on_from_its_checkpoint():
    plain = simulate(scenario(SAVES, steps=6))
    updates = [event.time_ns for event in select(plain.trace, "update", "server0")]
    # In the step after the third update; a save is due every two.
    dies_ns = updates[2] + 300 * US
    result = simulate(scenario(SAVES, steps=6, faults=[crash("server0", dies_ns, "7 ms")]))
    (load,) = select(result.trace, "load_end")
    assert load.time_ns == dies_ns + 7 * MS + SAVE_NS
    again = [event for event in select(result.trace, "update", "server0") if event.time_ns > dies_ns]
    assert [(event.fields["generation"], event.fields["step"]) for event in again] == [(1, 3), (1, 4), (1, 5), (1, 6)]
    one_way_ns = PATH_NS + 3 * BYTES * GBIT_NS
    assert again[0].time_ns == load.time_ns + 2 * one_way_ns + COMPUTE_NS
    (failure,) = result.failures
    # The workers compute when it dies, and see it where they wait: their pushes are answered by a reset.
    detected_ns = updates[2] + one_way_ns + COMPUTE_NS + one_way_ns + PATH_NS
    assert (failure.detected_at_ns, failure.resumed_at_ns) == (detected_ns, again[0].time_ns)
    assert (failure.rolled_back_steps, result.lost_work, result.steps_executed) == (1, 1, 7)
    # The step that was rolled back, and the one that was being computed.
    assert result.samples.repeated == 2 * 24
    assert result.parameters.tobytes() == plain.parameters.tobytes()
    assert_promises(result)


def test_each_life_of_a_server_has_a_generation_and_none_is_left_out():
    # The second life saves before it dies.
    faults = [crash("server0", 2 * MS, "1 ms"), crash("server0", 9 * MS, "1 ms")]
    result = simulate(scenario(SAVES, steps=6, faults=faults))
    restores = select(result.trace, "restore", "server0")
    assert [(event.fields["generation"], event.fields["step"]) for event in restores] == [(1, 0), (2, 4)]
    assert_promises(result)


def test_a_server_that_dies_before_its_first_checkpoint_begins_at_step_0():
    result = simulate(scenario(SAVES, faults=[crash("server0", COMPUTE_NS // 2, "1 ms")]))
    assert result.outcome is Outcome.FINISHED
    (load,) = select(result.trace, "load_end")
    assert (load.fields["size_bytes"], load.time_ns) == (None, COMPUTE_NS // 2 + 1 * MS + 100 * US)
    assert_promises(result)


def test_backup_workers_are_not_waited_for():
    nodes = [{}, {"speed": "1 GFLOP/s"}, {}, {}]
    waits = simulate(scenario(policy=WAIT, nodes=nodes, steps=3))
    result = simulate(scenario(policy=BACKUP, nodes=nodes, steps=3, learning_rate_scaling="linear"))
    assert waits.virtual_time_ns > 3 * 8 * COMPUTE_NS
    assert {row.world_size for row in result.metrics} == {3}
    assert {event.fields["worker"] for event in select(result.trace, "dropped")} == {"node1"}
    assert result.metrics[-1].learning_rate == pytest.approx(0.3), "it follows those whose gradients are in the mean"
    assert result.samples.lost == 3 * 8
    updates = [event.time_ns for event in select(result.trace, "update", "server0")]
    assert updates[-1] < 4 * COMPUTE_NS, "nobody waited for node1"
    assert_promises(result)


def test_a_straggler_takes_the_newest_parameters_and_not_each_older_answer_in_turn():
    nodes = [{}, {"speed": "3 GFLOP/s"}, {}, {}]
    result = simulate(scenario(policy=BACKUP, nodes=nodes, steps=12))
    begun = [event.fields["step"] for event in select(result.trace, "step_begin", "node1")]
    assert begun[0] == 0
    assert all(later - earlier >= 2 for earlier, later in itertools.pairwise(begun))
    newest = {}
    for event in select(result.trace, "update", "server0"):
        newest[event.fields["step"]] = event.time_ns
    for event in select(result.trace, "step_begin", "node1")[1:]:
        # What it begins with was the newest when the server took its late push, one way there and one back ago.
        asked_ns = event.time_ns - PATH_NS - BYTES * GBIT_NS
        assert newest[event.fields["step"]] <= asked_ns
        assert newest.get(event.fields["step"] + 1, 1 << 62) >= asked_ns
    assert_promises(result)


@pytest.mark.parametrize("backups", [1, 2])
def test_as_many_may_die_as_there_are_backups_and_not_one_more(backups):
    policy = {"on_failure": "backup", "backups": backups}
    dead = [crash(f"node{rank}", 1_500 * US, notice="silence") for rank in range(backups + 1)]
    result = simulate(scenario(policy=policy, nodes=4, faults=dead[:-1]))
    assert result.outcome is Outcome.FINISHED
    assert [row.world_size for row in result.metrics] == [4 - backups] * 4
    assert_promises(result)
    stalled = simulate(scenario(policy=policy, nodes=4, faults=dead))
    assert stalled.outcome is Outcome.STALLED
    assert "server0 waits for node0, node1" in stalled.outcome_sentence


@pytest.mark.parametrize("server", [ONE, TWO, SAVES])
@pytest.mark.parametrize("policy", [BACKUP, {"on_failure": "timeout", "timeout": "500 us"}])
def test_the_end_is_told_to_all_and_who_is_late_has_it_too(server, policy):
    result = simulate(scenario(server, policy, nodes=[{}, {"speed": "1 GFLOP/s"}, {}, {}], steps=3))
    assert {f"node{rank}" for rank in range(4)} < set(result.replicas)
    assert len(set(result.replicas.values())) == 1
    assert result.virtual_time_ns == 8 * COMPUTE_NS, "the answer was there when it was done with its first step"


def test_nobody_is_late_before_the_first_push():
    policy = {"on_failure": "timeout", "timeout": "500 us"}
    result = simulate(scenario(policy=policy, max_virtual_time="9 ms"))
    assert result.samples.lost == 0
    assert result.virtual_time_ns == simulate(scenario()).virtual_time_ns


def test_who_restarts_within_a_step_is_waited_for_again():
    result = simulate(scenario(policy=TIMEOUT, faults=[crash("node1", 300 * US, "100 us")]))
    assert [row.world_size for row in result.metrics] == [3] * 4
    assert result.samples.lost == 0


def test_a_newcomer_that_dies_before_it_takes_part_is_forgotten():
    # It asks in the second step, and is dead when the third begins, which nobody cuts or waits for it.
    faults = [crash("node1", 300 * US, "1200 us"), crash("node1", 1_900 * US)]
    result = simulate(scenario(policy=TIMEOUT, faults=faults))
    assert [event.fields["step"] for event in select(result.trace, "dropped")] == [0]
    assert result.virtual_time_ns < 20 * MS, "nobody was late"
    assert_promises(result)


def test_who_comes_back_is_answered_alone_and_takes_no_answer_twice():
    # node1 dies after its push, and its next life computes that step again; then its second push comes too late.
    nodes = [{}, {}, {"speed": "4 GFLOP/s"}]
    result = simulate(scenario(nodes=nodes, steps=3, faults=[crash("node1", 1_200 * US, "100 us")]))
    assert result.samples.repeated == 8
    pushes, answers = 3 * 3 + 1, 3 * 3 + 2
    assert result.payload_bytes_sent == (pushes + answers) * BYTES + 64
    assert_promises(result)


@pytest.mark.parametrize(("server", "dead"), [(TWO, "server1"), (THREE, "server1"), (THREE, "server2")])
def test_a_server_that_is_known_to_be_dead_is_not_waited_for(server, dead):
    # Its first death is told to all; then its machine, which is back, dies in silence: what is sent there is lost.
    faults = [crash(dead, 300 * US, "100 us"), crash(dead, 600 * US, notice="silence")]
    result = simulate(scenario(server, faults=faults))
    assert_as_without_a_fault(result, simulate(scenario(server)))


# --- outcomes ---------------------------------------------------------------------------------------------------------


def test_who_waits_for_a_server_with_checkpoints_that_does_not_come_back_is_named():
    result = simulate(scenario(SAVES, faults=[crash("server0", 1_500 * US)]))
    assert result.outcome is Outcome.STALLED
    assert "node0 waits for server0" in result.outcome_sentence


def test_when_all_servers_of_a_chain_are_dead_the_state_is_gone():
    faults = [crash("server0", 1_500 * US), crash("server1", 2_500 * US, "1 ms")]
    result = simulate(scenario(TWO, faults=faults))
    assert result.outcome is Outcome.LOST
    assert "lost the connection to server1" in result.outcome_sentence


def test_a_head_that_dies_in_silence_stalls_the_chain_and_is_named():
    result = simulate(scenario(TWO, faults=[crash("server0", 1_500 * US, notice="silence")]))
    assert result.outcome is Outcome.STALLED
    assert "node0 waits for server0" in result.outcome_sentence
    assert "server1 waits for server0" in result.outcome_sentence


def test_a_server_that_comes_back_in_silence_tells_everybody():
    result = simulate(scenario(SAVES, faults=[crash("server0", 1_200 * US, "5 ms", notice="silence")]))
    assert result.outcome is Outcome.FINISHED
    assert_promises(result)


def test_a_server_that_comes_back_finds_workers_in_the_lives_that_they_have_then():
    faults = [
        crash("node1", 300 * US, "100 us"),
        crash("node1", 500 * US, "100 us"),
        crash("server0", 2_500 * US, "5 ms", notice="silence"),
    ]
    result = simulate(scenario(SAVES, faults=faults))
    assert result.outcome is Outcome.FINISHED
    assert not select(result.trace, "peer_lost", "server0", peer="node1")[2:], "nothing was sent to a former life"
    assert_promises(result)


def test_a_generation_that_was_begun_anew_is_not_used_again_by_the_next_life():
    faults = [
        # node1 is dropped, and a newcomer in the second step, of which node0 dies: node1 begins it anew.
        crash("node1", 500 * US, "1 ms"),
        crash("node0", 1_800 * US, "9 ms"),
        crash("server0", 2_800 * US, "1 ms"),
    ]
    result = simulate(scenario({"checkpoint_every": 9}, TIMEOUT, nodes=2, faults=faults))
    begun = [event.fields["generation"] for event in select(result.trace, "step_begin", "node1", step=1)]
    assert begun == [1, 2]
    assert result.outcome is Outcome.FINISHED
    assert_promises(result)


def test_a_server_that_will_come_back_does_not_keep_a_run_going_without_workers():
    faults = [crash("server0", 1 * MS, "1 h"), *(crash(f"node{rank}", 2 * MS) for rank in range(3))]
    result = simulate(scenario(SAVES, faults=faults))
    assert (result.outcome, result.virtual_time_ns) == (Outcome.LOST, 2 * MS)


def test_a_replica_s_fault_is_not_applicable_where_there_is_no_such_replica():
    result = simulate(scenario(TWO, faults=[crash("server2", 1 * MS), crash("server1", 1 * MS)]))
    assert result.faults_not_applicable == ("faults[0]: crash of server2 at 1 ms",)
    assert result.outcome is Outcome.FINISHED


@pytest.mark.parametrize(
    ("server", "policy", "sentence"),
    [
        ({"replicate": "pushes"}, WAIT, "says what goes down a chain of servers, and there is one; add replicas: 2"),
        ({"replicas": 2, "checkpoint_every": 3}, WAIT, "keep one of them"),
        (ONE, {"on_failure": "backup", "backups": 3}, "must be less than 3"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(server, policy, sentence):
    with pytest.raises(ScenarioInvalid, match=sentence):
        simulate(scenario(server, policy))


# --- a death at every instant -----------------------------------------------------------------------------------------


@cache
def base_run(server: str, policy: str) -> Result:
    result = simulate(scenario(SERVERS[server], POLICIES[policy], steps=3), trace="messages")
    assert result.outcome is Outcome.FINISHED
    assert_promises(result)
    return result


def instants(result: Result) -> list[int]:
    return sorted({event.time_ns for event in result.trace})


def assert_as_without_a_fault(result: Result, base: Result) -> None:
    assert result.outcome is Outcome.FINISHED
    assert result.parameters.tobytes() == base.parameters.tobytes()
    assert (result.samples.counted, result.samples.lost) == (base.samples.counted, base.samples.lost)
    assert_books_are_right(result)


@pytest.mark.parametrize("policy", ["wait", "timeout"])
@pytest.mark.parametrize("server", ["two in a chain", "three in a chain"])
def test_no_single_death_of_a_server_loses_anything(server, policy):
    base = base_run(server, policy)
    assert base.parameters.tobytes() == base_run("one server", policy).parameters.tobytes()
    for name in [f"server{index}" for index in range(SERVERS[server]["replicas"])]:
        for at_ns in instants(base):
            faults = [crash(name, at_ns)]
            result = simulate(scenario(SERVERS[server], POLICIES[policy], steps=3, faults=faults))
            assert_as_without_a_fault(result, base)
            assert (result.samples.repeated, result.lost_work) == (0, 0)
            assert {"node0", "node1", "node2"} < set(result.replicas), "whoever is left tells them the end"


@pytest.mark.parametrize("policy", ["wait", "timeout"])
@pytest.mark.parametrize("restart_after", ["1 ns", "3 ms"])
def test_a_server_with_checkpoints_may_die_at_any_instant(restart_after, policy):
    base = base_run("checkpoints", policy)
    for at_ns in instants(base):
        for notice in ("reset", "silence"):
            faults = [crash("server0", at_ns, restart_after, notice)]
            result = simulate(scenario(SAVES, POLICIES[policy], steps=3, faults=faults))
            assert_as_without_a_fault(result, base)


@pytest.mark.parametrize("server", ["three in a chain", "checkpoints"])
def test_a_worker_may_die_at_any_instant_and_comes_back(server):
    base = base_run(server, "wait")
    for at_ns in instants(base):
        result = simulate(scenario(SERVERS[server], steps=3, faults=[crash("node1", at_ns, "500 us")]))
        assert_as_without_a_fault(result, base)


@pytest.mark.parametrize("second", range(0, 40, 3))
def test_a_server_may_die_again_while_it_comes_back(second):
    base = base_run("checkpoints", "wait")
    first_ns = 3 * MS
    faults = [crash("server0", first_ns, "200 us"), crash("server0", first_ns + 200 * US + second * 50 * US, "10 us")]
    result = simulate(scenario(SAVES, steps=3, faults=faults))
    assert_as_without_a_fault(result, base)


# --- deaths at random -------------------------------------------------------------------------------------------------

RANDOM = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
UNEQUAL = [{}, {"speed": "4 GFLOP/s"}, {}, {"speed": "7 GFLOP/s", "shard_weight": 2}]


@st.composite
def deaths(draw, most: int):
    fault = st.builds(
        crash,
        st.sampled_from(["node0", "node1", "node2", "node3", "server0", "server0", "server1", "server2"]),
        st.integers(0, 14 * MS),
        st.sampled_from([None, "1 ns", "10 us", "150 us", "1 ms", "4 ms", "30 ms"]),
        st.sampled_from(["reset", "reset", "silence"]),
    )
    return draw(st.lists(fault, min_size=1, max_size=most))


def must_finish(server: str, faults: list[Any]) -> bool:
    """Say whether there is no excuse: every worker comes back, and a server is always there or comes back."""
    if any(fault.get("restart_after") is None for fault in faults if fault["node"].startswith("node")):
        return False
    chain = [f"server{index}" for index in range(SERVERS[server].get("replicas", 1))]
    hit = [fault for fault in faults if fault["node"] in chain]
    if server == "checkpoints":
        return all(fault.get("restart_after") for fault in hit)
    return len({fault["node"] for fault in hit}) < len(chain) and all(fault["notice"] == "reset" for fault in hit)


def assert_promises_through(faults: list[Any], server: str, policy: str) -> None:
    played = scenario(
        SERVERS[server], POLICIES[policy], nodes=UNEQUAL, steps=6, faults=faults, max_virtual_time="100 s"
    )
    watched = train(played)
    result = watched.result
    assert "max_virtual_time" not in result.outcome_sentence
    for replicas in watched.replicas.values():
        assert len(set(replicas.values())) == 1, "all servers that made an update hold the same bits"
    if result.outcome.is_success:
        assert_promises(result)
    else:
        assert not must_finish(server, faults), result.outcome_sentence
        assert any(name in result.outcome_sentence for name in ("node", "server", "every worker"))
    assert digests(simulate(played, shuffle_ties=1)) == digests(result)
    assert digests(simulate(played, fidelity="message")) == digests(result)


@settings(max_examples=60, **RANDOM)
@given(deaths(most=4), st.sampled_from([*SERVERS]), st.sampled_from([*POLICIES]))
def test_servers_keep_their_promises_through_random_deaths(faults, server, policy):
    assert_promises_through(faults, server, policy)


@pytest.mark.long
@settings(max_examples=2_000, **RANDOM)
@given(deaths(most=6), st.sampled_from([*SERVERS]), st.sampled_from([*POLICIES]))
def test_servers_keep_their_promises_through_many_random_deaths(faults, server, policy):
    assert_promises_through(faults, server, policy)
