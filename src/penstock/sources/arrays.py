"""Images that are decoded already."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from penstock.errors import PlanError, SourceError
from penstock.sources.labels import given_labels
from penstock.sources.names import NameTable
from penstock.sources.source import Locations, Source
from penstock.types import UInt8Image

__all__ = ["ArraysSource", "arrays_source"]


class ArraysSource(Source):
    """Images as uint8 [H, W, 3] arrays; nothing is left to read or to decode."""

    kind: ClassVar[str] = "arrays"

    def __init__(
        self,
        arrays: Iterable[UInt8Image] | UInt8Image,
        keys: Sequence[str] | None = None,
        labels: Iterable[str | int] | None = None,
        classes: Iterable[str] | None = None,
    ) -> None:
        if isinstance(arrays, np.ndarray) and arrays.ndim == 3:
            raise PlanError(f"source of arrays: expected a list of images or [N, H, W, 3], found {_shown(arrays)}.")
        images = list(arrays)
        names = [str(index) for index in range(len(images))] if keys is None else [str(key) for key in keys]
        if len(names) != len(images):
            raise SourceError(f"source of arrays: expected {len(images)} keys, found {len(names)}.")
        self._arrays = [_checked(image, key) for image, key in zip(images, names, strict=True)]
        self._table = NameTable.from_names(map(os.fsencode, names))
        self._labels, self.classes = given_labels(self.where, self.keys(), len(self), labels, classes)

    @property
    def where(self) -> str:
        """The word that stands for the arrays in an error sentence."""
        return "arrays"

    def _locate(self, rows: npt.NDArray[np.int64], labels: npt.NDArray[np.int64]) -> Locations:
        return Locations(labels, arrays=[self._arrays[row] for row in rows.tolist()])

    def _hash_content(self, update: Any) -> None:
        import hashlib

        for image in self._arrays:
            update(f"{image.shape}".encode())
            update(hashlib.sha256(image.data).digest())


def _checked(image: object, key: str) -> UInt8Image:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise SourceError(f"source of {key!r}: expected uint8 [H, W, 3], found {_shown(image)}.")
    if image.size == 0:
        raise SourceError(f"source of {key!r}: expected at least one pixel, found {_shown(image)}.")
    return np.ascontiguousarray(image)


def _shown(value: object) -> str:
    return f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__


def arrays_source(
    arrays: Iterable[UInt8Image] | UInt8Image,
    keys: Sequence[str] | None = None,
    labels: Iterable[str | int] | None = None,
    classes: Iterable[str] | None = None,
) -> ArraysSource:
    """Images in memory: a list of uint8 [H, W, 3] arrays of any sizes, or one uint8 [N, H, W, 3] array.

    keys: one for each image; "0", "1", ... where not given. labels: a word or a whole number for each.
    Contiguous arrays are held, not copied: do not write to them while they are in use.
    An empty list is a line of no items, whose runs end at once; only an empty folder is refused.
    Raises SourceError, naming the key, for another dtype or shape, and for keys or labels that do not fit.

    >>> import numpy as np
    >>> source = arrays_source([np.zeros((4, 6, 3), np.uint8)], keys=["black"])
    >>> source[0].key, source.locate(np.array([0])).arrays[0].shape
    ('black', (4, 6, 3))
    """
    return ArraysSource(arrays, keys, labels, classes)
