"""Many names as one packed byte string plus offsets: two buffers to fork, pickle and hand to the native core."""

from __future__ import annotations

import io
import os
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["NameTable", "NameTableBuilder"]

_CHUNK = 1 << 16  # rows looked at together
_ENDS, _WIDE_ENDS = "I", "q"  # typecodes of array: 4 bytes while they suffice, then 8


class NameTableBuilder:
    """Collects names one at a time at the cost of their bytes plus four each, eight from 4 GB on."""

    def __init__(self) -> None:
        # Hands its bytes over without a second copy of them, which is what a bytearray would need.
        self._names = io.BytesIO()
        self._ends = array(_ENDS, [0])

    def append(self, name: bytes) -> None:
        """Add one name at the end."""
        self._names.write(name)
        end = self._names.tell()
        try:
            self._ends.append(end)
        except OverflowError:
            self._ends = array(_WIDE_ENDS, self._ends)
            self._ends.append(end)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def key(self, index: int) -> str:
        """The name at ``index`` as text."""
        with self._names.getbuffer() as names:
            return os.fsdecode(bytes(names[self._ends[index] : self._ends[index + 1]]))

    def build(self) -> NameTable:
        """The finished table; the builder is empty afterwards."""
        offsets = np.frombuffer(self._ends, dtype=np.dtype(self._ends.typecode))
        table = NameTable(self._names.getvalue(), offsets)
        self._names, self._ends = io.BytesIO(), array(_ENDS, [0])
        return table


@dataclass(frozen=True, slots=True, eq=False)
class NameTable:
    """Names packed end to end: name ``i`` is ``names[offsets[i]:offsets[i + 1]]``.

    ``offsets`` is uint32 or int64 [n + 1], rises, and ends at ``len(names)``.
    """

    names: bytes
    offsets: npt.NDArray[np.integer[Any]]

    @classmethod
    def from_names(cls, names: Iterable[bytes]) -> NameTable:
        """Pack a list or an iterator of names; an iterator is read once and never held."""
        builder = NameTableBuilder()
        for name in names:
            builder.append(name)
        return builder.build()

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __iter__(self) -> Iterator[bytes]:
        return (self.name(index) for index in range(len(self)))

    @property
    def nbytes(self) -> int:
        """Bytes of memory the two buffers hold."""
        return len(self.names) + self.offsets.nbytes

    def name(self, index: int) -> bytes:
        """The bytes of the name at ``index``, from 0 to ``len - 1``."""
        return self.names[self.offsets[index] : self.offsets[index + 1]]

    def key(self, index: int) -> str:
        """The name at ``index`` as text; bytes that are not text survive as surrogates."""
        return os.fsdecode(self.name(index))

    def slice(self, start: int, stop: int) -> NameTable:
        """Rows ``start`` to ``stop`` as a table of its own, holding only their bytes."""
        start, stop, _ = slice(start, stop).indices(len(self))
        stop = max(start, stop)
        first = int(self.offsets[start])
        return NameTable(self.names[first : int(self.offsets[stop])], self.offsets[start : stop + 1] - first)

    def find(self, name: bytes) -> int | None:
        """The first row that holds exactly ``name``, None where there is none."""
        packed = np.frombuffer(self.names, dtype=np.uint8)
        for first in range(0, len(self), _CHUNK):  # columns as long as the table would cost as much as its offsets
            rows = first + np.flatnonzero(np.diff(self.offsets[first : first + _CHUNK + 1]) == len(name))
            # From the end: paths share their beginnings, so the last bytes thin the candidates out soonest.
            for position in range(len(name) - 1, -1, -1):
                rows = rows[packed[self.offsets[rows] + position] == name[position]]
            if len(rows):
                return int(rows[0])
        return None

    def near(self, name: bytes, most: int = 2000) -> list[str]:
        """Up to ``most`` keys that begin as ``name`` does: candidates for "did you mean"."""
        packed = np.frombuffer(self.names, dtype=np.uint8)
        rows = np.arange(len(self), dtype=np.int64)
        for position in range(len(name)):
            if len(rows) <= most:
                break
            longer = rows[self.offsets[rows + 1] - self.offsets[rows] > position]
            kept = longer[packed[self.offsets[longer] + position] == name[position]]
            if len(kept) == 0:
                break
            rows = kept
        return [self.key(int(row)) for row in rows[:most]]
