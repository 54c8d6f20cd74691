"""The twin of the Huffman decoder: its coefficients, made into pixels, are those that everybody has."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from skimage import data as photographs

import penstock as ps
from penstock._reference.huffman import Component, read_coefficients
from penstock.types import UInt8Image

WAVES = np.array(
    [[np.cos((2 * x + 1) * u * np.pi / 16) * (0.5 if u else 0.125**0.5) for x in range(8)] for u in range(8)]
)


def photograph(name: str = "astronaut") -> UInt8Image:
    image: UInt8Image = getattr(photographs, name)()
    return image


def encoded(image: Image.Image, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", **options)
    return stream.getvalue()


def plane(component: Component, quantisation: dict[int, list[int]]) -> NDArray[np.float64]:
    """Samples from coefficients, by the definition."""
    down, across, _ = component.blocks.shape
    blocks = (component.blocks * np.array(quantisation[component.quantisation])).reshape(down, across, 8, 8)
    samples = np.einsum("vy,ijvu,ux->iyjx", WAVES, blocks, WAVES)
    return np.clip(samples.reshape(down * 8, across * 8) + 128, 0, 255)


@pytest.mark.parametrize(
    "options",
    [
        {"quality": 92},
        {"quality": 30, "optimize": True},
        {"quality": 100},
        {"quality": 85, "restart_marker_blocks": 5},
        {"quality": 85, "restart_marker_rows": 1, "optimize": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_coefficients(mode: str, options: dict[str, Any]) -> None:
    image = Image.fromarray(photograph()[100:163, 200:285]).convert(mode)
    data = encoded(image, subsampling=0, **options)
    components, quantisation = read_coefficients(data)
    with Image.open(io.BytesIO(data)) as picture:
        if mode == "RGB":
            picture.draft("YCbCr", picture.size)  # the samples as the library has them
        expected = np.atleast_3d(np.asarray(picture)).astype(np.float64)
    for channel, component in enumerate(components):
        found = plane(component, quantisation)[:63, :85]
        assert np.abs(found - expected[..., channel]).max() <= 1.5  # of integer arithmetic and rounding


@pytest.mark.parametrize("subsampling", [1, 2])
def test_sampled(subsampling: int) -> None:
    image = Image.fromarray(photograph()[100:163, 200:285])
    data = encoded(image, subsampling=subsampling, quality=90)
    components, quantisation = read_coefficients(data)
    with Image.open(io.BytesIO(data)) as picture:
        picture.draft("YCbCr", picture.size)
        luma = np.asarray(picture)[..., 0].astype(np.float64)
    assert np.abs(plane(components[0], quantisation)[:63, :85] - luma).max() <= 1.5
    assert components[1].blocks.shape[1] == components[0].blocks.shape[1] // 2


def test_native_pixels_are_those_of_the_coefficients() -> None:
    image = Image.fromarray(photograph()[:200, :240]).convert("L")
    data = encoded(image, quality=95)  # large enough for the native decoder to make tables for it
    components, quantisation = read_coefficients(data)
    native = ps.recipe().decode()(data)
    assert np.abs(plane(components[0], quantisation)[:200, :240] - native[..., 1]).max() <= 1.5


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda data: data[:-2] + b"\x55\x55\xff\xd9", "more than padding"),
        (lambda data: data[:-40] + b"\xff\xd9", "bits that are not there"),
    ],
)
def test_says_what_is_not_certain(damage: Any, sentence: str) -> None:
    image = Image.fromarray(photograph()[:64, :64]).convert("L")
    with pytest.raises(ValueError, match=sentence):
        read_coefficients(damage(encoded(image, quality=95)))
