"""Who takes which samples at which step: one shuffle an epoch, cut among the members of each step.

The position in the data is a plain `Cursor` that a commit can hold and a restore can go back to, so whatever the
membership was at each step, an epoch takes each sample exactly once. Nothing is padded or repeated: the last step of an
epoch is short, and its batches weigh less. What is not here: the samples themselves (`data.py`). No JAX.

    epoch's shuffle   | 7 2 9 4 1 | 0 8 3 6 5 | ...
    one step's block  | 7 2 9 4 1 |               as many as the members' shares together
    its batches         7 2 | 9 4 1               cut in rank order, in proportion to the shares

Where workers have samples of their own (`shards.py`), the places of an epoch have owners. Who is there takes its own,
as far as the step has them; what belongs to the missing, or is too much for its owner, goes to who lacks some.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np

from ringsim.learning.shards import Shards
from ringsim.seeds import permutation


@dataclass(frozen=True, order=True)
class Cursor:
    """Where training stands in its data: `position` samples of this epoch's shuffle are already taken."""

    epoch: int = 0
    position: int = 0


@dataclass(frozen=True)
class Batch:
    """What one rank computes in one step: its samples' indices, and how many the whole step has over all ranks.

    epoch: of these samples; with it each of them has a name that no other draw of it shares.
    """

    samples: tuple[int, ...]
    total: int
    epoch: int = 0

    @property
    def weight(self) -> np.float32:
        """The factor of this rank's mean gradient in the step's weighted mean: float32(n_rank / n_total).

        >>> print(Batch(samples=(3, 1, 4), total=12).weight)
        0.25
        """
        return np.float32(len(self.samples) / self.total)


class Sampler:
    """Cuts the training samples into steps, and steps into one batch a member.

    seed: of the scenario. train_size: samples in an epoch. shares: samples that each rank takes in a full step. shards:
    whose samples are whose; None: all are everybody's.

    >>> sampler = Sampler(seed=7, train_size=10, shares={"node0": 2, "node1": 4})
    >>> first, second = sampler.batches(Cursor(), ["node0", "node1"])
    >>> len(first.samples), len(second.samples), first.total
    (2, 4, 6)
    >>> sampler.after(Cursor(), ["node0", "node1"])
    Cursor(epoch=0, position=6)
    >>> sampler.after(Cursor(epoch=0, position=6), ["node1"])
    Cursor(epoch=1, position=0)
    """

    def __init__(self, seed: int, train_size: int, shares: Mapping[str, int], shards: Shards | None = None):
        self.train_size = train_size
        self._owners = None if shards is None else shards.owners
        order = functools.partial(_shuffled, seed, train_size) if shards is None else shards.order
        # A few are kept: a rollback may cross back into the epoch before.
        self._order = functools.lru_cache(maxsize=4)(order)
        self.shares = dict(shares)
        # Every rank of a step asks the same question; the answer for the last one is kept.
        self._asked: tuple[Cursor, tuple[str, ...]] | None = None
        self._answer: tuple[Batch, ...] = ()
        self._members: Sequence[str] = ()
        self._full_step = 0

    def batches(self, cursor: Cursor, members: Sequence[str]) -> tuple[Batch, ...]:
        """Return the batches of the step at `cursor`, one for each member, in the order given (the rank order).

        A batch may be empty where few samples are left. Raises ValueError for no members, or a cursor past the end.
        """
        asked = (cursor, tuple(members))
        if asked != self._asked:
            self._answer = self._cut(*asked)
            self._asked = asked
        return self._answer

    def full_step(self, members: Sequence[str]) -> int:
        """Return how many samples these members take in a step, where the epoch has enough of them."""
        # The ranks of a group ask with one and the same tuple of names.
        if members is not self._members:
            self._members, self._full_step = members, sum(self.shares[member] for member in members)
        return self._full_step

    def after(self, cursor: Cursor, members: Sequence[str]) -> Cursor:
        """Return where training stands once these members have taken the step at `cursor`."""
        position = cursor.position + self._step_size(cursor, members)
        return Cursor(cursor.epoch + 1, 0) if position == self.train_size else Cursor(cursor.epoch, position)

    def taken(self, cursor: Cursor, count: int) -> tuple[int, ...]:
        """Return the next `count` samples of the epoch at `cursor`, or as many as it has left.

        >>> sampler = Sampler(seed=7, train_size=10, shares={"node0": 2})
        >>> len(sampler.taken(Cursor(0, 3), 4)), len(sampler.taken(Cursor(0, 8), 4))
        (4, 2)
        """
        order = self._order(cursor.epoch)
        return tuple(order[cursor.position : cursor.position + count].tolist())

    def moved(self, cursor: Cursor, count: int) -> Cursor:
        """Return where training stands after `count` more samples."""
        epochs, position = divmod(cursor.position + count, self.train_size)
        return Cursor(cursor.epoch + epochs, position)

    def after_steps(self, steps: int, members: Sequence[str]) -> Cursor:
        """Return where training stands after so many whole steps of these members.

        >>> sampler = Sampler(seed=7, train_size=10, shares={"node0": 2, "node1": 4})
        >>> [sampler.after_steps(steps, ["node0", "node1"]) for steps in (1, 2, 3)]
        [Cursor(epoch=0, position=6), Cursor(epoch=1, position=0), Cursor(epoch=1, position=6)]
        """
        full = sum(self.shares[member] for member in members)
        epoch, rest = divmod(steps, -(-self.train_size // full))
        return Cursor(epoch, rest * full)

    def steps_at(self, cursor: Cursor, members: Sequence[str]) -> int:
        """Return how many whole steps of these members the samples before `cursor` are.

        >>> sampler = Sampler(seed=7, train_size=10, shares={"node0": 2, "node1": 4})
        >>> [sampler.steps_at(sampler.after_steps(steps, ["node0", "node1"]), ["node0", "node1"]) for steps in range(5)]
        [0, 1, 2, 3, 4]
        """
        full = sum(self.shares[member] for member in members)
        return cursor.epoch * -(-self.train_size // full) + cursor.position // full

    def _step_size(self, cursor: Cursor, members: Sequence[str]) -> int:
        if not members:
            raise ValueError("a step needs at least one member")
        if not 0 <= cursor.position < self.train_size:
            raise ValueError(f"{cursor} is outside an epoch of {self.train_size} samples")
        return min(self.full_step(members), self.train_size - cursor.position)

    def _cut(self, cursor: Cursor, members: tuple[str, ...]) -> tuple[Batch, ...]:
        size = self._step_size(cursor, members)
        order = self._order(cursor.epoch)
        block = order[cursor.position : cursor.position + size].tolist()
        total_share = self.full_step(members)
        ends = [size * share // total_share for share in accumulate(self.shares[member] for member in members)]
        pieces = list(pairwise([0, *ends]))
        if self._owners is None:
            return tuple(Batch(tuple(block[start:stop]), size, cursor.epoch) for start, stop in pieces)
        owners = self._owners[cursor.position : cursor.position + size]
        sizes = {member: stop - start for member, (start, stop) in zip(members, pieces, strict=True)}
        taken = _own_first(block, owners, sizes)
        return tuple(Batch(tuple(taken[member]), size, cursor.epoch) for member in members)


def _own_first(block: Sequence[int], owners: Sequence[str], sizes: Mapping[str, int]) -> dict[str, list[int]]:
    """Deal out a step's samples: to each member its own, up to its size, and then what is left to who lacks some.

    >>> _own_first([7, 2, 9, 4], ["a", "b", "b", "c"], {"b": 2, "a": 2})
    {'b': [2, 9], 'a': [7, 4]}
    """
    taken: dict[str, list[int]] = {member: [] for member in sizes}
    left: list[int] = []
    for sample, owner in zip(block, owners, strict=True):
        has_room = owner in sizes and len(taken[owner]) < sizes[owner]
        (taken[owner] if has_room else left).append(sample)
    for member, samples in taken.items():
        lacking = sizes[member] - len(samples)
        samples += left[:lacking]
        del left[:lacking]
    return taken


def _shuffled(seed: int, train_size: int, epoch: int) -> np.ndarray:
    return permutation(seed, "shuffle", epoch, count=train_size)
