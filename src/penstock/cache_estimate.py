"""What a line's cache will take, before it is filled: from the line alone, from headers, or from files' sizes."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from penstock.buckets import planned_size, sizes_into
from penstock.cores import default_threads
from penstock.order import Order, hash_position
from penstock.sources.source import Locations

if TYPE_CHECKING:
    from penstock.recipe import Recipe
    from penstock.sources.source import Source

__all__ = ["SAMPLE", "Estimate", "estimate_of", "items_of", "record_bytes"]

Column = npt.NDArray[np.int64]

SAMPLE = 4096
"""Items whose headers, or whose files' sizes, are looked at; all of them where there are no more."""

# What native/cache_format.h adds to the bytes that are kept.
_RECORD_HEADER, _INDEX_RECORD, _SEGMENT_HEADERS, _ALIGNMENT = 192, 64, 128, 64
_SEGMENT = 64 << 20
_LEAST_SEGMENTS = 16  # a segment takes at most this part of max_bytes
_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Estimate:
    """What keeping every image takes: ``bytes`` in the cache's folder for ``items`` images.

    ``sampled`` of them were looked at, 0 where the line says it by itself. ``error`` is the standard error of
    ``bytes``, 0 where it is exact: where all images have one size, or all were looked at. Images that fail are kept
    nowhere, so that where there are such, ``bytes`` is more than what will be there.
    """

    items: int
    bytes: int
    sampled: int
    error: int = 0

    @property
    def exact(self) -> bool:
        """Whether only failures can make a difference."""
        return self.error == 0


def record_bytes(payload: npt.ArrayLike) -> Column:
    """What entries with these many bytes each take in a segment and its index, int64; without texts.

    >>> record_bytes(224 * 224 * 3).item()
    150784
    """
    held = np.asarray(payload, dtype=np.int64) + _RECORD_HEADER
    return -(-held // _ALIGNMENT) * _ALIGNMENT + _INDEX_RECORD


def items_of(order: Order, n: int) -> Column:
    """The source indices that passes over ``n`` items in this ``order`` come by, whatever the epoch: int64, ascending.

    From the first step on that draws anew each epoch, all items that it draws from count.

    >>> items_of(Order(), 4)
    array([0, 1, 2, 3])
    """
    random = next((number for number, step in enumerate(order.steps) if step.random), len(order.steps))
    fixed = order.steps[:random]
    if all(step.permutation for step in fixed):
        return np.arange(n, dtype=np.int64)
    lasting = Order(order.seed, fixed)
    return np.unique(lasting.indices(np.arange(lasting.count(n), dtype=np.int64), n, 0))


def estimate_of(source: Source, items: Column, recipe: Recipe | None, max_bytes: int) -> Estimate:
    """What the cache of a line over the ``items`` (source indices) takes; ``recipe`` None: the files' own bytes.

    Opens no file where the recipe makes one size of every image. Raises PlanError where nobody can tell: behind a map
    that may answer any size.
    """
    images = int(source.image_counts(items).sum()) if source.several else len(items)
    if recipe is not None:
        spec = recipe.spec()
        if not spec.ragged:
            assert spec.height is not None and spec.width is not None
            each = record_bytes(spec.height * spec.width * spec.channels)
            return Estimate(images, _with_segments(int(each) * images, int(each), max_bytes), 0)
        payloads = _image_payloads(recipe, spec.channels)
    else:
        payloads = _file_payloads
    chosen = sample_of(items)
    found = record_bytes_of(source, chosen, payloads)
    mean = float(found.mean()) if len(found) else 0.0
    total = int(found.sum()) if len(chosen) == len(items) else round(mean * images)
    error = 0
    if len(chosen) < len(items):
        spread = float(found.std(ddof=1)) if len(found) > 1 else mean
        error = math.ceil(images * spread / math.sqrt(max(1, len(found))) * math.sqrt(1 - len(chosen) / len(items)))
    largest = int(found.max()) if len(found) else 0
    return Estimate(images, _with_segments(total, largest, max_bytes), len(chosen), error)


def sample_of(items: Column, most: int = SAMPLE) -> Column:
    """At most ``most`` of the items: one from each of as many stretches of equal length, the same ones every time.

    >>> sample_of(np.arange(10), 5)
    array([0, 3, 5, 7, 9])
    """
    if len(items) <= most:
        return items
    edges = np.arange(most + 1, dtype=np.int64) * len(items) // most
    drawn = hash_position(0, 0, np.arange(most, dtype=np.int64)) % (edges[1:] - edges[:-1])
    return items[edges[:-1] + drawn]


Payloads = Callable[[Locations], Column]


def record_bytes_of(source: Source, items: Column, payloads: Payloads) -> Column:
    """What each image of the items takes in the cache: int64, 0 for one of which nothing can be told."""
    parts = []
    for first in range(0, len(items), _CHUNK):
        rows = items[first : first + _CHUNK]
        payload = payloads(source.locate_images(rows) if source.several else source.locate(rows))
        parts.append(np.where(payload > 0, record_bytes(payload), 0))
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


def _image_payloads(recipe: Recipe, channels: int) -> Payloads:
    """A function that tells the bytes of the image that the recipe makes of each item, 0 where it cannot be told."""
    known: dict[tuple[int, int], int] = {}

    def pixels(height: int, width: int) -> int:
        if (height, width) not in known:
            made = planned_size(recipe, height, width)
            known[height, width] = made[0] * made[1] * channels
        return known[height, width]

    def payloads(located: Locations) -> Column:
        sizes = np.zeros((len(located), 2), dtype=np.int64)
        sizes_into(sizes, located, default_threads())
        return np.array([pixels(height, width) for height, width in sizes.tolist()], dtype=np.int64)

    return payloads


def _file_payloads(located: Locations) -> Column:
    """The bytes of each item's file, or of its part of one, 0 where there is none."""
    sizes = np.zeros(len(located), dtype=np.int64)
    if located.ranges is not None:
        sizes[:] = located.ranges.sizes
    elif located.paths is not None:
        sizes[:] = [_file_bytes(located.paths.path(row)) for row in range(len(located))]
    elif located.blobs is not None:
        sizes[:] = 0  # they are in memory, and not kept a second time
    for rows, part in located.parts or ():
        sizes[rows] = _file_payloads(part)
    for row in located.problems:
        sizes[row] = 0
    return sizes


def _file_bytes(path: bytes) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _with_segments(total: int, largest: int, max_bytes: int) -> int:
    """With the headers of the segments that hold it: at least as many as it fills, one more where one is begun."""
    capacity = max(min(_SEGMENT, max_bytes // _LEAST_SEGMENTS), largest + _SEGMENT_HEADERS)
    inner = max(1, capacity - _SEGMENT_HEADERS)
    return total + _SEGMENT_HEADERS * -(-total // inner) if total else 0
