"""The Pillow party's work on one image: bytes to the pixels that a decode asks for, or a sentence why not."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from penstock.decode.options import Decode
from penstock.decode.pixels import is_deep, notes_of, pixels_of, pixels_of_deep_rgba, to_srgb
from penstock.decode.plugins import MissingPluginError, load_plugin
from penstock.pillow_warnings import recorded_warnings
from penstock.sniff import describe_bytes, plugin_format

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["DecodeError", "Decoded", "decode_picture", "decode_pillow", "opened"]

# These need another program (EPS: Ghostscript), Windows' own drawing calls (WMF, EMF), a handler that Pillow does not
# have (BUFR, GRIB, HDF5), or cannot be decoded at all (MPEG). Documents and drawings are programs to run, not pictures
# to decode, whichever plugin somebody registers for them.
REFUSED_FORMATS = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF", "PS", "PDF", "SVG"})

# Formats whose further frames are layers or previews of the first one, which is the whole picture.
ONE_PICTURE = frozenset({"PSD"})

LONGEST_TEXT = 160
TRIES = 5


class DecodeError(Exception):
    """Why bytes did not become pixels: ``cause`` to group by, ``message`` what follows "decode of 'key': "."""

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(cause, message)
        self.cause = cause
        self.message = message


@dataclass(frozen=True, slots=True)
class Decoded:
    """One decoded image: ``pixels`` are uint8 or uint16 [H, W, C], upright, C-contiguous, its own memory.

    ``stored_height`` and ``stored_width`` are the size before ``orientation`` (1 to 8) was applied; a TIFF is turned by
    Pillow itself, so there it is 1. ``notes`` are the legal losses, each once.
    """

    pixels: npt.NDArray[Any]
    stored_height: int
    stored_width: int
    orientation: int
    format: str
    notes: tuple[str, ...]


def decode_pillow(data: bytes, decode: Decode) -> Decoded:
    """Decode one image with Pillow; DecodeError, and nothing else but KeyboardInterrupt, where it cannot be done.

    Warnings of Pillow become notes, whatever the filters of the process say.
    """
    for last in (False,) * (TRIES - 1) + (True,):
        try:
            with recorded_warnings() as warned:
                return _decode(data, decode, warned)
        except Warning as warning:
            # Another thread put an "error" filter in front of the recorder meanwhile.
            if last:
                raise DecodeError("broken data", f"expected no warning of Pillow, found: {_short(warning)}") from None
        except DecodeError:
            raise
        except MissingPluginError as missing:
            raise DecodeError("missing plugin", str(missing)) from None
        except Exception as error:
            raise _failure(data, error, decode) from None
    raise AssertionError("unreachable")


def decode_picture(picture: Image.Image, decode: Decode) -> npt.NDArray[Any]:
    """The pixels that a decode makes of a Pillow image, upright; the image stays as it is. Raises DecodeError."""
    from PIL import ImageOps

    try:
        with recorded_warnings():
            upright = ImageOps.exif_transpose(picture)  # a copy, turned or not
            if decode.color == "srgb":
                upright, _ = to_srgb(upright)
            return pixels_of(upright, decode)[0]
    except MissingPluginError as missing:
        raise DecodeError("missing plugin", str(missing)) from None
    except Exception as error:
        raise _failure(b"", error, decode) from None


@contextmanager
def opened(data: bytes, decode: Decode) -> Iterator[tuple[Image.Image, int]]:
    """The image as Pillow opens it, its pixels not decoded, and its orientation; DecodeError where Pillow refuses."""
    if not data:
        raise DecodeError("not an image", "expected an image, found 0 bytes")
    try:
        with recorded_warnings(), _open(data) as image:
            yield image, _orientation(image)
    except DecodeError:
        raise
    except MissingPluginError as missing:
        raise DecodeError("missing plugin", str(missing)) from None
    except Exception as error:
        raise _failure(data, error, decode) from None


def _decode(data: bytes, decode: Decode, warned: list[str]) -> Decoded:
    if not data:
        raise DecodeError("not an image", "expected an image, found 0 bytes")
    with _open(data) as image:
        _check_limits(image, data, decode)
        notes = _notes_before_load(image)
        image.load()
        # Loading may change the size (ICO, JPEG 2000, TIFF turned upright).
        _check_pixels(image, decode)
        width, height = image.size
        notes += notes_of(image, decode)
        orientation = _orientation(image)
        upright = _turned(image, orientation)
        notes += _notes_of_frames(image)
        kind = image.format or ""
        by_profile = decode.color == "srgb" and bool(image.info.get("icc_profile"))
        deep = None
        if decode.depth != 8 and kind == "PNG" and not by_profile:
            from penstock._reference.png_deep import deep_rgba

            deep = deep_rgba(data)
        if upright is not image:
            image.close()
        if decode.color == "srgb":
            upright, note = to_srgb(upright)
            notes += note
        if deep is not None and deep.shape[:2] == (height, width):
            pixels = pixels_of_deep_rgba(deep, orientation, decode)
            notes = [note for note in notes if note != "16 bit reduced"]
        else:
            pixels, note = pixels_of(upright, decode)
            notes += note
        notes += [f"pillow: {' '.join(text.split())[:LONGEST_TEXT]}" for text in warned]
        return Decoded(pixels, height, width, orientation, kind, tuple(dict.fromkeys(notes)))


def _open(data: bytes) -> Image.Image:
    """``Image.open`` without the formats that leave the process or cannot be decoded; plugins of others included."""
    from PIL import Image, UnidentifiedImageError

    Image.preinit()
    if (wanted := plugin_format(data)) is not None:
        load_plugin(wanted)
    try:
        return Image.open(io.BytesIO(data), formats=_formats())
    except UnidentifiedImageError:
        from penstock.decode.png_repair import without_broken_chunks

        Image.init()
        return Image.open(io.BytesIO(without_broken_chunks(data)), formats=_formats())


def _formats() -> list[str]:
    from PIL import Image

    return [name for name in Image.ID if name not in REFUSED_FORMATS]


def _check_limits(image: Image.Image, data: bytes, decode: Decode) -> None:
    _check_pixels(image, decode)
    if image.format in ("PNG", "WEBP"):
        from penstock._reference.png_webp_bytes import png_working_bytes, webp_working_bytes

        webp = image.format == "WEBP"
        _check_working_bytes(
            webp_working_bytes(data, image.height, image.width, image.mode == "RGBA")
            if webp
            else png_working_bytes(data),
            decode,
        )
    if image.format not in ("JPEG", "MPO"):
        return
    sampling = [(layer[1], layer[2]) for layer in getattr(image, "layer", [])]
    if not sampling or min(min(pair) for pair in sampling) < 1:
        return
    from penstock._reference.jpeg_scans import count_scans, working_bytes

    # Walking the markers takes long; entropy-coded bytes never hold FF DA, so this count is never too low.
    scans = data.count(b"\xff\xda")
    # Pillow says "progressive"; a baseline file in several scans keeps its coefficients, too.
    several = bool(image.info.get("progressive")) or (scans > 1 and (scans := count_scans(data)) > 1)
    _check_working_bytes(working_bytes(image.height, image.width, sampling, several), decode)
    if several and scans > decode.max_scans and (scans := count_scans(data)) > decode.max_scans:
        raise DecodeError("too many scans", f"expected at most {decode.max_scans} scans (max_scans), found {scans}")


def _check_working_bytes(needed: int, decode: Decode) -> None:
    if needed > decode.max_working_bytes:
        raise DecodeError(
            "too much memory",
            f"expected at most {decode.max_working_bytes} working bytes (max_working_bytes), found {needed}",
        )


def _check_pixels(image: Image.Image, decode: Decode) -> None:
    width, height = image.size
    if width < 1 or height < 1:
        raise DecodeError("broken data", f"expected at least one pixel, found H={height} W={width}")
    if height * width > decode.max_pixels:
        raise DecodeError(
            "too many pixels",
            f"expected at most {decode.max_pixels} pixels (max_pixels), found {height} x {width} = {height * width}",
        )


def _orientation(image: Image.Image) -> int:
    """1 to 8 as ``getexif`` has it; 1 where the EXIF block is broken, which never fails an image."""
    from PIL import ExifTags

    try:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
        return next((number for number in range(1, 9) if number == found), 1)
    except Exception:
        return 1


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    """As ``ImageOps.exif_transpose``, for an orientation that is known."""
    from PIL import Image

    method = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }.get(orientation)
    return image if method is None else image.transpose(method)


def _notes_before_load(image: Image.Image) -> list[str]:
    """Losses that only the undecoded file tells: loading empties ``tile``."""
    tiles = getattr(image, "tile", [])
    # Samples of 16 bits that Pillow's decoder itself cuts to their high byte (RGB, RGBA and LA images).
    deep = any(re.search(r";16", str(tile[3])) for tile in tiles[:1])
    return ["16 bit reduced"] if deep and not is_deep(image) else []


def _notes_of_frames(image: Image.Image) -> list[str]:
    # is_animated looks one frame ahead; n_frames would walk through all of a GIF.
    if image.format in ONE_PICTURE:
        return []
    try:
        return ["first frame taken"] if getattr(image, "is_animated", False) else []
    except Exception:
        # What follows the first frame is broken; the first frame is not.
        return ["first frame taken"]


def _failure(data: bytes, error: Exception, decode: Decode) -> DecodeError:
    """Pillow's exception as a cause to group by and a sentence."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, MemoryError):
        return DecodeError("out of memory", "expected memory for the image, found none free")
    if isinstance(error, Image.DecompressionBombError):
        limit = min(decode.max_pixels, 2 * (Image.MAX_IMAGE_PIXELS or decode.max_pixels))
        found = re.search(r"\((\d+) pixels\)", str(error))
        return DecodeError(
            "too many pixels",
            f"expected at most {limit} pixels (max_pixels), found {found.group(1) if found else _short(error)}",
        )
    if isinstance(error, UnidentifiedImageError):
        found_text = describe_bytes(data)
        cause = "broken data" if "the beginning of" in found_text else "not an image"
        return DecodeError(cause, f"expected an image Pillow can open, found {found_text}")
    text = _short(error)
    if isinstance(error, EOFError) or re.search(r"truncat|unexpected end|end of file|not enough", text, re.IGNORECASE):
        return DecodeError("truncated", f"expected a whole image, found truncated data (Pillow: {text})")
    return DecodeError("broken data", f"expected an image that can be decoded, found broken data (Pillow: {text})")


def _short(error: BaseException) -> str:
    """Pillow's own words on one line, without addresses of objects in memory, cut where they run long."""
    text = re.sub(r" at 0x[0-9a-fA-F]+", "", " ".join(str(error).split()))
    text = text or type(error).__name__
    return text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + "..."
