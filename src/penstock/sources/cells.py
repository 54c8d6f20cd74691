"""What a table holds in the place of an image - bytes, a path, both in a struct - as Locations."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from penstock.sources.names import NameTable
from penstock.sources.source import Locations, PathTable

__all__ = ["Problem", "located_cells", "not_one_image"]


class Problem(NamedTuple):
    """What stands in a cell that could not be read: the cause, and the message."""

    cause: str
    message: str


def located_cells(labels: npt.NDArray[np.int64], cells: Sequence[Any], roots: Sequence[str]) -> Locations:
    """Where the images of some cells are; what is no image is a problem of its row.

    A cell is bytes, a path, or a mapping with "bytes" and "path", of which the bytes come first; relative paths begin
    at the row's root.
    """
    blobs: list[bytes] = []
    paths: list[bytes] = []
    blob_rows: list[int] = []
    path_rows: list[int] = []
    problems: dict[int, tuple[str, str]] = {}
    for row, cell in enumerate(cells):
        if isinstance(cell, Problem):
            problems[row] = (cell.cause, cell.message)
            continue
        inside = _bytes_or_path(cell) if isinstance(cell, dict) else cell
        if isinstance(inside, (bytes, bytearray, memoryview)):
            blob_rows.append(row)
            blobs.append(bytes(inside))
        elif isinstance(inside, str) and inside and "://" not in inside and "\0" not in inside:
            path_rows.append(row)
            paths.append(os.fsencode(os.path.join(roots[row], inside)))
        else:
            problems[row] = ("no image", f"expected image bytes or a path, found {_shown(inside)}")
    if not path_rows:
        held = [b""] * len(cells)
        for row, blob in zip(blob_rows, blobs, strict=True):
            held[row] = blob
        return Locations(labels, blobs=held, problems=problems)
    table = NameTable.from_names(paths)
    places = PathTable(table.names, table.offsets, np.arange(len(paths), dtype=np.int64), b"")
    if len(path_rows) == len(cells):
        return Locations(labels, paths=places)
    parts = [(np.array(path_rows, dtype=np.int64), Locations(labels[path_rows], paths=places))]
    if blob_rows:
        parts.append((np.array(blob_rows, dtype=np.int64), Locations(labels[blob_rows], blobs=blobs)))
    return Locations(labels, parts=parts, problems=problems)


def not_one_image(count: int) -> tuple[str, str]:
    """The problem of an item of which one image was asked for."""
    found = "none" if count == 0 else f"{count}; batch(n, images=) takes several"
    return ("no image" if count == 0 else "several images"), f"expected one image, found {found}"


def _bytes_or_path(cell: dict[str, Any]) -> Any:
    data = cell.get("bytes")
    return cell.get("path") if data is None else data


def _shown(cell: Any) -> str:
    if cell is None:
        return "null"
    if isinstance(cell, str):
        return repr(cell if len(cell) <= 80 else cell[:77] + "...") if cell else "an empty path"
    return f"{type(cell).__name__}"
