"""From the settings of a scenario to a model: one table, the only place that knows all models."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ringsim.learning.data import Dataset, Shape
from ringsim.learning.models.cnn import cnn
from ringsim.learning.models.mlp import mlp
from ringsim.learning.models.model import Model
from ringsim.learning.models.softmax import softmax
from ringsim.scenario import Cnn, Mlp, Softmax

BUILDERS: dict[type, Callable[[Any, Shape], Model]] = {Softmax: softmax, Mlp: mlp, Cnn: cnn}


def build(settings: Softmax | Mlp | Cnn, dataset: Dataset) -> Model:
    """Return the model that a scenario asks for, in the size that its data needs.

    Equal settings on data of equal shape give the same object, so that a process compiles it once for all its runs.
    Raises ScenarioInvalid where the model does not fit the data.
    """
    return _build(settings, dataset.shape)


@functools.lru_cache(maxsize=32)
def _build(settings: Softmax | Mlp | Cnn, shape: Shape) -> Model:
    return BUILDERS[type(settings)](settings, shape)
