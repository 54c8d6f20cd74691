"""Fits, crops, pads, flips, turns and erasing: the native engine and the readable twins, the same bits."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps
from skimage import data as photographs

import penstock as ps

SIZES = [(75, 117), (117, 75), (40, 41), (1, 60), (60, 1), (9, 9)]

# What each step or short chain of steps is called with; every one takes every image of SIZES.
CHAINS: dict[str, Callable[[ps.Recipe], ps.Recipe]] = {
    "contain": lambda r: r.resize(50, 61, fit="contain", fill=(9, 99, 200)),
    "contain nearest": lambda r: r.resize(130, 40, fit="contain", fill=255, filter="nearest"),
    "inside": lambda r: r.resize(150, 140, fit="inside", filter="bicubic"),
    "inside, smaller only": lambda r: r.resize(70, 70, fit="inside", enlarge=False),
    "long side": lambda r: r.resize(long_side=130, filter="lanczos"),
    "short side, capped": lambda r: r.resize(short_side=64, max_side=90),
    "short side, capped as DETR": lambda r: r.resize(short_side=64, max_side=90, rounding="even"),
    "center crop": lambda r: r.center_crop(64, 65),
    "center crop, floor": lambda r: r.center_crop(65, 64, rounding="floor", fill=(1, 2, 3)),
    "pad": lambda r: r.pad(1, 2, 3, 4, fill=(200, 100, 0)),
    "pad edge": lambda r: r.pad(3, 0, 5, 7, mode="edge"),
    "pad symmetric": lambda r: r.pad(1, 1, 1, 1, mode="symmetric"),
    "pad reflect": lambda r: r.resize(20, 30).pad(19, 29, 5, 1, mode="reflect"),
    "pad to": lambda r: r.pad_to(120, 130),
    "pad to, start": lambda r: r.pad_to(120, 130, position="start", mode="edge"),
    "pad to multiple": lambda r: r.pad_to_multiple(32, fill=114),
    "pad, then resize": lambda r: r.pad(7, 0, 0, 9, fill=50).resize(31, 33),
    "pad, crop, flip": lambda r: r.pad(7, 1, 2, 9, mode="edge").center_crop(30, 30).random_horizontal_flip(1.0),
    "vertical flip": lambda r: r.random_vertical_flip(1.0),
    "both flips": lambda r: r.random_vertical_flip().resize(33, 20).random_horizontal_flip(),
    "vertical flip between": lambda r: r.resize(40, 45).random_vertical_flip(1.0).center_crop(21, 20).resize(30, 31),
    "turn": lambda r: r.random_rotate90(1.0),
    "turn, then resize": lambda r: r.random_rotate90(1.0).resize(short_side=30),
    "resize, then turn": lambda r: r.resize(24, 24, fit="cover").random_rotate90(1.0).random_vertical_flip(),
    "random crop": lambda r: r.random_crop(32, 33, padding=4, pad_if_needed=True, fill=(5, 6, 7)),
    "random crop, edge": lambda r: r.random_crop(32, 33, padding=(0, 1, 2, 3), pad_if_needed=True, mode="edge"),
    "erasing": lambda r: r.random_erasing(1.0, fill=(124, 116, 104)),
    "erasing twice": lambda r: r.resize(50, 50).random_erasing(1.0).random_erasing(1.0, fill=255).center_crop(41, 42),
    "normalised": lambda r: r.resize(40, 40, fit="contain", fill=127).random_erasing(1.0).normalize(ps.IMAGENET),
}


@cache
def photograph(height: int, width: int) -> Image.Image:
    image = np.asarray(photographs.coffee())
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return Image.fromarray(np.ascontiguousarray(image[top : top + height, left : left + width]))


def oriented(picture: Image.Image, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=90, exif=exif)
    return file.getvalue()


@cache
def turned() -> dict[str, bytes]:
    blobs = {
        f"{height}x{width} {turn}": oriented(photograph(height, width), turn)
        for height, width in SIZES
        for turn in range(1, 9)
    }
    return blobs | {f"{height}x{width} png": png(photograph(height, width)) for height, width in SIZES}


def png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def upright(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as picture:
        return ImageOps.exif_transpose(picture).convert("RGB")


def same_rows(line: ps.Pipeline, epoch: int = 0) -> list[ps.Row]:
    """The rows of the native engine, each equal to the twin's."""
    made = []
    with (
        line.run(engine="native", on_failure="blank", epoch=epoch) as run,
        line.run(engine="reference", on_failure="blank", epoch=epoch) as twin,
    ):
        for row, other in zip(run, twin, strict=True):
            assert row.failure == other.failure and row.valid and row.image.dtype == other.image.dtype, row.key
            np.testing.assert_array_equal(row.image, other.image, err_msg=row.key)
            assert row.geometry is not None and other.geometry is not None
            np.testing.assert_array_equal(row.geometry.matrix, other.geometry.matrix, err_msg=row.key)
            made.append(row)
    return made


@pytest.mark.parametrize("name", CHAINS)
def test_every_orientation_and_size(name: str) -> None:
    chain = CHAINS[name](ps.recipe().decode())
    for epoch in range(3 if chain.random else 1):
        assert len(same_rows(ps.blobs(turned()).seed(4).apply(chain), epoch)) == len(turned())


@pytest.mark.parametrize("name", CHAINS)
def test_images_that_are_decoded_already(name: str) -> None:
    arrays = [np.asarray(photograph(height, width)) for height, width in SIZES]
    same_rows(ps.arrays(arrays).apply(CHAINS[name](ps.recipe())))


def test_contain_and_inside_are_imageops() -> None:
    contained = same_rows(ps.blobs(turned()).decode().resize(50, 61, fit="contain", fill=(9, 99, 200)))
    inside = same_rows(ps.blobs(turned()).decode().resize(50, 61, fit="inside", filter="bicubic"))
    for row, other in zip(contained, inside, strict=True):
        picture = upright(turned()[row.key])
        padded = ImageOps.pad(picture, (61, 50), Image.Resampling.BILINEAR, color=(9, 99, 200))
        np.testing.assert_array_equal(row.image, np.asarray(padded))
        np.testing.assert_array_equal(other.image, np.asarray(ImageOps.contain(picture, (61, 50))))


def test_pads_and_crops_are_torchvisions(torchvision: Any) -> None:
    from torchvision.transforms import functional

    cropped = same_rows(ps.blobs(turned()).decode().center_crop(64, 65))
    edged = same_rows(ps.blobs(turned()).decode().pad(3, 0, 5, 7, mode="edge"))
    for row, other in zip(cropped, edged, strict=True):
        picture = upright(turned()[row.key])
        np.testing.assert_array_equal(row.image, np.asarray(functional.center_crop(picture, [64, 65])))
        np.testing.assert_array_equal(
            other.image, np.asarray(functional.pad(picture, [0, 3, 7, 5], padding_mode="edge"))
        )


def of_one_number(verb: Any) -> Any:
    """The verb with a colour that fits images of any number of channels."""
    return replace(verb, fill=77) if isinstance(getattr(verb, "fill", None), tuple) else verb


@pytest.mark.parametrize("mode", ["L", "RGBA"])
@pytest.mark.parametrize("name", [name for name in CHAINS if name != "normalised"])
def test_grey_and_alpha(name: str, mode: Any) -> None:
    picture = photograph(75, 117).copy()
    picture.putalpha(Image.fromarray(np.asarray(picture)[..., 1]))
    verbs = tuple(of_one_number(verb) for verb in CHAINS[name](ps.recipe()).verbs)
    chain = ps.Recipe(ps.recipe().decode(mode=mode).decoding, verbs)
    rows = same_rows(ps.blobs({"alpha": png(picture), "none": png(photograph(40, 41))}).apply(chain))
    assert {row.image.shape[-1] for row in rows} == {1 if mode == "L" else 4}


@pytest.mark.parametrize("name", ["center crop", "pad", "pad edge", "vertical flip", "turn", "random crop", "erasing"])
def test_sixteen_bits(name: str) -> None:
    levels = np.random.default_rng(0).integers(0, 65536, (75, 117), dtype=np.uint16)
    verbs = tuple(of_one_number(verb) for verb in CHAINS[name](ps.recipe()).verbs)
    chain = ps.Recipe(ps.recipe().decode(mode="L", depth=16).decoding, verbs)
    (row,) = same_rows(ps.blobs({"deep": png(Image.fromarray(levels))}).apply(chain))
    assert row.image.dtype == np.uint16


def test_what_cannot_be_fails_alike() -> None:
    chains = [
        ps.recipe().decode().resize(2, 300, fit="inside"),
        ps.recipe().decode().resize(long_side=30),
        ps.recipe().decode().crop((0, 0, 50, 50)),
        ps.recipe().decode().pad(9, 9, 9, 9, mode="reflect"),
        ps.recipe().decode().pad_to(70, 70),
        ps.recipe().decode().random_crop(60, 60),
    ]
    for chain in chains:
        line = ps.blobs(turned()).apply(chain)
        with line.run(on_failure="blank") as run, line.run(engine="reference", on_failure="blank") as twin:
            rows = list(zip(run, twin, strict=True))
        assert any(not row.valid for row, _ in rows) and all(row.failure == other.failure for row, other in rows)
