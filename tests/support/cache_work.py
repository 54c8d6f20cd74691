"""Processes that fill a cache: `python cache_work.py WORD ARGUMENTS...`. Without NumPy, so that they start at once."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from penstock import _native

RECIPE = (1, 2)
FIELDS = {"size": (1, 1), "channels": 3, "stored": (30, 40), "orientation": 6, "damaged": True, "damage": "cut short"}


def key(number: int, recipe: tuple[int, int] = RECIPE) -> tuple[int, int]:
    return _native.cache_key(b"item %d" % number, recipe)


def payload(number: int) -> bytes:
    """Bytes of which each place differs from item to item."""
    return random.Random(number).randbytes(500 + number * 7919 % 40000)


def store(
    folder: str, max_bytes: int = 256 << 20, recipe: tuple[int, int] = RECIPE, **others: Any
) -> _native.CacheStore:
    return _native.CacheStore.open(os.fsencode(folder), max_bytes, recipe, **others)


def keep(opened: _native.CacheStore, number: int, recipe: tuple[int, int] = RECIPE) -> str:
    return opened.keep(key(number, recipe), FIELDS, payload(number))


def right(opened: _native.CacheStore, number: int, recipe: tuple[int, int] = RECIPE) -> bool:
    """Whether an item is found; an AssertionError where what is found is not what was kept."""
    found = opened.find(key(number, recipe))
    if found is None:
        return False
    data, fields = found
    assert data == payload(number), f"wrong bytes of item {number}"
    assert {name: fields[name] for name in FIELDS} == FIELDS, f"wrong fields of item {number}"
    return True


def in_a_child(child: Callable[[], None]) -> None:
    """Runs it in a forked child, which has to come to its end."""
    pid = os.fork()
    if pid == 0:
        try:
            child()
            os._exit(42)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 42


def verify(folder: str) -> dict:
    return _native.CacheStore.verify(os.fsencode(folder))


def files(folder: str, tail: str) -> list[Path]:
    return sorted(Path(folder).glob("*" + tail))


def filled(folder: str, count: int = 30, **options) -> None:
    opened = store(folder, **options)
    assert [keep(opened, n) for n in range(count)] == ["stored"] * count
    opened.close()


def in_child(work) -> int:
    """Forks; the child does the work and is gone. The child's id."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return child


def end(child: int, kill: bool = False) -> None:
    if kill:
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def write_on(folder: str, first: int, max_bytes: int, recipe: tuple[int, int], told: int) -> None:
    """Keeps items until it is killed, or has kept 500; each that is stored is a byte in the pipe ``told``."""
    opened = store(folder, max_bytes, recipe)
    for number in range(first, first + 500):
        if keep(opened, number, recipe) == "stored":
            os.write(told, b".")
    signal.pause()


def killed_after(count: int, then_s: float, folder: str, first: int, max_bytes: int, recipe: tuple[int, int]) -> int:
    """A writer that is killed some time after it stored ``count`` items; how many it said it had stored."""
    reader, writer = os.pipe()
    child = in_child(lambda: write_on(folder, first, max_bytes, recipe, writer))
    os.close(writer)
    stored = 0
    while stored < count:
        said = os.read(reader, count - stored)
        assert said, "the writer ended by itself"
        stored += len(said)
    time.sleep(then_s)
    end(child, kill=True)
    while more := os.read(reader, 1000):
        stored += len(more)
    os.close(reader)
    return stored


def killed_writers(folder: str, rounds: str) -> None:
    """Writers, each killed after a few items and at any moment of the next; how many they stored is printed."""
    draw = random.Random(0)
    stored = 0
    for number in range(int(rounds)):
        count, then_s = draw.randrange(5), draw.uniform(0, 0.002)
        stored += killed_after(count, then_s, folder, number * 1000, 1 << 30, (1, number % 10))
    print(stored)


def shared_rounds(folder: str, rounds: str, max_bytes: str) -> None:
    """Two processes fill the same folder with the same items while a third is killed; the largest size is printed."""
    draw = random.Random(1)
    largest = 0

    def fill(first: int) -> None:
        opened = store(folder, int(max_bytes))
        for number in range(first, first + 12):
            if not right(opened, number):
                keep(opened, number)
        opened.close()

    for number in range(int(rounds)):
        first = number * 12
        children = [in_child(lambda f=first: fill(f)) for _ in range(2)]
        killed_after(0, draw.uniform(0, 0.01), folder, first, int(max_bytes), RECIPE)
        for child in children:
            end(child)
        largest = max(largest, sum(entry.stat().st_size for entry in os.scandir(folder)))
    print(largest)


if __name__ == "__main__":
    {"killed_writers": killed_writers, "shared_rounds": shared_rounds}[sys.argv[1]](*sys.argv[2:])
