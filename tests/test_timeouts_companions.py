"""timeout_s for companions: one whose file hangs fails its row, its thread is replaced, and nothing waits for it."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import penstock as ps
from penstock import beside as beside_module
from penstock import companions

if not hasattr(os, "mkfifo"):
    pytest.skip("expected a system with FIFOs", allow_module_level=True)


class Stuck:
    """Files whose name begins with "stuck" are read from a FIFO that nobody writes to."""

    def __init__(self, fifo: Path) -> None:
        self.fifo = fifo
        self.inside = 0
        self._real = companions.read_file
        self._lock = threading.Lock()
        os.mkfifo(fifo)

    def read(self, path: bytes) -> bytes:
        if os.path.basename(path).startswith(b"stuck"):
            with self._lock:
                self.inside += 1
            with self.fifo.open("rb") as file:  # a system call that no signal and nobody else ends
                return file.read()
        return self._real(path)

    def let_go(self) -> None:
        deadline = time.monotonic() + 10
        while any(thread.name.startswith("penstock-beside") for thread in threading.enumerate()):
            with contextlib.suppress(OSError):  # nobody reads it at the moment
                os.close(os.open(self.fifo, os.O_WRONLY | os.O_NONBLOCK))
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.fixture
def stuck(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stuck]:
    made = Stuck(tmp_path / "fifo")
    monkeypatch.setattr(companions, "read_file", made.read)
    yield made
    made.let_go()


def line_of(folder: Path, names: list[str], **patterns: str) -> ps.Pipeline:
    (folder / "mask").mkdir()
    for number, name in enumerate(names):
        pixels = np.full((20, 24, 3), number, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
        Image.fromarray(pixels[..., 0]).save(folder / "mask" / f"{name}.png")
        Image.fromarray(pixels[..., 0]).save(folder / "mask" / f"other_{name}.png")
    line = ps.files([str(folder / f"{name}.png") for name in names]).decode()
    return line.companion(**(patterns or {"mask": "mask/{stem}.png"})).resize(8, 8, filter="nearest").batch(2)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_stuck_companion_fails_its_row_and_no_other(stuck: Stuck, tmp_path: Path, threads: int) -> None:
    names = ["a", "stuck1", "b", "c", "stuck2", "stuck3", "d", "e"]
    line = line_of(tmp_path, names)
    began = time.monotonic()
    with line.run(threads=threads, on_failure="blank", timeout_s=0.3) as run:
        rows = [
            (row.key, row.valid, int(batch.companions["mask"][i].max())) for batch in run for i, row in enumerate(batch)
        ]
    assert time.monotonic() - began < 6
    assert [valid for _, valid, _ in rows] == [not name.startswith("stuck") for name in names]
    assert [value for _, _, value in rows] == [0 if name.startswith("stuck") else i for i, name in enumerate(names)]
    assert len(run.failures) == stuck.inside == 3 and run.clean == 5 and run.reached == 8
    for failure in run.failures:
        assert (failure.stage, failure.cause) == ("read", "timeout")
        assert failure.message == (
            f"read of {failure.key!r}: companion mask: expected its values within 0.3 s (timeout_s), found them still "
            f"being read."
        )


def test_the_sentence_names_the_companion_that_hangs(stuck: Stuck, tmp_path: Path) -> None:
    line = line_of(tmp_path, ["stuck", "a"], other="mask/other_{stem}.png", mask="mask/{stem}.png")
    with line.run(threads=2, on_failure="skip", timeout_s=0.2) as run:
        [batch] = run
    assert len(batch) == 1
    [failure] = run.failures
    assert "companion mask: expected" in failure.message


def test_a_loader_goes_on_after_a_companion_that_hangs(stuck: Stuck, tmp_path: Path) -> None:
    line = line_of(tmp_path, ["stuck", "a", "b", "c"])
    with line.loader(threads=1, on_failure="blank", timeout_s=0.2) as loader:
        for _ in range(2):
            assert [row.valid for batch in loader for row in batch] == [False, True, True, True]


@pytest.mark.parametrize("timeout_s", [None, 30.0])
def test_close_ends_within_a_second_beside_a_companion_that_hangs(
    stuck: Stuck, tmp_path: Path, timeout_s: float | None
) -> None:
    line = line_of(tmp_path, ["stuck", "a"])
    problems: list[Any] = []
    run = line.run(threads=1, timeout_s=timeout_s)

    def consume() -> None:
        try:
            next(run)
        except ps.PenstockError as error:
            problems.append(error)

    consumer = threading.Thread(target=consume)
    consumer.start()
    deadline = time.monotonic() + 10
    while not stuck.inside and time.monotonic() < deadline:
        time.sleep(0.01)
    began = time.monotonic()
    run.close()
    assert time.monotonic() - began < 1.5
    consumer.join(10)
    assert not consumer.is_alive() and len(problems) == 1


def test_more_threads_than_may_be_left_behind_end_the_run(
    stuck: Stuck, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beside_module, "_MOST_LEFT_BEHIND", 1)
    line = line_of(tmp_path, ["stuck1", "stuck2", "stuck3", "a"])
    with line.run(threads=1, on_failure="blank", timeout_s=0.1) as run, pytest.raises(ps.EngineError, match="stuck"):
        list(run)
