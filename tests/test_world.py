"""The world by itself: hand-written programs on small clusters, each instant worked out by hand.

By default a path has 100 us of latency, a link 1 Gbit/s (125,000 B take 1 ms), a machine 1 GFLOP/s. What is not here:
collectives that nothing disturbs (`test_collectives.py`), shares in general (`test_sharing.py`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import MS, US, S, Story, cluster, crash, group_of, play_collective, tell

from ringsim.collectives.broadcast import Broadcast
from ringsim.collectives.reduce_scatter import ReduceScatter
from ringsim.collectives.ring import RingAllReduce
from ringsim.errors import PeerLost, ReceiveTimeout, Restarted
from ringsim.scenario import Host
from ringsim.world import clock
from ringsim.world.account import Account
from ringsim.world.clock import Clock, Phase

PATH_NS = 100 * US
MILLISECOND_OF_BYTES = 125_000


# --- little programs --------------------------------------------------------------------------------------------------


def mark(node: Any, label: int) -> None:
    """Write an instant to the trace."""
    node.record("commit", step=label, generation=0)


def marks(story: Story, node: str) -> dict[int, int]:
    """Return label -> instant."""
    return {event.fields["step"]: event.time_ns for event in story.of("commit", node)}


def sends(*messages: tuple[str, int], after_ns: int = 0):
    """Send (to, size) one after another without waiting."""

    def run(node):
        yield from node.sleep(after_ns)
        for number, (to, size_bytes) in enumerate(messages):
            node.send(to, number, size_bytes, tag=number)

    return run


def receives(*sources: str | None, **options: Any):
    """Receive from these, in this order, and return the payloads."""

    def run(node):
        got = []
        for source in sources:
            message = yield from node.receive(source, **options)
            got.append(message.payload)
        return got

    return run


def idles(duration_ns: int = S):
    def run(node):
        yield from node.sleep(duration_ns)

    return run


def catches(source: str | None, **options: Any):
    """Receive until it raises; return what came and what was raised, in words."""

    def run(node):
        got = []
        try:
            while True:
                message = yield from node.receive(source, **options)
                got.append(message.payload)
        except (PeerLost, ReceiveTimeout) as error:
            mark(node, 0)
            return got, type(error).__name__, str(error)

    return run


# --- how long a message takes -----------------------------------------------------------------------------------------


def test_a_message_arrives_one_path_latency_after_its_last_byte_has_left():
    story = tell(cluster(), {"node0": sends(("node1", MILLISECOND_OF_BYTES)), "node1": receives("node0")})
    assert story.times("deliver", "node1") == [MS + PATH_NS]
    assert story.played.ending == "over"
    assert story.played.time_ns == MS + PATH_NS


def test_a_third_message_that_comes_to_a_link_of_two_slows_both():
    programs = {f"node{number}": sends(("node3", 1_250), after_ns=2 * number * US) for number in range(3)}
    story = tell(cluster(4), {**programs, "node3": receives(None, None, None)})
    # 10 us each if alone. At 4 us, 7, 9 and 10 of them are left; at 25 us, 2 and 3; at 29 us, 1.
    assert story.times("deliver", "node3") == [at * US + PATH_NS for at in (25, 29, 30)]


def test_a_message_that_is_slowed_arrives_later_though_another_arrives_when_it_would_have():
    programs = {
        "node0": sends(("node2", 1_250)),
        "node1": sends(("node2", 125), after_ns=2 * US),
        "node2": receives("node0", "node1"),
        "node3": sends(("node4", 125), after_ns=9 * US),
        "node4": receives("node3"),
    }
    story = tell(cluster(5), programs)
    assert story.times("deliver", "node2", source="node0") == [11 * US + PATH_NS]
    assert story.times("deliver", "node4") == [10 * US + PATH_NS]


def test_messages_on_one_connection_travel_in_order_one_at_a_time():
    messages = [("node1", size) for size in (MILLISECOND_OF_BYTES, 0, 125, MILLISECOND_OF_BYTES)]
    story = tell(cluster(), {"node0": sends(*messages), "node1": receives(*["node0"] * 4)})
    assert story.times("depart", "node0") == [0, MS, MS, MS + US]
    assert story.times("deliver", "node1") == [at + PATH_NS for at in (MS, MS, MS + US, 2 * MS + US)]
    assert story.played.results["node1"] == [0, 1, 2, 3]


@pytest.mark.parametrize("shuffle_ties", range(6))
def test_empty_messages_that_arrive_at_one_instant_are_read_in_the_order_of_their_connection(shuffle_ties):
    messages = [("node1", MILLISECOND_OF_BYTES), *[("node1", 0)] * 3]
    programs = {"node0": sends(*messages), "node1": receives(*["node0"] * 4)}
    story = tell(cluster(), programs, shuffle_ties=shuffle_ties)
    assert story.times("deliver", "node1") == [MS + PATH_NS] * 4
    assert story.played.results["node1"] == [0, 1, 2, 3]


def test_different_connections_share_the_link_they_meet_on():
    def everything(node):
        yield from receives(None, None)(node)

    one_to_two = {"node0": sends(("node1", MILLISECOND_OF_BYTES), ("node2", MILLISECOND_OF_BYTES))}
    out = tell(cluster(3), {**one_to_two, "node1": receives("node0"), "node2": receives("node0")})
    assert out.times("deliver") == [2 * MS + PATH_NS] * 2
    two_to_one = {name: sends(("node0", MILLISECOND_OF_BYTES)) for name in ("node1", "node2")}
    into = tell(cluster(3), {**two_to_one, "node0": everything})
    assert into.times("deliver") == [2 * MS + PATH_NS] * 2


def test_links_are_full_duplex():
    def exchange(peer):
        def run(node):
            node.send(peer, None, MILLISECOND_OF_BYTES, tag=0)
            yield from node.receive(peer)

        return run

    story = tell(cluster(), {"node0": exchange("node1"), "node1": exchange("node0")})
    assert story.times("deliver") == [MS + PATH_NS] * 2


def test_a_message_flows_at_the_rate_of_its_slowest_link_and_pays_the_latency_of_each():
    nodes = [{"latency": "10 us"}, {"bandwidth": "100 Mbit/s"}]
    story = tell(cluster(nodes), {"node0": sends(("node1", MILLISECOND_OF_BYTES)), "node1": receives("node0")})
    assert story.times("deliver", "node1") == [10 * MS + 10 * US + 50 * US]


def test_send_does_not_wait_and_sent_waits_for_the_last_byte_of_its_own_message():
    def sender(node):
        first = node.send("node1", None, MILLISECOND_OF_BYTES, tag=0)
        second = node.send("node1", None, MILLISECOND_OF_BYTES, tag=1)
        mark(node, 0)
        yield from second.sent()
        mark(node, 1)
        yield from first.sent()
        mark(node, 2)

    story = tell(cluster(), {"node0": sender, "node1": receives("node0", "node0")})
    assert marks(story, "node0") == {0: 0, 1: 2 * MS, 2: 2 * MS}


def test_sent_can_time_out_and_names_whom_the_message_was_for():
    def sender(node):
        sending = node.send("node1", None, MILLISECOND_OF_BYTES, tag=0)
        with pytest.raises(ReceiveTimeout, match="nothing from node1 for 10 us"):
            yield from sending.sent(timeout_ns=10 * US)
        mark(node, 0)

    story = tell(cluster(), {"node0": sender, "node1": receives("node0")})
    assert marks(story, "node0") == {0: 10 * US}


def test_ranks_on_one_machine_talk_over_its_loopback():
    network = {"loopback": {"bandwidth": "8 Gbit/s", "latency": "3 us"}}
    scenario = cluster([{"name": "a", "processes": 2}], network=network)
    story = tell(scenario, {"a.0": sends(("a.1", 1_000)), "a.1": receives("a.0")})
    assert story.times("deliver", "a.1") == [US + 3 * US]
    assert story.played.traffic.links[("a", "a")] == 1_000
    assert story.played.traffic.links[("a", "switch")] == 0


def test_the_overhead_keeps_a_connection_busy_before_each_message_and_others_free():
    scenario = cluster(3, network={"message_overhead": "10 us"})
    programs = {
        "node0": sends(("node1", 125), ("node1", 125), ("node2", 125)),
        "node1": receives("node0", "node0"),
        "node2": receives("node0"),
    }
    story = tell(scenario, programs)
    # The first to node1 and the one to node2 flow together from 10 us to 12 us.
    assert story.times("deliver", "node1") == [12 * US + PATH_NS, 23 * US + PATH_NS]
    assert story.times("deliver", "node2") == [12 * US + PATH_NS]


@pytest.mark.parametrize(("size_bytes", "frames"), [(0, 1), (1, 1), (1_448, 1), (1_449, 2), (14_480, 10)])
def test_framing_adds_a_header_to_every_packet_and_is_counted_apart(size_bytes, frames):
    scenario = cluster(network={"transport": {"kind": "framed"}})
    story = tell(scenario, {"node0": sends(("node1", size_bytes)), "node1": receives("node0")})
    on_the_wire = size_bytes + 66 * frames
    assert story.times("deliver", "node1") == [8 * on_the_wire + PATH_NS]
    assert story.played.traffic.wire == {"node0": on_the_wire}
    assert story.played.traffic.payload == {"node0": size_bytes}
    assert story.played.traffic.links[("node0", "switch")] == on_the_wire
    assert story.played.traffic.links[("switch", "node1")] == on_the_wire
    assert story.played.traffic.links[("node1", "switch")] == 0


def test_a_receive_takes_the_first_message_that_fits_its_tag_and_leaves_the_others():
    def receiver(node):
        second = yield from node.receive("node0", tag=1)
        assert node.poll("node0", tag=2) is None
        first = yield from node.receive("node0")
        yield from node.sleep(MS)
        polled = node.poll("node0", tag=2)
        return second.payload, first.payload, polled.payload, node.poll("node0")

    story = tell(cluster(), {"node0": sends(*[("node1", 125)] * 3), "node1": receiver})
    assert story.played.results["node1"] == (1, 0, 2, None)


# --- computations -----------------------------------------------------------------------------------------------------


def computes(*flop: int):
    def run(node):
        for work in flop:
            yield from node.compute(work)

    return run


def compute_times(story: Story, node: str) -> list[int]:
    begins, ends = story.times("compute_begin", node), story.times("compute_end", node)
    return [end - begin for begin, end in zip(begins, ends, strict=True)]


def test_a_computation_takes_its_work_over_the_speed_rounded_up():
    story = tell(cluster([{"speed": "3 FLOP/s"}, {}]), {"node0": computes(1, 0), "node1": computes(5)})
    assert compute_times(story, "node0") == [333_333_334, 0]
    assert compute_times(story, "node1") == [5]


JITTERY = {"jitter": "10 %", "straggle": {"probability": "20 %", "factor": 4}}


def test_jitter_stays_within_its_bounds_and_stragglers_take_their_factor():
    story = tell(cluster(1, jitter="10 %"), {"node0": computes(*[MS] * 200)})
    times = compute_times(story, "node0")
    assert all(0.9 * MS <= time <= 1.1 * MS for time in times)
    assert len(set(times)) > 190
    slow = tell(cluster(1, straggle=JITTERY["straggle"]), {"node0": computes(*[MS] * 500)})
    assert set(compute_times(slow, "node0")) == {MS, 4 * MS}
    assert 60 <= compute_times(slow, "node0").count(4 * MS) <= 140


def test_adding_a_node_or_work_elsewhere_changes_no_time_of_the_others():
    alone = tell(cluster(1, **JITTERY), {"node0": computes(*[MS] * 30)})
    programs = {"node0": computes(*[MS] * 30), "node1": computes(*[MS] * 9), "node2": computes(MS, 2 * MS)}
    together = tell(cluster(3, **JITTERY), programs)
    assert compute_times(alone, "node0") == compute_times(together, "node0")


def test_another_seed_and_another_life_draw_other_times():
    def times(seed, **options):
        return compute_times(tell(cluster(1, seed=seed, **JITTERY), {"node0": computes(*[MS] * 9)}, **options), "node0")

    assert times(1) == times(1) != times(2)
    fault = crash("node0", 500 * MS, restart_after="1 ms")
    story = tell(cluster(1, faults=[fault], jitter="10 %"), {"node0": computes(S)}, restarts=["node0"])
    (end_ns,), (_, second_life_ns) = story.times("compute_end"), story.times("compute_begin")
    first_life = tell(cluster(1, jitter="10 %"), {"node0": computes(S)})
    assert [end_ns - second_life_ns] != compute_times(first_life, "node0")


# --- several things at one instant ------------------------------------------------------------------------------------


def test_a_message_beats_a_timeout_at_the_same_instant():
    arrival_ns = MS + PATH_NS
    for timeout_ns, outcome in [(arrival_ns, [0]), (arrival_ns - 1, None)]:
        programs = {
            "node0": sends(("node1", MILLISECOND_OF_BYTES)),
            "node1": receives("node0", timeout_ns=timeout_ns),
        }
        story = tell(cluster(), programs)
        assert story.played.results.get("node1") == outcome


def test_a_fault_beats_a_delivery_at_the_same_instant():
    arrival_ns = MS + PATH_NS
    for at_ns, read in [(arrival_ns, 0), (arrival_ns + 1, 1)]:

        def reader(node):
            yield from node.receive("node0")
            mark(node, 0)
            yield from node.sleep(S)

        programs = {"node0": sends(("node1", MILLISECOND_OF_BYTES)), "node1": reader}
        story = tell(cluster(faults=[crash("node1", at_ns)]), programs)
        assert len(marks(story, "node1")) == read


def test_a_fault_beats_the_end_of_a_computation_at_the_same_instant():
    story = tell(cluster(1, faults=[crash("node0", MS)]), {"node0": computes(MS)})
    assert story.of("compute_end") == []
    assert story.times("crash") == [MS]


def test_data_beats_the_news_that_its_sender_died_at_the_same_instant():
    scenario = cluster(faults=[crash("node0", MS + 1)])
    story = tell(scenario, {"node0": sends(("node1", MILLISECOND_OF_BYTES)), "node1": catches("node0")})
    assert story.played.results["node1"] == ([0], "PeerLost", "lost the connection to node0")


# --- deaths -----------------------------------------------------------------------------------------------------------


def test_a_crash_stops_the_flows_of_the_dead_and_counts_what_had_passed():
    scenario = cluster(faults=[crash("node0", 600 * US)])
    story = tell(scenario, {"node0": sends(("node1", MILLISECOND_OF_BYTES)), "node1": catches("node0")})
    assert story.of("deliver") == []
    assert story.played.traffic.links[("node0", "switch")] == 75_000
    assert story.played.traffic.wire == {"node0": 75_000}


def test_a_crash_gives_the_share_of_the_dead_to_the_living_at_once():
    scenario = cluster(3, faults=[crash("node1", MS)])
    programs = {
        "node0": receives("node2"),
        "node1": sends(("node0", MILLISECOND_OF_BYTES)),
        "node2": sends(("node0", MILLISECOND_OF_BYTES)),
    }
    story = tell(scenario, programs)
    assert story.times("deliver", "node0") == [MS + 500 * US + PATH_NS]


@pytest.mark.parametrize("latency", ["0 ns", "7 us", "50 us"])
def test_with_a_reset_the_peers_learn_of_a_death_exactly_one_path_latency_later(latency):
    latency_ns = {"0 ns": 0, "7 us": 7 * US, "50 us": 50 * US}[latency]
    nodes = [{}, {"latency": latency}, {"latency": "20 us"}]
    scenario = cluster(nodes, faults=[crash("node1", 3 * MS)])
    story = tell(scenario, {"node0": catches("node1"), "node1": idles(), "node2": catches("node1")})
    assert marks(story, "node0") == {0: 3 * MS + latency_ns + 50 * US}
    assert marks(story, "node2") == {0: 3 * MS + latency_ns + 20 * US}
    assert story.times("peer_lost", "node0", peer="node1") == [3 * MS + latency_ns + 50 * US]


def test_what_had_arrived_or_had_left_is_read_before_the_loss():
    def reader(node):
        yield from node.sleep(10 * MS)
        return (yield from catches("node0")(node))

    # The first has arrived by then, the second has left, the third is cut off.
    scenario = cluster(faults=[crash("node0", 2 * MS + 1)])
    story = tell(scenario, {"node0": sends(*[("node1", MILLISECOND_OF_BYTES)] * 3), "node1": reader})
    assert story.played.results["node1"] == ([0, 1], "PeerLost", "lost the connection to node0")


@pytest.mark.parametrize("phase", [Phase.FAULT, Phase.DELIVER])
def test_what_is_due_together_comes_in_the_order_of_its_keys(phase):
    def order(keys, shuffle_ties):
        clock, seen = Clock(shuffle_ties), []
        for number, key in enumerate(keys):
            clock.at(5, phase, (key,), lambda one=(key, number): seen.append(one))
        assert clock.run(lambda: False, 100) == "dry"
        return seen

    for shuffle_ties in (None, 1):
        assert [key for key, _ in order([2, 0, 3, 1], shuffle_ties)] == [0, 1, 2, 3]
    # Of equal keys the one that was entered first comes first, and any if they are shuffled.
    assert order([1, 0, 1, 0], None) == [(0, 1), (0, 3), (1, 0), (1, 2)]
    assert order([0] * 8, 1) != order([0] * 8, None)


def test_what_leaves_at_the_very_instant_of_a_death_still_arrives():
    # At 18 ns the last byte of node1's only message leaves; then it receives its first one, and dies of that.
    group = group_of(["node0", "node1"])

    def member(enter_ns):
        def run(node):
            node.join(group)
            node.begin_step(0)
            yield from node.sleep(enter_ns)
            yield from node.collective(ReduceScatter(), _ones(4))

        return run

    network = {"bandwidth": "8 Gbit/s", "latency": "5 ns"}
    scenario = cluster(2, network=network, faults=[crash("node1", {"step": 0, "segment": 1})])
    story = tell(scenario, {"node0": member(0), "node1": member(10)})
    assert story.times("crash", "node1") == [18]
    assert story.times("deliver", "node0") == [28]


def test_a_message_that_is_cut_off_as_its_last_byte_would_leave_counts_no_more_than_it_has():
    # A byte takes a nanosecond, rounded up, in which 12 could have passed.
    scenario = cluster(network={"bandwidth": "100 Gbit/s"}, faults=[crash("node0", 1)])
    story = tell(scenario, {"node0": sends(("node1", 1)), "node1": catches("node0")})
    assert story.of("deliver") == []
    assert story.played.traffic.wire == {"node0": 1}


def test_who_receives_from_anybody_hears_of_each_death_once_in_its_place_among_the_messages():
    def reader(node):
        yield from node.sleep(20 * MS)
        heard = []
        for _ in range(4):
            try:
                message = yield from node.receive()
                heard.append((message.source, message.payload))
            except PeerLost as lost:
                heard.append(lost.peer)
        with pytest.raises(ReceiveTimeout, match="nothing from anybody for 1 ms"):
            yield from node.receive(timeout_ns=MS)
        return heard

    scenario = cluster(4, faults=[crash("node1", 3 * MS), crash("node2", 5 * MS)])
    programs = {
        "node0": reader,
        "node1": sends(("node0", 125)),
        "node2": idles(),
        "node3": sends(("node0", 125), after_ns=4 * MS),
    }
    story = tell(scenario, programs)
    assert story.played.results["node0"] == [("node1", 0), "node1", ("node3", 0), "node2"]


def test_with_silence_nothing_comes_and_a_timeout_names_whom_it_waited_for():
    scenario = cluster(faults=[crash("node1", MS, notice="silence")])
    story = tell(scenario, {"node0": catches("node1", timeout_ns=5 * MS), "node1": idles()})
    assert story.played.results["node0"] == ([], "ReceiveTimeout", "nothing from node1 for 5 ms")
    assert marks(story, "node0") == {0: 5 * MS}


def test_without_a_timeout_silence_stalls_the_run_which_says_who_waits_for_whom():
    scenario = cluster(3, faults=[crash("node2", MS, notice="silence")])
    programs = {"node0": receives("node1", tag="word"), "node1": receives("node2"), "node2": idles()}
    story = tell(scenario, programs)
    assert story.played.ending == "stalled"
    assert story.played.time_ns == MS
    assert story.played.waiting == {"node0": "node1 (word)", "node1": "node2 (a message)"}


def test_who_expects_others_names_them_when_the_run_stalls():
    story = tell(cluster(3), {"node0": receives(None, tag="push", expecting=["node1", "node2"])})
    assert story.played.ending == "stalled"
    assert story.played.waiting == {"node0": "node1, node2 (push)"}


def test_a_wait_that_is_shorter_than_the_one_before_gives_up_earlier():
    class Impatient:
        name, timeout_ns, has_closed_form = "impatient", None, False

        def messages(self, seat, buffer):
            if seat.rank == 0:
                yield from seat.receive("node1", tag="first", timeout_ns=S)
                yield from seat.receive("node1", tag="second", timeout_ns=7 * US)
            else:
                seat.send("node0", None, 0, tag="first")
                yield from seat.receive("node0", tag="never")

    story = play_collective(cluster(), Impatient(), [None, None])
    assert story.times("receive_timeout", "node0") == [PATH_NS + 7 * US]


def test_a_slow_link_makes_a_timeout_suspect_a_node_that_lives():
    programs = {"node0": catches("node1", timeout_ns=5 * MS), "node1": sends(("node0", MILLISECOND_OF_BYTES))}
    fast = tell(cluster(2), programs)
    assert fast.played.results["node0"][0] == [0]
    slow = tell(cluster([{}, {"bandwidth": "100 Mbit/s"}]), programs)
    assert slow.played.results["node0"] == ([], "ReceiveTimeout", "nothing from node1 for 5 ms")
    assert "node1" in slow.played.results


def test_all_ranks_of_a_machine_die_together_and_those_elsewhere_live():
    nodes = [{"name": "a", "processes": 2}, {"name": "b"}]
    story = tell(cluster(nodes, faults=[crash("a", MS)]), {"a.0": idles(), "a.1": idles(), "b": catches("a.1")})
    assert story.times("crash") == [MS, MS]
    assert set(story.played.results) == {"b"}
    assert story.played.injected[0].ranks == ("a.0", "a.1")


def test_a_crash_of_the_dead_changes_nothing():
    once = cluster(faults=[crash("node1", MS)])
    twice = cluster(faults=[crash("node1", MS), crash("node1", 2 * MS, restart_after="1 ms")])
    programs = {"node0": idles(10 * MS), "node1": idles()}
    assert tell(once, programs).lines == tell(twice, programs).lines


def test_faults_on_machines_without_a_program_are_not_applicable():
    scenario = cluster(2, faults=[crash("node1", MS), crash("node0", MS)])
    story = tell(scenario, {"node0": idles()})
    assert story.played.not_applicable == {0}
    assert [injected.number for injected in story.played.injected] == [1]


def test_a_program_that_does_not_catch_a_loss_ends_and_its_peers_hear_of_it():
    scenario = cluster(3, faults=[crash("node2", MS)])
    programs = {"node0": catches("node1"), "node1": receives("node2"), "node2": idles()}
    story = tell(scenario, programs)
    assert story.played.failures == {"node1": "lost the connection to node2"}
    assert marks(story, "node0") == {0: MS + 2 * PATH_NS}


# --- restarts ---------------------------------------------------------------------------------------------------------


def test_a_restarted_program_begins_anew_as_another_incarnation():
    def run(node):
        mark(node, node.incarnation)
        yield from node.sleep(10 * MS)
        return node.incarnation

    scenario = cluster(1, faults=[crash("node0", 3 * MS, restart_after="2 ms")])
    story = tell(scenario, {"node0": run}, restarts=["node0"])
    assert marks(story, "node0") == {0: 0, 1: 5 * MS}
    assert story.played.results == {"node0": 1}
    assert story.played.time_ns == 15 * MS
    account = story.played.accounts["node0"]
    assert (account.down_ns, account.recovery_ns) == (2 * MS, 10 * MS)


def test_a_program_that_does_not_restart_stays_away_after_its_machine_has():
    scenario = cluster(2, faults=[crash("node1", 3 * MS, restart_after="2 ms")])
    story = tell(scenario, {"node0": idles(20 * MS), "node1": idles()})
    assert story.played.accounts["node1"].down_ns == 17 * MS
    assert story.times("restart") == [5 * MS]


@pytest.mark.parametrize("notice", ["reset", "silence"])
def test_messages_to_a_former_life_never_reach_the_new_one(notice):
    def receiver(node):
        if node.incarnation == 0:
            yield from node.sleep(S)
        return (yield from catches("node0", timeout_ns=50 * MS)(node))

    # It leaves at 1 ms, while the receiver is away, and arrives when it is back.
    scenario = cluster(faults=[crash("node1", MS + 10 * US, restart_after="20 us", notice=notice)])

    def sender(node):
        node.send("node1", None, MILLISECOND_OF_BYTES, tag=0)
        yield from node.sleep(S)

    story = tell(scenario, {"node0": sender, "node1": receiver}, restarts=["node1"])
    assert story.played.results["node1"] == ([], "ReceiveTimeout", "nothing from node0 for 50 ms")
    assert story.of("deliver") == []


def test_a_message_to_a_former_life_is_answered_by_a_reset_that_says_it_has_restarted():
    def sender(node):
        yield from node.sleep(10 * MS)
        node.send("node1", None, MILLISECOND_OF_BYTES, tag=0)
        with pytest.raises(Restarted, match="lost the connection to node1, which has restarted"):
            yield from node.receive("node1")
        mark(node, 0)
        node.send("node1", "hello again", 125, tag=1)

    def receiver(node):
        message = yield from node.receive("node0")
        return node.incarnation, message.payload

    scenario = cluster(faults=[crash("node1", MS, restart_after="1 ms", notice="silence")])
    story = tell(scenario, {"node0": sender, "node1": receiver}, restarts=["node1"])
    assert marks(story, "node0") == {0: 11 * MS + 2 * PATH_NS}
    assert story.played.results["node1"] == (1, "hello again")


def test_a_message_to_a_dead_process_is_answered_by_a_reset_one_round_trip_later():
    def sender(node):
        with pytest.raises(PeerLost):
            yield from node.receive("node1")
        node.send("node1", None, MILLISECOND_OF_BYTES, tag=0)
        with pytest.raises(PeerLost):
            yield from node.receive("node1")
        mark(node, 0)

    story = tell(cluster(faults=[crash("node1", MS)]), {"node0": sender, "node1": idles()})
    assert marks(story, "node0") == {0: MS + PATH_NS + MS + 2 * PATH_NS}


def test_who_was_written_to_in_vain_while_it_was_away_can_be_written_to_when_it_is_back():
    def sender(node):
        for at_ns in (2 * MS, 3 * MS):
            yield from node.sleep(at_ns - node.now_ns)
            node.send("node1", None, 0, tag=0)
            with pytest.raises(PeerLost):
                yield from node.receive("node1")
        yield from node.sleep(9 * MS - node.now_ns)
        node.send("node1", "welcome", 0, tag=0)

    scenario = cluster(faults=[crash("node1", MS, restart_after="5 ms")])
    story = tell(scenario, {"node0": sender, "node1": catches("node0", timeout_ns=90 * MS)}, restarts=["node1"])
    assert story.times("deliver", "node1") == [9 * MS + PATH_NS]


def test_a_message_to_a_machine_that_died_in_silence_is_not_answered():
    def sender(node):
        yield from node.sleep(10 * MS)
        node.send("node1", None, 125, tag=0)
        with pytest.raises(ReceiveTimeout):
            yield from node.receive("node1", timeout_ns=S)

    scenario = cluster(faults=[crash("node1", MS, notice="silence")])
    story = tell(scenario, {"node0": sender, "node1": idles()})
    assert story.of("peer_lost") == []


def test_sent_raises_when_the_receiver_dies_before_the_last_byte_has_left():
    def sender(node):
        with pytest.raises(PeerLost, match="node1"):
            yield from node.send("node1", None, MILLISECOND_OF_BYTES, tag=0).sent()
        mark(node, 0)

    story = tell(cluster(faults=[crash("node1", 300 * US)]), {"node0": sender, "node1": idles()})
    assert marks(story, "node0") == {0: 300 * US + PATH_NS}


@pytest.mark.parametrize("at_ns", [1, 500 * US])
def test_to_a_silently_dead_machine_the_last_byte_leaves_as_if_nothing_had_been(at_ns):
    """Whether the message was under way at the death or is sent after it: the sender cannot know."""

    def sender(node):
        yield from node.sleep(100 * US)
        yield from node.send("node1", None, MILLISECOND_OF_BYTES, tag=0).sent()
        return "sent"

    def sleeper(node):
        yield from node.sleep(S)

    story = tell(cluster(faults=[crash("node1", at_ns, notice="silence")]), {"node0": sender, "node1": sleeper})
    assert story.played.results["node0"] == "sent"
    assert story.played.time_ns == 1_100 * US


def test_a_machine_that_is_back_without_its_program_answers_every_message_with_a_reset():
    def sender(node):
        lost = []
        for at_ns in (5 * MS, 6 * MS):
            yield from node.sleep(at_ns - node.now_ns)
            node.send("node1", None, 0, tag=0)
            try:
                yield from node.receive("node1", timeout_ns=900 * US)
            except (PeerLost, ReceiveTimeout) as error:
                lost.append((type(error).__name__, node.now_ns))
        return lost

    scenario = cluster(faults=[crash("node1", MS, restart_after="1 ms", notice="silence")])
    story = tell(scenario, {"node0": sender, "node1": idles()})
    assert story.played.results["node0"] == [("PeerLost", at_ns + 2 * PATH_NS) for at_ns in (5 * MS, 6 * MS)]


def test_a_reset_for_a_former_life_does_not_reach_the_next_one():
    def sender(node):
        if node.incarnation == 0:
            yield from node.sleep(MS)
            node.send("node1", None, 0, tag=0)  # It comes to a dead process at 1.1 ms, of which nobody knows yet.
            yield from node.sleep(S)
        with pytest.raises(ReceiveTimeout):
            yield from node.receive("node1", timeout_ns=5 * MS)
        return node.now_ns

    faults = [crash("node1", 950 * US), crash("node0", MS + 40 * US, restart_after="5 us")]
    story = tell(cluster(faults=faults), {"node0": sender, "node1": idles()}, restarts=["node0"])
    assert story.played.results["node0"] == 6 * MS + 45 * US


def test_who_begins_anew_talks_to_the_lives_that_its_peers_have_now():
    def run(node):
        if node.name == "node0" and node.incarnation == 1:
            node.send("node1", "hello", 0, tag=0)
        if node.name == "node1" and node.incarnation == 1:
            return (yield from node.receive("node0")).payload, node.now_ns
        yield from node.sleep(90 * MS)

    faults = [crash("node1", MS, restart_after="1 ms"), crash("node0", 3 * MS, "1 ms", notice="silence")]
    story = tell(cluster(faults=faults), dict.fromkeys(["node0", "node1"], run), restarts=["node0", "node1"])
    assert story.played.results["node1"] == ("hello", 4 * MS + PATH_NS)


@pytest.mark.parametrize("shuffle_ties", [None, *range(6)])
def test_of_a_restart_and_a_crash_at_one_instant_the_former_fault_comes_first(shuffle_ties):
    faults = [crash("node0", MS, restart_after="1 ms"), crash("node0", 2 * MS)]
    programs = {"node0": idles(), "node1": idles(3 * MS)}
    story = tell(cluster(faults=faults), programs, restarts=["node0"], shuffle_ties=shuffle_ties)
    assert (story.times("restart"), story.times("crash")) == ([2 * MS], [MS, 2 * MS])
    assert story.played.results.keys() == {"node1"}


def test_news_of_a_former_life_never_comes_after_a_word_of_the_next_one():
    """A message to the former life is under way when the new life speaks first; its reset is old news by then."""

    def listener(node):
        node.send("node1", None, 2 * MILLISECOND_OF_BYTES, tag=0)  # leaves at 2 ms, is refused at 2.1 ms
        heard = []
        for _ in range(2):
            try:
                message = yield from node.receive(timeout_ns=20 * MS)
                heard.append(message.payload)
            except PeerLost as lost:
                heard.append(f"lost {lost.peer}")
            except ReceiveTimeout:
                heard.append("nothing")
        return heard

    def speaker(node):
        if node.incarnation == 0:
            yield from node.sleep(S)
        node.send("node0", "hello", 0, tag=0)
        yield from node.sleep(30 * MS)

    # It dies between the last byte's departure and its arrival, and is back at once.
    scenario = cluster(faults=[crash("node1", 2 * MS + 1, restart_after="1 us", notice="silence")])
    story = tell(scenario, {"node0": listener, "node1": speaker}, restarts=["node1"])
    assert story.played.results["node0"] == ["hello", "nothing"]


# --- collectives that are disturbed -----------------------------------------------------------------------------------


def test_the_reset_of_an_aborted_collective_runs_round_the_ring_hop_by_hop_both_ways():
    at_ns = 50 * US  # before anything of the first step has arrived
    scenario = cluster(6, faults=[crash("node1", at_ns)])
    story = play_collective(scenario, RingAllReduce(), [_ones(1_000)] * 6)
    aborts = {event.node: event.time_ns - at_ns for event in story.of("collective_abort")}
    hops = {"node0": 1, "node2": 1, "node3": 2, "node5": 2, "node4": 3}
    assert aborts == {node: count * PATH_NS for node, count in hops.items()}
    assert story.played.failures["node2"] == "lost the connection to node1"
    assert story.played.failures["node3"] == "lost the connection to node2"
    assert story.played.failures["node5"] == "lost the connection to node0"


def test_who_gives_up_a_collective_stops_sending_and_recovers_until_it_is_done():
    def member(node):
        node.join(group_of(f"node{rank}" for rank in range(4)))
        with pytest.raises(PeerLost):
            yield from node.collective(RingAllReduce(), _ones(MILLISECOND_OF_BYTES))
        yield from node.sleep(5 * MS)

    # Segments of a millisecond. node1's neighbours hear of its death at 0.4 ms, and node3 of their end at 0.5 ms.
    story = tell(cluster(4, faults=[crash("node1", 300 * US)]), {f"node{rank}": member for rank in range(4)})
    sent_us = {"node0": 300, "node1": 300, "node2": 400, "node3": 500}
    assert story.played.traffic.payload == {node: MILLISECOND_OF_BYTES * us // 1_000 for node, us in sent_us.items()}
    assert story.played.accounts["node0"].recovery_ns == 5 * MS


@pytest.mark.parametrize("shuffle_ties", range(10))
def test_what_is_sent_at_the_instant_of_an_abort_is_cut_whoever_was_first(shuffle_ties):
    """node1 learns of the death of node2 at the instant at which node0, next to it, sends its second message."""
    died_ns = 8 * US  # so long a segment takes, so the news travels beside the first messages
    scenario = cluster(4, faults=[crash("node2", died_ns)])
    story = play_collective(scenario, RingAllReduce(), [_ones(1_000)] * 4)
    (abort_ns,) = story.times("collective_abort", "node1")
    assert story.times("depart", "node0", to="node1")[1] == abort_ns == died_ns + PATH_NS
    again = play_collective(scenario, RingAllReduce(), [_ones(1_000)] * 4, shuffle_ties=shuffle_ties)
    assert again.played.traffic == story.played.traffic


def test_with_silence_the_timers_of_a_ring_accuse_neighbours_and_the_run_ends():
    scenario = cluster(4, faults=[crash("node1", 50 * US, notice="silence")])
    story = play_collective(scenario, RingAllReduce(timeout_ns=10 * MS), [_ones(1_000)] * 4)
    assert story.played.ending == "over"
    assert story.played.failures["node2"] == "nothing from node1 for 10 ms"
    assert story.played.results == {}
    assert all(name.startswith("node") for name in story.played.failures)


def test_with_silence_and_no_timer_a_ring_stalls_and_names_its_waiters():
    scenario = cluster(3, faults=[crash("node1", 50 * US, notice="silence")])
    story = play_collective(scenario, RingAllReduce(), [_ones(1_000)] * 3)
    assert story.played.ending == "stalled"
    assert story.played.waiting["node2"].startswith("node1 ")
    assert set(story.played.waiting) == {"node0", "node2"}


def _ones(length: int) -> Any:
    import numpy as np

    return np.ones(length, np.float32)


@dataclass(frozen=True)
class Word:
    """Rank 0 says a word to rank 1, who takes whatever it hears."""

    word: str
    name: str = "word"
    timeout_ns: int | None = None

    def messages(self, node: Any, buffer: Any) -> Any:
        if node.rank == 0:
            yield from node.send(node.members[1], self.word, 125, tag=None).sent()
            return self.word
        message = yield from node.receive(node.members[0], tag=None)
        return message.payload

    has_closed_form = False

    def disagreement(self, results: Any) -> str | None:
        return None if len(set(results)) == 1 else str(results)


@pytest.mark.parametrize("late_ns", [0, 50 * US, 10 * MS])
def test_nothing_of_an_older_generation_reaches_a_newer_one(late_ns):
    old, new = group_of(["node0", "node1"], 0), group_of(["node0", "node1"], 1)

    def speaker(node):
        node.join(old)
        yield from node.collective(Word("old"), None)
        node.join(new)
        yield from node.collective(Word("new"), None)

    def listener(node):
        node.join(old)
        yield from node.sleep(late_ns)
        node.join(new)
        return (yield from node.collective(Word(""), None))

    story = tell(cluster(), {"node0": speaker, "node1": listener})
    assert story.played.results["node1"] == "new"


def test_what_a_faster_member_sends_for_the_next_generation_waits_until_the_slower_one_joins():
    new = group_of(["node0", "node1"], 7)

    def speaker(node):
        node.join(new)
        yield from node.collective(Word("early"), None)

    def listener(node):
        yield from node.sleep(10 * MS)
        node.join(new)
        return (yield from node.collective(Word(""), None))

    assert tell(cluster(), {"node0": speaker, "node1": listener}).played.results["node1"] == "early"


def test_a_member_that_is_ahead_is_not_misread_by_one_that_is_behind():
    group = group_of(["node0", "node1"])

    def member(node):
        node.join(group)
        words = []
        for number in range(3):
            if node.rank == 1:
                yield from node.sleep(MS)
            words.append((yield from node.collective(Broadcast(125), f"word {number}" if node.rank == 0 else None)))
        return words

    story = tell(cluster(), {"node0": member, "node1": member})
    assert story.played.results["node1"] == ["word 0", "word 1", "word 2"]


def test_messages_outside_of_a_collective_do_not_queue_behind_its_own():
    group = group_of(["node0", "node1"])

    def first(node):
        node.join(group)
        node.send("node1", "aside", 125, tag="aside")
        yield from node.collective(RingAllReduce(), _ones(62_500))

    def second(node):
        node.join(group)
        yield from node.collective(RingAllReduce(), _ones(62_500))
        return (yield from node.receive("node0", tag="aside")).payload

    story = tell(cluster(), {"node0": first, "node1": second})
    aside, ring = story.of("deliver", "node1", tag="aside"), story.of("deliver", "node1", tag="(0, 0)")
    assert aside[0].time_ns == 2 * US + PATH_NS
    assert ring[0].time_ns == MS + US + PATH_NS
    assert story.played.results["node1"] == "aside"


# --- faults by progress -----------------------------------------------------------------------------------------------


def steps_of_a_ring(count: int, ranks: int):
    group = group_of(f"node{rank}" for rank in range(ranks))

    def run(node):
        node.join(group)
        for step in range(count):
            node.begin_step(step, epoch=0, generation=0, samples=[])
            yield from node.compute(MS)
            yield from node.collective(RingAllReduce(), _ones(1_000))

    return dict.fromkeys(group.names, run)


@pytest.mark.parametrize("shuffle_ties", [None, *range(6)])
@pytest.mark.parametrize("step", [0, 1, 2])
def test_a_fault_at_a_step_hits_the_instant_at_which_the_node_begins_it(step, shuffle_ties):
    scenario = cluster(3, faults=[crash("node1", {"step": step})])
    story = tell(scenario, steps_of_a_ring(3, 3), shuffle_ties=shuffle_ties)
    assert story.times("crash", "node1") == story.times("step_begin", "node1", step=step)
    assert len(story.of("compute_end", "node1")) == step


@pytest.mark.parametrize("segment", [1, 2, 3, 4])
def test_a_fault_at_a_segment_hits_the_instant_at_which_the_node_has_received_it(segment):
    scenario = cluster(3, faults=[crash("node1", {"step": 1, "segment": segment})])
    story = tell(scenario, steps_of_a_ring(3, 3))
    arrivals = story.times("deliver", "node1", tag=f"(1, {segment - 1})")
    assert story.times("crash", "node1") == arrivals
    assert len(arrivals) == 1


def test_a_fault_at_a_step_hits_a_machine_when_the_first_of_its_ranks_begins_it():
    def run(after_ns):
        def steps(node):
            yield from node.sleep(after_ns)
            node.begin_step(1)
            yield from node.sleep(S)

        return steps

    nodes = [{"name": "a", "processes": 2}]
    story = tell(cluster(nodes, faults=[crash("a", {"step": 1})]), {"a.0": run(2 * MS), "a.1": run(MS)})
    assert story.times("crash") == [MS, MS]


def test_a_fault_that_is_never_reached_does_not_keep_the_run_alive():
    scenario = cluster(3, faults=[crash("node1", {"step": 9}), crash("node0", 3_600 * S)])
    story = tell(scenario, steps_of_a_ring(3, 3))
    assert story.played.ending == "over"
    assert story.played.injected == ()
    stalled = tell(cluster(2, faults=[crash("node0", 3_600 * S)]), {"node0": receives("node1")})
    assert (stalled.played.ending, stalled.played.time_ns) == ("stalled", 0)


# --- the end ----------------------------------------------------------------------------------------------------------


def test_a_run_past_its_virtual_time_ends_late():
    def forever(node):
        while True:
            yield from node.compute(MS)

    story = tell(cluster(1, max_virtual_time="10 ms"), {"node0": forever})
    assert story.played.ending == "late"
    assert story.played.time_ns <= 10 * MS
    assert len(story.of("compute_end")) == 10


def fails_and_waits(node):
    with pytest.raises(PeerLost):
        yield from node.receive("node1", timeout_ns=900 * MS)
    yield from node.receive("node2")


def writes_late(node):
    yield from node.sleep(MS)
    node.send("node1", None, 0, tag=0)
    yield from node.sleep(S)


def saves_slowly(node):
    yield from node.save("a", None, 0)


# The news of the death of node1 takes 5.05 ms, and so would news for it.
STALLS = [
    ([crash("node1", MS)], {"node0": fails_and_waits, "node1": idles()}, MS + 5_050 * US),
    ([crash("node1", MS, notice="silence")], {"node0": receives(None), "node1": saves_slowly}, MS),
    ([crash("node1", MS, "900 ms", notice="silence")], {"node0": receives(None), "node1": idles()}, MS),
    (
        [crash("node1", MS, notice="silence"), crash("node0", 2 * MS)],
        {"node0": idles(), "node1": idles(), "node2": receives("node2")},
        2 * MS + PATH_NS,
    ),
    # The message of node0, which is dead by then, comes at 6.05 ms to node1, which would answer.
    (
        [crash("node1", 950 * US), crash("node0", MS + 1, notice="silence")],
        {"node0": writes_late, "node1": idles(), "node2": receives("node2")},
        MS + 5_050 * US,
    ),
]


@pytest.mark.parametrize(
    ("faults", "programs", "at_ns"),
    STALLS,
    ids=[
        "a timer of what failed",
        "the dead one's save",
        "a restart of nobody",
        "news for the dead",
        "a reset for the dead",
    ],
)
def test_a_run_has_stalled_as_soon_as_nothing_is_pending_that_could_wake_anybody(faults, programs, at_ns):
    nodes = [{}, {"latency": "5 ms"}, {}]
    story = tell(cluster(nodes, faults=faults, storage={"latency": "900 ms"}), programs)
    assert (story.played.ending, story.played.time_ns) == ("stalled", at_ns)


def test_a_run_in_which_no_worker_is_left_is_over_though_a_helper_will_be_back():
    faults = [crash("helper", MS, "900 ms"), crash("node0", 2 * MS, "1 ms"), crash("node0", 4 * MS)]
    story = tell(
        cluster(1, faults=faults),
        {"node0": idles(), "helper": receives(None)},
        helpers=["helper"],
        restarts=["helper", "node0"],
        machines=[Host(name="helper")],
    )
    assert (story.played.ending, story.played.time_ns) == ("over", 4 * MS)


def test_a_long_run_may_do_more_than_what_is_endless_in_one_instant(monkeypatch):
    monkeypatch.setattr(clock, "ENDLESS", 100)

    def ticks(node):
        for _ in range(200):
            yield from node.sleep(1)
        return node.now_ns

    assert tell(cluster(1), {"node0": ticks}).played.results["node0"] == 200


def test_a_run_is_over_with_its_workers_whatever_its_helpers_wait_for():
    machine = Host(name="helper")
    programs = {"node0": computes(MS), "helper": receives(None)}
    story = tell(cluster(1), programs, helpers=["helper"], machines=[machine])
    assert (story.played.ending, story.played.time_ns) == ("over", MS)


def test_a_run_waits_for_a_restart_that_can_still_come():
    scenario = cluster(1, faults=[crash("node0", MS, restart_after="1 h")])
    story = tell(scenario, {"node0": computes(2 * MS)}, restarts=["node0"])
    assert story.played.time_ns == MS + 3_600 * S + 2 * MS
    assert "node0" in story.played.results


# --- the books --------------------------------------------------------------------------------------------------------


def total_ns(account: Account) -> int:
    parts = (account.compute_ns, account.exposed_communication_ns, account.idle_ns)
    return sum(parts) + account.recovery_ns + account.down_ns


def test_time_is_booked_as_computation_communication_and_idling():
    def worker(node):
        yield from node.compute(2 * MS)
        yield from node.receive("node1")

    programs = {"node0": worker, "node1": sends(("node0", MILLISECOND_OF_BYTES), after_ns=5 * MS)}
    account = tell(cluster(), programs).played.accounts["node0"]
    assert (account.compute_ns, account.idle_ns, account.exposed_communication_ns) == (2 * MS, 3 * MS, MS + PATH_NS)


@dataclass(frozen=True)
class Script:
    """A random run: what each node does, in one global order that cannot deadlock, and what goes wrong."""

    nodes: int
    latency_us: int
    overhead_us: int
    framed: bool
    actions: tuple[tuple[Any, ...], ...]
    faults: tuple[dict[str, Any], ...]

    def play(self, shuffle_ties: int | None = None) -> Story:
        network = {"latency": f"{self.latency_us} us", "message_overhead": f"{self.overhead_us} us"}
        if self.framed:
            network["transport"] = {"kind": "framed"}
        scenario = cluster(self.nodes, faults=self.faults, network=network)
        programs = {f"node{index}": self._program(f"node{index}") for index in range(self.nodes)}
        return tell(scenario, programs, restarts=["node0"], shuffle_ties=shuffle_ties)

    def _program(self, name: str):
        def run(node):
            for number, (what, *about) in enumerate(self.actions):
                if what == "compute" and about[0] == name:
                    yield from node.compute(about[1])
                elif what == "send" and about[0] == name:
                    sending = node.send(about[1], number, about[2], tag=number)
                    if about[3]:
                        yield from sending.sent(timeout_ns=50 * MS)
                elif what == "send" and about[1] == name:
                    yield from node.receive(about[0], tag=number if about[3] else None, timeout_ns=50 * MS)

        return run


@st.composite
def scripts(draw, sizes=(0, 0, 1, 125, 125, 12_500), crashes: int = 2):
    nodes = draw(st.integers(1, 4))
    names = [f"node{index}" for index in range(nodes)]
    name = st.sampled_from(names)
    action = st.tuples(st.just("compute"), name, st.sampled_from([0, 1_000, 1_000, 100_000]))
    if nodes > 1:
        pair = st.permutations(names).map(lambda order: tuple(order[:2]))
        size, flag = st.sampled_from(sizes), st.booleans()
        action |= st.builds(lambda ends, size, flag: ("send", *ends, size, flag), pair, size, flag)
    fault = st.builds(
        crash,
        name,
        st.sampled_from([0, 1_000, 50_000, 100_000, 101_000, 200_000, 300_000]),
        st.sampled_from([None, "1 us", "100 us"]),
        st.sampled_from(["reset", "silence"]),
    )
    return Script(
        nodes,
        draw(st.sampled_from([0, 50])),
        draw(st.sampled_from([0, 0, 1])),
        draw(st.booleans()),
        tuple(draw(st.lists(action, max_size=14))),
        tuple(draw(st.lists(fault, max_size=crashes))),
    )


@settings(max_examples=120, deadline=None)
@given(scripts(crashes=3))
def test_the_five_times_of_every_node_add_up_to_virtual_time_whatever_happens(script):
    story = script.play()
    for account in story.played.accounts.values():
        assert total_ns(account) == story.played.time_ns
        assert account.on_wire >= 0


@settings(max_examples=80, deadline=None)
@given(scripts(crashes=0))
def test_the_bytes_on_the_links_are_those_of_the_messages(script):
    story = script.play()
    up, down, payload = Counter(), Counter(), Counter()
    for event in story.of("depart"):
        size = event.fields["size_bytes"]
        wire = size + 66 * max(1, -(-size // 1_448)) if script.framed else size
        up[event.node] += wire
        down[event.fields["to"]] += wire
        payload[event.node] += size
    traffic = story.played.traffic
    # A run is over with its last worker, whatever is still on the way: only then may some bytes be missing.
    all_arrived = len(story.of("deliver")) == len(story.of("depart"))
    for index in range(script.nodes):
        name = f"node{index}"
        counted = (traffic.links[name, "switch"], traffic.links["switch", name], traffic.payload.get(name, 0))
        expected = (up[name], down[name], payload[name])
        assert counted == expected if all_arrived else all(a <= b for a, b in zip(counted, expected, strict=True))
        assert traffic.wire.get(name, 0) == traffic.links[name, "switch"]
        recorded = [event.fields["bytes"] for event in story.of("link_bytes", name, to="switch")]
        assert recorded == [traffic.links[name, "switch"]]


@settings(max_examples=60, deadline=None)
@given(scripts())
def test_the_trace_does_not_depend_on_the_order_in_which_simpy_breaks_ties(script):
    expected = script.play().lines
    for seed in range(20):
        assert script.play(shuffle_ties=seed).lines == expected


EMPTY_BESIDE_ANOTHER = {
    "two empty ones, one after the other": (("node1", 1, False), ("node2", 0, False), ("node2", 0, True)),
    "an empty one to somebody who dies": (("node1", 1, False), ("node2", 0, True)),
    "an empty one before another": (("node1", 0, False), ("node2", 0, False), ("node2", 1, False), ("node2", 0, False)),
}


@pytest.mark.parametrize("target_dies", [False, True])
@pytest.mark.parametrize("messages", EMPTY_BESIDE_ANOTHER.values(), ids=EMPTY_BESIDE_ANOTHER)
def test_an_empty_message_leaves_at_once_whoever_else_is_on_its_links(messages, target_dies):
    # Who came to the links first is an accident: the empty message must not be held up by the other, nor overtaken.
    faults = (crash("node0", 0),) if target_dies else ()
    actions = tuple(("send", source, "node0", size, flag) for source, size, flag in messages)
    script = Script(3, 0, 0, False, actions, faults)
    expected = script.play().lines
    assert all(script.play(shuffle_ties=seed).lines == expected for seed in range(20))


def sends_at_once(*sizes: int):
    """Send messages of these sizes to node0 before anything else happens, even a fault at the very beginning."""

    def run(node):
        for number, size_bytes in enumerate(sizes):
            node.send("node0", number, size_bytes, tag=number)
        yield from node.sleep(3 * MS)

    return run


def test_an_empty_message_that_never_left_takes_nobody_off_the_links():
    def receives_both(node):
        yield from node.receive("node1")
        first_ns = node.now_ns
        yield from node.receive("node3")
        return first_ns, node.now_ns

    programs = {
        "node0": receives_both,
        "node1": sends_at_once(MILLISECOND_OF_BYTES),
        "node2": sends_at_once(0),
        "node3": sends(("node0", MILLISECOND_OF_BYTES), after_ns=MS // 2),
    }
    story = tell(cluster(4, faults=[crash("node2", 0)]), programs)
    # From 0.5 ms on the two share the way to node0: the first has half of its bytes left, and the other all of them.
    assert story.played.results["node0"] == (MS // 2 + MS + PATH_NS, 2 * MS + PATH_NS)


def test_an_empty_message_whose_link_goes_down_as_it_leaves_is_held_up_though_another_follows_it():
    def receives_both(node):
        yield from node.receive("node1")
        first_ns = node.now_ns
        yield from node.receive("node1")
        return first_ns, node.now_ns

    down = {"kind": "link_down", "source": "node1", "target": "switch", "at": "0 s", "lasts": "2 ms"}
    programs = {"node0": receives_both, "node1": sends_at_once(0, MILLISECOND_OF_BYTES)}
    story = tell(cluster(2, faults=[down]), programs)
    assert story.played.results["node0"] == (2 * MS + PATH_NS, 3 * MS + PATH_NS)


@settings(max_examples=40, deadline=None)
@given(scripts())
def test_playing_twice_gives_the_same_trace(script):
    assert script.play().lines == script.play().lines


@pytest.mark.long
@settings(max_examples=3_000, deadline=None)
@given(scripts(crashes=4))
def test_many_random_worlds_keep_their_books_and_do_not_depend_on_ties(script):
    story = script.play()
    assert all(total_ns(account) == story.played.time_ns for account in story.played.accounts.values())
    for seed in range(5):
        assert script.play(shuffle_ties=seed).lines == story.lines
