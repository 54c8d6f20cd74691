"""Every way of ending a run, each in a process of its own: what is raised and printed, and that the process goes.

A run here would take a minute or more if it were waited for. The limits are far above the second that is promised, so
that a busy machine does not fail them, and far below that minute.
"""

from __future__ import annotations

import sys

import pytest

from children import ENDED_BY_SIGINT, LIMIT_S, Child, interrupted

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and fork")


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
        time.sleep(60)
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
signal.setitimer(signal.ITIMER_REAL, 0.5)
begun = time.monotonic()
try:
    with line.run(threads=2) as run:
        for batch in run:
            pass
except TimeoutError as error:
    say(error, time.monotonic() - begun < 6)
""")
    assert child.end(LIMIT_S + 4) == (0, "too long True\n", "")


def test_a_run_can_follow_an_interrupted_one() -> None:
    code, out, err = interrupted("""
line = large_line()
say("started")
try:
    with line.run(threads=2) as run:
        list(run)
except KeyboardInterrupt:
    pass
with small_line(20).run() as run:
    say(len(list(run)), threading.active_count())
""")
    assert (code, out, err) == (0, "5 1\n", "")


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
    assert child.end(LIMIT_S * 2) == (0, "left\n", "")


def test_an_exception_in_the_consumer() -> None:
    child = Child("""
try:
    with large_line().run() as run:
        for batch in run:
            raise ValueError("the model did not like it")
except ValueError:
    say("closed" in str(run), threading.active_count())
    raise
""")
    code, out, err = child.end()
    assert (code, out) == (1, "True 1\n") and err.rstrip().endswith("ValueError: the model did not like it")


def test_an_awaited_batch_that_takes_too_long() -> None:
    child = Child("""
import asyncio
async def consume():
    async with large_line().run(threads=2) as run:
        await asyncio.wait_for(anext(run), 0.05)
try:
    asyncio.run(consume())
except TimeoutError:
    say("too long", threading.active_count())
""")
    assert child.end() == (0, "too long 1\n", "")


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
    code, out, _ = child.end(LIMIT_S * 2)
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
until = time.monotonic() + 5
while tasks() > before and time.monotonic() < until:  # the system takes a moment to bury a thread that was joined
    time.sleep(0.01)
say(tasks() <= before, threading.active_count())
""")
    assert child.end() == (0, "True 1\n", "")
