"""Sizes that fit a budget of patches with the aspect kept: the rules of SigLIP 2 and of Gemma 4."""

from __future__ import annotations

import math
from typing import Any

from penstock.errors import PlanError
from penstock.transform.verb import MAX_PIXELS, StepError, call, whole, word

__all__ = ["check_patches", "patch_size", "patches_native", "patches_size", "patches_written"]

# The bisection's bounds and its precision, as SigLIP 2 was trained with them.
PRECISION = 1e-5
LARGEST_SCALE = 100.0

LARGEST = 4096  # side of a patch, in pixels


def patch_size(
    height: int, width: int, *, max_patches: int, patch: int, multiple: int = 1, rounding: str = "ceil"
) -> tuple[int, int]:
    """(height, width) for an image of height x width: at most ``max_patches`` patches, the aspect about kept.

    Sides are multiples of ``patch * multiple``. ``rounding="ceil"`` is the rule of SigLIP 2 NaFlex (transformers'
    ``get_image_size_for_max_num_patches``), ``rounding="floor"`` that of Gemma 4 (``get_aspect_ratio_preserving_size``,
    whose ``pooling_kernel_size`` is ``multiple``). Raises StepError where no such size exists. The twin of
    native/plan_patches.cpp, operation by operation.

    >>> patch_size(480, 640, max_patches=256, patch=16)
    (224, 288)
    >>> patch_size(480, 640, max_patches=2520, patch=16, multiple=3, rounding="floor")
    (672, 912)
    """
    unit = patch * multiple
    find = _rounded_up if rounding == "ceil" else _rounded_down
    found = find(height, width, max_patches, patch, multiple)
    if found is None:
        raise StepError(
            "no size fits",
            f"resize: expected a size of at most {max_patches} patches with sides of multiples of {unit}, found none "
            f"for an image of H={height} W={width}",
        )
    rows, columns = found
    return rows * unit, columns * unit


def _units_up(length: int, scale: float, unit: int) -> int:
    return max(1, math.ceil(length * scale / unit))


def _rounded_up(height: int, width: int, max_patches: int, patch: int, multiple: int) -> tuple[int, int] | None:
    """Bisects for the largest scale whose sides, rounded up to the unit, stay within the budget."""
    unit = patch * multiple
    least, most = PRECISION / 10, LARGEST_SCALE
    while most - least >= PRECISION:
        scale = (least + most) / 2
        if _units_up(height, scale, unit) * _units_up(width, scale, unit) * multiple**2 <= max_patches:
            least = scale
        else:
            most = scale
    rows, columns = _units_up(height, least, unit), _units_up(width, least, unit)
    return (rows, columns) if rows * columns * multiple**2 <= max_patches else None


def _rounded_down(height: int, width: int, max_patches: int, patch: int, multiple: int) -> tuple[int, int] | None:
    """The area of the budget at the image's aspect, sides rounded down to the unit.

    A side that would be none gets one unit, and the other as many as the aspect has, cut to the budget.
    """
    unit = patch * multiple
    factor = math.sqrt(max_patches * patch**2 / (height * width))
    rows, columns = math.floor(factor * height / unit), math.floor(factor * width / unit)
    most = max_patches // multiple**2
    if rows == 0 and columns == 0:
        return None
    if rows == 0:
        return 1, min(math.floor(width / height), most)
    if columns == 0:
        return min(math.floor(height / width), most), 1
    return rows, columns


def check_patches(verb: Any) -> None:
    """Checks ``max_patches``, ``patch``, ``multiple`` and ``rounding`` of a resize, where any of them is given."""
    if verb.max_patches is None:
        for name, usual in (("patch", None), ("multiple", 1)):
            if getattr(verb, name) != usual:
                raise PlanError(f"{call(verb)}: expected max_patches= with {name}=, found none.")
        return
    if verb.patch is None:
        raise PlanError(f"{call(verb)}: expected max_patches= and patch=, found no patch=.")
    whole(verb, "max_patches")
    whole(verb, "patch", maximum=LARGEST)
    whole(verb, "multiple", maximum=LARGEST)
    if verb.rounding is not None:
        word(verb, "rounding", ("ceil", "floor"))
    if verb.max_patches * verb.patch**2 > MAX_PIXELS:
        raise PlanError(
            f"{call(verb)}: expected at most {MAX_PIXELS} pixels, found {verb.max_patches} patches of "
            f"{verb.patch} x {verb.patch}."
        )
    if verb.max_patches < verb.multiple**2:
        raise PlanError(
            f"{call(verb)}: expected max_patches= of at least multiple * multiple = {verb.multiple**2}, the smallest "
            f"image there is, found {verb.max_patches}."
        )


def patches_size(verb: Any, height: int, width: int) -> tuple[int, int]:
    """(height, width) of an image that the resize was given at height x width; raises StepError."""
    return patch_size(
        height,
        width,
        max_patches=verb.max_patches,
        patch=verb.patch,
        multiple=verb.multiple,
        rounding=verb.rounding or "ceil",
    )


def patches_written(verb: Any) -> list[str]:
    """What ``print(line)`` shows of a resize with ``max_patches``; nothing for another."""
    if verb.max_patches is None:
        return []
    multiple = [f"multiple={verb.multiple}"] if verb.multiple != 1 else []
    return [f"max_patches={verb.max_patches}", f"patch={verb.patch}", *multiple]


def patches_native(verb: Any) -> dict[str, Any]:
    """The fields of native/plan.h's Verb for a resize with ``max_patches``, beside those that every resize has."""
    return {
        "kind": "resize_patches",
        "p": (verb.max_patches, verb.patch, verb.multiple),
        "rounding": verb.rounding or "ceil",
    }
