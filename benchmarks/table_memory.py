"""Memory of ten million files as a source table, beyond the bytes of their names.

python benchmarks/table_memory.py [COUNT] [CLASSES]     with labels of so many classes; 0: without
"""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import Self

import numpy as np

from penstock.sources import files_source

PAGE_BYTES = 4096


def resident() -> int:
    """Bytes of this process that are in memory."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * PAGE_BYTES


class Peak:
    """The most that was resident, looked at every 20 ms."""

    def __init__(self) -> None:
        self.most = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._done.wait(0.02):
            self.most = max(self.most, resident())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()


def measure(count: int, classes: int) -> dict[str, float]:
    """Bytes of the names, and what is held and was the most beyond them; seconds of listing."""
    files_source(["a.jpg"]).locate(np.arange(1))
    before = resident()
    with Peak() as peak:
        begun = time.perf_counter()
        labels = (i % classes for i in range(count)) if classes else None
        source = files_source((f"{i:07d}.jpg" for i in range(count)), labels)
        listed_s = time.perf_counter() - begun
        source.digest()
        source.find(source.key(count - 1))
        source.locate(np.arange(64))
    names = sum(len(source.key(row)) for row in (0, count - 1)) // 2 * count
    held, most = resident() - before - names, peak.most - before - names
    return {"names": names, "held": held, "most": max(held, most), "listed_s": listed_s}


def main() -> int:
    """Prints what was measured as JSON."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    classes = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    print(json.dumps(measure(count, classes)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
