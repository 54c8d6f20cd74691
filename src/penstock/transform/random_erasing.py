"""The verb random_erasing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from penstock.transform.drawn_part import drawn_sizes, scale_and_ratio
from penstock.transform.verb import (
    DTYPES,
    Colour,
    Spatial,
    colour,
    expect_colour,
    expect_image,
    four,
    probability,
)

if TYPE_CHECKING:
    from penstock._reference import steps as reference
    from penstock._reference.random import Draws
    from penstock.types import Spec

__all__ = ["RandomErasing"]


@dataclass(frozen=True, slots=True)
class RandomErasing(Spatial):
    """With probability ``p`` paints a random part of the image with the colour ``fill``.

    uint8, uint16 or float32 [H, W, C] in and out, before normalize. The part has ``scale`` = (least, most) of the area,
    uniformly, and an aspect height / width in ``ratio``, uniformly in its logarithm; where ten tries give no part that
    is smaller than the image, nothing is erased: torchvision's distribution. Drawn from (seed, epoch, source index, the
    step's number among the random ones). Raises PlanError for arguments that cannot be.

    >>> RandomErasing(0.25, fill=(124, 116, 104)).describe()
    'random_erasing p=0.25 scale 0.02..0.33 ratio 0.3..3.3 fill=(124, 116, 104)'
    """

    p: float = 0.5
    scale: tuple[float, float] = field(default=(0.02, 0.33), kw_only=True)
    ratio: tuple[float, float] = field(default=(0.3, 3.3), kw_only=True)
    fill: Colour = field(default=0, kw_only=True)

    name: ClassVar[str] = "random_erasing"
    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        probability(self, "p")
        scale_and_ratio(self, empty=True)
        colour(self)

    def spec(self, spec: Spec) -> Spec:
        """The same."""
        expect_image(self, spec, DTYPES)
        expect_colour(self, spec)
        return spec

    def arguments(self) -> str:
        """The arguments as ``print(line)`` shows them."""
        scale = f"scale {self.scale[0]:g}..{self.scale[1]:g}"
        ratio = f"ratio {self.ratio[0]:g}..{self.ratio[1]:g}"
        return f"p={self.p:g} {scale} {ratio} fill={self.fill}"

    def steps(self, height: int, width: int, draws: Draws | None) -> list[reference.Step]:
        """One erased part, or nothing."""
        from penstock._reference import steps as reference

        assert draws is not None  # the recipe makes them for every random step
        if not draws.uniform() < self.p:
            return []
        for part_width, part_height in drawn_sizes(height, width, self.scale, self.ratio, draws):
            if part_height < height and part_width < width:
                top = draws.integer(height - part_height + 1)
                left = draws.integer(width - part_width + 1)
                if part_height == 0 or part_width == 0:
                    return []
                return [reference.Erase(top, left, part_height, part_width, self.fill)]
        return []

    def native(self) -> dict[str, Any]:
        """The fields of native/plan.h's Verb."""
        return {"kind": "random_erasing", "p": (self.p, *self.scale, *self.ratio), "fill": four(self.fill)}
