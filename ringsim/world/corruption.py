"""One flipped bit in a message that nobody notices: what is used further on is a copy with a wrong number in it.

Only arrays of numbers are flipped, wherever they are in the payload: what else is in a message is small, and a wrong
bit in it would be noticed. The original stays as it is, because its sender still has it. What is not here: which
message it is (`losses.py`), and those that a checksum finds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np


def flipped(payload: Any, word: int) -> Any:
    """Return `payload` with one bit of its arrays flipped: bit number `word`, counted round. Without any: itself.

    >>> flipped((1, np.array([1.0, 2.0], np.float32)), word=31)[1].tolist()
    [-1.0, 2.0]
    """
    bits = sum(array.nbytes * 8 for array in _arrays(payload))
    return _replaced(payload, word % bits)[0] if bits else payload


def _arrays(payload: Any) -> Iterator[np.ndarray]:
    if isinstance(payload, np.ndarray):
        yield payload
    for inner in _inside(payload).values():
        yield from _arrays(inner)


def _inside(payload: Any) -> dict[Any, Any]:
    if isinstance(payload, (tuple, list)):
        return dict(enumerate(payload))
    if dataclasses.is_dataclass(payload) and not isinstance(payload, type):
        return {field.name: getattr(payload, field.name) for field in dataclasses.fields(payload) if field.init}
    return {}


def _replaced(payload: Any, bit: int) -> tuple[Any, int]:
    """Return the payload with the bit flipped if it lies in here, and how many bits there are in front of it."""
    if isinstance(payload, np.ndarray):
        size = payload.nbytes * 8
        return (_with_bit(payload, bit), -1) if 0 <= bit < size else (payload, bit - size)
    for key, inner in _inside(payload).items():
        if bit < 0:
            break
        new, bit = _replaced(inner, bit)
        if bit < 0:
            return _with(payload, key, new), -1
    return payload, bit


def _with_bit(array: np.ndarray, bit: int) -> np.ndarray:
    raw = bytearray(np.ascontiguousarray(array).tobytes())
    raw[bit // 8] ^= 1 << bit % 8
    return np.frombuffer(bytes(raw), array.dtype).reshape(array.shape)


def _with(payload: Any, key: Any, value: Any) -> Any:
    if isinstance(payload, (tuple, list)):
        items = [value if index == key else item for index, item in enumerate(payload)]
        if isinstance(payload, list):
            return items
        return type(payload)(*items) if hasattr(payload, "_fields") else tuple(items)
    return dataclasses.replace(payload, **{key: value})
