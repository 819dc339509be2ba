"""The cnn in plain NumPy, forward and backward by hand in float64: an oracle of gradients that knows no JAX.

    x -> conv 3x3, 32, ReLU -> conv 3x3, 64, ReLU -> max pool 2x2 -> dense 128, ReLU -> dense -> softmax cross-entropy

It imports nothing of ringsim. Parameters are a flat vector: layer after layer, of each the bias and then the kernel in
row order (height, width, inputs, outputs). What is not here: mlps (`plain_numpy.py`).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

SIDE = 3  # of a kernel
POOL = 2


@dataclass(frozen=True)
class Weights:
    """What one layer has learned."""

    bias: np.ndarray
    kernel: np.ndarray


@dataclass(frozen=True)
class Passed:
    """What a forward pass leaves for the backward pass, [rows, ...]."""

    x: np.ndarray
    conv1: np.ndarray  # before its ReLU, as are conv2 and dense
    conv2: np.ndarray
    pooled: np.ndarray
    dense: np.ndarray
    logits: np.ndarray


@dataclass(frozen=True)
class PlainCnn:
    """The network for images of one shape; it has no parameters of its own."""

    image_shape: tuple[int, int, int]
    classes: int

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each layer's kernel; a bias has as many numbers as its kernel has outputs."""
        height, width, channels = self.image_shape
        pooled = ((height - 4) // POOL) * ((width - 4) // POOL) * 64
        return {
            "conv1": (SIDE, SIDE, channels, 32),
            "conv2": (SIDE, SIDE, 32, 64),
            "dense": (pooled, 128),
            "logits": (128, self.classes),
        }

    @property
    def slices(self) -> dict[tuple[str, str], slice]:
        """Where each bias and kernel lies in the flat vector."""
        names = [(layer, what) for layer in self.shapes for what in ("bias", "kernel")]
        sizes = [size for shape in self.shapes.values() for size in (shape[-1], math.prod(shape))]
        ends = list(itertools.accumulate(sizes))
        return {name: slice(end - size, end) for name, size, end in zip(names, sizes, ends, strict=True)}

    @property
    def size(self) -> int:
        """How many parameters there are."""
        return max(part.stop for part in self.slices.values())

    def weights(self, flat: np.ndarray) -> dict[str, Weights]:
        """Return the layers of a flat vector, in float64."""
        parts = {name: flat[part].astype(np.float64) for name, part in self.slices.items()}
        return {
            layer: Weights(parts[layer, "bias"], parts[layer, "kernel"].reshape(shape))
            for layer, shape in self.shapes.items()
        }

    def forward(self, flat: np.ndarray, x: np.ndarray) -> Passed:
        """Send images [rows, pixels] through the network."""
        weights = self.weights(flat)
        x = x.astype(np.float64).reshape(len(x), *self.image_shape)
        conv1 = convolved(x, weights["conv1"])
        conv2 = convolved(np.maximum(conv1, 0), weights["conv2"])
        pooled = squares(np.maximum(conv2, 0)).max(axis=-1)
        dense = pooled.reshape(len(x), -1) @ weights["dense"].kernel + weights["dense"].bias
        logits = np.maximum(dense, 0) @ weights["logits"].kernel + weights["logits"].bias
        return Passed(x, conv1, conv2, pooled, dense, logits)

    def loss(self, flat: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
        """Return the mean softmax cross-entropy, in nats."""
        return mean_cross_entropy(self.forward(flat, x).logits, y)

    def gradient(self, flat: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the mean loss and its gradient, as a flat vector. Equal maxima of a square share its gradient."""
        weights, passed, found = self.weights(flat), self.forward(flat, x), {}
        above = softmax(passed.logits)
        above[np.arange(len(y)), y] -= 1
        above /= len(y)
        found["logits"] = Weights(above.sum(axis=0), np.maximum(passed.dense, 0).T @ above)
        above = (above @ weights["logits"].kernel.T) * (passed.dense > 0)
        found["dense"] = Weights(above.sum(axis=0), passed.pooled.reshape(len(y), -1).T @ above)
        above = (above @ weights["dense"].kernel.T).reshape(passed.pooled.shape)
        above = unpooled(above, np.maximum(passed.conv2, 0)) * (passed.conv2 > 0)
        found["conv2"], above = convolved_back(np.maximum(passed.conv1, 0), weights["conv2"], above)
        found["conv1"], _ = convolved_back(passed.x, weights["conv1"], above * (passed.conv1 > 0))
        parts = [part.ravel() for layer in self.shapes for part in (found[layer].bias, found[layer].kernel)]
        return mean_cross_entropy(passed.logits, y), np.concatenate(parts)

    def pattern(self, flat: np.ndarray, x: np.ndarray) -> tuple[bytes, ...]:
        """Return which ReLUs are open and which pixels are maxima: while these stay, nothing has a kink."""
        passed = self.forward(flat, x)
        cells = squares(np.maximum(passed.conv2, 0))
        masks = (passed.conv1 > 0, passed.conv2 > 0, passed.dense > 0, cells == cells.max(axis=-1, keepdims=True))
        return tuple(np.packbits(mask).tobytes() for mask in masks)


def convolved(x: np.ndarray, weights: Weights) -> np.ndarray:
    """Return a convolution without padding, one position of the kernel after the other."""
    height, width = x.shape[1] - SIDE + 1, x.shape[2] - SIDE + 1
    found = np.zeros((len(x), height, width, len(weights.bias))) + weights.bias
    for i, j in np.ndindex(SIDE, SIDE):
        found += x[:, i : i + height, j : j + width] @ weights.kernel[i, j]
    return found


def convolved_back(x: np.ndarray, weights: Weights, above: np.ndarray) -> tuple[Weights, np.ndarray]:
    """Return the gradients of a convolution's weights and of its input."""
    height, width = above.shape[1:3]
    kernel, below = np.zeros(weights.kernel.shape), np.zeros(x.shape)
    for i, j in np.ndindex(SIDE, SIDE):
        under = x[:, i : i + height, j : j + width]
        kernel[i, j] = np.tensordot(under, above, axes=((0, 1, 2), (0, 1, 2)))
        below[:, i : i + height, j : j + width] += above @ weights.kernel[i, j].T
    return Weights(above.sum(axis=(0, 1, 2)), kernel), below


def squares(x: np.ndarray) -> np.ndarray:
    """Return the pixels of each square, [rows, height, width, channels, 4]; what fills no square is left out."""
    height, width = x.shape[1] // POOL * POOL, x.shape[2] // POOL * POOL
    return np.stack([x[:, i:height:POOL, j:width:POOL] for i, j in np.ndindex(POOL, POOL)], axis=-1)


def unpooled(above: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the gradient of what was pooled, from that of the maxima."""
    cells = squares(x)
    is_largest = cells == cells.max(axis=-1, keepdims=True)
    shares = is_largest / is_largest.sum(axis=-1, keepdims=True)
    below = np.zeros(x.shape)
    for place, (i, j) in enumerate(np.ndindex(POOL, POOL)):
        height, width = above.shape[1] * POOL, above.shape[2] * POOL
        below[:, i:height:POOL, j:width:POOL] = shares[..., place] * above
    return below


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the chances [rows, classes]."""
    chances = np.exp(logits - logits.max(axis=1, keepdims=True))
    return chances / chances.sum(axis=1, keepdims=True)


def mean_cross_entropy(logits: np.ndarray, y: np.ndarray) -> float:
    """Return the mean of -log(chance of the right class)."""
    top = logits.max(axis=1)
    return float(np.mean(top + np.log(np.exp(logits - top[:, None]).sum(axis=1)) - logits[np.arange(len(y)), y]))
