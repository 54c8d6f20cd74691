"""Arrays that a step of an order holds: compared and hashed by content, never changed; a bitmap that can be indexed."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.order.cipher import Indices

__all__ = ["Bitmap", "Held"]

BLOCK = 64  # bytes of a bitmap between two counts
ONES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little").sum(axis=1).astype(np.uint8)


def _places() -> npt.NDArray[np.uint8]:
    """At [byte, k], the place of the byte's k-th set bit; 8 where it has fewer."""
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
    return np.array([[*np.flatnonzero(row), *[8] * 8][:8] for row in bits], dtype=np.uint8)


PLACES = _places()


class Held:
    """A NumPy array as a value: read-only, equal and hashed by its bytes, dtype and shape; picklable."""

    __slots__ = ("__dict__", "array")

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self.array = np.ascontiguousarray(array)
        if self.array.flags.writeable:
            self.array = self.array.copy() if self.array is array else self.array
            self.array.flags.writeable = False

    @cached_property
    def digest(self) -> str:
        """sha256, in hex, of dtype, shape and bytes."""
        sha = hashlib.sha256(f"{self.array.dtype.str} {self.array.shape}\n".encode())
        sha.update(self.array.data)
        return sha.hexdigest()

    def __len__(self) -> int:
        return len(self.array)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Held) and (self is other or self.digest == other.digest)

    def __hash__(self) -> int:
        return hash(self.digest)

    def __reduce__(self) -> tuple[type[Held], tuple[npt.NDArray[Any]]]:
        return type(self), (self.array,)

    def __repr__(self) -> str:
        return f"<{self.array.dtype} {list(self.array.shape)} {self.digest[:12]}>"


class Bitmap(Held):
    """Which of ``n`` positions are chosen, a bit each, with a count every 64 bytes so that any of them is found.

    >>> Bitmap.of(np.array([False, True, True, False, True])).select(np.array([0, 2]))
    array([1, 4])
    """

    __slots__ = ()

    @classmethod
    def of(cls, chosen: npt.NDArray[np.bool_]) -> Bitmap:
        """From bool [n]."""
        return cls(np.packbits(chosen, bitorder="little"))

    @cached_property
    def _before(self) -> Indices:
        """How many are chosen before each block, and in all: int64 [blocks + 1]."""
        whole = len(self.array) // BLOCK * BLOCK
        counts = ONES[self.array[:whole]].reshape(-1, BLOCK).sum(axis=1, dtype=np.int64)
        rest = ONES[self.array[whole:]].sum(dtype=np.int64)
        return np.concatenate([[0], np.cumsum([*counts.tolist(), int(rest)])]).astype(np.int64)

    @property
    def chosen(self) -> int:
        """How many are chosen."""
        return int(self._before[-1])

    def select(self, ranks: Indices) -> Indices:
        """The position of the chosen one number ``ranks`` (0 to ``chosen - 1``), int64 [k]."""
        block = np.searchsorted(self._before, ranks, side="right") - 1
        rank = ranks - self._before[block]
        starts = block[:, None] * BLOCK + np.arange(BLOCK)
        inside = self.array[np.minimum(starts, len(self.array) - 1)]
        upto = np.cumsum(ONES[inside], axis=1, dtype=np.int64)
        byte = np.argmax(upto > rank[:, None], axis=1)
        rows = np.arange(len(ranks))
        value = inside[rows, byte]
        rank = rank - (upto[rows, byte] - ONES[value])
        found: Indices = (block * BLOCK + byte) * 8 + PLACES[value, rank]
        return found
