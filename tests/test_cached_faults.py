"""A line whose cache goes wrong: killed writers, full and read-only disks, flipped bytes. The pixels never do."""

from __future__ import annotations

import io
import logging
import os
import random
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import penstock as ps
from penstock import cli

COUNT = 60
SMALL_DISK = 512 << 10
FILL = """
import sys
import penstock as ps
line = ps.folder(sys.argv[1], label=None).decode().resize(64, 64).cache(sys.argv[2], max_bytes="200MB").batch(4)
while True:
    for _ in line.run(threads=2):
        pass
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(COUNT):
        data = io.BytesIO()
        pixels = np.random.default_rng(number).integers(0, 256, (90, 70, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(data, "JPEG")
        path = folder / f"{number:03}.jpg"
        path.write_bytes(data.getvalue())
        os.utime(path, (10**9, 10**9))
    time.sleep(0.06)
    return folder


@pytest.fixture(scope="module")
def expected(photos: Path) -> np.ndarray:
    return images_of(plain(photos))


def plain(photos: Path) -> ps.Pipeline:
    return ps.folder(photos, label=None).decode().resize(64, 64)


def images_of(line: ps.Pipeline) -> np.ndarray:
    with line.batch(8).run(threads=2) as run:
        return np.concatenate([np.array(batch.images) for batch in run])


def cached(photos: Path, folder: Path, **options: bool) -> ps.Pipeline:
    return plain(photos).cache(folder, max_bytes="200MB", **options)


def verify(folder: Path) -> int:
    return cli.main(["cache", "verify", str(folder)])


def test_killed_while_it_fills(photos: Path, expected: np.ndarray, tmp_path: Path):
    dice = random.Random(7)
    for number in range(6):
        folder = tmp_path / f"cache{number}"
        child = subprocess.Popen([sys.executable, "-c", FILL, str(photos), str(folder)], stdout=subprocess.DEVNULL)
        while not (folder / "penstock-cache.json").exists():
            assert child.poll() is None
            time.sleep(0.001)
        time.sleep(dice.uniform(0, 0.06))
        child.kill()
        child.wait()
        assert verify(folder) == 0
        line = cached(photos, folder)
        np.testing.assert_array_equal(images_of(line), expected)
        np.testing.assert_array_equal(images_of(line), expected)
        assert line.cache_info().entries == COUNT


def flipped(path: Path, at: int) -> None:
    with open(path, "r+b") as file:
        file.seek(at)
        [byte] = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ 0x10]))


@pytest.mark.parametrize("suffix", [".pixels", ".index"])
def test_flipped_bytes(
    suffix: str, photos: Path, expected: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = tmp_path / "cache"
    script = FILL.replace("while True:", "for _ in range(1):")
    subprocess.run(
        [sys.executable, "-c", script, str(photos), str(folder)], check=True, stdout=subprocess.DEVNULL, timeout=200
    )
    dice = random.Random(3)
    for path in folder.glob(f"*{suffix}"):
        for _ in range(5):
            # Behind the header: which thread kept how many, and so how long each file is, differs.
            flipped(path, dice.randrange(4096 if suffix == ".pixels" else 64, path.stat().st_size))
    assert verify(folder) == 1 and suffix in capsys.readouterr().out
    line = cached(photos, folder)
    np.testing.assert_array_equal(images_of(line), expected)
    info = line.cache_info()
    assert info.entries == COUNT
    assert (info.misses > 0) == (suffix == ".pixels")  # an index is made anew from its segment


def test_a_full_disk(small_disk, photos: Path, expected: np.ndarray, caplog: pytest.LogCaptureFixture):
    line = cached(photos, small_disk[0] / "cache")
    with caplog.at_level(logging.WARNING, "penstock"):
        for _ in range(2):
            np.testing.assert_array_equal(images_of(line), expected)
    assert caplog.text.count("no space left") == 1
    assert 0 < line.cache_info().entries < COUNT


def test_a_file_system_that_became_read_only(
    small_disk, photos: Path, expected: np.ndarray, caplog: pytest.LogCaptureFixture
):
    place, mount = small_disk
    few = textwrap.dedent(FILL).replace("while True:", "for _ in range(1):")
    few = few.replace("label=None)", "label=None).take(20)")
    subprocess.run([sys.executable, "-c", few, str(photos), str(place / "cache")], check=True, timeout=200)
    assert mount(1 | 32) == 0  # MS_RDONLY, MS_REMOUNT
    line = cached(photos, place / "cache")
    with caplog.at_level(logging.WARNING, "penstock"):
        np.testing.assert_array_equal(images_of(line), expected)
    info = line.cache_info()
    assert (info.entries, info.hits, info.misses) == (20, 20, COUNT - 20)
    assert caplog.text.count("read-only file system") == 1
