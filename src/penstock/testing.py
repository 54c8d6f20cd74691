"""Conformance checks for other people's sources."""

from __future__ import annotations

import pickle

import numpy as np

from penstock.sources.source import Locations, Source
from penstock.types import Item

__all__ = ["check_source"]


def check_source(source: Source) -> None:
    """Hold a source to the contract of ``penstock.sources.Source``; AssertionError, in a sentence, where it breaks it.

    Checked: its size; ``source[i]`` against ``locate`` in any order, repeated and empty; keys that ``find`` finds;
    labels within the classes; IndexError outside; a digest that is stable and survives pickling; one described line.
    Every item is looked at: use a small source.

    >>> from penstock.sources import blobs_source
    >>> check_source(blobs_source([b"one", b"two"]))
    """
    count = len(source)
    _require(count >= 0, f"expected a size of at least 0, found {count}")
    items = [source[index] for index in range(count)]
    _check_items(source, items)
    _check_locations(source, items)
    _check_outside(source, count)
    _check_identity(source)
    description = source.describe()
    _require(bool(description) and "\n" not in description, f"expected one line from describe(), found {description!r}")


def _check_items(source: Source, items: list[Item]) -> None:
    first: dict[str, int] = {}
    for index, item in enumerate(items):
        _require(item.index == index, f"expected source[{index}].index to be {index}, found {item.index}")
        _require(isinstance(item.key, str), f"expected the key of item {index} to be text, found {item.key!r}")
        _require(item == source[index], f"expected source[{index}] to be the same twice")
        if item.label is not None and source.classes is not None:
            _require(
                -1 <= item.label < len(source.classes),
                f"expected the label of {item.key!r} below {len(source.classes)}, found {item.label}",
            )
        first.setdefault(item.key, index)
    for key, index in first.items():
        found = source.find(key)
        _require(found == index, f"expected find({key!r}) to be its first index {index}, found {found}")


def _check_locations(source: Source, items: list[Item]) -> None:
    count = len(items)
    everything = np.arange(count, dtype=np.int64)
    for rows in (everything, everything[::-1], np.repeat(everything, 2), everything[:0]):
        found = source.locate(rows)
        _check_columns(found)
        _require(
            found.labels.dtype == np.int64 and found.labels.shape == rows.shape,
            f"expected labels int64 [{len(rows)}], found {found.labels.dtype} {list(found.labels.shape)}",
        )
        for position, row in enumerate(rows.tolist()):
            label = items[row].label
            _require(
                int(found.labels[position]) == (-1 if label is None else label),
                f"expected locate and source[{row}] to agree on the label, found {found.labels[position]} and {label}",
            )
            _check_location(found, position, items[row].key)
            alone = source.locate(np.array([row], dtype=np.int64))
            _require(_same(found, position, alone), f"expected item {row} at the same place alone and in bulk")


def _check_columns(found: Locations) -> None:
    columns = [column for column in (found.paths, found.blobs, found.arrays, found.parts) if column is not None]
    _require(len(columns) == 1, f"expected one of paths, blobs, arrays and parts, found {len(columns)}")
    if found.parts is None:
        return
    rows = np.concatenate([np.zeros(0, dtype=np.int64), *(rows for rows, _ in found.parts)])
    _require(
        np.array_equal(np.sort(rows), np.arange(len(found))), f"expected each of {len(found)} items in one of the parts"
    )
    for rows, part in found.parts:
        _require(len(rows) == len(part), f"expected a part of {len(rows)} items, found {len(part)}")
        _check_columns(part)


def _within(found: Locations, position: int) -> tuple[Locations, int]:
    """The part that one row is in, and its row there; itself where there are no parts."""
    for rows, part in found.parts or ():
        inside = np.flatnonzero(rows == position)
        if len(inside):
            return _within(part, int(inside[0]))
    return found, position


def _check_location(found: Locations, position: int, key: str) -> None:
    found, position = _within(found, position)
    if found.paths is not None:
        _require(bool(found.paths.path(position)), f"expected a path for {key!r}, found none")
    elif found.blobs is not None:
        blob = found.blobs[position]
        _require(isinstance(blob, bytes), f"expected bytes for {key!r}, found {type(blob).__name__}")
    elif found.arrays is not None:
        image = found.arrays[position]
        good = image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.flags.c_contiguous
        _require(good, f"expected uint8 [H, W, 3], contiguous, for {key!r}, found {image.dtype} {list(image.shape)}")


def _same(found: Locations, position: int, alone: Locations) -> bool:
    found, position = _within(found, position)
    alone, only = _within(alone, 0)
    if found.paths is not None and alone.paths is not None:
        return found.paths.path(position) == alone.paths.path(only)
    if found.blobs is not None and alone.blobs is not None:
        return found.blobs[position] == alone.blobs[only]
    if found.arrays is not None and alone.arrays is not None:
        return np.array_equal(found.arrays[position], alone.arrays[only])
    return False


def _check_outside(source: Source, count: int) -> None:
    for index in (count, -count - 1):
        try:
            source[index]
        except IndexError:
            continue
        raise AssertionError(f"expected IndexError from source[{index}] of {count} items, found none.")
    for index in (count, -1):
        try:
            source.locate(np.array([index], dtype=np.int64))
        except IndexError:
            continue
        raise AssertionError(f"expected IndexError from locate([{index}]) of {count} items, found none.")


def _check_identity(source: Source) -> None:
    digest = source.digest()
    _require(digest == source.digest(), "expected the same digest twice")
    copy = pickle.loads(pickle.dumps(source))
    _require(copy.digest() == digest, "expected a pickled source to keep its digest")
    _require(copy == source and hash(copy) == hash(source), "expected a pickled source to be equal, hash included")
    _require(len(copy) == len(source), "expected a pickled source to keep its size")


def _require(holds: bool, sentence: str) -> None:
    if not holds:
        raise AssertionError(sentence + ".")
