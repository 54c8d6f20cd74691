"""What a trainer holds: the pool of threads, kept from epoch to epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from penstock.buckets import grid_of
from penstock.cores import default_threads
from penstock.deliver.feed import Feed, feed_of
from penstock.engine import Engine
from penstock.errors import PlanError
from penstock.images import expect_policy
from penstock.options import RunOptions, expect_flag, whole
from penstock.run import Run

if TYPE_CHECKING:
    from penstock.pipeline import Pipeline


class Loader:
    """What a trainer holds: re-iterable and sized; each pass is the next epoch, on one pool of threads.

    An epoch closes when its last batch is handed out; on a rank that has a step less than another, when its pass ends,
    so that the state is the same on every rank. A pass that is left early counts as an epoch, one that was never begun
    does not; after ``load_state_dict`` the next pass goes on from where the state was taken. ``len`` is the whole
    epoch's batches, those before that state included, as trainers count them.

    With ``across_epochs`` the pool begins the next epoch's first batches when the last one is handed out, so that no
    model waits between epochs. They are dropped if no such pass comes; no draw, state or account knows of them.
    """

    def __init__(self, line: Pipeline, options: RunOptions, *, across_epochs: bool = False) -> None:
        if line.batching is None:
            raise PlanError("loader(): expected a line with .batch(n), found none; add .batch(n) before .loader().")
        expect_policy(line.batching, options)
        # A state holds the recipe's fingerprint: what has none is refused now, not when the first state is asked for.
        _ = line.recipe.fingerprint, [verb.fingerprint_fields() for verb in line.maps]
        self.line = line
        self.options = options
        self.epoch = options.epoch
        self._engine: Engine | None = None
        self._run: Run | None = None
        self._start = 0
        self._done = 0  # steps of this epoch before self._start
        self._across_epochs = expect_flag("across_epochs", across_epochs)
        self._early: Run | None = None  # the next pass, begun before anybody asked for it
        self._feed: Feed | None = None  # held as the pool is: what runs on a device is compiled once

    def __len__(self) -> int:
        options = self.options
        left = grid_of(
            self.line,
            epoch=self.epoch,
            rank=options.rank,
            world_size=options.world_size,
            start=self._start,
            equal=options.equal_batches,
        ).steps
        return self._done + left

    def __iter__(self) -> Iterator[Any]:
        """The next epoch's batches; a pass still open ends here."""
        self._leave_pass()
        run = self._taken_early() or self._new_run(self._pool())
        self._run = run
        return self._pass(run)

    def _new_run(self, engine: Engine | None) -> Run:
        options = replace(self.options, epoch=self.epoch)
        return Run(self.line, options, engine=engine, start=self._start, feed=self._target_feed())

    def _begin_early(self) -> None:
        """Begins the pass that is likely to come; not where a grid of batches has to be made of the headers first."""
        engine, batching = self._engine, self.line.batching
        if not self._across_epochs or batching is None or batching.ragged == "bucket":
            return
        if engine is not None and engine.usable and not engine.stranded:
            self._early = self._new_run(engine)
            self._early.begin_early()

    def _taken_early(self) -> Run | None:
        """The pass that was begun early, if it is the one that is asked for now."""
        run = self._early
        if run is None or not run.made_by(self._engine) or run.options.epoch != self.epoch or self._start:
            self._drop_early()
            return None
        self._early = None
        return run

    def _drop_early(self) -> None:
        run, self._early = self._early, None
        if run is not None:
            run.close()

    def _pass(self, run: Run) -> Iterator[Any]:
        for batch in run:
            if run.epoch_used_up:
                self._close_epoch(run)
                self._begin_early()
            yield batch
        if self._run is run:  # its last steps had nothing left to hand out, or another rank has a step more
            self._close_epoch(run)

    def _close_epoch(self, run: Run) -> None:
        self.last_run = run
        self._run = None
        self._start = self._done = 0
        self.epoch += 1

    def _leave_pass(self) -> None:
        """Ends a pass that is still open; it was its epoch's, unless nobody asked it for anything."""
        run, self._run = self._run, None
        if run is None:
            return
        run.close()
        if run.begun:
            self._start = self._done = 0
            self.epoch += 1

    def _target_feed(self) -> Feed | None:
        line = self.line.executed()
        if self._feed is None and line.target is not None:
            self._feed = feed_of(line.target, line.selection, seed=line.order.seed)
        return self._feed

    def _pool(self) -> Engine | None:
        if self.options.engine != "native":
            return None
        if self._engine is not None and self._engine.stranded:
            self._engine.close()
        if self._engine is None or not self._engine.usable:
            self._engine = Engine(
                self.options.threads or default_threads(),
                self.options.prefetch,
                self.options.max_memory,
            )
        return self._engine

    @property
    def run(self) -> Run | None:
        """The pass that is open, else the last one, for stats, failures and notes; None before the first."""
        return self._run or getattr(self, "last_run", None)

    def state_dict(self) -> dict[str, Any]:
        """Where the run stands, as small JSON: the same on every rank; counts the batches handed out."""
        return {
            "version": 1,
            "fingerprint": self._fingerprint(),
            "items": self.line.items,
            "epoch": self.epoch,
            "position": self._start if self._run is None else self._run.position,
            "steps": self._done + (0 if self._run is None else self._run.steps_delivered),
            **self._bucket(),
        }

    def _bucket(self) -> dict[str, int]:
        """What positions count by where a line fills buckets: other batch sizes make other batches."""
        batching = self.line.batching
        return {"bucket": batching.size} if batching is not None and batching.ragged == "bucket" else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a state of the same line; raises PlanError when the line or its file list has changed."""
        if not isinstance(state, Mapping):
            raise PlanError(f"load_state_dict: expected what state_dict() gave, found {type(state).__name__}.")
        if state.get("version") != 1:
            raise PlanError(f"load_state_dict: expected a state of version 1, found {state.get('version')!r}.")
        if state.get("items") != self.line.items:
            raise PlanError(
                f"load_state_dict: expected the {state.get('items')} items the state was taken with, found "
                f"{self.line.items}; the file list has changed."
            )
        if state.get("fingerprint") != self._fingerprint():
            raise PlanError(
                "load_state_dict: expected the line the state was taken with, found another (source, verbs, their "
                "parameters or the seed differ)."
            )
        if state.get("position") and state.get("bucket") != self._bucket().get("bucket"):
            raise PlanError(
                f"load_state_dict: expected buckets of {state.get('bucket')} rows as the state was taken with, found "
                f"{self._bucket().get('bucket')}; inside an epoch, their size decides who comes with whom."
            )
        for name, article in (("epoch", "an"), ("position", "a")):
            if name not in state:
                raise PlanError(f"load_state_dict: expected a state with {article} {name}, found none.")
        epoch = whole("load_state_dict: epoch", state.get("epoch"), 0)
        position = whole("load_state_dict: position", state.get("position"), 0, self.line.items)
        steps = whole("load_state_dict: steps", state.get("steps", 0), 0)
        self._drop_early()
        if self._run is not None:
            self._run.close()
            self._run = None
        self.epoch = epoch
        self._start = position
        self._done = steps

    def _fingerprint(self) -> str:
        return self.line.fingerprint

    def __del__(self) -> None:
        if getattr(self, "_engine", None) is not None:
            self.close()

    def close(self) -> None:
        """Ends the pool's threads; a later pass starts new ones."""
        self._drop_early()
        self._leave_pass()
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __str__(self) -> str:
        return f"Loader: epoch {self.epoch}, {len(self)} batches, {self.options.threads or default_threads()} threads"

    __repr__ = __str__
