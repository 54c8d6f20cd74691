"""Random crops, flips, turns and erasing: their distributions, their pixels, refusals, the native twin."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from penstock._reference import steps as reference
from penstock._reference.random import Draws
from penstock.errors import PlanError
from penstock.recipe import Recipe, recipe
from penstock.transform import RandomCrop, RandomErasing, RandomRotate90, RandomVerticalFlip, StepError
from penstock.types import Spec

IMAGE = Spec("image")


def noise(height: int, width: int, channels: int = 3) -> Any:
    generator = np.random.default_rng(height * 1000 + width)
    return generator.integers(0, 256, (height, width, channels), dtype=np.uint8)


def drawn(verb: Any, height: int, width: int, count: int) -> list[list[Any]]:
    return [verb.steps(height, width, Draws(0, 0, index, 0)) for index in range(count)]


# -- random_crop -----------------------------------------------------------------------------------------------------


def test_every_place_is_as_likely() -> None:
    crops = Counter((step.top, step.left) for (step,) in drawn(RandomCrop(5, 6), 7, 7, 6000))
    assert set(crops) == {(top, left) for top in range(3) for left in range(2)}
    assert max(crops.values()) < 1150 and min(crops.values()) > 850


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric"])
@pytest.mark.parametrize(
    ("size", "options"),
    [
        ((32, 40), {"padding": 4}),
        ((32, 40), {"padding": (1, 2, 3, 4)}),
        ((30, 40), {"pad_if_needed": True}),
        ((32, 31), {"pad_if_needed": True, "padding": (0, 0, 1, 0)}),
    ],
)
def test_random_crop_is_torchvisions_at_the_same_place(
    torchvision: Any, monkeypatch: pytest.MonkeyPatch, size: Any, options: Any, mode: Any
) -> None:
    """torchvision's own RandomCrop, its draws answered by ours."""
    import torch
    from torchvision.transforms import v2

    image = noise(*size)
    fill = 77 if mode == "constant" else 0
    verb = RandomCrop(32, 32, mode=mode, fill=fill, **options)
    padding = options.get("padding", 0)
    theirs = v2.RandomCrop(
        (32, 32),
        padding=[padding[1], padding[0], padding[3], padding[2]] if isinstance(padding, tuple) else padding,
        pad_if_needed=options.get("pad_if_needed", False),
        fill=fill,
        padding_mode=mode,
    )
    for index in range(5):
        steps = verb.steps(*size, Draws(0, 0, index, 0))
        places = iter([steps[-1].top, steps[-1].left])

        def answer(low: int, high: int, size: Any, places: Any = places) -> Any:
            place = next(places)
            while not low <= place < high:
                place = next(places)  # torchvision draws nothing for a side that fits already
            return torch.tensor(place)

        monkeypatch.setattr(torch, "randint", answer)
        ours = image
        for step in steps:
            ours = step.apply(ours)
        np.testing.assert_array_equal(ours, np.asarray(theirs(Image.fromarray(image))))


def test_random_crop_refuses_what_is_smaller() -> None:
    with pytest.raises(StepError) as caught:
        RandomCrop(32, 32, padding=2).steps(40, 27, Draws(0, 0, 0, 0))
    assert caught.value.cause == "crop larger than the image"
    assert caught.value.message == "random_crop: expected an image of at least H=32 W=32, found H=44 W=31"
    with pytest.raises(PlanError, match=r"random_crop\(32, 32\): expected an image of at least H=32 W=32, found H=40"):
        RandomCrop(32, 32).spec(IMAGE.with_(height=40, width=27))
    assert str(RandomCrop(32, 32).spec(IMAGE)) == "uint8 [32, 32, 3] 0..255"


# -- flips and turns -------------------------------------------------------------------------------------------------


def test_vertical_flip_mirrors_as_often_as_asked() -> None:
    flips = [bool(steps) for steps in drawn(RandomVerticalFlip(0.25), 4, 4, 8000)]
    assert abs(np.mean(flips) - 0.25) < 0.02
    image = noise(5, 7)
    theirs = Image.fromarray(image).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    np.testing.assert_array_equal(reference.FlipY().apply(image), np.asarray(theirs))


def test_turns_are_as_likely() -> None:
    turns = Counter(steps[0].turns if steps else 0 for steps in drawn(RandomRotate90(0.6), 4, 4, 10000))
    assert abs(turns[0] - 4000) < 200 and all(abs(turns[turn] - 2000) < 160 for turn in (1, 2, 3))


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_turns_are_pillows(turns: int, channels: int) -> None:
    image = noise(5, 7, channels)
    picture = Image.fromarray(image[..., 0] if channels == 1 else image)
    theirs = picture.transpose(
        {1: Image.Transpose.ROTATE_90, 2: Image.Transpose.ROTATE_180, 3: Image.Transpose.ROTATE_270}[turns]
    )
    ours = reference.Rotate90(turns).apply(image)
    np.testing.assert_array_equal(ours, np.asarray(theirs).reshape(ours.shape))
    assert reference.Rotate90(turns).size(5, 7) == ours.shape[:2]


def test_turning_keeps_a_size_only_where_it_is_square() -> None:
    assert not RandomRotate90().spec(IMAGE.with_(height=8, width=8)).ragged
    assert RandomRotate90().spec(IMAGE.with_(height=8, width=9)).ragged


# -- erasing ---------------------------------------------------------------------------------------------------------


def test_erasing_has_torchvisions_distribution() -> None:
    made = drawn(RandomErasing(0.75, scale=(0.1, 0.3), ratio=(0.5, 2.0)), 1000, 1000, 6000)
    parts = [steps[0] for steps in made if steps]
    assert abs(len(parts) / 6000 - 0.75) < 0.02
    areas = [part.height * part.width / 1e6 for part in parts]
    ratios = [math.log(part.height / part.width) for part in parts]
    assert min(areas) > 0.099 and max(areas) < 0.301 and abs(np.mean(areas) - 0.2) < 0.005
    assert abs(np.mean(ratios)) < 0.03 and max(ratios) < math.log(2) + 0.01 and min(ratios) > math.log(0.5) - 0.01
    assert abs(np.mean([part.top / (1000 - part.height) for part in parts]) - 0.5) < 0.02


def test_the_ratio_is_height_over_width() -> None:
    (step,) = RandomErasing(1, scale=(0.1, 0.1), ratio=(4, 4)).steps(1000, 1000, Draws(0, 0, 0, 0))
    assert step.height == 632 and step.width == 158


def test_what_never_fits_erases_nothing() -> None:
    assert RandomErasing(1, scale=(1, 1)).steps(10, 10, Draws(0, 0, 0, 0)) == []
    assert RandomErasing(1, scale=(0, 0)).steps(10, 10, Draws(0, 0, 0, 0)) == []
    assert RandomErasing(0).steps(10, 10, Draws(0, 0, 0, 0)) == []


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_erasing_paints(channels: int) -> None:
    image = noise(9, 9, channels)
    fill = (1, 2, 3, 4)[:channels]
    made = reference.Erase(2, 3, 4, 5, fill).apply(image)
    assert (made[2:6, 3:8] == fill).all()
    made[2:6, 3:8] = image[2:6, 3:8]
    np.testing.assert_array_equal(made, image)


# -- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: RandomCrop(3, 4, padding=(1, 2)),  # type: ignore[arg-type]
            (
                "random_crop(3, 4, padding=(1, 2)): expected padding= a whole number of at least 0 or four of them, "
                "(top, left, bottom, right), found (1, 2)."
            ),
        ),
        (
            lambda: RandomCrop(3, 4, padding=-1),
            (
                "random_crop(3, 4, padding=-1): expected padding= a whole number of at least 0 or four of them, "
                "(top, left, bottom, right), found -1."
            ),
        ),
        (
            lambda: RandomCrop(3, 4, pad_if_needed=1),  # type: ignore[arg-type]
            "random_crop(3, 4, pad_if_needed=1): expected pad_if_needed= True or False, found 1.",
        ),
        (
            lambda: RandomVerticalFlip(1.5),
            "random_vertical_flip(1.5): expected p= a probability from 0 to 1, found 1.5.",
        ),
        (lambda: RandomRotate90(-1), "random_rotate90(-1): expected p= a probability from 0 to 1, found -1."),
        (
            lambda: RandomErasing(scale=(0.5, 0.1)),
            (
                "random_erasing(scale=(0.5, 0.1)): expected scale=(least, most) with 0 <= least <= most <= 1, "
                "found (0.5, 0.1)."
            ),
        ),
        (
            lambda: RandomErasing(ratio=(0, 1)),
            "random_erasing(ratio=(0, 1)): expected ratio=(least, most) with 0 < least <= most, found (0, 1).",
        ),
        (
            lambda: RandomErasing(fill=(1, 2)),
            (
                "random_erasing(fill=(1, 2)): expected fill= a whole number from 0 to 255 or a tuple of 1 or 3 or 4 of "
                "them, found (1, 2)."
            ),
        ),
    ],
)
def test_refused_with_a_sentence(make: Any, sentence: str) -> None:
    with pytest.raises(PlanError) as caught:
        make()
    assert str(caught.value) == sentence


# -- the native twin -------------------------------------------------------------------------------------------------

small = st.integers(1, 200)
some = st.integers(0, 20)
verbs = st.one_of(
    st.builds(
        RandomCrop,
        small,
        small,
        padding=st.one_of(some, st.tuples(some, some, some, some)),
        pad_if_needed=st.booleans(),
        mode=st.sampled_from(["constant", "edge", "reflect", "symmetric"]),
    ),
    st.builds(RandomVerticalFlip, st.floats(0, 1)),
    st.builds(RandomRotate90, st.floats(0, 1)),
    st.builds(
        RandomErasing,
        st.floats(0, 1),
        scale=st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted).map(tuple),
        ratio=st.tuples(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3)).map(sorted).map(tuple),
    ),
)
sides = st.one_of(st.integers(1, 9), st.integers(1, 600), st.integers(1, 10_000))
words = st.one_of(st.integers(0, 5), st.integers(0, 2**64 - 1))


@settings(max_examples=1500, deadline=None)
@given(st.lists(verbs, min_size=1, max_size=4), sides, sides, st.tuples(words, words, words))
def test_native_resolve_is_the_same(
    same_plan: Any, chain: list[Any], height: int, width: int, key: tuple[int, int, int]
) -> None:
    same_plan(Recipe(None, tuple(chain)), height, width, key)


def test_json_comes_back() -> None:
    made = recipe().random_crop(32, 32, padding=(1, 2, 3, 4)).random_rotate90().random_erasing(fill=(1, 2, 3))
    assert Recipe.from_json(made.to_json()) == made and made.random
