"""A dataset of the Hugging Face library ``datasets``: its images as they are stored, never decoded by it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from penstock.errors import PlanError
from penstock.sources.arrow import ArrowSource, LabelColumn, column_named, image_column
from penstock.sources.names import NameTable, NameTableBuilder
from penstock.sources.source import counted

__all__ = ["HFSource", "hf_source"]

_PIECE = 65_536  # rows of labels and keys read together


class HFSource(ArrowSource):
    """Rows of a ``datasets.Dataset``; a key is a column's, or the row's number."""

    kind: ClassVar[str] = "hf"

    def __init__(
        self,
        dataset: Any,
        image: str | None = None,
        label: str | None = None,
        key: str | None = None,
        fields: Iterable[str] | None = None,
        classes: Iterable[str] | None = None,
    ) -> None:
        _expect_dataset(dataset)
        # Arrow's columns as they are stored: no image is decoded, and shuffle() and select() have been followed.
        self._dataset = dataset.with_format("arrow")
        features = dataset.features
        schema = features.arrow_schema
        self._image, self._lists = image_column(self.where, image, schema, _described(features))
        self._label = self._label_column(label, features)
        self._choose_key_and_fields(schema.names, key, fields)
        self._schema_words = "\n".join(f"{each.name}: {each.type}" for each in schema)
        self._read_keys_and_labels(classes, features)

    def _label_column(self, label: str | None, features: Mapping[str, Any]) -> str | None:
        if label is not None:
            return column_named(self.where, "label", label, list(features))
        found = [name for name, feature in features.items() if type(feature).__name__ == "ClassLabel"]
        return found[0] if len(found) == 1 else None

    def _read_keys_and_labels(self, classes: Iterable[str] | None, features: Mapping[str, Any]) -> None:
        if self._label is None and classes is not None:
            raise PlanError(f"source of {self.where}: expected label= beside classes, found none.")
        names = None if self._label is None else getattr(features[self._label], "names", None)
        labels, keys = LabelColumn(self.where, classes, names), NameTableBuilder()
        columns = [name for name in (self._label, self._key) if name is not None]
        for table in self._pieces(columns):
            if self._label is not None:
                for chunk in table.column(self._label).chunks:
                    labels.add(chunk)
            if self._key is not None:
                for value in table.column(self._key).to_pylist():
                    keys.append(os.fsencode(str(value)))
        self._keys: NameTable | None = None if self._key is None else keys.build()
        if self._label is not None:
            self._labels, self.classes = labels.finish()

    def _pieces(self, columns: list[str]) -> Iterator[Any]:
        """These columns of all rows, as Arrow tables of some rows each; none where there is no column."""
        if columns:
            chosen = self._dataset.select_columns(columns)
            for first in range(0, len(self), _PIECE):
                yield chosen[first : first + _PIECE]

    def arrow_schema(self) -> tuple[Any, Mapping[str, Any]]:
        """That of the dataset's features."""
        features = self._dataset.features
        return features.arrow_schema, features.to_dict()

    def __len__(self) -> int:
        return len(self._dataset)

    @property
    def where(self) -> str:
        """The words that stand for the dataset in an error sentence."""
        return "a Hugging Face dataset"

    def describe(self) -> str:
        """One line: rows, the column of the images, classes."""
        classes = "" if self.classes is None else f", {counted(len(self.classes), 'class', 'classes')}"
        return f"hf dataset of {counted(len(self), 'row')}, images in {self._image!r}{classes}"

    def key(self, index: int) -> str:
        """The key column's value as text, or the row's number."""
        return str(index) if self._keys is None else self._keys.key(index)

    def _find(self, key: str) -> int | None:
        if self._keys is not None:
            return self._keys.find(os.fsencode(key))
        plain = key.isascii() and key.isdigit() and str(int(key)) == key
        return int(key) if plain and int(key) < len(self) else None

    def _near(self, key: str) -> list[str]:
        return ["0", str(len(self) - 1)] if self._keys is None else self._keys.near(os.fsencode(key))

    def _hash_keys(self, update: Any) -> None:
        if self._keys is not None:
            update(self._keys.offsets.astype("<i8", copy=False).data)
            update(self._keys.names)

    def _hash_content(self, update: Any) -> None:
        """The schema, how long each cell of images is, the first and the last, and which rows were chosen.

        Other rows of one dataset, as ``select(range(...))`` takes them, are another list; no other image is read.
        """
        update(repr((self._schema_words, self._image, len(self))).encode("utf-8", "surrogateescape"))
        for chunk in self._dataset.data.column(self._image).chunks:
            for lengths in _lengths(chunk):
                update(np.ascontiguousarray(lengths.to_numpy(zero_copy_only=False), dtype="<i8").data)
        ends = np.array([0, len(self) - 1] if len(self) else [], dtype=np.int64)
        for cell in self._scalars(self._image, ends):
            update(repr(cell.as_py()).encode("utf-8", "surrogateescape"))
        chosen = getattr(self._dataset, "_indices", None)  # what shuffle() and select() leave behind
        for chunk in [] if chosen is None else chosen.column(0).chunks:
            update(np.ascontiguousarray(chunk.to_numpy(zero_copy_only=False), dtype="<i8").data)

    def _place(self) -> object:
        files = tuple(str(each.get("filename")) for each in self._dataset.cache_files)
        return files, self._image, self._label, self._key, self._fields

    def _roots(self, rows: npt.NDArray[np.int64]) -> list[str]:
        return [os.getcwd()] * len(rows)

    def _scalars(self, column: str, rows: npt.NDArray[np.int64]) -> list[Any]:
        if len(rows) == 0:
            return []
        found = self._dataset.select_columns([column])[rows.tolist()].column(column)
        return [found[place] for place in range(len(rows))]


def _lengths(array: Any) -> Iterator[Any]:
    """The lengths of the bytes, paths and lists in an Arrow array, -1 for null: Arrow's offsets, none of the data."""
    import pyarrow.compute
    import pyarrow.types as types

    pc: Any = pyarrow.compute  # whose functions are made when it is imported
    kind = array.type
    if types.is_struct(kind):
        for place in range(kind.num_fields):
            yield from _lengths(pc.struct_field(array, [place]))
    elif types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        yield pc.list_value_length(array).fill_null(-1)
        yield from _lengths(pc.list_flatten(array))
    elif types.is_binary(kind) or types.is_large_binary(kind) or types.is_string(kind) or types.is_large_string(kind):
        yield pc.binary_length(array).fill_null(-1)


def _expect_dataset(dataset: Any) -> None:
    kind = type(dataset)
    names = {each.__name__ for each in kind.__mro__ if each.__module__.split(".")[0] == "datasets"}
    if names & {"DatasetDict", "IterableDatasetDict"}:
        splits = ", ".join(map(repr, dataset))
        raise PlanError(f"hf(): expected one dataset, found a {kind.__name__} of {splits}; choose one: data['train'].")
    if "IterableDataset" in names:
        raise PlanError(
            "hf(): expected a dataset whose rows can be asked for in any order, found an IterableDataset; load it "
            "without streaming=True, or give its Parquet files to ps.parquet()."
        )
    if "Dataset" not in names:
        raise PlanError(f"hf(): expected a datasets.Dataset, found {kind.__name__}.")


def _described(features: Mapping[str, Any]) -> dict[str, Any]:
    """Features as the metadata of a Parquet file write them, as far as images are concerned."""

    def described(feature: Any) -> Any:
        if isinstance(feature, (list, tuple)) and len(feature) == 1:
            return [described(feature[0])]
        kind, inner = type(feature).__name__, getattr(feature, "feature", None)
        return {"_type": kind} if inner is None else {"_type": kind, "feature": described(inner)}

    return {name: described(feature) for name, feature in features.items()}


def hf_source(
    dataset: Any,
    image: str | None = None,
    label: str | None = None,
    key: str | None = None,
    fields: Iterable[str] | None = None,
    classes: Iterable[str] | None = None,
) -> HFSource:
    """Rows of a Hugging Face ``datasets.Dataset``, in its order, whatever its ``shuffle()`` or ``select()`` made.

    image: the column of the images, found by its feature where not named; lists of images are several images an item,
    for ``batch(n, images=)``. The bytes are taken as they are stored; that library decodes nothing.
    label: a column; a single ClassLabel is found. Its names are the classes, in their order, unless ``classes`` gives
    others; -1 and null are no label.
    key: a column; else the number of the row. fields: the columns in ``batch.fields``; all others where not given.
    Raises PlanError for an IterableDataset, a DatasetDict, and a column that is not there.
    """
    return HFSource(dataset, image, label, key, fields, classes)
