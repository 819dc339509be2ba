"""A stage: some layers of a model, one after another, with a forward and a backward pass of their own.

    inputs ──forward──► outputs                         at the stage's parameters
    inputs, gradient of the outputs ──backward──► gradient of the parameters, gradient of the inputs

The backward pass takes any parameters: those of the forward pass, newer or predicted ones. It goes forward once more by
itself from the stage's inputs (a vector-Jacobian product, `jax.vjp`), so these are all that a stage must keep; in the
simulated world that costs no time. The last stage begins the backward pass from the labels. What is not here: which
layers make a stage (`strategies/partition.py`), and when a pass is made.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ringsim.learning.engine import Engine, Jitted
from ringsim.learning.models.model import Model
from ringsim.learning.parameters import Layout, Version, layout
from ringsim.learning.pinned import jax, jnp


@dataclass(frozen=True, eq=False)
class Stage:
    """Layers `first` to `last` - 1 of an engine's model, for at most `rows` samples at a time.

    Arrays have `rows` rows, of which the first are samples and the rest is padding.

    >>> from ringsim.scenario import Mlp, Task
    >>> engine = Engine(Task(steps=1, model=Mlp(kind="mlp", hidden=(8,))), seed=7, rows=4)
    >>> one, two = Stage(engine, 0, 1, 4), Stage(engine, 1, 2, 4)
    >>> whole = engine.initial().parameters.array
    >>> parts = [engine.share(whole[stage.part]) for stage in (one, two)]
    >>> inputs = one.samples((5, 6, 7))
    >>> between = one.forward(parts[0], inputs)
    >>> loss, last, back = two.backward_from_labels(parts[1], between, (5, 6, 7), weight=1.0)
    >>> first, _ = one.backward(parts[0], inputs, back)
    >>> whole = engine.gradient(engine.initial().parameters, (5, 6, 7)).value()
    >>> bool(np.allclose(np.concatenate([first, last]), whole.array, atol=1e-6)), abs(loss - whole.loss) < 1e-6
    (True, True)
    """

    engine: Engine
    first: int
    last: int
    rows: int

    @functools.cached_property
    def part(self) -> slice:
        """Where the stage's parameters lie in the flat vector."""
        slices = self.engine.layout.slices
        return slice(slices[self.first].start, slices[self.last - 1].stop)

    @property
    def is_last(self) -> bool:
        """Whether the model's outputs are this stage's."""
        return self.last == len(self.engine.model.layers)

    @property
    def output_bytes(self) -> int:
        """What one sample's outputs take, and the gradient of them: float32."""
        return 4 * math.prod(self.engine.model.layers[self.last - 1].output_shape)

    @property
    def _functions(self) -> _Functions:
        return _functions(self.engine.model, self.first, self.last, self.rows)

    def samples(self, indices: Sequence[int]) -> np.ndarray:
        """Return training samples as the first stage's inputs, float32 [rows, features]."""
        return self._padded(self.engine.dataset.train_x[list(indices)])

    def forward(self, parameters: Version, inputs: np.ndarray) -> np.ndarray:
        """Return the outputs [rows, ...] for inputs [rows, ...]."""
        return np.asarray(self._functions.forward(self.engine.device(parameters), inputs))

    def backward(self, parameters: Version, inputs: np.ndarray, above: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the gradients of the stage's parameters, float32 [size], and of its inputs [rows, ...].

        above: the gradient of the outputs [rows, ...].
        """
        gradient, below = self._functions.backward(self.engine.device(parameters), inputs, above)
        return np.asarray(gradient), np.asarray(below)

    def backward_from_labels(
        self, parameters: Version, inputs: np.ndarray, indices: Sequence[int], weight: float
    ) -> tuple[float, np.ndarray, np.ndarray]:
        """Return the mean loss of samples, and `weight` times its gradients: of parameters, and of inputs."""
        labels = self._padded(self.engine.dataset.train_y[list(indices)])
        count, share = np.int32(len(indices)), np.float32(weight)
        device = self.engine.device(parameters)
        loss, gradient, below = self._functions.from_labels(device, inputs, labels, count, share)
        return float(loss), np.asarray(gradient), np.asarray(below)

    def _padded(self, array: np.ndarray) -> np.ndarray:
        padded = np.zeros((self.rows, *array.shape[1:]), array.dtype)
        padded[: len(array)] = array
        return padded


@dataclass(frozen=True, eq=False)
class _Functions:
    """The three functions of a stage, each compiled once."""

    forward: Jitted  # flat, inputs -> outputs
    backward: Jitted  # flat, inputs, gradient of the outputs -> flat gradient, gradient of the inputs
    from_labels: Jitted  # flat, inputs, labels, number of samples, weight -> mean loss, the same two


@functools.lru_cache(maxsize=128)
def _functions(model: Model, first: int, last: int, rows: int) -> _Functions:
    where = layout(model)

    def forward(flat: jax.Array, inputs: jax.Array) -> jax.Array:
        return _through(model, where, first, last, flat, inputs)

    def backward(flat: jax.Array, inputs: jax.Array, above: jax.Array) -> tuple[jax.Array, jax.Array]:
        gradient, below = jax.vjp(forward, flat, inputs)[1](above)
        return gradient, below

    def from_labels(
        flat: jax.Array, inputs: jax.Array, labels: jax.Array, count: jax.Array, weight: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        def mean_loss(flat: jax.Array, inputs: jax.Array) -> jax.Array:
            losses = model.loss(forward(flat, inputs), labels)
            return jnp.sum(jnp.where(jnp.arange(rows) < count, losses, 0)) / count

        loss, back = jax.vjp(mean_loss, flat, inputs)
        gradient, below = back(weight)
        return loss, gradient, below

    return _Functions(Jitted(forward), Jitted(backward), Jitted(from_labels))


def _through(model: Model, where: Layout, first: int, last: int, flat: jax.Array, inputs: jax.Array) -> jax.Array:
    start = where.slices[first].start
    for index in range(first, last):
        layer = where.slices[index]
        parameters = where.unflatten_layer(index, flat[layer.start - start : layer.stop - start])
        inputs = model.layers[index].apply(parameters, inputs)
    return inputs
