"""Cutting an image into patches: the twin of the native pack's layout "patches"."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def cut(image: NDArray[Any], size: int, max_patches: int) -> NDArray[Any]:
    """Return [H, W, C] as [max_patches, size * size * C].

    Row by row of the grid, (row, column, channel) inside a patch; zeros after the image's own patches.
    """
    height, width, channels = image.shape
    rows, columns = height // size, width // size
    squares = image.reshape(rows, size, columns, size, channels).transpose(0, 2, 1, 3, 4)
    out = np.zeros((max_patches, size * size * channels), image.dtype)
    out[: rows * columns] = squares.reshape(rows * columns, -1)
    return out
