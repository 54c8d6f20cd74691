"""How long one run has taken: its own clock, and its share of a pool that may have served other passes before."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from penstock.stats import STAGES, Stats

if TYPE_CHECKING:
    from penstock.engine import Engine

__all__ = ["Meter"]


class _Totals(NamedTuple):
    """What an engine has spent since it began."""

    times: tuple[int, ...] = (0,) * 7
    pillow: tuple[float, int] = (0.0, 0)
    maps: tuple[float, int] = (0.0, 0)


def _totals_of(engine: Engine) -> _Totals:
    return _Totals(engine.times(), engine.pillow(), engine.maps())


class Meter:
    """The times of one run; live until they are kept."""

    def __init__(self) -> None:
        self.started: float | None = None
        self.ended: float | None = None
        self.waiting_s = 0.0  # of the consumer, for batches
        self.batches = 0
        self._before = _Totals()  # this run's share begins there
        self._kept: _Totals | None = None

    def end(self, engine: Engine | None) -> None:
        """Stops the run's clock, once, where it ever began: what the engine spends from here on is for others."""
        if self.started is None or self.ended is not None:
            return
        if engine is not None and engine.usable:
            self._kept = _totals_of(engine)
        self.ended = time.perf_counter()  # after the threads' own times, whose sum it must not fall short of

    def count_threads_from_here(self, engine: Engine) -> None:
        """What native threads have done so far was for others."""
        self._before = self._before._replace(times=engine.times())

    def count_python_from_here(self, engine: Engine) -> None:
        """The same of Python threads."""
        self._before = self._before._replace(pillow=engine.pillow(), maps=engine.maps())

    def stats(self, engine: Engine | None, *, threads: int, items: int, hits: int, misses: int) -> Stats:
        """Where the time went so far."""
        ended = self.ended  # first: where another thread ends the run meanwhile, its totals must not be the later ones
        before, totals = self._before, self._kept
        if totals is None:
            totals = before if engine is None or not engine.usable else _totals_of(engine)
        now = ended if ended is not None else time.perf_counter()  # after the threads' own times
        spent = [(total - base) / 1e9 for total, base in zip(totals.times[:6], before.times[:6], strict=True)]
        return Stats(
            threads=threads,
            wall_s=0.0 if self.started is None else now - self.started,
            items=items,
            batches=self.batches,
            busy_s=dict(zip(STAGES, spent[:4], strict=True)),
            starved_s=spent[4],
            blocked_s=spent[5],
            pillow_s=totals.pillow[0] - before.pillow[0],
            pillow_items=totals.pillow[1] - before.pillow[1],
            waiting_s=self.waiting_s,
            map_s=totals.maps[0] - before.maps[0],
            map_items=totals.maps[1] - before.maps[1],
            cache_hits=hits,
            cache_misses=misses,
        )
