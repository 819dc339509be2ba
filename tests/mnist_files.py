"""Small folders of images in the formats of MNIST, written by the book and not by ringsim.

What is not here: what ringsim makes of them (`test_mnist.py`).
"""

from __future__ import annotations

import gzip
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Pictures:
    """Images of bytes, [count, side, side], and what they show."""

    images: np.ndarray
    labels: np.ndarray


def pictures(count: int, side: int = 28, seed: int = 0) -> Pictures:
    """Return pictures of noise, in which every byte and every label comes up."""
    images = np.random.default_rng(seed).integers(0, 256, (count, side, side), dtype=np.uint8)
    return Pictures(images, (np.arange(count) % 10).astype(np.uint8))


TRAIN, TEST = pictures(12), pictures(6, seed=1)


def idx(array: np.ndarray) -> bytes:
    """Return an array of bytes as an IDX file."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_idx(
    folder: Path, train: Pictures = TRAIN, test: Pictures = TEST, packed: bool = False, mark: str = "-"
) -> Path:
    """Write the four files into a folder, and return it. mark: stands before `idx` in their names."""
    folder.mkdir(parents=True, exist_ok=True)
    for prefix, split in (("train", train), ("t10k", test)):
        for what, array in ((f"images{mark}idx3", split.images), (f"labels{mark}idx1", split.labels)):
            content = idx(array)
            name = f"{prefix}-{what}-ubyte"
            (folder / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(content) if packed else content)
    return folder


def write_npz(folder: Path, train: Pictures = TRAIN, test: Pictures = TEST, **others: np.ndarray) -> Path:
    """Write `mnist.npz` into a folder, and return the folder. others: arrays instead of these, by name."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {"x_train": train.images, "y_train": train.labels, "x_test": test.images, "y_test": test.labels}
    np.savez_compressed(folder / "mnist.npz", **{**arrays, **others})
    return folder
