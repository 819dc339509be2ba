"""The closed forms of time against messages: played by the world, and by a small player in which nothing is shared.

The player here has connections and nothing else: a message begins when its connection is free, keeps it busy for what
the wires say, and arrives one latency later. On it a closed form must be right to the nanosecond, always; in the world
it must be wherever no two flights meet on a link. What is not here: sums (`test_collective_plans.py`).
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from test_collectives import ceil_div, finish_times, uniform
from worlds import Story, cluster, group_of, play_collective, tell

from ringsim.collectives.hierarchical import Hierarchical
from ringsim.collectives.ring import RingAllReduce
from ringsim.collectives.table import ALGORITHMS, blank_buffers
from ringsim.collectives.tree import TreeAllReduce
from ringsim.collectives.vectors import Blank
from ringsim.node import Message
from ringsim.plan import Flight, Parcels, Times

RINGS = ("ring", "reduce_scatter", "all_gather")
IN_ROUNDS = ("tree", "halving_doubling", "hierarchical")
WITH_TIMES = (*RINGS, *IN_ROUNDS)


# --- wires ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wires:
    """Connections of their own: rate (bit/s), latency and free time of each, and what every message costs besides."""

    rate: dict[tuple[int, int], int]
    latency: dict[tuple[int, int], int]
    free: dict[tuple[int, int], int] = field(default_factory=dict)
    overhead: int = 0
    framing: tuple[int, int] | None = None  # payload bytes a frame, header bytes

    def transmission_ns(self, source: int, target: int, size_bytes: int) -> int:
        frames = 0 if self.framing is None else max(1, ceil_div(size_bytes, self.framing[0]))
        wire_bytes = size_bytes + frames * (self.framing or (0, 0))[1]
        return self.overhead + ceil_div(8 * wire_bytes * 10**9, self.rate[source, target])

    def latency_ns(self, source: int, target: int) -> int:
        return self.latency[source, target]

    def free_ns(self, source: int, target: int) -> int:
        return self.free.get((source, target), 0)


def pairs(ranks: int) -> list[tuple[int, int]]:
    return list(itertools.permutations(range(ranks), 2))


# --- a player that shares nothing -------------------------------------------------------------------------------------


class Alone:
    """Plays a plan's generators on `wires`; knows when every rank finishes, and every flight."""

    def __init__(self, plan: Any, buffers: Sequence[Any], enter_ns: Sequence[int], wires: Wires):
        self.now = 0
        self.wires = wires
        self.flights: list[Flight] = []
        self.finish: dict[int, int] = {}
        self.free = {pair: wires.free_ns(*pair) for pair in pairs(len(buffers))}
        self.mail: dict[tuple[int, int, Any], list[Message]] = {}
        self.awaited: set[tuple[int, int, Any]] = set()
        self._agenda: list[tuple[int, int, Any]] = []
        self._number = itertools.count()
        self._ranks = [plan.messages(_Seat(self, rank, len(buffers)), buffer) for rank, buffer in enumerate(buffers)]
        for rank, time_ns in enumerate(enter_ns):
            self.at(time_ns, lambda rank=rank: self.go_on(rank))
        while self._agenda:
            self.now, _, action = heapq.heappop(self._agenda)
            action()

    def at(self, time_ns: int, action: Any) -> None:
        heapq.heappush(self._agenda, (time_ns, next(self._number), action))

    def go_on(self, rank: int) -> None:
        """Let a rank run until it waits: for a time, which it yields, or for a message (None)."""
        if rank in self.finish:
            return
        try:
            wake_ns = next(self._ranks[rank])
        except StopIteration:
            self.finish[rank] = self.now
        else:
            if wake_ns is not None:
                self.at(wake_ns, lambda: self.go_on(rank))

    def fly(self, source: int, target: int, message: Message) -> int:
        depart = max(self.now, self.free[source, target])
        left = depart + self.wires.transmission_ns(source, target, message.size_bytes)
        arrive = left + self.wires.latency_ns(source, target)
        self.free[source, target] = left
        self.flights.append(Flight(source, target, message.size_bytes, message.tag, depart, left, arrive))

        def land() -> None:
            self.mail.setdefault((source, target, message.tag), []).append(message)
            if (source, target, message.tag) in self.awaited:
                self.go_on(target)

        self.at(arrive, land)
        return left


class _Seat:
    def __init__(self, player: Alone, rank: int, ranks: int):
        self.rank, self.members = rank, tuple(map(str, range(ranks)))
        self._player = player

    def send(self, to: str, payload: Any, size_bytes: int, tag: Any) -> Any:
        left = self._player.fly(self.rank, int(to), Message(str(self.rank), 0, tag, payload, size_bytes))
        return _Sending(self._player, left)

    def receive(self, source: str, tag: Any, timeout_ns: int | None = None, watching: Sequence[str] = ()) -> Any:
        key = (int(source), self.rank, tag)
        if not self._player.mail.get(key):
            self._player.awaited.add(key)
            yield None
            self._player.awaited.remove(key)
        return self._player.mail[key].pop(0)


class _Sending(NamedTuple):
    player: Alone
    left_ns: int

    def sent(self, timeout_ns: int | None = None) -> Any:
        if self.player.now < self.left_ns:
            yield self.left_ns


# --- what both must agree on ------------------------------------------------------------------------------------------


def idle_spans(rank: int, enter: int, finish: int, on_the_wire: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return when nothing was on the wire, an elementary piece of time after the other."""
    cuts = sorted({enter, finish, *(time for span in on_the_wire for time in span if enter < time < finish)})
    idle: list[tuple[int, int]] = []
    for begin, end in itertools.pairwise(cuts):
        if any(span[0] <= begin and end <= span[1] for span in on_the_wire):
            continue
        if idle and idle[-1][1] == begin:
            begin = idle.pop()[0]
        idle.append((begin, end))
    return idle


def gaps_of(times: Times, ranks: int) -> list[list[tuple[int, int]]]:
    """Return the gaps by rank, those that touch made one."""
    spans: list[list[tuple[int, int]]] = [[] for _ in range(ranks)]
    for gaps in times.gaps:
        for rank, begin, end in zip(gaps.ranks.tolist(), gaps.begin_ns.tolist(), gaps.end_ns.tolist(), strict=True):
            assert begin < end
            if spans[rank] and spans[rank][-1][1] == begin:
                begin = spans[rank].pop()[0]
            spans[rank].append((begin, end))
    return spans


def busy_spans(flights: Sequence[Flight], rank: int) -> list[tuple[int, int]]:
    return [(flight.depart_ns, flight.arrive_ns) for flight in flights if rank in (flight.source, flight.target)]


def check_flights(times: Times, flights: Sequence[Flight]) -> None:
    """The flights, and all that can be counted from them."""
    assert sorted(times.flights, key=str) == sorted(flights, key=str)
    counts: dict[tuple[int, int, int], int] = {}
    left: dict[tuple[int, int], int] = {}
    arrive: dict[tuple[int, int], int] = {}
    for flight in flights:
        pair = flight[:2]
        counts[flight[:3]] = counts.get(flight[:3], 0) + 1
        left[pair] = max(left.get(pair, 0), flight.left_ns)
        arrive[pair] = max(arrive.get(pair, 0), flight.arrive_ns)
    assert sorted(times.parcels) == sorted(Parcels(*key, number) for key, number in counts.items())
    assert (dict(times.left_ns), dict(times.arrive_ns)) == (left, arrive)


# --- plans on wires of their own --------------------------------------------------------------------------------------

bandwidths = st.one_of(st.integers(10_000, 2 * 10**9), st.sampled_from([10**6, 10**9]))
latencies = st.one_of(st.integers(0, 100_000), st.sampled_from([0, 50_000]))


@st.composite
def cases(draw: Any, names: Sequence[str] = WITH_TIMES) -> tuple[str, int, int, list[int]]:
    """Return a collective, how many ranks, how many elements, and when each enters."""
    ranks = draw(st.integers(2, 9))
    enter_ns = draw(
        st.one_of(st.just([7] * ranks), st.lists(st.integers(0, 10**6), min_size=ranks, max_size=ranks)),
    )
    return draw(st.sampled_from(names)), ranks, draw(st.integers(0, 60)), enter_ns


@settings(max_examples=300, deadline=None)
@given(cases(), st.data())
def test_a_closed_form_is_right_to_the_nanosecond_where_nothing_is_shared(case, data):
    name, ranks, length, enter_ns = case
    number = st.lists(latencies, min_size=ranks * (ranks - 1), max_size=ranks * (ranks - 1))
    rates = st.lists(bandwidths, min_size=ranks * (ranks - 1), max_size=ranks * (ranks - 1))
    draw = lambda values: dict(zip(pairs(ranks), data.draw(values), strict=True))  # noqa: E731
    wires = Wires(
        draw(rates),
        draw(number),
        draw(number) if data.draw(st.booleans()) else {},
        data.draw(st.sampled_from([0, 777])),
        data.draw(st.sampled_from([None, (100, 7)])),
    )
    plan, buffers = ALGORITHMS[name].plan(ranks, length), blank_buffers(name, ranks, length)
    alone = Alone(plan, buffers, enter_ns, wires)
    times = plan.times(buffers[0], enter_ns, wires, True)

    assert times.finish_ns.tolist() == [alone.finish[rank] for rank in range(ranks)]
    check_flights(times, alone.flights)
    assert times.may_meet == (name in IN_ROUNDS)
    found = gaps_of(times, ranks)
    for rank in range(ranks):
        # What was queued on a connection before has kept it busy, and arrives a latency after its last byte.
        queued = [pair for pair in times.left_ns if pair[0] == rank and wires.free_ns(*pair)]
        before = [(0, wires.free_ns(*pair) + wires.latency_ns(*pair)) for pair in queued]
        spans = [*busy_spans(alone.flights, rank), *before]
        assert found[rank] == idle_spans(rank, enter_ns[rank], alone.finish[rank], spans)
    event(f"idle: {any(found)}")


@pytest.mark.parametrize("name", RINGS)
def test_the_flights_of_a_ring_are_told_only_when_asked_for(name):
    wires = Wires(dict.fromkeys(pairs(3), 10**9), dict.fromkeys(pairs(3), 5))
    plan, buffers = ALGORITHMS[name].plan(3, 10), blank_buffers(name, 3, 10)
    asked, not_asked = (plan.times(buffers[0], [0, 9, 4], wires, every_flight) for every_flight in (True, False))
    assert asked.flights
    assert not not_asked.flights
    assert asked.finish_ns.tolist() == not_asked.finish_ns.tolist()
    assert asked.parcels == not_asked.parcels


@pytest.mark.parametrize("name", WITH_TIMES)
def test_one_rank_is_done_when_it_enters(name):
    plan, buffers = ALGORITHMS[name].plan(1, 10), blank_buffers(name, 1, 10)
    times = plan.times(buffers[0], [123], Wires({}, {}), True)
    assert times.finish_ns.tolist() == [123]
    assert not any((times.parcels, times.left_ns, times.arrive_ns, times.gaps, times.flights))


@pytest.mark.parametrize("name", WITH_TIMES)
def test_a_closed_form_goes_on_where_64_bits_end(name):
    day_ns = 86_400 * 10**9
    rate, latency_ns = dict.fromkeys(pairs(4), 1), dict.fromkeys(pairs(4), 10**18)
    plan, length = ALGORITHMS[name].plan(4, 4 * 10**8), 4 * 10**8
    buffers, enter_ns = blank_buffers(name, 4, length), [0, day_ns, 0, 10**18]
    alone = Alone(plan, buffers, enter_ns, Wires(rate, latency_ns))
    times = plan.times(buffers[0], enter_ns, Wires(rate, latency_ns), True)
    assert times.finish_ns.tolist() == [alone.finish[rank] for rank in range(4)]
    assert max(times.finish_ns.tolist()) > 2**63
    check_flights(times, alone.flights)


@pytest.mark.parametrize("name", WITH_TIMES)
@pytest.mark.parametrize("ranks", range(1, 18))
def test_the_connections_are_those_that_are_used(name, ranks):
    plan, buffers = ALGORITHMS[name].plan(ranks, 40), blank_buffers(name, ranks, 40)
    wires = Wires(dict.fromkeys(pairs(ranks), 10**9), dict.fromkeys(pairs(ranks), 5))
    alone = Alone(plan, buffers, [0] * ranks, wires)
    used = {flight[:2] for flight in alone.flights}
    connections = list(plan.connections(ranks))
    assert set(connections) == used
    assert len(connections) == len(used)


# --- plans in the world -----------------------------------------------------------------------------------------------


class World(NamedTuple):
    """A star with unequal links, as a scenario and as wires."""

    bandwidth: list[int]
    latency_ns: list[int]
    overhead_ns: int
    framing: tuple[int, int] | None

    def scenario(self) -> Any:
        nodes = [
            {"bandwidth": f"{rate} bit/s", "latency": f"{latency} ns"}
            for rate, latency in zip(self.bandwidth, self.latency_ns, strict=True)
        ]
        transport = {"kind": "ideal"}
        if self.framing is not None:
            transport = {
                "kind": "framed",
                "payload": f"{self.framing[0]} B",
                "header": f"{self.framing[1]} B",
            }
        return cluster(nodes, network={"message_overhead": f"{self.overhead_ns} ns", "transport": transport})

    def wires(self, free: dict[tuple[int, int], int]) -> Wires:
        every = pairs(len(self.bandwidth))
        rate = {(a, b): min(self.bandwidth[a], self.bandwidth[b]) for a, b in every}
        latency = {(a, b): self.latency_ns[a] + self.latency_ns[b] for a, b in every}
        return Wires(rate, latency, free, self.overhead_ns, self.framing)


@st.composite
def worlds(draw: Any, ranks: int) -> World:
    per_rank = lambda values: draw(st.lists(values, min_size=ranks, max_size=ranks))  # noqa: E731
    rates = st.just([draw(bandwidths)] * ranks) if draw(st.booleans()) else None
    return World(
        per_rank(bandwidths) if rates is None else draw(rates),
        per_rank(latencies),
        draw(st.sampled_from([0, 777])),
        draw(st.sampled_from([None, (100, 7)])),
    )


def flown(story: Story, sequence: int, wires: Wires) -> list[Flight]:
    """Return the flights of one collective, out of the trace: a connection delivers in the order of departure."""
    number = lambda node: int(node.removeprefix("node"))  # noqa: E731
    delivered: dict[tuple[str, str, str], list[int]] = {}
    for one in story.of("deliver"):
        key = (one.fields["source"], one.node, one.fields["tag"])
        delivered.setdefault(key, []).append(one.time_ns)
    flights = []
    for one in story.of("depart"):
        own, tag = eval(one.fields["tag"])
        if own == sequence:
            source, target = number(one.node), number(one.fields["to"])
            arrive = delivered[one.node, one.fields["to"], one.fields["tag"]].pop(0)
            left = arrive - wires.latency_ns(source, target)
            flights.append(Flight(source, target, one.fields["size_bytes"], tag, one.time_ns, left, arrive))
    return flights


def meet(flights: Sequence[Flight], overhead_ns: int) -> bool:
    """Say whether two flights are ever on one uplink, or one downlink, of the star at once."""
    for one, other in itertools.combinations(flights, 2):
        overlap = min(one.left_ns, other.left_ns) - max(one.depart_ns, other.depart_ns) - overhead_ns
        if overlap > 0 and (one.source == other.source or one.target == other.target):
            return True
    return False


def entered(story: Story, ranks: int, sequence: int) -> list[int]:
    return [story.times("collective_enter", f"node{rank}", sequence=sequence)[0] for rank in range(ranks)]


def check_against(story: Story, plan: Any, buffers: Sequence[Any], world: World, earlier: Times | None = None) -> Times:
    """Compare a closed form with the last collective of a story. `earlier`: the closed form of the one before it."""
    ranks, sequence = len(buffers), 0 if earlier is None else 1
    wires = world.wires({} if earlier is None else dict(earlier.left_ns))
    enter_ns = entered(story, ranks, sequence)
    times = plan.times(buffers[0], enter_ns, wires, True)
    if times.may_meet and meet(times.flights, world.overhead_ns):
        return times
    finish_ns = [story.times("collective_finish", f"node{rank}", sequence=sequence)[0] for rank in range(ranks)]
    assert times.finish_ns.tolist() == finish_ns
    flights = flown(story, sequence, wires)
    check_flights(times, flights)
    every = flights + (flown(story, 0, wires) if sequence else [])
    gaps = gaps_of(times, ranks)
    for rank in range(ranks):
        assert gaps[rank] == idle_spans(rank, enter_ns[rank], finish_ns[rank], busy_spans(every, rank))
    return times


@settings(max_examples=150, deadline=None)
@given(cases(), st.data())
def test_a_closed_form_says_what_the_world_plays(case, data):
    name, ranks, length, enter_ns = case
    world = data.draw(worlds(ranks))
    plan, buffers = ALGORITHMS[name].plan(ranks, length), blank_buffers(name, ranks, length)
    story = play_collective(world.scenario(), plan, buffers, enter_ns)
    times = check_against(story, plan, buffers, world)
    event(f"{name} meets: {meet(times.flights, world.overhead_ns)}")


@pytest.mark.parametrize("name", IN_ROUNDS)
@pytest.mark.parametrize("ranks", [2, 4, 8, 9])
@pytest.mark.parametrize("late_ns", [0, 1, 10**6])
def test_collectives_in_rounds_that_do_not_meet_take_what_the_world_plays(name, ranks, late_ns):
    if name == "halving_doubling" and ranks == 9:
        ranks = 16
    world = World([10**9] * ranks, [50_000] * ranks, 0, None)
    plan, buffers = ALGORITHMS[name].plan(ranks, 144), blank_buffers(name, ranks, 144)
    story = play_collective(world.scenario(), plan, buffers, [late_ns, *[0] * (ranks - 1)])
    times = check_against(story, plan, buffers, world)
    # A late rank lets groups meet, and nine ranks send to rank 0 from two subtrees at once.
    if (name, late_ns) != ("hierarchical", 10**6) and (name, ranks) != ("tree", 9):
        assert not meet(times.flights, 0)


def one_after_the_other(scenario: Any, plans: Sequence[Any], buffers: Sequence[Any], pause_ns: Sequence[int]) -> Story:
    """Play two collectives; each rank rests between them."""
    group = group_of(f"node{rank}" for rank in range(len(pause_ns)))

    def member(rank: int) -> Any:
        def run(node: Any) -> Iterator[Any]:
            node.join(group)
            for plan, each in zip(plans, buffers, strict=True):
                yield from node.collective(plan, each[rank])
                yield from node.sleep(pause_ns[rank])

        return run

    return tell(scenario, {name: member(rank) for rank, name in enumerate(group.names)})


@settings(max_examples=100, deadline=None)
@given(cases(RINGS), st.sampled_from(RINGS), st.integers(0, 60), st.data())
def test_what_is_still_queued_of_one_ring_holds_up_the_next(case, second, second_length, data):
    first, ranks, length, pause_ns = case
    world = data.draw(worlds(ranks))
    if data.draw(st.booleans()):
        pause_ns = [0] * ranks
    plans = [ALGORITHMS[first].plan(ranks, length), ALGORITHMS[second].plan(ranks, second_length)]
    buffers = [blank_buffers(first, ranks, length), blank_buffers(second, ranks, second_length)]
    story = one_after_the_other(world.scenario(), plans, buffers, pause_ns)
    earlier = plans[0].times(buffers[0][0], [0] * ranks, world.wires({}), True)
    check_against(story, plans[1], buffers[1], world, earlier)


def test_a_slow_connection_is_still_busy_when_its_rank_is_done():
    # What node1 sends on waits for node1's slow link; node1 itself has all it needs long before.
    world = World([10**9, 10**9, 10**6, 10**9], [50_000] * 4, 0, None)
    times = RingAllReduce().times(Blank(40), [0] * 4, world.wires({}), False)
    assert any(times.left_ns[rank, (rank + 1) % 4] > times.finish_ns[rank] for rank in range(4))


# --- gaps, by hand ----------------------------------------------------------------------------------------------------


def spans(times: Times) -> list[tuple[int, int, int]]:
    return [span for gaps in times.gaps for span in zip(*(column.tolist() for column in gaps), strict=True)]


def test_equal_ranks_are_never_idle():
    for name in WITH_TIMES:
        for ranks in (4, 16):
            wires = Wires(dict.fromkeys(pairs(ranks), 10**9), dict.fromkeys(pairs(ranks), 100))
            length = 16 * ranks
            times = (
                ALGORITHMS[name]
                .plan(ranks, length)
                .times(blank_buffers(name, ranks, length)[0], [0] * ranks, wires, False)
            )
            if name != "tree":
                assert not times.gaps, name


def test_ranks_are_idle_from_their_own_arrival_until_the_late_one_sends():
    # Two ranks, 8 bytes each way: 64 ns at 1 Gbit/s, 100 ns on the way. The second comes 1,000 ns late.
    wires = Wires(dict.fromkeys(pairs(2), 10**9), dict.fromkeys(pairs(2), 100))
    times = RingAllReduce().times(Blank(4), [0, 1_000], wires, False)
    assert spans(times) == [(0, 164, 1_000)]
    assert times.finish_ns.tolist() == [1_228, 1_328]
    tree = TreeAllReduce().times(Blank(4), [0, 1_000], wires, False)
    # 16 bytes up, 16 bytes down: 128 ns each.
    assert spans(tree) == [(0, 0, 1_000)]
    assert tree.finish_ns.tolist() == [1_000 + 228 + 128, 1_000 + 2 * 228]


def test_a_message_that_comes_early_is_no_idle_time():
    # Rank 1 waits for rank 3, which is late; what rank 0 awaits from rank 2 is there at once, what from rank 1 is not.
    wires = Wires(dict.fromkeys(pairs(4), 10**9), dict.fromkeys(pairs(4), 100))
    times = TreeAllReduce().times(Blank(4), [0, 0, 0, 5_000], wires, False)
    assert spans(times)[:3] == [(0, 228, 5_228), (1, 0, 5_000), (2, 228, 5_456 + 128)]


@pytest.mark.parametrize("late", range(4))
@pytest.mark.parametrize("latency_ns", [0, 100])
@pytest.mark.parametrize("name", IN_ROUNDS)
def test_who_enters_at_the_beginning_of_time_is_idle_though_another_finishes_last(name, latency_ns, late):
    wires = Wires(dict.fromkeys(pairs(4), 10**9), dict.fromkeys(pairs(4), latency_ns))
    plan, enter_ns = ALGORITHMS[name].plan(4, 16), [5_000 if rank == late else 0 for rank in range(4)]
    alone = Alone(plan, [Blank(16)] * 4, enter_ns, wires)
    found = gaps_of(plan.times(Blank(16), enter_ns, wires, True), 4)
    for rank in range(4):
        assert found[rank] == idle_spans(rank, enter_ns[rank], alone.finish[rank], busy_spans(alone.flights, rank))
    assert sum(map(bool, found)) >= 2


def test_groups_need_not_be_neighbours():
    wires = Wires(dict.fromkeys(pairs(6), 10**8), dict.fromkeys(pairs(6), 1_000))
    plan, enter_ns = Hierarchical(((5, 0, 3), (1, 4, 2))), [0, 50, 0, 2_000, 7, 0]
    alone = Alone(plan, [Blank(20)] * 6, enter_ns, wires)
    times = plan.times(Blank(20), enter_ns, wires, False)
    assert times.finish_ns.tolist() == [alone.finish[rank] for rank in range(6)]
    inputs = [np.full(20, rank, np.float32) for rank in range(6)]
    assert plan.results(inputs)[0].tolist() == [15.0] * 20


def test_a_uniform_ring_of_a_thousand_takes_its_closed_form():
    ranks, length = 1_000, 3_000
    wires = Wires(
        {(rank, (rank + 1) % ranks): 10**9 for rank in range(ranks)}, {(r, (r + 1) % ranks): 70 for r in range(ranks)}
    )
    times = RingAllReduce().times(Blank(length), [5] * ranks, wires, False)
    assert times.finish_ns.tolist() == [5 + 2 * (ranks - 1) * (70 + 96)] * ranks


def test_the_world_agrees_with_the_finish_times_of_a_ring_on_a_uniform_star():
    story = play_collective(uniform(5), RingAllReduce(), [Blank(33)] * 5)
    wires = World([999_999_937] * 5, [50_000] * 5, 0, None).wires({})
    assert RingAllReduce().times(Blank(33), [0] * 5, wires, False).finish_ns.tolist() == finish_times(story, 5)
