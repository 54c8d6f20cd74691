"""What one step of a pass needs: its rows' items, where their bytes are, and what keys their draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from penstock.sources.source import Locations

if TYPE_CHECKING:
    from penstock.sources.source import Source

__all__ = ["Request", "request_of"]


@dataclass(frozen=True, slots=True)
class Request:
    """One step's rows and tickets: ticket ``i`` fills row ``i`` of the batch's memory; the rows behind stay blank.

    ``index`` is int64 [rows], the source index of each row's item, -1 where blank; ``labels`` int64 [rows]. ``located``
    says where each ticket's bytes are; ``draws`` int64 [tickets] keys its random draws.
    """

    index: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    located: Locations
    draws: npt.NDArray[np.int64]

    @property
    def rows(self) -> int:
        """Rows of the batch's memory."""
        return len(self.index)

    @property
    def row_draws(self) -> npt.NDArray[np.int64]:
        """``draws`` by row, int64 [rows]; -1 where blank."""
        by_row = np.full(self.rows, -1, dtype=np.int64)
        by_row[: len(self.draws)] = self.draws
        return by_row


def request_of(
    source: Source, items: npt.NDArray[np.int64], rows: int, draws: npt.NDArray[np.int64] | None = None
) -> Request:
    """The request for the ``items`` (source indices) of one step, in a batch of ``rows`` rows.

    ``draws`` keys the random draws of each: the items themselves where each comes once a pass.
    """
    located = source.locate(items)
    index = np.full(rows, -1, dtype=np.int64)
    index[: len(items)] = items
    labels = np.full(rows, -1, dtype=np.int64)
    labels[: len(items)] = located.labels
    return Request(index, labels, located, items if draws is None else draws)
