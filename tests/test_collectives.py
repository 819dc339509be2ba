"""Ring all-reduce and broadcast against their closed forms, an oracle for the bits, and a slow recurrence for the time.

What is not here: collectives that are disturbed (`test_world.py`, `test_strategies.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import Story, cluster, play_collective, results_in_rank_order

from ringsim.collectives.broadcast import Broadcast, parent_and_children
from ringsim.collectives.ring import RingAllReduce
from ringsim.errors import InvariantBroken

ODD_RATE = 999_999_937  # bit/s: a prime, so that almost no message takes a whole number of nanoseconds
LATENCY_NS = 50_000


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def on_the_link_ns(size_bytes: int, rate: int) -> int:
    return ceil_div(8 * size_bytes * 10**9, rate)


def vectors(ranks: int, length: int, seed: int = 0) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [(generator.standard_normal(length) * 10.0 ** (rank % 5)).astype(np.float32) for rank in range(ranks)]


def finish_times(story: Story, ranks: int) -> list[int]:
    return [story.times("collective_finish", f"node{rank}")[0] for rank in range(ranks)]


def uniform(ranks: int, rate: int = ODD_RATE, latency_ns: int = LATENCY_NS):
    return cluster(ranks, network={"bandwidth": f"{rate} bit/s", "latency": f"{latency_ns} ns"})


# --- the bits of the ring ---------------------------------------------------------------------------------------------


def lengths_of_segments(length: int, ranks: int) -> list[int]:
    return [length // ranks + (1 if segment < length % ranks else 0) for segment in range(ranks)]


def sum_in_ring_order(inputs: list[np.ndarray]) -> np.ndarray:
    """Segment s is added up one element at a time in the order of ranks s, s+1, ..., s-1."""
    ranks, total, at = len(inputs), [], 0
    for segment, length in enumerate(lengths_of_segments(len(inputs[0]), ranks)):
        for element in range(at, at + length):
            sum_so_far = inputs[segment][element]
            for hop in range(1, ranks):
                sum_so_far = np.float32(sum_so_far + inputs[(segment + hop) % ranks][element])
            total.append(sum_so_far)
        at += length
    return np.array(total, np.float32)


@pytest.mark.parametrize("ranks", range(1, 17))
@pytest.mark.parametrize("length", [0, 1, 7, 50])
def test_every_rank_gets_the_bits_of_the_sum_in_ring_order(ranks, length):
    inputs = vectors(ranks, length, seed=ranks)
    expected = sum_in_ring_order(inputs).tobytes()
    story = play_collective(uniform(ranks), RingAllReduce(), inputs)
    assert [result.tobytes() for result in results_in_rank_order(story)] == [expected] * ranks


def test_large_numbers_that_cancel_give_the_known_result_of_the_ring_and_not_that_of_a_plain_sum():
    inputs = [np.full(4, value, np.float32) for value in (1e8, 1, -1e8, 1)]
    story = play_collective(uniform(4), RingAllReduce(), inputs)
    assert [result.tolist() for result in results_in_rank_order(story)] == [[1, 0, 1, 0]] * 4
    assert np.sum(inputs, axis=0).tolist() == [1, 1, 1, 1]


floats = st.floats(-(2.0**100), 2.0**100, width=32)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_numbers_give_the_bits_of_the_sum_in_ring_order_whenever_the_ranks_come(data):
    ranks = data.draw(st.integers(1, 6))
    length = data.draw(st.integers(0, 13))
    inputs = [np.array(data.draw(st.lists(floats, min_size=length, max_size=length)), np.float32) for _ in range(ranks)]
    enter_ns = data.draw(st.lists(st.integers(0, 400_000), min_size=ranks, max_size=ranks))
    story = play_collective(uniform(ranks), RingAllReduce(), inputs, enter_ns)
    assert {result.tobytes() for result in results_in_rank_order(story)} == {sum_in_ring_order(inputs).tobytes()}


def test_the_ring_leaves_its_inputs_alone_and_gives_a_read_only_result():
    inputs = vectors(3, 10)
    before = [vector.copy() for vector in inputs]
    results = results_in_rank_order(play_collective(uniform(3), RingAllReduce(), inputs))
    assert [vector.tobytes() for vector in inputs] == [vector.tobytes() for vector in before]
    assert not any(result.flags.writeable for result in results)


# --- the time and the messages of the ring ----------------------------------------------------------------------------


@pytest.mark.parametrize("ranks", range(2, 17))
@pytest.mark.parametrize("length", [0, 1, 5, 16, 1_000, 4_321])
def test_a_ring_on_a_uniform_star_takes_its_closed_form_to_the_nanosecond(ranks, length):
    story = play_collective(uniform(ranks), RingAllReduce(), vectors(ranks, length))
    longest_bytes = 4 * ceil_div(length, ranks)
    expected_ns = 2 * (ranks - 1) * (2 * LATENCY_NS + on_the_link_ns(longest_bytes, ODD_RATE))
    assert max(finish_times(story, ranks)) == story.played.time_ns == expected_ns


@pytest.mark.parametrize("ranks", range(1, 17))
@pytest.mark.parametrize("length", [0, 3, 100])
def test_every_rank_sends_two_times_n_minus_one_messages_to_its_right_neighbour_empty_segments_too(ranks, length):
    story = play_collective(uniform(ranks), RingAllReduce(), vectors(ranks, length))
    for rank in range(ranks):
        right = f"node{(rank + 1) % ranks}"
        sent = [(event.fields["to"], event.fields["size_bytes"]) for event in story.of("depart", f"node{rank}")]
        assert [to for to, _ in sent] == [right] * 2 * (ranks - 1)
        assert len(story.of("deliver", right, source=f"node{rank}")) == 2 * (ranks - 1)
        # It sends every segment twice, but the one it ends with and the one before that only once.
        sizes = [4 * size for size in lengths_of_segments(length, ranks)]
        expected = 2 * sum(sizes) - sizes[(rank + 1) % ranks] - sizes[(rank + 2) % ranks]
        assert sum(size for _, size in sent) == (expected if ranks > 1 else 0)
        assert story.played.traffic.payload.get(f"node{rank}", 0) == (expected if ranks > 1 else 0)


def slow_ring_times(
    sizes: list[int], enter_ns: list[int], rate: list[int], latency_ns: list[int], overhead_ns: int
) -> list[int]:
    """When each rank has its result. `rate` and `latency_ns` are those of the way from rank r to r+1.

    A message begins when its rank has the one before and the connection is free; it takes the overhead and its bits at
    the rate of the way; a rank goes on when the message from the left is there.
    """
    ranks = len(enter_ns)
    ready, free = list(enter_ns), [0] * ranks
    for step in range(2 * (ranks - 1)):
        arrival = [0] * ranks
        for rank in range(ranks):
            begin = max(ready[rank], free[rank])
            free[rank] = begin + overhead_ns + on_the_link_ns(sizes[(rank - step) % ranks], rate[rank])
            arrival[(rank + 1) % ranks] = free[rank] + latency_ns[rank]
        ready = [max(ready[rank], arrival[rank]) for rank in range(ranks)]
    return ready


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_ring_on_unequal_links_with_unequal_arrivals_takes_what_the_slow_recurrence_says(data):
    ranks = data.draw(st.integers(2, 7))
    per_rank = lambda values: data.draw(st.lists(values, min_size=ranks, max_size=ranks))  # noqa: E731
    bandwidth = per_rank(st.integers(10_000, 2 * 10**9))
    latency_ns = per_rank(st.integers(0, 100_000))
    enter_ns = per_rank(st.integers(0, 10**6))
    overhead_ns = data.draw(st.sampled_from([0, 777]))
    length = data.draw(st.integers(0, 60))
    nodes = [
        {"bandwidth": f"{rate} bit/s", "latency": f"{latency} ns"}
        for rate, latency in zip(bandwidth, latency_ns, strict=True)
    ]
    scenario = cluster(nodes, network={"message_overhead": f"{overhead_ns} ns"})
    story = play_collective(scenario, RingAllReduce(), vectors(ranks, length), enter_ns)
    right = [(rank + 1) % ranks for rank in range(ranks)]
    expected = slow_ring_times(
        [4 * size for size in lengths_of_segments(length, ranks)],
        enter_ns,
        [min(bandwidth[rank], bandwidth[right[rank]]) for rank in range(ranks)],
        [latency_ns[rank] + latency_ns[right[rank]] for rank in range(ranks)],
        overhead_ns,
    )
    assert finish_times(story, ranks) == expected


def test_a_late_rank_delays_only_as_much_as_it_is_late():
    together = play_collective(uniform(4), RingAllReduce(), vectors(4, 40))
    late = play_collective(uniform(4), RingAllReduce(), vectors(4, 40), [0, 0, 5_000_000, 0])
    assert late.played.time_ns - together.played.time_ns <= 5_000_000
    assert late.played.time_ns > 5_000_000


# --- bits that flip ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Flipping:
    """A plan in which one rank reads one message with its lowest bit flipped."""

    plan: Any
    rank: int
    step: int

    @property
    def name(self) -> str:
        return self.plan.name

    def messages(self, node: Any, buffer: Any) -> Any:
        seen = node if node.rank != self.rank else _Misreading(node, self.step)
        return self.plan.messages(seen, buffer)

    has_closed_form = False  # None knows of a flipped bit.

    def disagreement(self, results: Any) -> str | None:
        return self.plan.disagreement(results)


class _Misreading:
    def __init__(self, node: Any, step: int):
        self._node = node
        self._step = step

    def __getattr__(self, name: str) -> Any:
        return getattr(self._node, name)

    def receive(self, source: str, tag: int, *options: Any) -> Any:
        message = yield from self._node.receive(source, tag, *options)
        if tag != self._step:
            return message
        bits = message.payload.view(np.uint32).copy()
        bits[-1] ^= 1
        return type(message)(
            message.source, message.incarnation, message.tag, bits.view(np.float32), message.size_bytes
        )


@pytest.mark.parametrize("rank", range(4))
@pytest.mark.parametrize("gather_step", range(3))
def test_a_bit_flipped_in_the_all_gather_is_reported_with_its_rank_step_and_segment(rank, gather_step):
    step = 3 + gather_step
    segment = (rank - gather_step) % 4
    plan = Flipping(RingAllReduce(), rank, step)
    with pytest.raises(InvariantBroken) as broken:
        play_collective(uniform(4), plan, vectors(4, 10))
    sentence = str(broken.value)
    assert f"rank {rank} ended" in sentence
    assert f"segment {segment} " in sentence
    assert f"in step {step} (all-gather step {gather_step})" in sentence
    assert "generation 0, collective 0" in sentence


@pytest.mark.parametrize("rank", range(4))
@pytest.mark.parametrize("step", range(3))
def test_a_bit_flipped_before_the_sum_is_done_reaches_every_rank_alike(rank, step):
    inputs = vectors(4, 10)
    story = play_collective(uniform(4), Flipping(RingAllReduce(), rank, step), inputs)
    assert len({result.tobytes() for result in results_in_rank_order(story)}) == 1


def test_zeros_of_other_signs_are_other_bits_and_a_nan_is_itself():
    plan = RingAllReduce()
    assert plan.disagreement([np.zeros(4, np.float32), -np.zeros(4, np.float32)]) is not None
    nans = np.full(4, np.nan, np.float32)
    assert plan.disagreement([nans, nans.copy()]) is None


# --- broadcast --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ranks", range(1, 18))
def test_a_broadcast_reaches_every_rank_along_a_binomial_tree(ranks):
    payload = object()
    story = play_collective(uniform(ranks), Broadcast(1_000), [payload] + [None] * (ranks - 1))
    assert all(result is payload for result in results_in_rank_order(story))
    # Binomial: clear the highest bit of a rank and there is its parent.
    edges = {(event.node, event.fields["to"]) for event in story.of("depart")}
    assert edges == {(f"node{rank - (1 << (rank.bit_length() - 1))}", f"node{rank}") for rank in range(1, ranks)}


@pytest.mark.parametrize("ranks", range(1, 18))
@pytest.mark.parametrize("size_bytes", [0, 1, 12_345])
def test_a_broadcast_on_a_uniform_star_takes_its_closed_form(ranks, size_bytes):
    story = play_collective(uniform(ranks), Broadcast(size_bytes), [0] * ranks)
    hop_ns, copy_ns = 2 * LATENCY_NS, on_the_link_ns(size_bytes, ODD_RATE)
    # Rank r is reached in round bit_length(r), over as many hops as it has ones.
    for rank in range(ranks):
        arrived = story.times("deliver", f"node{rank}")
        expected_ns = bin(rank).count("1") * hop_ns + rank.bit_length() * copy_ns
        assert arrived == ([expected_ns] if rank else [])
    rounds = (ranks - 1).bit_length()
    longest_ns = rounds * (hop_ns + copy_ns)
    assert story.played.time_ns <= longest_ns
    if ranks & (ranks - 1) == 0:
        assert story.played.time_ns == longest_ns


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_broadcast_with_unequal_arrivals_takes_what_the_tree_says(data):
    ranks = data.draw(st.integers(1, 12))
    enter_ns = data.draw(st.lists(st.integers(0, 10**6), min_size=ranks, max_size=ranks))
    story = play_collective(uniform(ranks), Broadcast(5_000), list(range(ranks)), enter_ns)
    copy_ns = on_the_link_ns(5_000, ODD_RATE)
    arrival, done = {0: 0}, {}
    for rank in range(ranks):
        at = max(enter_ns[rank], arrival[rank])
        children = [rank + (1 << k) for k in range(rank.bit_length(), 8) if rank + (1 << k) < ranks]
        for child in children:
            at += copy_ns
            arrival[child] = at + 2 * LATENCY_NS
        done[rank] = at
    assert finish_times(story, ranks) == [done[rank] for rank in range(ranks)]
    assert set(results_in_rank_order(story)) == {0}


@pytest.mark.parametrize("ranks", range(1, 18))
def test_the_child_with_the_largest_subtree_is_served_first(ranks):
    def subtree(rank: int) -> int:
        return 1 + sum(subtree(child) for child in parent_and_children(rank, ranks)[1])

    for rank in range(ranks):
        sizes = [subtree(child) for child in parent_and_children(rank, ranks)[1]]
        assert sizes == sorted(sizes, reverse=True)


def test_ranks_that_end_a_broadcast_with_different_things_are_named():
    assert "rank 2" in Broadcast(1).disagreement(["word", "word", "other"])
    assert Broadcast(1).disagreement(["word", "word", "word"]) is None
