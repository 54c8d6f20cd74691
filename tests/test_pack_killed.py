"""A packing that was killed, ran out of disk or lost a shard: the same command ends with the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import penstock as ps
from packings import jpeg, packed_bytes, write_photos
from penstock.packing import fill


@pytest.fixture
def photos(tmp_path):
    return write_photos(tmp_path / "photos")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")
def test_a_full_disk_is_a_sentence_and_is_gone_on_from(photos, tmp_path, monkeypatch):
    from penstock.packing.shard import HashedFile

    written = 0

    def full(self: HashedFile, data: bytes) -> int:
        nonlocal written
        written += len(data)
        if written > 30_000:
            raise OSError(28, "No space left on device")
        return write(self, data)

    write = HashedFile.write
    monkeypatch.setattr(HashedFile, "write", full)
    with pytest.raises(ps.PenstockError, match="No space left on device; the same command goes on from here"):
        ps.pack(ps.folder(photos), tmp_path / "out", shard_bytes=10_240)
    monkeypatch.undo()
    assert ps.pack(ps.folder(photos), tmp_path / "out", shard_bytes=10_240).present > 0
    ps.pack(ps.folder(photos), tmp_path / "once", shard_bytes=10_240)
    assert packed_bytes(tmp_path / "once") == packed_bytes(tmp_path / "out")


KILLED = """
import sys
import penstock as ps
from penstock.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
@pytest.mark.parametrize("more", [[], ["--max-side", "24", "--shuffle", "--seed", "3"], ["--to", "parquet"]])
def test_killed_at_any_moment_it_ends_with_the_same_bytes(tmp_path, more):
    if "parquet" in more:
        pytest.importorskip("pyarrow")
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(200):
        data = jpeg(number % 7, 40 + number % 5, 48)
        (folder / f"{number:03d}.jpg").write_bytes(data if number % 50 != 9 else data[:100] if more else b"")
    size = ["--shard-size", "30000"]
    command = [sys.executable, "-c", KILLED, "pack", str(folder), str(tmp_path / "out"), *size, *more]
    started = time.monotonic()
    subprocess.run([*command[:4], str(folder), str(tmp_path / "once"), *size, *more], check=True, capture_output=True)
    whole_s = time.monotonic() - started
    moments = np.random.default_rng(1).uniform(0.4, 1.0, 4) * whole_s
    for moment in moments:
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            deadline = time.monotonic() + moment
            while time.monotonic() < deadline and process.poll() is None:
                time.sleep(0.002)
            process.send_signal(signal.SIGKILL)
    subprocess.run(command, check=True, capture_output=True)
    assert packed_bytes(tmp_path / "once") == packed_bytes(tmp_path / "out")
    assert len(packed_bytes(tmp_path / "out")) > 5


@pytest.mark.parametrize("to", ["tar", "parquet"])
def test_killed_between_any_two_steps(photos, tmp_path, monkeypatch, to):
    """Every system call that changes the folder is, in turn, the last one."""
    if to == "parquet":
        pytest.importorskip("pyarrow")

    class Killed(BaseException):
        pass

    line = ps.files([*sorted(photos.rglob("*.jpg")), "gone.jpg"])
    ps.pack(line, tmp_path / "once", shard_bytes=12_000, to=to)
    left = 0

    def last(call):
        def until(*args, **options):
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            return call(*args, **options)

        return until

    step = 0
    while True:
        left = step
        with monkeypatch.context() as patch:
            for name in ("fsync", "replace", "unlink"):
                patch.setattr(os, name, last(getattr(os, name)))
            patch.setattr(fill.ShardWriter, "drop", lambda self: self._file.close())
            try:
                ps.pack(line, tmp_path / "out", shard_bytes=12_000, to=to)
                break
            except Killed:
                pass
        ps.pack(line, tmp_path / "out", shard_bytes=12_000, to=to)
        assert packed_bytes(tmp_path / "once") == packed_bytes(tmp_path / "out")
        for path in (tmp_path / "out").iterdir():
            path.unlink()
        step += 1
    assert step > 10


def test_a_shard_that_is_gone_is_made_again(photos, tmp_path):
    line = ps.folder(photos)
    packed = ps.pack(line, tmp_path / "out", shard_bytes=10_240)
    before = packed_bytes(tmp_path / "out")
    os.unlink(packed.shards[1])
    with open(packed.shards[0], "r+b") as file:
        file.truncate(1000)
    again = ps.pack(line, tmp_path / "out", shard_bytes=10_240)
    assert again.present == len(packed.shards) - 2
    assert packed_bytes(tmp_path / "out") == before
    os.unlink(packed.shards[1])
    for path in photos.rglob("*.jpg"):
        path.write_bytes(jpeg(99))
    with pytest.raises(ps.SourceError, match="the source has changed since"):
        ps.pack(line, tmp_path / "out", shard_bytes=10_240)
    assert not os.path.exists(packed.shards[1])
