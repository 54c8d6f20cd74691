"""The order's verbs as methods of a line: which item comes when."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self, cast

from penstock.errors import PlanError
from penstock.options import whole
from penstock.order.algebra import Order
from penstock.order.asking import balanced, chosen, parts_of, sampled
from penstock.order.part import Skip, Take
from penstock.order.shuffle import Shuffle
from penstock.order.step import OrderStep
from penstock.order.table import name_of

if TYPE_CHECKING:
    from penstock.sources.source import Source
    from penstock.types import Item

__all__ = ["Ordered"]


class Ordered:
    """A line's order: each method returns a longer line. They act on items, wherever they stand before ``batch``."""

    source: Source
    order: Order
    # Whether seed() was called, so that a second one is refused; the same line otherwise.
    _seeded: bool

    def _before_batch(self, text: str) -> None:
        raise NotImplementedError

    def _work(self) -> tuple[object, ...]:
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
        self._before_batch(f"shuffle({step.arguments()})")
        if self.order.steps and isinstance(self.order.steps[-1], Shuffle):
            raise PlanError(f"shuffle({step.arguments()}): expected one shuffle, found a second one; leave it out.")
        return self._with_order(self.order.then(step))

    def take(self, n: int) -> Self:
        """The first ``n`` items of the order so far; all of them where there are fewer.

        Behind a shuffle these are other items in every epoch.
        """
        return self._ordered(Take(whole("take", n, 0)))

    def skip(self, n: int) -> Self:
        """What comes after the first ``n`` items of the order so far; nothing where there are no more."""
        return self._ordered(Skip(whole("skip", n, 0)))

    def filter(self, fn: Callable[[Item], Any]) -> Self:
        """The items of which ``fn`` says something true; ``fn`` takes an Item and is asked once for each, right here.

        What it said is kept as a bit an item. Behind a shuffle it goes in front of it: the same items, then shuffled.
        Raises PlanError where ``fn`` raises, naming the item, and behind steps that take other items each epoch.
        """
        text = f"filter({name_of(fn)})"
        return self._about_items(text, lambda fixed: chosen(text, self.source, fixed, fn))

    def split(self, by: str | Callable[[Item], Any] | None = None, seed: int = 0, **parts: float) -> dict[str, Self]:
        """Several lines that share no item, by name: ``line.split(train=0.8, val=0.2)["train"]``.

        Each part has its exact share of the items, drawn by a permutation of ``seed``, which no epoch changes. With
        ``by``, a field's name or a function of an Item, the items of one group stay together, in the order before it,
        and the shares are as near as the groups allow. Shares add up to 1 at most. Raises PlanError as ``filter`` does.
        """
        given = ", ".join([*([] if by is None else [f"by={name_of(by)}"]), *(f"{k}={v!r}" for k, v in parts.items())])
        text = f"split({given})"
        self._before_batch(text)
        fixed, behind = self.order.split_permutations(text)
        steps = parts_of(text, self.source, fixed, by, whole("split: seed", seed, 0, (1 << 64) - 1), parts)
        return {name: self._with_order(replace(fixed, steps=(*fixed.steps, step, *behind))) for name, step in steps}

    def sample_by(self, weights: str | Sequence[float], n: int | None = None) -> Self:
        """``n`` items (as many as there are, without it) drawn by weight with replacement, other ones each epoch.

        ``weights`` are one number an item, or the name of a field that holds them. An item that is drawn twice has
        random steps of its own each time. Raises PlanError for weights that are negative, not finite, all zero, or not
        as many as the items, and as ``filter`` does.
        """
        text = f"sample_by({name_of(weights) if isinstance(weights, str) else 'weights'})"
        count = None if n is None else whole("sample_by: n", n, 0)
        return self._about_items(text, lambda fixed: sampled(text, self.source, fixed, weights, count))

    def balance(self, field: str = "label") -> Self:
        """Every class equally often: round after round one item of each, as often as the largest class has items.

        The class is the label, or a field. A smaller class comes again, in a permutation of its own each time through,
        and with random steps of its own. Raises PlanError for an item without a class, and as ``filter`` does.
        """
        text = f"balance({field!r})"
        return self._about_items(text, lambda fixed: balanced(text, self.source, fixed, field))

    def _about_items(self, text: str, make: Callable[[Order], OrderStep]) -> Self:
        """A step that looks at items goes before the shuffles that it stands behind: they only move places."""
        self._before_batch(text)
        fixed, behind = self.order.split_permutations(text)
        return self._with_order(replace(fixed, steps=(*fixed.steps, make(fixed), *behind)))
