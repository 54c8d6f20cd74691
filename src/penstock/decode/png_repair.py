"""A PNG whose words beside the image are damaged: for one wrong checksum there Pillow refuses the whole file."""

from __future__ import annotations

import zlib

__all__ = ["without_broken_chunks"]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHUNK_BYTES = 12  # length, name and checksum
HEADER_BYTES = 13
ANCILLARY = 0x20  # of the name's first letter: the image can be decoded without the chunk


def without_broken_chunks(data: bytes) -> bytes:
    """``data`` without the ancillary chunks before the image data whose checksum is wrong; other files as they are.

    Such a row is marked damaged: the native header finds the same wrong checksum and says so.
    """
    header = data[8 : 8 + CHUNK_BYTES + HEADER_BYTES]
    legal = header[:8] == b"\0\0\0\x0dIHDR" and header[18:20] == b"\0\0" and header[20] <= 1
    if not data.startswith(SIGNATURE) or not legal or not _is_whole(header):
        return data
    kept, at = [data[:8]], 8
    while at + CHUNK_BYTES <= len(data):
        name = data[at + 4 : at + 8]
        chunk = data[at : at + CHUNK_BYTES + int.from_bytes(data[at : at + 4], "big")]
        if name == b"IDAT" or not (name.isalpha() and name.isascii()):
            break
        if _is_whole(chunk):
            kept.append(chunk)
        elif not name[0] & ANCILLARY or len(chunk) != CHUNK_BYTES + int.from_bytes(chunk[:4], "big"):
            return data
        at += len(chunk)
    return b"".join([*kept, data[at:]])


def _is_whole(chunk: bytes) -> bool:
    return zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")
