"""JSON Lines: an object a line, the paths of its images in one field."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import Any, BinaryIO, ClassVar

from penstock.errors import SourceError
from penstock.sources.labels import Codes, LabelCollector
from penstock.sources.lines import LinesSource, Records
from penstock.sources.listing import AnyPath, folder_of, listed_files, nearest, optional_words, shown_files
from penstock.sources.source import counted

__all__ = ["JsonlSource", "jsonl_source"]


class JsonlSource(LinesSource):
    """Objects of JSON Lines files; a key is a field's, the path as written, or ``file.jsonl/row``."""

    kind: ClassVar[str] = "jsonl"

    def __init__(
        self,
        files: AnyPath | Iterable[AnyPath],
        images: str = "images",
        root: AnyPath | None = None,
        key: str | None = None,
        label: str | None = None,
        fields: Iterable[str] | None = None,
        classes: Iterable[str] | None = None,
    ) -> None:
        if label is None and classes is not None:
            raise SourceError("source of jsonl: expected label= beside classes, found none.")
        self._files = listed_files("jsonl", files, (".jsonl", ".ndjson"))
        self._sizes = [os.path.getsize(file) for file in self._files]
        self._root = None if root is None else os.path.join(os.fsencode(folder_of(root, "")), b"")
        self._image_name, self._label, self._key_name = images, label, key
        named = optional_words(self.where, "fields", fields)
        collector = LabelCollector(self.where, None if classes is None else tuple(classes))
        records, codes, seen = Records(), Codes(), dict[str, None]()
        for number, path in enumerate(self._files):
            with open(path, "rb") as file:
                self._scan(file, number, records, codes, collector, seen)
            records.end_of_file()
        expected = [name for name in (images, key, label, *(named or ())) if name is not None]
        for name in expected if len(records.begins) else ():
            if name not in seen:
                raise SourceError(
                    f"source of {self.where}: expected a field {name!r} in its objects, found none"
                    f"{nearest(name, seen)}."
                )
        taken = (images, key, label)
        self._fields = tuple(name for name in seen if name not in taken) if named is None else named
        self._keep(records, key is not None)
        if label is not None:
            self._labels, self.classes = collector.finish(codes.build())

    def _scan(
        self,
        file: BinaryIO,
        number: int,
        records: Records,
        codes: Codes,
        collector: LabelCollector,
        seen: dict[str, None],
    ) -> None:
        begin = 0
        for line_number, line in enumerate(file, start=1):
            if line.strip(b" \t\r\n\xef\xbb\xbf"):
                where = f"line {line_number} of {os.path.basename(self._files[number])!r}"
                found = self._object(line, where)
                if not found.keys() <= seen.keys():
                    seen.update(dict.fromkeys(found))
                records.add(begin, self._paths_of(found.get(self._image_name), where))
                if self._label is not None:
                    label = found.get(self._label)
                    codes.append(-1 if label is None else collector.code(label, where))
                if self._key_name is not None:
                    records.keys.append(os.fsencode(str(found.get(self._key_name, ""))))
            begin += len(line)

    def _object(self, line: bytes, where: str) -> dict[str, Any]:
        try:
            found = json.loads(line.removeprefix(b"\xef\xbb\xbf"))
        except (ValueError, RecursionError) as error:
            raise SourceError(f'source of {self.where}: expected a JSON object in {where}, found "{error}".') from None
        if not isinstance(found, dict):
            raise SourceError(f"source of {self.where}: expected a JSON object in {where}, found {_word(found)}.")
        return found

    def _paths_of(self, value: Any, where: str) -> list[bytes]:
        """The paths in a field; null is one image that is missing, an empty list is none."""
        listed = value if isinstance(value, list) else [value]
        for path in listed:
            if path is not None and not (isinstance(path, str) and "\0" not in path):
                raise SourceError(
                    f"source of {self.where}: expected a path or a list of paths in {self._image_name!r} in {where}, "
                    f"found {_word(path)}."
                )
        return [os.fsencode(path or "") for path in listed]

    @property
    def where(self) -> str:
        """The file's name, quoted."""
        return shown_files(self._files)

    def describe(self) -> str:
        """One line: the file or how many, objects, images where those are not one each, classes."""
        files = self.where if len(self._files) == 1 else counted(len(self._files), "file")
        images = f" with {counted(len(self._names), 'image')}" if self.several else ""
        classes = "" if self.classes is None else f", {counted(len(self.classes), 'class', 'classes')}"
        return f"jsonl {files}: {counted(len(self), 'object')}{images}{classes}"

    def _record(self, file: BinaryIO, number: int) -> Any:
        return self._object(file.readline(), repr(os.path.basename(self._files[number])))

    def _value(self, record: Any, name: str) -> Any:
        return record.get(name)


def _word(value: Any) -> str:
    """What a JSON value is, in JSON's words."""
    if value is None:
        return "null"
    words = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "an array"}
    return words.get(type(value), "an object")


def jsonl_source(
    files: AnyPath | Iterable[AnyPath],
    images: str = "images",
    root: AnyPath | None = None,
    key: str | None = None,
    label: str | None = None,
    fields: Iterable[str] | None = None,
    classes: Iterable[str] | None = None,
) -> JsonlSource:
    r"""Objects of JSON Lines files, one a line: a file, a pattern, a folder, or a list of these.

    images: the field with the path of the image, or with a list of paths: several images an item, for
    ``batch(n, images=)``; [] is an item without an image. Relative paths begin at ``root``, or at the file's folder.
    key: a field; else the path as written, or, where items have several, the file's name and the row in it.
    label: a field of whole numbers or words; words become int64 by ``classes``, sorted where not given; null is none.
    fields: the fields in ``batch.fields``, read again from the file when somebody asks; all others where not given; an
    object that lacks one has None. Only offsets, paths, keys and labels are held. Empty lines are left out.
    Raises SourceError for a line that is no JSON object, by file and line, and for a field that no object has.

    >>> import pathlib, tempfile
    >>> table = pathlib.Path(tempfile.mkdtemp()) / "documents.jsonl"
    >>> _ = table.write_text('{"id": "x", "images": ["1.png", "2.png"]}\n{"id": "y", "images": ["3.png"]}\n')
    >>> source = jsonl_source(table, key="id")
    >>> source[0].key, source.image_counts(np.array([0, 1]))
    ('x', array([2, 1]))
    """
    return JsonlSource(files, images, root, key, label, fields, classes)
