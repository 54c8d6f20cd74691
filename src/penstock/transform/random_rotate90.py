"""The verb random_rotate90."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from penstock.transform.verb import DTYPES, Spatial, expect_image, probability

if TYPE_CHECKING:
    from penstock._reference import steps as reference
    from penstock._reference.random import Draws
    from penstock.types import Spec

__all__ = ["RandomRotate90"]


@dataclass(frozen=True, slots=True)
class RandomRotate90(Spatial):
    """With probability ``p`` turns the image by one, two or three quarter turns, each as likely.

    uint8, uint16 or float32 [H, W, C] in and out; an image that is not square may change its sides, so a size stays
    known only where height and width are equal. Drawn from (seed, epoch, source index, the step's number among the
    random ones). Raises PlanError when ``p`` is not in [0, 1].

    >>> RandomRotate90().describe()
    'random_rotate90 p=0.5'
    """

    p: float = 0.5

    name: ClassVar[str] = "random_rotate90"
    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        probability(self, "p")

    def spec(self, spec: Spec) -> Spec:
        """The same size where height and width are equal, else ragged."""
        expect_image(self, spec, DTYPES)
        return spec if spec.height == spec.width else spec.with_(height=None, width=None)

    def arguments(self) -> str:
        """The arguments as ``print(line)`` shows them."""
        return f"p={self.p:g}"

    def steps(self, height: int, width: int, draws: Draws | None) -> list[reference.Step]:
        """One turn, or nothing."""
        from penstock._reference import steps as reference

        assert draws is not None  # the recipe makes them for every random step
        return [reference.Rotate90(1 + draws.integer(3))] if draws.uniform() < self.p else []

    def native(self) -> dict[str, Any]:
        """The fields of native/plan.h's Verb."""
        return {"kind": "random_rotate90", "p": (self.p,)}
