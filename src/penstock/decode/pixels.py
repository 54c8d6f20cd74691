"""From a loaded Pillow image to the pixels that a decode asks for: colours, transparency, channels, depth."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from penstock.decode.options import Decode
from penstock.decode.plugins import MissingPluginError

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["is_deep", "notes_of", "pixels_of", "pixels_of_deep_rgba", "to_srgb"]

STRIP_BYTES = 4 << 20

# Modes without colour; every other mode counts as colour, whatever its pixels are.
GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "F"})


def is_deep(image: Image.Image) -> bool:
    """Whether samples have more than 8 bits."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def notes_of(image: Image.Image, decode: Decode) -> list[str]:
    """What is lost on the way from the image, as loaded, to the pixels asked for."""
    notes = []
    if decode.alpha == "drop" and decode.mode != "RGBA" and _has_alpha(image):
        notes.append("alpha dropped")
    if is_deep(image) and not _keeps_depth(image, decode):
        notes.append("16 bit clipped")
    if decode.color == "as stored" and image.info.get("icc_profile"):
        notes.append("icc ignored")
    if decode.mode == "L" and image.mode not in GREY_MODES and not is_deep(image):
        notes.append("colour dropped")
    return notes


def pixels_of(image: Image.Image, decode: Decode) -> tuple[npt.NDArray[Any], list[str]]:
    """uint8 or uint16 [H, W, C] of its own memory, and notes of what was cut off."""
    if _keeps_depth(image, decode):
        return _deep_pixels(image, decode)
    flat = _flat(image, decode)
    if flat is not image:
        image.close()  # its memory goes before the copy is made
    pixels = _copied(flat, decode.channels)
    # 257 = 65535 / 255: full scale stays full scale.
    return (pixels.astype(np.uint16) * np.uint16(257) if decode.depth == 16 else pixels), []


def to_srgb(image: Image.Image) -> tuple[Image.Image, list[str]]:
    """The image with its colours converted by its ICC profile, or as it is, with a note, where that cannot be.

    Pillow's ``ImageCms.profileToProfile`` with its default intent, perceptual. Transparency is not a colour: it stays.
    """
    from PIL import Image, ImageCms, features

    profile = image.info.get("icc_profile")
    if not profile:
        return image, []
    if is_deep(image):
        return image, ["icc ignored"]
    if not features.check("littlecms2"):
        raise MissingPluginError("expected a Pillow with LittleCMS for color='srgb', found one built without it")
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        inside: Any = source.profile  # Pillow's types do not know what is in it
        colours, alpha = _for_profile(image, inside.xcolor_space.strip())
        target = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(colours, source, target, outputMode="RGB")
    except MemoryError:
        raise
    except Exception:
        return image, ["icc broken"]
    assert isinstance(converted, Image.Image)  # in place, which this is not, it would be None
    if alpha is not None:
        converted.putalpha(alpha)
    return converted, []


def _for_profile(image: Image.Image, space: str) -> tuple[Image.Image, Image.Image | None]:
    """The image in the mode that a profile's colour space is about, and its alpha where it has one."""
    alpha = image.convert("RGBA").getchannel("A") if _has_alpha(image) else None
    if space == "RGB" and image.mode != "CMYK":
        return image.convert("RGB"), alpha
    if space == "GRAY" and image.mode in GREY_MODES:
        return image.convert("L"), alpha
    if space == "CMYK" and image.mode == "CMYK":
        return image, None
    raise ValueError(f"a profile for {space}, and an image of mode {image.mode}")


def _flat(image: Image.Image, decode: Decode) -> Image.Image:
    """The image in the mode asked for, by Pillow's own convert; laid over the background where there is one."""
    from PIL import Image

    if decode.background is not None and _has_alpha(image):
        ground = Image.new("RGBA", image.size, (*decode.background, 255))
        image = Image.alpha_composite(ground, image.convert("RGBA"))
    # convert() copies even where nothing changes.
    return image if image.mode == decode.mode else image.convert(decode.mode)


def _copied(image: Image.Image, channels: int) -> npt.NDArray[np.uint8]:
    """The pixels of an 8-bit image, copied strip by strip: Pillow's own way out holds them twice more."""
    width, height = image.size
    rows = max(1, STRIP_BYTES // (channels * width))
    pixels = np.empty((height, width, channels), dtype=np.uint8)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        strip = np.asarray(image if rows >= height else image.crop((0, top, width, bottom)))
        pixels[top:bottom] = strip.reshape(bottom - top, width, channels)
    return pixels


def _keeps_depth(image: Image.Image, decode: Decode) -> bool:
    """Whether 16-bit samples are used as they are. Floating point has no full scale of its own, so it is Pillow's."""
    return decode.depth != 8 and is_deep(image) and image.mode != "F"


def _deep_pixels(image: Image.Image, decode: Decode) -> tuple[npt.NDArray[Any], list[str]]:
    """The pixels of a grey image of 16 (or 32) bits; what 16 bits cannot hold is clipped, with a note."""
    samples = np.asarray(image)
    notes = ["16 bit clipped"] if samples.size and (samples.min() < 0 or samples.max() > 65535) else []
    grey = np.clip(samples, 0, 65535).astype(np.uint32)
    full, dtype = 65535, "uint16"
    if decode.depth == "scale":
        grey = (grey * 255 + 32767) // 65535
        full, dtype = 255, "uint8"
    pixels = np.repeat(grey.astype(dtype)[:, :, None], decode.channels, axis=2)
    # Transparency of such an image is one value that stands for it.
    key = image.info.get("transparency")
    clear = samples == key if isinstance(key, int) else np.zeros(samples.shape, dtype=np.bool_)
    if decode.mode == "RGBA":
        pixels[:, :, 3] = np.where(clear, 0, full)
    elif decode.background is not None:
        pixels[clear] = _ground(decode.background, decode.mode == "L", full)
    return pixels, notes


def pixels_of_deep_rgba(rgba: npt.NDArray[np.uint16], orientation: int, decode: Decode) -> npt.NDArray[Any]:
    """uint16 [H, W, 4] as stored, turned upright, as depth 16 or "scale" have it."""
    if decode.depth == "scale":
        from PIL import Image

        rounded = (rgba.astype(np.uint32) * 255 + 32767) // 65535
        return pixels_of(Image.fromarray(_upright(rounded.astype(np.uint8), orientation)), decode)[0]
    upright = _upright(rgba, orientation)
    if decode.mode == "RGBA":
        return upright
    wide = upright.astype(np.uint64)
    rgb, alpha = wide[..., :3], wide[..., 3:]
    if decode.background is not None:
        ground = np.array(decode.background, dtype=np.uint64) * 257
        rgb = (rgb * alpha + ground * (65535 - alpha) + 32767) // 65535
    if decode.mode == "L":
        rgb = (rgb @ np.array([[19595], [38470], [7471]], dtype=np.uint64) + np.uint64(0x8000)) >> np.uint64(16)
    return rgb.astype(np.uint16)


def _upright(pixels: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Stored pixels turned as the EXIF orientation says, C-contiguous."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    # Which sides run the other way, after rows and columns changed places.
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _ground(background: tuple[int, int, int], grey: bool, full: int) -> tuple[int, ...]:
    """The background as samples up to ``full``; one of them, by Pillow's luma, where ``grey``."""
    red, green, blue = (sample * (full // 255) for sample in background)
    return ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16,) if grey else (red, green, blue)


def _has_alpha(image: Image.Image) -> bool:
    if image.mode == "P" and image.palette is None:
        return "transparency" in image.info
    return image.has_transparency_data
