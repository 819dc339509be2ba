"""The convolutional network of the Keras and Horovod MNIST examples; 1,199,882 parameters on 28x28 images.

    conv 3x3, 32, ReLU -> conv 3x3, 64, ReLU -> max pool 2x2 -> dense 128, ReLU -> dense, one for each class

As in the examples, a gradient leaves out a quarter of what the pool gives and half of what the dense layer gives, at
random. Which ones follows from the seed, the epoch, the sample and the layer, so every gradient is a function of
(parameters, epoch, samples) alone, whichever worker computes it, and however often. What is not here: the layers.
"""

from __future__ import annotations

import math
from typing import cast

from ringsim.errors import Problem, ScenarioInvalid
from ringsim.learning.data import Shape
from ringsim.learning.models.layers import convolution, dense, dropout, max_pool
from ringsim.learning.models.model import Model
from ringsim.learning.pinned import jax
from ringsim.scenario import Cnn

DROPPED_AFTER_POOL = 0.25
DROPPED_AFTER_DENSE = 0.5
SMALLEST_SIDE = 6  # pixels: two convolutions take two each, and the pool needs two


def cnn(settings: Cnn, shape: Shape) -> Model:
    """Return the network for images of any size from 6x6 on.

    Raises ScenarioInvalid where the data has no images, or too small ones.

    >>> model = cnn(Cnn(kind="cnn"), Shape(784, 10, (28, 28, 1)))
    >>> [layer.output_shape for layer in model.layers]
    [(26, 26, 32), (24, 24, 64), (12, 12, 64), (128,), (10,)]
    """
    if shape.image_shape is None or min(shape.image_shape[:2]) < SMALLEST_SIDE:
        sentence = f"cnn needs images of at least {SMALLEST_SIDE}x{SMALLEST_SIDE} pixels; this dataset has none"
        raise ScenarioInvalid((Problem("", "task.model", sentence),))
    conv1 = convolution("conv1", shape.image_shape, 32, 3, jax.nn.relu)
    conv2 = convolution("conv2", cast("tuple[int, int, int]", conv1.output_shape), 64, 3, jax.nn.relu)
    pool = max_pool("pool", cast("tuple[int, int, int]", conv2.output_shape), 2)
    hidden = dense("dense", math.prod(pool.output_shape), 128, jax.nn.relu)
    if settings.dropout:
        pool, hidden = dropout(pool, DROPPED_AFTER_POOL), dropout(hidden, DROPPED_AFTER_DENSE)
    return Model((conv1, conv2, pool, hidden, dense("logits", 128, shape.classes)))
