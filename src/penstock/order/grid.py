"""Positions of a pass dealt out to steps and ranks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from penstock.errors import PlanError
from penstock.order.cipher import Indices
from penstock.types import LastName

__all__ = ["Grid"]


@dataclass(frozen=True, slots=True)
class Grid:
    """Positions dealt out to steps and ranks: in step ``j``, rank ``r`` has ``start + (j * B + k) * W + r`` for k < B.

    ``start`` is how many positions earlier steps have used, of this or of any other world size. ``last``: ``"short"``
    leaves the final batch as long as what is left (a rank may have a step less); ``"drop"`` drops a step that
    is not full on every rank; ``"blank"`` gives every rank full batches with -1 where nothing is left. ``equal`` gives
    every rank as many steps of as many rows, with no more -1 than that takes.
    """

    items: int
    batch_size: int
    world_size: int = 1
    rank: int = 0
    start: int = 0
    last: LastName = "short"
    equal: bool = False

    def __post_init__(self) -> None:
        for name, low in (("items", 0), ("batch_size", 1), ("world_size", 1), ("start", 0)):
            if getattr(self, name) < low:
                raise PlanError(f"batch: expected {name} of at least {low}, found {getattr(self, name)}.")
        if not 0 <= self.rank < self.world_size:
            raise PlanError(f"batch: expected a rank from 0 to {self.world_size - 1}, found {self.rank}.")
        if self.last not in ("short", "drop", "blank"):
            raise PlanError(f'batch: expected last="short", "drop" or "blank", found {self.last!r}.')

    @property
    def stride(self) -> int:
        """Positions that one step uses over all ranks."""
        return self.batch_size * self.world_size

    @property
    def steps(self) -> int:
        """How many batches this rank has."""
        left = max(0, self.items - self.start)
        if self.last == "drop":
            return left // self.stride
        if self.last == "blank" or self.equal:
            return -(-left // self.stride)
        rows = -(-max(0, left - self.rank) // self.world_size)
        return -(-rows // self.batch_size)

    def __len__(self) -> int:
        return self.steps

    @property
    def mine(self) -> int:
        """Items that this rank reaches in all its steps."""
        steps = self.steps
        if steps == 0:
            return 0
        return (steps - 1) * self.batch_size + int(np.count_nonzero(self.positions(steps - 1) >= 0))

    def positions(self, step: int) -> Indices:
        """Positions (int64 [k], k <= batch_size) of this rank in ``step``; IndexError outside 0 to ``steps - 1``."""
        if not 0 <= step < self.steps:
            raise IndexError(f"batch: expected a step from 0 to {self.steps - 1}, found {step}.")
        first = self.start + step * self.stride
        begin, end = first + self.rank, first + self.stride + self.rank
        if end - self.world_size < self.items:  # a full one, as most are
            return np.arange(begin, end, self.world_size, dtype=np.int64)
        places = first + self.rank + self.world_size * np.arange(self.batch_size, dtype=np.int64)
        if self.last == "blank" or self.equal:
            # The rank that has the most sets the rows of a step that is not full.
            rows = self.batch_size if self.last == "blank" else -(-(self.items - first) // self.world_size)
            places[places >= self.items] = -1
            return places[:rows]
        return places[places < self.items]

    def progress(self, step: int) -> Indices:
        """How far into the epoch each row of ``step`` comes, over all ranks, as ``reached`` counts: its position."""
        return self.positions(step)

    def reached(self, steps: int) -> int:
        """Positions used, over all ranks, once ``steps`` steps are done: the ``start`` to resume from."""
        return min(max(self.items, self.start), self.start + steps * self.stride)
