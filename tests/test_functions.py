"""ps.decode, ps.resize and recipe(image): every argument of the verbs, every kind of image, and what is refused how."""

from __future__ import annotations

import inspect
import io
import re
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

import penstock as ps
from penstock.plan import compile_plan
from penstock.transform.chain import Chain

RANDOM = np.random.default_rng(4)


def pixels(height: int, width: int, channels: int) -> np.ndarray[Any, Any]:
    return RANDOM.integers(0, 256, (height, width, channels), dtype=np.uint8)


def png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize("name", ["decode", "resize"])
def test_a_function_has_the_arguments_of_its_verb(name: str) -> None:
    of_verb = list(inspect.signature(getattr(Chain, name)).parameters.values())[1:]
    of_function = list(inspect.signature(getattr(ps, name)).parameters.values())[1:]
    assert of_function == of_verb
    assert "Raises" in getattr(ps, name).__doc__


@pytest.mark.parametrize(
    "options", [{"mode": "L"}, {"mode": "RGBA"}, {"alpha": (9, 8, 7)}, {"depth": 16}, {"fidelity": "fast"}]
)
def test_decode_is_the_verb(options: dict[str, Any]) -> None:
    data = png(Image.fromarray(pixels(9, 7, 4), "RGBA"))
    assert np.array_equal(ps.decode(data, **options), ps.recipe().decode(**options)(data))


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(
    "options",
    [
        {"height": 20, "width": 31, "fit": "contain", "fill": 200},
        {"height": 20, "width": 31, "fit": "inside"},
        {"long_side": 12},
        {"max_patches": 9, "patch": 4},
        {"height": 5, "width": 6, "precision": "float32", "filter": "bicubic"},
    ],
)
def test_resize_is_the_verb_on_one_three_and_four_channels(channels: int, options: dict[str, Any]) -> None:
    image = pixels(17, 23, channels)
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
    line = ps.blobs([png(Image.fromarray(image.squeeze(), mode))]).decode(mode=mode).resize(**options)  # type: ignore[arg-type]
    expected = line.sample(0).image
    assert np.array_equal(ps.resize(image, **options), expected)
    if channels != 3:
        assert np.array_equal(ps.resize(Image.fromarray(image.squeeze(), mode), **options), expected)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
@pytest.mark.parametrize("stored", ["RGB", "L", "RGBA", "LA", "P", "1"])
def test_a_pillow_image_is_decoded_as_its_file_would_be(mode: Any, stored: str) -> None:
    picture = Image.fromarray(pixels(9, 7, 4), "RGBA").convert(stored)
    before = picture.tobytes()
    recipe = ps.recipe().decode(mode=mode)
    assert np.array_equal(recipe(picture), recipe(png(picture)))
    assert picture.tobytes() == before


def test_a_pillow_image_keeps_its_depth_and_is_laid_over_a_colour() -> None:
    deep = Image.fromarray(RANDOM.integers(0, 65536, (5, 6), dtype=np.uint16))
    for recipe in (ps.recipe().decode(depth=16, mode="L"), ps.recipe().decode(depth="scale")):
        assert np.array_equal(recipe(deep), recipe(png(deep)))
    clear = Image.fromarray(pixels(5, 6, 4), "RGBA")
    over = ps.recipe().decode(alpha=255)
    assert np.array_equal(over(clear), over(png(clear)))


def test_a_pillow_image_that_cannot_be_loaded_is_a_sentence() -> None:
    broken = Image.open(io.BytesIO(png(Image.fromarray(pixels(64, 64, 3)))[:3000]))
    with pytest.raises(ps.ItemError, match=r"decode of 'image': expected a whole image, found truncated data"):
        ps.recipe().decode()(broken)


def test_an_array_of_what_decode_makes_is_taken() -> None:
    grey = ps.recipe().decode(mode="L").resize(4, 4)
    image = pixels(8, 9, 1)
    expected = np.asarray(Image.fromarray(image[..., 0]).resize((4, 4), Image.Resampling.BILINEAR))
    assert np.array_equal(grey(image)[..., 0], expected)
    assert np.array_equal(grey(image[..., 0]), grey(image))
    deep = ps.recipe().decode(depth=16).crop((1, 1, 3, 4))
    wide = RANDOM.integers(0, 65536, (8, 9, 3), dtype=np.uint16)
    assert np.array_equal(deep(wide), wide[1:4, 1:3])
    turned = ImageOps.exif_transpose(Image.fromarray(pixels(8, 9, 3)))
    assert np.array_equal(ps.recipe()(turned), np.asarray(turned))


@pytest.mark.parametrize(
    ("call", "kind", "sentence"),
    [
        (
            lambda: ps.recipe().decode(mode="L")(pixels(4, 4, 4)),
            ps.PlanError,
            "recipe: expected a uint8 image of shape [H, W, 1], found uint8 [4, 4, 4].",
        ),
        (
            lambda: ps.resize(np.zeros((4, 4), np.uint8), 2, 2),
            ps.PlanError,
            "found uint8 [4, 4]; image[..., np.newaxis] has one channel.",
        ),
        (
            lambda: ps.resize(np.zeros((4, 4, 3), np.uint16), 2, 2),
            ps.PlanError,
            "found uint16; decode(depth='scale') makes uint8 of 16 bits, and resize(precision='float32') takes them as",
        ),
        (
            lambda: ps.resize(png(Image.new("RGB", (4, 4))), 2, 2),
            ps.ItemError,
            "expected an image, found encoded bytes; a recipe for them begins with .decode().",
        ),
        (lambda: ps.resize(pixels(4, 4, 3), 0, 5), ps.PlanError, "resize(0, 5): expected height= a whole number"),
    ],
)
def test_what_is_refused_says_what_to_do(call: Any, kind: type[Exception], sentence: str) -> None:
    with pytest.raises(kind, match=re.escape(sentence)):
        call()


@pytest.mark.parametrize(
    ("call", "ending"),
    [
        (
            lambda line: line.resize(8, 8, fitt="cover"),
            "got an unexpected keyword argument 'fitt'; the nearest is 'fit'.",
        ),
        (lambda line: line.resize(8, 8, interpolation="bicubic"), "'interpolation'; the nearest is 'filter'."),
        (lambda line: line.decode(colour="srgb"), "'colour'; the nearest is 'color'."),
        (lambda line: line.center_crop(224), "'width'; center_crop(224, 224) is a square."),
        (
            lambda line: line.normalize(),
            "normalize(mean, std=None, dtype='float32'): missing a required argument: 'mean'.",
        ),
        (lambda line: line.batch(8, drop_last=True), "'drop_last'; the nearest is 'last'."),
        (lambda line: line.run(thread=3), "'thread'; the nearest is 'threads'."),
        (lambda line: line.loader(num_workers=3), "'num_workers'; the nearest is 'threads'."),
        (lambda line: line.loader(zzz=3), "got an unexpected keyword argument 'zzz'."),
        (lambda line: ps.resize(pixels(4, 4, 3), 2, 2, resample="nearest"), "'resample'; the nearest is 'filter'."),
        (lambda line: ps.decode(b"", modes="L"), "'modes'; the nearest is 'mode'."),
        # Beside one that is missing, which it most often is.
        (
            lambda line: line.cache("x", max_byte="1GB"),
            "got an unexpected keyword argument 'max_byte'; the nearest is 'max_bytes'.",
        ),
        (
            lambda line: line.batch(batch_size=8),
            "got an unexpected keyword argument 'batch_size'; the nearest is 'n'.",
        ),
        (lambda line: line.cache("x", zzz=1), "got an unexpected keyword argument 'zzz'."),
        (lambda line: line.cache("x"), "missing a required argument: 'max_bytes'."),
    ],
)
def test_a_word_that_is_wrong_gets_the_nearest(call: Any, ending: str) -> None:
    with pytest.raises(TypeError, match=re.escape(ending) + "$"):
        call(ps.blobs([b""]))


def test_a_recipe_is_prepared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from penstock import replay

    made: list[ps.Recipe] = []

    def counted(recipe: ps.Recipe, layout: Any) -> Any:
        made.append(recipe)
        return compile_plan(recipe, layout)

    monkeypatch.setattr(replay, "compile_plan", counted)
    replay._kept_plan.cache_clear()
    recipe = ps.recipe().decode().resize(5, 6).normalize(ps.UNIT)
    for _ in range(3):
        recipe(png(Image.fromarray(pixels(9, 7, 3))))
    assert len(made) == 1


class Turn:
    """A callable that cannot be hashed."""

    __hash__ = None  # type: ignore[assignment]

    def __call__(self, height: int, width: int) -> Any:
        return [[1, 0, 0], [0, 1, 0]]


def test_a_function_that_cannot_be_hashed_still_warps() -> None:
    image = pixels(6, 6, 3)
    assert np.array_equal(ps.recipe().warp(Turn(), 6, 6, filter="nearest")(image), image)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_a_recipe_gives_either_layout(mode: Any) -> None:
    recipe = ps.recipe().decode(mode=mode).resize(5, 6).normalize(ps.SIGNED)
    data = png(Image.fromarray(pixels(9, 7, 4), "RGBA"))
    assert np.array_equal(recipe(data, layout="NCHW"), np.moveaxis(recipe(data), -1, 0))
    with pytest.raises(ps.PlanError, match="layout= one of 'NHWC', 'NCHW', found 'CHW'"):
        recipe(data, layout="CHW")  # type: ignore[arg-type]
    with pytest.raises(ps.PlanError, match="no layout= after patchify"):
        ps.recipe().decode().resize(4, 4).patchify(2)(data, layout="NCHW")
