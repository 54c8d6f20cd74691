"""What decoding a PNG or a WebP costs, from its header: the twin of the native headers' limits."""

from __future__ import annotations

__all__ = ["png_working_bytes", "webp_working_bytes"]

PNG_BASE_BYTES = 128 << 10
WEBP_BASE_BYTES = 256 << 10
ROW_BYTES_A_PIXEL = 16
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # a pixel of each colour type
ANIMATION_FLAG = 2


def png_working_bytes(data: bytes) -> int:
    """Bytes a decoder needs for a PNG: rows in flight, and the whole image where it is interlaced; 0: unknown."""
    if data[12:16] != b"IHDR" or len(data) < 29 or data[25] not in SAMPLES:
        return 0
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    row = (width * data[24] * SAMPLES[data[25]] + 7) // 8
    return PNG_BASE_BYTES + 3 * row + ROW_BYTES_A_PIXEL * width + (row * height if data[28] else 0)


def webp_working_bytes(data: bytes, height: int, width: int, alpha: bool) -> int:
    """Bytes a decoder needs for a WebP: the whole image; of an animation two canvases and a frame."""
    extended = data[12:16] == b"VP8X"
    if extended and data[20] & ANIMATION_FLAG:
        a_pixel = 12
    elif _image_chunk(data, 30 if extended else 12) == b"VP8L":
        a_pixel = 8
    else:
        a_pixel = 6 if alpha else 3
    return WEBP_BASE_BYTES + height * width * a_pixel


def _image_chunk(data: bytes, at: int) -> bytes:
    """The name of the first chunk from ``at`` on that holds image data, or nothing."""
    while len(data) >= at + 8:
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if name in (b"VP8 ", b"VP8L"):
            return name
        at += 8 + size + (size & 1)
    return b""
