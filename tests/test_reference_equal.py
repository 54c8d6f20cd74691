"""``engine="reference"``, the readable twins, and the native engine: the same bits over everything a line can say.

And both against Pillow called by hand, so that two twins cannot be wrong together.
"""

from __future__ import annotations

import io
from functools import cache
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps
from skimage import data as photographs

import penstock as ps
from penstock import _native

FILTERS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
SAMPLINGS = {"4:4:4": 0, "4:2:2": 1, "4:2:0": 2}  # those that Pillow writes


@cache
def photograph(name: str, height: int, width: int) -> Image.Image:
    """A cut of a real photograph: edges and texture that a resampler shows its rounding on."""
    image = np.asarray(getattr(photographs, name)())
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return Image.fromarray(np.ascontiguousarray(image[top : top + height, left : left + width]))


def jpeg(picture: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", **{"quality": 90, **options})
    return file.getvalue()


def oriented(picture: Image.Image, orientation: int, **options: Any) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return jpeg(picture, exif=exif, **options)


def upright(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as picture:
        return ImageOps.exif_transpose(picture).convert("RGB")


def both(line: ps.Pipeline, **options: Any) -> tuple[ps.Batch, ps.Batch]:
    made = []
    for engine in ("native", "reference"):
        with line.run(engine=engine, on_failure="blank", **options) as run:  # type: ignore[arg-type]
            made.append(next(run))
    native, twin = made
    assert native.images.dtype == twin.images.dtype and native.images.shape == twin.images.shape
    for one, other in zip(native, twin, strict=True):
        assert np.array_equal(one.image, other.image), f"{one.key}: {difference(one.image, other.image)}"
        assert one.valid == other.valid and one.failure == other.failure
    assert np.array_equal(native.geometry.matrices[native.valid], twin.geometry.matrices[native.valid])
    assert np.array_equal(native.geometry.sizes[native.valid], twin.geometry.sizes[native.valid])
    assert np.array_equal(native.geometry.orientation[native.valid], twin.geometry.orientation[native.valid])
    return native, twin


def difference(one: Any, other: Any) -> str:
    apart = np.argwhere(np.asarray(one) != np.asarray(other))
    return f"{len(apart)} values differ, the first at {apart[0].tolist()}" if len(apart) else "no value differs"


def decoded_natively(data: bytes) -> bool:
    return bool(_native.inspect(data)["backend"] == "jpeg")


# -- orientations, filters, fits, layouts, dtypes ------------------------------------------------------------


@cache
def turned() -> dict[str, bytes]:
    """Every orientation, at an odd size, subsampled and not, baseline and progressive."""
    picture = photograph("coffee", 75, 117)
    blobs = {}
    for orientation in range(1, 9):
        blobs[f"{orientation} 4:2:0"] = oriented(picture, orientation)
        blobs[f"{orientation} 4:4:4 progressive"] = oriented(picture, orientation, subsampling=0, progressive=True)
    assert all(map(decoded_natively, blobs.values()))
    return blobs


@pytest.mark.parametrize("filter", FILTERS)
@pytest.mark.parametrize("fit", ["fill", "cover"])
@pytest.mark.parametrize("size", [(32, 32), (31, 57), (150, 40), (40, 260), (1, 1), (75, 117), (117, 75), (75, 20)])
def test_eight_orientations_times_filters_times_fits(filter: Any, fit: Any, size: tuple[int, int]) -> None:
    height, width = size
    native, _ = both(ps.blobs(turned()).decode().resize(height, width, fit=fit, filter=filter).batch(16))
    resample = Image.Resampling[filter.upper()]
    assert native.valid.all()
    for row in native:
        picture = upright(turned()[row.key])
        if fit == "fill":
            expected = picture.resize((width, height), resample)
        else:
            expected = ImageOps.fit(picture, (width, height), resample)
        assert np.array_equal(row.image, np.asarray(expected)), f"{row.key}: {difference(row.image, expected)}"


@pytest.mark.parametrize("filter", FILTERS)
@pytest.mark.parametrize("rounding", ["even", "floor"])
@pytest.mark.parametrize(("short_side", "crop"), [(40, (40, 40)), (33, (20, 31)), (160, (131, 158))])
def test_short_side_and_center_crop(filter: Any, rounding: Any, short_side: int, crop: tuple[int, int]) -> None:
    line = ps.blobs(turned()).decode().resize(short_side=short_side, filter=filter)
    native, _ = both(line.center_crop(*crop, rounding=rounding).batch(16))
    assert native.valid.all()
    for row in native:
        picture = upright(turned()[row.key])
        long_side = int(short_side * max(picture.size) / min(picture.size))
        size = (short_side, long_side) if picture.width < picture.height else (long_side, short_side)
        resized = np.asarray(picture.resize(size, Image.Resampling[filter.upper()]))
        spare = (resized.shape[0] - crop[0], resized.shape[1] - crop[1])
        top, left = ((round(free / 2) if rounding == "even" else free // 2) for free in spare)
        assert np.array_equal(row.image, resized[top : top + crop[0], left : left + crop[1]])


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("statistics", [None, ps.IMAGENET, ps.CLIP, ps.SIGNED, ps.UNIT])
@pytest.mark.parametrize("size", [(32, 32), (17, 31), (3, 5)])
def test_layouts_dtypes_and_statistics(layout: Any, statistics: Any, size: tuple[int, int]) -> None:
    line = ps.blobs(turned()).decode().resize(*size)
    line = line if statistics is None else line.normalize(statistics)
    native, _ = both(line.batch(16, layout=layout))
    for row in native:
        pixels = np.asarray(upright(turned()[row.key]).resize(size[::-1], Image.Resampling.BILINEAR))
        expected: Any = pixels
        if statistics is not None:
            mean, deviation = (np.asarray(values, dtype=np.float32) for values in statistics)
            expected = (pixels.astype(np.float32) / np.float32(255) - mean) / deviation
            assert expected.dtype == np.float32
        image = row.image if layout == "NHWC" else row.image.transpose(1, 2, 0)
        assert np.array_equal(image, expected)


@pytest.mark.parametrize("epoch", [0, 1, 5])
@pytest.mark.parametrize("filter", FILTERS)
def test_random_steps(epoch: int, filter: Any) -> None:
    line = ps.blobs(turned()).seed(epoch + 3).shuffle().decode()
    line = line.random_resized_crop(29, 23, filter=filter).random_horizontal_flip().normalize(ps.IMAGENET)
    for batched in (line.batch(16), line.batch(16, layout="NCHW")):
        native, _ = both(batched, epoch=epoch)
        assert native.valid.all()


def test_chains_of_several_verbs() -> None:
    chains = [
        ps.recipe().decode().center_crop(60, 61).resize(33, 20).random_horizontal_flip(),
        ps.recipe().decode().resize(90, 95).center_crop(61, 60).resize(20, 70, filter="lanczos"),
        ps.recipe().decode().resize(40, 200, filter="nearest").resize(41, 23, filter="box", fit="cover"),
        ps.recipe().decode().random_horizontal_flip(1.0).center_crop(31, 30).random_horizontal_flip(1.0),
        ps.recipe().decode().random_resized_crop(50, 40).random_resized_crop(20, 21).normalize(ps.UNIT),
        ps.recipe().decode().center_crop(9, 9),
    ]
    for chain in chains:
        native, _ = both(ps.blobs(turned()).seed(1).apply(chain).batch(16, layout="NCHW"))
        assert native.valid.all()


# -- what JPEGs there are ------------------------------------------------------------------------------------


@cache
def kinds() -> dict[str, bytes]:
    """Subsamplings, grey, progressive, restart markers; even and odd sizes, down to a pixel."""
    blobs = {}
    sizes = [
        (64, 64),
        (65, 63),
        (61, 47),
        (1, 1),
        (1, 40),
        (40, 1),
        (2, 3),
        (7, 9),
        (8, 8),
        (9, 17),
        (16, 33),
        (3, 130),
    ]
    for height, width in sizes:
        picture = photograph("chelsea", height, width)
        for progressive in (False, True):
            word = f"{height}x{width}{' progressive' * progressive}"
            for name in ("4:4:4", "4:2:2", "4:2:0"):
                blobs[f"{name} {word}"] = jpeg(picture, subsampling=SAMPLINGS[name], progressive=progressive)
            blobs[f"grey {word}"] = jpeg(picture.convert("L"), progressive=progressive)
            blobs[f"restarts {word}"] = jpeg(picture, restart_marker_blocks=2, progressive=progressive)
            blobs[f"restarts in rows {word}"] = jpeg(picture, restart_marker_rows=1, progressive=progressive)
        blobs[f"kept RGB {word}"] = jpeg(picture, keep_rgb=True, subsampling=0)
        blobs[f"optimized {word}"] = jpeg(picture, optimize=True, quality=30)
        for sampling in ((4, 1), (1, 2), (3, 1), (1, 4), (2, 4), (4, 2), (1, 3)):
            blobs[f"{sampling[0]}x{sampling[1]} {height}x{width}"] = sampled(picture, *sampling)
    return blobs


def sampled(picture: Image.Image, horizontal: int, vertical: int) -> bytes:
    """A baseline JPEG whose luma is sampled ``horizontal`` x ``vertical`` times as finely as its chroma.

    Pillow writes three of the samplings; the others (4:1:1 is 4x1, 4:4:0 is 1x2) are written here.
    """
    return BlockWriter(picture, horizontal, vertical).file()


class BlockWriter:
    """The smallest baseline encoder: DC and a few AC coefficients a block, standard Huffman tables."""

    def __init__(self, picture: Image.Image, horizontal: int, vertical: int) -> None:
        self.width, self.height = picture.size
        self.sampling = [(horizontal, vertical), (1, 1), (1, 1)]
        units_x = -(-self.width // (8 * horizontal))
        units_y = -(-self.height // (8 * vertical))
        self.units = (units_y, units_x)
        full = picture.convert("YCbCr").resize((units_x * 8 * horizontal, units_y * 8 * vertical))
        planes = full.split()
        coarse = [plane.resize((units_x * 8, units_y * 8)) for plane in planes[1:]]
        self.planes = [np.asarray(plane, dtype=np.float64) - 128 for plane in (planes[0], *coarse)]
        self.bits: list[str] = []
        self.last = [0, 0, 0]
        template = jpeg(Image.new("RGB", (8, 8)), subsampling=0, quality=50)
        self.tables = self._segments(template)

    @staticmethod
    def _segments(data: bytes) -> dict[str, Any]:
        at, quantization, huffman = 2, b"", b""
        while data[at + 1] != 0xDA:
            size = int.from_bytes(data[at + 2 : at + 4], "big")
            segment = data[at : at + 2 + size]
            if data[at + 1] == 0xDB:
                quantization += segment
            elif data[at + 1] == 0xC4:
                huffman += segment
            at += 2 + size
        codes: dict[int, dict[int, str]] = {}
        at = 0
        while at < len(huffman):
            end = at + 2 + int.from_bytes(huffman[at + 2 : at + 4], "big")
            at += 4
            while at < end:
                kind, counts = huffman[at], huffman[at + 1 : at + 17]
                at, code, table = at + 17, 0, {}
                for length, count in enumerate(counts, start=1):
                    for _ in range(count):
                        table[huffman[at]] = f"{code:0{length}b}"
                        code, at = code + 1, at + 1
                    code <<= 1
                codes[kind] = table
        return {"quantization": quantization, "huffman": huffman, "codes": codes}

    def _block(self, component: int, pixels: Any) -> None:
        kind = 0 if component == 0 else 1
        codes = self.tables["codes"]
        steps = (16, 11, 12) if component == 0 else (17, 18, 18)  # of the standard tables, at quality 50
        dc = round(pixels.mean() * 8 / steps[0])
        horizontal = round((pixels[:, :4].mean() - pixels[:, 4:].mean()) * 3.6 / steps[1])
        vertical = round((pixels[:4].mean() - pixels[4:].mean()) * 3.6 / steps[2])
        self._number(codes[kind], dc - self.last[component], 0)
        self.last[component] = dc
        if horizontal:
            self._number(codes[16 + kind], horizontal, 0)
        if vertical:
            self._number(codes[16 + kind], vertical, 0 if horizontal else 1)
        self.bits.append(codes[16 + kind][0])  # end of block

    def _number(self, table: dict[int, str], value: int, run: int) -> None:
        size = abs(value).bit_length()
        self.bits.append(table[run << 4 | size])
        if size:
            self.bits.append(f"{value if value > 0 else value + (1 << size) - 1:0{size}b}")

    def file(self) -> bytes:
        for unit_y in range(self.units[0]):
            for unit_x in range(self.units[1]):
                for component, (across, down) in enumerate(self.sampling):
                    for y in range(unit_y * down, unit_y * down + down):
                        for x in range(unit_x * across, unit_x * across + across):
                            self._block(component, self.planes[component][8 * y : 8 * y + 8, 8 * x : 8 * x + 8])
        text = "".join(self.bits)
        text += "1" * (-len(text) % 8)
        scan = int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\0")
        frame = b"\x08" + self.height.to_bytes(2, "big") + self.width.to_bytes(2, "big") + b"\x03"
        for number, (across, down) in enumerate(self.sampling):
            frame += bytes([number + 1, across << 4 | down, min(number, 1)])
        start = b"\x03\x01\x00\x02\x11\x03\x11\x00\x3f\x00"
        return (
            b"\xff\xd8"
            b"\xff\xe0\x00\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0"
            + self.tables["quantization"]
            + b"\xff\xc0"
            + (len(frame) + 2).to_bytes(2, "big")
            + frame
            + self.tables["huffman"]
            + b"\xff\xda"
            + (len(start) + 2).to_bytes(2, "big")
            + start
            + scan
            + b"\xff\xd9"
        )


def test_the_block_writer_writes_what_it_was_given() -> None:
    picture = photograph("chelsea", 64, 96)
    for sampling in ((1, 1), (2, 2), (4, 1), (3, 1)):
        with Image.open(io.BytesIO(sampled(picture, *sampling))) as made:
            assert made.layer[0][1:3] == sampling  # type: ignore[attr-defined]
            close = np.abs(np.asarray(made.convert("RGB"), dtype=float) - np.asarray(picture)).mean()
        assert close < 20  # the same picture, coarsely: blocks are where they belong


@pytest.mark.parametrize("filter", ["bilinear", "nearest", "lanczos"])
@pytest.mark.parametrize("size", [(24, 24), (90, 31)])
def test_every_kind_of_jpeg(filter: Any, size: tuple[int, int]) -> None:
    blobs = kinds()
    native, _ = both(ps.blobs(blobs).decode().resize(*size, filter=filter).batch(len(blobs)))
    assert native.valid.all() and not native.damaged.any()
    for row in native:
        expected = upright(blobs[row.key]).resize(size[::-1], Image.Resampling[filter.upper()])
        assert np.array_equal(row.image, np.asarray(expected)), f"{row.key}: {difference(row.image, expected)}"


def test_every_kind_of_jpeg_decoded_alone() -> None:
    line = ps.blobs(kinds()).decode()
    with line.run() as run, line.run(engine="reference") as twin:
        for row, other in zip(run, twin, strict=True):
            expected = np.asarray(upright(kinds()[row.key]))
            assert np.array_equal(row.image, expected), f"{row.key}: {difference(row.image, expected)}"
            assert np.array_equal(other.image, expected)


def test_kinds_are_decoded_natively() -> None:
    left = sorted(
        {
            key.rsplit(" ", 1)[0].removesuffix(" progressive")
            for key, blob in kinds().items()
            if not decoded_natively(blob)
        }
    )
    assert left == []


def test_orientation_of_every_kind() -> None:
    for options in (
        {"subsampling": 1},
        {"subsampling": 2, "progressive": True},
        {"restart_marker_rows": 1},
        {"grey": True},
    ):
        for height, width in ((37, 53), (1, 19), (19, 1)):
            picture = photograph("astronaut", height, width)
            picture = picture.convert("L") if options.get("grey") else picture
            given = {key: value for key, value in options.items() if key != "grey"}
            blobs = {str(turn): oriented(picture, turn, **given) for turn in range(1, 9)}
            for filter in ("bilinear", "box"):
                native, _ = both(ps.blobs(blobs).decode().resize(21, 34, filter=filter).batch(8))  # type: ignore[arg-type]
                for row in native:
                    expected = upright(blobs[row.key]).resize((34, 21), Image.Resampling[filter.upper()])
                    assert np.array_equal(row.image, np.asarray(expected)), f"{options} {height}x{width} {row.key}"


# -- everything else goes to Pillow --------------------------------------------------------------------------


def test_other_formats_and_modes_join_the_same_batch() -> None:
    picture = photograph("coffee", 61, 83)
    blobs = {"jpeg": jpeg(picture), "cmyk": jpeg(picture.convert("CMYK"))}
    for kind in ("PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "TGA"):
        file = io.BytesIO()
        picture.save(file, kind)
        blobs[kind] = file.getvalue()
    for mode in ("L", "LA", "P", "RGBA", "1", "I;16"):
        file = io.BytesIO()
        picture.convert("L" if mode == "I;16" else mode).convert(mode).save(file, "PNG")
        blobs[f"png {mode}"] = file.getvalue()
    line = ps.blobs(blobs).decode().resize(20, 30, fit="cover").normalize(ps.CLIP)
    native, _ = both(line.batch(len(blobs), layout="NCHW"))
    assert native.valid.all()
    for row in native:
        fitted = ImageOps.fit(upright(blobs[row.key]), (30, 20), Image.Resampling.BILINEAR)
        mean, deviation = (np.asarray(values, dtype=np.float32) for values in ps.CLIP)
        expected = (np.asarray(fitted, dtype=np.float32) / np.float32(255) - mean) / deviation
        assert np.array_equal(row.image, expected.transpose(2, 0, 1)), row.key


def test_arrays_of_any_size_and_stride() -> None:
    draws = np.random.default_rng(0)
    arrays = [
        draws.integers(0, 256, (height, width, 3), dtype=np.uint8) for height, width in ((1, 1), (40, 7), (33, 90))
    ]
    arrays.append(arrays[2][::2, ::-3])
    for line in (
        ps.arrays(arrays).resize(13, 21, filter="hamming"),
        ps.arrays(arrays).random_resized_crop(9, 9).random_horizontal_flip().normalize(ps.IMAGENET),
    ):
        native, _ = both(line.batch(4))
        assert native.valid.all()
    for row, array in zip(both(ps.arrays(arrays).resize(13, 21).batch(4))[0], arrays, strict=True):
        expected = Image.fromarray(np.ascontiguousarray(array)).resize((21, 13), Image.Resampling.BILINEAR)
        assert np.array_equal(row.image, np.asarray(expected))


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea", "rocket", "retina"])
def test_whole_photographs(name: str) -> None:
    picture = Image.fromarray(np.asarray(getattr(photographs, name)())[..., :3])
    blobs = {
        "base": jpeg(picture),
        "turned": oriented(picture, 6, quality=75),
        "progressive": jpeg(picture, progressive=True),
    }
    for filter in ("bilinear", "bicubic", "lanczos"):
        line = ps.blobs(blobs).decode().resize(224, 224, fit="cover", filter=filter)  # type: ignore[arg-type]
        native, _ = both(line.batch(3))
        for row in native:
            expected = ImageOps.fit(upright(blobs[row.key]), (224, 224), Image.Resampling[filter.upper()])
            assert np.array_equal(row.image, np.asarray(expected))
