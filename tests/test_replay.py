"""Replay: any step, any item, any stage again, bit for bit; plain functions on one image; explain."""

from __future__ import annotations

import io
import re
import threading
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

import penstock as ps
from waiting import wait_for_end_of_threads


def encoded(number: int, kind: str = "JPEG", **options: Any) -> bytes:
    coarse = np.random.default_rng(number).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((50 + 3 * number, 44 + number)).save(file, kind, **options)
    return file.getvalue()


def turned(number: int, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(number, exif=exif)


def holed() -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG")
    data = bytearray(file.getvalue())
    scan = data.find(b"\xff\xda")
    data[scan + 300 : scan + 360] = bytes(60)
    return bytes(data)


@cache
def blobs() -> dict[str, bytes]:
    made = {f"plain {number}": encoded(number) for number in range(8)}
    made |= {f"turned {orientation}": turned(orientation, orientation) for orientation in range(1, 9)}
    made |= {"bmp": encoded(3, "BMP"), "progressive": encoded(4, progressive=True), "hole": holed()}
    return made | {"broken": encoded(5)[:500], "empty": b""}


def line_of(random: bool, layout: Any = "NHWC", last: Any = "short", normalize: bool = True) -> ps.Pipeline:
    line = ps.blobs(blobs(), labels=range(len(blobs()))).seed(5).decode()
    if random:
        line = line.shuffle().random_resized_crop(17, 13).random_horizontal_flip()
    else:
        line = line.resize(short_side=30, filter="bicubic").center_crop(24, 28)
    return (line.normalize(ps.CLIP) if normalize else line).batch(4, layout=layout, last=last)


def assert_same_row(one: ps.Row, other: ps.Row) -> None:
    assert one.image.dtype == other.image.dtype and one.image.shape == other.image.shape
    assert np.array_equal(one.image, other.image)
    assert (one.label, one.key, one.index, one.valid, one.damaged) == (
        other.label,
        other.key,
        other.index,
        other.valid,
        other.damaged,
    )
    assert one.layout == other.layout and one.failure == other.failure
    if one.valid:
        assert one.geometry is not None and other.geometry is not None
        assert np.array_equal(one.geometry.matrix, other.geometry.matrix)
        assert (one.geometry.height, one.geometry.width) == (other.geometry.height, other.geometry.width)
        assert one.geometry.orientation == other.geometry.orientation
        assert one.statistics == other.statistics and dict(one.fields) == dict(other.fields)


# -- batch_at ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["native", "reference"])
@pytest.mark.parametrize("random", [False, True])
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize(("last", "world_size"), [("short", 1), ("blank", 3), ("drop", 2)])
def test_batch_at_is_the_runs_batch_at_every_step(
    random: bool, layout: Any, last: Any, world_size: int, engine: Any
) -> None:
    line = line_of(random, layout, last)
    for epoch in (0, 3):
        for rank in range(world_size):
            with line.run(epoch=epoch, rank=rank, world_size=world_size, on_failure="blank", engine=engine) as run:
                for batch in run:
                    again = line.batch_at(batch.step, epoch=epoch, rank=rank, world_size=world_size)
                    assert np.array_equal(batch.images, again.images) and batch.images.dtype == again.images.dtype
                    for name in ("labels", "index", "valid"):
                        assert np.array_equal(getattr(batch, name), getattr(again, name))
                    assert (batch.step, batch.epoch, batch.layout) == (again.step, again.epoch, again.layout)
                    assert list(batch.keys) == list(again.keys) and batch.failures == again.failures
                    assert np.array_equal(batch.geometry.matrices, again.geometry.matrices)
                    assert np.array_equal(batch.geometry.sizes, again.geometry.sizes)
                    assert np.array_equal(batch.damaged, again.damaged) and again.images.ctypes.data % 64 == 0


def test_batch_at_needs_nothing_before_it_and_leaves_nothing_running() -> None:
    before = set(threading.enumerate())
    batch = line_of(random=True).batch_at(3, epoch=9)
    assert batch.step == 3 and batch.epoch == 9 and len(batch) == 4
    wait_for_end_of_threads(before)
    assert batch.sheet().size[0] > 0 and batch.images.flags.writeable


def test_batch_at_from_where_a_resumed_pass_began() -> None:
    line = line_of(random=True)
    with line.loader(on_failure="blank") as loader:
        next(iter(loader))
        state = loader.state_dict()
    other = line_of(random=True, last="drop").loader(on_failure="blank", rank=1, world_size=2)
    with other as loader:
        loader.load_state_dict(state)
        resumed = list(loader)
    assert [batch.step for batch in resumed] == [0, 1]
    for batch in resumed:
        again = loader.line.batch_at(batch.step, rank=1, world_size=2, start=state["position"])
        assert np.array_equal(batch.images, again.images) and np.array_equal(batch.index, again.index)
        assert batch.step == again.step
    with pytest.raises(ps.PlanError, match="expected a step below 2, found 2"):
        loader.line.batch_at(2, rank=1, world_size=2, start=state["position"])
    with pytest.raises(ps.PlanError, match="start=-1: expected a whole number of at least 0, found -1"):
        line.batch_at(0, start=-1)


def test_batch_at_refuses_what_no_run_has() -> None:
    line = line_of(random=False)
    for step, sentence in [(6, "expected a step below 6, found 6."), (-1, "expected a whole number of at least 0")]:
        with pytest.raises(ps.PlanError, match=sentence):
            line.batch_at(step)
    with pytest.raises(ps.PlanError, match="expected a rank below world_size=2, found 2"):
        line.batch_at(0, rank=2, world_size=2)
    with pytest.raises(ps.PlanError, match="expected a line with batches"):
        ps.blobs(blobs()).decode().batch_at(0)


# -- sample --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("random", [False, True])
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_sample_is_the_runs_row(random: bool, layout: Any) -> None:
    line = line_of(random, layout)
    for epoch in (0, 2):
        with line.run(epoch=epoch, on_failure="blank") as run:
            for batch in run:
                for row in batch:
                    assert_same_row(line.sample(index=row.index, epoch=epoch), row)
                    assert_same_row(line.sample(key=row.key, epoch=epoch), row)


def test_sample_of_a_folder_has_the_rows_fields(tmp_path: Path) -> None:
    for name in ("cat/1.jpg", "dog/2.jpg"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(encoded(1))
    line = ps.folder(tmp_path).decode().resize(8, 8)
    with line.run() as run:
        for row in run:
            assert_same_row(line.sample(index=row.index), row)
            assert row.fields == {"class": row.key[:3]}
    with line.batch(2).run() as run:
        for row in next(run):
            assert_same_row(line.sample(index=row.index), row)


def test_sample_upto_each_stage() -> None:
    line = line_of(random=False, layout="NCHW")
    data = blobs()["turned 6"]
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    decoded = line.sample(key="turned 6", upto="decode")
    assert np.array_equal(decoded.image, upright) and decoded.layout == "NHWC"
    assert np.array_equal(line.sample(key="turned 6", upto=1).image, upright)
    resized = line.sample(key="turned 6", upto="resize").image
    assert min(resized.shape[:2]) == 30 and resized.dtype == np.uint8
    assert line.sample(key="turned 6", upto="center_crop").image.shape == (24, 28, 3)
    whole = line.sample(key="turned 6", upto="normalize").image
    assert np.array_equal(whole.transpose(2, 0, 1), line.sample(key="turned 6").image)
    with pytest.raises(ps.PlanError, match=r"upto\('flip'\): expected one of decode, resize, center_crop, normalize"):
        line.sample(index=0, upto="flip")


def test_sample_of_a_failed_item_carries_its_sentence() -> None:
    row = line_of(random=False).sample(key="empty")
    assert not row.valid and row.failure is not None and row.label == -1 and not row.image.any()
    assert row.failure.message == "decode of 'empty': expected an image, found 0 bytes."


def test_sample_asks_for_one_item() -> None:
    line = line_of(random=False)
    with pytest.raises(ps.PlanError, match=r"sample\(\): expected index= or key=, found neither"):
        line.sample()
    with pytest.raises(ps.PlanError, match=r"sample\(\): expected index= or key=, found both"):
        line.sample(1, key="bmp")
    with pytest.raises(ps.PlanError, match=r"sample\(21\): expected an index below 21, found 21"):
        line.sample(21)
    with pytest.raises(ps.SourceError, match="found 'bpm'; the nearest are 'bmp'"):
        line.sample(key="bpm")
    assert line.sample(-1).key == "empty"


# -- explain -------------------------------------------------------------------------------------------------


def test_explain_names_each_stage_and_holds_the_engines_equal() -> None:
    line = line_of(random=True)
    for key in ("plain 1", "turned 7", "bmp", "progressive", "hole"):
        found = line.explain(key, epoch=2)
        assert found.failure is None and found.key == key and line.explain(found.index, epoch=2).key == key
        assert found.stages[0].stage == "read" and all(stage.identical for stage in found.stages[1:])
        image = line.sample(key=key, epoch=2).image
        assert found.stages[-1].result == f"float32 {list(image.shape)}"
        assert found.stages[-1].range == f"{image.min():.4g}..{image.max():.4g}"
        text = str(found)
        for word in ("decode", "random_resized_crop", "random_horizontal_flip", "normalize", "identical", "ms native"):
            assert word in text
        assert "DIFFERENT" not in text and text in found._repr_html_().replace("&#x27;", "'").replace("&quot;", '"')
        assert re.match(rf"item {found.index}, '{key}', decoded by ", text)
    assert "Pillow" in line.explain("bmp").decoder and "Pillow" not in line.explain("plain 1").decoder
    assert "the codec recovered from damage: Corrupt JPEG data" in line.explain("hole").decoder


def test_explain_says_why_an_item_failed(tmp_path: Path) -> None:
    line = line_of(random=False)
    assert line.explain("empty").failure == "decode of 'empty': expected an image, found 0 bytes."
    assert "failed: decode of 'broken': expected a whole image" in str(line.explain("broken"))
    gone = ps.files([tmp_path / "gone.jpg"]).decode().resize(8, 8)
    assert gone.explain(0).failure == f"read of {str(tmp_path / 'gone.jpg')!r}: expected a file, found no such file."
    small = ps.blobs({"a": encoded(0)}).decode().crop((0, 0, 500, 500))
    found = small.explain("a")
    assert [stage.stage for stage in found.stages][-1].startswith("decode")
    assert found.failure is not None and found.failure.startswith(
        "transform of 'a': crop: expected a box inside the image"
    )


def test_explain_of_arrays_has_no_decode() -> None:
    line = ps.arrays([np.zeros((20, 30, 3), np.uint8)]).resize(8, 8)
    found = line.explain(0)
    assert found.failure is None and not [stage for stage in found.stages if stage.stage.startswith("decode")]


# -- one image -----------------------------------------------------------------------------------------------


def test_a_recipe_takes_a_path_bytes_an_array_or_a_picture(tmp_path: Path) -> None:
    prep = ps.recipe().decode().resize(20, 24, fit="cover").normalize(ps.IMAGENET)
    for key in ("plain 2", "turned 5", "turned 8", "bmp", "progressive"):
        data = blobs()[key]
        path = tmp_path / "one.img"
        path.write_bytes(data)
        expected = ps.blobs({key: data}).apply(prep).sample(0).image
        picture = Image.open(path)
        upright = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
        # A view that is neither contiguous nor writable is an image as well.
        strided = np.flip(np.ascontiguousarray(np.flip(upright, 1)), 1)
        inputs = [data, bytearray(data), memoryview(data), path, str(path), upright, strided, picture]
        for given in inputs:
            assert np.array_equal(prep(given), expected), type(given)


def test_a_recipe_draws_by_seed_epoch_and_index() -> None:
    prep = ps.recipe().decode().random_resized_crop(16, 16).random_horizontal_flip()
    line = ps.blobs(blobs()).seed(9).apply(prep)
    for index, epoch in [(0, 0), (1, 0), (1, 4)]:
        data = list(blobs().values())[index]
        assert np.array_equal(prep(data, seed=9, epoch=epoch, index=index), line.sample(index, epoch=epoch).image)
    data = blobs()["plain 3"]
    assert not np.array_equal(prep(data, index=1), prep(data, index=2))
    assert np.array_equal(prep(data, index=1), prep(data, index=1))


def test_results_of_one_image_are_the_users_own() -> None:
    prep = ps.recipe().decode().resize(8, 8)
    first = prep(blobs()["plain 0"])
    kept = first.copy()
    second = prep(blobs()["plain 1"])
    second[:] = 0
    assert np.array_equal(first, kept) and first.flags.writeable and first.flags.c_contiguous
    array = np.zeros((8, 8, 3), np.uint8)
    ps.recipe().resize(8, 8)(array)[:] = 7
    assert not array.any()  # a resize to the same size is still a copy


def test_plain_decode_and_resize_are_pillows(tmp_path: Path) -> None:
    for key, data in blobs().items():
        if key in ("broken", "empty"):
            continue
        upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
        assert np.array_equal(ps.decode(data), np.asarray(upright))
        for height, width, filter in ((10, 12, "bilinear"), (90, 33, "lanczos"), (7, 61, "nearest")):
            expected = np.asarray(upright.resize((width, height), Image.Resampling[filter.upper()]))
            assert np.array_equal(ps.resize(np.asarray(upright), height, width, filter=filter), expected)
    assert np.array_equal(ps.resize(upright, short_side=20), ps.recipe().resize(short_side=20)(upright))
    fit = np.asarray(ImageOps.fit(upright, (30, 10), Image.Resampling.BILINEAR))
    assert np.array_equal(ps.resize(upright, 10, 30, fit="cover"), fit)


@pytest.mark.parametrize(
    ("given", "kind", "sentence"),
    [
        (b"", ps.ItemError, "decode of 'image': expected an image, found 0 bytes."),
        ("/no/such.jpg", ps.ItemError, "read of '/no/such.jpg': expected a file, found no such file."),
        (3, ps.PlanError, "recipe: expected a path, bytes, a uint8 [H, W, 3] array or a Pillow image, found int."),
        (np.zeros((4, 4), np.uint8), ps.PlanError, "expected a uint8 image of shape [H, W, 3], found uint8 [4, 4]."),
        (np.zeros((4, 4, 3)), ps.PlanError, "expected a uint8 image of shape [H, W, 3], found float64 [4, 4, 3]."),
        (np.zeros((0, 4, 3), np.uint8), ps.PlanError, "found uint8 [0, 4, 3]."),
    ],
)
def test_one_image_that_cannot_be(given: Any, kind: type[Exception], sentence: str) -> None:
    with pytest.raises(kind, match=re.escape(sentence)):
        ps.decode(given)


def test_encoded_bytes_need_a_decode() -> None:
    with pytest.raises(ps.ItemError, match="expected an image, found encoded bytes"):
        ps.resize(blobs()["bmp"], 4, 4)


@pytest.mark.parametrize("color", ["as stored", "srgb"])
@pytest.mark.parametrize("depth", [8, 16, "scale"])
@pytest.mark.parametrize(("mode", "alpha"), [("RGB", "drop"), ("RGB", 200), ("L", "drop"), ("L", 9), ("RGBA", "drop")])
def test_a_recipe_makes_of_a_pillow_image_what_it_makes_of_its_file(
    mode: Any, alpha: Any, depth: Any, color: Any
) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (20, 30, 4), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    chain = ps.recipe().decode(mode=mode, alpha=alpha, depth=depth, color=color).random_crop(11, 9)
    for kind in ("RGBA", "RGB", "L", "P"):
        file = io.BytesIO()
        Image.fromarray(pixels).convert(kind).save(file, "PNG", exif=exif)
        with Image.open(file) as picture:
            found = chain(picture, index=3)
            assert picture.getpixel((0, 0)) is not None  # still the caller's
        assert found.dtype == chain.spec().dtype and np.array_equal(found, chain(file.getvalue(), index=3))
    file = io.BytesIO()
    Image.fromarray(pixels[..., :3]).save(file, "PNG")
    assert np.array_equal(chain(pixels[..., :3]), chain(file.getvalue()))


def test_a_pillow_image_that_cannot_be_loaded_fails_with_a_sentence() -> None:
    with Image.open(io.BytesIO(encoded(0)[:-300])) as picture, pytest.raises(ps.ItemError, match="truncated"):
        ps.recipe().decode().resize(8, 8)(picture)
