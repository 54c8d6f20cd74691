"""What a batch of patches says about them: which are an image's own, and where each was."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["PatchColumns", "patch_columns"]

Column = npt.NDArray[np.int64]


class PatchColumns(NamedTuple):
    """int64 ``positions`` [N, P, 2], ``patch_count`` [N] and ``grid`` [N, 2], all (row, column) or (rows, columns)."""

    positions: Column
    patch_count: Column
    grid: Column


def patch_columns(sizes: Column, patch: int, max_patches: int) -> PatchColumns:
    """The columns of images of ``sizes`` [N, 2] (height, width), cut into squares of ``patch``.

    ``positions`` are (row, column) in the image's grid, and -1 for both where a slot holds no patch of the image. A row
    of size (0, 0), which has no image, has no patches.

    >>> columns = patch_columns(np.array([[32, 48], [0, 0]]), patch=16, max_patches=7)
    >>> columns.grid.tolist(), columns.patch_count.tolist()
    ([[2, 3], [0, 0]], [6, 0])
    >>> columns.positions[0].tolist()
    [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2], [-1, -1]]
    """
    grid = np.asarray(sizes, dtype=np.int64).reshape(-1, 2) // patch
    positions = np.empty((len(grid), max_patches, 2), dtype=np.int64)
    for row, (rows, columns) in enumerate(grid.tolist()):
        positions[row] = _positions(rows, columns, max_patches)
    return PatchColumns(positions, grid[:, 0] * grid[:, 1], grid)


# Images of one batch mostly share their grid, and divisions of thousands of patches are dear.
@lru_cache(maxsize=32)
def _positions(rows: int, columns: int, max_patches: int) -> Column:
    positions = np.full((max_patches, 2), -1, dtype=np.int64)
    own = np.arange(min(rows * columns, max_patches), dtype=np.int64)
    positions[: len(own), 0] = own // max(columns, 1)
    positions[: len(own), 1] = own % max(columns, 1)
    return positions
