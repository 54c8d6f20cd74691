"""Pads: pixels against torchvision on Pillow images, sizes, refusals, the native twin."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from penstock.errors import PlanError
from penstock.recipe import Recipe, recipe
from penstock.transform import Pad, PadTo, PadToMultiple, StepError
from penstock.types import Spec

IMAGE = Spec("image")
MODES = ("constant", "edge", "reflect", "symmetric")


def noise(height: int, width: int, channels: int = 3) -> Any:
    generator = np.random.default_rng(height * 1000 + width)
    return generator.integers(0, 256, (height, width, channels), dtype=np.uint8)


def run(verb: Any, image: Any) -> Any:
    for step in verb.steps(*image.shape[:2], None):
        image = step.apply(image)
    return image


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("around", [(1, 2, 3, 4), (0, 5, 0, 0), (6, 0, 6, 0), (0, 0, 0, 0)])
def test_pad_is_torchvisions(torchvision: Any, around: tuple[int, int, int, int], mode: Any, channels: int) -> None:
    from torchvision.transforms import functional

    image = noise(7, 9, channels)
    top, left, bottom, right = around
    fill: Any = (10, 20, 30, 40)[:channels] if mode == "constant" else 0
    picture = Image.fromarray(image[..., 0] if channels == 1 else image)
    theirs = functional.pad(picture, [left, top, right, bottom], 10 if channels == 1 else fill, mode)
    ours = run(Pad(top, left, bottom, right, mode=mode, fill=fill), image)
    np.testing.assert_array_equal(ours, np.asarray(theirs).reshape(ours.shape))


def test_one_number_is_every_channels() -> None:
    assert (run(Pad(1, 0, 0, 0, fill=128), noise(2, 2, 4))[0] == 128).all()


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize("mode", MODES)
def test_pads_take_every_dtype(mode: Any, dtype: Any) -> None:
    image = (noise(5, 6).astype(np.uint32) * 200).astype(dtype)
    made = run(Pad(2, 1, 1, 2, mode=mode, fill=200 if mode == "constant" else 0), image)
    assert made.dtype == dtype and made.shape == (8, 9, 3)
    np.testing.assert_array_equal(made[2:7, 1:7], image)
    if mode == "constant":
        assert (made[0] == (200 * 257 if dtype == np.uint16 else 200)).all()


def test_pad_to_lays_the_image_in_the_middle_or_at_the_start() -> None:
    image = noise(4, 5)
    middle, start = run(PadTo(7, 8, fill=9), image), run(PadTo(7, 8, position="start", fill=9), image)
    assert middle.shape == start.shape == (7, 8, 3)
    np.testing.assert_array_equal(middle[1:5, 1:6], image)
    np.testing.assert_array_equal(start[:4, :5], image)
    assert (middle.sum() - image.sum()) == (start.sum() - image.sum()) == (7 * 8 - 4 * 5) * 3 * 9
    assert PadTo(4, 5).steps(4, 5, None) == []


@given(st.integers(1, 500), st.integers(1, 500), st.integers(1, 100))
def test_pad_to_multiple_rounds_up(height: int, width: int, multiple: int) -> None:
    spec = PadToMultiple(multiple).spec(IMAGE.with_(height=height, width=width))
    assert spec.height is not None and spec.width is not None
    assert spec.height % multiple == 0 and height <= spec.height < height + multiple
    assert spec.width % multiple == 0 and width <= spec.width < width + multiple


def test_pad_to_multiple_pads_below_and_to_the_right() -> None:
    image = noise(4, 5)
    made = run(PadToMultiple(4, mode="edge"), image)
    np.testing.assert_array_equal(made[:, :5], image)
    np.testing.assert_array_equal(made[:, 5:], np.repeat(image[:, 4:], 3, axis=1))
    assert PadToMultiple(2).steps(4, 6, None) == []


def test_specs() -> None:
    known = IMAGE.with_(height=8, width=20)
    assert str(Pad(1, 2, 3, 4).spec(known)) == "uint8 [12, 26, 3] 0..255"
    assert Pad(1, 2, 3, 4).spec(IMAGE).ragged and PadToMultiple(8).spec(IMAGE).ragged
    assert str(PadTo(30, 40).spec(IMAGE.with_(channels=1))) == "uint8 [30, 40, 1] 0..255"
    assert str(PadToMultiple(16).spec(known)) == "uint8 [16, 32, 3] 0..255"
    with pytest.raises(PlanError, match=r"pad_to\(8, 19\): expected an image of at most H=8 W=19, found H=8 W=20"):
        PadTo(8, 19).spec(known)
    with pytest.raises(PlanError, match=r"pad\(8, 0, 0, 0, mode='reflect'\): expected less padding than the image has"):
        Pad(8, 0, 0, 0, mode="reflect").spec(known)
    with pytest.raises(PlanError, match="expected at most 178956970 pixels"):
        Pad(0, 0, 100_000_000, 0).spec(known)


@pytest.mark.parametrize(
    ("verb", "size", "cause", "message"),
    [
        (
            Pad(0, 3, 0, 4, mode="reflect"),
            (9, 4),
            "padding larger than the image",
            (
                "pad: expected less padding than the image has pixels for its mode, found top=0 left=3 bottom=0 "
                "right=4 around an image of H=9 W=4"
            ),
        ),
        (
            Pad(0, 3, 0, 5, mode="symmetric"),
            (9, 4),
            "padding larger than the image",
            (
                "pad: expected no more padding than the image has pixels for its mode, found top=0 left=3 bottom=0 "
                "right=5 around an image of H=9 W=4"
            ),
        ),
        (
            PadTo(5, 5),
            (5, 6),
            "image larger than the size",
            "pad_to: expected an image of at most H=5 W=5, found H=5 W=6",
        ),
        (
            Pad(0, 0, 0, 100_000_000),
            (9, 4),
            "too many pixels",
            "pad: expected at most 178956970 pixels, found H=9 W=100000004",
        ),
    ],
)
def test_an_image_that_cannot_be_fails_with_a_sentence(
    same_plan: Any, verb: Any, size: Any, cause: str, message: str
) -> None:
    with pytest.raises(StepError) as caught:
        verb.steps(*size, None)
    assert (caught.value.cause, caught.value.message) == (cause, message)
    same_plan(Recipe(None, (verb,)), *size)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Pad(-1, 0, 0, 0), "pad(-1, 0, 0, 0): expected top= a whole number from 0 to 178956970, found -1."),
        (
            lambda: Pad(1, 0, 0, 0, mode="wrap"),  # type: ignore[arg-type]
            (
                "pad(1, 0, 0, 0, mode='wrap'): expected mode= one of 'constant', 'edge', 'reflect', 'symmetric', "
                "found 'wrap'."
            ),
        ),
        (
            lambda: Pad(1, 0, 0, 0, mode="edge", fill=3),
            "pad(1, 0, 0, 0, fill=3, mode='edge'): expected fill= with mode='constant' only, found mode='edge'.",
        ),
        (
            lambda: PadTo(3, 4, position="end"),  # type: ignore[arg-type]
            "pad_to(3, 4, position='end'): expected position= one of 'center', 'start', found 'end'.",
        ),
        (
            lambda: PadToMultiple(0),
            "pad_to_multiple(0): expected multiple= a whole number from 1 to 178956970, found 0.",
        ),
    ],
)
def test_refused_with_a_sentence(make: Any, sentence: str) -> None:
    with pytest.raises(PlanError) as caught:
        make()
    assert str(caught.value) == sentence


some = st.integers(0, 50)
modes = st.sampled_from(MODES)
verbs = st.one_of(
    st.builds(Pad, some, some, some, some, mode=modes),
    st.builds(Pad, some, some, some, some, fill=st.integers(0, 255)),
    st.builds(
        PadTo,
        st.integers(1, 600),
        st.integers(1, 600),
        position=st.sampled_from(["center", "start"]),
        mode=modes,
    ),
    st.builds(PadToMultiple, st.integers(1, 70), mode=modes),
)
sides = st.one_of(st.integers(1, 9), st.integers(1, 600), st.integers(1, 100_000))


@settings(max_examples=1000, deadline=None)
@given(st.lists(verbs, min_size=1, max_size=3), sides, sides)
def test_native_resolve_is_the_same(same_plan: Any, chain: list[Any], height: int, width: int) -> None:
    same_plan(Recipe(None, tuple(chain)), height, width)


def test_json_comes_back() -> None:
    made = recipe().pad(1, 2, 3, 4, fill=(1, 2, 3)).pad_to(90, 90, position="start").pad_to_multiple(32, mode="edge")
    assert Recipe.from_json(made.to_json()) == made
