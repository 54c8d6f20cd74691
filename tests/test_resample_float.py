"""resize(precision="float32"): jax.image.resize's results, and the native resampler equal to the twin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from penstock._reference.resample import resample
from penstock._reference.resample_float import resample_float
from penstock.recipe import recipe

METHODS = {"bilinear": "linear", "bicubic": "cubic", "lanczos": "lanczos3"}
TOLERANCE = 1e-5 * 255
SIZES = [
    ((7, 5), (3, 4)),
    ((7, 5), (14, 10)),
    ((33, 47), (32, 48)),
    ((64, 64), (64, 17)),
    ((64, 64), (201, 64)),
    ((1, 9), (5, 4)),
    ((9, 1), (4, 7)),
    ((1, 1), (6, 3)),
    ((31, 29), (1, 1)),
    ((97, 101), (13, 211)),
    ((101, 97), (211, 13)),
]
LARGE = [((120, 160), (112, 112)), ((600, 801), (224, 224)), ((301, 500), (640, 1023)), ((1200, 90), (77, 91))]


def noise(height: int, width: int, channels: int = 3, dtype: str = "uint8", seed: int = 0) -> np.ndarray:
    high = 65536 if dtype == "uint16" else 256
    samples = np.random.default_rng(seed).integers(0, high, (height, width, channels))
    return samples.astype(dtype)


@pytest.fixture(scope="module")
def jax():
    return pytest.importorskip("jax", reason="jax is not installed")


@pytest.mark.parametrize("filter", METHODS)
@pytest.mark.parametrize(("size", "new"), SIZES)
def test_jax_gives_the_same(jax, size, new, filter):
    image = noise(*size)
    expected = jax.image.resize(image.astype(np.float32), (*new, 3), METHODS[filter], antialias=True)
    found = resample_float(image, *new, filter)
    assert found.dtype == np.float32 and found.shape == (*new, 3)
    assert np.abs(found - np.asarray(expected)).max() <= TOLERANCE


@pytest.mark.parametrize("filter", METHODS)
@pytest.mark.parametrize(("size", "new"), LARGE)
def test_jax_in_double_precision_gives_the_same_at_any_size(jax, size, new, filter):
    # In float32 JAX itself places the samples of large images only to a thousandth of a pixel.
    image = noise(*size, channels=1)
    with jax.enable_x64(True):
        expected = np.asarray(jax.image.resize(image.astype(np.float64), (*new, 1), METHODS[filter], antialias=True))
    assert np.abs(resample_float(image, *new, filter) - expected).max() <= TOLERANCE


@pytest.mark.parametrize("filter", METHODS)
@pytest.mark.parametrize("box", [(3, 5, 30, 41), (2.25, 0.5, 20.75, 44.125)])
def test_a_box_is_the_same_mapping(jax, box, filter):
    """JAX takes a box as a scale and a translation; weights outside the box are used where the image goes on."""
    image, (top, left, bottom, right), new = noise(40, 50), box, (17, 61)
    scale = np.array([new[0] / (bottom - top), new[1] / (right - left)])
    with jax.enable_x64(True):
        expected = jax.image.scale_and_translate(
            image.astype(np.float64),
            (*new, 3),
            (0, 1),
            jax.numpy.asarray(scale),
            jax.numpy.asarray(-np.array([top, left]) * scale),
            METHODS[filter],
            antialias=True,
        )
    assert np.abs(resample_float(image, *new, filter, box) - np.asarray(expected)).max() <= TOLERANCE


@pytest.mark.parametrize("filter", ["box", "bilinear", "hamming", "bicubic", "lanczos"])
@pytest.mark.parametrize(("size", "new"), SIZES[:6])
def test_it_is_pillows_resize_before_the_rounding(size, new, filter):
    image = noise(*size, channels=1).astype(np.float32)[:, :, 0]
    pillows = Image.fromarray(image).resize(new[::-1], Image.Resampling[filter.upper()])  # mode F
    assert np.abs(resample_float(image[:, :, None], *new, filter)[:, :, 0] - np.asarray(pillows)).max() < 1e-3


def test_nearest_takes_the_same_pixels():
    image = noise(23, 31)
    assert np.array_equal(resample_float(image, 40, 7, "nearest"), resample(image, 40, 7, "nearest"))


def test_nothing_to_do_changes_nothing():
    image = noise(6, 8)
    assert np.array_equal(resample_float(image, 6, 8, "lanczos"), image)


def test_16_bits_end_as_0_to_255():
    image = noise(20, 30, 1, "uint8")
    deep = image.astype(np.uint16) * 257
    assert np.abs(resample_float(deep, 11, 41) - resample_float(image, 11, 41)).max() < 1e-3
    assert resample_float(np.full((3, 3, 1), 65535, np.uint16), 2, 2).max() == 255


def test_overshoot_is_kept():
    image = np.zeros((8, 8, 1), np.uint8)
    image[:, 4:] = 255
    found = resample_float(image, 8, 40, "bicubic")
    assert found.min() < -1 and found.max() > 256


# The native one.


@pytest.mark.parametrize("filter", ["bilinear", "bicubic", "lanczos"])
@given(
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    new=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    seed=st.integers(0, 99),
)
@settings(max_examples=25, deadline=None)
def test_native_equals_the_twin(filter, size, new, seed):
    image = noise(*size, seed=seed)
    found = recipe().resize(*new, filter=filter, precision="float32")(image)
    assert found.dtype == np.float32
    assert np.array_equal(found, resample_float(image, *new, filter))


def test_native_equals_the_twin_from_a_box():
    image = noise(50, 90)
    chain = recipe().resize(20, 20, fit="cover", filter="lanczos", precision="float32")
    assert np.array_equal(chain(image), resample_float(image, 20, 20, "lanczos", (0, 20, 50, 70)))
