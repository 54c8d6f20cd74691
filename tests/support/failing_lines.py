"""A shuffled, augmented line over pictures of which a few are broken and one is damaged."""

from __future__ import annotations

import io
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

import penstock as ps

COUNT = 30
BROKEN = (2, 3, 11, 17, 29)
DAMAGED = 5


def damaged() -> bytes:
    """A JPEG with a hole near its beginning, from which the codec recovers."""
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, "JPEG")
    data = bytearray(file.getvalue())
    scan = data.find(b"\xff\xda")
    data[scan + 40 : scan + 42] = b"\xff\xd3"  # a restart marker where none belongs
    return bytes(data)


@cache
def blobs() -> dict[str, bytes]:
    made = {}
    for number in range(COUNT):
        noise = np.random.default_rng(number).integers(0, 256, (5, 6, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(noise).resize((60 + number, 90)).save(file, "BMP" if number % 7 == 6 else "JPEG")
        made[f"{number}.jpg"] = b"broken" if number in BROKEN else file.getvalue()
    made[f"{DAMAGED}.jpg"] = damaged()
    return made


def line(batch: int = 4, **options: Any) -> ps.Pipeline:
    plain = ps.blobs(blobs(), labels=range(100, 100 + COUNT)).seed(3).shuffle().decode()
    return plain.random_resized_crop(12, 10).random_horizontal_flip().batch(batch, **options)
