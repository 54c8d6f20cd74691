"""Filling a line's cache before the first pass: the estimate first, then all items, whose pixels nobody takes."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from penstock.byte_counts import spoken
from penstock.cache import RAM, Caching, OpenedCache, shared_memory
from penstock.cache_estimate import Estimate, estimate_of, items_of
from penstock.cache_full import full_sentence
from penstock.cached import cache_of, cut_of
from penstock.cores import default_threads
from penstock.decode import Decode
from penstock.engine import Engine, Ticketed
from penstock.errors import PlanError
from penstock.failures import Failures, failure_of
from penstock.options import whole
from penstock.plan import compile_plan
from penstock.progress import bar_of
from penstock.recipe import Recipe
from penstock.results import decode_text
from penstock.signatures import checked
from penstock.sources.source import counted

if TYPE_CHECKING:
    from rich.progress import Progress

    from penstock.order import Order
    from penstock.sources.source import Locations, Source

__all__ = ["Preloadable", "Preloaded"]

logger = logging.getLogger("penstock")

Indices = npt.NDArray[np.int64]

_WINDOW = 2
_MOST_ROWS = 64
_MOST_JOB_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Preloaded:
    """What a preload has done: ``items == stored + present + left_out + len(failures)``, counted in images.

    ``stored`` are new in the cache, ``present`` were there already; ``left_out`` were made and not kept, because the
    cache is full, or their files were written within the last two seconds. ``failures`` are the images that could not
    be read or decoded, as in ``run.failures``. ``bytes`` is what the cache's files take afterwards.
    """

    items: int
    stored: int
    present: int
    left_out: int
    failures: Failures
    bytes: int

    def __str__(self) -> str:
        return (
            f"{counted(self.items, 'image')}: {self.stored:,} stored, {self.present:,} there already, "
            f"{self.left_out:,} left out, {len(self.failures):,} failed; the cache takes {spoken(self.bytes)}"
        )


class Preloadable:
    """What a line knows of its cache before it is filled, and the method that fills it."""

    source: Source
    recipe: Recipe
    order: Order
    caching: Caching | None

    @checked
    def preload(self, *, threads: int | None = None, progress: bool = False) -> Preloaded:
        """Fills the line's cache with all its items, in parallel; only what comes before ``cache`` is made.

        First it estimates what all of them need, and warns where that will not fit: through logging ("penstock"), or
        beside a bar on standard error with ``progress=True``. An image that cannot be read or decoded is one of the
        ``failures``; before ``decode`` nothing is decoded, and only files that cannot be read fail. ``threads``: by
        default the usable cores. Raises PlanError for a line without a cache, or with one that is read only.
        """
        caching = self.caching
        if caching is None:
            raise PlanError(
                "preload(): expected a line with a cache, found none; call .cache(where, max_bytes=) in it."
            )
        if caching.read_only:
            raise PlanError("preload(): expected a cache that may be written, found read_only=True.")
        if threads is not None:
            threads = whole("preload: threads", threads, 1, 1024)
        if not isinstance(progress, bool):
            raise PlanError(f"preload(progress={progress!r}): expected True or False, found {progress!r}.")
        return _Filling(self, caching, threads or default_threads()).fill(progress)

    def _full_sentence(self, cache: OpenedCache) -> str:
        return full_sentence(self, cache)

    def _estimated_bytes(self, caching: Caching) -> int | None:
        found = _estimate(self, caching)
        return None if found is None else found.bytes


def _estimate(line: Preloadable, caching: Caching) -> Estimate | None:
    """What all items of a line take in its cache; None where nobody can tell."""
    items = items_of(line.order, len(line.source))
    recipe = None if caching.encoded else caching.kept(line.recipe)
    try:
        return estimate_of(line.source, items, recipe, caching.max_bytes)
    except PlanError:  # behind a map that may answer any size
        return None


class _Step(NamedTuple):
    """Images on their way."""

    ticketed: Ticketed
    origins: Indices  # the item of each image
    items: int


class _Filling:
    """One preload."""

    def __init__(self, line: Any, caching: Caching, threads: int) -> None:
        self._source: Source = line.source
        self._caching = caching
        self._threads = threads
        self._items = items_of(line.order, len(line.source))
        self._estimate = _estimate(line, caching)
        # The line ends at its cache. What is kept before decode is not decoded, though every plan begins with one.
        self._recipe = Recipe(line.recipe.decoding or Decode()) if caching.encoded else caching.kept(line.recipe)
        self._cut = cut_of(caching)
        opened = cache_of(replace(line, recipe=self._recipe))
        assert opened is not None
        self._cache: OpenedCache = replace(opened, native=opened.native.filling())
        self._plan = compile_plan(self._recipe, cut=self._cut)
        self._failures = Failures()
        self._images = self._stored = self._present = self._young = self._done = 0

    def fill(self, progress: bool) -> Preloaded:
        with bar_of(asked=True) if progress else contextlib.nullcontext() as bar:
            self._foretell(bar)
            self._run(bar)
            self._tell(bar)
        left_out = self._images - self._stored - self._present - len(self._failures)
        counts = self._cache.files.counts()
        made = Preloaded(self._images, self._stored, self._present, left_out, self._failures, counts["bytes"])
        _say(bar, logging.INFO, f"preload: {made}.")
        return made

    def _foretell(self, bar: Progress | None) -> None:
        """The estimate, before anything is made."""
        found, caching = self._estimate, self._caching
        counts = self._cache.files.counts()
        room = f"the cache may take {spoken(caching.max_bytes)} and has {spoken(counts['bytes'])}"
        free = free_bytes(caching)
        place = "memory" if caching.where is RAM else "the disk"
        beside = f"{room}, {place} has {spoken(free)} free"
        if found is None:
            _say(bar, logging.INFO, f"preload: nobody can tell what the images need before they are made; {beside}.")
            return
        about = "" if found.exact else "about "
        _say(
            bar,
            logging.INFO,
            f"preload: {counted(found.items, 'image')} need {about}{spoken(found.bytes)}{_origin(found)}; {beside}.",
        )
        own = round(found.bytes * min(1.0, counts["entries"] / max(1, found.items)))
        foreign = 0 if caching.evict else max(0, counts["bytes"] - own)
        allowed = min(caching.max_bytes - foreign - own, free)
        if found.bytes - own > allowed:
            _say(
                bar,
                logging.WARNING,
                f"preload: it will not fit: expected room for {spoken(found.bytes - own)} more, found "
                f"{spoken(max(0, allowed))}; images that are not kept are made anew in each pass.",
            )

    def _run(self, bar: Progress | None) -> None:
        engine = Engine(self._threads, _WINDOW, None)
        flight: deque[_Step] = deque()
        task = None if bar is None else bar.add_task("preload", total=len(self._items))
        try:
            chunks = self._chunks()
            more = True
            while more or flight:
                while more and len(flight) < _WINDOW:
                    chunk = next(chunks, None)
                    more = chunk is not None
                    if chunk is not None:
                        flight.append(self._submitted(engine, chunk))
                if not flight:
                    break
                results = engine.wait(flight[0].ticketed)
                step = flight.popleft()
                self._count(step, results)
                if bar is not None and task is not None:
                    bar.update(task, completed=self._done)
        finally:
            engine.abandon([step.ticketed for step in flight])
            engine.close()

    def _chunks(self) -> Iterator[Indices]:
        """The items, as many together as share a job; in the order in which they are listed."""
        spec = self._recipe.spec()
        each = 1 if spec.height is None or spec.width is None else spec.height * spec.width * spec.channels
        rows = max(self._threads, min(_MOST_ROWS, _MOST_JOB_BYTES // each))
        return (self._items[first : first + rows] for first in range(0, len(self._items), rows))

    def _submitted(self, engine: Engine, items: Indices) -> _Step:
        located: Locations
        if self._source.several:
            located, index = self._source.locate_images(items), np.repeat(items, self._source.image_counts(items))
        else:
            located, index = self._source.locate(items), items
        ticketed = engine.prepare(
            self._plan,
            self._recipe,
            located,
            index,
            rows=len(index),
            capacity=len(index),
            seed=0,
            epoch=0,
            cache=self._cache,
            cut=self._cut,
        )
        engine.submit(ticketed, more=True)
        return _Step(ticketed, index, len(items))

    def _count(self, step: _Step, results: dict[str, Any]) -> None:
        self._done += step.items
        self._images += len(step.origins)
        self._stored += results["kept"]
        self._present += results["present"]
        self._young += results["young"]
        for row, (stage, cause, text) in results["problems"]:
            index = int(step.origins[row])
            self._failures.add(failure_of(self._source.key(index), index, stage, cause, decode_text(text)))

    def _tell(self, bar: Progress | None) -> None:
        """Why images were left out, and which failed."""
        if trouble := self._cache.trouble():
            _say(bar, logging.WARNING, trouble)
        if self._young:
            _say(
                bar,
                logging.WARNING,
                f"preload: {counted(self._young, 'image')} left out, whose files were written within the last two "
                f"seconds or changed while they were read; call it again.",
            )
        if len(self._failures):
            _say(bar, logging.WARNING, f"preload: {self._failures}")


def free_bytes(caching: Caching) -> int:
    """What is free where the cache lies: of the disk, or of the memory."""
    if caching.where is RAM:
        return min(shutil.disk_usage(shared_memory()).free, _available_memory())
    folder = os.path.abspath(str(caching.where))
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return shutil.disk_usage(folder).free


def _available_memory() -> int:
    """Bytes that programs may still take, as the system says; without end where it does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            rows = dict(row.split(":", 1) for row in file)
        return int(rows["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return 1 << 62


def _origin(found: Estimate) -> str:
    """How the estimate was made; empty where the line says it by itself."""
    if not found.sampled:
        return ""
    return f" (by a look at {'all' if found.sampled >= found.items else f'{found.sampled:,}'} of them)"


def _say(bar: Progress | None, level: int, text: str) -> None:
    """On standard error above the bar, where one was asked for; else through logging."""
    if bar is None:
        logger.log(level, "%s", text)
    else:
        bar.console.print(text, highlight=False, markup=False, soft_wrap=True)
