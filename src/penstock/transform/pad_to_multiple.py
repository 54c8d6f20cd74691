"""The verb pad_to_multiple."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from penstock.transform.pad import described, pad_arguments, pad_steps, padded
from penstock.transform.verb import Colour, Spatial, four, whole
from penstock.types import PadModeName

if TYPE_CHECKING:
    from penstock._reference import steps as reference
    from penstock._reference.random import Draws
    from penstock.types import Spec

__all__ = ["PadToMultiple"]


@dataclass(frozen=True, slots=True)
class PadToMultiple(Spatial):
    """Pads below and to the right until both sides are multiples of ``multiple``.

    uint8, uint16 or float32 [H, W, C] in and out. ``mode`` and ``fill`` are those of the verb pad. Raises PlanError for
    arguments that cannot be.

    >>> PadToMultiple(32).describe()
    'pad_to_multiple 32 fill=0'
    """

    multiple: int
    fill: Colour = field(default=0, kw_only=True)
    mode: PadModeName = field(default="constant", kw_only=True)

    name: ClassVar[str] = "pad_to_multiple"

    def __post_init__(self) -> None:
        whole(self, "multiple")
        pad_arguments(self)

    def spec(self, spec: Spec) -> Spec:
        """Both sides rounded up; ragged stays ragged."""
        return padded(self, spec)

    def arguments(self) -> str:
        """The arguments as ``print(line)`` shows them."""
        return f"{self.multiple} {described(self.mode, self.fill)}"

    def steps(self, height: int, width: int, draws: Draws | None) -> list[reference.Step]:
        """One pad, or nothing where both sides are multiples; raises StepError."""
        around = (0, 0, -height % self.multiple, -width % self.multiple)
        return pad_steps("pad_to_multiple", height, width, around, self.mode, self.fill)

    def native(self) -> dict[str, Any]:
        """The fields of native/plan.h's Verb."""
        return {
            "kind": "pad_to_multiple",
            "height": self.multiple,
            "width": self.multiple,
            "pad_mode": self.mode,
            "fill": four(self.fill),
        }
