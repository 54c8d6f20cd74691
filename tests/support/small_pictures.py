"""Small JPEGs that several test files feed to lines, made without a file; and a line over them."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
from PIL import Image

import penstock as ps


@cache
def small_pictures(count: int) -> tuple[bytes, ...]:
    """``count`` JPEGs of different sizes; each is another picture."""
    blobs = []
    for number in range(count):
        coarse = np.random.default_rng(number).integers(0, 256, (5, 6, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(coarse).resize((31 + number % 7, 40)).save(file, "JPEG")
        blobs.append(file.getvalue())
    return tuple(blobs)


def small_line(count: int = 22, broken: int | None = None) -> ps.Pipeline:
    """A shuffled line of 12 x 10 uint8 images, labelled with their index; item ``broken`` is no image."""
    blobs = [b"no image" if number == broken else data for number, data in enumerate(small_pictures(count))]
    return ps.blobs(blobs, labels=range(count)).seed(11).shuffle().decode().resize(12, 10)
