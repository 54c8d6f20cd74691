"""The accounts of time: where a run's threads were, and which stage held it up."""

from __future__ import annotations

import ctypes
import html
import io
import os
import sys
import time
import weakref
from typing import Any

import numpy as np
import pytest
from PIL import Image

import penstock as ps
from penstock import engine as engine_module
from penstock.answers import answer_some
from penstock.cores import default_threads, usable_cores
from penstock.meter import Meter
from run_lines import encoded, expected_rows, mixed, pixels, plain_line, together
from waiting import wait_until


def check_times(stats: ps.Stats) -> None:
    total = stats.threads * stats.wall_s
    terms = [*stats.busy_s.values(), stats.starved_s, stats.blocked_s, stats.engine_s, stats.waiting_s, stats.pillow_s]
    assert all(term >= 0 for term in terms), stats
    busy = sum(stats.busy_s.values())
    # Whatever else the machine does: the threads' times are read before the consumer's clock.
    assert busy + stats.starved_s + stats.blocked_s <= total + 1e-6, stats
    parts = busy + stats.starved_s + stats.blocked_s + stats.engine_s
    assert parts == pytest.approx(total)
    assert stats.waiting_s <= stats.wall_s + 1e-6


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
    assert shares == pytest.approx(1.0)
    assert "48 items in" in str(stats) and str(stats).endswith(stats.bottleneck)
    assert html.escape(stats.bottleneck) in stats._repr_html_()


def test_a_slow_consumer_is_named_the_bottleneck() -> None:
    small = [encoded(pixels(16, 16, number), "JPEG") for number in range(30)]
    with ps.blobs(small).decode().resize(8, 8).batch(2).run(threads=1, prefetch=1) as run:
        while True:
            begun = time.perf_counter()
            if next(run, None) is None:
                break
            wait_until(lambda: all(flying.ticketed.job.done for flying in run._flight))
            # As slow as this machine makes it: what the pool took, several times over.
            time.sleep(0.03 + 4 * (time.perf_counter() - begun))
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


def test_times_add_up_when_the_run_ends_while_they_are_asked() -> None:
    meter = Meter()

    class EndsMeanwhile:
        ended = False

        @property
        def usable(self) -> bool:
            if not self.ended:
                self.ended = True
                meter.end(engine)
            return True

        def times(self) -> tuple[int, ...]:
            time.sleep(0.001)
            return (int((time.perf_counter() - begun) * 1e9), *[0] * 6)

        def pillow(self) -> tuple[float, int]:
            return 0.0, 0

        maps = pillow

    engine: Any = EndsMeanwhile()
    begun = meter.started = time.perf_counter()
    check_times(meter.stats(engine, threads=1, items=1, hits=0, misses=0))
    check_times(meter.stats(engine, threads=1, items=1, hits=0, misses=0))  # and once it has


def test_the_reference_engine_names_no_stage_as_the_bottleneck() -> None:
    with plain_line(4).batch(2).run(engine="reference") as run:
        list(run)
    assert run.stats.bottleneck == 'Stages are not timed by engine="reference".'


@pytest.mark.parametrize("data", [encoded(np.zeros((4, 4, 3), np.uint8), "BMP"), b"not an image at all"])
def test_an_item_of_pillows_is_counted_before_the_batch_can_be_done(data: bytes) -> None:
    class Referral:
        job, row, asked, map = object(), 0, None, None

        def encoded(self) -> bytes:
            return data

    class Pool:
        def __init__(self) -> None:
            self.counted: list[int] = []

        def take_referrals(self, most: int, timeout_ms: int) -> list[Referral]:
            return [Referral()]

        def answered(self, *_: Any) -> None:
            self.counted.append(engine.pillow()[1])

        return_pixels = return_failure = answered

    engine = engine_module.Engine(1, 2, None)
    pool: Any = Pool()
    assert answer_some(pool, weakref.ref(engine), [0.0, 0.0], 1)
    assert pool.counted == [1] and engine.pillow()[0] > 0
    engine.close()


def test_threads_follow_the_cores_and_the_local_world(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    cores = usable_cores()
    assert 1 <= cores <= len(os.sched_getaffinity(0))
    assert default_threads() == cores
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(cores * 2))
    assert default_threads() == 1
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "many")
    assert plain_line(4).batch(2).run().threads == cores


def test_native_threads_work_on_while_this_thread_keeps_the_gil():
    photo = io.BytesIO()
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(photo, "JPEG")
    line = ps.blobs({str(i): photo.getvalue() for i in range(400)}).decode().resize(32, 32).batch(100)
    with line.run(threads=2, prefetch=3) as run:
        next(run)
        # PyDLL calls without letting go of the GIL, and between two calls nobody else gets it either; three batches are
        # reserved, and need many changes of job.
        until = time.monotonic() + 60
        interval_s = sys.getswitchinterval()
        sys.setswitchinterval(1000)
        try:
            while run._engine.times()[6] < 400 and time.monotonic() < until:
                ctypes.PyDLL(None).usleep(100_000)
            assert run._engine.times()[6] == 400
        finally:
            sys.setswitchinterval(interval_s)
        assert sum(len(batch) for batch in run) == 300
