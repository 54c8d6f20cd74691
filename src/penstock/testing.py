"""Conformance checks for other people's sources."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.sources.source import Locations, Source
from penstock.types import Item

__all__ = ["check_source"]


def check_source(source: Source) -> None:
    """Hold a source to the contract of ``penstock.sources.Source``; AssertionError, in a sentence, where it breaks it.

    Checked: its size; ``source[i]`` against ``locate`` in any order, repeated and empty, with ranges, parts and
    problems; fields alone and in bulk; how many images an item has, and where they are; that ``locate`` opens no image
    (as far as Python can see it); keys that ``find`` finds; labels within the classes; IndexError outside; a digest
    that is stable and survives pickling; one described line.
    Every item is looked at: use a small source.

    >>> from penstock.sources import blobs_source
    >>> check_source(blobs_source([b"one", b"two"]))
    """
    count = len(source)
    _require(count >= 0, f"expected a size of at least 0, found {count}")
    items = [source[index] for index in range(count)]
    _check_items(source, items)
    _check_fields(source, items)
    _check_locations(source, items)
    _check_images(source, items)
    _check_outside(source, count)
    _check_identity(source)
    description = source.describe()
    _require(bool(description) and "\n" not in description, f"expected one line from describe(), found {description!r}")


def _check_items(source: Source, items: list[Item]) -> None:
    first: dict[str, int] = {}
    for index, item in enumerate(items):
        _require(item.index == index, f"expected source[{index}].index to be {index}, found {item.index}")
        _require(isinstance(item.key, str), f"expected the key of item {index} to be text, found {item.key!r}")
        again = source[index]
        same = (item.index, item.key, item.label) == (again.index, again.key, again.label)
        same = same and item.fields.keys() == again.fields.keys()
        same = same and all(_equal(value, again.fields[name]) for name, value in item.fields.items())
        _require(same, f"expected source[{index}] to be the same twice")
        if item.label is not None and source.classes is not None:
            _require(
                -1 <= item.label < len(source.classes),
                f"expected the label of {item.key!r} below {len(source.classes)}, found {item.label}",
            )
        first.setdefault(item.key, index)
    for key, index in first.items():
        found = source.find(key)
        _require(found == index, f"expected find({key!r}) to be its first index {index}, found {found}")


def _check_fields(source: Source, items: list[Item]) -> None:
    names = source.field_names
    _require(len(set(names)) == len(names), f"expected each field once, found {names}")
    rows = np.arange(len(items), dtype=np.int64)[::-1]
    for name in names:
        found = source.field(name, rows)
        _require(len(found) == len(rows), f"expected {len(rows)} values of field {name!r}, found {len(found)}")
        for row, value in zip(rows.tolist(), found, strict=True):
            of_item = items[row].fields[name]
            _require(
                _equal(value, of_item),
                f"expected field {name!r} of item {row} to be the same alone and in bulk, found {of_item!r} and "
                f"{value!r}",
            )
    for item in items:
        _require(
            tuple(item.fields) == names, f"expected the fields {names} of {item.key!r}, found {tuple(item.fields)}"
        )
    try:
        source.field("a field that no source has", rows)
    except KeyError:
        return
    raise AssertionError("expected KeyError for a field that is not among field_names, found none.")


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.array_equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):  # of an .npz
        return one.keys() == other.keys() and all(_equal(value, other[name]) for name, value in one.items())
    return bool(one == other) or (one != one and other != other)  # not a number is what it is


def _check_locations(source: Source, items: list[Item]) -> None:
    count = len(items)
    everything = np.arange(count, dtype=np.int64)
    for rows in (everything, everything[::-1], np.repeat(everything, 2), everything[:0]):
        found = _located(source.locate, rows)
        _check_columns(found, len(rows))
        for position, row in enumerate(rows.tolist()):
            label = items[row].label
            _require(
                int(found.labels[position]) == (-1 if label is None else label),
                f"expected locate and source[{row}] to agree on the label, found {found.labels[position]} and {label}",
            )
            _check_location(found, position, items[row].key)
            alone = source.locate(np.array([row], dtype=np.int64))
            _require(_same(found, position, alone, 0), f"expected item {row} at the same place alone and in bulk")
        _require(
            np.array_equal(source.labels(rows), found.labels), "expected labels(indices) to be what locate has of them"
        )


def _check_images(source: Source, items: list[Item]) -> None:
    rows = np.arange(len(items), dtype=np.int64)[::-1]
    counts = source.image_counts(rows)
    _require(
        counts.dtype == np.int64 and counts.shape == rows.shape and bool((counts >= 0).all()),
        f"expected image counts int64 [{len(rows)}] from 0 up, found {counts.dtype} {list(counts.shape)}",
    )
    _require(
        source.several or bool((counts == 1).all()), f"expected one image an item, found {counts.max(initial=1)} of one"
    )
    found = _located(source.locate_images, rows)
    expected = int(counts.sum())
    _require(len(found) == expected, f"expected the {expected} images that image_counts says, found {len(found)}")
    _check_columns(found, expected)
    first = 0
    for row, many in zip(rows.tolist(), counts.tolist(), strict=True):
        label = -1 if items[row].label is None else items[row].label
        alone = source.locate_images(np.array([row], dtype=np.int64))
        _require(len(alone) == many, f"expected the {many} images of item {row}, found {len(alone)}")
        for number in range(many):
            at = first + number
            _check_location(found, at, f"{items[row].key}, image {number}")
            _require(_same(found, at, alone, number), f"expected image {number} of item {row} at the same place twice")
            _require(
                int(found.labels[at]) == label, f"expected the label of item {row} at its images, found another one"
            )
        first += many


def _located(locate: Callable[[npt.NDArray[np.int64]], Locations], rows: npt.NDArray[np.int64]) -> Locations:
    """What ``locate`` says; AssertionError where it opened one of the files it named."""
    with _opened() as opened:
        found = locate(rows)
    for row in range(len(found)):
        path = _path(found, row)
        _require(path is None or path not in opened, f"expected no image to be opened by locate, found {path!r} opened")
    return found


def _path(found: Locations, row: int) -> bytes | None:
    """The path of a row that has a whole file to itself; a table or an archive may be opened to look into it."""
    if row in found.problems:
        return None
    if found.paths is not None:
        return found.paths.path(row) if found.ranges is None else None
    for rows, part in found.parts or ():
        for within in np.flatnonzero(rows == row).tolist():
            return _path(part, within)
    return None


_watching: list[set[bytes]] = []  # where the names of opened files go, while somebody looks


def _note_open(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching and event == "open" and isinstance(arguments[0], (str, bytes)):
        for names in _watching:
            names.add(os.fsencode(arguments[0]))


@cache
def _watch() -> None:
    sys.addaudithook(_note_open)  # for good; it costs a look at an empty list


@contextmanager
def _opened() -> Iterator[set[bytes]]:
    """The files that Python opens meanwhile."""
    _watch()
    names: set[bytes] = set()
    _watching.append(names)
    try:
        yield names
    finally:
        _watching.remove(names)


def _check_columns(found: Locations, count: int) -> None:
    columns = [each for each in (found.paths, found.blobs, found.arrays, found.parts) if each is not None]
    _require(len(columns) == 1, f"expected one of paths, blobs, arrays and parts, found {len(columns)}")
    _require(
        found.labels.dtype == np.int64 and found.labels.shape == (count,),
        f"expected labels int64 [{count}], found {found.labels.dtype} {list(found.labels.shape)}",
    )
    _require(found.ranges is None or found.paths is not None, "expected ranges of paths, found ranges without paths")
    if found.ranges is not None:
        for name, column in zip(found.ranges._fields, found.ranges, strict=True):
            good = column.dtype == np.int64 and column.shape == (count,) and bool((column >= 0).all())
            _require(good, f"expected {name} of ranges int64 [{count}] from 0 up, found {column.dtype} {column.shape}")
    rows = [row for part, _ in found.parts or () for row in part.tolist()]
    _require(len(set(rows)) == len(rows), "expected each row in one of the parts, found one in two of them")
    for part, inside in found.parts or ():
        _require(len(part) == len(inside), f"expected {len(part)} places in a part, found {len(inside)}")
    for row, problem in found.problems.items():
        _require(0 <= row < count, f"expected problems of rows below {count}, found row {row}")
        _require(all(problem), f"expected a cause and a message as the problem of row {row}, found {problem!r}")


def _check_location(found: Locations, position: int, key: str) -> None:
    if position in found.problems:
        return
    if found.paths is not None:
        _require(bool(found.paths.path(position)), f"expected a path for {key!r}, found none")
    elif found.blobs is not None:
        blob = found.blobs[position]
        _require(isinstance(blob, bytes), f"expected bytes for {key!r}, found {type(blob).__name__}")
    elif found.arrays is not None:
        image = found.arrays[position]
        good = image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.flags.c_contiguous
        _require(good, f"expected uint8 [H, W, 3], contiguous, for {key!r}, found {image.dtype} {list(image.shape)}")
    else:
        places = [(part, at) for rows, part in found.parts or () for at in np.flatnonzero(rows == position).tolist()]
        _require(len(places) == 1, f"expected {key!r} in one of the parts or among the problems, found {len(places)}")
        _check_location(*places[0], key)


def _same(found: Locations, position: int, alone: Locations, row: int) -> bool:
    """Whether both say the same place, whatever the columns they say it in."""
    one, other = _place(found, position), _place(alone, row)
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.array_equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):  # of an .npz
        return one.keys() == other.keys() and all(_equal(value, other[name]) for name, value in one.items())
    return bool(one == other)


def _place(found: Locations, row: int) -> Any:
    if row in found.problems:
        return found.problems[row]
    if found.paths is not None:
        ranges = found.ranges
        part = None if ranges is None else (int(ranges.starts[row]), int(ranges.sizes[row]))
        return found.paths.path(row), part
    if found.blobs is not None:
        return found.blobs[row]
    if found.arrays is not None:
        return found.arrays[row]
    return next(
        (_place(part, at) for rows, part in found.parts or () for at in np.flatnonzero(rows == row).tolist()), None
    )


def _check_outside(source: Source, count: int) -> None:
    for index in (count, -count - 1):
        try:
            source[index]
        except IndexError:
            continue
        raise AssertionError(f"expected IndexError from source[{index}] of {count} items, found none.")
    for name in ("locate", "locate_images", "image_counts"):
        for index in (count, -1):
            try:
                getattr(source, name)(np.array([index], dtype=np.int64))
            except IndexError:
                continue
            raise AssertionError(f"expected IndexError from {name}([{index}]) of {count} items, found none.")


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
