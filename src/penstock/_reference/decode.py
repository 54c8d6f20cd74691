"""The readable twin of decoding: encoded bytes to upright RGB by the plainest Pillow calls."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageOps

from penstock.types import UInt8Image

__all__ = ["decode"]


def decode(data: bytes) -> UInt8Image:
    """uint8 [H, W, 3], upright RGB, as Pillow has it; raises whatever Pillow raises."""
    with Image.open(io.BytesIO(data)) as image:
        return np.array(ImageOps.exif_transpose(image).convert("RGB"))
