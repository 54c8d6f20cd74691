"""``fidelity="fast"``, readably: the same idea as native/jpeg_fast.cpp through Pillow and NumPy, near its pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from penstock.types import FilterName, UInt8Image

__all__ = ["MARGIN", "TOLERANCE", "resize_fast", "scale_of"]

MARGIN = 1.5
"""The scaled image is at least this many times the size needed, on both axes."""

TOLERANCE = 1.5
"""Mean absolute difference, in steps of 255, that native pixels may have from these on a photograph."""

Box = tuple[float, float, float, float]


def scale_of(box: Box, height: int, width: int) -> int:
    """Eighths of the stored size that blocks are decoded to: 1, 2, 4 or 8."""
    top, left, bottom, right = box
    for scale in (1, 2, 4):
        if (bottom - top) * scale / 8 >= MARGIN * height and (right - left) * scale / 8 >= MARGIN * width:
            return scale
    return 8


def resize_fast(image: UInt8Image, height: int, width: int, filter: FilterName, box: Box | None = None) -> UInt8Image:
    """uint8 [H, W, 3] RGB to [height, width, 3]: means of blocks, then each plane by itself, then colours.

    ``box`` is (top, left, bottom, right); None is the whole image. Chroma is taken at half the resolution of luma, as
    4:2:0 stores it, and lies centred between luma's samples.
    """
    from PIL import Image

    top, left, bottom, right = box or (0.0, 0.0, float(image.shape[0]), float(image.shape[1]))
    step = 8 // scale_of((top, left, bottom, right), height, width)
    picture = Image.fromarray(np.ascontiguousarray(image)).convert("YCbCr")
    resample = Image.Resampling[filter.upper()]
    planes = []
    for plane, own in zip(picture.split(), (step, max(step, 2), max(step, 2)), strict=True):
        small = plane.reduce(own) if own > 1 else plane
        x_limit, y_limit = small.size
        part = (
            min(left / own, x_limit),
            min(top / own, y_limit),
            min(right / own, x_limit),
            min(bottom / own, y_limit),
        )
        planes.append(small.resize((width, height), resample, box=part))
    return np.array(Image.merge("YCbCr", planes).convert("RGB"), dtype=np.uint8)
