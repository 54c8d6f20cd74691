"""Random draws that depend on their key and nothing else; the twin of native/random.cpp."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

__all__ = ["GAMMA", "MASK", "Draws", "finalize"]

MASK = (1 << 64) - 1
GAMMA = 0x9E3779B97F4A7C15  # SplitMix64's increment: 2**64 / golden ratio, odd


def finalize(z: int) -> int:
    """SplitMix64's finalizer on 64 bits."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


class Draws:
    """The draws of one random step for one sample, in order: SplitMix64 keyed by four words.

    The words are absorbed one after the other, ``state = finalize((state ^ word) + gamma)`` from 0: each round is a
    bijection of its word, so two keys that differ in one word never start that round's successor from the same state.

    >>> draws = Draws(seed=0, epoch=0, index=0, ordinal=0)
    >>> 0 <= draws.uniform() < 1
    True
    """

    __slots__ = ("_state",)

    def __init__(self, seed: int, epoch: int, index: int, ordinal: int) -> None:
        state = 0
        for word in (seed, epoch, index, ordinal):
            state = finalize(((state ^ (word & MASK)) + GAMMA) & MASK)
        self._state = state

    def bits(self) -> int:
        """The next 64 bits."""
        self._state = (self._state + GAMMA) & MASK
        return finalize(self._state)

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """A float in [low, high): 53 bits, ``low + (high - low) * u``."""
        return low + (high - low) * ((self.bits() >> 11) * 2.0**-53)

    def generator(self) -> np.random.Generator:
        """A NumPy generator of its own for a user's function: Philox, with the next two draws as its 128-bit key.

        >>> Draws(0, 0, 0, 0).generator().integers(10) == Draws(0, 0, 0, 0).generator().integers(10)
        np.True_
        """
        import numpy as np

        high, low = self.bits(), self.bits()
        return np.random.Generator(np.random.Philox(key=(high << 64) | low))

    def integer(self, n: int) -> int:
        """An integer in [0, n): the high half of the 128-bit product of the bits and ``n``."""
        return (self.bits() * n) >> 64
