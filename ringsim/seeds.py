"""Named random streams: every draw in ringsim is `stream(seed, name, ...)`, and nothing else is random.

A stream is counter-based (Philox): its words depend on the seed and its own name only, so one node or one draw more
moves nobody else's numbers. Everything that decides *times* or *order* is integer arithmetic on the raw words, because
libm's logarithm and NumPy's distributions differ between machines and versions. What is not here: the keys of JAX,
which `learning` derives from `words(..., 1)`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


# Philox4x64-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", table 2 and section 3.3).
_MULTIPLIERS = 0xD2E7470EE14C6C93, 0xCA5A826395121157
_KEY_STEPS = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B
_ROUNDS = 10
_MASK = (1 << 64) - 1


def words(seed: int, *name: str | int, count: int = 1) -> np.ndarray:
    """Return the first `count` raw 64-bit words of the stream called `name`.

    >>> first = words(7, "jitter", "node0", 3, count=2)
    >>> bool((first == words(7, "jitter", "node0", 3, count=2)).all())
    True
    >>> bool((first == words(7, "jitter", "node1", 3, count=2)).all())
    False
    """
    from numpy.random import Philox

    return Philox(key=_key(seed, name)).random_raw(count)


def first_word(seed: int, *name: str | int) -> int:
    """Return the first raw word of the stream called `name`, in half the time that it takes to make a generator.

    >>> first_word(7, "jitter", "node0", 3) == int(words(7, "jitter", "node0", 3)[0])
    True
    """
    key = _key(seed, name)
    low, high = key & _MASK, key >> 64
    # NumPy's counter is one ahead of what it has given.
    a, b, c, d = 1, 0, 0, 0
    for _ in range(_ROUNDS):
        one, other = _MULTIPLIERS[0] * a, _MULTIPLIERS[1] * c
        a, b, c, d = other >> 64 ^ b ^ low, other & _MASK, one >> 64 ^ d ^ high, one & _MASK
        low, high = low + _KEY_STEPS[0] & _MASK, high + _KEY_STEPS[1] & _MASK
    return a


def _key(seed: int, name: Sequence[str | int]) -> int:
    text = "\x1f".join([str(seed), *(f"{type(part).__name__}:{part}" for part in name)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little")


def below(seed: int, *name: str | int, bound: int) -> int:
    """Return one draw from 0 to `bound` - 1, as even as 64 bits allow.

    >>> 0 <= below(7, "coin", bound=2) < 2
    True
    """
    return first_word(seed, *name) * bound >> 64


def permutation(seed: int, *name: str | int, count: int) -> np.ndarray:
    """Return the numbers 0 to `count` - 1 in a random order that is the same on every machine.

    >>> sorted(permutation(7, "shuffle", 0, count=5).tolist())
    [0, 1, 2, 3, 4]
    """
    import numpy as np

    return np.argsort(words(seed, *name, count=count), kind="stable")
