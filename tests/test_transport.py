"""Transports, losses and background traffic against times and bytes that were worked out by hand."""

from __future__ import annotations

import pytest
from worlds import MS, US, S, cluster, crash, tell

from ringsim.world.transport import payload_bytes

FRAME, PAYLOAD = 1_514, 1_448
FRAME_NS = 8 * FRAME  # at 1 Gbit/s


def sends(*messages, to="node1", then=()):
    """A program that sends messages (at, segments) one after another, and then goes on for a while."""

    def run(node):
        now = 0
        for at, segments in messages:
            yield from node.sleep(at - now)
            now = at
            node.send(to, None, PAYLOAD * segments, tag=None)
        for wait in then:
            yield from node.sleep(wait)

    return run


def receives(number):
    def run(node):
        for _ in range(number):
            yield from node.receive()

    return run


def over_tcp(programs, latency="1 ms", faults=(), **transport):
    network = {"transport": {"kind": "tcp", **transport}, "latency": latency}
    return tell(cluster(len(programs), network=network, faults=faults), programs)


def link_bytes(story, source, target):
    return story.of("link_bytes", source, to=target)[0].fields["bytes"]


def test_slow_start_doubles_its_window_each_round_trip_until_the_pipe_is_full():
    # 100 segments: 10, 20, 40, 30, a round trip of 4 ms apart; the last 30 leave, and arrive a path latency later.
    story = over_tcp({"node0": sends((0, 100)), "node1": receives(1)})
    assert story.times("deliver", "node1") == [3 * 4 * MS + 30 * FRAME_NS + 2 * MS]


def test_a_connection_stays_warm_until_it_has_been_idle_for_its_timeout_and_a_round_trip():
    left_ns = 12 * MS + 30 * FRAME_NS
    soon, late = left_ns + 204 * MS, left_ns + 204 * MS + 1
    warm = over_tcp({"node0": sends((0, 100), (soon, 50)), "node1": receives(2)})
    assert warm.times("deliver", "node1")[1] == soon + 50 * FRAME_NS + 2 * MS
    cold = over_tcp({"node0": sends((0, 100), (late, 50)), "node1": receives(2)})
    assert cold.times("deliver", "node1")[1] == late + 2 * 4 * MS + 20 * FRAME_NS + 2 * MS


def test_a_peer_that_has_restarted_is_a_new_connection():
    def receiver(node):
        yield from node.receive()
        if node.incarnation == 0:
            yield from node.receive(tag="never")

    network = {"transport": "tcp", "latency": "1 ms"}
    scenario = cluster(2, network=network, faults=[crash("node1", 30 * MS, "1 ms")])
    story = tell(scenario, {"node0": sends((0, 100), (60 * MS, 100)), "node1": receiver}, restarts=["node1"])
    sent, came = story.times("depart", "node0")[-1], story.times("deliver", "node1")[-1]
    assert came - sent == 3 * 4 * MS + 30 * FRAME_NS + 2 * MS


@pytest.mark.parametrize(("both_ways", "factor"), [(False, 1_514), (True, 1_514 + 33)])
def test_acknowledgements_slow_a_direction_that_carries_data_and_no_other(both_ways, factor):
    def exchange(peer):
        def run(node):
            node.send(peer, None, PAYLOAD * 1_514, tag=None)
            yield from node.receive(peer)

        return run

    back = exchange("node0") if both_ways else receives(1)
    ahead = exchange("node1") if both_ways else sends((0, 1_514))
    story = over_tcp({"node0": ahead, "node1": back}, latency="0 s")
    assert story.times("deliver", "node1") == [8 * 1_514 * factor]
    acknowledged = 66 * (1_514 // 2)
    assert link_bytes(story, "switch", "node1") == 1_514 * FRAME + (acknowledged if both_ways else 0)
    assert link_bytes(story, "switch", "node0") == acknowledged + (1_514 * FRAME if both_ways else 0)


@pytest.mark.parametrize(
    ("at_ns", "segments"),
    [(60 * US, None), (3 * MS, 10), (5 * MS, 30), (12 * MS + 30 * FRAME_NS // 2, 85)],
    ids=["in a round", "between rounds", "between the next", "in the last"],
)
def test_what_had_left_of_a_message_that_is_cut_off_is_counted_in_any_phase_of_slow_start(at_ns, segments):
    story = over_tcp({"node0": sends((0, 100), then=(S,)), "node1": receives(1)}, faults=[crash("node0", at_ns)])
    wire = at_ns // 8 if segments is None else segments * FRAME
    assert story.played.traffic.wire["node0"] == wire
    assert story.played.traffic.payload["node0"] == payload_bytes_of(wire)
    assert link_bytes(story, "node1", "switch") == wire * 33 // 1_514


def payload_bytes_of(wire: int) -> int:
    frames, rest = divmod(wire, FRAME)
    return frames * PAYLOAD + max(0, rest - 66)


def test_a_message_that_waits_for_its_first_round_has_sent_nothing():
    story = over_tcp(
        {"node0": sends((0, 30), (1, 50), then=(S,)), "node1": receives(2)}, faults=[crash("node0", 5 * MS)]
    )
    # 10 segments, then 20 a round trip later, and 20 of the second message are left of that round's window of 20: none.
    assert story.played.traffic.wire["node0"] == 30 * FRAME


def test_a_lost_message_is_sent_again_after_its_timeout_and_counted_each_time():
    network = {"links": [{"source": "node0", "target": "switch", "drop": "50 %"}], "resend_after": "7 ms"}
    times = set()
    for seed in range(12):
        scenario = cluster(2, network=network, seed=seed)
        story = tell(scenario, {"node0": sends((0, 1)), "node1": receives(1)})
        alone_ns = 8 * PAYLOAD + 100 * US
        attempts, rest = divmod(story.times("deliver", "node1")[0] - alone_ns, 7 * MS + 8 * PAYLOAD)
        assert rest == 0
        assert story.played.traffic.wire["node0"] == (attempts + 1) * PAYLOAD
        assert story.played.traffic.payload["node0"] == PAYLOAD
        times.add(attempts)
    assert len(times) > 2


def test_a_background_flow_takes_its_share_in_its_bursts_and_is_counted_on_the_links():
    flow = {"source": "node2", "target": "node1", "start": "1 ms", "stop": "9 ms", "burst": "1 ms", "pause": "3 ms"}
    scenario = cluster(3, network={"background": [flow]})
    # 10 Mbit at 1 Gbit/s would take 10 ms; two bursts of 1 ms (at 1 and 5 ms) take half of that time away.
    story = tell(scenario, {"node0": big, "node1": receives(1)})
    assert story.times("deliver", "node1") == [11 * MS + 100 * US]
    assert link_bytes(story, "node2", "switch") == 2 * 62_500
    assert story.played.traffic.wire == {"node0": 1_250_000}


def test_the_last_burst_of_a_background_flow_ends_when_the_flow_does():
    flow = {"source": "node0", "target": "node1", "stop": "3 ms", "burst": "2 ms", "pause": "500 us"}

    def sleeps(node):
        yield from node.sleep(9 * MS)

    story = tell(cluster(2, network={"background": [flow]}), {"node0": sleeps})
    assert link_bytes(story, "node0", "switch") == 2_500 * 125


def big(node):
    node.send("node1", None, 1_250_000, tag=None)
    yield from node.sleep(0)


def test_a_background_flow_is_no_faster_than_its_rate_and_has_acknowledgements_too():
    flow = {"source": "node0", "target": "node1", "rate": "100 Mbit/s", "stop": "1 ms"}
    scenario = cluster(2, network={"background": [flow], "transport": "tcp"})

    def sleeps(node):
        yield from node.sleep(2 * MS)

    story = tell(scenario, {"node0": sleeps})
    assert link_bytes(story, "node0", "switch") == 12_500
    assert link_bytes(story, "node1", "switch") == 12_500 * 33 // 1_514


def test_a_background_flow_of_a_machine_that_is_not_there_is_left_out():
    scenario = cluster(2, network={"background": [{"source": "node0", "target": "server0"}]})
    story = tell(scenario, {"node0": sends((0, 1)), "node1": receives(1)})
    assert story.times("deliver", "node1") == [8 * PAYLOAD + 100 * US]


def test_payload_is_told_from_frames():
    from ringsim.scenario import Framed, Ideal

    framed = Framed(kind="framed")
    assert payload_bytes(framed, 66, 5_000) == 0
    assert payload_bytes(framed, 10**9, 5_000) == 5_000
    assert payload_bytes(Ideal(kind="ideal"), 77, 5_000) == 77
