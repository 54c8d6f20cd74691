"""What a file's header says: its format, its size, which way up; no pixel is decoded."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from penstock import _native
from penstock.decode import Decode, DecodeError
from penstock.errors import ItemError, PlanError
from penstock.failures import sentence
from penstock.geometry import upright_size
from penstock.read import ReadError, read_file, read_head

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Header", "header"]

HEAD_BYTES = 64 << 10
"""Where nearly every JPEG's first scan begins; what turns a picture stands before it."""

_FORMATS = {"jpeg": "JPEG", "png": "PNG", "webp": "WEBP"}


@dataclass(frozen=True, slots=True)
class Header:
    """What a header says: ``height`` and ``width`` are of the upright image, as ``decode`` hands it on.

    ``format`` is Pillow's name ("JPEG", "PNG", "TIFF" ...); ``stored_height`` and ``stored_width`` are the file's own,
    before ``orientation`` (1 to 8); ``has_alpha`` says that pixels may be transparent, ``has_icc`` that there is an ICC
    profile.
    """

    format: str
    height: int
    width: int
    stored_height: int
    stored_width: int
    orientation: int = 1
    has_alpha: bool = False
    has_icc: bool = False


def header(data: Any) -> Header:
    """The Header of one encoded image, a path or bytes; JPEG, PNG and WebP natively, the rest by Pillow.

    Reads no more of a JPEG file than its beginning. No limit refuses a size here: ``decode`` has them. Raises ItemError
    for what is no image, or cannot be read, PlanError for anything but a path or bytes.

    >>> import io, PIL.Image
    >>> file = io.BytesIO()
    >>> PIL.Image.new("RGB", (6, 4), "red").save(file, "JPEG")
    >>> found = header(file.getvalue())
    >>> found.format, found.height, found.width
    ('JPEG', 4, 6)
    """
    if isinstance(data, (bytes, bytearray, memoryview)):
        return named_header("image", bytes(data))
    if not isinstance(data, (str, os.PathLike)):
        raise PlanError(f"header(): expected a path or bytes, found {type(data).__name__}.")
    path = os.path.expanduser(os.fsencode(data))
    name = os.fsdecode(path)
    try:
        head = read_head(path, HEAD_BYTES)
        if head.startswith(b"\xff\xd8\xff"):
            found = _native_header(head)
            if found is not None:
                return found
        return named_header(name, read_file(path))
    except ReadError as error:
        raise ItemError(sentence("read", name, error.message)) from None


def named_header(name: str, data: bytes) -> Header:
    """The Header of encoded bytes that an error calls ``name``."""
    found = _native_header(data)
    if found is not None:
        return found
    try:
        return _pillow_header(data)
    except DecodeError as error:
        raise ItemError(sentence("decode", name, error.message)) from None


def _native_header(data: bytes) -> Header | None:
    """What the native reader knows for certain, else None."""
    found = _native.inspect_bytes(data)
    if found["backend"] == "pillow":
        return None
    kind = "MPO" if found["pictures"] > 1 and found["backend"] == "jpeg" else _FORMATS[found["backend"]]
    return _header(kind, found["stored"], found["orientation"], found["has_alpha"], found["has_icc"])


def _pillow_header(data: bytes) -> Header:
    from penstock.decode import opened

    with opened(data, Decode()) as (image, orientation):
        kind = image.format or ""
        has_icc = bool(image.info.get("icc_profile"))
        return _header(kind, _stored_size(image), orientation, image.has_transparency_data, has_icc)


def _stored_size(image: Image.Image) -> tuple[int, int]:
    if image.format == "TIFF":  # Pillow turns these by itself, and says so in their size
        tags: Any = getattr(image, "tag_v2", {})
        width, height = tags.get(256), tags.get(257)
        if isinstance(width, int) and isinstance(height, int):
            return height, width
    return image.height, image.width


def _header(kind: str, stored: tuple[int, int], orientation: int, has_alpha: bool, has_icc: bool) -> Header:
    height, width = upright_size(stored[0], stored[1], orientation)
    return Header(kind, height, width, stored[0], stored[1], orientation, has_alpha, has_icc)
