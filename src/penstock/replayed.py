"""The methods of a line that make one item or one step of a pass again, bit for bit."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from penstock.errors import PlanError
from penstock.options import RunOptions, whole

if TYPE_CHECKING:
    from penstock.batch import Batching
    from penstock.order import Order
    from penstock.pipeline import Pipeline
    from penstock.recipe import Recipe
    from penstock.replay import Explanation
    from penstock.sources.source import Source
    from penstock.types import Batch, OnFailure, Row

__all__ = ["Replayed"]


class Replayed:
    """A line's items and steps one by one: what a run makes of each, without a pool of threads."""

    if TYPE_CHECKING:
        source: Source
        recipe: Recipe
        order: Order

        def _expect_batches(self, text: str) -> Batching: ...

    def sample(
        self, index: int | None = None, *, key: str | None = None, epoch: int = 0, upto: str | int | None = None
    ) -> Row:
        """One item as the run delivers it, by its index in the source or its key; ``upto`` stops after that step.

        Random steps draw as in the run with that ``epoch``. An item that fails is a Row with its
        ``failure``, ``valid`` False; SourceError when there is no such key, PlanError when there is no such index.
        """
        from penstock.replay import sample

        if upto is not None:
            self.recipe.upto(upto)
        return sample(cast("Pipeline", self), self._index("sample", index, key), whole("epoch", epoch, 0), upto)

    def batch_at(
        self,
        step: int,
        *,
        epoch: int = 0,
        rank: int = 0,
        world_size: int = 1,
        start: int = 0,
        on_failure: OnFailure = "blank",
    ) -> Batch:
        """The batch that a run delivers at ``step``, bit for bit, whatever came before it.

        ``start`` is the position at which the pass began: 0, or ``state["position"]`` where a state was loaded. Raises
        PlanError for a step that the pass does not have, and what ``on_failure`` says for an item that fails.
        """
        self._expect_batches("batch_at()")
        from penstock.buckets import grid_of
        from penstock.replay import batch_at

        options = RunOptions(epoch=epoch, rank=rank, world_size=world_size, on_failure=on_failure)
        begun_at = whole("start", start, 0)
        steps = grid_of(
            cast("Pipeline", self),
            epoch=options.epoch,
            rank=options.rank,
            world_size=options.world_size,
            start=begun_at,
        ).steps
        number = whole("step", step, 0)
        if number >= steps:
            raise PlanError(f"batch_at({number}): expected a step below {steps}, found {number}.")
        line = cast("Pipeline", self).executed()
        batch = batch_at(line, number, options, begun_at)
        if line.target is None:
            return batch
        from penstock.deliver.feed import feed_of

        made: Batch = feed_of(line.target, None, seed=self.order.seed).send(batch)()
        return made

    def explain(self, item: int | str, *, epoch: int = 0) -> Explanation:
        """What happens to one item, by index or key: each stage's shape, dtype, range and time, or why it failed."""
        from penstock.replay import explain

        index = self._index("explain", None, item) if isinstance(item, str) else self._index("explain", item, None)
        return explain(cast("Pipeline", self), index, whole("epoch", epoch, 0))

    def _index(self, method: str, index: int | None, key: str | None) -> int:
        """The source index of an item given by index or by key."""
        if (index is None) == (key is None):
            found = "neither" if index is None else "both"
            raise PlanError(f"{method}(): expected index= or key=, found {found}.")
        if key is not None:
            return self.source.find(key)
        number = whole("index", index, -len(self.source))
        if number >= len(self.source):
            raise PlanError(f"{method}({number}): expected an index below {len(self.source)}, found {number}.")
        return number % len(self.source)
