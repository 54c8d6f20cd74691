"""What rand_augment and trivial_augment choose from: torchvision's operations and magnitudes; see plan_augment.cpp."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from penstock.transform.warp import warp_step

if TYPE_CHECKING:
    from penstock._reference import steps as reference
    from penstock._reference.random import Draws
    from penstock.types import FilterName

__all__ = ["NARROW", "OPERATIONS", "WIDE", "Space"]

OPERATIONS = (
    "identity",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
    "rotate",
    "brightness",
    "saturation",
    "contrast",
    "sharpness",
    "posterize",
    "solarize",
    "autocontrast",
    "equalize",
)
_SIGNED = OPERATIONS[1:10]
_WITH_MAGNITUDE = OPERATIONS[1:12]


@dataclass(frozen=True, slots=True)
class Space:
    """The greatest magnitude of each kind of operation, from 0 in equal bins; translations in pixels."""

    shear: float
    translate: float
    rotate: float
    enhance: float
    bits: int
    of_the_side: bool  # translate is a fraction of the image's side

    def magnitude(self, operation: str, height: int, width: int, bins: int, place: int) -> float:
        """The magnitude of one of the bins, a float32 value as torchvision's."""
        match operation:
            case "shear_x" | "shear_y":
                return _linspace(0.0, self.shear, bins, place)
            case "translate_x":
                return _linspace(0.0, self.translate * width if self.of_the_side else self.translate, bins, place)
            case "translate_y":
                return _linspace(0.0, self.translate * height if self.of_the_side else self.translate, bins, place)
            case "rotate":
                return _linspace(0.0, self.rotate, bins, place)
            case "posterize":
                return float(np.rint(np.float32(8) - np.float32(place) / np.float32((bins - 1) / self.bits)))
            case "solarize":
                return _linspace(1.0, 0.0, bins, place)
            case _:
                return _linspace(0.0, self.enhance, bins, place)


NARROW = Space(shear=0.3, translate=150.0 / 331.0, rotate=30.0, enhance=0.9, bits=4, of_the_side=True)
"""RandAugment's."""
WIDE = Space(shear=0.99, translate=32.0, rotate=135.0, enhance=0.99, bits=6, of_the_side=False)
"""TrivialAugmentWide's."""


def _linspace(start: float, stop: float, bins: int, place: int) -> float:
    """torch.linspace(start, stop, bins)[place] in float32, from the nearer end.

    Where the processor can, torch fuses the multiplication with the addition, so here they are rounded once.
    """
    first, last = np.float32(start), np.float32(stop)
    step = float((last - first) / np.float32(bins - 1))
    if place < bins // 2:
        return float(np.float32(float(first) + step * place))
    return float(np.float32(float(last) - step * (bins - 1 - place)))


def drawn(space: Space, height: int, width: int, bins: int, place: int | None, draws: Draws) -> tuple[str, float]:
    """An operation and its magnitude. Draws: the operation; its bin, unless given; its sign, where it has one."""
    operation = OPERATIONS[draws.integer(len(OPERATIONS))]
    if operation not in _WITH_MAGNITUDE:
        return operation, 0.0
    magnitude = space.magnitude(operation, height, width, bins, draws.integer(bins) if place is None else place)
    return operation, -magnitude if operation in _SIGNED and draws.uniform() <= 0.5 else magnitude


def augment_steps(
    name: str,
    operation: str,
    magnitude: float,
    height: int,
    width: int,
    filter: FilterName,
    fill: int | tuple[int, ...],
) -> list[reference.Step]:
    """The step of one operation, none for identity; raises StepError."""
    from penstock._reference.color import Color
    from penstock._reference.warp import inverse_affine, inverse_rotation

    center = (width * 0.5, height * 0.5)
    match operation:
        case "identity":
            return []
        case "shear_x":
            inverse = inverse_affine((0.0, 0.0), shear=(math.degrees(math.atan(magnitude)), 0.0))
        case "shear_y":
            inverse = inverse_affine((0.0, 0.0), shear=(0.0, math.degrees(math.atan(magnitude))))
        case "translate_x":
            inverse = inverse_affine(center, translate=(int(magnitude), 0))
        case "translate_y":
            inverse = inverse_affine(center, translate=(0, int(magnitude)))
        case "rotate":
            inverse = inverse_rotation(height, width, magnitude)
        case "brightness" | "saturation" | "contrast" | "sharpness":
            return [Color(operation, 1.0 + magnitude)]
        case "solarize":
            return [Color("solarize", 255.0 * magnitude)]
        case "posterize":
            return [Color("posterize", magnitude)]
        case "autocontrast":
            return [Color("autocontrast")]
        case _:
            return [Color("equalize")]
    return [warp_step(name, inverse, height, width, filter, fill)]
