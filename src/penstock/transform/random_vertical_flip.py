"""The verb random_vertical_flip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from penstock.transform.verb import DTYPES, Spatial, expect_image, probability

if TYPE_CHECKING:
    from penstock._reference import steps as reference
    from penstock._reference.random import Draws
    from penstock.types import Spec

__all__ = ["RandomVerticalFlip"]


@dataclass(frozen=True, slots=True)
class RandomVerticalFlip(Spatial):
    """Mirrors the image top to bottom with probability ``p``.

    uint8, uint16 or float32 [H, W, C] in and out. Drawn from (seed, epoch, source index, the step's number among the
    random ones). Raises PlanError when ``p`` is not in [0, 1].

    >>> RandomVerticalFlip().describe()
    'random_vertical_flip p=0.5'
    """

    p: float = 0.5

    name: ClassVar[str] = "random_vertical_flip"
    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        probability(self, "p")

    def spec(self, spec: Spec) -> Spec:
        """The same."""
        expect_image(self, spec, DTYPES)
        return spec

    def arguments(self) -> str:
        """The arguments as ``print(line)`` shows them."""
        return f"p={self.p:g}"

    def steps(self, height: int, width: int, draws: Draws | None) -> list[reference.Step]:
        """One mirror, or nothing."""
        from penstock._reference import steps as reference

        assert draws is not None  # the recipe makes them for every random step
        return [reference.FlipY()] if draws.uniform() < self.p else []

    @property
    def by_strips(self) -> bool:
        """Rows flow through."""
        return True

    def native(self) -> dict[str, Any]:
        """The fields of native/plan.h's Verb."""
        return {"kind": "random_vertical_flip", "p": (self.p,)}
