"""Encoded images that are in memory already."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from penstock.errors import PlanError
from penstock.sources.labels import given_labels
from penstock.sources.names import NameTable
from penstock.sources.source import Locations, Source

__all__ = ["BlobsSource", "blobs_source"]

Blob = bytes | bytearray | memoryview


class BlobsSource(Source):
    """Encoded images in memory, by key."""

    kind: ClassVar[str] = "blobs"

    def __init__(
        self,
        blobs: Mapping[str, Blob] | Iterable[Blob],
        labels: Iterable[str | int] | None = None,
        classes: Iterable[str] | None = None,
    ) -> None:
        if isinstance(blobs, (bytes, bytearray, memoryview, str)):
            raise PlanError(f"source of blobs: expected a list or a mapping, found a single {type(blobs).__name__}.")
        if isinstance(blobs, Mapping):
            keys, values = [str(key) for key in blobs], list(blobs.values())
        else:
            values = list(blobs)
            keys = [str(index) for index in range(len(values))]
        for key, value in zip(keys, values, strict=True):
            if not isinstance(value, (bytes, bytearray, memoryview)):
                raise PlanError(f"source of {key!r}: expected bytes, found {type(value).__name__}.")
        self._blobs = [bytes(value) for value in values]
        self._table = NameTable.from_names(map(os.fsencode, keys))
        self._labels, self.classes = given_labels(self.where, self.keys(), len(self), labels, classes)

    @property
    def where(self) -> str:
        """The word that stands for the blobs in an error sentence."""
        return "blobs"

    def _locate(self, rows: npt.NDArray[np.int64], labels: npt.NDArray[np.int64]) -> Locations:
        return Locations(labels, blobs=[self._blobs[row] for row in rows.tolist()])

    def _hash_content(self, update: Any) -> None:
        import hashlib

        for blob in self._blobs:
            update(len(blob).to_bytes(8, "little"))
            update(hashlib.sha256(blob).digest())


def blobs_source(
    blobs: Mapping[str, Blob] | Iterable[Blob],
    labels: Iterable[str | int] | None = None,
    classes: Iterable[str] | None = None,
) -> BlobsSource:
    """Encoded images in memory: ``{key: bytes}``, or a list whose keys are "0", "1", ...

    labels: a word or a whole number for each; words become int64 by ``classes``, sorted where not given.
    bytes are held, not copied; a bytearray or a memoryview is copied.
    An empty list is a line of no items, whose runs end at once; only an empty folder is refused.
    Raises PlanError for values that are not bytes, SourceError for labels that do not fit.

    >>> source = blobs_source({"a": b"first", "b": b"second"})
    >>> len(source), source[1].key
    (2, 'b')
    >>> import numpy as np
    >>> source.locate(np.array([1, 0])).blobs
    [b'second', b'first']
    """
    return BlobsSource(blobs, labels, classes)
