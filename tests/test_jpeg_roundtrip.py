"""jpeg_roundtrip: the native step against Pillow's save and open; the verb's arguments."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import penstock as ps
from penstock import _native
from penstock._reference.jpeg import Jpeg
from penstock.errors import PlanError
from penstock.transform.jpeg_roundtrip import JpegRoundtrip
from penstock.transform.verb import StepError
from penstock.types import UInt8Image


def picture(kind: str, height: int, width: int, seed: int = 0) -> UInt8Image:
    generator = np.random.default_rng(seed)
    noise = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
    if kind == "noise":
        return noise
    rows, columns = np.indices((height, width))
    ramp = np.stack([rows * 3 + columns, rows + columns * 5, rows * columns // 7], axis=-1)
    if kind == "smooth":
        return (ramp // 4 % 256).astype(np.uint8)
    return np.where(((rows // 9 + columns // 5) % 2 == 0)[..., None], noise // 8, 255 - noise // 8).astype(np.uint8)


def native(image: UInt8Image, quality: int) -> UInt8Image:
    copy = image.copy()
    assert _native.jpeg_roundtrip(copy, quality)
    return copy


@pytest.mark.parametrize("kind", ["noise", "smooth", "edges"])
@pytest.mark.parametrize("quality", range(1, 101))
def test_every_quality(kind: str, quality: int) -> None:
    image = picture(kind, 37, 53, quality)
    np.testing.assert_array_equal(native(image, quality), Jpeg(quality).apply(image))


@pytest.mark.parametrize("height", [1, 2, 7, 8, 9, 15, 16, 17, 33, 100])
@pytest.mark.parametrize("width", [1, 2, 7, 8, 9, 15, 16, 17, 33, 100])
def test_every_size(height: int, width: int) -> None:
    image = picture("edges", height, width)
    np.testing.assert_array_equal(native(image, 95), Jpeg(95).apply(image))


def test_large() -> None:
    image = np.asarray(Image.fromarray(picture("noise", 90, 120)).resize((896, 700), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(native(image, 95), Jpeg(95).apply(image))


def test_as_a_verb() -> None:
    recipe = ps.recipe().decode().resize(20, 30).jpeg_roundtrip(40)
    spec = recipe.spec()
    assert (spec.height, spec.width, spec.dtype) == (20, 30, "uint8")
    assert "quality=40" in str(recipe)
    assert JpegRoundtrip() == JpegRoundtrip(95)
    steps = JpegRoundtrip(40).steps(5, 6, None)
    assert steps == [Jpeg(40)]
    assert steps[0].size(5, 6) == (5, 6)
    np.testing.assert_array_equal(steps[0].affine(5, 6), [[1, 0, 0], [0, 1, 0]])


@pytest.mark.parametrize("quality", [0, 101, -1, 1.5, "95", None, True])
def test_no_such_quality(quality: object) -> None:
    with pytest.raises(PlanError, match=r"jpeg_roundtrip.*expected quality= a whole number from 1 to 100, found"):
        JpegRoundtrip(quality)  # type: ignore[arg-type]


def test_sides_that_jpeg_cannot_have() -> None:
    with pytest.raises(StepError) as raised:
        JpegRoundtrip().steps(3, 65_501, None)
    assert raised.value.cause == "too large for JPEG"
    assert raised.value.message == "jpeg_roundtrip: expected sides of at most 65500 pixels, found H=3 W=65501"
    with pytest.raises(PlanError, match="at most 65500 pixels"):
        ps.recipe().decode().resize(3, 65_501).jpeg_roundtrip()
    wide = np.full((1, 65_501, 3), 9, dtype=np.uint8)
    assert not _native.jpeg_roundtrip(wide, 95)
    assert (wide == 9).all()
