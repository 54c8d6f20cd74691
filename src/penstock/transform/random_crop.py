"""The verb random_crop."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from penstock.errors import PlanError
from penstock.transform.pad import described, pad_arguments, pad_steps
from penstock.transform.verb import (
    DTYPES,
    MAX_PIXELS,
    Colour,
    Spatial,
    StepError,
    call,
    expect_colour,
    expect_image,
    four,
    sides,
)
from penstock.types import PadModeName

if TYPE_CHECKING:
    from penstock._reference import steps as reference
    from penstock._reference.random import Draws
    from penstock.types import Spec

__all__ = ["RandomCrop"]


@dataclass(frozen=True, slots=True)
class RandomCrop(Spatial):
    """Cuts (height, width) out at a random place, every place as likely.

    uint8, uint16 or float32 [H, W, C] in, [height, width, C] out. ``padding``, one number or (top, left, bottom,
    right), is added first; ``pad_if_needed`` adds to an image that is smaller still what is missing, on both sides;
    ``mode`` and ``fill`` are those of the verb pad: torchvision's RandomCrop. Drawn from (seed, epoch, source
    index, the step's number among the random ones). Raises PlanError for arguments that cannot be; an
    image fails that is smaller.

    >>> RandomCrop(32, 32, padding=4).describe()
    'random_crop H=32 W=32 padding=4 fill=0'
    """

    height: int
    width: int
    padding: int | tuple[int, int, int, int] = field(default=0, kw_only=True)
    pad_if_needed: bool = field(default=False, kw_only=True)
    fill: Colour = field(default=0, kw_only=True)
    mode: PadModeName = field(default="constant", kw_only=True)

    name: ClassVar[str] = "random_crop"
    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        sides(self)
        padding = _padding(self.padding)
        if padding is None:
            raise PlanError(
                f"{call(self)}: expected padding= a whole number of at least 0 or four of them, "
                f"(top, left, bottom, right), found {self.padding!r}."
            )
        object.__setattr__(self, "padding", padding)
        if not isinstance(self.pad_if_needed, bool):
            raise PlanError(f"{call(self)}: expected pad_if_needed= True or False, found {self.pad_if_needed!r}.")
        pad_arguments(self)

    def spec(self, spec: Spec) -> Spec:
        """[height, width, C]; raises PlanError when the image is known to be smaller."""
        expect_image(self, spec, DTYPES)
        expect_colour(self, spec)
        if spec.height is not None and spec.width is not None:
            try:
                self._padded(spec.height, spec.width)
            except StepError as error:
                raise PlanError(f"{call(self)}: {error.message.removeprefix('random_crop: ')}.") from None
        return spec.with_(height=self.height, width=self.width)

    def arguments(self) -> str:
        """The arguments as ``print(line)`` shows them."""
        words = [f"H={self.height} W={self.width}"]
        if self.padding != 0:
            words.append(f"padding={self.padding}")
        if self.pad_if_needed:
            words.append("pad_if_needed")
        if len(words) > 1:
            words.append(described(self.mode, self.fill))
        return " ".join(words)

    def steps(self, height: int, width: int, draws: Draws | None) -> list[reference.Step]:
        """A pad where there is something to add, and one crop; raises StepError."""
        from penstock._reference import steps as reference

        assert draws is not None  # the recipe makes them for every random step
        steps, height, width = self._padded(height, width)
        top = draws.integer(height - self.height + 1)
        left = draws.integer(width - self.width + 1)
        return [*steps, reference.Crop(top, left, self.height, self.width)]

    @property
    def by_strips(self) -> bool:
        """Rows flow through, unless the image is padded."""
        return not self.padding and not self.pad_if_needed

    def native(self) -> dict[str, Any]:
        """The fields of native/plan.h's Verb."""
        return {
            "kind": "random_crop",
            "height": self.height,
            "width": self.width,
            "p": (*map(float, self._around()), float(self.pad_if_needed)),
            "pad_mode": self.mode,
            "fill": four(self.fill),
        }

    def _around(self) -> tuple[int, int, int, int]:
        padding = self.padding
        return padding if isinstance(padding, tuple) else (padding, padding, padding, padding)

    def _padded(self, height: int, width: int) -> tuple[list[reference.Step], int, int]:
        """The pad, and the (height, width) after it."""
        top, left, bottom, right = self._around()
        if self.pad_if_needed:
            down = max(self.height - (height + top + bottom), 0)
            across = max(self.width - (width + left + right), 0)
            top, left, bottom, right = top + down, left + across, bottom + down, right + across
        steps = pad_steps("random_crop", height, width, (top, left, bottom, right), self.mode, self.fill)
        height, width = height + top + bottom, width + left + right
        if self.height > height or self.width > width:
            raise StepError(
                "crop larger than the image",
                f"random_crop: expected an image of at least H={self.height} W={self.width}, "
                f"found H={height} W={width}",
            )
        return steps, height, width


def _padding(value: Any) -> int | tuple[int, int, int, int] | None:
    """One number or four, each from 0; else None."""
    one = _amount(value)
    if one is not None or not isinstance(value, (tuple, list)):
        return one
    amounts = [amount for amount in map(_amount, value) if amount is not None]
    if len(value) != 4 or len(amounts) != 4:
        return None
    return amounts[0], amounts[1], amounts[2], amounts[3]


def _amount(value: Any) -> int | None:
    try:
        amount = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None
    return amount if amount is not None and 0 <= amount <= MAX_PIXELS else None
