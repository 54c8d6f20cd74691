"""Several sources as one: the items of the first, then those of the second, and so on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from penstock.errors import PlanError, SourceError
from penstock.sources.source import Locations, Source, counted
from penstock.types import Item

__all__ = ["JoinedArrays", "JoinedSource", "joined"]

Rows = npt.NDArray[np.int64]


class JoinedSource(Source):
    """The items of several sources, one after the other; each keeps its own bytes, keys, labels and fields.

    ``names``, where given, is one word a source: the field ``mix`` of its items. A field that a source does not have is
    None for its items.
    """

    kind: ClassVar[str] = "joined"

    def __init__(self, sources: Sequence[Source], names: Sequence[str] | None = None) -> None:
        self.sources = tuple(sources)
        self.names = None if names is None else tuple(names)
        self.firsts = np.cumsum([0, *map(len, self.sources)], dtype=np.int64)
        self.classes = next((source.classes for source in self.sources if source.classes is not None), None)

    def __len__(self) -> int:
        return int(self.firsts[-1])

    def __getitem__(self, index: int) -> Item:
        """The item at ``index``, under its place among all of them."""
        position = index + len(self) if index < 0 else index
        if not 0 <= position < len(self):
            raise IndexError(f"source of {self.where}: expected an index below {len(self)}, found {index}.")
        number, row = self._at(position)
        item = self.sources[number][row]
        rows = np.array([position], dtype=np.int64)
        return Item(position, item.key, item.label, {name: self.field(name, rows)[0] for name in self.field_names})

    @property
    def where(self) -> str:
        """The word that stands for all of them in an error sentence."""
        return f"{counted(len(self.sources), 'joined source')}"

    def describe(self) -> str:
        """How many sources, items and classes."""
        classes = "" if self.classes is None else f", {counted(len(self.classes), 'class', 'classes')}"
        return f"{self.where} of {counted(len(self), 'item')}{classes}"

    def key(self, index: int) -> str:
        """The key that the item has in its own source."""
        number, row = self._at(index)
        return self.sources[number].key(row)

    def labels(self, indices: Rows) -> Rows:
        """Each source's own labels."""
        out = np.full(len(indices), -1, dtype=np.int64)
        for number, places, rows in self._by_source(indices):
            out[places] = self.sources[number].labels(rows)
        return out

    @property
    def has_labels(self) -> bool:
        """True where one of them has labels."""
        return any(source.has_labels for source in self.sources)

    @property
    def field_names(self) -> tuple[str, ...]:
        """Every field that any of them has, and ``mix`` where they have names."""
        named = () if self.names is None else ("mix",)
        return tuple(dict.fromkeys([*named, *(name for source in self.sources for name in source.field_names)]))

    def field(self, name: str, indices: Rows) -> Sequence[Any]:
        """Each source's own; None where it has no such field."""
        if name not in self.field_names:
            raise KeyError(name)
        values: list[Any] = [None] * len(indices)
        for number, places, rows in self._by_source(indices):
            source = self.sources[number]
            if name == "mix" and self.names is not None:
                found: Sequence[Any] = [self.names[number]] * len(rows)
            else:
                found = source.field(name, rows) if name in source.field_names else [None] * len(rows)
            for place, value in zip(places.tolist(), found, strict=True):
                values[place] = value
        return values

    @property
    def notes(self) -> Mapping[str, int]:
        """What listing each of them left behind, added up."""
        total: dict[str, int] = {}
        for source in {id(source): source for source in self.sources}.values():
            for name, count in source.notes.items():
                total[name] = total.get(name, 0) + count
        return total

    @property
    def several(self) -> bool:
        """True where one of them has items of several images."""
        return any(source.several for source in self.sources)

    def image_counts(self, indices: Rows) -> Rows:
        """Each source's own."""
        out = np.ones(len(self._rows(indices)), dtype=np.int64)
        for number, places, rows in self._by_source(indices):
            out[places] = self.sources[number].image_counts(rows)
        return out

    def locate_images(self, indices: Rows) -> Locations:
        """Where the images of the items are, each item's behind those of the one before."""
        counts = self.image_counts(indices)
        firsts = np.cumsum(counts) - counts
        parts = []
        for number, places, rows in self._by_source(indices):
            mine = counts[places]
            inside = np.arange(int(mine.sum())) - np.repeat(np.cumsum(mine) - mine, mine)
            parts.append((np.repeat(firsts[places], mine) + inside, self.sources[number].locate_images(rows)))
        return Locations(np.repeat(self.labels(indices), counts), parts=parts)

    def _find(self, key: str) -> int | None:
        for first, source in zip(self.firsts.tolist(), self.sources, strict=False):
            try:
                return int(first) + source.find(key)
            except SourceError:
                continue
        return None

    def _near(self, key: str) -> list[str]:
        return [near for source in self.sources for near in source._near(key)]

    def _locate(self, rows: Rows, labels: Rows) -> Locations:
        return Locations(labels, parts=[(at, self.sources[i].locate(own)) for i, at, own in self._by_source(rows)])

    def _at(self, index: int) -> tuple[int, int]:
        """Which source an item is in, and where."""
        number = int(np.searchsorted(self.firsts, index, side="right")) - 1
        return number, index - int(self.firsts[number])

    def _by_source(self, indices: Rows) -> list[tuple[int, Rows, Rows]]:
        """For each source that has any of the items: its number, their places in ``indices``, their rows in it."""
        of = np.searchsorted(self.firsts, indices, side="right") - 1
        found = []
        for number in np.unique(of).tolist():
            places = np.flatnonzero(of == number)
            found.append((number, places, indices[places] - self.firsts[number]))
        return found

    def digest(self) -> str:
        """sha256, in hex, of the parts' own digests."""
        import hashlib

        sha = hashlib.sha256(f"penstock joined source 1\n{self.names!r}\n".encode())
        sha.update("\n".join(source.digest() for source in self.sources).encode())
        return sha.hexdigest()

    def _hash_content(self, update: Any) -> None:
        update(self.digest().encode())

    def _place(self) -> object:
        return tuple((type(source), source._place()) for source in self.sources)


class JoinedArrays(JoinedSource):
    """The same of images that are decoded already."""

    kind: ClassVar[str] = "arrays"


def joined(text: str, sources: Sequence[Source], names: Sequence[str] | None = None) -> Source:
    """One source of several; PlanError where their labels mean different things, or only some are decoded already."""
    told = names or [f"number {number}" for number in range(1, len(sources) + 1)]
    arrays = [source.kind == "arrays" for source in sources]
    if any(arrays) and not all(arrays):
        raise PlanError(
            f"{text}: expected encoded images in all of them or in none, found arrays in {told[arrays.index(True)]} "
            f"and encoded images in {told[arrays.index(False)]}."
        )
    labelled = [(source.classes, name) for source, name in zip(sources, told, strict=True) if _has_labels(source)]
    for classes, name in labelled[1:]:
        if classes != labelled[0][0]:
            raise PlanError(
                f"{text}: expected labels of the same classes, found {_shown(labelled[0][0])} in {labelled[0][1]} and "
                f"{_shown(classes)} in {name}; give both the same classes=."
            )
    return (JoinedArrays if all(arrays) else JoinedSource)(sources, names)


def _has_labels(source: Source) -> bool:
    if isinstance(source, JoinedSource):
        return any(map(_has_labels, source.sources))
    return source.classes is not None or source._labels is not None


def _shown(classes: tuple[str, ...] | None) -> str:
    if classes is None:
        return "numbers"
    return f"{', '.join(map(repr, classes[:3]))}{' ...' if len(classes) > 3 else ''} ({len(classes)})"
