"""What each item is called in a shard: its key without the extension, as WebDataset can read it, and nobody else's."""

from __future__ import annotations

import hashlib
import os
import re
from typing import NamedTuple

import numpy as np

from penstock.sources.source import Source
from penstock.sources.tar import IMAGE_EXTENSIONS

__all__ = ["Names", "parted", "plain_name"]

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "jpg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF8", "gif"),
    (b"BM", "bmp"),
    (b"II*\0", "tif"),
    (b"MM\0*", "tif"),
    (b"\0\0\0\x0cjP  ", "jp2"),
    (b"\xff\x0a", "jxl"),
    (b"\0\0\0\x0cJXL ", "jxl"),
    (b"qoif", "qoi"),
    (b"\x01\xda", "sgi"),
    (b"8BPS", "psd"),
    (b"DDS ", "dds"),
    (b"icns", "icns"),
    (b"\0\0\1\0", "ico"),
)
_BRANDS = {b"avif": "avif", b"avis": "avif", b"heic": "heic", b"heix": "heic", b"mif1": "heif", b"msf1": "heif"}


def extension_of(data: bytes) -> str | None:
    """The usual extension of a picture by its first bytes, None where they are no picture's.

    >>> extension_of(b"GIF89a..."), extension_of(b"<html>")
    ('gif', None)
    """
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12])
    if re.match(rb"P[1-6]\s", data):
        return "pnm"
    return next((extension for magic, extension in _MAGIC if data.startswith(magic)), None)


def parted(key: str) -> tuple[str, str]:
    """A key and the extension of a picture at its end, as written; an empty one where there is none.

    >>> parted("cat/1.JPG"), parted("train.parquet/7")
    (('cat/1', 'JPG'), ('train.parquet/7', ''))
    """
    stem, point, extension = key.rpartition(".")
    return (stem, extension) if point and extension.lower() in IMAGE_EXTENSIONS else (key, "")


def plain_name(stem: str) -> str:
    """A name that WebDataset reads back whole: no point in its last part, no hidden part, no way out of the folder.

    >>> plain_name("a/img.v2"), plain_name("/x/../.y/1"), plain_name("__meta__")
    ('a/img_v2', 'x/_y/1', '_meta__')
    """
    parts = [part for part in stem.split("/") if part not in ("", ".", "..")] or ["item"]
    parts = [f"_{part[1:]}" if part.startswith(".") else part for part in parts]
    parts[-1] = parts[-1].replace(".", "_")
    name = "/".join(parts)
    return re.sub(r"^__+", "_", name)  # which WebDataset takes for its own entries


class Name(NamedTuple):
    """An item's name, without an extension, and the extension that its key has."""

    stem: str
    extension: str


class Names:
    """The name of every item of a source, each its own; only those that two items would have are held.

    Of items with one name the first keeps it, the others get a number: ``1.jpg`` and ``1.png`` are "1" and "1-2". The
    folder that all absolute paths have in common is left out. ``renamed`` says whether some name is not its key without
    the extension.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._root = _common_root(source)
        self._numbered: dict[int, str] = {}
        self.renamed = bool(self._root)
        count = len(source)
        hashes = np.empty(count, dtype=np.uint64)
        for index, key in enumerate(source.keys()):
            stem = parted(key)[0]
            name = plain_name(stem.removeprefix(self._root))
            self.renamed = self.renamed or name != stem
            hashes[index] = _hash(name)
        order = np.argsort(hashes, kind="stable")
        again = order[1:][hashes[order[1:]] == hashes[order[:-1]]]
        if len(again):
            self.renamed = True
            self._number(sorted(again.tolist()), hashes[order])

    def _number(self, again: list[int], known: np.ndarray[tuple[int], np.dtype[np.uint64]]) -> None:
        new: set[int] = set()
        last: dict[str, int] = {}
        for index in again:
            name = self._plain(index)
            number = last.get(name, 1)
            while True:
                number += 1
                tried = f"{name}-{number}"
                found = _hash(tried)
                place = int(np.searchsorted(known, np.uint64(found)))
                if found not in new and not (place < len(known) and int(known[place]) == found):
                    break
            last[name] = number
            new.add(found)
            self._numbered[index] = tried

    def _plain(self, index: int) -> str:
        return plain_name(parted(self._source.key(index))[0].removeprefix(self._root))

    def name(self, index: int) -> Name:
        """The name of the item at ``index``."""
        key = self._source.key(index)
        return Name(self._numbered.get(index) or self._plain(index), parted(key)[1])


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(os.fsencode(name), digest_size=8).digest(), "little")


def _common_root(source: Source) -> str:
    """The folder of all absolute paths among the keys, with a slash at its end; empty where there are none."""
    folders = {os.path.dirname(key) for key in source.keys() if key.startswith("/")}  # noqa: SIM118 - not a mapping
    root = os.path.commonpath(folders) if folders else ""
    return f"{root.rstrip('/')}/" if root else ""
