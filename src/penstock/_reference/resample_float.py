"""The second resampler, stated slowly: the weights of the first, in floating point, nothing rounded between."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock._reference.resample import _nearest_positions, float_coefficients

Table = list[tuple[int, NDArray[np.float32]]]


def axis(in_size: int, start: float, stop: float, out_size: int, filter: str) -> Table:
    """Return, for each output position, its first input position and its float32 weights."""
    start32, stop32 = np.float32(start), np.float32(stop)
    one = np.ones(1, np.float32)
    if in_size == out_size and start32 == 0 and stop32 == in_size:
        return [(position, one) for position in range(out_size)]
    if filter == "nearest":
        found = _nearest_positions(in_size, start, stop, out_size)
        return [(max(position, 0), one if position >= 0 else one[:0]) for position in found]
    table = float_coefficients(in_size, start, stop, out_size, filter)
    return [(low, np.array(weights, dtype=np.float32)) for low, weights in table]


def vertical(image: NDArray[np.float32], table: Table) -> NDArray[np.float32]:
    """Resample float32 [H, W, C] along its columns; returns float32 [len(table), W, C]."""
    out = np.zeros((len(table), *image.shape[1:]), np.float32)
    for position, (first, weights) in enumerate(table):
        for offset, weight in enumerate(weights):
            out[position] += weight * image[first + offset]
    return out


def horizontal(image: NDArray[np.float32], table: Table) -> NDArray[np.float32]:
    """Resample float32 [H, W, C] along its rows; returns float32 [H, len(table), C]."""
    return vertical(image.transpose(1, 0, 2), table).transpose(1, 0, 2)


def resample_float(
    image: NDArray[Any],
    height: int,
    width: int,
    filter: str = "bilinear",
    box: tuple[float, float, float, float] | None = None,
) -> NDArray[np.float32]:
    """Resize uint8, uint16 or float32 [H, W, C] from box (top, left, bottom, right) to float32 [height, width, C].

    Values stay what they are (0..255), those of uint16 are divided by 257 at the end; nothing is clipped, so filters
    with negative weights overshoot. ``jax.image.resize`` with antialiasing does the same with "linear" (bilinear),
    "cubic" (bicubic) and "lanczos3" (lanczos).
    """
    in_height, in_width = image.shape[:2]
    top, left, bottom, right = box or (0, 0, in_height, in_width)
    down = axis(in_height, top, bottom, height, filter)
    along = axis(in_width, left, right, width, filter)
    floats = image.astype(np.float32)
    if height <= in_height:
        floats = horizontal(vertical(floats, down), along)
    else:
        floats = vertical(horizontal(floats, along), down)
    if image.dtype == np.uint16:
        floats = floats / np.float32(257)
    return np.ascontiguousarray(floats)
