"""Broken PNG and WebP files: damage is named as Pillow knows it, and none is ever a clean row."""

from __future__ import annotations

import io
import itertools
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, features

import penstock as ps
from penstock.decode.png_repair import without_broken_chunks
from png_webp_files import (
    COLOURS,
    SIGNATURE,
    SMALL,
    chunk,
    exif,
    make_png,
    packed,
    pillow_takes,
    run_one,
    samples_of,
    saved,
    small,
    text,
    webps,
)

pytestmark = pytest.mark.timeout(900)  # some try every place of a file: tens of seconds on a free machine


def outcome_of(data: bytes) -> str:
    """The outcome, whatever it is the same for both engines, and pixels only where Pillow has the same."""
    native, _ = run_one(data)
    twin, _ = run_one(data, engine="reference")
    assert (native.valid[0], native.damaged[0]) == (twin.valid[0], twin.damaged[0])
    if not native.valid[0]:
        return "failed"
    expected = pillow_takes(data)
    if expected is None:  # only where Pillow's refusal was for words beside the image
        assert native.damaged[0]
        expected = pillow_takes(without_broken_chunks(data))
    assert expected is not None
    assert np.array_equal(native[0].image, small(expected))
    return "damaged" if native.damaged[0] else "clean"


def with_wrong_sum(data: bytes, name: bytes) -> bytes:
    at = data.rindex(name)
    end = at + 4 + int.from_bytes(data[at - 4 : at], "big")
    return data[:end] + bytes([data[end] ^ 1]) + data[end + 1 :]


def test_a_wrong_checksum_is_damage_and_names_the_chunk() -> None:
    samples = samples_of(23, 17, 8, COLOURS)
    data = make_png(samples, 8, COLOURS, after=text(b"Title", b"words"))
    for name in (b"tEXt", b"IDAT", b"IEND"):
        broken = with_wrong_sum(data, name)
        assert outcome_of(broken) == "damaged"
        with ps.blobs({"it": broken}).decode().resize(*SMALL).batch(1).run() as run:
            next(run)
            assert f"in chunk {name.decode()}" in run.damaged[0].message
    assert outcome_of(with_wrong_sum(data, b"IHDR")) == "failed"
    # Before the image data Pillow refuses the file; without the chunk it takes it.
    early = make_png(samples, 8, COLOURS, before=text(b"Title", b"words") + chunk(b"eXIf", exif(6)))
    for name in (b"tEXt", b"eXIf"):
        broken = with_wrong_sum(early, name)
        assert pillow_takes(broken) is None
        assert outcome_of(broken) == "damaged"


@pytest.mark.parametrize("interlaced", [False, True])
def test_png_cut_anywhere_is_never_clean(interlaced: bool) -> None:
    samples = samples_of(23, 17, 8, COLOURS)
    data = make_png(samples, 8, COLOURS, interlaced=interlaced)
    for size in range(8, len(data) - 12, 10):
        assert outcome_of(data[:size]) in ("failed", "damaged")


def test_png_with_broken_data_is_never_clean() -> None:
    samples = samples_of(23, 17, 8, COLOURS)
    raw = packed(samples, 8)
    frame = make_png(samples, 8, COLOURS)
    head, tail = frame[:33], chunk(b"IEND")
    longer, shorter, broken = zlib.compress(raw + b"more"), zlib.compress(raw[: 52 * 7]), bytearray(zlib.compress(raw))
    broken[-1] ^= 1
    bad_filter = bytearray(raw)
    bad_filter[52 * 3] = 9
    for stream in (longer, shorter, bytes(broken), zlib.compress(bytes(bad_filter)), b"words", zlib.compress(raw)[:-4]):
        assert outcome_of(head + chunk(b"IDAT", stream) + tail) in ("failed", "damaged")


@pytest.mark.skipif(not features.check("webp"), reason="this Pillow has no WebP")
def test_webp_cut_anywhere_is_never_clean() -> None:
    for name in ("rgb 85", "rgba lossless", "rgba 85", "rgb animated False"):
        data = webps()[name]
        for size in range(12, len(data) - 2, max(10, len(data) // 40)):
            assert outcome_of(data[:size]) in ("failed", "damaged")


def test_limits_hold_before_anything_is_decoded() -> None:
    samples = samples_of(70, 130, 8, COLOURS)
    files = {"png": make_png(samples, 8, COLOURS, interlaced=True)}
    if features.check("webp"):
        files |= webps()
    for limits, cause in (({"max_pixels": 0}, "too many pixels"), ({"max_working_bytes": 99_999}, "too much memory")):
        for name, data in files.items():
            with Image.open(io.BytesIO(data)) as image:
                most = {key: value or image.width * image.height - 1 for key, value in limits.items()}
            if min(most.values()) < 1:
                continue
            messages = set()
            for engine in ("native", "reference"):
                line = ps.blobs({name: data}).decode(**most).resize(*SMALL).batch(1)
                with line.run(engine=engine, on_failure="blank") as run:  # type: ignore[arg-type]
                    failure = next(run).failures[0]
                assert failure.cause == cause
                messages.add(failure.message)
            assert len(messages) == 1
    huge = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, COLOURS, 0, 0, 0))
    with pytest.raises(ps.ItemError, match="at most 178956970 pixels"):
        ps.decode(SIGNATURE + huge + chunk(b"IDAT", b"x" * 9) + chunk(b"IEND"))


def test_flipped_bits_are_never_clean_unless_pillow_agrees() -> None:
    rng = np.random.default_rng(0)
    samples = samples_of(23, 17, 8, COLOURS)
    made = [make_png(samples, 8, COLOURS), saved(Image.fromarray(samples.astype(np.uint8)), format="WEBP")]
    for data, _ in itertools.product(made, range(150)):
        broken = bytearray(data)
        broken[int(rng.integers(12, len(data)))] ^= 1 << int(rng.integers(8))
        outcome_of(bytes(broken))
