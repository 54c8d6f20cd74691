"""map in processes: the bits of threads, no memory left behind, and an end that nothing holds up."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import map_functions as fns
import penstock as ps
from children import but_late_threads
from penstock.workers import Workers
from waiting import wait_until

SEGMENTS = Path("/dev/shm")


def segments(pid: int | None = None) -> set[str]:
    """Those of one process, this one unless told: other tests may run beside it."""
    return {path.name for path in SEGMENTS.glob(f"penstock-{pid or os.getpid()}-*")} if SEGMENTS.is_dir() else set()


def png(number: int) -> bytes:
    data = io.BytesIO()
    Image.fromarray(np.full((6 + number, 9, 3), number, np.uint8)).save(data, "PNG")
    return data.getvalue()


@pytest.fixture(scope="module")
def base() -> ps.Pipeline:
    return ps.blobs({str(number): png(number) for number in range(16)}).seed(1).shuffle().decode()


def test_processes_give_the_bits_of_threads_and_leave_no_memory(base: ps.Pipeline):
    def line(workers: Any) -> ps.Pipeline:
        return (
            base.map(fns.larger, out="any", geometry="keep", workers=workers)  # larger than a segment was
            .resize(12, 12)
            .map(fns.noise, geometry="keep", workers=workers)
            .map(fns.relabel, on="item", geometry="keep", workers=workers)
            .map(fns.shifted, geometry="returned", workers=workers)
            .batch(4)
        )

    expected = list(line("threads").run())
    with line(2).run(threads=2) as run:
        found = list(run)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one.images, other.images)
        np.testing.assert_array_equal(one.labels, other.labels)
        np.testing.assert_array_equal(one.geometry.matrices, other.geometry.matrices)
        assert dict(one.fields) == dict(other.fields)
    np.testing.assert_array_equal(line(2).batch_at(1).images, expected[1].images)


def test_a_killed_process_fails_its_item_alone_and_is_replaced(base: ps.Pipeline):
    before = segments()
    with base.map(fns.killed, workers=1).resize(4, 4).batch(4).run(on_failure="skip") as run:
        rows = sum(len(batch) for batch in run)
    (failure,) = run.failures
    assert rows == 15 and failure.key == "7" and failure.cause == "worker ended"
    assert "map killed: expected an answer from process" in failure.message and "killed by SIGKILL" in failure.message
    wait_until(lambda: segments() <= before)


def test_an_exception_comes_back_as_a_sentence(base: ps.Pipeline):
    run = base.map(fns.raises, workers=1).resize(4, 4).batch(8).run(on_failure="blank")
    assert "map raises: expected uint8 [" in next(run).failures[0].message
    run.close()


def test_a_stuck_process_does_not_hold_up_the_end(base: ps.Pipeline, tmp_path: Path):
    before, begun = segments(), tmp_path / "begun"
    run = base.map(fns.Stuck(str(begun)), workers=2).resize(4, 4).batch(4).run()

    def consume() -> None:
        with pytest.raises(ps.EngineError):
            next(run)

    consumer = threading.Thread(target=consume)
    consumer.start()
    wait_until(begun.exists)
    run.close()
    consumer.join(60)
    assert not consumer.is_alive()
    wait_until(lambda: segments() <= before)  # a thread that was waiting for its process gives that one's memory back


def test_what_a_thread_still_has_is_not_closed_under_it(base: ps.Pipeline):
    before = segments()
    (call,) = (part.call for part in base.map(fns.identity, workers=1).recipe.parts(None) if part.call is not None)
    workers = Workers(call, 1)
    taken = workers._take()
    workers.kill()
    workers.clean_up(time.monotonic())  # whose deadline is over before the thread was let run
    assert not taken._pipe.closed
    with pytest.raises((EOFError, OSError)):
        taken.ask(np.zeros((4, 4, 3), np.uint8), seed=0, epoch=0, index=0, item=None)
    workers._forget(taken)
    assert taken._pipe.closed and not workers._all and segments() <= before


SCRIPT = """
import penstock as ps, os, sys
import map_functions as fns
import test_map_workers as here

def main():
    line = ps.blobs({str(n): here.png(n) for n in range(8)}).decode().map(fns.identity, workers=2)
    run = line.resize(4, 4).batch(2).run()
    print(next(run).images.shape, os.getpid(), bool(here.segments()), flush=True)
    if sys.argv[1] == "leave":
        return
    list(run)

if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize("how", ["leave", "finish"])
def test_a_script_ends_without_a_word_of_leaks(tmp_path: Path, how: str):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    folders = [str(Path(fns.__file__).parent), str(Path(__file__).parent)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}
    done = subprocess.run(
        [sys.executable, str(script), how], capture_output=True, text=True, timeout=200, env=environment, check=False
    )
    pid = done.stdout.split()[-2]
    assert (done.returncode, done.stdout, but_late_threads(done.stderr)) == (0, f"(2, 4, 4, 3) {pid} True\n", "")
    assert not segments(int(pid))
