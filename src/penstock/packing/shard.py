"""A shard on its way: written under another name, hashed in passing, then put into its place in one piece."""

from __future__ import annotations

import abc
import contextlib
import hashlib
import io
import os
from typing import Any

from penstock.packing.samples import Sample

__all__ = ["PART", "HashedFile", "ShardWriter", "sync_folder"]

PART = ".part"
_BUFFER = 1 << 20


class HashedFile(io.RawIOBase):
    """A new file that is written from front to back, with the sha256 of what it holds."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._file = open(path, "wb", buffering=_BUFFER)  # noqa: SIM115 - closed with this
        self._sha = hashlib.sha256()
        self._size = 0

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, data: Any) -> int:
        """Adds bytes at the end."""
        view = memoryview(data).cast("B")
        self._sha.update(view)
        self._file.write(view)
        self._size += len(view)
        return len(view)

    def tell(self) -> int:
        """Bytes so far."""
        return self._size

    def flush(self) -> None:
        """Hands over to the system what is buffered."""
        if not self._file.closed:
            self._file.flush()

    def sync(self) -> None:
        """Comes back once the disk has it."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Closes the file."""
        if not self._file.closed:
            self._file.close()
        super().close()

    @property
    def sha256(self) -> str:
        """Of all that was written, in hex."""
        return self._sha.hexdigest()


class ShardWriter(abc.ABC):
    """One shard: samples are added, then it is finished, which puts it into its place, or dropped."""

    def __init__(self, folder: str, name: str) -> None:
        self.name = name
        self.items = 0
        self._folder = folder
        self._made = os.path.join(folder, f".{name}{PART}")
        self._file = HashedFile(self._made)

    @abc.abstractmethod
    def bytes_with(self, sample: Sample) -> int:
        """How large the shard is with one more sample."""

    @abc.abstractmethod
    def _add(self, sample: Sample) -> None: ...

    @abc.abstractmethod
    def _end(self) -> None: ...

    def add(self, sample: Sample) -> None:
        """One more sample."""
        self._add(sample)
        self.items += 1

    def seal(self) -> tuple[int, str]:
        """Writes what comes last, and waits for the disk; the size, and the sha256 in hex."""
        self._end()
        self._file.sync()
        self._file.close()
        return self._file.tell(), self._file.sha256

    def place(self) -> None:
        """Gives the sealed shard its name, for good."""
        os.replace(self._made, os.path.join(self._folder, self.name))
        sync_folder(self._folder)

    def drop(self) -> None:
        """Leaves nothing behind of a shard that is not to be."""
        with contextlib.suppress(Exception):
            self._file.close()
        with contextlib.suppress(OSError):
            os.unlink(self._made)


def sync_folder(folder: str) -> None:
    """Comes back once the disk has the folder's names."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
