"""Filling a cache before the first pass: what is made, what is told, and what is not lost on the way."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import penstock as ps
from penstock.cache_estimate import record_bytes
from waiting import wait_for_end_of_threads


def save(path: Path, height: int, width: int, seed: int = 0, **options: object) -> None:
    """A smooth random picture, in the format of its extension, written long enough ago to be kept."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(path, **options)
    age(path)


def age(path: Path) -> None:
    old = time.time() - 60
    os.utime(path, (old, old))


@pytest.fixture
def photos(tmp_path):
    """Twelve pictures of two sizes, one of them a format that Pillow decodes."""
    for number in range(11):
        save(tmp_path / "photos" / f"{number:02}.jpg", 30 + number % 2, 40, number, quality=90)
    save(tmp_path / "photos" / "11.bmp", 30, 40, 11)
    settle()
    return tmp_path / "photos"


def settle() -> None:
    """Until the clock has left the tick in which the files were written: their ctime cannot be set."""
    time.sleep(0.1)


def images_of(line: ps.Pipeline) -> dict[int, bytes]:
    with line.run(on_failure="skip") as run:
        return {int(i): batch.images[row].tobytes() for batch in run for row, i in enumerate(batch.index)}


def cached(folder: Path, where: object, **options: object) -> ps.Pipeline:
    line = ps.folder(folder, label=None).decode().resize(16, 20)
    return line.cache(where, max_bytes=options.pop("max_bytes", "100MB"), **options)


def test_everything_is_there_before_the_first_pass(photos, tmp_path):
    line = cached(photos, tmp_path / "cache").random_horizontal_flip().normalize(ps.SIGNED).batch(5)
    done = line.preload(threads=2)
    assert (done.items, done.stored, done.present, done.left_out, len(done.failures)) == (12, 12, 0, 0, 0)
    assert done.bytes == line.cache_info().bytes
    with line.run() as run:
        for _ in run:
            pass
    assert run.stats.cache_hits == 12 and run.stats.cache_misses == 0
    again = line.preload()
    assert (again.items, again.stored, again.present) == (12, 0, 12)
    assert str(again).startswith("12 images: 0 stored, 12 there already, 0 left out, 0 failed; the cache takes ")


def test_the_pixels_are_those_without_a_cache(photos, tmp_path):
    kept = cached(photos, tmp_path / "cache")
    kept.preload(threads=2)
    plain = ps.folder(photos, label=None).decode().resize(16, 20)
    assert images_of(kept.batch(4)) == images_of(plain.batch(4))


def test_images_of_their_own_size(photos, tmp_path):
    line = ps.folder(photos, label=None).decode().cache(tmp_path / "cache", max_bytes="100MB")
    done = line.preload(threads=2)
    assert (done.stored, done.left_out) == (12, 0)
    batched = line.batch(4, ragged="list")
    with batched.run() as run:
        kept = [image.tobytes() for batch in run for image in batch.images]
    assert run.stats.cache_misses == 0
    with ps.folder(photos, label=None).decode().batch(4, ragged="list").run() as run:
        assert kept == [image.tobytes() for batch in run for image in batch.images]
    assert line.preload().present == 12


def test_bytes_before_decode(photos, tmp_path):
    (photos / "03.jpg").write_bytes(b"no picture, which nobody sees before it is decoded")
    age(photos / "03.jpg")
    settle()
    line = ps.folder(photos, label=None).cache(tmp_path / "cache", max_bytes="100MB").decode().resize(16, 20)
    done = line.preload()
    assert (done.items, done.stored, len(done.failures)) == (12, 12, 0)
    assert line.preload().present == 12
    with line.batch(4).run(on_failure="skip") as run:
        for _ in run:
            pass
    assert run.stats.cache_misses == 0 and len(run.failures) == 1


def test_nothing_behind_the_cache_is_made(photos, tmp_path):
    def never(image: np.ndarray) -> np.ndarray:
        raise AssertionError("called")

    line = cached(photos, tmp_path / "cache").map(never).batch(4)
    assert line.preload().stored == 12


def test_a_map_before_the_cache(photos, tmp_path):
    line = ps.folder(photos, label=None).decode().resize(16, 20).map(lambda image: 255 - image, version="1")
    line = line.cache(tmp_path / "cache", max_bytes="100MB")
    assert line.preload(threads=2).stored == 12
    plain = images_of(ps.folder(photos, label=None).decode().resize(16, 20).batch(4))
    kept = images_of(line.batch(4))
    assert kept == {i: bytes(255 - value for value in image) for i, image in plain.items()}


def test_what_is_broken_or_missing_is_named_and_skipped(photos, tmp_path):
    whole = (photos / "00.jpg").read_bytes()
    (photos / "05.jpg").write_bytes(whole[: len(whole) // 2])
    line = cached(photos, tmp_path / "cache")
    (photos / "07.jpg").unlink()
    age(photos / "05.jpg")
    done = line.preload(threads=2)
    assert (done.items, done.stored, done.left_out, len(done.failures)) == (12, 10, 0, 2)
    assert {failure.key: (failure.index, failure.stage) for failure in done.failures} == {
        "05.jpg": (5, "decode"),
        "07.jpg": (7, "read"),
    }
    with line.batch(4).run(on_failure="skip") as run:
        for _ in run:
            pass
    assert sorted(f.message for f in run.failures) == sorted(f.message for f in done.failures)


def test_only_the_items_of_the_line(photos, tmp_path):
    line = ps.folder(photos, label=None).take(5).shuffle()
    line = line.decode().resize(16, 20).cache(tmp_path / "cache", max_bytes="100MB")
    assert line.preload().items == 5


def test_the_estimate_is_what_was_stored(photos, tmp_path):
    for name, line in {
        "one size": ps.folder(photos, label=None).decode().resize(16, 20).cache(tmp_path / "a", max_bytes="100MB"),
        "own sizes": ps.folder(photos, label=None).decode().cache(tmp_path / "b", max_bytes="100MB"),
        "files": ps.folder(photos, label=None).cache(tmp_path / "c", max_bytes="100MB"),
    }.items():
        before = line.cache_info().estimated_bytes
        done = line.preload(threads=1)
        assert done.stored == 12, name
        ends = 2048  # of the folder's own small files
        assert abs(done.bytes - before) <= ends, (name, before, done.bytes)


def test_what_does_not_fit_is_left_out_and_said(photos, tmp_path, caplog):
    line = cached(photos, tmp_path / "cache", max_bytes=6000)
    with caplog.at_level(logging.INFO, logger="penstock"):
        done = line.preload()
    assert done.left_out > 0 and done.stored > 0
    assert done.items == done.stored + done.present + done.left_out + len(done.failures)
    first = caplog.records[0].message
    assert first.startswith("preload: 12 images need ") and "the cache may take 6.0 kB" in first and "free" in first
    warned = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "it will not fit" in warned[0].message and "made anew" in warned[0].message
    assert line.cache_info().bytes <= 6000


def test_young_files_are_left_out_and_said(photos, tmp_path, caplog):
    young = time.time() + 30  # no machine is so busy that two seconds have passed since
    os.utime(photos / "04.jpg", (young, young))
    done = cached(photos, tmp_path / "cache").preload()
    assert (done.stored, done.left_out) == (11, 1)
    assert "1 image left out, whose files were written within the last two seconds" in caplog.text
    age(photos / "04.jpg")
    settle()
    assert cached(photos, tmp_path / "cache").preload().stored == 1


def test_several_pictures_an_item(photos, tmp_path):
    rows = [["00.jpg", "01.jpg"], [], ["02.jpg"]]
    table = photos / "documents.jsonl"
    table.write_text("".join(json.dumps({"pages": pages}) + "\n" for pages in rows), "utf-8")
    line = ps.jsonl(table, images="pages").decode().resize(16, 20).cache(tmp_path / "cache", max_bytes="100MB")
    done = line.preload()
    assert (done.items, done.stored) == (3, 3)
    assert line.cache_info().estimated_bytes == record_bytes(16 * 20 * 3).item() * 3 + 128
    with line.batch(3, images=8).run() as run:
        for _ in run:
            pass
    assert run.stats.cache_hits == 3 and run.stats.cache_misses == 0


def test_a_cache_that_vanishes_is_made_anew(photos, tmp_path):
    line = cached(photos, tmp_path / "cache")
    line.preload()
    shutil.rmtree(tmp_path / "cache")
    done = line.preload()
    assert done.items == done.stored == 12 and len(done.failures) == 0
    assert line.cache_info().entries == 12 and (tmp_path / "cache").is_dir()


def test_ctrl_c_leaves_nothing_running(photos, tmp_path):
    once = threading.Lock()

    def interrupting(image: np.ndarray) -> np.ndarray:
        if once.acquire(blocking=False):  # a second Ctrl-C would end the waiting for the threads
            os.kill(os.getpid(), signal.SIGINT)
        return image

    before = set(threading.enumerate())
    line = ps.folder(photos, label=None).decode().resize(16, 20).map(interrupting, version="1")
    with pytest.raises(KeyboardInterrupt):
        line.cache(tmp_path / "cache", max_bytes="100MB").preload(threads=2)
    wait_for_end_of_threads(before)


def test_progress_is_on_standard_error(photos, tmp_path, capsys):
    (photos / "05.jpg").write_bytes(b"\xff\xd8\xff")
    age(photos / "05.jpg")
    cached(photos, tmp_path / "cache").preload(progress=True)
    said = capsys.readouterr()
    assert said.out == ""
    assert "preload: 12 images need " in said.err and "11 stored" in said.err
    assert "'05.jpg'" in said.err and "12/12" in said.err


def test_quiet_unless_asked(photos, tmp_path, capsys):
    cached(photos, tmp_path / "cache").preload()
    assert capsys.readouterr() == ("", "")


def test_arrays_and_several_images(tmp_path):
    pictures = [np.full((6, 8, 3), number, np.uint8) for number in range(5)]
    line = ps.arrays(pictures).cache(tmp_path / "cache", max_bytes="10MB")
    done = line.preload()
    assert (done.items, done.stored) == (5, 5)


def test_an_empty_line(tmp_path):
    line = ps.arrays([np.zeros((6, 8, 3), np.uint8)]).take(0).cache(tmp_path / "cache", max_bytes="10MB")
    assert line.preload().items == 0


def test_refusals(photos, tmp_path):
    with pytest.raises(ps.PlanError, match=r"^preload\(\): expected a line with a cache, found none"):
        ps.folder(photos, label=None).decode().preload()
    line = cached(photos, tmp_path / "cache")
    line.preload()
    with pytest.raises(ps.PlanError, match="read_only=True"):
        cached(photos, tmp_path / "cache", read_only=True).preload()
    with pytest.raises(ps.PlanError, match="threads"):
        line.preload(threads=0)
    with pytest.raises(ps.PlanError, match="progress"):
        line.preload(progress="yes")


def test_in_ram(photos):
    line = cached(photos, ps.RAM)
    done = line.preload(threads=2)
    assert done.stored + done.present == 12
    assert images_of(line.batch(4)) == images_of(ps.folder(photos, label=None).decode().resize(16, 20).batch(4))
