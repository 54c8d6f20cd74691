"""Which item comes when, as pure arithmetic on positions: a seed and a chain of steps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from penstock.errors import PlanError
from penstock.order.cipher import Indices, derived, hash_position
from penstock.order.shuffle import Shuffle
from penstock.order.step import OrderStep

__all__ = ["Order"]


@dataclass(frozen=True, slots=True)
class Order:
    """Which item comes at which position of a pass: as listed, or as its steps say, one after the other.

    >>> order = Order(seed=0, steps=(Shuffle(),))
    >>> order.indices(np.arange(5), n=5, epoch=0)
    array([4, 1, 2, 0, 3])
    """

    seed: int = 0
    steps: tuple[OrderStep, ...] = ()

    @property
    def random(self) -> bool:
        """True where a pass depends on the seed and the epoch."""
        return any(step.random for step in self.steps)

    @property
    def repeats(self) -> bool:
        """True where one item may come more than once in a pass."""
        return any(step.repeats for step in self.steps)

    def count(self, n: int) -> int:
        """How many items a pass over ``n`` items of the source has."""
        for step in self.steps:
            n = step.count(n)
        return n

    def indices(self, positions: npt.NDArray[Any], n: int, epoch: int) -> Indices:
        """Source indices (int64) at ``positions`` of the pass ``epoch`` over ``n`` items; a blank (-1) stays -1."""
        return self.places(positions, n, epoch)[0]

    def places(self, positions: npt.NDArray[Any], n: int, epoch: int) -> tuple[Indices, Indices]:
        """Source indices, and which lap of its item each position is: both int64 of their shape, -1 and 0 for a blank.

        Lap 0 is an item's first time in the pass; another lap is another number, so that it may draw on its own.
        """
        given = np.asarray(positions, dtype=np.int64)
        if given.ndim == 1 and given.size and given.min() >= 0:
            return self._places(given, n, epoch)
        out, laps = np.full(given.shape, -1, dtype=np.int64), np.zeros(given.shape, dtype=np.int64)
        filled = given >= 0
        out[filled], laps[filled] = self._places(given[filled], n, epoch)
        return out, laps

    def _places(self, places: Indices, n: int, epoch: int) -> tuple[Indices, Indices]:
        counts = [n]
        for step in self.steps:
            counts.append(step.count(counts[-1]))
        laps = np.zeros(len(places), dtype=np.int64)
        if len(places) and int(places.max()) >= counts[-1]:
            raise IndexError(f"order: expected positions below {counts[-1]}, found {int(places.max())}.")
        for number in reversed(range(len(self.steps))):
            step, seed = self.steps[number], self._seed_of(number)
            inner = step.laps(places, counts[number], seed=seed, epoch=epoch)
            if inner is not None:
                laps = both(inner, laps)
            places = step.origins(places, counts[number], seed=seed, epoch=epoch)
        return places, laps

    def _seed_of(self, number: int) -> int:
        """The first random step has the seed itself, so that one shuffle is what it always was; others their own."""
        before = sum(step.random for step in self.steps[:number])
        return self.seed if before == 0 else derived(self.seed, before)

    def draws(self, positions: Indices, n: int, epoch: int) -> tuple[Indices, Indices]:
        """Source indices at ``positions``, and what keys the draws of each: the index itself on its first lap."""
        indices, laps = self.places(positions, n, epoch)
        if not self.repeats:
            return indices, indices
        return indices, np.where(laps == 0, indices, hash_position(0, 0, indices, laps))

    def then(self, step: OrderStep) -> Self:
        """The order with one more step."""
        return replace(self, steps=(*self.steps, step))

    def split_permutations(self, text: str) -> tuple[Self, tuple[OrderStep, ...]]:
        """The part that is the same in every epoch, and the permutations behind it that a step about items may pass.

        Raises PlanError where ``text`` stands behind a step whose items change with the epoch.
        """
        steps = self.steps
        end = len(steps)
        while end and steps[end - 1].permutation:
            end -= 1
        fixed = steps[:end]
        moving = next((step.word for step in fixed if step.random), None)
        if moving is not None:
            between = fixed[-1].word if fixed[-1].word != moving else None
            found = f"{between} behind {moving}" if between else moving
            raise PlanError(
                f"{text}: expected the same items before it in every epoch, found {found}, which takes other ones each "
                f"epoch; call it before {moving}."
            )
        return replace(self, steps=fixed), steps[end:]

    def rows(self, seeded: bool = False) -> list[tuple[str, str]]:
        """Word and arguments of each step, for ``print(line)``; the seed on its own where no step says it."""
        rows = [(step.word, f"{step.arguments()} {step.anew(self.seed)}".strip()) for step in self.steps]
        said = any(step.anew(self.seed) for step in self.steps)
        return [("seed", str(self.seed)), *rows] if seeded and not said else rows

    def fingerprint(self) -> str:
        """What identifies it, as text: the seed and each step."""
        if all(step == Shuffle() for step in self.steps) and len(self.steps) <= 1:
            return f"seed={self.seed} shuffle={bool(self.steps)}"
        return f"seed={self.seed} steps={' '.join(step.fingerprint() for step in self.steps)}"


def both(first: Indices, second: Indices) -> Indices:
    """One lap for two that follow each other: 0 where both are."""
    return np.where(second == 0, first, 1 + (hash_position(1, 0, first, second) >> 1))
