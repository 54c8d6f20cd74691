"""Files that are not what they seem: each is decoded as Pillow decodes it or reported, and its neighbours are unharmed.

Pillow's own verdict on the same bytes is asked every time, so nothing here is a list of what somebody expected once.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import PIL
import pytest
from PIL import Image

import penstock as ps
from penstock.bench.verify import pillow_pixels

OLD_PILLOW = int(PIL.__version__.split(".")[0]) < 13
SIDE = 16


def picture(mode: str = "RGB", seed: int = 0, side: int = SIDE) -> Image.Image:
    """Smooth with some noise, so that compressed files are small but not trivial."""
    rows, columns = np.mgrid[:side, :side]
    noise = np.random.default_rng(seed).integers(0, 40, (side, side, 3))
    planes = np.stack([rows * 12, columns * 11, (rows + columns) * 6], axis=2)
    return Image.fromarray((planes + noise).clip(0, 255).astype(np.uint8)).convert(mode)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


@cache
def good(number: int) -> bytes:
    return encoded(picture(seed=number, side=20 + number), "PNG" if number % 3 == 2 else "JPEG")


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def verdict(data: bytes) -> np.ndarray | None:
    """Pillow's pixels, or None where it refuses."""
    try:
        return np.asarray(pillow_pixels(data))
    except Exception:  # noqa: BLE001  # whatever Pillow raises is its answer
        return None


def hold(files: Mapping[str, bytes]) -> dict[str, ps.Row]:
    """Runs the files through real lines, a good one beside each; checks every row against Pillow and returns the bad.

    Where Pillow has pixels, the row has the same ones. Where it has none, the row failed or is marked damaged.
    """
    blobs = {}
    for number, (key, data) in enumerate(files.items()):
        blobs[f"good {number}"] = good(number % 7)
        blobs[key] = data
    blobs["good at the end"] = good(0)
    line = ps.blobs(blobs).decode()
    found = {}
    with line.run(on_failure="blank", threads=2) as run:
        for row in run:
            found[row.key] = row
            expected = verdict(blobs[row.key])
            if row.failure is not None:
                assert row.failure.message.endswith("."), row.failure
            if expected is None:
                assert row.failure is not None or row.damaged, f"{row.key}: a clean row where Pillow refuses"
            else:
                assert row.failure is None, f"{row.key}: Pillow has pixels, found {row.failure}"
                assert np.array_equal(row.image, expected), f"{row.key}: other pixels than Pillow's"
    assert list(found) == list(blobs)
    assert all(row.valid and not row.damaged for key, row in found.items() if key.startswith("good"))
    batched = line.resize(8, 9).batch(4)
    with batched.run(on_failure="blank", threads=2) as run:
        rows = [row for batch in run for row in batch]
    for row in rows:
        assert row.valid == (found[row.key].failure is None), row.key
        if row.key.startswith("good"):
            expected = pillow_pixels(blobs[row.key]).resize((9, 8), Image.Resampling.BILINEAR)
            assert np.array_equal(row.image, np.asarray(expected)), f"{row.key}: harmed by its neighbour"
        elif not row.valid:
            assert not row.image.any()
    return {key: row for key, row in found.items() if key in files}


FORMATS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "jpeg": ("RGB", "JPEG", {}),
    "grey jpeg": ("L", "JPEG", {}),
    "progressive jpeg": ("RGB", "JPEG", {"progressive": True}),
    "cmyk jpeg": ("CMYK", "JPEG", {}),
    "png": ("RGB", "PNG", {}),
    "palette png": ("P", "PNG", {}),
    "grey and alpha png": ("LA", "PNG", {}),
    "1 bit png": ("1", "PNG", {}),
    "webp": ("RGB", "WEBP", {}),
    "lossless webp": ("RGBA", "WEBP", {"lossless": True}),
    "gif": ("P", "GIF", {}),
    "tiff": ("RGB", "TIFF", {}),
    "deflated tiff": ("RGB", "TIFF", {"compression": "tiff_adobe_deflate"}),
    "bmp": ("RGB", "BMP", {}),
    "palette bmp": ("P", "BMP", {}),
    "ppm": ("RGB", "PPM", {}),
}


@cache
def sample(name: str) -> bytes:
    mode, kind, options = FORMATS[name]
    return encoded(picture(mode), kind, **options)


@pytest.mark.parametrize("name", FORMATS)
def test_whole_files_are_pillows(name):
    assert hold({name: sample(name)})[name].valid


@pytest.mark.parametrize("name", FORMATS)
def test_cut_at_every_tenth_byte(name):
    data = sample(name)
    rows = hold({f"first {end}": data[:end] for end in range(0, len(data), 10)})
    assert not rows["first 0"].valid


@pytest.mark.skipif(OLD_PILLOW, reason="Pillow before 13 itself hangs or crashes on some broken pictures")
@pytest.mark.parametrize("name", FORMATS)
def test_a_changed_byte_anywhere(name):
    data, random = sample(name), np.random.default_rng(1)
    files = {}
    for position in range(0, len(data), max(1, len(data) // 60)):
        changed = bytearray(data)
        changed[position] ^= int(random.integers(1, 256))
        files[f"at {position}"] = bytes(changed)
    hold(files)


@pytest.mark.parametrize("name", FORMATS)
def test_bytes_after_the_end(name):
    hold({"zeros": sample(name) + bytes(100), "another": sample(name) + sample("jpeg")})


def test_what_is_no_picture():
    rows = hold(
        {
            "empty": b"",
            "zeros": bytes(1000),
            "page.jpg": b"<!DOCTYPE html><html><body>404</body></html>" * 9,
            "words": b"words",
            "archive": b"PK\x03\x04" + bytes(60),
            "drawing": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
            "document": b"%PDF-1.7\n" + bytes(60),
            "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
            "riff": b"RIFF\x10\0\0\0WEBP",
            "only a jpeg's beginning": b"\xff\xd8\xff",
            "only a png's beginning": b"\x89PNG\r\n\x1a\n",
        }
    )
    assert not any(row.valid for row in rows.values())
    causes = {key: row.failure.cause for key, row in rows.items()}
    for key in ("empty", "zeros", "page.jpg", "words", "archive", "drawing", "document", "postscript"):
        assert causes[key] == "not an image", key
    assert "HTML" in rows["page.jpg"].failure.message


def test_the_name_does_not_matter(tmp_path):
    names = {
        "a jpeg.png": "jpeg",
        "a png.jpg": "png",
        "a webp.jpg": "webp",
        "a gif.jpeg": "gif",
        "a tiff.jpg": "tiff",
        "a bmp.webp": "bmp",
        "a jpeg.tif": "jpeg",
    }
    for name, format in names.items():
        (tmp_path / name).write_bytes(sample(format))
    (tmp_path / "page.jpg").write_bytes(b"<html>")
    (tmp_path / "empty.png").write_bytes(b"")
    with ps.folder(tmp_path, label=None).decode().run(on_failure="blank") as run:
        rows = {row.key: row for row in run}
    for name, format in names.items():
        assert np.array_equal(rows[name].image, verdict(sample(format))), name
    assert rows["page.jpg"].failure.cause == rows["empty.png"].failure.cause == "not an image"


# headers that lie


def huge_jpeg() -> bytes:
    data = bytearray(sample("jpeg"))
    start = data.find(b"\xff\xc0") + 5
    data[start : start + 4] = struct.pack(">HH", 60_000, 60_000)
    return bytes(data)


def huge_png() -> bytes:
    data = sample("png")
    header = data[16:29]
    return data[:8] + chunk(b"IHDR", struct.pack(">II", 60_000, 60_000) + header[8:]) + data[33:]


def huge_gif() -> bytes:
    data = sample("gif")
    return data[:6] + struct.pack("<HH", 60_000, 60_000) + data[10:]


def huge_bmp() -> bytes:
    data = sample("bmp")
    return data[:18] + struct.pack("<ii", 60_000, 60_000) + data[26:]


def huge_tiff() -> bytes:
    image = picture()
    out = bytearray(encoded(image, "TIFF"))
    order = "<" if out[:2] == b"II" else ">"
    at = struct.unpack_from(f"{order}I", out, 4)[0]
    for entry in range(struct.unpack_from(f"{order}H", out, at)[0]):
        where = at + 2 + 12 * entry
        tag, kind = struct.unpack_from(f"{order}HH", out, where)
        if tag in (256, 257):
            struct.pack_into(f"{order}{'H' if kind == 3 else 'I'}", out, where + 8, 60_000)
    return bytes(out)


def huge_webp() -> bytes:
    canvas = (60_000 - 1).to_bytes(3, "little") * 2
    body = b"WEBP" + b"VP8X" + struct.pack("<I", 10) + b"\x10\0\0\0" + canvas + sample("lossless webp")[12:]
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize("make", [huge_jpeg, huge_png, huge_gif, huge_bmp, huge_tiff, huge_webp])
def test_a_header_that_claims_too_much(make):
    row = hold({"huge": make()})["huge"]
    assert not row.valid
    if make is not huge_webp:  # its canvas is larger than the format allows, so it is no WebP at all
        assert row.failure.cause == "too many pixels" and "max_pixels" in row.failure.message


@pytest.mark.parametrize(("height", "width"), [(0, 7), (7, 0), (0, 0)])
def test_a_side_of_nothing(height, width):
    data = sample("png")
    png = data[:8] + chunk(b"IHDR", struct.pack(">II", width, height) + data[24:29]) + data[33:]
    bmp = sample("bmp")
    jpeg = bytearray(sample("jpeg"))
    start = jpeg.find(b"\xff\xc0") + 5
    jpeg[start : start + 4] = struct.pack(">HH", height, width)
    rows = hold({"png": png, "bmp": bmp[:18] + struct.pack("<ii", width, height) + bmp[26:], "jpeg": bytes(jpeg)})
    assert not any(row.valid for row in rows.values())


# several frames, palettes, profiles, EXIF


def notes_of(data: bytes) -> dict[str, int]:
    with ps.blobs({"one": data}).decode().run() as run:
        list(run)
    return dict(run.notes)


@pytest.mark.parametrize(("kind", "options"), [("GIF", {}), ("WEBP", {}), ("WEBP", {"lossless": True}), ("PNG", {})])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_the_first_frame_of_an_animation(kind, options, mode):
    frames = [picture(mode, seed) for seed in range(4)]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=50, **options)
    assert hold({"moving": data})["moving"].valid
    assert "first frame taken" in notes_of(data)
    hold({f"first {end}": data[:end] for end in range(10, len(data), max(10, len(data) // 40))})


@pytest.mark.parametrize(("kind", "transparency"), [("PNG", bytes(range(256))), ("PNG", None), ("GIF", None)])
def test_a_palette_with_alpha(kind, transparency):
    image = picture("P")
    transparency = image.getpixel((3, 3)) if transparency is None else transparency
    data = encoded(image, kind, transparency=transparency)
    assert hold({"palette": data})["palette"].valid
    assert "alpha dropped" in notes_of(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("profile", [b"nonsense", bytes(200), b"\xff" * 3000])
def test_a_broken_profile(kind, profile):
    data = encoded(picture(), kind, icc_profile=profile)
    assert hold({"profile": data})["profile"].valid
    assert "icc ignored" in notes_of(data)


def test_a_png_whose_profile_does_not_inflate():
    data = sample("png")
    hold(
        {
            "not zlib": data[:33] + chunk(b"iCCP", b"name\0\0" + b"no deflated stream") + data[33:],
            "no name": data[:33] + chunk(b"iCCP", b"\0") + data[33:],
            "nothing": data[:33] + chunk(b"iCCP", b"") + data[33:],
            "other method": data[:33] + chunk(b"iCCP", b"name\0\x07" + zlib.compress(b"x")) + data[33:],
        }
    )


def exif_blocks() -> dict[str, bytes]:
    """EXIF blocks whose directories lead in circles, or nowhere."""

    def block(entries: list[tuple[int, int, int, int]], following: int) -> bytes:
        body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
        return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + body + struct.pack("<I", following)

    turned = (0x0112, 3, 1, 6)
    return {
        "next is itself": block([turned], 8),
        "exif is the first": block([turned, (0x8769, 4, 1, 8)], 0),
        "gps is the first": block([turned, (0x8825, 4, 1, 8)], 8),
        "interop is the first": block([turned, (0x8769, 4, 1, 8), (0xA005, 4, 1, 8)], 0),
        "next is inside": block([turned], 10),
        "next is far away": block([turned], 0xFFFFFFF0),
        "exif is far away": block([turned, (0x8769, 4, 1, 0x7FFFFFFF)], 0),
        "first is far away": b"II*\0\xf0\xff\xff\xff",
        "first is the header": b"II*\0\0\0\0\0",
        "too many entries": b"II*\0\x08\0\0\0\xff\xff" + struct.pack("<HHII", *turned),
        "a count of billions": block([(0x0112, 3, 0xFFFFFFFF, 6)], 0),
        "a kind that is none": block([(0x0112, 99, 1, 6)], 0),
        "an orientation that is none": block([(0x0112, 3, 1, 77)], 0),
        "nothing": b"",
        "no directory": b"II",
        "other endings": b"XX*\0\x08\0\0\0",
    }


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_that_leads_in_circles(kind):
    files = {name: encoded(picture(), kind, exif=b"Exif\0\0" + block) for name, block in exif_blocks().items()}
    rows = hold(files)
    assert all(row.valid for row in rows.values())


def test_a_tiff_whose_directories_lead_in_circles():
    data = bytearray(sample("tiff"))
    order = "<" if data[:2] == b"II" else ">"
    first = struct.unpack_from(f"{order}I", data, 4)[0]
    count = struct.unpack_from(f"{order}H", data, first)[0]
    files = {}
    for name, target in {"itself": first, "the header": 0, "the middle": first + 2, "far away": 0x7FFFFFFF}.items():
        changed = bytearray(data)
        struct.pack_into(f"{order}I", changed, first + 2 + 12 * count, target)
        files[f"next is {name}"] = bytes(changed)
    changed = bytearray(data)
    struct.pack_into(f"{order}I", changed, 4, 4)
    files["first is the header"] = bytes(changed)
    hold(files)
