"""Crops of JPEGs, of which only a part is decoded, against crops of the whole image through Pillow."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

import penstock as ps
from penstock.types import UInt8Image


def encoded(height: int, width: int, orientation: int = 1, **options: Any) -> bytes:
    generator = np.random.default_rng(height * width)
    coarse = generator.integers(0, 256, (height // 7 + 2, width // 5 + 2, 3), dtype=np.uint8)
    picture = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x112] = orientation
    picture.save(stream, "JPEG", exif=exif, **options)
    return stream.getvalue()


def upright(data: bytes) -> UInt8Image:
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))


OPTIONS: dict[str, dict[str, Any]] = {
    "4:4:4": {"subsampling": 0},
    "4:2:2": {"subsampling": 1},
    "4:2:0": {"subsampling": 2},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_rows": 1},
}


@pytest.mark.parametrize("kind", OPTIONS)
@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
def test_random_resized_crops(kind: str, orientation: int) -> None:
    data = encoded(203, 317, orientation, **OPTIONS[kind])
    pixels = upright(data)
    recipe = ps.recipe().decode().random_resized_crop(40, 56)
    for index in range(25):
        steps = recipe.resolve(pixels.shape[0], pixels.shape[1], seed=0, epoch=0, index=index).steps
        expected = pixels
        for step in steps:
            expected = step.apply(expected)
        np.testing.assert_array_equal(recipe(data, index=index), expected)


@pytest.mark.parametrize("kind", OPTIONS)
def test_center_crop(kind: str) -> None:
    data = encoded(181, 250, **OPTIONS[kind])
    pixels = upright(data)
    for height, width in ((20, 20), (64, 33), (181, 16), (15, 250)):
        top, left = round((181 - height) / 2.0), round((250 - width) / 2.0)
        found = ps.recipe().decode().center_crop(height, width)(data)
        np.testing.assert_array_equal(found, pixels[top : top + height, left : left + width])


def test_a_file_cut_off_below_the_crop_is_no_clean_row() -> None:
    whole = encoded(400, 300)
    recipe = ps.recipe().decode().random_resized_crop(32, 32, scale=(0.02, 0.05))
    for size in range(len(whole) // 2, len(whole) - 16, len(whole) // 9):
        line = ps.blobs({str(index): whole[:size] for index in range(4)}).apply(recipe).batch(4)
        with line.run(on_failure="blank") as run:
            assert sum(int(batch.valid.sum()) for batch in run) == 0
