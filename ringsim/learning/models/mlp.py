"""The multi-layer perceptron: fully connected layers with ReLU between them."""

from __future__ import annotations

import itertools

from ringsim.learning.data import Shape
from ringsim.learning.models.layers import dense
from ringsim.learning.models.model import Model
from ringsim.learning.pinned import jax
from ringsim.scenario import Mlp


def mlp(settings: Mlp, shape: Shape) -> Model:
    """Return features -> hidden widths -> classes.

    >>> model = mlp(Mlp(kind="mlp", hidden=(128,)), Shape(64, 10, None))
    >>> [(layer.name, layer.flop) for layer in model.layers]
    [('hidden0', 16384), ('logits', 2560)]
    >>> model.flop_per_sample
    56832
    """
    widths = (shape.features, *settings.hidden)
    hidden = (
        dense(f"hidden{index}", inputs, outputs, jax.nn.relu)
        for index, (inputs, outputs) in enumerate(itertools.pairwise(widths))
    )
    return Model((*hidden, dense("logits", widths[-1], shape.classes)))
