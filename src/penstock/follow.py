"""A picture that belongs to another one is moved as that one was: the same steps, without those that change colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from penstock._reference.steps import Pad, Resize, Step, Warp

__all__ = ["follow_labels", "follow_picture", "turned"]

Array = npt.NDArray[Any]


def follow_labels(values: Array, steps: Sequence[Step], outside: float) -> Array:
    """``values`` [H, W] or [H, W, ...] of any dtype, moved by ``steps``; each output takes one input, none is mixed.

    ``outside`` fills what the picture is padded with. A resize takes what Pillow's NEAREST takes: the value at the
    output pixel's centre.

    >>> from penstock._reference.steps import FlipX, Resize
    >>> follow_labels(np.array([[1, 2], [3, 4]]), [FlipX(), Resize(2, 4, None, "bilinear")], outside=0)
    array([[2, 2, 1, 1],
           [4, 4, 3, 3]])
    """
    from penstock._reference.steps import Crop, FlipX, FlipY, Pad, Resize, Rotate90
    from penstock._reference.warp import Warp

    for step in steps:
        if isinstance(step, Resize):
            values = _nearest(values, step)
        elif isinstance(step, Warp):
            values = _warped(values, step, outside)
        elif isinstance(step, Pad):
            values = _padded(values, step, outside)
        elif isinstance(step, (Crop, FlipX, FlipY, Rotate90)):
            values = step.apply(values)
    return np.ascontiguousarray(values)


def follow_picture(image: npt.NDArray[np.uint8], steps: Sequence[Step]) -> npt.NDArray[np.uint8]:
    """A uint8 image [H, W, C] moved by ``steps``, with their own filters and colours of padding."""
    from penstock._reference.steps import Crop, FlipX, FlipY, Pad, Resize, Rotate90
    from penstock._reference.warp import Warp

    for step in steps:
        if isinstance(step, Resize):
            image = replace(step, precision="uint8").apply(image)
        elif isinstance(step, (Crop, FlipX, FlipY, Rotate90, Pad, Warp)):
            image = step.apply(image)
    return np.ascontiguousarray(image)


def turned(values: Array, orientation: int) -> Array:
    """``values`` [H, W, ...] as stored, upright by an EXIF orientation of 1 to 8.

    >>> turned(np.array([[1, 2]]), 6)
    array([[1],
           [2]])
    """
    if orientation in (2, 3):
        values = values[:, ::-1]
    if orientation in (3, 4):
        values = values[::-1]
    if orientation in (5, 6, 7, 8):
        values = np.swapaxes(values, 0, 1)
        if orientation in (6, 7):
            values = values[:, ::-1]
        if orientation in (7, 8):
            values = values[::-1]
    return values


def _nearest(values: Array, step: Resize) -> Array:
    height, width = values.shape[:2]
    top, left, bottom, right = step.box if step.box is not None else (0.0, 0.0, float(height), float(width))
    rows = _taken(top, bottom, step.height, height)
    columns = _taken(left, right, step.width, width)
    return values[rows[:, np.newaxis], columns]


def _taken(start: float, end: float, count: int, size: int) -> npt.NDArray[np.int64]:
    """Which input each of ``count`` outputs takes along one axis."""
    # Added up one after the other, as Pillow does: where a centre falls between two inputs, its last bit decides.
    step = (end - start) / count
    centres = np.add.accumulate(np.concatenate([[start + step * 0.5], np.full(count - 1, step)]))
    taken: npt.NDArray[np.int64] = np.clip(np.floor(centres).astype(np.int64), 0, size - 1)
    return taken


def _warped(values: Array, step: Warp, outside: float) -> Array:
    from PIL import Image  # here, because importing penstock must not load Pillow's plugins

    # Pillow moves the numbers of the inputs, so that the outputs are its own to the last tie, whatever the dtype.
    height, width = values.shape[:2]
    numbers = Image.fromarray(np.arange(height * width, dtype=np.int32).reshape(height, width))
    moved = numbers.transform(
        (step.width, step.height), Image.Transform.AFFINE, step.inverse, Image.Resampling.NEAREST, fillcolor=-1
    )
    taken = np.asarray(moved)
    inside = taken >= 0
    out = np.full((step.height, step.width, *values.shape[2:]), outside, values.dtype)
    out[inside] = values.reshape(height * width, *values.shape[2:])[taken[inside]]
    return out


def _padded(values: Array, step: Pad, outside: float) -> Array:
    around = [(step.top, step.bottom), (step.left, step.right)] + [(0, 0)] * (values.ndim - 2)
    if step.mode != "constant":
        return np.pad(values, around, step.mode)
    return np.pad(values, around, constant_values=values.dtype.type(outside))
