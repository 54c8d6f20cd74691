"""The verb random_affine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from penstock.errors import PlanError
from penstock.transform.verb import (
    Colour,
    Spatial,
    call,
    colour,
    expect_colour,
    expect_image,
    four,
    number,
    numbers,
    word,
)
from penstock.transform.warp import WARP_FILTERS, warp_step
from penstock.types import FilterName

if TYPE_CHECKING:
    from penstock._reference import steps as reference
    from penstock._reference.random import Draws
    from penstock.types import Spec

__all__ = ["RandomAffine"]

_MOST_DEGREES = 1e6
_MOST_SCALE = 1e6


@dataclass(frozen=True, slots=True)
class RandomAffine(Spatial):
    """Turns, moves, scales and shears the image about its middle by random amounts; the size stays.

    uint8 [H, W, C] in and out; pixels from outside are ``fill``. ``degrees`` d is the range (-d, d), or a range;
    ``translate`` = (most of the width, most of the height) as fractions, to whole pixels; ``scale`` a range;
    ``shear`` degrees along x: s for (-s, s), a range, or the ranges along x and y as four numbers. torchvision's
    RandomAffine, pixel for pixel on Pillow images. Draws: angle, x, y, scale, shear along x, along y. Drawn from (seed,
    epoch, source index, the step's number among the random ones). Raises PlanError for arguments that cannot be.

    >>> RandomAffine(15, translate=(0.1, 0.1)).describe()
    'random_affine degrees -15..15 translate 0.1 0.1 nearest fill=0'
    """

    degrees: float | tuple[float, float]
    translate: tuple[float, float] | None = field(default=None, kw_only=True)
    scale: tuple[float, float] | None = field(default=None, kw_only=True)
    shear: float | tuple[float, ...] | None = field(default=None, kw_only=True)
    filter: FilterName = field(default="nearest", kw_only=True)
    fill: Colour = field(default=0, kw_only=True)

    name: ClassVar[str] = "random_affine"
    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self._keep("degrees", _angles(self.degrees, (2,)), "a number of degrees from 0 or a range (low, high)")
        if self.translate is not None:
            translate = numbers(self.translate, 2)
            inside = translate is not None and all(0.0 <= part <= 1.0 for part in translate)
            self._keep("translate", translate if inside else None, "two fractions (x, y) from 0 to 1")
        if self.scale is not None:
            scale = numbers(self.scale, 2)
            inside = scale is not None and 0.0 < scale[0] <= scale[1] <= _MOST_SCALE
            self._keep("scale", scale if inside else None, "a range (low, high) above 0")
        if self.shear is not None:
            self._keep("shear", _angles(self.shear, (2, 4)), "degrees from 0, a range (low, high), or two ranges")
        word(self, "filter", WARP_FILTERS)
        colour(self)

    def spec(self, spec: Spec) -> Spec:
        """The same."""
        expect_image(self, spec)
        expect_colour(self, spec)
        return spec

    def arguments(self) -> str:
        """The arguments as ``print(line)`` shows them."""
        low, high, x, y, least, most, *shears = self._numbers()
        shown = [f"degrees {low:g}..{high:g}"]
        if self.translate is not None:
            shown.append(f"translate {x:g} {y:g}")
        if self.scale is not None:
            shown.append(f"scale {least:g}..{most:g}")
        if self.shear is not None:
            shown.append("shear {:g}..{:g} {:g}..{:g}".format(*shears))
        return f"{' '.join(shown)} {self.filter} fill={self.fill}"

    def steps(self, height: int, width: int, draws: Draws | None) -> list[reference.Step]:
        """One warp; raises StepError where the shear leaves nothing to see."""
        from penstock._reference.warp import inverse_affine

        assert draws is not None  # the recipe makes them for every random step
        low, high, x, y, least, most, shear_low, shear_high, down_low, down_high = self._numbers()
        far_x, far_y = x * float(width), y * float(height)
        angle = draws.uniform(low, high)
        right, down = round(draws.uniform(-far_x, far_x)), round(draws.uniform(-far_y, far_y))
        scale = draws.uniform(least, most)
        shear = draws.uniform(shear_low, shear_high), draws.uniform(down_low, down_high)
        inverse = inverse_affine((width * 0.5, height * 0.5), angle, (right, down), scale, shear)
        return [warp_step(self.name, inverse, height, width, self.filter, self.fill)]

    def native(self) -> dict[str, Any]:
        """The fields of native/plan.h's Verb."""
        return {"kind": "random_affine", "filter": self.filter, "fill": four(self.fill), "p": self._numbers()}

    def _numbers(self) -> tuple[float, ...]:
        """Low and high degrees, fractions of the width and height, scale's ends, both ranges of shear."""
        shear = _ends(self.shear or 0.0)
        return (
            *_ends(self.degrees),
            *(self.translate or (0.0, 0.0)),
            *(self.scale or (1.0, 1.0)),
            *(shear if len(shear) == 4 else (*shear, 0.0, 0.0)),
        )

    def _keep(self, name: str, found: Any, expected: str) -> None:
        if found is None:
            raise PlanError(f"{call(self)}: expected {name}= {expected}, found {getattr(self, name)!r}.")
        object.__setattr__(self, name, found)


def _angles(value: Any, counts: tuple[int, ...]) -> float | tuple[float, ...] | None:
    """A number of degrees from 0, or ranges one after the other; None for anything else."""
    one = number(value)
    if one is not None:
        return one if 0.0 <= one <= _MOST_DEGREES else None
    for count in counts:
        ends = numbers(value, count)
        if ends is not None:
            ranges = [(ends[i], ends[i + 1]) for i in range(0, count, 2)]
            return ends if all(-_MOST_DEGREES <= low <= high <= _MOST_DEGREES for low, high in ranges) else None
    return None


def _ends(value: float | tuple[float, ...]) -> tuple[float, ...]:
    return value if isinstance(value, tuple) else (-value, value)
