"""The verb rand_augment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from penstock.transform.augment import NARROW, augment_steps, drawn
from penstock.transform.verb import Colour, Spatial, colour, expect_colour, expect_image, four, whole, word
from penstock.transform.warp import WARP_FILTERS
from penstock.types import FilterName

if TYPE_CHECKING:
    from penstock._reference import steps as reference
    from penstock._reference.random import Draws
    from penstock.types import Spec

__all__ = ["RandAugment"]

_MOST_OPERATIONS = 100
_MOST_BINS = 1_000_000


@dataclass(frozen=True, slots=True)
class RandAugment(Spatial):
    """Applies ``operations`` random ones of fourteen colour and affine operations, all at one ``magnitude``.

    uint8 [H, W, 3] in and out; ``magnitude`` counts in ``bins`` equal ones from nothing to the most; pixels from
    outside are ``fill``. torchvision's RandAugment (arXiv:1909.13719), pixel for pixel on Pillow images. Draws, for
    each: the operation, then the sign where it has one. Drawn from (seed, epoch, source index, the step's number among
    the random ones). Raises PlanError for arguments that cannot be.

    >>> RandAugment(magnitude=7).describe()
    'rand_augment 2 operations magnitude 7 of 31 nearest fill=0'
    """

    operations: int = 2
    magnitude: int = 9
    bins: int = field(default=31, kw_only=True)
    filter: FilterName = field(default="nearest", kw_only=True)
    fill: Colour = field(default=0, kw_only=True)

    name: ClassVar[str] = "rand_augment"
    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        whole(self, "operations", 0, _MOST_OPERATIONS)
        whole(self, "bins", 2, _MOST_BINS)
        whole(self, "magnitude", 0, self.bins - 1)
        word(self, "filter", WARP_FILTERS)
        colour(self, counts=(3,))

    def spec(self, spec: Spec) -> Spec:
        """The same."""
        expect_image(self, spec, channels=(3,))
        expect_colour(self, spec)
        return spec

    def arguments(self) -> str:
        """The arguments as ``print(line)`` shows them."""
        shown = f"{self.operations} operations magnitude {self.magnitude} of {self.bins}"
        return f"{shown} {self.filter} fill={self.fill}"

    def steps(self, height: int, width: int, draws: Draws | None) -> list[reference.Step]:
        """A step for each operation that is not identity."""
        assert draws is not None  # the recipe makes them for every random step
        steps: list[reference.Step] = []
        for _ in range(self.operations):
            operation, magnitude = drawn(NARROW, height, width, self.bins, self.magnitude, draws)
            steps += augment_steps(self.name, operation, magnitude, height, width, self.filter, self.fill)
        return steps

    def native(self) -> dict[str, Any]:
        """The fields of native/plan.h's Verb."""
        return {
            "kind": "rand_augment",
            "filter": self.filter,
            "fill": four(self.fill),
            "p": (float(self.operations), float(self.magnitude), float(self.bins)),
        }
