"""Processes that fill a cache: `python cache_work.py WORD ARGUMENTS...`. Without NumPy, so that they start at once."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
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


def write_on(folder: str, first: int, max_bytes: int, recipe: tuple[int, int]) -> None:
    opened = store(folder, max_bytes, recipe)
    for number in range(first, first + 100000):
        keep(opened, number, recipe)


def killed_writers(folder: str, rounds: str) -> None:
    """Writers, each killed at a random moment of its first milliseconds."""
    draw = random.Random(0)
    for number in range(int(rounds)):
        recipe = (1, number % 10)
        child = in_child(lambda n=number, r=recipe: write_on(folder, n * 1000, 1 << 30, r))
        time.sleep(draw.uniform(0, 0.01))
        end(child, kill=True)


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
        third = in_child(lambda f=first: write_on(folder, f, int(max_bytes), RECIPE))
        time.sleep(draw.uniform(0, 0.01))
        end(third, kill=True)
        for child in children:
            end(child)
        largest = max(largest, sum(entry.stat().st_size for entry in os.scandir(folder)))
    print(largest)


if __name__ == "__main__":
    {"killed_writers": killed_writers, "shared_rounds": shared_rounds}[sys.argv[1]](*sys.argv[2:])
