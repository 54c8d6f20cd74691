"""Steps in flight: what the pool is at work on for one pass, kept filled, taken from in order."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from penstock.ahead import Ahead
from penstock.cache_full import full_sentence
from penstock.cached import cache_of
from penstock.errors import EngineError
from penstock.escort import Escort
from penstock.results import Clean, Columns

if TYPE_CHECKING:
    from penstock import _native
    from penstock.cache import OpenedCache
    from penstock.engine import Engine, Ticketed
    from penstock.failures import Notes
    from penstock.schedule import Schedule
    from penstock.step import Request
    from penstock.types import DtypeName

__all__ = ["CLOSED", "Flight", "Flying"]

logger = logging.getLogger("penstock")

CLOSED = "run: expected an open run, found it closed; call line.run() for a new one."


class Flying(NamedTuple):
    """A step on its way."""

    request: Request
    ticketed: Ticketed
    escort: Escort | None  # of a line with companions


class Flight:
    """At most ``window`` steps of a pass, in order; ``rows`` of memory has a full batch.

    One consumer takes them; whoever closes the run, in whatever thread, sets ``closed``. ``plain``: a batch of which
    there is nothing to say may be handed over as it is.
    """

    def __init__(
        self,
        schedule: Schedule,
        plan: _native.Plan,
        cut: int | None,
        notes: Notes,
        *,
        rows: int,
        window: int,
        plain: bool,
    ) -> None:
        self.closed = False
        self.hits = self.misses = 0  # of the line's cache
        self._schedule = schedule
        self._line = schedule.line
        self._options = schedule.options
        self._plan = plan
        self._cut = cut
        self._notes = notes
        self._rows = rows
        self._window = window
        self._plain = plain
        self._dtype: DtypeName = schedule.line.recipe.spec().dtype
        self._cache: OpenedCache | None = None
        self._ahead = Ahead(rows)
        self._flying: deque[Flying] = deque()
        self._submitted = 0
        self._refused: Exception | None = None  # why the next step could not be submitted

    def __len__(self) -> int:
        return len(self._flying)

    def __iter__(self) -> Iterator[Flying]:
        return iter(self._flying)

    def clear(self) -> None:
        """Forgets the steps on their way."""
        self._flying.clear()

    @property
    def next_is_made(self) -> bool:
        """Whether the next step could be taken without a wait; of companions nobody knows."""
        if not self._flying or self.closed or self._line.companions:
            return False
        return bool(self._flying[0].ticketed.job.done)

    def open_cache(self) -> None:
        """Opens the line's cache, where it has one; PlanError where it cannot be."""
        self._cache = cache_of(self._line)

    def abandon(self, engine: Engine | None, flight: list[Ticketed]) -> None:
        """Nobody wants these any more, nor the companions of any."""
        for flying in self._flying:
            if flying.escort is not None:
                flying.escort.cancel()
        if engine is not None and engine.usable:
            engine.abandon(flight)

    def fill(self, engine: Engine) -> None:
        """Fills the window. What cannot be submitted is raised in its turn, after the batches that are in flight."""
        steps = self._schedule.steps
        try:
            while len(self._flying) < self._window and self._submitted < steps and not self.closed:
                request, ticketed = self._ahead.take(partial(self._ready, engine), self._submitted, steps)
                engine.submit(ticketed, more=self._submitted + 1 < steps)
                self._flying.append(Flying(request, ticketed, self._escort(request, engine)))
                self._submitted += 1
        except Exception as error:  # noqa: BLE001 - raised by take, when the turn comes
            self._refused = error

    def take(self, engine: Engine | None) -> tuple[Request, Columns | Clean]:
        """The next step, made by the pool; the one behind the window is begun."""
        if engine is None or not engine.usable:
            if engine is not None and engine.closed:
                raise EngineError(CLOSED)
            raise EngineError(
                "run: expected the process that started it, found a forked child; start a run of its own there."
            )
        if not self._flying and self._refused is not None:
            raise self._refused
        request, ticketed, escort = self._flying[0]
        engine.settle(ticketed)
        if self.closed:  # by another thread: the batch ended because it was given up
            raise EngineError(CLOSED)
        self._flying.popleft()
        self.fill(engine)
        if self._plain and not (ticketed.notes or ticketed.changes) and (made := ticketed.job.clean()) is not None:
            clean = Clean(*made)
            self._count(clean.hits, clean.misses)
            return request, clean
        return request, self._columns(ticketed.job.results(), ticketed, escort)

    def make(self, engine: Engine | None, request: Request) -> Columns:
        """What stands in for items that failed: made at once, while the consumer waits."""
        if engine is None or self.closed:
            raise EngineError(CLOSED)
        ticketed = self._ticketed(engine, request, urgent=True)
        engine.submit(ticketed, more=self._submitted < self._schedule.steps)
        escort = self._escort(request, engine)
        self._flying.appendleft(Flying(request, ticketed, escort))  # whoever closes the run gives it up as well
        results = engine.wait(ticketed)
        if self.closed:
            raise EngineError(CLOSED)
        self._flying.popleft()
        return self._columns(results, ticketed, escort)

    def _ready(self, engine: Engine, step: int, count: int) -> list[tuple[Request, Ticketed]]:
        """Steps and their jobs, which the pool does not have yet; several only of paths."""
        requests = self._schedule.requests_from(step, count)
        return [(request, self._ticketed(engine, request)) for request in requests]

    def _columns(self, results: dict[str, Any], ticketed: Ticketed, escort: Escort | None) -> Columns:
        """What the pool made of a step, with its companions."""
        columns = Columns.from_native(results, ticketed.notes, self._dtype, ticketed.changes, self._line.viewing)
        if escort is not None:
            escort.join(columns)
        self._count(results["hits"], results["misses"])
        return columns

    def _count(self, hits: int, misses: int) -> None:
        self.hits += hits
        self.misses += misses
        if self._cache is not None and (trouble := self._cache.trouble()):
            logger.warning("%s", trouble)
            self._notes.add("cache off")
        if self._cache is not None and (full := full_sentence(self._line, self._cache)):
            logger.warning("%s", full)

    def _escort(self, request: Request, engine: Engine) -> Escort | None:
        if not self._line.companions:
            return None
        return Escort(self._line, request, self._options.epoch, engine, self._options.timeout_s)

    def _ticketed(self, engine: Engine, request: Request, urgent: bool = False) -> Ticketed:
        return engine.prepare(
            self._plan,
            self._line.recipe,
            request.located,
            request.draws,
            rows=request.rows,
            capacity=request.rows if urgent else self._rows,
            seed=self._line.order.seed,
            epoch=self._options.epoch,
            item=partial(self._schedule.item, request),
            timeout_s=self._options.timeout_s,
            urgent=urgent,
            cache=self._cache,
            cut=self._cut,
        )
