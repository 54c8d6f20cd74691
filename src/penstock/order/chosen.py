"""filter() and the parts of a split by groups: the items that a bitmap has."""

from __future__ import annotations

from dataclasses import dataclass

from penstock.order.cipher import Indices
from penstock.order.held import Bitmap
from penstock.order.step import OrderStep

__all__ = ["Chosen"]


@dataclass(frozen=True, slots=True)
class Chosen(OrderStep):
    """Those of ``total`` items that the bitmap has, in the order before it."""

    word: str  # type: ignore[misc]  # the verb that chose them
    text: str
    bits: Bitmap
    total: int

    def count(self, n: int) -> int:
        """How many were chosen."""
        return self.bits.chosen

    def origins(self, positions: Indices, n: int, *, seed: int, epoch: int) -> Indices:
        """Where the chosen ones stand."""
        return self.bits.select(positions)

    def arguments(self) -> str:
        """What chose them, and how many."""
        return f"{self.text}: {self.bits.chosen:,} of {self.total:,} items"

    def fingerprint(self) -> str:
        """Who was chosen, whoever chose them."""
        return f"chosen({self.total}, {self.bits.digest})"
