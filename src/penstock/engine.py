"""The engine: the native pool, the Python threads that take part in it, back-pressure and shutdown.

Nothing else in the package starts a thread, but for parts of its own: beside.py, and the processes of workers.py. The
pool's threads never take the GIL; what they cannot decode for certain, and images that a map is asked for, they hand on
as referrals, and a few Python threads answer those (answers.py).
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock import _native
from penstock.answers import Asked, answer_referrals
from penstock.beside import Answer, Beside
from penstock.cache import OpenedCache
from penstock.errors import EngineError
from penstock.recipe import Part, Recipe
from penstock.sources.source import Locations
from penstock.transform.map_item import Changes, ItemOf
from penstock.workers import Workers

logger = logging.getLogger("penstock")

_CLOSE_TIMEOUT_MS = 1000
_WAKE_UP_MS = 250
_LEAVE_TIMEOUT_MS = 300
_DEFAULT_MAX_MEMORY = 2 << 30

_STRANDED = (
    "The engine ran out of threads: expected reads that end, found more threads stuck in reads than may be left behind "
    "(64), or no further thread to be had; look at the storage, then start a new run."
)

_NONE = np.zeros(0, dtype=np.int64)

# Engines that still have threads, so that leaving the interpreter with a run open ends them first.
_living: weakref.WeakSet[Engine] = weakref.WeakSet()

# Bytes that a thread stuck past shutdown may still read; never freed, because that thread cannot be stopped.
_abandoned: list[object] = []


@dataclass(slots=True)
class Ticketed:
    """A batch in flight: the native job, the items it holds, and what Pillow noted about them."""

    job: _native.Job
    held: object  # bytes and arrays that native threads read; kept until the job is done
    notes: dict[int, tuple[str, ...]]  # by row
    changes: dict[int, Changes]  # of maps on items, by row
    asked: Asked  # what Python threads need to answer its referrals
    maps: bool = False  # whether those are sure to be needed


def fill(job: _native.Job, located: Locations, tickets: npt.NDArray[np.int64]) -> None:
    """Tells a native job where its ``tickets`` (int64, one an item of ``located``) have their bytes."""
    if located.paths is not None:
        names, offsets, table_rows, prefix = located.paths
        starts, sizes = located.ranges or (_NONE, _NONE)
        if offsets.dtype.char not in "Iql" or not offsets.flags.c_contiguous:  # these rows' own are widened, never all
            pairs = np.stack([offsets[table_rows], offsets[table_rows + 1]], axis=1)
            offsets, table_rows = pairs.astype(np.int64).ravel(), np.arange(0, pairs.size, 2, dtype=np.int64)
        job.fill_paths(tickets, names, offsets, table_rows, prefix, starts, sizes)
    elif located.blobs is not None:
        job.fill_bytes(tickets, located.blobs)
    elif located.arrays is not None:
        job.fill_arrays(tickets, located.arrays)
    for rows, part in located.parts or ():
        fill(job, part, np.ascontiguousarray(tickets[rows]))
    for row, (cause, message) in located.problems.items():
        job.fill_problem(int(tickets[row]), cause, message)


class Engine:
    """A pool of native threads and its Python party, held across epochs; one consumer at a time."""

    def __init__(self, threads: int, prefetch: int, max_memory: int | None) -> None:
        self.threads = threads
        self._pid = os.getpid()
        self._pool = _native.Pool(threads, max_memory or _DEFAULT_MAX_MEMORY, prefetch + 2)
        self._party: list[threading.Thread] = []
        self._workers: dict[int, Workers] = {}  # by MapCall, which lives as long
        self._beside: Beside | None = None
        self._asked: dict[int, Asked] = {}  # by job
        self._parts: dict[tuple[int, int | None], tuple[Recipe, list[Part]]] = {}  # by recipe, which lives as long
        self._lock = threading.Lock()
        self._pillow_s = 0.0
        self._pillow_items = 0
        self._map_totals: list[list[float]] = []  # of each party: seconds and images, which it alone changes
        self._closed = False
        self.stranded = False  # too many of its threads are stuck in reads: the next run needs another engine
        _living.add(self)

    @property
    def closed(self) -> bool:
        """Whether close() was called, in the process that made it."""
        return self._closed and self._pid == os.getpid()

    @property
    def usable(self) -> bool:
        """False after close(), and in a forked child, whose threads stayed in the parent."""
        return not self._closed and self._pid == os.getpid()

    def prepare(
        self,
        plan: _native.Plan,
        recipe: Recipe,
        located: Locations,
        indices: npt.NDArray[np.int64],
        *,
        rows: int,
        capacity: int,
        seed: int,
        epoch: int,
        item: ItemOf | None = None,
        timeout_s: float | None = None,
        urgent: bool = False,
        cache: OpenedCache | None = None,
        cut: int | None = None,
    ) -> Ticketed:
        """The tickets of one batch, for ``submit``: what was ``located`` fills the first of its ``rows``.

        ``plan`` is the ``recipe``'s; ``indices`` (int64, one a ticket) key the random draws. ``capacity`` rows are what
        a full batch has: every batch takes memory of that size, so that it is recycled. A read that takes longer than
        ``timeout_s`` fails its item, and its thread is replaced. ``urgent``: taken before what was submitted already.
        ``item`` tells what the source knows of a ticket's item, for maps on items. ``cache`` is asked first, and keeps
        what it had not; the plan was compiled with ``cut`` for it.
        """
        job = _native.new_job(plan, indices, seed, epoch, rows)
        fill(job, located, np.arange(len(indices), dtype=np.int64))
        job.capacity = capacity
        job.urgent = urgent
        if timeout_s is not None:
            job.read_timeout_ns = round(timeout_s * 1e9)
        if cache is not None:
            job.use_cache(cache.native)
        notes: dict[int, tuple[str, ...]] = {}
        changes: dict[int, Changes] = {}
        parts = self._parts_of(recipe, cut)
        with self._lock:
            workers = self._workers_of(parts)
        # Python threads make such images themselves: handing them over would cost more than a short function. Where a
        # read may be given up native threads take the tickets, because those can be replaced; where processes are
        # waited for, too, because nothing is made while a Python thread waits.
        maps = any(part.call is not None for part in parts)
        job.by_parties = maps and timeout_s is None and not workers
        asked = Asked(recipe, parts, seed, epoch, indices, notes, changes, item, workers)
        return Ticketed(job, located, notes, changes, asked, maps)

    def submit(self, ticketed: Ticketed, more: bool) -> None:
        """Hands the tickets of a batch to the threads. ``more``: others follow once the consumer has taken one."""
        job, asked = ticketed.job, ticketed.asked
        self._asked[id(job)] = asked  # one entry at a time: it needs no lock
        if not self._pool.submit(job, more):
            self._asked.pop(id(job), None)
            raise EngineError(self._refusal(asked.recipe, job.capacity, job.batch_bytes))
        if ticketed.maps:
            self._start_party()

    def _parts_of(self, recipe: Recipe, cut: int | None) -> list[Part]:
        place = id(recipe), cut
        if place not in self._parts:
            self._parts[place] = (recipe, recipe.parts(cut))
        return self._parts[place][1]

    def _workers_of(self, parts: list[Part]) -> dict[int, Workers]:
        """The processes of the maps that are called in some, by the map's number; the first image starts them."""
        found = {}
        for number, part in enumerate(parts):
            if part.call is None or part.call.verb.workers == "threads":
                continue
            if id(part.call) not in self._workers:
                self._workers[id(part.call)] = Workers(part.call, part.call.verb.workers)
            found[number] = self._workers[id(part.call)]
        return found

    @property
    def has_workers(self) -> bool:
        """Whether a map's function is called in processes: then each of its images has a thread that waits for it."""
        return bool(self._workers)

    def _refusal(self, recipe: Recipe, capacity: int, needed: int) -> str:
        """Why the pool did not take a batch: it is closed, or the memory of a full batch cannot be had."""
        text = f"The engine could not take a batch of {capacity} rows: expected"
        spec = recipe.spec()
        if self._closed or spec.ragged:
            return f"{text} an open pool and memory for it, found {'a closed pool' if self._closed else 'too little'}."
        return f"{text} {needed:,} bytes of memory for {spec} each, found too little; take smaller batches."

    def wait(self, ticketed: Ticketed) -> dict[str, Any]:
        """Blocks until the batch is done and returns its columns; signals are served every 100 ms."""
        self.settle(ticketed)
        return ticketed.job.results()

    def settle(self, ticketed: Ticketed) -> None:
        """Blocks as ``wait`` does, and leaves the columns where they are."""
        while (state := self._pool.wait(ticketed.job)) != "done":
            if state == "closed":
                raise EngineError("The engine was closed while a batch was awaited; start a new run.")
            if state == "stranded":
                self.stranded = True
                raise EngineError(_STRANDED)
            self._start_party()
        self._asked.pop(id(ticketed.job), None)
        ticketed.held = None

    def abandon(self, flight: list[Ticketed]) -> None:
        """Cancels batches that nobody wants any more and waits for the threads to let go, at most a second."""
        deadline = time.monotonic() + _CLOSE_TIMEOUT_MS / 1000
        try:
            for ticketed in flight:
                self._pool.cancel(ticketed.job)
            for ticketed in flight:
                while not ticketed.job.done and time.monotonic() < deadline:
                    if self._pool.wait_briefly(ticketed.job, 20) == "stranded":
                        time.sleep(0.02)  # which is said at once, while others may still be at work
        finally:  # a second Ctrl-C ends the wait, not the threads that still read
            _abandoned.extend(ticketed.held for ticketed in flight if not ticketed.job.done)
            for ticketed in flight:
                self._asked.pop(id(ticketed.job), None)

    def beside(
        self, work: Callable[[], Answer], limit_s: float | None = None, instead: Answer | None = None
    ) -> Future[Answer]:
        """Begins a call in one of the engine's Python threads, which start with the first one.

        One that takes longer than ``limit_s`` is given up, and ``instead`` is its answer.
        """
        if self._beside is None:
            self._beside = Beside(self.threads)
        return self._beside.begin(work, limit_s, instead)

    def answers(self, begun: Sequence[Future[Answer]]) -> list[Answer]:
        """What the calls of ``beside`` answered, in order; EngineError where the engine was closed meanwhile."""
        try:
            for future in begun:
                if self._beside is not None and not self._beside.wait(future):
                    self.stranded = True
                    raise EngineError(_STRANDED)
            return [future.result() for future in begun]
        except CancelledError:
            raise EngineError("The engine was closed while companions were awaited; start a new run.") from None

    def times(self) -> tuple[int, int, int, int, int, int, int]:
        """Nanoseconds of read, decode, transform, batch, starved, blocked; items: totals since the engine began."""
        return self._pool.times()

    def pillow(self) -> tuple[float, int]:
        """Seconds and items that the Python party has spent in Pillow since the engine began."""
        return self._pillow_s, self._pillow_items

    def maps(self) -> tuple[float, int]:
        """Seconds and images that the Python party has spent in the functions of maps since the engine began."""
        totals = list(self._map_totals)
        return sum(total[0] for total in totals), int(sum(total[1] for total in totals))

    def close(self, deadline: float | None = None) -> None:
        """Ends the threads; within a second (or by ``deadline``, time.monotonic's), whatever they are doing."""
        if self._closed or self._pid != os.getpid():
            self._closed = True
            return
        self._closed = True
        _living.discard(self)
        if deadline is None:
            deadline = time.monotonic() + _CLOSE_TIMEOUT_MS / 1000
        # A thread that only has to wake up gets its moment even when the second is over.
        left_ms = max(_WAKE_UP_MS, int((deadline - time.monotonic()) * 1000))
        for workers in self._workers.values():
            workers.kill()
        for path in self._pool.close(left_ms):
            logger.warning(
                "read of %r: a thread was still in a system call when the run had ended; it was left behind.",
                os.fsdecode(path),
            )
        if self._beside is not None:
            self._beside.close()
        for thread in self._party:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))
        for workers in self._workers.values():
            workers.clean_up(deadline)

    def _start_party(self) -> None:
        # The first referral, or map, starts these threads: a folder of ordinary JPEGs never needs them.
        if self._party:
            return
        for number in range(max(self.threads, *(workers.count for workers in self._workers.values()), 0)):
            thread = threading.Thread(
                target=answer_referrals,
                args=(self._pool, weakref.ref(self), self._new_map_totals()),
                name=f"penstock-python-{number}",
                daemon=True,
            )
            try:
                thread.start()
            except RuntimeError as error:  # the system has no thread left; those that run do the work
                if not self._party:
                    raise EngineError(
                        f"The engine could not run Python: expected a thread to do it in, found none ({error})."
                    ) from error
                break
            self._party.append(thread)
        self._pool.announce_parties(len(self._party))

    def _new_map_totals(self) -> list[float]:
        """A party's own account of functions of maps: seconds and images. It needs no lock to add to it."""
        totals = [0.0, 0.0]
        self._map_totals.append(totals)
        return totals

    def book(self, seconds: float, items: int) -> None:
        """Counts what the Python party has spent."""
        with self._lock:
            self._pillow_s += seconds
            self._pillow_items += items

    def asked(self, referral: _native.Referral) -> Asked | None:
        """What belongs to the job of a referral; None where nobody waits for it any more."""
        return self.asked_by(referral.job)

    def asked_by(self, job: _native.Job) -> Asked | None:
        """The same of a job itself."""
        return self._asked.get(id(job))  # one lookup: it needs no lock

    def note(self, referral: _native.Referral, notes: tuple[str, ...]) -> None:
        """Keeps what Pillow noted about an item until its batch is delivered."""
        asked = self.asked(referral)
        if asked is not None and notes:
            asked.notes[referral.row] = notes


@atexit.register
def _close_living() -> None:
    for engine in list(_living):
        engine.close()
    _native.leave(_LEAVE_TIMEOUT_MS)  # consumers in threads of the user's come back with the news, or stay away
