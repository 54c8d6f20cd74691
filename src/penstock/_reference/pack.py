"""Normalising and laying out an image: the twin of the native pack."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock.types import DtypeName

FULL_SCALE = {"uint8": 255, "uint16": 65535, "float32": 255}


def numpy_dtype(name: DtypeName) -> np.dtype[Any]:
    """Return NumPy's dtype of that name; bfloat16 is the one of the package ml_dtypes."""
    if name == "bfloat16":
        import ml_dtypes

        bfloat16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return bfloat16
    return np.dtype(name)


def normalize(image: NDArray[Any], mean: Sequence[float], std: Sequence[float]) -> NDArray[np.float32]:
    """Return float32 [H, W, C] = (x / full - mean) / std, each a float32 operation, in that order.

    ``full`` is 255 for uint8 and for float32, whose samples are from 0 to 255, and 65535 for uint16.
    """
    full = np.float32(FULL_SCALE[image.dtype.name])
    unit = np.divide(image.astype(np.float32), full, dtype=np.float32)
    centred = np.subtract(unit, np.asarray(mean, np.float32), dtype=np.float32)
    scaled: NDArray[np.float32] = np.divide(centred, np.asarray(std, np.float32), dtype=np.float32)
    return scaled


def pack(
    image: NDArray[Any],
    dtype: DtypeName = "uint8",
    layout: str = "NHWC",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> NDArray[Any]:
    """Return uint8, uint16 or float32 [H, W, C] as it lies in a batch: [H, W, C] or [C, H, W], in ``dtype``.

    Normalised where mean and std, a number for each channel, are given. NumPy's cast to float16 and ml_dtypes' to
    bfloat16 round to nearest, ties to even.
    """
    out: NDArray[Any] = image
    if mean is not None and std is not None:
        out = normalize(image, mean, std)
    with np.errstate(over="ignore", under="ignore"):
        out = out.astype(numpy_dtype(dtype), copy=False)
    if layout == "NCHW":
        out = out.transpose(2, 0, 1)
    return np.ascontiguousarray(out)
