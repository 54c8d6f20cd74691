"""Reading one item's bytes in Python: the twin of the native ``read_file``, with its causes and its sentences."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

import numpy as np

from penstock.sources.source import Locations, Source
from penstock.types import UInt8Image

__all__ = ["MAX_FILE_BYTES", "ReadError", "read_file", "read_head", "read_item", "read_located", "read_range"]

MAX_FILE_BYTES = 1 << 31
"""The largest encoded file that is read."""

_CHUNK = 1 << 30


class ReadError(Exception):
    """Why an item's bytes could not be had: ``cause`` to group by, ``message`` what follows "read of 'key': "."""

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(cause, message)
        self.cause = cause
        self.message = message


def read_item(source: Source, index: int) -> bytes:
    """The encoded bytes of one item; ReadError where they cannot be had, IndexError outside the source."""
    found = read_located(source.locate(np.array([index], dtype=np.int64)), 0)
    if isinstance(found, bytes):
        return found
    raise ReadError("not encoded", "expected encoded bytes, found an image that is decoded already")


def read_located(located: Locations, row: int) -> bytes | UInt8Image:
    """The encoded bytes, or the decoded image, of one row of what ``locate`` gave; ReadError where there is none."""
    if row in located.problems:
        raise ReadError(*located.problems[row])
    if located.blobs is not None:
        return located.blobs[row]
    if located.arrays is not None:
        return located.arrays[row]
    if located.paths is not None:
        path = located.paths.path(row)
        if located.ranges is None:
            return read_file(path)
        return read_range(path, int(located.ranges.starts[row]), int(located.ranges.sizes[row]))
    for rows, part in located.parts or ():
        within = np.flatnonzero(rows == row)
        if within.size:
            return read_located(part, int(within[0]))
    raise ReadError("not located", "expected a place to read from, found none")


def read_range(path: bytes, start: int, size: int, max_file_bytes: int = MAX_FILE_BYTES) -> bytes:
    """``size`` bytes of a regular file from ``start`` on; ReadError as ``read_file``, and where there are fewer."""
    return _read(path, lambda descriptor: _read_part(descriptor, start, size, max_file_bytes))


def read_file(path: bytes, max_file_bytes: int = MAX_FILE_BYTES) -> bytes:
    """The bytes of a regular file; ReadError for anything else. Never blocks on a FIFO or a device."""
    return _read(path, lambda descriptor: _read_all(descriptor, max_file_bytes))


def read_head(path: bytes, count: int) -> bytes:
    """The first ``count`` bytes of a regular file, fewer where it ends before; ReadError as ``read_file``."""
    return _read(path, lambda descriptor: _read_first(descriptor, count))


def _read(path: bytes, take: Callable[[int], bytes]) -> bytes:
    flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
    try:
        # Windows has text descriptors unless told otherwise.
        descriptor = os.open(path, flags | getattr(os, "O_BINARY", 0))
    except OSError as error:
        raise _of_error(error) from None
    try:
        return take(descriptor)
    except OSError as error:
        raise _of_error(error) from None
    except MemoryError:
        raise ReadError("out of memory", "expected memory for the file, found none") from None
    finally:
        os.close(descriptor)


def _regular_size(descriptor: int) -> int:
    about = os.fstat(descriptor)
    if not stat.S_ISREG(about.st_mode):
        raise ReadError("not a regular file", f"expected a regular file, found {_kind_of(about.st_mode)}")
    return about.st_size


def _read_first(descriptor: int, count: int) -> bytes:
    _regular_size(descriptor)
    return os.read(descriptor, count)


def _read_all(descriptor: int, max_file_bytes: int) -> bytes:
    expected = _regular_size(descriptor)
    if expected > max_file_bytes:
        raise _too_large(max_file_bytes, expected)
    parts: list[bytes] = []
    have = 0
    # A byte more than the file says: one that grows is read to its end, one that does not needs no second part.
    while part := os.read(descriptor, min(_CHUNK, max(expected - have, 0) + 1)):
        parts.append(part)
        have += len(part)
        if have > max_file_bytes:
            raise _too_large(max_file_bytes, have)
    if have < expected:
        raise ReadError("short read", f"expected {_bytes(expected)}, found {_bytes(have)}")
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _read_part(descriptor: int, start: int, size: int, max_file_bytes: int) -> bytes:
    if size > max_file_bytes:
        raise _too_large(max_file_bytes, size)
    file_bytes = _regular_size(descriptor)
    available = max(file_bytes - start, 0)
    if size > available:
        raise _short_part(size, start, available)
    os.lseek(descriptor, start, os.SEEK_SET)
    parts: list[bytes] = []
    have = 0
    while have < size and (part := os.read(descriptor, min(_CHUNK, size - have))):
        parts.append(part)
        have += len(part)
    if have < size:
        raise _short_part(size, start, have)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _short_part(expected: int, start: int, found: int) -> ReadError:
    place = f" at offset {start}" if start else ""
    return ReadError("short read", f"expected {_bytes(expected)}{place}, found {_bytes(found)}")


def _too_large(limit: int, found: int) -> ReadError:
    return ReadError("too large", f"expected at most {_bytes(limit)}, found {_bytes(found)}")


def _of_error(error: OSError) -> ReadError:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return ReadError("not found", "expected a file, found no such file")
    if error.errno in (errno.EACCES, errno.EPERM):
        return ReadError("permission denied", "expected a readable file, found permission denied")
    if error.errno == errno.ENXIO:
        return ReadError("not a regular file", "expected a regular file, found a socket or a device")
    if error.errno == errno.ENOMEM:
        return ReadError("out of memory", "expected a readable file, found the system out of memory")
    text = os.strerror(error.errno) if error.errno else str(error)
    return ReadError("read error", f'expected a readable file, found "{text}"')


def _kind_of(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a directory"
    if stat.S_ISFIFO(mode):
        return "a FIFO"
    if stat.S_ISSOCK(mode):
        return "a socket"
    return "a device" if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else "something else"


def _bytes(count: int) -> str:
    return f"{count} byte{'' if count == 1 else 's'}"
