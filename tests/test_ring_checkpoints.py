"""Rings that save their state: the net for the case that nobody is left who has it.

What is not here: the store (`test_storage.py`), a server that saves (`test_server_failures.py`), and random troubles
(`test_ring_policies.py` draws `checkpoint_every` as well).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from worlds import MS, crash, select, train, training

from ringsim import invariants
from ringsim.result import Outcome
from ringsim.scenario import Scenario
from ringsim.simulation import simulate

STEPS, EVERY = 20, 4
NAMES = [f"node{rank}" for rank in range(3)]
POLICIES = ["elastic", "wait", "spares", "peer_recovery"]
SAVING_NS = 2 * MS  # the latency of the store; the state's few bytes take next to nothing beside it


def saving(policy: str, faults: Any = (), every: int | None = EVERY, **strategy: Any) -> Scenario:
    again = {} if policy == "wait" else {"set_aside": {"cooldown": "1 ms"}, "rendezvous_timeout": "300 ms"}
    settings = {
        "name": "ring",
        "on_failure": policy,
        "timeout": "50 ms",
        "checkpoint_every": every,
        **again,
        **strategy,
    }
    storage = {"latency": "2 ms", "bandwidth": "1 GB/s"}
    return training(
        settings, nodes=3, cluster={"storage": storage}, faults=faults, steps=STEPS, max_virtual_time="20 s"
    )


def all_die(at: Any, notice: str = "reset", back: str | None = "10 ms") -> list[dict[str, Any]]:
    return [crash(name, at, back, notice) for name in NAMES]


def begun(policy: str, step: int) -> int:
    """Return when a step begins where nothing fails."""
    return max(e.time_ns for e in select(simulate(saving(policy)).trace, "step_begin", step=step))


@pytest.mark.parametrize("policy", POLICIES)
def test_rank_0_saves_every_so_many_updates_and_all_wait_for_it(policy: str) -> None:
    saved, plain = simulate(saving(policy)), simulate(saving(policy, every=None))
    assert {event.node for event in select(saved.trace, "save_begin")} == {"node0"}
    count = (STEPS - 1) // EVERY
    assert (saved.checkpoints.saves, saved.checkpoints.loads) == (count, 0)
    assert saved.parameters is not None
    assert plain.parameters is not None
    assert saved.parameters.tobytes() == plain.parameters.tobytes()
    slower_ns = saved.virtual_time_ns - plain.virtual_time_ns
    assert count * SAVING_NS <= slower_ns < count * (SAVING_NS + MS)


@pytest.mark.parametrize("notice", ["reset", "silence"])
@pytest.mark.parametrize("policy", POLICIES)
def test_a_ring_of_whom_all_die_goes_on_from_the_checkpoint(policy: str, notice: str) -> None:
    died_ns = begun(policy, 10) + MS // 2
    watched = train(saving(policy, all_die(died_ns, notice)), trace="messages")
    result = watched.result
    assert result.outcome is Outcome.FINISHED
    (load,) = select(result.trace, "load_end")
    assert load.fields["size_bytes"] is not None
    restored = [e for e in select(result.trace, "restore") if e.time_ns > died_ns]
    assert restored[0].fields["step"] == 8, "the last save was after update 8"
    assert result.samples.lost == 0
    assert result.samples.repeated > 0
    assert invariants.broken(result) == {}
    assert result.lost_work >= 2
    assert result.checkpoints.loads == 1


@pytest.mark.parametrize("policy", POLICIES)
def test_without_checkpoints_it_is_lost_or_never_begins_again(policy: str) -> None:
    result = simulate(saving(policy, all_die(begun(policy, 10)), every=None))
    assert result.outcome is Outcome.LOST
    assert "nobody is left of the last ring, who had the state" in result.outcome_sentence


def test_before_the_first_save_it_begins_anew() -> None:
    result = simulate(saving("elastic", all_die(begun("elastic", 2))))
    assert result.outcome is Outcome.FINISHED
    (load,) = select(result.trace, "load_end")
    assert load.fields["size_bytes"] is None
    assert result.samples.lost == 0
    assert invariants.broken(result) == {}


def test_who_waits_learns_what_it_would_have_learned() -> None:
    calm, struck = simulate(saving("wait")), simulate(saving("wait", all_die(begun("wait", 10))))
    assert calm.parameters is not None
    assert struck.parameters is not None
    # The order of ranks is that in which they came back, so the sums may differ in the last place.
    assert np.allclose(calm.parameters, struck.parameters, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("policy", POLICIES)
def test_as_long_as_one_has_the_state_the_store_is_not_asked(policy: str) -> None:
    two = [crash(name, begun(policy, 10), "10 ms") for name in NAMES[1:]]
    result = simulate(saving(policy, two))
    assert result.outcome is Outcome.FINISHED
    assert not select(result.trace, "load_begin")


def test_a_save_that_a_death_cuts_short_leaves_the_one_before() -> None:
    saving_ns = [e.time_ns for e in select(simulate(saving("elastic")).trace, "save_begin")]
    result = simulate(saving("elastic", all_die(saving_ns[2] + MS)))
    assert result.outcome is Outcome.FINISHED
    assert next(e.fields["step"] for e in select(result.trace, "restore") if e.time_ns > saving_ns[2]) == 2 * EVERY
    assert invariants.broken(result) == {}


def test_there_is_no_second_ring_beside_one_that_may_be_alive() -> None:
    # The rendezvous is cut off from the ring, and hears of nobody; then one who died comes back on its side.
    parted = {
        "kind": "partition",
        "groups": [["node0", "node1"], ["node2", "rendezvous"]],
        "at": f"{begun('elastic', 6)} ns",
        "lasts": "120 ms",
    }
    beats = {"interval": "1 ms", "timeout": "5 ms", "by": "rendezvous"}
    dead = crash("node2", begun("elastic", 6) - MS, "20 ms")
    result = simulate(saving("elastic", [dead, parted], heartbeat=beats, timeout="20 ms"))
    assert result.outcome is Outcome.FINISHED
    rings = [event.time_ns for event in select(result.trace, "world")]
    assert not [ns for ns in rings if begun("elastic", 6) + 10 * MS < ns < begun("elastic", 6) + 120 * MS]
    assert not select(result.trace, "load_begin"), "they are alive and have it"
    assert invariants.broken(result) == {}
    assert result.samples.lost == 0


def test_who_may_be_alive_is_not_waited_for_for_ever() -> None:
    stands_still = [
        {"kind": "pause", "node": name, "at": f"{begun('elastic', 6)} ns", "lasts": "10 s"} for name in NAMES[:2]
    ]
    beats = {"interval": "1 ms", "timeout": "5 ms", "by": "rendezvous"}
    back = crash("node2", begun("elastic", 6), "20 ms")
    result = simulate(saving("elastic", [back, *stands_still], heartbeat=beats))
    assert result.outcome is Outcome.LOST
    assert "though some of it may be alive, and nobody came for 300 ms" in result.outcome_sentence


@pytest.mark.parametrize("beats", [None, "neighbours", "rendezvous"])
@pytest.mark.parametrize("policy", ["elastic", "peer_recovery"])
def test_who_dies_in_silence_while_it_loads_is_not_waited_for_for_ever(policy: str, beats: str | None) -> None:
    more: dict[str, Any] = {"min_workers": 2}
    if beats is not None:
        more["heartbeat"] = {"interval": "1 ms", "timeout": "5 ms", "by": beats}
    all_dead = all_die(begun(policy, 10) + MS // 2)
    (load,) = select(simulate(saving(policy, all_dead, **more)).trace, "load_begin")
    result = simulate(saving(policy, [*all_dead, crash(load.node, load.time_ns + MS, notice="silence")], **more))
    assert result.outcome is Outcome.FINISHED
    assert result.checkpoints.loads == 1
    assert invariants.broken(result) == {}


def test_who_was_given_up_does_not_save_over_a_later_ring() -> None:
    beats = {"interval": "200 us", "timeout": "2 ms"}
    first = select(simulate(saving("elastic", heartbeat=beats)).trace, "save_begin")[0].time_ns
    # Rank 0 stands still in its first save; the others go on and save again; it goes on, and then all die.
    pause = {"kind": "pause", "node": "node0", "at": f"{first + MS // 10} ns", "lasts": "17 ms"}
    result = simulate(saving("elastic", [pause, *all_die(first + 20 * MS)], heartbeat=beats))
    saves = [(event.kind, event.node) for event in result.trace if event.kind in ("save_end", "save_refused")]
    assert ("save_refused", "node0") in saves
    (load,) = select(result.trace, "load_end")
    restored = next(e for e in select(result.trace, "restore") if e.time_ns >= load.time_ns)
    assert restored.fields["step"] > EVERY, "not what was refused"
    assert result.outcome is Outcome.FINISHED
    assert invariants.broken(result) == {}
