"""Images of different sizes in one batch: padded, as a list, in both engines; and the copying against its twin."""

from __future__ import annotations

import io
from functools import cache
from typing import Any

import numpy as np
import pytest
from PIL import Image

import penstock as ps
from penstock import _native
from penstock._reference.pad import pad_images

SIZES = [(31, 45), (60, 20), (17, 17), (45, 31), (8, 90), (33, 33), (60, 60)]
ENGINES = ("native", "reference")


@cache
def pictures() -> dict[str, bytes]:
    draws = np.random.default_rng(3)
    blobs = {}
    for number, (height, width) in enumerate(SIZES):
        file = io.BytesIO()
        pixels = draws.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(file, "JPEG" if number % 2 else "PNG")
        blobs[f"{number}"] = file.getvalue()
    return blobs


def finished(chain: Any, layout: str = "NHWC") -> list[Any]:
    images = [chain(data) for data in pictures().values()]
    return images if layout == "NHWC" else [image.transpose(2, 0, 1) for image in images]


CHAINS = {
    "uint8": ps.recipe().decode(),
    "float32": ps.recipe().decode().resize(short_side=16).normalize(ps.IMAGENET),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_padded(engine: Any, layout: Any, chain: Any) -> None:
    line = ps.blobs(pictures()).apply(chain).batch(3, layout=layout, ragged="pad")
    assert len(line) == 3
    expected = finished(chain, layout)
    seen = 0
    with line.run(engine=engine) as run:
        for batch in run:
            assert batch.images.dtype == expected[0].dtype and batch.images.ctypes.data % 64 == 0
            assert batch.images.flags.c_contiguous and batch.images.flags.writeable
            first = 1 if layout == "NHWC" else 2
            assert batch.images.shape[first : first + 2] == tuple(batch.sizes.max(axis=0))
            for row in batch:
                assert np.array_equal(row.image, expected[row.index])
                seen += 1
            rest = batch.images.copy()
            for row, (height, width) in zip(rest, batch.sizes, strict=True):
                (row if layout == "NHWC" else row.transpose(1, 2, 0))[:height, :width] = 0
            assert not rest.any()
    assert seen == len(SIZES)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_listed(engine: Any, layout: Any, chain: Any) -> None:
    line = ps.blobs(pictures()).seed(1).shuffle().apply(chain).batch(4, layout=layout, ragged="list")
    expected = finished(chain, layout)
    seen = []
    with line.run(engine=engine) as run:
        for batch in run:
            assert isinstance(batch.images, list) and len(batch.images) == len(batch)
            for image, index, size in zip(batch.images, batch.index, batch.sizes, strict=True):
                assert np.array_equal(image, expected[index])
                assert tuple(size) == (image.shape[:2] if layout == "NHWC" else image.shape[1:])
            seen += batch.index.tolist()
    assert sorted(seen) == list(range(len(SIZES)))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("ragged", ["pad", "list"])
def test_failures_and_blank_rows(engine: Any, ragged: Any) -> None:
    blobs = {**pictures(), "broken": b"none"}
    line = ps.blobs(blobs).decode().batch(5, last="blank", ragged=ragged)
    with line.run(engine=engine, on_failure="blank") as run:
        _, last = list(run)
    assert last.valid.tolist() == [True, True, False, False, False]
    assert last.sizes[2:].tolist() == [[0, 0]] * 3
    if ragged == "list":
        assert last.images[2:] == [None] * 3
    else:
        assert not last.images[2:].any()
    assert last[2].image.shape == (0, 0, 3) and last[2].image.dtype == np.uint8
    assert last[2].failure is not None and "Batch(" in repr(last)
    with line.run(engine=engine, on_failure="skip") as run:
        _, last = list(run)
    assert len(last) == len(last.sizes) == 4 and last.index.tolist() == [5, 6, -1, -1]
    assert line.batch_at(1).sizes.tolist() == [[33, 33], [60, 60], [0, 0], [0, 0], [0, 0]]


def test_a_batch_where_nothing_was_made() -> None:
    line = ps.blobs({"a": b"", "b": b"none"}).decode().batch(2, ragged="pad")
    with line.run(on_failure="blank") as run:
        (batch,) = run
    assert batch.images.shape == (2, 0, 0, 3) and not batch.valid.any()


@pytest.mark.parametrize("mode", ["L", "RGBA"])
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_a_row_without_an_image_has_the_lines_channels_and_dtype(mode: Any, layout: Any) -> None:
    channels = {"L": 1, "RGBA": 4}[mode]
    shape = (0, 0, channels) if layout == "NHWC" else (channels, 0, 0)
    line = ps.blobs({"a": b"none"}).decode(mode=mode).normalize([0.5] * channels, [0.5] * channels, dtype="float16")
    for ragged in ("list", "pad"):
        batched = line.batch(1, layout=layout, ragged=ragged)  # type: ignore[arg-type]
        with batched.run(on_failure="blank") as run:
            row = next(run)[0]
        assert row.image.shape == shape and row.image.dtype == np.float16
        assert batched.sample(0).image.shape == shape
    with line.run(on_failure="blank") as run:
        assert next(run).image.shape == (0, 0, channels)


@pytest.mark.parametrize("ragged", ["list", "pad"])
def test_nothing_is_seen_of_an_image_that_failed_half_way(ragged: Any) -> None:
    cut = pictures()["1"][:-200]
    with ps.blobs({"a": cut}).decode().batch(1, ragged=ragged).run(on_failure="blank") as run:
        batch = next(run)
    assert not batch.valid.any() and batch.sizes.tolist() == [[0, 0]] and batch[0].image.size == 0


def test_a_sheet_shows_each_at_its_size() -> None:
    with ps.blobs(pictures()).decode().batch(7, ragged="pad").run() as run:
        (batch,) = run
    assert batch[0].show().size == (45, 31)
    assert batch.sheet(3).size[0] > 0


def test_images_of_one_size_need_nothing_of_it() -> None:
    with ps.blobs(pictures()).decode().resize(8, 9).batch(7, ragged="pad").run() as run:
        (batch,) = run
    assert batch.images.shape == (7, 8, 9, 3) and batch.sizes is None and batch.positions is None


def test_lines_say_how_they_hold_them() -> None:
    line = ps.blobs(pictures()).decode()
    assert "4 last=short NHWC ragged=pad  uint8 [4, H, W, 3] 0..255" in str(line.batch(4, ragged="pad"))
    assert "list of 4 uint8 [H, W, 3] 0..255" in str(line.batch(4, ragged="list"))
    line.batch(4, ragged="pad").select("images", "sizes")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda line: line.batch(4),
            (
                "batch(4): expected images of one size, found uint8 [H, W, 3] 0..255; call .resize(height, width), or "
                ".center_crop(height, width) after .resize(short_side=), before it, or say how to hold them: "
                "ragged='pad', 'list' or 'bucket'."
            ),
        ),
        (
            lambda line: line.batch(4, ragged="tile"),
            "batch(4, ragged='tile'): expected ragged= one of 'pad', 'list', 'bucket', found 'tile'.",
        ),
        (
            lambda line: line.resize(32, 32).patchify(16).batch(4, layout="NCHW"),
            ("batch(4, layout='NCHW'): expected no layout= after patchify, whose patches are [N, P, D], found 'NCHW'."),
        ),
    ],
)
def test_refused_with_a_sentence(make: Any, sentence: str) -> None:
    with pytest.raises(ps.PlanError) as caught:
        make(ps.blobs(pictures()).decode())
    assert str(caught.value) == sentence


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32])
def test_native_padding_is_its_twins(dtype: Any) -> None:
    draws = np.random.default_rng(5)
    for shapes in (
        [(3, 4, 3), (1, 9, 3), (5, 1, 3), (5, 9, 3)],
        [(3, 7, 2), (3, 1, 9), (3, 7, 9)],
        [(2, 0, 3), (0, 0, 0), (4, 4, 4)],
        [(1, 1, 1)],
    ):
        images: list[Any] = [draws.integers(1, 200, shape).astype(dtype) for shape in shapes]
        images.insert(1, None)
        slot = tuple(max(image.shape[axis] for image in images if image is not None) for axis in range(3))
        native, twin = (np.full((len(images), *slot), 77, dtype) for _ in range(2))
        blocks = [None if image is None else image.view(np.uint8) for image in images]
        _native.pad_images(blocks, native.view(np.uint8))
        pad_images(images, twin)
        assert np.array_equal(native, twin)


def test_native_padding_refuses_what_does_not_fit() -> None:
    out = np.zeros((1, 2, 2, 3), np.uint8)
    with pytest.raises(ValueError, match="larger than its slot"):
        _native.pad_images([np.zeros((3, 2, 3), np.uint8)], out)
    with pytest.raises(ValueError, match="as many images as rows"):
        _native.pad_images([], out)
