"""Parameters as one flat float32 vector: its layout by layers, and its immutable versions.

What moves between machines is the flat vector; what a model computes with is a list of pytrees; `Layout` turns one into
the other, inside a jitted function too. What is not here: arithmetic on parameters (`optimizers.py`, `engine.py`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ringsim.learning.models.model import Model, Parameters
from ringsim.learning.pinned import jax, jnp


@dataclass(frozen=True, eq=False)
class Version:
    """One state of the parameters (or of a gradient): float32 [size], read-only.

    Two versions are equal when they are the same object: each has an `id` of its own, which a copy does not take over,
    and nobody compares bytes to answer. Where bytes that are equal should become one version, `Engine.share` does that.
    To change a version, copy its array and share the copy.
    """

    array: np.ndarray
    id: int = field(init=False, default_factory=itertools.count().__next__)


@dataclass(frozen=True)
class LayerSlice:
    """Where the parameters of one layer lie in the flat vector: `start` to `stop` - 1."""

    name: str
    start: int
    stop: int


@dataclass(frozen=True, eq=False)
class Layout:
    """How a model's parameters lie in the flat vector: layer after layer, leaf after leaf, each in row order.

    slices: one for each layer. size: numbers in all.
    """

    slices: tuple[LayerSlice, ...]
    size: int
    _shapes: tuple[tuple[tuple[int, ...], ...], ...]  # for each layer, for each leaf
    _structures: tuple[Any, ...]  # for each layer, how its leaves are nested

    def flatten(self, parameters: Sequence[Parameters]) -> jax.Array:
        """Return the flat vector [size] of the layers' parameters."""
        leaves = [leaf.reshape(-1) for layer in parameters for leaf in jax.tree.leaves(layer)]
        return jnp.concatenate(leaves) if leaves else jnp.zeros(0, jnp.float32)

    def unflatten(self, flat: jax.Array) -> list[Parameters]:
        """Return the parameters of every layer, from the flat vector [size]."""
        return [self.unflatten_layer(index, flat[layer.start : layer.stop]) for index, layer in enumerate(self.slices)]

    def unflatten_layer(self, index: int, flat: jax.Array) -> Parameters:
        """Return the parameters of one layer, from its own slice of the flat vector."""
        leaves, start = [], 0
        for shape in self._shapes[index]:
            stop = start + math.prod(shape)
            leaves.append(flat[start:stop].reshape(shape))
            start = stop
        return jax.tree.unflatten(self._structures[index], leaves)


def layout(model: Model) -> Layout:
    """Return how the parameters of `model` lie in a flat vector. Computes shapes only, no numbers.

    >>> from ringsim.learning.models.layers import dense
    >>> layout(Model((dense("a", 3, 2), dense("b", 2, 1)))).slices
    (LayerSlice(name='a', start=0, stop=8), LayerSlice(name='b', start=8, stop=11))
    """
    slices, shapes, structures, start = [], [], [], 0
    abstract = jax.eval_shape(lambda: model.init(jax.random.key(0)))
    for layer, parameters in zip(model.layers, abstract, strict=True):
        leaves, structure = jax.tree.flatten(parameters)
        shapes.append(tuple(leaf.shape for leaf in leaves))
        structures.append(structure)
        stop = start + sum(math.prod(leaf.shape) for leaf in leaves)
        slices.append(LayerSlice(layer.name, start, stop))
        start = stop
    return Layout(tuple(slices), start, tuple(shapes), tuple(structures))
