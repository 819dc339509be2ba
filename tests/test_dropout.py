"""Dropout: which outputs fall out belongs to the seed, the epoch, the sample and the layer, and to nothing else.

The mask is read from a gradient: where the loss is the sum of the outputs, the slope of a bias is what its output was
multiplied by. What is not here: stages of a pipeline, which draw the same (`test_stages.py`).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from ringsim import load, simulate
from ringsim.errors import UsageError
from ringsim.learning.engine import Engine
from ringsim.learning.models.layers import dense, dropout
from ringsim.learning.models.model import Layer, Model
from ringsim.learning.pinned import jax, jnp
from ringsim.result import Result
from ringsim.scenario import Cnn, Softmax, Task

WIDTH = 4_000
ROWS = 8


def constant(name: str) -> Layer:
    """Return a layer whose outputs are its bias, and whose input adds nothing."""

    def init(key: jax.Array) -> dict[str, jax.Array]:
        return {"bias": jnp.ones(WIDTH, jnp.float32)}

    def apply(parameters: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        return parameters["bias"] + 0 * x[:, :1]

    return Layer(name, init, apply, flop=1, output_shape=(WIDTH,))


def sum_of_outputs(outputs: jax.Array, labels: jax.Array) -> jax.Array:
    return outputs.sum(axis=1)


MODEL = Model((constant("quiet"), dropout(constant("noisy"), 0.25)), loss=sum_of_outputs)


def engine(seed: int = 7, model: Model = MODEL, rows: int = ROWS, **options: bool) -> Engine:
    return Engine(Task(steps=1, model=Softmax(kind="softmax")), seed=seed, rows=rows, model=model, **options)


def masks(samples: tuple[int, ...], epoch: int = 0, **options: object) -> np.ndarray:
    """Return the mean over samples of what each output was multiplied by."""
    here = engine(**options)  # type: ignore[arg-type]
    return here.gradient(here.initial().parameters, samples, epoch).value().array[-WIDTH:]


def test_a_rates_share_falls_out_and_the_rest_grows_by_as_much() -> None:
    mask = masks((3,))
    assert set(mask.tolist()) == {0.0, np.float32(1 / 0.75).item()}
    # Four standard deviations of a binomial share.
    assert abs((mask == 0).mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / WIDTH)


def test_a_sample_draws_the_same_whoever_computes_it_beside_whom() -> None:
    alone = masks((3,))
    np.testing.assert_array_equal(masks((3,), rows=1), alone)
    np.testing.assert_array_equal(masks((3,), share_replicas=False), alone)
    together, without = masks((5, 3, 9)), masks((5, 9))
    np.testing.assert_allclose(3 * together, 2 * without + alone, rtol=1e-6)


def test_other_samples_epochs_and_seeds_draw_others() -> None:
    drawn = [masks((3,)), masks((4,)), masks((3,), epoch=1), masks((3,), seed=8)]
    for index, one in enumerate(drawn):
        for other in drawn[:index]:
            # Independent masks agree in 0.75^2 + 0.25^2 of all places.
            assert abs((one == other).mean() - 0.625) < 0.05


def test_each_layer_draws_for_itself() -> None:
    """Where the second layer passes on what the first one gives, a gradient shows the masks of both."""

    def init(key: jax.Array) -> dict[str, jax.Array]:
        return {}

    passes_on = Layer("passes on", init, lambda parameters, x: x, flop=0, output_shape=(WIDTH,))
    twice = Model((dropout(constant("first"), 0.25), dropout(passes_on, 0.25)), loss=sum_of_outputs)
    both = masks((3,), model=twice)
    # Each falls out with a quarter, and both stay with 9/16; one mask for both would leave 3/4.
    assert sorted(set(both.tolist())) == pytest.approx([0, 16 / 9])
    assert abs((both > 0).mean() - 9 / 16) < 0.05


def test_an_evaluation_drops_nothing() -> None:
    here = engine()
    assert here.evaluate(here.initial().parameters).loss == WIDTH


def test_a_gradient_of_another_epoch_is_another_question_only_where_something_is_drawn() -> None:
    plain = Model((constant("quiet"),), loss=sum_of_outputs)
    for model, draws in ((MODEL, True), (plain, False)):
        here = engine(model=model)
        start = here.initial().parameters
        first, again, later = (here.gradient(start, (1, 2), epoch) for epoch in (0, 0, 1))
        assert first is again
        assert (first is later) is not draws


@pytest.mark.parametrize("rate", [1.0, 1.5, -0.1, math.nan, "x", None])
def test_a_rate_that_is_none_is_refused(rate: Any) -> None:
    with pytest.raises(UsageError, match="dropout takes a rate from 0 to less than 1, not"):
        dropout(dense("all", 3, 2), rate)


def test_at_a_rate_of_zero_a_layer_stays_as_it_is() -> None:
    layer = dense("all", 3, 2)
    assert dropout(layer, 0) is layer
    assert not Engine(Task(steps=1, model=Cnn(kind="cnn", dropout=False)), seed=7, rows=1).model.draws


SMALL_CNN = "task={dataset: {kind: synthetic, samples: 64, features: 36}, model: {kind: cnn}, epochs: 3, batch_size: 4}"


@pytest.fixture(scope="module")
def alone() -> Result:
    return simulate(load("4node", overrides=[SMALL_CNN, "strategy={name: local}"]).scenario)


@pytest.mark.parametrize("strategy", ["ring", "gpipe", "model_parallel", "parameter_server"])
def test_whoever_computes_a_step_drops_the_same(alone: Result, strategy: str) -> None:
    """Over three epochs, with other masks in each of them, the same steps as one machine takes alone."""
    result = simulate(load("4node", overrides=[SMALL_CNN, f"strategy={{name: {strategy}}}"]).scenario)
    assert result.parameters is not None
    np.testing.assert_allclose(result.parameters, alone.parameters, rtol=0, atol=1e-4)
    without = simulate(load("4node", overrides=[SMALL_CNN, "task.model.dropout=false"]).scenario)
    assert without.parameters is not None
    assert np.abs(without.parameters - alone.parameters).max() > 1e-2


def test_a_server_that_hands_out_samples_hands_out_their_epoch(alone: Result) -> None:
    """One worker out of step with nobody takes the steps of `local`, and drops what it drops."""
    overrides = [SMALL_CNN, "cluster.nodes=1", "task.batch_size=16"]
    asp = "strategy={name: parameter_server, consistency: asp}"
    one = simulate(load("4node", overrides=[*overrides, asp]).scenario)
    assert one.parameters is not None
    np.testing.assert_allclose(one.parameters, alone.parameters, rtol=0, atol=1e-5)
