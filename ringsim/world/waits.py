"""How long it is to the next failure: distributions, and what is known of real machines.

All in decimal arithmetic of a fixed precision, whose logarithm and exponential are rounded correctly: the same integers
on every machine, which libm's do not promise. What is not here: what fails then (`faults.py`).
"""

from __future__ import annotations

from decimal import Context, Decimal

from ringsim import seeds
from ringsim.scenario import Exponential, Li2014, Llama3, Wait, Weibull, exactly

_ARITHMETIC = Context(prec=40)
_WORDS = Decimal(1 << 64)
_HOUR_NS = 3_600 * 10**9

# Dubey et al., "The Llama 3 Herd of Models", 2024, section 3.3.4: 419 unexpected interruptions in 54 days on 16,384
# GPUs: one in 50,676 hours of a GPU.
LLAMA_3_MEAN_NS = Decimal(54 * 24 * _HOUR_NS * 16_384) / 419

# Li et al., "Scaling distributed machine learning with the parameter server", 2014, table 1: of jobs of 100, 1,000 and
# 10,000 machine-hours 7.8, 13.7 and 24.7 % fail. More machine-hours are not as much more dangerous: the line through
# log(-log(1 - share)) over log(hours), by least squares, is a Weibull distribution of this shape and scale.
LI_2014_SHAPE, LI_2014_SCALE_NS = Decimal("0.2716"), Decimal(1_072_000 * _HOUR_NS)


def wait_ns(wait: Wait, machines: int, seed: int, *name: str | int) -> int:
    """Return a wait drawn from the stream called `name`: at least 1 ns.

    machines: how many it may strike. The rates of real machines are those of one, so many fail so much more often;
    what a scenario says itself is the wait as it is.

    >>> one = wait_ns(Exponential(kind="exponential", mean="20 s"), 1, 7, "example")
    >>> one == wait_ns(Exponential(kind="exponential", mean="20 s"), 100, 7, "example")
    True
    >>> wait_ns(Llama3(kind="llama_3"), 16_384, 7, "example") < wait_ns(Llama3(kind="llama_3"), 1, 7, "example")
    True
    """
    # The word stands for the middle of its piece of (0, 1), so the logarithm is never that of nothing.
    uniform = _ARITHMETIC.divide(Decimal(2 * seeds.first_word(seed, *name) + 1), 2 * _WORDS)
    hazard = -_ARITHMETIC.ln(uniform)
    return max(1, int(_scaled(wait, hazard, machines)))


def _scaled(wait: Wait, hazard: Decimal, machines: int) -> Decimal:
    multiply, divide = _ARITHMETIC.multiply, _ARITHMETIC.divide
    if isinstance(wait, Exponential):
        return multiply(hazard, wait.mean)
    if isinstance(wait, Weibull):
        return multiply(wait.scale, _root(hazard, exactly(wait.shape)))
    per_machine = exactly(wait.accelerated) * machines
    if isinstance(wait, Llama3):
        return divide(multiply(hazard, LLAMA_3_MEAN_NS), per_machine)
    assert isinstance(wait, Li2014)
    return divide(multiply(LI_2014_SCALE_NS, _root(hazard, LI_2014_SHAPE)), per_machine)


def _root(number: Decimal, degree: Decimal) -> Decimal:
    return _ARITHMETIC.exp(_ARITHMETIC.divide(_ARITHMETIC.ln(number), degree))
