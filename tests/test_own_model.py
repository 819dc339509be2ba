"""Models of the user's own: a layer, a loss and an accuracy that ringsim does not have train like those that it has.

And what is no model is refused in a sentence, before anything is played. What is not here: the gradient of an own loss
(`test_learning.py`), and own models of other numbers of layers in a pipeline (`test_pipelines.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from ringsim.errors import UsageError
from ringsim.learning.data import load
from ringsim.learning.models.layers import dense, glorot_uniform
from ringsim.learning.models.model import Layer, Model, most_likely_is_right, softmax_cross_entropy
from ringsim.learning.pinned import jax, jnp
from ringsim.result import Result
from ringsim.scenario import Digits, Scenario
from ringsim.simulation import simulate

WIDTH = 24


def residual(name: str, width: int) -> Layer:
    """Return x + ReLU(x @ kernel) (He et al. 2016), whose parameters are a list within a dict."""

    def init(key: jax.Array) -> Any:
        return {"branch": [glorot_uniform(key, (width, width))]}

    def apply(parameters: Any, x: jax.Array) -> jax.Array:
        return x + jax.nn.relu(x @ parameters["branch"][0])

    return Layer(name, init, apply, flop=2 * width * width, output_shape=(width,))


def squared_error(outputs: jax.Array, labels: jax.Array) -> jax.Array:
    return jnp.sum((outputs - jax.nn.one_hot(labels, 10)) ** 2, axis=1)


def it_and_no_other(outputs: jax.Array, labels: jax.Array) -> jax.Array:
    return jnp.all((outputs > 0.5) == jax.nn.one_hot(labels, 10, dtype=bool), axis=1)


OWN = Model(
    (dense("in", 64, WIDTH, jnp.tanh), residual("one", WIDTH), residual("two", WIDTH), dense("out", WIDTH, 10)),
    squared_error,
    it_and_no_other,
)


def scenario(strategy: str) -> Scenario:
    return Scenario.model_validate(
        {
            "name": "own",
            "seed": 7,
            "task": {"epochs": 4, "batch_size": 8, "optimizer": {"kind": "momentum", "learning_rate": 0.01}},
            "cluster": {"nodes": 4, "speed": "1 GFLOP/s", "network": {"bandwidth": "1 Gbit/s"}},
            "strategy": {"name": strategy},
        }
    )


@cache
def played(strategy: str) -> Result:
    return simulate(scenario(strategy), model=OWN)


def test_it_learns_the_digits_by_its_own_loss_and_accuracy() -> None:
    result, data = played("local"), load(Digits(kind="digits"), seed=0)
    assert result.parameters is not None
    flat = result.parameters.astype(np.float64)
    sizes = [WIDTH, 64 * WIDTH, WIDTH * WIDTH, WIDTH * WIDTH, 10, WIDTH * 10]
    in_bias, in_kernel, one, two, out_bias, out_kernel = np.split(flat, np.cumsum(sizes)[:-1])
    x = np.tanh(data.test_x @ in_kernel.reshape(64, WIDTH) + in_bias)
    for kernel in (one, two):
        x = x + np.maximum(x @ kernel.reshape(WIDTH, WIDTH), 0)
    outputs, targets = x @ out_kernel.reshape(WIDTH, 10) + out_bias, np.eye(10)[data.test_y]
    assert result.loss == pytest.approx(((outputs - targets) ** 2).sum(axis=1).mean(), rel=1e-5)
    named = [set(np.flatnonzero(row > 0.5)) for row in outputs]
    assert result.accuracy == np.mean([found == {y} for found, y in zip(named, data.test_y, strict=True)])
    assert result.accuracy > 0.8
    assert result.accuracy < np.mean(outputs.argmax(axis=1) == data.test_y)


@pytest.mark.parametrize("strategy", ["ring", "gpipe"])
def test_it_trains_on_many_machines_as_on_one(strategy: str) -> None:
    result, twin = played(strategy), played("local")
    assert result.steps == twin.steps == 4 * 45
    assert result.parameters is not None
    np.testing.assert_allclose(result.parameters, twin.parameters, rtol=0, atol=1e-5)
    assert result.accuracy == pytest.approx(twin.accuracy, abs=1.5 / 360)


LOGITS = dense("logits", 64, 10)


def of(**changes: Any) -> Callable[[], Model]:
    """Return how to make a model of one layer that is not as it should be."""
    return lambda: Model((replace(LOGITS, **changes),))


def ends_in(**changes: Any) -> Callable[[], Model]:
    return lambda: Model((LOGITS,), **changes)


def drawn(dtype: Any) -> Callable[[], Model]:
    return of(init=lambda key: {"kernel": np.zeros((64, 10), dtype), "bias": np.zeros(10, np.float32)})


def applied(change: Callable[[jax.Array], Any]) -> Callable[[], Model]:
    return of(apply=lambda parameters, x: change(LOGITS.apply(parameters, x)))


def loss(change: Callable[[jax.Array], Any]) -> Callable[[], Model]:
    return ends_in(loss=lambda outputs, labels: change(softmax_cross_entropy(outputs, labels)))


def accuracy(change: Callable[[jax.Array], Any]) -> Callable[[], Model]:
    return ends_in(accuracy=lambda outputs, labels: change(most_likely_is_right(outputs, labels)))


MUST_BE = r"^apply of layer logits must return float32 \[rows, 10\], its output_shape; for 3 rows it returns "
LOSS_MUST_BE = r"^the model's loss must return float32 \[rows\], one for each sample; for 3 rows it returns "
ACCURACY_MUST_BE = r"^the model's accuracy must return bool \[rows\], one for each sample; for 3 rows it returns "


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (lambda: Model(()), "^a model needs at least one layer$"),
        (lambda: Model([LOGITS]), r"^a model takes a tuple of layers, as \(first, last\) is one, not a list$"),
        (lambda: Model(LOGITS), r"^a model takes a tuple of layers, as \(first, last\) is one, not a Layer$"),
        (lambda: Model((LOGITS, "ReLU")), "^each layer of a model is a Layer, not 'ReLU'$"),
        (of(flop=2.5), "^layer logits: flop is a whole number, 0 or more, not 2.5$"),
        (of(flop=-2), "^layer logits: flop is a whole number, 0 or more, not -2$"),
        (of(output_shape=10), r"^layer logits: output_shape is a tuple such as \(10,\), not 10$"),
        (of(output_shape=(-1,)), r"^layer logits: output_shape is a tuple such as \(10,\), not \(-1,\)$"),
        (drawn(np.float64), "^the parameters of layer logits must be float32 arrays, not float64$"),
        (drawn(np.int32), "^the parameters of layer logits must be float32 arrays, not int32$"),
        (of(init=lambda key: {"kernel": 0.5}), "^the parameters of layer logits must be float32 arrays, not float$"),
        (of(init=lambda key: {"n": "5"}), "^init of layer logits fails: "),
        (of(init=lambda key, shape: {}), "^init of layer logits fails: .* missing 1 required positional argument"),
        (of(output_shape=(11,)), r"its output_shape; for 3 rows it returns float32 \[3, 10\]$"),
        (applied(lambda outputs: outputs.T), MUST_BE + r"float32 \[10, 3\]$"),
        (applied(lambda outputs: outputs.sum(axis=0)), MUST_BE + r"float32 \[10\]$"),
        (applied(lambda outputs: outputs > 0), MUST_BE + r"bool \[3, 10\]$"),
        (applied(lambda outputs: (outputs, outputs)), MUST_BE + "a tuple$"),
        (applied(lambda outputs: outputs.reshape(8, 10)), r"^apply of layer logits fails on float32 \[3, 64\]: cannot"),
        (lambda: Model((dense("a", 64, 24), dense("b", 32, 10))), r"^apply of layer b fails on float32 \[3, 24\]: "),
        (lambda: Model((dense("a", 63, 10),)), r"^apply of layer a fails on float32 \[3, 64\]: "),
        (applied(np.sin), r"^apply of layer logits fails on float32 \[3, 64\]: "),
        (
            of(train=lambda parameters, x, keys: LOGITS.apply(parameters, x)[:, :3]),
            MUST_BE.replace("apply", "train") + r"float32 \[3, 3\]$",
        ),
        (
            of(train=lambda parameters, x: LOGITS.apply(parameters, x)),
            r"^train of layer logits fails on float32 \[3, 64\]: .* takes 2 positional arguments but 3 were given$",
        ),
        (loss(jnp.mean), LOSS_MUST_BE + r"float32 \[\]$"),
        (loss(lambda losses: losses[:, None]), LOSS_MUST_BE + r"float32 \[3, 1\]$"),
        (loss(lambda losses: losses > 0), LOSS_MUST_BE + r"bool \[3\]$"),
        (loss(lambda losses: losses["row"]), r"^the model's loss fails on float32 \[3, 10\]: "),
        (accuracy(jnp.mean), ACCURACY_MUST_BE + r"float32 \[\]$"),
        (accuracy(lambda right: right * 0.7), ACCURACY_MUST_BE + r"float32 \[3\]$"),
        (accuracy(lambda right: right.any()), ACCURACY_MUST_BE + r"bool \[\]$"),
    ],
)
def test_what_is_no_model_is_refused_in_one_sentence(model: Callable[[], Model], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence) as refused:
        simulate(scenario("gpipe").model_copy(update={"strategy": scenario("ring").strategy}), model=model())
    assert "\n" not in str(refused.value)
