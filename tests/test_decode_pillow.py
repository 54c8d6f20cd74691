"""The Pillow party: Pillow's pixels, every loss noted, every refusal a sentence, and nothing of the process changed."""

from __future__ import annotations

import csv
import io
import pickle
import struct
import threading
import time
import warnings
import zlib

import numpy as np
import PIL
import pytest
from PIL import GifImagePlugin, Image, PngImagePlugin

from penstock._reference import decode as reference
from penstock._reference.jpeg_scans import count_scans, working_bytes
from penstock.decode import Decode, DecodeError, decode_pillow
from penstock.decode.png_repair import without_broken_chunks
from penstock.errors import PlanError
from penstock.pillow_warnings import recorded_warnings
from penstock.sniff import describe_bytes
from penstock.types import Spec

PIXELS = np.random.default_rng(0).integers(0, 256, (7, 5, 3), dtype=np.uint8)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def picture(mode: str = "RGB") -> Image.Image:
    return Image.fromarray(PIXELS).convert(mode)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_header(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


def refused(data: bytes, decode: Decode | None = None) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        decode_pillow(data, decode or Decode())
    assert not caught.value.message.endswith(".") and "\n" not in caught.value.message
    return caught.value


OLD_PILLOW = int(PIL.__version__.split(".")[0]) < 13
NO_SMALL_ICON = pytest.mark.skipif(OLD_PILLOW, reason="Pillow before 13 writes no icon this small")


@pytest.mark.parametrize(
    "kind",
    [
        "JPEG",
        "PNG",
        "WEBP",
        "GIF",
        "BMP",
        "TIFF",
        "PPM",
        "TGA",
        "JPEG2000",
        pytest.param("ICO", marks=NO_SMALL_ICON),
        "PCX",
        "SGI",
    ],
)
def test_pixels_are_pillows(kind):
    data = encoded(picture(), kind)
    out = decode_pillow(data, Decode())
    assert out.format == kind and out.pixels.dtype == np.uint8 and out.pixels.flags.c_contiguous
    assert np.array_equal(out.pixels, reference.decode(data))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientations(kind, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    data = encoded(picture(), kind, exif=exif)
    out = decode_pillow(data, Decode())
    assert np.array_equal(out.pixels, reference.decode(data))
    assert out.pixels.shape == ((7, 5, 3) if orientation < 5 else (5, 7, 3))
    if kind == "TIFF":
        assert out.orientation == 1 and (out.stored_height, out.stored_width) == out.pixels.shape[:2]
    else:
        assert out.orientation == orientation and (out.stored_height, out.stored_width) == (7, 5)


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0LoremIpsum", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0II*\0\xff\xff\xff\xff"]
)
def test_broken_exif_never_fails_an_image(exif):
    for kind in ("JPEG", "PNG", "WEBP"):
        out = decode_pillow(encoded(picture(), kind, exif=exif), Decode())
        assert out.orientation == 1 and out.pixels.shape == (7, 5, 3)


def test_orientation_from_xmp():
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    assert decode_pillow(encoded(picture(), "JPEG", xmp=xmp), Decode()).orientation == 6


def test_large_images_leave_in_strips():
    data = encoded(Image.effect_noise((1501, 1203), 90).convert("RGB"), "BMP")
    out = decode_pillow(data, Decode())
    assert np.array_equal(out.pixels, reference.decode(data)) and out.pixels.flags.owndata


@pytest.mark.parametrize(
    ("data", "notes"),
    [
        (encoded(picture(), "PNG"), ()),
        (encoded(picture("RGBA"), "PNG"), ("alpha dropped",)),
        (encoded(picture("LA"), "PNG"), ("alpha dropped",)),
        (encoded(picture("P"), "PNG"), ()),
        (encoded(picture("P"), "PNG", transparency=3), ("alpha dropped",)),
        (encoded(picture(), "PNG", transparency=(1, 2, 3)), ("alpha dropped",)),
        (encoded(picture("I").convert("I;16"), "PNG"), ("16 bit clipped",)),
        (encoded(picture("F"), "TIFF"), ("16 bit clipped",)),
        (encoded(picture(), "JPEG", icc_profile=b"a profile"), ("icc ignored",)),
        (
            encoded(picture("L"), "GIF", save_all=True, append_images=[Image.new("L", (5, 7), 9)]),
            ("first frame taken",),
        ),
        (encoded(picture(), "TIFF", save_all=True, append_images=[picture("L")]), ("first frame taken",)),
        (encoded(picture(), "WEBP", save_all=True, append_images=[Image.new("RGB", (5, 7))]), ("first frame taken",)),
        (encoded(picture("L"), "GIF"), ()),
    ],
)
def test_each_legal_loss_is_noted(data, notes):
    out = decode_pillow(data, Decode())
    assert out.notes == notes
    assert np.array_equal(out.pixels, reference.decode(data))


def test_16_bit_colour_is_noted():
    rows = b"".join(b"\0" + bytes(range(12)) for _ in range(2))
    data = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
    out = decode_pillow(data, Decode())
    assert out.notes == ("16 bit reduced",) and out.pixels[0, 0].tolist() == [0, 2, 4]


def test_a_long_gif_is_not_walked_through(monkeypatch):
    frames = [Image.new("L", (8, 8), i % 256) for i in range(200)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=10)
    visited = []
    real = GifImagePlugin.GifImageFile._seek

    def counted(image, frame, *more, **options):
        visited.append(frame)
        return real(image, frame, *more, **options)

    monkeypatch.setattr(GifImagePlugin.GifImageFile, "_seek", counted)
    assert "first frame taken" in decode_pillow(data, Decode()).notes
    assert visited and max(visited) <= 1
    with Image.open(io.BytesIO(data)) as walked:
        assert walked.n_frames == 200 and max(visited) >= 199  # what walking through looks like


@pytest.mark.parametrize(
    ("data", "cause", "message"),
    [
        (b"", "not an image", "expected an image, found 0 bytes"),
        (b"<!DOCTYPE html><html>", "not an image", "HTML text ('<!DOCTYPE html><html>')"),
        (b"PK\x03\x04" + bytes(40), "not an image", "found bytes 50 4b 03 04 (a ZIP archive)"),
        (b"\xff\xd8\xff\xe0", "broken data", "(the beginning of a JPEG)"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image", "(PostScript)"),
        (encoded(picture(), "JPEG")[:-90], "truncated", "Truncated File Read"),
        (encoded(picture(), "PNG")[:-40], "truncated", "expected a whole image"),
        (png_header(20_000, 20_000) + chunk(b"IDAT", b""), "too many pixels", "found 400000000"),
        (png_header(13_379, 13_379) + chunk(b"IDAT", b""), "too many pixels", "found 178997641"),
        (png_header(0, 7) + chunk(b"IDAT", b""), "broken data", "expected"),
    ],
)
def test_refusals_are_sentences(data, cause, message):
    error = refused(data)
    assert error.cause == cause and message in error.message
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.cause, copy.message) == (error.cause, error.message)


def test_text_bomb_is_a_failure():
    bomb = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(PngImagePlugin.MAX_TEXT_CHUNK * 2)))
    assert refused(png_header(4, 4) + bomb + chunk(b"IDAT", b"")).cause == "broken data"


@pytest.mark.parametrize("error", [RecursionError("deep"), SystemError("codec"), struct.error("short"), MemoryError()])
def test_whatever_pillow_raises_is_a_failure(monkeypatch, error):
    def fail(self):
        raise error

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    assert refused(encoded(picture(), "PNG")).cause == (
        "out of memory" if isinstance(error, MemoryError) else "broken data"
    )


def test_an_interrupt_is_not_a_failure(monkeypatch):
    def interrupt(self):
        raise KeyboardInterrupt

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", interrupt)
    with pytest.raises(KeyboardInterrupt):
        decode_pillow(encoded(picture(), "PNG"), Decode())


def test_limits():
    data = encoded(picture(), "PNG")
    assert decode_pillow(data, Decode(max_pixels=35)).pixels.shape == (7, 5, 3)
    assert refused(data, Decode(max_pixels=34)).message == "expected at most 34 pixels (max_pixels), found 7 x 5 = 35"
    progressive = encoded(picture().resize((64, 64)), "JPEG", progressive=True)
    scans = count_scans(progressive)
    assert scans > 5
    assert decode_pillow(progressive, Decode(max_scans=scans)).format == "JPEG"
    assert refused(progressive, Decode(max_scans=scans - 1)).message == (
        f"expected at most {scans - 1} scans (max_scans), found {scans}"
    )
    needed = working_bytes(64, 64, [(2, 2), (1, 1), (1, 1)], True)
    assert decode_pillow(progressive, Decode(max_working_bytes=needed)).format == "JPEG"
    assert refused(progressive, Decode(max_working_bytes=needed - 1)).cause == "too much memory"


def test_scans_of_a_thumbnail_do_not_count():
    thumbnail = encoded(picture(), "JPEG", progressive=True)
    segment = b"\xff\xe2" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    data = encoded(picture(), "JPEG")
    assert count_scans(data[:2] + segment + data[2:]) == 1
    assert decode_pillow(data[:2] + segment + data[2:], Decode(max_scans=1)).format == "JPEG"


# warnings


def with_corrupt_exif() -> bytes:
    return encoded(
        picture(), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x02\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\x0f\x01\x02"
    )


def test_warnings_become_notes_and_filters_are_left_alone():
    data = with_corrupt_exif()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = list(warnings.filters)
        out = decode_pillow(data, Decode())
        assert warnings.filters == before
    assert any(note.startswith("pillow: Corrupt EXIF data") for note in out.notes), out.notes
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("default")
        with Image.open(io.BytesIO(data)) as image:
            image.getexif()
        assert shown and decode_pillow(data, Decode()).notes == out.notes
        assert not [w for w in shown[1:] if "penstock" in str(w.filename)]


def test_other_threads_keep_their_filters():
    inside, done = threading.Event(), threading.Event()
    seen: list[str] = []

    def record():
        with recorded_warnings() as notes:
            inside.set()
            done.wait(60)
            warnings.warn("mine", stacklevel=1)
            seen.extend(notes)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        thread = threading.Thread(target=record)
        thread.start()
        assert inside.wait(60)
        with pytest.raises(UserWarning, match="theirs"):
            warnings.warn("theirs", stacklevel=1)
        done.set()
        thread.join(60)
        assert seen == ["mine"]
        with pytest.raises(UserWarning, match="after"):
            warnings.warn("after", stacklevel=1)


def test_filters_that_change_meanwhile_fail_no_image():
    data, failures, stop = with_corrupt_exif(), [], threading.Event()

    def party():
        for _ in range(60):
            try:
                if not decode_pillow(data, Decode()).notes:
                    failures.append("note lost")
            except Exception as error:  # noqa: BLE001  # what goes wrong in a thread is told by the test
                failures.append(repr(error))

    def user():
        while not stop.is_set():
            with warnings.catch_warnings():
                warnings.simplefilter("error")
            time.sleep(0.0005)

    before = list(warnings.filters)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        threads = [threading.Thread(target=party) for _ in range(4)]
        noise = threading.Thread(target=user)
        noise.start()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        stop.set()
        noise.join()
    assert failures == []
    assert list(warnings.filters) == before


# the verb


def test_decode_verb():
    verb = Decode(max_pixels=100)
    assert Decode.from_json(verb.to_json()) == verb and verb.to_json()["verb"] == "decode"
    assert verb.describe() == "decode(max_pixels=100)" and Decode().describe() == "decode()"
    out = verb.spec(Spec("encoded"))
    assert out.kind == "image" and out.ragged and out.dtype == "uint8"
    with pytest.raises(PlanError, match="images are decoded already"):
        verb.spec(out)
    with pytest.raises(PlanError, match="expected max_scans to be a whole number of at least 1, found 0"):
        Decode(max_scans=0)
    with pytest.raises(PlanError, match="found 'max_pixel'"):
        Decode.from_json({"verb": "decode", "max_pixel": 3})


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "0 bytes"),
        (b"\0" * 9, "nothing but zero bytes"),
        (b'{"error": "no such picture"}', 'JSON-like text (\'{"error": "no such picture"}\')'),
        (b"\0\0\0\x18ftypheic", "a HEIF picture"),
        (b"RIFF\0\0\0\0WAVE", "a RIFF file of kind 'WAVE'"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (bytes(range(200, 210)), "10 bytes that no known image begins with"),
        ("<svg>é".encode() * 200, "an SVG drawing"),
    ],
)
def test_describe_bytes(data, text):
    assert text in describe_bytes(data)


# every picture there is


def outcome(data: bytes, decode: Decode) -> np.ndarray | None:
    """The pixels, or None where they are refused with a sentence."""
    try:
        return decode_pillow(data, decode).pixels
    except DecodeError as refusal:
        cause, message = refusal.cause, refusal.message
    assert cause and message.startswith("expected ")
    return None


@pytest.mark.skipif(OLD_PILLOW, reason="Pillow before 13 itself hangs or crashes on some of these pictures")
@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", ["photos", "good", "edge", "bad", "fuzz"])
def test_every_shared_picture_has_pillows_outcome(shared_data, part):
    with (shared_data / "manifest.csv").open(encoding="utf-8", newline="") as manifest:
        rows = [row for row in csv.DictReader(manifest) if row["set"] == part]
    assert rows
    wrong = []
    for row in rows:
        # Tens of megapixels of nothing take seconds and gigabytes, twice; and the reference has no limit on scans.
        if "bomb" in row["category"] or (row["width"] and int(row["width"]) * int(row["height"] or 0) > 60_000_000):
            continue
        data = (shared_data / row["name"]).read_bytes()
        ours = outcome(data, Decode())
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                theirs = reference.decode(data)
        except Exception as error:  # noqa: BLE001  # Pillow may raise anything
            # The allowed differences: a broken EXIF block never fails an image, nor does a wrong checksum of a PNG's
            # words beside it, which are left out then and the row is damaged.
            repaired = without_broken_chunks(data) != data
            theirs = ours if "not a TIFF file" in str(error) or repaired else None
        if (ours is None) != (theirs is None) or (ours is not None and not np.array_equal(ours, theirs)):
            wrong.append(row["name"])
    assert wrong == []


def test_bombs_are_refused_or_end(shared_data):
    for path in sorted((shared_data / "bad" / "bomb").iterdir()):
        if path.stat().st_size < 5_000_000 and "13000" not in path.name:
            start = time.perf_counter()
            outcome(path.read_bytes(), Decode(max_pixels=20_000_000))
            assert time.perf_counter() - start < 60, path.name


def test_advice_that_only_one_side_gives_is_no_note() -> None:
    image = Image.fromarray(PIXELS[..., 0] % 4, "P")
    image.putpalette([10, 20, 30] * 4)
    data = encoded(image, "PNG", transparency=bytes([0, 255, 128, 9]))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        Image.open(io.BytesIO(data)).convert("RGB")
    assert any("Palette images with Transparency" in str(warning.message) for warning in said)
    assert decode_pillow(data, Decode()).notes == ("alpha dropped",)
