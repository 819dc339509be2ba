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

from ringsim.learning.engine import Engine, Jitted, noise_keys
from ringsim.learning.models.model import Model, Parameters
from ringsim.learning.parameters import Layout, Version, layout
from ringsim.learning.pinned import jax, jnp


@dataclass(frozen=True, eq=False)
class Stage:
    """Layers `first` to `last` - 1 of an engine's model, for at most `rows` samples at a time.

    Arrays have `rows` rows, of which the first are samples and the rest is padding. `indices` and `epoch` name the
    samples for what the layers draw in training, such as dropout, and for the labels.

    >>> from ringsim.scenario import Mlp, Task
    >>> engine = Engine(Task(steps=1, model=Mlp(kind="mlp", hidden=(8,))), seed=7, rows=4)
    >>> one, two = Stage(engine, 0, 1, 4), Stage(engine, 1, 2, 4)
    >>> whole = engine.initial().parameters.array
    >>> parts = [engine.share(whole[stage.part]) for stage in (one, two)]
    >>> inputs = one.samples((5, 6, 7))
    >>> between = one.forward(parts[0], inputs, (5, 6, 7), epoch=0)
    >>> loss, last, back = two.backward_from_labels(parts[1], between, (5, 6, 7), epoch=0, weight=1.0)
    >>> first, _ = one.backward(parts[0], inputs, (5, 6, 7), 0, back)
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

    def forward(self, parameters: Version, inputs: np.ndarray, indices: Sequence[int], epoch: int) -> np.ndarray:
        """Return the outputs [rows, ...] for inputs [rows, ...]."""
        noise = self._noise(indices, epoch)
        return np.asarray(self._functions.forward(self.engine.device(parameters), inputs, *noise))

    def backward(
        self, parameters: Version, inputs: np.ndarray, indices: Sequence[int], epoch: int, above: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the gradients of the stage's parameters, float32 [size], and of its inputs [rows, ...].

        above: the gradient of the outputs [rows, ...].
        """
        noise = self._noise(indices, epoch)
        gradient, below = self._functions.backward(self.engine.device(parameters), inputs, *noise, above)
        return np.asarray(gradient), np.asarray(below)

    def backward_from_labels(
        self, parameters: Version, inputs: np.ndarray, indices: Sequence[int], epoch: int, weight: float
    ) -> tuple[float, np.ndarray, np.ndarray]:
        """Return the mean loss of samples, and `weight` times its gradients: of parameters, and of inputs."""
        labels = self._padded(self.engine.dataset.train_y[list(indices)])
        count, share = np.int32(len(indices)), np.float32(weight)
        device, noise = self.engine.device(parameters), self._noise(indices, epoch)
        loss, gradient, below = self._functions.from_labels(device, inputs, *noise, labels, count, share)
        return float(loss), np.asarray(gradient), np.asarray(below)

    def _noise(self, indices: Sequence[int], epoch: int) -> tuple[np.ndarray, np.ndarray, np.int32]:
        """Return what names the draws of a pass: the same as in a gradient of the whole model."""
        return self.engine.noise_key, self._padded(np.array(indices, np.int32)), np.int32(epoch)

    def _padded(self, array: np.ndarray) -> np.ndarray:
        padded = np.zeros((self.rows, *array.shape[1:]), array.dtype)
        padded[: len(array)] = array
        return padded


@dataclass(frozen=True, eq=False)
class _Functions:
    """The three functions of a stage, each compiled once."""

    forward: Jitted  # flat, inputs, noise (key words, rows, epoch) -> outputs
    backward: Jitted  # flat, inputs, noise, gradient of the outputs -> flat gradient, gradient of the inputs
    from_labels: Jitted  # flat, inputs, noise, labels, number of samples, weight -> mean loss, the same two


@functools.lru_cache(maxsize=128)
def _functions(model: Model, first: int, last: int, rows: int) -> _Functions:
    where = layout(model)

    def forward(
        flat: jax.Array, inputs: jax.Array, key_words: jax.Array, samples: jax.Array, epoch: jax.Array
    ) -> jax.Array:
        keys = noise_keys(key_words, epoch, samples) if model.draws else None
        return model.apply(_unflattened(where, first, last, flat), inputs, keys, first)

    def backward(flat: jax.Array, inputs: jax.Array, *noise_and_above: jax.Array) -> tuple[jax.Array, jax.Array]:
        *noise, above = noise_and_above
        gradient, below = jax.vjp(lambda flat, inputs: forward(flat, inputs, *noise), flat, inputs)[1](above)
        return gradient, below

    def from_labels(flat: jax.Array, inputs: jax.Array, *others: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        *noise, labels, count, weight = others

        def mean_loss(flat: jax.Array, inputs: jax.Array) -> jax.Array:
            losses = model.loss(forward(flat, inputs, *noise), labels)
            return jnp.sum(jnp.where(jnp.arange(rows) < count, losses, 0)) / count

        loss, back = jax.vjp(mean_loss, flat, inputs)
        gradient, below = back(weight)
        return loss, gradient, below

    return _Functions(Jitted(forward), Jitted(backward), Jitted(from_labels))


def _unflattened(where: Layout, first: int, last: int, flat: jax.Array) -> list[Parameters]:
    """Return the parameters of each layer of a stage, from the stage's part of the flat vector."""
    start = where.slices[first].start
    slices = enumerate(where.slices[first:last], start=first)
    return [where.unflatten_layer(index, flat[layer.start - start : layer.stop - start]) for index, layer in slices]
