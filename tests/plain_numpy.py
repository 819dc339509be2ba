"""An mlp in plain NumPy, forward and backward by hand in float64: an oracle of gradients.

What is not here: what strategies make of them (the tests named after them).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ringsim.learning.engine import Engine
from ringsim.scenario import Scenario

Layer = tuple[np.ndarray, np.ndarray]  # kernel, bias


@dataclass(frozen=True)
class Oracle:
    """An mlp with ReLU, softmax cross-entropy and plain gradient descent, one layer a stage, in float64."""

    layers: tuple[Layer, ...]
    x: np.ndarray
    y: np.ndarray

    def inputs(self, samples: Sequence[int], weights: Sequence[Layer]) -> list[np.ndarray]:
        """Return what goes into each layer, and last the logits."""
        found = [self.x[list(samples)].astype(np.float64)]
        for index, (kernel, bias) in enumerate(weights):
            out = found[-1] @ kernel + bias
            found.append(out if index == len(weights) - 1 else np.maximum(out, 0))
        return found

    def gradients(self, samples: Sequence[int], inputs: Sequence[np.ndarray], weights: Sequence[Layer]) -> list[Layer]:
        """Return each layer's gradient of the mean loss; each goes forward from its own inputs once more."""
        count, found = len(samples), []
        above = np.zeros(0)
        for index in reversed(range(len(weights))):
            kernel, bias = weights[index]
            out = inputs[index] @ kernel + bias
            if index == len(weights) - 1:
                shares = np.exp(out - out.max(1, keepdims=True))
                shares /= shares.sum(1, keepdims=True)
                shares[np.arange(count), self.y[list(samples)]] -= 1
                above = shares / count
            else:
                above = above * (out > 0)
            found.append((inputs[index].T @ above, above.sum(0)))
            above = above @ kernel.T
        return found[::-1]


def oracle(scenario: Scenario) -> Oracle:
    engine = Engine(scenario.task, scenario.seed, rows=1)
    flat = engine.initial().parameters.array
    layers = []
    for index, where in enumerate(engine.layout.slices):
        named = engine.layout.unflatten_layer(index, flat[where.start : where.stop])
        layers.append((np.asarray(named["kernel"], np.float64), np.asarray(named["bias"], np.float64)))
    return Oracle(tuple(layers), engine.dataset.train_x, engine.dataset.train_y)


def flat(layers: Sequence[Layer]) -> np.ndarray:
    return np.concatenate([np.concatenate([bias, kernel.reshape(-1)]) for kernel, bias in layers])


def moved(layer: Layer, by: Layer, times: float) -> Layer:
    return layer[0] + times * by[0], layer[1] + times * by[1]


def gradient(numbers: Oracle, layers: Sequence[Layer], samples: Sequence[int]) -> list[Layer]:
    """Return the gradient of the mean loss at `layers`; of no samples it is zero."""
    if not len(samples):
        return [(np.zeros_like(kernel), np.zeros_like(bias)) for kernel, bias in layers]
    return numbers.gradients(samples, numbers.inputs(samples, layers), layers)


def stepped(numbers: Oracle, layers: Sequence[Layer], samples: Sequence[int], rate: float) -> list[Layer]:
    """Return the layers after a step of plain gradient descent."""
    found = gradient(numbers, layers, samples)
    return [moved(layer, by, -rate) for layer, by in zip(layers, found, strict=True)]


def mixed(weights: Sequence[float], replicas: Sequence[Sequence[Layer]]) -> list[Layer]:
    """Return the weighted sum of replicas."""
    return [
        (
            sum((w * layer[0] for w, layer in zip(weights, same, strict=True)), np.zeros(())),
            sum((w * layer[1] for w, layer in zip(weights, same, strict=True)), np.zeros(())),
        )
        for same in zip(*replicas, strict=True)
    ]
