"""The companions of one step: loaded while its images are made, moved once it is known where those went."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from penstock.companions import CompanionError, Loaded, companion_of, load
from penstock.decode import Decode
from penstock.delivery import DAMAGED, Columns, fail

if TYPE_CHECKING:
    from concurrent.futures import Future

    from penstock.engine import Engine
    from penstock.pipeline import Pipeline
    from penstock.step import Request

__all__ = ["Escort"]


class Escort:
    """The companions of one step of a line; with an engine in its Python threads, else when they are asked for."""

    def __init__(self, line: Pipeline, request: Request, epoch: int, engine: Engine | None) -> None:
        self._line = line
        self._request = request
        self._epoch = epoch
        self._engine = engine
        self._loading: list[Future[list[Loaded | CompanionError]]] = []
        if engine is not None and line.companions:
            self._loading = [engine.beside(self._load, row) for row in range(len(request.draws))]

    def cancel(self) -> None:
        """Nobody wants them any more."""
        for future in self._loading:
            future.cancel()

    def join(self, columns: Columns) -> None:
        """Adds the companions to the columns of their step; an item without one of its own fails."""
        if not self._line.companions:
            return
        rows = [row for row in range(len(self._request.draws)) if columns.outcome[row] <= DAMAGED]
        if self._engine is None:
            answers = {row: self._moved(row, columns) for row in rows}
        else:
            moving = [self._engine.beside(self._moved, row, columns) for row in rows]
            answers = dict(zip(rows, self._engine.answers(moving), strict=True))
        held: dict[str, list[npt.NDArray[Any] | None]] = {
            companion.name: [None] * len(columns.outcome) for companion in self._line.companions
        }
        for row, answer in answers.items():
            if isinstance(answer, CompanionError):
                fail(columns, row, answer.stage, answer.cause, answer.message)
                continue
            for companion, values in zip(self._line.companions, answer, strict=True):
                held[companion.name][row] = values
        columns.companions = held

    def _load(self, row: int) -> list[Loaded | CompanionError]:
        line, request = self._line, self._request
        found: list[Loaded | CompanionError] = []
        for companion in line.companions:
            try:
                index = int(request.index[row])
                decode = line.recipe.decoding or Decode()
                found.append(load(companion, line.source, request.located, row, index, decode))
            except CompanionError as error:
                found.append(error)
        return found

    def _moved(self, row: int, columns: Columns) -> list[npt.NDArray[Any]] | CompanionError:
        loaded = self._loading[row].result() if self._loading else self._load(row)
        height, width = columns.stored[row].tolist()
        moved = []
        for companion, one in zip(self._line.companions, loaded, strict=True):
            if isinstance(one, CompanionError):
                return one
            try:
                moved.append(
                    companion_of(
                        companion,
                        one,
                        self._line.recipe,
                        stored=(height, width),
                        orientation=int(columns.orientation[row]),
                        seed=self._line.order.seed,
                        epoch=self._epoch,
                        index=int(self._request.draws[row]),
                    )
                )
            except CompanionError as error:
                return error
        return moved
