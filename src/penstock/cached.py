"""The methods of a line that keep what was made: ``.cache()`` and what is known of it."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self, cast

from penstock.cache import RAM, CacheInfo, Caching, IdentityName, OpenedCache, cleared, opened
from penstock.errors import PlanError
from penstock.recipe import Stage
from penstock.signatures import checked
from penstock.sources.folder import FolderSource
from penstock.sources.joined import JoinedSource

if TYPE_CHECKING:
    from penstock.recipe import Recipe
    from penstock.sources.source import Source
    from penstock.types import Spec

__all__ = ["BETWEEN", "Cached", "cache_of", "cut_of"]

BETWEEN = {"map": "map runs Python", "cache": "cache keeps what comes"}
"""What stands between two native loops, for ``print(line)``."""


class Cached:
    """A line's cache: ``cache`` returns a longer line."""

    source: Source
    recipe: Recipe
    caching: Caching | None

    if TYPE_CHECKING:

        def _before_batch(self, text: str) -> None: ...

        def expect_no_views(self, text: str, *, beside: bool = False) -> None:
            """Refuses what does not go with several views."""

        @property
        def _input(self) -> Spec:
            """What the source gives."""
            raise NotImplementedError

        def _estimated_bytes(self, caching: Caching) -> int | None: ...

    @checked
    def cache(
        self,
        where: str | os.PathLike[str] | Any,
        *,
        max_bytes: int | str,
        identity: IdentityName = "stat",
        evict: bool = False,
        read_only: bool = False,
        readable_by_others: bool = False,
        network: bool = False,
    ) -> Self:
        """Keeps what the line has made up to here, so that later passes, runs and processes need not make it again.

        Before ``decode`` it keeps encoded bytes, after it the uint8 images of that place. ``where`` is a folder, or
        ``ps.RAM``: shared memory that goes with its last user. ``max_bytes`` bounds all its files, an int or words such
        as "20GB"; what does not fit is made anew each time. ``evict=True`` then drops what other recipes have kept,
        oldest first. ``identity="stat"`` knows a file by its path, size, times and inode; "content" by its bytes, which
        are read every time. A file written within the last two seconds is not kept. ``read_only`` adds nothing.
        ``readable_by_others`` lets other users read it, ``network`` lets it lie on a network file system. No pixel
        changes by it. Raises PlanError for float pixels, after random verbs, warps, maps on items and maps without
        ``version=``, with views, for a second one, and for a folder among the pictures that ``ps.folder`` scans.
        """
        caching = Caching(
            where if where is RAM else os.fspath(where) if isinstance(where, os.PathLike) else where,
            max_bytes,  # type: ignore[arg-type]  # it becomes an int
            identity,
            evict,
            read_only,
            readable_by_others,
            network,
            at=len(self.recipe.verbs),
            encoded=self.recipe.decoding is None and self._input.kind == "encoded",
        )
        text = f"cache({caching.where!r})"
        self._before_batch(text)
        self.expect_no_views(text)
        if isinstance(caching.where, str):
            _expect_beside(text, self.source, caching.where)
        if self.caching is not None:
            raise PlanError(f"{text}: expected one cache, found a second one after cache({self.caching.where!r}).")
        caching.expect_fit(self.recipe, self.recipe.spec(self._input))
        return cast("Self", replace(cast("Any", self), caching=caching))

    def cache_info(self) -> CacheInfo:
        """What is in the line's cache, and the bytes that all its items would need; opens it, and decodes nothing.

        Raises PlanError for a line without one.
        """
        if self.caching is None:
            raise PlanError("cache_info(): expected a line with a cache, found none; call .cache(where) in it.")
        counts = opened(self.caching, self.recipe, 0).files.counts()
        where = "RAM" if self.caching.where is RAM else str(self.caching.where)
        return CacheInfo(
            where,
            counts["entries"],
            counts["bytes"],
            self.caching.max_bytes,
            counts["hits"],
            counts["misses"],
            self._estimated_bytes(self.caching),
        )

    def cache_clear(self) -> int:
        """Removes all that is in the line's cache, of other recipes in its folder too; the bytes that were freed.

        A pass that goes on meanwhile makes the rest of its images anew; files that another process is writing stay.
        Raises PlanError for a line without a cache, and for one that is read only.

        >>> import penstock as ps, numpy as np
        >>> line = ps.arrays([np.zeros((8, 8, 3), np.uint8)]).resize(4, 4).cache(ps.RAM, max_bytes="1MB")
        >>> line.preload().stored, line.cache_info().entries, line.cache_clear() > 0, line.cache_info().entries
        (1, 1, True, 0)
        """
        if self.caching is None:
            raise PlanError("cache_clear(): expected a line with a cache, found none; call .cache(where) in it.")
        return cleared(self.caching, self.recipe)

    def _with_cache(self, rows: list[Stage]) -> list[Stage]:
        """The rows of the recipe, with the cache's at its place."""
        caching = self.caching
        if caching is None:
            return rows
        before = 0 if caching.encoded else caching.at + (self.recipe.decoding is not None)
        spec = rows[before - 1].spec if before else self._input
        return [*rows[:before], Stage("cache", caching.arguments(), spec), *rows[before:]]


def _expect_beside(text: str, source: Source, folder: str) -> None:
    """Refuses a folder that the next scan of the source's folder would walk; hidden ones are passed over."""
    if isinstance(source, JoinedSource):
        for part in source.sources:
            _expect_beside(text, part, folder)
    if not isinstance(source, FolderSource):
        return
    below = os.path.relpath(os.path.realpath(folder), os.path.realpath(source.path)).split(os.sep)
    if below[0] == os.pardir or any(name.startswith(".") for name in below if name != os.curdir):
        return
    hidden = os.path.join(source.path, ".cache")
    raise PlanError(
        f"{text}: expected a folder beside the pictures, found one inside {source.where}, whose next scan would walk "
        f"it; take one outside, or a hidden one such as {hidden!r}."
    )


def cut_of(caching: Caching | None) -> int | None:
    """After how many verbs a line's parts are cut for its cache; None where they are not."""
    return None if caching is None or caching.encoded else caching.at


def cache_of(line: Any) -> OpenedCache | None:
    """The cache of a line, open in this process; None where it has none. PlanError where it cannot be opened."""
    caching: Caching | None = line.caching
    if caching is None:
        return None
    cut = cut_of(caching)
    part = 0 if cut is None else next(n for n, part in enumerate(line.recipe.parts(cut)) if part.kept)
    return opened(caching, line.recipe, part)
