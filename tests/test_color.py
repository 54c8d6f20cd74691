"""Colour steps: the twin against torchvision on Pillow images, the native core against the twin, pixel by pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from penstock._reference.color import Color
from penstock._reference.random import Draws
from penstock.errors import PlanError
from penstock.recipe import Recipe, recipe
from penstock.transform import RandomColorJitter, RandomGrayscale
from penstock.types import Spec

FACTORS = (0.0, 0.1, 0.55, 1.0, 1.27, 1.9, 3.5)


def picture(seed: int = 0, height: int = 37, width: int = 53) -> npt.NDArray[np.uint8]:
    """Noise over a few smooth colours, so that histograms are uneven and hues everywhere."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x / 9.0), np.cos(y / 7.0), np.sin((x + y) / 5.0)], axis=-1) * 90 + 128
    return np.asarray((waves + random.normal(0, 20, waves.shape)).clip(0, 255), dtype=np.uint8)


def by_twin(made: Recipe, image: npt.NDArray[Any], index: int) -> npt.NDArray[Any]:
    for step in made.resolve(image.shape[0], image.shape[1], index=index).steps:
        image = step.apply(image)
    return image


@pytest.mark.parametrize(
    ("op", "function", "amounts"),
    [
        ("brightness", "adjust_brightness", FACTORS),
        ("contrast", "adjust_contrast", FACTORS),
        ("saturation", "adjust_saturation", FACTORS),
        ("sharpness", "adjust_sharpness", FACTORS),
        ("hue", "adjust_hue", (-0.5, -0.31, -0.001, 0.0, 0.1, 0.5)),
        ("posterize", "posterize", range(1, 9)),
        ("solarize", "solarize", (0.0, 0.5, 63.75, 128.0, 255.0)),
    ],
)
def test_amounts_are_torchvisions(torchvision: Any, op: Any, function: str, amounts: Any) -> None:
    from PIL import Image
    from torchvision.transforms.v2 import functional

    image = picture()
    for amount in amounts:
        expected = getattr(functional, function)(Image.fromarray(image), amount)
        np.testing.assert_array_equal(Color(op, amount).apply(image), np.asarray(expected))


@pytest.mark.parametrize("op", ["autocontrast", "equalize", "invert", "greyscale"])
def test_others_are_torchvisions(torchvision: Any, op: Any) -> None:
    from PIL import Image
    from torchvision.transforms.v2 import functional

    for image in (picture(), np.full((5, 6, 3), 77, np.uint8), picture()[:1, :1]):
        given = Image.fromarray(image)
        expected = functional.to_grayscale(given, 3) if op == "greyscale" else getattr(functional, op)(given)
        np.testing.assert_array_equal(Color(op).apply(image), np.asarray(expected))


def test_colour_moves_nothing() -> None:
    step = Color("invert")
    assert step.size(3, 4) == (3, 4) and step.affine(3, 4).tolist() == [[1, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize(
    "made",
    [
        *(recipe().random_color_jitter(brightness=(f, f)) for f in FACTORS),
        *(recipe().random_color_jitter(contrast=(f, f)) for f in FACTORS),
        *(recipe().random_color_jitter(saturation=(f, f)) for f in FACTORS),
        *(recipe().random_color_jitter(hue=(f, f)) for f in (-0.5, -0.2, 0.01, 0.33)),
        recipe().random_color_jitter(0.4, 0.4, 0.4, 0.1),
        recipe().random_grayscale(1.0),
        recipe().random_grayscale(0.5).random_color_jitter(0.9),
    ],
    ids=lambda made: made.verbs[-1].describe(),
)
def test_native_is_the_twin(made: Recipe) -> None:
    for index, size in enumerate([(37, 53), (1, 1), (2, 9), (64, 48)]):
        image = picture(index, *size)
        np.testing.assert_array_equal(made(image, index=index), by_twin(made, image, index))


def test_hue_over_every_colour() -> None:
    levels = np.arange(0, 256, 5, dtype=np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(levels.size, -1, 3)
    made = recipe().random_color_jitter(hue=(0.17, 0.17))
    np.testing.assert_array_equal(made(cube), by_twin(made, cube, 0))


def test_jitter_orders_and_factors_are_spread() -> None:
    verb = RandomColorJitter(0.4, 0.4, 0.4, 0.1)
    drawn = [verb.steps(4, 4, Draws(0, 0, index, 0)) for index in range(4000)]
    orders = [tuple(step.op for step in steps if isinstance(step, Color)) for steps in drawn]
    assert len(set(orders)) == 24
    assert min(orders.count(order) for order in set(orders)) > 4000 / 24 * 0.6
    brightness = [step.amount for steps in drawn for step in steps if isinstance(step, Color) and step.op == "hue"]
    assert min(brightness) >= -0.1 and max(brightness) < 0.1 and abs(np.mean(brightness)) < 0.005


def test_jitter_leaves_alone_what_is_not_asked() -> None:
    steps = RandomColorJitter(contrast=0.3).steps(4, 4, Draws(0, 0, 0, 0))
    assert [step.op for step in steps if isinstance(step, Color)] == ["contrast"]
    assert RandomColorJitter().steps(4, 4, Draws(0, 0, 0, 0)) == []


def test_jitter_ranges_are_torchvisions(torchvision: Any) -> None:
    from torchvision.transforms import v2

    for given in (0.4, 1.7, (0.2, 0.9)):
        ranges = v2.ColorJitter(brightness=given, contrast=given, saturation=given, hue=0.3)
        p = RandomColorJitter(given, given, given, 0.3).native()["p"]
        assert p == (*ranges.brightness, *ranges.contrast, *ranges.saturation, *ranges.hue)


def test_grayscale_as_often_as_asked() -> None:
    turned = [bool(RandomGrayscale(0.25).steps(4, 4, Draws(0, 0, index, 0))) for index in range(8000)]
    assert abs(np.mean(turned) - 0.25) < 0.02


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: RandomColorJitter(-1),
            (
                "random_color_jitter(-1): expected brightness= a number from 0 or a range (low, high) from 0 to 1e+06, "
                "found -1."
            ),
        ),
        (
            lambda: RandomColorJitter(hue=0.6),
            (
                "random_color_jitter(hue=0.6): expected hue= a number from 0 or a range (low, high) from -0.5 to 0.5, "
                "found 0.6."
            ),
        ),
        (
            lambda: RandomColorJitter(contrast=(2, 1)),
            (
                "random_color_jitter(contrast=(2, 1)): expected contrast= a number from 0 or a range (low, high) "
                "from 0 to 1e+06, found (2, 1)."
            ),
        ),
        (lambda: RandomGrayscale(2), "random_grayscale(2): expected p= a probability from 0 to 1, found 2."),
    ],
)
def test_refused_with_a_sentence(make: Any, sentence: str) -> None:
    with pytest.raises(PlanError) as caught:
        make()
    assert str(caught.value) == sentence


@pytest.mark.parametrize("verb", [RandomColorJitter(0.5), RandomGrayscale()], ids=lambda verb: verb.name)
def test_only_three_channels(verb: Any) -> None:
    with pytest.raises(PlanError, match="expected 3 channels, found 1"):
        verb.spec(Spec("image", channels=1))
