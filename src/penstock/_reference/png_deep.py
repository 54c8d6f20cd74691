"""PNGs of 16 bits in colour, or with alpha: Pillow keeps the high bytes only, so depths 16 and "scale" read them here.

The twin of what native/unpack.cpp does with samples of 16 bits; slow, and readable.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

__all__ = ["deep_rgba"]

CHANNELS = {2: 3, 4: 2, 6: 4}
PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
Bytes = npt.NDArray[np.uint8]


def deep_rgba(data: bytes) -> npt.NDArray[np.uint16] | None:
    """uint16 [H, W, 4] of a PNG of RGB, RGBA or grey with alpha in 16 bits; None for others and for broken data."""
    if data[12:16] != b"IHDR" or len(data) < 33 or data[24] != 16 or data[25] not in CHANNELS:
        return None
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    channels = CHANNELS[data[25]]
    try:
        raw = zlib.decompress(b"".join(found for name, found in _chunks(data) if name == b"IDAT"))
    except zlib.error:
        return None
    samples = np.zeros((height, width, channels), dtype=np.uint16)
    at = 0
    for top, left, down, across in PASSES if data[28] else ((0, 0, 1, 1),):
        part = samples[top::down, left::across]
        if not part.size:
            continue
        rows, row_bytes = part.shape[0], part.shape[1] * channels * 2
        if len(raw) - at < rows * (row_bytes + 1):
            return None
        lines = np.frombuffer(raw, np.uint8, rows * (row_bytes + 1), at).reshape(rows, row_bytes + 1)
        at += lines.size
        unfiltered = _unfiltered(lines, channels * 2)
        if unfiltered is None:
            return None
        part[...] = unfiltered.view(">u2").reshape(part.shape)
    return _as_rgba(samples, next((found for name, found in _chunks(data) if name == b"tRNS"), b""))


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 8
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        at += 12 + size


def _unfiltered(lines: Bytes, pixel_bytes: int) -> Bytes | None:
    """Rows of a kind (0 to 4) and filtered bytes as plain bytes; None for a kind that does not exist."""
    out = np.zeros((lines.shape[0], lines.shape[1] - 1), dtype=np.uint8)
    above = np.zeros(out.shape[1], dtype=np.uint8)
    for line, row in zip(lines, out, strict=True):
        kind, filtered = int(line[0]), line[1:]
        if kind > 4:
            return None
        if kind == 0:
            row[:] = filtered
        elif kind == 1:
            row[:] = np.add.accumulate(filtered.reshape(-1, pixel_bytes), axis=0, dtype=np.uint8).ravel()
        elif kind == 2:
            row[:] = filtered + above
        else:
            _predict(filtered, above, row, pixel_bytes, paeth=kind == 4)
        above = row
    return out


def _predict(filtered: Bytes, above: Bytes, row: Bytes, pixel_bytes: int, *, paeth: bool) -> None:
    """Filters 3 (the average of left and above) and 4 (Paeth's choice), a pixel at a time."""
    left = corner = np.zeros(pixel_bytes, dtype=np.int32)
    for at in range(0, len(row), pixel_bytes):
        up = above[at : at + pixel_bytes].astype(np.int32)
        if paeth:
            to_left, to_up, to_corner = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
            nearest = np.where(to_up <= to_corner, up, corner)
            guess = np.where((to_left <= to_up) & (to_left <= to_corner), left, nearest)
        else:
            guess = (left + up) // 2
        left = (filtered[at : at + pixel_bytes] + guess) & 255
        row[at : at + pixel_bytes] = left
        corner = up


def _as_rgba(samples: npt.NDArray[np.uint16], transparency: bytes) -> npt.NDArray[np.uint16]:
    height, width, channels = samples.shape
    rgba = np.full((height, width, 4), 65535, dtype=np.uint16)
    rgba[..., :3] = samples[..., :3] if channels >= 3 else samples[..., :1]
    if channels != 3:
        rgba[..., 3] = samples[..., -1]
    elif len(transparency) == 6:
        rgba[..., 3] = np.where((samples == np.frombuffer(transparency, ">u2")).all(axis=2), 0, 65535)
    return rgba
