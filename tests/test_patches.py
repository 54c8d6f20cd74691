"""Budgets of patches against transformers' own rules, patchify against its definition, what a batch says of both."""

from __future__ import annotations

import io
import re
import warnings
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import penstock as ps
from penstock import _native
from penstock._reference import steps as reference
from penstock._reference.patches import cut
from penstock.errors import PlanError
from penstock.recipe import Recipe, recipe
from penstock.sheet import joined
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
        sentence = re.escape(f"{error.cause}: {error.message}")
        with pytest.raises(ValueError, match=f"^{sentence}$"):
            _native.resolve(made.native(), height, width, 0, 0, 0)
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
    assert cut.spec().shape() == (256, 768)
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
            (
                "resize(8, 8, max_patches=4, patch=4): expected (height, width), short_side=, long_side= or "
                "max_patches=, found both."
            ),
        ),
        (
            lambda: Resize(max_patches=8, patch=4, multiple=3),
            (
                "resize(max_patches=8, patch=4, multiple=3): expected max_patches= of at least multiple * multiple "
                "= 9, the smallest image there is, found 8."
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


# -- what comes out --------------------------------------------------------------------------------------------------

ENGINES = ("native", "reference")
SIZES = [(61, 83), (83, 61), (20, 200), (64, 64), (5, 7)]


@cache
def pictures() -> dict[str, bytes]:
    draws = np.random.default_rng(11)
    blobs = {}
    for number, (height, width) in enumerate(SIZES):
        file = io.BytesIO()
        Image.fromarray(draws.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(file, "JPEG", quality=95)
        blobs[f"{number}"] = file.getvalue()
    return blobs


def by_definition(image: Any, size: int, max_patches: int) -> Any:
    """Each number of each patch, one after the other, as the words of the definition say."""
    height, width, channels = image.shape
    out = np.zeros((max_patches, size * size * channels), image.dtype)
    for row in range(height // size):
        for column in range(width // size):
            square = image[row * size : (row + 1) * size, column * size : (column + 1) * size]
            out[row * (width // size) + column] = [value for line in square for pixel in line for value in pixel]
    return out


@pytest.mark.parametrize("shape", [(32, 48, 3), (16, 16, 1), (8, 24, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32])
def test_the_twin_cuts_as_defined(shape: tuple[int, int, int], dtype: Any) -> None:
    image = np.random.default_rng(2).integers(0, 255, shape).astype(dtype)
    for size in (4, 8):
        patches = shape[0] * shape[1] // size**2
        assert np.array_equal(cut(image, size, patches + 3), by_definition(image, size, patches + 3))
        assert np.array_equal(joined(cut(image, size, patches), size, shape[0] // size, shape[1] // size), image)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("statistics", [None, ps.SIGNED])
def test_images_of_one_size(engine: Any, statistics: Any) -> None:
    chain = ps.recipe().decode().resize(28, 42, filter="bicubic")
    chain = chain if statistics is None else chain.normalize(statistics)
    with ps.blobs(pictures()).apply(chain).patchify(14).batch(5).run(engine=engine) as run:
        (batch,) = run
    assert batch.images.shape == (5, 6, 588) and batch.images.ctypes.data % 64 == 0
    for row, data in zip(batch, pictures().values(), strict=True):
        assert np.array_equal(row.image, by_definition(chain(data), 14, 6))
        assert row.show().size == (42, 28)
    assert batch.grid.tolist() == [[2, 3]] * 5 and batch.patch_count.tolist() == [6] * 5
    assert batch.positions[3].tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "budget",
    [
        {"max_patches": 40, "patch": 8},
        {"max_patches": 72, "patch": 4, "multiple": 3, "rounding": "floor", "filter": "bicubic"},
    ],
)
def test_each_image_at_its_own_aspect(engine: Any, budget: Any) -> None:
    chain = ps.recipe().decode().resize(**budget).normalize(ps.SIGNED)
    blobs = {**pictures(), "broken": b"none"}
    line = ps.blobs(blobs).apply(chain).patchify(budget["patch"]).batch(4, last="blank")
    with line.run(engine=engine, on_failure="blank") as run:
        batches = list(run)
    assert [len(batch) for batch in batches] == [4, 4]
    for batch in batches:
        assert batch.images.shape == (4, budget["max_patches"], budget["patch"] ** 2 * 3)
        assert batch.images.dtype == np.float32 and batch.positions.dtype == np.int64 and batch.sizes is None
        for row, count, grid, positions in zip(batch, batch.patch_count, batch.grid, batch.positions, strict=True):
            if not row.valid:
                assert count == 0 and grid.tolist() == [0, 0] and (positions == -1).all() and not row.image.any()
                continue
            image = chain(pictures()[row.key])
            plan = line.recipe.plan(*SIZES[row.index])
            assert (plan.height, plan.width) == image.shape[:2] and plan.patches == count
            assert grid.tolist() == [plan.height // budget["patch"], plan.width // budget["patch"]]
            assert np.array_equal(row.image, by_definition(image, budget["patch"], budget["max_patches"]))
            assert positions[:count].tolist() == [[r, c] for r in range(grid[0]) for c in range(grid[1])]
            assert (positions[count:] == -1).all()
    with line.run(engine=engine, on_failure="skip") as run:
        assert [batch.patch_count.tolist() for batch in run][1] == [batches[1].patch_count[0], 0, 0]


@pytest.mark.parametrize("engine", ENGINES)
def test_siglip2_naflex_is_transformers(torchvision: Any, engine: Any) -> None:
    """Sizes, grid and patches as the slow processor has them; its pixels pass through float64, hence the tolerance."""
    module = transformers_module(torchvision, "siglip2.image_processing_pil_siglip2")
    processor = module.Siglip2ImageProcessorPil(patch_size=16, max_num_patches=64)
    line = ps.blobs(pictures()).decode().resize(max_patches=64, patch=16).normalize(ps.SIGNED).patchify(16).batch(5)
    with line.run(engine=engine) as run:
        (batch,) = run
    opened = [Image.open(io.BytesIO(data)).convert("RGB") for data in pictures().values()]
    theirs = processor(opened, return_tensors="np")
    assert np.array_equal(theirs["spatial_shapes"], batch.grid)
    assert np.array_equal(theirs["pixel_attention_mask"], (batch.positions >= 0).all(axis=-1))
    assert np.allclose(theirs["pixel_values"], batch.images, rtol=0, atol=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_gemma4_is_transformers(torchvision: Any, engine: Any) -> None:
    """Its positions are (column, row); where it has no patch, -1, as here."""
    module = transformers_module(torchvision, "gemma4.image_processing_pil_gemma4")
    processor = module.Gemma4ImageProcessorPil(max_soft_tokens=70)
    budget = {"max_patches": 70 * 9, "patch": 16, "multiple": 3, "rounding": "floor", "filter": "bicubic"}
    line = ps.blobs(pictures()).decode().resize(**budget).normalize(ps.UNIT).patchify(16).batch(5)
    with line.run(engine=engine) as run:
        (batch,) = run
    opened = [Image.open(io.BytesIO(data)).convert("RGB") for data in pictures().values()]
    theirs = processor(opened, return_tensors="np")
    assert np.array_equal(theirs["image_position_ids"], batch.positions[..., ::-1])
    assert np.array_equal(theirs["num_soft_tokens_per_image"], batch.patch_count // 9)
    assert np.allclose(theirs["pixel_values"], batch.images, rtol=0, atol=1e-6)
