"""The views of a batch made one copy after the other, as the reference and a replay do; the pool makes them at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from penstock.ragged import aligned_empty
from penstock.results import CLEAN, DAMAGED, FAILED, Columns
from penstock.views import copy_draws

if TYPE_CHECKING:
    from penstock.recipe import Recipe
    from penstock.types import StageName
    from penstock.views import Views

__all__ = ["columns_of"]

MakeColumns = Callable[["Recipe", npt.NDArray[Any]], Columns]
"""A recipe and what keys each item's draws to the columns of one step."""


def columns_of(recipe: Recipe, views: Views | None, draws: npt.NDArray[np.int64], make: MakeColumns) -> Columns:
    """What ``make`` makes of the ``recipe``; where there are views of every copy of theirs, with the draws of its own.

    An item of which a copy fails has failed: its rows are zeros in every view.
    """
    if views is None:
        return make(recipe, draws)
    return _joined(views, [make(view.recipe, copy_draws(draws, number)) for view, number in views.each()])


def _joined(views: Views, made: list[Columns]) -> Columns:
    columns = made[0]
    problems: dict[int, tuple[int, StageName, str, str]] = {}
    for one in made:
        for problem in one.problems:
            problems.setdefault(problem[0], problem)
    for row in problems:
        columns.outcome[row] = FAILED
    columns.problems = list(problems.values())
    columns.damages = [damage for damage in columns.damages if damage[0] not in problems]
    blank = ~np.isin(columns.outcome, (CLEAN, DAMAGED))
    for view in views.views:
        copies = made[view.first : view.first + view.count]
        images = copies[0].images
        if view.copies is not None:
            images = aligned_empty((len(blank), view.count, *images.shape[1:]), images.dtype)
            for number, one in enumerate(copies):
                images[:, number] = one.images
        images[blank] = 0
        matrices = np.stack([one.geometry for one in copies], axis=1)
        matrices[blank] = 0
        columns.views[view.name] = images
        columns.view_geometry[view.name] = matrices
    columns.images = columns.views[views.views[0].name]
    return columns
