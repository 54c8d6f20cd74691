"""The verb pad."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from penstock.errors import PlanError
from penstock.transform.verb import (
    DTYPES,
    MAX_PIXELS,
    PAD_MODES,
    Colour,
    Spatial,
    StepError,
    call,
    colour,
    expect_colour,
    expect_image,
    four,
    sized,
    whole,
    word,
)
from penstock.types import PadModeName

if TYPE_CHECKING:
    from penstock._reference import steps as reference
    from penstock._reference.random import Draws
    from penstock.types import Spec

__all__ = ["Pad"]


@dataclass(frozen=True, slots=True)
class Pad(Spatial):
    """Adds rows and columns around the image.

    uint8, uint16 or float32 [H, W, C] in and out. ``mode="constant"`` adds the colour ``fill``: a number from 0 to 255
    for every channel or a tuple of one a channel (of uint16 images 255 is white, too). ``"edge"`` repeats the last
    pixel, ``"reflect"`` mirrors without it and ``"symmetric"`` mirrors with it: torchvision's modes and pixels. Raises
    PlanError for arguments that cannot be; an image fails that is smaller than the part to mirror.

    >>> Pad(1, 2, 3, 4, mode="edge").describe()
    'pad top=1 left=2 bottom=3 right=4 edge'
    """

    top: int
    left: int
    bottom: int
    right: int
    fill: Colour = field(default=0, kw_only=True)
    mode: PadModeName = field(default="constant", kw_only=True)

    name: ClassVar[str] = "pad"

    def __post_init__(self) -> None:
        for side in ("top", "left", "bottom", "right"):
            whole(self, side, minimum=0)
        pad_arguments(self)

    def spec(self, spec: Spec) -> Spec:
        """Higher by top + bottom and wider by left + right; ragged stays ragged."""
        return padded(self, spec)

    def arguments(self) -> str:
        """The arguments as ``print(line)`` shows them."""
        around = f"top={self.top} left={self.left} bottom={self.bottom} right={self.right}"
        return f"{around} {described(self.mode, self.fill)}"

    def steps(self, height: int, width: int, draws: Draws | None) -> list[reference.Step]:
        """One pad, or nothing where there is nothing to add; raises StepError."""
        around = (self.top, self.left, self.bottom, self.right)
        return pad_steps("pad", height, width, around, self.mode, self.fill)

    def native(self) -> dict[str, Any]:
        """The fields of native/plan.h's Verb."""
        around = (float(self.top), float(self.left), float(self.bottom), float(self.right))
        return {"kind": "pad", "p": around, "pad_mode": self.mode, "fill": four(self.fill)}


def pad_arguments(verb: Any) -> None:
    """Checks ``mode`` and ``fill``."""
    word(verb, "mode", PAD_MODES)
    colour(verb)
    if verb.fill != 0 and verb.mode != "constant":
        raise PlanError(f"{call(verb)}: expected fill= with mode='constant' only, found mode={verb.mode!r}.")


def padded(verb: Spatial, spec: Spec) -> Spec:
    """What flows out of a verb that pads with a colour, by its steps; raises PlanError when it cannot."""
    expect_image(verb, spec, DTYPES)
    expect_colour(verb, spec)
    return sized(verb, spec)


def described(mode: PadModeName, fill: Colour) -> str:
    """A mode and its colour as ``print(line)`` shows them."""
    return f"fill={fill}" if mode == "constant" else mode


def pad_steps(
    verb: str, height: int, width: int, around: tuple[int, int, int, int], mode: PadModeName, fill: Colour
) -> list[reference.Step]:
    """One pad by (top, left, bottom, right), or nothing; raises StepError. Twin of Builder::pad."""
    from penstock._reference import steps as reference

    top, left, bottom, right = around
    if not any(around):
        return []
    new_height, new_width = height + top + bottom, width + left + right
    if new_height * new_width > MAX_PIXELS:
        raise StepError(
            "too many pixels", f"{verb}: expected at most {MAX_PIXELS} pixels, found H={new_height} W={new_width}"
        )
    # A mirror image has no more pixels than the image: symmetric repeats the edge, reflect does not.
    most_down, most_across = (height - 1, width - 1) if mode == "reflect" else (height, width)
    if mode in ("reflect", "symmetric") and (max(top, bottom) > most_down or max(left, right) > most_across):
        least = "less" if mode == "reflect" else "no more"
        raise StepError(
            "padding larger than the image",
            f"{verb}: expected {least} padding than the image has pixels for its mode, found top={top} left={left} "
            f"bottom={bottom} right={right} around an image of H={height} W={width}",
        )
    return [reference.Pad(top, left, bottom, right, mode, fill)]
