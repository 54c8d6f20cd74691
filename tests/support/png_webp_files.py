"""PNG files of every kind, made chunk by chunk, WebP files, and what Pillow makes of them."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from skimage import data as photographs

import penstock as ps
from penstock import _native

GREY, COLOURS, PALETTE, GREY_ALPHA, COLOURS_ALPHA = 0, 2, 3, 4, 6
CHANNELS = {GREY: 1, COLOURS: 3, PALETTE: 1, GREY_ALPHA: 2, COLOURS_ALPHA: 4}
KINDS = [
    *((GREY, depth) for depth in (1, 2, 4, 8, 16)),
    *((PALETTE, depth) for depth in (1, 2, 4, 8)),
    *((colour, depth) for colour in (COLOURS, GREY_ALPHA, COLOURS_ALPHA) for depth in (8, 16)),
]
SIZES = ((1, 1), (3, 2), (5, 9), (23, 17), (70, 130))
PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
SMALL = (37, 41)
SIGNATURE = b"\x89PNG\r\n\x1a\n"


# -- making files --------------------------------------------------------------------------------------------


def chunk(name: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def packed(samples: Any, depth: int) -> bytes:
    """Rows of samples [H, W, C] as PNG stores them, the five filters in turn."""
    height, width, channels = samples.shape
    flat = samples.reshape(height, width * channels)
    if depth == 16:
        rows = flat.astype(">u2").view(np.uint8)
    elif depth == 8:
        rows = flat.astype(np.uint8)
    else:
        bits = (flat[..., None] >> np.arange(depth - 1, -1, -1)) & 1
        rows = np.packbits(bits.reshape(height, -1).astype(np.uint8), axis=1)
    rows = rows.astype(np.int32)
    pixel = max(1, channels * depth // 8)
    up = np.vstack([np.zeros_like(rows[:1]), rows[:-1]])
    left = np.pad(rows, ((0, 0), (pixel, 0)))[:, : rows.shape[1]]
    corner = np.pad(up, ((0, 0), (pixel, 0)))[:, : rows.shape[1]]
    to_left, to_up, to_corner = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
    nearest = np.where(to_up <= to_corner, up, corner)
    paeth = np.where((to_left <= to_up) & (to_left <= to_corner), left, nearest)
    kinds = np.arange(height) % 5
    guesses = np.stack([np.zeros_like(rows), left, up, (left + up) // 2, paeth])
    filtered = (rows - guesses[kinds, np.arange(height)]) & 255
    return np.hstack([kinds[:, None], filtered]).astype(np.uint8).tobytes()


def make_png(
    samples: Any,
    depth: int,
    colour_type: int,
    *,
    interlaced: bool = False,
    palette: bytes = b"",
    transparency: bytes = b"",
    before: bytes = b"",
    after: bytes = b"",
) -> bytes:
    """A PNG of samples [H, W, C]; ``before`` and ``after`` are further chunks around the image data."""
    height, width, _ = samples.shape
    if interlaced:
        parts = [samples[top::down, left::across] for top, left, down, across in PASSES]
        raw = b"".join(packed(part, depth) for part in parts if part.size)
    else:
        raw = packed(samples, depth)
    data = zlib.compress(raw)
    half = len(data) // 2
    return b"".join(
        [
            SIGNATURE,
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, interlaced)),
            chunk(b"PLTE", palette) if palette else b"",
            chunk(b"tRNS", transparency) if transparency else b"",
            before,
            chunk(b"IDAT", data[:half]),
            chunk(b"IDAT", data[half:]),
            after,
            chunk(b"IEND"),
        ]
    )


@cache
def picture(height: int, width: int) -> Any:
    return np.asarray(photographs.coffee())[150 : 150 + height, 200 : 200 + width]


def samples_of(height: int, width: int, depth: int, colour_type: int) -> Any:
    """Samples with structure, and in 16 bits with small values too, which Pillow's clipping leaves alone."""
    rng = np.random.default_rng(height * 1000 + width * 10 + depth + colour_type)
    samples = rng.integers(0, 1 << depth, (height, width, CHANNELS[colour_type]))
    if depth == 16:
        small = rng.random(samples.shape[:2]) < 0.5
        samples[small] = samples[small] >> 8
    if depth == 8 and colour_type == COLOURS:
        samples = picture(height, width).astype(np.int64)
    return samples


def variants(height: int, width: int, depth: int, colour_type: int) -> Iterator[dict[str, Any]]:
    """The palettes and transparencies that a kind of PNG can have."""
    rng = np.random.default_rng(depth)
    if colour_type == PALETTE:
        entries = 1 << depth
        palette = rng.integers(0, 256, entries * 3).astype(np.uint8).tobytes()
        yield {"palette": palette}
        yield {"palette": palette[: max(3, entries // 2 * 3)]}  # shorter than the indices that are used
        single = b"\xff" * (entries // 2) + b"\0"
        for transparency in (single, single + b"\n", b"\n", b"\0\0", rng.integers(0, 256, entries, np.uint8).tobytes()):
            yield {"palette": palette, "transparency": transparency[:entries]}
        return
    yield {}
    if colour_type in (GREY, COLOURS):
        samples = samples_of(height, width, depth, colour_type)
        stored = samples[height // 2, width // 2]
        reduced = stored >> 8 if depth == 16 else stored * (255 // ((1 << min(depth, 8)) - 1))
        for key in (stored, reduced, np.zeros_like(stored)):
            key = np.minimum(key, (1 << depth) - 1)
            yield {"transparency": key.astype(">u2").tobytes()}


def saved(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, **options)
    return file.getvalue()


# -- what they must become -----------------------------------------------------------------------------------


def backend(data: bytes) -> str:
    return str(_native.inspect(data)["backend"])


def upright(data: bytes) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(data)) as image:
            return ImageOps.exif_transpose(image).convert("RGB")


def check(data: bytes, name: str = "png") -> None:
    assert backend(data) == name
    assert np.array_equal(ps.decode(data), np.asarray(upright(data)))


def small(image: Image.Image) -> Any:
    return np.asarray(image.resize(SMALL[::-1], Image.Resampling.BILINEAR))


def run_one(data: bytes, **options: Any) -> tuple[ps.Batch, Any]:
    """A batch of this one picture, and the run's notes."""
    line = ps.blobs({"it": data}).decode().resize(*SMALL).batch(1)
    with line.run(on_failure="blank", **options) as run:
        return next(run), run.notes


def exif(orientation: int) -> bytes:
    block = Image.Exif()
    block[0x0112] = orientation
    return block.tobytes()


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="6"/></x:xmpmeta>'


def text(key: bytes, words: bytes) -> bytes:
    return chunk(b"tEXt", key + b"\0" + words)


# -- broken files --------------------------------------------------------------------------------------------


def pillow_takes(data: bytes) -> Image.Image | None:
    try:
        return upright(data)
    except Exception:  # noqa: BLE001 - whatever Pillow raises is a no
        return None


def webps() -> dict[str, bytes]:
    coffee = Image.fromarray(np.ascontiguousarray(picture(75, 117)))
    clear = coffee.copy()
    ramp = Image.fromarray(np.ascontiguousarray(np.linspace(0, 255, 75 * 117).astype(np.uint8).reshape(75, 117)))
    clear.putalpha(ramp)
    files = {}
    for name, image in (("rgb", coffee), ("rgba", clear)):
        for quality in (10, 85, 100):
            files[f"{name} {quality}"] = saved(image, format="WEBP", quality=quality)
        files[f"{name} lossless"] = saved(image, format="WEBP", lossless=True, exact=True)
        files[f"{name} icc"] = saved(image, format="WEBP", icc_profile=b"words")
        frames = [image, image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), image]
        for lossless in (False, True):
            files[f"{name} animated {lossless}"] = saved(
                image, format="WEBP", save_all=True, append_images=frames, duration=40, lossless=lossless
            )
    for orientation in range(1, 9):
        files[f"orientation {orientation}"] = saved(coffee, format="WEBP", exif=exif(orientation))
    files["xmp"] = saved(coffee, format="WEBP", xmp=XMP)
    for height, width in ((1, 1), (1, 40), (40, 1), (16, 17)):
        files[f"{height} x {width}"] = saved(coffee.resize((width, height)), format="WEBP")
        files[f"{height} x {width} rgba"] = saved(clear.resize((width, height)), format="WEBP", lossless=True)
    return files
