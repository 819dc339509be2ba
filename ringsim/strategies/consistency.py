"""How far workers of a parameter server may be apart: when one may begin, and from which parameters.

    bounded_delay   a worker that has finished t steps begins the next one when all have finished t - tau
                    (Li et al. 2014, section 3.4); it pulls the newest parameters for each step
    ssp             the same gate with slack for tau (Ho et al. 2013, section 3); it computes from its copy, with its
                    own gradients applied to it, for as long as the copy is not older than that
    asp             nobody waits (tau = infinity)

With tau = 0 all are in step. What is not here: BSP, which makes one update of all gradients (`parameter_server.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ringsim.scenario import Asp, BoundedDelay, Consistency, Ssp
from ringsim.strategies.training import State, Training


@dataclass(frozen=True)
class Rule:
    """allowance: (steps a worker has finished, those of the slowest) -> how many it may begin before it asks again.

    pull_size_bytes: of an answer.
    """

    allowance: Callable[[int, int], int]
    pull_size_bytes: Callable[[Training, State], int]


def rule_of(consistency: Consistency) -> Rule:
    """Return the rule of a consistency in which workers are not in step."""
    if isinstance(consistency, BoundedDelay):
        return Rule(partial(_bounded_delay, consistency.tau), _parameters)
    if isinstance(consistency, Ssp):
        # It goes on with the optimizer by itself, so it pulls what the optimizer remembers too.
        return Rule(partial(_ssp, consistency.slack), Training.state_size_bytes)
    assert isinstance(consistency, Asp)
    return Rule(_asp, _parameters)


def _bounded_delay(tau: int, finished: int, slowest: int) -> int:
    """Return how many steps may be begun with newest parameters: one, or none.

    >>> [_bounded_delay(2, 5, slowest) for slowest in (2, 3, 5)]
    [0, 1, 1]
    """
    return int(finished - tau <= slowest)


def _ssp(slack: int, finished: int, slowest: int) -> int:
    """Return how many steps may be begun with one copy.

    >>> [_ssp(2, 5, slowest) for slowest in (2, 3, 5)]
    [0, 1, 3]
    """
    return max(0, slowest + slack - finished + 1)


def _asp(_finished: int, _slowest: int) -> int:
    return 1


def _parameters(training: Training, _state: State) -> int:
    return training.gradient_size_bytes
