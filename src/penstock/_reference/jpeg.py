"""The step of jpeg_roundtrip, through Pillow's save and open; the twin of native/jpeg_encode.cpp."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from penstock.geometry import Matrix, matrix

if TYPE_CHECKING:
    from penstock.types import UInt8Image

__all__ = ["Jpeg"]


@dataclass(frozen=True, slots=True)
class Jpeg:
    """Saved as JPEG with ``quality`` and Pillow's defaults (4:2:0), and opened again."""

    quality: int

    def apply(self, image: UInt8Image) -> UInt8Image:
        """The uint8 [H, W, 3] image as the JPEG keeps it."""
        from PIL import Image

        stream = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(image)).save(stream, "JPEG", quality=self.quality)
        with Image.open(stream) as picture:
            return np.array(picture, dtype=np.uint8)

    def affine(self, height: int, width: int) -> Matrix:
        """Input pixels to output pixels, float64 [2, 3]."""
        return matrix(1.0, 0.0, 0.0, 0.0, 1.0, 0.0)

    def size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the output."""
        return height, width
