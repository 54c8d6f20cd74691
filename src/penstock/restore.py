"""A map of model pixels brought back onto the pixels of the source picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from penstock.errors import PlanError

__all__ = ["InterpolationName", "restore"]

InterpolationName = Literal["nearest", "bilinear"]
Map = npt.NDArray[Any]
Positions = npt.NDArray[np.float64]

STRIP_PIXELS = 1 << 18  # looked up at a time: a picture of 12 megapixels needs no more memory than its own result


def restore(
    mask: npt.ArrayLike,
    affine: npt.NDArray[np.float64],
    height: int,
    width: int,
    interpolation: InterpolationName = "nearest",
    outside: float = 0,
) -> Map:
    """A map [h, w] or [h, w, C] of model pixels as [height, width] or [height, width, C] of source pixels, same dtype.

    ``affine`` float64 [2, 3] takes source pixels to model pixels. The pixel (x, y) becomes what the map holds at the
    place of its centre: the pixel there ("nearest", any dtype), or the mean of the four around it by distance, the
    map's edge continued ("bilinear", floating-point maps). Places outside the map become ``outside``. Raises PlanError.

    >>> half = np.array([[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]])
    >>> restore([[1, 2]], half, 2, 4)
    array([[1, 1, 2, 2],
           [1, 1, 2, 2]])
    """
    values = np.asarray(mask)
    if values.ndim not in (2, 3) or 0 in values.shape[:2]:
        raise PlanError(f"restore: expected a map [h, w] or [h, w, C], found shape {list(values.shape)}.")
    if interpolation not in ("nearest", "bilinear"):
        raise PlanError(f"restore: expected interpolation='nearest' or 'bilinear', found {interpolation!r}.")
    if interpolation == "bilinear" and values.dtype.kind != "f":
        raise PlanError(
            f"restore: expected a floating-point map for interpolation='bilinear', found {values.dtype}; labels need "
            f"'nearest'."
        )
    out = np.full((height, width, *values.shape[2:]), _sample(outside, values.dtype), values.dtype)
    (a, b, c), (d, e, f) = affine.tolist()
    if a == 0.0 and e == 0.0:  # the axes are swapped: the transposed map has them in order
        values = values.swapaxes(0, 1)
        (a, b, c), (d, e, f) = (d, e, f), (a, b, c)
    if b == 0.0 and d == 0.0:
        x = a * (np.arange(width) + 0.5) + c
        y = e * (np.arange(height) + 0.5) + f
        _along_axes(values, x, y, out, interpolation)
    else:
        _anywhere(values, ((a, b, c), (d, e, f)), out, interpolation)
    return out


def _sample(outside: float, dtype: np.dtype[Any]) -> Any:
    """``outside`` in the map's dtype; refused where that would change it."""
    sample: Any = None
    try:
        with np.errstate(all="ignore"):
            sample = np.array(outside).astype(dtype)
        unchanged = dtype.kind == "f" or bool(sample == outside)
    except (TypeError, ValueError, OverflowError):
        unchanged = False
    if not unchanged:
        raise PlanError(f"restore: expected outside= a value that {dtype} holds, found {outside!r}.")
    return sample


def _along_axes(values: Map, x: Positions, y: Positions, out: Map, interpolation: InterpolationName) -> None:
    """Fills ``out`` where columns depend on x alone and rows on y alone."""
    rows, columns = _inside(y, values.shape[0]), _inside(x, values.shape[1])
    x, y = x[columns], y[rows]
    if x.size == 0 or y.size == 0:
        return
    inner = out[rows, columns]  # a view: what lies inside is one stretch of an axis
    look_up = _nearest_along(values, x) if interpolation == "nearest" else _bilinear_along(values, x)
    for start, stop in _strips(len(y), len(x)):
        inner[start:stop] = look_up(y[start:stop])


def _inside(positions: Positions, size: int) -> slice:
    """The stretch of an axis whose positions lie inside [0, size); they rise or fall, so it is one."""
    found = np.flatnonzero((positions >= 0.0) & (positions < size))
    return slice(int(found[0]), int(found[-1]) + 1) if found.size else slice(0, 0)


def _nearest_along(values: Map, x: Positions) -> Callable[[Positions], Map]:
    columns = np.floor(x).astype(np.intp)

    def look_up(y: Positions) -> Map:
        return values[np.floor(y).astype(np.intp)][:, columns]

    return look_up


def _bilinear_along(values: Map, x: Positions) -> Callable[[Positions], Map]:
    exact = np.result_type(values.dtype, np.float32)
    left, right, across = _neighbours(x, values.shape[1], exact)
    across = across.reshape(-1, *[1] * (values.ndim - 2))

    def look_up(y: Positions) -> Map:
        above, below, down = _neighbours(y, values.shape[0], exact)
        down = down.reshape(-1, *[1] * (values.ndim - 1))
        rows = values[above] * (1 - down) + values[below] * down
        mixed: Map = rows[:, left] * (1 - across) + rows[:, right] * across
        return mixed

    return look_up


def _neighbours(
    positions: Positions, size: int, dtype: np.dtype[Any]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Map]:
    """The pixels before and after each position, and how far it is from the first to the second."""
    before = np.floor(positions - 0.5)
    share = (positions - 0.5 - before).astype(dtype)
    first = before.astype(np.intp)
    return np.clip(first, 0, size - 1), np.clip(first + 1, 0, size - 1), share


def _anywhere(
    values: Map, rows: tuple[tuple[float, float, float], ...], out: Map, interpolation: InterpolationName
) -> None:
    """Fills ``out`` through any affine, pixel by pixel."""
    (a, b, c), (d, e, f) = rows
    height, width = values.shape[:2]
    across = np.arange(out.shape[1]) + 0.5
    for start, stop in _strips(out.shape[0], out.shape[1]):
        down = (np.arange(start, stop) + 0.5)[:, np.newaxis]
        x, y = a * across + b * down + c, d * across + e * down + f
        inside = (x >= 0.0) & (x < width) & (y >= 0.0) & (y < height)
        x, y = x[inside], y[inside]
        if interpolation == "nearest":
            out[start:stop][inside] = values[np.floor(y).astype(np.intp), np.floor(x).astype(np.intp)]
        else:
            out[start:stop][inside] = _bilinear_at(values, x, y)


def _bilinear_at(values: Map, x: Positions, y: Positions) -> Map:
    exact = np.result_type(values.dtype, np.float32)
    left, right, across = _neighbours(x, values.shape[1], exact)
    above, below, down = _neighbours(y, values.shape[0], exact)
    across, down = (share.reshape(-1, *[1] * (values.ndim - 2)) for share in (across, down))
    upper = values[above, left] * (1 - across) + values[above, right] * across
    lower = values[below, left] * (1 - across) + values[below, right] * across
    mixed: Map = upper * (1 - down) + lower * down
    return mixed


def _strips(height: int, width: int) -> list[tuple[int, int]]:
    rows = max(1, STRIP_PIXELS // max(1, width))
    return [(start, min(start + rows, height)) for start in range(0, height, rows)]
