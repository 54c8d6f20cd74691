"""Forks around a run, each in a process of its own: the child has nothing of the parent's pool, and both end."""

from __future__ import annotations

import os
import sys

import pytest

from children import Child

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and fork")


FORK = """
def forked(child):
    "Exit code of a forked child that runs ``child`` and then leaves as Python does."
    number = os.fork()
    if number == 0:
        signal.alarm(20)
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
    assert child.end(30) == (0, "[0, 0, 0, 0]\n", "")


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
run = small_line(1200, batch=4).run(threads=2)
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
    assert child.end(60) == (0, "{0}\n", "")


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
    assert child.end(20) == (0, "True 4\n", "")
