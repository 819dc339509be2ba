"""Softmax regression: one linear layer. Its loss is convex, so it is the model to compare exact answers on."""

from __future__ import annotations

from ringsim.learning.data import Shape
from ringsim.learning.models.layers import dense
from ringsim.learning.models.model import Model
from ringsim.scenario import Softmax


def softmax(settings: Softmax, shape: Shape) -> Model:
    """Return features -> classes.

    >>> [layer.name for layer in softmax(Softmax(kind="softmax"), Shape(64, 10, None)).layers]
    ['logits']
    """
    del settings  # It has none.
    return Model((dense("logits", shape.features, shape.classes),))
