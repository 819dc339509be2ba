"""Max-min fair sharing against exact fractions: the shares themselves, and what they come to over time."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import MS, cluster, tell

from ringsim.world.clock import Clock, Phase
from ringsim.world.max_min import max_min_shares
from ringsim.world.sharing import NANO, Sharing, Task

# --- oracles ----------------------------------------------------------------------------------------------------------

Routes = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Filled:
    rates: dict[str, Fraction]
    was_exact: bool  # nothing that a bottleneck left had to be rounded


def fill(routes: Routes, capacity: Sequence[int], rounding: Callable[[Fraction], Fraction]) -> Filled:
    """Progressive filling: freeze the tasks of the resources that give least, take what they use off, and again."""
    rates: dict[str, Fraction] = {}
    left = [Fraction(amount) for amount in capacity]
    was_exact = True
    while len(rates) < len(routes):
        wanted = [
            [task for task in routes if task not in rates and index in routes[task]] for index in range(len(left))
        ]
        level = min(left[index] / len(tasks) for index, tasks in enumerate(wanted) if tasks)
        tightest = [tasks for index, tasks in enumerate(wanted) if tasks and left[index] / len(tasks) == level]
        frozen = {task for tasks in tightest for task in tasks}
        rates.update(dict.fromkeys(frozen, level))
        for index, tasks in enumerate(wanted):
            exactly = left[index] - level * sum(task in frozen for task in tasks)
            left[index] = rounding(exactly)
            still_wanted = any(task not in rates for task in tasks)
            was_exact = was_exact and (left[index] == exactly or not still_wanted)
    return Filled(rates, was_exact)


def exact(routes: Routes, capacity: Sequence[int]) -> Filled:
    return fill(routes, capacity, lambda amount: amount)


def floored(routes: Routes, capacity: Sequence[int]) -> Filled:
    """The documented rule: what a tighter bottleneck leaves is rounded down to whole units a second."""
    return fill(routes, capacity, lambda amount: Fraction(math.floor(amount)))


def shares(routes: Routes, capacity: Sequence[int]) -> dict[str, Fraction]:
    return {task: Fraction(*share) for task, share in max_min_shares(routes, capacity).items()}


@st.composite
def networks(draw, least_capacity: int = 1_000_000):
    resources = draw(st.integers(1, 6))
    capacity = draw(st.lists(st.integers(least_capacity, 10**10), min_size=resources, max_size=resources))
    route = st.lists(st.integers(0, resources - 1), min_size=1, max_size=3, unique=True)
    routes = draw(st.lists(route, min_size=1, max_size=9))
    return {f"task{index}": route for index, route in enumerate(routes)}, capacity


# --- the shares -------------------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(networks())
def test_shares_are_those_of_progressive_filling_with_the_documented_rounding(network):
    assert shares(*network) == floored(*network).rates


@settings(max_examples=150, deadline=None)
@given(networks())
def test_shares_are_exactly_max_min_where_nothing_is_rounded_and_within_a_few_units_elsewhere(network):
    routes, capacity = network
    got, wanted = shares(routes, capacity), floored(routes, capacity)
    truth = exact(routes, capacity).rates
    if wanted.was_exact:
        assert got == truth
    slack = len(routes) * len(capacity)
    assert all(abs(got[task] - truth[task]) <= slack for task in routes)


@settings(max_examples=150, deadline=None)
@given(networks())
def test_nobody_can_get_more_without_taking_from_somebody_who_has_no_more(network):
    routes, capacity = network
    got = shares(routes, capacity)
    slack = len(routes) * len(capacity)
    for task, route in routes.items():
        rivals = [[other for other in routes if resource in routes[other]] for resource in route]
        full = [
            sum(got[r] for r in users) >= capacity[index] - slack for index, users in zip(route, rivals, strict=True)
        ]
        most = [got[task] >= max(got[r] for r in users) - slack for users in rivals]
        assert any(is_full and has_most for is_full, has_most in zip(full, most, strict=True))


@settings(max_examples=150, deadline=None)
@given(networks(least_capacity=1_000))
def test_no_capacity_is_exceeded_and_everybody_gets_something(network):
    routes, capacity = network
    got = shares(routes, capacity)
    for index, most in enumerate(capacity):
        assert sum(rate for task, rate in got.items() if index in routes[task]) <= most
    assert all(rate > 0 for rate in got.values())


@settings(max_examples=100, deadline=None)
@given(networks(least_capacity=1), st.randoms(use_true_random=False))
def test_shares_do_not_depend_on_the_order_of_the_tasks(network, shuffler: random.Random):
    routes, capacity = network
    shuffled = list(routes.items())
    shuffler.shuffle(shuffled)
    assert max_min_shares(dict(shuffled), capacity) == max_min_shares(routes, capacity)


@pytest.mark.parametrize("tasks", [1, 2, 3, 7, 1_000])
def test_equal_tasks_on_one_link_get_its_capacity_divided_exactly(tasks):
    got = shares({str(task): [0] for task in range(tasks)}, [10**9 + 7])
    assert set(got.values()) == {Fraction(10**9 + 7, tasks)}


# --- over time --------------------------------------------------------------------------------------------------------


class Stage:
    """A clock, resources, and tasks that begin when told; `ends` says when each was finished."""

    def __init__(self, capacity: Sequence[int]):
        self.clock = Clock()
        self.sharing = Sharing(self.clock)
        self.resources = [self.sharing.resource(amount) for amount in capacity]
        self.ends: dict[str, int] = {}
        self.passed: dict[str, int] = {}
        self._tasks: dict[str, Task] = {}

    def begin(
        self, at_ns: int, name: str, amount: int, route: Sequence[int], weights: Sequence[int] | None = None
    ) -> None:
        def finished() -> None:
            self.ends[name] = self.clock.now_ns

        task = self._tasks[name] = Task(amount * NANO, route, Phase.DEPART, (name,), finished, weights)
        self.clock.at(at_ns, Phase.WAKE, (name,), lambda: self.sharing.begin(task))

    def stop(self, at_ns: int, name: str) -> None:
        def stopped() -> None:
            self.passed[name] = self.sharing.stop(self._tasks[name])

        self.clock.at(at_ns, Phase.FAULT, (name,), stopped)

    def change(self, at_ns: int, resource: int, capacity: int) -> None:
        self.clock.at(at_ns, Phase.FAULT, (resource,), lambda: self.sharing.change(resource, capacity))

    def play(self) -> None:
        assert self.clock.run(lambda: False, limit_ns=10**21) == "dry"


@settings(max_examples=60, deadline=None)
@given(tasks=st.integers(1, 40), amount=st.integers(0, 10**9), capacity=st.integers(1, 10**11))
def test_equal_flows_into_one_link_all_end_at_the_rounded_up_closed_form(tasks, amount, capacity):
    stage = Stage([capacity])
    for task in range(tasks):
        stage.begin(0, str(task), amount, [0])
    stage.play()
    assert set(stage.ends.values()) == {-(-tasks * amount * NANO // capacity)}


def exact_ends(
    tasks: Mapping[str, tuple[int, int, Sequence[int]]],
    capacity: Sequence[int],
    changes: Sequence[tuple[int, int, int]] = (),
) -> dict[str, Fraction]:
    """When each task (begin, amount, route) ends if time is a fraction; the rates are the documented ones.

    changes: (time, resource, capacity from then on).
    """
    capacity = list(capacity)
    remaining = {name: Fraction(amount) for name, (_, amount, _) in tasks.items()}
    ends: dict[str, Fraction] = {}
    now = Fraction(0)
    while len(ends) < len(tasks):
        for when, resource, value in changes:
            if when == now:
                capacity[resource] = value
        active = {name: tasks[name][2] for name in tasks if tasks[name][0] <= now and name not in ends}
        rates = floored(active, capacity).rates if active else {}
        to_come = [Fraction(begin) for begin, _, _ in (*tasks.values(), *changes) if begin > now]
        finishing = {name: now + remaining[name] / rate * NANO for name, rate in rates.items()}
        until = min([*to_come, *finishing.values()])
        for name, rate in rates.items():
            remaining[name] -= rate * (until - now) / NANO
            if finishing[name] == until:
                ends[name] = until
        now = until
    return ends


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_flows_that_come_and_go_end_within_a_nanosecond_for_each_change_of_rate(data):
    resources = data.draw(st.integers(1, 4))
    capacity = data.draw(st.lists(st.integers(10**9, 2 * 10**9), min_size=resources, max_size=resources))
    route = st.lists(st.integers(0, resources - 1), min_size=1, max_size=2, unique=True)
    flow = st.tuples(st.integers(0, 50_000), st.integers(1, 100_000), route)
    tasks = {str(index): flow for index, flow in enumerate(data.draw(st.lists(flow, min_size=1, max_size=6)))}
    stage = Stage(capacity)
    for name, (begin, amount, along) in tasks.items():
        stage.begin(begin, name, amount, along)
    stage.play()
    # Each begin and end changes rates once; a nanosecond at one rate may be several at a lower one.
    rates = [rate for count in range(1, len(tasks) + 1) for rate in (min(capacity) // count, max(capacity))]
    slack_ns = 1 + 2 * len(tasks) * -(-max(rates) // min(rates))
    for name, end in exact_ends(tasks, capacity).items():
        assert abs(stage.ends[name] - end) <= slack_ns


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_flows_go_on_at_the_rates_of_capacities_that_change(data):
    resources = data.draw(st.integers(1, 4))
    some = st.integers(10**9, 2 * 10**9)
    capacity = data.draw(st.lists(some, min_size=resources, max_size=resources))
    route = st.lists(st.integers(0, resources - 1), min_size=1, max_size=2, unique=True)
    flow = st.tuples(st.integers(0, 50_000), st.integers(1, 100_000), route)
    tasks = {str(index): flow for index, flow in enumerate(data.draw(st.lists(flow, min_size=1, max_size=6)))}
    change = st.tuples(st.integers(0, 80_000), st.integers(0, resources - 1), some)
    changes = sorted(data.draw(st.lists(change, max_size=5, unique_by=lambda one: one[:2])))
    stage = Stage(capacity)
    for name, (begin, amount, along) in tasks.items():
        stage.begin(begin, name, amount, along)
    for when, resource, value in changes:
        stage.change(when, resource, value)
    stage.play()
    # As above, a nanosecond at one rate may be several at a lower one, at each change.
    slack_ns = 1 + 2 * (len(tasks) + len(changes)) * 2 * len(tasks)
    for name, end in exact_ends(tasks, capacity, changes).items():
        assert abs(stage.ends[name] - end) <= slack_ns


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_flows_that_meet_on_one_link_may_be_slowed_by_their_own(data):
    # As into a server: link 0 is everybody's, and each flow has one of its own before it, wide or narrow.
    number = data.draw(st.integers(2, 7))
    own = data.draw(st.lists(st.sampled_from([10**9, 3 * 10**8, 10**8, 5 * 10**7]), min_size=number, max_size=number))
    capacity = [10**9, *own]
    spans = st.tuples(st.integers(0, 50_000), st.integers(1_000, 100_000))
    tasks = {str(index): (*data.draw(spans), [index + 1, 0]) for index in range(number)}
    stage = Stage(capacity)
    for name, (begin, amount, along) in tasks.items():
        stage.begin(begin, name, amount, along)
    stage.play()
    for name, end in exact_ends(tasks, capacity).items():
        assert abs(stage.ends[name] - end) <= 1 + 2 * number * 40


# Each (begin, amount, route); amounts are chosen so that no end has to be rounded by much.
COMES_BACK_TO_ITS_FLOCK = {
    "a": (13_000, 52_000, [0]),
    "b": (0, 57_000, [0, 1]),
    "c": (0, 47_000, [0]),
    "d": (13_000, 52_000, [1, 0]),
    "e": (16_000, 19_000, [1]),
    "f": (0, 46_000, [1]),
    "g": (14_000, 45_000, [1]),
}
AS_FAST_AGAIN_AS_ALONE = {
    "a": (7_000, 41_000, [2, 0]),
    "b": (3_000, 8_000, [1]),
    "c": (18_000, 36_000, [0, 2]),
    "d": (7_000, 25_000, [2]),
    "e": (0, 36_000, [1, 3, 2]),
}


@pytest.mark.parametrize(
    ("tasks", "capacity"),
    [
        (COMES_BACK_TO_ITS_FLOCK, [10**9, 10**9]),
        (AS_FAST_AGAIN_AS_ALONE, [10**9, 2 * 10**9, 2 * 10**9, 10**9]),
    ],
    ids=["comes back to its flock", "as fast again as alone"],
)
def test_a_rate_that_a_task_had_before_says_nothing_about_its_end_now(tasks, capacity):
    stage = Stage(capacity)
    for name, (begin, amount, along) in tasks.items():
        stage.begin(begin, name, amount, along)
    stage.play()
    slack_ns = 2 * len(tasks)
    assert stage.ends == pytest.approx(exact_ends(tasks, capacity), abs=slack_ns, rel=0)


def test_tasks_whose_rate_stays_end_as_if_nobody_had_looked_at_them():
    narrow, wide = 0, 1
    stage = Stage([7, 1_000])
    stage.begin(0, "one", 7, [narrow, wide])
    stage.begin(0, "other", 7, [narrow])
    stage.begin(1, "elsewhere", 1, [wide])  # Half a unit has not passed of either yet.
    stage.play()
    assert stage.ends["one"] == stage.ends["other"] == 2 * NANO


def test_a_task_that_is_as_fast_as_alone_ends_as_if_it_were():
    wide, narrow = 0, 1
    stage = Stage([1_000, 7])
    stage.begin(0, "one", 7, [wide, narrow], weights=[1, 2])
    stage.begin(1, "other", 1, [wide])
    stage.play()
    assert stage.ends["one"] == 2 * NANO


def test_a_flow_that_comes_later_slows_the_first_one_from_that_instant_on():
    stage = Stage([1_000])
    stage.begin(0, "first", 100, [0])  # 100 ms alone
    stage.begin(50 * MS, "second", 100, [0])
    stage.play()
    assert stage.ends == {"first": 150 * MS, "second": 200 * MS}


def test_flows_that_share_nothing_do_not_feel_each_other():
    stage = Stage([1_000, 1_000])
    stage.begin(0, "here", 100, [0])
    stage.begin(0, "there", 50, [1])
    stage.play()
    assert stage.ends == {"here": 100 * MS, "there": 50 * MS}


def test_what_a_slow_uplink_leaves_of_a_downlink_goes_to_the_others():
    slow_uplink, fast_uplink, downlink = 0, 1, 2
    stage = Stage([100, 1_000, 1_000])
    stage.begin(0, "slow", 100, [slow_uplink, downlink])
    stage.begin(0, "fast", 900, [fast_uplink, downlink])
    stage.play()
    assert stage.ends == {"slow": 1_000 * MS, "fast": 1_000 * MS}


@settings(max_examples=60, deadline=None)
@given(
    capacity=st.integers(1, 10**10),
    rivals=st.integers(0, 4),
    stop_ns=st.integers(1, 10**6),
    amount=st.integers(1, 10**9),
)
def test_stopping_returns_what_had_passed_and_never_more_than_there_was(capacity, rivals, stop_ns, amount):
    stage = Stage([capacity])
    for name in ["stopped", *map(str, range(rivals))]:
        stage.begin(0, name, amount, [0])
    stage.stop(stop_ns, "stopped")
    stage.play()
    all_of_it = amount * NANO
    if "stopped" in stage.ends and stage.ends["stopped"] <= stop_ns:
        assert stage.passed["stopped"] == all_of_it
    else:
        assert stage.passed["stopped"] == min(all_of_it, stop_ns * capacity // (rivals + 1))
        assert "stopped" not in stage.ends


def test_stopping_a_flow_gives_its_share_to_the_others_at_once():
    stage = Stage([1_000])
    stage.begin(0, "stays", 100, [0])
    stage.begin(0, "goes", 100, [0])
    stage.stop(100 * MS, "goes")
    stage.play()
    assert stage.ends == {"stays": 150 * MS}
    assert stage.passed == {"goes": 50 * NANO}


def test_a_flow_of_nothing_ends_at_once_and_takes_nothing_from_the_others():
    stage = Stage([1_000])
    stage.begin(0, "something", 100, [0])
    stage.begin(30 * MS, "nothing", 0, [0])
    stage.play()
    assert stage.ends == {"nothing": 30 * MS, "something": 100 * MS}


# --- one processor, several ranks -------------------------------------------------------------------------------------


def test_ranks_on_one_machine_share_its_processor_and_the_last_one_has_it_alone():
    def computing(flop):
        def run(node):
            yield from node.compute(flop)

        return run

    scenario = cluster([{"name": "a", "processes": 2}, {"name": "b"}], speed="1 GFLOP/s")
    story = tell(scenario, {"a.0": computing(2 * MS), "a.1": computing(3 * MS), "b": computing(2 * MS)})
    ends = {event.node: event.time_ns for event in story.of("compute_end")}
    assert ends == {"a.0": 4 * MS, "a.1": 5 * MS, "b": 2 * MS}
