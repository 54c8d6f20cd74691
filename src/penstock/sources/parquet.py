"""Parquet files: one row an item; row groups are read when their items are needed."""

from __future__ import annotations

import json
import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NoReturn

import numpy as np
import numpy.typing as npt

from penstock.errors import PlanError, SourceError
from penstock.sources.arrow import ArrowSource, LabelColumn, column_named, image_column
from penstock.sources.cells import Problem
from penstock.sources.listing import AnyPath, folder_of, listed_files, shown_files
from penstock.sources.names import NameTable, NameTableBuilder
from penstock.sources.row_keys import RowKeys
from penstock.sources.source import counted

__all__ = ["ParquetSource", "parquet_source"]

CACHE_BYTES = 256 << 20
_OPEN_FILES = 16
_PIECE = 65_536  # rows of labels and keys read together


@dataclass
class _Readers:
    """What one process has open and has read: files, and columns of row groups, the longest unused first."""

    pid: int = field(default_factory=os.getpid)
    lock: threading.RLock = field(default_factory=threading.RLock)
    files: OrderedDict[int, Any] = field(default_factory=OrderedDict)
    columns: OrderedDict[tuple[int, str], Any] = field(default_factory=OrderedDict)
    held: int = 0  # bytes of the columns

    def keep(self, name: tuple[int, str], column: Any, most: int) -> None:
        """Adds a column; the longest unused go where they are more than ``most`` bytes together."""
        self.columns[name] = column
        self.held += column.nbytes
        while self.held > most and len(self.columns) > 1:
            _, gone = self.columns.popitem(last=False)
            self.held -= gone.nbytes


class ParquetSource(ArrowSource):
    """Rows of Parquet files; a key is a column's, or ``file.parquet/row``."""

    kind: ClassVar[str] = "parquet"

    def __init__(
        self,
        files: AnyPath | Iterable[AnyPath],
        image: str | None = None,
        label: str | None = None,
        key: str | None = None,
        fields: Iterable[str] | None = None,
        root: AnyPath | None = None,
        classes: Iterable[str] | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        _pyarrow()
        if cache_bytes < 0:
            raise PlanError(f"source of parquet: expected a number of bytes as cache_bytes=, found {cache_bytes!r}.")
        self._files = listed_files("parquet", files, (".parquet", ".pq"))
        self._root = root
        self._folders = [folder_of(root, file) for file in self._files]
        self._cache_bytes = cache_bytes
        self._sizes = [os.path.getsize(file) for file in self._files]
        self._readers = _Readers()
        self._list_groups()
        schema, features = self._schema, _features(self._schema)
        self._image, self._lists = image_column(self.where, image, schema, features)
        self._label = None if label is None else column_named(self.where, "label", label, schema.names)
        self._choose_key_and_fields(schema.names, key, fields)
        self._expect_equal_columns()
        self._row_keys = RowKeys(self._files, self._file_starts)
        self._read_keys_and_labels(classes, _names_of(features.get(label or "")))
        del self._schema  # Arrow's own; the words that identify it stay

    # -- what is listed ----------------------------------------------------------------------------------------------

    def _list_groups(self) -> None:
        """Which row groups there are and how many rows each has: the files' footers, no data."""
        group_rows, group_files, file_rows = [], [], []
        for number in range(len(self._files)):
            metadata = self._file(number).metadata
            rows = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
            group_rows += rows
            group_files += [number] * len(rows)
            file_rows.append(sum(rows))
        self._group_starts = np.concatenate([[0], np.cumsum(group_rows, dtype=np.int64)]).astype(np.int64)
        self._file_starts = np.concatenate([[0], np.cumsum(file_rows, dtype=np.int64)]).astype(np.int64)
        self._group_files = np.array(group_files, dtype=np.int64)
        first = np.searchsorted(self._group_files, np.arange(len(self._files)))
        self._group_numbers = np.arange(len(group_rows)) - first[self._group_files]
        self._schema = self._file(0).schema_arrow
        self._schema_words = "\n".join(f"{each.name}: {each.type}" for each in self._schema)

    def _expect_equal_columns(self) -> None:
        """Refuses a file that lacks a column that is used, or has another type of it."""
        used = [name for name in (self._image, self._label, self._key, *self._fields) if name is not None]
        for number in range(1, len(self._files)):
            schema = self._file(number).schema_arrow
            for name in used:
                column_named(repr(self._row_keys_name(number)), "column", name, schema.names)
                if schema.field(name).type != self._schema.field(name).type:
                    raise SourceError(
                        f"source of {self._row_keys_name(number)!r}: expected column {name!r} as in the first file, "
                        f"{self._schema.field(name).type}, found {schema.field(name).type}."
                    )

    def _row_keys_name(self, number: int) -> str:
        return os.path.basename(self._files[number])

    def _read_keys_and_labels(self, classes: Iterable[str] | None, names: tuple[str, ...] | None) -> None:
        if self._label is None and classes is not None:
            raise SourceError(f"source of {self.where}: expected label= beside classes, found none.")
        columns = [name for name in (self._label, self._key) if name is not None]
        labels = LabelColumn(self.where, classes, names)
        keys = NameTableBuilder()
        for number in range(len(self._files) if columns else 0):
            for batch in self._file(number).iter_batches(batch_size=_PIECE, columns=columns, use_threads=False):
                if self._label is not None:
                    labels.add(batch.column(self._label))
                if self._key is not None:
                    for value in batch.column(self._key).to_pylist():
                        keys.append(os.fsencode(str(value)))
        self._keys: NameTable | None = None if self._key is None else keys.build()
        if self._label is not None:
            self._labels, self.classes = labels.finish()

    # -- the source's contract ---------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return int(self._file_starts[-1])

    @property
    def where(self) -> str:
        """The file's name, quoted."""
        return shown_files(self._files)

    def describe(self) -> str:
        """One line: the file or how many, rows, the column of the images, classes."""
        files = self.where if len(self._files) == 1 else counted(len(self._files), "file")
        classes = "" if self.classes is None else f", {counted(len(self.classes), 'class', 'classes')}"
        return f"parquet {files}: {counted(len(self), 'row')}, images in {self._image!r}{classes}"

    def key(self, index: int) -> str:
        """The key column's value as text, or the file's name and the row in it."""
        return self._row_keys.key(index) if self._keys is None else self._keys.key(index)

    def _find(self, key: str) -> int | None:
        return self._row_keys.find(key) if self._keys is None else self._keys.find(os.fsencode(key))

    def _near(self, key: str) -> list[str]:
        return self._row_keys.near(key) if self._keys is None else self._keys.near(os.fsencode(key))

    def _hash_keys(self, update: Any) -> None:
        update(repr((self._row_keys.names, self._file_starts.tolist())).encode("utf-8", "surrogateescape"))
        if self._keys is not None:
            update(self._keys.offsets.astype("<i8", copy=False).data)
            update(self._keys.names)

    def _hash_content(self, update: Any) -> None:
        """The schema, which column holds the images, and the files' sizes: no image is read."""
        update(repr((self._schema_words, self._image, self._sizes)).encode("utf-8", "surrogateescape"))

    def _place(self) -> object:
        return tuple(self._files), tuple(self._folders), self._image, self._label, self._key, self._fields

    def arrow_schema(self) -> tuple[Any, Mapping[str, Any]]:
        """The first file's, which the others have too."""
        schema = self._file(0).schema_arrow
        return schema, _features(schema)

    def __getstate__(self) -> dict[str, Any]:
        """Everything but open files, what was read, and a lock."""
        return {name: value for name, value in self.__dict__.items() if name != "_readers"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _readers=_Readers())

    # -- reading -----------------------------------------------------------------------------------------------------

    def _roots(self, rows: npt.NDArray[np.int64]) -> list[str]:
        files = np.searchsorted(self._file_starts, rows, side="right") - 1
        return [self._folders[file] for file in files.tolist()]

    def _scalars(self, column: str, rows: npt.NDArray[np.int64]) -> list[Any]:
        groups = np.searchsorted(self._group_starts, rows, side="right") - 1
        values: list[Any] = [None] * len(rows)
        # A row group after the other, whatever the order: each is read once, however small the cache.
        for group in np.unique(groups).tolist():
            found = self._column(group, column)
            for place in np.flatnonzero(groups == group).tolist():
                within = int(rows[place] - self._group_starts[group])
                values[place] = found if isinstance(found, Problem) else found[within]
        return values

    def _column(self, group: int, name: str) -> Any:
        """A column of a row group, Arrow's; a Problem where the file does not have it as it was listed."""
        readers = self._of_this_process()
        with readers.lock:
            if (group, name) in readers.columns:
                readers.columns.move_to_end((group, name))
                return readers.columns[group, name]
            number = int(self._group_files[group])
            try:
                file = self._file(number)
                table = file.read_row_group(int(self._group_numbers[group]), columns=[name], use_threads=False)
            except (OSError, ValueError, SourceError) as error:  # Arrow's errors are these
                readers.files.pop(number, None)
                text = str(error).splitlines()[0] if str(error) else type(error).__name__
                return Problem("read error", f'expected a readable row group, found "{text.rstrip(".")}"')
            found = table.column(name)
            expected = int(self._group_starts[group + 1] - self._group_starts[group])
            if len(found) != expected:
                return Problem("changed", f"expected {expected} rows in its row group, found {len(found)}")
            readers.keep((group, name), found, self._cache_bytes)
            return found

    def _of_this_process(self) -> _Readers:
        # A forked child shares no open file, no thread of Arrow's and no lock with its parent.
        if self._readers.pid != os.getpid():
            self._readers = _Readers()
        return self._readers

    def _file(self, number: int) -> Any:
        """An open file; SourceError where it is none, or not the one that was listed."""
        import pyarrow.parquet as pq

        readers = self._of_this_process()
        with readers.lock:
            if number in readers.files:
                readers.files.move_to_end(number)
                return readers.files[number]
            path = self._files[number]
            try:
                size = os.path.getsize(path)
                file = pq.ParquetFile(path)
            except (OSError, ValueError) as error:
                text = str(error).splitlines()[0] if str(error) else type(error).__name__
                raise SourceError(
                    f'source of {self._row_keys_name(number)!r}: expected a Parquet file, found "{text.rstrip(".")}".'
                ) from None
            if size != self._sizes[number]:
                raise SourceError(
                    f"source of {self._row_keys_name(number)!r}: expected the {self._sizes[number]:,} bytes it was "
                    f"listed with, found {size:,}."
                )
            readers.files[number] = file
            while len(readers.files) > _OPEN_FILES:
                readers.files.popitem(last=False)
            return file


def _pyarrow() -> None:
    try:
        import pyarrow.parquet  # noqa: F401 - only whether it is there
    except ImportError:
        _missing()


def _missing() -> NoReturn:
    raise PlanError("parquet(): expected the package pyarrow, found none; python -m pip install pyarrow.")


def _features(schema: Any) -> Mapping[str, Any]:
    """What the Hugging Face metadata say of each column; nothing where there are none."""
    try:
        found = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _names_of(feature: Any) -> tuple[str, ...] | None:
    names = feature.get("names") if isinstance(feature, Mapping) and feature.get("_type") == "ClassLabel" else None
    return tuple(names) if isinstance(names, list) and all(isinstance(name, str) for name in names) else None


def parquet_source(
    files: AnyPath | Iterable[AnyPath],
    image: str | None = None,
    label: str | None = None,
    key: str | None = None,
    fields: Iterable[str] | None = None,
    root: AnyPath | None = None,
    classes: Iterable[str] | None = None,
    cache_bytes: int = CACHE_BYTES,
) -> ParquetSource:
    """Rows of Parquet files: a file, a pattern, a folder, or a list of these; needs the package pyarrow.

    image: the column of the images: bytes, paths, Hugging Face's struct of both, or lists of these (several images an
    item, for ``batch(n, images=)``). Found by its type where it is not named. Relative paths begin at ``root``, or at
    the folder of their file.
    label: a column of whole numbers or words; null is no label. Words become int64 by ``classes``, sorted where not
    given; a column that Hugging Face wrote with its names keeps their order.
    key: a column; else the file's name and the row in it, as in "train.parquet/7".
    fields: the columns in ``batch.fields``, read when somebody asks; all others where not given.
    Opening reads the footers, labels and keys. A row group's images are read when the first of them is needed, and
    kept until ``cache_bytes`` are held (the last one always): read in order or with ``shuffle(window=)``, each once.
    A null image, and those of a row group that cannot be read, are failures of their items.
    Raises PlanError for a column that is not there, SourceError for a file that is no Parquet file.
    """
    return ParquetSource(files, image, label, key, fields, root, classes, cache_bytes)
