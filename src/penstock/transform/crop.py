"""The verb crop."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from penstock.errors import PlanError
from penstock.transform.verb import DTYPES, MAX_PIXELS, Spatial, StepError, call, expect_image, sized

if TYPE_CHECKING:
    from penstock._reference import steps as reference
    from penstock._reference.random import Draws
    from penstock.types import Spec

__all__ = ["Crop"]


@dataclass(frozen=True, slots=True)
class Crop(Spatial):
    """Cuts out ``box`` = (left, top, right, bottom), in whole pixels of the image as it comes in.

    uint8, uint16 or float32 [H, W, C] in, [bottom - top, right - left, C] out: Pillow's ``crop`` with a box that lies
    inside. Raises PlanError for a box that cannot be; an image fails that the box does not lie inside of.

    >>> Crop((10, 20, 110, 70)).describe()
    'crop left=10 top=20 right=110 bottom=70'
    """

    box: tuple[int, int, int, int]

    name: ClassVar[str] = "crop"

    def __post_init__(self) -> None:
        box = _whole_numbers(self.box)
        if box is None or not (0 <= box[0] < box[2] <= MAX_PIXELS and 0 <= box[1] < box[3] <= MAX_PIXELS):
            raise PlanError(
                f"{call(self)}: expected box=(left, top, right, bottom) in whole pixels with 0 <= left < right and "
                f"0 <= top < bottom, found {self.box!r}."
            )
        object.__setattr__(self, "box", box)

    def spec(self, spec: Spec) -> Spec:
        """The box's size; raises PlanError when the image is known to be too small for it."""
        expect_image(self, spec, DTYPES)
        sized(self, spec)
        left, top, right, bottom = self.box
        return spec.with_(height=bottom - top, width=right - left)

    def arguments(self) -> str:
        """The arguments as ``print(line)`` shows them."""
        left, top, right, bottom = self.box
        return f"left={left} top={top} right={right} bottom={bottom}"

    def steps(self, height: int, width: int, draws: Draws | None) -> list[reference.Step]:
        """One crop; raises StepError for a box that does not lie inside the image."""
        from penstock._reference import steps as reference

        left, top, right, bottom = self.box
        if bottom > height or right > width:
            raise StepError(
                "crop outside the image",
                f"crop: expected a box inside the image, found bottom={bottom} right={right} in an image of "
                f"H={height} W={width}",
            )
        return [reference.Crop(top, left, bottom - top, right - left)]

    @property
    def by_strips(self) -> bool:
        """Rows flow through."""
        return True

    def native(self) -> dict[str, Any]:
        """The fields of native/plan.h's Verb."""
        left, top, right, bottom = self.box
        return {"kind": "crop", "height": bottom - top, "width": right - left, "p": (float(top), float(left))}


def _whole_numbers(value: Any) -> tuple[int, int, int, int] | None:
    """Four ints, else None."""
    if isinstance(value, (str, bytes, Mapping)):
        return None
    try:
        entries = tuple(value)
        numbers = tuple(operator.index(entry) for entry in entries)
    except TypeError:
        return None
    if len(numbers) != 4 or any(isinstance(entry, bool) for entry in entries):
        return None
    return numbers[0], numbers[1], numbers[2], numbers[3]
