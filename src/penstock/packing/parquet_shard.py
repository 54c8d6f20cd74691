"""A shard that is a Parquet file of Hugging Face's kind: images as bytes and path, labels with their names."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from penstock.errors import PlanError
from penstock.packing.samples import Sample, json_bytes, own_fields
from penstock.packing.shard import ShardWriter
from penstock.sources.arrow import ArrowSource
from penstock.sources.source import Source
from penstock.types import Failure

__all__ = ["ParquetShard", "ParquetTable"]

_GROUP_ROWS = 1000
_GROUP_BYTES = 32 << 20
_PIECE = 4096  # rows looked at together
_OWN = ("image", "label", "key")


class ParquetTable:
    """The columns of a packing's Parquet files: the same in each, whatever it holds."""

    def __init__(self, source: Source) -> None:
        try:
            import pyarrow as pa
            import pyarrow.parquet
        except ImportError:
            raise PlanError(
                "pack(to='parquet'): expected the package pyarrow, found none; python -m pip install pyarrow."
            ) from None
        self.labelled = source.has_labels
        fields = {"image": pa.struct([("bytes", pa.binary()), ("path", pa.string())])}
        features: dict[str, Any] = {"image": {"_type": "Image"}}
        if self.labelled:
            fields["label"] = pa.int64()
            features["label"] = {"dtype": "int64", "_type": "Value"}
            if source.classes is not None:
                features["label"] = {"names": list(source.classes), "_type": "ClassLabel"}
        fields["key"] = pa.string()
        features["key"] = {"dtype": "string", "_type": "Value"}
        self.columns: dict[str, str] = {}  # of the file, by field
        self._as_json: set[str] = set()
        types, described = _types(source)
        for name, kind in types.items():
            column = name if name not in _OWN else f"{name}_"
            self.columns[name] = column
            if kind is None:
                self._as_json.add(name)
            fields[column] = pa.string() if kind is None else kind
            if name in described:
                features[column] = described[name]
        metadata = {"huggingface": json.dumps({"info": {"features": features}})}
        self.schema = pa.schema(list(fields.items()), metadata=metadata)

    def table(self, samples: Sequence[Sample]) -> Any:
        """Some samples as an Arrow table."""
        import pyarrow as pa

        columns: dict[str, list[Any]] = {
            "image": [{"bytes": each.data, "path": f"{each.name}.{each.extension}"} for each in samples],
            "key": [_text(each.about.key) for each in samples],
        }
        if self.labelled:
            columns["label"] = [each.about.label if each.about.label >= 0 else None for each in samples]
        for name, column in self.columns.items():
            columns[column] = [self._value(name, each.about.fields.get(name)) for each in samples]
        arrays = [pa.array(columns[field.name], type=field.type) for field in self.schema]
        return pa.Table.from_arrays(arrays, schema=self.schema)

    def _value(self, name: str, value: Any) -> Any:
        if name in self._as_json:
            return None if value is None else json_bytes(value).decode()
        return _plain(value)


class ParquetShard(ShardWriter):
    """Row groups of at most 1,000 rows or 32 MiB; images are not compressed, which they are already."""

    def __init__(self, folder: str, name: str, table: ParquetTable) -> None:
        import pyarrow.parquet

        pq: Any = pyarrow.parquet
        super().__init__(folder, name)
        self._table = table
        plain = ["label", "key", *table.columns.values()]
        self._writer = pq.ParquetWriter(
            self._file,
            table.schema,
            compression={"image.bytes": "NONE", "image.path": "SNAPPY", **dict.fromkeys(plain, "SNAPPY")},
            use_dictionary=[name for name in plain if name in table.schema.names],
        )
        self._waiting: list[Sample] = []
        self._waiting_bytes = 0
        self._bytes = 0

    def bytes_with(self, sample: Sample) -> int:
        """The bytes of the images and of what is beside them, before they are compressed."""
        return self._bytes + _size(sample)

    def _add(self, sample: Sample) -> None:
        self._waiting.append(sample)
        self._waiting_bytes += len(sample.data)
        self._bytes += _size(sample)
        if len(self._waiting) >= _GROUP_ROWS or self._waiting_bytes >= _GROUP_BYTES:
            self._write()

    def _write(self) -> None:
        if self._waiting:
            self._writer.write_table(self._table.table(self._waiting), row_group_size=len(self._waiting))
        self._waiting = []
        self._waiting_bytes = 0

    def _end(self) -> None:
        self._write()
        self._writer.close()

    def drop(self) -> None:
        """Leaves nothing behind."""
        self._waiting = []
        try:
            self._writer.close()
        except Exception:  # noqa: BLE001 - what is thrown away need not be whole
            self._waiting = []
        super().drop()


def _size(sample: Sample) -> int:
    return len(sample.data) + sum(map(len, sample.sidecars.values()))


def _types(source: Source) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arrow's type of each field, None for one that is kept as JSON, and what Hugging Face says of some."""
    names = own_fields(source, raw=False)
    if isinstance(source, ArrowSource):
        schema, features = source.arrow_schema()
        return {name: schema.field(name).type for name in names}, {
            name: feature for name, feature in features.items() if name in names
        }
    return {name: _found_type(name, _values(source, name)) for name in names}, {}


def _values(source: Source, name: str) -> Iterator[list[Any]]:
    for first in range(0, len(source), _PIECE):
        rows = np.arange(first, min(first + _PIECE, len(source)), dtype=np.int64)
        yield [None if isinstance(value, Failure) else _plain(value) for value in source.field(name, rows)]


def _found_type(name: str, pieces: Iterator[list[Any]]) -> Any:
    """The one type that all values have, None where there is none."""
    import pyarrow as pa

    found = pa.null()
    try:
        for values in pieces:
            both = [pa.schema([(name, found)]), pa.schema([(name, pa.array(values).type)])]
            found = pa.unify_schemas(both, promote_options="permissive").field(name).type
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        return None
    return None if _has_empty_struct(found) else pa.string() if pa.types.is_null(found) else found


def _has_empty_struct(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind) and kind.num_fields == 0:
        return True
    return any(_has_empty_struct(kind.field(place).type) for place in range(kind.num_fields))


def _plain(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, dict):
        return {_text(str(name)): _plain(inner) for name, inner in value.items()}
    return _text(value) if isinstance(value, str) else value


def _text(text: str) -> str:
    """Text that is Unicode: a name's bytes that are none as Python writes them."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
