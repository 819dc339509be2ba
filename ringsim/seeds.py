"""Named random streams: every draw in ringsim is `stream(seed, name, ...)`, and nothing else is random.

A stream is counter-based (Philox): its words depend on the seed and its own name only, so one node or one draw more
moves nobody else's numbers. Everything that decides *times* or *order* is integer arithmetic on the raw words, because
libm's logarithm and NumPy's distributions differ between machines and versions. What is not here: the keys of JAX,
which `learning` derives from `words(..., 1)`.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def words(seed: int, *name: str | int, count: int = 1) -> np.ndarray:
    """Return the first `count` raw 64-bit words of the stream called `name`.

    >>> first = words(7, "jitter", "node0", 3, count=2)
    >>> bool((first == words(7, "jitter", "node0", 3, count=2)).all())
    True
    >>> bool((first == words(7, "jitter", "node1", 3, count=2)).all())
    False
    """
    from numpy.random import Philox

    text = "\x1f".join([str(seed), *(f"{type(part).__name__}:{part}" for part in name)])
    key = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little")
    return Philox(key=key).random_raw(count)


def below(seed: int, *name: str | int, bound: int) -> int:
    """Return one draw from 0 to `bound` - 1, as even as 64 bits allow.

    >>> 0 <= below(7, "coin", bound=2) < 2
    True
    """
    return int(words(seed, *name)[0]) * bound >> 64


def permutation(seed: int, *name: str | int, count: int) -> np.ndarray:
    """Return the numbers 0 to `count` - 1 in a random order that is the same on every machine.

    >>> sorted(permutation(7, "shuffle", 0, count=5).tolist())
    [0, 1, 2, 3, 4]
    """
    import numpy as np

    return np.argsort(words(seed, *name, count=count), kind="stable")
