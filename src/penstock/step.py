"""What one step of a pass needs: its rows' items, where their bytes are, and what keys their draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from penstock.images import DRAW_SHIFT, Slots, slots_of
from penstock.padding import Pad, read_pads
from penstock.sources.source import Locations

if TYPE_CHECKING:
    from penstock.batch import Batching
    from penstock.sources.source import Source

__all__ = ["Request", "request_of", "requests_of"]


@dataclass(slots=True, eq=False)  # not frozen: that takes three times as long to make
class Request:
    """One step's rows and tickets: ticket ``i`` fills row ``i`` of the batch's memory; the rows behind stay blank.

    ``index`` is int64 [n], the source index of each item, -1 where blank; ``labels`` int64 [n]. ``located`` says where
    each ticket's bytes are; ``draws`` int64 [tickets] keys its random draws. A ticket is an item, and a row of memory
    is one; where items have several images it is a picture, and ``slots`` says whose.

    ``known`` are fields that were read already, by name; ``refused`` says, by item, the cause and the message of one
    that fails in stage "batch", whatever becomes of its picture.
    """

    index: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    located: Locations
    draws: npt.NDArray[np.int64]
    slots: Slots | None = None
    known: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    refused: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    pads: tuple[Pad, ...] = ()  # how ``known`` was made

    @property
    def rows(self) -> int:
        """Rows of the batch's memory."""
        return len(self.index) if self.slots is None else self.slots.size

    @property
    def items(self) -> npt.NDArray[np.int64]:
        """The source index of each ticket's item, int64 [tickets]."""
        return self.index[: len(self.draws)] if self.slots is None else self.index[self.slots.row]

    @property
    def row_draws(self) -> npt.NDArray[np.int64]:
        """``draws`` by row, int64 [rows]; -1 where blank."""
        by_row = np.full(self.rows, -1, dtype=np.int64)
        by_row[: len(self.draws)] = self.draws
        return by_row


def request_of(
    source: Source,
    items: npt.NDArray[np.int64],
    rows: int,
    draws: npt.NDArray[np.int64] | None = None,
    batching: Batching | None = None,
) -> Request:
    """The request for the ``items`` (source indices) of one step, in a batch of ``rows`` items.

    ``draws`` keys the random draws of each: the items themselves where each comes once a pass.
    """
    keyed = items if draws is None else draws
    pads = () if batching is None else batching.pads
    index = np.full(rows, -1, dtype=np.int64)
    index[: len(items)] = items
    labels = np.full(rows, -1, dtype=np.int64)
    known: dict[str, npt.NDArray[Any]] = {}
    refused: dict[int, tuple[str, str]] = {}
    if pads:
        known, refused = read_pads(source, items, rows, pads)
    if batching is None or batching.images is None:
        located = source.locate(items)
        labels[: len(items)] = located.labels
        return Request(index, labels, located, keyed, None, known, refused, pads)
    slots = slots_of(source.image_counts(items), batching.images)
    fitting = np.array([row not in slots.refused for row in range(len(items))], dtype=bool)
    located = source.locate_images(items[fitting])
    labels[: len(items)] = source.labels(items)
    pictures = keyed[slots.row] + (slots.number << DRAW_SHIFT)
    return Request(index, labels, located, pictures, slots, known, refused, pads)


def requests_of(
    source: Source, places: Sequence[npt.NDArray[np.int64]], items: npt.NDArray[np.int64], draws: npt.NDArray[np.int64]
) -> list[Request]:
    """The requests for several steps, as ``request_of`` makes one; their items are located at once, and are paths.

    ``places`` are the steps' positions (-1 where a row is blank), ``items`` and ``draws`` those of all the others, one
    step after the other. Nothing comes where an item is no path.
    """
    located = source.locate(items)
    if located.paths is None:
        return []
    requests = []
    end = 0
    for place in places:
        if len(place) and place[-1] >= 0:  # blank rows are behind the others
            begin, end = end, end + len(place)
            index, labels = items[begin:end].copy(), located.labels[begin:end].copy()
        else:
            begin, end = end, end + int(np.count_nonzero(place >= 0))
            index = np.full(len(place), -1, dtype=np.int64)
            labels = index.copy()
            index[: end - begin] = items[begin:end]
            labels[: end - begin] = located.labels[begin:end]
        requests.append(Request(index, labels, located.part(begin, end), draws[begin:end]))
    return requests
