"""Decoding: what a line says about it, and the Pillow party's own work on one image.

``import penstock`` must not import PIL: it is imported by the first image that needs it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from penstock.errors import PlanError
from penstock.types import Spec, UInt8Image

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Decode", "DecodeError", "Decoded", "decode_pillow", "opened"]

# These need another program (EPS: Ghostscript), Windows' own drawing calls (WMF, EMF), a handler that Pillow does not
# have (BUFR, GRIB, HDF5), or cannot be decoded at all (MPEG).
REFUSED_FORMATS = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})

# Formats whose further frames are layers or previews of the first one, which is the whole picture.
ONE_PICTURE = frozenset({"PSD"})

LONGEST_TEXT = 160
STRIP_BYTES = 4 << 20
TRIES = 5


class DecodeError(Exception):
    """Why bytes did not become pixels: ``cause`` to group by, ``message`` what follows "decode of 'key': "."""

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(cause, message)
        self.cause = cause
        self.message = message


@dataclass(frozen=True, slots=True)
class Decode:
    """Encoded bytes to uint8 [H, W, 3], upright RGB, as Pillow has it; limits hold before any allocation.

    max_pixels: height x width as stored; Pillow's own limit.
    max_working_bytes: memory the decoder needs beside the encoded bytes and the image itself: a JPEG's rows in flight,
    and its coefficients where it comes in several scans. Other formats are bounded by max_pixels alone.
    max_scans: scans of one JPEG; each costs a pass over the whole image.
    """

    max_pixels: int = 178_956_970
    max_working_bytes: int = 256 << 20
    max_scans: int = 500

    name: ClassVar[str] = "decode"
    random: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for limit in fields(self):
            value = getattr(self, limit.name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise PlanError(f"decode: expected {limit.name} to be a whole number of at least 1, found {value!r}.")

    def spec(self, spec: Spec) -> Spec:
        """Encoded bytes in, ragged uint8 [H, W, 3] out; PlanError for anything else."""
        if spec.kind != "encoded":
            raise PlanError(f"decode: expected encoded bytes, found {spec}; images are decoded already.")
        return spec.with_(kind="image", height=None, width=None, channels=3, dtype="uint8", range="0..255")

    def describe(self) -> str:
        """What ``print(line)`` shows: the options that are not the usual ones."""
        usual = Decode()
        changed = [
            f"{f.name}={getattr(self, f.name)}" for f in fields(self) if getattr(self, f.name) != getattr(usual, f.name)
        ]
        return f"decode({', '.join(changed)})"

    def to_json(self) -> dict[str, Any]:
        """The verb's word and its options, ready for JSON."""
        return {"verb": self.name, **asdict(self)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Decode:
        """The inverse of ``to_json``; PlanError for an option it does not know."""
        options = {key: value for key, value in data.items() if key != "verb"}
        unknown = sorted(set(options) - {f.name for f in fields(cls)})
        if unknown:
            raise PlanError(f"decode: expected options it knows, found {unknown[0]!r}.")
        return cls(**options)


@dataclass(frozen=True, slots=True)
class Decoded:
    """One decoded image: ``pixels`` are uint8 [H, W, 3], upright RGB, C-contiguous, its own memory.

    ``stored_height`` and ``stored_width`` are the size before ``orientation`` (1 to 8) was applied; a TIFF is turned by
    Pillow itself, so there it is 1. ``notes`` are the legal losses, each once.
    """

    pixels: UInt8Image
    stored_height: int
    stored_width: int
    orientation: int
    format: str
    notes: tuple[str, ...]


def decode_pillow(data: bytes, decode: Decode) -> Decoded:
    """Decode one image with Pillow; DecodeError, and nothing else but KeyboardInterrupt, where it cannot be done.

    Warnings of Pillow become notes, whatever the filters of the process say.
    """
    from penstock.pillow_warnings import recorded_warnings

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
        except Exception as error:
            raise _failure(data, error, decode) from None
    raise AssertionError("unreachable")


@contextmanager
def opened(data: bytes, decode: Decode) -> Iterator[tuple[Image.Image, int]]:
    """The image as Pillow opens it, its pixels not decoded, and its orientation; DecodeError where Pillow refuses."""
    from penstock.pillow_warnings import recorded_warnings

    try:
        with recorded_warnings():
            if not data:
                raise DecodeError("not an image", "expected an image, found 0 bytes")
            with _open(data) as image:
                yield image, _orientation(image)
    except DecodeError:
        raise
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
        notes += _notes_after_load(image)
        orientation = _orientation(image)
        upright = _turned(image, orientation)
        # convert() copies even where nothing changes.
        upright = upright if upright.mode == "RGB" else upright.convert("RGB")
        notes += _notes_of_frames(image)
        notes += [f"pillow: {' '.join(text.split())[:LONGEST_TEXT]}" for text in warned]
        kind = image.format or ""
        if upright is not image:
            image.close()
        return Decoded(_pixels(upright), height, width, orientation, kind, tuple(dict.fromkeys(notes)))


def _open(data: bytes) -> Image.Image:
    """``Image.open`` without the formats that leave the process or cannot be decoded; plugins of others included."""
    from PIL import Image, UnidentifiedImageError

    Image.preinit()
    try:
        return Image.open(io.BytesIO(data), formats=_formats())
    except UnidentifiedImageError:
        Image.init()
        return Image.open(io.BytesIO(data), formats=_formats())


def _formats() -> list[str]:
    from PIL import Image

    return [name for name in Image.ID if name not in REFUSED_FORMATS]


def _check_limits(image: Image.Image, data: bytes, decode: Decode) -> None:
    _check_pixels(image, decode)
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
    needed = working_bytes(image.height, image.width, sampling, several)
    if needed > decode.max_working_bytes:
        raise DecodeError(
            "too much memory",
            f"expected at most {decode.max_working_bytes} working bytes (max_working_bytes), found {needed}",
        )
    if several and scans > decode.max_scans and (scans := count_scans(data)) > decode.max_scans:
        raise DecodeError("too many scans", f"expected at most {decode.max_scans} scans (max_scans), found {scans}")


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


def _pixels(image: Image.Image) -> UInt8Image:
    """The pixels of an RGB image, copied strip by strip: Pillow's own way out holds them twice more."""
    width, height = image.size
    rows = max(1, STRIP_BYTES // (3 * width))
    if rows >= height:
        return np.array(image, dtype=np.uint8)
    pixels = np.empty((height, width, 3), dtype=np.uint8)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        pixels[top:bottom] = np.asarray(image.crop((0, top, width, bottom)))
    return pixels


def _notes_before_load(image: Image.Image) -> list[str]:
    """Losses that only the undecoded file tells: loading empties ``tile``."""
    tiles = getattr(image, "tile", [])
    # Samples of 16 bits that Pillow's decoder itself cuts to their high byte (RGB, RGBA and LA images).
    deep = any(re.search(r";16", str(tile[3])) for tile in tiles[:1])
    return ["16 bit reduced"] if deep and not _is_deep(image) else []


def _notes_after_load(image: Image.Image) -> list[str]:
    notes = []
    if _has_alpha(image):
        notes.append("alpha dropped")
    if _is_deep(image):
        notes.append("16 bit clipped")
    if image.info.get("icc_profile"):
        notes.append("icc ignored")
    return notes


def _has_alpha(image: Image.Image) -> bool:
    if image.mode == "P" and image.palette is None:
        return "transparency" in image.info
    return image.has_transparency_data


def _is_deep(image: Image.Image) -> bool:
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


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
        from penstock.sniff import describe_bytes

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
