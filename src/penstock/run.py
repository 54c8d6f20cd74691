"""What is running: one pass over a line."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from penstock.cached import cut_of
from penstock.cores import default_threads
from penstock.deliver.feed import Feed, Sent, feed_of
from penstock.delivery import Delivery
from penstock.engine import Engine
from penstock.errors import EngineError, PlanError
from penstock.escort import Escort
from penstock.failures import Damages, Failures, Notes
from penstock.flight import CLOSED, Flight
from penstock.images import deliver_step, expect_policy
from penstock.ledger import ledger_of
from penstock.meter import Meter
from penstock.options import RunOptions
from penstock.plan import compile_plan
from penstock.reference import finish_batch
from penstock.results import Clean, Columns
from penstock.schedule import Schedule
from penstock.stats import Stats
from penstock.step import Request
from penstock.types import Batch, LayoutName
from penstock.view_columns import columns_of

if TYPE_CHECKING:
    from penstock.pipeline import Pipeline
    from penstock.recipe import Recipe

_ROWS_IN_FLIGHT_PER_THREAD = 4
_CLOSE_TIMEOUT_S = 1.0


class Run:
    """One pass over a line: iterate it inside a ``with`` block; afterwards ask stats, failures, damaged and notes.

    Work starts at the first ``next``. One consumer; ``async with`` and ``async for`` work as well. Raises ItemError at
    the first failed item (after all earlier batches) unless ``on_failure`` says otherwise.
    """

    def __init__(
        self,
        line: Pipeline,
        options: RunOptions,
        *,
        engine: Engine | None = None,
        start: int = 0,
        feed: Feed | None = None,
    ) -> None:
        line = line.executed()
        self.line = line
        self.options = options
        batching = line.batching
        expect_policy(batching, options)
        self._layout: LayoutName = "NHWC" if batching is None else batching.layout
        spec = line.recipe.spec()
        self._schedule = Schedule(line, options, start)
        self._steps = self._schedule.steps
        self.threads = options.threads or default_threads()
        self._delivery = Delivery(
            source=line.source,
            options=options,
            items=self._schedule.grid.mine,
            layout=self._layout,
            statistics=line.recipe.statistics,
            spec=spec,
            ragged=None if batching is None else batching.ragged,
            unknown=line.recipe.unknown,
            companions=line.companions,
            targeting=line.targeting,
            viewing=line.viewing,
            ledger=ledger_of(line, options),
        )
        self._draws_later = line.target is not None and line.target.random
        # Whether a batch may be clean: its items are its rows, nothing is read, and nothing drawn, for them beside.
        simple = batching is not None and batching.images is None and not batching.pads and not self._draws_later
        for name, count in line.source.notes.items():
            self._delivery.accounts.notes.add(name, count)
        self._start = start
        cut = None if options.engine == "reference" else cut_of(line.caching)
        self._plan = compile_plan(line.recipe, self._layout, line.viewing, cut)
        self._meter = Meter()
        self._engine = engine
        self._owns_engine = engine is None
        self._feed = feed
        self._sent: deque[tuple[Sent, int]] = deque()  # on their way to a device, and the steps done with each
        self._refused_ahead: Exception | None = None  # why the batch behind those on their way could not be made
        self._next_step = 0
        self._handed_out = 0  # steps that the user has; a state counts these
        self._consuming = threading.Lock()
        self._consumer: int | None = None  # the thread inside next()
        self._flight = Flight(
            self._schedule,
            self._plan,
            cut,
            self._delivery.accounts.notes,
            rows=self._schedule.grid.batch_size if batching is None or batching.images is None else batching.images,
            window=options.prefetch if batching is not None else self.threads * _ROWS_IN_FLIGHT_PER_THREAD,
            plain=simple and self._delivery.plain,
        )

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if not self._consuming.acquire(blocking=False):
            raise EngineError("run: expected one consumer, found a second one at the same time; give each its own.")
        self._consumer = threading.get_ident()
        try:
            return self._next()
        finally:
            self._consumer = None
            self._consuming.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import asyncio

        # Closing may take its second; the loop goes on meanwhile.
        await asyncio.get_running_loop().run_in_executor(None, self.close)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        import asyncio  # 30 ms that only asynchronous users pay

        end = object()
        batch = await asyncio.get_running_loop().run_in_executor(None, next, self, end)
        if batch is end:
            raise StopAsyncIteration
        return batch

    def __del__(self) -> None:
        flight = getattr(self, "_flight", None)
        if flight is not None and not flight.closed:
            self.close()

    def close(self) -> None:
        """Ends the run within a second; what is in flight is dropped. Leaving the ``with`` block does this.

        A ``next`` that another thread is in meanwhile raises EngineError.
        """
        self._sent.clear()
        self._end()
        if self._feed is not None:
            self._feed.close()

    def _end(self) -> None:
        """Closes the run, but for the batches that are on their way to a device."""
        if self._flight.closed:
            return
        self._flight.closed = True
        if self._meter.started is None and self._engine is not None and not self._engine.usable:
            self._flight.clear()  # begun early, and the pool has ended meanwhile, perhaps with the interpreter
            return
        self._meter.end()
        deadline = time.monotonic() + _CLOSE_TIMEOUT_S
        try:
            given_up = [flying.ticketed for flying in self._flight]
            self._flight.abandon(self._engine, given_up)
            if self._consumer not in (None, threading.get_ident()):
                self._await_consumer(deadline)
                # What it began before it saw that the run is closed.
                late = [flying.ticketed for flying in self._flight]
                self._flight.abandon(
                    self._engine, [begun for begun in late if all(begun is not known for known in given_up)]
                )
        finally:  # a second Ctrl-C ends the wait; the pool goes all the same
            self._let_engine_go(deadline)
            self._delivery.accounts.failures.close()

    def _await_consumer(self, deadline: float) -> None:
        if self._consuming.acquire(timeout=max(0.0, deadline - time.monotonic())):
            self._consuming.release()

    def _let_engine_go(self, deadline: float) -> None:
        engine = self._engine
        if engine is not None and engine.usable:
            self._meter.keep(engine)
            if self._owns_engine:
                engine.close(deadline)
        self._flight.clear()

    @property
    def begun(self) -> bool:
        """Whether anybody has asked for a batch."""
        return self._meter.started is not None

    @property
    def steps_delivered(self) -> int:
        """Steps of this rank that were handed out, or skipped because nothing in them was left."""
        return self._handed_out

    @property
    def epoch_used_up(self) -> bool:
        """True once the steps delivered are all that any rank has; a rank may have a step less than the first."""
        return self._handed_out >= self._schedule.most_steps

    @property
    def position(self) -> int:
        """Positions of the epoch's order that all ranks have used up once this step is done: where to resume."""
        return self._schedule.grid.reached(self._handed_out)

    @property
    def failures(self) -> Failures:
        """The items that failed: first 1,000 kept, all counted; ``by_cause()``."""
        return self._delivery.accounts.failures

    @property
    def damaged(self) -> Damages:
        """The items whose codec recovered from damage, each with the codec's sentence."""
        return self._delivery.accounts.damaged

    @property
    def notes(self) -> Notes:
        """Every legal loss, counted by name."""
        return self._delivery.accounts.notes

    @property
    def clean(self) -> int:
        """Items delivered without damage."""
        return self._delivery.accounts.outcomes.clean

    @property
    def reached(self) -> int:
        """Items that have an outcome: ``clean + len(damaged) + len(failures)``."""
        return self._delivery.accounts.outcomes.reached

    @property
    def stats(self) -> Stats:
        """Where the time went so far; live while the run is open."""
        hits, misses = self._flight.hits, self._flight.misses
        return self._meter.stats(self._engine, threads=self.threads, items=self.reached, hits=hits, misses=misses)

    def __str__(self) -> str:
        state = "closed" if self._flight.closed else ("open" if self.begun else "not started")
        options = self.options
        origin = f" ({options.ranks_from})" if options.ranks_from else ""
        return (
            f"Run {state}: step {self._handed_out} of {self._steps}, epoch {options.epoch}, rank {options.rank} of "
            f"{options.world_size}{origin}, {self.threads} thread{'s' if self.threads != 1 else ''}, "
            f"prefetch {options.prefetch}, "
            f"engine {options.engine}; {self.clean} clean, {len(self.damaged)} damaged, {len(self.failures)} failed"
        )

    __repr__ = __str__

    def _next(self) -> Any:
        if self.line.target is not None:
            return self._next_sent()
        batch = self._made()
        try:
            handed_out = self._hand_out(batch)
        except BaseException:
            self._end()
            raise
        self._handed_out = self._next_step  # not before: a batch that a map refused is the next one of a state
        return handed_out

    def _next_sent(self) -> Any:
        """The next batch on the device; those behind it that are made already are sent after it."""
        if self._feed is None:
            assert self.line.target is not None
            self._feed = feed_of(self.line.target, self.line.selection, seed=self.line.order.seed)
        if not self._sent:
            if self._refused_ahead is not None:
                raise self._refused_ahead
            self._send(self._feed)
        while len(self._sent) <= self._feed.ahead and self._flight.next_is_made and self._refused_ahead is None:
            try:
                self._send(self._feed)
            except Exception as error:  # noqa: BLE001 - raised above, when its turn comes
                self._refused_ahead = error
        sent, self._handed_out = self._sent.popleft()
        return sent()

    def _send(self, feed: Feed) -> None:
        batch = self._made()
        begun = time.perf_counter()
        try:
            self._sent.append((feed.send(self._schedule.mapped(batch)), self._next_step))
        except BaseException:
            self._end()
            raise
        finally:
            self._meter.waiting_s += time.perf_counter() - begun

    def _made(self) -> Batch:
        """The next batch that is not empty; StopIteration behind the last."""
        while True:
            if self._next_step >= self._steps:
                self._finish()
                if not self._sent:
                    self._handed_out = self._next_step  # steps of which nothing was left count as well
                raise StopIteration
            if self._flight.closed:
                raise EngineError(CLOSED)
            begun = time.perf_counter()
            try:
                try:
                    if not self.begun:
                        self._begin(begun)
                    batch = self._step()
                finally:
                    self._meter.waiting_s += time.perf_counter() - begun
                if self._next_step >= self._steps:
                    self._finish()
            except BaseException:
                # Whatever went wrong, this run is over; an interrupted wait must not leave threads behind.
                self._end()
                raise
            if len(batch) == 0:
                continue
            self._meter.batches += 1
            return batch

    def _begin(self, now: float) -> None:
        self._meter.started = now
        self._delivery.accounts.resume(self._start)
        if self.options.engine != "native":
            return
        self._flight.open_cache()
        if self._engine is None:
            self._engine = Engine(self.threads, self.options.prefetch, self.options.max_memory)
            if self._flight.closed:  # by another thread, which saw no engine to close
                self._engine.close()
                raise EngineError(CLOSED)
        self._meter.count_threads_from_here(self._engine)
        if not self._flight:
            self._meter.count_python_from_here(self._engine)
        self._flight.fill(self._engine)

    def begin_early(self) -> None:
        """Submits the first steps before anybody asks for one; close() drops them.

        Native threads' time until then is in no pass's statistics, which are shares of a pass's own time.
        """
        if self._engine is not None and self._engine.usable:
            try:
                self._flight.open_cache()
            except PlanError:  # raised when the pass begins: the batch at hand is not to be lost for it
                return
            self._meter.count_python_from_here(self._engine)
            self._flight.fill(self._engine)

    def made_by(self, engine: Engine | None) -> bool:
        """Whether this pass runs on that engine, and still can."""
        if self._flight.closed or engine is None or engine is not self._engine:
            return False
        return engine.usable and not engine.stranded

    def _step(self) -> Batch:
        step = self._next_step
        columns: Columns | Clean
        if self.options.engine == "reference":
            request = self._schedule.request_at(step)
            columns = self._by_reference(request)
        else:
            request, columns = self._flight.take(self._engine)
        batch = self._delivered(step, request, columns)
        self._next_step += 1  # a batch that deliver refused was not handed out: a state resumes with it
        return batch

    def _delivered(self, step: int, request: Request, columns: Columns | Clean) -> Batch:
        if isinstance(columns, Clean):
            return self._delivery.deliver_clean(
                columns, request.index, request.labels, step=step, epoch=self.options.epoch
            )
        return deliver_step(
            self._delivery,
            columns,
            request,
            step=step,
            epoch=self.options.epoch,
            size=self._schedule.size_at(step),
            progress=partial(self._schedule.grid.progress, step),
            stand_ins=self._schedule.stand_ins(step, self._stand_in) if self.options.on_failure == "replace" else None,
            draws=request.row_draws if self._draws_later else None,
        )

    def _by_reference(self, request: Request) -> Columns:
        def make(recipe: Recipe, draws: npt.NDArray[np.int64]) -> Columns:
            return finish_batch(
                recipe,
                request.located,
                draws,
                plan=self._plan,
                rows=request.rows,
                seed=self.line.order.seed,
                epoch=self.options.epoch,
                layout=self._layout,
                item=partial(self._schedule.item, request),
            )

        columns = columns_of(self.line.recipe, self.line.viewing, request.draws, make)
        Escort(self.line, request, self.options.epoch, None).join(columns)
        return columns

    def _stand_in(self, request: Request) -> Columns:
        if self.options.engine == "reference":
            return self._by_reference(request)
        return self._flight.make(self._engine, request)

    def _hand_out(self, batch: Batch) -> Any:
        if self.line.batching is None:
            return batch[0]
        batch = self._schedule.mapped(batch)
        return batch if self.line.selection is None else self.line.selection.take(batch)

    def _finish(self) -> None:
        if self._meter.ended is None and not self._flight.closed:
            self._meter.end()
            self._delivery.accounts.check(finished=True)
            self._end()
