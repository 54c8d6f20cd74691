"""A permutation without memory, and numbers drawn for a position: both from a seed, and from nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from penstock import _native
from penstock._reference.random import GAMMA, MASK, finalize

__all__ = ["Indices", "derived", "hash_position", "permute", "permute_each", "state_of", "unpermute"]

Words = npt.NDArray[np.uint64]
Indices = npt.NDArray[np.int64]

HASHING = 0x6A09E667F3BCC909  # what sets the numbers of hash_position apart from the keys of a permutation


def permute(positions: npt.NDArray[Any], n: int, seed: int, epoch: int) -> Indices:
    """The item index at each position (0 to ``n - 1``) of a shuffled pass over ``n`` items; int64, same shape.

    A bijection of 0 to ``n - 1`` that depends on ``n``, ``seed`` and ``epoch`` and needs no memory: a balanced Feistel
    network over the next even number of bits, walked until it falls below ``n``. ValueError outside.

    >>> permute(np.arange(5), n=5, seed=0, epoch=0)
    array([4, 1, 2, 0, 3])
    """
    return _permuted(positions, n, state_of(seed, epoch), inverse=False)


def unpermute(indices: npt.NDArray[Any], n: int, seed: int, epoch: int) -> Indices:
    """The position at which each item index comes: the inverse of ``permute``; int64, same shape.

    >>> unpermute(permute(np.arange(5), 5, 0, 0), 5, 0, 0)
    array([0, 1, 2, 3, 4])
    """
    return _permuted(indices, n, state_of(seed, epoch), inverse=True)


def permute_each(positions: Indices, sizes: Indices | int, states: Indices | int) -> Indices:
    """As ``permute``, with a size and a 64-bit state (as ``hash_position`` draws one) for each position; int64 [k]."""
    return _permuted(positions, sizes, states, inverse=False)


def _permuted(values: npt.NDArray[Any], sizes: Indices | int, states: Indices | int, inverse: bool) -> Indices:
    out = np.array(values, dtype=np.int64, order="C")
    flat = out.reshape(-1)
    _native.permute(flat, _column(sizes), _column(states), inverse)
    return out


def _column(numbers: Indices | int) -> Indices:
    # int64 holds the bits of any state; two's complement is what both languages wrap to.
    if isinstance(numbers, int):
        return np.array([numbers & MASK], dtype=np.uint64).view(np.int64)
    return np.ascontiguousarray(numbers, dtype=np.int64).reshape(-1)


def state_of(seed: int, epoch: int) -> int:
    """The 64 bits that a permutation's keys start from: the mixed seed and epoch, each taken modulo 2**64."""
    return finalize((finalize((seed + GAMMA) & MASK) ^ (epoch & MASK)) + GAMMA & MASK)


def derived(seed: int, number: int) -> int:
    """A seed of its own for another use of ``seed``, from 0 to 2**64 - 1.

    >>> derived(0, 1) != derived(0, 2) != derived(1, 1)
    True
    """
    return finalize((finalize((seed + GAMMA) & MASK) ^ (HASHING + number * GAMMA)) & MASK)


def hash_position(
    seed: int, epoch: int, position: npt.NDArray[np.int64] | int, attempt: npt.NDArray[np.int64] | int = 0
) -> Indices:
    """A number from 0 to 2**63 - 1 drawn for each ``position`` of a pass and each ``attempt``: int64, their shape.

    Depends on the four numbers alone: SplitMix64's finalizer, once for seed and epoch, once for the attempt and once
    for the position.

    >>> hash_position(0, 0, np.arange(3)) % 100
    array([80, 87, 49])
    """
    # One dimension at least: NumPy warns where scalars wrap, and means it to be asked for.
    places = np.atleast_1d(np.asarray(position, dtype=np.int64)).astype(np.uint64) + np.uint64(1)
    attempts = np.atleast_1d(np.asarray(attempt, dtype=np.int64)).astype(np.uint64) + np.uint64(1)
    base = np.uint64(finalize((finalize((seed + GAMMA) & MASK) ^ (epoch & MASK)) + HASHING & MASK))
    key = _mix(attempts * np.uint64(GAMMA) + base)
    drawn = _mix(key + places * np.uint64(GAMMA)) >> np.uint64(1)
    return drawn.astype(np.int64).reshape(np.broadcast_shapes(np.shape(position), np.shape(attempt)))


def _mix(z: Words) -> Words:
    """SplitMix64's finalizer; products wrap modulo 2**64."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
