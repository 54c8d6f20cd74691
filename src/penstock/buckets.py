"""Batches of images of one size: who comes with whom is decided by the headers, before a pixel is decoded."""

from __future__ import annotations

import os
import weakref
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from penstock import _native
from penstock.cores import default_threads
from penstock.errors import ItemError, PlanError
from penstock.headers import header, named_header
from penstock.order import Grid
from penstock.read import ReadError, read_located
from penstock.sources.source import Locations

if TYPE_CHECKING:
    from penstock.pipeline import Pipeline
    from penstock.recipe import Recipe
    from penstock.sources.source import Source
    from penstock.types import LastName

__all__ = ["Arrangement", "Buckets", "arrange", "final_sizes", "grid_of"]

Column = npt.NDArray[np.int64]

CHUNK = 4096  # headers between two looks at signals


@dataclass(frozen=True, slots=True)
class Arrangement:
    """The batches of one epoch, in the order in which they are handed out, over all ranks.

    Batch ``j`` has the positions ``places[starts[j] : starts[j] + counts[j]]`` of the epoch's order, all of images of
    ``sizes[j]`` (height, width); (0, 0) for items whose size nobody can tell.
    """

    places: Column
    starts: Column
    counts: Column
    sizes: Column

    def __len__(self) -> int:
        return len(self.starts)


def arrange(sizes: Column, batch_size: int, last: LastName = "short") -> Arrangement:
    """Batches of ``batch_size`` images of one size, from the size int64 [n, 2] at each position of the epoch's order.

    Inside a size the order stays. A batch comes when it is full, that is where its last image comes; then those that
    never fill, by height and width, unless ``last="drop"`` leaves them out.

    >>> made = arrange(np.array([[8, 8], [4, 6], [8, 8], [4, 6], [8, 8]]), batch_size=2)
    >>> [made.places[a : a + n].tolist() for a, n in zip(made.starts, made.counts)]
    [[0, 2], [1, 3], [4]]
    """
    kinds, kind = _kinds(sizes)
    places = np.argsort(kind, kind="stable").astype(np.int64)
    members = np.bincount(kind, minlength=len(kinds)).astype(np.int64)
    firsts = np.cumsum(members) - members
    batches = -(-members // batch_size)
    of = np.repeat(np.arange(len(kinds)), batches)  # the kind of each batch, kind after kind
    number = np.arange(len(of)) - np.repeat(np.cumsum(batches) - batches, batches)
    starts = firsts[of] + number * batch_size
    counts = np.minimum(batch_size, firsts[of] + members[of] - starts)
    full = counts == batch_size
    # Kinds are sorted, so what is left over needs no key beyond its own place in the list.
    comes = np.where(full, places[starts + counts - 1], len(places) + np.arange(len(of)))
    chosen = np.argsort(comes, kind="stable")
    if last == "drop":
        chosen = chosen[full[chosen]]
    return Arrangement(places, starts[chosen], counts[chosen], kinds[of[chosen]].reshape(-1, 2))


def _kinds(sizes: Column) -> tuple[Column, Column]:
    """The sizes that occur, by height and width, and which of them each one is."""
    # As one number: comparing pairs takes four seconds for a million of them.
    pairs = np.asarray(sizes, dtype=np.int64).reshape(-1, 2)
    keys, kind = np.unique(pairs[:, 0] << 32 | pairs[:, 1], return_inverse=True)
    return np.stack([keys >> 32, keys & 0xFFFFFFFF], axis=-1), kind.reshape(-1)


@dataclass(frozen=True)
class Buckets:
    """An arrangement dealt out to steps and ranks: rank ``r`` has batch ``first + step * world_size + r``.

    ``start`` counts the items that earlier steps have used, over all ranks; it must be where a batch ends. ``last``:
    ``"short"`` hands out what is left over as short batches (a rank may have a step less); ``"drop"`` leaves them out,
    and a step that has no batch for every rank; ``"blank"`` fills them with -1, and gives every rank as many steps.
    ``equal`` gives every rank as many steps, and each of a step's batches as many rows as the longest of them.
    """

    arrangement: Arrangement
    batch_size: int
    world_size: int = 1
    rank: int = 0
    start: int = 0
    last: LastName = "short"
    equal: bool = False

    def __post_init__(self) -> None:
        if not np.any(self._used == self.start):
            raise PlanError(
                f"batch({self.batch_size}, ragged='bucket'): expected to begin where a batch ends, found {self.start} "
                f"items used already; go on with the batch size that the state was taken with."
            )

    @cached_property
    def _used(self) -> Column:
        return np.concatenate([[0], np.cumsum(self.arrangement.counts)]).astype(np.int64)

    @cached_property
    def _first(self) -> int:
        return int(np.flatnonzero(self._used == self.start)[0])

    @property
    def steps(self) -> int:
        """How many batches this rank has."""
        left = len(self.arrangement) - self._first
        if self.last == "drop":
            return left // self.world_size
        if self.last == "blank" or self.equal:
            return -(-left // self.world_size)
        return max(0, -(-(left - self.rank) // self.world_size))

    def __len__(self) -> int:
        return self.steps

    @property
    def mine(self) -> int:
        """Items that this rank reaches in all its steps."""
        mine = np.arange(self.steps, dtype=np.int64) * self.world_size + self._first + self.rank
        return int(self.arrangement.counts[mine[mine < len(self.arrangement)]].sum())

    def positions(self, step: int) -> Column:
        """Positions of this rank in ``step``, int64 [k], -1 where blank; IndexError outside 0 to ``steps - 1``."""
        batch = self._batch(step)
        found = np.zeros(0, dtype=np.int64)
        if batch < len(self.arrangement):
            begin = self.arrangement.starts[batch]
            found = self.arrangement.places[begin : begin + self.arrangement.counts[batch]]
        rows = len(found)
        if self.last == "blank":
            rows = self.batch_size
        elif self.equal:
            first = batch - self.rank
            rows = int(self.arrangement.counts[first : first + self.world_size].max())
        return np.concatenate([found, np.full(rows - len(found), -1, dtype=np.int64)])

    def progress(self, step: int) -> Column:
        """How far into the epoch each item of ``step`` comes, over all ranks, as ``reached`` counts; int64 [k]."""
        batch = self._batch(step)
        count = self.arrangement.counts[batch] if batch < len(self.arrangement) else 0
        return np.arange(count, dtype=np.int64) + int(self._used[min(batch, len(self.arrangement))])

    def size(self, step: int) -> tuple[int, int]:
        """(height, width) of the images of ``step``; a step with nothing but blanks has the size of the last batch."""
        height, width = self.arrangement.sizes[min(self._batch(step), len(self.arrangement) - 1)].tolist()
        return height, width

    def reached(self, steps: int) -> int:
        """Items used, over all ranks, once ``steps`` steps are done: the ``start`` to resume from."""
        return int(self._used[min(self._first + steps * self.world_size, len(self.arrangement))])

    def _batch(self, step: int) -> int:
        if not 0 <= step < self.steps:
            raise IndexError(f"batch: expected a step from 0 to {self.steps - 1}, found {step}.")
        return self._first + step * self.world_size + self.rank


def grid_of(
    line: Pipeline, *, epoch: int = 0, rank: int = 0, world_size: int = 1, start: int = 0, equal: bool = False
) -> Grid | Buckets:
    """Which positions come in which step of this rank; reads the headers where a line fills buckets."""
    batching, items = line.batching, line.items
    if batching is None:
        return Grid(items, 1, world_size, rank, start, equal=equal)
    size, last = batching.size, batching.last
    if batching.ragged != "bucket" or not line.recipe.spec().ragged:
        return Grid(items, size, world_size, rank, start, last, equal)
    order = line.order.indices(np.arange(items, dtype=np.int64), len(line.source), epoch)
    made = arrange(final_sizes(line.source, line.recipe)[order], size, last)
    return Buckets(made, size, world_size, rank, start, last, equal)


_known: weakref.WeakKeyDictionary[Source, dict[Recipe, Column]] = weakref.WeakKeyDictionary()


def final_sizes(source: Source, recipe: Recipe) -> Column:
    """(height, width) that each item will have, int64 [n, 2]; (0, 0) where its header or its size fails.

    Kept for as long as the source lives: one pass over the headers, whatever the epoch. Raises PlanError where draws
    decide sizes.
    """
    known = _known.setdefault(source, {})
    if recipe not in known:
        upright = _upright_sizes(source)
        kinds, kind = _kinds(upright)
        planned = [planned_size(recipe, height, width) for height, width in kinds.tolist()]
        known[recipe] = np.array(planned, dtype=np.int64).reshape(-1, 2)[kind]
    return known[recipe]


def planned_size(recipe: Recipe, height: int, width: int) -> tuple[int, int]:
    if height < 1 or width < 1:
        return 0, 0
    try:
        plan = recipe.plan(height, width)
    except ItemError:
        return 0, 0
    return plan.height, plan.width


def _upright_sizes(source: Source) -> Column:
    """(height, width) of each upright image, by its header alone; (0, 0) where it tells none."""
    sizes = np.zeros((len(source), 2), dtype=np.int64)
    threads = default_threads()
    for first in range(0, len(source), CHUNK):
        located = source.locate(np.arange(first, min(first + CHUNK, len(source)), dtype=np.int64))
        part = sizes[first : first + CHUNK]
        sizes_into(part, located, threads)
    return sizes


def sizes_into(part: Column, located: Locations, threads: int) -> None:
    """(height, width) of each upright image of what was ``located``, into int64 [k, 2]."""
    if located.arrays is not None:
        part[:] = [array.shape[:2] for array in located.arrays]
    elif located.blobs is not None:
        part[:] = [_size_of(blob) for blob in located.blobs]
    elif located.ranges is not None:
        part[:] = [_size_of(_read(located, i)) for i in range(len(part))]
    elif located.paths is not None:
        paths = [located.paths.path(i) for i in range(len(part))]
        part[:] = _native.inspect_paths(paths, threads)
        for i in np.flatnonzero(part[:, 0] == 0).tolist():
            part[i] = _size_of(paths[i], path=True)
    for rows, within in located.parts or ():
        inner = np.zeros((len(rows), 2), dtype=np.int64)
        sizes_into(inner, within, threads)
        part[rows] = inner
    for row in located.problems:
        part[row] = 0


def _read(located: Locations, row: int) -> bytes:
    try:
        found = read_located(located, row)
    except ReadError:
        return b""
    return found if isinstance(found, bytes) else b""


def _size_of(data: Any, *, path: bool = False) -> tuple[int, int]:
    try:
        found = header(os.fsdecode(data)) if path else named_header("image", data)
    except ItemError:
        return 0, 0
    return found.height, found.width
