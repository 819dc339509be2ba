"""Whose samples are whose: label-skewed shards, one for each worker, dealt out over the steps of an epoch.

    shards      node0 | 7 2 9 | mostly threes      node1 | 4 1 0 | mostly eights
    places      | node0 node0 node1 node1 | node0 node1 |      of an epoch, step after step
    epoch 0     |   2     9     0     4   |   7     1   |      each place has a sample of its owner's

Each worker has its own mixture of labels q ~ Dirichlet(alpha p), where p are the labels' shares of all samples, and
draws from it without putting back, in turn with the others (Hsu, Qi & Brown 2019, "Measuring the effects of
non-identical data distribution for federated visual classification", section 3, where one worker draws after another).
A label that has run out is drawn no more. The mixture is never computed: drawing label c with a chance that grows with
how often c was drawn before is the same (Polya's urn; Blackwell & MacQueen 1973), and takes integers alone. What is not
here: who takes a sample whose owner is missing (`sampler.py`). No JAX.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ringsim.seeds import permutation, words

_GRAINS = 1_000  # of a sample: alpha counts to three decimals


@dataclass(frozen=True, eq=False)
class Shards:
    """owners: whose each place of an epoch is, the same in all epochs. samples: of each worker, in the order drawn."""

    seed: int
    owners: Sequence[str]
    samples: Mapping[str, np.ndarray]

    def order(self, epoch: int) -> np.ndarray:
        """Return the sample at each place of an epoch: each worker's own, in an order that is another each epoch."""
        names = np.array(self.owners)
        order = np.empty(len(names), np.int64)
        for name, own in self.samples.items():
            order[names == name] = own[permutation(self.seed, "shuffle", epoch, name, count=len(own))]
        return order


def label_skewed(seed: int, labels: np.ndarray, shares: Mapping[str, int], alpha: float) -> Shards:
    """Return shards of samples with these labels, which count from 0. shares: how many a step each worker takes.

    >>> labels = np.arange(40) % 2
    >>> shards = label_skewed(1, labels, {"node0": 2, "node1": 2}, alpha=0.01)
    >>> steps = labels[shards.order(0)].reshape(10, 2, 2)
    >>> sorted(shards.order(0).tolist()) == list(range(40)), steps[:, 0].mean(), steps[:, 1].mean()
    (True, np.float64(0.0), np.float64(1.0))
    """
    drawn = _drawn(seed, labels.tobytes(), str(labels.dtype), tuple(shares.items()), round(alpha * _GRAINS))
    return Shards(seed, places(shares, len(labels)), drawn)


@functools.lru_cache(maxsize=4)
def _drawn(
    seed: int, labels_bytes: bytes, dtype: str, shares: tuple[tuple[str, int], ...], alpha_grains: int
) -> Mapping[str, np.ndarray]:
    """Return each worker's samples, in the order in which they were drawn."""
    labels = np.frombuffer(labels_bytes, dtype)
    left = np.bincount(labels)
    of_label = [
        np.flatnonzero(labels == label)[permutation(seed, "shards", "label", label, count=int(count))]
        for label, count in enumerate(left)
    ]
    # A label's weight: alpha times its share of the samples, and one for each time it was drawn; times len(labels).
    urns = {name: alpha_grains * left for name, _ in shares}
    shards: dict[str, list[int]] = {name: [] for name, _ in shares}
    draws = words(seed, "shards", count=len(labels)).tolist()
    for draw, owner in zip(draws, places(dict(shares), len(labels)), strict=True):
        heights = np.cumsum(np.where(left > 0, urns[owner], 0))
        label = int(np.searchsorted(heights, draw * int(heights[-1]) >> 64, side="right"))
        left[label] -= 1
        urns[owner][label] += _GRAINS * len(labels)
        shards[owner].append(int(of_label[label][left[label]]))
    return {name: np.array(shard, np.int64) for name, shard in shards.items()}


def places(shares: Mapping[str, int], train_size: int) -> list[str]:
    """Return which worker each place of an epoch is for, as the sampler cuts it among all of them.

    >>> places({"a": 1, "b": 2}, 5)
    ['a', 'b', 'b', 'b', 'b']
    """
    owners: list[str] = []
    total = sum(shares.values())
    for start in range(0, train_size, total):
        size, cumulative, before = min(total, train_size - start), 0, 0
        for name, share in shares.items():
            cumulative += share
            owners += [name] * (size * cumulative // total - before)
            before = size * cumulative // total
    return owners
