"""Pictures that cannot be decoded, or only with damage, among good ones; and lines over them."""

from __future__ import annotations

import io
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

import penstock as ps
import run_lines

ENGINES = ("native", "reference")


def encoded(height: int = 40, width: int = 52, kind: str = "JPEG", seed: int = 0, **options: Any) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return run_lines.encoded(noise, kind, **options)


@cache
def good(number: int) -> bytes:
    return encoded(40 + number, 52, "BMP" if number % 4 == 3 else "JPEG", seed=number)


@cache
def damaged() -> bytes:
    """A JPEG with a hole: the codec recovers with a warning and Pillow hands the pixels over without a word."""
    data = bytearray(encoded(96, 96))
    scan = data.find(b"\xff\xda")
    data[scan + 300 : scan + 360] = bytes(60)
    assert Image.open(io.BytesIO(bytes(data))).convert("RGB").size == (96, 96)
    return bytes(data)


BROKEN: dict[str, bytes] = {
    "empty": b"",
    "words": b"not an image at all",
    "cut": good(1)[: len(good(1)) // 2],
    "cut png": good(3)[:400],
    "riff": b"RIFF....WEBP",
}


@cache
def mixed() -> dict[str, bytes]:
    """Good ones, with every broken one and two damaged ones among them."""
    blobs: dict[str, bytes] = {}
    for number, (name, data) in enumerate(BROKEN.items()):
        blobs[f"good {3 * number}"] = good(3 * number)  # each of another height, so that no geometry fits another row
        blobs[name] = data
        blobs[f"good {3 * number + 1}"] = good(3 * number + 1)
        if number in (1, 3):
            blobs[f"damaged {number}"] = damaged()
        blobs[f"good {3 * number + 2}"] = good(3 * number + 2)
    return blobs


def line_of(blobs: Any, batch: int = 4, **options: Any) -> ps.Pipeline:
    return ps.blobs(blobs).decode().resize(16, 12).batch(batch, **options)


def pillow(data: bytes) -> Any:
    """What Pillow alone makes of it."""
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    return np.asarray(picture.resize((12, 16), Image.Resampling.BILINEAR))


def check_accounts(run: ps.Run) -> None:
    assert run.clean + len(run.damaged) + len(run.failures) == run.reached
