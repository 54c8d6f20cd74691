"""What the verbs of one image become once its size and its draws are known; the twin of native Step, through Pillow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from penstock._reference.color import Color
from penstock._reference.warp import Warp
from penstock.geometry import Matrix, matrix

if TYPE_CHECKING:
    from PIL import Image

    from penstock.types import FilterName, UInt8Image

__all__ = ["Color", "Crop", "FlipX", "Resize", "Step", "Warp"]


def _picture(image: UInt8Image) -> Image.Image:
    from PIL import Image  # here, because importing penstock must not load Pillow's plugins

    return Image.fromarray(np.ascontiguousarray(image))


def _pixels(picture: Image.Image) -> UInt8Image:
    return np.array(picture, dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class Crop:
    """Rows [top, top + height) and columns [left, left + width); always inside the image."""

    top: int
    left: int
    height: int
    width: int

    def apply(self, image: UInt8Image) -> UInt8Image:
        """The cropped uint8 [H, W, 3] image."""
        box = (self.left, self.top, self.left + self.width, self.top + self.height)
        return _pixels(_picture(image).crop(box))

    def affine(self, height: int, width: int) -> Matrix:
        """Input pixels to output pixels, float64 [2, 3]."""
        return matrix(1.0, 0.0, -float(self.left), 0.0, 1.0, -float(self.top))

    def size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the output."""
        return self.height, self.width


@dataclass(frozen=True, slots=True)
class Resize:
    """To height x width by Pillow's resize, from ``box`` = (top, left, bottom, right) or from the whole image.

    The box holds float32 values, because that is what Pillow's C code takes.
    """

    height: int
    width: int
    box: tuple[float, float, float, float] | None
    filter: FilterName

    def apply(self, image: UInt8Image) -> UInt8Image:
        """The resized uint8 [H, W, 3] image."""
        from PIL import Image

        box = None
        if self.box is not None:
            top, left, bottom, right = self.box
            box = (left, top, right, bottom)
        resample = Image.Resampling[self.filter.upper()]
        return _pixels(_picture(image).resize((self.width, self.height), resample, box=box))

    def affine(self, height: int, width: int) -> Matrix:
        """Input pixels to output pixels, float64 [2, 3]."""
        top, left, bottom, right = self.box if self.box is not None else (0.0, 0.0, float(height), float(width))
        y_scale = float(self.height) / (bottom - top)
        x_scale = float(self.width) / (right - left)
        return matrix(x_scale, 0.0, 0.0 - left * x_scale, 0.0, y_scale, 0.0 - top * y_scale)

    def size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the output."""
        return self.height, self.width


@dataclass(frozen=True, slots=True)
class FlipX:
    """Mirrored left to right."""

    def apply(self, image: UInt8Image) -> UInt8Image:
        """The mirrored uint8 [H, W, 3] image."""
        from PIL import Image

        return _pixels(_picture(image).transpose(Image.Transpose.FLIP_LEFT_RIGHT))

    def affine(self, height: int, width: int) -> Matrix:
        """Input pixels to output pixels, float64 [2, 3]."""
        return matrix(-1.0, 0.0, float(width), 0.0, 1.0, 0.0)

    def size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the output."""
        return height, width


Step = Crop | Resize | FlipX | Color | Warp
