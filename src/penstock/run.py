"""What is running: one pass over a line."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from penstock.ahead import Ahead
from penstock.buckets import Buckets, grid_of
from penstock.cache import OpenedCache
from penstock.cache_full import full_sentence
from penstock.cached import cache_of, cut_of
from penstock.deliver.feed import Feed, Sent, feed_of
from penstock.delivery import Clean, Columns, Delivery
from penstock.engine import Engine, Ticketed, compile_plan, default_threads
from penstock.errors import EngineError, PlanError
from penstock.escort import Escort
from penstock.failures import Damages, Failures, Notes
from penstock.images import deliver_step, expect_policy
from penstock.ledger import Ledger
from penstock.maps.batches import mapped_batch
from penstock.options import RunOptions
from penstock.reference import finish_batch
from penstock.stand_ins import Make, drawn_positions
from penstock.stats import STAGES, Stats
from penstock.step import Request, request_of, requests_of
from penstock.types import Batch, Item, LayoutName
from penstock.view_columns import columns_of

if TYPE_CHECKING:
    from penstock.pipeline import Pipeline
    from penstock.recipe import Recipe

logger = logging.getLogger("penstock")

_ROWS_IN_FLIGHT_PER_THREAD = 4
_CLOSE_TIMEOUT_S = 1.0
_CLOSED = "run: expected an open run, found it closed; call line.run() for a new one."


class Flying(NamedTuple):
    """A step on its way."""

    request: Request
    ticketed: Ticketed
    escort: Escort | None  # of a line with companions


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
        self._grid = grid_of(
            line,
            epoch=options.epoch,
            rank=options.rank,
            world_size=options.world_size,
            start=start,
            equal=options.equal_batches,
        )
        self._steps = self._grid.steps
        self._most_steps = replace(self._grid, rank=0).steps  # of any rank
        self.threads = options.threads or default_threads()
        self._window = options.prefetch if batching is not None else self.threads * _ROWS_IN_FLIGHT_PER_THREAD
        self._delivery = Delivery(
            source=line.source,
            options=options,
            items=self._grid.mine,
            layout=self._layout,
            statistics=line.recipe.statistics,
            spec=spec,
            ragged=None if batching is None else batching.ragged,
            unknown=line.recipe.unknown,
            companions=line.companions,
            targeting=line.targeting,
            viewing=line.viewing,
            ledger=_ledger_of(line, options),
        )
        self._draws_later = line.target is not None and line.target.random
        # Whether a batch may be clean: its items are its rows, nothing is read, and nothing drawn, for them beside.
        simple = batching is not None and batching.images is None and not batching.pads and not self._draws_later
        self._plain = simple and self._delivery.plain
        self._capacity = self._grid.batch_size  # rows of memory of a full batch
        if batching is not None and batching.images is not None:
            self._capacity = batching.images
        for name, count in line.source.notes.items():
            self._delivery.notes.add(name, count)
        self._start = start
        self._cut = None if options.engine == "reference" else cut_of(line.caching)
        self._plan = compile_plan(line.recipe, self._layout, line.viewing, self._cut)
        self._cache: OpenedCache | None = None
        self._hits = self._misses = 0
        self._engine = engine
        self._owns_engine = engine is None
        self._ahead = Ahead(self._capacity)
        self._flight: deque[Flying] = deque()
        self._feed = feed
        self._sent: deque[tuple[Sent, int]] = deque()  # on their way to a device, and the steps done with each
        self._refused_ahead: Exception | None = None  # why the batch behind those on their way could not be made
        self._next_step = 0
        self._handed_out = 0  # steps that the user has; a state counts these
        self._submitted = 0
        self._refused: Exception | None = None  # why the next step could not be submitted
        self._consuming = threading.Lock()
        self._consumer: int | None = None  # the thread inside next()
        self._started: float | None = None
        self._ended: float | None = None
        self._waiting_s = 0.0
        self._batches = 0
        self._baseline: tuple[int, ...] = (0,) * 7
        self._final: tuple[int, ...] | None = None
        self._pillow_baseline = self._pillow_final = (0.0, 0)
        self._maps_baseline = self._maps_final = (0.0, 0)
        self._closed = False

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
        if getattr(self, "_closed", True) is False:
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
        if self._closed:
            return
        self._closed = True
        if self._started is None and self._engine is not None and not self._engine.usable:
            self._flight.clear()  # begun early, and the pool has ended meanwhile, perhaps with the interpreter
            return
        if self._started is not None and self._ended is None:
            self._ended = time.perf_counter()
        deadline = time.monotonic() + _CLOSE_TIMEOUT_S
        try:
            given_up = [flying.ticketed for flying in self._flight]
            self._abandon(given_up)
            if self._consumer not in (None, threading.get_ident()):
                self._await_consumer(deadline)
                # What it began before it saw that the run is closed.
                late = [flying.ticketed for flying in self._flight]
                self._abandon([begun for begun in late if all(begun is not known for known in given_up)])
        finally:  # a second Ctrl-C ends the wait; the pool goes all the same
            self._let_engine_go(deadline)
            self._delivery.failures.close()

    def _abandon(self, flight: list[Ticketed]) -> None:
        for flying in self._flight:
            if flying.escort is not None:
                flying.escort.cancel()
        if self._engine is not None and self._engine.usable:
            self._engine.abandon(flight)

    def _await_consumer(self, deadline: float) -> None:
        if self._consuming.acquire(timeout=max(0.0, deadline - time.monotonic())):
            self._consuming.release()

    def _let_engine_go(self, deadline: float) -> None:
        engine = self._engine
        if engine is not None and engine.usable:
            self._final, self._pillow_final, self._maps_final = engine.times(), engine.pillow(), engine.maps()
            if self._owns_engine:
                engine.close(deadline)
        self._flight.clear()

    @property
    def begun(self) -> bool:
        """Whether anybody has asked for a batch."""
        return self._started is not None

    @property
    def steps_delivered(self) -> int:
        """Steps of this rank that were handed out, or skipped because nothing in them was left."""
        return self._handed_out

    @property
    def epoch_used_up(self) -> bool:
        """True once the steps delivered are all that any rank has; a rank may have a step less than the first."""
        return self._handed_out >= self._most_steps

    @property
    def position(self) -> int:
        """Positions of the epoch's order that all ranks have used up once this step is done: where to resume."""
        return self._grid.reached(self._handed_out)

    @property
    def failures(self) -> Failures:
        """The items that failed: first 1,000 kept, all counted; ``by_cause()``."""
        return self._delivery.failures

    @property
    def damaged(self) -> Damages:
        """The items whose codec recovered from damage, each with the codec's sentence."""
        return self._delivery.damaged

    @property
    def notes(self) -> Notes:
        """Every legal loss, counted by name."""
        return self._delivery.notes

    @property
    def clean(self) -> int:
        """Items delivered without damage."""
        return self._delivery.outcomes.clean

    @property
    def reached(self) -> int:
        """Items that have an outcome: ``clean + len(damaged) + len(failures)``."""
        return self._delivery.outcomes.reached

    @property
    def stats(self) -> Stats:
        """Where the time went so far; live while the run is open."""
        engine = self._engine
        now = self._ended if self._ended is not None else time.perf_counter()
        wall = 0.0 if self._started is None else now - self._started
        if self._final is not None:
            totals = self._final
            pillow, maps = self._pillow_final, self._maps_final
        elif engine is not None and engine.usable:
            totals, pillow, maps = engine.times(), engine.pillow(), engine.maps()
        else:
            totals, pillow, maps = self._baseline, self._pillow_baseline, self._maps_baseline
        spent = [(total - base) / 1e9 for total, base in zip(totals[:6], self._baseline[:6], strict=True)]
        return Stats(
            threads=self.threads,
            wall_s=wall,
            items=self.reached,
            batches=self._batches,
            busy_s=dict(zip(STAGES, spent[:4], strict=True)),
            starved_s=spent[4],
            blocked_s=spent[5],
            pillow_s=pillow[0] - self._pillow_baseline[0],
            pillow_items=pillow[1] - self._pillow_baseline[1],
            waiting_s=self._waiting_s,
            map_s=maps[0] - self._maps_baseline[0],
            map_items=maps[1] - self._maps_baseline[1],
            cache_hits=self._hits,
            cache_misses=self._misses,
        )

    def __str__(self) -> str:
        state = "closed" if self._closed else ("open" if self._started else "not started")
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
        while len(self._sent) <= self._feed.ahead and self._is_made and self._refused_ahead is None:
            try:
                self._send(self._feed)
            except Exception as error:  # noqa: BLE001 - raised above, when its turn comes
                self._refused_ahead = error
        sent, self._handed_out = self._sent.popleft()
        return sent()

    @property
    def _is_made(self) -> bool:
        """Whether the next step could be sent without a wait."""
        if not self._flight or self._closed or self.line.companions:  # companions may have to be waited for
            return False
        return bool(self._flight[0].ticketed.job.done)

    def _send(self, feed: Feed) -> None:
        batch = self._made()
        begun = time.perf_counter()
        try:
            self._sent.append((feed.send(self.mapped(batch)), self._next_step))
        except BaseException:
            self._end()
            raise
        finally:
            self._waiting_s += time.perf_counter() - begun

    def _made(self) -> Batch:
        """The next batch that is not empty; StopIteration behind the last."""
        while True:
            if self._next_step >= self._steps:
                self._finish()
                if not self._sent:
                    self._handed_out = self._next_step  # steps of which nothing was left count as well
                raise StopIteration
            if self._closed:
                raise EngineError(_CLOSED)
            begun = time.perf_counter()
            try:
                try:
                    if self._started is None:
                        self._begin(begun)
                    batch = self._step()
                finally:
                    self._waiting_s += time.perf_counter() - begun
                if self._next_step >= self._steps:
                    self._finish()
            except BaseException:
                # Whatever went wrong, this run is over; an interrupted wait must not leave threads behind.
                self._end()
                raise
            if len(batch) == 0:
                continue
            self._batches += 1
            return batch

    def _begin(self, now: float) -> None:
        self._started = now
        self._delivery.resume(self._start)
        if self.options.engine != "native":
            return
        self._cache = cache_of(self.line)
        if self._engine is None:
            self._engine = Engine(self.threads, self.options.prefetch, self.options.max_memory)
            if self._closed:  # by another thread, which saw no engine to close
                self._engine.close()
                raise EngineError(_CLOSED)
        self._baseline = self._engine.times()
        if not self._flight:
            self._count_from_here(self._engine)
        self._submit(self._engine)

    def _count_from_here(self, engine: Engine) -> None:
        self._pillow_baseline = engine.pillow()
        self._maps_baseline = engine.maps()

    def begin_early(self) -> None:
        """Submits the first steps before anybody asks for one; close() drops them.

        Native threads' time until then is in no pass's statistics, which are shares of a pass's own time.
        """
        if self._engine is not None and self._engine.usable:
            try:
                self._cache = cache_of(self.line)
            except PlanError:  # raised when the pass begins: the batch at hand is not to be lost for it
                return
            self._count_from_here(self._engine)
            self._submit(self._engine)

    def made_by(self, engine: Engine | None) -> bool:
        """Whether this pass runs on that engine, and still can."""
        if self._closed or engine is None or engine is not self._engine:
            return False
        return engine.usable and not engine.stranded

    def _step(self) -> Batch:
        step = self._next_step
        columns: Columns | Clean
        if self.options.engine == "reference":
            request = self.request_at(step)
            columns = self._by_reference(request)
        else:
            request, columns = self._by_engine()
        batch = self._delivered(step, request, columns)
        self._next_step += 1  # a batch that deliver refused was not handed out: a state resumes with it
        return batch

    def _delivered(self, step: int, request: Request, columns: Columns | Clean) -> Batch:
        if isinstance(columns, Clean):
            self._hits += columns.hits
            self._misses += columns.misses
            self._look_at_cache()
            return self._delivery.deliver_clean(
                columns, request.index, request.labels, step=step, epoch=self.options.epoch
            )
        return deliver_step(
            self._delivery,
            columns,
            request,
            step=step,
            epoch=self.options.epoch,
            size=self.size_at(step),
            progress=partial(self._grid.progress, step),
            stand_ins=self.stand_ins(step, self._make) if self.options.on_failure == "replace" else None,
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
                item=partial(self._item, request),
            )

        columns = columns_of(self.line.recipe, self.line.viewing, request.draws, make)
        Escort(self.line, request, self.options.epoch, None).join(columns)
        return columns

    def _by_engine(self) -> tuple[Request, Columns | Clean]:
        """The next step, made by the pool; the one behind the window is begun."""
        engine = self._engine
        if engine is None or not engine.usable:
            if engine is not None and engine.closed:
                raise EngineError(_CLOSED)
            raise EngineError(
                "run: expected the process that started it, found a forked child; start a run of its own there."
            )
        if not self._flight and self._refused is not None:
            raise self._refused
        request, ticketed, escort = self._flight[0]
        engine.settle(ticketed)
        if self._closed:  # by another thread: the batch ended because it was given up
            raise EngineError(_CLOSED)
        self._flight.popleft()
        self._submit(engine)
        if self._plain and not (ticketed.notes or ticketed.changes) and (made := ticketed.job.clean()) is not None:
            return request, Clean(*made)
        return request, self._columns(ticketed.job.results(), ticketed, escort)

    def _submit(self, engine: Engine) -> None:
        """Fills the window. What cannot be submitted is raised in its turn, after the batches that are in flight."""
        try:
            while len(self._flight) < self._window and self._submitted < self._steps and not self._closed:
                request, ticketed = self._ahead.take(self._ready, self._submitted, self._steps)
                engine.submit(ticketed, more=self._submitted + 1 < self._steps)
                self._flight.append(Flying(request, ticketed, self._escort(request, engine)))
                self._submitted += 1
        except Exception as error:  # noqa: BLE001 - raised by _step, when the turn comes
            self._refused = error

    def _ready(self, step: int, count: int) -> list[tuple[Request, Ticketed]]:
        """Steps and their jobs, which the pool does not have yet; several only of paths."""
        engine = self._engine
        assert engine is not None
        requests = []
        if count > 1:
            line, places = self.line, [self._grid.positions(at) for at in range(step, step + count)]
            together = np.concatenate(places)
            items, draws = line.order.draws(together[together >= 0], len(line.source), self.options.epoch)
            requests = requests_of(line.source, places, items, draws)
        requests = requests or [self.request_at(step)]
        return [(request, self._ticketed(engine, request)) for request in requests]

    def _make(self, request: Request) -> Columns:
        """What stands in for items that failed: made at once, while the consumer waits."""
        if self.options.engine == "reference":
            return self._by_reference(request)
        engine = self._engine
        if engine is None or self._closed:
            raise EngineError(_CLOSED)
        ticketed = self._ticketed(engine, request, urgent=True)
        engine.submit(ticketed, more=self._submitted < self._steps)
        escort = self._escort(request, engine)
        self._flight.appendleft(Flying(request, ticketed, escort))  # so that whoever closes the run gives it up as well
        results = engine.wait(ticketed)
        if self._closed:
            raise EngineError(_CLOSED)
        self._flight.popleft()
        return self._columns(results, ticketed, escort)

    def _columns(self, results: dict[str, Any], ticketed: Ticketed, escort: Escort | None) -> Columns:
        """What the pool made of a step, with its companions."""
        dtype, views = self._delivery.spec.dtype, self.line.viewing
        columns = Columns.from_native(results, ticketed.notes, dtype, ticketed.changes, views)
        if escort is not None:
            escort.join(columns)
        self._hits += results["hits"]
        self._misses += results["misses"]
        self._look_at_cache()
        return columns

    def _look_at_cache(self) -> None:
        if self._cache is not None and (trouble := self._cache.trouble()):
            logger.warning("%s", trouble)
            self._delivery.notes.add("cache off")
        if self._cache is not None and (full := full_sentence(self.line, self._cache)):
            logger.warning("%s", full)

    def _escort(self, request: Request, engine: Engine) -> Escort | None:
        if not self.line.companions:
            return None
        return Escort(self.line, request, self.options.epoch, engine, self.options.timeout_s)

    def _ticketed(self, engine: Engine, request: Request, urgent: bool = False) -> Ticketed:
        return engine.prepare(
            self._plan,
            self.line.recipe,
            request.located,
            request.draws,
            rows=request.rows,
            capacity=request.rows if urgent else self._capacity,
            seed=self.line.order.seed,
            epoch=self.options.epoch,
            item=partial(self._item, request),
            timeout_s=self.options.timeout_s,
            urgent=urgent,
            cache=self._cache,
            cut=self._cut,
        )

    def request_at(self, step: int) -> Request:
        """What a step of this rank needs."""
        places = self._grid.positions(step)
        real = places[places >= 0]
        return self._request(real, len(places))

    def _request(self, positions: npt.NDArray[np.int64], rows: int) -> Request:
        items, draws = self.line.order.draws(positions, len(self.line.source), self.options.epoch)
        return request_of(self.line.source, items, rows, draws, self.line.batching)

    def stand_ins(self, step: int, make: Callable[[Request], Columns]) -> Make:
        """How items that failed in a step are replaced; ``make`` makes those that are drawn for them."""
        places = self._grid.positions(step)
        seed, items = self.line.order.seed, self.line.order.count(len(self.line.source))

        def stand_in(rows: npt.NDArray[np.int64], attempt: int) -> tuple[Request, Columns]:
            drawn = drawn_positions(seed, self.options.epoch, places[rows], attempt, items)
            request = self._request(drawn, len(rows))
            return request, make(request)

        return stand_in

    def size_at(self, step: int) -> tuple[int, int] | None:
        """The size that all images of a step were chosen by, where a line fills buckets."""
        return self._grid.size(step) if isinstance(self._grid, Buckets) else None

    def _hand_out(self, batch: Batch) -> Any:
        if self.line.batching is None:
            return batch[0]
        batch = self.mapped(batch)
        return batch if self.line.selection is None else self.line.selection.take(batch)

    def _item(self, request: Request, row: int) -> Item:
        """What the source knows of the item in a row."""
        return self.line.source[int(request.index[row])]

    def mapped(self, batch: Batch) -> Any:
        """What the line's maps on batches make of a batch of this pass."""
        if not self.line.maps:
            return batch
        position = int(self._grid.positions(batch.step)[0])
        seed = self.line.order.seed
        return mapped_batch(self.line.maps, batch, seed=seed, epoch=self.options.epoch, position=position)

    def _finish(self) -> None:
        if self._ended is None and not self._closed:
            self._ended = time.perf_counter()
            self._delivery.check_accounts(finished=True)
            self._end()


def _ledger_of(line: Pipeline, options: RunOptions) -> Ledger | None:
    if options.ledger is None:
        return None

    def fingerprint() -> str:
        try:
            return line.fingerprint
        except PlanError:  # a warp by a function that has no name
            return ""

    return Ledger(
        os.fsdecode(options.ledger),
        fingerprint,
        epoch=options.epoch,
        rank=options.rank,
        world_size=options.world_size,
    )
