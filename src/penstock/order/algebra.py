"""Which item comes when, as pure arithmetic on positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.order.cipher import Indices, permute, unpermute

__all__ = ["Order"]


@dataclass(frozen=True, slots=True)
class Order:
    """Which item comes at which position of a pass: as listed, or shuffled anew each epoch."""

    shuffle: bool = False
    seed: int = 0

    def indices(self, positions: npt.NDArray[Any], n: int, epoch: int) -> Indices:
        """Item indices (int64) at ``positions`` of the pass ``epoch`` over ``n`` items; a blank (-1) stays -1."""
        places = np.asarray(positions, dtype=np.int64)
        if not self.shuffle:
            return places.copy()
        out = np.full_like(places, -1)
        filled = places >= 0
        out[filled] = permute(places[filled], n, self.seed, epoch)
        return out

    def position(self, index: int, n: int, epoch: int) -> int:
        """The position at which the item ``index`` comes in the pass ``epoch``."""
        return int(unpermute(np.array([index]), n, self.seed, epoch)[0]) if self.shuffle else index
