"""rand_augment and trivial_augment: torchvision's operations, magnitudes and pixels; their native twin."""

from __future__ import annotations

import inspect
from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from penstock._reference.color import Color
from penstock._reference.random import Draws
from penstock.errors import PlanError
from penstock.recipe import Recipe
from penstock.transform import RandAugment, TrivialAugment
from penstock.transform.augment import NARROW, OPERATIONS, WIDE, augment_steps, drawn
from penstock.types import Spec

# Our word for torchvision's.
NAMES = {
    "identity": "Identity",
    "shear_x": "ShearX",
    "shear_y": "ShearY",
    "translate_x": "TranslateX",
    "translate_y": "TranslateY",
    "rotate": "Rotate",
    "brightness": "Brightness",
    "saturation": "Color",
    "contrast": "Contrast",
    "sharpness": "Sharpness",
    "posterize": "Posterize",
    "solarize": "Solarize",
    "autocontrast": "AutoContrast",
    "equalize": "Equalize",
}
SPACES = [(NARROW, "RandAugment"), (WIDE, "TrivialAugmentWide")]


def picture(height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x / 9.0), np.cos(y / 7.0), np.sin((x + y) / 5.0)], axis=-1) * 80 + 120
    return np.asarray((waves + random.normal(0, 9, waves.shape)).clip(0, 255), dtype=np.uint8)


@pytest.mark.parametrize(("space", "name"), SPACES)
@pytest.mark.parametrize("bins", [2, 9, 10, 31])
def test_operations_and_magnitudes_are_torchvisions(torchvision: Any, space: Any, name: str, bins: int) -> None:
    import torch
    from torchvision.transforms import v2

    table = getattr(v2, name)._AUGMENTATION_SPACE
    assert [NAMES[operation] for operation in OPERATIONS] == list(table)
    for operation in OPERATIONS:
        magnitudes, signed = table[NAMES[operation]]
        values = magnitudes(bins, 224, 333)
        found = {drawn(space, 224, 333, bins, bins - 1, Draws(0, 0, i, 0)) for i in range(600)}
        most = {magnitude for other, magnitude in found if other == operation}
        assert len(most) == (2 if signed else 1)
        if values is None:
            assert most == {0.0}
            continue
        ours = [space.magnitude(operation, 224, 333, bins, place) for place in range(bins)]
        if operation == "posterize" or torch.backends.cpu.get_cpu_capability() != "DEFAULT":
            assert ours == values.tolist()
        # One unit of float32 where the processor fuses nothing.
        np.testing.assert_allclose(ours, values.double().numpy(), rtol=2e-7, atol=1.2e-7 * max(ours))


@pytest.mark.parametrize("filter", ["nearest", "bilinear"])
@pytest.mark.parametrize(("space", "name"), SPACES)
@pytest.mark.parametrize("size", [(48, 48), (37, 61)])
def test_pixels_are_torchvisions(torchvision: Any, space: Any, name: str, filter: Any, size: tuple[int, int]) -> None:
    from PIL import Image
    from torchvision.transforms import v2

    theirs = getattr(v2, name)(interpolation=v2.InterpolationMode(filter), fill=[10, 20, 30])
    image = picture(*size)
    apply = theirs._apply_image_or_video_transform
    assert "transform_id" in inspect.signature(apply).parameters
    for operation in OPERATIONS:
        for place in (0, 1, 9, 20, 30):  # WIDE's place 20 is a turn by exactly 90 degrees
            for sign in (1, -1):
                magnitude = space.magnitude(operation, *size, 31, place)
                if operation in OPERATIONS[1:10]:
                    magnitude *= sign
                given = Image.fromarray(image)
                expected = apply(given, NAMES[operation], magnitude, theirs.interpolation, theirs._fill)
                found = image
                for step in augment_steps("rand_augment", operation, magnitude, *size, filter, (10, 20, 30)):
                    found = step.apply(found)
                np.testing.assert_array_equal(found, np.asarray(expected), f"{operation} {magnitude}")


@pytest.mark.parametrize(
    "verb",
    [
        RandAugment(),
        RandAugment(4, 30, filter="bilinear", fill=(1, 2, 3)),
        RandAugment(3, 5, bins=10, filter="bicubic", fill=77),
        TrivialAugment(),
        TrivialAugment(bins=7, filter="bilinear"),
    ],
    ids=lambda verb: verb.describe(),
)
def test_native_is_the_twin(verb: Any) -> None:
    from penstock import _native

    made = Recipe(None, (verb,))
    for index in range(60):
        image = picture(1 + index * 7 % 50, 1 + index * 11 % 60, index)
        resolved = made.resolve(image.shape[0], image.shape[1], seed=3, epoch=1, index=index)
        *steps, matrix = _native.resolve(made.native(), image.shape[0], image.shape[1], 3, 1, index)
        kinds = ["color" if isinstance(step, Color) else "warp" for step in resolved.steps]
        assert [step[0] for step in steps] == kinds
        np.testing.assert_array_equal(np.reshape(matrix, (2, 3)), resolved.matrix)
        expected: npt.NDArray[Any] = image
        for step in resolved.steps:
            expected = step.apply(expected)
        np.testing.assert_array_equal(made(image, seed=3, epoch=1, index=index), expected)


def test_every_operation_is_drawn_as_often() -> None:
    counts = Counter(drawn(WIDE, 64, 64, 31, None, Draws(0, 0, index, 0))[0] for index in range(14_000))
    assert set(counts) == set(OPERATIONS) and min(counts.values()) > 850 and max(counts.values()) < 1150
    verb = RandAugment(0)
    assert verb.steps(5, 5, Draws(0, 0, 0, 0)) == []


def test_signs_and_bins_are_spread() -> None:
    turns = [
        magnitude
        for index in range(14_000)
        for operation, magnitude in [drawn(WIDE, 64, 64, 31, None, Draws(0, 0, index, 0))]
        if operation == "rotate"
    ]
    assert {abs(turn) for turn in turns} == {WIDE.magnitude("rotate", 64, 64, 31, place) for place in range(31)}
    assert abs(np.mean(np.sign(turns))) < 0.1


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: RandAugment(2, 31),
            "rand_augment(magnitude=31): expected magnitude= a whole number from 0 to 30, found 31.",
        ),
        (
            lambda: RandAugment(-1),
            "rand_augment(-1): expected operations= a whole number from 0 to 100, found -1.",
        ),
        (
            lambda: TrivialAugment(bins=1),
            "trivial_augment(bins=1): expected bins= a whole number from 2 to 1000000, found 1.",
        ),
        (
            lambda: TrivialAugment(filter="box"),
            ("trivial_augment(filter='box'): expected filter= one of 'nearest', 'bilinear', 'bicubic', found 'box'."),
        ),
    ],
)
def test_refused_with_a_sentence(make: Any, sentence: str) -> None:
    with pytest.raises(PlanError) as caught:
        make()
    assert str(caught.value) == sentence


@pytest.mark.parametrize("verb", [RandAugment(), TrivialAugment()], ids=lambda verb: verb.name)
def test_only_three_channels(verb: Any) -> None:
    assert verb.spec(Spec("image")) == Spec("image")
    with pytest.raises(PlanError, match="expected 3 channels, found 4"):
        verb.spec(Spec("image", channels=4))
