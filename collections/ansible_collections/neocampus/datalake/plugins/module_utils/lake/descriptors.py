# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""By what images are compared: a 64-bit perceptual hash that finds near-duplicates, and a short vector that ranks them.

The hash is made of the signs of the low frequencies of a discrete cosine transform (C. Zauner, "Implementation and
benchmarking of perceptual image hash functions", 2010), the lowest eight in each direction, with (8, 8) in
place of the constant. Zero is what separates its bits, not the median: turning or mirroring an image then moves and
flips bits by a fixed rule, and the hashes of its eight orientations are known without looking at it again. The distance
over all of them is symmetric.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import combinations
from typing import Any

Array = Any  # numpy.ndarray, which is not there wherever this is imported
BITS = 64
BANDS = 4
BAND_BITS = BITS // BANDS
THRESHOLD = 10
"""Images whose hashes differ in at most this many bits, in the orientation that fits best, are near-duplicates. Of 94
pictures 91 % are found again when 5 % of each side is cropped, 93 % when they are 30 % brighter, 98–100 % when they are
made smaller or darker, are compressed much, or turned; no two different ones are taken for one, of 4371 pairs
(tests/bench/images.py)."""
MAX_THRESHOLD = 11
"""Above it `probes` would be thousands of keys, and images that have nothing in common are found."""
_SAMPLE = 32
_PLAIN = 4.0
_FREQUENCIES = tuple((row, column) for row in range(8) for column in range(8) if row or column) + ((8, 8),)
_COLOURS = 32
_DIRECTIONS = 8


def perceptual_hash(grey: Array) -> int | None:
    """The hash of a grey image (rows, columns; 0–255). None for one so plain that all of its bits would be noise."""
    import cv2
    import numpy

    small = cv2.resize(grey.astype(numpy.float32), (_SAMPLE, _SAMPLE), interpolation=cv2.INTER_AREA)
    if float(small.std()) < _PLAIN:
        return None
    waves = cv2.dct(small)
    value = 0
    for frequency in _FREQUENCIES:
        value = value << 1 | int(waves[frequency] > 0)
    return value


@lru_cache(maxsize=1)
def _turns() -> tuple[tuple[tuple[int, ...], int], ...]:
    """Of each of the other orientations: from which place each bit comes (first bit first), and which bits are flipped.

    Mirroring changes the sign of the odd frequencies in its direction, transposing swaps the two directions.
    """
    found = []
    for transpose in (False, True):
        for across, down in ((False, False), (True, False), (False, True), (True, True)):
            places, flips = [], 0
            for row, column in _FREQUENCIES:
                places.append(_FREQUENCIES.index((column, row) if transpose else (row, column)))
                flips = flips << 1 | int((across and column % 2 == 1) != (down and row % 2 == 1))
            found.append((tuple(places), flips))
    return tuple(found)


@lru_cache(maxsize=4096)
def orientations(value: int) -> tuple[int, ...]:
    """The hashes of an image as it is, and turned and mirrored in the seven other ways."""
    found = []
    for places, flips in _turns():
        turned = 0
        for place in places:
            turned = turned << 1 | (value >> (BITS - 1 - place) & 1)
        found.append(turned ^ flips)
    return tuple(found)


def distance(one: int, other: int) -> int:
    """In how many bits two hashes differ, in the orientation that fits best."""
    return min(bin(turned ^ other).count("1") for turned in orientations(one))


def bands(value: int) -> list[int]:
    """The hash in four parts of 16 bits, each an index's key."""
    return [value >> (BITS - BAND_BITS * (index + 1)) & (1 << BAND_BITS) - 1 for index in range(BANDS)]


def probes(value: int, threshold: int = THRESHOLD) -> list[list[int]]:
    """For each band the keys to look for, so that every hash at a distance of at most `threshold` is found.

    Two hashes that differ in at most t bits differ in at most t // 4 bits in one of the four bands (pigeonhole).
    Errors: ValueError above MAX_THRESHOLD, where the keys would be thousands.
    """
    if not 0 <= threshold <= MAX_THRESHOLD:
        raise ValueError(f"a threshold is between 0 and {MAX_THRESHOLD}, not {threshold}")
    masks = _masks(threshold // BANDS)
    keys: list[set[int]] = [set() for _ in range(BANDS)]
    for turned in orientations(value):
        for band, key in zip(keys, bands(turned)):  # noqa: B905 (3.9)
            band.update(key ^ mask for mask in masks)
    return [sorted(band) for band in keys]


@lru_cache(maxsize=8)
def _masks(bits: int) -> tuple[int, ...]:
    return tuple(
        sum(1 << place for place in places) for count in range(bits + 1) for places in combinations(range(16), count)
    )


def appearance(rgb: Array) -> list[float]:
    """A vector of 40 numbers that two images are compared by with `likeness`: 32 of colours, 8 of edges' directions.

    Colours: share of pixels in 8 hues × 2 saturations × 2 brightnesses. Directions: share of the image's edges in 8
    steps of a right angle, so that it is the same for an image turned by 90°. Each share as its square root.
    """
    import cv2
    import numpy

    small = cv2.resize(rgb, (64, 64), interpolation=cv2.INTER_AREA)
    hsv = cv2.cvtColor(small, cv2.COLOR_RGB2HSV).reshape(-1, 3).astype(int)
    cells = (hsv[:, 0] * 8 // 180) * 4 + (hsv[:, 1] >= 64) * 2 + (hsv[:, 2] >= 128)
    colours = numpy.bincount(cells, minlength=_COLOURS).astype(float)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    across, down = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    angle = numpy.mod(numpy.arctan2(down, across), numpy.pi / 2) * (_DIRECTIONS / (numpy.pi / 2))
    places = numpy.minimum(angle.astype(int), _DIRECTIONS - 1).flatten()
    edges = numpy.bincount(places, weights=numpy.hypot(across, down).flatten(), minlength=_DIRECTIONS)
    shares = []
    for part in (colours, edges):
        total = part.sum()
        shares.append(numpy.sqrt(part / total) if total else part)
    return [round(float(number), 4) for number in numpy.concatenate(shares)]


def likeness(one: Sequence[float], other: Sequence[float]) -> float:
    """From 0 (no colour nor direction in common) to 1 (the same): the cosine of two vectors of `appearance`."""
    product = _dot(one, other)
    length = (_dot(one, one) * _dot(other, other)) ** 0.5
    return min(1.0, max(0.0, product / length)) if length else 0.0


def _dot(one: Iterable[float], other: Iterable[float]) -> float:
    return float(sum(a * b for a, b in zip(one, other)))  # noqa: B905 (3.9)
