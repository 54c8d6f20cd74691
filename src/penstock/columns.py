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
    budget = batch.images.shape[1]
    own: npt.NDArray[np.bool_] = np.arange(budget)[None, :] < np.asarray(batch.patch_count)[:, None]
    return own.astype(np.int32)


def positions_xy(batch: Any) -> npt.NDArray[np.int64]:
    """int64 [N, P, 2]: column and row of each patch, in that order; -1 where the patch fills up."""
    flipped = np.asarray(batch.positions)[..., ::-1].astype(np.int64)
    own = patch_mask(batch).astype(np.bool_)
    return np.where(own[..., None], flipped, np.int64(-1))


def grid(batch: Any) -> npt.NDArray[np.int64]:
    """int64 [N, 2]: rows and columns of each image's grid of patches."""
    return np.asarray(batch.grid).astype(np.int64)


def pixel_mask(batch: Any) -> npt.NDArray[np.int64]:
    """int64 [N, H, W]: 1 where the pixel is the image's own, 0 where a ragged batch was padded."""
    sizes = np.asarray(batch.sizes)
    height, width = batch.images.shape[-2:] if batch.layout == "NCHW" else batch.images.shape[1:3]
    rows = np.arange(height)[None, :, None] < sizes[:, 0, None, None]
    columns = np.arange(width)[None, None, :] < sizes[:, 1, None, None]
    return (rows & columns).astype(np.int64)


def zeros(batch: Any) -> npt.NDArray[np.int64]:
    """int64 [N] of 0."""
    return np.zeros(len(batch.images), np.int64)


COMPUTED = {
    "patch_mask": patch_mask,
    "positions_xy": positions_xy,
    "grid": grid,
    "pixel_mask": pixel_mask,
    "zeros": zeros,
}
"""By the word that a Column names."""


def expect_columns(columns: Mapping[str, Column], spec: Spec) -> None:
    """Refuses a line whose batches cannot have these columns; ``spec`` is that of its batches."""
    patches = {"patch_mask", "grid", "positions_xy", "patch_count"} & {column.name for column in columns.values()}
    if patches and spec.patch is None:
        raise PlanError(f"select(hf=...): expected patches for {', '.join(columns)}, found {spec}; call .patchify().")
    if spec.patch is None and spec.layout != "NCHW":
        raise PlanError(
            "select(hf=...): expected batch(n, layout='NCHW'), the order of a Hugging Face processor, found "
            f"layout={spec.layout!r}."
        )
