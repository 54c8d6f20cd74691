"""Python threads for work beside the pool, as companions are: each call may be given up once it takes too long."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from typing import Any, TypeVar

__all__ = ["Answer", "Beside"]

Answer = TypeVar("Answer")

_MOST_LEFT_BEHIND = 64  # threads that may be stuck in calls that were given up; the pool has as many of its own
_LOOK_S = 0.1  # between two looks for such calls


@dataclass(slots=True, eq=False)
class _Call:
    """A call that one of the threads beside the pool makes."""

    future: Future[Any]
    work: Callable[[], Any]
    limit_s: float | None
    instead: Any  # the answer, once the call has taken longer than that
    begun: float = 0.0
    given_up: bool = False


class Beside:
    """Python threads for work beside the pool: they end with the engine, and never keep the process from ending.

    A thread whose call takes longer than that call may is left behind, and another takes its place.
    """

    def __init__(self, threads: int) -> None:
        self._waiting: deque[_Call] = deque()
        self._running: list[_Call] = []
        self._changed = threading.Condition()
        self._closed = False
        self._living = 0  # without those left behind
        self._left_behind = 0
        self._watching = False  # a call came that may not take for ever
        for _ in range(threads):
            self._start()

    def _start(self) -> None:
        threading.Thread(target=self._work, name=f"penstock-beside-{self._living}", daemon=True).start()
        self._living += 1

    def begin(
        self, work: Callable[[], Answer], limit_s: float | None = None, instead: Answer | None = None
    ) -> Future[Answer]:
        """A call that one of the threads makes; the future holds its answer or what it raised.

        Where it takes longer than ``limit_s`` the answer is ``instead``. Once these threads are closed the future is
        cancelled: nobody waits for what nobody will do.
        """
        future: Future[Answer] = Future()
        with self._changed:
            if self._closed:
                future.cancel()
            else:
                self._watching = self._watching or limit_s is not None
                self._waiting.append(_Call(future, work, limit_s, instead))
                self._changed.notify()
        return future

    def wait(self, future: Future[Any]) -> bool:
        """Waits until the future is done, and gives up whatever takes too long meanwhile.

        False: too many threads are left behind, or none is left to work.
        """
        while not future.done():
            if not self._give_up():
                return False
            wait_for([future], _LOOK_S if self._watching else None)
        return True

    def _give_up(self) -> bool:
        now = time.monotonic()
        with self._changed:
            late = [call for call in self._running if call.limit_s is not None and now - call.begun > call.limit_s]
            for call in late:
                self._leave(call)
            fits = self._left_behind <= _MOST_LEFT_BEHIND
            for _ in late if fits and not self._closed else ():
                try:
                    self._start()
                except RuntimeError:  # the system has no thread left; those that run do the work
                    break
            fits = fits and self._living > 0
        for call in late:
            call.future.set_result(call.instead)
        return fits

    def _leave(self, call: _Call) -> None:
        call.given_up = True
        self._running.remove(call)
        self._living -= 1
        self._left_behind += 1

    def close(self) -> None:
        """Lets the threads end after the call they are in; nobody waits for one any more."""
        with self._changed:
            self._closed = True
            waiting, running = list(self._waiting), list(self._running)
            self._waiting.clear()
            for call in running:
                self._leave(call)
            self._changed.notify_all()
        for call in waiting:
            call.future.cancel()
        for call in running:
            call.future.set_exception(CancelledError())

    def _work(self) -> None:
        while True:
            with self._changed:
                while not (self._waiting or self._closed):
                    self._changed.wait()
                if self._closed:
                    return
                call = self._waiting.popleft()
                if not call.future.set_running_or_notify_cancel():
                    continue
                call.begun = time.monotonic()
                self._running.append(call)
            answer: Any = None
            problem: BaseException | None = None
            try:
                answer = call.work()
            except BaseException as error:  # whoever waits for the answer gets it
                problem = error
            with self._changed:
                if call.given_up:
                    self._left_behind -= 1
                    return
                self._running.remove(call)
            if problem is None:
                call.future.set_result(answer)
            else:
                call.future.set_exception(problem)
            del call, answer, problem  # not held until the next one comes
