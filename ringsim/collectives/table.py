"""The collectives by name: how each is made, and how nccl-tests turn its time into a bandwidth.

    algorithm bandwidth = S / t           S: the whole vector in bytes, t: until the last rank has its result
    bus bandwidth = factor * S / t        what the busiest link direction carries, so that it compares with the hardware

The factors are those of nccl-tests (doc/PERFORMANCE.md): 2(N-1)/N for an all-reduce, (N-1)/N for its halves, 1 for a
broadcast. They belong to what a collective does and not to how, so every all-reduce has the same. What is not here: the
plans.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from ringsim.collectives.all_gather import AllGather
from ringsim.collectives.broadcast import Broadcast
from ringsim.collectives.halving_doubling import HalvingDoubling
from ringsim.collectives.hierarchical import Hierarchical
from ringsim.collectives.parameter_server import ParameterServerAllReduce
from ringsim.collectives.reduce_scatter import ReduceScatter
from ringsim.collectives.ring import RingAllReduce
from ringsim.collectives.tree import TreeAllReduce
from ringsim.collectives.vectors import ELEMENT_BYTES, Blank, segment_length
from ringsim.errors import UsageError
from ringsim.plan import Plan


class CostedPlan(Plan, Protocol):
    """A plan that says its textbook cost as well, as all of this package do."""

    def predicted_ns(self, ranks: int, size_bytes: int, alpha_ns: int, bandwidth: int) -> int:
        """Return its cost by the alpha-beta model (`cost.py`); bandwidth in bit/s."""
        ...

    def number_of_messages(self, ranks: int) -> int:
        """Return how many messages all ranks send together."""
        ...


@dataclass(frozen=True)
class Algorithm:
    """How to use one collective. Those with the same `operation` end with the same, each in its way.

    `plan(ranks, length)` makes it for a float32 vector of `length` elements on so many machines of the cluster;
    `bus_factor(ranks)` is bus bandwidth over algorithm bandwidth; `servers` is how many machines it adds.
    """

    operation: str
    plan: Callable[[int, int], CostedPlan]
    bus_factor: Callable[[int], Fraction]
    servers: int = 0


def _all_reduce(ranks: int) -> Fraction:
    return Fraction(2 * (ranks - 1), ranks)


def _half(ranks: int) -> Fraction:
    return Fraction(ranks - 1, ranks)


def near_square_groups(ranks: int) -> tuple[tuple[int, ...], ...]:
    """Return groups of neighbours, as large as they can be while there are at least as many groups as ranks in one.

    >>> near_square_groups(8), near_square_groups(3)
    (((0, 1), (2, 3), (4, 5), (6, 7)), ((0,), (1,), (2,)))
    """
    size = next(size for size in range(math.isqrt(ranks), 0, -1) if ranks % size == 0)
    return tuple(tuple(range(first, first + size)) for first in range(0, ranks, size))


ALGORITHMS: dict[str, Algorithm] = {
    "ring": Algorithm("all-reduce", lambda ranks, length: RingAllReduce(), _all_reduce),
    "tree": Algorithm("all-reduce", lambda ranks, length: TreeAllReduce(), _all_reduce),
    "halving_doubling": Algorithm("all-reduce", lambda ranks, length: HalvingDoubling(), _all_reduce),
    "hierarchical": Algorithm("all-reduce", lambda ranks, length: Hierarchical(near_square_groups(ranks)), _all_reduce),
    "parameter_server": Algorithm(
        "all-reduce", lambda ranks, length: ParameterServerAllReduce(), _all_reduce, servers=1
    ),
    "reduce_scatter": Algorithm("reduce-scatter", lambda ranks, length: ReduceScatter(), _half),
    "all_gather": Algorithm("all-gather", lambda ranks, length: AllGather(length), _half),
    "broadcast": Algorithm(
        "broadcast", lambda ranks, length: Broadcast(ELEMENT_BYTES * length), lambda ranks: Fraction(1)
    ),
}


def blank_buffers(name: str, ranks: int, length: int) -> list[Blank]:
    """Return what each rank brings to a collective of `length` elements in all: sizes, no numbers.

    >>> blank_buffers("ring", 3, 4)
    [Blank(length=4), Blank(length=4), Blank(length=4)]
    >>> blank_buffers("all_gather", 3, 4)
    [Blank(length=1), Blank(length=1), Blank(length=2)]
    """
    if name == "all_gather":
        return [Blank(segment_length(length, ranks, (rank + 1) % ranks)) for rank in range(ranks)]
    return [Blank(length)] * ranks


def algorithm_named(name: str) -> Algorithm:
    """Return the collective of that name. Raises UsageError, with a suggestion, if there is none.

    >>> algorithm_named("broadcst")
    Traceback (most recent call last):
    ...
    ringsim.errors.UsageError: there is no collective "broadcst"; did you mean broadcast?
    """
    if name in ALGORITHMS:
        return ALGORITHMS[name]
    guess = difflib.get_close_matches(name, ALGORITHMS, n=1)
    hint = f"did you mean {guess[0]}?" if guess else f"choose from {', '.join(ALGORITHMS)}"
    raise UsageError(f'there is no collective "{name}"; {hint}')
