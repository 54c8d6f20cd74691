"""The verb trivial_augment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from penstock.transform.augment import WIDE, augment_steps, drawn
from penstock.transform.verb import Colour, Spatial, colour, expect_colour, expect_image, four, whole, word
from penstock.transform.warp import WARP_FILTERS
from penstock.types import FilterName

if TYPE_CHECKING:
    from penstock._reference import steps as reference
    from penstock._reference.random import Draws
    from penstock.types import Spec

__all__ = ["TrivialAugment"]

_MOST_BINS = 1_000_000


@dataclass(frozen=True, slots=True)
class TrivialAugment(Spatial):
    """Applies one random operation of fourteen, at a random magnitude.

    uint8 [H, W, 3] in and out; magnitudes are one of ``bins`` equal ones from nothing to the most; pixels from outside
    are ``fill``. torchvision's TrivialAugmentWide (arXiv:2103.10158), pixel for pixel on Pillow images. Draws: the
    operation, then the bin and the sign where it has them. Drawn from (seed, epoch, source index, the step's number
    among the random ones). Raises PlanError for arguments that cannot be.

    >>> TrivialAugment().describe()
    'trivial_augment 31 bins nearest fill=0'
    """

    bins: int = field(default=31, kw_only=True)
    filter: FilterName = field(default="nearest", kw_only=True)
    fill: Colour = field(default=0, kw_only=True)

    name: ClassVar[str] = "trivial_augment"
    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        whole(self, "bins", 2, _MOST_BINS)
        word(self, "filter", WARP_FILTERS)
        colour(self, counts=(3,))

    def spec(self, spec: Spec) -> Spec:
        """The same."""
        expect_image(self, spec, channels=(3,))
        expect_colour(self, spec)
        return spec

    def arguments(self) -> str:
        """The arguments as ``print(line)`` shows them."""
        return f"{self.bins} bins {self.filter} fill={self.fill}"

    def steps(self, height: int, width: int, draws: Draws | None) -> list[reference.Step]:
        """One step, or none for identity."""
        assert draws is not None  # the recipe makes them for every random step
        operation, magnitude = drawn(WIDE, height, width, self.bins, None, draws)
        return augment_steps(self.name, operation, magnitude, height, width, self.filter, self.fill)

    def native(self) -> dict[str, Any]:
        """The fields of native/plan.h's Verb."""
        return {
            "kind": "trivial_augment",
            "filter": self.filter,
            "fill": four(self.fill),
            "p": (float(self.bins),),
        }
