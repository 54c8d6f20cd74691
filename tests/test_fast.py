"""decode(fidelity="fast") against the exact pixels and against its twin."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import penstock as ps
from penstock._reference.fast import TOLERANCE, resize_fast, scale_of
from penstock.types import UInt8Image

SAMPLINGS = {"4:4:4": 0, "4:2:2": 1, "4:2:0": 2}


def photograph(height: int, width: int) -> UInt8Image:
    """Smooth shapes with edges and colours, like a photograph's."""
    rows, columns = np.indices((height, width)) / 40.0
    waves = np.stack([np.sin(rows + columns / 3), np.cos(rows / 2 - columns), np.sin(rows * columns / 9)], axis=-1)
    edges = ((rows // 2 + columns // 3) % 2)[..., None] * np.array([40.0, -25.0, 30.0])
    return np.clip(128 + 55 * waves + edges, 0, 255).astype(np.uint8)


def jpeg(image: UInt8Image, orientation: int = 1, **options: Any) -> bytes:
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x112] = orientation
    Image.fromarray(image).save(stream, "JPEG", quality=92, exif=exif, **options)
    return stream.getvalue()


def both(data: bytes, height: int, width: int, **options: Any) -> tuple[UInt8Image, UInt8Image]:
    exact = ps.recipe().decode().resize(height, width, **options)(data)
    fast = ps.recipe().decode(fidelity="fast").resize(height, width, **options)(data)
    return exact, fast


def difference(one: UInt8Image, other: UInt8Image) -> float:
    return float(np.abs(one.astype(np.int16) - other).mean())


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("side", [32, 48, 90, 130, 224])
def test_near_the_exact_pixels(sampling: str, side: int) -> None:
    exact, fast = both(jpeg(photograph(375, 500), subsampling=SAMPLINGS[sampling]), side, side)
    assert difference(exact, fast) < 1.0
    assert abs(float(np.mean(exact.astype(np.float64) - fast))) < 0.5  # neither darker nor brighter


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("fit", ["fill", "cover"])
def test_every_way_up(orientation: int, fit: str) -> None:
    data = jpeg(photograph(360, 500), orientation)
    for height, width in ((60, 100), (100, 60), (200, 180)):
        exact, fast = both(data, height, width, fit=fit)
        assert exact.shape == fast.shape
        assert difference(exact, fast) < 1.2


@pytest.mark.parametrize("filter", ["box", "bilinear", "hamming", "bicubic", "lanczos", "nearest"])
def test_every_filter(filter: str) -> None:
    exact, fast = both(jpeg(photograph(375, 500)), 120, 150, filter=filter)
    assert difference(exact, fast) < 1.5
    if filter == "nearest":
        np.testing.assert_array_equal(exact, fast)


@pytest.mark.parametrize("side", [32, 60, 120, 224])
def test_twin(side: int) -> None:
    image = photograph(375, 500)
    data = jpeg(image)
    with Image.open(io.BytesIO(data)) as picture:
        decoded = np.asarray(picture)
    _, fast = both(data, side, side)
    assert difference(resize_fast(decoded, side, side, "bilinear"), fast) < TOLERANCE


def test_scales() -> None:
    whole = (0.0, 0.0, 3000.0, 4000.0)
    assert [scale_of(whole, side, side) for side in (224, 250, 251, 500, 501, 1000, 1001)] == [1, 1, 2, 2, 4, 4, 8]


def test_crops_and_flips_follow() -> None:
    data = jpeg(photograph(375, 500))
    verbs = {"exact": ps.recipe().decode(), "fast": ps.recipe().decode(fidelity="fast")}
    images = {
        name: recipe.resize(short_side=128).center_crop(112, 112).random_horizontal_flip(1.0)(data)
        for name, recipe in verbs.items()
    }
    assert images["exact"].shape == images["fast"].shape == (112, 112, 3)
    assert difference(images["exact"], images["fast"]) < 1.0
    parts = {
        name: [recipe.random_resized_crop(40, 40)(data, index=index) for index in range(12)]
        for name, recipe in verbs.items()
    }
    for one, other in zip(parts["exact"], parts["fast"], strict=True):
        assert difference(one, other) < 1.5


@pytest.mark.parametrize("kind", ["png", "grey", "cmyk", "progressive", "tiny"])
def test_what_cannot_be_fast_is_exact_and_the_rest_is_near(kind: str) -> None:
    image = photograph(375, 500)
    stream = io.BytesIO()
    picture = Image.fromarray(image)
    if kind == "png":
        picture.save(stream, "PNG")
    elif kind == "tiny":
        picture.resize((12, 12)).save(stream, "JPEG")
    elif kind == "progressive":
        picture.save(stream, "JPEG", progressive=True)
    else:
        picture.convert("L" if kind == "grey" else "CMYK").save(stream, "JPEG")
    exact, fast = both(stream.getvalue(), 10, 11)
    assert difference(exact, fast) < 1.0
    if kind in ("png", "cmyk", "tiny"):
        np.testing.assert_array_equal(exact, fast)


def test_real_photographs(shared_data: Path) -> None:
    found = []
    for path in sorted((shared_data / "photos").rglob("*.jpg"))[::3]:
        try:
            exact, fast = both(path.read_bytes(), 224, 224)
        except ps.PenstockError:
            continue
        found.append(difference(exact, fast))
    assert len(found) > 20
    assert float(np.mean(found)) < 1.0
