"""sample_by(): items drawn by weight, with replacement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from penstock.order.cipher import Indices, hash_position
from penstock.order.held import Held
from penstock.order.step import OrderStep

__all__ = ["Sampled"]


@dataclass(frozen=True, slots=True)
class Sampled(OrderStep):
    """``n`` items, each drawn on its own, as likely as its share of the ``cumulative`` weights (float64)."""

    text: str
    n: int
    cumulative: Held

    word: ClassVar[str] = "sample_by"

    @property
    def random(self) -> bool:
        """Always."""
        return True

    @property
    def repeats(self) -> bool:
        """Always: an item may be drawn again."""
        return True

    def count(self, n: int) -> int:
        """As many as are drawn."""
        return self.n

    def origins(self, positions: Indices, n: int, *, seed: int, epoch: int) -> Indices:
        """A hash of seed, epoch and position as a number below the sum of the weights, looked up among their sums."""
        sums = self.cumulative.array
        share = (hash_position(seed, epoch, positions) >> 10).astype(np.float64) * 2.0**-53
        found = np.searchsorted(sums, share * sums[-1], side="right")
        # A share of all but 1 may round up to the whole sum; the last item with a weight has it then.
        last = int(np.searchsorted(sums, sums[-1], side="left"))
        drawn: Indices = np.minimum(found, last).astype(np.int64)
        return drawn

    def laps(self, positions: Indices, n: int, *, seed: int, epoch: int) -> Indices | None:
        """The position itself: who was drawn before is nowhere written down."""
        return positions + 1

    def arguments(self) -> str:
        """What the weights are, and how many are drawn."""
        return f"{self.text}: {self.n:,} of {len(self.cumulative):,} items, with replacement"

    def fingerprint(self) -> str:
        """The weights' sums and the count."""
        return f"sample_by({self.n}, {self.cumulative.digest})"
