"""The order's verbs as methods of a line: which item comes when."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self, cast

from penstock.errors import PlanError
from penstock.options import whole
from penstock.order.algebra import Order
from penstock.order.part import Skip, Take
from penstock.order.shuffle import Shuffle
from penstock.order.step import OrderStep

if TYPE_CHECKING:
    from penstock.sources.source import Source

__all__ = ["Ordered"]


class Ordered:
    """A line's order: each method returns a longer line. They act on items, wherever they stand before ``batch``."""

    source: Source
    order: Order
    # Whether seed() was called, so that a second one is refused; the same line otherwise.
    _seeded: bool

    def _before_batch(self, text: str) -> None:
        raise NotImplementedError

    @property
    def items(self) -> int:
        """How many items a pass has: the source's, after ``filter``, ``take`` and the like."""
        return self.order.count(len(self.source))

    def _with_order(self, order: Order, **more: Any) -> Self:
        return cast("Self", replace(cast("Any", self), order=order, **more))

    def _ordered(self, step: OrderStep) -> Self:
        self._before_batch(f"{step.word}({step.arguments()})")
        return self._with_order(self.order.then(step))

    def seed(self, value: int) -> Self:
        """The one seed of the order and of every random step; a whole number from 0 to 2**64 - 1, default 0."""
        number = whole("seed", value, 0, (1 << 64) - 1)
        self._before_batch(f"seed({number})")
        if self._seeded:
            raise PlanError(f"seed({number}): expected one seed, found a second one after seed({self.order.seed}).")
        return self._with_order(replace(self.order, seed=number), _seeded=True)

    def shuffle(self, window: int | None = None) -> Self:
        """A full permutation of the items, another one each epoch, from the seed; it needs no memory.

        ``window=n`` is for media that are read best in sequence: blocks of ``n`` neighbours come in permuted order, and
        the items of a block in permuted order inside it. Raises PlanError for a second shuffle right behind the first.
        """
        step = Shuffle(None if window is None else whole("shuffle: window", window, 1))
        if self.order.steps and isinstance(self.order.steps[-1], Shuffle):
            raise PlanError(f"shuffle({step.arguments()}): expected one shuffle, found a second one; leave it out.")
        return self._ordered(step)

    def take(self, n: int) -> Self:
        """The first ``n`` items of the order so far; all of them where there are fewer.

        Behind a shuffle these are other items in every epoch.
        """
        return self._ordered(Take(whole("take", n, 0)))

    def skip(self, n: int) -> Self:
        """What comes after the first ``n`` items of the order so far; nothing where there are no more."""
        return self._ordered(Skip(whole("skip", n, 0)))
