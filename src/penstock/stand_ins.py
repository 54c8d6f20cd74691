"""``on_failure="replace"``: items drawn to stand in for one that failed, and their pixels in its row."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from penstock.order import hash_position

if TYPE_CHECKING:
    from penstock.results import Columns
    from penstock.step import Request

__all__ = ["TRIES", "Make", "drawn_positions", "fill_in"]

TRIES = 8
"""How many items are tried in the place of one that failed, before its row is left blank."""

Indices = npt.NDArray[np.int64]
Make = Callable[[Indices, int], "tuple[Request, Columns]"]
"""Rows of the batch (int64 [k]) and the number of the try, 1 to TRIES: the k items drawn for them, made."""
Judge = Callable[["Columns", Indices], npt.NDArray[np.bool_]]
"""Which of what was made, of the items with these source indices, may stand in a batch."""


def drawn_positions(seed: int, epoch: int, positions: Indices, attempt: int, items: int) -> Indices:
    """Whose turn it is to stand in: for each position of the epoch, one of its ``items`` positions; int64 [k].

    Depends on nothing but these numbers, so that it is the same for any number of ranks, threads and rows.
    """
    return hash_position(seed, epoch, positions, attempt) % items


def fill_in(columns: Columns, rows: Indices, make: Make, judge: Judge) -> tuple[Indices, Indices, Indices]:
    """Fills failed ``rows`` of a batch with stand-ins: source indices, labels and draws, int64 [k], -1 where none.

    A row for which every try failed stays as it is.
    """
    index = np.full(len(rows), -1, dtype=np.int64)
    labels = np.full(len(rows), -1, dtype=np.int64)
    draws = np.full(len(rows), -1, dtype=np.int64)
    left = np.arange(len(rows))
    for attempt in range(1, TRIES + 1):
        if not left.size:
            break
        request, found = make(rows[left], attempt)
        made = judge(found, request.index)[: len(left)]
        for ticket in np.flatnonzero(made).tolist():
            _take(columns, int(rows[left[ticket]]), found, ticket)
        index[left[made]] = request.index[: len(left)][made]
        labels[left[made]] = request.labels[: len(left)][made]
        draws[left[made]] = request.row_draws[: len(left)][made]
        left = left[~made]
    return index, labels, draws


def _take(columns: Columns, row: int, found: Columns, ticket: int) -> None:
    """Everything that is known of one finished image, into a row of the batch."""
    image: Any = found.images[ticket]
    columns.images[row] = image
    for name, view in found.views.items():
        columns.views[name][row] = view[ticket]
        columns.view_geometry[name][row] = found.view_geometry[name][ticket]
    for name in ("outcome", "geometry", "stored", "orientation", "sizes"):
        getattr(columns, name)[row] = getattr(found, name)[ticket]
    columns.changes[row] = found.changes.get(ticket, {})
    for beside, others in ((columns.companions, found.companions), (columns.targets, found.targets)):
        for name, values in others.items():
            beside[name][row] = values[ticket]
