"""Sources in text files, a record a line or more: what is kept of each record, and how one is read again."""

from __future__ import annotations

import abc
import os
from array import array
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from penstock.errors import SourceError
from penstock.sources.names import NameTable, NameTableBuilder
from penstock.sources.row_keys import RowKeys
from penstock.sources.source import Locations, PathTable, Source

__all__ = ["LinesSource", "Records"]


class Records:
    """What a scan collects: where each record begins, which images it has, its key where a column is named."""

    def __init__(self) -> None:
        self.begins = array("q")
        self.file_rows: list[int] = []  # records of the files that are done
        self.images = NameTableBuilder()
        self.image_ends = array("q")  # empty as long as each record has one image
        self.keys = NameTableBuilder()
        self.absolute = 0

    def add(self, begin: int, images: Sequence[bytes]) -> None:
        """One more record, at that offset of its file."""
        if len(images) != 1 and not self.image_ends:
            self.image_ends.extend(range(1, len(self.begins) + 1))
        self.begins.append(begin)
        for image in images:
            self.absolute += os.path.isabs(image)
            self.images.append(image)
        if len(images) != 1 or self.image_ends:
            self.image_ends.append(len(self.images))

    def end_of_file(self) -> None:
        """What comes now is the next file's."""
        self.file_rows.append(len(self.begins) - sum(self.file_rows))


class LinesSource(Source):
    """Records of text files: offsets and paths are kept, fields are read again when somebody asks for them."""

    _files: list[str]
    _sizes: list[int]
    _root: bytes | None
    _image_name: str
    _fields: tuple[str, ...]

    @abc.abstractmethod
    def _record(self, file: BinaryIO, number: int) -> Any:
        """The record that begins where ``file``, which is number ``number``, stands."""

    @abc.abstractmethod
    def _value(self, record: Any, name: str) -> Any:
        """The field ``name`` of a record."""

    def _keep(self, records: Records, keyed: bool) -> None:
        """Takes over what a scan has collected."""
        self._begins = np.frombuffer(records.begins, dtype=np.int64)
        self._file_starts = np.concatenate([[0], np.cumsum(records.file_rows, dtype=np.int64)]).astype(np.int64)
        self._row_keys = RowKeys(self._files, self._file_starts)
        self._image_ends = np.frombuffer(records.image_ends, dtype=np.int64) if records.image_ends else None
        self._paths, self._prefix = self._rooted(records)
        self._keys: NameTable | None = records.keys.build() if keyed else None
        self._read: tuple[bytes, list[Any]] | None = None  # the records that were asked for last

    def _rooted(self, records: Records) -> tuple[NameTable, bytes]:
        """A table and a prefix that together are absolute paths; where files have roots of their own, a whole table."""
        absolute, count = records.absolute, len(records.images)
        self._names = table = records.images.build()
        roots = [self._root or os.path.join(os.fsencode(os.path.dirname(file)), b"") for file in self._files]
        if absolute == count and count:
            return table, b""
        if absolute == 0 and len(set(roots)) <= 1:
            return table, roots[0]
        files = np.repeat(np.arange(len(roots)), np.diff(self._image_starts(self._file_starts)))
        names = (os.path.join(roots[file], name) if name else b"" for file, name in zip(files, table, strict=True))
        return NameTable.from_names(names), b""

    def _image_starts(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The first image of each of these rows; of the row behind the last, how many images there are."""
        if self._image_ends is None:
            return rows
        return np.where(rows > 0, self._image_ends[np.maximum(rows, 1) - 1], 0)

    # -- the source's contract ---------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._begins)

    def key(self, index: int) -> str:
        """The key field's value; else the path as it is written, or the file's name and the row where that is none."""
        if self._keys is not None:
            return self._keys.key(index)
        return (self._names.key(index) if self._image_ends is None else "") or self._row_keys.key(index)

    def _find(self, key: str) -> int | None:
        table = self._keys if self._keys is not None else self._names if self._image_ends is None else None
        found = None if table is None or not key else table.find(os.fsencode(key))
        return self._row_keys.find(key) if found is None and self._keys is None else found

    def _near(self, key: str) -> list[str]:
        table = self._keys if self._keys is not None else self._names if self._image_ends is None else None
        return self._row_keys.near(key) if table is None else table.near(os.fsencode(key))

    @property
    def field_names(self) -> tuple[str, ...]:
        """The fields beside image, label and key; ``class``, where labels are words."""
        return tuple(dict.fromkeys((*super().field_names, *self._fields)))

    def field(self, name: str, indices: npt.NDArray[np.int64]) -> Sequence[Any]:
        """The field of these records, read from the file now; SourceError where it has changed."""
        if name not in self._fields:
            return super().field(name, indices)
        rows = self._rows(indices)
        asked = rows.tobytes()
        read = self._read
        if read is None or read[0] != asked:  # the fields of a batch are asked for one after the other
            read = self._read = asked, self._records(rows)
        return [self._value(record, name) for record in read[1]]

    def _records(self, rows: npt.NDArray[np.int64]) -> list[Any]:
        files = np.searchsorted(self._file_starts, rows, side="right") - 1
        records: list[Any] = [None] * len(rows)
        for number in np.unique(files).tolist():
            try:
                with open(self._files[number], "rb") as file:
                    size = os.fstat(file.fileno()).st_size
                    if size != self._sizes[number]:
                        raise SourceError(
                            f"source of {self.where}: expected {os.path.basename(self._files[number])!r} as it was "
                            f"listed, {self._sizes[number]:,} bytes, found {size:,}."
                        )
                    for place in np.flatnonzero(files == number).tolist():
                        file.seek(int(self._begins[rows[place]]))
                        records[place] = self._record(file, number)
            except OSError as error:
                raise SourceError(
                    f"source of {self.where}: expected {os.path.basename(self._files[number])!r} as it was listed, "
                    f"found: {error.strerror or error}."
                ) from None
        return records

    def _locate(self, rows: npt.NDArray[np.int64], labels: npt.NDArray[np.int64]) -> Locations:
        from penstock.sources.cells import not_one_image

        images = self._image_starts(rows)
        counts = self.image_counts(rows)
        wrong = np.flatnonzero(counts != 1)
        problems = {row: not_one_image(int(counts[row])) for row in wrong.tolist()}
        # An item without an image may have none behind it either.
        images = np.where(counts == 1, images, 0)
        if len(self._paths) == 0:
            return Locations(labels, blobs=[b""] * len(rows), problems=problems)
        return self._at(images, labels, problems)

    def _at(
        self, images: npt.NDArray[np.int64], labels: npt.NDArray[np.int64], problems: dict[int, tuple[str, str]]
    ) -> Locations:
        """Where images of the table are; an empty path is a problem of its row."""
        empty = np.flatnonzero(self._names.offsets[images + 1] == self._names.offsets[images])
        missing = ("no image", f"expected a path in {self._image_name!r}, found none")
        problems = {**dict.fromkeys(empty.tolist(), missing), **problems}
        paths = PathTable(self._paths.names, self._paths.offsets, images, self._prefix)
        return Locations(labels, paths=paths, problems=problems)

    @property
    def several(self) -> bool:
        """True where some record has another number of images than one."""
        return self._image_ends is not None

    def image_counts(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """How many paths each record has."""
        rows = self._rows(indices)
        return self._image_starts(rows + 1) - self._image_starts(rows)

    def locate_images(self, indices: npt.NDArray[np.int64]) -> Locations:
        """The paths of these records, one after the other."""
        rows = self._rows(indices)
        counts = self.image_counts(rows)
        firsts = np.repeat(self._image_starts(rows) - (np.cumsum(counts) - counts), counts)
        images = firsts + np.arange(len(firsts), dtype=np.int64)
        labels = np.repeat(self.labels(rows), counts)
        if len(images) == 0:
            return Locations(labels, blobs=[])
        return self._at(images, labels, {})

    def _hash_keys(self, update: Any) -> None:
        for table in filter(None, (self._keys, self._names)):
            update(table.offsets.astype("<i8", copy=False).data)
            update(table.names)
        if self._image_ends is not None:
            update(self._image_ends.astype("<i8", copy=False).data)
        if self._keys is None:
            update(repr((self._row_keys.names, self._file_starts.tolist())).encode("utf-8", "surrogateescape"))

    def _hash_content(self, update: Any) -> None:
        """Nothing: keys, paths and labels are the identity; no image is opened."""

    def _place(self) -> object:
        return self._prefix, tuple(self._files), self._fields

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the records that were read last."""
        return {**self.__dict__, "_read": None}
