"""The companions of one step: loaded while its images are made, moved once it is known where those went."""

from __future__ import annotations

from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from penstock.companions import Companion, CompanionError, Loaded, companion_of, load
from penstock.decode import Decode
from penstock.results import DAMAGED, Columns

if TYPE_CHECKING:
    from concurrent.futures import Future

    from penstock.engine import Engine
    from penstock.pipeline import Pipeline
    from penstock.step import Request

__all__ = ["Escort"]


class Escort:
    """The companions of one step of a line; with an engine in its Python threads, else when they are asked for."""

    def __init__(
        self, line: Pipeline, request: Request, epoch: int, engine: Engine | None, timeout_s: float | None = None
    ) -> None:
        self._line = line
        self._request = request
        self._epoch = epoch
        self._engine = engine
        self._loading: list[list[Future[Loaded | CompanionError]]] = []  # by row, one a companion
        if engine is not None and line.companions:
            late = {companion: _late(companion, timeout_s) for companion in line.companions}
            self._loading = [
                [engine.beside(partial(self._load, row, one), timeout_s, late[one]) for one in line.companions]
                for row in range(len(request.draws))
            ]

    def cancel(self) -> None:
        """Nobody wants them any more."""
        for future in chain.from_iterable(self._loading):
            future.cancel()

    def join(self, columns: Columns) -> None:
        """Adds the companions to the columns of their step; an item without one of its own fails."""
        if not self._line.companions:
            return
        rows = [row for row in range(len(self._request.draws)) if columns.outcome[row] <= DAMAGED]
        if self._engine is None:
            answers = {row: self._moved(row, columns, self._loaded(row)) for row in rows}
        else:
            # Not in the threads that move: those may have to wait for one another.
            loaded = iter(self._engine.answers([future for row in rows for future in self._loading[row]]))
            of_row = [[next(loaded) for _ in self._line.companions] for _ in rows]
            moving = [
                self._engine.beside(partial(self._moved, row, columns, found))
                for row, found in zip(rows, of_row, strict=True)
            ]
            answers = dict(zip(rows, self._engine.answers(moving), strict=True))
        held: dict[str, list[npt.NDArray[Any] | None]] = {
            companion.name: [None] * len(columns.outcome) for companion in self._line.companions
        }
        for row, answer in answers.items():
            if isinstance(answer, CompanionError):
                columns.fail(row, answer.stage, answer.cause, answer.message)
                continue
            for companion, values in zip(self._line.companions, answer, strict=True):
                held[companion.name][row] = values
        columns.companions = held

    def _loaded(self, row: int) -> list[Loaded | CompanionError]:
        return [self._load(row, companion) for companion in self._line.companions]

    def _load(self, row: int, companion: Companion) -> Loaded | CompanionError:
        line, request = self._line, self._request
        decode = line.recipe.decoding or Decode()
        try:
            return load(companion, line.source, request.located, row, int(request.index[row]), decode)
        except CompanionError as error:
            return error

    def _moved(
        self, row: int, columns: Columns, loaded: list[Loaded | CompanionError]
    ) -> list[npt.NDArray[Any]] | CompanionError:
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


def _late(companion: Companion, timeout_s: float | None) -> CompanionError | None:
    """What stands for a companion whose loading takes too long."""
    if timeout_s is None:
        return None
    return CompanionError(
        "read",
        "timeout",
        f"companion {companion.name}: expected its values within {timeout_s:g} s (timeout_s), found them still being "
        f"read",
    )
