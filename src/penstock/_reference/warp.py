"""Affine warps through Pillow, the twin of native/warp.cpp; and the inverse matrices of Pillow and torchvision."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from penstock.geometry import Matrix, matrix

if TYPE_CHECKING:
    from penstock.types import FilterName

__all__ = ["Six", "Warp", "inverse_affine", "inverse_of", "inverse_rotation"]

Six = tuple[float, float, float, float, float, float]
"""An affine row by row: x' = a x + b y + c, y' = d x + e y + f."""


@dataclass(frozen=True, slots=True)
class Warp:
    """Image.transform to height x width with Pillow's AFFINE data: output pixel to input pixel, centres at +0.5."""

    inverse: Six
    height: int
    width: int
    filter: FilterName
    fill: int | tuple[int, ...]

    def apply(self, image: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The warped uint8 [H, W, C] image, C in 1, 3, 4."""
        from PIL import Image  # here, because importing penstock must not load Pillow's plugins

        channels = image.shape[2]
        picture = Image.fromarray(np.ascontiguousarray(image[..., 0] if channels == 1 else image))
        levels = (self.fill,) * channels if isinstance(self.fill, int) else self.fill
        warped = picture.transform(
            (self.width, self.height),
            Image.Transform.AFFINE,
            self.inverse,
            Image.Resampling[self.filter.upper()],
            fillcolor=levels[0] if channels == 1 else levels,
        )
        return np.array(warped, dtype=np.uint8).reshape(self.height, self.width, channels)

    def affine(self, height: int, width: int) -> Matrix:
        """Input pixels to output pixels, float64 [2, 3]."""
        return matrix(*inverse_of(self.inverse))

    def size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the output."""
        return self.height, self.width


def inverse_of(affine: Six) -> Six:
    """The inverse affine, with native/plan_builder.cpp's operations; the determinant may not be 0."""
    a, b, c, d, e, f = affine
    determinant = a * e - b * d
    ia, ib = e / determinant, -b / determinant
    id_, ie = -d / determinant, a / determinant
    return ia, ib, -(ia * c + ib * f), id_, ie, -(id_ * c + ie * f)


def inverse_affine(
    center: tuple[float, float],
    angle: float = 0.0,
    translate: tuple[float, float] = (0.0, 0.0),
    scale: float = 1.0,
    shear: tuple[float, float] = (0.0, 0.0),
) -> Six:
    """Torchvision's inverse matrix of affine() (transforms v2), operation by operation.

    Points are (x, y) in pixels, angles in degrees; positive angles turn clockwise.
    """
    turn, shear_x, shear_y = math.radians(angle), math.radians(shear[0]), math.radians(shear[1])
    cos_shear, tan_shear, turned = math.cos(shear_y), math.tan(shear_x), turn - shear_y
    center_x, center_y = center
    x, y = center_x + translate[0], center_y + translate[1]
    a = math.cos(turned) / cos_shear
    b = -(a * tan_shear + math.sin(turn))
    c = math.sin(turned) / cos_shear
    d = math.cos(turn) - c * tan_shear
    ia, ib, id_, ie = d / scale, -b / scale, -c / scale, a / scale
    return ia, ib, 0.0 + (center_x - ia * x - ib * y), id_, ie, 0.0 + (center_y - id_ * x - ie * y)


def inverse_rotation(height: int, width: int, angle: float) -> Six:
    """Pillow's inverse matrix of Image.rotate(angle) about the middle; positive angles turn counter-clockwise.

    Pillow answers turns by 90 degrees without a matrix; this one has whole entries there and gives the same pixels.
    """
    turn = -math.radians(angle % 360.0)
    a, b = round(math.cos(turn), 15), round(math.sin(turn), 15)
    d, e = round(-math.sin(turn), 15), round(math.cos(turn), 15)
    center_x, center_y = width / 2, height / 2
    c = a * -center_x + b * -center_y + 0.0
    f = d * -center_x + e * -center_y + 0.0
    return a, b, c + center_x, d, e, f + center_y
