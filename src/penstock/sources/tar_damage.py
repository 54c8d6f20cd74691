"""What a damaged shard says of itself, in sentences."""

from __future__ import annotations

import os

from penstock._reference.tar import (
    BAD_EXTENSION,
    CUT_MEMBER,
    MORE,
    NO_END,
    NO_HEADER,
    OVERRUN_MEMBER,
)
from penstock.sources.source import counted

__all__ = ["compression_of", "damage_sentence"]

_COMPRESSED = {
    b"\x1f\x8b": ("gzip", "gunzip --keep"),
    b"BZh": ("bzip2", "bunzip2 --keep"),
    b"\xfd7zXZ\0": ("xz", "unxz --keep"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd"),
    b"\x04\x22\x4d\x18": ("lz4", "unlz4"),
}


def damage_sentence(fault: int, at: int, first: int, second: int) -> str:
    """One place of damage: where, what was expected, what was found.

    >>> damage_sentence(NO_HEADER, 10240, 20480, 0)
    'expected a header at offset 10240, found none; the next is at offset 20480'
    """
    if fault == NO_HEADER:
        rest = "no other behind it" if first < 0 else f"the next is at offset {first}"
        return f"expected a header at offset {at}, found none; {rest}"
    if fault == CUT_MEMBER:
        return f"expected {first} bytes at offset {at}, found the file's end after {second}"
    if fault == OVERRUN_MEMBER:
        return f"expected {first} bytes at offset {at}, found the next header after {second}"
    if fault == NO_END:
        return f"expected two zero blocks at the end, offset {at}, found {'one' if first else 'none'}"
    if fault == MORE:
        blocks = counted(first, "zero block")
        return f"expected the end at offset {at}, found more behind {blocks}, at offset {second}"
    if fault == BAD_EXTENSION:
        return f"expected a record of names and sizes at offset {at}, found one that cannot be read"
    return f'expected readable bytes at offset {at}, found "{os.strerror(first)}"'


def compression_of(path: bytes) -> tuple[str, str] | None:
    """What a file is compressed with, and what decompresses it; None where it is not, or cannot be read."""
    try:
        with open(path, "rb") as file:
            head = file.read(6)
    except OSError:
        return None
    return next((found for magic, found in _COMPRESSED.items() if head.startswith(magic)), None)
