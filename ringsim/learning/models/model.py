"""What a model is: a list of layers, a loss and an accuracy. A user's own model is another `Model`.

Data parallelism differentiates the whole; a pipeline stage takes some of the layers. What is not here: the layers
themselves (`layers.py`), and flat vectors (`parameters.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ringsim.errors import UsageError
from ringsim.learning.pinned import jax, jnp

# The parameters of one layer: any nesting of dicts, lists and tuples with float32 arrays for leaves; {} for none.
Parameters = Any

# A backward pass computes two gradients for each product of the forward pass: of its input and of its weights.
TRAINING_FLOP_PER_FORWARD_FLOP = 3


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer.

    init: key -> parameters. apply: (parameters, inputs [rows, ...]) -> outputs [rows, *output_shape]; a pure function.
    flop: floating-point operations of the forward pass of one sample, a multiply-add counting as two. train: what takes
    the place of `apply` in a gradient, if the layer draws there: (parameters, inputs, keys [rows]) -> outputs.

    Raises UsageError where flop or output_shape are no whole numbers.
    """

    name: str
    init: Callable[[jax.Array], Parameters]
    apply: Callable[[Parameters, jax.Array], jax.Array]
    flop: int
    output_shape: tuple[int, ...]
    train: Callable[[Parameters, jax.Array, jax.Array], jax.Array] | None = None

    def __post_init__(self) -> None:
        if not _is_count(self.flop):
            raise UsageError(f"layer {self.name}: flop is a whole number, 0 or more, not {self.flop!r}")
        if not (isinstance(self.output_shape, tuple) and all(map(_is_count, self.output_shape))):
            raise UsageError(f"layer {self.name}: output_shape is a tuple such as (10,), not {self.output_shape!r}")


def _is_count(number: object) -> bool:
    return isinstance(number, int) and number >= 0


def softmax_cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Return each sample's loss [rows] in nats, from logits [rows, classes] and labels [rows].

    >>> print(softmax_cross_entropy(jnp.zeros((1, 4)), jnp.array([2])))
    [1.3862944]
    """
    right = jnp.take_along_axis(logits, labels[:, None], axis=-1)[:, 0]
    return jax.nn.logsumexp(logits, axis=-1) - right


def most_likely_is_right(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Return for each sample [rows] whether the largest logit is the label's; the first of equal ones counts.

    >>> print(most_likely_is_right(jnp.array([[0.1, 0.9], [0.8, 0.2]]), jnp.array([1, 1])))
    [ True False]
    """
    return jnp.argmax(logits, axis=-1) == labels


@dataclass(frozen=True, eq=False)
class Model:
    """A list of layers, and a loss and an accuracy of each sample: (outputs [rows, ...], labels [rows]) -> [rows].

    loss gives float32; accuracy gives bool, whether the answer is right. The engine takes the means, because only
    it knows which rows of a padded batch are samples.

    Raises UsageError where layers is no tuple of them, or empty. What the functions return, `checks.py` looks at.
    """

    layers: tuple[Layer, ...]
    loss: Callable[[jax.Array, jax.Array], jax.Array] = softmax_cross_entropy
    accuracy: Callable[[jax.Array, jax.Array], jax.Array] = most_likely_is_right

    def __post_init__(self) -> None:
        layers: object = self.layers
        if not isinstance(layers, tuple):
            raise UsageError(f"a model takes a tuple of layers, as (first, last) is one, not a {type(layers).__name__}")
        if not layers:
            raise UsageError("a model needs at least one layer")
        for layer in layers:
            if not isinstance(layer, Layer):
                raise UsageError(f"each layer of a model is a Layer, not {layer!r}")

    @property
    def flop_per_sample(self) -> int:
        """Work of one sample forward and backward, counted from the layers' shapes: three times the forward pass."""
        return TRAINING_FLOP_PER_FORWARD_FLOP * sum(layer.flop for layer in self.layers)

    @property
    def draws(self) -> bool:
        """Whether a gradient depends on random numbers, such as those of dropout."""
        return any(layer.train is not None for layer in self.layers)

    @property
    def costs(self) -> tuple[int, ...]:
        """Work of each layer beside the others': its FLOP. Where no layer says what it costs, they cost the same."""
        flop = tuple(layer.flop for layer in self.layers)
        return flop if any(flop) else (1,) * len(flop)

    def init(self, key: jax.Array) -> list[Parameters]:
        """Return fresh parameters, one entry a layer; a layer's draw depends on its index alone, not on its name."""
        # The pinned (partitionable) Threefry gives key `index` whatever the number of keys, and compiles once for all.
        keys = jax.random.split(key, len(self.layers))
        return [layer.init(keys[index]) for index, layer in enumerate(self.layers)]

    def apply(
        self, parameters: Sequence[Parameters], inputs: jax.Array, keys: jax.Array | None = None, first: int = 0
    ) -> jax.Array:
        """Return the outputs [rows, ...] of layers from `first` on, as many as there are parameters.

        keys: one a row, for what the layers draw in a gradient; None: nothing is drawn, as in an evaluation.
        """
        for index, layer_parameters in enumerate(parameters, start=first):
            layer = self.layers[index]
            if keys is None or layer.train is None:
                inputs = layer.apply(layer_parameters, inputs)
            else:
                inputs = layer.train(layer_parameters, inputs, jax.vmap(jax.random.fold_in, (0, None))(keys, index))
        return inputs
