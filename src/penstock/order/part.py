"""take(), skip() and the parts of a split by size: a part of the positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from penstock.order.cipher import Indices, permute
from penstock.order.step import OrderStep

__all__ = ["Portion", "Skip", "Take"]


@dataclass(frozen=True, slots=True)
class Take(OrderStep):
    """The first ``n`` items; all of them where there are fewer."""

    n: int

    word: ClassVar[str] = "take"

    def count(self, n: int) -> int:
        """At most its ``n``."""
        return min(self.n, n)

    def origins(self, positions: Indices, n: int, *, seed: int, epoch: int) -> Indices:
        """The same positions."""
        return positions

    def arguments(self) -> str:
        """How many."""
        return str(self.n)


@dataclass(frozen=True, slots=True)
class Skip(OrderStep):
    """What comes after the first ``n`` items; nothing where there are no more."""

    n: int

    word: ClassVar[str] = "skip"

    def count(self, n: int) -> int:
        """What is left."""
        return max(0, n - self.n)

    def origins(self, positions: Indices, n: int, *, seed: int, epoch: int) -> Indices:
        """Moved on by its ``n``."""
        return positions + self.n

    def arguments(self) -> str:
        """How many."""
        return str(self.n)


@dataclass(frozen=True, slots=True)
class Portion(OrderStep):
    """The part ``name`` of a split: positions ``first`` to ``last - 1`` of one permutation, the same in every epoch."""

    name: str
    first: int
    last: int
    seed: int

    word: ClassVar[str] = "split"

    def count(self, n: int) -> int:
        """The part's exact size."""
        return self.last - self.first

    def origins(self, positions: Indices, n: int, *, seed: int, epoch: int) -> Indices:
        """Where the split's own seed puts them; neither the line's seed nor the epoch changes who is in a part."""
        return permute(positions + self.first, n, self.seed, 0)

    def arguments(self) -> str:
        """The part and its size."""
        return f"{self.name}: {self.last - self.first:,} items seed={self.seed}"

    def fingerprint(self) -> str:
        """Without the part's name, which decides nothing."""
        return f"split({self.first}, {self.last}, seed={self.seed})"
