"""The layers that the shipped models are made of: dense, convolution, max pooling; and dropout around any of them.

Weights start Glorot-uniform and biases at zero (Glorot & Bengio 2010; the defaults of Keras, whose example the cnn
follows). FLOP are those of the products; biases, ReLU and maxima are not counted. What is not here: whole models.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from ringsim.errors import UsageError
from ringsim.learning.models.model import Layer, Parameters
from ringsim.learning.pinned import jax, jnp

Activation = Callable[[jax.Array], jax.Array]

_DRAWS = 1 << 16  # dropout draws one of so many numbers for an output


def identity(outputs: jax.Array) -> jax.Array:
    """Return the outputs as they are: the activation of a last layer, whose outputs are logits."""
    return outputs


def glorot_uniform(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Return weights [..., inputs, outputs], even between -a and a with a = sqrt(6 / (fan in + fan out))."""
    field = math.prod(shape[:-2])  # positions of a convolution's kernel; 1 for a dense layer
    limit = math.sqrt(6 / (field * (shape[-2] + shape[-1])))
    return jax.random.uniform(key, shape, jnp.float32, -limit, limit)


def dense(name: str, inputs: int, outputs: int, activation: Activation = identity) -> Layer:
    """Return activation(x @ kernel + bias), from [rows, ...] of `inputs` numbers a row to [rows, outputs]."""

    def init(key: jax.Array) -> Parameters:
        return {"kernel": glorot_uniform(key, (inputs, outputs)), "bias": jnp.zeros(outputs, jnp.float32)}

    def apply(parameters: Parameters, x: jax.Array) -> jax.Array:
        x = x.reshape(x.shape[0], inputs)
        return activation(x @ parameters["kernel"] + parameters["bias"])

    return Layer(name, init, apply, flop=2 * inputs * outputs, output_shape=(outputs,))


def convolution(
    name: str, image_shape: tuple[int, int, int], outputs: int, side: int, activation: Activation = identity
) -> Layer:
    """Return a convolution by a `side` x `side` kernel, without padding, from `image_shape` to `outputs` channels.

    The input may be flat [rows, height * width * channels], as data sets are, or [rows, height, width, channels].
    """
    height, width, channels = image_shape
    output_shape = (height - side + 1, width - side + 1, outputs)

    def init(key: jax.Array) -> Parameters:
        kernel = glorot_uniform(key, (side, side, channels, outputs))
        return {"kernel": kernel, "bias": jnp.zeros(outputs, jnp.float32)}

    def apply(parameters: Parameters, x: jax.Array) -> jax.Array:
        x = x.reshape(x.shape[0], *image_shape)
        x = jax.lax.conv_general_dilated(
            x, parameters["kernel"], (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return activation(x + parameters["bias"])

    flop = 2 * side * side * channels * math.prod(output_shape)
    return Layer(name, init, apply, flop, output_shape)


def max_pool(name: str, image_shape: tuple[int, int, int], side: int) -> Layer:
    """Return the maximum of each `side` x `side` square; rows and columns that fill no square are left out.

    Where several pixels of a square are the maximum, they share its gradient evenly.
    """
    height, width, channels = image_shape
    output_shape = (height // side, width // side, channels)

    def init(key: jax.Array) -> Parameters:
        del key  # Nothing to draw.
        return {}

    def apply(parameters: Parameters, x: jax.Array) -> jax.Array:
        del parameters
        x = x[:, : output_shape[0] * side, : output_shape[1] * side]
        # A reshape and a maximum: its gradient compiles and runs faster on a CPU than that of a sliding window.
        return x.reshape(x.shape[0], output_shape[0], side, output_shape[1], side, channels).max(axis=(2, 4))

    return Layer(name, init, apply, flop=0, output_shape=output_shape)


def dropout(layer: Layer, rate: float) -> Layer:
    """Return `layer` with a part `rate` of its outputs, drawn anew for each row, set to zero in gradients.

    The others grow by 1 / (1 - rate), so that nothing needs to change in evaluations (Srivastava et al. 2014, section
    10, the other way round, as Keras has it). Sixteen bits decide on an output, so the rate is one of 65,536. At a rate
    of 0 the layer stays as it is. Raises UsageError for a rate that is not from 0 to less than 1.

    >>> half = dropout(dense("ones", 3, 1000), 0.5)
    >>> ones = {"kernel": jnp.ones((3, 1000)), "bias": jnp.zeros(1000)}
    >>> outputs = half.train(ones, jnp.ones((1, 3)), jax.random.split(jax.random.key(0), 1))
    >>> sorted(set(outputs[0].tolist())), abs(float(outputs.mean()) - 3) < 0.3
    ([0.0, 6.0], True)
    """
    if not (isinstance(rate, (int, float)) and 0 <= rate < 1):
        raise UsageError(f"dropout takes a rate from 0 to less than 1, not {rate!r}")
    bound = min(round(rate * _DRAWS), _DRAWS - 1)
    if bound == 0:
        return layer
    size, growth = math.prod(layer.output_shape), _DRAWS / (_DRAWS - bound)

    def draw(key: jax.Array) -> jax.Array:
        # Half the words are half the time: two outputs share one.
        pairs = jax.lax.bitcast_convert_type(jax.random.bits(key, (-(-size // 2),), jnp.uint32), jnp.uint16)
        return pairs.reshape(-1)[:size].reshape(layer.output_shape)

    def train(parameters: Parameters, x: jax.Array, keys: jax.Array) -> jax.Array:
        return jnp.where(jax.vmap(draw)(keys) >= bound, layer.apply(parameters, x) * growth, 0)

    return replace(layer, train=train)
