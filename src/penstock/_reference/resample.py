"""Pillow's resampling, stated slowly: the twin of the native resampler (native/resample.h)."""

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

PassOrder = Literal["adaptive", "horizontal"]

WEIGHT_BITS = 22


def _box(x: float) -> float:
    return 1.0 if -0.5 < x <= 0.5 else 0.0


def _bilinear(x: float) -> float:
    x = abs(x)
    return 1.0 - x if x < 1.0 else 0.0


def _hamming(x: float) -> float:
    x = abs(x)
    if x == 0.0:
        return 1.0
    if x >= 1.0:
        return 0.0
    x *= math.pi
    # The two constants are single precision in Pillow, the arithmetic is not.
    return math.sin(x) / x * (float(np.float32(0.54)) + float(np.float32(0.46)) * math.cos(x))


def _bicubic(x: float) -> float:
    a = -0.5
    x = abs(x)
    if x < 1.0:
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1
    if x < 2.0:
        return (((x - 5) * x + 8) * x - 4) * a
    return 0.0


def _sinc(x: float) -> float:
    if x == 0.0:
        return 1.0
    x *= math.pi
    return math.sin(x) / x


def _lanczos(x: float) -> float:
    return _sinc(x) * _sinc(x / 3) if -3.0 <= x < 3.0 else 0.0


FILTERS: dict[str, tuple[Callable[[float], float], float]] = {
    "box": (_box, 0.5),
    "bilinear": (_bilinear, 1.0),
    "hamming": (_hamming, 1.0),
    "bicubic": (_bicubic, 2.0),
    "lanczos": (_lanczos, 3.0),
}


def coefficients(in_size: int, start: float, stop: float, out_size: int, filter: str) -> list[tuple[int, list[int]]]:
    """Return, for each output position, its first input position and its 22-bit integer weights."""
    table = float_coefficients(in_size, start, stop, out_size, filter)
    return [(low, [_fixed(weight) for weight in weights]) for low, weights in table]


def float_coefficients(
    in_size: int, start: float, stop: float, out_size: int, filter: str
) -> list[tuple[int, list[float]]]:
    """Return, for each output position, its first input position and its weights, before anything is rounded."""
    weigh, support = FILTERS[filter]
    start32, stop32 = np.float32(start), np.float32(stop)
    scale = float(stop32 - start32) / out_size
    filter_scale = max(scale, 1.0)
    support *= filter_scale
    table = []
    for position in range(out_size):
        center = float(start32) + (position + 0.5) * scale
        low = max(int(center - support + 0.5), 0)
        high = min(int(center + support + 0.5), in_size)
        weights = [weigh((x - center + 0.5) * (1.0 / filter_scale)) for x in range(low, high)]
        total = 0.0
        for weight in weights:  # from left to right: the order of the roundings is part of the result
            total += weight
        if total != 0.0:
            weights = [weight / total for weight in weights]
        table.append((low, weights))
    return table


def _fixed(weight: float) -> int:
    """Round a weight to 22 fractional bits, halves away from zero."""
    scaled = weight * (1 << WEIGHT_BITS)
    return int(scaled - 0.5) if weight < 0 else int(scaled + 0.5)


def horizontal(image: NDArray[np.uint8], table: list[tuple[int, list[int]]]) -> NDArray[np.uint8]:
    """Resample uint8 [H, W, C] along its rows; returns uint8 [H, len(table), C]."""
    out = np.empty((image.shape[0], len(table), image.shape[2]), np.uint8)
    for position, (first, weights) in enumerate(table):
        sums = np.full((image.shape[0], image.shape[2]), 1 << (WEIGHT_BITS - 1), np.int64)
        for offset, weight in enumerate(weights):
            sums += image[:, first + offset].astype(np.int64) * weight
        out[:, position] = np.clip(sums >> WEIGHT_BITS, 0, 255)
    return out


def vertical(image: NDArray[np.uint8], table: list[tuple[int, list[int]]]) -> NDArray[np.uint8]:
    """Resample uint8 [H, W, C] along its columns; returns uint8 [len(table), W, C]."""
    return horizontal(image.transpose(1, 0, 2), table).transpose(1, 0, 2)


def vertical_pass_first(height: int, width: int, out_height: int, out_width: int) -> bool:
    """Whether Pillow >= 13 runs the vertical pass first; earlier versions never do."""
    rows, columns = height - out_height, width - out_width
    return rows > 0 and rows > columns * 2


def installed_order() -> PassOrder:
    """Return the order of the passes of the Pillow that is installed."""
    import PIL

    return "adaptive" if int(PIL.__version__.split(".")[0]) >= 13 else "horizontal"


def _nearest_positions(in_size: int, start: float, stop: float, out_size: int) -> list[int]:
    """Return the input position of each output, or -1 where Pillow writes zeros."""
    step = float(np.float32(stop) - np.float32(start)) / out_size
    at = float(np.float32(start)) + step * 0.5
    positions = []
    for _ in range(out_size):
        position = -1 if at < 0.0 else int(at)
        positions.append(position if position < in_size else -1)
        at += step  # added up, not multiplied: the drift is part of the result
    return positions


def _nearest(image: NDArray[np.uint8], rows: list[int], columns: list[int]) -> NDArray[np.uint8]:
    out = image[np.ix_(rows, columns)]
    out[np.array(rows) < 0] = 0
    out[:, np.array(columns) < 0] = 0
    return out


def resample(
    image: NDArray[np.uint8],
    height: int,
    width: int,
    filter: str = "bilinear",
    box: tuple[float, float, float, float] | None = None,
    order: PassOrder = "adaptive",
) -> NDArray[np.uint8]:
    """Resize uint8 [H, W, C] from box (top, left, bottom, right); returns uint8 [height, width, C]."""
    in_height, in_width = image.shape[:2]
    top, left, bottom, right = (float(np.float32(x)) for x in (box or (0, 0, in_height, in_width)))
    tall, wide = np.float32(bottom) - np.float32(top), np.float32(right) - np.float32(left)
    if top.is_integer() and left.is_integer() and tall == height and wide == width:
        return image[int(top) : int(top) + height, int(left) : int(left) + width].copy()
    if filter == "nearest":
        rows = _nearest_positions(in_height, top, bottom, height)
        columns = _nearest_positions(in_width, left, right, width)
        return _nearest(image, rows, columns)
    # A pass that changes nothing is skipped.
    passes = []
    if not (in_width == width and left == 0 and right == width):
        passes.append((horizontal, coefficients(in_width, left, right, width, filter)))
    if not (in_height == height and top == 0 and bottom == height):
        passes.append((vertical, coefficients(in_height, top, bottom, height, filter)))
    if order == "adaptive" and vertical_pass_first(in_height, in_width, height, width):
        passes.reverse()
    for run, table in passes:
        image = run(image, table)
    return np.ascontiguousarray(image)
