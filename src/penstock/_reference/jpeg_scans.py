"""How many scans a JPEG has and what decoding it costs, from its markers: the twin of the native header's limits."""

from __future__ import annotations

__all__ = ["count_scans", "working_bytes"]

START_OF_SCAN, END_OF_IMAGE = 0xDA, 0xD9

CODEC_BASE_BYTES = 64 << 10
COEFFICIENT_BLOCK_BYTES = 128


def count_scans(data: bytes) -> int:
    """Scans of a JPEG up to its end marker; those of a thumbnail inside a segment do not count."""
    scans, at = 0, 2
    while (at := data.find(b"\xff", at)) >= 0:
        while at < len(data) and data[at] == 0xFF:
            at += 1
        if at >= len(data):
            break
        marker = data[at]
        at += 1
        if marker <= 0x01 or 0xD0 <= marker <= 0xD8:
            continue
        if marker == END_OF_IMAGE:
            break
        scans += marker == START_OF_SCAN
        length = int.from_bytes(data[at : at + 2], "big")
        if 2 <= length <= len(data) - at:
            at += length
    return scans


def working_bytes(height: int, width: int, sampling: list[tuple[int, int]], several_scans: bool) -> int:
    """Bytes a decoder needs beside the encoded file and the image: rows in flight; in several scans, coefficients.

    ``sampling`` is (horizontal, vertical) for each component. Blocks are padded to whole sampling units, as
    libjpeg pads them; a block is 64 coefficients of two bytes.
    """
    most_h = max(h for h, _ in sampling)
    most_v = max(v for _, v in sampling)
    units_h = -(-width // (8 * most_h))
    units_v = -(-height // (8 * most_v))
    needed = CODEC_BASE_BYTES + units_h * 8 * most_h * max(3, len(sampling)) * most_v * 8 * 3
    if several_scans:
        needed += sum(units_h * h * units_v * v * COEFFICIENT_BLOCK_BYTES for h, v in sampling)
    return needed
