"""Encoded pictures and a line over them, for the tests of runs: of every kind, so that no two take equally long."""

from __future__ import annotations

import io
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

import penstock as ps


def pixels(height: int, width: int, seed: int) -> Any:
    """Smooth and different for every seed, so that one picture in another's place cannot go unseen."""
    draws = np.random.default_rng(seed)
    coarse = draws.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def encoded(image: Any, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


@cache
def mixed(count: int = 48) -> tuple[bytes, ...]:
    """Tiny JPEGs, large JPEGs, progressive ones and PNGs (Pillow's), so that no two neighbours take equally long."""
    blobs = []
    for number in range(count):
        kind = number % 6
        if kind == 0:
            blobs.append(encoded(pixels(900, 1200, number), "JPEG", quality=90))
        elif kind == 1:
            blobs.append(encoded(pixels(40, 30, number), "BMP"))
        elif kind == 2:
            blobs.append(encoded(pixels(100, 133, number), "JPEG", progressive=True))
        else:
            blobs.append(encoded(pixels(9 + number, 17, number), "JPEG"))
    return tuple(blobs)


def broken() -> bytes:
    return b"not an image at all"


def plain_line(count: int = 48) -> ps.Pipeline:
    return ps.blobs(mixed(count), labels=range(count)).decode().resize(24, 20)


@cache
def expected_rows(count: int = 48) -> Any:
    with plain_line(count).batch(count).run(engine="reference") as run:
        return next(run).images


def together(batches: list[ps.Batch]) -> Any:
    return np.concatenate([batch.images for batch in batches])
