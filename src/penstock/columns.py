"""Columns of a batch that other libraries name or shape otherwise, computed from the batch's own when handed over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.errors import PlanError
from penstock.types import Spec

__all__ = ["Column", "expect_columns"]


@dataclass(frozen=True, slots=True)
class Column:
    """One field of a batch, or what is computed from its fields; ``share`` divides a count.

    >>> str(Column("patch_count", 9))
    'patch_count/9'
    """

    name: str
    share: int = 1

    def of(self, batch: Any) -> Any:
        """The values for this batch: arrays whose first axis is the row."""
        if self.name in COMPUTED:
            return COMPUTED[self.name](batch)
        values = getattr(batch, self.name)
        return values if self.share == 1 else values // self.share

    def __str__(self) -> str:
        return self.name if self.share == 1 else f"{self.name}/{self.share}"


def patch_mask(batch: Any) -> npt.NDArray[np.int32]:
    """int32 [N, P]: 1 where the patch is the image's own, 0 where it fills up."""
    own: npt.NDArray[np.bool_] = batch.positions[..., 0] >= 0
    return own.astype(np.int32)


def positions_xy(batch: Any) -> npt.NDArray[np.int64]:
    """int64 [N, P, 2]: column and row of each patch, in that order; -1 where the patch fills up."""
    flipped: npt.NDArray[np.int64] = np.ascontiguousarray(batch.positions[..., ::-1])
    return flipped


def pixel_mask(batch: Any) -> npt.NDArray[np.int64]:
    """int64 [N, H, W]: 1 where the pixel is the image's own, 0 where a ragged batch was padded."""
    height, width = batch.images.shape[2:] if batch.layout == "NCHW" else batch.images.shape[1:3]
    if batch.sizes is None:
        return np.ones((len(batch.images), height, width), np.int64)
    rows = np.arange(height)[None, :, None] < batch.sizes[:, 0, None, None]
    columns = np.arange(width)[None, None, :] < batch.sizes[:, 1, None, None]
    own: npt.NDArray[np.bool_] = rows & columns
    return own.astype(np.int64)


def zeros(batch: Any) -> npt.NDArray[np.int64]:
    """int64 [N] of 0."""
    return np.zeros(len(batch.images), np.int64)


COMPUTED = {
    "patch_mask": patch_mask,
    "positions_xy": positions_xy,
    "pixel_mask": pixel_mask,
    "zeros": zeros,
}
"""By the word that a Column names."""


def expect_columns(columns: Mapping[str, Column], spec: Spec) -> None:
    """Refuses a line whose batches cannot have these columns; ``spec`` is that of its batches."""
    patches = {"patch_mask", "grid", "positions_xy", "patch_count"} & {column.name for column in columns.values()}
    if patches and spec.patch is None:
        raise PlanError(f"select(hf=...): expected patches for {', '.join(columns)}, found {spec}; call .patchify().")
    if spec.ragged_as == "list" and any(column.name == "pixel_mask" for column in columns.values()):
        raise PlanError("select(hf=...): expected batch(n, ragged='pad') for pixel_mask, found ragged='list'.")
    if spec.patch is None and spec.layout != "NCHW":
        raise PlanError(
            "select(hf=...): expected batch(n, layout='NCHW'), the order of a Hugging Face processor, found "
            f"layout={spec.layout!r}."
        )
