"""What a batch of a run is: its memory, its rows, and that it is the user's to keep."""

from __future__ import annotations

import copy
import gc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import penstock as ps
from penstock.types import BATCH_FIELDS
from run_lines import broken, expected_rows, mixed, plain_line

# -- what a batch is -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("size", [(24, 20), (7, 5), (1, 1)])
def test_batch_memory_is_aligned_writable_and_contiguous(layout: Any, dtype: str, size: tuple[int, int]) -> None:
    line = plain_line(12).apply(ps.recipe().resize(*size))
    line = line.normalize(ps.IMAGENET) if dtype == "float32" else line
    with line.batch(5, layout=layout).run() as run:
        for batch in run:
            sides = (*size, 3) if layout == "NHWC" else (3, *size)
            assert batch.images.shape == (len(batch), *sides) and batch.images.dtype == dtype
            assert batch.images.flags.c_contiguous and batch.images.flags.writeable
            assert batch.images.ctypes.data % 64 == 0
            batch.images[:] = 1  # yours to write to
            for column in (batch.labels, batch.index, batch.valid, batch.damaged):
                assert len(column) == len(batch)
            assert batch.labels.dtype == batch.index.dtype == np.int64
            assert batch.valid.dtype == batch.damaged.dtype == np.bool_


def test_the_reference_engines_memory_is_aligned_as_well() -> None:
    for size in (1, 2, 3, 5, 8):
        with plain_line(5).batch(size).run(engine="reference") as run:
            assert all(batch.images.ctypes.data % 64 == 0 and batch.images.flags.writeable for batch in run)


def test_a_batch_skipped_in_part_is_still_aligned() -> None:
    blobs = [broken(), mixed()[3], broken(), mixed()[4]]
    with ps.blobs(blobs).decode().resize(7, 5).batch(4).run(on_failure="skip") as run:
        (batch,) = run
    assert batch.index.tolist() == [1, 3] and batch.images.ctypes.data % 64 == 0 and batch.images.flags.c_contiguous


def test_rows_and_dictionaries_of_a_batch() -> None:
    with plain_line(7).normalize(ps.UNIT).batch(7, layout="NCHW").run() as run:
        (batch,) = run
    assert tuple(batch.as_dict()) == BATCH_FIELDS and batch.as_dict()["images"] is batch.images
    assert [row.index for row in batch] == list(range(7))
    row = batch[-1]
    assert row.index == 6 and row.key == "6" and row.label == 6 and row.valid and not row.damaged
    assert np.shares_memory(row.image, batch.images) and row.image.shape == (3, 24, 20)
    assert row.geometry is not None and row.show().size == (20, 24)
    for outside in (7, -8):
        with pytest.raises(IndexError, match="expected a row between 0 and 6"):
            batch[outside]
    assert "images=float32 [7, 3, 24, 20]" in repr(batch)
    assert batch._repr_png_().startswith(b"\x89PNG")


def one_batch(**options: Any) -> ps.Batch:
    with plain_line(6).batch(6).run(**options) as run:
        (batch,) = run
    assert isinstance(batch, ps.Batch)
    return batch


@pytest.mark.parametrize("on_failure", ["raise", "skip", "blank", "replace"])
def test_fields_that_are_made_when_they_are_read_are_the_reference_engines(on_failure: Any) -> None:
    batch, expected = (one_batch(on_failure=on_failure, engine=engine) for engine in ("native", "reference"))
    for name in reversed(BATCH_FIELDS):
        found, other = getattr(batch, name), getattr(expected, name)
        if name == "geometry":
            assert not found.failed_in and found.unknown == other.unknown
            for part in ("matrices", "sizes", "orientation", "model_sizes"):
                np.testing.assert_array_equal(getattr(found, part), getattr(other, part))
                assert getattr(found, part).dtype == getattr(other, part).dtype
        elif isinstance(other, np.ndarray):
            np.testing.assert_array_equal(found, other)
            assert found.dtype == other.dtype
        elif name in ("keys", "fields"):
            assert list(found) == list(other)
        else:
            assert found == other and type(found) is type(other)


def test_a_batch_of_which_nothing_was_read_is_copied_and_changed_like_any_other() -> None:
    for copied in (copy.copy(one_batch()), copy.deepcopy(one_batch()), replace(one_batch(), step=7)):
        assert copied.valid.all() and len(copied.geometry) == 6 and list(copied.keys) == [str(key) for key in range(6)]
        assert copied.failures == () and copied.step in (0, 7)
    batch = one_batch()
    batch.valid = np.zeros(6, dtype=np.bool_)  # before anything was read
    assert not batch.damaged.any() and not batch.valid.any()
    assert not hasattr(batch, "colour") and "valid=0" in repr(batch)


def test_select_hands_over_tuples_and_dicts() -> None:
    line = plain_line(6).batch(4)
    with line.run() as run:
        whole = list(run)
    with line.select("images", "labels").run() as run:
        pairs = list(run)
    assert all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs)
    with line.select(pixel_values="images", y="labels").run() as run:
        named = list(run)
    for batch, (images, labels), fields in zip(whole, pairs, named, strict=True):
        assert np.array_equal(batch.images, images) and np.array_equal(batch.labels, labels)
        assert list(fields) == ["pixel_values", "y"] and np.array_equal(fields["pixel_values"], images)


def test_a_line_without_batch_hands_over_rows() -> None:
    with plain_line(20).run(threads=3) as run:
        rows = list(run)
    assert [row.index for row in rows] == list(range(20)) and [row.label for row in rows] == list(range(20))
    assert all(np.array_equal(row.image, expected) for row, expected in zip(rows, expected_rows(), strict=False))
    ragged = ps.blobs(mixed(12)).decode()
    with ragged.run() as run, ragged.run(engine="reference") as twin:
        for row, reference in zip(run, twin, strict=True):
            assert isinstance(row, ps.Row) and row.image.flags.writeable
            assert row.image.shape == reference.image.shape and np.array_equal(row.image, reference.image)


def test_dlpack_shares_the_memory() -> None:
    with plain_line(5).normalize(ps.UNIT).batch(5).run() as run:
        (batch,) = run
    assert batch.__dlpack_device__() == (1, 0)
    shared = np.from_dlpack(batch)  # type: ignore[arg-type]
    assert shared.shape == batch.images.shape and np.shares_memory(shared, batch.images)
    expected = batch.images.copy()
    del batch, run
    gc.collect()
    assert np.array_equal(shared, expected)


def test_labels_of_folders(tmp_path: Any) -> None:
    for number, name in enumerate(["dog/a.jpg", "cat/b.jpg", "dog/c.png"]):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(mixed()[3 + number])
    with ps.folder(tmp_path).decode().resize(8, 8).batch(2).run() as run:
        batches = list(run)
    assert [list(batch.keys) for batch in batches] == [["cat/b.jpg", "dog/a.jpg"], ["dog/c.png"]]
    assert [batch.labels.tolist() for batch in batches] == [[0, 1], [1]]
    with ps.folder(tmp_path, label=None).decode().resize(8, 8).batch(3).run() as run:
        assert next(run).labels.tolist() == [-1, -1, -1]


# -- batches are the user's ----------------------------------------------------------------------------------


def test_batches_kept_dropped_and_viewed_have_their_own_pixels() -> None:
    line = plain_line().batch(4)
    kept: dict[int, Any] = {}
    with line.run(threads=3, prefetch=1) as run:
        for batch in run:
            if batch.step % 3 == 0:
                kept[batch.step] = batch.images  # a view whose batch dies here
            elif batch.step % 3 == 1:
                kept[batch.step] = batch[2].image
            else:
                batch.images[:] = 0  # dropped: the next batch may get this memory
            del batch
        for step, view in kept.items():
            rows = expected_rows()[4 * step : 4 * step + 4]
            assert np.array_equal(view, rows if step % 3 == 0 else rows[2])


def test_views_outlive_run_line_and_loader() -> None:
    def views() -> list[Any]:
        line = plain_line().batch(6)
        loader = line.loader()
        with line.run() as run:
            held = [batch.images[1:, ::2] for batch in run]
        held += [batch.images[1:, ::2] for batch in loader]
        loader.close()
        return held

    held = views()
    gc.collect()
    again = np.ones(1 << 20, dtype=np.uint8)  # whatever was freed wrongly is likely to be written over here
    for number, view in enumerate(held):
        first = 6 * (number % 8)
        assert np.array_equal(view, expected_rows()[first + 1 : first + 6, ::2])
    assert again.all()


def test_freed_memory_is_used_again() -> None:
    with plain_line().apply(ps.recipe().resize(256, 256)).batch(4).run(threads=2, prefetch=1) as run:
        addresses = []
        for batch in run:
            addresses.append(batch.images.ctypes.data)
            del batch
    assert len(set(addresses)) < len(addresses)
