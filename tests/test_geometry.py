"""Geometry: points and boxes from source to model pixels and back, for every orientation and every verb."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

import penstock as ps
from penstock.errors import PlanError
from penstock.geometry import Geometry, RowGeometry, compose, invert, matrix, orientation_matrix, upright_size
from penstock.recipe import Recipe, recipe

CHAINS = [
    recipe(),
    recipe().resize(50, 90),
    recipe().resize(50, 50, fit="cover"),
    recipe().resize(short_side=40).center_crop(33, 31),
    recipe().random_resized_crop(24, 36).random_horizontal_flip(),
    recipe().random_horizontal_flip(1.0),
]


def row_for(made: Recipe, height: int, width: int, orientation: int, index: int = 0) -> RowGeometry:
    resolved = made.resolve(*upright_size(height, width, orientation), index=index)
    return RowGeometry(
        compose(orientation_matrix(height, width, orientation), resolved.matrix), height, width, orientation
    )


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations_are_pillows(orientation: int) -> None:
    height, width = 3, 5
    stored = Image.fromarray(np.arange(height * width, dtype=np.uint8).reshape(height, width))
    stored.getexif()[0x0112] = orientation
    upright = np.asarray(ImageOps.exif_transpose(stored))
    assert upright.shape == upright_size(height, width, orientation)
    affine = orientation_matrix(height, width, orientation)
    for y in range(height):
        for x in range(width):
            u, v = affine @ [x + 0.5, y + 0.5, 1]
            assert upright[int(v), int(u)] == y * width + x


@pytest.mark.parametrize("made", CHAINS, ids=lambda made: "-".join(step.name for step in made.steps) or "none")
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("frame", ["upright", "stored"])
def test_points_come_back(made: Recipe, orientation: int, frame: Any) -> None:
    points = np.random.default_rng(0).uniform(0, 100, (40, 2))
    for index in range(5):
        row = row_for(made, 71, 113, orientation, index)
        back = row.to_source(row.to_model(points, frame=frame), frame=frame)
        np.testing.assert_allclose(back, points, atol=1e-9)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_matrix_says_where_pixels_went(orientation: int) -> None:
    """A bright square in the stored image is found where the geometry says, after the steps have run."""
    stored = np.zeros((60, 80, 3), np.uint8)
    stored[20:28, 44:52] = 255
    picture = Image.fromarray(stored)
    picture.getexif()[0x0112] = orientation
    upright = np.asarray(ImageOps.exif_transpose(picture))
    for index in range(12):
        made = (
            recipe().resize(120, 160, fit="cover").random_resized_crop(96, 96, scale=(0.8, 1)).random_horizontal_flip()
        )
        image = upright
        for step in made.resolve(*upright.shape[:2], index=index).steps:
            image = step.apply(image)
        box = row_for(made, 60, 80, orientation, index).boxes_to_model([44, 20, 52, 28], frame="stored")
        rows, columns = np.nonzero(image[..., 0] > 127)
        if min(box) > 2 and max(box) < 94:
            found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            np.testing.assert_allclose(box, found, atol=1.01)


def test_frames_of_a_turned_image() -> None:
    row = row_for(recipe(), 100, 200, 6)  # upright is 200 high, 100 wide
    assert row.upright_size == (200, 100)
    np.testing.assert_array_equal(row.to_source([[10.0, 20.0]]), [[10.0, 20.0]])
    np.testing.assert_array_equal(row.to_source([[10.0, 20.0]], frame="stored"), [[20.0, 90.0]])
    np.testing.assert_array_equal(row.to_model([[20.0, 90.0]], frame="stored"), [[10.0, 20.0]])


def test_boxes_stay_ordered_when_mirrored() -> None:
    row = row_for(recipe().random_horizontal_flip(1.0), 10, 20, 1)
    np.testing.assert_array_equal(row.boxes_to_model([1, 2, 5, 6]), [15, 2, 19, 6])
    np.testing.assert_array_equal(row.boxes_to_source([15, 2, 19, 6]), [1, 2, 5, 6])


def batch() -> Geometry:
    rows = [row_for(recipe().resize(50, 50), 100, 200, orientation) for orientation in (1, 6)]
    return Geometry(
        np.stack([*(row.matrix for row in rows), np.zeros((2, 3))]),
        np.array([[100, 200], [100, 200], [0, 0]]),
        np.array([1, 6, 1]),
    )


def test_a_batch_maps_a_group_for_each_row_or_all_of_one() -> None:
    geometry = batch()
    points = np.random.default_rng(1).uniform(0, 100, (3, 7, 2))
    together = geometry.to_model(points)
    for row in range(2):
        np.testing.assert_array_equal(together[row], geometry[row].to_model(points[row]))
        np.testing.assert_array_equal(together[row], geometry.to_model(points[row], row=row))
    np.testing.assert_allclose(geometry.to_source(together)[:2], points[:2], atol=1e-9)
    assert geometry.boxes_to_model(np.ones((3, 4))).shape == (3, 4)
    assert geometry.boxes_to_source(np.ones((3, 5, 4))).shape == (3, 5, 4)
    assert len(geometry) == 3 and len(list(geometry)) == 3
    np.testing.assert_array_equal(geometry[-2].to_model([1, 1]), geometry[1].to_model([1, 1]))


def test_a_blank_row_is_nan() -> None:
    geometry = batch()
    assert np.isnan(geometry.to_model(np.zeros((3, 1, 2)))[2]).all()
    for ask in (geometry.to_source, geometry.boxes_to_model, geometry.polygons_to_model):
        with pytest.raises(PlanError, match=r"^geometry of row 2: expected a row with an image, found a blank one\.$"):
            ask([[1.0, 1.0]], row=2)  # type: ignore[operator]


@given(st.lists(st.floats(-100, 100), min_size=6, max_size=6))
def test_inverse(values: list[float]) -> None:
    affine = matrix(*values)
    if abs(affine[0, 0] * affine[1, 1] - affine[0, 1] * affine[1, 0]) > 1e-3:
        np.testing.assert_allclose(
            compose(affine, invert(affine)), matrix(1, 0, 0, 0, 1, 0), atol=1e-5 * max(1, *map(abs, values))
        )


def test_refusals() -> None:
    geometry = batch()
    with pytest.raises(
        PlanError, match=r"expected a group of points for each of the 3 rows, or row=, found shape \[2\]"
    ):
        geometry.to_model([1, 2])
    with pytest.raises(PlanError, match=r"expected points of shape \[..., 2\] as \(x, y\), found shape \[3\]"):
        geometry.to_model([1, 2, 3], row=0)
    with pytest.raises(PlanError, match=r"expected boxes of shape \[..., 4\]"):
        geometry.boxes_to_model([1, 2, 3], row=0)
    with pytest.raises(PlanError, match="expected frame='upright' or 'stored', found 'exif'"):
        geometry.to_model([1, 2], row=0, frame="exif")  # type: ignore[arg-type]
    with pytest.raises(IndexError):
        geometry[3]


def encoded(height: int, width: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (width, height)).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_a_failed_row_is_refused_by_its_stage(engine: Any) -> None:
    chain = (
        ps.blobs([encoded(6, 4), b"", encoded(3, 9)]).decode().resize(short_side=4).center_crop(4, 4).crop((0, 0, 2, 2))
    )
    with chain.batch(4, last="blank").run(engine=engine, on_failure="blank") as run:
        geometry = next(run).geometry
    assert geometry.failed_in == {1: "decode"}
    assert np.isnan(geometry.to_model(np.ones((4, 1, 2)))[[1, 3]]).all()
    for row, found in ((1, "one that failed in decode"), (3, "a blank one"), (-1, "a blank one")):
        with pytest.raises(PlanError, match=f"^geometry of row {row}: .* an image, found {found}"):
            geometry.to_model([[1, 1]], row=row)
        with pytest.raises(PlanError, match=f"^restore of row {row}: .* an image, found {found}"):
            geometry.restore(np.ones((2, 2)), row=row)
    with pytest.raises(PlanError, match=r"^geometry: .* an image, found one that failed in decode\.$"):
        geometry[1].boxes_to_source([[1, 1, 2, 2]])
