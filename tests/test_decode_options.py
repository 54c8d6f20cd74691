"""decode(mode=, alpha=, depth=, color=): Pillow's convert by default, each departure from it held to plain NumPy."""

from __future__ import annotations

import io
import json
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from penstock.decode import Decode, DecodeError, decode_pillow
from penstock.errors import PlanError
from penstock.recipe import Recipe, recipe
from penstock.types import Spec

RANDOM = np.random.default_rng(3)
COLOURS = RANDOM.integers(0, 256, (6, 9, 4), dtype=np.uint8)
DEEP = RANDOM.integers(0, 65536, (6, 9), dtype=np.uint16)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def rgba() -> Image.Image:
    return Image.fromarray(COLOURS)


def of_mode(mode: str) -> Image.Image:
    return rgba().convert("RGB").convert(mode)


def deep() -> Image.Image:
    return Image.fromarray(DEEP)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def deep_png(samples: np.ndarray, colour_type: int, *extra: bytes) -> bytes:
    """A PNG of 16-bit samples [H, W, C]."""
    height, width = samples.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


FILES = {
    "RGB png": encoded(of_mode("RGB"), "PNG"),
    "RGBA png": encoded(rgba(), "PNG"),
    "RGB png with a transparent colour": encoded(of_mode("RGB"), "PNG", transparency=tuple(COLOURS[0, 0, :3].tolist())),
    "LA png": encoded(rgba().convert("LA"), "PNG"),
    "L png": encoded(of_mode("L"), "PNG"),
    "1 png": encoded(of_mode("1"), "PNG"),
    "P png": encoded(of_mode("P"), "PNG"),
    "P png with alpha": encoded(of_mode("P"), "PNG", transparency=bytes(range(256))),
    "P gif with a transparent index": encoded(of_mode("P"), "GIF", transparency=7),
    "RGBA webp": encoded(rgba(), "WEBP", lossless=True),
    "RGB jpeg": encoded(of_mode("RGB"), "JPEG"),
    "L jpeg": encoded(of_mode("L"), "JPEG"),
    "CMYK jpeg": encoded(of_mode("CMYK"), "JPEG"),
    "CMYK tiff": encoded(of_mode("CMYK"), "TIFF"),
    "YCbCr tiff": encoded(of_mode("YCbCr"), "TIFF"),
    "I;16 png": encoded(deep(), "PNG"),
    "I;16 tiff": encoded(deep(), "TIFF"),
    "I tiff": encoded(deep().convert("I"), "TIFF"),
    "F tiff": encoded(Image.fromarray(DEEP.astype(np.float32) / 200 - 20), "TIFF"),
}


def opened(data: bytes) -> Image.Image:
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    image.load()
    return image


def three_axes(image: Image.Image) -> np.ndarray:
    pixels = np.asarray(image)
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
@pytest.mark.parametrize("name", FILES)
def test_by_default_it_is_pillows_convert(name, mode):
    out = decode_pillow(FILES[name], Decode(mode=mode))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = three_axes(opened(FILES[name]).convert(mode))
    assert out.pixels.dtype == np.uint8 and out.pixels.shape == (6, 9, Decode(mode=mode).channels)
    assert np.array_equal(out.pixels, expected) and out.pixels.flags.c_contiguous and out.pixels.flags.owndata


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("colour", [0, 255, (10, 200, 30)])
@pytest.mark.parametrize("name", FILES)
def test_a_picture_is_laid_over_a_colour(name, colour, mode):
    image = opened(FILES[name])
    ground = Image.new("RGBA", image.size, (colour,) * 3 if isinstance(colour, int) else colour)
    expected = Image.alpha_composite(ground, image.convert("RGBA")).convert(mode)
    out = decode_pillow(FILES[name], Decode(mode=mode, alpha=colour))
    if image.has_transparency_data:
        assert np.array_equal(out.pixels, three_axes(expected))
    else:  # nothing shines through
        assert np.array_equal(out.pixels, three_axes(image.convert(mode)))
    assert "alpha dropped" not in out.notes


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
@pytest.mark.parametrize("name", ["RGB png", "RGBA png", "LA png", "P png", "CMYK jpeg", "1 png"])
def test_8_bits_become_16_by_257(name, mode):
    eight = decode_pillow(FILES[name], Decode(mode=mode))
    out = decode_pillow(FILES[name], Decode(mode=mode, depth=16))
    assert out.pixels.dtype == np.uint16 and out.pixels.flags.c_contiguous
    assert np.array_equal(out.pixels, eight.pixels.astype(int) * 257) and out.notes == eight.notes
    assert np.array_equal(decode_pillow(FILES[name], Decode(mode=mode, depth="scale")).pixels, eight.pixels)


@pytest.mark.parametrize("name", ["I;16 png", "I;16 tiff", "I tiff"])
def test_16_bit_greys_keep_their_values(name):
    for mode, channels in (("RGB", 3), ("L", 1), ("RGBA", 4)):
        out = decode_pillow(FILES[name], Decode(mode=mode, depth=16))
        scaled = decode_pillow(FILES[name], Decode(mode=mode, depth="scale"))
        assert out.pixels.dtype == np.uint16 and scaled.pixels.dtype == np.uint8
        assert out.pixels.shape == scaled.pixels.shape == (6, 9, channels)
        for channel in range(min(channels, 3)):
            assert np.array_equal(out.pixels[:, :, channel], DEEP)
            assert np.array_equal(scaled.pixels[:, :, channel], np.round(DEEP / 65535 * 255))
        if mode == "RGBA":
            assert (out.pixels[:, :, 3] == 65535).all() and (scaled.pixels[:, :, 3] == 255).all()
        assert out.notes == scaled.notes == ()
    assert decode_pillow(FILES[name], Decode()).notes == ("16 bit clipped",)


def test_the_order_of_bytes_is_the_machines():
    data = encoded(deep(), "TIFF", tiffinfo={})
    for swapped in (data, encoded(Image.frombytes("I;16B", (9, 6), DEEP.astype(">u2").tobytes()), "TIFF")):
        out = decode_pillow(swapped, Decode(mode="L", depth=16))
        assert out.pixels.dtype.isnative and np.array_equal(out.pixels[:, :, 0], DEEP)


def test_a_transparent_16_bit_grey():
    key = int(DEEP[2, 3])
    data = deep_png(DEEP[:, :, None], 0, chunk(b"tRNS", struct.pack(">H", key)))
    clear = key == DEEP
    out = decode_pillow(data, Decode(mode="RGBA", depth=16))
    assert np.array_equal(out.pixels[:, :, 3], np.where(clear, 0, 65535)) and out.notes == ()
    out = decode_pillow(data, Decode(alpha=(1, 2, 3), depth=16))
    assert out.pixels[2, 3].tolist() == [257, 514, 771] and np.array_equal(out.pixels[~clear][:, 1], DEEP[~clear])
    out = decode_pillow(data, Decode(mode="L", alpha=(10, 200, 30), depth="scale"))
    assert out.pixels[2, 3, 0] == np.asarray(Image.new("RGB", (1, 1), (10, 200, 30)).convert("L"))[0, 0]
    assert decode_pillow(data, Decode(depth=16)).notes == ("alpha dropped",)


def test_32_bits_are_clipped_to_16():
    values = np.array([[-5, 0, 65535, 70000]], np.int32)
    out = decode_pillow(encoded(Image.fromarray(values), "TIFF"), Decode(mode="L", depth=16))
    assert out.pixels[0, :, 0].tolist() == [0, 0, 65535, 65535] and out.notes == ("16 bit clipped",)


def test_floating_point_is_pillows_at_every_depth():
    data, pillows = FILES["F tiff"], np.asarray(opened(FILES["F tiff"]).convert("L"))
    for depth, factor in ((8, 1), ("scale", 1), (16, 257)):
        out = decode_pillow(data, Decode(mode="L", depth=depth))
        assert np.array_equal(out.pixels[:, :, 0], pillows.astype(int) * factor)
        assert out.notes == ("16 bit clipped",)


def test_16_bit_colours_of_a_png_are_kept_and_else_what_pillow_gives():
    samples = RANDOM.integers(0, 65536, (4, 5, 3), dtype=np.uint16)
    data = deep_png(samples, 2)
    out = decode_pillow(data, Decode(depth=16))
    assert np.array_equal(out.pixels, samples) and out.notes == ()
    out = decode_pillow(data, Decode())
    assert np.array_equal(out.pixels, samples >> 8) and out.notes == ("16 bit reduced",)


@pytest.mark.parametrize(
    ("name", "noted"),
    [
        ("RGB jpeg", True),
        ("P png", True),
        ("CMYK tiff", True),
        ("L jpeg", False),
        ("1 png", False),
        ("LA png", False),
        ("I;16 png", False),
        ("F tiff", False),
    ],
)
def test_dropped_colour_is_noted(name, noted):
    assert ("colour dropped" in decode_pillow(FILES[name], Decode(mode="L")).notes) == noted
    assert "colour dropped" not in decode_pillow(FILES[name], Decode()).notes


def test_alpha_that_is_kept_is_no_loss():
    assert decode_pillow(FILES["RGBA png"], Decode(mode="RGBA")).notes == ()
    assert decode_pillow(FILES["RGBA png"], Decode(mode="L")).notes == ("alpha dropped", "colour dropped")


# colour profiles


def swapped_profile() -> bytes:
    """An RGB profile whose red and green are exchanged: sRGB's own, with the two tags renamed."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for entry in range(int.from_bytes(profile[128:132], "big")):
        at = 132 + 12 * entry
        name = bytes(profile[at : at + 4])
        profile[at : at + 4] = {b"rXYZ": b"gXYZ", b"gXYZ": b"rXYZ"}.get(name, name)
    return bytes(profile)


def by_profile(image: Image.Image, profile: bytes) -> np.ndarray:
    target = ImageCms.createProfile("sRGB")
    return np.asarray(ImageCms.profileToProfile(image, io.BytesIO(profile), target, outputMode="RGB"))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "WEBP"])
def test_colours_are_converted_by_the_profile(kind):
    profile = swapped_profile()
    data = encoded(of_mode("RGB"), kind, icc_profile=profile)
    plain = decode_pillow(data, Decode())
    out = decode_pillow(data, Decode(color="srgb"))
    assert plain.notes == ("icc ignored",) and out.notes == ()
    assert np.array_equal(out.pixels, by_profile(opened(data), profile))
    assert np.abs(out.pixels.astype(int) - plain.pixels[:, :, [1, 0, 2]]).max() <= 3


def test_alpha_stays_while_colours_are_converted():
    profile = swapped_profile()
    data = encoded(rgba(), "PNG", icc_profile=profile)
    out = decode_pillow(data, Decode(mode="RGBA", color="srgb"))
    assert np.array_equal(out.pixels[:, :, 3], COLOURS[:, :, 3])
    assert np.array_equal(out.pixels[:, :, :3], by_profile(rgba().convert("RGB"), profile))


def test_a_palette_and_a_grey_are_converted():
    profile = swapped_profile()
    data = encoded(of_mode("P"), "PNG", icc_profile=profile)
    converted = decode_pillow(data, Decode(color="srgb"))
    assert np.array_equal(converted.pixels, by_profile(opened(data).convert("RGB"), profile))
    grey = decode_pillow(encoded(of_mode("L"), "PNG", icc_profile=profile), Decode(color="srgb", mode="L"))
    assert grey.notes == () and grey.pixels.shape == (6, 9, 1)


@pytest.mark.parametrize(
    ("image", "profile", "note"),
    [
        (of_mode("RGB"), b"a profile", "icc broken"),
        (of_mode("RGB"), ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes(), "icc broken"),
        (of_mode("RGB"), swapped_profile()[:300], "icc broken"),
        (of_mode("CMYK"), swapped_profile(), "icc broken"),
        (deep(), swapped_profile(), "icc ignored"),
    ],
)
def test_a_profile_that_cannot_be_applied_is_noted(image, profile, note):
    data = encoded(image, "TIFF", icc_profile=profile)
    out = decode_pillow(data, Decode(color="srgb"))
    assert note in out.notes
    assert np.array_equal(out.pixels, np.asarray(opened(data).convert("RGB")))


def test_without_a_profile_nothing_is_converted():
    out = decode_pillow(FILES["RGB jpeg"], Decode(color="srgb"))
    assert out.notes == () and np.array_equal(out.pixels, np.asarray(opened(FILES["RGB jpeg"])))


def test_a_pillow_without_littlecms_says_so(monkeypatch):
    monkeypatch.setattr("PIL.features.check", lambda feature: False)
    with pytest.raises(DecodeError, match="LittleCMS") as caught:
        decode_pillow(encoded(of_mode("RGB"), "PNG", icc_profile=b"x"), Decode(color="srgb"))
    assert caught.value.cause == "missing plugin"


def test_all_options_together_on_a_turned_picture():
    exif = Image.Exif()
    exif[274] = 6
    data = encoded(rgba(), "PNG", exif=exif)
    out = decode_pillow(data, Decode(mode="L", alpha=255, depth=16, color="srgb"))
    white = Image.alpha_composite(Image.new("RGBA", (6, 9), "white"), opened(data)).convert("L")
    assert out.orientation == 6 and np.array_equal(out.pixels[:, :, 0], np.asarray(white).astype(int) * 257)


# the verb


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "rgb"}, "expected mode= one of 'RGB', 'L', 'RGBA', found 'rgb'"),
        ({"mode": ["RGB"]}, "expected mode= one of"),
        ({"depth": 8.0}, "expected depth= one of 8, 16, 'scale', found 8.0"),
        ({"depth": True}, "found True"),
        ({"color": "sRGB"}, "expected color= one of 'as stored', 'srgb', found 'sRGB'"),
        ({"fidelity": "best"}, "expected fidelity= one of 'exact', 'fast'"),
        ({"alpha": "white"}, "one or three whole numbers from 0 to 255, found 'white'"),
        ({"alpha": 256}, "found 256"),
        ({"alpha": (1, 2)}, r"found \(1, 2\)"),
        ({"alpha": True}, "found True"),
        ({"alpha": (0.5, 0.5, 0.5)}, "found"),
        ({"alpha": None}, "found None"),
        ({"alpha": 0, "mode": "RGBA"}, "expected no alpha= with mode='RGBA'"),
        ({"max_pixels": 0}, "max_pixels"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(PlanError, match=message) as caught:
        Decode(**options)
    assert str(caught.value).endswith(".")


def test_spec():
    assert str(Decode().spec(Spec("encoded"))) == "uint8 [H, W, 3] 0..255"
    assert str(Decode(mode="RGBA", depth="scale").spec(Spec("encoded"))) == "uint8 [H, W, 4] 0..255"
    assert str(Decode(mode="L", depth=16).spec(Spec("encoded"))) == "uint16 [H, W, 1] 0..65535"


def test_equal_colours_are_equal_options():
    assert Decode(alpha=[1, 2, 3]) == Decode(alpha=(1, 2, 3)) and Decode(alpha=(7,)) == Decode(alpha=np.uint8(7))
    assert hash(Decode(alpha=[1, 2, 3])) == hash(Decode(alpha=(1, 2, 3)))


def test_json_and_description():
    verb = Decode(mode="L", alpha=(1, 2, 3), depth="scale", color="srgb", fidelity="fast")
    assert Decode.from_json(json.loads(json.dumps(verb.to_json()))) == verb
    assert verb.describe() == ("decode(mode='L', alpha=(1, 2, 3), depth='scale', color='srgb', fidelity='fast')")
    chain = recipe().decode(mode="L", alpha=(1, 2, 3))
    assert Recipe.from_json(chain.to_json()) == chain


def test_native_fields():
    assert Decode().native() == {
        "mode": "rgb",
        "composite": False,
        "background": (0, 0, 0),
        "depth": "eight",
        "srgb": False,
        "fast": False,
    }
    other = Decode(mode="L", alpha=9, depth=16, color="srgb", fidelity="fast").native()
    assert other == {
        "mode": "grey",
        "composite": True,
        "background": (9, 9, 9),
        "depth": "sixteen",
        "srgb": True,
        "fast": True,
    }
    assert Decode(mode="RGBA", depth="scale").native()["depth"] == "scale"
