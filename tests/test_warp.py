"""Warps: Pillow's transform, torchvision's affine and rotate, the verbs warp and random_affine, their native twin."""

from __future__ import annotations

import io
import math
import pickle
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

import penstock as ps
from penstock._reference.random import Draws
from penstock._reference.warp import Warp as WarpStep
from penstock._reference.warp import inverse_affine, inverse_of, inverse_rotation
from penstock.errors import PlanError
from penstock.geometry import transform_points
from penstock.recipe import Recipe, recipe
from penstock.transform import RandomAffine, StepError, Warp
from penstock.types import Spec


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def halve(height: int, width: int) -> list[list[float]]:
    return [[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]]


def shifted(height: int, width: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    return np.array([[1.0, 0.0, rng.uniform(-5, 5)], [0.0, 1.0, rng.uniform(-5, 5)]])


def scaled(height: int, width: int) -> tuple[tuple[float, ...], ...]:
    return ((64 / width, 0, 0), (0, 64 / height, 0))


# -- steps against Pillow and torchvision ----------------------------------------------------------------------------


@pytest.mark.parametrize("filter", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("angle", [-135.0, -30.0, -9.0, 0.0, 13.5, 90.0, 180.0, 270.0, 351.0])
@pytest.mark.parametrize("size", [(40, 40), (31, 50)])
def test_rotation_is_pillows(filter: Any, angle: float, size: tuple[int, int]) -> None:
    image = noise(*size)
    step = WarpStep(inverse_rotation(*size, angle), *size, filter, (9, 8, 7))
    expected = Image.fromarray(image).rotate(angle, Image.Resampling[filter.upper()], fillcolor=(9, 8, 7))
    np.testing.assert_array_equal(step.apply(image), np.asarray(expected))


@pytest.mark.parametrize("filter", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize(
    ("angle", "translate", "scale", "shear"),
    [
        (0.0, (0, 0), 1.0, (0.0, 0.0)),
        (17.3, (5, -3), 1.0, (0.0, 0.0)),
        (-40.0, (0, 7), 0.6, (12.0, 0.0)),
        (3.0, (-9, 0), 1.7, (-5.0, 21.0)),
    ],
)
def test_affine_is_torchvisions(
    torchvision: Any, filter: str, angle: float, translate: Any, scale: float, shear: Any
) -> None:
    from torchvision.transforms.v2 import InterpolationMode, functional

    image = noise(33, 46)
    step = WarpStep(inverse_affine((23.0, 16.5), angle, translate, scale, shear), 33, 46, filter, 0)  # type: ignore[arg-type]
    expected = functional.affine(
        Image.fromarray(image), angle, list(translate), scale, list(shear), InterpolationMode(filter)
    )
    np.testing.assert_array_equal(step.apply(image), np.asarray(expected))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_step_takes_every_channel_count(channels: int) -> None:
    image = noise(8, 9, channels)
    shift = WarpStep((1.0, 0.0, 2.0, 0.0, 1.0, 1.0), 5, 9, "nearest", 200)
    out = shift.apply(image)
    np.testing.assert_array_equal(out[:, :7], image[1:6, 2:])
    assert (out[:, 7:] == 200).all() and shift.size(8, 9) == (5, 9)


def test_geometry_is_the_continuous_map() -> None:
    image = np.zeros((30, 40, 3), np.uint8)
    image[10, 12] = 255
    step = WarpStep(inverse_affine((20.0, 15.0), 25.0, (4, -2), 1.5), 30, 40, "bilinear", 0)
    x, y = transform_points(step.affine(30, 40), [12.5, 10.5])  # the white pixel's centre
    row, column = np.unravel_index(step.apply(image)[..., 0].argmax(), (30, 40))
    assert abs(column + 0.5 - x) < 0.75 and abs(row + 0.5 - y) < 0.75
    np.testing.assert_allclose(inverse_of(inverse_of(step.inverse)), step.inverse, atol=1e-12)


# -- the verb warp ---------------------------------------------------------------------------------------------------


def test_warp_gives_pillows_pixels() -> None:
    image = noise(20, 30)
    (step,) = Warp(halve, 10, 15, filter="bicubic", fill=(1, 2, 3)).steps(20, 30, None)
    expected = Image.fromarray(image).transform(
        (15, 10), Image.Transform.AFFINE, (2, 0, 0, 0, 2, 0), Image.Resampling.BICUBIC, fillcolor=(1, 2, 3)
    )
    np.testing.assert_array_equal(step.apply(image), np.asarray(expected))
    assert step.affine(20, 30).tolist() == [[0.5, 0, 0], [0, 0.5, 0]]


def test_warp_composes() -> None:
    resolved = recipe().resize(40, 60).warp(scaled, 64, 64).resolve(400, 300)
    assert (resolved.height, resolved.width) == (64, 64)
    np.testing.assert_allclose(resolved.matrix, [[64 / 300, 0, 0], [0, 64 / 400, 0]], rtol=1e-12)


def test_warp_with_rng_is_keyed() -> None:
    verb = Warp(shifted, 10, 10)
    key = {"seed": 1, "epoch": 2, "index": 3, "ordinal": 0}
    assert verb.random and not Warp(halve, 3, 3).random
    first = verb.matrix(10, 10, **key)
    np.testing.assert_array_equal(first, verb.matrix(10, 10, **key))
    for word in key:
        assert not np.array_equal(first, verb.matrix(10, 10, **{**key, word: 7}))
    made = recipe().random_horizontal_flip().warp(shifted, 10, 10)
    assert [entry["ordinal"] for entry in made.native()] == [0, 1]
    step = made.resolve(10, 10, seed=1, epoch=2, index=3).steps[-1]
    expected = verb.matrix(10, 10, seed=1, epoch=2, index=3, ordinal=1)
    np.testing.assert_allclose(step.affine(10, 10), expected, atol=1e-12)


def test_warp_without_rng_takes_any_key() -> None:
    found = Warp(halve, 3, 3).matrix(9, 9, seed=0, epoch=0, index=0, ordinal=0)
    assert found.dtype == np.float64 and found.tolist() == [[0.5, 0, 0], [0, 0.5, 0]]


@pytest.mark.parametrize(
    ("fn", "message"),
    [
        (lambda h, w: 1 / 0, "warp: expected a matrix [2, 3] from <lambda>(4, 5), found ZeroDivisionError: "),
        (lambda h, w: [1, 2], "warp: expected a matrix [2, 3] from <lambda>(4, 5), found shape [2]"),
        (lambda h, w: "no", "warp: expected a matrix [2, 3] from <lambda>(4, 5), found ValueError: "),
        (
            lambda h, w: [[1, 0, math.nan], [0, 1, 0]],
            "warp: expected six finite numbers from <lambda>(4, 5) that can be inverted, found [[1.0, 0.0, nan], ",
        ),
        (
            lambda h, w: [[1, 1, 0], [1, 1, 0]],
            "warp: expected six finite numbers from <lambda>(4, 5) that can be inverted, found [[1.0, 1.0, 0.0], ",
        ),
    ],
)
def test_a_wrong_matrix_fails_the_item(fn: Any, message: str) -> None:
    with pytest.raises(StepError) as caught:
        Warp(fn, 3, 3).matrix(4, 5, seed=0, epoch=0, index=0, ordinal=0)
    assert caught.value.cause == "matrix" and caught.value.message.startswith(message)


def test_a_function_has_a_fingerprint_and_no_json() -> None:
    made = recipe().warp(halve, 3, 4)
    with pytest.raises(PlanError, match="a recipe that JSON can hold, found the function halve"):
        made.to_json()
    assert made.fingerprint == recipe().warp(halve, 3, 4).fingerprint
    others = [recipe().warp(scaled, 3, 4), recipe().warp(halve, 3, 4, version="2"), recipe().warp(halve, 4, 4)]
    assert len({made.fingerprint, *(other.fingerprint for other in others)}) == 4
    nameless = Recipe(None, (Warp(lambda h, w: [*halve(h, w)], 3, 4),))
    with pytest.raises(PlanError, match="expected a function of a module, or version="):
        _ = nameless.fingerprint
    assert len(Recipe(None, (Warp(lambda h, w: [*halve(h, w)], 3, 4, version="1"),)).fingerprint) == 64


def test_warp_is_a_value() -> None:
    verb = Warp(halve, 3, 4, fill=7)
    assert pickle.loads(pickle.dumps(verb)) == verb and hash(verb) == hash(Warp(halve, 3, 4, fill=7))
    assert verb.native() == {"kind": "warp", "height": 3, "width": 4, "filter": "bilinear", "fill": (7, 7, 7, 7)}
    assert str(verb.spec(Spec("image"))) == "uint8 [3, 4, 3] 0..255"


# -- random_affine ---------------------------------------------------------------------------------------------------


def test_random_affine_draws_torchvisions_ranges() -> None:
    verb = RandomAffine(20, translate=(0.25, 0.1), scale=(0.5, 1.5), shear=(-5, 10))
    turns, moves = [], []
    for index in range(3000):
        (step,) = verb.steps(80, 60, Draws(0, 0, index, 0))
        (a, _, _), (d, _, _) = step.affine(80, 60)
        scale = math.hypot(a, d)  # of the x axis, which the shear along x leaves
        assert 0.5 <= scale <= 1.5
        turns.append(math.degrees(math.atan2(d, a)))
        moves.append(transform_points(step.affine(80, 60), [30.0, 40.0]) - [30.0, 40.0])  # where the middle went
    assert -20 <= min(turns) < -19 and 19 < max(turns) <= 20 and abs(np.mean(turns)) < 1
    across, down = np.array(moves).T
    np.testing.assert_allclose(across, np.round(across), atol=1e-9)
    assert np.abs(across).max() == pytest.approx(15) and np.abs(down).max() == pytest.approx(8)


@pytest.mark.parametrize("filter", ["nearest", "bilinear", "bicubic"])
def test_random_affine_is_torchvisions(torchvision: Any, filter: Any) -> None:
    from torchvision.transforms.v2 import InterpolationMode, functional

    image = noise(41, 52)
    verb = RandomAffine((-30, 50), translate=(0.2, 0.3), scale=(0.7, 1.4), shear=(-9, 9, 0, 5), filter=filter, fill=5)
    for index in range(20):
        draws = Draws(0, 0, index, 0)
        angle = draws.uniform(-30, 50)
        moves = [round(draws.uniform(-0.2 * 52, 0.2 * 52)), round(draws.uniform(-0.3 * 41, 0.3 * 41))]
        scale, shear = draws.uniform(0.7, 1.4), [draws.uniform(-9, 9), draws.uniform(0, 5)]
        expected = functional.affine(
            Image.fromarray(image), angle, moves, scale, shear, InterpolationMode(filter), fill=5
        )
        (step,) = verb.steps(41, 52, Draws(0, 0, index, 0))
        np.testing.assert_array_equal(step.apply(image), np.asarray(expected))


@pytest.mark.parametrize("filter", ["nearest", "bilinear", "bicubic"])
def test_native_is_the_twin(filter: Any) -> None:
    verbs = [
        RandomAffine(0, filter=filter),
        RandomAffine(45, translate=(0.5, 0.5), scale=(0.2, 3), shear=(-20, 20, -20, 20), filter=filter, fill=(3, 2, 1)),
    ]
    for index in range(40):
        made = Recipe(None, (verbs[index % 2],))
        image = noise(1 + index * 7 % 50, 1 + index * 11 % 60, seed=index)
        resolved = made.resolve(image.shape[0], image.shape[1], index=index)
        np.testing.assert_array_equal(made(image, index=index), resolved.steps[0].apply(image))


def test_native_affine_geometry_is_the_same() -> None:
    from penstock import _native

    made = recipe().random_affine(30, translate=(0.2, 0.3), scale=(0.5, 2), shear=(-10, 10, -5, 20))
    for index in range(200):
        height, width = 1 + index * 37 % 700, 1 + index * 101 % 900
        *_, matrix = _native.resolve(made.native(), height, width, 0, 0, index)
        np.testing.assert_array_equal(np.reshape(matrix, (2, 3)), made.resolve(height, width, index=index).matrix)


def test_a_shear_that_leaves_nothing_fails() -> None:
    from penstock import _native

    message = "random_affine: expected a matrix that can be inverted, found one that cannot; a smaller shear avoids it"
    made = recipe().random_affine(0, scale=(5e-324, 5e-324))
    with pytest.raises(StepError) as caught:
        made.resolve(9, 9)
    assert (caught.value.cause, caught.value.message) == ("broken matrix", message)
    with pytest.raises(ValueError, match="broken matrix: random_affine: expected a matrix that can be inverted"):
        _native.resolve(made.native(), 9, 9, 0, 0, 0)


# -- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: Warp(3, 4, 5),  # type: ignore[arg-type]
            "warp(3, 4, 5): expected fn= a function of height and width, found 3.",
        ),
        (
            lambda: Warp(halve, 0, 5),
            "warp(halve, 0, 5): expected height= a whole number from 1 to 178956970, found 0.",
        ),
        (
            lambda: Warp(halve, 4, 5, filter="lanczos"),
            (
                "warp(halve, 4, 5, filter='lanczos'): expected filter= one of 'nearest', 'bilinear', 'bicubic', "
                "found 'lanczos'."
            ),
        ),
        (
            lambda: RandomAffine(-3),
            "random_affine(-3): expected degrees= a number of degrees from 0 or a range (low, high), found -3.",
        ),
        (
            lambda: RandomAffine(3.0, translate=(2, 0)),
            "random_affine(3.0, translate=(2, 0)): expected translate= two fractions (x, y) from 0 to 1, found (2, 0).",
        ),
        (
            lambda: RandomAffine(3.0, scale=(0, 1)),
            "random_affine(3.0, scale=(0, 1)): expected scale= a range (low, high) above 0, found (0, 1).",
        ),
        (
            lambda: RandomAffine(3.0, shear=(1, 2, 3)),
            (
                "random_affine(3.0, shear=(1, 2, 3)): expected shear= degrees from 0, a range (low, high), or two "
                "ranges, found (1, 2, 3)."
            ),
        ),
    ],
)
def test_refused_with_a_sentence(make: Any, sentence: str) -> None:
    with pytest.raises(PlanError) as caught:
        make()
    assert str(caught.value) == sentence


# -- files and functions that fail -----------------------------------------------------------------------------------


def raises(height: int, width: int) -> Any:
    raise ValueError(f"{height} x {width}")


def leaves(height: int, width: int) -> Any:
    raise SystemExit(3)


def encoded(kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(5).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_a_broken_file_is_a_broken_file_first(kind: str) -> None:
    data = encoded(kind)
    line = ps.blobs({"whole": data, "cut": data[: len(data) // 2]}).decode().warp(raises, 8, 8).batch(2)
    found = []
    for options in ({"threads": 1}, {"threads": 4}, {"engine": "reference"}):
        with line.run(on_failure="blank", **options) as run:  # type: ignore[arg-type]
            found.append(next(run).failures)
    found.append((line.sample(0).failure, line.sample(1).failure))
    assert [failure.stage for failure in found[0]] == ["transform", "decode"]
    assert found.count(found[0]) == len(found)


def test_arrays_have_nothing_to_be_broken() -> None:
    line = ps.arrays([np.zeros((4, 6, 3), np.uint8)]).warp(raises, 8, 8).batch(1)
    for engine in ("native", "reference"):
        with line.run(on_failure="blank", engine=engine) as run:  # type: ignore[arg-type]
            (failure,) = next(run).failures
        assert (failure.stage, failure.cause) == ("transform", "matrix")


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_a_function_that_leaves_fails_its_item_alone(kind: str) -> None:
    with ps.blobs([encoded(kind)]).decode().warp(leaves, 8, 8).batch(1).run(on_failure="blank") as run:
        (failure,) = next(run).failures
    assert failure.message == "transform of '0': expected a matrix, found SystemExit(3)."


def test_a_loader_refuses_a_function_that_its_state_could_not_name() -> None:
    line = ps.arrays([np.zeros((4, 5, 3), np.uint8)])
    with pytest.raises(ps.PlanError, match="or version= a text that changes with the function"):
        line.warp(lambda height, width: [[1, 0, 0], [0, 1, 0]], 8, 8).batch(1).loader()
    with line.warp(lambda height, width: [[1, 0, 0], [0, 1, 0]], 8, 8, version="1").batch(1).loader() as loader:
        assert loader.state_dict()["epoch"] == 0
