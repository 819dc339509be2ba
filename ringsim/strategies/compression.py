"""Gradients made smaller: what of them travels, and what the others make of it. Not here: who sends what to whom.

    top-k    | 0.1 -3.0 0.2 2.5 | ──► 1: -3.0, 3: 2.5            the rest is gone, or waits (error feedback)
    QSGD     | 0.1 -3.0 0.2 2.5 | ──► norm 3.92, 3 -97 7 81      of 127, each rounded up or down at random

Both give words of 32 bits, which travel as a float32 vector that nobody adds anything to.
"""

from __future__ import annotations

import numpy as np

from ringsim.seeds import words

BUCKET = 512  # elements that share a norm (Alistarh et al. 2017, section 4)
LEVELS = 127  # of magnitude: with the sign, eight bits


def largest(vector: np.ndarray, share_ppm: int) -> np.ndarray:
    """Return the indices of the elements of largest magnitude, so many ppm of all and at least one, in order.

    Of equal ones the first are taken.

    >>> largest(np.array([0.1, -3.0, 0.2, 2.5], np.float32), 500_000).tolist()
    [1, 3]
    """
    count = kept(len(vector), share_ppm)
    return np.sort(np.argsort(-np.abs(vector), kind="stable")[:count]).astype(np.int32)


def kept(length: int, share_ppm: int) -> int:
    """Return how many elements of a vector are taken, rounded up.

    >>> kept(1000, 10_000), kept(1000, 1)
    (10, 1)
    """
    return -(-length * share_ppm // 1_000_000)


def sparse(vector: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Return these elements as words: the indices, then the values."""
    return np.concatenate([indices.view(np.float32), vector[indices]])


def add_sparse(total: np.ndarray, received: np.ndarray) -> None:
    """Add what `sparse` made to a vector, in place.

    >>> total = np.ones(4, np.float32)
    >>> add_sparse(total, sparse(np.array([5, 6, 7, 8], np.float32), np.array([1, 3], np.int32)))
    >>> total.tolist()
    [1.0, 7.0, 1.0, 9.0]
    """
    count = len(received) // 2
    total[np.ascontiguousarray(received[:count]).view(np.int32)] += received[count:]


def quantized(vector: np.ndarray, seed: int, *name: str | int) -> np.ndarray:
    """Return a vector as words: a norm for each bucket, then a byte for each element; rounded by the stream `name`.

    What `dequantized` makes of it is the vector in the mean over streams (section 3.1).
    """
    norms, padded = _norms(vector), _in_buckets(vector)
    safe = np.where(norms > 0, norms, np.float32(1))
    exact = padded / safe[:, None] * LEVELS
    chance = words(seed, *name, count=-(-padded.size // 4)).view(np.uint16)[: padded.size].reshape(padded.shape)
    codes = np.nan_to_num(np.sign(exact) * np.floor(np.abs(exact) + chance / np.float64(1 << 16)))
    return np.concatenate([norms, codes.astype(np.int8).reshape(-1).view(np.float32)])


def dequantized(received: np.ndarray, length: int) -> np.ndarray:
    """Return the vector that `quantized` stands for, float32 [length].

    >>> vector = np.array([3.0, -4.0, 0.0], np.float32)
    >>> np.abs(dequantized(quantized(vector, 7, "example"), 3) - vector).max() <= 5 / LEVELS
    np.True_
    """
    buckets = -(-length // BUCKET)
    norms = received[:buckets, np.newaxis]
    codes = np.ascontiguousarray(received[buckets:]).view(np.int8).reshape(buckets, BUCKET)
    decoded = norms * codes.astype(np.float32) / np.float32(LEVELS)
    return np.asarray(decoded, np.float32).reshape(-1)[:length]


def _in_buckets(vector: np.ndarray) -> np.ndarray:
    padded = np.zeros(-(-len(vector) // BUCKET) * BUCKET, np.float32)
    padded[: len(vector)] = vector
    return padded.reshape(-1, BUCKET)


def _norms(vector: np.ndarray) -> np.ndarray:
    squares = np.square(_in_buckets(vector), dtype=np.float64).sum(1)
    return np.asarray(np.sqrt(squares), np.float32)
