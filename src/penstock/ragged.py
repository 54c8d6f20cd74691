"""Images that have each their own size as the ``images`` of one batch: padded to the largest, or a list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock import _native
from penstock.errors import EngineError
from penstock.types import LayoutName

__all__ = ["aligned_empty", "padded", "sizes_of"]

ALIGNMENT = 64

Images = Sequence[npt.NDArray[Any] | None]


def sizes_of(images: Images, layout: LayoutName) -> npt.NDArray[np.int64]:
    """(height, width) of each image, int64 [N, 2]; (0, 0) where there is none."""
    first = 0 if layout == "NHWC" else 1
    sizes = [(0, 0) if image is None else image.shape[first : first + 2] for image in images]
    return np.array(sizes, dtype=np.int64).reshape(-1, 2)


def aligned_empty(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """An array of undefined content whose memory begins on a 64-byte boundary; EngineError where there is none."""
    kind = np.dtype(dtype)
    size = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
    try:
        memory = np.empty(size + ALIGNMENT, dtype=np.uint8)
    except MemoryError:
        raise EngineError(
            f"batch: expected {size:,} bytes of memory for {kind} {list(shape)}, found too little; take smaller "
            f"batches."
        ) from None
    address: int = memory.__array_interface__["data"][0]
    first = -address % ALIGNMENT
    return memory[first : first + size].view(kind).reshape(shape)


def padded(
    images: Images, layout: LayoutName, channels: int, dtype: npt.DTypeLike, size: tuple[int, int] | None = None
) -> npt.NDArray[Any]:
    """The images in one array, each at the top left of its row, zeros below and to the right of it.

    [N, H, W, C] or [N, C, H, W], H and W those of ``size``, else the largest of the batch; 64-byte aligned. A row
    without an image is zeros.
    """
    largest = sizes_of(images, layout).max(axis=0, initial=0)
    height, width = (int(largest[0]), int(largest[1])) if size is None else size
    shape = (height, width, channels) if layout == "NHWC" else (channels, height, width)
    out = aligned_empty((len(images), *shape), dtype)
    if out.size:
        # As bytes: the copying is the same for every dtype.
        blocks = [None if image is None else np.ascontiguousarray(image).view(np.uint8) for image in images]
        _native.pad_images(blocks, out.view(np.uint8))
    return out
