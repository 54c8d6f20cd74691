"""Private memory of processes that share one cache in RAM, beyond what a process without a cache has.

python benchmarks/cache_sharing.py [IMAGES]
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import data

import penstock as ps

PROCESSES = 4
SIDE = 224
MAX_BYTES = "3GB"


def private_bytes() -> int:
    """Bytes of this process that no other shares (USS)."""
    with open("/proc/self/smaps_rollup", encoding="ascii") as file:
        rows = dict(line.split(":", 1) for line in list(file)[1:])
    return sum(int(rows[name].split()[0]) << 10 for name in ("Private_Clean", "Private_Dirty"))


def one(images: int, cached: bool) -> None:
    """A process: two passes over a cache that is full, then it says what it holds and waits for the others."""
    line: Any = ps.files(data.distinct(data.small(), images)).decode().resize(SIDE, SIDE)
    if cached:
        line = line.cache(ps.RAM, max_bytes=MAX_BYTES)
        line.preload()
    loader = line.normalize(ps.IMAGENET).batch(64, layout="NCHW").loader(threads=1)
    for _ in range(2):
        for _ in loader:
            pass
    info = line.cache_info() if cached else None
    told = {"private": private_bytes(), "cache": info.bytes if info else 0, "entries": info.entries if info else 0}
    print(json.dumps(told), flush=True)
    sys.stdin.read()


def _told(images: int, cached: bool, count: int) -> list[dict[str, int]]:
    command = [sys.executable, __file__, str(images), "cached" if cached else "plain"]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(count)
    ]
    try:
        return [json.loads(process.stdout.readline()) for process in processes if process.stdout is not None]
    finally:
        for process in processes:
            process.communicate()


def measure(images: int) -> dict[str, float]:
    """Bytes: of one process without a cache, of the worst of four with one, and of the cache."""
    data.distinct(data.small(), images)
    [plain] = _told(images, False, 1)
    full = ps.files(data.distinct(data.small(), images)).decode().resize(SIDE, SIDE).cache(ps.RAM, max_bytes=MAX_BYTES)
    full.preload()  # and this process keeps it
    sharing = _told(images, True, PROCESSES)
    cache = max(told["cache"] for told in sharing)
    worst = max(told["private"] for told in sharing)
    return {"plain": plain["private"], "worst": worst, "cache": cache, "share": (worst - plain["private"]) / cache}


if __name__ == "__main__":
    if len(sys.argv) > 2:
        one(int(sys.argv[1]), sys.argv[2] == "cached")
    else:
        print(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 2048))
