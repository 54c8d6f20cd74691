"""The verbs: their arithmetic against Pillow's and torchvision's definitions, their refusals, their native twins."""

from __future__ import annotations

import json
import math
import pickle
from pathlib import Path
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
from penstock.transform import (
    CLIP,
    IMAGENET,
    SIGNED,
    UNIT,
    CenterCrop,
    NormalizationStats,
    Normalize,
    RandomHorizontalFlip,
    RandomResizedCrop,
    Resize,
    StepError,
)
from penstock.transform.verb import MAX_PIXELS
from penstock.types import Spec

GOLDEN = Path(__file__).parent / "golden"
FILTERS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
IMAGE = Spec("image")


def noise(height: int, width: int) -> Any:
    return np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def run(steps: list[reference.Step], image: Any) -> Any:
    for step in steps:
        image = step.apply(image)
    return image


# -- what the verbs compute ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("filter", FILTERS)
@pytest.mark.parametrize("size", [(37, 53), (53, 37), (1, 9), (9, 1), (64, 64)])
def test_cover_is_imageops_fit(size: tuple[int, int], filter: Any) -> None:
    image = noise(*size)
    for height, width in ((20, 20), (64, 31), (1, 7), (101, 100)):
        ours = run(Resize(height, width, fit="cover", filter=filter).steps(*size, None), image)
        theirs = ImageOps.fit(Image.fromarray(image), (width, height), Image.Resampling[filter.upper()])
        np.testing.assert_array_equal(ours, np.asarray(theirs))


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 500))
def test_short_side_is_torchvisions(height: int, width: int, n: int) -> None:
    short, long = sorted((height, width))
    new_short, new_long = n, int(n * long / short)
    if new_short * new_long > MAX_PIXELS:
        with pytest.raises(StepError, match="expected at most"):
            Resize(short_side=n).steps(height, width, None)
        return
    (step,) = Resize(short_side=n).steps(height, width, None)
    assert step.size(height, width) == ((new_long, new_short) if width <= height else (new_short, new_long))


@given(st.integers(0, 1000))
def test_center_crop_rounds_half_to_even_or_down(space: int) -> None:
    (even,) = CenterCrop(10, 10).steps(10 + space, 10, None)
    (floor,) = CenterCrop(10, 10, rounding="floor").steps(10, 10 + space, None)
    assert even == reference.Crop(round(space / 2.0), 0, 10, 10)
    assert floor == reference.Crop(0, space // 2, 10, 10)


def test_random_resized_crop_has_torchvisions_distribution() -> None:
    verb = RandomResizedCrop(8, 8, scale=(0.2, 0.6), ratio=(0.5, 2.0))
    areas, ratios, tops = [], [], []
    for index in range(4000):
        crop, resize = verb.steps(1000, 1000, Draws(0, 0, index, 0))
        assert isinstance(crop, reference.Crop)
        areas.append(crop.height * crop.width / 1e6)
        ratios.append(math.log(crop.width / crop.height))
        tops.append(crop.top / max(1, 1000 - crop.height))
        assert resize == reference.Resize(8, 8, None, "bilinear")
    assert min(areas) > 0.19 and max(areas) < 0.61 and abs(np.mean(areas) - 0.4) < 0.01
    assert math.log(0.5) - 0.01 < min(ratios) and max(ratios) < math.log(2) + 0.01 and abs(np.mean(ratios)) < 0.03
    assert abs(np.mean(tops) - 0.5) < 0.02


@pytest.mark.parametrize(
    ("size", "crop"),
    [
        ((1000, 10), reference.Crop(493, 0, 13, 10)),  # too tall: the least ratio, in the middle
        ((10, 1000), reference.Crop(0, 493, 10, 13)),  # too wide: the greatest
    ],
)
def test_random_resized_crop_falls_back_to_the_central_crop(size: tuple[int, int], crop: reference.Crop) -> None:
    verb = RandomResizedCrop(8, 8, scale=(1, 1))
    assert verb.steps(*size, Draws(0, 0, 0, 0))[0] == crop


def test_flip_mirrors_as_often_as_asked() -> None:
    flips = [bool(RandomHorizontalFlip(0.25).steps(4, 4, Draws(0, 0, index, 0))) for index in range(8000)]
    assert abs(np.mean(flips) - 0.25) < 0.02
    image = noise(5, 7)
    np.testing.assert_array_equal(reference.FlipX().apply(image), image[:, ::-1])


# -- draws -----------------------------------------------------------------------------------------------------------


def test_draws_are_golden() -> None:
    for row in json.loads((GOLDEN / "random_draws.json").read_text()):
        key = [int(word) for word in row["key"]]
        draws = [Draws(*key) for _ in range(3)]
        assert [f"{draws[0].bits():016x}" for _ in row["bits"]] == row["bits"]
        assert [draws[1].uniform().hex() for _ in row["uniform"]] == row["uniform"]
        assert [draws[2].integer(1000) for _ in row["integer_below_1000"]] == row["integer_below_1000"]


def test_draws_depend_on_every_word_of_the_key() -> None:
    keys = [(a, b, c, d) for a in range(4) for b in range(4) for c in range(4) for d in range(4)]
    assert len({Draws(*key).bits() for key in keys}) == len(keys)


def test_ordinals_count_random_steps_only() -> None:
    plain = recipe().random_horizontal_flip().random_horizontal_flip()
    mixed = recipe().resize(9, 9).random_horizontal_flip().resize(5, 5).random_horizontal_flip()
    assert [verb["ordinal"] for verb in plain.native()] == [0, 1]
    assert [verb["ordinal"] for verb in mixed.native() if verb["kind"] == "random_horizontal_flip"] == [0, 1]
    flips = [sum(isinstance(s, reference.FlipX) for s in plain.resolve(4, 4, index=i).steps) for i in range(200)]
    assert set(flips) == {0, 1, 2}  # the two steps draw apart


# -- the native twin -------------------------------------------------------------------------------------------------

sides = st.one_of(st.integers(1, 9), st.integers(1, 600), st.integers(1, 100_000))
filters = st.sampled_from(FILTERS)
scales = st.tuples(st.floats(1e-6, 1), st.floats(1e-6, 1)).map(sorted).map(tuple)
ratios = st.tuples(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3)).map(sorted).map(tuple)
small = st.integers(1, 600)
verbs = st.one_of(
    st.builds(Resize, small, small, fit=st.sampled_from(["fill", "cover"]), filter=filters),
    st.builds(Resize, short_side=sides, filter=filters),
    st.builds(CenterCrop, small, small, rounding=st.sampled_from(["even", "floor"])),
    st.builds(RandomResizedCrop, small, small, scale=scales, ratio=ratios, filter=filters),
    st.builds(RandomHorizontalFlip, st.floats(0, 1)),
)
words = st.one_of(st.integers(0, 5), st.integers(0, 2**64 - 1))


@settings(max_examples=1000, deadline=None)
@given(st.lists(verbs, min_size=1, max_size=4), sides, sides, st.tuples(words, words, words))
def test_native_resolve_is_the_same(
    same_plan: Any, chain: list[Any], height: int, width: int, key: tuple[int, int, int]
) -> None:
    made = Recipe(None, tuple(chain))  # not checked as a chain: the arithmetic must agree on any
    same_plan(made, height, width, key)


@given(words, words, words, words)
def test_native_draws_are_the_same(seed: int, epoch: int, index: int, ordinal: int) -> None:
    from penstock import _native

    draws = Draws(seed, epoch, index, ordinal)
    assert list(_native.draw_bits(seed, epoch, index, ordinal, 8)) == [draws.bits() for _ in range(8)]


def test_plans_are_golden() -> None:
    recipes = [Recipe.from_json(row["json"]) for row in json.loads((GOLDEN / "recipe.json").read_text())]
    for row in json.loads((GOLDEN / "plans.json").read_text()):
        made, (height, width), (seed, epoch, index) = recipes[row["recipe"]], row["size"], row["key"]
        if "cause" in row:
            with pytest.raises(StepError) as caught:
                made.resolve(height, width, seed=seed, epoch=epoch, index=index)
            assert (caught.value.cause, caught.value.message) == (row["cause"], row["message"])
            continue
        resolved = made.resolve(height, width, seed=seed, epoch=epoch, index=index)
        assert [shown(step) for step in resolved.steps] == row["steps"]
        assert [float(value).hex() for value in resolved.matrix.ravel()] == row["matrix"]


def shown(step: reference.Step) -> list[Any]:
    if isinstance(step, reference.Crop):
        return ["crop", step.top, step.left, step.height, step.width]
    if isinstance(step, reference.Resize):
        box = None if step.box is None else [value.hex() for value in step.box]
        return ["resize", step.height, step.width, box, step.filter]
    return ["flip_x"]


# -- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: Resize(224),
            (
                "resize(224): expected (height, width), found one number; write resize(224, 224) for a square, "
                "or resize(short_side=224) to keep the aspect."
            ),
        ),
        (Resize, "resize(): expected (height, width), short_side=, long_side= or max_patches=, found no size."),
        (
            lambda: Resize(3, 4, short_side=5),
            (
                "resize(3, 4, short_side=5): expected (height, width), short_side=, long_side= or max_patches=, "
                "found both."
            ),
        ),
        (
            lambda: Resize(short_side=5, fit="cover"),
            (
                "resize(short_side=5, fit='cover'): expected no fit= with short_side=, which keeps the aspect, "
                "found fit='cover'."
            ),
        ),
        (
            lambda: Resize(0, 4),
            "resize(0, 4): expected height= a whole number from 1 to 178956970, found 0.",
        ),
        (
            lambda: Resize(True, 4),
            "resize(True, 4): expected height= a whole number from 1 to 178956970, found True.",
        ),
        (
            lambda: Resize(2.5, 4),  # type: ignore[arg-type]
            "resize(2.5, 4): expected height= a whole number from 1 to 178956970, found 2.5.",
        ),
        (
            lambda: Resize(20000, 20000),
            "resize(20000, 20000): expected at most 178956970 pixels, found H=20000 W=20000, 400000000 pixels.",
        ),
        (
            lambda: Resize(3, 4, fit="crop"),  # type: ignore[arg-type]
            "resize(3, 4, fit='crop'): expected fit= one of 'fill', 'cover', 'contain', 'inside', found 'crop'.",
        ),
        (
            lambda: Resize(3, 4, filter="cubic"),  # type: ignore[arg-type]
            (
                "resize(3, 4, filter='cubic'): expected filter= one of 'nearest', 'box', 'bilinear', 'hamming', "
                "'bicubic', 'lanczos', found 'cubic'."
            ),
        ),
        (
            lambda: CenterCrop(3, 4, rounding="up"),  # type: ignore[arg-type]
            "center_crop(3, 4, rounding='up'): expected rounding= one of 'even', 'floor', found 'up'.",
        ),
        (
            lambda: RandomResizedCrop(3, 4, scale=(0, 1)),
            (
                "random_resized_crop(3, 4, scale=(0, 1)): expected scale=(least, most) with 0 < least <= most <= 1, "
                "found (0, 1)."
            ),
        ),
        (
            lambda: RandomResizedCrop(3, 4, ratio=(2, 1)),
            (
                "random_resized_crop(3, 4, ratio=(2, 1)): expected ratio=(least, most) with 0 < least <= most, "
                "found (2, 1)."
            ),
        ),
        (
            lambda: RandomHorizontalFlip(1.5),
            "random_horizontal_flip(1.5): expected p= a probability from 0 to 1, found 1.5.",
        ),
        (
            lambda: Normalize([0.5, 0.5, 0.5]),
            (
                "normalize([0.5, 0.5, 0.5]): expected statistics such as IMAGENET, or a mean and a standard deviation "
                "for each channel, found no std."
            ),
        ),
        (
            lambda: Normalize([0.5, 0.5], [1, 1, 1]),
            (
                "normalize([0.5, 0.5], [1, 1, 1]): expected mean= 1, 3 or 4 finite numbers, one a channel, "
                "found [0.5, 0.5]."
            ),
        ),
        (
            lambda: Normalize([0, 0, 0], [1, 0, 1]),
            "normalize([0, 0, 0], [1, 0, 1]): expected std= numbers above 0, found [1, 0, 1].",
        ),
        (
            lambda: Normalize([0, 0, math.nan], [1, 1, 1]),
            (
                "normalize([0, 0, nan], [1, 1, 1]): expected mean= 1, 3 or 4 finite numbers, one a channel, "
                "found [0, 0, nan]."
            ),
        ),
    ],
)
def test_refused_with_a_sentence(make: Any, sentence: str) -> None:
    with pytest.raises(PlanError) as caught:
        make()
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("verb", "size", "cause", "message"),
    [
        (
            Resize(short_side=224),
            (1, 60000),
            "too many pixels",
            "resize: expected at most 178956970 pixels, found H=224 W=13440000",
        ),
        (
            RandomResizedCrop(8, 8, ratio=(100, 100)),
            (50, 1),
            "side rounds to 0",
            "random_resized_crop: expected a crop of at least H=1 W=1, found H=0 W=1 in an image of H=50 W=1",
        ),
    ],
)
def test_an_image_that_cannot_be_fails_with_a_sentence(verb: Any, size: Any, cause: str, message: str) -> None:
    with pytest.raises(StepError) as caught:
        verb.steps(*size, Draws(0, 0, 0, 0))
    assert (caught.value.cause, caught.value.message) == (cause, message)


# -- as values -------------------------------------------------------------------------------------------------------

EVERY = [
    Resize(224, 192, fit="cover"),
    Resize(short_side=256),
    CenterCrop(5, 6, rounding="floor"),
    RandomResizedCrop(7, 8, scale=(0.5, 1)),
    RandomHorizontalFlip(0.25),
    Normalize(IMAGENET),
]


@pytest.mark.parametrize("verb", EVERY, ids=lambda verb: verb.name)
def test_a_verb_is_a_value(verb: Any) -> None:
    copy = pickle.loads(pickle.dumps(verb))
    assert copy == verb and hash(copy) == hash(verb) and copy.describe().startswith(verb.name)
    assert not hasattr(verb, "__dict__")
    with pytest.raises((AttributeError, TypeError)):
        verb.height = 3


def test_numbers_become_plain_ones() -> None:
    assert Resize(np.int64(3), np.uint8(4)) == Resize(3, 4)  # type: ignore[arg-type]
    assert type(Resize(np.int64(3), 4).height) is int  # type: ignore[arg-type]
    assert RandomResizedCrop(3, 4, scale=(1, 1)).scale == (1.0, 1.0)
    assert Normalize(np.zeros(3, np.float32), np.ones(3)).mean == (0.0, 0.0, 0.0)  # type: ignore[arg-type]


def test_specs() -> None:
    assert str(Resize(3, 4).spec(IMAGE)) == "uint8 [3, 4, 3] 0..255"
    assert Resize(short_side=4).spec(IMAGE).ragged
    assert str(Resize(short_side=4).spec(IMAGE.with_(height=8, width=20))) == "uint8 [4, 10, 3] 0..255"
    assert str(CenterCrop(3, 4).spec(IMAGE)) == "uint8 [3, 4, 3] 0..255"
    assert str(Normalize(IMAGENET).spec(IMAGE)) == "float32 [H, W, 3] -2.118..2.64"
    assert Normalize(SIGNED).spec(IMAGE).range == "-1..1" and Normalize(UNIT).spec(IMAGE).range == "0..1"


def test_presets() -> None:
    for stats in (IMAGENET, CLIP, SIGNED, UNIT):
        assert isinstance(stats, NormalizationStats)
        assert Normalize(stats) == Normalize(stats.mean, stats.std)
