"""What every step of an order is: positions in, positions out, in closed form."""

from __future__ import annotations

import abc
from typing import ClassVar

from penstock.order.cipher import Indices

__all__ = ["OrderStep"]


class OrderStep(abc.ABC):
    """One verb of an order: a frozen, hashable value that says which item before it comes at which position after it.

    ``word`` is the verb; a ``permutation`` has every item exactly once, so that only places change.
    """

    word: ClassVar[str]
    permutation: ClassVar[bool] = False

    @property
    def random(self) -> bool:
        """Whether which item comes when changes with the epoch."""
        return False

    @property
    def repeats(self) -> bool:
        """Whether one item may come more than once in a pass."""
        return False

    @abc.abstractmethod
    def count(self, n: int) -> int:
        """How many items come after it, of ``n`` before it."""

    @abc.abstractmethod
    def origins(self, positions: Indices, n: int, *, seed: int, epoch: int) -> Indices:
        """The positions before it (0 to ``n - 1``) of the ``positions`` after it (0 to ``count(n) - 1``): int64 [k]."""

    def laps(self, positions: Indices, n: int, *, seed: int, epoch: int) -> Indices | None:
        """How often each position's item has come before, int64 [k], or a number as good; None where none repeats."""
        return None

    def anew(self, seed: int) -> str:
        """What ``print(line)`` says of a step that draws by the line's seed; empty where it does not."""
        return f"seed={seed}, anew each epoch" if self.random else ""

    @abc.abstractmethod
    def arguments(self) -> str:
        """Its arguments, for ``print(line)``."""

    def fingerprint(self) -> str:
        """What identifies it: whatever decides which item comes when, and nothing else."""
        return f"{self.word}({self.arguments()})"
