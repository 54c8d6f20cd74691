"""concat() and mix(): the orders of several lines as one, over the items of all of them."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from penstock.order.algebra import Order
from penstock.order.cipher import Indices, hash_position
from penstock.order.step import OrderStep

__all__ = ["Child", "Concat", "Mix"]

MOST_SLOTS = 1024
LEAST_SLOTS = 512
WINDOW = 16


@dataclass(frozen=True, slots=True)
class Child:
    """One line's order, over ``items`` items of its source, which stand at ``first`` among all items."""

    order: Order
    items: int
    first: int

    @property
    def count(self) -> int:
        """How many items one pass of it has."""
        return self.order.count(self.items)

    def places(self, positions: Indices, lap: int, epoch: int) -> tuple[Indices, Indices]:
        """Indices among all items, and laps, at positions of its own ``lap``-th pass within the epoch."""
        # Another lap of a shuffled line is shuffled as in an epoch that no run ever reaches.
        own = epoch if lap == 0 else (1 << 62) + int(hash_position(0, epoch, lap) >> 2)
        indices, laps = self.order.places(positions, self.items, own)
        return indices + self.first, laps

    def fingerprint(self) -> str:
        """Its order's, over how many items."""
        return f"{self.items} {self.order.fingerprint()}"


class _Joined(OrderStep):
    """What concat and mix share: each line's order draws by its own seed, wherever its items come."""

    children: tuple[Child, ...]

    @abc.abstractmethod
    def _places(self, positions: Indices, epoch: int) -> tuple[Indices, Indices]:
        """Indices among all items, and laps, at the positions of a pass."""

    @property
    def random(self) -> bool:
        """Where one of the orders is."""
        return any(child.order.random for child in self.children)

    @property
    def repeats(self) -> bool:
        """Where one of the orders does."""
        return any(child.order.repeats for child in self.children)

    def origins(self, positions: Indices, n: int, *, seed: int, epoch: int) -> Indices:
        """Where each line's own order has them."""
        return self._places(positions, epoch)[0]

    def laps(self, positions: Indices, n: int, *, seed: int, epoch: int) -> Indices | None:
        """How often each line's order, or the line itself, has been through."""
        return self._places(positions, epoch)[1] if self.repeats else None

    def anew(self, seed: int) -> str:
        """Nothing: each line draws by its own seed."""
        return ""


@dataclass(frozen=True, slots=True)
class Concat(_Joined):
    """All of the first line, then all of the second, and so on, each in its own order."""

    children: tuple[Child, ...]

    word: ClassVar[str] = "concat"

    def count(self, n: int) -> int:
        """All of them."""
        return sum(child.count for child in self.children)

    def _places(self, positions: Indices, epoch: int) -> tuple[Indices, Indices]:
        firsts = np.cumsum([0, *(child.count for child in self.children)])
        of = np.searchsorted(firsts, positions, side="right") - 1
        indices, laps = np.zeros_like(positions), np.zeros_like(positions)
        for number in np.unique(of).tolist():
            at = np.flatnonzero(of == number)
            indices[at], laps[at] = self.children[number].places(positions[at] - firsts[number], 0, epoch)
        return indices, laps

    def arguments(self) -> str:
        """How many of each."""
        return " + ".join(_told(child) for child in self.children)

    def fingerprint(self) -> str:
        """Each line's order."""
        return f"concat({', '.join(child.fingerprint() for child in self.children)})"


@dataclass(frozen=True, slots=True)
class Mix(_Joined):
    """Lines interleaved by weight, block after block of slots; ``n`` items in all.

    Line ``k`` has ``slots[k]`` slots of each block, spread over it and shuffled by ``seed`` within windows of 16.
    A block is turned by a number of its own: no rank and no batch size meets one line alone.
    """

    names: tuple[str, ...]
    weights: tuple[float, ...]
    children: tuple[Child, ...]
    slots: tuple[int, ...]
    seed: int
    n: int

    word: ClassVar[str] = "mix"

    @property
    def repeats(self) -> bool:
        """Where one of the lines is gone through again, or repeats items itself."""
        if any(child.order.repeats for child in self.children):  # super() does not know a class with slots
            return True
        return any(ends < self.n for ends in self._ends())

    def count(self, n: int) -> int:
        """As ``stop`` said where the line was written."""
        return self.n

    def _ends(self) -> list[int]:
        """Behind which position each line has come wholly once."""
        return [
            position_of(self.slots, self.seed, number, child.count - 1) + 1
            for number, child in enumerate(self.children)
        ]

    def _places(self, positions: Indices, epoch: int) -> tuple[Indices, Indices]:
        of, turn = turns(self.slots, self.seed, positions)
        indices, laps = np.zeros_like(positions), np.zeros_like(positions)
        for number in np.unique(of).tolist():
            child = self.children[number]
            lap, place = np.divmod(turn, child.count)
            for one in np.unique(lap[of == number]).tolist():
                at = np.flatnonzero((of == number) & (lap == one))
                indices[at], inner = child.places(place[at], one, epoch)
                laps[at] = inner if one == 0 else hash_position(2, 0, inner, one) >> 1
        return indices, laps

    def arguments(self) -> str:
        """Each line with its weight, and how many items in all."""
        told = zip(self.names, self.weights, self.children, strict=True)
        return f"{', '.join(f'{name} {weight:g} x {_told(child)}' for name, weight, child in told)}: {self.n:,} items"

    def fingerprint(self) -> str:
        """Each line's order and slots, the pattern's seed and the count."""
        inner = ", ".join(child.fingerprint() for child in self.children)
        return f"mix({inner}, slots={self.slots}, seed={self.seed}, n={self.n})"


def _told(child: Child) -> str:
    words = " ".join(step.word for step in child.order.steps)
    return f"{child.count:,}{f' ({words} seed={child.order.seed})' if words else ''}"


def slots_of(weights: tuple[float, ...]) -> tuple[int, ...]:
    """How many slots of a block each line has: of the block sizes from 512 to 1024, the one nearest to the weights.

    >>> slots_of((1.0, 1.0, 1.0)), slots_of((0.7, 0.3))
    ((341, 341, 341), (714, 306))
    """
    shares = np.array(weights) / sum(weights)
    best: tuple[float, tuple[int, ...]] | None = None
    for block in range(MOST_SLOTS, LEAST_SLOTS - 1, -1):
        exact = shares * block
        slots = np.floor(exact).astype(np.int64)
        slots[np.argsort(slots - exact, kind="stable")[: block - int(slots.sum())]] += 1
        wrong = round(float(np.abs(slots / block - shares).max()), 12)
        if best is None or wrong < best[0]:
            best = wrong, tuple(slots.tolist())
    assert best is not None
    return best[1]


@lru_cache(maxsize=64)
def _pattern(slots: tuple[int, ...], seed: int) -> tuple[Indices, npt.NDArray[np.int64]]:
    """The line of each slot of a block (int64 [B]), and how many slots of each line come before it ([B + 1, lines])."""
    block = sum(slots)
    of = np.repeat(np.arange(len(slots)), slots)
    # Evenly spread first, then shuffled within windows: near the shares from the first items on, and each slot of a
    # window as likely to be a line's as any other, so that there is no rhythm for a rank or a batch size to meet.
    turn = np.concatenate([np.arange(count, dtype=np.int64) for count in slots])
    spread = of[np.argsort((turn + 0.5) / np.array(slots)[of], kind="stable")]
    slot = np.arange(block, dtype=np.int64)
    of = spread[np.lexsort((hash_position(seed, 0, slot), slot // WINDOW))]
    before = np.zeros((block + 1, len(slots)), dtype=np.int64)
    np.cumsum(of[:, None] == np.arange(len(slots)), axis=0, out=before[1:])
    return of, before


def turns(slots: tuple[int, ...], seed: int, positions: Indices) -> tuple[Indices, Indices]:
    """The line at each position, and how many of that line come before it: both int64 [k]."""
    of, before = _pattern(slots, seed)
    number, slot = np.divmod(positions, len(of))
    begin = hash_position(seed, 0, number) % len(of)
    turned = (begin + slot) % len(of)
    line = of[turned]
    # Slots before this one, counted round the end of the pattern where the turn goes past it.
    inside = before[turned, line] - before[begin, line] + np.where(turned < begin, before[-1, line], 0)
    return line, number * before[-1, line] + inside


def position_of(slots: tuple[int, ...], seed: int, line: int, turn: int) -> int:
    """The position at which item number ``turn`` of a line comes: the inverse of ``turns``."""
    number = turn // slots[line]
    block = sum(slots)
    positions = number * block + np.arange(block, dtype=np.int64)
    of, counted = turns(slots, seed, positions)
    return int(positions[np.flatnonzero((of == line) & (counted == turn))[0]])
