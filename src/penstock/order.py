"""Which item comes when: shuffle, rank and resume, as pure arithmetic on positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.errors import PlanError
from penstock.types import LastName

__all__ = ["Grid", "Order", "permute", "unpermute"]

Words = npt.NDArray[np.uint64]
Indices = npt.NDArray[np.int64]

ROUNDS = 6
# Below 64 the halves of a Feistel network are too small to mix well; a larger domain with more walking does.
LEAST_BITS = 6
GAMMA = 0x9E3779B97F4A7C15
MASK = 2**64 - 1


def permute(positions: npt.NDArray[Any], n: int, seed: int, epoch: int) -> Indices:
    """The item index at each position (0 to ``n - 1``) of a shuffled pass over ``n`` items; int64, same shape.

    A bijection of 0 to ``n - 1`` that depends on ``n``, ``seed`` and ``epoch`` and needs no memory: a balanced Feistel
    network over the next even number of bits, walked until it falls below ``n``.

    >>> permute(np.arange(5), n=5, seed=0, epoch=0)
    array([4, 1, 2, 0, 3])
    """
    return _walk(positions, n, seed, epoch, inverse=False)


def unpermute(indices: npt.NDArray[Any], n: int, seed: int, epoch: int) -> Indices:
    """The position at which each item index comes: the inverse of ``permute``; int64, same shape.

    >>> unpermute(permute(np.arange(5), 5, 0, 0), 5, 0, 0)
    array([0, 1, 2, 3, 4])
    """
    return _walk(indices, n, seed, epoch, inverse=True)


def _walk(values: npt.NDArray[Any], n: int, seed: int, epoch: int, inverse: bool) -> Indices:
    out = np.array(values, dtype=np.int64).astype(np.uint64)
    if n <= 1 or out.size == 0:
        return out.astype(np.int64)
    half = (max(LEAST_BITS, (n - 1).bit_length()) + 1) // 2
    keys = round_keys(seed, epoch)
    step = _decipher if inverse else _cipher
    flat = step(out.reshape(-1), half, keys)
    outside = np.flatnonzero(flat >= n)
    while outside.size:
        flat[outside] = step(flat[outside], half, keys)
        outside = outside[flat[outside] >= n]
    return flat.reshape(out.shape).astype(np.int64)


def round_keys(seed: int, epoch: int) -> list[int]:
    """One 64-bit key a round: SplitMix64, started from the mixed seed and epoch (each taken modulo 2**64)."""
    state = _mix_int((_mix_int((seed + GAMMA) & MASK) ^ (epoch & MASK)) + GAMMA)
    keys = []
    for _ in range(ROUNDS):
        state = (state + GAMMA) & MASK
        keys.append(_mix_int(state))
    return keys


def _cipher(values: Words, half: int, keys: list[int]) -> Words:
    low = np.uint64((1 << half) - 1)
    left, right = values >> np.uint64(half), values & low
    for key in keys:
        left, right = right, left ^ (_mix(right + np.uint64(key)) & low)
    return (left << np.uint64(half)) | right


def _decipher(values: Words, half: int, keys: list[int]) -> Words:
    low = np.uint64((1 << half) - 1)
    left, right = values >> np.uint64(half), values & low
    for key in reversed(keys):
        left, right = right ^ (_mix(left + np.uint64(key)) & low), left
    return (left << np.uint64(half)) | right


def _mix(z: Words) -> Words:
    """SplitMix64's finalizer; sums and products wrap modulo 2**64."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _mix_int(z: int) -> int:
    """The same finalizer on one Python integer."""
    z &= MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


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


@dataclass(frozen=True, slots=True)
class Grid:
    """Positions dealt out to steps and ranks: in step ``j``, rank ``r`` has ``start + (j * B + k) * W + r`` for k < B.

    ``start`` is how many positions earlier steps have used, of this or of any other world size. ``last``: ``"short"``
    leaves the final batch as long as what is left (a rank may have a step less); ``"drop"`` drops a step that
    is not full on every rank; ``"blank"`` gives every rank full batches with -1 where nothing is left.
    """

    items: int
    batch_size: int
    world_size: int = 1
    rank: int = 0
    start: int = 0
    last: LastName = "short"

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
        if self.last == "blank":
            return -(-left // self.stride)
        rows = -(-max(0, left - self.rank) // self.world_size)
        return -(-rows // self.batch_size)

    def __len__(self) -> int:
        return self.steps

    def positions(self, step: int) -> Indices:
        """Positions (int64 [k], k <= batch_size) of this rank in ``step``; IndexError outside 0 to ``steps - 1``."""
        if not 0 <= step < self.steps:
            raise IndexError(f"batch: expected a step from 0 to {self.steps - 1}, found {step}.")
        first = self.start + step * self.stride + self.rank
        places = first + self.world_size * np.arange(self.batch_size, dtype=np.int64)
        if self.last == "blank":
            places[places >= self.items] = -1
            return places
        return places[places < self.items]

    def reached(self, steps: int) -> int:
        """Positions used, over all ranks, once ``steps`` steps are done: the ``start`` to resume from."""
        return min(max(self.items, self.start), self.start + steps * self.stride)
