"""PNG and WebP decoded natively: Pillow's pixels for every kind of file."""

from __future__ import annotations

import csv
import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

import penstock as ps
from penstock import _native
from png_webp_files import (
    COLOURS,
    GREY_ALPHA,
    KINDS,
    SIGNATURE,
    SIZES,
    XMP,
    check,
    chunk,
    exif,
    make_png,
    pillow_takes,
    run_one,
    samples_of,
    small,
    text,
    variants,
    webps,
)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("colour_type", "depth"), KINDS)
def test_every_kind_of_png_is_decoded_as_pillow_does(colour_type: int, depth: int, interlaced: bool) -> None:
    for height, width in SIZES:
        samples = samples_of(height, width, depth, colour_type)
        for options in variants(height, width, depth, colour_type):
            check(make_png(samples, depth, colour_type, interlaced=interlaced, **options))


@pytest.mark.parametrize(("colour_type", "depth"), KINDS)
def test_losses_are_noted_as_the_reference_notes_them(colour_type: int, depth: int) -> None:
    samples = samples_of(5, 9, depth, colour_type)
    profile = chunk(b"iCCP", b"a profile\0\0" + zlib.compress(b"words"))
    for options in variants(5, 9, depth, colour_type):
        data = make_png(samples, depth, colour_type, before=profile, **options)
        notes = [dict(run_one(data, engine=engine)[1]) for engine in ("native", "reference")]
        for counts in notes:
            for name in [name for name in counts if name.startswith("pillow: ")]:
                del counts[name]
        assert notes[0] == notes[1]
        assert ("alpha dropped" in notes[0]) == (colour_type >= GREY_ALPHA or "transparency" in options)
        assert notes[0]["icc ignored"] == 1


def test_orientation_of_png_is_pillows() -> None:
    samples = samples_of(5, 9, 8, COLOURS)
    for orientation in range(1, 9):
        raw = exif(orientation)
        for block in (raw, raw.removeprefix(b"Exif\0\0")):
            for where in ("before", "after"):
                data = make_png(samples, 8, COLOURS, **{where: chunk(b"eXIf", block)})
                check(data)
                assert _native.inspect(data)["orientation"] == orientation
    xmp = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)
    check(make_png(samples, 8, COLOURS, before=xmp))
    assert _native.inspect(make_png(samples, 8, COLOURS, after=xmp))["orientation"] == 6
    both = make_png(samples, 8, COLOURS, before=chunk(b"eXIf", exif(3)) + xmp)
    check(both)
    assert _native.inspect(both)["orientation"] == 3


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        (chunk(b"acTL", struct.pack(">II", 1, 0)), "animated"),
        (chunk(b"ABCD", b"?"), "an unknown critical chunk"),
        (chunk(b"IDAT"), "empty image data"),
        (chunk(b"pHYs", b"1234"), "a chunk that is too short"),
        (chunk(b"eXIf", b"nothing"), "unusual EXIF"),
        (chunk(b"iCCP", b"a\0\1" + zlib.compress(b"words")), "unusual ICC profile"),
        (chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(2 << 20))), "unusual ICC profile"),
        (chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2 << 20))), "unusual compressed text"),
        (chunk(b"zTXt", b"a\0\1" + zlib.compress(b"words")), "unknown compression"),
        (text(b"exif", b"words"), "metadata kept as text"),
        (text(b"Raw profile type exif", b"\nexif\n 6\n457869660000\n"), "metadata kept as text"),
        (chunk(b"tRNS", b"\0"), "unusual transparency"),
        (chunk(b"PLTE", b"1234"), "unusual palette"),
    ],
)
def test_what_only_pillow_can_judge_is_left_to_it(extra: bytes, reason: str) -> None:
    data = make_png(samples_of(5, 9, 8, COLOURS), 8, COLOURS, before=extra)
    found = _native.inspect(data)
    assert (found["backend"], found["reason"]) == ("pillow", reason)
    try:
        expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    except Exception:  # noqa: BLE001 - whatever Pillow raises is a no
        with pytest.raises(ps.ItemError):
            ps.decode(data)
    else:
        assert np.array_equal(ps.decode(data), expected)


def test_ordinary_chunks_stay_native() -> None:
    ordinary = b"".join(
        [
            chunk(b"gAMA", struct.pack(">I", 45455)),
            chunk(b"sRGB", b"\0"),
            chunk(b"cHRM", struct.pack(">8I", *range(8))),
            chunk(b"pHYs", struct.pack(">IIB", 2835, 2835, 1)),
            chunk(b"sBIT", b"\x08\x08\x08"),
            chunk(b"bKGD", bytes(6)),
            chunk(b"tIME", bytes(7)),
            chunk(b"prVt", b"private"),
            text(b"Title", b"words"),
            chunk(b"zTXt", b"Long\0\0" + zlib.compress(bytes(50_000))),
            chunk(b"iTXt", b"Title\0\1\0en\0\0" + zlib.compress(b"words")),
        ]
    )
    samples = samples_of(5, 9, 8, COLOURS)
    check(make_png(samples, 8, COLOURS, before=ordinary))
    check(make_png(samples, 8, COLOURS, after=ordinary.replace(b"PLTE", b"prVt")))
    check(make_png(samples, 8, COLOURS, before=chunk(b"PLTE", bytes(30))))  # a suggestion for a picture in colours
    check(make_png(samples, 8, COLOURS) + b"trailing words")


def test_16_bits_turned_upright() -> None:
    samples = samples_of(5, 9, 16, COLOURS)
    for orientation in range(1, 9):
        data = make_png(samples, 16, COLOURS, before=chunk(b"eXIf", exif(orientation)))
        native = ps.recipe().decode(depth=16)(data)
        height, width = native.shape[:2]
        line = ps.blobs({"it": data}).decode(depth=16).crop((0, 0, width, height)).batch(1)
        with line.run(engine="reference") as run:
            assert np.array_equal(next(run).images[0], native)


@pytest.mark.skipif(not features.check("webp"), reason="this Pillow has no WebP")
def test_every_kind_of_webp_is_decoded_as_pillow_does() -> None:
    for name, data in webps().items():
        check(data, "webp")
        (native, notes), (_, twin_notes) = run_one(data), run_one(data, engine="reference")
        assert native.valid[0] and not native.damaged[0]
        assert dict(notes) == dict(twin_notes)
        with Image.open(io.BytesIO(data)) as image:
            assert ("alpha dropped" in notes) == (image.mode == "RGBA")
        assert ("first frame taken" in notes) == ("animated" in name)
        assert ("icc ignored" in notes) == ("icc" in name)


# -- real files ----------------------------------------------------------------------------------------------


def real_files(shared_data: Path) -> Iterator[tuple[str, bytes, str]]:
    with (shared_data / "manifest.csv").open(newline="") as table:
        for row in csv.DictReader(table):
            with (shared_data / row["name"]).open("rb") as file:
                head = file.read(12)
                if head.startswith(SIGNATURE) or (head[:4] == b"RIFF" and head[8:] == b"WEBP"):
                    yield row["name"], head + file.read(), row["expect"]


def test_real_files_have_pillows_outcome_and_pixels(shared_data: Path) -> None:
    native = 0
    for name, data, expect in real_files(shared_data):
        found = _native.inspect(data)
        if not found["allowed"]:
            assert expect in ("limit", "disagree"), name
            continue
        if max(found["stored"]) > 8192:
            continue  # bombs within the limit only make a test slow
        batch, _ = run_one(data)
        expected = pillow_takes(data)
        if found["backend"] != "pillow":
            native += 1
            assert bool(batch.valid[0]) == (expected is not None), name
        if batch.valid[0] and expected is not None:
            assert np.array_equal(batch[0].image, small(expected)), name
        if expected is None and "exif.png" not in name:  # broken EXIF, which fails no image of ours
            assert not batch.valid[0] or batch.damaged[0], name
        if expect in ("fail", "fail_strict") and found["backend"] != "pillow":
            assert not batch.valid[0] or batch.damaged[0], name
    assert native > 250
