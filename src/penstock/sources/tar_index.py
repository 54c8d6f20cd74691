"""What each shard holds, found once and kept: the index of a tar, and the file that it is kept in."""

from __future__ import annotations

import contextlib
import logging
import os
import struct
import zlib
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from penstock import _native
from penstock.errors import SourceError
from penstock.sources.names import NameTable

__all__ = ["SUFFIX", "ShardIndex", "load_indices"]

logger = logging.getLogger("penstock")

Column = npt.NDArray[np.int64]

SUFFIX = ".penstock-index"
"""What an index file's name adds to its shard's."""

MAGIC = b"\x93PSTAR\r\n"
VERSION = 1
_HEAD = struct.Struct("<8sIIQqqq")
_COLUMNS = ("sample", "extension", "offset", "size", "state")
_DTYPES = {"sample": "<i8", "extension": "<i4", "offset": "<i8", "size": "<i8", "state": "u1"}
_MOST_THREADS = 16


@dataclass(frozen=True, slots=True, eq=False)
class ShardIndex:
    """One shard: its samples' keys, and a row a member in tar order.

    ``identity`` is the file's size, mtime and ctime in nanoseconds. ``sample``, ``offset``, ``size`` are int64,
    ``extension`` int32 (a row of ``extensions``), ``state`` uint8 (``_reference/tar.py`` has the numbers). ``classes``
    has the bytes of each member with the extension "cls", in order. ``damage`` is int64 [k, 4]: fault, offset, and two
    numbers by the fault; ``counts`` int64 [6]: links, folders, devices, others, hidden, without extension.

    As a file: magic (8 bytes), version (uint32), CRC-32 of all behind it (uint32), their length (uint64), size, mtime
    and ctime of the shard (int64 each), all little-endian; then each part as its length (uint64) and its bytes, filled
    up with zeros to a multiple of 8: keys, their offsets, extensions, their offsets, the five columns, classes, their
    offsets, damage, counts. The checksum covers the identity too.
    """

    identity: tuple[int, int, int]
    keys: NameTable
    extensions: NameTable
    sample: Column
    extension: npt.NDArray[np.int32]
    offset: Column
    size: Column
    state: npt.NDArray[np.uint8]
    classes: NameTable
    damage: Column
    counts: Column

    @classmethod
    def from_native(cls, found: dict[str, Any]) -> Self:
        """From what the native walk hands over."""
        return cls(
            identity=found["file"],
            keys=NameTable(found["keys"], found["key_offsets"]),
            extensions=NameTable.from_names(found["extensions"]),
            **{name: found[name] for name in _COLUMNS},
            classes=NameTable(found["classes"], found["class_offsets"]),
            damage=found["damage"],
            counts=found["counts"],
        )

    def to_bytes(self) -> bytes:
        """The whole file."""
        tables = [self.keys, self.extensions, self.classes]
        keys, extensions, classes = [(t.names, t.offsets.astype("<i8", copy=False).tobytes()) for t in tables]
        columns = [getattr(self, name).astype(_DTYPES[name], copy=False).tobytes() for name in _COLUMNS]
        numbers = [column.astype("<i8", copy=False).tobytes() for column in (self.damage, self.counts)]
        body = b"".join(
            struct.pack("<Q", len(part)) + part + bytes(-len(part) % 8)
            for part in [*keys, *extensions, *columns, *classes, *numbers]
        )
        checksum = zlib.crc32(body, zlib.crc32(struct.pack("<qqq", *self.identity)))
        return _HEAD.pack(MAGIC, VERSION, checksum, len(body), *self.identity) + body

    @classmethod
    def from_bytes(cls, data: bytes) -> Self | None:
        """From a file's bytes; None where they are not an index of this version, whole and sound."""
        if len(data) < _HEAD.size:
            return None
        magic, version, checksum, length, *identity = _HEAD.unpack_from(data)
        if (magic, version, length) != (MAGIC, VERSION, len(data) - _HEAD.size):
            return None
        if zlib.crc32(memoryview(data)[_HEAD.size :], zlib.crc32(struct.pack("<qqq", *identity))) != checksum:
            return None
        try:
            parts = _parts(data)
            keys, extensions, classes = (
                NameTable(bytes(parts[at]), np.frombuffer(parts[at + 1], "<i8")) for at in (0, 2, 9)
            )
            columns: dict[str, Any] = {
                name: np.frombuffer(parts[4 + at], _DTYPES[name]) for at, name in enumerate(_COLUMNS)
            }
            damage = np.frombuffer(parts[11], "<i8").reshape(-1, 4)
            counts = np.frombuffer(parts[12], "<i8")
        except (ValueError, IndexError, struct.error):
            return None
        size, mtime_ns, ctime_ns = identity
        index = cls(
            identity=(size, mtime_ns, ctime_ns),
            keys=keys,
            extensions=extensions,
            **columns,
            classes=classes,
            damage=damage,
            counts=counts,
        )
        return index if index._sound() else None

    def _sound(self) -> bool:
        """Whether every number stays within what it counts, so that nothing can be read from where nothing is."""
        count = len(self.sample)
        return (
            all(len(getattr(self, name)) == count for name in _COLUMNS)
            and all(_rises(table) for table in (self.keys, self.extensions, self.classes))
            and _within(self.sample, len(self.keys))
            and _within(self.extension, len(self.extensions))
            and _within(self.state, 4)
            and bool((self.offset >= 0).all() and (self.size >= 0).all())
            and len(self.counts) == 6
            and (not len(self.damage) or _within(self.damage[:, 0], 7))
            and len(self.classes) == sum(int((self.extension == row).sum()) for row in self._rows_of(b"cls"))
        )

    def _rows_of(self, extension: bytes) -> list[int]:
        return [row for row, name in enumerate(self.extensions) if name == extension]


def _parts(data: bytes) -> list[memoryview]:
    view = memoryview(data)
    parts, at = [], _HEAD.size
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        if length > len(data) - at - 8:
            raise ValueError
        parts.append(view[at + 8 : at + 8 + length])
        at += 8 + length + -length % 8
    return parts


def _rises(table: NameTable) -> bool:
    ends = table.offsets
    good = len(ends) > 0 and int(ends[0]) == 0 and int(ends[-1]) == len(table.names)
    return good and bool((np.diff(ends) >= 0).all())


def _within(column: npt.NDArray[Any], count: int) -> bool:
    return not len(column) or (int(column.min()) >= 0 and int(column.max()) < count)


def load_indices(where: str, paths: list[bytes], keep: str | os.PathLike[str] | None) -> list[ShardIndex]:
    """The index of each shard, from its file where that is current, else from the shard, and then kept.

    keep: "beside", a folder, or None. Raises SourceError for a shard that cannot be opened.
    """
    indices: list[ShardIndex | None] = [None] * len(paths)
    for row, path in enumerate(paths):
        if keep is not None:
            indices[row] = _kept(path, keep)
    missing = [row for row, index in enumerate(indices) if index is None]
    if missing:
        threads = min(len(missing), len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 4)
        built = _native.index_tars([paths[row] for row in missing], min(threads, _MOST_THREADS))
        for row, found in zip(missing, built, strict=True):
            if found["problem"][1]:
                raise SourceError(f"source of {where}: {found['problem'][2]} at {os.fsdecode(paths[row])!r}.")
            index = ShardIndex.from_native(found)
            indices[row] = index
            if keep is not None:
                _keep(paths[row], keep, index)
    return [index for index in indices if index is not None]


def _places(path: bytes, keep: str | os.PathLike[str]) -> list[bytes]:
    """Where the index of a shard may be, the first that can be written to."""
    import hashlib

    name = os.path.basename(path)
    # Shards of one name in two folders have their index in one cache folder.
    elsewhere = os.fsencode(hashlib.sha256(path).hexdigest()[:16] + "-") + name + os.fsencode(SUFFIX)
    if keep != "beside":
        return [os.path.join(os.path.expanduser(os.fsencode(keep)), elsewhere)]
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return [path + os.fsencode(SUFFIX), os.path.join(os.fsencode(cache), b"penstock", b"tar", elsewhere)]


def _kept(path: bytes, keep: str | os.PathLike[str]) -> ShardIndex | None:
    try:
        about = os.stat(path)
    except OSError:
        return None
    for place in _places(path, keep):
        try:
            with open(place, "rb") as file:
                index = ShardIndex.from_bytes(file.read())
        except OSError:
            continue
        if index is not None and index.identity == (about.st_size, about.st_mtime_ns, about.st_ctime_ns):
            return index
    return None


def _keep(path: bytes, keep: str | os.PathLike[str], index: ShardIndex) -> None:
    """Writes an index in whole or not at all; where nothing can be written, it is built again next time."""
    data = index.to_bytes()
    places = _places(path, keep)
    if not any(_replaced(place, data) for place in places):
        logger.info("no place for the index of %s: tried %s", os.fsdecode(path), os.fsdecode(b", ".join(places)))


def _replaced(place: bytes, data: bytes) -> bool:
    made = place + b".%d-%s" % (os.getpid(), os.urandom(4).hex().encode())
    try:
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open(made, "xb") as file:
            file.write(data)
        os.replace(made, place)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(made)
        return False
    return True
