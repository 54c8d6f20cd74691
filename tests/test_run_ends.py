"""How runs begin and end: passes, closing from other threads, interrupts, and what cannot be started."""

from __future__ import annotations

import asyncio
import pickle
import threading
import time
from typing import Any

import numpy as np
import pytest

import penstock as ps
from penstock import answers as answers_module
from penstock import engine as engine_module
from penstock import run as run_module
from run_lines import broken, encoded, expected_rows, mixed, pixels, plain_line


def test_nothing_starts_before_the_first_next() -> None:
    before = set(threading.enumerate())
    run = ps.files(["/nowhere/at/all.jpg"]).decode().resize(8, 8).batch(1).run()
    assert run.stats.wall_s == 0 and "not started" in str(run) and run._engine is None
    assert set(threading.enumerate()) <= before
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
    entered, real = threading.Event(), answers_module.decode_pillow
    runs: list[ps.Run] = []

    def until_closed(*args: Any) -> Any:
        entered.set()
        while "closed" not in str(runs[0]):
            time.sleep(0.002)
        return real(*args)

    monkeypatch.setattr(answers_module, "decode_pillow", until_closed)
    # The second after which nobody is waited for is for those who are stuck, not for a busy machine.
    monkeypatch.setattr(run_module, "_CLOSE_TIMEOUT_S", 60.0)
    monkeypatch.setattr(engine_module, "_CLOSE_TIMEOUT_MS", 60_000)
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
    assert entered.wait(60)

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

    monkeypatch.setattr(run_module, "Engine", engine)
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

    engine = engine_module.Engine(1, 2, None)
    held = object()
    with monkeypatch.context() as patched:
        patched.setattr(engine, "_pool", Interrupted())
        with pytest.raises(KeyboardInterrupt):
            engine.abandon([engine_module.Ticketed(Job(), held, {}, {}, None)])  # type: ignore[arg-type]
    assert any(kept is held for kept in engine_module._abandoned)
    engine_module._abandoned[:] = [kept for kept in engine_module._abandoned if kept is not held]
    engine.close()


@pytest.mark.parametrize("refused", [0, 1, 4])
@pytest.mark.parametrize("prefetch", [1, 3])
def test_a_batch_that_cannot_be_submitted_raises_in_its_turn(
    refused: int, prefetch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = engine_module.Engine.submit

    submitted = 0

    def submit(self: Any, *args: Any, **options: Any) -> Any:
        nonlocal submitted
        submitted += 1
        if submitted > refused:
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
        if thread.name.startswith("penstock-python"):
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
