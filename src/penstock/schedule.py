"""Which items each step of a pass asks for: positions dealt out to this rank, and what the source has there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from penstock.buckets import Buckets, grid_of
from penstock.maps.batches import mapped_batch
from penstock.stand_ins import Make, drawn_positions
from penstock.step import Request, request_of, requests_of

if TYPE_CHECKING:
    from penstock.options import RunOptions
    from penstock.pipeline import Pipeline
    from penstock.results import Columns
    from penstock.types import Batch, Item

__all__ = ["Schedule"]


class Schedule:
    """The steps of one pass over a line, on one rank, from the epoch's position ``start`` on."""

    def __init__(self, line: Pipeline, options: RunOptions, start: int = 0) -> None:
        self.line = line
        self.options = options
        self.grid = grid_of(
            line,
            epoch=options.epoch,
            rank=options.rank,
            world_size=options.world_size,
            start=start,
            equal=options.equal_batches,
        )
        self.steps = self.grid.steps
        self.most_steps = replace(self.grid, rank=0).steps  # of any rank

    def request_at(self, step: int) -> Request:
        """What a step of this rank needs."""
        places = self.grid.positions(step)
        real = places[places >= 0]
        return self._request(real, len(places))

    def requests_from(self, step: int, count: int) -> list[Request]:
        """What these steps need; of the first alone where not all of them can be had at once."""
        requests = []
        if count > 1:
            places = [self.grid.positions(at) for at in range(step, step + count)]
            together = np.concatenate(places)
            items, draws = self._items(together[together >= 0])
            requests = requests_of(self.line.source, places, items, draws)
        return requests or [self.request_at(step)]

    def _request(self, positions: npt.NDArray[np.int64], rows: int) -> Request:
        items, draws = self._items(positions)
        return request_of(self.line.source, items, rows, draws, self.line.batching)

    def _items(self, positions: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The source index at each position, and what keys its draws."""
        return self.line.order.draws(positions, len(self.line.source), self.options.epoch)

    def stand_ins(self, step: int, make: Callable[[Request], Columns]) -> Make:
        """How items that failed in a step are replaced; ``make`` makes those that are drawn for them."""
        places = self.grid.positions(step)
        seed, items = self.line.order.seed, self.line.order.count(len(self.line.source))

        def stand_in(rows: npt.NDArray[np.int64], attempt: int) -> tuple[Request, Columns]:
            drawn = drawn_positions(seed, self.options.epoch, places[rows], attempt, items)
            request = self._request(drawn, len(rows))
            return request, make(request)

        return stand_in

    def size_at(self, step: int) -> tuple[int, int] | None:
        """The size that all images of a step were chosen by, where a line fills buckets."""
        return self.grid.size(step) if isinstance(self.grid, Buckets) else None

    def item(self, request: Request, row: int) -> Item:
        """What the source knows of the item in a row."""
        return self.line.source[int(request.index[row])]

    def mapped(self, batch: Batch) -> Any:
        """What the line's maps on batches make of a batch of this pass."""
        if not self.line.maps:
            return batch
        position = int(self.grid.positions(batch.step)[0])
        seed = self.line.order.seed
        return mapped_batch(self.line.maps, batch, seed=seed, epoch=self.options.epoch, position=position)
