"""SGD, momentum and Adam on the flat vector, as pairs of pure functions, from optax.

Every update has the form

    direction, state <- optax(gradient, state)
    parameters       <- parameters - learning_rate * direction

The rate multiplies last and is no part of the state, so momentum needs no correction when the rate changes with the
number of workers (Goyal et al. 2018, section 3, equation 9). What is not here: which rate (`learning_rate.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ringsim.learning.pinned import jax, optax
from ringsim.scenario import Adam, Momentum, Sgd

State = Any  # a pytree of arrays, as optax made it


@dataclass(frozen=True, eq=False)
class Optimizer:
    """init: parameters [size] -> state. update: (parameters, state, gradient, rate) -> (parameters, state)."""

    init: Callable[[jax.Array], State]
    update: Callable[[jax.Array, State, jax.Array, jax.Array], tuple[jax.Array, State]]


def sgd(settings: Sgd) -> optax.GradientTransformation:
    """direction = gradient."""
    del settings  # The rate is an argument of the update.
    return optax.identity()


def momentum(settings: Momentum) -> optax.GradientTransformation:
    """direction = velocity <- gradient + momentum * velocity."""
    return optax.trace(decay=settings.momentum)


def adam(settings: Adam) -> optax.GradientTransformation:
    """direction = mean / (sqrt(mean of squares) + eps), both freed of their start at zero (Kingma & Ba 2015)."""
    return optax.scale_by_adam(b1=settings.b1, b2=settings.b2, eps=settings.eps)


DIRECTIONS: dict[type, Callable[[Any], optax.GradientTransformation]] = {Sgd: sgd, Momentum: momentum, Adam: adam}


def optimizer(settings: Sgd | Momentum | Adam) -> Optimizer:
    """Return the optimizer that a scenario asks for.

    >>> from ringsim.learning.pinned import jnp
    >>> plain = optimizer(Sgd(kind="sgd"))
    >>> parameters = jnp.array([1.0, 2.0])
    >>> print(plain.update(parameters, plain.init(parameters), jnp.array([0.0, 4.0]), jnp.float32(0.25))[0])
    [1. 1.]
    """
    direction_of = DIRECTIONS[type(settings)](settings)

    def update(
        parameters: jax.Array, state: State, gradient: jax.Array, learning_rate: jax.Array
    ) -> tuple[jax.Array, State]:
        direction, state = direction_of.update(gradient, state)
        return parameters - learning_rate * direction, state

    return Optimizer(direction_of.init, update)
