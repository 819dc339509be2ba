"""Heartbeats: when a death is seen, when somebody is wrongly suspected, and what comes of it, to the nanosecond.

Unless a test says otherwise: a star at 1 Gbit/s and 50 us a link, so a beat of 64 bytes leaves in 512 ns and arrives
100 us later. What is not here: what strategies make of it (`test_strategies.py`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringsim.collectives.ring import RingAllReduce
from ringsim.errors import NodeError, PeerLost, Restarted, Suspected, UsageError
from ringsim.failures import false_suspicions
from ringsim.node import Member, Node, Operation
from ringsim.scenario import Heartbeat, Host, NeighbourHeartbeat, Scenario, worker_names
from ringsim.simulation import simulate
from ringsim.strategies.buckets import plan
from ringsim.strategies.detection import report, tell_ring, watch_neighbours, watch_ring
from ringsim.strategies.ring import train_step
from ringsim.strategies.training import State, Training
from ringsim.trace import Event
from ringsim.world.mailbox import Mailbox
from tests.worlds import MS, US, Run, S, Story, cluster, crash, group_of, select, tell, training

LATENCY = 100 * US
LEAVING = 512  # how long a beat of 64 bytes takes to leave
BEAT = LEAVING + LATENCY
NODE0, NODE1, NODE2 = (Member(name, 0) for name in ("node0", "node1", "node2"))


# --- programs ---------------------------------------------------------------------------------------------------------


def beats(*peers: Member, every: int, until: int = 1_000 * S) -> Run:
    """Beat, and end at `until`."""

    def run(node: Node) -> Operation[None]:
        node.beat(peers, every)
        yield from node.sleep(until)

    return run


def watches(peer: Member, timeout: int, until: int | None = None) -> Run:
    """Watch a peer and wait for a message of it, for ever or until some time; say what came."""

    def run(node: Node) -> Operation[str]:
        node.watch([peer], timeout)
        try:
            if until is None:
                yield from node.receive(peer.name)
            else:
                yield from node.sleep(until)
        except PeerLost as error:
            return type(error).__name__
        return "nothing"

    return run


def told(**how: Any) -> Story:
    """Play a world, and see that neither other ties nor other fidelities change a line of it."""
    first = tell(**how)
    for options in ({"shuffle_ties": 3}, {"shuffle_ties": 4, "fidelity": "message"}, {"fidelity": "message"}):
        again = tell(**how, **options)
        assert again.lines == first.lines
        assert (again.played.ending, again.played.time_ns) == (first.played.ending, first.played.time_ns)
        assert booked(again) == booked(first)
    return first


def booked(story: Story) -> dict[str, tuple[int, ...]]:
    """Where each node's time went."""
    return {
        name: (
            account.compute_ns,
            account.exposed_communication_ns,
            account.idle_ns,
            account.recovery_ns,
            account.down_ns,
        )
        for name, account in story.played.accounts.items()
    }


# --- a silent death ---------------------------------------------------------------------------------------------------


def test_a_silent_death_is_suspected_so_long_after_the_last_beat_came() -> None:
    programs = {"node0": beats(NODE1, every=100 * MS), "node1": watches(NODE0, 500 * MS)}
    story = told(scenario=cluster(2, faults=[crash("node0", 3 * S + 40 * MS, notice="silence")]), programs=programs)
    (suspicion,) = story.of("suspect")
    assert suspicion.time_ns == 3 * S + BEAT + 500 * MS
    assert suspicion.fields == {"peer": "node0", "incarnation": 0, "timeout_ns": 500 * MS}
    assert story.times("peer_lost", "node1") == [suspicion.time_ns]
    assert story.played.results == {"node1": "Suspected"}
    assert false_suspicions(story.events) == 0


def test_a_reset_comes_before_any_suspicion() -> None:
    programs = {"node0": beats(NODE1, every=100 * MS), "node1": watches(NODE0, 500 * MS)}
    story = told(scenario=cluster(2, faults=[crash("node0", 3 * S)]), programs=programs)
    assert story.times("peer_lost", "node1") == [3 * S + LATENCY]
    assert story.of("suspect") == []


def test_who_never_beats_is_suspected_after_the_timeout() -> None:
    programs = {"node0": beats(NODE0, every=MS), "node1": watches(NODE0, 7 * MS)}
    story = told(scenario=cluster(2), programs={**programs, "node0": beats(NODE0, every=MS, until=S)})
    assert story.times("suspect", "node1") == [7 * MS]
    assert false_suspicions(story.events) == 1, "it lives"
    assert story.of("depart") == [], "and beats to nobody, because nobody is there but itself"


def foretold(interval: int, timeout: int, death: int) -> int | None:
    """An independent model of one beater and one watcher on a quiet link: when the suspicion comes; None: never."""
    deadline, tick, free = timeout, 0, 0
    while tick < death:
        if free <= tick:
            free = tick + LEAVING
            if free >= death:
                break  # Its last byte has not left.
            if free + LATENCY > deadline:
                break  # It comes too late.
            deadline = free + LATENCY + timeout
        tick += interval
    return deadline


@settings(max_examples=150, deadline=None)
@given(
    interval=st.integers(200, 3_000) | st.integers(1, 400).map(lambda n: n * 1_000),
    timeout=st.integers(1, 1_000).map(lambda n: n * 997) | st.integers(100_000, 110_000),
    death=st.integers(1, 2 * MS),
)
def test_the_suspicion_comes_when_a_small_model_says(interval: int, timeout: int, death: int) -> None:
    programs = {"node0": beats(NODE1, every=interval), "node1": watches(NODE0, timeout)}
    story = tell(cluster(2, faults=[crash("node0", death, notice="silence")]), programs)
    assert story.times("suspect") == [foretold(interval, timeout, death)]
    (instant,) = story.times("suspect")
    assert false_suspicions(story.events) == (instant < death)


# --- bytes and time ---------------------------------------------------------------------------------------------------


def test_beats_cost_bytes_framing_included_and_are_in_nobodys_account() -> None:
    programs = {"node0": beats(NODE1, NODE2, every=100 * MS, until=S - 1), "node1": watches(NODE0, S, until=S)}
    programs["node2"] = watches(NODE0, S, until=S)
    story = told(scenario=cluster(3, network={"transport": {"kind": "framed"}}), programs=programs)
    assert len(story.of("depart", "node0", tag="heartbeat", size_bytes=64)) == 20
    assert story.played.traffic.links["node0", "switch"] == 20 * (64 + 66)
    assert story.played.traffic.links["switch", "node1"] == 10 * (64 + 66)
    assert story.played.traffic.payload["node0"] == 20 * 64
    assert story.of("suspect") == []
    account = story.played.accounts["node1"]
    assert (account.exposed_communication_ns, account.idle_ns) == (0, S)


def test_a_beat_does_not_wait_behind_a_large_message_but_shares_the_link_with_it() -> None:
    def both(node: Node) -> Operation[None]:
        message = node.send("node1", None, 10**6, tag="large")  # 8 ms alone
        yield from node.sleep(MS)
        node.beat([NODE1], S)
        yield from message.sent()

    story = told(scenario=cluster(2), programs={"node0": both, "node1": watches(NODE0, S, until=MS)})
    assert story.times("deliver", "node1", tag="heartbeat") == [MS + 2 * LEAVING + LATENCY]
    assert story.played.time_ns == 8 * MS + LEAVING


def test_a_beat_is_skipped_while_the_one_before_has_not_left() -> None:
    # A beat takes 8 ms to leave at 64 kbit/s, so of one every 3 ms only every third goes.
    programs = {"node0": beats(NODE1, every=3 * MS, until=30 * MS), "node1": watches(NODE0, 20 * MS, until=30 * MS)}
    story = told(scenario=cluster(2, network={"bandwidth": "64 kbit/s"}), programs=programs)
    assert story.times("depart", tag="heartbeat") == [0, 9 * MS, 18 * MS, 27 * MS]


@pytest.mark.parametrize("network", [{}, {"transport": {"kind": "tcp"}}, {"message_overhead": "20 us"}])
def test_nobody_is_suspected_on_a_quiet_link(network: Mapping[str, Any]) -> None:
    both = [lambda node, peer=peer: _beat_and_watch(node, peer, 20 * S) for peer in (NODE1, NODE0)]
    story = told(scenario=cluster(2, network=network), programs=dict(zip(("node0", "node1"), both, strict=True)))
    assert story.of("suspect") == []
    assert len(story.of("deliver", tag="heartbeat")) == 2 * 200


def _beat_and_watch(node: Node, peer: Member, until: int) -> Operation[None]:
    node.beat([peer], 100 * MS)
    node.watch([peer], 101 * MS)
    yield from node.sleep(until)


# --- false suspicions -------------------------------------------------------------------------------------------------


def test_foreign_traffic_makes_a_beat_late_and_its_sender_suspected() -> None:
    # At 64 kbit/s a beat leaves in 8 ms and comes at 8.1 ms; beside a foreign flow it leaves in 16 ms. One is sent
    # every 20 ms. That of 40 ms comes at 48.1 ms; that of 60 ms comes at 76.1 ms, 3 ms after 25 ms are over.
    network = {
        "bandwidth": "64 kbit/s",
        "background": [{"source": "node2", "target": "node1", "start": "50 ms"}],
    }
    programs = {"node0": beats(NODE1, every=20 * MS, until=S), "node1": watches(NODE0, 25 * MS)}
    story = told(scenario=cluster(3, network=network), programs=programs)
    assert story.times("suspect", "node1", peer="node0") == [48_100_000 + 25 * MS]
    assert story.times("deliver", "node1", tag="heartbeat")[3] == 76_100_000
    assert false_suspicions(story.events) == 1


def test_a_link_that_loses_beats_makes_their_sender_suspected() -> None:
    # Half of the messages are lost and sent again after 200 ms. A beat is late by multiples of that.
    network = {"drop": "30 %", "resend_after": "200 ms"}
    programs = {"node0": beats(NODE1, every=50 * MS, until=20 * S), "node1": watches(NODE0, 260 * MS)}
    story = told(scenario=cluster(2, network=network, seed=1), programs=programs)
    arrivals = [0, *story.times("deliver", "node1", tag="heartbeat")]
    gaps = [end for begin, end in itertools.pairwise(arrivals) if end - begin > 260 * MS]
    (suspicion,) = story.times("suspect")
    assert suspicion == arrivals[arrivals.index(gaps[0]) - 1] + 260 * MS
    assert false_suspicions(story.events) == 1


def test_who_is_wrongly_suspected_can_write_again_and_be_written_to() -> None:
    def suspected(node: Node) -> Operation[str]:
        yield from node.sleep(20 * MS)  # No beats: it is suspected at 5 ms.
        node.send("node1", "here I am", 100, tag="register")
        answer = yield from node.receive("node1")
        return str(answer.payload)

    def rendezvous(node: Node) -> Operation[list[str]]:
        node.watch([NODE0], 5 * MS)
        heard = []
        for _ in range(2):
            try:
                heard.append((yield from node.receive()).payload)
            except PeerLost as lost:
                heard.append(str(lost))
        node.send("node0", "welcome", 100, tag="answer")
        yield from node.sleep(MS)
        return heard

    story = told(scenario=cluster(2), programs={"node0": suspected, "node1": rendezvous})
    assert story.played.results["node1"] == ["lost the connection to node0, whose heartbeats do not come", "here I am"]
    assert story.played.results["node0"] == "welcome"
    assert false_suspicions(story.events) == 1


def test_who_is_suspected_can_be_written_to_first() -> None:
    def suspected(node: Node) -> Operation[str]:
        message = yield from node.receive("node1")
        return str(message.payload)

    def suspecting(node: Node) -> Operation[None]:
        node.watch([NODE0], 5 * MS)
        with pytest.raises(PeerLost):
            yield from node.receive("node0")
        with pytest.raises(PeerLost):
            yield from node.receive("node0")  # as with any connection that broke
        yield from node.send("node0", "are you there?", 100, tag="question").sent()

    story = told(scenario=cluster(2), programs={"node0": suspected, "node1": suspecting})
    assert story.played.results["node0"] == "are you there?"


# --- lives and programs -----------------------------------------------------------------------------------------------


def test_a_restarted_peer_is_a_new_life_whose_beats_do_not_count_for_the_old_one() -> None:
    fault = crash("node0", 50 * MS, restart_after="10 ms", notice="silence")
    programs = {"node0": beats(NODE1, every=20 * MS, until=S), "node1": watches(NODE0, 100 * MS)}
    story = told(scenario=cluster(2, faults=[fault]), programs=programs, restarts=["node0"])
    assert story.times("deliver", "node1", tag="heartbeat")[2:4] == [40 * MS + BEAT, 60 * MS + BEAT]
    assert story.times("suspect", peer="node0", incarnation=0) == [40 * MS + BEAT + 100 * MS]
    assert false_suspicions(story.events) == 0, "the life that it watched is over"


def test_a_beat_to_a_life_that_is_over_is_answered_with_a_reset_and_then_no_more_are_sent() -> None:
    def sender(node: Node) -> Operation[str]:
        node.beat([NODE1], 20 * MS)
        try:
            yield from node.receive("node1")
        except Restarted:
            yield from node.sleep(S)
        return str(node.name)

    fault = crash("node1", 50 * MS, restart_after="25 ms", notice="silence")
    story = told(
        scenario=cluster(2, faults=[fault]),
        programs={"node0": sender, "node1": beats(NODE1, every=S, until=S)},
        restarts=["node1"],
    )
    # Back at 75 ms; the beat of 80 ms finds it restarted.
    assert story.times("peer_lost", "node0", peer="node1") == [80 * MS + BEAT + LATENCY]
    assert story.times("depart", "node0") == [0, 20 * MS, 40 * MS, 60 * MS, 80 * MS]


def test_beats_end_with_the_program_and_so_does_watching() -> None:
    programs = {"node0": beats(NODE1, every=20 * MS, until=50 * MS), "node1": watches(NODE0, 30 * MS, until=60 * MS)}
    programs["node2"] = beats(NODE2, every=MS, until=S)
    story = told(scenario=cluster(3), programs=programs)
    assert max(story.times("depart")) == 40 * MS
    assert story.of("suspect") == [], "who watched has ended before"

    programs["node1"] = watches(NODE0, 30 * MS, until=S)
    story = told(scenario=cluster(3), programs=programs)
    assert story.times("suspect") == [40 * MS + BEAT + 30 * MS]


def test_new_lists_replace_old_ones() -> None:
    def sender(node: Node) -> Operation[None]:
        node.beat([NODE1], 20 * MS)
        yield from node.sleep(30 * MS)
        node.beat([NODE2], 10 * MS)
        yield from node.sleep(25 * MS)
        node.beat([], 1)
        yield from node.sleep(S)

    def watcher(node: Node) -> Operation[None]:
        node.watch([NODE0], 15 * MS)
        yield from node.sleep(10 * MS)
        node.watch([NODE0, NODE1], 40 * MS)  # The 15 ms are forgotten, and the 40 ms count from now.
        yield from node.sleep(39 * MS)
        node.watch([], 1)
        yield from node.sleep(S)

    story = told(scenario=cluster(3), programs={"node0": sender, "node1": watcher, "node2": watcher})
    assert story.times("depart", "node0", to="node1") == [0, 20 * MS]
    assert story.times("depart", "node0", to="node2") == [30 * MS, 40 * MS, 50 * MS]
    assert story.of("suspect") == []


def test_who_has_died_neither_beats_nor_watches() -> None:
    programs = {"node0": beats(NODE1, every=20 * MS, until=S), "node1": watches(NODE0, 30 * MS, until=S)}
    faults = [crash("node0", 50 * MS, notice="silence"), crash("node1", 51 * MS)]
    story = told(scenario=cluster(3, faults=faults), programs={**programs, "node2": beats(NODE2, every=1, until=S)})
    assert story.of("suspect") == []
    assert max(story.times("depart")) == 40 * MS


def pause(node: str, at: int, lasts: int | None = None) -> dict[str, Any]:
    """Return a fault as a scenario has it."""
    ends = {} if lasts is None else {"lasts": f"{lasts} ns"}
    return {"kind": "pause", "node": node, "at": f"{at} ns", **ends}


def test_who_stands_still_does_not_beat() -> None:
    programs = {"node0": beats(NODE1, every=20 * MS, until=S), "node1": watches(NODE0, 60 * MS, until=S)}
    story = told(scenario=cluster(2, faults=[pause("node0", 50 * MS, 80 * MS)]), programs=programs)
    assert story.times("suspect") == [40 * MS + BEAT + 60 * MS]
    assert story.times("depart")[2:4] == [40 * MS, 140 * MS]


def test_who_stands_still_suspects_when_it_goes_on_unless_a_beat_has_come() -> None:
    programs = {
        "node0": beats(NODE1, every=20 * MS, until=S),
        "node1": watches(NODE0, 60 * MS, until=S),
        "node2": watches(NODE0, 60 * MS, until=S),
    }
    story = told(scenario=cluster(3, faults=[pause("node1", MS, 300 * MS), pause("node2", MS, S)]), programs=programs)
    assert story.of("suspect", "node1") == []
    assert story.times("suspect", "node2") == [S + MS]


def test_a_watch_that_ended_as_the_node_went_on_suspects_nobody() -> None:
    def watcher(node: Node) -> Operation[int]:
        node.watch([NODE0], 10 * MS)
        yield from node.receive("node2")
        node.watch([NODE2], 10 * MS)
        return node.now_ns

    def sender(node: Node) -> Operation[None]:
        yield from node.sleep(5 * MS)
        node.send("node1", None, 0, tag=0)

    programs = {"node0": beats(NODE0, every=MS, until=S), "node1": watcher, "node2": sender}
    story = told(scenario=cluster(3, faults=[pause("node1", MS, 49 * MS)]), programs=programs)
    assert story.played.results["node1"] == 50 * MS
    assert story.of("suspect") == []


def test_a_suspicion_comes_before_other_timers_of_its_instant() -> None:
    def waiter(node: Node) -> Operation[str]:
        node.watch([NODE0], 5 * MS)
        try:
            yield from node.receive("node0", timeout_ns=5 * MS)
        except NodeError as error:
            return type(error).__name__
        return "nothing"

    story = told(scenario=cluster(2), programs={"node0": beats(NODE0, every=MS, until=S), "node1": waiter})
    assert story.played.results["node1"] == "Suspected"


def idle(node: Node) -> Operation[None]:
    yield from node.receive("node1")


def test_who_is_known_to_be_dead_is_not_suspected_and_keeps_no_run_going() -> None:
    def knows(then: int | None) -> Run:
        def run(node: Node) -> Operation[None]:
            node.watch([NODE0], 5 * S)
            with pytest.raises(PeerLost):
                yield from node.receive("node0")
            yield from (node.receive("node2") if then is None else node.sleep(then))

        return run

    def play(then: int | None) -> Story:
        programs = {"node0": beats(NODE0, every=MS), "node1": knows(then), "node2": idle}
        return told(scenario=cluster(3, faults=[crash("node0", 2 * S)]), programs=programs)

    story = play(then=None)
    assert (story.played.ending, story.played.time_ns) == ("stalled", 2 * S + LATENCY)
    assert play(then=9 * S).of("suspect", "node1") == []


def test_one_suspicion_may_be_followed_by_another() -> None:
    def waiter(node: Node) -> Operation[list[int]]:
        seen = []
        for peer, timeout in ((NODE0, 5 * MS), (NODE2, 7 * MS)):
            node.watch([peer], timeout)
            with pytest.raises(Suspected):
                yield from node.receive(peer.name)
            seen.append(node.now_ns)
        return seen

    story = told(scenario=cluster(3), programs={"node0": idle, "node1": waiter, "node2": idle})
    assert story.played.results["node1"] == [5 * MS, 12 * MS]


def test_who_stands_still_for_ever_suspects_nobody_and_the_run_has_stalled() -> None:
    programs = {"node0": idle, "node1": watches(NODE0, 5 * MS)}
    story = told(scenario=cluster(2, faults=[pause("node1", MS)]), programs=programs)
    assert (story.played.ending, story.played.time_ns) == ("stalled", MS)


def test_a_verdict_is_for_another_and_nobody_believes_it_of_itself() -> None:
    def told_so(node: Node) -> Operation[int]:
        node.join(group_of(["node0", "node1"]))
        if node.name == "node1":
            node.tell_lost(NODE0, NODE0)
            node.tell_lost(NODE1, NODE0)
        yield from node.sleep(MS)
        total = yield from node.collective(RingAllReduce(), np.ones(4, np.float32))
        return int(total.sum())

    story = told(scenario=cluster(2), programs=dict.fromkeys(["node0", "node1"], told_so))
    assert story.played.results == {"node0": 8, "node1": 8}
    assert story.times("depart", tag="lost") == [0], "to node0 alone"


@pytest.mark.parametrize("verb", ["beat", "watch"])
def test_what_makes_no_sense_is_said(verb: str) -> None:
    def run(peers: list[Member], duration: int) -> Run:
        def program(node: Node) -> Operation[None]:
            getattr(node, verb)(peers, duration)
            yield from node.sleep(1)

        return program

    with pytest.raises(UsageError, match="must be more than 0 ns"):
        tell(cluster(2), {"node0": run([NODE1], 0)})
    with pytest.raises(UsageError, match="node9"):
        tell(cluster(2), {"node0": run([Member("node9", 0)], 5)})


# --- over, stalled ----------------------------------------------------------------------------------------------------


def waits_for(peer: Member, timeout: int, busy: int = 0) -> Run:
    """Beat to a peer and watch it, work for a while, then wait for a message that nobody sends."""

    def run(node: Node) -> Operation[None]:
        node.beat([peer], 100 * MS)
        node.watch([peer], timeout)
        yield from node.sleep(busy)
        yield from node.receive(peer.name)

    return run


def test_a_run_stalls_though_everybody_beats() -> None:
    programs = {"node0": waits_for(NODE1, 5 * S, busy=S + 1), "node1": waits_for(NODE0, 5 * S)}
    story = told(scenario=cluster(2), programs=programs)
    assert story.played.ending == "stalled"
    assert story.played.waiting == {"node0": "node1 (a message)", "node1": "node0 (a message)"}
    # The last thing happened at 1 s and 1 ns; the next beats say that nothing is going to.
    assert story.played.time_ns == 1_100 * MS + BEAT
    assert story.of("suspect") == []


def test_a_run_has_not_stalled_while_a_suspicion_may_come() -> None:
    programs = {"node0": waits_for(NODE1, 5 * S), "node1": waits_for(NODE0, 5 * S)}
    fault = crash("node0", 50 * MS, notice="silence")
    story = told(scenario=cluster(2, faults=[fault]), programs=programs)
    assert story.times("suspect", "node1", peer="node0") == [BEAT + 5 * S]
    assert story.played.failures == {"node1": "lost the connection to node0, whose heartbeats do not come"}
    # With a watch on somebody else only, it has stalled; who that is beats.
    programs = {"node0": waits_for(NODE1, 5 * S), "node1": waits_for(NODE2, 5 * S), "node2": waits_for(NODE1, 5 * S)}
    story = told(scenario=cluster(3, faults=[fault]), programs=programs)
    assert (story.played.ending, story.of("suspect")) == ("stalled", [])


def test_beats_alone_do_not_keep_a_full_link_going() -> None:
    # Three beats meet on the link to node0 all the time, so that shares are worked out anew at each.
    def wait(node: Node) -> Operation[None]:
        if node.name == "node0":
            node.watch([NODE1, NODE2], 500 * MS)
        else:
            node.beat([NODE0], 9 * MS)
        yield from node.receive()

    scenario = cluster(3, network={"bandwidth": "128 kbit/s"}, max_virtual_time="100 s")
    story = told(scenario=scenario, programs=dict.fromkeys(("node0", "node1", "node2"), wait))
    assert story.played.ending == "stalled"
    assert story.played.time_ns < 500 * MS


# --- in collectives ---------------------------------------------------------------------------------------------------


def ring_of(
    count: int, length: int, timeout: int, every: int, rounds: int = 50, mute: str | None = None
) -> dict[str, Run]:
    """A ring that watches its neighbours, and adds up vectors, 1 ms of computing before each; `mute` sends no beats."""
    group = group_of(f"node{rank}" for rank in range(count))

    def run(node: Node) -> Operation[Any]:
        node.join(group)
        watch_neighbours(node, NeighbourHeartbeat(interval=f"{every} ns", timeout=f"{timeout} ns"))
        if node.name == mute:
            node.beat([], every)
        total = np.zeros(length, np.float32)
        try:
            for number in range(rounds):
                yield from node.compute(10**6)
                mine = np.full(length, node.rank + number, np.float32)
                total = total + (yield from node.collective(RingAllReduce(), mine))
        except PeerLost as lost:
            node.watch([], timeout)
            return number, lost.peer, type(lost).__name__
        return float(total.sum())

    return dict.fromkeys(group.names, run)


@pytest.mark.parametrize("every", [7 * US, 100 * US, 3 * MS])
def test_beats_disturb_collectives_and_both_fidelities_agree(every: int) -> None:
    rounds = 12 if every > 10 * US else 3
    story = told(scenario=cluster(4), programs=ring_of(4, 1_000, timeout=50 * MS, every=every, rounds=rounds))
    ways = tell(cluster(4), ring_of(4, 1_000, timeout=50 * MS, every=every, rounds=rounds)).played.collectives
    assert ways.in_closed_form + ways.by_messages == rounds
    assert ways.by_messages > 0
    assert story.played.results["node0"] == sum(1_000.0 * (4 * number + 6) for number in range(rounds))
    if every == 3 * MS:
        assert ways.in_closed_form > 0, "what no beat comes upon is not disturbed"


def test_a_silent_death_in_a_ring_is_seen_by_both_neighbours_and_runs_round() -> None:
    fault = crash("node2", 10 * MS + 300_123, notice="silence")
    story = told(scenario=cluster(5, faults=[fault]), programs=ring_of(5, 1_000, timeout=20 * MS, every=3 * MS))
    last = max(at for at in story.times("deliver", tag="heartbeat", source="node2"))
    assert story.times("suspect", "node1") == story.times("suspect", "node3") == [last + 20 * MS]
    lost = {event.node: (event.time_ns - last - 20 * MS, event.fields["peer"]) for event in story.of("peer_lost")}
    assert lost == {
        "node1": (0, "node2"),
        "node3": (0, "node2"),
        "node0": (LATENCY, "node1"),
        "node4": (LATENCY, "node3"),
    }
    kinds = {name: result[2] for name, result in story.played.results.items()}
    hearsay = dict.fromkeys(["node0", "node4"], "PeerLost")
    assert kinds == {**dict.fromkeys(["node1", "node3"], "Suspected"), **hearsay}
    assert false_suspicions(story.events) == 0


def test_who_is_wrongly_suspected_learns_that_the_ring_is_broken() -> None:
    story = told(scenario=cluster(4), programs=ring_of(4, 1_000, timeout=20 * MS, every=3 * MS, mute="node2"))
    assert {event.node for event in story.of("suspect")} == {"node1", "node3"}
    assert set(story.played.results) == {"node0", "node1", "node2", "node3"}
    assert story.played.results["node1"][1] == story.played.results["node3"][1] == "node2"
    assert story.played.results["node2"][1] in ("node1", "node3"), "who has closed on it"
    assert false_suspicions(story.events) == 2


@st.composite
def troubled_rings(draw: st.DrawFn) -> dict[str, Any]:
    """A ring with heartbeats, on links that may be slow, lossy or busy, and machines that die."""
    count = draw(st.integers(2, 4))
    names = [f"node{rank}" for rank in range(count + 1)]  # the last one is in no ring
    instants = st.integers(0, 15 * MS) | st.integers(0, 15).map(lambda ms: ms * MS)
    network: dict[str, Any] = {"bandwidth": draw(st.sampled_from(["1 Gbit/s", "4 Mbit/s", "300 kbit/s"]))}
    if draw(st.booleans()):
        source, target = draw(st.permutations(names).map(lambda order: order[:2]))
        start = f"{draw(instants)} ns"
        network["background"] = [
            {"source": source, "target": target, "start": start, "burst": "1 ms", "pause": "700 us"}
        ]
    network.update(
        draw(st.sampled_from([{}, {}, {"drop": "5 %", "resend_after": "2 ms"}, {"message_overhead": "9 us"}]))
    )
    faults = [
        crash(name, draw(instants), draw(st.sampled_from([None, "2 ms"])), draw(st.sampled_from(["silence", "reset"])))
        for name in draw(st.lists(st.sampled_from(names), max_size=2, unique=True))
    ]
    programs = ring_of(
        count,
        draw(st.sampled_from([0, 1, 40, 700])),
        timeout=draw(st.integers(300 * US, 9 * MS)),
        every=draw(st.integers(50 * US, 4 * MS)),
        rounds=draw(st.integers(1, 5)),
        mute=draw(st.sampled_from([None, None, *names])),
    )
    scenario = cluster(count + 1, network=network, faults=faults, seed=draw(st.integers(0, 9)))
    return {"scenario": scenario, "programs": programs, "restarts": draw(st.sampled_from([(), names[:1]]))}


@settings(max_examples=60, deadline=None)
@given(world=troubled_rings())
def test_whatever_happens_both_fidelities_and_all_ties_agree(world: dict[str, Any]) -> None:
    story = told(**world)
    assert story.played.ending in ("over", "stalled")
    assert {sum(times) for times in booked(story).values()} == {story.played.time_ns}


@pytest.mark.long
@settings(max_examples=5_000, deadline=None)
@given(world=troubled_rings())
def test_whatever_happens_both_fidelities_and_all_ties_agree_at_length(world: dict[str, Any]) -> None:
    told(**world)


def test_a_suspicion_while_computing_breaks_the_next_collective() -> None:
    group = group_of(["node0", "node1", "node2"])

    def run(node: Node) -> Operation[str]:
        node.join(group)
        if node.name == "node1":
            node.watch([NODE0], 5 * MS)  # who never beats
        yield from node.compute(10 * 10**6)
        try:
            yield from node.collective(RingAllReduce(), np.ones(30, np.float32))
        except PeerLost as lost:
            return lost.peer
        return "all is well"

    story = told(scenario=cluster(3), programs=dict.fromkeys(group.names, run))
    assert story.times("suspect") == [5 * MS]
    assert story.times("peer_lost", "node1", peer="node0") == [10 * MS]
    # What node0 has sent to it arrives, and is not read.
    assert story.played.results == {"node0": "node1", "node1": "node0", "node2": "node1"}


def test_a_new_group_has_new_connections() -> None:
    groups = [group_of(["node0", "node1"], generation) for generation in (0, 1)]

    def run(node: Node) -> Operation[list[Any]]:
        seen: list[Any] = []
        for group in groups:
            node.join(group)
            node.watch([NODE0] if group.generation == 0 else [], 5 * MS)
            yield from node.compute(10 * 10**6)
            try:
                seen.append(float((yield from node.collective(RingAllReduce(), np.ones(2, np.float32))).sum()))
            except PeerLost:
                seen.append("lost")
                yield from node.sleep(MS)
        return seen

    story = told(scenario=cluster(2), programs=dict.fromkeys(groups[0].names, run))
    assert story.played.results == {"node0": ["lost", 4.0], "node1": ["lost", 4.0]}


# --- a rendezvous -----------------------------------------------------------------------------------------------------


def with_rendezvous(faults: list[Mapping[str, Any]], mute: str | None = None) -> Story:
    """Four workers in a ring beat to a rendezvous, which watches them and tells the neighbours of the one it misses."""
    group = group_of(f"node{rank}" for rank in range(4))
    heartbeat = Heartbeat(interval="10 ms", timeout="100 ms", by="rendezvous")

    def worker(node: Node) -> Operation[Any]:
        node.join(group)
        if node.name != mute:
            report(node, heartbeat)
        try:
            while True:
                yield from node.compute(10**6)
                yield from node.collective(RingAllReduce(), np.ones(8, np.float32))
        except PeerLost as lost:
            node.send("rendezvous", lost.peer, 64, tag="register")
            answer = yield from node.receive("rendezvous")
            return lost.peer, answer.payload

    def rendezvous(node: Node) -> Operation[None]:
        watch_ring(node, group, heartbeat)
        missing, present = dict.fromkeys(group.names), []
        while missing:
            try:
                message = yield from node.receive(tag="register")
                present.append(message.source)
                missing.pop(message.source, None)
            except PeerLost as lost:
                tell_ring(node, group, group.members[group.ranks[lost.peer]])
                missing.pop(lost.peer, None)
        for name in present:
            node.send(name, "re-form", 64, tag="answer")
        while True:  # It was wrong about who comes now.
            message = yield from node.receive(tag="register")
            node.send(message.source, "too late", 64, tag="answer")

    programs: dict[str, Run] = {**dict.fromkeys(group.names, worker), "rendezvous": rendezvous}
    return told(
        scenario=cluster(4, faults=faults),
        programs=programs,
        helpers=["rendezvous"],
        machines=[Host(name="rendezvous")],
    )


def test_a_rendezvous_tells_all_in_the_ring_who_is_dead() -> None:
    story = with_rendezvous([crash("node2", 200 * MS + 5 * MS, notice="silence")])
    (suspicion,) = story.of("suspect")
    # Four beats meet on the rendezvous' link, so each leaves in four times the time.
    assert suspicion.time_ns == 200 * MS + 4 * LEAVING + LATENCY + 100 * MS
    # It sends all verdicts at once, and they share its link.
    hop = 3 * LEAVING + LATENCY
    lost = {(event.node, event.fields["peer"]): event.time_ns - suspicion.time_ns for event in story.of("peer_lost")}
    assert lost == {
        ("rendezvous", "node2"): 0,
        ("node1", "node2"): hop,
        ("node3", "node2"): hop,
        ("node0", "node2"): hop,
    }
    assert len(story.of("deliver", tag="lost")) == 3
    answers = {name: answer for name, (_, answer) in story.played.results.items()}
    assert answers == dict.fromkeys(["node0", "node1", "node3"], "re-form")
    assert false_suspicions(story.events) == 0


def test_a_rendezvous_that_is_wrong_breaks_the_ring_and_nobody_hangs() -> None:
    story = with_rendezvous([], mute="node2")
    assert story.times("suspect", "rendezvous", peer="node2") == [100 * MS]
    assert story.played.ending == "over"
    answers = {name: answer for name, (_, answer) in story.played.results.items()}
    assert answers == {**dict.fromkeys(["node0", "node1", "node3"], "re-form"), "node2": "too late"}
    assert false_suspicions(story.events) == 1, "a verdict is nobody's own suspicion"


# --- in a training ----------------------------------------------------------------------------------------------------


def watched_ring(scenario: Scenario, every: int, timeout: int) -> Callable[[Node, Training], Operation[State]]:
    group = group_of(worker_names(scenario))

    def worker(node: Node, training: Training) -> Operation[State]:
        node.join(group)
        watch_neighbours(node, NeighbourHeartbeat(interval=f"{every} ns", timeout=f"{timeout} ns"))
        state, buckets = training.initial(), plan(scenario, training.engine)
        while not training.is_finished(state):
            state = yield from train_step(node, training, state, RingAllReduce(), buckets)
        return state

    return worker


@pytest.mark.parametrize("every", [40 * US, 700 * US])
def test_a_training_learns_the_same_with_heartbeats_in_both_fidelities(every: int) -> None:
    scenario = training(nodes=3)
    strategy = watched_ring(scenario, every, 50 * MS)
    first = simulate(scenario, strategy=strategy, trace="messages")
    for options in ({"fidelity": "message"}, {"shuffle_ties": 5}, {"shuffle_ties": 6, "fidelity": "message"}):
        again = simulate(scenario, strategy=strategy, trace="messages", **options)
        assert (again.schedule_digest, again.numbers_digest) == (first.schedule_digest, first.numbers_digest)
        assert again.trace == first.trace
    assert first.loss == simulate(scenario).loss
    assert first.false_suspicions == 0


def test_the_time_to_detect_is_that_of_the_suspicion() -> None:
    scenario = training(nodes=3, faults=[crash("node1", 9 * MS, notice="silence")], steps=30)
    result = simulate(scenario, strategy=watched_ring(scenario, 2 * MS, 10 * MS))
    (failure,) = result.failures
    assert failure.detected_at_ns == select(result.trace, "suspect")[0].time_ns
    assert 17 * MS < failure.detected_at_ns < 19 * MS
    assert result.summary()["false_suspicions"] == 0


@pytest.mark.parametrize(
    ("source", "at", "timeout", "false"),
    [
        ("a", 50, 30, 1),  # a was up from 20 to 50
        ("a", 60, 30, 0),  # it dies at 60
        ("a", 75, 10, 0),  # it is dead
        ("a", 85, 10, 0),  # it is back since 80, but what it was asked at 75 is lost
        ("a", 95, 10, 1),
        ("b", 95, 10, 0),  # b's program has ended
        (None, 50, 30, 0),  # nobody is named
        ("rendezvous", 50, 30, 0),  # it trains nothing, and has said that it wants so much time
    ],
)
def test_a_timeout_is_a_false_suspicion_of_one_who_was_up_all_the_while(
    source: str | None, at: int, timeout: int, false: int
) -> None:
    events = [
        *(Event(0, name, "step_begin", {}) for name in "ab"),
        Event(60, "a", "crash", {"notice": "silence"}),
        Event(70, "b", "ended", {"reason": "it gave up"}),
        Event(80, "a", "restart", {"incarnation": 1}),
        Event(at, "c", "receive_timeout", {"source": source, "timeout_ns": timeout}),
    ]
    assert false_suspicions(events) == false


# --- the mailbox ------------------------------------------------------------------------------------------------------


def test_a_suspicion_is_told_once_and_the_death_that_follows_is_no_news() -> None:
    box = Mailbox()
    box.suspect("a", 0)
    box.suspect("a", 0)
    with pytest.raises(Suspected):
        box.check("a", None)
    box.lose("a", 0, restarted=False)
    with pytest.raises(PeerLost, match=r"^lost the connection to a$"):
        box.take(None, None)
    assert box.take(None, None) is None


def test_an_old_suspicion_is_nothing_to_a_later_life() -> None:
    box = Mailbox()
    box.lose("a", 1, restarted=True)
    box.suspect("a", 1)
    box.reconnect("a")
    assert box.life("a", None) == 2
    assert box.distrusts("a", 1)
    assert not box.distrusts("a", 2)
