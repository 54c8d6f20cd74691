"""What every source is: a table of items that can tell, in bulk, where their bytes are."""

from __future__ import annotations

import abc
import operator
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from penstock.errors import SourceError
from penstock.sources.names import NameTable
from penstock.types import Item, UInt8Image

__all__ = ["Locations", "PathTable", "Ranges", "Source", "counted"]

_CHUNK = 1 << 16  # items hashed together


class PathTable(NamedTuple):
    """Paths as rows of a packed table: path ``i`` is ``prefix + names[offsets[rows[i]]:offsets[rows[i] + 1]]``.

    ``offsets`` is uint32 or int64 [n_table + 1], ``rows`` int64 [k]. The table is the source's own, never a copy.
    """

    names: bytes
    offsets: npt.NDArray[np.integer[Any]]
    rows: npt.NDArray[np.int64]
    prefix: bytes

    def path(self, position: int) -> bytes:
        """The path of one row, for people and for the reference engine."""
        row = int(self.rows[position])
        return self.prefix + self.names[self.offsets[row] : self.offsets[row + 1]]


class Ranges(NamedTuple):
    """Which bytes of each path are the item's: ``sizes[i]`` from ``starts[i]`` on; both int64 [k]."""

    starts: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Locations:
    """Where ``k`` items are, and their labels: exactly one of ``paths``, ``blobs``, ``arrays`` and ``parts``.

    ``labels`` is int64 [k], -1 where there is none; ``arrays`` are uint8 [H, W, 3], C-contiguous. ``ranges`` says which
    bytes of each path, all of them without it. ``parts`` are places of several kinds: rows int64 of the k items, and
    where those are (their labels are not looked at). ``problems`` says, by row, the cause and the message of an item
    that is known to have no bytes; what stands for it in the other columns is not looked at.
    """

    labels: npt.NDArray[np.int64]
    paths: PathTable | None = None
    blobs: list[bytes] | None = None
    arrays: list[UInt8Image] | None = None
    ranges: Ranges | None = None
    parts: list[tuple[npt.NDArray[np.int64], Locations]] | None = None
    problems: Mapping[int, tuple[str, str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, begin: int, end: int) -> Locations:
        """The rows from ``begin`` up to ``end`` of items that are paths; nothing is copied."""
        assert self.paths is not None
        rows = slice(begin, end)
        ranges = None if self.ranges is None else Ranges(self.ranges.starts[rows], self.ranges.sizes[rows])
        problems = self.problems  # of most sources there are none
        if problems:
            problems = {row - begin: problem for row, problem in problems.items() if begin <= row < end}
        names, offsets, table_rows, prefix = self.paths
        paths = PathTable(names, offsets, table_rows[rows], prefix)
        return Locations(self.labels[rows], paths=paths, ranges=ranges, problems=problems)


class Source(abc.ABC):
    """A table of items: sized, indexable, picklable; equal and hashed by what it lists and where that is.

    A subclass says ``kind``, ``where``, ``_table``, ``_labels``, ``_locate`` and ``_hash_content``; ``_place`` where
    the bytes are not its own.
    ``penstock.testing.check_source`` holds a source to this contract.
    """

    kind: ClassVar[str]
    classes: tuple[str, ...] | None = None
    _table: NameTable
    _labels: npt.NDArray[np.signedinteger[Any]] | None = None  # in the smallest dtype that holds them

    def __len__(self) -> int:
        """How many items."""
        return len(self._table)

    def __getitem__(self, index: int) -> Item:
        """The item at ``index``; negative counts from the end; IndexError outside."""
        position = operator.index(index)
        if position < 0:
            position += len(self)
        if not 0 <= position < len(self):
            raise IndexError(f"source of {self.where}: expected an index below {len(self)}, found {index}.")
        label = None if self._labels is None or self._labels[position] < 0 else int(self._labels[position])
        rows = np.array([position], dtype=np.int64)
        fields = {name: self.field(name, rows)[0] for name in self.field_names}
        return Item(position, self.key(position), label, fields)

    def __iter__(self) -> Iterator[Item]:
        return (self[index] for index in range(len(self)))

    def key(self, index: int) -> str:
        """The key of the item at ``index``, from 0 to ``len - 1``."""
        return self._table.key(index)

    def keys(self) -> Iterator[str]:
        """Every key, in order."""
        return (self.key(index) for index in range(len(self)))

    def locate(self, indices: npt.NDArray[np.int64]) -> Locations:
        """Where the items at ``indices`` (int64 [k], 0 to ``len - 1``) are; IndexError outside."""
        rows = self._rows(indices)
        return self._locate(rows, self.labels(rows))

    def labels(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The labels of the items at ``indices``: int64 [k], -1 where there is none."""
        if self._labels is None:
            return np.full(len(indices), -1, dtype=np.int64)
        return self._labels[indices].astype(np.int64)

    @property
    def has_labels(self) -> bool:
        """True where items may have a label."""
        return self._labels is not None

    @property
    def several(self) -> bool:
        """True where an item may have another number of images than one: ``batch(n, images=)`` takes those."""
        return False

    def image_counts(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """How many images each of the items at ``indices`` has: int64 [k], from 0 up."""
        return np.ones(len(self._rows(indices)), dtype=np.int64)

    def locate_images(self, indices: npt.NDArray[np.int64]) -> Locations:
        """Where the images of the items at ``indices`` are, all images of one item after those of the one before.

        As many rows as ``image_counts(indices)`` adds up to; ``labels`` repeats the label of the item.
        """
        return self.locate(indices)

    def _rows(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Indices as the engine has them; IndexError outside 0 to ``len - 1``."""
        rows = np.ascontiguousarray(indices, dtype=np.int64)
        if rows.size and not (int(rows.min()) >= 0 and int(rows.max()) < len(self)):
            wrong = int(rows.max()) if int(rows.max()) >= len(self) else int(rows.min())
            raise IndexError(f"source of {self.where}: expected indices from 0 to {len(self) - 1}, found {wrong}.")
        return rows

    @property
    def field_names(self) -> tuple[str, ...]:
        """What the source knows of each item beside its bytes and its label, by name."""
        return () if self.classes is None else ("class",)

    def field(self, name: str, indices: npt.NDArray[np.int64]) -> Sequence[Any]:
        """The field ``name`` of the items at ``indices`` (int64 [k]): k values, read when somebody asks for them.

        Raises KeyError for a name that is not among ``field_names``.
        """
        if name != "class" or self.classes is None:
            raise KeyError(name)
        return [self.classes[label] if label >= 0 else "" for label in self.labels(indices).tolist()]

    def find(self, key: str) -> int:
        """The index of the first item with this key; SourceError naming the nearest keys where there is none."""
        index = self._find(key)
        if index is not None:
            return index
        import difflib

        nearest = difflib.get_close_matches(key, self._near(key), n=3, cutoff=0.5)
        hint = f"the nearest are {', '.join(map(repr, nearest))}" if nearest else "nothing like it"
        raise SourceError(f"source of {self.where}: expected a key among its {len(self)} items, found {key!r}; {hint}.")

    def _find(self, key: str) -> int | None:
        """The first item with this key, None where there is none."""
        return self._table.find(os.fsencode(key))

    def _near(self, key: str) -> list[str]:
        """Some keys that begin as this one does."""
        return self._table.near(os.fsencode(key))

    def digest(self) -> str:
        """sha256, in hex, of the item list: keys, labels, classes, and content held in memory. No file is opened."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        import hashlib

        sha = hashlib.sha256()
        sha.update(f"penstock source 1\n{len(self)}\n{self.classes!r}\n".encode("utf-8", "surrogateescape"))
        self._hash_keys(sha.update)
        if self._labels is not None:
            for first in range(0, len(self), _CHUNK):
                sha.update(self._labels[first : first + _CHUNK].astype("<i8").tobytes())
        self._hash_content(sha.update)
        return sha.hexdigest()

    def _hash_keys(self, update: Any) -> None:
        """Feed what makes the keys to a hash's ``update``."""
        for first in range(0, len(self) + 1, _CHUNK):
            update(self._table.offsets[first : first + _CHUNK].astype("<i8").tobytes())
        update(self._table.names)

    @property
    def notes(self) -> Mapping[str, int]:
        """What every run over this source says in its notes, by name, with how often: what listing it left behind."""
        return {}

    @property
    @abc.abstractmethod
    def where(self) -> str:
        """The source in an error sentence: ``'photos'``, ``files``, ``blobs``."""

    def describe(self) -> str:
        """One line for ``print(line)``: what is listed, how many, how many classes."""
        classes = "" if self.classes is None else f", {counted(len(self.classes), 'class', 'classes')}"
        return f"{self.kind} of {counted(len(self), 'item')}{classes}"

    @abc.abstractmethod
    def _locate(self, rows: npt.NDArray[np.int64], labels: npt.NDArray[np.int64]) -> Locations:
        """Locations of rows that are known to exist."""

    @abc.abstractmethod
    def _hash_content(self, update: Any) -> None:
        """Feed what identifies the content, beyond keys and labels, to a hash's ``update``."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Source):
            return NotImplemented
        return self is other or self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def _identity(self) -> tuple[object, ...]:
        # The place belongs to it: two folders of equal names are two sources, though their digests agree.
        return type(self), self._place(), self.digest()

    def _place(self) -> object:
        """Where the bytes are, beyond what the digest knows."""
        return None

    def __repr__(self) -> str:
        return f"<{self.describe()}>"


def counted(number: int, one: str, many: str | None = None) -> str:
    """``1 file``, ``12,000 files``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
