"""A permutation of 0 to n - 1 without memory; the twin of native/permute.cpp."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from penstock._reference.random import GAMMA, MASK, finalize

__all__ = ["permute", "round_keys"]

ROUNDS = 6
# Below 64 the halves of a Feistel network are too small to mix well; a larger domain with more walking does.
LEAST_BITS = 6


def permute(values: Sequence[int], sizes: Sequence[int], states: Sequence[int], inverse: bool) -> npt.NDArray[np.int64]:
    """Each value's place in the permutation of 0 to ``size - 1`` that its 64-bit ``state`` starts; int64 [k].

    A balanced Feistel network over the next even number of bits, walked until it falls below ``size``; ``inverse``
    goes back. Sizes of at most 1 leave their value as it is.

    >>> [int(permute([value], [5], [0], False)[0]) for value in range(5)]
    [1, 3, 4, 0, 2]
    """
    made = [_walk(*row, inverse) for row in zip(values, sizes, states, strict=True)]
    return np.array(made, dtype=np.int64)


def _walk(value: int, size: int, state: int, inverse: bool) -> int:
    if size <= 1:
        return value
    half = (max(LEAST_BITS, (size - 1).bit_length()) + 1) // 2
    keys = round_keys(state)
    step = _decipher if inverse else _cipher
    value = step(value, half, keys)
    while value >= size:
        value = step(value, half, keys)
    return value


def round_keys(state: int) -> list[int]:
    """One 64-bit key a round: SplitMix64, started from ``state``."""
    return [finalize((state + number * GAMMA) & MASK) for number in range(1, ROUNDS + 1)]


def _cipher(value: int, half: int, keys: list[int]) -> int:
    low = (1 << half) - 1
    left, right = value >> half, value & low
    for key in keys:
        left, right = right, left ^ (finalize((right + key) & MASK) & low)
    return (left << half) | right


def _decipher(value: int, half: int, keys: list[int]) -> int:
    low = (1 << half) - 1
    left, right = value >> half, value & low
    for key in reversed(keys):
        left, right = right ^ (finalize((left + key) & MASK) & low), left
    return (left << half) | right
