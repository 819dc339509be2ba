"""The learning rate for a number of workers and a progress: scaling rules and Goyal's gradual warm-up.

Plain Python numbers, so the rate is known without JAX, and the same on every machine. What is not here: what an
optimizer does with the rate (`optimizers.py`).

Goyal et al. 2018 ("Accurate, Large Minibatch SGD", sections 2.1 and 2.2): k times the batch, k times the rate, reached
gradually over the first epochs. It is a rule for SGD; for other optimizers it is an extrapolation.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ringsim.scenario import Task

FACTORS: dict[str, Callable[[float], float]] = {
    "none": lambda _: 1.0,
    "linear": lambda world: world,
    "sqrt": math.sqrt,
    "inverse": lambda world: 1.0 / world,
}


def learning_rate(task: Task, world: float, progress_epochs: float) -> float:
    """Return the rate of a step: the task's base rate, scaled to `world` workers, during and after warm-up.

    world: live workers k; it need not be a whole number (workers of unequal shares count as their share). It may change
    from step to step, and the rate follows at once. progress_epochs: epochs trained so far, with their fraction.
    During warm-up the rate goes in a straight line from the base rate to the scaled one. A rule that does not scale
    has nothing to warm up to. Raises ValueError where `world` is not positive.

    >>> task = Task(steps=1, learning_rate_scaling="linear", warm_up_epochs=5.0)
    >>> [round(learning_rate(task, 4, epochs), 6) for epochs in (0.0, 2.5, 5.0, 9.0)]
    [0.1, 0.25, 0.4, 0.4]
    """
    if not world > 0:
        raise ValueError(f"a learning rate needs a positive number of workers, not {world}")
    base = task.optimizer.learning_rate
    scaled = base * FACTORS[task.learning_rate_scaling](float(world))
    if progress_epochs >= task.warm_up_epochs:
        return scaled
    return base + (scaled - base) * (progress_epochs / task.warm_up_epochs)
