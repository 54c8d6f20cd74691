"""Lines with maps, whose images the engine's Python threads make themselves: memory, ends, accounts."""

from __future__ import annotations

import io
import threading
import time

import numpy as np
import numpy.typing as npt
from PIL import Image

import penstock as ps
from waiting import wait_for_end_of_threads, wait_until

UInt8 = npt.NDArray[np.uint8]


def encoded(number: int, height: int = 20, width: int = 30, kind: str = "JPEG") -> bytes:
    data = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), number % 256, np.uint8)).save(data, kind)
    return data.getvalue()


def inverted(image: UInt8) -> UInt8:
    np.subtract(255, image, out=image)
    return image


def test_little_memory_holds_nobody_up():
    blobs = [encoded(number, 600, 800) for number in range(24)]
    line = ps.blobs(blobs).decode().map(inverted, geometry="keep").resize(8, 8).batch(24)
    expected = line.batch_at(0)
    for threads in (1, 4):
        with line.run(threads=threads, max_memory=3_000_000) as run:  # two of them at a time at most
            np.testing.assert_array_equal(next(run).images, expected.images)


def test_a_group_keeps_its_rows_apart():
    def sometimes(image: UInt8) -> UInt8:
        if image[0, 0, 0] % 5 == 3:
            raise ValueError("five")
        return image if image[0, 0, 0] % 2 else image.copy()

    blobs = [encoded(number, kind="PNG") for number in range(100)]
    line = (
        ps.blobs(blobs).decode().map(sometimes, geometry="keep").map(inverted, geometry="keep").batch(10, ragged="list")
    )
    seen, failed = [], []
    with line.run(on_failure="skip", threads=3) as run:
        for batch in run:
            seen += [(int(index), int(image[0, 0, 0])) for index, image in zip(batch.index, batch.images, strict=True)]
        failed = [failure.index for failure in run.failures]
    assert seen == [(number, 255 - number) for number in range(100) if number % 5 != 3]
    assert sorted(failed) == [number for number in range(100) if number % 5 == 3]


def test_files_for_pillow_between_the_others():
    blobs = [encoded(number, kind="BMP" if number % 3 == 0 else "PNG") for number in range(60)]
    line = ps.blobs(blobs).decode().map(inverted, geometry="keep").resize(4, 4).batch(7)
    with line.run(threads=2) as run:
        images = np.concatenate([batch.images for batch in run])
    assert images[:, 0, 0, 0].tolist() == [255 - number for number in range(60)]


def test_who_waits_is_said_of_the_threads_that_work():
    blobs = [encoded(number) for number in range(64)]
    line = ps.blobs(blobs).decode().map(inverted, geometry="keep").resize(4, 4).batch(4)
    with line.run(threads=2, prefetch=1) as run:
        while True:
            begun = time.perf_counter()
            if next(run, None) is None:
                break
            wait_until(lambda: all(flying.ticketed.job.done for flying in run._flight))
            # As slow as this machine makes it: what the pool took, several times over.
            time.sleep(0.02 + 4 * (time.perf_counter() - begun))
    stats = run.stats
    assert stats.share(stats.blocked_s) > max(0.3, stats.share(stats.starved_s))
    assert stats.blocked_s + stats.starved_s <= stats.threads * stats.wall_s


def test_threads_end_with_the_run():
    before = set(threading.enumerate())
    line = ps.blobs([encoded(1)] * 400).decode().map(inverted).resize(4, 4).batch(4)
    for _ in range(5):
        with line.run(threads=2) as run:
            next(run)
    wait_for_end_of_threads(before)
