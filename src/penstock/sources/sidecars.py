"""Files beside an image in a shard: read in bulk, and what their bytes say. Nothing is unpickled."""

from __future__ import annotations

import errno
import io
import json
import os
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["KINDS", "kind_of", "read_ranges", "value_of", "word_or_number"]


def word_or_number(text: str) -> str | int:
    """A class as a whole number where it is written as one.

    >>> word_or_number(" 12 "), word_or_number("tabby cat")
    (12, 'tabby cat')
    """
    stripped = text.strip()
    return int(stripped) if re.fullmatch(r"[+-]?[0-9]{1,18}", stripped) else stripped


def _arrays(data: bytes) -> dict[str, npt.NDArray[Any]]:
    if not data.startswith(b"PK"):
        raise ValueError("expected an archive of arrays, found something else")
    with np.load(io.BytesIO(data), allow_pickle=False) as opened:
        return {name: opened[name] for name in opened.files}


def _array(data: bytes) -> npt.NDArray[Any]:
    if not data.startswith(b"\x93NUMPY"):
        raise ValueError("expected an array, found something else")
    array: npt.NDArray[Any] = np.load(io.BytesIO(data), allow_pickle=False)
    return array


KINDS: dict[str, Callable[[bytes], Any]] = {
    "json": json.loads,
    "cls": lambda data: word_or_number(data.decode("utf-8")),
    "txt": lambda data: data.decode("utf-8"),
    "npy": _array,
    "npz": _arrays,
}
"""What becomes of the bytes, by the last part of the extension."""


def kind_of(extension: str) -> str | None:
    """The kind of a sidecar by its extension, None for what is none.

    >>> kind_of("meta.json"), kind_of("pyd")
    ('json', None)
    """
    last = extension.rpartition(".")[2]
    return last if last in KINDS else None


def value_of(kind: str, data: bytes) -> Any:
    """What a sidecar says; a ValueError as the value where its bytes are not of its kind."""
    try:
        return KINDS[kind](data)
    # A broken archive or a hostile header may raise nearly anything, and is its item's matter alone.
    except Exception as error:  # noqa: BLE001
        reason = " ".join(str(error).split()) or type(error).__name__
        return ValueError(f"expected {kind}, found {len(data)} bytes that are not: {reason}")


def read_ranges(
    paths: list[bytes], shards: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]
) -> list[bytes | OSError]:
    """The bytes of each range, in the order asked for, each shard opened once; an OSError where they cannot be had."""
    found: list[bytes | OSError] = [b""] * len(shards)
    in_order = np.lexsort((offsets, shards))
    starts = np.flatnonzero(np.diff(shards[in_order], prepend=-1))
    for rows in np.split(in_order, starts[1:]) if len(in_order) else []:
        try:
            with open(paths[int(shards[rows[0]])], "rb", buffering=0) as file:
                for row in rows.tolist():
                    found[row] = _read(file, int(offsets[row]), int(sizes[row]))
        except OSError as error:
            for row in rows.tolist():
                found[row] = error
    return found


def _read(file: io.FileIO, offset: int, size: int) -> bytes | OSError:
    try:
        if os.fstat(file.fileno()).st_size < offset + size:
            return OSError(errno.EIO, f"expected {size} bytes at offset {offset}, found the shard shorter")
        file.seek(offset)
        parts, have = [], 0
        while have < size and (part := file.read(size - have)):
            parts.append(part)
            have += len(part)
    except OSError as error:
        return error
    return b"".join(parts)
