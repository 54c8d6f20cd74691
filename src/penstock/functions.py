"""Plain functions on one image: no pipeline, no threads. What makes pixels is imported with the first image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from penstock.recipe import Recipe, processed_by, recipe
from penstock.types import FilterName, FitName

if TYPE_CHECKING:
    from penstock.types import UInt8Image

__all__ = ["decode", "resize"]


@processed_by
def _process(chain: Recipe, data: Any, seed: int, epoch: int, index: int) -> npt.NDArray[Any]:
    from penstock.replay import process_one

    return process_one(chain, data, seed, epoch, index)


def decode(data: Any) -> UInt8Image:
    """One encoded image (a path or bytes) as uint8 [H, W, 3] RGB, upright; Pillow's pixels, bit for bit.

    Raises ItemError naming what was expected and found.

    >>> import io, PIL.Image
    >>> file = io.BytesIO()
    >>> PIL.Image.new("RGB", (6, 4), "red").save(file, "PNG")
    >>> decode(file.getvalue()).shape
    (4, 6, 3)
    """
    return _process(recipe().decode(), data, 0, 0, 0)


def resize(
    image: Any,
    height: int | None = None,
    width: int | None = None,
    *,
    short_side: int | None = None,
    fit: FitName = "fill",
    filter: FilterName = "bilinear",
) -> UInt8Image:
    """One uint8 [H, W, 3] image (or a Pillow image) resized as the verb ``resize`` does; Pillow's pixels, bit for bit.

    Raises PlanError for sizes that cannot be, ItemError where this image cannot be resized.

    >>> import numpy as np
    >>> resize(np.zeros((4, 6, 3), np.uint8), 2, 3).shape
    (2, 3, 3)
    """
    chain = recipe().resize(height, width, short_side=short_side, fit=fit, filter=filter)
    return _process(chain, image, 0, 0, 0)
