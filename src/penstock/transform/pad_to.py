"""The verb pad_to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from penstock.transform.pad import described, pad_arguments, pad_steps, padded
from penstock.transform.verb import (
    Colour,
    Spatial,
    StepError,
    four,
    sides,
    word,
)
from penstock.types import PadModeName

if TYPE_CHECKING:
    from penstock._reference import steps as reference
    from penstock._reference.random import Draws
    from penstock.types import Spec

__all__ = ["PadTo"]


@dataclass(frozen=True, slots=True)
class PadTo(Spatial):
    """Pads the image to (height, width).

    uint8, uint16 or float32 [H, W, C] in, [height, width, C] out. ``position="center"`` lays the image in the middle,
    the odd row below and the odd column to the right; ``"start"`` lays it at the top left. ``mode`` and ``fill`` are
    those of the verb pad. Raises PlanError for arguments that cannot be; an image fails that is larger.

    >>> PadTo(640, 640, position="start", fill=114).describe()
    'pad_to H=640 W=640 start fill=114'
    """

    height: int
    width: int
    position: Literal["center", "start"] = field(default="center", kw_only=True)
    fill: Colour = field(default=0, kw_only=True)
    mode: PadModeName = field(default="constant", kw_only=True)

    name: ClassVar[str] = "pad_to"

    def __post_init__(self) -> None:
        sides(self)
        word(self, "position", ("center", "start"))
        pad_arguments(self)

    def spec(self, spec: Spec) -> Spec:
        """[height, width, C]; raises PlanError when the image is known to be larger."""
        return padded(self, spec).with_(height=self.height, width=self.width)

    def arguments(self) -> str:
        """The arguments as ``print(line)`` shows them."""
        return f"H={self.height} W={self.width} {self.position} {described(self.mode, self.fill)}"

    def steps(self, height: int, width: int, draws: Draws | None) -> list[reference.Step]:
        """One pad, or nothing where the size is right; raises StepError for an image that is larger."""
        down, across = self.height - height, self.width - width
        if down < 0 or across < 0:
            raise StepError(
                "image larger than the size",
                f"pad_to: expected an image of at most H={self.height} W={self.width}, found H={height} W={width}",
            )
        top, left = (down // 2, across // 2) if self.position == "center" else (0, 0)
        around = (top, left, down - top, across - left)
        return pad_steps("pad_to", height, width, around, self.mode, self.fill)

    def native(self) -> dict[str, Any]:
        """The fields of native/plan.h's Verb."""
        return {
            "kind": "pad_to",
            "height": self.height,
            "width": self.width,
            "rounding": "floor" if self.position == "center" else "start",
            "pad_mode": self.mode,
            "fill": four(self.fill),
        }
