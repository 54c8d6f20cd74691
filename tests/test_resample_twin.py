"""The resampling twin against Pillow itself."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from penstock._reference.pack import normalize, pack
from penstock._reference.resample import installed_order, resample, vertical_pass_first

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return np.where(image > 200, 255, np.where(image < 50, 0, image)).astype(np.uint8)


Box = tuple[float, float, float, float]


def check(image: np.ndarray, height: int, width: int, filter: str, box: Box | None) -> None:
    pillow_box = None if box is None else (box[1], box[0], box[3], box[2])
    expected = np.asarray(Image.fromarray(image).resize((width, height), FILTERS[filter], box=pillow_box))
    found = resample(image, height, width, filter, box, installed_order())
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("filter", FILTERS)
@pytest.mark.parametrize("size", range(1, 68))
def test_every_size_down_and_up(filter: str, size: int) -> None:
    check(noise(23, 67, size), 68 - size, size, filter, None)
    check(noise(size, 68 - size, size), 31, 41, filter, None)


@pytest.mark.parametrize("filter", FILTERS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_boxes(filter: str, data: st.DataObject) -> None:
    side = st.integers(1, 40)
    height, width, out_height, out_width = (data.draw(side) for _ in range(4))
    edge = st.floats(0, 1, width=32)
    top, bottom = sorted((data.draw(edge) * height, data.draw(edge) * height))
    left, right = sorted((data.draw(edge) * width, data.draw(edge) * width))
    if bottom - top < 1e-3 or right - left < 1e-3:
        top, left, bottom, right = 0.0, 0.0, float(height), float(width)
    check(noise(height, width), out_height, out_width, filter, (top, left, bottom, right))


@pytest.mark.parametrize("filter", FILTERS)
def test_whole_boxes_are_crops(filter: str) -> None:
    check(noise(20, 30), 7, 9, filter, (3.0, 4.0, 10.0, 13.0))
    check(noise(20, 30), 20, 9, filter, (0.0, 4.0, 20.0, 13.0))


def test_pass_order_rule() -> None:
    assert vertical_pass_first(100, 50, 10, 50)
    assert vertical_pass_first(1000, 500, 100, 100)
    assert not vertical_pass_first(375, 500, 224, 224)
    assert not vertical_pass_first(100, 50, 90, 45)  # twice is not more than twice
    assert not vertical_pass_first(10, 50, 20, 90)


def test_normalize_is_true_divisions() -> None:
    image = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    found = normalize(image, mean, std)
    for channel in range(3):
        for value in (0, 1, 127, 254, 255):
            unit = np.float32(value) / np.float32(255)
            expected = (unit - np.float32(mean[channel])) / np.float32(std[channel])
            assert found.reshape(-1, 3)[value, channel] == expected
    assert found.dtype == np.float32
    assert pack(image, "float32", "NCHW", mean, std).shape == (3, 16, 16)
    assert pack(image, "float32").dtype == np.float32
    assert pack(image) is not None
