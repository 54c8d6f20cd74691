"""The verb center_crop."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from penstock.errors import PlanError
from penstock.transform.verb import Spatial, StepError, call, expect_image, sides, word
from penstock.types import RoundingName

if TYPE_CHECKING:
    from penstock._reference import steps as reference
    from penstock._reference.random import Draws
    from penstock.types import Spec

__all__ = ["CenterCrop"]


@dataclass(frozen=True, slots=True)
class CenterCrop(Spatial):
    """Cuts (height, width) out of the middle.

    uint8 [H, W, 3] in and out. Where the space around is odd, ``rounding="even"`` starts at the half rounded to even,
    as torchvision does, and ``rounding="floor"`` at the half rounded down, as Hugging Face's processors do.
    Raises PlanError when the image is known to be smaller; an image that turns out smaller fails.

    >>> CenterCrop(224, 224).describe()
    'center_crop H=224 W=224 even'
    """

    height: int
    width: int
    rounding: RoundingName = field(default="even", kw_only=True)

    name: ClassVar[str] = "center_crop"

    def __post_init__(self) -> None:
        sides(self)
        word(self, "rounding", ("even", "floor"))

    def spec(self, spec: Spec) -> Spec:
        """uint8 [height, width, 3]."""
        expect_image(self, spec)
        if (spec.height or self.height) < self.height or (spec.width or self.width) < self.width:
            raise PlanError(
                f"{call(self)}: expected an image of at least H={self.height} W={self.width}, "
                f"found H={spec.height} W={spec.width}."
            )
        return spec.with_(height=self.height, width=self.width)

    def arguments(self) -> str:
        """The arguments as ``print(line)`` shows them."""
        return f"H={self.height} W={self.width} {self.rounding}"

    def steps(self, height: int, width: int, draws: Draws | None) -> list[reference.Step]:
        """One crop; raises StepError for an image that is smaller."""
        from penstock._reference import steps as reference

        if self.height > height or self.width > width:
            raise StepError(
                "crop larger than the image",
                f"center_crop: expected an image of at least H={self.height} W={self.width}, "
                f"found H={height} W={width}",
            )
        top, left = self._start(height - self.height), self._start(width - self.width)
        return [reference.Crop(top, left, self.height, self.width)]

    def native(self) -> dict[str, Any]:
        """The fields of native/plan.h's Verb."""
        return {"kind": "center_crop", "height": self.height, "width": self.width, "rounding": self.rounding}

    def _start(self, space: int) -> int:
        return round(space / 2.0) if self.rounding == "even" else space // 2
