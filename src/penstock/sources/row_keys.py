"""Keys that need no memory: the name of the table's file and the row in it."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["RowKeys"]


class RowKeys:
    """``file.parquet/7``: the file's name, and the row in that file, from 0.

    Names are the shortest ends of the paths that tell the files apart.

    >>> keys = RowKeys(["/data/a.parquet", "/data/b.parquet"], np.array([0, 3, 5]))
    >>> keys.key(4), keys.find("b.parquet/1"), keys.find("b.parquet/2")
    ('b.parquet/1', 4, None)
    """

    def __init__(self, files: Sequence[str], starts: npt.NDArray[np.int64]) -> None:
        self.names = _short_names(files)
        self.starts = starts  # first row of each file, and how many there are in all

    def key(self, index: int) -> str:
        """The key of one row."""
        file = int(np.searchsorted(self.starts, index, side="right")) - 1
        return f"{self.names[file]}/{index - int(self.starts[file])}"

    def find(self, key: str) -> int | None:
        """The row with this key."""
        name, _, number = key.rpartition("/")
        if not (number.isascii() and number.isdigit()) or name not in self.names or str(int(number)) != number:
            return None
        file = self.names.index(name)
        row = int(self.starts[file]) + int(number)
        return row if row < int(self.starts[file + 1]) else None

    def near(self, key: str) -> list[str]:
        """Keys of the files whose names begin alike."""
        count = int(self.starts[-1])
        ends = {0, count - 1, *(int(start) for start in self.starts[1:-1])}
        return [self.key(row) for row in sorted(ends) if 0 <= row < count][:2000]


def _short_names(files: Sequence[str]) -> list[str]:
    parts = [file.replace(os.sep, "/").split("/") for file in files]
    for count in range(1, max(map(len, parts), default=1) + 1):
        names = ["/".join(each[-count:]) for each in parts]
        if len(set(names)) == len(names):
            return names
    # The same file twice: numbered, so that each row has a key of its own.
    return [f"{'/'.join(each)}#{number}" for number, each in enumerate(parts)]
