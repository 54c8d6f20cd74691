"""What an item is called in a cache: the twin of the keys in native/cached.cpp."""

from __future__ import annotations

import os
import struct

from penstock._reference.cache import Key, cache_key

__all__ = ["content_key", "file_key"]

WHOLE_FILE = (1 << 64) - 1


def file_key(path: bytes, about: os.stat_result, recipe: Key, offset: int = 0, length: int = WHOLE_FILE) -> Key:
    """The key of a file, or of some bytes of it: another path, size, time or inode is another item."""
    numbers = (offset, length, about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino)
    return cache_key(b"f" + struct.pack("<6Q", *numbers) + path, recipe)


def content_key(data: bytes, recipe: Key, size: tuple[int, int] | None = None) -> Key:
    """The key of encoded bytes, or of an image of ``size`` (height, width), wherever they come from."""
    high, low = cache_key(data, recipe)
    kind = b"b" if size is None else b"p"
    return cache_key(kind + struct.pack("<QQii", high, low, *(size or (0, 0))), recipe)
