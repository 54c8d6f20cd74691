"""Processes that call a map's function: pixels through shared memory, never pickled; the engine ends them."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import secrets
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.transform.map_call import MapCall, Mapped
from penstock.transform.verb import StepError
from penstock.types import Item

__all__ = ["Workers"]

_BACK_S = 0.25  # for threads whose process was killed, where the deadline is over
_SLOT_BYTES = 1 << 20  # a segment is a multiple of this, so that it is seldom replaced
_GUARD = "a script that starts a run has to do so under if __name__ == '__main__':"


class Workers:
    """``n`` processes of the forkserver context, each with a segment of shared memory; started as they are needed."""

    def __init__(self, call: MapCall, count: int) -> None:
        self._call = call
        self._payload = pickle.dumps(call)  # once: every process gets the same bytes
        self.count = count
        self._idle: list[_Worker] = []
        self._all: list[_Worker] = []
        self._changed = threading.Condition()
        self._starting = 0
        self._closed = False

    def __call__(
        self, image: npt.NDArray[Any], *, seed: int, epoch: int, index: int, item: Callable[[], Item] | None = None
    ) -> Mapped:
        """The answer for one image, from whichever process is free; raises StepError."""
        known = item() if item is not None and self._call.verb.on == "item" else None
        worker = self._take()
        try:
            answer = worker.ask(image, seed, epoch, index, known)
        except (EOFError, OSError) as error:
            self._forget(worker)
            raise StepError("worker ended", f"{self._title}: {worker.obituary()}") from error
        except BaseException:
            self._forget(worker)
            raise
        self._give(worker)
        if isinstance(answer, StepError):
            raise answer
        return answer

    def kill(self) -> None:
        """Ends the processes, whatever they are doing; who waits for one gets a StepError."""
        with self._changed:
            self._closed = True
            workers = list(self._all)
            self._changed.notify_all()
        for worker in workers:
            worker.process.kill()

    def clean_up(self, deadline: float) -> None:
        """Joins the processes and gives the memory back; after :meth:`kill`.

        A thread that has one gives it back itself, and soon, because nothing answers it any more: it is waited for, but
        what it still reads is not closed under it.
        """
        with self._changed:
            self._changed.wait_for(lambda: len(self._idle) == len(self._all), max(_BACK_S, deadline - time.monotonic()))
            idle = list(self._idle)
            self._idle.clear()
        for worker in idle:
            worker.process.join(max(0.05, deadline - time.monotonic()))
            self._remove(worker)

    @property
    def _title(self) -> str:
        return self._call.verb.title

    def _take(self) -> _Worker:
        with self._changed:
            while not self._closed:
                if self._idle:
                    return self._idle.pop()
                if len(self._all) + self._starting < self.count:
                    self._starting += 1
                    break
                self._changed.wait()
            if self._closed:
                raise StepError("given up", f"{self._title}: expected a run, found it closed")
        started: _Worker | None = None
        try:
            worker = started = _Worker(self._payload)
        except Exception as error:
            raise StepError(
                "no process", f"{self._title}: expected a process to call it in, found {type(error).__name__}: {error}"
            ) from error
        finally:
            closed = self._started(started)
        if closed:
            self._forget(worker)
            raise StepError("given up", f"{self._title}: expected a run, found it closed")
        return worker

    def _started(self, worker: _Worker | None) -> bool:
        """Counts a process that was started, or was to be; True where the run was closed meanwhile."""
        with self._changed:
            self._starting -= 1
            if worker is not None:
                self._all.append(worker)
            self._changed.notify()
            return self._closed

    def _give(self, worker: _Worker) -> None:
        with self._changed:
            if not self._closed:
                self._idle.append(worker)
                self._changed.notify()
                return
        self._forget(worker)

    def _forget(self, worker: _Worker) -> None:
        """A process that is of no use any more; the next image starts another one."""
        worker.process.kill()
        worker.process.join(1.0)
        self._remove(worker)

    def _remove(self, worker: _Worker) -> None:
        """Closes what nobody but the caller has."""
        try:
            worker.close()
        finally:
            with self._changed:
                self._all.remove(worker)
                self._changed.notify()


class _Worker:
    """One process, its pipe, and the segment that pixels go through."""

    def __init__(self, payload: bytes) -> None:
        context = multiprocessing.get_context("forkserver")
        self._pipe, theirs = context.Pipe()
        self._memory: SharedMemory | None = None
        self._answered = False
        self.process = context.Process(target=_serve, args=(theirs, payload), name="penstock-map", daemon=True)
        try:
            self.process.start()
        finally:
            theirs.close()

    def ask(self, image: npt.NDArray[Any], seed: int, epoch: int, index: int, item: Item | None) -> Mapped | StepError:
        """Hands an image over and waits for what comes back; EOFError or OSError where the process ended."""
        memory = self._room(image.nbytes)
        np.copyto(_over(memory, image.shape, image.dtype), image)
        self._pipe.send((memory.name, image.shape, image.dtype.str, seed, epoch, index, item))
        reply = self._pipe.recv()
        if isinstance(reply, int):  # it answers a larger image
            memory = self._room(reply)
            self._pipe.send(memory.name)
            reply = self._pipe.recv()
        self._answered = True
        if isinstance(reply, StepError):
            return reply
        shape, dtype, matrix, changes = reply
        made = _over(memory, shape, np.dtype(dtype))
        if made.shape == image.shape and made.dtype == image.dtype and image.flags.c_contiguous:
            np.copyto(image, made)
            return Mapped(image, matrix, changes)
        return Mapped(made.copy(), matrix, changes)

    def obituary(self) -> str:
        """What is known of a process that ended before it answered."""
        code = self.process.exitcode
        if code is not None and code < 0:
            how = f"killed by {signal.Signals(-code).name}"
        else:
            how = f"ended with exit code {code}"
        hint = "" if self._answered else f"; {_GUARD}"
        return f"expected an answer from process {self.process.pid}, found it {how}{hint}"

    def close(self) -> None:
        """Gives pipe and memory back."""
        self._pipe.close()
        self._let_memory_go()

    def _room(self, nbytes: int) -> SharedMemory:
        if self._memory is None or self._memory.size < nbytes:
            self._let_memory_go()
            name = f"penstock-{os.getpid()}-{secrets.token_hex(4)}"  # whose it is; macOS allows 30 characters
            self._memory = SharedMemory(name, create=True, size=-(-nbytes // _SLOT_BYTES) * _SLOT_BYTES)
        return self._memory

    def _let_memory_go(self) -> None:
        if self._memory is not None:
            memory, self._memory = self._memory, None
            memory.close()
            memory.unlink()


def _over(memory: SharedMemory, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    return np.ndarray(shape, dtype, buffer=memory.buf)


def _serve(pipe: Connection, payload: bytes) -> None:
    """The life of one process: an image in, an answer out, until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends this process
    call: MapCall = pickle.loads(payload)  # noqa: S301 - the parent's own bytes
    held: SharedMemory | None = None
    with contextlib.suppress(EOFError, OSError):
        while True:
            held = _serve_one(pipe, call, held)


def _serve_one(pipe: Connection, call: MapCall, held: SharedMemory | None) -> SharedMemory:
    """One image; the segment that is used from now on. No array over a segment outlives this."""
    name, shape, dtype, seed, epoch, index, item = pipe.recv()
    held = _attached(held, name)
    image = _over(held, shape, np.dtype(dtype))
    try:
        mapped = call(image, seed=seed, epoch=epoch, index=index, item=None if item is None else lambda: item)
    except StepError as error:
        pipe.send(StepError(error.cause, error.message))
        return held
    except Exception as error:
        pipe.send(StepError("unexpected", f"{call.verb.title}: expected an image, found {error!r}"))
        return held
    pixels = mapped.pixels
    if pixels.nbytes > held.size:
        pixels = pixels.copy()  # it may lie in the segment that goes
        mapped = mapped._replace(pixels=pixels)
        del image
        pipe.send(pixels.nbytes)
        held = _attached(held, pipe.recv())
    target = _over(held, pixels.shape, pixels.dtype)
    if pixels.ctypes.data != target.ctypes.data:
        np.copyto(target, pixels)
    pipe.send((pixels.shape, pixels.dtype.str, mapped.matrix, mapped.changes))
    return held


def _attached(held: SharedMemory | None, name: str) -> SharedMemory:
    """The segment of that name; the one before it is let go."""
    if held is not None and held.name == name:
        return held
    if held is not None:
        with contextlib.suppress(BufferError):  # the function kept an array: the memory lives as long as that
            held.close()
    return SharedMemory(name)
