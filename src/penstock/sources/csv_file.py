"""A CSV file: a row an item, the path of its image in one column."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, ClassVar

import numpy as np

from penstock.errors import PlanError, SourceError
from penstock.sources.labels import Codes, LabelCollector
from penstock.sources.lines import LinesSource, Records
from penstock.sources.listing import AnyPath, folder_of, listed_files, nearest, optional_words
from penstock.sources.source import counted

__all__ = ["CsvSource", "csv_source"]

BOM = b"\xef\xbb\xbf"
WHOLE = re.compile(r"[0-9]{1,18}")
PATH_NAMES = ("path", "image", "image_path", "file", "filename", "file_name")


class _Lines:
    """The lines of a file as text, counted; any bytes are text, so that any path survives."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.offset = file.tell()  # behind the lines that were handed out
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        for line in self.file:
            if self.offset == 0:
                yield self._text(line, line.removeprefix(BOM))
            else:
                yield self._text(line, line)

    def _text(self, line: bytes, text: bytes) -> str:
        self.offset += len(line)
        self.number += 1
        return text.decode("utf-8", "surrogateescape")


class CsvSource(LinesSource):
    r"""Rows of a CSV file; a key is a column's, or the path as it is written."""

    kind: ClassVar[str] = "csv"

    def __init__(
        self,
        file: AnyPath,
        path: str | None = None,
        label: str | None = None,
        root: AnyPath | None = None,
        key: str | None = None,
        fields: Iterable[str] | None = None,
        delimiter: str = ",",
        classes: Iterable[str] | None = None,
    ) -> None:
        if len(delimiter) != 1 or delimiter in '\r\n"':
            raise PlanError(f"source of csv: expected one character as delimiter=, found {delimiter!r}.")
        if label is None and classes is not None:
            raise SourceError("source of csv: expected label= beside classes, found none.")
        self._files = listed_files("csv", file, (".csv", ".tsv"))
        if len(self._files) != 1:
            raise PlanError(f"source of csv: expected one file, found {len(self._files)}; join them, or name one.")
        self._sizes = [os.path.getsize(self._files[0])]
        self._root = None if root is None else os.path.join(os.fsencode(folder_of(root, "")), b"")
        self._delimiter = delimiter
        with open(self._files[0], "rb") as opened:
            self._scan(opened, path, label, key, optional_words(self.where, "fields", fields), classes)

    def _scan(
        self,
        file: BinaryIO,
        path: str | None,
        label: str | None,
        key: str | None,
        fields: tuple[str, ...] | None,
        classes: Iterable[str] | None,
    ) -> None:
        lines = _Lines(file)
        rows = self._rows_of(lines)
        header = next(rows, (0, []))[1]
        if not header:
            raise SourceError(f"source of {self.where}: expected a row of column names first, found an empty file.")
        at_path = self._column("path", self._path_column(path, header), header)
        at_label = None if label is None else self._column("label", label, header)
        at_key = None if key is None else self._column("key", key, header)
        self._image_name = header[at_path]
        if fields is None:
            taken = {at_path, at_label, at_key}
            fields = tuple(name for at, name in enumerate(header) if at not in taken)
        self._fields = fields
        self._places = {name: self._column("fields", name, header) for name in fields}
        records, codes, words = Records(), Codes(), dict[str, int]()
        for begin, cells in rows:
            if len(cells) != len(header):
                raise SourceError(
                    f"source of {self.where}: expected {counted(len(header), 'cell')} in line {lines.number}, as many "
                    f"as there are column names, found {len(cells)}."
                )
            name = cells[at_path].encode("utf-8", "surrogateescape")
            if b"\0" in name:
                raise SourceError(f"source of {self.where}: expected a path in line {lines.number}, found a null byte.")
            records.add(begin, (name,))
            if at_label is not None:
                word = cells[at_label]
                codes.append(words.setdefault(word, len(words)) if word else -1)
            if at_key is not None:
                records.keys.append(cells[at_key].encode("utf-8", "surrogateescape"))
        records.end_of_file()
        self._keep(records, key is not None)
        if at_label is not None:
            self._label_rows(codes, words, classes)

    def _rows_of(self, lines: _Lines) -> Iterator[tuple[int, list[str]]]:
        """Where each row begins, and its cells; rows without a cell are left out."""
        reader = csv.reader(iter(lines), delimiter=self._delimiter, strict=True)
        while True:
            begin = lines.offset
            try:
                cells = next(reader, None)
            except csv.Error as error:
                raise SourceError(
                    f'source of {self.where}: expected a row of cells in line {lines.number}, found "{error}".'
                ) from None
            if cells is None:
                return
            if cells:
                yield begin, cells

    def _path_column(self, path: str | None, header: list[str]) -> str:
        if path is not None:
            return path
        found = [name for name in PATH_NAMES if name in header]
        if len(found) != 1:
            words = ", ".join(map(repr, header))
            raise PlanError(f"source of {self.where}: expected the column of the paths as path=, found {words}.")
        return found[0]

    def _column(self, argument: str, name: str, header: list[str]) -> int:
        if header.count(name) != 1:
            found = f"no {name!r}{nearest(name, header)}" if name not in header else f"{name!r} twice"
            raise PlanError(f"source of {self.where}: expected a column as {argument}=, found {found}.")
        return header.index(name)

    def _label_rows(self, codes: Codes, words: dict[str, int], classes: Iterable[str] | None) -> None:
        """Numbers where every cell is one and no classes are given, else words."""
        collector = LabelCollector(self.where, None if classes is None else tuple(classes))
        numbers = collector.classes is None and all(WHOLE.fullmatch(word) for word in words)
        found = [collector.code(int(word) if numbers else word, f"label {word}") for word in words]
        # One more at the end, where -1 points to.
        values = np.array([*found, -1], dtype=np.int64)
        narrow = values.astype(np.min_scalar_type(-1 - int(values.max())))
        self._labels, self.classes = collector.finish(narrow[codes.build()])

    @property
    def where(self) -> str:
        """The file's name, quoted."""
        return repr(os.path.basename(self._files[0]))

    def describe(self) -> str:
        """One line: the file, rows, classes."""
        classes = "" if self.classes is None else f", {counted(len(self.classes), 'class', 'classes')}"
        return f"csv {self.where}: {counted(len(self), 'row')}{classes}"

    def _record(self, file: BinaryIO, number: int) -> Any:
        return next(self._rows_of(_Lines(file)), (0, []))[1]

    def _value(self, record: Any, name: str) -> Any:
        place = self._places[name]
        if place >= len(record):
            raise SourceError(f"source of {self.where}: expected the file as it was listed, found another row.")
        return record[place]


def csv_source(
    file: AnyPath,
    path: str | None = None,
    label: str | None = None,
    root: AnyPath | None = None,
    key: str | None = None,
    fields: Iterable[str] | None = None,
    delimiter: str = ",",
    classes: Iterable[str] | None = None,
) -> CsvSource:
    r"""Rows of a CSV file whose first row names the columns; one image a row.

    path: the column of the paths; where not named, the one of "path", "image", "image_path", "file", "filename" and
    "file_name" that there is. Relative paths begin at ``root``, or at the file's folder.
    label: a column of labels: whole numbers where every cell is one and no ``classes`` are given, else words, which
    become int64 by ``classes``, sorted where not given. An empty cell is no label.
    key: a column; else the path as written. fields: the columns in ``batch.fields``, as text, read again from the file
    when somebody asks; all others where not given.
    Quotes are CSV's own; the text is UTF-8. No image is opened; a row without a path is a failure of its item.
    Raises PlanError for a column that is not there, SourceError for a row of fewer or more cells, by its line.

    >>> import pathlib, tempfile
    >>> table = pathlib.Path(tempfile.mkdtemp()) / "train.csv"
    >>> _ = table.write_text("path,label,author\na.jpg,cat,Ann\nb.jpg,dog,Bob\n")
    >>> source = csv_source(table, label="label")
    >>> source[1].key, source[1].label, source[1].fields
    ('b.jpg', 1, {'class': 'dog', 'author': 'Bob'})
    """
    return CsvSource(file, path, label, root, key, fields, delimiter, classes)
