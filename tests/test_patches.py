"""Budgets of patches against transformers' own rules, patchify against its definition, and what a batch says of them."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock import _native
from penstock._reference import steps as reference
from penstock.errors import PlanError
from penstock.recipe import Recipe, recipe
from penstock.transform import Patchify, Resize, StepError
from penstock.transform.patch_size import patch_size
from penstock.types import Spec

BUDGETS = [(256, 16, 1), (64, 14, 1), (1024, 16, 1), (2520, 16, 3), (630, 16, 3), (729, 14, 1), (4, 32, 2), (1, 8, 1)]
sides = st.one_of(st.integers(1, 40), st.integers(1, 3000), st.integers(1, 100_000))
budgets = st.tuples(st.integers(1, 5000), st.integers(1, 40), st.integers(1, 4)).filter(lambda b: b[0] >= b[2] ** 2)


def sizes(count: int) -> Any:
    """Sides as pictures have them, very long ones, and those that a rounding turns on."""
    draws = np.random.default_rng(7)
    usual = draws.integers(1, 5000, (count, 2))
    long = np.stack([draws.integers(1, 30, count // 4), draws.integers(1, 60_000, count // 4)], axis=1)
    whole = 16 * draws.integers(1, 300, (count // 4, 2))
    return np.concatenate([usual, long, long[:, ::-1], whole]).tolist()


def transformers_module(torchvision: Any, name: str) -> Any:
    pytest.importorskip("transformers")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(f"transformers.models.{name}", exc_type=ImportError)


@pytest.mark.parametrize("budget", BUDGETS)
def test_rounding_up_is_siglip2s(torchvision: Any, budget: tuple[int, int, int]) -> None:
    theirs = transformers_module(torchvision, "siglip2.image_processing_pil_siglip2")
    max_patches, patch, _ = budget
    for height, width in sizes(1000):
        expected = theirs.get_image_size_for_max_num_patches(height, width, patch, max_patches)
        assert patch_size(height, width, max_patches=max_patches, patch=patch) == expected, (height, width)


@pytest.mark.parametrize("budget", BUDGETS)
def test_rounding_down_is_gemma4s(torchvision: Any, budget: tuple[int, int, int]) -> None:
    theirs = transformers_module(torchvision, "gemma4.image_processing_pil_gemma4")
    max_patches, patch, multiple = budget
    for height, width in sizes(1000):
        given = {"max_patches": max_patches, "patch": patch, "multiple": multiple, "rounding": "floor"}
        try:
            expected = theirs.get_aspect_ratio_preserving_size(height, width, patch, max_patches, multiple)
        except ValueError:
            with pytest.raises(StepError):
                patch_size(height, width, **given)
            continue
        assert patch_size(height, width, **given) == expected, (height, width)


@settings(max_examples=600, deadline=None)
@given(sides, sides, budgets, st.sampled_from(["ceil", "floor"]))
def test_native_chooses_the_same_size(height: int, width: int, budget: tuple[int, int, int], rounding: Any) -> None:
    max_patches, patch, multiple = budget
    verb = Resize(max_patches=max_patches, patch=patch, multiple=multiple, rounding=rounding, filter="bicubic")
    made = Recipe(None, (verb,))
    try:
        resolved = made.resolve(height, width)
    except StepError as error:
        with pytest.raises(ValueError) as caught:
            _native.resolve(made.native(), height, width, 0, 0, 0)
        assert str(caught.value) == f"{error.cause}: {error.message}"
        return
    step, matrix = _native.resolve(made.native(), height, width, 0, 0, 0)
    (ours,) = resolved.steps
    assert isinstance(ours, reference.Resize)
    assert (step[0], step[3], step[4], step[6]) == ("resize", ours.height, ours.width, "bicubic")
    assert matrix.tolist() == resolved.matrix.tolist()
    assert ours.height % (patch * multiple) == ours.width % (patch * multiple) == 0
    assert ours.height // patch * (ours.width // patch) <= max_patches


def test_an_image_that_no_budget_fits() -> None:
    with pytest.raises(StepError) as caught:
        patch_size(1, 178_956_970, max_patches=1, patch=1)
    assert caught.value.cause == "no size fits"
    assert caught.value.message == (
        "resize: expected a size of at most 1 patches with sides of multiples of 1, found none for an image of "
        "H=1 W=178956970"
    )


# -- what the verbs say ----------------------------------------------------------------------------------------------


def test_specs_of_patches() -> None:
    prep = recipe().decode()
    assert str(prep.resize(896, 896).patchify(14).spec()) == "uint8 [4096, 588] 0..255"
    native_aspect = prep.resize(max_patches=256, patch=16, filter="bicubic")
    assert native_aspect.spec().ragged and str(native_aspect.spec()) == "uint8 [H, W, 3] 0..255"
    cut = native_aspect.random_horizontal_flip().normalize([0.5] * 3, [0.5] * 3).patchify(16)
    assert not cut.spec().ragged and str(cut.spec()) == "float32 [256, 768] -1..1"
    assert cut.spec().shape == (256, 768)
    assert Recipe.from_json(cut.to_json()) == cut
    assert "resize" in str(cut) and "max_patches=256 patch=16 bicubic" in str(cut)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: recipe().decode().patchify(16),
            (
                "patchify(16): expected images of one size, or a budget of patches, found uint8 [H, W, 3] 0..255; call "
                ".resize(height, width) or .resize(max_patches=, patch=16) before it."
            ),
        ),
        (
            lambda: recipe().decode().resize(100, 64).patchify(16),
            "patchify(16): expected sides that are multiples of 16, found H=100 W=64.",
        ),
        (
            lambda: recipe().decode().resize(max_patches=256, patch=16).patchify(14),
            "patchify(14): expected the patch= of resize(max_patches=256, patch=16), found 14.",
        ),
        (
            lambda: recipe().decode().resize(64, 64).patchify(16).patchify(16),
            "patchify(16): expected an image, found patches; leave the second patchify out.",
        ),
        (
            lambda: recipe().decode().resize(64, 64).patchify(16).resize(3, 3),
            "resize(3, 3): expected an image, found patches; call it before .patchify().",
        ),
        (lambda: recipe().patchify(0), "patchify(0): expected size= a whole number from 1 to 4096, found 0."),
        (lambda: Resize(max_patches=4), "resize(max_patches=4): expected max_patches= and patch=, found no patch=."),
        (lambda: Resize(8, 8, patch=4), "resize(8, 8, patch=4): expected max_patches= with patch=, found none."),
        (
            lambda: Resize(8, 8, max_patches=4, patch=4),
            "resize(8, 8, max_patches=4, patch=4): expected max_patches= or height=, found both.",
        ),
        (
            lambda: Resize(max_patches=8, patch=4, multiple=3),
            (
                "resize(max_patches=8, patch=4, multiple=3): expected max_patches= of at least multiple * multiple = 9, "
                "the smallest image there is, found 8."
            ),
        ),
        (
            lambda: Resize(max_patches=1 << 20, patch=64),
            (
                "resize(max_patches=1048576, patch=64): expected at most 178956970 pixels, found 1048576 patches of "
                "64 x 64."
            ),
        ),
        (
            lambda: Resize(max_patches=8, patch=4, rounding="even"),  # type: ignore[arg-type]
            (
                "resize(max_patches=8, patch=4, rounding='even'): expected rounding= one of 'ceil', 'floor', "
                "found 'even'."
            ),
        ),
    ],
)
def test_refused_with_a_sentence(make: Any, sentence: str) -> None:
    with pytest.raises(PlanError) as caught:
        make()
    assert str(caught.value) == sentence


def test_a_verb_that_changes_the_size_ends_the_budget() -> None:
    spec = Resize(max_patches=256, patch=16).spec(Spec("image"))
    assert spec.budget == (16, 256)
    assert Resize(64, 64).spec(spec).budget is None
    with pytest.raises(PlanError, match="expected images of one size"):
        Patchify(16).spec(spec.with_(height=None, width=None))
