"""What the verbs of one image become once its size and its draws are known; the twin of native Step.

Images are [H, W, C] with C = 1 (grey), 3 (RGB) or 4 (RGBA). Resizing is Pillow's, of uint8; what only moves pixels is
NumPy's and takes uint8, uint16 and float32 (0 to 255).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from penstock._reference.color import Color
from penstock._reference.jpeg import Jpeg
from penstock._reference.warp import Warp
from penstock.geometry import Matrix, matrix

if TYPE_CHECKING:
    from PIL import Image

    from penstock.types import FilterName, PadModeName, PrecisionName

__all__ = ["Color", "Crop", "Erase", "FlipX", "FlipY", "Jpeg", "Pad", "Resize", "Rotate90", "Step", "Warp"]

Pixels = npt.NDArray[Any]
Fill = int | tuple[int, ...]


def picture(image: Pixels) -> Image.Image:
    """A Pillow image of uint8 [H, W, C]: mode L, RGB or RGBA."""
    from PIL import Image  # here, because importing penstock must not load Pillow's plugins

    grey = image.shape[2] == 1
    return Image.fromarray(np.ascontiguousarray(image[..., 0] if grey else image))


def pixels(image: Image.Image) -> Pixels:
    """The uint8 [H, W, C] array of a Pillow image of mode L, RGB or RGBA."""
    array = np.array(image, dtype=np.uint8)
    return array[..., np.newaxis] if array.ndim == 2 else array


def colour(fill: Fill, image: Pixels) -> Pixels:
    """The colour as one pixel of the image, [C]: as it is in uint8 and float32, times 257 in uint16 (255 is white)."""
    scale = 257 if image.dtype == np.uint16 else 1
    levels = np.broadcast_to(np.asarray(fill, dtype=np.int64) * scale, image.shape[2:])
    return levels.astype(image.dtype)


@dataclass(frozen=True, slots=True)
class Crop:
    """Rows [top, top + height) and columns [left, left + width); always inside the image."""

    top: int
    left: int
    height: int
    width: int

    def apply(self, image: Pixels) -> Pixels:
        """The cropped image."""
        return image[self.top : self.top + self.height, self.left : self.left + self.width].copy()

    def affine(self, height: int, width: int) -> Matrix:
        """Input pixels to output pixels, float64 [2, 3]."""
        return matrix(1.0, 0.0, -float(self.left), 0.0, 1.0, -float(self.top))

    def size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the output."""
        return self.height, self.width


@dataclass(frozen=True, slots=True)
class Resize:
    """To height x width by Pillow's resize, from ``box`` = (top, left, bottom, right) or from the whole image.

    The box holds float32 values, because that is what Pillow's C code takes. ``precision="float32"`` is the second
    resampler, which rounds nothing and answers float32.
    """

    height: int
    width: int
    box: tuple[float, float, float, float] | None
    filter: FilterName
    precision: PrecisionName = "uint8"

    def apply(self, image: Pixels) -> Pixels:
        """The resized image: uint8, or float32 where ``precision`` says so."""
        if self.precision == "float32":
            from penstock._reference.resample_float import resample_float

            return resample_float(image, self.height, self.width, self.filter, self.box)
        from PIL import Image

        box = None
        if self.box is not None:
            top, left, bottom, right = self.box
            box = (left, top, right, bottom)
        resample = Image.Resampling[self.filter.upper()]
        return pixels(picture(image).resize((self.width, self.height), resample, box=box))

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

    def apply(self, image: Pixels) -> Pixels:
        """The mirrored image."""
        return image[:, ::-1].copy()

    def affine(self, height: int, width: int) -> Matrix:
        """Input pixels to output pixels, float64 [2, 3]."""
        return matrix(-1.0, 0.0, float(width), 0.0, 1.0, 0.0)

    def size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the output."""
        return height, width


@dataclass(frozen=True, slots=True)
class FlipY:
    """Mirrored top to bottom."""

    def apply(self, image: Pixels) -> Pixels:
        """The mirrored image."""
        return image[::-1].copy()

    def affine(self, height: int, width: int) -> Matrix:
        """Input pixels to output pixels, float64 [2, 3]."""
        return matrix(1.0, 0.0, 0.0, 0.0, -1.0, float(height))

    def size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the output."""
        return height, width


@dataclass(frozen=True, slots=True)
class Rotate90:
    """Quarter turns counter-clockwise, 1 to 3."""

    turns: int

    def apply(self, image: Pixels) -> Pixels:
        """The turned image."""
        return np.rot90(image, self.turns).copy()

    def affine(self, height: int, width: int) -> Matrix:
        """Input pixels to output pixels, float64 [2, 3]."""
        h, w = float(height), float(width)
        if self.turns == 1:
            return matrix(0.0, 1.0, 0.0, -1.0, 0.0, w)
        if self.turns == 2:
            return matrix(-1.0, 0.0, w, 0.0, -1.0, h)
        return matrix(0.0, -1.0, h, 1.0, 0.0, 0.0)

    def size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the output."""
        return (height, width) if self.turns == 2 else (width, height)


@dataclass(frozen=True, slots=True)
class Pad:
    """Rows and columns added around the image: of a colour, or its edge or mirror image as np.pad continues them."""

    top: int
    left: int
    bottom: int
    right: int
    mode: PadModeName
    fill: Fill

    def apply(self, image: Pixels) -> Pixels:
        """The larger image."""
        if self.mode != "constant":
            around = ((self.top, self.bottom), (self.left, self.right), (0, 0))
            return np.pad(image, around, self.mode)
        height, width = self.size(image.shape[0], image.shape[1])
        out = np.empty((height, width, image.shape[2]), image.dtype)
        out[:] = colour(self.fill, image)
        out[self.top : self.top + image.shape[0], self.left : self.left + image.shape[1]] = image
        return out

    def affine(self, height: int, width: int) -> Matrix:
        """Input pixels to output pixels, float64 [2, 3]."""
        return matrix(1.0, 0.0, float(self.left), 0.0, 1.0, float(self.top))

    def size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the output."""
        return height + self.top + self.bottom, width + self.left + self.right


@dataclass(frozen=True, slots=True)
class Erase:
    """Rows [top, top + height) and columns [left, left + width) become a colour."""

    top: int
    left: int
    height: int
    width: int
    fill: Fill

    def apply(self, image: Pixels) -> Pixels:
        """The image with the part painted over."""
        out = image.copy()
        out[self.top : self.top + self.height, self.left : self.left + self.width] = colour(self.fill, image)
        return out

    def affine(self, height: int, width: int) -> Matrix:
        """Input pixels to output pixels, float64 [2, 3]: where they were."""
        return matrix(1.0, 0.0, 0.0, 0.0, 1.0, 0.0)

    def size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the output."""
        return height, width


Step = Crop | Resize | FlipX | FlipY | Rotate90 | Pad | Erase | Jpeg | Color | Warp
