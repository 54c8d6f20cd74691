"""Fits and crops: sizes and pixels against Pillow, torchvision and Hugging Face; refusals; the native twin."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from penstock._reference import steps as reference
from penstock._reference.random import Draws
from penstock.errors import PlanError
from penstock.recipe import Recipe, recipe
from penstock.transform import CenterCrop, Crop, Resize, StepError
from penstock.transform.verb import MAX_PIXELS
from penstock.types import Spec

SIZES = [(37, 53), (53, 37), (1, 9), (9, 1), (64, 64), (480, 640), (3, 1000)]
TARGETS = [(20, 20), (64, 31), (1, 7), (101, 100), (37, 53)]
IMAGE = Spec("image")
MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def noise(height: int, width: int, channels: int = 3) -> Any:
    generator = np.random.default_rng(height * 1000 + width)
    return generator.integers(0, 256, (height, width, channels), dtype=np.uint8)


def picture(image: Any) -> Image.Image:
    return Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)


def pixels(image: Image.Image) -> Any:
    array = np.asarray(image)
    return array if array.ndim == 3 else array[..., None]


def run(verb: Any, image: Any) -> Any:
    for step in verb.steps(*image.shape[:2], None):
        image = step.apply(image)
    return image


def final(verb: Any, height: int, width: int) -> tuple[int, int]:
    for step in verb.steps(height, width, None):
        height, width = step.size(height, width)
    return height, width


@pytest.fixture(scope="session")
def transforms() -> Any:
    """Hugging Face's own functions on sizes and arrays."""
    return pytest.importorskip("transformers.image_transforms", reason="transformers is not installed")


# -- contain and inside ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", SIZES)
def test_contain_is_imageops_pad(size: tuple[int, int], channels: int) -> None:
    image = noise(*size, channels)
    colour = (7, 99, 200, 130)[:channels]
    for height, width in TARGETS:
        verb = Resize(height, width, fit="contain", fill=colour, filter="bicubic")
        if 0 in ImageOps.contain(picture(image), (width, height)).size:
            with pytest.raises(StepError, match="expected a size of at least H=1 W=1"):
                run(verb, image)
            continue
        theirs = ImageOps.pad(
            picture(image), (width, height), Image.Resampling.BICUBIC, color=colour if channels > 1 else colour[0]
        )
        np.testing.assert_array_equal(run(verb, image), pixels(theirs))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("filter", ["nearest", "bilinear", "lanczos"])
def test_inside_is_imageops_contain(size: tuple[int, int], filter: Any) -> None:
    image = noise(*size)
    for height, width in TARGETS:
        theirs = ImageOps.contain(picture(image), (width, height), Image.Resampling[filter.upper()])
        if 0 in theirs.size:
            with pytest.raises(StepError, match="expected a size of at least H=1 W=1"):
                run(Resize(height, width, fit="inside", filter=filter), image)
        else:
            np.testing.assert_array_equal(run(Resize(height, width, fit="inside", filter=filter), image), theirs)


@given(st.integers(1, 4000), st.integers(1, 4000), st.integers(1, 500), st.integers(1, 500))
def test_inside_has_the_size_of_imageops_contain(height: int, width: int, most_height: int, most_width: int) -> None:
    class Sized(Image.Image):  # only its size is looked at
        def __init__(self) -> None:
            super().__init__()
            self._size = (width, height)
            self._mode = "L"

        def resize(self, size: Any, *_: Any, **__: Any) -> Any:
            return Image.new("L", size) if 0 in size else size

    theirs: Any = ImageOps.contain(Sized(), (most_width, most_height))
    theirs = theirs if isinstance(theirs, tuple) else theirs.size
    try:
        ours = final(Resize(most_height, most_width, fit="inside"), height, width)
    except StepError:
        assert 0 in theirs
    else:
        assert ours == theirs[::-1]


def test_what_fits_is_left_as_it_is_without_enlarging() -> None:
    for verb in (
        Resize(100, 200, fit="inside", enlarge=False),
        Resize(short_side=100, enlarge=False),
        Resize(long_side=200, enlarge=False),
        Resize(short_side=100, max_side=200, enlarge=False),
    ):
        assert verb.steps(50, 80, None) == []
        assert verb.steps(100, 200, None) == []
        assert final(verb, 400, 800) == (100, 200)
    assert final(Resize(short_side=100, max_side=200, enlarge=False), 50, 1000) == (10, 200)


def test_float_precision_resizes_also_what_it_leaves_as_it_is() -> None:
    verb = Resize(100, 200, fit="inside", enlarge=False, precision="float32")
    assert verb.steps(50, 80, None) == [reference.Resize(50, 80, None, "bilinear", "float32")]


# -- one side --------------------------------------------------------------------------------------------------------


def torchvision_size(height: int, width: int, size: list[int] | None, most: int | None) -> tuple[int, int]:
    from torchvision.transforms.functional import _compute_resized_output_size

    new_height, new_width = _compute_resized_output_size((height, width), size, most, allow_size_none=True)
    return new_height, new_width


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 900), st.integers(0, 900))
def test_short_side_with_a_cap_is_torchvisions(torchvision: Any, height: int, width: int, n: int, more: int) -> None:
    most = n + more + 1
    expected = torchvision_size(height, width, [n], most)
    if 0 in expected:
        with pytest.raises(StepError, match="expected a size of at least"):
            final(Resize(short_side=n, max_side=most), height, width)
    else:
        assert final(Resize(short_side=n, max_side=most), height, width) == expected


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 900))
def test_long_side_is_torchvisions(torchvision: Any, height: int, width: int, n: int) -> None:
    expected = torchvision_size(height, width, None, n)
    if 0 in expected:
        with pytest.raises(StepError, match="expected a size of at least"):
            final(Resize(long_side=n), height, width)
    else:
        assert final(Resize(long_side=n), height, width) == expected


@settings(max_examples=400)
@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 900), st.integers(0, 900))
def test_short_side_with_an_even_cap_is_hugging_faces(
    transforms: Any, height: int, width: int, n: int, more: int
) -> None:
    expected = transforms.get_size_with_aspect_ratio((height, width), n, n + more)
    verb = Resize(short_side=n, max_side=n + more, rounding="even")
    if 0 in expected:
        with pytest.raises(StepError, match="expected a size of at least"):
            final(verb, height, width)
    else:
        assert final(verb, height, width) == tuple(expected)


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 900))
def test_short_side_is_hugging_faces(transforms: Any, height: int, width: int, n: int) -> None:
    image = np.broadcast_to(np.uint8(0), (3, height, width))
    expected = transforms.get_resize_output_image_size(image, n, default_to_square=False)
    if math.prod(expected) > MAX_PIXELS:
        with pytest.raises(StepError, match="expected at most"):
            final(Resize(short_side=n), height, width)
    else:
        assert final(Resize(short_side=n), height, width) == tuple(expected)


# -- crops -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", SIZES)
def test_center_crop_is_torchvisions(torchvision: Any, size: tuple[int, int], channels: int) -> None:
    from torchvision.transforms import functional

    image = noise(*size, channels)
    for height, width in [*TARGETS, (65, 64), (64, 65), (480, 700), (6, 6)]:
        theirs = functional.center_crop(picture(image), [height, width])
        np.testing.assert_array_equal(run(CenterCrop(height, width), image), pixels(theirs))


@pytest.mark.parametrize("size", SIZES)
def test_center_crop_rounded_down_is_hugging_faces(transforms: Any, size: tuple[int, int]) -> None:
    image = noise(*size)
    for target in [*TARGETS, (65, 64), (64, 65), (480, 700), (6, 6)]:
        theirs = transforms.center_crop(image, target, data_format="channels_last", input_data_format="channels_last")
        np.testing.assert_array_equal(run(CenterCrop(*target, rounding="floor"), image), theirs)


def test_center_crop_fills_with_a_colour() -> None:
    made = run(CenterCrop(4, 4, fill=(1, 2, 3)), np.full((2, 2, 3), 9, np.uint8))
    assert made[1:3, 1:3].min() == 9 and (made[0] == (1, 2, 3)).all() and (made[:, 3] == (1, 2, 3)).all()


def test_crop_is_pillows() -> None:
    image = noise(30, 40)
    np.testing.assert_array_equal(run(Crop((3, 5, 33, 29)), image), picture(image).crop((3, 5, 33, 29)))
    assert Crop([np.int64(3), 5, 33, 29]) == Crop((3, 5, 33, 29))  # type: ignore[arg-type]
    with pytest.raises(StepError) as caught:
        Crop((3, 5, 33, 29)).steps(28, 40, None)
    assert caught.value.cause == "crop outside the image"
    assert caught.value.message == (
        "crop: expected a box inside the image, found bottom=29 right=33 in an image of H=28 W=40"
    )


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_crops_take_every_dtype(dtype: Any) -> None:
    image = (noise(9, 9).astype(np.uint32) * 200).astype(dtype)
    made = run(CenterCrop(11, 5, fill=255), image)
    assert made.dtype == dtype and made.shape == (11, 5, 3)
    np.testing.assert_array_equal(made[1:10], image[:, 2:7])
    assert (made[0] == (65535 if dtype == np.uint16 else 255)).all()


# -- specs and words -------------------------------------------------------------------------------------------------


def test_specs_know_sizes_where_they_can() -> None:
    known = IMAGE.with_(height=80, width=200)
    assert str(Resize(10, 20, fit="contain").spec(IMAGE)) == "uint8 [10, 20, 3] 0..255"
    assert Resize(10, 20, fit="inside").spec(IMAGE).ragged
    assert str(Resize(10, 20, fit="inside").spec(known)) == "uint8 [8, 20, 3] 0..255"
    assert str(Resize(long_side=20).spec(known)) == "uint8 [8, 20, 3] 0..255"
    assert str(Resize(short_side=40, max_side=90).spec(known)) == "uint8 [36, 90, 3] 0..255"
    assert str(Resize(100, 400, fit="inside", enlarge=False).spec(known)) == "uint8 [80, 200, 3] 0..255"
    assert str(Resize(10, 20, precision="float32").spec(IMAGE)) == "float32 [10, 20, 3] 0..255"
    assert str(CenterCrop(300, 300).spec(known.with_(channels=4))) == "uint8 [300, 300, 4] 0..255"
    assert str(Crop((0, 1, 2, 4)).spec(IMAGE.with_(dtype="uint16"))) == "uint16 [3, 2, 3] 0..255"
    with pytest.raises(PlanError, match=r"crop\(\(0, 0, 200, 90\)\): expected a box inside the image, found bottom=90"):
        Crop((0, 0, 200, 90)).spec(known)
    with pytest.raises(PlanError, match=r"resize\(long_side=1\): expected a size of at least H=1 W=1, found H=0 W=1"):
        Resize(long_side=1).spec(known)
    with pytest.raises(PlanError, match="expected fill= one number or 3, as many as the image has channels, found 4"):
        CenterCrop(3, 3, fill=(1, 2, 3, 4)).spec(IMAGE)
    with pytest.raises(PlanError, match="expected uint8 pixels, found uint16"):
        Resize(3, 3).spec(IMAGE.with_(dtype="uint16"))
    assert Resize(3, 3, precision="float32").spec(IMAGE.with_(dtype="uint16")).dtype == "float32"


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: Resize(3, 4, long_side=5, short_side=5),
            (
                "resize(3, 4, short_side=5, long_side=5): expected (height, width), short_side=, long_side= or "
                "max_patches=, found several."
            ),
        ),
        (
            lambda: Resize(long_side=5, fit="inside"),
            (
                "resize(long_side=5, fit='inside'): expected no fit= with long_side=, which keeps the aspect, "
                "found fit='inside'."
            ),
        ),
        (
            lambda: Resize(3, 4, max_side=5),
            "resize(3, 4, max_side=5): expected max_side= with short_side=, found no short_side=.",
        ),
        (
            lambda: Resize(short_side=9, max_side=5),
            "resize(short_side=9, max_side=5): expected max_side= of at least short_side=9, found 5.",
        ),
        (
            lambda: Resize(short_side=9, rounding="even"),
            "resize(short_side=9, rounding='even'): expected rounding= with max_side= or fit='inside', found neither.",
        ),
        (
            lambda: Resize(short_side=9, max_side=20, rounding="up"),  # type: ignore[arg-type]
            "resize(short_side=9, max_side=20, rounding='up'): expected rounding= one of 'floor', 'even', found 'up'.",
        ),
        (
            lambda: Resize(3, 4, fill=5),
            "resize(3, 4, fill=5): expected fill= with fit='contain' only, found fit='fill'.",
        ),
        (
            lambda: Resize(3, 4, fit="contain", fill=256),
            (
                "resize(3, 4, fit='contain', fill=256): expected fill= a whole number from 0 to 255 or a tuple of "
                "1 or 3 or 4 of them, found 256."
            ),
        ),
        (
            lambda: Resize(3, 4, enlarge=False),
            (
                "resize(3, 4, enlarge=False): expected enlarge=False with fit='inside', short_side= or long_side=, "
                "found fit='fill'."
            ),
        ),
        (
            lambda: Resize(3, 4, fit="inside", enlarge=0),  # type: ignore[arg-type]
            "resize(3, 4, fit='inside', enlarge=0): expected enlarge= True or False, found 0.",
        ),
        (
            lambda: Resize(3, 4, filter="box", precision="float32"),
            (
                "resize(3, 4, filter='box', precision='float32'): expected filter= one of 'bilinear', 'bicubic', "
                "'lanczos' with precision='float32', found 'box'."
            ),
        ),
        (
            lambda: Crop((3, 4, 3, 9)),
            (
                "crop((3, 4, 3, 9)): expected box=(left, top, right, bottom) in whole pixels with 0 <= left < right "
                "and 0 <= top < bottom, found (3, 4, 3, 9)."
            ),
        ),
        (
            lambda: Crop((0.5, 0, 3, 9)),  # type: ignore[arg-type]
            (
                "crop((0.5, 0, 3, 9)): expected box=(left, top, right, bottom) in whole pixels with 0 <= left < right "
                "and 0 <= top < bottom, found (0.5, 0, 3, 9)."
            ),
        ),
        (
            lambda: CenterCrop(3, 4, fill="red"),  # type: ignore[arg-type]
            (
                "center_crop(3, 4, fill='red'): expected fill= a whole number from 0 to 255 or a tuple of 1 or 3 or 4 "
                "of them, found 'red'."
            ),
        ),
    ],
)
def test_refused_with_a_sentence(make: Any, sentence: str) -> None:
    with pytest.raises(PlanError) as caught:
        make()
    assert str(caught.value) == sentence


# -- the native twin -------------------------------------------------------------------------------------------------

sides = st.one_of(st.integers(1, 9), st.integers(1, 600), st.integers(1, 100_000))
small = st.integers(1, 600)
kept = st.one_of(
    st.builds(Resize, small, small, fit=st.just("contain"), fill=st.integers(0, 255)),
    st.builds(Resize, small, small, fit=st.just("inside"), enlarge=st.booleans()),
    st.builds(Resize, small, small, fit=st.just("inside"), enlarge=st.booleans(), precision=st.just("float32")),
    st.builds(Resize, long_side=sides, enlarge=st.booleans()),
    st.builds(Resize, short_side=small, enlarge=st.booleans()),
    st.builds(
        Resize,
        short_side=small,
        max_side=st.integers(600, 1500),
        rounding=st.sampled_from([None, "floor", "even"]),
        enlarge=st.booleans(),
    ),
    st.builds(CenterCrop, small, small, rounding=st.sampled_from(["even", "floor"])),
    st.builds(lambda x, y, w, h: Crop((x, y, x + w, y + h)), small, small, small, small),
)


@settings(max_examples=1500, deadline=None)
@given(st.lists(kept, min_size=1, max_size=3), sides, sides)
def test_native_resolve_is_the_same(same_plan: Any, chain: list[Any], height: int, width: int) -> None:
    same_plan(Recipe(None, tuple(chain)), height, width)


def test_every_small_size_resolves_alike(same_plan: Any) -> None:
    made = [
        recipe().resize(7, 11, fit="contain"),
        recipe().resize(7, 11, fit="inside"),
        recipe().resize(short_side=8, max_side=13, rounding="even"),
        recipe().resize(short_side=8, max_side=13),
        recipe().resize(long_side=12).center_crop(9, 6, rounding="floor"),
        recipe().center_crop(9, 6),
    ]
    for height in range(1, 26):
        for width in range(1, 26):
            for chain in made:
                same_plan(chain, height, width)


def test_draws_are_not_needed() -> None:
    assert Resize(3, 4, fit="contain").steps(9, 9, Draws(0, 0, 0, 0)) == Resize(3, 4, fit="contain").steps(9, 9, None)


# -- the second resampler --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_float_precision_keeps_what_lies_between(dtype: Any) -> None:
    picture_of_bytes = noise(37, 53)
    image = picture_of_bytes.astype(dtype) * dtype(257 if dtype == np.uint16 else 1)
    made = run(Resize(20, 64, fit="contain", fill=9, precision="float32"), image)
    assert made.dtype == np.float32 and made.shape == (20, 64, 3)
    inner = run(Resize(20, 64, fit="inside", precision="float32"), image)
    left = round((64 - inner.shape[1]) / 2)
    np.testing.assert_array_equal(made[:, left : left + inner.shape[1]], inner)
    assert (made[:, :left] == 9).all() and (inner != np.round(inner)).any()
    exact = run(Resize(20, 64, fit="inside"), picture_of_bytes)
    assert np.abs(exact - inner).max() < 1.01  # the first resampler rounds twice
