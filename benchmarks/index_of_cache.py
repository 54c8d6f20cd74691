"""Which store a cache's index is to have: fixed records in a file, SQLite, or LMDB (where it is installed).

python benchmarks/index_of_cache.py

Each is put to through Python in the same way: a key of 16 bytes, a value of 40. Medians of CPU time; the file lies on
the disk of the temporary folder. Then 400 copies with one flipped bit each are opened and every key is asked for, in a
process of its own: an answer may be right, missing or an error; it must not be wrong, and the process must not die.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import sqlite3
import statistics
import struct
import sys
import tempfile
import time
from pathlib import Path

import xxhash

COUNT, FLIPS, KILLS = 100_000, 400, 50
RECORD = struct.Struct("<16s40sQ")


def key(number: int) -> bytes:
    return hashlib.md5(b"%d" % number).digest()


def value(number: int) -> bytes:
    return struct.pack("<5Q", number, number * 3, number * 7, number * 11, number * 13)


class Sidecar:
    """Records of 64 bytes that end in their own checksum; all are read when it is opened."""

    def __init__(self, path: str) -> None:
        self.file = os.open(path, os.O_RDWR | os.O_CREAT)
        data = os.pread(self.file, os.fstat(self.file).st_size, 0)
        self.end = len(data) // 64 * 64
        self.table = {}
        for name, content, checksum in RECORD.iter_unpack(data[: self.end]):
            if xxhash.xxh3_64_intdigest(name + content) == checksum:
                self.table[name] = content

    def put(self, name: bytes, content: bytes) -> None:
        os.pwrite(self.file, RECORD.pack(name, content, xxhash.xxh3_64_intdigest(name + content)), self.end)
        self.end += 64
        self.table[name] = content

    def get(self, name: bytes) -> bytes | None:
        return self.table.get(name)

    def close(self) -> None:
        os.close(self.file)


class Sqlite:
    """A table without row ids, WAL, one transaction a put, synchronous off: nothing here waits for the disk either."""

    def __init__(self, path: str) -> None:
        self.base = sqlite3.connect(path, isolation_level=None)
        self.base.execute("pragma journal_mode=wal")
        self.base.execute("pragma synchronous=off")
        self.base.execute("create table if not exists t (k blob primary key, v blob) without rowid")

    def put(self, name: bytes, content: bytes) -> None:
        self.base.execute("insert or replace into t values (?, ?)", (name, content))

    def get(self, name: bytes) -> bytes | None:
        row = self.base.execute("select v from t where k = ?", (name,)).fetchone()
        return row and row[0]

    def close(self) -> None:
        self.base.close()


class Lmdb:
    """One transaction a put, without waiting for the disk."""

    def __init__(self, path: str) -> None:
        import lmdb

        self.base = lmdb.open(path, subdir=False, map_size=1 << 28, sync=False, metasync=False)

    def put(self, name: bytes, content: bytes) -> None:
        with self.base.begin(write=True) as transaction:
            transaction.put(name, content)

    def get(self, name: bytes) -> bytes | None:
        with self.base.begin() as transaction:
            return transaction.get(name)

    def close(self) -> None:
        self.base.close()


def in_child(work) -> int:
    """The exit status of a forked child that does the work: what it returns, 77 for an exception, or minus a signal."""
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            os._exit(work())
        except BaseException:  # noqa: BLE001
            os._exit(77)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def timed(kind, path: str) -> tuple[float, float, float]:
    """Microseconds a put and a look-up, milliseconds to open COUNT entries."""
    made = kind(path)
    puts, gets = [], []
    for first in range(0, COUNT, 1000):
        names = [(key(n), value(n)) for n in range(first, first + 1000)]
        before = time.thread_time()
        for name, content in names:
            made.put(name, content)
        puts.append((time.thread_time() - before) * 1000)
        before = time.thread_time()
        for name, _ in names:
            made.get(name)
        gets.append((time.thread_time() - before) * 1000)
    made.close()
    opens = []
    for _ in range(5):
        before = time.thread_time()
        made = kind(path)
        made.get(key(5))
        opens.append((time.thread_time() - before) * 1000)
        made.close()
    return statistics.median(puts), statistics.median(gets), statistics.median(opens)


def flipped(kind, path: str, folder: str) -> dict[str, int]:
    """What FLIPS single flipped bits in a file of 2,000 entries do."""
    made = kind(path)
    for n in range(2000):
        made.put(key(n), value(n))
    made.close()
    draw, outcomes = random.Random(0), {}
    whole = Path(path).read_bytes()
    used = len(whole.rstrip(b"\0"))
    for number in range(FLIPS):
        data = bytearray(whole)
        data[draw.randrange(used)] ^= 1 << draw.randrange(8)
        copy = f"{folder}/flip{number}"
        Path(copy).write_bytes(data)

        def ask(copy=copy) -> int:
            opened = kind(copy)
            answers = [opened.get(key(n)) for n in range(2000)]
            if any(a is not None and a != value(n) for n, a in enumerate(answers)):
                return 2
            return 1 if None in answers else 0

        status = in_child(ask)
        word = {0: "all right", 1: "missing", 2: "WRONG", 77: "error"}.get(status, f"DIED of signal {-status}")
        outcomes[word] = outcomes.get(word, 0) + 1
    return outcomes


def killed(kind, folder: str) -> str:
    """Writers killed at random moments: how many files still open, and whether what they hold is right."""
    draw, good = random.Random(1), 0
    for number in range(KILLS):
        path = f"{folder}/kill{number}"

        def write(path=path) -> int:
            made = kind(path)
            for n in range(COUNT):
                made.put(key(n), value(n))
            return 0

        child = os.fork()
        if child == 0:
            os._exit(write())
        time.sleep(draw.uniform(0.005, 0.03))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)

        def read(path=path) -> int:
            opened = kind(path)
            return any(opened.get(key(n)) not in (None, value(n)) for n in range(5000))

        good += in_child(read) == 0
    return f"{good} of {KILLS}"


def main() -> None:
    kinds = {"sidecar": Sidecar, "sqlite": Sqlite}
    try:
        import lmdb  # noqa: F401

        kinds["lmdb"] = Lmdb
    except ImportError:
        print("lmdb is not installed: left out", file=sys.stderr)
    print("store     us a put  us a look-up  ms to open  right after a kill  after a flipped bit")
    for name, kind in kinds.items():
        folder = tempfile.mkdtemp()
        try:
            put, get, opened = timed(kind, f"{folder}/{name}")
            print(f"{name:8} {put:9.1f} {get:13.1f} {opened:11.1f}  {killed(kind, folder):18}", end="  ")
            print(flipped(kind, f"{folder}/{name}.flip", folder), flush=True)
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
