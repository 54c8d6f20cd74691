"""What the verbs random_horizontal_flip and random_vertical_flip share: all but the mirror."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from penstock.transform.verb import DTYPES, Spatial, expect_image, probability

if TYPE_CHECKING:
    from penstock._reference.random import Draws
    from penstock._reference.steps import Step
    from penstock.types import Spec

__all__ = ["RandomFlip"]


@dataclass(frozen=True, slots=True)
class RandomFlip(Spatial):
    """A mirror with probability ``p``."""

    p: float = 0.5

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

    def steps(self, height: int, width: int, draws: Draws | None) -> list[Step]:
        """One mirror, or nothing."""
        assert draws is not None  # the recipe makes them for every random step
        return [self.mirror()] if draws.uniform() < self.p else []

    @abstractmethod
    def mirror(self) -> Step:
        """The step."""

    @property
    def by_strips(self) -> bool:
        """Rows flow through."""
        return True

    def native(self) -> dict[str, Any]:
        """The fields of native/plan.h's Verb."""
        return {"kind": self.name, "p": (self.p,)}
