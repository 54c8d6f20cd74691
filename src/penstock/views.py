"""Several views of each image from one decode: what ``.views(large=(recipe, 2), small=(recipe, 8))`` asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from penstock.errors import PlanError
from penstock.options import whole
from penstock.recipe import Recipe, Stage
from penstock.transform.map import Map
from penstock.transform.patchify import Patchify
from penstock.transform.verb import call
from penstock.transform.warp import Warp

if TYPE_CHECKING:
    from penstock.batch import Batching
    from penstock.cache import Caching
    from penstock.companions import Companion
    from penstock.decode import Decode
    from penstock.targets import Targets
    from penstock.types import Spec

__all__ = ["VIEW_SHIFT", "View", "Viewed", "Views", "copy_draws"]

VIEW_SHIFT = 48
"""Copy ``n`` of item ``i`` draws as index ``i + (n << VIEW_SHIFT)``, modulo 2**64; ``n`` counts the copies of all views
in order, so that the first copy of the first view draws what a line without views would."""

MOST_COPIES = 256  # of all views together
_UNFIT = (Map, Warp, Patchify)


@dataclass(frozen=True, slots=True)
class View:
    """One view of a line: its name in ``batch.views``, the whole recipe (the line's decode, then its own verbs), and
    how many copies of it there are; None: one, without an axis of its own. ``first`` numbers its first copy among all.
    """

    name: str
    recipe: Recipe
    copies: int | None
    first: int = 0

    @property
    def count(self) -> int:
        """Images of it that are made of each item."""
        return 1 if self.copies is None else self.copies

    def stages(self, source: Spec) -> list[Stage]:
        """A row for the view, with what flows out of it for one item, and one for each of its verbs."""
        verbs = self.recipe.stages(source)[0 if self.recipe.decoding is None else 1 :]
        copies = "" if self.copies is None else f" {self.copies} cop{'y' if self.copies == 1 else 'ies'}"
        view = Stage("view", f"{self.name}{copies}", self.recipe.spec(source).with_(copies=self.copies))
        return [view, *(stage._replace(word=f"  {stage.word}") for stage in verbs)]


@dataclass(frozen=True, slots=True)
class Views:
    """The views of a line, in order."""

    views: tuple[View, ...]

    @classmethod
    def of(cls, given: Mapping[str, Any], decode: Decode | None) -> Self:
        """From the arguments of ``.views()``, for what ``decode`` makes (None: the images are arrays); PlanError."""
        if not given:
            raise PlanError("views(): expected a name and a recipe, as in large=(recipe, 2), found none.")
        if decode is not None and decode.fidelity == "fast":
            raise PlanError(
                "views(): expected an exact decode, which all views share, found decode(fidelity='fast'), which "
                "decodes for one size; leave fidelity= out."
            )
        made: list[View] = []
        for name, value in given.items():
            made.append(replace(_view(name, value, decode), first=sum(view.count for view in made)))
        if sum(view.count for view in made) > MOST_COPIES:
            total = sum(view.count for view in made)
            raise PlanError(f"views(): expected at most {MOST_COPIES} copies in all, found {total}.")
        return cls(tuple(made))

    @property
    def random(self) -> bool:
        """True where a view draws."""
        return any(view.recipe.random for view in self.views)

    def each(self) -> Iterator[tuple[View, int]]:
        """Every copy of every view, in order: its view and its number among all."""
        for view in self.views:
            for copy in range(view.count):
                yield view, view.first + copy

    def stages(self, source: Spec) -> list[Stage]:
        """The rows of each view, as ``print(line)`` shows them."""
        return [stage for view in self.views for stage in view.stages(source)]

    def fingerprint(self) -> str:
        """What identifies them, as text."""
        return " ".join(f"{view.name} {view.copies} {view.recipe.fingerprint}" for view in self.views)


def copy_draws(draws: npt.NDArray[np.int64], number: int) -> npt.NDArray[Any]:
    """What keys the draws of copy ``number``, uint64 [n], from what keys the items' (int64 [n]).

    >>> copy_draws(np.array([5]), 2).tolist() == [5 + (2 << VIEW_SHIFT)]
    True
    """
    keys: npt.NDArray[Any] = draws.astype(np.uint64) + np.uint64(number << VIEW_SHIFT)
    return keys


def _view(name: str, value: Any, decode: Decode | None) -> View:
    text = f"views({name}=)"
    if not name.isidentifier():
        raise PlanError(f"{text}: expected a name such as large, found {name!r}.")
    own, copies = value if isinstance(value, tuple) and len(value) == 2 else (value, None)
    if not isinstance(own, Recipe):
        raise PlanError(f"{text}: expected a recipe, or (recipe, copies), found {value!r}.")
    if isinstance(value, tuple):
        copies = whole(f"views: copies of {name}", copies, 1, MOST_COPIES)
    if own.decoding is not None:
        raise PlanError(f"{text}: expected verbs alone, since all views share the line's decode, found decode in it.")
    recipe = Recipe(decode)
    for verb in own.verbs:
        if isinstance(verb, _UNFIT):
            raise PlanError(f"{text}: expected verbs that run natively and make a picture, found {call(verb)}.")
        recipe = recipe._then(verb)
    spec = recipe.spec()
    if spec.ragged:
        raise PlanError(
            f"{text}: expected verbs that give every image one size, found {spec}; end on one that does, such as "
            f"random_resized_crop or resize(height, width)."
        )
    return View(name, recipe, copies)


class Viewed:
    """The method of a line that makes several views; apart so that one file has one job."""

    if TYPE_CHECKING:
        recipe: Recipe
        batching: Batching | None
        companions: tuple[Companion, ...]
        targeting: Targets | None
        viewing: Views | None
        caching: Caching | None

        @property
        def _input(self) -> Spec:
            """What the source gives."""
            raise NotImplementedError

        def _before_batch(self, text: str) -> None:
            """Refuses what comes after batch."""

    def views(self, **recipes: Recipe | tuple[Recipe, int]) -> Self:
        """Several views of each image from one decode, in ``batch.views`` by name.

        ``views(large=(recipe, 2), small=(recipe, 8))``: ``batch.views["small"]`` is [N, 8, H, W, C], or
        [N, 8, C, H, W]; of a bare recipe [N, H, W, C]. ``batch.images`` is the first view's array, ``batch.geometry``
        its first copy's; ``batch.view_geometry`` has those of all. The recipes begin behind ``decode``, end on images
        of one size, and hold no map, warp or patchify. Copy ``n`` of item ``i`` draws as index ``i + (n << 48)``,
        counted over all views, so ``recipe(data, seed=, epoch=, index=)`` makes it again. An item that fails, fails in
        every view. Raises PlanError by name for what cannot be, and after other verbs.
        """
        self._before_batch("views()")
        if self.viewing is not None:
            raise PlanError("views(): expected one views, found a second one; name all views in one.")
        if self.recipe.verbs:
            raise PlanError(
                f"views(): expected decode alone before it, found {call(self.recipe.verbs[-1])}; begin each view's "
                f"recipe with it."
            )
        if self._input.kind == "encoded" and self.recipe.decoding is None:
            raise PlanError("views(): expected images, found encoded bytes; call .decode() before it.")
        if self.caching is not None:
            raise PlanError(f"views(): expected a line without a cache, found cache({self.caching.where!r}) before it.")
        self.expect_no_views("views()", beside=True)
        viewing = Views.of(recipes, self.recipe.decoding)
        return replace(self, recipe=viewing.views[0].recipe, viewing=viewing)  # type: ignore[type-var]  # a dataclass

    def expect_no_views(self, text: str, *, beside: bool = False) -> None:
        """Refuses companions and targets beside views, which have no one place in several pictures; PlanError."""
        if beside and (self.companions or self.targeting is not None):
            found = "companion" if self.companions else "targets"
            raise PlanError(f"{text}: expected a line without companions and targets, found {found} before it.")
        if not beside and self.viewing is not None:
            raise PlanError(f"{text}: expected a line without views, found views before it.")
