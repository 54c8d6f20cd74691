"""Every way of ending a run, each in a process of its own: what is raised and printed, and that the process goes.

A run here would take many minutes if it were waited for. The limit is far above the second that is promised, so that a
busy machine does not fail it, and far below those minutes.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and fork"),
    pytest.mark.timeout(300),  # of which a child has LIMIT_S once it has imported everything
]

LIMIT_S = 90.0

PREAMBLE = """
import gc, io, os, signal, sys, threading, time
import numpy as np
from PIL import Image
import penstock as ps
from penstock import answers as answers_module
from penstock import engine as engine_module

def encoded(height, width, kind="JPEG", **options):
    coarse = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((width, height)).save(file, kind, **options)
    return file.getvalue()

def small_line(count=400, batch=4):
    return ps.blobs([encoded(60, 80)] * count).decode().resize(8, 8).batch(batch)

def large_line(**options):
    return ps.blobs([encoded(3000, 4000, quality=92, **options)] * 50_000).decode().resize(224, 224).batch(8)

def stuck_line():
    real = answers_module.decode_pillow
    def sleepy(*args):
        time.sleep(3600)
        return real(*args)
    answers_module.decode_pillow = sleepy
    return ps.blobs([encoded(20, 30, "BMP")] * 50).decode().resize(8, 8).batch(4)

def say(*words):
    print(*words, flush=True)

def settled(done):
    "Waits until it is so, as long as a busy machine may need."
    until = time.monotonic() + 60
    while not done() and time.monotonic() < until:
        time.sleep(0.01)
    return done()

def alone():
    "Whether this thread is the only one, once those that were on their way out have gone."
    return settled(lambda: threading.active_count() == 1)

say("ready")
"""


class Child:
    """A Python process that runs a script; ``end`` waits for it, within the limit."""

    def __init__(self, script: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-W", "ignore::DeprecationWarning", "-c", PREAMBLE + script],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
            start_new_session=True,
        )
        self.wait_for("ready")

    def wait_for(self, word: str) -> None:
        assert self.process.stdout is not None and self.process.stderr is not None
        line = self.process.stdout.readline().strip()
        if line != word:
            self.kill()
            pytest.fail(f"expected {word!r}, found {line!r}: {self.process.stderr.read()}")

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)

    def end(self) -> tuple[int, str, str]:
        """Exit code, the rest of stdout, stderr."""
        begun = time.monotonic()
        try:
            out, err = self.process.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)  # faulthandler writes where it hangs
            time.sleep(0.5)
            self.kill()
            _, err = self.process.communicate()
            pytest.fail(f"still running after {time.monotonic() - begun:.1f} s:\n{err}")
        assert "nanobind" not in err and "Fatal" not in err and "terminate called" not in err, err
        return self.process.returncode, out, err


def interrupted(script: str, **environment: str) -> tuple[int, str, str]:
    child = Child(script, **environment)
    child.wait_for("started")
    time.sleep(0.3)  # into the middle of the wait, or a little before it
    child.process.send_signal(signal.SIGINT)
    return child.end()


ENDED_BY_SIGINT = (-signal.SIGINT, 130, 1)


# -- Ctrl-C --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["large_line()", "large_line(progressive=True)", "stuck_line()"])
def test_interrupt_while_a_batch_is_awaited(line: str) -> None:
    code, out, err = interrupted(f"""
line = {line}
begun = None
def interrupt(*arguments):
    global begun
    begun = time.monotonic()
    signal.default_int_handler(*arguments)
signal.signal(signal.SIGINT, interrupt)
try:
    with line.run(threads=2) as run:
        say("started")
        for batch in run:
            pass
except KeyboardInterrupt:
    say("interrupted", time.monotonic() - begun < {LIMIT_S / 2}, "closed" in str(run))
    raise
""")
    assert out.split() == ["interrupted", "True", "True"]
    assert code in ENDED_BY_SIGINT and err.rstrip().endswith("KeyboardInterrupt")


def test_interrupt_in_the_consumers_own_code() -> None:
    code, out, err = interrupted("""
with small_line().run() as run:
    for batch in run:
        say("started")
        time.sleep(3600)
""")
    assert out == "" and code in ENDED_BY_SIGINT and err.rstrip().endswith("KeyboardInterrupt")


def test_interrupt_of_a_loader_without_a_with_block() -> None:
    code, _, err = interrupted("""
line = large_line()
loader = line.loader(threads=2)
say("started")
for batch in loader:
    pass
""")
    assert code in ENDED_BY_SIGINT and err.rstrip().endswith("KeyboardInterrupt")


def test_a_signal_handler_that_raises_ends_the_wait() -> None:
    child = Child("""
def too_long(*_):
    raise TimeoutError("too long")
signal.signal(signal.SIGALRM, too_long)
line = large_line()
try:
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    with line.run(threads=2) as run:
        for batch in run:
            pass
except TimeoutError as error:
    say(error)
""")
    assert child.end() == (0, "too long\n", "")


def test_a_run_can_follow_an_interrupted_one() -> None:
    code, out, err = interrupted("""
line = large_line()
try:
    say("started")
    with line.run(threads=2) as run:
        list(run)
except KeyboardInterrupt:
    pass
with small_line(20).run() as run:
    say(len(list(run)), alone())
""")
    assert (code, out, err) == (0, "5 True\n", "")


# -- leaving without an interrupt ----------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["small_line()", "large_line()"])
@pytest.mark.parametrize(
    "body",
    [
        "with line.run() as run:\n    for batch in run:\n        break",
        "run = line.run()\nnext(run)",  # left open, closed by nobody, alive at exit
        "for batch in line:\n    break",
        "loader = line.loader()\nnext(iter(loader))",
        "batches = iter(line.loader())\nkept = next(batches)",
        "run = line.run(); next(run)\ncycle = [run]; cycle.append(cycle); run = None",  # left to the collector
        "row = next(iter(line))[0]",
    ],
)
def test_leaving_early(line: str, body: str) -> None:
    child = Child(f"line = {line}\n{body}\nsay('left')")
    assert child.end() == (0, "left\n", "")


def test_an_exception_in_the_consumer() -> None:
    child = Child("""
try:
    with large_line().run() as run:
        for batch in run:
            raise ValueError("the model did not like it")
except ValueError:
    say("closed" in str(run), alone())
    raise
""")
    code, out, err = child.end()
    assert (code, out) == (1, "True True\n") and err.rstrip().endswith("ValueError: the model did not like it")


def test_an_awaited_batch_that_takes_too_long() -> None:
    child = Child("""
import asyncio
async def consume():
    async with large_line().run(threads=2) as run:
        await asyncio.wait_for(anext(run), 0.05)
try:
    asyncio.run(consume())
except TimeoutError:
    say("too long", alone())
""")
    assert child.end() == (0, "too long True\n", "")


def test_sys_exit_in_the_loop() -> None:
    child = Child("""
with large_line().run() as run:
    for batch in run:
        sys.exit(7)
""")
    assert child.end() == (7, "", "")


@pytest.mark.parametrize("line", ["large_line()", "stuck_line()"])
def test_exit_while_another_thread_consumes(line: str) -> None:
    child = Child(f"""
line = {line}
def consume():
    with line.run(threads=2) as run:
        for batch in run:
            pass
threading.Thread(target=consume, daemon=True).start()
time.sleep(0.5)
say("left")
""")
    code, out, _ = child.end()
    assert (code, out) == (0, "left\n")


def test_exit_with_pillows_threads_at_work() -> None:
    child = Child("""
run = stuck_line().run(threads=2)
threading.Timer(0.5, lambda: say("leaving")).start()
consumer = threading.Thread(target=lambda: next(run), daemon=True)
consumer.start()
time.sleep(0.7)
""")
    code, out, _ = child.end()
    assert (code, out) == (0, "leaving\n")


def test_a_native_call_that_outlives_the_interpreter() -> None:
    child = Child("""
import tempfile
from penstock import _native
class Slow:  # keeps the interpreter ending until the call below has come back
    def __del__(self, sleep=time.sleep):
        sleep(2.5)
slow = Slow()
slow.itself = slow
with tempfile.NamedTemporaryFile(suffix=".jpg") as file:
    file.write(encoded(600, 800))
    file.flush()
    each = _native.bare_decode([file.name] * 10, 1) / 10
    threading.Thread(target=_native.bare_decode, args=([file.name] * int(1 / each), 1), daemon=True).start()
    time.sleep(0.3)
say("left")
""")
    assert child.end() == (0, "left\n", "")


def test_threads_are_gone_when_a_run_is_closed() -> None:
    child = Child("""
def tasks():
    return len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 0
line = ps.blobs([encoded(60, 80), encoded(20, 30, "BMP")] * 20).decode().resize(8, 8).batch(4)
with line.run(threads=3) as run:
    list(run)
before = tasks()
for end in range(5):
    with line.run(threads=3) as run:
        for batch in run:
            break
# The system takes a moment to bury a thread that was joined.
say(settled(lambda: tasks() <= before), alone())
""")
    assert child.end() == (0, "True True\n", "")


# -- fork ----------------------------------------------------------------------------------------------------

FORK = """
def forked(child):
    "Exit code of a forked child that runs ``child`` and then leaves as Python does."
    number = os.fork()
    if number == 0:
        signal.alarm(60)
        try:
            child()
        except SystemExit:
            raise
        except BaseException:
            import traceback
            traceback.print_exc()
            sys.exit(99)
        sys.exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
"""


@pytest.mark.parametrize(
    "child",
    [
        "pass",
        "gc.collect()",
        "globals().pop('run'); globals().pop('kept'); gc.collect()",
        "run.close()",
        "assert len(list(small_line(40).run(threads=2))) == 10",
        "assert np.array_equal(kept.images, next(small_line(4).run()).images)",
        "assert np.array_equal(small_line(8).batch_at(1).images, kept.images)",
        "assert run.stats.threads == 2 and 'Run' in str(run)",
    ],
)
@pytest.mark.skipif(
    "PENSTOCK_TEST_SANITIZED" in os.environ,
    reason="AddressSanitizer's own locks are not remade in a child forked while threads allocate",
)
def test_a_fork_while_a_run_is_open(child: str) -> None:
    script = f"""
run = small_line(40).run(threads=2)
kept = next(run)
def child():
    {child}
code = forked(child)
say(code, 1 + len(list(run)))
"""
    assert Child(FORK + script).end() == (0, "0 10\n", "")


def test_a_forked_child_is_told_that_the_run_is_not_its_own() -> None:
    child = Child(
        FORK
        + """
run = small_line(40).run(threads=2)
next(run)
def child():
    try:
        list(run)
    except ps.EngineError as error:
        say(error)
forked(child)
"""
    )
    sentence = "run: expected the process that started it, found a forked child; start a run of its own there.\n"
    assert child.end() == (0, sentence, "")


def test_a_loader_in_a_forked_child_has_a_pool_of_its_own() -> None:
    child = Child(
        FORK
        + """
loader = small_line(40).loader(threads=2)
list(loader)
next(iter(loader))
def child():
    epochs = [[batch.epoch for batch in loader] for _ in range(2)]
    assert epochs == [[2] * 10, [3] * 10], epochs
say(forked(child), [len(list(loader)) for _ in range(2)])
"""
    )
    assert child.end() == (0, "0 [10, 10]\n", "")


def test_a_fork_with_pillows_threads_at_work() -> None:
    child = Child(
        FORK
        + """
line = ps.blobs([encoded(300, 400, "BMP")] * 60).decode().resize(8, 8).batch(4)
run = line.run(threads=2)
codes = []
for batch in run:
    if batch.step % 4 == 0:
        codes.append(forked(lambda: list(ps.blobs([encoded(20, 30, "BMP")]).decode().resize(8, 8).batch(1).run())))
say(codes)
"""
    )
    assert child.end() == (0, "[0, 0, 0, 0]\n", "")


def test_a_fork_while_a_thread_holds_the_lock_of_pillows_warnings() -> None:
    child = Child(
        FORK
        + """
import warnings
from penstock import pillow_warnings
png = encoded(20, 30, "BMP")
filters = list(warnings.filters)
entered, go_on = threading.Event(), threading.Event()
def hold():
    with pillow_warnings.recorded_warnings(), pillow_warnings._lock:
        entered.set()
        go_on.wait()
holder = threading.Thread(target=hold)
holder.start()
entered.wait()
def child():
    assert list(warnings.filters) == filters
    ps.decode(png)
    assert pillow_warnings._users == 0 and list(warnings.filters) == filters
code = forked(child)
go_on.set()
holder.join()
ps.decode(png)
say(code, pillow_warnings._users, list(warnings.filters) == filters)
"""
    )
    assert child.end() == (0, "0 0 True\n", "")


def test_many_forks_that_drop_the_parents_batches() -> None:
    child = Child(
        FORK
        + """
run = small_line(600, batch=4).run(threads=2)
codes = set()
for batch in run:
    if batch.step % 10 == 0:
        def child():
            global batch
            del batch
            gc.collect()
        codes.add(forked(child))
say(codes)
"""
    )
    assert child.end() == (0, "{0}\n", "")


def test_run_inside_a_multiprocessing_worker() -> None:
    child = Child("""
import multiprocessing
def work(line):
    with line.run(threads=2) as run:
        return sum(int(batch.images.sum()) for batch in run)
if __name__ == "__main__":
    line = small_line(20)
    run = line.run()
    next(run)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = pool.map(work, [line] * 4)
    say(set(found) == {work(line)}, len(found))
""")
    assert child.end() == (0, "True 4\n", "")


# -- a read that never comes back ----------------------------------------------------------------------------

STUCK_PREAD = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

/* Reads of files named stuck* sleep through every signal, like a read from a server that has gone. A folder beside the
   file says that one has begun. */
ssize_t pread(int number, void *into, size_t size, off_t offset) {
  static ssize_t (*real)(int, void *, size_t, off_t);
  if (!real) real = (ssize_t(*)(int, void *, size_t, off_t))dlsym(RTLD_NEXT, "pread");
  char link[64], name[4096 + 8];
  snprintf(link, sizeof link, "/proc/self/fd/%d", number);
  ssize_t length = readlink(link, name, 4095);
  if (length > 0) {
    name[length] = 0;
    const char *base = strrchr(name, '/');
    if (base && strncmp(base + 1, "stuck", 5) == 0) {
      struct timespec left = {3600, 0};
      strcat(name, ".begun");
      mkdir(name, 0700);
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

def await_reads(folder, *names):
    "Until reads of these files have begun; the next call waits for the next ones."
    for name in names:
        begun = os.path.join(folder, name + ".begun")
        if not settled(lambda: os.path.isdir(begun)):
            sys.exit("no read of " + name)
        os.rmdir(begun)
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
        await_reads({str(tmp_path)!r}, "stuck.jpg")
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
        await_reads({str(tmp_path)!r}, "stuck1.jpg", "stuck2.jpg")
        break
with stuck_files({str(tmp_path)!r}, ["e.jpg", "f.jpg"]).run(threads=2) as run:  # the process works on
    say(len(list(run)))
left_open = line.run(threads=1)
next(left_open)
await_reads({str(tmp_path)!r}, "stuck1.jpg")
""",
        **stuck_environment,
    )
    code, out, err = child.end()
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
