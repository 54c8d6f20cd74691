"""Normalising and laying out an image: the twin of the native pack."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray


def normalize(
    image: NDArray[np.uint8], mean: tuple[float, float, float], std: tuple[float, float, float]
) -> NDArray[np.float32]:
    """Return float32 [H, W, 3] = (x / 255 - mean) / std, each a float32 operation, in that order."""
    unit = np.divide(image.astype(np.float32), np.float32(255), dtype=np.float32)
    centred = np.subtract(unit, np.asarray(mean, np.float32), dtype=np.float32)
    scaled: NDArray[np.float32] = np.divide(centred, np.asarray(std, np.float32), dtype=np.float32)
    return scaled


def pack(
    image: NDArray[np.uint8],
    dtype: Literal["uint8", "float32"] = "uint8",
    layout: Literal["NHWC", "NCHW"] = "NHWC",
    mean: tuple[float, float, float] | None = None,
    std: tuple[float, float, float] | None = None,
) -> NDArray[Any]:
    """Return uint8 [H, W, 3] as it lies in a batch: [H, W, 3] or [3, H, W], normalised where mean and std are given."""
    out: NDArray[Any] = image
    if mean is not None and std is not None:
        out = normalize(image, mean, std)
    elif dtype == "float32":
        out = image.astype(np.float32)
    if layout == "NCHW":
        out = out.transpose(2, 0, 1)
    return np.ascontiguousarray(out)
