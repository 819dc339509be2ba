"""Vectors and their segments: how a collective cuts a float32 vector, and puts it together again.

    bounds   0        3        6      8      10         10 elements in 4 segments: the first ones are longer
             ├────────┼────────┼──────┼──────┤
    segment      0        1       2      3

`Blank` stands for a vector of which only the size is known, so that every plan can be played without payload;
`Weighted` for one that is multiplied piece by piece, as its segments are needed. What is not here: who sends which
segment (one file for each collective).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float32]

ELEMENT_BYTES = 4  # a float32


@dataclass(frozen=True, slots=True)
class Blank:
    """A float32 vector of `length` elements whose values nobody needs: slices and sums of blanks are blanks.

    >>> (Blank(10)[3:6] + Blank(3)).nbytes
    12
    """

    length: int
    nbytes: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "nbytes", ELEMENT_BYTES * self.length)

    def __len__(self) -> int:
        return self.length

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return ELEMENT_BYTES

    def __getitem__(self, part: slice) -> Blank:
        return Blank(len(range(self.length)[part]))

    def __add__(self, other: Blank) -> Blank:
        assert other.length == self.length, f"a sum of {self.length} and {other.length} elements"
        return self


@dataclass(frozen=True, slots=True, eq=False)
class Weighted:
    """A vector times a weight. Only its slices are ever worked out, each when it is asked for, so that nobody needs
    memory for the whole; `[:]` is the whole.

    >>> Weighted(np.array([1, 2, 4], np.float32), np.float32(0.5))[1:]
    array([1., 2.], dtype=float32)
    """

    vector: Vector
    weight: np.float32

    def __len__(self) -> int:
        return len(self.vector)

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return self.vector.itemsize

    @property
    def dtype(self) -> np.dtype[np.float32]:
        """The type of an element."""
        return self.vector.dtype

    def __getitem__(self, part: slice) -> Vector:
        return self.weight * self.vector[part]


def segment_bounds(length: int, ranks: int) -> list[int]:
    """Return where the segments begin and end: `ranks` + 1 offsets; the first `length` mod `ranks` are one longer.

    >>> segment_bounds(10, 4)
    [0, 3, 6, 8, 10]
    """
    shortest, longer = divmod(length, ranks)
    return [rank * shortest + min(rank, longer) for rank in range(ranks + 1)]


def segment_length(length: int, ranks: int, segment: int) -> int:
    """Return how many elements one segment has.

    >>> [segment_length(10, 4, segment) for segment in range(4)]
    [3, 3, 2, 2]
    """
    return length // ranks + (segment < length % ranks)


def cut(vector: Any, ranks: int) -> list[Any]:
    """Return the segments of a vector or a blank. They share its memory."""
    if isinstance(vector, Blank):
        shortest, longer = divmod(vector.length, ranks)
        return [Blank(shortest + 1)] * longer + [Blank(shortest)] * (ranks - longer)
    bounds = segment_bounds(len(vector), ranks)
    return [vector[bounds[rank] : bounds[rank + 1]] for rank in range(ranks)]


def join(pieces: Sequence[Any]) -> Any:
    """Return one read-only vector, or a blank, of all pieces in order. It shares no memory with them.

    >>> join([Blank(2), Blank(3)])
    Blank(length=5)
    """
    if isinstance(pieces[0], Blank):
        return Blank(sum(map(len, pieces)))
    whole: Vector = np.concatenate(pieces)
    whole.flags.writeable = False
    return whole


def same_bits(one: Any, other: Any) -> bool:
    """Say whether two vectors have the same bits: a NaN is itself, and 0.0 is not -0.0."""
    if one is other or isinstance(one, Blank):
        return one is other or one == other
    return np.array_equal(_bits(one), _bits(other))


def odd_one_out(what: str, results: Sequence[Any]) -> str | None:
    """Say which rank ended `what`, which gives all ranks the same, with other bits than rank 0; None: nobody did."""
    for rank, result in enumerate(results):
        if not same_bits(results[0], result):
            return f"rank {rank} ended {what} with other bits than rank 0"
    return None


def _bits(vector: Vector) -> npt.NDArray[Any]:
    return np.ascontiguousarray(vector).view(f"u{vector.itemsize}")
