"""Data sets as arrays: the shipped handwritten digits, synthetic points, MNIST. The same numbers on every machine.

What is not here: the digits on 28x28 pixels (`digits28.py`), the files of MNIST (`mnist.py`), and who takes which
sample when (`sampler.py`). No JAX.
"""

from __future__ import annotations

import functools
import gzip
import math
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources

import numpy as np

from ringsim.learning import mnist
from ringsim.learning.digits28 import SIDE, enlarged, placed
from ringsim.scenario import Digits, Digits28, Mnist, Synthetic
from ringsim.seeds import words

DIGITS_SIDE = 8  # pixels
DIGITS_BRIGHTEST = 16
MNIST_BRIGHTEST = 255
TEST_EVERY = 5  # Every fifth image, from the first on, is for testing: 360 of 1,797.
_POINTS_A_BLOCK = 4_096


@dataclass(frozen=True)
class Shape:
    """What a model must know of its data: numbers in a sample, classes, and (height, width, channels) of an image."""

    features: int
    classes: int
    image_shape: tuple[int, int, int] | None


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples to train and to test on; all arrays are read-only.

    train_x, test_x: float32 [samples, features]; an image is a row, height by width by channels.
    train_y, test_y: int32 [samples], from 0 to classes - 1.
    """

    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray
    classes: int
    image_shape: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        for array in (self.train_x, self.train_y, self.test_x, self.test_y):
            array.setflags(write=False)

    @property
    def shape(self) -> Shape:
        return Shape(self.train_x.shape[1], self.classes, self.image_shape)


def load(settings: Digits | Digits28 | Synthetic | Mnist, seed: int) -> Dataset:
    """Return the data that a scenario asks for; `seed` draws synthetic points and shifts, and no other images.

    Raises ScenarioInvalid for files that are none of MNIST's format, DataUnavailable where they cannot be fetched.

    >>> from ringsim.scenario import Digits
    >>> load(Digits(kind="digits"), seed=0).train_x.shape
    (1437, 64)
    """
    if isinstance(settings, Synthetic):
        return _synthetic(settings, seed)
    if isinstance(settings, Mnist):
        return _mnist(settings)
    return _digits28(settings, seed) if isinstance(settings, Digits28) else _digits()


@functools.cache
def _digits() -> Dataset:
    """Decode the shipped file: a line an image, 64 pixels from 0 to 16, then the digit. See DATA_LICENSE.md."""
    text = gzip.decompress(resources.files(__package__).joinpath("digits.csv.gz").read_bytes()).decode("ascii")
    pixels_a_line = DIGITS_SIDE * DIGITS_SIDE
    table = np.fromstring(text.replace("\n", ","), dtype=np.uint8, sep=",").reshape(-1, pixels_a_line + 1)
    x = table[:, :pixels_a_line].astype(np.float32) / np.float32(DIGITS_BRIGHTEST)
    y = table[:, pixels_a_line].astype(np.int32)
    testing = np.arange(len(table)) % TEST_EVERY == 0
    return Dataset(x[~testing], y[~testing], x[testing], y[testing], 10, (DIGITS_SIDE, DIGITS_SIDE, 1))


@functools.lru_cache(maxsize=1)
def _mnist(settings: Mnist) -> Dataset:
    """Read the files, once for all runs of a process. Every image is a row of numbers from 0 to 1."""
    train, test = mnist.load(settings)
    _, height, width = train.images.shape
    arrays = (_scaled(train.images), train.labels, _scaled(test.images), test.labels)
    return Dataset(*arrays, mnist.CLASSES, (height, width, 1))


def _scaled(images: np.ndarray) -> np.ndarray:
    rows = images.reshape(len(images), -1).astype(np.float32)
    rows /= np.float32(MNIST_BRIGHTEST)
    return rows


@functools.lru_cache(maxsize=2)
def _digits28(settings: Digits28, seed: int) -> Dataset:
    digits = _digits()

    def split(name: str, x: np.ndarray, y: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        pixels = np.rint(x * DIGITS_BRIGHTEST).astype(np.int64).reshape(-1, DIGITS_SIDE, DIGITS_SIDE)
        drawings = enlarged(pixels) / np.float32(DIGITS_BRIGHTEST)
        images, source = placed(drawings, seed, name, count, settings.shift)
        return images, y[source]

    train_x, train_y = split("train", digits.train_x, digits.train_y, settings.samples)
    test_x, test_y = split("test", digits.test_x, digits.test_y, len(digits.test_y))
    return Dataset(train_x, train_y, test_x, test_y, digits.classes, (SIDE, SIDE, 1))


@functools.lru_cache(maxsize=4)
def _synthetic(settings: Synthetic, seed: int) -> Dataset:
    """Draw a centre for each class, then points around the centres, class after class in turn."""
    centres = _bells(seed, "centres", count=settings.classes * settings.features)
    centres = centres.reshape(settings.classes, settings.features)
    test_size = -(-settings.samples // TEST_EVERY)
    train_x, train_y = _points(settings, seed, "train", centres, settings.samples)
    test_x, test_y = _points(settings, seed, "test", centres, test_size)
    side = math.isqrt(settings.features)
    # As many features as a square has pixels can be read as an image, so that a cnn has something to chew on.
    image_shape = (side, side, 1) if side * side == settings.features else None
    return Dataset(train_x, train_y, test_x, test_y, settings.classes, image_shape)


def _points(
    settings: Synthetic, seed: int, split: str, centres: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    y = (np.arange(count) % settings.classes).astype(np.int32)
    x = centres[y]
    for start, stop in _blocks(count):
        offsets = _bells(seed, split, start, count=(stop - start) * settings.features)
        # Two operations, each rounded by itself, so that no machine fuses them.
        offsets *= np.float32(settings.noise)
        x[start:stop] += offsets.reshape(stop - start, settings.features)
    return x, y


def _blocks(count: int) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) over `count` points: the words for millions of points would not fit in memory at once."""
    for start in range(0, count, _POINTS_A_BLOCK):
        yield start, min(start + _POINTS_A_BLOCK, count)


def _bells(seed: int, *name: str | int, count: int) -> np.ndarray:
    """Return `count` bell-shaped numbers of mean 0 and spread 1, float32: the sum of twelve uniform ones.

    Each is an integer divided by 2^16 that float32 holds exactly: no logarithm, no rounding, no NumPy distribution.

    >>> bells = _bells(7, "doctest", count=1000)
    >>> bool(abs(bells.mean()) < 0.1), bool(abs(bells.std() - 1) < 0.1)
    (True, True)
    """
    uniforms: np.ndarray = words(seed, "synthetic", *name, count=3 * count).view(np.uint16).reshape(count, 12)
    sums: np.ndarray = uniforms.sum(axis=1, dtype=np.int64) - 6 * 65_535
    return (sums / 65_536).astype(np.float32)
