"""That what ringsim trains is what real training trains: whole trainings beside others, written out in NumPy float64.

    the cnn's gradient         by hand (`plain_cnn.py`), which is itself held to finite differences
    a step, and an epoch       gradient, optimizer and parameters by hand, on the samples that the trace tells
    twelve epochs on digits    learn what the images are, and by a ring what they learn on one machine

What is not here: optimizers and mlps alone (`test_learning.py`), models of the user's own (`test_own_model.py`).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from plain_cnn import PlainCnn
from plain_numpy import flat, gradient, oracle, stepped
from worlds import select

from ringsim.learning.engine import Engine
from ringsim.learning.parameters import Version
from ringsim.result import Result
from ringsim.scenario import Adam, Cnn, Digits, Scenario, Synthetic, Task
from ringsim.simulation import simulate
from ringsim.trace import Event

CNN = {"kind": "cnn", "dropout": False}
ROWS = 4
STEPS = 3
# Adam divides by the size of each gradient. Without a floor, what is rounding in a gradient near 0 is a whole step.
ADAM = Adam(kind="adam", learning_rate=0.001, eps=1e-5)
IMAGES = {
    "digits": (Digits(kind="digits"), PlainCnn((8, 8, 1), 10)),
    "28x28": (Synthetic(kind="synthetic", samples=ROWS * STEPS, features=784, classes=10), PlainCnn((28, 28, 1), 10)),
    "9x9": (Synthetic(kind="synthetic", samples=ROWS, features=81, classes=3), PlainCnn((9, 9, 1), 3)),
}
images = pytest.mark.parametrize("name", IMAGES)


@cache
def engine(name: str) -> Engine:
    task = Task(steps=STEPS, model=Cnn.model_validate(CNN), dataset=IMAGES[name][0], optimizer=ADAM)
    return Engine(task, seed=7, rows=ROWS)


def samples(name: str, step: int = 0) -> tuple[np.ndarray, np.ndarray, range]:
    """Return images, labels and indices of a step."""
    data, taken = engine(name).dataset, range(step * ROWS, (step + 1) * ROWS)
    return data.train_x[taken.start : taken.stop], data.train_y[taken.start : taken.stop], taken


def somewhere(name: str) -> Version:
    """Return parameters that are not those of a start: no bias is 0."""
    here = engine(name)
    noise = np.random.default_rng(3).normal(scale=0.02, size=here.size)
    return here.share((here.initial().parameters.array + noise).astype(np.float32))


def farthest(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference, relative to the largest number."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())


# --- the gradient of the cnn ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["digits", "9x9"])
def test_the_oracle_is_the_slope_of_its_own_loss(name: str) -> None:
    """Central differences in float64, where no ReLU opens and no maximum moves from one end to the other."""
    plain, (x, y, _) = IMAGES[name][1], samples(name)
    where = somewhere(name).array.astype(np.float64)
    loss, found = plain.gradient(where, x, y)
    assert loss == plain.loss(where, x, y)
    draws, step = np.random.default_rng(5), 1e-7
    for place, part in plain.slices.items():
        compared = 0
        for index in draws.integers(part.start, part.stop, size=5):
            behind, ahead = where.copy(), where.copy()
            behind[index] -= step
            ahead[index] += step
            if plain.pattern(behind, x) == plain.pattern(ahead, x):
                slope = (plain.loss(ahead, x, y) - plain.loss(behind, x, y)) / (2 * step)
                assert found[index] == pytest.approx(slope, rel=0, abs=1e-6 * np.abs(found[part]).max()), place
                compared += 1
        assert compared >= 3, place


@images
@pytest.mark.parametrize("start", ["initial", "somewhere"])
def test_the_gradient_of_the_cnn_is_that_by_hand(name: str, start: str) -> None:
    here, plain, (x, y, taken) = engine(name), IMAGES[name][1], samples(name)
    parameters = here.initial().parameters if start == "initial" else somewhere(name)
    assert here.size == plain.size
    found = here.gradient(parameters, taken).value()
    loss, expected = plain.gradient(parameters.array, x, y)
    assert found.loss == pytest.approx(loss, rel=1e-6)
    assert farthest(found.array, expected) < 1e-5
    for place, part in plain.slices.items():
        assert farthest(found.array[part], expected[part]) < 1e-5, place


def test_equal_maxima_share_the_gradient_evenly() -> None:
    """Where the second kernel is 0, all pixels of a square are equal, and each sees another part of the image."""
    here, plain, (x, y, taken) = engine("9x9"), IMAGES["9x9"][1], samples("9x9")
    flattened = somewhere("9x9").array.copy()
    flattened[plain.slices["conv2", "kernel"]] = 0
    flattened[plain.slices["conv2", "bias"]] = 0.1
    found = here.gradient(here.share(flattened), taken).value().array
    _, expected = plain.gradient(flattened, x, y)
    kernel = plain.slices["conv2", "kernel"]
    assert farthest(found[kernel], expected[kernel]) < 1e-5
    assert farthest(found, expected) < 1e-5


# --- steps and epochs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["digits", "28x28"])
def test_steps_of_adam_on_the_cnn_are_those_by_hand(name: str) -> None:
    """Both go their own way from the same start; the equations are those of Kingma & Ba 2015, algorithm 1."""
    here, plain = engine(name), IMAGES[name][1]
    state = here.initial()
    theta = state.parameters.array.astype(np.float64)
    m = v = np.zeros(plain.size)
    for t in range(1, STEPS + 1):
        x, y, taken = samples(name, t - 1)
        state = here.update(state, here.gradient(state.parameters, taken).value().array, ADAM.learning_rate)
        _, g = plain.gradient(theta, x, y)
        m = ADAM.b1 * m + (1 - ADAM.b1) * g
        v = ADAM.b2 * v + (1 - ADAM.b2) * g**2
        m_hat, v_hat = m / (1 - ADAM.b1**t), v / (1 - ADAM.b2**t)
        moved = theta - ADAM.learning_rate * m_hat / (np.sqrt(v_hat) + ADAM.eps)
        assert np.abs(moved - theta).max() > 9e-4
        theta = moved
        np.testing.assert_allclose(state.parameters.array, theta, rtol=0, atol=1e-5)


def on_digits(strategy: str, nodes: Any = 4, **task: Any) -> Scenario:
    return Scenario.model_validate(
        {
            "name": "real",
            "seed": 7,
            "task": {"batch_size": 8, **task},
            "cluster": {"nodes": nodes, "speed": "1 GFLOP/s", "network": {"bandwidth": "1 Gbit/s"}},
            "strategy": {"name": strategy},
        }
    )


def steps_of(events: Sequence[Event]) -> list[list[int]]:
    """Return the samples of each step, those of all workers together: in which order does not matter to a mean."""
    found: dict[int, list[int]] = {}
    for event in select(events, "step_begin"):
        found.setdefault(event.fields["step"], []).extend(event.fields["samples"])
    return [sorted(found[step]) for step in sorted(found)]


def test_momentum_needs_no_correction_when_the_rate_changes() -> None:
    """Goyal et al. 2018, section 3: with the rate inside of the velocity it does, and then both are the same."""
    momentum, rate, epochs, nodes = 0.9, 0.05, 2, 4
    optimizer = {"kind": "momentum", "learning_rate": rate, "momentum": momentum}
    warm_up = {"learning_rate_scaling": "linear", "warm_up_epochs": 1.0}
    scenario = on_digits("local", nodes, model={"kind": "softmax"}, epochs=epochs, optimizer=optimizer, **warm_up)
    result = simulate(scenario)
    numbers, taken, count = oracle(scenario), 0, 1437
    (kernel, bias) = numbers.layers[0]
    start = flat(numbers.layers)
    outside, corrected, uncorrected = start.copy(), start.copy(), start.copy()
    velocities = [np.zeros_like(start) for _ in range(3)]
    before = rate
    for step in steps_of(result.trace):
        now = rate * (1 + (nodes - 1) * min(1.0, taken / count))

        def g(at: np.ndarray, step: list[int] = step) -> np.ndarray:
            layer = at[len(bias) :].reshape(kernel.shape), at[: len(bias)]
            return flat(gradient(numbers, [layer], step))

        velocities[0] = momentum * velocities[0] + g(outside)  # equation 9
        outside = outside - now * velocities[0]
        velocities[1] = momentum * (now / before) * velocities[1] + now * g(corrected)  # equation 10, remark 2
        corrected = corrected - velocities[1]
        velocities[2] = momentum * velocities[2] + now * g(uncorrected)  # equation 10 alone
        uncorrected = uncorrected - velocities[2]
        before, taken = now, taken + len(step)
    assert taken == epochs * count
    np.testing.assert_allclose(outside, corrected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(result.parameters, corrected, rtol=0, atol=1e-5)
    assert np.abs(uncorrected - corrected).max() > 1e-3


@pytest.mark.parametrize("strategy", ["local", "ring"])
@pytest.mark.parametrize("model", [{"kind": "softmax"}, {"kind": "mlp", "hidden": [32, 16]}], ids=["softmax", "mlp"])
def test_an_epoch_of_gradient_descent_is_that_of_a_plain_loop(model: dict[str, Any], strategy: str) -> None:
    scenario = on_digits(strategy, model=model, epochs=1, optimizer={"kind": "sgd", "learning_rate": 0.3})
    result = simulate(scenario)
    numbers, steps = oracle(scenario), steps_of(result.trace)
    layers: Sequence[Any] = numbers.layers
    for step in steps:
        layers = stepped(numbers, layers, step, 0.3)
    assert sorted(itertools.chain.from_iterable(steps)) == list(range(1437))
    assert len(steps[-1]) < len(steps[0])  # The last step is short, and its mean is over fewer.
    np.testing.assert_allclose(result.parameters, flat(layers), rtol=0, atol=1e-5)
    data = engine("digits").dataset
    logits = replace(numbers, x=data.test_x).inputs(range(len(data.test_y)), layers)[-1]
    assert result.accuracy == np.mean(logits.argmax(axis=1) == data.test_y)


def test_steps_of_the_cnn_on_a_ring_are_those_of_a_plain_loop() -> None:
    scenario = on_digits("ring", model=CNN, steps=12, optimizer={"kind": "sgd", "learning_rate": 0.1})
    result = simulate(scenario)
    plain, data = IMAGES["digits"][1], engine("digits").dataset
    theta = engine("digits").initial().parameters.array.astype(np.float64)
    for row, step in zip(result.metrics, steps_of(result.trace), strict=True):
        loss, g = plain.gradient(theta, data.train_x[step], data.train_y[step])
        assert row.loss == pytest.approx(loss, abs=1e-5)
        theta = theta - 0.1 * g
    np.testing.assert_allclose(result.parameters, theta, rtol=0, atol=1e-5)
    assert result.loss == pytest.approx(plain.loss(theta, data.test_x, data.test_y), abs=1e-4)


# --- twelve epochs ----------------------------------------------------------------------------------------------------

TWELVE: dict[str, Any] = {
    "model": {"kind": "mlp", "hidden": [256]},
    "optimizer": {"kind": "momentum", "learning_rate": 0.1},
    "epochs": 12,
}
UNEQUAL = [{"shard_weight": 1}, {"shard_weight": 2}, {"shard_weight": 5}]


@cache
def alone() -> Result:
    return simulate(on_digits("local", nodes=1, **TWELVE, batch_size=16))


def test_twelve_epochs_on_one_machine_learn_the_digits() -> None:
    result = alone()
    assert result.steps == 12 * 90
    assert result.accuracy is not None
    assert result.accuracy >= 0.97


@pytest.mark.parametrize(("nodes", "batch_size"), [(4, 4), (UNEQUAL, 2)], ids=["four equal", "three unequal"])
def test_a_ring_learns_in_twelve_epochs_what_one_machine_does(nodes: Any, batch_size: int) -> None:
    result = simulate(on_digits("ring", nodes, **TWELVE, batch_size=batch_size))
    assert steps_of(result.trace) == steps_of(alone().trace)
    sizes = [len(event.fields["samples"]) for event in select(result.trace, "step_begin", step=0)]
    assert sizes == ([4] * 4 if nodes == 4 else [2, 4, 10])
    losses, expected = ([row.loss for row in run.metrics] for run in (result, alone()))
    np.testing.assert_allclose(losses, expected, rtol=0, atol=1e-4)
    assert abs(result.accuracy - alone().accuracy) * 360 < 2.5
