"""The verb random_horizontal_flip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from penstock.transform.random_flip import RandomFlip

if TYPE_CHECKING:
    from penstock._reference.steps import FlipX

__all__ = ["RandomHorizontalFlip"]


@dataclass(frozen=True, slots=True)
class RandomHorizontalFlip(RandomFlip):
    """Mirrors the image left to right with probability ``p``.

    uint8, uint16 or float32 [H, W, C] in and out. Drawn from (seed, epoch, source index, the step's number among the
    random ones). Raises PlanError when ``p`` is not in [0, 1].

    >>> RandomHorizontalFlip().describe()
    'random_horizontal_flip p=0.5'
    """

    name: ClassVar[str] = "random_horizontal_flip"

    def mirror(self) -> FlipX:
        """The step: left to right."""
        from penstock._reference.steps import FlipX

        return FlipX()
