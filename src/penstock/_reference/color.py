"""Colour steps through Pillow; the twin of native/color.cpp."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from penstock.geometry import Matrix, matrix

if TYPE_CHECKING:
    from PIL import Image

    from penstock.types import UInt8Image

__all__ = ["Color", "ColorName"]

ColorName = Literal[
    "brightness",
    "contrast",
    "saturation",
    "sharpness",
    "hue",
    "greyscale",
    "posterize",
    "solarize",
    "autocontrast",
    "equalize",
    "invert",
]


@dataclass(frozen=True, slots=True)
class Color:
    """One operation of Pillow's ImageEnhance or ImageOps, or torchvision's shift of the hue; ``amount`` is its number.

    brightness, contrast, saturation, sharpness: the factor. hue: H of mode HSV moves by int(amount * 255), modulo 256.
    posterize: bits. solarize: threshold. The others have none.
    """

    op: ColorName
    amount: float = 0.0

    def apply(self, image: UInt8Image) -> UInt8Image:
        """The changed uint8 [H, W, 3] image."""
        from PIL import Image  # here, because importing penstock must not load Pillow's plugins

        changed = self._changed(Image.fromarray(np.ascontiguousarray(image)))
        return np.array(changed.convert("RGB"), dtype=np.uint8)

    def affine(self, height: int, width: int) -> Matrix:
        """Input pixels to output pixels, float64 [2, 3]: where they were."""
        return matrix(1.0, 0.0, 0.0, 0.0, 1.0, 0.0)

    def size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the output."""
        return height, width

    def _changed(self, picture: Image.Image) -> Image.Image:
        from PIL import ImageEnhance, ImageOps

        match self.op:
            case "brightness":
                return ImageEnhance.Brightness(picture).enhance(self.amount)
            case "contrast":
                return ImageEnhance.Contrast(picture).enhance(self.amount)
            case "saturation":
                return ImageEnhance.Color(picture).enhance(self.amount)
            case "sharpness":
                return ImageEnhance.Sharpness(picture).enhance(self.amount)
            case "hue":
                return _shifted(picture, int(self.amount * 255))
            case "greyscale":
                return picture.convert("L")
            case "posterize":
                return ImageOps.posterize(picture, int(self.amount))
            case "solarize":
                return picture.point([level if level < self.amount else 255 - level for level in range(256)] * 3)
            case "autocontrast":
                return ImageOps.autocontrast(picture)
            case "equalize":
                return ImageOps.equalize(picture)
            case "invert":
                return ImageOps.invert(picture)


def _shifted(picture: Image.Image, steps: int) -> Image.Image:
    from PIL import Image

    hue, saturation, value = picture.convert("HSV").split()
    moved = hue.point([(level + steps) % 256 for level in range(256)])
    return Image.merge("HSV", (moved, saturation, value)).convert("RGB")
