"""PNG and WebP decoded natively: Pillow's pixels for every kind of file, and never a clean row for a broken one."""

from __future__ import annotations

import csv
import io
import itertools
import struct
import warnings
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps, features
from skimage import data as photographs

import penstock as ps
from penstock import _native
from penstock.decode.png_repair import without_broken_chunks

GREY, COLOURS, PALETTE, GREY_ALPHA, COLOURS_ALPHA = 0, 2, 3, 4, 6
CHANNELS = {GREY: 1, COLOURS: 3, PALETTE: 1, GREY_ALPHA: 2, COLOURS_ALPHA: 4}
KINDS = [
    *((GREY, depth) for depth in (1, 2, 4, 8, 16)),
    *((PALETTE, depth) for depth in (1, 2, 4, 8)),
    *((colour, depth) for colour in (COLOURS, GREY_ALPHA, COLOURS_ALPHA) for depth in (8, 16)),
]
SIZES = ((1, 1), (3, 2), (5, 9), (23, 17), (70, 130))
PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
SMALL = (37, 41)
SIGNATURE = b"\x89PNG\r\n\x1a\n"


# -- making files --------------------------------------------------------------------------------------------


def chunk(name: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def packed(samples: Any, depth: int) -> bytes:
    """Rows of samples [H, W, C] as PNG stores them, the five filters in turn."""
    height, width, channels = samples.shape
    flat = samples.reshape(height, width * channels)
    if depth == 16:
        rows = flat.astype(">u2").view(np.uint8)
    elif depth == 8:
        rows = flat.astype(np.uint8)
    else:
        bits = (flat[..., None] >> np.arange(depth - 1, -1, -1)) & 1
        rows = np.packbits(bits.reshape(height, -1).astype(np.uint8), axis=1)
    rows = rows.astype(np.int32)
    pixel = max(1, channels * depth // 8)
    up = np.vstack([np.zeros_like(rows[:1]), rows[:-1]])
    left = np.pad(rows, ((0, 0), (pixel, 0)))[:, : rows.shape[1]]
    corner = np.pad(up, ((0, 0), (pixel, 0)))[:, : rows.shape[1]]
    to_left, to_up, to_corner = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
    nearest = np.where(to_up <= to_corner, up, corner)
    paeth = np.where((to_left <= to_up) & (to_left <= to_corner), left, nearest)
    kinds = np.arange(height) % 5
    guesses = np.stack([np.zeros_like(rows), left, up, (left + up) // 2, paeth])
    filtered = (rows - guesses[kinds, np.arange(height)]) & 255
    return np.hstack([kinds[:, None], filtered]).astype(np.uint8).tobytes()


def make_png(
    samples: Any,
    depth: int,
    colour_type: int,
    *,
    interlaced: bool = False,
    palette: bytes = b"",
    transparency: bytes = b"",
    before: bytes = b"",
    after: bytes = b"",
) -> bytes:
    """A PNG of samples [H, W, C]; ``before`` and ``after`` are further chunks around the image data."""
    height, width, _ = samples.shape
    if interlaced:
        parts = [samples[top::down, left::across] for top, left, down, across in PASSES]
        raw = b"".join(packed(part, depth) for part in parts if part.size)
    else:
        raw = packed(samples, depth)
    data = zlib.compress(raw)
    half = len(data) // 2
    return b"".join(
        [
            SIGNATURE,
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, interlaced)),
            chunk(b"PLTE", palette) if palette else b"",
            chunk(b"tRNS", transparency) if transparency else b"",
            before,
            chunk(b"IDAT", data[:half]),
            chunk(b"IDAT", data[half:]),
            after,
            chunk(b"IEND"),
        ]
    )


@cache
def picture(height: int, width: int) -> Any:
    return np.asarray(photographs.coffee())[150 : 150 + height, 200 : 200 + width]


def samples_of(height: int, width: int, depth: int, colour_type: int) -> Any:
    """Samples with structure, and in 16 bits with small values too, which Pillow's clipping leaves alone."""
    rng = np.random.default_rng(height * 1000 + width * 10 + depth + colour_type)
    samples = rng.integers(0, 1 << depth, (height, width, CHANNELS[colour_type]))
    if depth == 16:
        small = rng.random(samples.shape[:2]) < 0.5
        samples[small] = samples[small] >> 8
    if depth == 8 and colour_type == COLOURS:
        samples = picture(height, width).astype(np.int64)
    return samples


def variants(height: int, width: int, depth: int, colour_type: int) -> Iterator[dict[str, Any]]:
    """The palettes and transparencies that a kind of PNG can have."""
    rng = np.random.default_rng(depth)
    if colour_type == PALETTE:
        entries = 1 << depth
        palette = rng.integers(0, 256, entries * 3).astype(np.uint8).tobytes()
        yield {"palette": palette}
        yield {"palette": palette[: max(3, entries // 2 * 3)]}  # shorter than the indices that are used
        single = b"\xff" * (entries // 2) + b"\0"
        for transparency in (single, single + b"\n", b"\n", b"\0\0", rng.integers(0, 256, entries, np.uint8).tobytes()):
            yield {"palette": palette, "transparency": transparency[:entries]}
        return
    yield {}
    if colour_type in (GREY, COLOURS):
        samples = samples_of(height, width, depth, colour_type)
        stored = samples[height // 2, width // 2]
        reduced = stored >> 8 if depth == 16 else stored * (255 // ((1 << min(depth, 8)) - 1))
        for key in (stored, reduced, np.zeros_like(stored)):
            key = np.minimum(key, (1 << depth) - 1)
            yield {"transparency": key.astype(">u2").tobytes()}


def saved(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, **options)
    return file.getvalue()


# -- what they must become -----------------------------------------------------------------------------------


def backend(data: bytes) -> str:
    return str(_native.inspect(data)["backend"])


def upright(data: bytes) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(data)) as image:
            return ImageOps.exif_transpose(image).convert("RGB")


def check(data: bytes, name: str = "png") -> None:
    assert backend(data) == name
    assert np.array_equal(ps.decode(data), np.asarray(upright(data)))


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("colour_type", "depth"), KINDS)
def test_every_kind_of_png_is_decoded_as_pillow_does(colour_type: int, depth: int, interlaced: bool) -> None:
    for height, width in SIZES:
        samples = samples_of(height, width, depth, colour_type)
        for options in variants(height, width, depth, colour_type):
            check(make_png(samples, depth, colour_type, interlaced=interlaced, **options))


def small(image: Image.Image) -> Any:
    return np.asarray(image.resize(SMALL[::-1], Image.Resampling.BILINEAR))


def run_one(data: bytes, **options: Any) -> tuple[ps.Batch, Any]:
    """A batch of this one picture, and the run's notes."""
    line = ps.blobs({"it": data}).decode().resize(*SMALL).batch(1)
    with line.run(on_failure="blank", **options) as run:
        return next(run), run.notes


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


def exif(orientation: int) -> bytes:
    block = Image.Exif()
    block[0x0112] = orientation
    return block.tobytes()


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="6"/></x:xmpmeta>'


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


def text(key: bytes, words: bytes) -> bytes:
    return chunk(b"tEXt", key + b"\0" + words)


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


# -- broken files --------------------------------------------------------------------------------------------


def pillow_takes(data: bytes) -> Image.Image | None:
    try:
        return upright(data)
    except Exception:  # noqa: BLE001 - whatever Pillow raises is a no
        return None


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


def test_16_bits_turned_upright() -> None:
    samples = samples_of(5, 9, 16, COLOURS)
    for orientation in range(1, 9):
        data = make_png(samples, 16, COLOURS, before=chunk(b"eXIf", exif(orientation)))
        native = ps.recipe().decode(depth=16)(data)
        height, width = native.shape[:2]
        line = ps.blobs({"it": data}).decode(depth=16).crop((0, 0, width, height)).batch(1)
        with line.run(engine="reference") as run:
            assert np.array_equal(next(run).images[0], native)


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


def webps() -> dict[str, bytes]:
    coffee = Image.fromarray(np.ascontiguousarray(picture(75, 117)))
    clear = coffee.copy()
    ramp = Image.fromarray(np.ascontiguousarray(np.linspace(0, 255, 75 * 117).astype(np.uint8).reshape(75, 117)))
    clear.putalpha(ramp)
    files = {}
    for name, image in (("rgb", coffee), ("rgba", clear)):
        for quality in (10, 85, 100):
            files[f"{name} {quality}"] = saved(image, format="WEBP", quality=quality)
        files[f"{name} lossless"] = saved(image, format="WEBP", lossless=True, exact=True)
        files[f"{name} icc"] = saved(image, format="WEBP", icc_profile=b"words")
        frames = [image, image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), image]
        for lossless in (False, True):
            files[f"{name} animated {lossless}"] = saved(
                image, format="WEBP", save_all=True, append_images=frames, duration=40, lossless=lossless
            )
    for orientation in range(1, 9):
        files[f"orientation {orientation}"] = saved(coffee, format="WEBP", exif=exif(orientation))
    files["xmp"] = saved(coffee, format="WEBP", xmp=XMP)
    for height, width in ((1, 1), (1, 40), (40, 1), (16, 17)):
        files[f"{height} x {width}"] = saved(coffee.resize((width, height)), format="WEBP")
        files[f"{height} x {width} rgba"] = saved(clear.resize((width, height)), format="WEBP", lossless=True)
    return files


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


# -- options: Pillow's convert and alpha_composite; samples of 16 bits by our own definition -----------------

COLOUR = (200, 100, 30)
OPTIONS = [
    {"mode": mode, "alpha": alpha, "depth": depth}
    for mode in ("RGB", "L", "RGBA")
    for alpha in (("drop", COLOUR) if mode != "RGBA" else ("drop",))
    for depth in (8, 16, "scale")
]


def over(rgba: Any, top: int) -> Any:
    """RGBA of samples 0..top, uint64, laid over COLOUR: rounded weights of 16 bits."""
    colour = np.array(COLOUR, np.uint64) * 257
    alpha = rgba[..., 3:]
    return (rgba[..., :3] * alpha + colour * (top - alpha) + top // 2) // top


def grey(rgb: Any) -> Any:
    """Pillow's grey of RGB, for 8 and 16 bits alike."""
    wide = rgb.astype(np.uint64)
    return ((wide[..., 0] * 19595 + wide[..., 1] * 38470 + wide[..., 2] * 7471 + 0x8000) >> 16)[..., None]


def finished_by_pillow(image: Image.Image, options: dict[str, Any]) -> Any:
    if options["mode"] == "RGBA":
        return np.asarray(image.convert("RGBA"))
    if options["alpha"] != "drop":
        ground = Image.new("RGBA", image.size, (*COLOUR, 255))
        image = Image.alpha_composite(ground, image.convert("RGBA"))
    made = np.asarray(image.convert(options["mode"]))
    return made.reshape(*made.shape[:2], -1)


def finished(rgba: Any, options: dict[str, Any]) -> Any:
    """uint16 RGBA as ``options`` of depth 16 have it."""
    if options["mode"] == "RGBA":
        return rgba
    wide = rgba.astype(np.uint64)
    rgb = wide[..., :3] if options["alpha"] == "drop" else over(wide, 65535)
    return (grey(rgb) if options["mode"] == "L" else rgb).astype(np.uint16)


def deep_rgba(samples: Any, colour_type: int, transparency: bytes) -> Any:
    """Samples of 16 bits as uint16 RGBA; the transparent colour counts with all its bits."""
    channels = samples.shape[2]
    colours = samples[..., :3] if channels >= 3 else np.repeat(samples[..., :1], 3, axis=2)
    if colour_type >= GREY_ALPHA:
        alpha = samples[..., -1:]
    elif transparency:
        alpha = np.where((samples == np.frombuffer(transparency, ">u2")).all(axis=2, keepdims=True), 0, 65535)
    else:
        alpha = np.full_like(samples[..., :1], 65535)
    return np.concatenate([colours, alpha], axis=2).astype(np.uint16)


def expected(image: Image.Image, options: dict[str, Any], deep: Any = None) -> Any:
    """``deep``: uint16 RGBA of a file of 16 bits."""
    if options["depth"] == 16:
        return (
            finished(deep, options) if deep is not None else finished_by_pillow(image, options).astype(np.uint16) * 257
        )
    if options["depth"] == "scale" and deep is not None:
        rounded = (deep.astype(np.uint64) * 255 + 32767) // 65535
        return finished_by_pillow(Image.fromarray(rounded.astype(np.uint8)), options)
    return finished_by_pillow(image, options)


def check_options(data: bytes, options: dict[str, Any], deep: Any = None) -> None:
    assert backend(data) in ("png", "webp")
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        wanted = expected(image, options, deep)
    made = ps.recipe().decode(**options)(data)
    height, width = wanted.shape[:2]
    line = ps.blobs({"it": data}).decode(**options).crop((0, 0, width, height)).batch(1)
    with line.run(engine="reference") as run:
        assert np.array_equal(next(run).images[0], wanted)
    assert made.dtype == wanted.dtype
    assert made.shape == wanted.shape
    assert np.array_equal(made, wanted)


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize(("colour_type", "depth"), KINDS)
def test_png_by_every_option(colour_type: int, depth: int, options: dict[str, Any]) -> None:
    for interlaced in (False, True):
        samples = samples_of(23, 17, depth, colour_type)
        for variant in variants(23, 17, depth, colour_type):
            data = make_png(samples, depth, colour_type, interlaced=interlaced, **variant)
            deep = deep_rgba(samples, colour_type, variant.get("transparency", b"")) if depth == 16 else None
            check_options(data, options, deep)


@pytest.mark.skipif(not features.check("webp"), reason="this Pillow has no WebP")
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_webp_by_every_option(options: dict[str, Any]) -> None:
    for name, data in webps().items():
        if not name.startswith("orientation") and name != "xmp":
            check_options(data, options)


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


def test_flipped_bits_are_never_clean_unless_pillow_agrees() -> None:
    rng = np.random.default_rng(0)
    samples = samples_of(23, 17, 8, COLOURS)
    made = [make_png(samples, 8, COLOURS), saved(Image.fromarray(samples.astype(np.uint8)), format="WEBP")]
    for data, _ in itertools.product(made, range(150)):
        broken = bytearray(data)
        broken[int(rng.integers(12, len(data)))] ^= 1 << int(rng.integers(8))
        outcome_of(bytes(broken))
