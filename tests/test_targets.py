"""Targets: boxes, points and polygons follow the geometry of their picture."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

import penstock as ps
from penstock.pipeline import Pipeline
from penstock.sources.blobs import BlobsSource
from penstock.targets import looked_up


def picture(height: int, width: int, orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[0x112] = orientation
    file = io.BytesIO()
    Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(file, "png", exif=exif)
    return file.getvalue()


class WithFields(BlobsSource):
    """Blobs with fields beside them."""

    def __init__(self, blobs: list[bytes], **fields: list[Any]) -> None:
        super().__init__(blobs)
        self._extra = fields

    @property
    def field_names(self) -> tuple[str, ...]:
        return tuple(self._extra)

    def field(self, name: str, indices: Any) -> list[Any]:
        return [self._extra[name][index] for index in indices.tolist()]


def line_of(blobs: list[bytes], **fields: list[Any]) -> Pipeline:
    return Pipeline(WithFields(blobs, **fields))


BOX = [[10.0, 20.0, 30.0, 60.0]]


@pytest.mark.parametrize("engine", ["native", "reference"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_targets_are_where_the_geometry_says(orientation: int, engine: Any) -> None:
    line = line_of(
        [picture(80, 100, orientation)] * 3,
        bbox=[BOX, [], None],
        points=[[[5, 6, 2], [7, 8, 0]], [[1, 2, 1]], []],
        polygons=[[[[0, 0], [10, 0], [10, 10]], [1, 2, 3, 4, 5, 6]], [], []],
    )
    line = line.seed(5).decode().random_resized_crop(32, 40).random_horizontal_flip().random_affine(15)
    line = line.targets(boxes="bbox", points="points", polygons="polygons").batch(3).select("targets", "geometry")
    with line.run(engine=engine, epoch=1) as run:
        targets, geometry = next(run)
    assert np.array_equal(targets["boxes"][0], geometry[0].boxes_to_model(BOX))
    assert [boxes.shape for boxes in targets["boxes"]] == [(1, 4), (0, 4), (0, 4)]
    assert np.array_equal(targets["points"][0][:, :2], geometry[0].to_model([[5, 6], [7, 8]]))
    assert targets["points"][0][:, 2].tolist() == [2, 0]
    assert np.array_equal(targets["polygons"][0][1], geometry[0].to_model([[1, 2], [3, 4], [5, 6]]))
    assert targets["polygons"][1] == []


def test_the_stored_frame_other_formats_and_clipping() -> None:
    blob = picture(80, 100, 6)  # upright: 100 high, 80 wide
    stored = [[10.0, 20.0, 5.0, 6.0]]  # x, y, width, height
    line = line_of([blob], bbox=[stored]).decode().crop((60, 0, 80, 40))
    plain = line.targets(boxes="bbox", frame="stored", box_format="xywh").batch(1)
    with plain.run() as run:
        assert next(run).targets["boxes"][0].tolist() == [[-6.0, 10.0, 6.0, 5.0]]
    with line.targets(boxes="bbox", frame="stored", box_format="xywh", clip=True).batch(1).run() as run:
        assert next(run).targets["boxes"][0].tolist() == [[0.0, 10.0, 0.0, 5.0]]


@pytest.mark.parametrize("policy", ["skip", "blank"])
def test_what_is_no_target_fails_its_item(policy: Any) -> None:
    line = line_of([picture(8, 8)] * 3 + [b"broken"], bbox=[BOX, "left", [[1, 2, 3]], BOX])
    line = line.decode().crop((0, 0, 8, 8)).targets(boxes="bbox").batch(4)
    with line.run(on_failure=policy) as run:
        batch = next(run)
    assert {failure.key: failure.cause for failure in batch.failures} == {
        "1": "no target",
        "2": "no target",
        "3": "not an image",
    }
    assert "deliver of '1': targets: expected boxes [K, 4] of finite numbers in the field 'bbox'" in str(run.failures)
    assert len(batch.targets["boxes"]) == len(batch) == (1 if policy == "skip" else 4)
    assert np.array_equal(batch.targets["boxes"][0], BOX)
    assert all(len(boxes) == 0 for boxes in batch.targets["boxes"][1:])
    assert not batch.images[1:].any()


def test_a_path_looks_inside_a_field() -> None:
    entries = [{"objects": [{"bbox": BOX[0]}, {"bbox": [0, 0, 1, 1]}]}, {"nothing": 3}]
    line = (
        line_of([picture(80, 80)] * 2, json=entries).decode().resize(80, 80).targets(boxes="json.objects.bbox").batch(2)
    )
    with line.run(on_failure="blank") as run:
        batch = next(run)
    assert batch.targets["boxes"][0].tolist() == [BOX[0], [0, 0, 1, 1]]
    assert batch.failures[0].message.endswith(
        "expected boxes in the field 'json.objects.bbox', found none (KeyError('objects'))."
    )
    assert looked_up({"a.b": [4]}, "a.b", 0) == 4


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, "targets(): expected boxes=, points= or polygons= the name of a field, found none."),
        ({"boxes": "boxes"}, "targets(boxes='boxes'): expected one of the fields (bbox), found 'boxes'."),
        ({"boxes": "bbox", "frame": "left"}, "targets(frame='left'): expected 'upright' or 'stored', found 'left'."),
        ({"boxes": "bbox", "box_format": "cxcywh"}, "expected 'xyxy' or 'xywh', found 'cxcywh'."),
    ],
)
def test_wrong_targets_are_refused(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ps.PlanError) as caught:
        line_of([b""], bbox=[BOX]).decode().targets(**arguments)
    assert sentence in str(caught.value)


def test_targets_are_part_of_the_line() -> None:
    line = line_of([b""], bbox=[BOX]).decode().resize(4, 4)
    assert line.targets(boxes="bbox").batch(1).fingerprint != line.batch(1).fingerprint
    with pytest.raises(ps.PlanError, match="found a second one"):
        line.targets(boxes="bbox").targets(points="bbox")
    assert "targets  boxes=bbox upright" in str(line.targets(boxes="bbox"))


def test_one_field_or_target_is_selected_by_its_name() -> None:
    line = line_of([picture(80, 100)] * 2, bbox=[BOX, []], caption=["a", "b"]).targets(boxes="bbox").decode()
    batched = line.resize(8, 8).batch(2)
    with batched.select("fields.caption", boxes="targets.boxes").run() as run:
        chosen = next(run)
    assert chosen["fields.caption"] == ["a", "b"] and chosen["boxes"][0].shape == (1, 4)
    for name, said in [
        ("caption", "select(): expected a column of the batch, found 'caption'; it is 'fields.caption'."),
        ("targets.points", "select(): expected one of the line's targets (boxes), found 'targets.points'."),
        ("fields.text", "select(): expected one of the line's fields (bbox, caption), found 'fields.text'."),
    ]:
        with pytest.raises(ps.PlanError) as caught:
            batched.select(name)
        assert str(caught.value) == said


def test_selected_targets_are_tensors_too() -> None:
    torch = pytest.importorskip("torch")
    line = line_of([picture(80, 100)] * 2, bbox=[BOX, []], caption=["a", "b"]).targets(boxes="bbox").decode()
    line = line.resize(8, 8)
    with line.batch(2).to_torch().select("images", "targets.boxes", "fields.caption").run() as run:
        images, boxes, captions = next(run)
    assert isinstance(images, torch.Tensor) and isinstance(boxes[1], torch.Tensor) and captions == ["a", "b"]
    sample = line.torch_dataset("images", boxes="targets.boxes", caption="fields.caption")[0]
    assert sample["boxes"].shape == (1, 4) and sample["caption"] == "a"
    with pytest.raises(ps.PlanError, match=r"^torch_dataset\(\): expected a column .* it is 'fields.caption'"):
        line.torch_dataset("caption")


def first_box(item: Any) -> None:
    item.fields["bbox"] = item.fields["bbox"][:1]


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_targets_are_of_the_fields_that_a_map_has_left(engine: Any) -> None:
    line = line_of([picture(80, 60)] * 3, bbox=[BOX * 2] * 3).decode().map(first_box, on="item", geometry="keep")
    with line.targets(boxes="bbox").resize(80, 60).batch(3).run(engine=engine) as run:
        assert [boxes.tolist() for boxes in next(run).targets["boxes"]] == [BOX] * 3
