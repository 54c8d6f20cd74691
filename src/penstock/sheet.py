"""Pictures to look at: one row as an image, a batch as a contact sheet."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from penstock.tensors import host

if TYPE_CHECKING:
    from penstock.types import Row

_CAPTION_HEIGHT = 14
_GAP = 4
_MAX_SIDE = 256
_BLANK_SIDE = 64


def picture(
    image: npt.NDArray[Any], layout: str, statistics: tuple[tuple[float, ...], tuple[float, ...]] | None
) -> Image.Image:
    """An image array as a Pillow picture: L, RGB or RGBA, as it has 1, 3 or 4 channels.

    Normalisation is undone with its statistics (mean, std), 16 bits become 8, then what is out of range is clipped. An
    image without a pixel, that of a failed row, is a small grey square.
    """
    image = host(image)
    pixels = image if layout == "NHWC" else np.moveaxis(image, 0, -1)
    if pixels.size == 0:
        return Image.new("RGB", (_BLANK_SIDE, _BLANK_SIDE), "lightgrey")
    if pixels.dtype != np.uint8:
        values = pixels.astype(np.float64)
        if pixels.dtype == np.uint16:
            values /= 257.0
        elif statistics is not None:
            mean, std = statistics
            values = (values * np.asarray(std) + np.asarray(mean)) * 255.0
        pixels = np.clip(np.rint(np.nan_to_num(values)), 0, 255).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels))


def beside(pictures: Sequence[Image.Image]) -> Image.Image:
    """Pictures of one size in a row; a grey square where there are none."""
    if not pictures:
        return Image.new("RGB", (_BLANK_SIDE, _BLANK_SIDE), "lightgrey")
    width, height = pictures[0].size
    row = Image.new(pictures[0].mode, (width * len(pictures), height))
    for number, each in enumerate(pictures):
        row.paste(each, (number * width, 0))
    return row


def joined(patches: npt.NDArray[Any], size: int, rows: int, columns: int) -> npt.NDArray[Any]:
    """The image [H, W, C] that patches [P, size * size * C] were cut from, of a grid of rows x columns."""
    channels = patches.shape[1] // (size * size)
    squares = host(patches)[: rows * columns].reshape(rows, columns, size, size, channels)
    return squares.transpose(0, 2, 1, 3, 4).reshape(rows * size, columns * size, channels)


def contact_sheet(rows: Sequence[Row]) -> Image.Image:
    """The rows in a grid as near to square as it comes, with key and class; invalid ones are crossed out in red."""
    if not rows:
        return Image.new("RGB", (_MAX_SIDE, _CAPTION_HEIGHT), "white")
    thumbnails = []
    for row in rows:
        thumbnail = row.show()
        thumbnail.thumbnail((_MAX_SIDE, _MAX_SIDE))
        thumbnails.append(thumbnail)
    columns = math.ceil(math.sqrt(len(rows)))
    cell_width = max(t.width for t in thumbnails) + _GAP
    cell_height = max(t.height for t in thumbnails) + _CAPTION_HEIGHT + _GAP
    sheet = Image.new("RGB", (columns * cell_width, math.ceil(len(rows) / columns) * cell_height), "white")
    draw = ImageDraw.Draw(sheet)
    for position, (row, thumbnail) in enumerate(zip(rows, thumbnails, strict=True)):
        left = position % columns * cell_width
        top = position // columns * cell_height
        sheet.paste(thumbnail, (left, top), thumbnail if thumbnail.mode == "RGBA" else None)
        if not row.valid:
            corners = (left, top, left + thumbnail.width - 1, top + thumbnail.height - 1)
            draw.line(corners, fill="red", width=2)
            draw.line((corners[0], corners[3], corners[2], corners[1]), fill="red", width=2)
        characters = max(4, cell_width // 7)
        draw.text((left, top + thumbnail.height + 1), _caption(row, characters), fill="black")
    return sheet


def _caption(row: Row, characters: int) -> str:
    # The bitmap font knows Latin-1 only; the tail of a key tells more than its head.
    key = row.key.encode("ascii", "backslashreplace").decode("ascii")
    word = row.fields.get("class") or ("" if row.label < 0 else row.label)
    text = key if word == "" or key.startswith(f"{word}/") else f"{word} {key}"
    return text if len(text) <= characters else "..." + text[-(characters - 3) :]


def png(image: Image.Image) -> bytes:
    """The picture as PNG bytes."""
    stream = io.BytesIO()
    image.save(stream, format="PNG")
    return stream.getvalue()
