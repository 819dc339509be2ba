"""Who learns whose vector from a collective: what each rank can work out from what it hears, by linear algebra.

    rank 1 in a ring of 4    its own    x1 of every segment
                             heard      x0[0],  x3[3] + x0[3],  x2[2] + x3[2] + x0[2],  the sums of segments 3, 0 and 1
                             knows      x0[0], which came raw; and x2[3]: that sum, less what it passed on

Every element of rank j's vector is a symbol. The plan is played in memory on vectors of symbols, so what a rank hears
is a list of sums of symbols. It knows rank j's element if that symbol is a linear combination of what it has heard and
of its own symbols; a sum of two others that it cannot take apart is not known. This is what *one* rank learns that
keeps to the plan and remembers everything; ranks that put their heads together learn more. What is not here: lossy
compression, which leaves a rank with what came through, and what strategies send besides collectives
(`strategies/exposure.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import gcd
from typing import Any

import numpy as np
import numpy.typing as npt

from ringsim.collectives.halving_doubling import HalvingDoubling, power_of_two_within
from ringsim.collectives.in_memory import play_in_memory
from ringsim.collectives.parameter_server import ParameterServerAllReduce
from ringsim.node import Message, Operation, Sent
from ringsim.plan import Plan, Seat

Row = tuple[int, ...]  # how often each rank's symbol of one element is in a sum
Symbols = npt.NDArray[np.int64]


def knowledge(plan: Plan, ranks: int) -> tuple[tuple[Fraction, ...], ...]:
    """Return what part of each owner's vector each rank knows in the end: [rank][owner], its own is 1.

    plan must be hashable, and its `messages` add and slice vectors as any all-reduce does. Servers own nothing.

    >>> from ringsim.collectives.ring import RingAllReduce
    >>> [str(part) for part in knowledge(RingAllReduce(), 4)[1]]
    ['1/4', '1', '1/4', '0']
    >>> [str(part) for part in knowledge(RingAllReduce(), 2)[1]]
    ['1', '1']
    """
    hashable: Any = plan
    return _played(hashable, ranks)


@cache
def _played(plan: Any, ranks: int) -> tuple[tuple[Fraction, ...], ...]:
    owners = ranks - (plan.servers if isinstance(plan, ParameterServerAllReduce) else 0)
    elements = _elements(plan, ranks)
    heard: list[list[Symbols]] = [[] for _ in range(ranks)]
    vectors = [_vector_of(rank, owners, elements) for rank in range(ranks)]
    play_in_memory(_Overheard(plan, heard), vectors)
    return tuple(
        _known(owners, elements, [vectors[rank], *heard[rank]] if rank < owners else heard[rank])
        for rank in range(ranks)
    )


def _elements(plan: Plan, ranks: int) -> int:
    """Return how many elements a vector needs so that the plan cuts it into equal segments."""
    if isinstance(plan, HalvingDoubling):
        return power_of_two_within(ranks)
    return plan.servers if isinstance(plan, ParameterServerAllReduce) else ranks


def _vector_of(rank: int, owners: int, elements: int) -> Symbols:
    """Return the vector of a rank: a row for each element, with 1 in the column of its owner, then which element it is.

    A sum of k symbols has k times the number of its element in the last column, so it still says which one it is of.
    """
    vector = np.zeros((elements, owners + 1), np.int64)
    if rank < owners:
        vector[:, rank] = 1
        vector[:, -1] = np.arange(elements)
    return vector


def _known(owners: int, elements: int, heard: Sequence[Symbols]) -> tuple[Fraction, ...]:
    """Return which part of each owner's elements follows from some vectors of sums."""
    sums: dict[int, dict[Row, None]] = {}
    for vector in heard:
        for *row, element in vector.tolist():
            sums.setdefault(element // sum(row), {})[tuple(row)] = None
    known = [0] * owners
    for rows in sums.values():
        for owner in solved(rows):
            known[owner] += 1
    return tuple(Fraction(count, elements) for count in known)


def solved(rows: Iterable[Row]) -> tuple[int, ...]:
    """Return which unknowns a system of linear sums determines, over the rationals.

    Once the rows are reduced so that each has a column of its own, an unknown is determined where it stands alone.

    >>> solved([(1, 1, 0, 0), (0, 1, 0, 0), (1, 1, 1, 1)])
    (0, 1)
    """
    reduced: dict[int, Row] = {}  # by the column that is its own
    for row in rows:
        rest = row
        for column, other in reduced.items():
            rest = _without(rest, column, other)
        own = next((column for column, factor in enumerate(rest) if factor), None)
        if own is not None:
            reduced = {column: _without(other, own, rest) for column, other in reduced.items()}
            reduced[own] = rest
    return tuple(
        sorted(column for column, row in reduced.items() if not any(row[:column]) and not any(row[column + 1 :]))
    )


def _without(row: Row, column: int, other: Row) -> Row:
    """Return a multiple of `row` less a multiple of `other`, with 0 in `column`; integers, made small again."""
    if not row[column]:
        return row
    mixed = [other[column] * mine - row[column] * its for mine, its in zip(row, other, strict=True)]
    divisor = gcd(*mixed) or 1
    return tuple(factor // divisor for factor in mixed)


@dataclass(frozen=True)
class _Overheard:
    """A plan whose every received vector is written down, by rank. Implements what `play_in_memory` asks of a plan."""

    plan: Plan
    heard: list[list[Symbols]]

    @property
    def name(self) -> str:
        return self.plan.name

    def messages(self, seat: Seat, buffer: Any) -> Operation[Any]:
        return self.plan.messages(_Ear(seat, self.heard[seat.rank]), buffer)


@dataclass(frozen=True)
class _Ear:
    """A seat that remembers what it has received. Implements `ringsim.plan.Seat`."""

    seat: Seat
    heard: list[Symbols]

    @property
    def rank(self) -> int:
        return self.seat.rank

    @property
    def members(self) -> tuple[str, ...]:
        return self.seat.members

    def send(self, to: str, payload: Any, size_bytes: int, tag: Any) -> Sent:
        return self.seat.send(to, payload, size_bytes, tag)

    def receive(
        self, source: str, tag: Any, timeout_ns: int | None = None, watching: Sequence[str] = ()
    ) -> Operation[Message]:
        message = yield from self.seat.receive(source, tag, timeout_ns, watching)
        self.heard.append(message.payload)
        return message
