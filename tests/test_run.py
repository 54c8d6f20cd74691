"""A run: order and completeness on any number of threads, what a batch is and may be used for, and the accounts."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import html
import io
import os
import pickle
import random
import threading
import time
import weakref
from functools import cache
from typing import Any

import numpy as np
import pytest
from PIL import Image

import penstock as ps
from penstock import engine as engine_module
from penstock import loader as loader_module
from penstock.decode import Decode
from penstock.types import BATCH_FIELDS


def pixels(height: int, width: int, seed: int) -> Any:
    """Smooth and different for every seed, so that one picture in another's place cannot go unseen."""
    draws = np.random.default_rng(seed)
    coarse = draws.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def encoded(image: Any, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


@cache
def mixed(count: int = 48) -> tuple[bytes, ...]:
    """Tiny JPEGs, large JPEGs, progressive ones and PNGs (Pillow's), so that no two neighbours take equally long."""
    blobs = []
    for number in range(count):
        kind = number % 6
        if kind == 0:
            blobs.append(encoded(pixels(900, 1200, number), "JPEG", quality=90))
        elif kind == 1:
            blobs.append(encoded(pixels(40, 30, number), "BMP"))
        elif kind == 2:
            blobs.append(encoded(pixels(100, 133, number), "JPEG", progressive=True))
        else:
            blobs.append(encoded(pixels(9 + number, 17, number), "JPEG"))
    return tuple(blobs)


def broken() -> bytes:
    return b"not an image at all"


def plain_line(count: int = 48) -> ps.Pipeline:
    return ps.blobs(mixed(count), labels=range(count)).decode().resize(24, 20)


@cache
def expected_rows(count: int = 48) -> Any:
    with plain_line(count).batch(count).run(engine="reference") as run:
        return next(run).images


def together(batches: list[ps.Batch]) -> Any:
    return np.concatenate([batch.images for batch in batches])


# -- order and completeness ----------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2, 3, 4, 8])
def test_order_and_pixels_do_not_depend_on_threads(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = random.Random(threads)
    real = engine_module.decode_pillow

    def delayed(*args: Any) -> Any:
        time.sleep(slow.uniform(0, 0.02))
        return real(*args)

    monkeypatch.setattr(engine_module, "decode_pillow", delayed)
    with plain_line().batch(5).run(threads=threads, prefetch=3) as run:
        batches = list(run)
    assert [batch.step for batch in batches] == list(range(10))
    assert [len(batch) for batch in batches] == [5] * 9 + [3]
    assert np.concatenate([batch.index for batch in batches]).tolist() == list(range(48))
    assert np.concatenate([batch.labels for batch in batches]).tolist() == list(range(48))
    assert [key for batch in batches for key in batch.keys] == [str(number) for number in range(48)]
    assert np.array_equal(together(batches), expected_rows())
    assert run.reached == run.clean == 48 and not run.failures and not run.damaged


@pytest.mark.parametrize("threads", [1, 2, 5, 8])
@pytest.mark.parametrize("world_size", [1, 3])
def test_shuffled_ranks_together_reach_each_item_once(threads: int, world_size: int) -> None:
    line = plain_line().seed(7)
    shuffled = line.shuffle().batch(4)
    seen: list[int] = []
    for rank in range(world_size):
        with shuffled.run(epoch=2, rank=rank, world_size=world_size, threads=threads) as run:
            for batch in run:
                seen.extend(batch.index.tolist())
                assert np.array_equal(batch.images, expected_rows()[batch.index])
                assert np.array_equal(batch.labels, batch.index)
    assert sorted(seen) == list(range(48)) and seen != list(range(48))


def test_a_slow_consumer_and_a_window_of_one_lose_nothing() -> None:
    with plain_line().batch(7).run(threads=4, prefetch=1) as run:
        rows = []
        for batch in run:
            time.sleep(0.01)
            rows.append(batch.images.copy())
    assert np.array_equal(np.concatenate(rows), expected_rows())


def test_a_budget_smaller_than_any_image_still_ends() -> None:
    with plain_line().batch(6).run(threads=4, max_memory=1) as run:
        assert np.array_equal(together(list(run)), expected_rows())


def test_two_runs_at_once_on_one_line() -> None:
    line = plain_line().batch(6)
    with line.run(threads=2) as one, line.run(threads=3) as other:
        for first, second in zip(one, other, strict=True):
            assert np.array_equal(first.images, second.images)
            assert not np.shares_memory(first.images, second.images)


def test_two_runs_in_two_threads() -> None:
    results: dict[int, Any] = {}

    def consume(number: int) -> None:
        with plain_line().batch(5).run(threads=2) as run:
            results[number] = together(list(run))

    consumers = [threading.Thread(target=consume, args=(number,)) for number in range(3)]
    for consumer in consumers:
        consumer.start()
    for consumer in consumers:
        consumer.join()
    assert len(results) == 3 and all(np.array_equal(rows, expected_rows()) for rows in results.values())


def test_a_second_consumer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    entered, go_on = threading.Event(), threading.Event()
    real = engine_module.decode_pillow

    def held(*args: Any) -> Any:
        entered.set()
        go_on.wait(30)
        return real(*args)

    monkeypatch.setattr(engine_module, "decode_pillow", held)
    png = encoded(pixels(8, 8, 0), "BMP")
    with ps.blobs([png]).decode().resize(8, 8).batch(1).run(threads=1) as run:
        got: list[Any] = []
        first = threading.Thread(target=lambda: got.extend(run))
        first.start()
        assert entered.wait(30)
        with pytest.raises(ps.EngineError, match="expected one consumer, found a second one at the same time"):
            next(run)
        go_on.set()
        first.join()
    assert len(got) == 1 and got[0].valid.all()


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_an_empty_line_ends_at_once(engine: Any) -> None:
    line = ps.blobs({}).decode().resize(8, 8).batch(4)
    with line.run(engine=engine) as run:
        assert len(line) == len(run) == 0 and list(run) == []
    assert run.reached == 0


# -- the last batch ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_last_batch_short_drop_blank(engine: Any) -> None:
    line = plain_line(10)
    for last, sizes, steps in (("short", [4, 4, 2], 3), ("drop", [4, 4], 2), ("blank", [4, 4, 4], 3)):
        batched = line.batch(4, last=last)  # type: ignore[arg-type]
        with batched.run(engine=engine) as run:
            assert len(batched) == len(run) == steps
            batches = list(run)
        assert [len(batch) for batch in batches] == sizes
        assert run.reached == run.clean == (8 if last == "drop" else 10)
    final = batches[-1]
    assert final.index.tolist() == [8, 9, -1, -1] and final.labels.tolist() == [8, 9, -1, -1]
    assert final.valid.tolist() == [True, True, False, False] and not final.damaged.any()
    assert list(final.keys) == ["8", "9", "", ""]
    assert not final.images[2:].any() and final.images[:2].any(axis=(1, 2, 3)).all()
    assert final.failures == () and final[3].failure is None and not final[3].valid


def test_blank_rows_are_zeros_even_in_memory_that_was_used_before() -> None:
    line = plain_line(9).normalize(ps.SIGNED).batch(4, last="blank")
    with line.run(threads=2) as run:
        for batch in run:
            if batch.step == 2:
                assert batch.valid.tolist() == [True, False, False, False]
                assert not batch.images[1:].any()
            batch.images[:] = 99
            del batch


def test_a_rank_whose_last_batch_is_all_blank() -> None:
    line = plain_line(5).batch(2, last="blank")
    with line.run(rank=1, world_size=2) as run:
        batches = list(run)
    assert [batch.index.tolist() for batch in batches] == [[1, 3], [-1, -1]]
    assert not batches[1].images.any() and run.reached == 2


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


# -- beginning and ending ------------------------------------------------------------------------------------


def test_nothing_starts_before_the_first_next() -> None:
    before = threading.active_count()
    run = ps.files(["/nowhere/at/all.jpg"]).decode().resize(8, 8).batch(1).run()
    assert run.stats.wall_s == 0 and "not started" in str(run) and run._engine is None
    assert threading.active_count() == before
    run.close()


def test_a_run_is_over_when_it_is_closed_or_used_up() -> None:
    line = plain_line(12).batch(4)
    with line.run() as run:
        assert "open" in str(next(run) and run)
    with pytest.raises(ps.EngineError, match=r"expected an open run, found it closed; call line.run\(\)"):
        next(run)
    with line.run() as run:
        assert len(list(run)) == 3
        assert list(run) == [] and "closed" in str(run)  # used up: an iterator that ends stays ended
    run.close()


def test_the_pool_has_gone_when_the_last_batch_is_handed_out() -> None:
    run = plain_line(8).batch(4).run()
    next(run)
    engine = run._engine
    assert engine is not None and engine.usable
    next(run)
    assert not engine.usable
    assert run.stats.wall_s == run.stats.wall_s > 0  # the clock has stopped


def test_iterating_the_line_is_one_pass_and_refused_where_passes_differ() -> None:
    line = plain_line(6).batch(4)
    assert [len(batch) for batch in line] == [4, 2] == [len(batch) for batch in line]
    with pytest.raises(ps.PlanError, match=r"found shuffle, which changes with the epoch; hold line.loader\(\)"):
        iter(plain_line(6).shuffle().batch(4))
    with pytest.raises(ps.PlanError, match="found random_horizontal_flip"):
        iter(plain_line(6).random_horizontal_flip().batch(4))


def test_a_second_epoch_differs_and_the_same_epoch_does_not() -> None:
    line = plain_line().seed(3).random_horizontal_flip().batch(48)
    rows = []
    for epoch in (0, 1, 0):
        with line.run(epoch=epoch) as run:
            rows.append(next(run).images)
    assert np.array_equal(rows[0], rows[2]) and not np.array_equal(rows[0], rows[1])


def test_async_with_and_for() -> None:
    async def consume() -> tuple[list[int], int]:
        steps, ticks = [], 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.001)

        ticking = asyncio.create_task(tick())
        async with plain_line().batch(8).run() as run:
            async for batch in run:
                steps.append(batch.step)
                assert np.array_equal(batch.images, expected_rows()[batch.index])
        ticking.cancel()
        return steps, ticks

    steps, ticks = asyncio.run(consume())
    assert steps == list(range(6)) and ticks > 1  # the loop went on while batches were awaited


def test_async_run_closes_on_an_exception() -> None:
    runs: list[ps.Run] = []

    async def consume() -> None:
        run = plain_line().batch(4).run()
        async with run:
            async for _ in run:
                runs.append(run)
                raise ValueError("consumer")

    with pytest.raises(ValueError, match="consumer"):
        asyncio.run(consume())
    assert "closed" in str(runs[0])


def png_line(count: int = 4) -> ps.Pipeline:
    return ps.blobs([encoded(pixels(8, 9, number), "BMP") for number in range(count)]).decode().resize(8, 8).batch(1)


@pytest.mark.parametrize("how", ["run", "async run", "loader"])
def test_a_close_beside_a_next_in_another_thread(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    entered, real = threading.Event(), engine_module.decode_pillow
    runs: list[ps.Run] = []

    def until_closed(*args: Any) -> Any:
        entered.set()
        while "closed" not in str(runs[0]):
            time.sleep(0.002)
        return real(*args)

    monkeypatch.setattr(engine_module, "decode_pillow", until_closed)
    raised: list[ps.PenstockError] = []

    def consume(iterator: Any) -> None:
        try:
            next(iterator)
        except ps.PenstockError as error:
            raised.append(error)

    loader = png_line().loader(threads=2)
    iterator = iter(loader)
    run = loader.run if how == "loader" else png_line().run(threads=2)
    assert run is not None
    runs.append(run)
    consumer = threading.Thread(target=consume, args=(iterator if how == "loader" else run,))
    consumer.start()
    assert entered.wait(30)

    async def leave() -> None:
        async with run:
            pass

    if how == "async run":
        asyncio.run(leave())
    else:
        (loader if how == "loader" else run).close()
    assert not run._consuming.locked() and not run._flight  # the consumer has left, and nothing of it is in flight
    consumer.join()
    (error,) = raised
    assert isinstance(error, ps.EngineError) and "expected an open run, found it closed" in str(error)
    assert run.reached == 0
    loader.close()


def test_the_event_loop_goes_on_while_a_run_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    closing_in: list[int] = []
    real = ps.Run.close

    def close(run: ps.Run) -> None:
        closing_in.append(threading.get_ident())
        real(run)

    async def consume() -> None:
        async with plain_line(8).batch(2).run() as run:
            await anext(run)
            monkeypatch.setattr(ps.Run, "close", close)

    asyncio.run(consume())
    assert closing_in[0] != threading.get_ident()


def test_a_close_while_the_pool_is_being_made_leaves_none(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[engine_module.Engine] = []
    run = plain_line(8).batch(2).run()

    def engine(*args: Any) -> engine_module.Engine:
        run.close()
        made.append(engine_module.Engine(*args))
        return made[0]

    monkeypatch.setattr(loader_module, "Engine", engine)
    with pytest.raises(ps.EngineError, match="expected an open run, found it closed"):
        next(run)
    assert len(made) == 1 and not made[0].usable


def test_a_second_interrupt_while_a_run_closes_still_ends_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    run = plain_line().batch(2).run(threads=2)
    next(run)
    engine = run._engine
    assert engine is not None
    monkeypatch.setattr(engine_module.Engine, "abandon", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.close()
    assert not engine.usable and run.stats.wall_s == run.stats.wall_s > 0 and run.stats.busy_s["decode"] > 0


def test_bytes_that_are_still_read_are_kept_when_a_wait_for_them_is_interrupted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Job:
        done = False

    class Interrupted:
        def cancel(self, job: Any) -> None:
            pass

        def wait_briefly(self, job: Any, timeout_ms: int) -> str:
            raise KeyboardInterrupt

    engine = engine_module.Engine(1, 2, None, ps.recipe().decode())
    held = object()
    nothing = np.zeros(0, np.int64)
    with monkeypatch.context() as patched:
        patched.setattr(engine, "_pool", Interrupted())
        with pytest.raises(KeyboardInterrupt):
            engine.abandon([engine_module.Ticketed(Job(), nothing, nothing, 0, held, {})])  # type: ignore[arg-type]
    assert any(kept is held for kept in engine_module._abandoned)
    engine_module._abandoned[:] = [kept for kept in engine_module._abandoned if kept is not held]
    engine.close()


@pytest.mark.parametrize("refused", [0, 1, 4])
@pytest.mark.parametrize("prefetch", [1, 3])
def test_a_batch_that_cannot_be_submitted_raises_in_its_turn(
    refused: int, prefetch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = engine_module.Engine.submit

    def submit(self: Any, *args: Any, **options: Any) -> Any:
        if options["step"] == refused:
            raise MemoryError("no room")
        return real(self, *args, **options)

    monkeypatch.setattr(engine_module.Engine, "submit", submit)
    run = plain_line(12).batch(2).run(threads=2, prefetch=prefetch)
    for step in range(refused):
        assert np.array_equal(next(run).images, expected_rows()[2 * step : 2 * step + 2])
    with pytest.raises(MemoryError, match="no room"):
        next(run)
    assert run._engine is None or not run._engine.usable
    assert run.reached == 2 * refused and run.position == 2 * refused
    with pytest.raises(ps.EngineError, match="found it closed"):
        next(run)


@pytest.mark.parametrize("can_start", [0, 1])
def test_pillow_without_threads_to_run_in(can_start: int, monkeypatch: pytest.MonkeyPatch) -> None:
    started = 0
    real = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        nonlocal started
        if thread.name.startswith("penstock-pillow"):
            if started == can_start:
                raise RuntimeError("can't start new thread")
            started += 1
        real(thread)

    with png_line().loader(threads=3) as loader:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", start)
            if can_start:
                assert len(list(loader)) == 4  # by the one there is
            else:
                with pytest.raises(ps.EngineError, match=r"found none \(can't start new thread\)"):
                    list(loader)
        assert [batch.epoch for batch in loader] == [1] * 4


def test_lines_recipes_and_batches_survive_pickling() -> None:
    line = plain_line(9).seed(5).shuffle().random_horizontal_flip().batch(4).select("images", "labels")
    copy = pickle.loads(pickle.dumps(line))
    assert copy == line and hash(copy) == hash(line) and copy.fingerprint == line.fingerprint
    with line.run(epoch=1) as one, copy.run(epoch=1) as other:
        for (images, labels), (images_too, labels_too) in zip(one, other, strict=True):
            assert np.array_equal(images, images_too) and np.array_equal(labels, labels_too)
    with ps.blobs([broken(), *mixed(9)]).decode().resize(8, 8).batch(10).run(on_failure="blank") as run:
        (batch,) = run
    again = pickle.loads(pickle.dumps(batch))
    assert np.array_equal(again.images, batch.images) and list(again.keys) == list(batch.keys)
    assert again.failures == batch.failures and again[3].index == 3 and again[3].key == "3"
    # A batch on its way to another process takes its own rows along, not the source they came from.
    assert len(pickle.dumps(batch)) < batch.images.nbytes + 20_000 < sum(map(len, mixed(9)))


# -- the accounts of time ------------------------------------------------------------------------------------


def check_times(stats: ps.Stats) -> None:
    total = stats.threads * stats.wall_s
    terms = [*stats.busy_s.values(), stats.starved_s, stats.blocked_s, stats.engine_s, stats.waiting_s, stats.pillow_s]
    assert all(term >= 0 for term in terms), stats
    busy = sum(stats.busy_s.values())
    # A thread's own clock and the consumer's differ by the few moments between two readings.
    assert busy + stats.starved_s + stats.blocked_s <= total * 1.02 + 0.01 * stats.threads, stats
    parts = busy + stats.starved_s + stats.blocked_s + stats.engine_s
    assert parts == pytest.approx(total, rel=0.02, abs=0.01 * stats.threads)
    assert stats.waiting_s <= stats.wall_s * 1.02 + 0.01


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("pause", [0.0, 0.03])
def test_times_sum_to_threads_times_wall(threads: int, pause: float) -> None:
    with plain_line().batch(4).run(threads=threads, prefetch=2) as run:
        for _ in run:
            check_times(run.stats)  # live as well
            time.sleep(pause)
    stats = run.stats
    check_times(stats)
    assert stats.threads == threads and stats.items == 48 and stats.batches == 12
    assert stats.busy_s["decode"] > 0 and stats.pillow_items == 8
    snapshot = stats.snapshot("train/")
    assert snapshot["train/items"] == 48 and snapshot["train/items_per_s"] > 0
    shares = sum(snapshot[f"train/{name}"] for name in ("starved", "blocked", "engine"))
    shares += sum(snapshot[f"train/busy_{name}"] for name in ("read", "decode", "transform", "batch"))
    assert shares == pytest.approx(1.0, rel=0.05)
    assert "48 items in" in str(stats) and str(stats).endswith(stats.bottleneck)
    assert html.escape(stats.bottleneck) in stats._repr_html_()


def test_a_slow_consumer_is_named_the_bottleneck() -> None:
    small = [encoded(pixels(16, 16, number), "JPEG") for number in range(30)]
    with ps.blobs(small).decode().resize(8, 8).batch(2).run(threads=1, prefetch=1) as run:
        for _ in run:
            time.sleep(0.03)
    assert run.stats.bottleneck.startswith("The consumer is the bottleneck")
    assert run.stats.blocked_s > 0.5 * run.stats.wall_s and run.stats.waiting_s < 0.5 * run.stats.wall_s


def test_reading_time_is_counted_for_files_only(tmp_path: Any) -> None:
    paths = []
    for number, blob in enumerate(mixed(12)):
        (tmp_path / f"{number}.jpg").write_bytes(blob)
        paths.append(tmp_path / f"{number}.jpg")
    with ps.files(paths).decode().resize(24, 20).batch(6).run() as run:
        assert np.array_equal(together(list(run)), expected_rows()[:12])
    check_times(run.stats)
    assert run.stats.busy_s["read"] > 0
    with plain_line(12).batch(6).run() as run:
        list(run)
    assert run.stats.busy_s["read"] == 0


def test_times_of_a_loaders_epochs_are_each_their_own() -> None:
    with plain_line(12).batch(5).loader(threads=4, prefetch=1) as loader:
        for _ in range(4):
            for _ in loader:
                assert loader.run is not None
                check_times(loader.run.stats)
            check_times(loader.run.stats)
            assert loader.run.stats.items == 12
            time.sleep(0.1)  # between epochs, when the pool has nothing to do


def test_the_reference_engine_names_no_stage_as_the_bottleneck() -> None:
    with plain_line(4).batch(2).run(engine="reference") as run:
        list(run)
    assert run.stats.bottleneck == 'Stages are not timed by engine="reference".'


@pytest.mark.parametrize("data", [encoded(np.zeros((4, 4, 3), np.uint8), "BMP"), b"not an image at all"])
def test_an_item_of_pillows_is_counted_before_the_batch_can_be_done(data: bytes) -> None:
    class Referral:
        job, row, asked = object(), 0, None

        def encoded(self) -> bytes:
            return data

    class Pool:
        def __init__(self) -> None:
            self.counted: list[int] = []

        def take_referral(self, timeout_ms: int) -> Referral:
            return Referral()

        def answered(self, *_: Any) -> None:
            self.counted.append(engine.pillow()[1])

        return_pixels = return_failure = answered

    engine = engine_module.Engine(1, 2, None, ps.recipe().decode())
    pool: Any = Pool()
    assert engine_module._answer_one(pool, weakref.ref(engine), Decode())
    assert pool.counted == [1] and engine.pillow()[0] > 0
    engine.close()


def test_threads_follow_the_cores_and_the_local_world(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    cores = engine_module.usable_cores()
    assert 1 <= cores <= len(os.sched_getaffinity(0))
    assert engine_module.default_threads() == cores
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(cores * 2))
    assert engine_module.default_threads() == 1
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "many")
    assert plain_line(4).batch(2).run().threads == cores


def test_native_threads_work_on_while_this_thread_keeps_the_gil():
    photo = io.BytesIO()
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(photo, "JPEG")
    line = ps.blobs({str(i): photo.getvalue() for i in range(400)}).decode().resize(32, 32).batch(100)
    with line.run(threads=2, prefetch=3) as run:
        next(run)
        # PyDLL calls without letting go of the GIL; three batches are reserved, and need many changes of job.
        ctypes.PyDLL(None).usleep(1_000_000)
        assert run._engine.times()[6] == 400
        assert sum(len(batch) for batch in run) == 300
