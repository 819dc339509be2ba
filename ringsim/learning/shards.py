"""Whose samples are whose: label-skewed shards, one for each worker, and the order of an epoch that keeps to them.

    shards      node0 | 7 2 9 | mostly threes      node1 | 4 1 0 | mostly eights
    epoch       | 2 9 | 0 4 | 7 | 1 |              step after step, cut where the sampler cuts it

Each worker has its own mixture of labels q ~ Dirichlet(alpha p), where p are the labels' shares of all samples, and
draws from it without putting back, in turn with the others (Hsu, Qi & Brown 2019, "Measuring the effects of
non-identical data distribution for federated visual classification", section 3, where one worker draws after another).
A label that has run out is drawn no more. The mixture is never computed: drawing label c with a chance that grows with
how often c was drawn before is the same (Polya's urn; Blackwell & MacQueen 1973), and takes integers alone. What is not
here: cutting an epoch into steps (`sampler.py`). No JAX.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import numpy as np

from ringsim.learning.sampler import Order
from ringsim.seeds import permutation, words

_GRAINS = 1_000  # of a sample: alpha counts to three decimals


def label_skewed(
    seed: int, labels: np.ndarray, shares: Mapping[str, int], alpha: float, ranks: Sequence[str] | None = None
) -> Order:
    """Return the order of each epoch in which every worker takes samples of its own shard.

    labels: of all samples, from 0 on. shares: how many samples a step each worker takes. ranks: the workers in the
    order in which a step is cut, if that is another. Where a step is cut among fewer workers, these take what the
    missing ones would.

    >>> labels = np.arange(40) % 2
    >>> order = label_skewed(1, labels, {"node0": 2, "node1": 2}, alpha=0.01)
    >>> steps = labels[order(0)].reshape(10, 2, 2)
    >>> sorted(order(0).tolist()) == list(range(40)), steps[:, 0].mean(), steps[:, 1].mean()
    (True, np.float64(0.0), np.float64(1.0))
    """
    drawn = _drawn(seed, labels.tobytes(), str(labels.dtype), tuple(shares.items()), round(alpha * _GRAINS))
    return functools.partial(_epoch, seed, drawn, tuple(shares if ranks is None else ranks), dict(shares))


def _epoch(
    seed: int, shards: Mapping[str, np.ndarray], ranks: Sequence[str], shares: Mapping[str, int], epoch: int
) -> np.ndarray:
    """Return all samples of an epoch: each worker's in an order of its own, dealt out step by step."""
    mixed = {name: shards[name][permutation(seed, "shuffle", epoch, name, count=len(shards[name]))] for name in ranks}
    steps = max(-(-len(mixed[name]) // shares[name]) for name in ranks)
    slices = [mixed[name][step * shares[name] :][: shares[name]] for step in range(steps) for name in ranks]
    return np.concatenate(slices)


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
    urns = np.tile(alpha_grains * left, (len(shares), 1))
    shards: list[list[int]] = [[] for _ in shares]
    draws = words(seed, "shards", count=len(labels)).tolist()
    for draw, owner in zip(draws, _owners([share for _, share in shares], len(labels)), strict=True):
        heights = np.cumsum(np.where(left > 0, urns[owner], 0))
        label = int(np.searchsorted(heights, draw * int(heights[-1]) >> 64, side="right"))
        left[label] -= 1
        urns[owner, label] += _GRAINS * len(labels)
        shards[owner].append(int(of_label[label][left[label]]))
    return {name: np.array(shard, np.int64) for (name, _), shard in zip(shares, shards, strict=True)}


def _owners(shares: Sequence[int], train_size: int) -> list[int]:
    """Return which worker each place of an epoch is for, as the sampler cuts it.

    >>> _owners([1, 2], 5)
    [0, 1, 1, 1, 1]
    """
    owners: list[int] = []
    total = sum(shares)
    for start in range(0, train_size, total):
        size, cumulative, before = min(total, train_size - start), 0, 0
        for worker, share in enumerate(shares):
            cumulative += share
            owners += [worker] * (size * cumulative // total - before)
            before = size * cumulative // total
    return owners
