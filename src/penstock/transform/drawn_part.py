"""A part of an image whose area and shape are drawn: torchvision's get_params, with the draws in its order."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from penstock.errors import PlanError
from penstock.transform.verb import call, numbers

if TYPE_CHECKING:
    from penstock._reference.random import Draws

__all__ = ["drawn_sizes", "scale_and_ratio"]

_TRIES = 10  # torchvision's number


def scale_and_ratio(verb: Any, *, empty: bool) -> None:
    """Makes ``scale`` (shares of the area, which may be 0 where ``empty``) and ``ratio`` plain, or refuses them."""
    scale = numbers(verb.scale, 2)
    if scale is None or not 0.0 <= scale[0] <= scale[1] <= 1.0 or (scale[0] == 0.0 and not empty):
        least = "0 <= least" if empty else "0 < least"
        raise PlanError(f"{call(verb)}: expected scale=(least, most) with {least} <= most <= 1, found {verb.scale!r}.")
    ratio = numbers(verb.ratio, 2)
    if ratio is None or not 0.0 < ratio[0] <= ratio[1]:
        raise PlanError(f"{call(verb)}: expected ratio=(least, most) with 0 < least <= most, found {verb.ratio!r}.")
    object.__setattr__(verb, "scale", scale)
    object.__setattr__(verb, "ratio", ratio)


def drawn_sizes(
    height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float], draws: Draws
) -> Iterator[tuple[int, int]]:
    """Two sides a try, first the one that the drawn ratio divides; whoever takes them draws the place next."""
    area = float(height) * float(width)
    low_log, high_log = math.log(ratio[0]), math.log(ratio[1])
    for _ in range(_TRIES):
        target = area * draws.uniform(*scale)
        aspect = math.exp(draws.uniform(low_log, high_log))
        yield round(math.sqrt(target / aspect)), round(math.sqrt(target * aspect))
