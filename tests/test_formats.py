"""Every format that Pillow opens, in one batch with JPEGs: known by content, Pillow's pixels, or a sentence why not."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
from PIL import Image, features

import penstock as ps
from penstock.bench.verify import pillow_pixels
from penstock.decode import Decode, DecodeError, decode_pillow
from penstock.decode import plugins as plugins_module
from penstock.decode.party import REFUSED_FORMATS
from penstock.sniff import plugin_format

OLD_PILLOW = int(PIL.__version__.split(".")[0]) < 13
PIXELS = np.random.default_rng(2).integers(0, 256, (22, 33, 4), dtype=np.uint8)
DEEP = np.random.default_rng(3).integers(0, 65536, (22, 33), dtype=np.uint16)
PLUGINS = {"heif": "pillow_heif", "jxl": "pillow_jxl"}


def picture(mode: str) -> Image.Image:
    if mode == "I;16":
        return Image.fromarray(DEEP)
    if mode == "F":
        return Image.fromarray(DEEP.astype(np.float32) / 300)
    image = Image.fromarray(PIXELS)
    return image if mode == "RGBA" else image.convert("RGB").convert(mode)


def encoded(mode: str, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    picture(mode).save(out, kind, **options)
    return out.getvalue()


MADE: list[tuple[str, str, dict[str, Any]]] = [
    *((mode, "JPEG", {}) for mode in ("RGB", "L", "CMYK")),
    ("RGB", "JPEG", {"progressive": True}),
    *((mode, "PNG", {}) for mode in ("RGB", "RGBA", "L", "LA", "P", "1", "I;16")),
    *((mode, "WEBP", {"lossless": lossless}) for mode in ("RGB", "RGBA") for lossless in (False, True)),
    *((mode, "GIF", {}) for mode in ("P", "L", "RGB")),
    *((mode, "TIFF", {}) for mode in ("RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "YCbCr", "I;16", "I", "F")),
    *(
        ("RGB", "TIFF", {"compression": name})
        for name in ("tiff_lzw", "tiff_deflate", "packbits", "jpeg")
        if features.check("libtiff")
    ),
    ("1", "TIFF", {"compression": "group4"}),
    *((mode, "BMP", {}) for mode in ("RGB", "RGBA", "L", "P", "1")),
    *((mode, "JPEG2000", {}) for mode in ("RGB", "RGBA", "L") if features.check("jpg_2000")),
    *((mode, "AVIF", {}) for mode in ("RGB", "RGBA", "L") if features.check("avif")),
    *((mode, "ICO", {}) for mode in ("RGB", "RGBA") if not OLD_PILLOW),
    *((mode, "PPM", {}) for mode in ("RGB", "L", "1", "I;16")),
    *((mode, "TGA", {}) for mode in ("RGB", "RGBA", "L", "P")),
    ("RGB", "PCX", {}),
    ("RGB", "SGI", {}),
    ("RGB", "DDS", {}),
    ("RGB", "QOI", {}),
]


def name_of(made: tuple[str, str, dict[str, Any]]) -> str:
    mode, kind, options = made
    return " ".join([mode, kind, *(f"{key}={value}" for key, value in options.items())])


def blobs_of_every_format() -> dict[str, bytes]:
    blobs = {}
    for made in MADE:
        try:
            blobs[name_of(made)] = encoded(made[0], made[1], **made[2])
        except (OSError, KeyError):  # this Pillow does not write it
            continue
    return blobs


BLOBS = blobs_of_every_format()


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_every_format_in_one_line(engine):
    assert len(BLOBS) >= 40
    with ps.blobs(BLOBS).decode().run(engine=engine, threads=2) as run:
        for row in run:
            expected = np.asarray(pillow_pixels(BLOBS[row.key]))
            assert row.valid and np.array_equal(row.image, expected), row.key


def test_every_format_in_the_same_batch():
    line = ps.blobs(BLOBS).decode().resize(12, 17).batch(len(BLOBS))
    with line.run(threads=2) as run:
        (batch,) = run
    assert batch.images.shape == (len(BLOBS), 12, 17, 3) and batch.valid.all()
    for row in batch:
        expected = pillow_pixels(BLOBS[row.key]).resize((17, 12), Image.Resampling.BILINEAR)
        assert np.array_equal(row.image, np.asarray(expected)), row.key


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
@pytest.mark.parametrize("name", BLOBS)
def test_every_format_in_every_mode(name, mode):
    out = decode_pillow(BLOBS[name], Decode(mode=mode))
    expected = np.asarray(pillow_pixels(BLOBS[name], mode))
    assert np.array_equal(out.pixels, expected.reshape(out.pixels.shape))


def frame_marker(data: bytes) -> int:
    """The second byte of a JPEG's start-of-frame marker; 0 where there is none."""
    at = 2
    while data[:3] == b"\xff\xd8\xff" and data[at : at + 1] == b"\xff" and at + 4 <= len(data):
        if data[at + 1] in (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)):
            return data[at + 1]
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return 0


def test_lossless_and_arithmetic_jpegs_are_pillows(shared_data):
    folders = [
        shared_data / "good" / "jpeg",
        shared_data / "edge" / "jpeg-undecodable",
        shared_data / "photos" / "camera",
    ]
    paths = [path for folder in folders for path in sorted(folder.iterdir())]
    blobs = {path.name: data for path in paths if frame_marker(data := path.read_bytes()) > 0xC2}
    assert {frame_marker(data) for data in blobs.values()} >= {0xC3, 0xC9, 0xCA}
    found = {}
    with ps.blobs(blobs).decode().run(on_failure="blank") as run:
        for row in run:
            found[row.key] = row
            try:
                expected = np.asarray(pillow_pixels(blobs[row.key]))
            except Exception:  # noqa: BLE001  # whatever Pillow raises is its answer
                expected = None
            assert same(row.image if row.valid else None, expected), row.key
    assert found["twelvemonkeys__f-18.jpg"].valid and found["arith.jpg"].valid


def same(found: np.ndarray | None, expected: np.ndarray | None) -> bool:
    """Whether both have the same pixels, or neither has any."""
    if found is None or expected is None:
        return found is expected
    return np.array_equal(found, expected.reshape(found.shape))


@pytest.mark.skipif(OLD_PILLOW, reason="Pillow before 13 itself hangs or crashes on some of these pictures")
@pytest.mark.timeout(900)
def test_every_good_picture_in_every_mode(shared_data):
    with (shared_data / "manifest.csv").open(encoding="utf-8", newline="") as manifest:
        rows = [row for row in csv.DictReader(manifest) if row["set"] == "good" and int(row["size"]) < 150_000]
    wrong = []
    for row in rows:
        data = (shared_data / row["name"]).read_bytes()
        for mode in ("RGB", "L", "RGBA"):
            # Ours first: it registers the plugins that are installed.
            try:
                found = decode_pillow(data, Decode(mode=mode)).pixels
            except DecodeError:
                found = None
            try:
                expected = np.asarray(pillow_pixels(data, mode))
            except Exception:  # noqa: BLE001  # whatever Pillow raises is its answer
                expected = None
            if not same(found, expected):
                wrong.append((row["name"], mode))
    assert wrong == []


# what is never opened


@pytest.mark.parametrize(
    "data",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n",
        b"%!PS-Adobe-3.0\n",
        b"%PDF-1.7\n1 0 obj\n",
        b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
        b"<?xml version='1.0'?><svg/>",
        b"\xc5\xd0\xd3\xc6" + bytes(28) + b"%!PS-Adobe-3.0 EPSF-3.0\n",
        b"\xd7\xcd\xc6\x9a" + bytes(60),
    ],
)
def test_programs_and_drawings_are_never_opened(data, monkeypatch):
    def start(*arguments: object, **options: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", start)
    with pytest.raises(DecodeError) as caught:
        decode_pillow(data, Decode())
    assert caught.value.cause == "not an image"


def test_a_plugin_for_documents_is_not_asked(monkeypatch):
    def refuse(*arguments: object) -> None:
        raise AssertionError("a refused format was asked")

    Image.init()
    for name in ("PDF", "SVG", "PS"):
        assert name in REFUSED_FORMATS
        monkeypatch.setitem(Image.OPEN, name, (refuse, refuse))
    monkeypatch.setattr(Image, "ID", [*Image.ID, "PDF", "SVG", "PS"])
    with pytest.raises(DecodeError, match="PDF document"):
        decode_pillow(b"%PDF-1.7\n", Decode())


# plugins


def brands(major: bytes, *compatible: bytes) -> bytes:
    body = b"ftyp" + major + bytes(4) + b"".join(compatible)
    return (len(body) + 4).to_bytes(4, "big") + body + bytes(40)


@pytest.mark.parametrize(
    ("data", "format"),
    [
        (brands(b"heic", b"mif1", b"heic"), "HEIF"),
        (brands(b"hevc"), "HEIF"),
        (brands(b"mif1", b"heic"), "HEIF"),
        (brands(b"mif1"), "HEIF"),
        (brands(b"mif1", b"avif"), None),
        (brands(b"avif", b"mif1"), None),
        (brands(b"isom", b"mp42"), None),
        (b"\xff\x0a" + bytes(20), "JXL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JXL"),
        (b"\xff\xd8\xff", None),
        (b"", None),
        (b"\0\0\0\x18ftyp", None),
        (b"\xff\xff\xff\xffftypheic", "HEIF"),
    ],
)
def test_plugin_formats_are_known_by_content(data, format):
    assert plugin_format(data) == format


@pytest.fixture
def no_plugin(monkeypatch):
    """A process in which no plugin is installed or registered."""

    def missing(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    Image.init()
    monkeypatch.setattr(Image, "ID", [name for name in Image.ID if name not in ("HEIF", "HEIC", "JXL", "JPEG XL")])
    monkeypatch.setattr(plugins_module.importlib, "import_module", missing)


@pytest.mark.parametrize(
    ("data", "title", "package"),
    [(brands(b"heic"), "HEIC", "pillow-heif"), (b"\xff\x0a" + bytes(20), "JPEG XL", "pillow-jxl-plugin")],
)
def test_a_missing_plugin_is_named(no_plugin, data, title, package):
    with pytest.raises(DecodeError) as caught:
        decode_pillow(data, Decode())
    assert caught.value.cause == "missing plugin"
    assert caught.value.message == (
        f"expected a Pillow plugin for {title}, found none; install it with: pip install {package}"
    )


def test_a_missing_plugin_fails_its_item_alone(no_plugin):
    blobs = {"a": BLOBS["RGB JPEG"], "b": brands(b"heic"), "c": BLOBS["RGB PNG"]}
    with ps.blobs(blobs).decode().run(on_failure="blank") as run:
        rows = list(run)
    assert [row.valid for row in rows] == [True, False, True]
    assert rows[1].failure.message == (
        "decode of 'b': expected a Pillow plugin for HEIC, found none; install it with: pip install pillow-heif."
    )


def test_a_plugin_that_does_not_start_is_told(no_plugin, monkeypatch):
    def broken(name: str) -> Any:
        raise OSError("a library\nis missing")

    monkeypatch.setattr(plugins_module.importlib, "import_module", broken)
    with pytest.raises(DecodeError, match="found one that does not start: a library is missing"):
        decode_pillow(brands(b"heic"), Decode())


def test_plugins_are_imported_only_for_their_formats():
    code = (
        "import io, sys\n"
        "from PIL import Image\n"
        "from penstock.decode import Decode, decode_pillow\n"
        "out = io.BytesIO()\n"
        "Image.new('RGB', (3, 2)).save(out, 'TIFF')\n"
        "decode_pillow(out.getvalue(), Decode())\n"
        "print([name for name in ('pillow_heif', 'pillow_jxl') if name in sys.modules])\n"
    )
    answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize("kind", PLUGINS)
def test_pictures_of_a_plugin(shared_data, kind):
    pytest.importorskip(PLUGINS[kind], reason=f"{PLUGINS[kind]} is not installed")
    with (shared_data / "manifest.csv").open(encoding="utf-8", newline="") as manifest:
        names = [row["name"] for row in csv.DictReader(manifest) if row["set"] == "good" and row["format"] == kind]
    assert names
    with ps.files([shared_data / name for name in names]).decode().run(threads=2) as run:
        for row, name in zip(run, names, strict=True):
            expected = np.asarray(pillow_pixels((shared_data / Path(name)).read_bytes()))
            assert np.array_equal(row.image, expected), name
