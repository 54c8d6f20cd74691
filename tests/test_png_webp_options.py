"""PNG and WebP by every option of decode: Pillow's convert and alpha_composite, and our definition for 16 bits."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

import penstock as ps
from png_webp_files import GREY_ALPHA, KINDS, backend, make_png, samples_of, variants, webps

COLOUR = (200, 100, 30)
OPTIONS = [
    {"mode": mode, "alpha": alpha, "depth": depth}
    for mode in ("RGB", "L", "RGBA")
    for alpha in (("drop", COLOUR) if mode != "RGBA" else ("drop",))
    for depth in (8, 16, "scale")
]


def over(rgba: Any, top: int) -> Any:
    """RGBA of samples 0..top, uint64, laid over COLOUR: rounded weights of 16 bits."""
    colour = np.array(COLOUR, np.uint64) * 257
    alpha = rgba[..., 3:]
    return (rgba[..., :3] * alpha + colour * (top - alpha) + top // 2) // top


def grey(rgb: Any) -> Any:
    """Pillow's grey of RGB, for 8 and 16 bits alike."""
    wide = rgb.astype(np.uint64)
    return ((wide[..., 0] * 19595 + wide[..., 1] * 38470 + wide[..., 2] * 7471 + 0x8000) >> 16)[..., None]


def finished_by_pillow(image: Image.Image, options: dict[str, Any]) -> Any:
    if options["mode"] == "RGBA":
        return np.asarray(image.convert("RGBA"))
    if options["alpha"] != "drop":
        ground = Image.new("RGBA", image.size, (*COLOUR, 255))
        image = Image.alpha_composite(ground, image.convert("RGBA"))
    made = np.asarray(image.convert(options["mode"]))
    return made.reshape(*made.shape[:2], -1)


def finished(rgba: Any, options: dict[str, Any]) -> Any:
    """uint16 RGBA as ``options`` of depth 16 have it."""
    if options["mode"] == "RGBA":
        return rgba
    wide = rgba.astype(np.uint64)
    rgb = wide[..., :3] if options["alpha"] == "drop" else over(wide, 65535)
    return (grey(rgb) if options["mode"] == "L" else rgb).astype(np.uint16)


def deep_rgba(samples: Any, colour_type: int, transparency: bytes) -> Any:
    """Samples of 16 bits as uint16 RGBA; the transparent colour counts with all its bits."""
    channels = samples.shape[2]
    colours = samples[..., :3] if channels >= 3 else np.repeat(samples[..., :1], 3, axis=2)
    if colour_type >= GREY_ALPHA:
        alpha = samples[..., -1:]
    elif transparency:
        alpha = np.where((samples == np.frombuffer(transparency, ">u2")).all(axis=2, keepdims=True), 0, 65535)
    else:
        alpha = np.full_like(samples[..., :1], 65535)
    return np.concatenate([colours, alpha], axis=2).astype(np.uint16)


def expected(image: Image.Image, options: dict[str, Any], deep: Any = None) -> Any:
    """``deep``: uint16 RGBA of a file of 16 bits."""
    if options["depth"] == 16:
        return (
            finished(deep, options) if deep is not None else finished_by_pillow(image, options).astype(np.uint16) * 257
        )
    if options["depth"] == "scale" and deep is not None:
        rounded = (deep.astype(np.uint64) * 255 + 32767) // 65535
        return finished_by_pillow(Image.fromarray(rounded.astype(np.uint8)), options)
    return finished_by_pillow(image, options)


def check_options(data: bytes, options: dict[str, Any], deep: Any = None) -> None:
    assert backend(data) in ("png", "webp")
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        wanted = expected(image, options, deep)
    made = ps.recipe().decode(**options)(data)
    height, width = wanted.shape[:2]
    line = ps.blobs({"it": data}).decode(**options).crop((0, 0, width, height)).batch(1)
    with line.run(engine="reference") as run:
        assert np.array_equal(next(run).images[0], wanted)
    assert made.dtype == wanted.dtype
    assert made.shape == wanted.shape
    assert np.array_equal(made, wanted)


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize(("colour_type", "depth"), KINDS)
def test_png_by_every_option(colour_type: int, depth: int, options: dict[str, Any]) -> None:
    for interlaced in (False, True):
        samples = samples_of(23, 17, depth, colour_type)
        for variant in variants(23, 17, depth, colour_type):
            data = make_png(samples, depth, colour_type, interlaced=interlaced, **variant)
            deep = deep_rgba(samples, colour_type, variant.get("transparency", b"")) if depth == 16 else None
            check_options(data, options, deep)


@pytest.mark.skipif(not features.check("webp"), reason="this Pillow has no WebP")
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_webp_by_every_option(options: dict[str, Any]) -> None:
    for name, data in webps().items():
        if not name.startswith("orientation") and name != "xmp":
            check_options(data, options)
