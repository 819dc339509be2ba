"""`digits28`: the shipped digits on 28x28 pixels, shifted by seeded draws. It stands in for MNIST where there is none.

    8x8 image ── bilinear ──► 20x20 ── a draw of the shift ──► somewhere near the middle of 28x28

It is not MNIST: all training images come from 1,437 drawings, however many are asked for, and all test images from the
360 others, one of each; they are blurred, for they have never had more than 64 pixels. A shift teaches a network to
look for a digit elsewhere, and nothing about how else it could be drawn. What is not here: the digits (`data.py`).
"""

from __future__ import annotations

import numpy as np

from ringsim.seeds import words

SIDE = 28
LARGE = 20  # pixels of the enlarged digit, which is as large as a digit in MNIST (LeCun et al. 1998)
_PARTS = 10  # A pixel of 20 lies at a whole number of tenths between two pixels of 8.


def enlarged(images: np.ndarray) -> np.ndarray:
    """Return images of 8x8 at 20x20 pixels, float32 [images, 20, 20], by bilinear interpolation.

    The weights are tenths, so all sums are of integers and only the division at the end is rounded.

    >>> enlarged(np.full((1, 8, 8), 16, np.int64)).max()
    np.float32(16.0)
    >>> ramp = enlarged(np.arange(8)[None, None, :].repeat(8, axis=1))[0, 0]
    >>> print(ramp[:4], ramp[-1])
    [0.  0.1 0.5 0.9] 7.0
    """
    side = images.shape[1]
    tenths = np.clip((_PARTS * side * (2 * np.arange(LARGE) + 1) // LARGE - _PARTS) // 2, 0, _PARTS * (side - 1))
    before = np.minimum(tenths // _PARTS, side - 2)
    after_part = tenths - _PARTS * before
    rows = (_PARTS - after_part)[:, None] * images[:, before] + after_part[:, None] * images[:, before + 1]
    both = (_PARTS - after_part) * rows[:, :, before] + after_part * rows[:, :, before + 1]
    pixels: np.ndarray = both.astype(np.float32) / np.float32(_PARTS * _PARTS)
    return pixels


def placed(images: np.ndarray, seed: int, split: str, count: int, shift: int) -> tuple[np.ndarray, np.ndarray]:
    """Return `count` images of 28x28, float32 [count, 784], and for each of them which of `images` it shows.

    images: [images, 20, 20]. They take turns, so each is shown as often as any other, give or take one. shift: the most
    pixels that one is moved from the middle, in each of the two directions; all shifts up to it are equally likely.
    """
    source = np.arange(count) % len(images)
    draws, ways = words(seed, "digits28", split, count=count), 2 * shift + 1
    places = ((draws >> np.uint64(32)) * np.uint64(ways**2) >> np.uint64(32)).astype(np.int64)
    x = np.zeros((count, SIDE, SIDE), np.float32)
    for place in range(ways**2):
        down, right = ((SIDE - LARGE) // 2 - shift + part for part in divmod(place, ways))
        (here,) = np.nonzero(places == place)
        x[here, down : down + LARGE, right : right + LARGE] = images[source[here]]
    return x.reshape(count, SIDE * SIDE), source
