"""Every collective: its bits against sums in the documented order, what it sends, and its cost on a uniform star.

What is not here: the closed forms of time (`test_collective_times.py`), and ring and broadcast in depth
(`test_collectives.py`).
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_collectives import (
    LATENCY_NS,
    ODD_RATE,
    ceil_div,
    finish_times,
    lengths_of_segments,
    on_the_link_ns,
    sum_in_ring_order,
    uniform,
    vectors,
)
from worlds import play_collective, results_in_rank_order

from ringsim.collectives.all_gather import AllGather
from ringsim.collectives.broadcast import Broadcast
from ringsim.collectives.halving_doubling import HalvingDoubling
from ringsim.collectives.hierarchical import Hierarchical
from ringsim.collectives.in_memory import play_in_memory
from ringsim.collectives.parameter_server import ParameterServerAllReduce
from ringsim.collectives.reduce_scatter import ReduceScatter
from ringsim.collectives.ring import RingAllReduce
from ringsim.collectives.table import ALGORITHMS, blank_buffers, near_square_groups
from ringsim.collectives.tree import TreeAllReduce
from ringsim.collectives.vectors import Blank, Weighted, cut, join, segment_bounds
from ringsim.errors import InvariantBroken, UsageError

Vectors = Sequence[np.ndarray]
PATH_NS = 2 * LATENCY_NS


# --- the sums, as the pages say them ----------------------------------------------------------------------------------


def in_order(inputs: Vectors) -> np.ndarray:
    """((first + second) + third) + ..., an element at a time."""
    total = []
    for element in range(len(inputs[0])):
        sum_so_far = inputs[0][element]
        for other in inputs[1:]:
            sum_so_far = np.float32(sum_so_far + other[element])
        total.append(sum_so_far)
    return np.array(total, np.float32)


def along_the_tree(inputs: Vectors) -> np.ndarray:
    """A rank adds its children's sums to its own vector, the one farthest away first."""

    def sum_of(rank: int) -> np.ndarray:
        children = [other for other in range(rank + 1, len(inputs)) if other - (1 << (other.bit_length() - 1)) == rank]
        return in_order([inputs[rank], *(sum_of(child) for child in sorted(children, reverse=True))])

    return sum_of(0)


def by_halves(inputs: Vectors) -> np.ndarray:
    """The ranks above the power of two are folded, and what is left is folded in half until one vector is there."""
    power = 1
    while 2 * power <= len(inputs):
        power *= 2
    left = [
        in_order([inputs[rank], inputs[rank + power]]) if rank + power < len(inputs) else inputs[rank]
        for rank in range(power)
    ]
    while len(left) > 1:
        half = len(left) // 2
        left = [in_order([left[rank], left[rank + half]]) for rank in range(half)]
    return left[0]


def inside_and_across(inputs: Vectors) -> np.ndarray:
    """Each group's sum in ring order, then each slice of those sums in ring order."""
    groups = near_square_groups(len(inputs))
    sums = [sum_in_ring_order([inputs[rank] for rank in group]) for group in groups]
    slices, at = [], 0
    for length in lengths_of_segments(len(inputs[0]), len(groups[0])):
        slices.append(sum_in_ring_order([one[at : at + length] for one in sums]))
        at += length
    return np.concatenate(slices)


ALL_REDUCES: dict[str, tuple[Callable[[int], Any], Callable[[Vectors], np.ndarray]]] = {
    "ring": (lambda ranks: RingAllReduce(), sum_in_ring_order),
    "tree": (lambda ranks: TreeAllReduce(), along_the_tree),
    "halving_doubling": (lambda ranks: HalvingDoubling(), by_halves),
    "hierarchical": (lambda ranks: Hierarchical(near_square_groups(ranks)), inside_and_across),
}


def bits(results: Sequence[np.ndarray]) -> list[bytes]:
    return [result.tobytes() for result in results]


@pytest.mark.parametrize("name", ALL_REDUCES)
@pytest.mark.parametrize("ranks", [*range(1, 10), 12, 16, 17])
@pytest.mark.parametrize("length", [0, 1, 7, 50])
def test_every_rank_gets_the_bits_of_the_sum_in_the_documented_order(name, ranks, length):
    make, expected_sum = ALL_REDUCES[name]
    inputs = vectors(ranks, length, seed=ranks)
    expected = [expected_sum(inputs).tobytes()] * ranks
    played = results_in_rank_order(play_collective(uniform(ranks), make(ranks), inputs))
    assert bits(played) == expected
    assert bits(make(ranks).results(inputs)) == expected
    assert bits(play_in_memory(make(ranks), inputs)) == expected
    assert not any(result.flags.writeable for result in (*played, *make(ranks).results(inputs)))
    assert bits(inputs) == bits(vectors(ranks, length, seed=ranks))


@pytest.mark.parametrize("ranks", range(3, 18))
def test_the_orders_differ_but_for_tree_and_halving_which_add_the_same_pairs(ranks):
    inputs = vectors(ranks, 200)
    sums = {name: expected_sum(inputs).tobytes() for name, (_, expected_sum) in ALL_REDUCES.items()}
    assert sums["tree"] == sums["halving_doubling"]
    assert sums["ring"] not in (sums["tree"], in_order(inputs).tobytes())
    if 1 < len(near_square_groups(ranks)) < ranks:
        assert sums["hierarchical"] not in (sums["tree"], sums["ring"])


@pytest.mark.parametrize("name", ALL_REDUCES)
def test_large_numbers_that_cancel_show_the_order_of_each_sum(name):
    inputs = [np.full(4, value, np.float32) for value in (1e8, 1, -1e8, 1)]
    known = {"ring": [1, 0, 1, 0], "tree": [2, 2, 2, 2], "halving_doubling": [2, 2, 2, 2], "hierarchical": [0, 0, 0, 0]}
    assert ALL_REDUCES[name][0](4).results(inputs)[0].tolist() == known[name]


floats = st.floats(-(2.0**100), 2.0**100, width=32)


@settings(max_examples=40, deadline=None)
@given(st.data(), st.sampled_from(sorted(ALL_REDUCES)))
def test_any_numbers_give_the_documented_sum_without_playing_messages(data, name):
    ranks, length = data.draw(st.integers(1, 9)), data.draw(st.integers(0, 13))
    inputs = [np.array(data.draw(st.lists(floats, min_size=length, max_size=length)), np.float32) for _ in range(ranks)]
    make, expected_sum = ALL_REDUCES[name]
    assert bits(make(ranks).results(inputs)) == [expected_sum(inputs).tobytes()] * ranks


@pytest.mark.parametrize("name", ["parameter_server", *ALL_REDUCES])
@pytest.mark.parametrize("ranks", [2, 3, 4, 5, 8, 9])
@pytest.mark.parametrize("length", [0, 1, 7, 50])
def test_what_is_multiplied_piece_by_piece_gives_the_bits_of_what_was_multiplied_before(name, ranks, length):
    plan = ALL_REDUCES[name][0](ranks) if name in ALL_REDUCES else ParameterServerAllReduce()
    weights = [np.float32((rank + 1) / 7) for rank in range(ranks)]
    inputs = vectors(ranks, length, seed=ranks)
    weighted = [Weighted(vector, weight) for vector, weight in zip(inputs, weights, strict=True)]
    expected = plan.results([weight * vector for vector, weight in zip(inputs, weights, strict=True)])
    assert bits(plan.results(weighted)) == bits(expected)
    for fidelity in ("auto", "message"):
        played = play_collective(uniform(ranks), plan, weighted, fidelity=fidelity)
        assert bits(results_in_rank_order(played)) == bits(expected)
    assert bits(inputs) == bits(vectors(ranks, length, seed=ranks))


def test_zeros_keep_their_sign_in_the_sum_of_a_ring():
    inputs = [np.full(1, -0.0, np.float32)] * 3
    assert bits(RingAllReduce().results(inputs)) == bits(play_in_memory(RingAllReduce(), inputs))
    assert np.signbit(RingAllReduce().results(inputs)[0][0])


@pytest.mark.parametrize(("ranks", "servers"), [(2, 1), (4, 1), (5, 2), (9, 3), (9, 1)])
@pytest.mark.parametrize("length", [0, 2, 50])
def test_servers_sum_the_workers_in_rank_order(ranks, servers, length):
    plan, workers = ParameterServerAllReduce(servers), ranks - servers
    inputs = [*vectors(workers, length), *[np.full(length, np.nan, np.float32)] * servers]
    expected = in_order(inputs[:workers])
    ranges = np.split(expected, np.cumsum(lengths_of_segments(length, servers))[:-1])
    wanted = bits([expected] * workers + ranges)
    assert bits(results_in_rank_order(play_collective(uniform(ranks), plan, inputs))) == wanted
    assert bits(plan.results(inputs)) == wanted


@pytest.mark.parametrize("ranks", range(1, 9))
@pytest.mark.parametrize("length", [0, 1, 50])
def test_the_two_halves_of_the_ring_are_the_ring(ranks, length):
    inputs = vectors(ranks, length, seed=3)
    expected = sum_in_ring_order(inputs)
    segments = np.split(expected, np.cumsum(lengths_of_segments(length, ranks))[:-1])
    scatter, gather = ReduceScatter(), AllGather(length)
    pieces = results_in_rank_order(play_collective(uniform(ranks), scatter, inputs))
    for results in (pieces, scatter.results(inputs)):
        assert [index for index, _ in results] == [(rank + 1) % ranks for rank in range(ranks)]
        assert bits([piece for _, piece in results]) == bits([segments[index] for index, _ in results])
        assert scatter.disagreement(results) is None
    brought = [piece for _, piece in pieces]
    whole = results_in_rank_order(play_collective(uniform(ranks), gather, brought))
    assert bits(whole) == bits(gather.results(brought)) == [expected.tobytes()] * ranks


def test_a_broadcast_gives_all_what_rank_0_has_without_playing_messages():
    payload = object()
    assert Broadcast(1).results([payload, None, None]) == [payload] * 3


# --- sizes without payload --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("ranks", [2, 3, 4, 6, 8, 9])
@pytest.mark.parametrize("length", [0, 1, 10, 64])
def test_a_blank_is_sent_in_the_same_messages_as_numbers(name, ranks, length):
    algorithm = ALGORITHMS[name]
    blanks = blank_buffers(name, ranks, length)
    numbers = [np.zeros(len(blank), np.float32) for blank in blanks]
    if name == "broadcast":
        numbers = ["anything"] * ranks
    sent = []
    for buffers in (blanks, numbers):
        story = play_collective(uniform(ranks), algorithm.plan(ranks, length), buffers)
        sent.append([event.line() for event in story.of("depart") + story.of("deliver")])
    assert sent[0] == sent[1]
    results = [getattr(one, "length", one) for one in algorithm.plan(ranks, length).results(blanks)]
    if name not in ("reduce_scatter", "parameter_server"):
        assert results == [length] * ranks


def test_a_blank_behaves_as_a_vector_of_its_size():
    blank, vector = Blank(10), np.zeros(10, np.float32)
    for part in (slice(3, 7), slice(None, 4), slice(4, None), slice(5, 5), slice(8, 20)):
        assert (len(blank[part]), blank[part].nbytes) == (len(vector[part]), vector[part].nbytes)
    assert blank + blank == blank
    assert [len(piece) for piece in cut(blank, 4)] == [len(piece) for piece in cut(vector, 4)]
    assert join(cut(blank, 3)) == blank
    with pytest.raises(AssertionError):
        blank + Blank(9)


@given(st.integers(0, 1_000), st.integers(1, 50))
def test_segments_cover_the_vector_and_differ_by_at_most_one_the_longer_first(length, ranks):
    bounds = segment_bounds(length, ranks)
    sizes = [after - before for before, after in itertools.pairwise(bounds)]
    assert (bounds[0], bounds[-1], len(sizes)) == (0, length, ranks)
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] - sizes[-1] <= 1


# --- who sends what ---------------------------------------------------------------------------------------------------


def edges(name: str, ranks: int, length: int = 16) -> Counter[tuple[int, int, int]]:
    """Count the messages on the wire by (source, target, bytes)."""
    plan = ALGORITHMS[name].plan(ranks, length)
    story = play_collective(uniform(ranks), plan, blank_buffers(name, ranks, length))
    number = lambda node: int(node.removeprefix("node"))  # noqa: E731
    return Counter(
        (number(event.node), number(event.fields["to"]), event.fields["size_bytes"]) for event in story.of("depart")
    )


def test_a_tree_of_four_sends_the_whole_vector_up_and_down_its_edges():
    assert edges("tree", 4) == Counter(
        {(a, b, 64): 1 for a, b in [(2, 0), (3, 1), (1, 0), (0, 1), (0, 2), (1, 3)]},
    )


def test_halving_and_doubling_on_four_exchanges_halves_far_and_quarters_near():
    far = {(rank, rank ^ 2, 32): 2 for rank in range(4)}
    near = {(rank, rank ^ 1, 16): 2 for rank in range(4)}
    assert edges("halving_doubling", 4) == Counter(far | near)


def test_ranks_above_the_power_of_two_send_all_and_get_all():
    folds = {(4, 0, 64): 1, (0, 4, 64): 1, (5, 1, 64): 1, (1, 5, 64): 1}
    assert edges("halving_doubling", 6) == edges("halving_doubling", 4) + Counter(folds)


def test_a_hierarchy_of_two_by_two_sends_halves_inside_and_quarters_across():
    inside = {(a, b, 32): 2 for a, b in [(0, 1), (1, 0), (2, 3), (3, 2)]}
    across = {(a, b, 16): 2 for a, b in [(0, 2), (2, 0), (1, 3), (3, 1)]}
    assert edges("hierarchical", 4) == Counter(inside | across)


def test_workers_push_to_the_last_rank_and_pull_from_it():
    assert edges("parameter_server", 4) == Counter({pair: 1 for r in range(3) for pair in ((r, 3, 64), (3, r, 64))})


# --- the cost on a uniform star ---------------------------------------------------------------------------------------


def longest_first(length: int, parts: int, number: int = 1) -> int:
    """Return how many bytes the first `number` of `parts` segments have."""
    return 4 * sum(lengths_of_segments(length, parts)[:number])


def power_of_two(ranks: int) -> int:
    return 1 << (ranks.bit_length() - 1)


def halving_doubling_ns(ranks: int, length: int) -> int:
    power, whole_ns = power_of_two(ranks), PATH_NS + on_the_link_ns(4 * length, ODD_RATE)
    rounds = [power >> k for k in range(1, power.bit_length())]
    exchanges = [PATH_NS + on_the_link_ns(longest_first(length, power, part), ODD_RATE) for part in rounds]
    return 2 * sum(exchanges) + (2 * whole_ns if ranks > power else 0)


@pytest.mark.parametrize("ranks", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("length", [0, 1, 16, 4_321])
def test_halving_doubling_takes_its_closed_form_to_the_nanosecond(ranks, length):
    story = play_collective(uniform(ranks), HalvingDoubling(), [Blank(length)] * ranks)
    assert max(finish_times(story, ranks)) == halving_doubling_ns(ranks, length)


@pytest.mark.parametrize("ranks", [3, 5, 6, 7, 9, 11, 12, 15, 17])
@pytest.mark.parametrize("length", [0, 16, 4_800])
def test_folding_costs_two_whole_vectors_and_at_most_one_more_for_the_halves_that_meet_it(ranks, length):
    story = play_collective(uniform(ranks), HalvingDoubling(), [Blank(length)] * ranks)
    meeting_ns = max(finish_times(story, ranks)) - halving_doubling_ns(ranks, length)
    assert meeting_ns == 0 if length == 0 else 0 < meeting_ns <= on_the_link_ns(4 * length, ODD_RATE)


@pytest.mark.parametrize("ranks", range(1, 18))
@pytest.mark.parametrize("length", [0, 1, 4_321])
def test_a_tree_takes_two_log_n_whole_messages(ranks, length):
    story = play_collective(uniform(ranks), TreeAllReduce(), [Blank(length)] * ranks)
    longest_ns = 2 * (ranks - 1).bit_length() * (PATH_NS + on_the_link_ns(4 * length, ODD_RATE))
    assert max(finish_times(story, ranks)) <= longest_ns
    if power_of_two(ranks) == ranks:
        assert max(finish_times(story, ranks)) == longest_ns


@pytest.mark.parametrize("ranks", [1, 2, 4, 6, 7, 9, 12, 16])
@pytest.mark.parametrize("per_rank", [0, 1, 300])
def test_a_hierarchy_takes_the_sum_of_its_three_rings(ranks, per_rank):
    groups = near_square_groups(ranks)
    size, number = len(groups[0]), len(groups)
    story = play_collective(uniform(ranks), Hierarchical(groups), [Blank(per_rank * ranks)] * ranks)
    inside_ns = PATH_NS + on_the_link_ns(4 * per_rank * number, ODD_RATE)
    across_ns = PATH_NS + on_the_link_ns(4 * per_rank, ODD_RATE)
    assert max(finish_times(story, ranks)) == 2 * (size - 1) * inside_ns + 2 * (number - 1) * across_ns


@pytest.mark.parametrize("ranks", range(1, 10))
@pytest.mark.parametrize("length", [0, 1, 4_321])
@pytest.mark.parametrize("name", ["reduce_scatter", "all_gather"])
def test_half_a_ring_takes_half_of_its_steps(name, ranks, length):
    plan = ALGORITHMS[name].plan(ranks, length)
    story = play_collective(uniform(ranks), plan, blank_buffers(name, ranks, length))
    longest_ns = on_the_link_ns(longest_first(length, ranks), ODD_RATE)
    assert max(finish_times(story, ranks)) == (ranks - 1) * (PATH_NS + longest_ns)


@pytest.mark.parametrize(("workers", "servers"), [(1, 1), (4, 1), (7, 1), (4, 2), (6, 3), (2, 4)])
@pytest.mark.parametrize("per_server", [0, 1, 1_000])
def test_parameter_servers_take_two_times_what_meets_on_the_busiest_link(workers, servers, per_server):
    ranks = workers + servers
    story = play_collective(uniform(ranks), ParameterServerAllReduce(servers), [Blank(per_server * servers)] * ranks)
    busiest_bytes = 4 * per_server * max(workers, servers)
    assert story.played.time_ns == 2 * (PATH_NS + on_the_link_ns(busiest_bytes, ODD_RATE))


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("ranks", [2, 4, 8, 16])
def test_the_textbook_predicts_a_uniform_star_but_for_the_rounding_of_each_message(name, ranks):
    length, rate = 16 * 3 * 125, 32_000_000  # Every part of every plan has a whole number of nanoseconds.
    servers = ALGORITHMS[name].servers
    plan = ALGORITHMS[name].plan(ranks + servers, length)
    scenario = uniform(ranks + servers, rate)
    story = play_collective(scenario, plan, blank_buffers(name, ranks + servers, length))
    arrived = [event.time_ns for event in story.of("deliver")]
    assert plan.predicted_ns(ranks + servers, 4 * length, PATH_NS, rate) == max(arrived)


@pytest.mark.parametrize("ranks", [3, 5, 6, 7])
def test_the_textbook_is_no_less_than_what_a_tree_takes_on_any_number_of_ranks(ranks):
    story = play_collective(uniform(ranks), TreeAllReduce(), [Blank(1_000)] * ranks)
    predicted = TreeAllReduce().predicted_ns(ranks, 4_000, PATH_NS, ODD_RATE)
    rounding = 2 * (ranks - 1).bit_length()
    assert max(finish_times(story, ranks)) <= predicted + rounding


def test_a_prediction_is_rounded_up():
    assert RingAllReduce().predicted_ns(3, 1, 0, 10**9) == ceil_div(4 * 8, 3)


# --- the table --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "factor"),
    [
        ("ring", Fraction(3, 2)),
        ("tree", Fraction(3, 2)),
        ("halving_doubling", Fraction(3, 2)),
        ("hierarchical", Fraction(3, 2)),
        ("parameter_server", Fraction(3, 2)),
        ("reduce_scatter", Fraction(3, 4)),
        ("all_gather", Fraction(3, 4)),
        ("broadcast", Fraction(1)),
    ],
)
def test_bus_bandwidth_factors_are_those_of_nccl_tests(name, factor):
    assert ALGORITHMS[name].bus_factor(4) == factor


@pytest.mark.parametrize("name", ["ring", "reduce_scatter", "all_gather"])
def test_the_bus_bandwidth_of_a_ring_without_latency_is_that_of_the_links(name):
    ranks, length, rate = 8, 8_000, 32_000_000
    story = play_collective(
        uniform(ranks, rate, 0), ALGORITHMS[name].plan(ranks, length), blank_buffers(name, ranks, length)
    )
    algorithm_bandwidth = Fraction(8 * 4 * length * 10**9, max(finish_times(story, ranks)))
    assert ALGORITHMS[name].bus_factor(ranks) * algorithm_bandwidth == rate


@given(st.integers(1, 400))
def test_groups_are_as_square_as_they_can_be(ranks):
    groups = near_square_groups(ranks)
    size = len(groups[0])
    assert [rank for group in groups for rank in group] == list(range(ranks))
    assert {len(group) for group in groups} == {size}
    assert size <= len(groups)
    assert not [other for other in range(size + 1, ranks) if ranks % other == 0 and other <= ranks // other]


# --- what is wrong is said --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("groups", "sentence"),
    [
        ((), "have no ranks; they must have one size"),
        (((),), "have 0 ranks; they must have one size"),
        (((0, 1), (2,)), "have 2 and 1 ranks; they must have one size"),
        (((0, 1), (1, 2)), "hold ranks [0, 1, 1, 2]; each must be there once"),
        (((0, 1), (3, 4)), "hold ranks [0, 1, 3, 4]; each must be there once"),
    ],
)
def test_groups_that_make_no_sense_are_refused(groups, sentence):
    with pytest.raises(UsageError) as refused:
        Hierarchical(groups)
    assert sentence in str(refused.value)


def test_groups_for_other_ranks_are_refused():
    plan = Hierarchical(((0, 1), (2, 3)))
    for act in (lambda: plan.connections(6), lambda: play_in_memory(plan, [Blank(1)] * 6)):
        with pytest.raises(UsageError, match="on 6 ranks has groups for 4"):
            act()


def test_servers_need_a_worker():
    for plan, ranks in ((ParameterServerAllReduce(2), 2), (ParameterServerAllReduce(0), 3)):
        with pytest.raises(UsageError, match="it needs a server, and a worker beside them"):
            play_in_memory(plan, [Blank(4)] * ranks)


def test_a_segment_of_another_length_is_refused():
    sentence = "rank 1 brings 5 elements to an all-gather of 10 on 3 ranks; its segment, number 2, has 3"
    with pytest.raises(UsageError, match=sentence):
        AllGather(10).results([Blank(3), Blank(5), Blank(4)])
    with pytest.raises(UsageError, match=sentence):
        play_in_memory(AllGather(10), [Blank(3), Blank(5), Blank(4)])


@pytest.mark.parametrize("plan", [Broadcast(1), ParameterServerAllReduce()])
def test_a_plan_without_a_closed_form_says_so(plan):
    assert not plan.has_closed_form
    with pytest.raises(InvariantBroken, match="no closed form"):
        plan.times(Blank(1), [0] * 4, None, False)


@pytest.mark.parametrize("name", ["tree", "halving_doubling", "hierarchical", "parameter_server", "all_gather"])
def test_ranks_that_end_with_other_bits_are_named(name):
    plan = ALGORITHMS[name].plan(4, 3)
    same = [np.zeros(3, np.float32)] * 4
    assert plan.disagreement(same) is None
    assert plan.disagreement([Blank(3)] * 4) is None
    assert "rank 2 ended" in plan.disagreement([same[0], same[1], -same[2], same[3]])
    assert "rank 1 ended" in plan.disagreement([Blank(3), Blank(2), Blank(3), Blank(3)])


def test_a_server_may_end_with_something_else():
    zeros = np.zeros(3, np.float32)
    assert ParameterServerAllReduce().disagreement([zeros, zeros, zeros + 1]) is None


def test_a_rank_that_ends_with_anothers_segment_is_named():
    results = [(1, Blank(1)), (2, Blank(1)), (1, Blank(1))]
    assert ReduceScatter().disagreement(results) == "rank 2 ended a reduce-scatter with segment 1, not 0"


class Deaf:
    """A plan whose rank 1 waits for what nobody sends."""

    name = "deaf"

    def messages(self, seat: Any, buffer: Any) -> Any:
        if seat.rank == 1:
            yield from seat.receive(seat.members[0], tag="never")


def test_a_plan_that_never_ends_in_memory_says_who_waits():
    with pytest.raises(InvariantBroken, match="deaf: rank 1 waits for message never from rank 0, never sent"):
        play_in_memory(Deaf(), [None, None])
