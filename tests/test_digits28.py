"""`digits28`: what it shows, and that its test images are of drawings that no training image shows.

What is not here: how well a network learns them (`test_real_training.py`).
"""

from __future__ import annotations

import numpy as np
import pytest

from ringsim.learning.data import load
from ringsim.learning.digits28 import LARGE, SIDE, enlarged
from ringsim.scenario import Digits, Digits28

SMALL = load(Digits(kind="digits"), seed=0)


def digits28(seed: int = 7, **keys: int):
    return load(Digits28(kind="digits28", **keys), seed)


def places_of(images: np.ndarray, sources: np.ndarray) -> list[tuple[int, int, int]]:
    """Return (source, down, right) of each image, found by comparing with every source at every place."""
    found = []
    for image in images.reshape(-1, SIDE, SIDE):
        hits = []
        for down in range(SIDE - LARGE + 1):
            for right in range(SIDE - LARGE + 1):
                inside = image[down : down + LARGE, right : right + LARGE]
                if np.isclose(inside.sum(), image.sum()):
                    matches = np.flatnonzero((sources == inside).all(axis=(1, 2)))
                    hits += [(int(source), down, right) for source in matches]
        assert len(hits) == 1, "one drawing at one place"
        found += hits
    return found


def sources_of(x: np.ndarray) -> np.ndarray:
    return enlarged(np.rint(x * 16).astype(np.int64).reshape(-1, 8, 8)) / np.float32(16)


@pytest.mark.parametrize("shift", [0, 2, 4])
def test_every_image_is_a_drawing_of_its_own_split_moved_by_at_most_the_shift(shift: int) -> None:
    data = digits28(samples=40, shift=shift)
    middle = (SIDE - LARGE) // 2
    for split, images, labels, small_x, small_y in (
        ("train", data.train_x, data.train_y, SMALL.train_x, SMALL.train_y),
        ("test", data.test_x[:40], data.test_y, SMALL.test_x, SMALL.test_y),
    ):
        for index, (source, down, right) in enumerate(places_of(images, sources_of(small_x))):
            assert labels[index] == small_y[source], split
            assert max(abs(down - middle), abs(right - middle)) <= shift


def test_no_test_image_shows_a_drawing_that_a_training_image_shows() -> None:
    train, test = sources_of(SMALL.train_x), sources_of(SMALL.test_x)
    assert not {image.tobytes() for image in train} & {image.tobytes() for image in test}


def test_all_shifts_are_drawn_evenly() -> None:
    """A digit's centre of mass moves by as much as the digit does."""
    still, moved = digits28(samples=1437, shift=0), digits28(samples=1437)
    rows = np.arange(SIDE)

    def centres(images: np.ndarray, axis: int) -> np.ndarray:
        weights = images.reshape(-1, SIDE, SIDE).sum(axis=3 - axis)
        return (weights * rows).sum(axis=1) / weights.sum(axis=1)

    for axis in (1, 2):
        shifts = np.rint(centres(moved.train_x, axis) - centres(still.train_x, axis)).astype(int)
        counts = np.bincount(shifts + 2, minlength=5)
        assert len(counts) == 5
        assert np.abs(counts - 1437 / 5).max() < 4 * np.sqrt(1437 / 5), counts


def test_drawings_take_turns_and_the_seed_moves_them() -> None:
    data, again, other = digits28(samples=3000), digits28(samples=3000), digits28(seed=8, samples=3000)
    assert (data.train_x == again.train_x).all()
    assert (data.train_x != other.train_x).any()
    assert (data.train_y == np.tile(SMALL.train_y, 3)[:3000]).all()
    assert (data.train_x[:1437] != data.train_x[1437:2874]).any()
    assert data.train_x.shape == (3000, 784)
    assert data.test_x.shape == (360, 784)
    assert data.image_shape == (28, 28, 1)
    assert (data.train_x.min(), data.train_x.max()) == (0, 1)


def test_enlarging_is_bilinear() -> None:
    """Against interpolation in floating point, pixel by pixel, with the centres of both grids in one place."""
    image = np.arange(64).reshape(1, 8, 8) % 17
    large = enlarged(image)[0]
    for row in range(LARGE):
        for column in range(LARGE):
            y, x = (np.clip((place + 0.5) * 8 / LARGE - 0.5, 0, 7) for place in (row, column))
            above, left = min(int(y), 6), min(int(x), 6)
            corners = image[0, above : above + 2, left : left + 2]
            down, right = y - above, x - left
            expected = np.array([1 - down, down]) @ corners @ np.array([1 - right, right])
            assert large[row, column] == pytest.approx(expected, abs=1e-5)
