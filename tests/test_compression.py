"""Gradients that are made smaller: bytes, and numbers bit for bit as by hand; and several batches that make one update.

What is not here: what they are held to with all others (`test_every_strategy.py`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import select, training

from ringsim.errors import ScenarioInvalid
from ringsim.learning.engine import Engine
from ringsim.result import Result
from ringsim.scenario import Scenario
from ringsim.simulation import simulate
from ringsim.strategies.compression import BUCKET, LEVELS, dequantized, kept, largest, quantized

TASK = {
    "dataset": {"kind": "synthetic", "samples": 90, "features": 20, "classes": 5},
    "model": {"kind": "mlp", "hidden": [30]},
    "epochs": 2,
}
SIZE = 20 * 30 + 30 + 30 * 5 + 5
RATE = 0.1


def compressed(compression: Any, task: Any = None, **strategy: Any) -> Scenario:
    given = {} if compression is None else {"compression": compression}
    return training({"name": "ring", **given, **strategy}, **{**TASK, **(task or {})})


def by_hand(scenario: Scenario, result: Result, add_up: Any) -> np.ndarray:
    """Train with the engine's own gradients and a sum by hand; return the parameters."""
    engine = Engine(scenario.task, scenario.seed, rows=8)
    state = engine.initial()
    workers = [node.node for node in result.nodes]
    begun = [[event.fields["samples"] for event in select(result.trace, "step_begin", name)] for name in workers]
    for step, batches in enumerate(zip(*begun, strict=True)):
        total = sum(map(len, batches))
        own = [
            np.float32(len(batch) / total) * engine.gradient(state.parameters, batch).value().array for batch in batches
        ]
        state = engine.update(state, add_up(step, own), RATE)
    return state.parameters.array


def in_16_bits(_step: int, own: list[np.ndarray]) -> np.ndarray:
    """Add up segment s from rank s on, round the ring, in half precision."""
    half = [vector.astype(np.float16) for vector in own]
    pieces = [np.array_split(vector, len(own)) for vector in half]
    total = []
    for segment in range(len(own)):
        one = pieces[segment][segment]
        for hop in range(1, len(own)):
            one = one + pieces[(segment + hop) % len(own)][segment]
        total.append(one)
    return np.concatenate(total).astype(np.float32)


def test_half_precision_is_added_up_hop_by_hop_in_half_of_the_bytes() -> None:
    scenario = compressed("fp16")
    result, full = simulate(scenario), simulate(compressed(None))
    np.testing.assert_array_equal(result.parameters, by_hand(scenario, result, in_16_bits))
    assert result.payload_bytes_sent * 2 == full.payload_bytes_sent
    assert result.parameters is not None
    assert full.parameters is not None
    assert 0 < np.abs(result.parameters - full.parameters).max() < 1e-2


@pytest.mark.parametrize("feedback", [True, False])
def test_the_largest_elements_are_added_up_and_the_rest_waits(feedback: bool) -> None:
    scenario = compressed({"kind": "topk", "share": "5 %", "error_feedback": feedback})
    result = simulate(scenario)
    waiting = [np.zeros(SIZE, np.float32) for _ in range(4)]
    count = kept(SIZE, 50_000)

    def add_up(_step: int, own: list[np.ndarray]) -> np.ndarray:
        total = np.zeros(SIZE, np.float32)
        for rank, vector in enumerate(own):
            full = vector + waiting[rank] if feedback else vector
            chosen = sorted(range(SIZE), key=lambda index: (-abs(full[index]), index))[:count]
            kept_only = np.zeros(SIZE, np.float32)
            kept_only[chosen] = full[chosen]
            waiting[rank] = full - kept_only
            total += kept_only
        return total

    np.testing.assert_array_equal(result.parameters, by_hand(scenario, result, add_up))
    # An index and a value for each element that is kept, to everybody else.
    assert result.payload_bytes_sent == result.steps * 4 * 3 * count * 8


def test_codes_are_added_up_in_a_byte_for_each_element() -> None:
    scenario = compressed("qsgd")
    result = simulate(scenario)

    def add_up(step: int, own: list[np.ndarray]) -> np.ndarray:
        total = np.zeros(SIZE, np.float32)
        for rank, vector in enumerate(own):
            total += dequantized(quantized(vector, scenario.seed, "qsgd", f"node{rank}", step), SIZE)
        return total

    np.testing.assert_array_equal(result.parameters, by_hand(scenario, result, add_up))
    buckets = -(-SIZE // BUCKET)
    assert result.payload_bytes_sent == result.steps * 4 * 3 * (buckets * BUCKET + 4 * buckets)


NUMBERS = st.floats(-1e3, 1e3, width=32, allow_subnormal=False)
VECTORS = st.lists(NUMBERS, min_size=1, max_size=1200).map(lambda some: np.array(some, np.float32))


@settings(deadline=None)
@given(VECTORS, st.integers(0, 100))
def test_a_code_is_no_further_than_a_level(vector: np.ndarray, seed: int) -> None:
    found = dequantized(quantized(vector, seed, "test"), len(vector))
    for start in range(0, len(vector), BUCKET):
        here = slice(start, start + BUCKET)
        level = np.linalg.norm(vector[here].astype(np.float64)) / LEVELS
        assert np.abs(found[here] - vector[here]).max() <= level * (1 + 1e-5)


def test_codes_are_right_in_the_mean() -> None:
    vector = np.linspace(-1, 1, 700, dtype=np.float32) ** 3
    draws = np.array([dequantized(quantized(vector, seed, "test"), 700) for seed in range(400)])
    spread = draws.std(0).max() / np.sqrt(400)
    assert 0 < spread < 0.01
    assert np.abs(draws.mean(0) - vector).max() < 5 * spread


@settings(deadline=None)
@given(VECTORS, st.integers(1, 1_000_000))
def test_no_element_that_is_left_out_is_larger(vector: np.ndarray, share_ppm: int) -> None:
    chosen = largest(vector, share_ppm).tolist()
    assert len(chosen) == kept(len(vector), share_ppm)
    assert chosen == sorted({*chosen})
    others = np.delete(np.abs(vector), chosen)
    assert not len(others) or others.max() <= np.abs(vector[chosen]).min()


def test_the_largest_of_all_is_all() -> None:
    result, full = simulate(compressed({"kind": "topk", "share": "100 %"})), simulate(compressed(None))
    assert result.parameters is not None
    assert full.parameters is not None
    np.testing.assert_allclose(result.parameters, full.parameters, rtol=0, atol=1e-6)


def test_what_waits_makes_up_for_what_is_left_out() -> None:
    """With 1 % of the elements and error feedback it converges; without, it does worse (Stich et al. 2018)."""
    task = {"dataset": {"kind": "digits"}, "model": {"kind": "mlp", "hidden": [64]}, "epochs": 15}

    def loss(compression: Any) -> float:
        return simulate(compressed(compression, task)).metrics[-1].test_loss or 0.0

    full = loss(None)
    waits, forgets = (loss({"kind": "topk", "share": "1 %", "error_feedback": feedback}) for feedback in (True, False))
    assert waits < full + 0.1
    assert forgets > waits + 0.2


def test_everybody_hears_what_is_left_of_everybody_s() -> None:
    seen = {
        kind: simulate(compressed(compression)).measures.exposure
        for kind, compression in (("fp16", "fp16"), ("topk", {"kind": "topk", "share": "5 %"}), ("qsgd", "qsgd"))
    }
    assert {kind: exposure and exposure.maximum for kind, exposure in seen.items()} == {
        "fp16": 0.25, "topk": 0.05, "qsgd": 1.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("scenario", "sentence"),
    [
        (compressed({"kind": "topk", "share": "101 %"}), "compression.share: must be at most 100 %, not 101 %"),
        (compressed("qsgd", collective="tree"), "strategy.collective: does not work with compression qsgd"),
        (compressed("fp16", bucket_size="1 KB"), "strategy.bucket_size: does not work with compression fp16"),
    ],
)
def test_what_does_not_go_together_is_refused(scenario: Scenario, sentence: str) -> None:
    with pytest.raises(ScenarioInvalid) as refused:
        simulate(scenario)
    assert sentence in str(refused.value)


# --- several batches for an update ------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["local", "ring", "parameter_server", "gpipe", "dpsgd"])
def test_several_batches_make_an_update_as_a_large_one_does(strategy: str) -> None:
    task = {**TASK, "model": {"kind": "mlp", "hidden": [8, 8, 8]}, "learning_rate_scaling": "none"}
    several = simulate(training({"name": strategy}, **task, accumulate=3))
    large = simulate(training({"name": strategy}, **{**task, "batch_size": 24}))
    np.testing.assert_array_equal(several.parameters, large.parameters)
    assert several.virtual_time_ns == large.virtual_time_ns


def test_a_rate_follows_all_that_makes_an_update() -> None:
    result = simulate(compressed(None, {"accumulate": 3, "learning_rate_scaling": "linear"}))
    assert [row.learning_rate for row in result.metrics] == pytest.approx([0.1 * 4 * 3, 0.1 * 4 * 3])


def test_accumulated_gradients_travel_less_often() -> None:
    one, three = simulate(compressed(None)), simulate(compressed(None, {"accumulate": 3}))
    assert one.steps == 2 * 3
    assert three.steps == 2
    assert one.payload_bytes_sent == 3 * three.payload_bytes_sent
