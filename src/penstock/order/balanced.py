"""balance(): every class equally often."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from penstock.order.cipher import Indices, derived, hash_position, permute_each
from penstock.order.held import Held
from penstock.order.step import OrderStep

__all__ = ["Balanced"]


@dataclass(frozen=True, slots=True)
class Balanced(OrderStep):
    """Round after round one item of each class, the classes in permuted order; as many rounds as the largest has items.

    Class ``c`` has the items ``members[firsts[c] : firsts[c + 1]]``. It goes through them in one permutation after the
    other: each item comes once before any comes twice.
    """

    text: str
    members: Held
    firsts: Held

    word: ClassVar[str] = "balance"

    @property
    def random(self) -> bool:
        """Always."""
        return True

    @property
    def repeats(self) -> bool:
        """Always: the items of a smaller class come again."""
        return True

    @property
    def classes(self) -> int:
        """How many classes."""
        return len(self.firsts) - 1

    def count(self, n: int) -> int:
        """Classes times the items of the largest."""
        return self.classes * int(np.diff(self.firsts.array).max())

    def _turns(self, positions: Indices, seed: int, epoch: int) -> tuple[Indices, Indices, Indices]:
        """Class, lap and place in the lap of each position."""
        turn, slot = np.divmod(positions, self.classes)
        of = permute_each(slot, self.classes, hash_position(derived(seed, 0), epoch, turn))
        lap, place = np.divmod(turn, np.diff(self.firsts.array)[of])
        return of, lap, place

    def origins(self, positions: Indices, n: int, *, seed: int, epoch: int) -> Indices:
        """The member at each place of its class's permutation of that lap."""
        of, lap, place = self._turns(positions, seed, epoch)
        firsts = self.firsts.array
        states = hash_position(derived(seed, 1), epoch, of, lap)
        found: Indices = self.members.array[firsts[of] + permute_each(place, np.diff(firsts)[of], states)]
        return found

    def laps(self, positions: Indices, n: int, *, seed: int, epoch: int) -> Indices | None:
        """The lap that the position's class is in."""
        return self._turns(positions, seed, epoch)[1]

    def arguments(self) -> str:
        """What tells the classes, and how many of them and of items."""
        return f"{self.text}: {self.count(0):,} items, {self.classes} classes equally often"

    def fingerprint(self) -> str:
        """Who is in which class."""
        return f"balance({self.members.digest}, {self.firsts.digest})"
