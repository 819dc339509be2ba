"""Faults of every kind, each instant worked out by hand; and the waits between those that come again and again.

By default a path has 100 us of latency, a link 1 Gbit/s (125,000 B take 1 ms), a machine 1 GFLOP/s. What is not here:
how strategies take them (`test_strategies.py`), and that closed form and messages agree (`test_fidelity.py`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Any, NamedTuple

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import MS, US, S, Story, cluster, crash, group_of, play_collective, tell, training

from ringsim import load, parse
from ringsim.collectives.broadcast import Broadcast
from ringsim.collectives.ring import RingAllReduce
from ringsim.errors import PeerLost, ReceiveTimeout, ScenarioInvalid
from ringsim.node import Member, Node, Operation
from ringsim.scenario import Exponential, Host, Li2014, Llama3, Weibull
from ringsim.scenario.faults import struck
from ringsim.simulation import simulate
from ringsim.world.conditions import Condition, Conditions, LinkState
from ringsim.world.corruption import flipped
from ringsim.world.waits import wait_ns

PATH_NS = 100 * US
MILLISECOND_OF_BYTES = 125_000
MFLOP = 10**6  # A millisecond of work.
BOTH = ("node0", "node1")


def fault(kind: str, at: int | str, lasts: int | None = None, **more: Any) -> dict[str, Any]:
    """Return a fault as a scenario has it; times are nanoseconds."""
    when = f"{at} ns" if isinstance(at, int) else at
    ends = {} if lasts is None else {"restart_after" if kind == "switch_down" else "lasts": f"{lasts} ns"}
    return {"kind": kind, "at": when, **ends, **more}


def link(kind: str, at: int, lasts: int | None = None, **more: Any) -> dict[str, Any]:
    """Return a fault on node0's link, both ways."""
    return fault(kind, at, lasts, **{"source": "node0", "target": "switch", **more})


def works(*flops: int):
    """Compute, and return when each piece of work was done."""

    def run(node):
        done = []
        for flop in flops:
            yield from node.compute(flop)
            done.append(node.now_ns)
        return done

    return run


def sends(*sizes: int, to: str = "node1", wait: bool = False):
    """Send messages at once; return when the last byte of each had left."""

    def run(node):
        sent = [node.send(to, number, size, tag=number) for number, size in enumerate(sizes)]
        left = []
        for one in sent if wait else ():
            yield from one.sent()
            left.append(node.now_ns)
        yield from node.sleep(0)
        return left

    return run


def receives(number: int, **options: Any):
    """Receive messages from anybody, and return what came when."""

    def run(node):
        came = []
        for _ in range(number):
            try:
                message = yield from node.receive(**options)
                came.append((message.payload, node.now_ns))
            except (PeerLost, ReceiveTimeout) as error:
                came.append((type(error).__name__, node.now_ns))
        return came

    return run


def sleeps(duration_ns: int):
    def run(node):
        yield from node.sleep(duration_ns)
        return node.now_ns

    return run


# --- machines that slow down or stand still ---------------------------------------------------------------------------


def test_a_slow_machine_takes_so_many_times_as_long_from_that_instant_on() -> None:
    scenario = cluster(1, faults=[fault("slow_down", 400 * US, node="node0", factor=4)])
    story = tell(scenario, {"node0": works(MFLOP, MFLOP)})
    assert story.played.results["node0"] == [400 * US + 2_400 * US, 400 * US + 2_400 * US + 4 * MS]
    assert story.times("pace", slower_ppm=4_000_000) == [400 * US]


def test_it_is_as_fast_as_before_when_that_is_over() -> None:
    scenario = cluster(1, faults=[fault("slow_down", 400 * US, 800 * US, node="node0", factor=4)])
    # 400 us of work, then 200 us in 800 us, then the rest.
    assert tell(scenario, {"node0": works(MFLOP)}).played.results["node0"] == [1_200 * US + 400 * US]


def test_two_slow_downs_at_once_multiply() -> None:
    both = [
        fault("slow_down", 0, node="node0", factor=2),
        fault("slow_down", 1 * MS, 2 * MS, node="node0", factor=2.5),
    ]
    # 500 us of work in the first millisecond, then 400 us in two, then the rest at half the speed.
    assert tell(cluster(1, faults=both), {"node0": works(MFLOP)}).played.results["node0"] == [3 * MS + 200 * US]


def test_ranks_of_a_slow_machine_share_what_is_left_of_it() -> None:
    scenario = cluster([{"processes": 2}], faults=[fault("slow_down", 0, node="node0", factor=4)])
    story = tell(scenario, {"node0.0": works(MFLOP), "node0.1": works(2 * MFLOP)})
    assert story.played.results == {"node0.0": [8 * MS], "node0.1": [12 * MS]}


def test_no_machine_is_slower_than_one_operation_a_second() -> None:
    scenario = cluster([{"speed": "2 FLOP/s"}], faults=[fault("slow_down", 0, node="node0", factor=4)])
    assert tell(scenario, {"node0": works(3)}).played.results["node0"] == [3 * S]


def test_a_machine_that_stands_still_computes_nothing_and_counts_as_down() -> None:
    scenario = cluster(1, faults=[fault("pause", 400 * US, 7 * MS, node="node0")])
    story = tell(scenario, {"node0": works(MFLOP)})
    assert story.played.results["node0"] == [8 * MS]
    account = story.played.accounts["node0"]
    assert (account.compute_ns, account.down_ns) == (1 * MS, 7 * MS)
    assert (story.times("pause"), story.times("resume")) == ([400 * US], [7_400 * US])


def test_what_it_has_sent_still_leaves_and_what_comes_waits() -> None:
    scenario = cluster(3, faults=[fault("pause", 200 * US, 5 * MS, node="node0")])

    def talks(node):
        node.send("node1", "out", MILLISECOND_OF_BYTES, tag=0)
        message = yield from node.receive("node2")
        return message.payload, node.now_ns

    programs = {"node0": talks, "node1": receives(1), "node2": sends(MILLISECOND_OF_BYTES, to="node0")}
    story = tell(scenario, programs)
    assert story.played.results["node1"] == [("out", 1 * MS + PATH_NS)]
    assert story.played.results["node0"] == (0, 5_200 * US)
    assert story.times("deliver", "node0") == [1 * MS + PATH_NS]


def test_a_timer_that_ran_out_meanwhile_is_seen_to_when_it_goes_on() -> None:
    scenario = cluster(1, faults=[fault("pause", 1 * MS, 5 * MS, node="node0")])
    assert tell(scenario, {"node0": sleeps(2 * MS)}).played.results["node0"] == 6 * MS
    assert tell(scenario, {"node0": sleeps(7 * MS)}).played.results["node0"] == 7 * MS


@pytest.mark.parametrize(("sent_after_ns", "expected"), [(3 * MS, 0), (9 * MS, "ReceiveTimeout")])
def test_a_message_that_came_meanwhile_beats_the_timer(sent_after_ns: int, expected: Any) -> None:
    scenario = cluster(2, faults=[fault("pause", 1 * MS, 5 * MS, node="node0")])

    def late(node):
        yield from node.sleep(sent_after_ns)
        node.send("node0", 0, 0, tag=0)

    story = tell(scenario, {"node0": receives(1, timeout_ns=2 * MS), "node1": late})
    assert story.played.results["node0"] == [(expected, 6 * MS)]


@pytest.mark.parametrize("fidelity", ["auto", "message"])
def test_a_ring_waits_for_a_member_that_stands_still(fidelity: Any) -> None:
    # Four elements and two ranks: two messages of 8 B each way, which take 64 ns each.
    def member(node):
        node.join(group_of(["node0", "node1"]))
        result = yield from node.collective(RingAllReduce(), np.ones(4, np.float32))
        return result.tolist(), node.now_ns

    scenario = cluster(2, faults=[fault("pause", 50 * US, 3 * MS, node="node1")])
    story = tell(scenario, {"node0": member, "node1": member}, fidelity=fidelity)
    # What node0 had sent has come when node1 goes on: it adds, answers, and waits for the sum of the other half, which
    # node0 has had since node1's first message came, before it stood still.
    message_ns = 64 + PATH_NS
    assert story.played.results == {"node0": ([2.0] * 4, 3_050 * US + message_ns), "node1": ([2.0] * 4, 3_050 * US)}


def test_who_stands_still_as_a_message_of_its_tree_leaves_sends_the_next_when_it_goes_on() -> None:
    scenario = cluster(3, faults=[fault("pause", 500 * US, 4_500 * US, node="node0")])
    story = play_collective(scenario, Broadcast(MILLISECOND_OF_BYTES), [7, None, None])
    assert story.times("depart", "node0") == [0, 5 * MS]
    assert story.times("collective_finish") == [1 * MS + PATH_NS, 6 * MS, 6 * MS + PATH_NS]


def test_a_message_that_came_meanwhile_beats_the_timer_in_a_ring_as_well() -> None:
    scenario = cluster(2, faults=[fault("pause", 1 * MS, 4 * MS, node="node0")])
    story = play_collective(scenario, RingAllReduce(timeout_ns=2 * MS), [np.ones(4, np.float32)] * 2, [0, 4 * MS])
    # node0's first message has waited for node1, and both of node1's for node0, which then sends its second.
    assert story.times("collective_finish", "node0") == [5 * MS]
    assert story.times("collective_finish", "node1") == [5 * MS + 64 + PATH_NS]


def test_a_machine_stands_still_once_though_one_of_its_ranks_has_failed() -> None:
    def fails(node):
        yield from node.receive(timeout_ns=1 * MS)

    faults = [fault("pause", at_ns, 4 * MS, node="node0") for at_ns in (2 * MS, 3 * MS)]
    story = tell(cluster([{"processes": 2}], faults=faults), {"node0.0": sleeps(9 * MS), "node0.1": fails})
    assert story.times("ended", "node0.1") == [1 * MS]
    assert [one.number for one in story.played.injected] == [0]


def test_a_machine_that_dies_while_it_stands_still_does_not_go_on() -> None:
    faults = [fault("pause", 1 * MS, 5 * MS, node="node0"), crash("node0", 2 * MS, restart_after="1 ms")]
    story = tell(cluster(1, faults=faults), {"node0": works(4 * MFLOP)}, restarts=["node0"])
    assert story.played.results["node0"] == [3 * MS + 4 * MS]
    assert not story.times("resume")
    assert story.played.accounts["node0"].down_ns == 2 * MS


def test_one_that_is_paused_as_it_goes_on_sees_to_nothing_before_it_goes_on_again() -> None:
    faults = [fault("pause", 1 * MS, 4 * MS, node="node0"), fault("pause", 5 * MS, 4 * MS, node="node0")]
    assert tell(cluster(1, faults=faults), {"node0": sleeps(2 * MS)}).played.results["node0"] == 9 * MS


def test_what_has_come_to_one_that_goes_on_is_answered_before_a_timer_of_that_instant() -> None:
    def answers(node):
        yield from node.receive("node1")
        node.send("node1", "answer", 0, tag=0)

    def asks(node):
        node.send("node0", "question", 0, tag=0)
        return (yield from node.receive("node0", timeout_ns=5 * MS)).payload, node.now_ns

    scenario = cluster(2, network={"latency": "0 ns"}, faults=[fault("pause", 0, 5 * MS, node="node0")])
    assert tell(scenario, {"node0": answers, "node1": asks}).played.results["node1"] == ("answer", 5 * MS)


def test_a_timer_that_ran_out_while_it_stood_still_is_older_than_a_suspicion_of_that_instant() -> None:
    def waits(node):
        node.watch([Member("node1", 0)], 5 * MS)
        return (yield from receives(1, source="node1", timeout_ns=2 * MS)(node))

    scenario = cluster(2, faults=[fault("pause", 1 * MS, 4 * MS, node="node0")])
    story = tell(scenario, {"node0": waits, "node1": sleeps(9 * MS)})
    assert story.played.results["node0"] == [("ReceiveTimeout", 5 * MS)]


def test_the_end_of_a_pause_does_not_bring_the_dead_back() -> None:
    faults = [fault("pause", 1 * MS, 5 * MS, node="node0"), crash("node0", 2 * MS)]
    story = tell(cluster(2, faults=faults), {"node0": works(MFLOP), "node1": sleeps(9 * MS)})
    assert story.played.accounts["node0"].down_ns == 8 * MS


def test_a_machine_that_never_goes_on_stalls_those_who_wait_for_it() -> None:
    scenario = cluster(2, faults=[fault("pause", 1 * MS, node="node0")])
    story = tell(scenario, {"node0": sleeps(2 * MS), "node1": receives(1)})
    assert story.played.ending == "stalled"


# --- links ------------------------------------------------------------------------------------------------------------


def test_a_message_waits_while_a_link_is_down_and_then_flows_on() -> None:
    scenario = cluster(2, faults=[link("link_down", 400 * US, 5 * MS)])
    story = tell(scenario, {"node0": sends(MILLISECOND_OF_BYTES, wait=True), "node1": receives(1)})
    assert story.played.results["node0"] == [6 * MS]
    assert story.played.results["node1"] == [(0, 6 * MS + PATH_NS)]
    assert story.played.traffic.payload["node0"] == MILLISECOND_OF_BYTES


def test_one_that_is_sent_meanwhile_waits_as_well_and_those_behind_it_too() -> None:
    def later(node):
        yield from node.sleep(MS)
        yield from sends(*[MILLISECOND_OF_BYTES] * 2)(node)

    scenario = cluster(2, faults=[link("link_down", 0, 5 * MS)])
    for sender in (sends(*[MILLISECOND_OF_BYTES] * 2), later):
        story = tell(scenario, {"node0": sender, "node1": receives(2)})
        assert story.played.results["node1"] == [(0, 6 * MS + PATH_NS), (1, 7 * MS + PATH_NS)]


def test_what_has_left_arrives() -> None:
    scenario = cluster(2, network={"latency": "2 ms"}, faults=[link("link_down", 1_500 * US, 90 * MS)])
    story = tell(scenario, {"node0": sends(MILLISECOND_OF_BYTES), "node1": receives(1)})
    assert story.played.results["node1"] == [(0, 5 * MS)]


def test_the_other_direction_of_a_link_that_is_down_one_way_is_not() -> None:
    scenario = cluster(2, faults=[link("link_down", 0, 5 * MS, one_way=True)])
    programs = {"node0": receives(1), "node1": sends(0, to="node0")}
    assert tell(scenario, programs).played.results["node0"] == [(0, PATH_NS)]
    programs = {"node0": sends(0), "node1": receives(1)}
    assert tell(scenario, programs).played.results["node1"] == [(0, 5 * MS + PATH_NS)]


def test_two_outages_that_overlap_end_with_the_later_one() -> None:
    scenario = cluster(2, faults=[link("link_down", 0, 5 * MS), link("link_down", 1 * MS, 9 * MS)])
    story = tell(scenario, {"node0": sends(0), "node1": receives(1)})
    assert story.played.results["node1"] == [(0, 10 * MS + PATH_NS)]


def test_others_have_the_bandwidth_that_nobody_uses_meanwhile() -> None:
    # Two flows share node2's link until node0's is cut off: the other has sent half of its message by then.
    scenario = cluster(3, faults=[link("link_down", 1 * MS, 50 * MS)])
    programs = {
        "node0": sends(MILLISECOND_OF_BYTES, to="node2", wait=True),
        "node1": sends(MILLISECOND_OF_BYTES, to="node2", wait=True),
        "node2": receives(2),
    }
    story = tell(scenario, programs)
    assert story.played.results["node1"] == [1_500 * US]
    assert story.played.results["node0"] == [51 * MS + 500 * US]


@pytest.mark.parametrize(("outage_ms", "goes_on_ms"), [(1, 200), (200, 200), (201, 600), (1_000, 1_400)])
def test_tcp_goes_on_at_its_next_retransmission_whose_waits_double(outage_ms: int, goes_on_ms: int) -> None:
    scenario = cluster(
        2, network={"transport": "tcp", "latency": "0 ns"}, faults=[link("link_down", 0, outage_ms * MS)]
    )
    story = tell(scenario, {"node0": sends(0), "node1": receives(1)})
    # An empty message is one header: 66 B, with the acknowledgement's share of the other direction.
    assert story.played.results["node1"] == [(0, goes_on_ms * MS + 528)]


def test_tcp_s_waits_go_on_doubling_if_the_link_is_down_again_when_it_tries() -> None:
    # It tries 200 ms after the outage began, in vain, and again 400 ms later.
    faults = [link("link_down", 0, 150 * MS), link("link_down", 160 * MS, 140 * MS)]
    scenario = cluster(2, network={"transport": "tcp", "latency": "0 ns"}, faults=faults)
    story = tell(scenario, {"node0": sends(0), "node1": receives(1)})
    assert story.played.results["node1"] == [(0, 600 * MS + 528)]


def test_tcp_does_not_go_on_with_what_a_dead_machine_had_under_way() -> None:
    faults = [link("link_down", 0, 1 * MS), crash("node0", 10 * MS)]
    scenario = cluster(2, network={"transport": "tcp"}, faults=faults)
    story = tell(scenario, {"node0": sends(0), "node1": sleeps(900 * MS)})
    assert story.played.traffic.wire["node0"] == 0


def test_a_run_in_which_everybody_waits_for_a_link_that_stays_down_has_stalled() -> None:
    story = tell(cluster(2, faults=[link("link_down", 0)]), {"node0": sends(0), "node1": receives(1)})
    assert story.played.ending == "stalled"
    assert story.played.waiting == {"node1": "anybody (a message)"}


def test_a_death_behind_a_link_that_is_down_is_heard_of_when_it_is_up_again() -> None:
    faults = [link("link_down", 0, 5 * MS), crash("node0", 1 * MS)]
    story = tell(cluster(2, faults=faults), {"node0": sleeps(9 * MS), "node1": receives(1, source="node0")})
    assert story.played.results["node1"] == [("PeerLost", 5 * MS + PATH_NS)]


def test_what_a_dead_machine_had_under_way_on_a_link_that_is_down_is_gone() -> None:
    faults = [link("link_down", 400 * US, 5 * MS), crash("node0", 1 * MS)]
    story = tell(cluster(2, faults=faults), {"node0": sends(MILLISECOND_OF_BYTES, wait=True), "node1": receives(1)})
    assert story.played.results["node1"] == [("PeerLost", 5_400 * US + PATH_NS)]
    assert story.played.traffic.payload["node0"] == MILLISECOND_OF_BYTES * 4 // 10


def test_what_had_passed_before_each_of_several_outages_is_counted() -> None:
    def payload(dies_at: int) -> int:
        outages = [link("link_down", 200 * US, 1 * MS), link("link_down", 1_500 * US, 1 * MS)]
        story = tell(
            cluster(2, faults=[*outages, crash("node0", dies_at)]),
            {"node0": sends(*[MILLISECOND_OF_BYTES] * 2, wait=True), "node1": sleeps(9 * MS)},
        )
        return story.played.traffic.payload["node0"]

    # 200 us flow before the first outage, 300 us before the second, and what is queued behind it never does.
    assert payload(1_300 * US) == MILLISECOND_OF_BYTES * 3 // 10
    assert payload(2_000 * US) == MILLISECOND_OF_BYTES * 5 // 10
    assert payload(2_700 * US) == MILLISECOND_OF_BYTES * 7 // 10


@pytest.mark.parametrize("dies", [False, True])
def test_what_is_lost_after_an_outage_begins_anew(dies: bool) -> None:
    # It stands still from 0.4 to 1 ms, is lost at 1.6 ms, waits for the link at 2.6 ms, and flows again from 3 ms on.
    faults = [
        link("drop", 0, 2 * MS, probability="99.9999 %"),
        link("link_down", 400 * US, 600 * US),
        link("link_down", 2 * MS, 1 * MS),
        *([crash("node0", 3_500 * US)] if dies else []),
    ]
    scenario = cluster(2, network={"resend_after": "1 ms"}, faults=faults)
    story = tell(scenario, {"node0": sends(MILLISECOND_OF_BYTES), "node1": receives(1, source="node0")})
    came = ("PeerLost", 3_500 * US + PATH_NS) if dies else (0, 4 * MS + PATH_NS)
    assert story.played.results["node1"] == [came]
    assert story.played.traffic.wire["node0"] == MILLISECOND_OF_BYTES * (3 if dies else 4) // 2


def test_who_is_held_up_by_its_slow_link_gets_no_more_of_another_when_somebody_is_done() -> None:
    # All have 300 Mbit/s of node3's link, until node1 has sent 500 us worth of bytes: then node2 alone has the rest.
    scenario = cluster(
        [{}, {}, {}, {"bandwidth": "900 Mbit/s"}], faults=[link("link_degrade", 100 * US, bandwidth="300 Mbit/s")]
    )
    sizes = (2 * MILLISECOND_OF_BYTES, MILLISECOND_OF_BYTES // 2, 2 * MILLISECOND_OF_BYTES)
    programs = {f"node{rank}": sends(size, to="node3", wait=True) for rank, size in enumerate(sizes)}
    results = tell(scenario, {**programs, "node3": receives(3)}).played.results
    first_ns = math.ceil(500 * US / 0.3)
    assert results["node1"] == [first_ns]
    assert results["node2"] == [first_ns + math.ceil(1_500 * US / 0.6)]
    assert results["node0"] == [math.ceil(2 * MS / 0.3)]


@pytest.mark.parametrize("outage", [[], [link("link_down", 1_800 * US, 700 * US)]], ids=["open", "closed"])
def test_nor_does_the_news_that_a_peer_has_left_a_ring_overtake_what_it_had_sent_there(outage: list[Any]) -> None:
    # Two elements leave at once. They share the link with a larger message outside of the ring, which comes later.
    # node0 gives up at 2 ms.
    def gives_up(node):
        node.send("node1", "larger", MILLISECOND_OF_BYTES, tag=0)
        node.join(group_of(BOTH))
        with pytest.raises(ReceiveTimeout):
            yield from node.collective(RingAllReduce(timeout_ns=2 * MS), np.ones(4, np.float32))

    def is_late(node):
        node.join(group_of(BOTH))
        yield from node.sleep(3 * MS)
        with pytest.raises(PeerLost):
            yield from node.collective(RingAllReduce(), np.ones(4, np.float32))
        return node.now_ns

    faults = [link("link_degrade", 0, 1_500 * US, latency="10 ms"), *outage]
    story = tell(cluster(2, faults=faults), {"node0": gives_up, "node1": is_late})
    assert story.played.results["node1"] == 10_050 * US + 2 * 64


def test_messages_of_a_size_that_was_sent_before_take_as_long_as_the_link_is_slow_now() -> None:
    def sends_twice(node):
        for at_ns in (0, 3 * MS):
            yield from node.sleep(at_ns)
            node.send("node1", at_ns, MILLISECOND_OF_BYTES, tag=0)

    scenario = cluster(2, faults=[link("link_degrade", 2 * MS, bandwidth="100 Mbit/s")])
    story = tell(scenario, {"node0": sends_twice, "node1": receives(2)})
    assert story.played.results["node1"] == [(0, 1 * MS + PATH_NS), (3 * MS, 13 * MS + PATH_NS)]


def test_the_latest_rates_of_a_link_hold_and_the_worst_losses() -> None:
    graph: Any = nx.DiGraph()
    graph.add_edge("a", "b", bandwidth=100, latency_ns=5, drop=7)
    conditions = Conditions(graph)
    conditions.put(0, [("a", "b")], Condition(True, 10, 9, drop_ppm=8, corrupt_ppm=8, detected_ppm=8))
    conditions.put(1, [("a", "b")], Condition(False, 50, 0, drop_ppm=1, corrupt_ppm=1, detected_ppm=1))
    assert conditions.link(("a", "b")) == LinkState(50, 0, 8, 8, 8, is_down=True)


def test_who_is_apart_in_one_of_several_partitions_is_apart() -> None:
    conditions = Conditions(nx.DiGraph())
    conditions.part(0, [["a"], ["c"]])
    conditions.part(1, [["a"], ["b"]])
    assert (conditions.separate("a", "b"), conditions.separate("b", "c")) == (True, False)


def test_the_news_of_a_death_takes_the_way_from_the_dead() -> None:
    # The way to node0 is down for longer; from it, the latency is another by then. Something else changes meanwhile.
    faults = [
        link("link_down", 0, 5 * MS, one_way=True),
        link("link_down", 0, 9 * MS, one_way=True, source="switch", target="node0"),
        link("link_degrade", 0, latency="3 ms", one_way=True),
        link("link_degrade", 2 * MS, latency="7 ms", one_way=True, source="node1"),
        crash("node0", 1 * MS),
    ]
    story = tell(cluster(2, faults=faults), {"node0": sleeps(9 * MS), "node1": receives(1, source="node0")})
    assert story.played.results["node1"] == [("PeerLost", 5 * MS + 3_050 * US)]


def test_the_news_of_a_death_waits_for_a_partition_to_heal() -> None:
    faults = [fault("partition", 0, 5 * MS, groups=[["node0"], ["node1"]]), crash("node0", 1 * MS)]
    story = tell(cluster(2, faults=faults), {"node0": sleeps(9 * MS), "node1": receives(1, source="node0")})
    assert story.played.results["node1"] == [("PeerLost", 5 * MS + PATH_NS)]


@pytest.mark.parametrize("life", [0, 1])
@pytest.mark.parametrize("dies_at", [1_600 * US, 11_050 * US - PATH_NS, 11_050 * US - PATH_NS + 1])
def test_the_news_of_a_death_does_not_overtake_what_the_dead_had_sent_when_the_latency_was_longer(
    dies_at: int, life: int
) -> None:
    # The message leaves 1 ms after the life began, with 10.05 ms of latency.
    def speaks(node):
        if node.incarnation == life:
            node.send("node1", "a word", MILLISECOND_OF_BYTES, tag=0)
        yield from node.sleep(S)

    faults = [
        link("link_degrade", 0, 1_500 * US, latency="10 ms"),
        *[crash("node0", 0, restart_after="1 ns", notice="silence")][:life],
        crash("node0", dies_at),
    ]
    story = tell(cluster(2, faults=faults), {"node0": speaks, "node1": receives(2, source="node0")}, restarts=["node0"])
    came_ns = 11_050 * US + life
    assert story.played.results["node1"] == [("a word", came_ns), ("PeerLost", max(came_ns, dies_at + PATH_NS))]


def test_who_sends_to_the_dead_in_a_tree_hears_of_it_before_the_last_byte() -> None:
    story = play_collective(cluster(2, faults=[crash("node1", 300 * US)]), Broadcast(MILLISECOND_OF_BYTES), [7, None])
    assert story.times("collective_abort", "node0") == [300 * US + PATH_NS]


def test_a_link_has_another_bandwidth_for_a_while() -> None:
    scenario = cluster(2, faults=[link("link_degrade", 400 * US, 2 * MS, bandwidth="100 Mbit/s")])
    story = tell(scenario, {"node0": sends(MILLISECOND_OF_BYTES, wait=True), "node1": receives(1)})
    # 400 us of it, then 200 us in two milliseconds, then the rest.
    assert story.played.results["node0"] == [2_400 * US + 400 * US]


@pytest.mark.parametrize("fidelity", ["auto", "message"])
def test_a_ring_has_the_bandwidth_that_its_links_have_at_each_instant(fidelity: Any) -> None:
    def member(node):
        node.join(group_of(BOTH))
        yield from node.collective(RingAllReduce(), np.ones(MILLISECOND_OF_BYTES, np.float32))
        return node.now_ns

    # Each sends 2 ms worth of bytes, half of it before its link becomes slow, and then as much again.
    scenario = cluster(2, faults=[link("link_degrade", 1 * MS, bandwidth="100 Mbit/s")])
    story = tell(scenario, dict.fromkeys(BOTH, member), fidelity=fidelity)
    assert story.played.results == dict.fromkeys(BOTH, (1 + 10) * MS + PATH_NS + 20 * MS + PATH_NS)


def test_the_latest_of_two_degradations_holds_and_then_the_other_again() -> None:
    faults = [
        link("link_degrade", 0, bandwidth="500 Mbit/s"),
        link("link_degrade", 1 * MS, 1 * MS, bandwidth="100 Mbit/s"),
    ]
    story = tell(cluster(2, faults=faults), {"node0": sends(MILLISECOND_OF_BYTES, wait=True), "node1": receives(1)})
    assert story.played.results["node0"] == [2 * MS + 800 * US]


def test_nothing_overtakes_on_a_connection_whose_latency_falls() -> None:
    # The first leaves at 1 ms with 10.05 ms of latency, the second at 2 ms, when the link is as short as before.
    scenario = cluster(2, faults=[link("link_degrade", 0, 1_500 * US, latency="10 ms")])
    story = tell(scenario, {"node0": sends(*[MILLISECOND_OF_BYTES] * 2), "node1": receives(2)})
    assert story.played.results["node1"] == [(0, 11_050 * US), (1, 11_050 * US)]


def test_nor_does_what_is_sent_when_the_latency_has_fallen() -> None:
    # The first leaves at 1 ms with 10.05 ms of latency; the second is sent at 2 ms, and would arrive at 3.05 ms.
    def sender(node: Node) -> Operation[None]:
        node.send("node1", 0, MILLISECOND_OF_BYTES, tag="x")
        yield from node.sleep(2 * MS)
        node.send("node1", 1, MILLISECOND_OF_BYTES, tag="x")

    scenario = cluster(2, faults=[link("link_degrade", 0, 1_500 * US, latency="10 ms")])
    story = tell(scenario, {"node0": sender, "node1": receives(2)})
    assert story.played.results["node1"] == [(0, 11_050 * US), (1, 11_050 * US)]


def test_a_message_that_flows_when_the_latency_changes_has_that_of_its_last_byte() -> None:
    scenario = cluster(2, faults=[link("link_degrade", 500 * US, latency="10 ms")])
    story = tell(scenario, {"node0": sends(MILLISECOND_OF_BYTES), "node1": receives(1)})
    assert story.played.results["node1"] == [(0, 1 * MS + 10_050 * US)]


def test_background_traffic_stops_where_no_way_is_open() -> None:
    flow = {"source": "node0", "target": "node1", "start": "0 s", "stop": "10 ms"}
    scenario = cluster(2, network={"background": [flow]}, faults=[link("link_down", 2 * MS, 5 * MS)])
    story = tell(scenario, {"node1": sleeps(20 * MS)})
    assert story.played.traffic.links["node0", "switch"] == 5 * MILLISECOND_OF_BYTES


def test_background_traffic_has_the_bandwidth_of_its_link_at_each_instant() -> None:
    flow = {"source": "node0", "target": "node1", "start": "0 s", "stop": "10 ms"}
    slow = link("link_degrade", 2 * MS, 4 * MS, bandwidth="250 Mbit/s")
    story = tell(cluster(2, network={"background": [flow]}, faults=[slow]), {"node1": sleeps(20 * MS)})
    assert story.played.traffic.links["node0", "switch"] == (2 + 1 + 4) * MILLISECOND_OF_BYTES


@pytest.mark.parametrize(
    "second", [link("drop", 0, source="node1", probability="50 %"), link("corrupt", 0, probability="50 %")]
)
def test_what_one_link_loses_says_nothing_of_another_nor_of_flipped_bits(second: dict[str, Any]) -> None:
    faults = [link("drop", 0, probability="50 %"), second]
    scenario = cluster(2, network={"resend_after": "1 us"}, faults=faults)
    story = tell(scenario, {"node0": sends(*[125] * 500), "node1": receives(500)})
    # One of four tries succeeds, where one of two would if both were drawn together.
    assert 1_800 < story.played.traffic.wire["node0"] // 125 < 2_200


def test_what_becomes_of_a_heartbeat_says_nothing_of_the_message_beside_it() -> None:
    def talks(node):
        node.beat([Member("node1", 0)], 1 * MS)
        for _ in range(20):
            node.send("node1", 0, 64, tag="data")
            yield from node.sleep(1 * MS)

    scenario = cluster(2, network={"resend_after": "10 us"}, faults=[link("drop", 0, probability="50 %")])
    story = tell(scenario, {"node0": talks, "node1": sleeps(90 * MS)})
    beats, data = (story.times("deliver", tag=tag) for tag in ("heartbeat", "data"))
    assert (len(data), beats[:20] == data) == (20, False)


@pytest.mark.parametrize("kind", ["drop", "corrupt"])
def test_what_is_lost_or_found_corrupt_is_sent_again(kind: str) -> None:
    network = {"resend_after": "3 ms"}
    scenario = cluster(2, network=network, faults=[link(kind, 0, probability="60 %")], seed=1)
    story = tell(scenario, {"node0": sends(*[MILLISECOND_OF_BYTES] * 20), "node1": receives(20)})
    came = story.played.results["node1"]
    assert [payload for payload, _ in came] == list(range(20))
    tries = story.played.traffic.wire["node0"] // MILLISECOND_OF_BYTES
    assert 30 < tries < 90
    # Every try takes a millisecond, and every one in vain three more.
    assert came[-1][1] == tries * MS + (tries - 20) * 3 * MS + PATH_NS


def test_a_fault_that_loses_messages_is_over_in_time() -> None:
    scenario = cluster(2, network={"resend_after": "3 ms"}, faults=[link("drop", 0, 10 * MS, probability="99 %")])
    story = tell(scenario, {"node0": sends(*[MILLISECOND_OF_BYTES] * 5), "node1": receives(5)})
    last_ns = story.played.results["node1"][-1][1]
    assert 10 * MS < last_ns <= 10 * MS + 3 * MS + 5 * MS + PATH_NS


def test_a_bit_that_nobody_notices_is_wrong_from_then_on_and_only_there() -> None:
    sent = np.arange(8, dtype=np.float32)

    def gives(node):
        node.send("node1", sent, sent.nbytes, tag=0)
        yield from node.sleep(0)

    scenario = cluster(2, faults=[link("corrupt", 0, probability="100 %", detected=False)])
    story = tell(scenario, {"node0": gives, "node1": receives(1)})
    (came, _), *_ = story.played.results["node1"]
    assert sent.tolist() == list(range(8))
    wrong = np.bitwise_xor(sent.view(np.uint32), came.view(np.uint32))
    assert sum(int(word).bit_count() for word in wrong) == 1
    assert story.times("wrong_number", "node1") == [256 + PATH_NS]


@given(st.integers(0, 2**62))
def test_exactly_one_bit_is_flipped_wherever_the_numbers_are(word: int) -> None:
    payload = ("step", [np.zeros(3, np.float32), 7], (np.zeros((2, 2), np.float64),))
    name, (one, seven), (other,) = flipped(payload, word)
    assert (name, seven) == ("step", 7)
    assert sum(byte.bit_count() for array in (one, other) for byte in array.tobytes()) == 1
    assert not any(array.any() for array in (payload[1][0], payload[2][0]))


class Pair(NamedTuple):
    first: Any
    second: Any


@dataclass(frozen=True)
class Box:
    inside: Any


def test_each_bit_has_its_number_and_what_holds_it_stays_as_it_is() -> None:
    square, row = np.zeros((2, 2), np.uint8), np.zeros(2, np.uint8)
    bits = 8 * (square.nbytes + row.nbytes)
    for word in range(2 * bits):
        came = flipped(Box([Pair(square, "text"), row]), word)
        ((one, text), other) = came.inside
        assert [type(came), type(came.inside), type(came.inside[0])] == [Box, list, Pair]
        assert (one.shape, other.shape, text) == ((2, 2), (2,), "text")
        assert int.from_bytes(one.tobytes() + other.tobytes(), "little") == 1 << word % bits


def test_without_numbers_there_is_nothing_to_flip() -> None:
    assert flipped(("hello", 3), 5) == ("hello", 3)


def test_undetected_corruption_makes_replicas_differ_and_the_run_goes_on() -> None:
    faults = [link("corrupt", 0, probability="30 %", detected=False)]
    result = simulate(training("ring", faults=faults))
    assert result.outcome.is_success
    assert any(event.kind == "wrong_number" for event in result.trace)
    assert result.numbers_digest != simulate(training("ring")).numbers_digest


# --- several at once --------------------------------------------------------------------------------------------------


def test_a_partition_holds_up_what_crosses_it_and_heals() -> None:
    scenario = cluster(4, faults=[fault("partition", 0, 5 * MS, groups=[["node0", "node1"], ["node2"]])])
    programs = {
        "node0": lambda node: (yield from _to_all(node, ["node1", "node2", "node3"])),
        **{f"node{rank}": receives(1) for rank in (1, 2, 3)},
    }
    results = tell(scenario, programs).played.results
    # node3 is in no group, and reaches all.
    assert [results[f"node{rank}"][0][1] for rank in (1, 2, 3)] == [PATH_NS, 5 * MS + PATH_NS, PATH_NS]


def _to_all(node, others: Sequence[str]):
    for other in others:
        node.send(other, 0, 0, tag=0)
    yield from node.sleep(0)


@pytest.mark.parametrize(("notice", "came"), [("reset", 1 * MS + PATH_NS), ("silence", None)])
def test_a_switch_dies_with_all_under_it(notice: str, came: int | None) -> None:
    network = {"topology": {"kind": "two_tier", "racks": 2}, "latency": "25 us"}
    dead = fault("switch_down", 1 * MS, 5 * MS, switch="rack0.switch", notice=notice)
    programs = {f"node{rank}": works(9 * MFLOP) for rank in range(4)} | {"node3": receives(1, source="node0")}
    story = tell(cluster(4, network=network, faults=[dead]), programs, restarts=["node0", "node1"])
    assert story.times("crash") == [1 * MS] * 2
    assert {event.node for event in story.of("crash")} == {"node0", "node1"}
    assert story.times("restart") == [6 * MS] * 2
    assert story.played.results["node0"] == [15 * MS]
    # The reset waits behind the dead switch, and silence tells nothing.
    assert story.played.results.get("node3") == (None if came is None else [("PeerLost", 6 * MS + PATH_NS)])


def test_a_switch_without_machines_cuts_what_crosses_it() -> None:
    network = {"topology": {"kind": "two_tier", "racks": 2}, "latency": "25 us"}
    scenario = cluster(4, network=network, faults=[fault("switch_down", 0, 5 * MS, switch="core.switch")])
    programs = {"node0": lambda node: (yield from _to_all(node, ["node1", "node2"]))}
    story = tell(scenario, {**programs, "node1": receives(1), "node2": receives(1)})
    assert story.played.results["node1"] == [(0, 50 * US)]
    assert story.played.results["node2"] == [(0, 5 * MS + PATH_NS)]
    assert story.times("link", is_down=True) == [0] * 4, "two links, both ways"


# --- again and again --------------------------------------------------------------------------------------------------

EXPONENTIAL = {"kind": "exponential", "mean": "2 ms"}


def test_a_fault_that_comes_again_and_again_is_seeded_and_keeps_to_its_time() -> None:
    def strikes(seed: int) -> list[int]:
        again = {"every": EXPONENTIAL, "start": "10 ms", "stop": "50 ms"}
        dead = {"kind": "crash", "node": "node0", "at": again, "restart_after": "1 ns"}
        story = tell(cluster(1, seed=seed, faults=[dead]), {"node0": sleeps(60 * MS)}, restarts=["node0"])
        return story.times("crash")

    assert strikes(1) == strikes(1) != strikes(2)
    assert 8 < len(strikes(1)) < 40
    assert all(10 * MS < time_ns < 50 * MS for time_ns in strikes(1))


def test_any_machine_that_is_up_may_be_struck() -> None:
    dead = {"kind": "crash", "node": "any", "at": {"every": {"kind": "exponential", "mean": "1 ms"}}}
    story = tell(cluster(5, faults=[dead]), {f"node{rank}": sleeps(90 * MS) for rank in range(5)})
    assert sorted(event.node for event in story.of("crash")) == [f"node{rank}" for rank in range(5)]


def test_machines_that_churn_are_up_and_down_in_turn() -> None:
    comes = {"kind": "churn", "nodes": ["node1"], "up": EXPONENTIAL, "down": {"kind": "exponential", "mean": "500 us"}}
    story = tell(cluster(2, faults=[comes]), {f"node{rank}": sleeps(90 * MS) for rank in range(2)}, restarts=["node1"])
    assert not story.times("crash", "node0")
    down, up = story.times("crash", "node1"), story.times("restart", "node1")
    assert len(down) > 10
    turns = [time_ns for pair in zip(down, up, strict=False) for time_ns in pair]
    assert turns == sorted(turns)
    account = story.played.accounts["node1"]
    assert account.down_ns == sum(back - gone for gone, back in zip(down, [*up, story.played.time_ns], strict=False))


def test_a_fault_that_still_comes_does_not_keep_a_run_from_having_stalled() -> None:
    dead = {"kind": "slow_down", "node": "node0", "factor": 2, "at": {"every": EXPONENTIAL}, "lasts": "1 ms"}
    story = tell(cluster(2, faults=[dead]), {"node0": receives(1, source="node1"), "node1": sleeps(1)})
    assert story.played.ending == "stalled"


def draws(wait: Any, count: int = 1_000, machines: int = 1) -> list[int]:
    return sorted(wait_ns(wait, machines, 7, "draw", number) for number in range(count))


def distance(sample: Sequence[int], survival: Any) -> float:
    """Return Kolmogorov and Smirnov's distance between a sample and a distribution."""
    count = len(sample)
    return max(abs(1 - survival(value) - (place + 0.5) / count) for place, value in enumerate(sample))


@pytest.mark.parametrize(
    ("wait", "survival"),
    [
        (Exponential(kind="exponential", mean="20 ms"), lambda ns: math.exp(-ns / (20 * MS))),
        (Weibull(kind="weibull", scale="20 ms", shape=0.5), lambda ns: math.exp(-((ns / (20 * MS)) ** 0.5))),
        (Weibull(kind="weibull", scale="20 ms", shape=3.0), lambda ns: math.exp(-((ns / (20 * MS)) ** 3))),
    ],
    ids=["exponential", "infant mortality", "wear"],
)
def test_waits_follow_their_distribution(wait: Any, survival: Any) -> None:
    # Of 1,000 draws the distance is above 0.061 once in a thousand times; these draws are always the same.
    assert distance(draws(wait), survival) < 0.06


def test_the_waits_of_real_machines_are_those_of_their_papers() -> None:
    hours = 3_600 * S
    fleet = draws(Llama3(kind="llama_3"), machines=16_384)
    assert abs(sum(fleet) / len(fleet) - 54 * 24 * hours / 419) < 0.1 * 54 * 24 * hours / 419
    job = draws(Li2014(kind="li_2014"), 3_000)
    for machine_hours, share in ((100, 0.078), (1_000, 0.137), (10_000, 0.247)):
        failed = sum(wait < machine_hours * hours for wait in job) / len(job)
        assert abs(failed - share) < 0.025


def test_acceleration_divides_the_waits() -> None:
    slow, fast = draws(Llama3(kind="llama_3"), 50), draws(Llama3(kind="llama_3", accelerated=1_000.0), 50)
    assert all(abs(Decimal(one) / other - 1_000) < Decimal("1e-6") for one, other in zip(slow, fast, strict=True))


@settings(max_examples=30)
@given(st.integers(0, 2**62), st.integers(1, 10**6))
def test_a_wait_is_at_least_a_nanosecond(seed: int, machines: int) -> None:
    assert wait_ns(Exponential(kind="exponential", mean="1 ns"), machines, seed, "x") >= 1


# --- from a file ------------------------------------------------------------------------------------------------------

ROWS = "name: rows\ntask: {steps: 2}\ncluster: {nodes: 3}\nstrategy: {name: ring}\nfaults:\n"


def test_the_rows_of_a_file_become_faults(tmp_path: Any) -> None:
    (tmp_path / "failures.csv").write_text("time,node\n# a comment\n3 s, node1\n\n4.5 ms,node2\n")
    more = "- {kind: crash, at: {file: failures.csv}, restart_after: 1 s}\n- {kind: pause, node: node0, at: 1 s}\n"
    (tmp_path / "a.yaml").write_text(ROWS + more)
    faults = load(tmp_path / "a.yaml").scenario.faults
    assert [(fault.kind, fault.node, fault.at.time) for fault in faults] == [
        ("crash", "node1", 3 * S),
        ("pause", "node0", 1 * S),
        ("crash", "node2", 4_500_000),
    ]
    assert faults[2].restart_after == 1 * S


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ("3,node1\n", 'line 1 of "failures.csv": "3" has no unit; a duration is written like "50 us"'),
        ("3 s,node1\ntime,node\n", 'line 2 of "failures.csv": "time" is not a duration; write it like "50 us"'),
        ("-3 s,node1\n", 'line 1 of "failures.csv": "-3 s" is too small; the least is 0 ns'),
        ("3 s,node1,x\n", 'line 1 of "failures.csv" has 3 columns; write a time and a node'),
        ("3 s\0,node1\n", 'line 1 of "failures.csv": the control character U+0000 stands here; is this a text file?'),
        ("", '"failures.csv" has no rows of a time and a node, such as 3 s,node1'),
    ],
)
def test_wrong_rows_are_told_with_their_line(tmp_path: Any, rows: str, sentence: str) -> None:
    (tmp_path / "failures.csv").write_text(rows)
    (tmp_path / "a.yaml").write_text(ROWS + "- {kind: crash, at: {file: failures.csv}}\n")
    with pytest.raises(Exception, match=r"a\.yaml:6:28: faults") as found:
        load(tmp_path / "a.yaml")
    assert sentence in str(found.value)


def test_every_wrong_row_is_told_at_once(tmp_path: Any) -> None:
    (tmp_path / "failures.csv").write_text("time,node\n3,node1\n4 s\n5 s,node9\n6 s,node0\n7 s,node1,x\n")
    (tmp_path / "a.yaml").write_text(ROWS + "- {kind: crash, at: {file: failures.csv}, lasts: 1 s}\n")
    with pytest.raises(ScenarioInvalid) as found:
        load(tmp_path / "a.yaml")
    said = [(problem.path.split(".", 1)[1], problem.sentence.split(" of ")[0]) for problem in found.value.problems]
    assert said[:4] == [("at.file", f"line {line}") for line in (2, 6, 3, 4)]
    assert [path for path, _ in said[4:]] == ["lasts"]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("''", 'must be the name of a file, such as failures.csv, not ""'),
        ("5", "must be the name of a file, such as failures.csv, not 5"),
        ("[failures.csv]", "must be the name of a file, such as failures.csv, not a list"),
        ("010", '"010" is read as 8 by YAML; write 8, or 10 without the zero'),
        ("failures.csv, time: 3 s", "says the times; keep no other key beside it"),
    ],
)
def test_what_is_no_name_of_a_file_is_told_alone(tmp_path: Any, name: str, sentence: str) -> None:
    (tmp_path / "failures.csv").write_text("3 s,node1\n")
    (tmp_path / "a.yaml").write_text(ROWS + f"- {{kind: crash, at: {{file: {name}}}}}\n")
    with pytest.raises(ScenarioInvalid) as found:
        load(tmp_path / "a.yaml")
    assert [problem.sentence for problem in found.value.problems] == [sentence]


def test_a_file_of_rows_may_be_left_empty_beside_a_time() -> None:
    (fault,) = parse(ROWS + "- {kind: crash, node: node1, at: {file: null, time: 3 s}}\n", "a.yaml").scenario.faults
    assert fault.at.time == 3 * S


@pytest.mark.parametrize(
    "rows",
    [
        b"\xef\xbb\xbftime,node\r\n7 ms,node1\r\n9 ms,node2\r\n",  # as spreadsheets save it
        b" , \n,\ntime , node \n 7 ms , node1 \n9 ms,node2\n",
        b'"7 ms","node1"\n9 ms, "node2"\n',
    ],
)
def test_rows_may_look_otherwise(tmp_path: Any, rows: bytes) -> None:
    (tmp_path / "failures.csv").write_bytes(rows)
    (tmp_path / "a.yaml").write_text(ROWS + "- {kind: crash, at: {file: failures.csv}}\n")
    faults = load(tmp_path / "a.yaml").scenario.faults
    assert [(fault.node, fault.at.time) for fault in faults] == [("node1", 7 * MS), ("node2", 9 * MS)]


@pytest.mark.parametrize("rows", ["7 ms\n9 ms\n", "time,node\n7 ms,\n9 ms,\n", '7 ms,""\n 9 ms , \n'])
@pytest.mark.parametrize("words", ["kind: pause, node: node2", "kind: link_down, source: node2, target: switch"])
def test_rows_of_a_time_alone_strike_what_the_fault_names(tmp_path: Any, rows: str, words: str) -> None:
    (tmp_path / "failures.csv").write_text(rows)
    (tmp_path / "a.yaml").write_text(ROWS + f"- {{{words}, at: {{file: failures.csv}}}}\n")
    faults = load(tmp_path / "a.yaml").scenario.faults
    assert [(struck(fault), fault.at.time) for fault in faults] == [
        (struck(faults[0]), 7 * MS),
        (struck(faults[0]), 9 * MS),
    ]
    assert struck(faults[0]).startswith("node2")


def test_a_file_of_rows_that_cannot_be_read_is_told(tmp_path: Any) -> None:
    (tmp_path / "a.yaml").write_text(ROWS + "- {kind: crash, at: {file: failures.csv}}\n")
    rows, place = tmp_path / "failures.csv", r"a\.yaml:6:28: faults\[0\]\.at\.file: "
    with pytest.raises(ScenarioInvalid, match=place + "there is no file"):
        load(tmp_path / "a.yaml")
    rows.write_bytes(b"3 s,n\xf6de\n")
    with pytest.raises(ScenarioInvalid, match=place + r'".*failures\.csv" is not UTF-8 text; save the file as UTF-8'):
        load(tmp_path / "a.yaml")
    rows.write_bytes(b"3 s," + b"n" * 200_000)
    with pytest.raises(ScenarioInvalid, match=place + r'".*failures\.csv" cannot be read as rows of time and node: '):
        load(tmp_path / "a.yaml")
    rows.unlink()
    rows.mkdir()
    with pytest.raises(ScenarioInvalid, match=place + r'".*failures\.csv" cannot be read: Is a directory'):
        load(tmp_path / "a.yaml")


def test_a_file_of_rows_is_read_with_a_scenario_file_alone() -> None:
    faults = [{"kind": "crash", "node": "node1", "at": {"file": "failures.csv"}}]
    with pytest.raises(
        ScenarioInvalid, match=r"faults\[0\]\.at\.file: is read with a scenario file; here, write a fault"
    ):
        simulate(training("ring", faults=faults))


# --- what a scenario may say ------------------------------------------------------------------------------------------

MISTAKES = [
    ("{kind: pause, node: node9, at: 1 s}", "node: there is no node9; the nodes are node0 to node2"),
    (
        "{kind: link_down, source: node0, target: node1, at: 1 s}",
        "target: there is no link from node0 to node1; node0 has links to switch",
    ),
    ("{kind: link_down, source: nod0, target: switch, at: 1 s}", "source: there is no nod0 in this star; did you mean"),
    (
        "{kind: link_down, source: server0, target: swich, at: 1 s}",
        "target: there is no swich in this star; did you mean",
    ),
    (
        "{kind: link_down, source: node0, target: switch, at: 1 s, one_way: maybe}",
        'one_way: must be true or false, not "maybe"',
    ),
    ("{kind: link_degrade, source: node0, target: switch, at: 1 s}", "changes nothing; write the link's"),
    ('{kind: crash, node: "", at: 1 s}', "node: there is no machine without a name; the nodes are node0 to node2"),
    (
        "{kind: churn, nodes: [node1, node1], up: {kind: llama_3}, down: {kind: llama_3}}",
        "nodes[1]: node1 is in the list already; it comes and goes once",
    ),
    (
        "{kind: crash, node: any, at: {every: {kind: weibull, scale: 1 s, shape: 1.0e-300}}}",
        "shape: must be at least 0.01, not 1e-300",
    ),
    (
        "{kind: drop, source: node0, target: switch, at: 1 s, probability: 100 %}",
        "probability: must be less than 100 %, or nothing ever arrives; not 100 %; kind: link_down says that",
    ),
    (
        "{kind: corrupt, source: node0, target: switch, at: 1 s, probability: 101 %, detected: false}",
        "probability: must be at most 100 %, not 101 %",
    ),
    (
        "{kind: drop, source: node0, target: switch, at: 1 s, probability: 0 %}",
        'probability: "0 %" is too small; it must be more than 0',
    ),
    (
        "{kind: corrupt, source: node0, target: switch, at: 1 s, probability: 0 %, detected: false}",
        'probability: "0 %" is too small; it must be more than 0',
    ),
    (
        "{kind: partition, groups: [[node0, node1], [node1]], at: 1 s}",
        "groups[1][0]: node1 is in faults[0].groups[0] already; it is on one side only",
    ),
    ("{kind: switch_down, switch: rack0.switch, at: 1 s}", "switch: there is no switch rack0.switch in this star"),
    (
        "{kind: partition, groups: [[node0, node0], [node1]], at: 1 s}",
        "groups[0][1]: node0 is in faults[0].groups[0] already; it is on one side only",
    ),
    (
        "{kind: partition, groups: [[node0, node9], [node1]], at: 1 s}",
        "groups[0][1]: there is no node9; the nodes are node0 to node2",
    ),
    (
        "{kind: churn, nodes: [node1, node9], up: {kind: llama_3}, down: {kind: llama_3}}",
        "nodes[1]: there is no node9; the nodes are node0 to node2",
    ),
    ("{kind: switch_down, switch: node0, at: 1 s}", "switch: there is no switch node0 in this star; its switches are"),
    (
        "{kind: crash, node: any, at: {step: 1}}",
        "at.step: is a worker's progress, and any has none; say whose step it is, such as {step: 1, node: node0}",
    ),
    ("{kind: crash, node: any, at: {step: 1, node: node9}}", "at.node: there is no node9; the nodes are node0"),
    (
        "{kind: crash, node: node0, at: {time: 1 s, node: node0}}",
        "at.node: says whose step it is, and lacks the step; write both, such as {step: 12, node: node0}",
    ),
    (
        "{kind: link_down, source: node0, target: switch, at: {step: 1}}",
        "at.step: is a worker's progress, and a link_down is no worker's; say whose step it is",
    ),
    ("{kind: crash, node: node0, at: {start: 1 s}}", 'at.start: belongs to "every"'),
    (
        "{kind: crash, node: node0, at: {time: 1 s, every: {kind: exponential, mean: 1 s}}}",
        'at: has both a time and "every"; keep one of them',
    ),
    (
        "{kind: crash, node: node0, at: {every: {kind: exponential, mean: 1 s}, start: 2 s, stop: 1 s}}",
        "at.stop: must be later than the start, or the fault never comes",
    ),
    (
        "{kind: crash, node: node0, at: {every: {kind: exponential, mean: 1 s}, start: 2 s, stop: 2 s}}",
        "at.stop: must be later than the start, or the fault never comes",
    ),
    (
        "{kind: crash, node: node0, at: {every: {kind: exponential, mean: 1 s}, stop: 0 s}}",
        "at.stop: must be later than the start, or the fault never comes",
    ),
    ("{kind: crash, node: node0, at: {time: 1 s, stop: 2 s}}", 'at.stop: belongs to "every"'),
    (
        "{kind: crash, node: server0, at: {step: 1}}",
        "at.step: is a worker's progress, and server0 has none; say whose step it is",
    ),
    (
        "{kind: crash, node: node0, at: {step: 1, segment: 5}}",
        "at.segment: is beyond the last message of a step, which is 4 in a ring of 3, not 5",
    ),
    ("{kind: crush, node: node0, at: 1 s}", 'kind: there is no kind "crush"; choose crash, pause'),
]


@pytest.mark.parametrize(("text", "sentence"), MISTAKES, ids=[sentence[:40] for _, sentence in MISTAKES])
def test_a_fault_that_cannot_be_is_told_with_its_place(text: str, sentence: str) -> None:
    with pytest.raises(Exception, match=r"a\.yaml:6:") as found:
        parse(ROWS + f"- {text}\n", "a.yaml")
    assert sentence in str(found.value)


@pytest.mark.parametrize(
    ("text", "overrides"),
    [
        ("{kind: pause, node: any, at: 1 s}", []),
        ("{kind: crash, node: node0, at: {step: 1, segment: 4}}", []),
        # How many messages there are with buckets, nobody knows before.
        ("{kind: crash, node: node0, at: {step: 1, segment: 5}}", ["strategy.bucket_size=40 B"]),
        ("{kind: crash, node: node0, at: {step: 1, segment: 5}}", ["strategy.cycle_time=1 ms"]),
        ("{kind: corrupt, source: node0, target: switch, at: 1 s, probability: 100 %, detected: false}", []),
        ("{kind: link_degrade, source: node0, target: switch, at: 1 s, latency: 1 ms}", []),
        ("{kind: link_degrade, source: node0, target: switch, at: 1 s, bandwidth: 1 Mbit/s}", []),
        ("{kind: crash, node: any, at: {every: {kind: exponential, mean: 1 s}, start: 1 s, stop: 1.1 s}}", []),
    ],
)
def test_a_fault_that_may_be_is_no_mistake(text: str, overrides: list[str]) -> None:
    (found,) = parse(ROWS + f"- {text}\n", "a.yaml", overrides=overrides).scenario.faults
    assert found.kind in text


def test_a_link_that_goes_one_way_may_be_struck_from_either_end_but_not_one_way_back() -> None:
    ends = [("node0", "node1"), ("node1", "node2"), ("node2", "node0")]
    links = ", ".join(f"{{source: {source}, target: {target}, one_way: true}}" for source, target in ends)
    around = ["cluster.network.topology={kind: graph}", f"cluster.network.links=[{links}]"]
    for source, target, more in ("node0", "node1", ", one_way: true"), ("node1", "node0", ""):
        text = f"- {{kind: link_down, source: {source}, target: {target}, at: 1 s{more}}}\n"
        assert parse(ROWS + text, overrides=around).scenario.faults
    with pytest.raises(ScenarioInvalid, match="target: there is no link from node1 to node0; node1 has links to node2"):
        parse(ROWS + "- {kind: link_down, source: node1, target: node0, at: 1 s, one_way: true}\n", overrides=around)


def test_what_this_strategy_does_not_have_is_not_applicable() -> None:
    faults = [
        link("link_down", 1, target="switch", source="server0"),
        fault("partition", 1, groups=[["node0"], ["server0"]]),
    ]
    result = simulate(training("ring", faults=faults))
    assert result.faults_not_applicable == (
        "faults[0]: link_down of server0 - switch at 1 ns",
        "faults[1]: partition of node0 | server0 at 1 ns",
    )


# --- strategies -------------------------------------------------------------------------------------------------------


def test_an_elastic_ring_goes_on_after_a_partition_that_heals() -> None:
    parted = fault("partition", 6 * MS, 40 * MS, groups=[["node0", "node1", "node2", "rendezvous"], ["node3"]])
    elastic = {"name": "ring", "on_failure": "elastic", "timeout": "5 ms", "set_aside": {"cooldown": "1 ms"}}
    result = simulate(training(elastic, steps=40, faults=[parted]))
    assert result.outcome.is_success
    sizes = [row.world_size for row in result.metrics]
    assert [size for size, following in pairwise([*sizes, 0]) if size != following] == [4, 3, 4]
    assert result.samples.lost == 0
    (failure,) = result.failures
    assert failure.ended_at_ns == 46 * MS
    assert failure.detected_at_ns is not None
    assert (failure.recovered_at_ns or 0) > 46 * MS


def test_what_a_message_would_have_taken_that_never_left_holds_up_nobody() -> None:
    def sends_twice(node):
        node.send("node1", 0, 100 * MILLISECOND_OF_BYTES, tag=0)
        yield from node.sleep(20 * MS)
        node.send("node1", 1, 0, tag=1)

    scenario = cluster(2, faults=[crash("node1", 1 * MS, restart_after="1 ms")])
    story = tell(scenario, {"node0": sends_twice, "node1": receives(1, source="node0")}, restarts=["node1"])
    assert story.played.results["node1"] == [(1, 20 * MS + PATH_NS)]


def test_the_end_of_a_pause_is_not_that_of_another_life_s() -> None:
    # The second life stands still from 4 to 24 ms; the pause of the first would have been over at 11 ms.
    faults = [
        fault("pause", 1 * MS, 10 * MS, node="node0"),
        crash("node0", 2 * MS, restart_after="1 ms"),
        fault("pause", 4 * MS, 20 * MS, node="node0"),
    ]
    story = tell(cluster(1, faults=faults), {"node0": works(2 * MFLOP)}, restarts=["node0"])
    assert story.times("resume") == [24 * MS]
    assert story.played.results["node0"] == [25 * MS]


def test_a_switch_comes_back_for_those_who_wait_behind_it_also_where_nobody_begins_anew() -> None:
    # node0 dies with its rack, and its program does not begin anew: node3 hears of that once the links are up.
    network = {"topology": {"kind": "two_tier", "racks": 2}, "latency": "25 us"}
    dead = fault("switch_down", 1 * MS, 5 * MS, switch="rack0.switch", notice="reset")
    programs = {"node0": works(9 * MFLOP), "node3": receives(1, source="node0")}
    story = tell(cluster(4, network=network, faults=[dead]), programs)
    assert story.played.results["node3"] == [("PeerLost", 6 * MS + PATH_NS)]


def test_a_run_that_stands_still_for_ever_says_so() -> None:
    result = simulate(training("local", nodes=1, faults=[fault("pause", 100 * US, node="node0")]))
    assert result.outcome_sentence == "stalled at 100 us: node0 waits for its machine to go on"


@pytest.mark.parametrize(
    ("words", "rows", "sentence"),
    [
        ("kind: crash", "4 s,node9", 'line 2 of "failures.csv": there is no node9; the nodes are'),
        ("kind: crash, node: node0", "4 s", 'line 1 of "failures.csv" names a node, and so does the fault; keep'),
        ("kind: crash", "4 s", 'line 2 of "failures.csv" names no node; write one there, or for all rows in the fault'),
        (
            "kind: link_down, source: node0, target: switch",
            "4 s",
            'line 1 of "failures.csv" names a node, and a link_down strikes none; write the time alone',
        ),
    ],
)
def test_what_is_wrong_with_a_row_is_told_with_its_line(tmp_path: Any, words: str, rows: str, sentence: str) -> None:
    (tmp_path / "failures.csv").write_text(f"3 s,node1\n{rows}\n")
    (tmp_path / "a.yaml").write_text(ROWS + f"- {{at: {{file: failures.csv}}, {words}}}\n")
    with pytest.raises(ScenarioInvalid, match=rf"^\S+a\.yaml:6:15: faults\[0\]\.at\.file: {sentence}[^\n]*$"):
        load(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("kind: crash, restart_after: 1", r"a\.yaml:6:\d+: faults\[0\]\.restart_after: 1 has no unit"),
        ("kind: crsh", r'a\.yaml:6:\d+: faults\[0\]\.kind: there is no kind "crsh"'),
        ("kind: crash, nde: x", r'a\.yaml:6:\d+: faults\[0\]\.nde: there is no key "nde"'),
    ],
)
def test_what_is_wrong_with_all_rows_is_told_once(tmp_path: Any, words: str, problem: str) -> None:
    (tmp_path / "failures.csv").write_text("3 s,node1\n4 s,node2\n")
    (tmp_path / "a.yaml").write_text(ROWS + f"- {{{words}, at: {{file: failures.csv}}}}\n")
    with pytest.raises(ScenarioInvalid, match=rf"^\S+{problem}[^\n]*$"):
        load(tmp_path / "a.yaml")


# --- what a fault strikes, and what is written down of it -------------------------------------------------------------
STRUCK = [
    (crash("node0", 1 * MS, "2 ms"), "node0", ("node0",)),
    (fault("pause", 1 * MS, 2 * MS, node="node0"), "node0", ("node0",)),
    (fault("slow_down", 1 * MS, 2 * MS, node="node0", factor=2), "node0", ("node0",)),
    (link("link_down", 1 * MS, 2 * MS), "node0 - switch", ("node0",)),
    (link("link_degrade", 1 * MS, 2 * MS, latency="1 us", one_way=True), "node0 -> switch", ("node0",)),
    (link("drop", 1 * MS, 2 * MS, probability="1 %"), "node0 - switch", ("node0",)),
    (link("corrupt", 1 * MS, 2 * MS, probability="1 %"), "node0 - switch", ("node0",)),
    (fault("partition", 1 * MS, 2 * MS, groups=[["node0"], ["node1"]]), "node0 | node1", BOTH),
    (fault("switch_down", 1 * MS, 2 * MS, switch="switch"), "switch", BOTH),
]


@pytest.mark.parametrize(("one", "struck", "ranks"), STRUCK, ids=[one["kind"] for one, _, _ in STRUCK])
def test_what_is_struck_is_written_down_with_its_end(one: dict[str, Any], struck: str, ranks: tuple[str, ...]) -> None:
    story = tell(cluster(2, faults=[one]), {name: sleeps(9 * MS) for name in BOTH}, restarts=BOTH)
    (injected,) = story.played.injected
    assert (injected.struck, injected.ranks) == (struck, ranks)
    assert (injected.at_ns, injected.ended_at_ns) == (1 * MS, 3 * MS)


def test_one_that_stands_still_is_not_paused_again() -> None:
    faults = [fault("pause", 1 * MS, 10 * MS, node="node0"), fault("pause", 2 * MS, 2 * MS, node="node0")]
    story = tell(cluster(1, faults=faults), {"node0": works(2 * MFLOP)})
    assert story.played.results["node0"] == [12 * MS]
    assert [one.number for one in story.played.injected] == [0]


def test_a_dead_machine_cannot_be_paused() -> None:
    faults = [crash("node0", 1 * MS, restart_after="2 ms"), fault("pause", 2 * MS, 9 * MS, node="node0")]
    story = tell(cluster(1, faults=faults), {"node0": works(2 * MFLOP)}, restarts=["node0"])
    assert story.played.results["node0"] == [5 * MS]
    assert [one.number for one in story.played.injected] == [0]


def test_the_dead_under_a_switch_are_not_struck_and_stay_dead() -> None:
    faults = [crash("node0", 1 * MS), fault("switch_down", 2 * MS, 3 * MS, switch="switch")]
    story = tell(cluster(2, faults=faults), {name: works(9 * MFLOP) for name in BOTH}, restarts=BOTH)
    assert story.times("restart", "node0") == []
    assert story.played.results == {"node1": [14 * MS]}
    assert story.played.injected[1].ranks == ("node1",)


def test_a_run_is_not_over_while_all_workers_are_dead_under_a_switch_that_comes_back() -> None:
    scenario = cluster(2, faults=[fault("switch_down", 1 * MS, 5 * MS, switch="switch")])
    story = tell(scenario, {name: works(2 * MFLOP) for name in BOTH}, restarts=BOTH)
    assert story.played.results == {name: [8 * MS] for name in BOTH}


@pytest.mark.parametrize(
    "one",
    [
        fault("slow_down", 1 * MS, 900 * MS, node="node0", factor=2),
        link("link_degrade", 1 * MS, 900 * MS, latency="1 us"),
        link("drop", 1 * MS, 900 * MS, probability="1 %"),
        link("corrupt", 1 * MS, 900 * MS, probability="1 %"),
    ],
    ids=lambda one: one["kind"],
)
def test_a_run_has_stalled_before_the_end_of_a_fault_from_which_nothing_can_come(one: dict[str, Any]) -> None:
    story = tell(cluster(2, faults=[one]), {"node0": receives(1, source="node1"), "node1": sleeps(2 * MS)})
    assert (story.played.ending, story.played.time_ns) == ("stalled", 2 * MS)


def test_who_never_takes_a_step_is_not_struck_in_it() -> None:
    def skips(node):
        for step in (0, 7):
            node.begin_step(step)
            yield from node.compute(MFLOP)

    scenario = cluster(1, faults=[crash("node0", {"step": 5})])
    assert tell(scenario, {"node0": skips}).times("crash") == []


@pytest.mark.parametrize("seed", range(8))
def test_any_is_a_machine_that_is_up_and_has_a_program(seed: int) -> None:
    faults = [
        crash("node0", 1),
        fault("pause", 1 * MS, 1 * MS, node="any"),
        fault("slow_down", 3 * MS, node="any", factor=2),
    ]
    story = tell(cluster(4, seed=seed, faults=faults), {"node0": sleeps(9 * MS), "node2": sleeps(9 * MS)})
    assert [one.struck for one in story.played.injected] == ["node0", "node2", "node2"]


def test_any_is_drawn_anew_each_time() -> None:
    again = {"every": EXPONENTIAL}
    slow = {"kind": "slow_down", "node": "any", "at": again, "factor": 2, "lasts": "1 us"}
    story = tell(cluster(3, faults=[slow]), {f"node{rank}": sleeps(90 * MS) for rank in range(3)})
    struck = [one.struck for one in story.played.injected]
    assert len(struck) > 20
    assert all(struck.count(f"node{rank}") > 3 for rank in range(3))


def test_waits_differ_from_one_to_the_next_and_from_fault_to_fault() -> None:
    slow = {"kind": "slow_down", "node": "node0", "at": {"every": EXPONENTIAL}, "factor": 2, "lasts": "1 ns"}
    story = tell(cluster(1, faults=[slow, slow]), {"node0": sleeps(60 * MS)})
    first, second = ([one.at_ns for one in story.played.injected if one.number == number] for number in (0, 1))
    assert not set(first) & set(second)
    gaps = [later - sooner for sooner, later in pairwise([0, *first])]
    assert len(gaps) == len(set(gaps)) > 10


def test_nothing_strikes_at_the_very_moment_at_which_it_stops() -> None:
    def strikes(**more: str) -> list[int]:
        slow = {
            "kind": "slow_down",
            "node": "node0",
            "at": {"every": EXPONENTIAL, **more},
            "factor": 2,
            "lasts": "1 ns",
        }
        story = tell(cluster(1, faults=[slow]), {"node0": sleeps(60 * MS)})
        return [one.at_ns for one in story.played.injected]

    every = strikes()
    assert strikes(stop=f"{every[5]} ns") == every[:5]
    assert strikes(stop=f"{every[5] + 1} ns") == every[:6]


def test_of_so_many_machines_one_fails_so_many_times_as_often() -> None:
    def first(nodes: int) -> int:
        at = {"every": {"kind": "llama_3", "accelerated": 1e11}}
        slow = {"kind": "slow_down", "node": "any", "at": at, "factor": 2, "lasts": "1 ns"}
        story = tell(cluster(nodes, faults=[slow]), {"node0": sleeps(50 * MS)})
        return story.played.injected[0].at_ns

    assert abs(first(1) - 4 * first(4)) <= 4


@pytest.mark.parametrize(
    "one",
    [
        fault("link_down", 0, source="node1", target="switch"),
        fault("partition", 0, groups=[["node0"], ["node1"]]),
        fault("switch_down", 0, switch="switch"),
        fault("crash", 0, node="any"),
        fault("crash", 0, node="server0"),
    ],
    ids=lambda one: one["kind"],
)
def test_whatever_strikes_can_wait_for_the_progress_of_a_worker(one: dict[str, Any]) -> None:
    def steps(node):
        for step in range(4):
            node.begin_step(step)
            yield from node.compute(MFLOP)

    scenario = cluster(2, faults=[{**one, "at": {"step": 2, "node": "node0"}}])
    story = tell(
        scenario, {"node0": steps, "node1": sleeps(9 * MS), "server0": sleeps(9 * MS)}, machines=[Host(name="server0")]
    )
    (injected,) = story.played.injected
    assert injected.at_ns == 2 * MS


def test_what_never_ends_strikes_the_same_thing_once() -> None:
    again = {"at": {"every": EXPONENTIAL}}
    down = {**fault("link_down", 0, source="node0", target="switch"), **again}
    slow = {"kind": "slow_down", "node": "any", "factor": 2, **again}
    story = tell(cluster(2, faults=[down, slow]), {name: sleeps(90 * MS) for name in BOTH})
    struck = [(one.number, one.struck) for one in story.played.injected]
    assert sorted(struck) == [(0, "node0 - switch"), (1, "node0"), (1, "node1")]


@pytest.mark.parametrize("kind", ["crash", "churn"])
def test_a_run_in_which_faults_strike_and_strike_and_nobody_comes_further_has_stalled(kind: str) -> None:
    often = {"kind": "exponential", "mean": "1 us"}
    one = {
        "crash": {"kind": "crash", "node": "any", "at": {"every": often}, "restart_after": "1 us"},
        "churn": {"kind": "churn", "up": often, "down": often},
    }[kind]
    result = simulate(training({"name": "ring", "on_failure": "elastic"}, nodes=2, faults=[one], steps=3))
    assert (str(result.outcome), result.cut_short) == ("stalled", True)
    sentence = r"stalled at .*: faults have struck 10,000 times without a new step \(crashed: node\d, node\d\); "
    assert re.match(sentence, result.outcome_sentence)


# --- churn ------------------------------------------------------------------------------------------------------------


def churned(nodes: int, faults: Sequence[Any] = ()) -> Story:
    """Let the first machines churn for 60 ms, for as long as the last one works."""
    names = [f"node{rank}" for rank in range(nodes)]
    comes = {"kind": "churn", "nodes": names, "up": EXPONENTIAL, "down": EXPONENTIAL}
    programs = {name: sleeps(1 * S) for name in names} | {f"node{nodes}": sleeps(60 * MS)}
    return tell(cluster(nodes + 1, faults=[comes, *faults]), programs, helpers=names, restarts=names)


def test_machines_that_churn_together_do_so_each_by_itself_and_all_of_it_is_written_down() -> None:
    story = churned(3)
    crashes, restarts = story.of("crash"), story.of("restart")
    assert all(len(story.times("crash", f"node{rank}")) > 5 for rank in range(3))
    assert len({event.time_ns for event in crashes}) == len(crashes)
    struck = [(one.struck, one.at_ns) for one in story.played.injected]
    assert sorted(struck) == sorted((event.node, event.time_ns) for event in crashes)
    ended = [(one.struck, one.ended_at_ns) for one in story.played.injected if one.ended_at_ns is not None]
    assert sorted(ended) == sorted((event.node, event.time_ns) for event in restarts)


def test_every_time_up_and_down_is_another() -> None:
    story = churned(1)
    turns = [0, *sorted(story.times("crash") + story.times("restart"))]
    waits = [later - sooner for sooner, later in pairwise(turns)]
    assert len(waits) == len(set(waits)) > 10


def test_who_is_dead_for_another_reason_does_not_come_back_by_churn() -> None:
    story = churned(2, faults=[crash("node1", 1)])
    assert story.times("crash", "node1") == [1]
    assert story.times("restart", "node1") == []
    assert story.times("restart", "node0")


def test_a_run_is_not_over_while_all_who_churn_are_down() -> None:
    comes = {"kind": "churn", "up": EXPONENTIAL, "down": {"kind": "exponential", "mean": "1 s"}}
    story = tell(cluster(1, faults=[comes]), {"node0": sleeps(3 * MS)}, restarts=["node0"])
    assert story.times("crash")
    assert "node0" in story.played.results


def test_churn_of_machines_that_another_strategy_has_strikes_those_that_are_there() -> None:
    comes = {"kind": "churn", "nodes": ["server0", "node1"], "up": EXPONENTIAL, "down": EXPONENTIAL}
    programs = {"node0": sleeps(60 * MS), "node1": sleeps(60 * MS)}
    story = tell(cluster(2, faults=[comes]), programs, helpers=["node1"], restarts=["node1"])
    assert {event.node for event in story.of("crash")} == {"node1"}
    assert not story.played.not_applicable
