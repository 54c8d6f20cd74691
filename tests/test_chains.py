"""Random chains of verbs over random pictures: both engines, every number of threads and every replay are one."""

from __future__ import annotations

import importlib.util
import io
import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import map_functions as fns
import penstock as ps
from penstock.errors import PlanError
from penstock.read import read_item
from penstock.recipe import Recipe
from penstock.transform.chain import VERBS

FILTERS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
WARP_FILTERS = ("nearest", "bilinear", "bicubic")
PAD_MODES = ("constant", "edge", "reflect", "symmetric")
SIZES = ((1, 1), (1, 23), (19, 1), (2, 3), (8, 8), (17, 30), (31, 16), (45, 61), (64, 40))


def neighbour(name: str) -> Any:
    """Another file of tests as a module: test folders are not packages."""
    spec = importlib.util.spec_from_file_location(f"chains_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


files = neighbour("test_reference_equal")


# -- pictures --------------------------------------------------------------------------------------------------------


def saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def exif_of(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def cut(height: int, width: int, place: int) -> Image.Image:
    return files.photograph(("chelsea", "coffee", "astronaut")[place], height, width)


def clear(picture: Image.Image) -> Image.Image:
    """The picture as RGBA, transparent in places."""
    pixels = np.asarray(picture.convert("RGB"))
    alpha = np.linspace(0, 255, pixels.shape[0] * pixels.shape[1]).reshape(pixels.shape[:2]).astype(np.uint8)
    return Image.fromarray(np.dstack([pixels, alpha]))


def deep(picture: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * np.uint16(251))


def interlaced(data: bytes) -> bytes:
    """Pillow writes no interlaced PNG; this is one of the same pixels, by seven passes of unfiltered rows."""
    import zlib

    with Image.open(io.BytesIO(data)) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    height, width = pixels.shape[:2]
    rows = b""
    for top, left, down, across in (
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    ):
        part = pixels[top::down, left::across]
        if part.size:
            rows += b"".join(b"\0" + row.tobytes() for row in part)
    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\0\0\x01"
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        len(body).to_bytes(4, "big") + name + body + zlib.crc32(name + body).to_bytes(4, "big")
        for name, body in ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    )


def make_jpeg(draw: Any, picture: Image.Image) -> bytes:
    kind = draw(st.sampled_from(("RGB", "L", "CMYK", "sampled")))
    if kind == "sampled":
        return files.sampled(picture, *draw(st.sampled_from(((4, 1), (1, 2), (2, 2), (1, 1)))))
    options: dict[str, Any] = {"progressive": draw(st.booleans())}
    if kind == "RGB":
        options["subsampling"] = draw(st.sampled_from((0, 1, 2)))
    if draw(st.booleans()):
        options["restart_marker_blocks"] = draw(st.sampled_from((1, 3)))
    if draw(st.integers(0, 5)) == 0:
        options["icc_profile"] = draw(st.sampled_from((b"broken", srgb_profile())))
    return files.oriented(picture.convert(kind), draw(st.integers(1, 8)), **options)


def make_png(draw: Any, picture: Image.Image) -> bytes:
    kind = draw(
        st.sampled_from(("RGB", "L", "1", "P", "RGBA", "LA", "I;16", "tRNS", "tRNS grey", "P clear", "interlaced"))
    )
    if kind == "interlaced":
        return interlaced(saved(picture, "PNG"))
    options: dict[str, Any] = {}
    if kind == "RGBA":
        picture = clear(picture)
    elif kind == "LA":
        picture = clear(picture).convert("LA")
    elif kind == "I;16":
        picture = deep(picture)
    elif kind in ("tRNS", "tRNS grey"):
        picture = picture.convert("L") if kind == "tRNS grey" else picture
        options["transparency"] = picture.getpixel((0, 0))
    elif kind == "P clear":
        picture = picture.quantize(16)
        options["transparency"] = bytes(range(0, 256, 16))
    else:
        picture = picture.quantize(draw(st.sampled_from((2, 4, 16, 200)))) if kind == "P" else picture.convert(kind)
    if draw(st.booleans()):
        options["exif"] = exif_of(draw(st.integers(1, 8)))
    return saved(picture, "PNG", **options)


def make_webp(draw: Any, picture: Image.Image) -> bytes:
    kind = draw(st.sampled_from(("lossy", "lossless", "alpha", "alpha lossless", "animated")))
    options: dict[str, Any] = {"lossless": "lossless" in kind}
    if "alpha" in kind:
        picture = clear(picture)
    if kind == "animated":
        options |= {"save_all": True, "append_images": [picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]}
    if draw(st.booleans()):
        options["exif"] = exif_of(draw(st.integers(1, 8)))
    return saved(picture, "WEBP", **options)


def make_other(draw: Any, picture: Image.Image) -> bytes:
    kind = draw(
        st.sampled_from(("TIFF", "GIF", "BMP", "PPM", "TIFF L", "TIFF CMYK", "TIFF RGBA", "TIFF I;16", "GIF animated"))
    )
    if kind == "GIF animated":
        return saved(picture, "GIF", save_all=True, append_images=[picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM)])
    word, _, mode = kind.partition(" ")
    if mode:
        picture = clear(picture) if mode == "RGBA" else deep(picture) if mode == "I;16" else picture.convert(mode)
    return saved(picture, word)


@cache
def srgb_profile() -> bytes:
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@st.composite
def pictures(draw: Any) -> bytes:
    """One encoded picture; one in eight has been harmed."""
    picture = cut(*draw(st.sampled_from(SIZES)), draw(st.integers(0, 2)))
    make = draw(st.sampled_from((make_jpeg, make_jpeg, make_png, make_webp, make_other)))
    data: bytes = make(draw, picture)
    harm = draw(st.integers(0, 15))
    if harm == 1:
        return data[: draw(st.integers(0, len(data)))]
    if harm == 2:
        at = draw(st.integers(0, len(data) - 1))
        return data[:at] + bytes([data[at] ^ (1 << draw(st.integers(0, 7)))]) + data[at + 1 :]
    return data


# -- verbs -----------------------------------------------------------------------------------------------------------


def shrink_a_little(height: int, width: int) -> Any:
    return [[0.7, 0.1, 1.5], [-0.2, 0.8, 0.25 * height]]


def turn_at_random(height: int, width: int, rng: Any) -> Any:
    angle = rng.uniform(-math.pi, math.pi)
    cosine, sine = math.cos(angle), math.sin(angle)
    return [[cosine, -sine, width / 2], [sine, cosine, height / 3]]


def sometimes_nothing(height: int, width: int, rng: Any) -> Any:
    if rng.uniform() < 0.3:
        raise ValueError(f"no matrix for {height} x {width}")
    return [[0.5, 0, 0], [0, 0.5, 0]] if rng.uniform() < 0.7 else [[0, 0, 0], [0, 0, 0]]


def nonsense(height: int, width: int) -> Any:
    return [1, 2, 3] if height > width else [[1, 0, 0], [0, 1, 0]]


MAPS: tuple[dict[str, Any], ...] = (
    {"fn": fns.identity, "geometry": "keep"},
    {"fn": fns.in_place},
    {"fn": fns.mirrored},
    {"fn": fns.noise, "geometry": "keep"},
    {"fn": fns.trimmed, "out": "any"},
    {"fn": fns.shifted, "geometry": "returned"},
    {"fn": fns.grey, "channels": 1},
    {"fn": fns.sometimes_raises},
    {"fn": fns.relabel, "on": "item"},
)
sides = st.integers(1, 40)
chances = st.sampled_from((0.0, 0.5, 1.0))
filters = st.sampled_from(FILTERS)
fills = st.one_of(
    st.integers(0, 255), st.tuples(*[st.integers(0, 255)] * 3), st.tuples(*[st.integers(0, 255)] * 4), st.just((77,))
)
modes = st.sampled_from(PAD_MODES)
warp_filters = st.sampled_from(WARP_FILTERS)


def resize_arguments(draw: Any) -> dict[str, Any]:
    way = draw(st.sampled_from(("fill", "cover", "contain", "inside", "short", "long", "patches", "float32")))
    given: dict[str, Any] = {"filter": draw(filters)}
    if way in ("fill", "cover", "contain", "inside", "float32"):
        given |= {"height": draw(sides), "width": draw(sides), "fit": "fill" if way == "float32" else way}
        if way == "contain":
            given["fill"] = draw(fills)
        if way == "inside":
            given["enlarge"] = draw(st.booleans())
            given["rounding"] = draw(st.sampled_from((None, "even")))
    elif way == "short":
        given |= {"short_side": draw(sides), "enlarge": draw(st.booleans())}
        if draw(st.booleans()):
            given["max_side"] = draw(st.integers(given["short_side"], 90))
            given["rounding"] = draw(st.sampled_from((None, "even")))
    elif way == "long":
        given |= {"long_side": draw(sides), "enlarge": draw(st.booleans())}
    else:
        given |= {
            "max_patches": draw(st.integers(1, 30)),
            "patch": draw(st.sampled_from((1, 4, 7))),
            "multiple": draw(st.sampled_from((1, 2))),
            "rounding": draw(st.sampled_from((None, "ceil", "floor"))),
        }
    if way == "float32" or draw(st.integers(0, 7)) == 0:
        given["precision"] = "float32"
    return given


def arguments(draw: Any, word: str) -> dict[str, Any]:  # noqa: C901 - a case a verb, none of them deep
    """Random arguments of one verb; most of them legal."""
    match word:
        case "resize":
            return resize_arguments(draw)
        case "center_crop":
            return {
                "height": draw(sides),
                "width": draw(sides),
                "rounding": draw(st.sampled_from(("even", "floor"))),
                "fill": draw(fills),
            }
        case "crop":
            left, top = draw(st.integers(0, 20)), draw(st.integers(0, 20))
            return {"box": (left, top, left + draw(sides), top + draw(sides))}
        case "pad":
            around = dict.fromkeys(("top", "left", "bottom", "right"), 0)
            return {side: draw(st.integers(0, 9)) for side in around} | {"fill": draw(fills), "mode": draw(modes)}
        case "pad_to":
            return {
                "height": draw(st.integers(1, 90)),
                "width": draw(st.integers(1, 90)),
                "position": draw(st.sampled_from(("center", "start"))),
                "fill": draw(fills),
                "mode": draw(modes),
            }
        case "pad_to_multiple":
            return {"multiple": draw(st.integers(1, 17)), "fill": draw(fills), "mode": draw(modes)}
        case "random_crop":
            return {
                "height": draw(sides),
                "width": draw(sides),
                "padding": draw(st.sampled_from((0, 3, (1, 0, 5, 2)))),
                "pad_if_needed": draw(st.booleans()),
                "fill": draw(fills),
                "mode": draw(modes),
            }
        case "random_resized_crop":
            return {"height": draw(sides), "width": draw(sides), "filter": draw(filters)}
        case "random_horizontal_flip" | "random_vertical_flip" | "random_rotate90" | "random_grayscale":
            return {"p": draw(chances)}
        case "random_erasing":
            return {"p": draw(chances), "fill": draw(fills)}
        case "jpeg_roundtrip":
            return {"quality": draw(st.sampled_from((1, 50, 95, 100)))}
        case "warp":
            return {
                "fn": draw(st.sampled_from((shrink_a_little, turn_at_random, sometimes_nothing, nonsense))),
                "height": draw(sides),
                "width": draw(sides),
                "filter": draw(warp_filters),
                "fill": draw(fills),
            }
        case "map":
            return draw(st.sampled_from(MAPS)).copy()
        case "random_affine":
            return {
                "degrees": draw(st.sampled_from((0, 15, (-90, 180)))),
                "translate": draw(st.sampled_from((None, (0.3, 0.1)))),
                "scale": draw(st.sampled_from((None, (0.5, 2.0)))),
                "shear": draw(st.sampled_from((None, 10, (-5, 5, 0, 20)))),
                "filter": draw(warp_filters),
                "fill": draw(fills),
            }
        case "random_color_jitter":
            amounts = st.sampled_from((0.0, 0.4, 1.0))
            return {
                "brightness": draw(amounts),
                "contrast": draw(amounts),
                "saturation": draw(amounts),
                "hue": draw(st.sampled_from((0.0, 0.1, 0.5))),
            }
        case "rand_augment":
            return {
                "operations": draw(st.integers(1, 3)),
                "magnitude": draw(st.integers(0, 30)),
                "filter": draw(warp_filters),
                "fill": draw(fills),
            }
        case "trivial_augment":
            return {"filter": draw(warp_filters), "fill": draw(fills)}
        case "normalize":
            count = draw(st.sampled_from((1, 3, 4)))
            return {
                "mean": (0.5, 0.4, 0.3, 0.2)[:count],
                "std": (0.2, 0.25, 0.3, 0.5)[:count],
                "dtype": draw(st.sampled_from(("float32", "float16"))),
            }
        case "patchify":
            return {"size": draw(st.sampled_from((1, 2, 4, 7, 8)))}
    raise AssertionError(f"arguments of {word} are not drawn here; add them")


@st.composite
def recipes(draw: Any) -> Recipe:
    mode = draw(st.sampled_from(("RGB", "RGB", "L", "RGBA")))
    chain = ps.recipe().decode(
        mode=mode,
        alpha=draw(st.sampled_from(("drop", "drop", 200, (10, 130, 250)))) if mode != "RGBA" else "drop",
        depth=draw(st.sampled_from((8, 8, "scale", 16))),
        color=draw(st.sampled_from(("as stored", "as stored", "srgb"))),
    )
    words = draw(st.lists(st.sampled_from(sorted(VERBS)), max_size=5))
    for word in sorted(words, key=("patchify", "normalize").__contains__):
        try:
            chain = getattr(chain, word)(**arguments(draw, word))
        except PlanError:
            continue  # a verb that cannot follow
    return chain


@st.composite
def lines(draw: Any) -> ps.Pipeline:
    blobs = {str(number): data for number, data in enumerate(draw(st.lists(pictures(), min_size=1, max_size=4)))}
    line = ps.blobs(blobs).seed(draw(st.integers(0, 9))).apply(draw(recipes()))
    if line.spec.ragged and draw(st.booleans()):
        return line
    given: dict[str, Any] = {
        "n": draw(st.integers(1, 4)),
        "last": draw(st.sampled_from(("short", "drop", "blank"))),
        "layout": draw(st.sampled_from(("NHWC", "NCHW"))),
    }
    ways: tuple[str | None, ...] = ("pad", "list", "bucket") if line.spec.ragged else (None,)
    try:
        return line.batch(**given, ragged=draw(st.sampled_from(ways)))
    except PlanError:  # draws decide the size, or patches have no layout
        return line.batch(given["n"], last=given["last"], ragged="list" if line.spec.ragged else None)


# -- the properties --------------------------------------------------------------------------------------------------


def same_bits(one: Any, other: Any, what: str) -> None:
    assert one.dtype == other.dtype and one.shape == other.shape, (
        f"{what}: {one.dtype} {one.shape}, {other.dtype} {other.shape}"
    )
    if one.tobytes() != other.tobytes():
        apart = np.argwhere(one != other)
        raise AssertionError(f"{what}: {len(apart)} values differ, the first at {apart[:1].tolist()}")


def same_rows(one: Any, other: Any, what: str) -> None:
    assert (one.key, one.index, one.label, one.valid, one.damaged) == (
        other.key,
        other.index,
        other.label,
        other.valid,
        other.damaged,
    ), what
    assert one.failure == other.failure, what
    same_bits(one.image, other.image, what)
    assert one.grid == other.grid, what
    if one.valid:
        np.testing.assert_allclose(one.geometry.matrix, other.geometry.matrix, rtol=1e-9, atol=1e-9, err_msg=what)
        for name in ("height", "width", "orientation"):
            assert getattr(one.geometry, name) == getattr(other.geometry, name), f"{what}: {name}"


def same_batches(one: Any, other: Any, what: str) -> None:
    assert len(one) == len(other) and one.failures == other.failures, what
    for name in ("labels", "index", "valid", "damaged", "sizes", "positions", "patch_count", "grid"):
        left, right = getattr(one, name), getattr(other, name)
        assert (left is None) == (right is None), f"{what}: {name}"
        if left is not None:
            same_bits(left, right, f"{what}: {name}")
    if isinstance(one.images, list):
        assert [image is None for image in one.images] == [image is None for image in other.images], what
    else:
        same_bits(one.images, other.images, what)
    for row, twin in zip(one, other, strict=True):
        same_rows(row, twin, f"{what}: {row.key}")


def run_of(line: ps.Pipeline, **options: Any) -> tuple[list[Any], Any, Any, Any]:
    """What a run hands over, its notes, its failures and its damages."""
    with line.run(on_failure="blank", **options) as run:
        made = list(run)
        # Pillow's own warnings are of the files that Pillow decodes, and the reference asks it for all.
        notes = {name: count for name, count in run.notes.items() if not name.startswith("pillow: ")}
        return made, notes, run.failures.by_cause(), [str(damage) for damage in run.damaged]


def check(line: ps.Pipeline) -> None:
    same = same_rows if line.batching is None else same_batches
    made, *accounts = run_of(line, threads=1)
    for name, options in {"4 threads": {"threads": 4}, "reference": {"engine": "reference"}}.items():
        others, *theirs = run_of(line, **options)
        assert len(made) == len(others), name
        for one, other in zip(made, others, strict=True):
            same(one, other, name)
        assert accounts == theirs, name
    rows = made if line.batching is None else [row for batch in made for row in batch if row.index >= 0]
    for row in rows:
        again = line.sample(row.index)
        assert (row.valid, row.damaged, row.failure) == (again.valid, again.damaged, again.failure)
        same_bits(row.image, again.image, "sample")
        if row.valid:
            np.testing.assert_allclose(row.geometry.matrix, again.geometry.matrix, rtol=1e-9, atol=1e-9)
            layout = "NHWC" if line.batching is None else line.batching.layout
            alone = line.recipe(read_item(line.source, row.index), seed=line.order.seed, index=row.index)
            if layout == "NCHW" and alone.ndim == 3:
                alone = alone.transpose(2, 0, 1)
            same_bits(row.image, np.ascontiguousarray(alone), "recipe")
    if line.batching is not None:
        for step, batch in enumerate(made):
            same_batches(batch, line.batch_at(step), "batch_at")
    if not any(verb.name in ("warp", "map") for verb in line.recipe.verbs):
        text = line.recipe.to_json()
        assert Recipe.from_json(text) == line.recipe and Recipe.from_json(text).to_json() == text
        json.loads(text)


@pytest.mark.timeout(900)
@settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(lines())
def test_chains_are_the_same_however_they_run(line: ps.Pipeline) -> None:
    check(line)
