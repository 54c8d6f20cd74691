"""The verb random_vertical_flip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from penstock.transform.random_flip import RandomFlip

if TYPE_CHECKING:
    from penstock._reference.steps import FlipY

__all__ = ["RandomVerticalFlip"]


@dataclass(frozen=True, slots=True)
class RandomVerticalFlip(RandomFlip):
    """Mirrors the image top to bottom with probability ``p``.

    uint8, uint16 or float32 [H, W, C] in and out. Drawn from (seed, epoch, source index, the step's number among the
    random ones). Raises PlanError when ``p`` is not in [0, 1].

    >>> RandomVerticalFlip().describe()
    'random_vertical_flip p=0.5'
    """

    name: ClassVar[str] = "random_vertical_flip"

    def mirror(self) -> FlipY:
        """The step: top to bottom."""
        from penstock._reference.steps import FlipY

        return FlipY()
