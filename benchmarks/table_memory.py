"""Memory of ten million files as a source table, beyond the bytes of their names.

python benchmarks/table_memory.py [COUNT] [CLASSES]     with labels of so many classes; 0: without
"""

from __future__ import annotations

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


def main() -> int:
    """Exit code 1 when the figure is missed, else 0."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    classes = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    files_source(["a.jpg"]).locate(np.arange(1))
    before = resident()
    with Peak() as peak:
        begun = time.perf_counter()
        labels = (i % classes for i in range(count)) if classes else None
        source = files_source((f"{i:07d}.jpg" for i in range(count)), labels)
        print(f"{count:,} files listed in {time.perf_counter() - begun:.0f} s")
        source.digest()
        source.find(source.key(count - 1))
        source.locate(np.arange(64))
    names = sum(len(source.key(row)) for row in (0, count - 1)) // 2 * count
    held, most = (resident() - before - names) / 1e6, (peak.most - before - names) / 1e6
    print(f"names {names / 1e6:,.0f} MB; beyond them {held:.1f} MB held, {most:.1f} MB at the peak; at most 100 MB")
    return 0 if most <= 100 else 1


if __name__ == "__main__":
    sys.exit(main())
