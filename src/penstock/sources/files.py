"""A list of files, in the order given."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from penstock.errors import PlanError, SourceError
from penstock.sources.labels import given_labels
from penstock.sources.names import NameTable, NameTableBuilder
from penstock.sources.source import Locations, PathTable, Source

__all__ = ["FilesSource", "files_source"]

AnyPath = str | bytes | os.PathLike[str] | os.PathLike[bytes]


class FilesSource(Source):
    """Files by path; a key is the path as given."""

    kind: ClassVar[str] = "files"

    def __init__(
        self,
        paths: Iterable[AnyPath],
        labels: Iterable[str | int] | None = None,
        classes: Iterable[str] | None = None,
    ) -> None:
        if isinstance(paths, (str, bytes, os.PathLike)):
            raise PlanError(f"source of files: expected a list of paths, found the single path {os.fsdecode(paths)!r}.")
        builder = NameTableBuilder()
        absolute = 0
        for path in paths:
            try:
                name = os.fsencode(path)
            except TypeError:
                raise PlanError(f"source of files: expected paths, found {type(path).__name__}.") from None
            if not name or b"\0" in name:
                raise SourceError(f"source of files: expected a path, found {os.fsdecode(name)!r}.")
            if name.startswith(b"~"):
                name = os.path.expanduser(name)
            absolute += os.path.isabs(name)
            builder.append(name)
        self._table = builder.build()
        self._paths, self._prefix = _rooted(self._table, absolute)
        self._labels, self.classes = given_labels(self.where, self.keys(), len(self), labels, classes)

    @property
    def where(self) -> str:
        """The word that stands for the list in an error sentence."""
        return "files"

    def _locate(self, rows: npt.NDArray[np.int64], labels: npt.NDArray[np.int64]) -> Locations:
        return Locations(labels, paths=PathTable(self._paths.names, self._paths.offsets, rows, self._prefix))

    def _hash_content(self, update: Any) -> None:
        """Nothing: the paths are the identity, no file is opened."""

    def _place(self) -> object:
        return self._prefix


def _rooted(table: NameTable, absolute: int) -> tuple[NameTable, bytes]:
    """A table and a prefix that together are absolute paths, sharing the keys' memory where they can."""
    here = os.path.join(os.getcwdb(), b"")
    if absolute == len(table):
        return table, b""
    if absolute == 0:
        return table, here
    return NameTable.from_names(os.path.join(here, name) for name in table), b""


def files_source(
    paths: Iterable[AnyPath],
    labels: Iterable[str | int] | None = None,
    classes: Iterable[str] | None = None,
) -> FilesSource:
    """Files by path, in the order given; a key is the path as given, and may repeat.

    paths: str, bytes or path objects; relative ones are taken from the current directory now, not later.
    labels: a word or a whole number for each path; words become int64 by ``classes``, sorted where not given.
    No file is opened and none need exist yet: a missing file is a failure of its item.
    An empty list is a line of no items, whose runs end at once; only an empty folder is refused.
    Raises PlanError for a single path or something that is no path, SourceError for labels that do not fit.

    >>> source = files_source(["a.jpg", b"b.jpg"], labels=["dog", "cat"])
    >>> source[0].key, source[0].label, source.classes
    ('a.jpg', 1, ('cat', 'dog'))
    >>> source.find("b.jpg")
    1
    """
    return FilesSource(paths, labels, classes)
