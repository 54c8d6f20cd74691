"""The engine: the native pool, the Python threads that take part in it, back-pressure and shutdown.

Nothing else in the package starts a thread. The pool's threads never take the GIL; what they cannot decode for certain,
and images that a map is asked for, they hand on as referrals, and a few Python threads answer those (answers.py).
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from penstock import _native
from penstock._reference.resample import installed_order
from penstock.answers import Asked, answer_referrals
from penstock.cache import OpenedCache
from penstock.decode import Decode
from penstock.errors import EngineError
from penstock.recipe import Part, Recipe
from penstock.sources.source import Locations
from penstock.transform.map_item import Changes, ItemOf
from penstock.transform.normalize import NormalizationStats
from penstock.types import LayoutName, Spec
from penstock.views import Views
from penstock.workers import Workers

Answer = TypeVar("Answer")

logger = logging.getLogger("penstock")

_CLOSE_TIMEOUT_MS = 1000
_WAKE_UP_MS = 250
_LEAVE_TIMEOUT_MS = 300
_DEFAULT_MAX_MEMORY = 2 << 30
_MOST_LEFT_BEHIND = 64  # threads that may be stuck in calls that were given up; the pool has as many of its own
_LOOK_S = 0.1  # between two looks for such calls

_STRANDED = (
    "The engine ran out of threads: expected reads that end, found more threads stuck in reads than may be left behind "
    "(64), or no further thread to be had; look at the storage, then start a new run."
)

_NONE = np.zeros(0, dtype=np.int64)

# Engines that still have threads, so that leaving the interpreter with a run open ends them first.
_living: weakref.WeakSet[Engine] = weakref.WeakSet()

# Bytes that a thread stuck past shutdown may still read; never freed, because that thread cannot be stopped.
_abandoned: list[object] = []


def usable_cores() -> int:
    """Cores this process may use: CPU affinity and the container's CPU quota, at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return max(1, min(cores, _quota_cores() or cores))


def _quota_cores() -> int | None:
    # cgroup v2, then v1; a quota of 1.5 cores counts as 2, because two threads can use it up.
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            quota, period = file.read().split()[:2]
        return None if quota == "max" else -(-int(quota) // int(period))
    except (OSError, ValueError):
        pass
    try:
        with open("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", encoding="ascii") as file:
            quota_us = int(file.read())
        with open("/sys/fs/cgroup/cpu/cpu.cfs_period_us", encoding="ascii") as file:
            period_us = int(file.read())
        return None if quota_us <= 0 else -(-quota_us // period_us)
    except (OSError, ValueError):
        return None


def default_threads() -> int:
    """Usable cores divided by the local world size (``LOCAL_WORLD_SIZE``); 1 inside a worker of torch's DataLoader."""
    torch_workers = sys.modules.get("torch.utils.data")  # only where the user has torch at work already
    if torch_workers is not None and torch_workers.get_worker_info() is not None:
        return 1
    try:
        local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    except ValueError:
        local = 1
    return max(1, usable_cores() // max(1, local))


def compile_plan(
    recipe: Recipe, layout: LayoutName = "NHWC", views: Views | None = None, cut: int | None = None
) -> _native.Plan:
    """The native plan of a recipe: its verbs as data, resolved for each image once its size is known.

    Where it has maps, a plan for each part before, between and after them; with ``views``, of which the recipe is the
    first one's, a plan for each. ``cut``: behind how many verbs a cache keeps what they made.
    """
    spec = recipe.spec()
    parts = recipe.parts(cut)
    if views is not None:
        plans = [(compile_plan(view.recipe, layout), view.count) for view in views.views]
        return _plan_of(recipe, parts[0].native(), spec, layout, recipe.statistics, views=plans)
    if len(parts) == 1:
        return _plan_of(recipe, parts[0].native(), spec, layout, recipe.statistics)
    made = []
    given: tuple[int, str] | None = None
    for number, part in enumerate(parts[:-1]):
        in_slot = number == len(parts) - 2 and _stays(recipe, part, parts[-1], layout)
        size = part.spec if in_slot else part.spec.with_(height=None, width=None)
        made.append(
            _plan_of(
                recipe, part.native(), size, "NHWC", None, given=given, goes_on=True, cut=part.kept, in_slot=in_slot
            )
        )
        after = part.spec if part.call is None else part.call.spec
        given = (after.channels, after.dtype)
    made.append(_plan_of(recipe, parts[-1].native(), spec, layout, recipe.statistics, given=given))
    return _plan_of(recipe, [], spec, layout, recipe.statistics, parts=made)


def _stays(recipe: Recipe, part: Part, last: Part, layout: LayoutName) -> bool:
    """Whether the image that the last map is given, and answers, or the cache keeps, is what the slot holds."""
    final, before, after = recipe.spec(), part.spec, part.spec if part.call is None else part.call.spec
    if last.verbs or recipe.statistics is not None or final.patch is not None or layout != "NHWC" or before.ragged:
        return False
    return before.shape() == after.shape() == final.shape() and before.dtype == after.dtype == final.dtype


def _plan_of(
    recipe: Recipe,
    verbs: list[dict[str, Any]],
    spec: Spec,
    layout: LayoutName,
    statistics: NormalizationStats | None,
    *,
    parts: list[_native.Plan] | None = None,
    given: tuple[int, str] | None = None,
    goes_on: bool = False,
    cut: bool = False,
    in_slot: bool = False,
    views: list[tuple[_native.Plan, int]] | None = None,
) -> _native.Plan:
    decode = recipe.decoding or Decode()
    return _native.make_plan(
        verbs=verbs,
        decode=decode.native(),
        height=spec.height or 0,
        width=spec.width or 0,
        channels=spec.channels,
        dtype=spec.dtype,
        layout=layout,
        patch=spec.patch or 0,
        max_patches=spec.max_patches or 0,
        mean=[] if statistics is None else list(statistics.mean),
        std=[] if statistics is None else list(statistics.std),
        max_pixels=decode.max_pixels,
        max_working_bytes=decode.max_working_bytes,
        max_scans=decode.max_scans,
        adaptive_order=installed_order() == "adaptive",
        parts=parts or [],
        given=given,
        goes_on=goes_on,
        cut=cut,
        in_slot=in_slot,
        views=views or [],
    )


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
