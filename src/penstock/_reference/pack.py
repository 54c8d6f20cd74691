"""Twin of the packing kernels: normalise and lay out one image, in plain NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.types import DtypeName, LayoutName, UInt8Image


def normalize(image: UInt8Image, mean: Sequence[float], std: Sequence[float]) -> npt.NDArray[np.float32]:
    """(x / 255 - mean) / std in float32, true divisions, in that order; [H, W, 3] in and out."""
    scaled = image.astype(np.float32) / np.float32(255.0)
    return (scaled - np.asarray(mean, dtype=np.float32)) / np.asarray(std, dtype=np.float32)


def pack(
    image: UInt8Image,
    *,
    dtype: DtypeName,
    layout: LayoutName,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> npt.NDArray[Any]:
    """One image in its batch's dtype and layout: [H, W, 3] or [3, H, W], contiguous."""
    if mean is not None and std is not None:
        values: npt.NDArray[Any] = normalize(image, mean, std)
    else:
        values = image.astype(dtype)
    if layout == "NCHW":
        values = np.moveaxis(values, -1, 0)
    return np.ascontiguousarray(values.astype(dtype, copy=False))
