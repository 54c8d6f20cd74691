"""A permutation without memory, and numbers drawn for a position: both from a seed, and from nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Indices", "hash_position", "permute", "unpermute"]

Words = npt.NDArray[np.uint64]
Indices = npt.NDArray[np.int64]

ROUNDS = 6
# Below 64 the halves of a Feistel network are too small to mix well; a larger domain with more walking does.
LEAST_BITS = 6
GAMMA = 0x9E3779B97F4A7C15
MASK = 2**64 - 1
HASHING = 0x6A09E667F3BCC909  # what sets the numbers of hash_position apart from the rounds' keys


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
    base = np.uint64(_mix_int((_mix_int((seed + GAMMA) & MASK) ^ (epoch & MASK)) + HASHING))
    key = _mix(attempts * np.uint64(GAMMA) + base)
    drawn = _mix(key + places * np.uint64(GAMMA)) >> np.uint64(1)
    return drawn.astype(np.int64).reshape(np.broadcast_shapes(np.shape(position), np.shape(attempt)))


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
