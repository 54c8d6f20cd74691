"""Contestants that only the repository's figures need: spinning neighbours, and images too small to decode."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import penstock as ps
from penstock.bench.penstock_runs import native
from penstock.bench.task import Lap, Task


def beside_thread(task: Task) -> Lap:
    """Penstock while another thread of its process spins in pure Python, asking for the GIL all the time."""
    lap = native(task)

    def beside() -> dict[str, float]:
        ended = threading.Event()

        def spin() -> None:
            while not ended.is_set():
                for _ in range(1000):
                    pass

        thread = threading.Thread(target=spin)
        thread.start()
        try:
            return timed(lap)
        finally:
            ended.set()
            thread.join()

    return beside


def beside_process(task: Task) -> Lap:
    """Penstock while a separate process spins in pure Python: the same load on the cores, none on the GIL."""
    lap = native(task)

    def beside() -> dict[str, float]:
        program = "print(flush=True)\nwhile True:\n    for _ in range(1000):\n        pass"
        with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as spinner:
            assert spinner.stdout is not None
            spinner.stdout.readline()
            try:
                return timed(lap)
            finally:
                spinner.kill()

    return beside


def tiny_blobs(task: Task) -> Lap:
    """Encoded bytes in memory to uint8 at their own size, 16 x 16: nothing to read, nothing to resize."""
    blobs = {f"{number}": Path(path).read_bytes() for number, path in enumerate(task.paths)}
    return _pass(ps.blobs(blobs).decode().resize(16, 16).batch(task.batch), task)


def tiny_files(task: Task) -> Lap:
    """The same from files."""
    return _pass(ps.files(task.paths).decode().resize(16, 16).batch(task.batch), task)


def _pass(line: ps.Pipeline, task: Task) -> Lap:
    def lap() -> dict[str, float]:
        with line.run(threads=task.threads) as run:
            images = sum(len(batch) for batch in run)
        return {"images": float(images), "decode_s": run.stats.busy_s["decode"]}

    return lap


def timed(lap: Lap) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    counted = lap()
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, **counted}
