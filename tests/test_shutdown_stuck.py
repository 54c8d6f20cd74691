"""Runs with a read that never comes back, each in a process of its own: the run ends, and the process goes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from children import ENDED_BY_SIGINT, LIMIT_S, Child, interrupted

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and fork")


STUCK_PREAD = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

/* Reads of files named stuck* sleep through every signal, like a read from a server that has gone. */
ssize_t pread(int number, void *into, size_t size, off_t offset) {
  static ssize_t (*real)(int, void *, size_t, off_t);
  if (!real) real = (ssize_t(*)(int, void *, size_t, off_t))dlsym(RTLD_NEXT, "pread");
  char link[64], name[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", number);
  ssize_t length = readlink(link, name, sizeof name - 1);
  if (length > 0) {
    name[length] = 0;
    const char *base = strrchr(name, '/');
    if (base && strncmp(base + 1, "stuck", 5) == 0) {
      struct timespec left = {60, 0};
      while (nanosleep(&left, &left) != 0) {}
    }
  }
  return real(number, into, size, offset);
}
"""


@pytest.fixture(scope="module")
def stuck_reads(tmp_path_factory: pytest.TempPathFactory) -> str:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("expected a C compiler on Linux for a pread that never returns")
    folder = tmp_path_factory.mktemp("stuck")
    (folder / "stuck.c").write_text(STUCK_PREAD)
    library = folder / "stuck.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "stuck.c", "-o", str(library), "-ldl"], cwd=folder, check=True)
    return str(library)


STUCK_FILES = """
import logging
logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
def stuck_files(folder, names):
    paths = []
    for name in names:
        paths.append(os.path.join(folder, name))
        with open(paths[-1], "wb") as file:
            file.write(encoded(60, 80))
    return ps.files(paths).decode().resize(8, 8).batch(2)
"""


@pytest.fixture
def stuck_environment(stuck_reads: str) -> dict[str, Any]:
    inherited = os.environ.get("LD_PRELOAD")
    return {"LD_PRELOAD": f"{stuck_reads} {inherited}" if inherited else stuck_reads}


def test_interrupt_of_a_stuck_read(stuck_environment: dict[str, str], tmp_path: Path) -> None:
    code, out, err = interrupted(
        STUCK_FILES
        + f"""
line = stuck_files({str(tmp_path)!r}, ["a.jpg", "b.jpg", "stuck.jpg", "c.jpg"])
with line.run(threads=2) as run:
    for batch in run:
        say("started")
""",
        **stuck_environment,
    )
    assert out == "" and code in ENDED_BY_SIGINT
    name = str(tmp_path / "stuck.jpg")
    assert f"penstock: read of {name!r}: a thread was still in a system call when the run had ended" in err


def test_break_and_exit_with_a_stuck_read(stuck_environment: dict[str, str], tmp_path: Path) -> None:
    child = Child(
        STUCK_FILES
        + f"""
line = stuck_files({str(tmp_path)!r}, ["a.jpg", "b.jpg", "stuck1.jpg", "stuck2.jpg", "c.jpg", "d.jpg"])
with line.run(threads=2) as run:
    for batch in run:
        time.sleep(0.5)  # until both threads are in their reads
        break
with stuck_files({str(tmp_path)!r}, ["e.jpg", "f.jpg"]).run(threads=2) as run:  # the process works on
    say(len(list(run)))
left_open = line.run(threads=1)
next(left_open)
time.sleep(0.5)
""",
        **stuck_environment,
    )
    code, out, err = child.end(LIMIT_S * 2)
    assert (code, out) == (0, "1\n")
    assert err.count("stuck1.jpg") == 2 and err.count("stuck2.jpg") == 1


def test_a_fifo_or_a_device_among_the_files_is_a_failure_not_a_wait(tmp_path: Path) -> None:
    fifo = tmp_path / "pipe.jpg"
    os.mkfifo(fifo)
    child = Child(f"""
line = ps.files([{str(fifo)!r}, "/dev/zero", "/dev/stdin"]).decode().resize(8, 8).batch(3)
with line.run(on_failure="blank") as run:
    for batch in run:
        for failure in batch.failures:
            say(failure.stage, failure.cause)
""")
    code, out, _ = child.end()
    assert code == 0 and out.splitlines()[:2] == ["read not a regular file"] * 2
