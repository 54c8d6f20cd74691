"""A shard that is a tar, as WebDataset reads it: the members of a sample beside each other, the same bytes always."""

from __future__ import annotations

import os
import tarfile

from penstock.packing.samples import Sample
from penstock.packing.shard import ShardWriter

__all__ = ["TarShard"]

_BLOCK = tarfile.BLOCKSIZE
_RECORD = tarfile.RECORDSIZE
_SHORT_NAME = 100


class TarShard(ShardWriter):
    """GNU's format, which holds names of any length and any bytes; no time, no owner."""

    def bytes_with(self, sample: Sample) -> int:
        """The file's size with one more sample."""
        size = self._file.tell() + 2 * _BLOCK
        for name, data in members(sample):
            length = len(os.fsencode(name))
            long_name = 0 if length <= _SHORT_NAME else _BLOCK + _padded(length + 1)
            size += long_name + _BLOCK + _padded(len(data))
        return -(-size // _RECORD) * _RECORD

    def _add(self, sample: Sample) -> None:
        for name, data in members(sample):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.mode = 0o644
            self._file.write(info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape"))
            self._file.write(data)
            self._file.write(bytes(-len(data) % _BLOCK))

    def _end(self) -> None:
        size = self._file.tell() + 2 * _BLOCK
        self._file.write(bytes(-(-size // _RECORD) * _RECORD - self._file.tell()))


def members(sample: Sample) -> list[tuple[str, bytes]]:
    """The picture, then its sidecars."""
    return [
        (f"{sample.name}.{sample.extension}", sample.data),
        *((f"{sample.name}.{extension}", data) for extension, data in sample.sidecars.items()),
    ]


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK
