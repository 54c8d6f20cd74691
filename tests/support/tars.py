"""Tars for the tests of shards: small ones of every writer's kind, and ways to damage them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from run_lines import encoded, pixels

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


@cache
def picture(seed: int) -> bytes:
    return encoded(pixels(20 + seed % 5, 24, seed), "JPEG")


def tar_bytes(members: Iterable[tuple[str, bytes]], kind: str = "pax", end: bool = True) -> bytes:
    """Files in a tar; ``end`` False: without the zero blocks at its end."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=FORMATS[kind], errors="surrogateescape") as file:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
        bare = file.offset
    return out.getvalue() if end else out.getvalue()[:bare]


def samples(count: int, first: int = 0) -> list[tuple[str, bytes]]:
    """Pictures with a class beside each: ``sample-0000.jpg``, ``sample-0000.cls``, ..."""
    found = []
    for number in range(first, first + count):
        found.append((f"sample-{number:04d}.jpg", picture(number)))
        found.append((f"sample-{number:04d}.cls", b"%d" % (number % 3)))
    return found


def offsets(data: bytes) -> dict[str, tuple[int, int, int]]:
    """Where each member of a sound tar is: header, first byte, size."""
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as file:
        return {member.name: (member.offset, member.offset_data, member.size) for member in file.getmembers()}


def written(folder: Path, data: bytes, name: str = "shard.tar") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path
