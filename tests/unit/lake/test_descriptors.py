# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from neocampus_lake import descriptors
from neocampus_lake.descriptors import (
    THRESHOLD,
    appearance,
    bands,
    distance,
    likeness,
    orientations,
    perceptual_hash,
    probes,
)
from PIL import Image, ImageEnhance
from skimage import data

HASHES = st.integers(0, 2**64 - 1)
TURNS = [
    lambda grey: grey[:, ::-1],
    lambda grey: grey[::-1],
    lambda grey: grey[::-1, ::-1],
    lambda grey: grey.T,
    lambda grey: numpy.rot90(grey),
    lambda grey: numpy.rot90(grey, 3),
    lambda grey: numpy.rot90(grey, 2).T,
]
PICTURES = (
    "astronaut",
    "camera",
    "chelsea",
    "coffee",
    "rocket",
    "hubble_deep_field",
    "page",
    "retina",
    "brick",
    "grass",
)


def picture(name):
    """One of scikit-image's sample images, at most 512 pixels a side."""
    image = Image.fromarray(getattr(data, name)()).convert("RGB")
    image.thumbnail((512, 512))
    return image


def grey(image):
    return numpy.asarray(image.convert("L"))


@pytest.mark.parametrize("turn", TURNS)
def test_hashes_of_a_turned_image_are_known_from_the_hash(turn):
    pixels = grey(picture("astronaut").resize((320, 320)))
    assert perceptual_hash(turn(pixels)) in orientations(perceptual_hash(pixels))
    assert distance(perceptual_hash(turn(pixels)), perceptual_hash(pixels)) == 0


@given(HASHES)
def test_orientations_are_those_of_each_of_them(value):
    assert orientations(value)[0] == value
    for turned in orientations(value):
        assert sorted(orientations(turned)) == sorted(orientations(value))


@given(HASHES, HASHES)
def test_distance_is_symmetric_and_at_most_that_of_the_bits(one, other):
    assert distance(one, other) == distance(other, one) <= bin(one ^ other).count("1")
    assert distance(one, one) == 0


@given(HASHES, st.sets(st.integers(0, 63), max_size=THRESHOLD), st.integers(0, 7))
def test_every_hash_that_is_near_enough_is_found_by_a_band(value, places, turn):
    other = orientations(value)[turn]
    for place in places:
        other ^= 1 << place
    assert any(key in keys for key, keys in zip(bands(other), probes(value, len(places)), strict=True))


@pytest.mark.parametrize("threshold", [-1, 12])
def test_a_threshold_that_bands_cannot_serve_is_refused(threshold):
    with pytest.raises(ValueError, match="threshold"):
        probes(0, threshold)


@given(HASHES)
def test_bands_are_the_hash(value):
    assert sum(band << 16 * (3 - place) for place, band in enumerate(bands(value))) == value


@pytest.mark.parametrize("pixels", [numpy.zeros((9, 9)), numpy.full((1, 1), 255), numpy.full((50, 50), 7)])
def test_a_plain_image_has_no_hash(pixels):
    assert perceptual_hash(pixels.astype(numpy.uint8)) is None


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize(
    "change",
    [
        lambda image: image.resize((image.width // 3, image.height // 3)),
        lambda image: ImageEnhance.Brightness(image).enhance(0.7),
        lambda image: ImageEnhance.Contrast(image).enhance(1.3),
        lambda image: image.rotate(90, expand=True),
        lambda image: image.convert("L"),
    ],
    ids=["resize", "darker", "contrast", "turned", "grey"],
)
def test_a_changed_image_is_a_near_duplicate(name, change):
    image = picture(name)
    assert distance(perceptual_hash(grey(image)), perceptual_hash(grey(change(image)))) <= THRESHOLD


def test_different_pictures_are_no_near_duplicates():
    hashes = [perceptual_hash(grey(picture(name))) for name in PICTURES]
    found = [distance(a, b) for number, a in enumerate(hashes) for b in hashes[number + 1 :]]
    assert min(found) > THRESHOLD + 3


def test_likeness_ranks_a_changed_image_before_another_one():
    one, other = picture("coffee"), picture("chelsea")
    vectors = [appearance(numpy.asarray(image)) for image in (one, one.rotate(90, expand=True), other)]
    assert len(vectors[0]) == 40
    assert likeness(vectors[0], vectors[1]) > 0.999 > 0.99 > likeness(vectors[0], vectors[2])
    assert likeness(vectors[0], vectors[0]) == pytest.approx(1)


def test_likeness_of_nothing_is_none():
    assert likeness([0.0], [1.0]) == likeness((), ()) == 0.0


@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 2**32))
def test_any_size_has_descriptors(width, height, seed):
    pixels = numpy.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(numpy.uint8)
    assert all(0 <= number <= 1 for number in appearance(pixels))
    value = descriptors.perceptual_hash(pixels[:, :, 0])
    assert value is None or 0 <= value < 2**64
