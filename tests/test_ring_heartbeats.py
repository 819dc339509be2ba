"""Rings that find their dead by heartbeats: how long that takes, whom they accuse, and what a false accusation costs.

What is not here: heartbeats themselves and who is suspected (`test_heartbeat.py`), and random troubles
(`test_ring_policies.py` and `test_fidelity.py` draw heartbeats as well).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from worlds import MS, US, crash, select, training

from ringsim import invariants, parse
from ringsim.errors import ScenarioInvalid
from ringsim.result import Outcome, Result
from ringsim.scenario import Scenario
from ringsim.simulation import simulate

PATH_NS = 100 * US
BEAT_NS = 64 * 8  # on a link of 1 Gbit/s
INTERVAL_NS, TIMEOUT_NS = 2 * MS, 20 * MS
DEATH_NS = 40 * MS
POLICIES = ["elastic", "wait", "spares", "peer_recovery"]


def watched(policy: str, by: str | None, faults: Any = (), nodes: int = 4, **strategy: Any) -> Scenario:
    """A ring whose other timeouts are so long that no test here comes to them."""
    settings = {"name": "ring", "on_failure": policy, "timeout": "1 h", **strategy}
    if policy in ("abort", "wait"):
        settings.setdefault("timeout", None)
    settings["heartbeat"] = {
        "interval": f"{INTERVAL_NS} ns",
        "timeout": f"{TIMEOUT_NS} ns",
        **({"by": by} if by else {}),
    }
    return training(settings, nodes=nodes, faults=faults, steps=60)


def sizes(result: Result) -> list[int]:
    """Return the sizes that the ring had, in turn."""
    every = [row.world_size for row in result.metrics]
    return [size for size, following in pairwise([*every, 0]) if size != following]


@pytest.mark.parametrize("by", ["neighbours", "rendezvous"])
@pytest.mark.parametrize("policy", ["elastic", "spares", "peer_recovery"])
def test_a_silent_death_costs_the_timeout_of_the_heartbeats_and_no_other(policy: str, by: str) -> None:
    result = simulate(watched(policy, by, [crash("node1", DEATH_NS, notice="silence")]))
    assert result.outcome is Outcome.FINISHED
    (failure,) = result.failures
    assert failure.detected_at_ns is not None
    assert failure.resumed_at_ns is not None
    # The last beat left at most an interval before the death, and was on its way for a path at least.
    assert -INTERVAL_NS < failure.detected_at_ns - (DEATH_NS + PATH_NS + TIMEOUT_NS) < MS
    assert failure.resumed_at_ns - failure.detected_at_ns < 10 * MS, "nobody waits for it at the rendezvous"
    assert result.false_suspicions == 0
    assert sizes(result) == ([3] if policy == "spares" else [4, 3])


@pytest.mark.parametrize(("by", "who"), [("neighbours", {"node0", "node2"}), ("rendezvous", {"rendezvous"})])
def test_the_one_who_is_missed_is_accused_by_who_watches(by: str, who: set[str]) -> None:
    result = simulate(watched("elastic", by, [crash("node1", DEATH_NS, notice="silence")], nodes=5))
    suspicions = select(result.trace, "suspect")
    assert {(event.node, event.fields["peer"]) for event in suspicions} == {(name, "node1") for name in who}
    (ring,) = select(result.trace, "world", "node0", generation=1)
    assert ring.fields["members"] == ["node0", "node2", "node3", "node4"]


@pytest.mark.parametrize("by", ["neighbours", "rendezvous"])
def test_a_ring_that_waits_learns_sooner_that_it_has_to(by: str) -> None:
    result = simulate(watched("wait", by, [crash("node1", DEATH_NS, "50 ms", notice="silence")]))
    assert result.outcome is Outcome.FINISHED
    assert sizes(result) == [4]
    (failure,) = result.failures
    assert (failure.detected_at_ns or 0) < DEATH_NS + TIMEOUT_NS + 2 * MS
    forever = simulate(watched("wait", by, [crash("node1", DEATH_NS, notice="silence")]))
    assert forever.outcome is Outcome.STALLED
    assert "rendezvous waits for node1" in forever.outcome_sentence


def test_without_a_rendezvous_the_neighbours_end_the_job() -> None:
    result = simulate(watched("abort", None, [crash("node1", DEATH_NS, notice="silence")]))
    assert result.outcome is Outcome.LOST
    assert result.failures[0].detected_at_ns is not None
    assert result.virtual_time_ns < DEATH_NS + TIMEOUT_NS + 2 * MS


@pytest.mark.parametrize("by", ["neighbours", "rendezvous"])
def test_who_dies_before_the_first_ring_or_between_two_is_missed_too(by: str) -> None:
    early = watched("elastic", by, [crash("node1", 0, notice="silence")])
    # node2 dies after it has registered: the others are in its ring before they miss it.
    first = simulate(watched("elastic", by, [crash("node1", DEATH_NS, notice="reset")]))
    (registered,) = [event.time_ns for event in select(first.trace, "peer_lost", "node2") if event.time_ns > DEATH_NS]
    between = watched("elastic", by, [crash("node1", DEATH_NS), crash("node2", registered + 10 * US, notice="silence")])
    assert sizes(simulate(between)) == [4, 2]
    result = simulate(early)
    assert sizes(result) == [3]
    hour_ns = 3_600 * 10**9
    assert (result.virtual_time_ns > hour_ns) == (by == "neighbours"), (
        "as long as it has no neighbours, a timeout helps"
    )


@pytest.mark.parametrize("by", ["neighbours", "rendezvous"])
@pytest.mark.parametrize("policy", POLICIES)
def test_a_machine_that_stands_still_is_suspected_wrongly(policy: str, by: str) -> None:
    stands_still = {"kind": "pause", "node": "node1", "at": f"{DEATH_NS} ns", "lasts": "60 ms"}
    again = {} if policy == "wait" else {"set_aside": {"cooldown": "0 s"}}
    result = simulate(watched(policy, by, [stands_still], **again))
    assert result.outcome is Outcome.FINISHED
    assert result.false_suspicions >= 1
    assert sizes(result) == {"wait": [4], "spares": [3]}.get(policy, [4, 3, 4])
    rings = [event.fields["members"] for event in select(result.trace, "world", "node0")]
    if policy == "spares":
        assert rings == [["node0", "node1", "node2"], ["node0", "node2", "node3"]], "and it stands by from now on"
    elif policy == "wait":
        assert rings[-1] == ["node0", "node1", "node2", "node3"], "it is a survivor, with its rank and its state"
    else:
        assert rings[-1] == ["node0", "node2", "node3", "node1"]


@pytest.mark.parametrize("by", ["neighbours", "rendezvous"])
def test_who_was_wrongly_suspected_is_missed_again_when_it_dies(by: str) -> None:
    stands_still = {"kind": "pause", "node": "node1", "at": f"{DEATH_NS} ns", "lasts": "60 ms"}
    for died_ns in (120 * MS, 121 * MS):
        dead = crash("node1", died_ns, "200 ms", notice="silence")
        result = simulate(watched("wait", by, [stands_still, dead], timeout="1 s"))
        assert result.outcome is Outcome.FINISHED
        detected_ns = result.failures[1].detected_at_ns
        assert detected_ns is not None
        assert detected_ns < died_ns + TIMEOUT_NS + 2 * MS
        assert result.failures[1].resumed_at_ns is not None
        assert result.failures[1].resumed_at_ns < died_ns + 210 * MS


@pytest.mark.parametrize("by", ["neighbours", "rendezvous"])
def test_without_set_aside_a_false_suspicion_is_for_good(by: str) -> None:
    stands_still = {"kind": "pause", "node": "node1", "at": f"{DEATH_NS} ns", "lasts": "60 ms"}
    result = simulate(watched("elastic", by, [stands_still]))
    assert sizes(result) == [4, 3]
    assert result.outcome is Outcome.FINISHED


def test_who_was_wrongly_suspected_never_brings_its_own_history_back() -> None:
    # It comes back with the state of a step that the others have taken anew, and copies theirs all the same.
    stands_still = {"kind": "pause", "node": "node1", "at": f"{DEATH_NS} ns", "lasts": "60 ms"}
    result = simulate(watched("peer_recovery", "neighbours", [stands_still], set_aside={"cooldown": "0 s"}))
    back = select(result.trace, "world", "node1")[-1]
    (restored,) = select(result.trace, "restore", "node1", generation=back.fields["generation"])
    assert restored.fields["step"] > restored.fields["from_step"]


@pytest.mark.parametrize("aside", [None, {"cooldown": "0 s"}, {"cooldown": "1 h"}])
@pytest.mark.parametrize("by", ["neighbours", "rendezvous"])
@pytest.mark.parametrize("policy", ["elastic", "peer_recovery"])
def test_the_end_of_an_abandoned_history_is_no_result(policy: str, by: str, aside: Any) -> None:
    # At some of these instants node0 has all that it needs for the last update, and node1, who suspects it, has not.
    plain = simulate(watched(policy, by, nodes=2))
    begun_ns = select(plain.trace, "step_begin", "node0", step=59)[0].time_ns
    abandoned = 0
    for at_ns in range(begun_ns + 800 * US, plain.virtual_time_ns, 100 * US):
        stands_still = {"kind": "pause", "node": "node0", "at": f"{at_ns} ns", "lasts": "30 ms"}
        result = simulate(watched(policy, by, [stands_still], nodes=2, set_aside=aside))
        assert result.outcome is Outcome.FINISHED
        assert invariants.broken(result) == {}
        abandoned += len({event.fields["generation"] for event in select(result.trace, "update", step=60)}) > 1
    assert abandoned > 0


@pytest.mark.parametrize("policy", ["elastic", "peer_recovery"])
def test_nobody_goes_on_without_the_only_member_of_a_ring(policy: str) -> None:
    stands_still = {"kind": "pause", "node": "node0", "at": f"{DEATH_NS} ns", "lasts": "60 ms"}
    result = simulate(watched(policy, "rendezvous", [crash("node1", 10 * MS), stands_still], nodes=2))
    assert result.false_suspicions == 1
    assert result.outcome is Outcome.FINISHED
    assert sizes(result) == [2, 1]


@pytest.mark.parametrize("by", ["neighbours", "rendezvous"])
def test_a_congested_link_makes_the_detector_accuse_the_living(by: str) -> None:
    def run(*faults: Any) -> Result:
        return simulate(watched("elastic", by, faults, set_aside={"cooldown": "0 s"}))

    narrow = {"kind": "link_degrade", "source": "node1", "target": "switch", "at": f"{DEATH_NS} ns", "lasts": "50 ms"}
    slow = run({**narrow, "bandwidth": "20 kbit/s"})
    assert slow.false_suspicions >= 1
    assert slow.outcome is Outcome.FINISHED
    assert slow.samples.lost == 0
    assert run({**narrow, "bandwidth": "900 Mbit/s"}).false_suspicions == 0


@pytest.mark.parametrize("policy", ["elastic", "peer_recovery"])
def test_of_two_halves_that_the_rendezvous_reaches_one_goes_on(policy: str) -> None:
    cut = {"kind": "partition", "groups": [["node0", "node1"], ["node2", "node3"]], "at": f"{DEATH_NS} ns"}
    settings = {"timeout": "100 ms", "reset_limit": 9}
    alone = simulate(watched(policy, "neighbours", [cut], **settings))
    assert alone.outcome is Outcome.FINISHED
    assert sizes(alone) == [4, 2]
    by_rendezvous = simulate(watched(policy, "rendezvous", [cut], **settings))
    assert by_rendezvous.outcome is Outcome.LOST, "which hears from everybody, and forms the same ring again and again"
    assert "re-formed 10 times" in by_rendezvous.outcome_sentence


def test_who_was_suspected_before_is_suspected_again_in_the_next_ring() -> None:
    # Those on the other side come back for each commit, and each time somebody must miss them anew.
    cut = {"kind": "partition", "groups": [["node0", "node1"], ["node2", "node3"]], "at": f"{DEATH_NS} ns"}
    result = simulate(watched("elastic", "neighbours", [cut], set_aside={"cooldown": "0 s"}))
    assert result.outcome is Outcome.FINISHED
    assert result.virtual_time_ns < 3_600 * 10**9, "no other timeout helps"
    assert result.false_suspicions > 8


def test_heartbeats_cost_bytes_and_change_no_number() -> None:
    plain = training({"name": "ring", "on_failure": "elastic", "timeout": "1 h"}, nodes=4, steps=60)
    without = simulate(plain)
    for by, connections in (("neighbours", 8), ("rendezvous", 4)):
        result = simulate(watched("elastic", by))
        assert result.parameters is not None
        assert without.parameters is not None
        assert result.parameters.tobytes() == without.parameters.tobytes()
        beats = (result.bytes_sent - without.bytes_sent) / 64
        assert beats == pytest.approx(connections * result.virtual_time_ns / INTERVAL_NS, rel=0.1)
        assert result.payload_bytes_sent >= without.payload_bytes_sent


@pytest.mark.parametrize("timeout", ["100 ms", "40 ms"])
def test_a_timeout_that_no_beat_can_keep_is_refused(timeout: str) -> None:
    text = f"""\
name: a
task: {{steps: 2}}
cluster: {{nodes: 2}}
strategy:
  name: ring
  heartbeat: {{timeout: {timeout}}}
"""
    sentence = r"<scenario>:6:24: strategy.heartbeat.timeout: must be more than the interval, 100 ms, or everybody"
    with pytest.raises(ScenarioInvalid, match=sentence):
        parse(text)


@pytest.mark.parametrize("by", ["neighbours", "rendezvous"])
@pytest.mark.parametrize("policy", ["elastic", "peer_recovery"])
def test_who_waits_in_a_tree_for_the_dead_is_told_too(policy: str, by: str) -> None:
    # In the one-byte broadcast node3 waits for node1, which is no neighbour of its.
    plain = simulate(watched(policy, by))
    votes = [e.time_ns for e in select(plain.trace, "collective_enter", "node1") if e.fields["plan"] == "broadcast"]
    late = 0
    for died_ns in range(votes[20] - 40 * US, votes[20] + 120 * US, 20 * US):
        result = simulate(watched(policy, by, [crash("node1", died_ns, notice="silence")], timeout="1 s"))
        (failure,) = result.failures
        assert failure.resumed_at_ns is not None
        assert failure.resumed_at_ns - died_ns < TIMEOUT_NS + 10 * MS
        late += bool(select(result.trace, "peer_lost", "node3", peer="node1"))
    assert late > 0


@pytest.mark.parametrize("by", ["neighbours", "rendezvous"])
def test_who_is_back_before_anybody_missed_it_is_waited_for_no_longer(by: str) -> None:
    # In the one-byte broadcast node2 waits for node0, of which only its neighbours would learn that it has restarted.
    plain = simulate(watched("elastic", by))
    (vote_ns, *_) = [e.time_ns for e in select(plain.trace, "collective_enter", "node0", plan="broadcast")][20:]
    for died_ns in range(vote_ns - 40 * US, vote_ns + 120 * US, 20 * US):
        back = crash("node0", died_ns, "50 us", notice="silence")
        result = simulate(watched("wait", by, [back], timeout=None))
        assert result.outcome is Outcome.FINISHED
        assert result.failures[0].resumed_at_ns is not None
        assert result.failures[0].resumed_at_ns - died_ns < TIMEOUT_NS + 10 * MS


@pytest.mark.parametrize("every", [None, 2])
@pytest.mark.parametrize("policy", ["elastic", "peer_recovery"])
def test_the_only_one_left_is_waited_for_when_it_is_wrongly_suspected(policy: str, every: int | None) -> None:
    faults = [
        crash("node1", DEATH_NS, "30 ms"),
        {"kind": "pause", "node": "node0", "at": f"{DEATH_NS + 10 * MS} ns", "lasts": "60 ms"},
    ]
    again = {"set_aside": {"cooldown": "1 ms"}, "rendezvous_timeout": "300 ms", "checkpoint_every": every}
    result = simulate(watched(policy, "rendezvous", faults, nodes=2, **again))
    assert result.outcome is Outcome.FINISHED
    assert result.false_suspicions == 1
    assert not select(result.trace, "load_begin"), "it may be alive, and has the state"


# --- timers of who stands still, and of who has finished --------------------------------------------------------------


@pytest.mark.parametrize("by", ["neighbours", "rendezvous"])
def test_the_clock_of_who_stands_still_for_ever_ends_no_run(by: str) -> None:
    stands_still = {"kind": "pause", "node": "node1", "at": {"node": "node1", "step": 10, "segment": 1}}
    soon, late = (simulate(watched("elastic", by, [stands_still], timeout=ns)) for ns in ("1 s", "9 s"))
    assert soon.outcome is late.outcome is Outcome.FINISHED
    assert soon.schedule_digest == late.schedule_digest, "nobody but the one that stands still waits so long"
    assert late.virtual_time_ns < 10**9


def test_the_rendezvous_suspects_nobody_once_the_job_is_over() -> None:
    # node1 is thrown out, and stands still for ever: the rendezvous stays to answer it, when all others have gone home.
    stands_still = {"kind": "pause", "node": "node1", "at": f"{DEATH_NS} ns"}
    result = simulate(watched("elastic", "rendezvous", [stands_still], timeout="1 s"))
    assert [event.fields["peer"] for event in select(result.trace, "suspect")] == ["node1"]
    assert result.false_suspicions == 1
