"""shuffle(): every item once, in an order that is drawn anew each epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from penstock.order.cipher import Indices, derived, hash_position, permute, permute_each, unpermute
from penstock.order.step import OrderStep

__all__ = ["Shuffle"]


@dataclass(frozen=True, slots=True)
class Shuffle(OrderStep):
    """A full permutation; with ``window``, blocks of that many neighbours in permuted order, permuted inside."""

    window: int | None = None

    word: ClassVar[str] = "shuffle"
    permutation: ClassVar[bool] = True

    @property
    def random(self) -> bool:
        """Always."""
        return True

    def count(self, n: int) -> int:
        """All of them."""
        return n

    def origins(self, positions: Indices, n: int, *, seed: int, epoch: int) -> Indices:
        """A bijection of 0 to ``n - 1``; needs no memory for either kind."""
        if self.window is None:
            return permute(positions, n, seed, epoch)
        window = min(self.window, max(1, n))
        blocks = -(-n // window)
        short = n - (blocks - 1) * window  # the last block's size; the only one that may differ
        at = int(unpermute(np.array([blocks - 1]), blocks, seed, epoch)[0])  # when that block comes
        # As if every block were full: what comes behind the short one is moved on by what it lacks.
        moved = np.where(positions >= at * window + short, positions + (window - short), positions)
        turn, inside = np.divmod(moved, window)
        block = permute(turn, blocks, seed, epoch)
        sizes = np.where(block == blocks - 1, short, window)
        states = hash_position(derived(seed, 0), epoch, block)
        return block * window + permute_each(inside, sizes, states)

    def arguments(self) -> str:
        """Its window."""
        return "" if self.window is None else f"window={self.window}"
