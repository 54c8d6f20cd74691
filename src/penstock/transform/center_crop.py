"""The verb center_crop."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from penstock.transform.pad import pad_steps, padded
from penstock.transform.verb import (
    Colour,
    Spatial,
    colour,
    four,
    sides,
    word,
)
from penstock.types import RoundingName

if TYPE_CHECKING:
    from penstock._reference import steps as reference
    from penstock._reference.random import Draws
    from penstock.types import Spec

__all__ = ["CenterCrop"]


@dataclass(frozen=True, slots=True)
class CenterCrop(Spatial):
    """Cuts (height, width) out of the middle; an image that is smaller is padded first, with the colour ``fill``.

    uint8, uint16 or float32 [H, W, C] in, [height, width, C] out. ``rounding="even"`` is torchvision's: where the space
    around is odd the crop starts at the half rounded to even, and an image that is too small by an odd number gets the
    odd pixel at the end. ``rounding="floor"`` is that of Hugging Face's processors: the half rounded down, and the odd
    pixel at the start. Raises PlanError for arguments that cannot be.

    >>> CenterCrop(224, 224).describe()
    'center_crop H=224 W=224 even'
    """

    height: int
    width: int
    rounding: RoundingName = field(default="even", kw_only=True)
    fill: Colour = field(default=0, kw_only=True)

    name: ClassVar[str] = "center_crop"

    def __post_init__(self) -> None:
        sides(self)
        word(self, "rounding", ("even", "floor"))
        colour(self)

    def spec(self, spec: Spec) -> Spec:
        """[height, width, C]."""
        return padded(self, spec).with_(height=self.height, width=self.width)

    def arguments(self) -> str:
        """The arguments as ``print(line)`` shows them."""
        filled = f" fill={self.fill}" if self.fill != 0 else ""
        return f"H={self.height} W={self.width} {self.rounding}{filled}"

    def steps(self, height: int, width: int, draws: Draws | None) -> list[reference.Step]:
        """A pad where the image is smaller, and one crop; raises StepError."""
        from penstock._reference import steps as reference

        down, across = max(self.height - height, 0), max(self.width - width, 0)
        top, left = self._room(down), self._room(across)
        steps = pad_steps("center_crop", height, width, (top, left, down - top, across - left), "constant", self.fill)
        top, left = self._start(height + down - self.height), self._start(width + across - self.width)
        return [*steps, reference.Crop(top, left, self.height, self.width)]

    @property
    def by_strips(self) -> bool:
        """Rows flow through, but for an image that is smaller."""
        return True

    def native(self) -> dict[str, Any]:
        """The fields of native/plan.h's Verb."""
        return {
            "kind": "center_crop",
            "height": self.height,
            "width": self.width,
            "rounding": self.rounding,
            "fill": four(self.fill),
        }

    def _start(self, space: int) -> int:
        return round(space / 2.0) if self.rounding == "even" else space // 2

    def _room(self, missing: int) -> int:
        return missing // 2 if self.rounding == "even" else (missing + 1) // 2
