"""timeout_s: a read that never comes back fails its item, its thread is replaced, and nothing waits for it.

Such a read takes an hour here, so whoever waits for one is found out by the limit on the process. Where reads that do
come back are beside it, ``timeout_s`` is seconds: a busy machine must not take one of those for stuck.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import penstock as ps

STUCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

/* Files named stuck_open* hang in open, stuck_read* in pread, both for an hour and through every signal, and a folder
   beside them says so; slow* take 300 ms. That is what a server that has gone looks like. */
static void hold_up(const char *path, const char *name) {
  const char *base = strrchr(path, '/');
  base = base ? base + 1 : path;
  struct timespec left = {0, 0};
  if (strncmp(base, name, strlen(name)) == 0) {
    char begun[4096 + 8];
    snprintf(begun, sizeof begun, "%s.begun", path);
    mkdir(begun, 0700);
    left.tv_sec = 3600;
  }
  if (strncmp(base, "slow", 4) == 0) left.tv_nsec = 300000000;
  while (nanosleep(&left, &left) != 0) {}
}

int open(const char *path, int flags, ...) {
  static int (*real)(const char *, int, ...);
  if (!real) real = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open");
  va_list more;
  va_start(more, flags);
  int mode = (flags & O_CREAT) ? va_arg(more, int) : 0;
  va_end(more);
  if ((flags & O_ACCMODE) == O_RDONLY) hold_up(path, "stuck_open");
  return real(path, flags, mode);
}

ssize_t pread(int number, void *into, size_t size, off_t offset) {
  static ssize_t (*real)(int, void *, size_t, off_t);
  if (!real) real = (ssize_t(*)(int, void *, size_t, off_t))dlsym(RTLD_NEXT, "pread");
  char link[64], name[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", number);
  ssize_t length = readlink(link, name, sizeof name - 1);
  if (length > 0) {
    name[length] = 0;
    hold_up(name, "stuck_read");
  }
  return real(number, into, size, offset);
}
"""

BEFORE = """
import io, os, sys, threading, time
import numpy as np
from PIL import Image
import penstock as ps

def line_of(folder, names, batch=2):
    paths = []
    for number, name in enumerate(names):
        paths.append(os.path.join(folder, name))
        if not os.path.exists(paths[-1]):
            file = io.BytesIO()
            noise = np.random.default_rng(number).integers(0, 256, (40, 50, 3), dtype=np.uint8)
            Image.fromarray(noise).save(file, "JPEG")
            with open(paths[-1], "wb") as to:
                to.write(file.getvalue())
    return ps.files(paths).decode().resize(8, 8).batch(batch)

def settled(done):
    "Waits until it is so, as long as a busy machine may need."
    until = time.monotonic() + 60
    while not done() and time.monotonic() < until:
        time.sleep(0.01)
    return done()

def await_read(path):
    "Until a read of this file has begun; the next call waits for the next one."
    if not settled(lambda: os.path.isdir(path + ".begun")):
        sys.exit("no read of " + path)
    os.rmdir(path + ".begun")
"""

pytestmark = pytest.mark.timeout(300)  # of which a script may take LIMIT_S
LIMIT_S = 200


@pytest.fixture(scope="module")
def stuck_reads(tmp_path_factory: pytest.TempPathFactory) -> str:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("expected a C compiler on Linux for reads that never return")
    if "PENSTOCK_TEST_SANITIZED" in os.environ:
        pytest.skip("AddressSanitizer has open and pread wrapped already")
    folder = tmp_path_factory.mktemp("stuck")
    (folder / "stuck.c").write_text(STUCK)
    library = folder / "stuck.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "stuck.c", "-o", str(library), "-ldl"], cwd=folder, check=True)
    return str(library)


def told(stuck_reads: str, script: str) -> str:
    """What a script prints in a process of its own, whose reads of certain files hang; it must end by itself."""
    ended = subprocess.run(
        [sys.executable, "-c", BEFORE + textwrap.dedent(script)],
        env={**os.environ, "LD_PRELOAD": stuck_reads},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_a_stuck_read_fails_its_item_and_no_other(stuck_reads: str, tmp_path: Path, threads: int) -> None:
    out = told(
        stuck_reads,
        f"""
        names = ["a.jpg", "stuck_open.jpg", "b.jpg", "c.jpg", "stuck_read.jpg", "d.jpg", "e.jpg", "stuck_open2.jpg"]
        with line_of({str(tmp_path)!r}, names).run(threads={threads}, on_failure="blank", timeout_s=3) as run:
            valid = [batch.valid.tolist() for batch in run]
        print(valid)
        print(run.failures.by_cause(), run.clean, run.reached)
        print(run.failures[0].stage, run.failures[0].message)
        print(settled(lambda: threading.active_count() == 1))
        """,
    )
    lines = out.splitlines()
    assert lines[0] == "[[True, False], [True, True], [False, True], [True, False]]"
    assert lines[1] == "{'read: timeout': 3} 5 8"
    assert lines[2].startswith("read read of '") and lines[2].endswith(
        "stuck_open.jpg': expected the bytes within 3 s (timeout_s), found the read still going on."
    )
    assert lines[3] == "True"


def test_the_pool_of_a_loader_works_on(stuck_reads: str, tmp_path: Path) -> None:
    out = told(
        stuck_reads,
        f"""
        names = ["a.jpg", "stuck_read.jpg", "stuck_open.jpg", "b.jpg", "c.jpg", "d.jpg"]
        line = line_of({str(tmp_path)!r}, names)
        with line.loader(threads=2, on_failure="blank", timeout_s=2) as loader:
            for _ in range(3):
                print([batch.valid.tolist() for batch in loader])
        """,
    )
    assert out.splitlines() == ["[[True, False], [False, True], [True, True]]"] * 3


def test_raise_and_replace_hold_for_a_stuck_read_too(stuck_reads: str, tmp_path: Path) -> None:
    out = told(
        stuck_reads,
        f"""
        line = line_of({str(tmp_path)!r}, ["a.jpg", "stuck_read.jpg", "b.jpg", "c.jpg"])
        try:
            list(line.run(timeout_s=2))
        except ps.ItemError as error:
            print(error)
        with line.run(on_failure="replace", timeout_s=2) as run:
            batches = list(run)
        print([batch.valid.all() for batch in batches], batches[0].index.tolist(), run.failures.by_cause())
        """,
    )
    first, second = out.splitlines()
    assert first.endswith("expected the bytes within 2 s (timeout_s), found the read still going on.")
    assert re.fullmatch(r"\[np.True_, np.True_\] \[0, 1\] \{'read: timeout': 1\}", second)


def test_a_line_with_a_map_ends_beside_a_stuck_read(stuck_reads: str, tmp_path: Path) -> None:
    out = told(
        stuck_reads,
        f"""
        import logging
        logging.basicConfig(stream=sys.stdout, format="%(message)s")
        folder = {str(tmp_path)!r}
        line_of(folder, ["a.jpg", "stuck_read.jpg"])
        paths = [os.path.join(folder, name) for name in ("a.jpg", "stuck_read.jpg")]
        line = ps.files(paths).decode().resize(8, 8).map(lambda image: image, version="1").batch(2)
        run = line.run(threads=1)
        def consume():
            try:
                next(run)
            except ps.EngineError as error:
                print(error)
        consumer = threading.Thread(target=consume)
        consumer.start()
        await_read(paths[1])
        run.close()
        consumer.join()
        print("closed")
        run = line.run(threads=1)  # and one that nobody closes
        threading.Thread(target=consume, daemon=True).start()
        await_read(paths[1])
        """,
    )
    assert (
        len(re.findall(r"read of '.*stuck_read\.jpg': a thread was still in a system call .* left behind\.", out)) == 2
    )
    assert "The engine was closed while a batch was awaited" in out and "closed" in out.splitlines()


def test_a_slow_read_is_no_failure(stuck_reads: str, tmp_path: Path) -> None:
    out = told(
        stuck_reads,
        f"""
        line = line_of({str(tmp_path)!r}, ["a.jpg", "slow1.jpg", "slow2.jpg", "b.jpg"])
        with line.run(timeout_s=60) as run:
            print([batch.valid.all() for batch in run].count(True), len(run.failures))
        """,
    )
    assert out == "2 0\n"


def test_too_many_stuck_reads_end_the_run_with_a_sentence(stuck_reads: str, tmp_path: Path) -> None:
    out = told(
        stuck_reads,
        f"""
        names = [f"stuck_open{{number}}.jpg" for number in range(90)]
        line = line_of({str(tmp_path)!r}, [*names, "a.jpg", "b.jpg"], batch=46)
        loader = line.loader(threads=8, on_failure="blank", timeout_s=0.2)
        try:
            list(loader)
        except ps.EngineError as error:
            print(error)
        loader.close()
        print("closed")
        """,
    )
    first, second = out.splitlines()
    assert first.startswith("The engine ran out of threads: expected reads that end, found more threads stuck in reads")
    assert second == "closed"


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), True, "1", 1e9])
def test_a_time_that_is_none_is_refused(value: Any) -> None:
    line = ps.blobs([b""]).decode().resize(8, 8)
    with pytest.raises(ps.PlanError, match=r"^timeout_s=.*: expected seconds from 0.001 to 1e\+06, found "):
        line.run(timeout_s=value)
