"""Softmax regression in a plain JAX loop, without ringsim: the reference of `ringsim bench`, and of nothing else.

    for each step:    for each worker:  gradient of its rows      one jitted call
                      parameters -= rate * mean gradient          one update

It makes the same number of gradient calls of the same shape as a simulated training, so the difference is what ringsim
adds: events, accounts, trace. It shares no code with the engine. It stands here because `jax` is imported only under
`learning/`. What is not here: short batches, other models and optimizers (`engine.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ringsim.learning.data import Dataset
from ringsim.learning.pinned import jax, jnp
from ringsim.learning.runtime import quiet_cache


def plain_loop(data: Dataset, initial: np.ndarray, steps: Sequence[Sequence[np.ndarray]], rate: float) -> float:
    """Train on `data` and return the mean loss on its test split, in nats.

    initial: the bias [classes], then the kernel [features, classes] row by row. steps: for each step, for each worker,
    the indices of its samples (int32); all workers have as many.

    >>> from ringsim.learning.data import load
    >>> from ringsim.scenario import Synthetic
    >>> data = load(Synthetic(kind="synthetic", samples=8, features=2, classes=4), seed=0)
    >>> round(plain_loop(data, np.zeros(12, np.float32), [], rate=0.1), 6)  # log 4: it knows nothing yet
    1.386294
    """
    train_x, train_y = jnp.asarray(data.train_x), jnp.asarray(data.train_y)
    with quiet_cache():
        parameters = initial
        for workers in steps:
            total = np.zeros_like(initial)
            for rows in workers:
                total += np.asarray(_gradient(parameters, train_x, train_y, rows))
            parameters = parameters - np.float32(rate / len(workers)) * total
        return float(_loss(parameters, data.test_x, data.test_y))


@jax.jit
def _loss(parameters: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    features = x.shape[1]
    classes = parameters.size // (features + 1)
    bias, kernel = parameters[:classes], parameters[classes:].reshape(features, classes)
    chances = jax.nn.log_softmax(x @ kernel + bias)
    return -jnp.mean(jnp.take_along_axis(chances, y[:, None], axis=1))


@jax.jit
def _gradient(parameters: jax.Array, x: jax.Array, y: jax.Array, rows: jax.Array) -> jax.Array:
    gradient: jax.Array = jax.grad(_loss)(parameters, x[rows], y[rows])
    return gradient
