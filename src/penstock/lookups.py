"""Columns of a batch that are looked up in the source only when somebody reads them: keys and fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.sources.source import Source

__all__ = ["Fields", "Keys"]


class Keys(Sequence[str]):
    """The keys of a batch, looked up in the source when somebody reads them; "" for a blank row."""

    __slots__ = ("_index", "_source")

    def __init__(self, source: Source, index: npt.NDArray[np.int64]) -> None:
        self._source = source
        self._index = index

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, position: Any) -> Any:
        if isinstance(position, slice):
            return [self[i] for i in range(*position.indices(len(self)))]
        index = int(self._index[position])
        return "" if index < 0 else self._source.key(index)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(list(self))

    def __reduce__(self) -> tuple[type[list[str]], tuple[list[str]]]:
        # A batch on its way to another process takes its own keys along, not the whole source.
        return list, (list(self),)


class Fields(Mapping[str, Any]):
    """What the source knows of each row beside bytes and label, by name: read when somebody asks; None where blank."""

    __slots__ = ("_index", "_known", "_source")

    def __init__(
        self, source: Source, index: npt.NDArray[np.int64], known: Mapping[str, Sequence[Any]] | None = None
    ) -> None:
        self._source = source
        self._index = index
        self._known: dict[str, Sequence[Any]] = dict(known or {})  # read already, or made by a stage of the line

    def __getitem__(self, name: str) -> Sequence[Any]:
        if name not in self._known:
            if name not in self._source.field_names:
                raise KeyError(name)
            filled = np.flatnonzero(self._index >= 0)
            values: list[Any] = [None] * len(self._index)
            found = self._source.field(name, self._index[filled])
            for row, value in zip(filled.tolist(), found, strict=True):
                values[row] = value
            self._known[name] = values
        return self._known[name]

    def with_known(self, known: Mapping[str, Sequence[Any]]) -> Fields:
        """The same rows with these fields as well, or in place of those of the same name."""
        return Fields(self._source, self._index, {**self._known, **known})

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self._source.field_names, *self._known)))

    def __len__(self) -> int:
        return len(set(self._source.field_names) | set(self._known))

    def __repr__(self) -> str:
        return f"<fields {', '.join(self) or 'none'}>"

    def __reduce__(self) -> tuple[type[dict[str, Any]], tuple[dict[str, Any]]]:
        # As with the keys: a batch takes its own fields along, not the whole source.
        return dict, ({name: self[name] for name in self},)
