"""normalize: every dtype in and out, any number of channels, against NumPy written out in full."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from penstock._reference.pack import numpy_dtype, pack
from penstock.errors import PlanError
from penstock.transform.normalize import CLIP, IMAGENET, SIGNED, UNIT, Normalize
from penstock.types import Spec

RANDOM = np.random.default_rng(5)
IMAGES = {
    "uint8": RANDOM.integers(0, 256, (5, 7, 4)).astype(np.uint8),
    "uint16": RANDOM.integers(0, 65536, (5, 7, 4)).astype(np.uint16),
    "float32": (RANDOM.random((5, 7, 4)) * 280 - 12).astype(np.float32),  # a resize may overshoot
}
FULL = {"uint8": 255, "uint16": 65535, "float32": 255}
MEANS, DEVIATIONS = (0.485, 0.456, 0.406, 0.5), (0.229, 0.224, 0.225, 0.25)


def image_spec(channels: int = 3, dtype: str = "uint8", range: str = "0..255") -> Spec:
    return Spec("image", 5, 7, channels, dtype, range)


def rounded_to_bfloat16(values: np.ndarray) -> np.ndarray:
    """float32 to nearest, ties to even, on the bits: the upper 16 of 32 stay."""
    bits = values.view(np.uint32)
    bits = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return (bits & np.uint32(0xFFFF0000)).view(np.float32)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("source", IMAGES)
def test_true_divisions_in_that_order(source, channels, layout):
    image, mean, std = IMAGES[source][:, :, :channels], MEANS[:channels], DEVIATIONS[:channels]
    found = pack(image, "float32", layout, mean, std)
    assert found.dtype == np.float32 and found.flags.c_contiguous
    for channel in range(channels):
        plane = (image[:, :, channel].astype(np.float32) / np.float32(FULL[source]) - np.float32(mean[channel])) / (
            np.float32(std[channel])
        )
        assert plane.dtype == np.float32
        assert np.array_equal(found[:, :, channel] if layout == "NHWC" else found[channel], plane)


@pytest.mark.parametrize("source", IMAGES)
def test_half_precision_is_the_float32_result_rounded_to_even(source):
    image = IMAGES[source]
    exact = pack(image, "float32", "NCHW", MEANS, DEVIATIONS)
    half = pack(image, "float16", "NCHW", MEANS, DEVIATIONS)
    assert half.dtype == np.float16 and np.array_equal(half, exact.astype(np.float16))
    between = np.array([[[2048.5], [1.00048828125], [1.00146484375]]], np.float32)  # ties of float16
    assert pack(between, "float16")[0, :, 0].tolist() == [2048.0, 1.0, 1.001953125]


@pytest.mark.parametrize("source", IMAGES)
def test_bfloat16_is_the_float32_result_rounded_to_even(source):
    pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    exact = pack(IMAGES[source], "float32", "NHWC", MEANS, DEVIATIONS)
    found = pack(IMAGES[source], "bfloat16", "NHWC", MEANS, DEVIATIONS)
    assert found.dtype == numpy_dtype("bfloat16") and found.itemsize == 2
    assert np.array_equal(found.astype(np.float32), rounded_to_bfloat16(exact))


@pytest.mark.parametrize("dtype", IMAGES)
def test_without_statistics_pixels_stay_what_they_are(dtype):
    found = pack(IMAGES[dtype], dtype, "NCHW")
    assert found.dtype == dtype and np.array_equal(found.transpose(1, 2, 0), IMAGES[dtype])


def test_a_number_too_few_is_not_spread_over_the_channels():
    with pytest.raises(ValueError, match="expected 3 means and deviations, found 1 and 1"):
        pack(IMAGES["uint8"][:, :, :3], "float32", "NHWC", (0.5,), (0.5,))


# the verb


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("statistics", [SIGNED, UNIT])
def test_statistics_that_treat_channels_alike_do_for_any_number(statistics, channels):
    verb = Normalize(statistics)
    assert verb.spec(image_spec(channels)).channels == channels
    mean, std = verb.statistics(channels)
    assert mean == statistics.mean[:1] * channels and std == statistics.std[:1] * channels
    assert Normalize(statistics.mean[:1], statistics.std[:1]).statistics(channels) == (mean, std)


@pytest.mark.parametrize("statistics", [IMAGENET, CLIP])
def test_statistics_of_three_channels_are_for_three(statistics):
    assert Normalize(statistics).statistics(3) == statistics
    for channels in (1, 4):
        with pytest.raises(PlanError, match=rf"found 3 for an image of {channels}; SIGNED and UNIT do for any number"):
            Normalize(statistics).spec(image_spec(channels))


def test_as_many_numbers_as_channels():
    assert str(Normalize(MEANS, DEVIATIONS).spec(image_spec(4))).startswith("float32 [5, 7, 4]")
    assert Normalize([0.1], [0.2]).spec(image_spec(1)).range == "-0.5..4.5"
    with pytest.raises(PlanError, match="found 4 for an image of 3; IMAGENET and CLIP are for three"):
        Normalize(MEANS, DEVIATIONS).spec(image_spec(3))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize(("source", "span"), [("uint8", "0..255"), ("uint16", "0..65535"), ("float32", "0..255")])
def test_what_it_takes_and_gives(source, span, dtype):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    out = Normalize(SIGNED, dtype=dtype).spec(image_spec(3, source, span))
    assert out.dtype == dtype and out.range == "-1..1"
    assert Normalize(SIGNED, dtype=dtype).describe().endswith(dtype)
    with pytest.raises(PlanError, match=r"leave the second one out"):
        Normalize(SIGNED).spec(out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.5, 0.5], [1, 1]), "expected mean= 1, 3 or 4 finite numbers, one a channel"),
        ((0.5, 0.5), "expected mean= 1, 3 or 4 finite numbers"),
        (([0.5] * 3, [0.5]), "expected as many means as standard deviations, found 3 and 1"),
        ((IMAGENET, None, "uint8"), "expected dtype= one of 'float32', 'float16', 'bfloat16', found 'uint8'"),
        (([0.0], [1e-6], "float16"), r"expected results that float16 can hold, up to 65504, found 1e\+06"),
        (([0.0], [0.0]), "expected std= numbers above 0"),
    ],
)
def test_numbers_that_cannot_be(arguments, message):
    with pytest.raises(PlanError, match=message):
        Normalize(*arguments)


def test_bfloat16_names_the_package_it_needs(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PlanError, match=r"expected the package ml_dtypes.*pip install ml_dtypes\."):
        Normalize(SIGNED, dtype="bfloat16")
