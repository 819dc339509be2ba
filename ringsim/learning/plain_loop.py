"""Training in a plain JAX loop, without ringsim: the reference of `ringsim bench`, and of nothing else.

    for each step:    for each worker:  gradient of its rows      one jitted call, summed up in NumPy
                      parameters -= rate * mean gradient          one jitted call of optax

Given each worker's rows it makes as many gradient calls of the same shape as a simulated training, so the difference is
what ringsim adds: events, accounts, trace. Given all rows of a step at once it is one machine with one big batch. It
takes a `Model` for what is learned, and shares no code with the engine but the names of what dropout draws: parameters
stay pytrees here. It stands here because `jax` is imported only under `learning/`. What is not here: optimizers with a
memory (`engine.py`).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ringsim.learning.data import Dataset
from ringsim.learning.engine import noise_keys
from ringsim.learning.models.model import Model, Parameters
from ringsim.learning.pinned import jax, jnp, optax
from ringsim.learning.runtime import quiet_cache


class Rows(NamedTuple):
    """What one gradient is of. A short batch is filled up with sample 0, which weighs nothing.

    samples: int32 [rows]. weights: float32 [rows], that of each sample in the mean. share: of this mean in the step's.
    epoch: of the samples, for what dropout draws.
    """

    samples: np.ndarray
    weights: np.ndarray
    share: np.float32
    epoch: np.int32


def rows_of(samples: Sequence[int], rows: int, total: int, epoch: int = 0) -> Rows:
    """Return a batch of `samples`, filled up to `rows`, of a step that has `total` samples.

    >>> rows_of((7, 5), rows=3, total=8).weights, rows_of((7, 5), rows=3, total=8).share
    (array([0.5, 0.5, 0. ], dtype=float32), np.float32(0.25))
    """
    filled, weights = np.zeros(rows, np.int32), np.zeros(rows, np.float32)
    filled[: len(samples)] = samples
    weights[: len(samples)] = 1 / max(1, len(samples))
    return Rows(filled, weights, np.float32(len(samples) / total), np.int32(epoch))


def plain_loop(
    model: Model,
    data: Dataset,
    parameters: Sequence[Parameters],
    steps: Sequence[Sequence[Rows]],
    rate: float,
    noise_key: np.ndarray,
) -> float:
    """Train on `data` by SGD and return the mean loss on its test split, in nats.

    parameters: one entry a layer, as `Model.init` gives them. steps: for each step, for each worker, its rows; all have
    as many. noise_key: the engine's, of what dropout draws.

    >>> from ringsim.learning.data import load
    >>> from ringsim.learning.models.build import build
    >>> from ringsim.scenario import Softmax, Synthetic
    >>> data = load(Synthetic(kind="synthetic", samples=8, features=2, classes=4), seed=0)
    >>> nothing = [{"bias": np.zeros(4, np.float32), "kernel": np.zeros((2, 4), np.float32)}]
    >>> model = build(Softmax(kind="softmax"), data)
    >>> round(plain_loop(model, data, nothing, [], 0.1, np.zeros(2, np.uint32)), 6)  # log 4: it knows nothing yet
    1.386294
    """
    gradient, update, loss, optimizer = _jitted(model, rate)
    x, y = jnp.asarray(data.train_x), jnp.asarray(data.train_y)
    state: Any = optimizer.init(parameters)
    with quiet_cache():
        for workers in steps:
            mean: list[np.ndarray] = []
            for rows in workers:
                found = gradient(parameters, x, y, rows.samples, rows.weights, noise_key, rows.epoch)
                leaves, structure = jax.tree.flatten(found)
                weighted = [rows.share * np.asarray(leaf) for leaf in leaves]
                mean = [total + leaf for total, leaf in zip(mean, weighted, strict=True)] if mean else weighted
            parameters, state = update(parameters, state, jax.tree.unflatten(structure, mean))
        return float(loss(parameters, data.test_x, data.test_y))


@functools.lru_cache(maxsize=8)
def _jitted(model: Model, rate: float) -> tuple[Any, Any, Any, optax.GradientTransformation]:
    """Return gradient, update and test loss, compiled once for all rounds, and the optimizer."""
    optimizer = optax.sgd(rate)

    def mean_loss(
        parameters: Any,
        x: jax.Array,
        y: jax.Array,
        samples: jax.Array,
        weights: jax.Array,
        noise_key: jax.Array,
        epoch: jax.Array,
    ) -> jax.Array:
        keys = noise_keys(noise_key, epoch, samples) if model.draws else None
        return jnp.sum(weights * model.loss(model.apply(parameters, x[samples], keys), y[samples]))

    def update(parameters: Any, state: Any, gradient: Any) -> tuple[Any, Any]:
        change, state = optimizer.update(gradient, state, parameters)
        return optax.apply_updates(parameters, change), state

    def loss(parameters: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.mean(model.loss(model.apply(parameters, x), y))

    return jax.jit(jax.grad(mean_loss)), jax.jit(update), jax.jit(loss), optimizer
