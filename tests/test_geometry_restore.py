"""Masks and polygons: back onto the source picture, for every orientation and every verb that moves pixels."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from penstock.errors import PlanError
from penstock.geometry import Geometry, RowGeometry, compose, matrix, orientation_matrix, upright_size
from penstock.recipe import Recipe, recipe
from penstock.restore import restore

# Every verb that moves pixels, alone, by whole pixels or whole factors, and some after one another.
CHAINS = {
    "nothing": recipe(),
    "resize twice": recipe().resize(48, 64, filter="nearest"),
    "resize half": recipe().resize(12, 16, filter="nearest"),
    "resize cover": recipe().resize(24, 24, fit="cover", filter="nearest"),
    "resize contain": recipe().resize(64, 64, fit="contain", filter="nearest"),
    "resize inside": recipe().resize(64, 64, fit="inside", filter="nearest"),
    "resize short_side": recipe().resize(short_side=48, filter="nearest"),
    "resize long_side": recipe().resize(long_side=64, filter="nearest"),
    "crop": recipe().crop((4, 8, 20, 24)),
    "center_crop": recipe().center_crop(16, 12),
    "center_crop larger": recipe().center_crop(40, 41),
    "pad": recipe().pad(1, 2, 3, 4, mode="edge"),
    "pad_to": recipe().pad_to(50, 50),
    "pad_to_multiple": recipe().pad_to_multiple(20, mode="symmetric"),
    "random_resized_crop": recipe().random_resized_crop(48, 48, scale=(1, 1), ratio=(1, 1), filter="nearest"),
    "random_crop": recipe().random_crop(16, 20, padding=3),
    "random_horizontal_flip": recipe().random_horizontal_flip(1.0),
    "random_vertical_flip": recipe().random_vertical_flip(1.0),
    "random_rotate90": recipe().random_rotate90(1.0),
    "random_erasing": recipe().random_erasing(),
    "many": recipe().pad(4, 0, 4, 8).random_rotate90().center_crop(24, 24).resize(48, 48, filter="nearest")
    .random_vertical_flip().random_crop(36, 36),
}  # fmt: skip
POINTS = np.random.default_rng(0).uniform(-10, 40, (30, 2))


def turned(stored: Any, orientation: int) -> Any:
    picture = Image.fromarray(stored)
    picture.getexif()[0x0112] = orientation
    return np.asarray(ImageOps.exif_transpose(picture))


def row_for(made: Recipe, height: int, width: int, orientation: int, index: int = 0) -> RowGeometry:
    resolved = made.resolve(*upright_size(height, width, orientation), index=index)
    affine = compose(orientation_matrix(height, width, orientation), resolved.matrix)
    return RowGeometry(affine, height, width, orientation)


def size_for(orientation: int) -> tuple[int, int]:
    """A stored size whose upright one is 24 x 32, so that the chains' factors are whole."""
    return upright_size(24, 32, orientation)


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_points_boxes_and_polygons_come_back(name: str, orientation: int) -> None:
    for index in range(4):
        row = row_for(CHAINS[name], *size_for(orientation), orientation, index)
        for frame in ("upright", "stored"):
            back = row.to_source(row.to_model(POINTS, frame=frame), frame=frame)
            assert np.abs(back - POINTS).max() < 1e-6
            boxes = np.concatenate([POINTS, POINTS + 3], axis=-1)
            moved = row.boxes_to_source(row.boxes_to_model(boxes, frame=frame), frame=frame)
            assert np.abs(moved - boxes).max() < 1e-6
            polygons = [POINTS[:3], POINTS[3:9]]
            there = row.polygons_to_model(polygons, frame=frame)
            for one, other in zip(polygons, row.polygons_to_source(there, frame=frame), strict=True):
                assert np.abs(one - other).max() < 1e-6


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_masks_come_back_exactly(name: str, orientation: int) -> None:
    """Labels in squares of 4 x 4 pixels go through the chain as a picture does, and come back pixel for pixel."""
    made = CHAINS[name]
    height, width = size_for(orientation)
    squares = np.random.default_rng(orientation).integers(1, 200, (height // 4, width // 4), dtype=np.uint8)
    stored = np.kron(squares, np.ones((4, 4), np.uint8))
    upright = turned(stored, orientation)
    for index in range(4):
        mask = upright[..., None]
        for step in made.resolve(24, 32, index=index).steps:
            mask = mask if type(step).__name__ == "Erase" else step.apply(mask)
        row = row_for(made, height, width, orientation, index)
        for frame, expected in (("upright", upright), ("stored", stored)):
            back = row.restore(mask[..., 0], frame=frame, outside=255)
            seen = back != 255
            assert back.dtype == np.uint8 and back.shape == expected.shape
            np.testing.assert_array_equal(back[seen], expected[seen])
            # All of what lies inside the model's image, and nothing else.
            y, x = np.mgrid[: expected.shape[0], : expected.shape[1]] + 0.5
            place = row.to_model(np.stack([x, y], axis=-1), frame=frame)
            inside = ((place >= 0) & (place < mask.shape[1::-1])).all(axis=-1)
            np.testing.assert_array_equal(seen, inside)


def slow(mask: Any, affine: Any, height: int, width: int, interpolation: str, outside: float) -> Any:
    """What restore says it does, a pixel at a time."""
    rows, columns = mask.shape
    out = np.full((height, width), outside, np.float64)
    for y in range(height):
        for x in range(width):
            u, v = affine @ [x + 0.5, y + 0.5, 1.0]
            if not (0 <= u < columns and 0 <= v < rows):
                continue
            if interpolation == "nearest":
                out[y, x] = mask[int(v), int(u)]
                continue
            left, top = int(np.floor(u - 0.5)), int(np.floor(v - 0.5))
            total = 0.0
            for row in (top, top + 1):
                for column in (left, left + 1):
                    weight = (1 - abs(u - 0.5 - column)) * (1 - abs(v - 0.5 - row))
                    total += weight * mask[min(max(row, 0), rows - 1), min(max(column, 0), columns - 1)]
            out[y, x] = total
    return out


MATRICES = [
    matrix(0.4, 0.0, 0.3, 0.0, 0.7, -0.2),
    matrix(-0.4, 0.0, 6.3, 0.0, 0.7, -0.2),
    matrix(0.0, 0.6, 0.3, -0.5, 0.0, 6.0),
    matrix(0.3, -0.2, 2.0, 0.2, 0.3, 0.5),
    matrix(1.0, 0.5, -4.0, -0.5, 1.0, 3.0),
    matrix(9.0, 0.0, 100.0, 0.0, 9.0, 0.0),
]


@pytest.mark.parametrize("affine", MATRICES)
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_restore_is_what_it_says(affine: Any, interpolation: Any, dtype: Any) -> None:
    mask = np.random.default_rng(1).uniform(-1, 1, (7, 9)).astype(dtype)
    back = restore(mask, affine, 11, 13, interpolation, -5)
    assert back.dtype == dtype
    tolerance = {np.float16: 2e-3, np.float32: 1e-6, np.float64: 1e-12}[dtype]
    expected = slow(mask, affine, 11, 13, interpolation, -5)
    np.testing.assert_allclose(back, expected, atol=0 if interpolation == "nearest" else tolerance)
    many = restore(np.stack([mask, -mask], axis=-1), affine, 11, 13, interpolation, -5)
    np.testing.assert_array_equal(many[..., 0], back)
    np.testing.assert_array_equal(many[..., 1][back != -5], -back[back != -5])


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int64, np.uint16])
def test_nearest_keeps_labels(dtype: Any) -> None:
    mask = np.random.default_rng(2).integers(0, 2, (7, 9)).astype(dtype)
    back = restore(mask, MATRICES[3], 11, 13)
    assert back.dtype == dtype and set(np.unique(back)) == {0, 1}


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 90), st.integers(1, 90))
def test_every_pixel_is_found_in_a_stretched_picture(height: int, width: int, rows: int, columns: int) -> None:
    row = row_for(recipe().resize(rows, columns), height, width, 1)
    back = row.restore(np.ones((rows, columns), bool))
    assert back.shape == (height, width) and back.all()


def test_a_large_picture_needs_no_more_memory_than_its_mask() -> None:
    row = RowGeometry(matrix(0.056, 0.0, 0.0, 0.0, 0.0746, 0.0), 3000, 4000)
    skewed = RowGeometry(matrix(0.056, 0.001, 0.0, 0.0, 0.0746, 0.0), 3000, 4000)
    mask = np.random.default_rng(3).integers(0, 2, (224, 224)).astype(bool)
    for geometry in (row, skewed):
        tracemalloc.start()
        back = geometry.restore(mask)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert back.shape == (3000, 4000) and peak < 12_000_000 + (24 << 20)


# -- batches ---------------------------------------------------------------------------------------------------------


def batch() -> Geometry:
    rows = [row_for(recipe().resize(6, 6), 3, 4, orientation) for orientation in (1, 6)]
    matrices = np.stack([*(row.matrix for row in rows), np.zeros((2, 3))])
    return Geometry(matrices, np.array([[3, 4], [3, 4], [0, 0]]), np.array([1, 6, 1]))


def test_a_batch_restores_one_row_or_all() -> None:
    geometry = batch()
    masks = np.arange(3 * 36).reshape(3, 6, 6)
    assert geometry.restore(masks[1], row=1).shape == (4, 3)
    assert geometry.restore(masks[1], row=1, frame="stored").shape == (3, 4)
    two = Geometry(geometry.matrices[:2], geometry.sizes[:2], geometry.orientation[:2])
    for one, other in zip(two.restore(masks[:2]), two, strict=True):
        np.testing.assert_array_equal(one, other.restore(masks[0 if other.orientation == 1 else 1]))
    assert [mask.shape for mask in two.restore(list(masks[:2]), frame="stored")] == [(3, 4), (3, 4)]
    np.testing.assert_array_equal(two.polygons_to_model([POINTS], row=1)[0], two.to_model(POINTS, row=1))
    np.testing.assert_array_equal(two.polygons_to_source([POINTS], row=1)[0], two.to_source(POINTS, row=1))


def test_what_is_not_known_is_refused() -> None:
    geometry = batch()
    masks = np.zeros((3, 6, 6), bool)
    with pytest.raises(PlanError, match=r"^restore of row 2: expected a row with an image, found a blank one.$"):
        geometry.restore(masks)
    with pytest.raises(PlanError, match=r"^restore of row 2: expected a row with an image, found a blank one.$"):
        geometry.restore(masks[2], row=2)
    unknown = RowGeometry(np.full((2, 3), np.nan), 3, 4)
    with pytest.raises(PlanError, match="expected to know where the pixels went, found a matrix that is not finite"):
        unknown.restore(masks[0])
    with pytest.raises(PlanError, match="expected a map for each of the 3 rows, or row=, found 2"):
        geometry.restore(masks[:2])


@pytest.mark.parametrize(
    ("mask", "options", "sentence"),
    [
        (np.zeros(3), {}, "expected a map [h, w] or [h, w, C], found shape [3]."),
        (np.zeros((0, 3)), {}, "expected a map [h, w] or [h, w, C], found shape [0, 3]."),
        (
            np.zeros((2, 2)),
            {"interpolation": "cubic"},
            "expected interpolation='nearest' or 'bilinear', found 'cubic'.",
        ),
        (
            np.zeros((2, 2), np.int64),
            {"interpolation": "bilinear"},
            "expected a floating-point map for interpolation='bilinear', found int64; labels need 'nearest'.",
        ),
        (np.zeros((2, 2), np.uint8), {"outside": -1}, "expected outside= a value that uint8 holds, found -1."),
        (np.zeros((2, 2), bool), {"outside": 255}, "expected outside= a value that bool holds, found 255."),
    ],
)
def test_refusals(mask: Any, options: Any, sentence: str) -> None:
    with pytest.raises(PlanError) as caught:
        restore(mask, MATRICES[0], 3, 3, **options)
    assert str(caught.value) == f"restore: {sentence}"


def test_boxes_hold_all_of_what_a_turned_box_covers() -> None:
    turn = RowGeometry(matrix(0.6, -0.8, 0.0, 0.8, 0.6, 0.0), 10, 10)
    corners = turn.to_model([[1, 1], [4, 1], [1, 3], [4, 3]])
    np.testing.assert_allclose(turn.boxes_to_model([1, 1, 4, 3]), [*corners.min(axis=0), *corners.max(axis=0)])
