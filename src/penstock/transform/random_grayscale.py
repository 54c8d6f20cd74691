"""The verb random_grayscale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from penstock.transform.verb import Spatial, expect_image, probability

if TYPE_CHECKING:
    from penstock._reference import steps as reference
    from penstock._reference.random import Draws
    from penstock.types import Spec

__all__ = ["RandomGrayscale"]


@dataclass(frozen=True, slots=True)
class RandomGrayscale(Spatial):
    """Takes the colours out with probability ``p``: Pillow's ``convert("L")``, repeated.

    uint8 [H, W, 3] in and out. Drawn from (seed, epoch, source index, the step's number among the random ones).
    Raises PlanError when ``p`` is not in [0, 1].

    >>> RandomGrayscale().describe()
    'random_grayscale p=0.1'
    """

    p: float = 0.1

    name: ClassVar[str] = "random_grayscale"
    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        probability(self, "p")

    def spec(self, spec: Spec) -> Spec:
        """The same."""
        expect_image(self, spec, channels=(3,))
        return spec

    def arguments(self) -> str:
        """The arguments as ``print(line)`` shows them."""
        return f"p={self.p:g}"

    def steps(self, height: int, width: int, draws: Draws | None) -> list[reference.Step]:
        """One conversion, or nothing."""
        from penstock._reference import steps as reference

        assert draws is not None  # the recipe makes them for every random step
        return [reference.Color("greyscale")] if draws.uniform() < self.p else []

    def native(self) -> dict[str, Any]:
        """The fields of native/plan.h's Verb."""
        return {"kind": "random_grayscale", "p": (self.p,)}
