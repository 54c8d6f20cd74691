"""Sources that Arrow columns are behind: which column is what, and what its values are."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.errors import PlanError, SourceError
from penstock.sources.cells import Problem, located_cells, not_one_image
from penstock.sources.labels import LabelCollector
from penstock.sources.listing import nearest, optional_words
from penstock.sources.source import Locations, Source

__all__ = ["ArrowSource", "LabelColumn", "column_named", "image_column"]

PATH_NAMES = ("image", "images", "image_path", "path", "file", "file_name", "filename")


class ArrowSource(Source):
    """A source whose images, fields, and perhaps keys are columns of Arrow; a subclass reads their values."""

    _image: str
    _label: str | None
    _key: str | None
    _fields: tuple[str, ...]
    _lists: bool  # the image column holds a list of images an item

    @abc.abstractmethod
    def _scalars(self, column: str, rows: npt.NDArray[np.int64]) -> list[Any]:
        """Arrow's scalars of a column, in the order of ``rows``; a Problem for each that cannot be read."""

    @abc.abstractmethod
    def _roots(self, rows: npt.NDArray[np.int64]) -> list[str]:
        """Where the relative paths of each row begin."""

    @abc.abstractmethod
    def arrow_schema(self) -> tuple[Any, Mapping[str, Any]]:
        """Arrow's schema of all columns, and what the Hugging Face metadata say of each, as they write it."""

    def _choose_key_and_fields(self, names: Sequence[str], key: str | None, fields: Iterable[str] | None) -> None:
        """Which of the columns is the key, and which are fields: where nobody says, all that are nothing else."""
        self._key = None if key is None else column_named(self.where, "key", key, names)
        chosen = optional_words(self.where, "fields", fields)
        if chosen is None:
            chosen = tuple(name for name in names if name not in (self._image, self._label, self._key))
        self._fields = tuple(column_named(self.where, "fields", name, names) for name in chosen)

    @property
    def field_names(self) -> tuple[str, ...]:
        """The columns beside image, label and key; ``class``, where labels have words."""
        return tuple(dict.fromkeys((*super().field_names, *self._fields)))

    def field(self, name: str, indices: npt.NDArray[np.int64]) -> Sequence[Any]:
        """The values of a column as Python has them, None where null; SourceError where they cannot be read."""
        if name not in self._fields:
            return super().field(name, indices)
        values = []
        for row, scalar in zip(indices.tolist(), self._scalars(name, self._rows(indices)), strict=True):
            if isinstance(scalar, Problem):
                raise SourceError(f"source of {self.where}: column {name!r} of {self.key(row)!r}: {scalar.message}.")
            values.append(scalar.as_py())
        return values

    @property
    def several(self) -> bool:
        """True where the image column holds lists."""
        return self._lists

    def image_counts(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The lengths of the lists; a null list is an item without an image."""
        rows = self._rows(indices)
        if not self._lists:
            return np.ones(len(rows), dtype=np.int64)
        return np.array([_length(scalar) for scalar in self._scalars(self._image, rows)], dtype=np.int64)

    def locate_images(self, indices: npt.NDArray[np.int64]) -> Locations:
        """The images of the lists, one after the other."""
        rows = self._rows(indices)
        if not self._lists:
            return self.locate(rows)
        cells = [_images(scalar) for scalar in self._scalars(self._image, rows)]
        counts = [len(each) for each in cells]
        roots = [root for root, count in zip(self._roots(rows), counts, strict=True) for _ in range(count)]
        labels = np.repeat(self.labels(rows), counts)
        return located_cells(labels, [cell for each in cells for cell in each], roots)

    def _locate(self, rows: npt.NDArray[np.int64], labels: npt.NDArray[np.int64]) -> Locations:
        scalars = self._scalars(self._image, rows)
        cells: list[Any]
        if self._lists:
            lists = [_images(scalar) for scalar in scalars]
            cells = [each[0] if len(each) == 1 else Problem(*not_one_image(len(each))) for each in lists]
        else:
            cells = [scalar if isinstance(scalar, Problem) else scalar.as_py() for scalar in scalars]
        return located_cells(labels, cells, self._roots(rows))


def _length(scalar: Any) -> int:
    if isinstance(scalar, Problem):
        return 1  # what could not be read is a failure of its item
    return len(scalar.values) if scalar.is_valid else 0


def _images(scalar: Any) -> list[Any]:
    if isinstance(scalar, Problem):
        return [scalar]
    return scalar.as_py() or []


def column_named(where: str, argument: str, name: object, columns: Sequence[str]) -> str:
    """A column that the user named; PlanError with the nearest where there is none of that name."""
    if not isinstance(name, str):
        raise PlanError(f"source of {where}: expected the name of a column as {argument}=, found {name!r}.")
    if name not in columns:
        raise PlanError(
            f"source of {where}: expected a column as {argument}=, found no {name!r}{nearest(name, columns)}."
        )
    return name


def image_column(where: str, name: object, schema: Any, features: Mapping[str, Any]) -> tuple[str, bool]:
    """The column of the images, and whether it holds lists of them; found by its type where it is not named.

    ``features`` is what the Hugging Face metadata say of each column. Raises PlanError where there is no such column,
    several of them, or one that holds no images.
    """
    kinds = {field.name: _image_kind(field.type) for field in schema}
    if name is not None:
        found = column_named(where, "image", name, schema.names)
        if kinds[found] is None:
            raise PlanError(
                f"source of {where}: expected bytes, paths, structs of both, or lists of these as image={found!r}, "
                f"found {schema.field(found).type}."
            )
        return found, str(kinds[found]).startswith("list of ")
    tiers = (
        [each for each, feature in features.items() if kinds.get(each) and _is_image(feature)],
        [each for each, kind in kinds.items() if kind in ("struct", "list of struct")],
        [each for each, kind in kinds.items() if kind in ("bytes", "list of bytes")],
        [each for each in PATH_NAMES if kinds.get(each) in ("path", "list of path")],
    )
    for tier in tiers:
        if len(tier) == 1:
            return tier[0], str(kinds[tier[0]]).startswith("list of ")
        if tier:
            words = ", ".join(map(repr, tier))
            raise PlanError(f"source of {where}: expected one column of images, found {words}; say which: image=.")
    words = ", ".join(map(repr, schema.names))
    raise PlanError(f"source of {where}: expected a column of images, found {words}; say which: image=.")


def _image_kind(kind: Any) -> str | None:
    """What a column can hold of images, by its type: bytes, path, struct, or a list of one of them."""
    import pyarrow.types as types

    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return "bytes"
    if types.is_string(kind) or types.is_large_string(kind):
        return "path"
    if types.is_struct(kind):
        inside = {field.name: _image_kind(field.type) for field in kind}
        return "struct" if inside.get("bytes") == "bytes" or inside.get("path") == "path" else None
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        inner = _image_kind(kind.value_type)
        return None if inner is None or inner.startswith("list") else f"list of {inner}"
    return None


def _is_image(feature: Any) -> bool:
    if isinstance(feature, list) and len(feature) == 1:
        return _is_image(feature[0])
    if not isinstance(feature, Mapping):
        return False
    return feature.get("_type") == "Image" or _is_image(feature.get("feature"))


class LabelColumn:
    """Collects a column of labels, a piece at a time: whole numbers, or words that become numbers by ``classes``.

    -1 and null are no label. ``names`` are the words of numbers, where the column's metadata have them.
    """

    def __init__(self, where: str, classes: Iterable[str] | None, names: Sequence[str] | None) -> None:
        self.where = where
        self._names = None if names is None else tuple(names)
        self._collector = LabelCollector(where, None if classes is None else tuple(classes))
        self._parts: list[npt.NDArray[np.int64]] = []
        self._rows = 0

    def add(self, array: Any) -> None:
        """One more Arrow array of the column; SourceError for values that are no labels."""
        import pyarrow.types as types

        kind = array.type.value_type if types.is_dictionary(array.type) else array.type
        if types.is_string(kind) or types.is_large_string(kind):
            encoded = array if types.is_dictionary(array.type) else array.dictionary_encode()
            self._add(encoded.dictionary.to_pylist(), encoded.indices.fill_null(-1))
        elif types.is_integer(kind) or types.is_boolean(kind):
            plain = array.dictionary_decode() if types.is_dictionary(array.type) else array
            self._add_numbers(plain.cast("int64").fill_null(-1).to_numpy(zero_copy_only=False))
        elif types.is_null(kind):
            self._append(np.full(len(array), -1, dtype=np.int64))
        else:
            raise SourceError(f"source of {self.where}: expected whole numbers or words as labels, found {array.type}.")

    def _add_numbers(self, numbers: npt.NDArray[np.int64]) -> None:
        names = self._names if self._names is not None else self._collector.classes
        most = np.iinfo(np.int64).max if names is None else len(names) - 1
        outside = np.flatnonzero((numbers < -1) | (numbers > most))
        if outside.size:
            allowed = "from 0 up" if names is None else f"from 0 to {most}, as its {len(names)} names say"
            raise SourceError(
                f"source of {self.where}: expected labels {allowed}, found {numbers[outside[0]]} at row "
                f"{self._rows + int(outside[0])}."
            )
        if self._names is None:
            self._append(numbers)
        else:
            self._add([*self._names, None], numbers)  # -1 is the last of them

    def _add(self, values: Sequence[Any], codes: Any) -> None:
        """The row's label is ``values[code]``, none where the code is -1 or the value None."""
        places = np.asarray(codes, dtype=np.int64).reshape(-1)
        lookup = np.full(len(values) + 1, -1, dtype=np.int64)
        used, firsts = np.unique(places, return_index=True)
        for place, first in sorted(zip(used.tolist(), firsts.tolist(), strict=True), key=lambda pair: pair[1]):
            if place >= 0 and values[place] is not None:
                lookup[place] = self._collector.code(values[place], f"row {self._rows + first}")
        self._append(lookup[places])

    def _append(self, codes: npt.NDArray[np.int64]) -> None:
        self._rows += len(codes)
        self._parts.append(codes.astype(np.min_scalar_type(-1 - int(codes.max(initial=0)))))

    def finish(self) -> tuple[npt.NDArray[Any], tuple[str, ...] | None]:
        """The labels in the smallest dtype that holds them, and the classes."""
        codes = np.concatenate(self._parts) if self._parts else np.zeros(0, dtype=np.int8)
        if self._names is not None and self._collector.classes is None:
            place = {word: number for number, word in enumerate(self._names)}  # their order is the column's own
            order = np.array([*(place[word] for word in self._collector.words), -1], dtype=np.int64)
            return order[codes].astype(np.min_scalar_type(-1 - len(self._names))), self._names
        return self._collector.finish(codes)
