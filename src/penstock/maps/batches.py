"""Maps on batches: each is called with what was handed over so far, in the thread that takes the batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from penstock.errors import PenstockError
from penstock.transform.map import Map, rng_of
from penstock.types import Batch

__all__ = ["mapped_batch"]

# Ordinals of an image's random steps are small: the draws of a batch are never those of the item at its position.
_FIRST_ORDINAL = 1 << 32


def mapped_batch(maps: Sequence[Map], batch: Batch, *, seed: int, epoch: int, position: int) -> Any:
    """What the functions make of a batch, one after the other; ``position`` is its first row's in the epoch's order.

    Raises PenstockError, a sentence with the function's name, for whatever a function raises.
    """
    answer: Any = batch
    for number, verb in enumerate(maps):
        if not isinstance(answer, Batch):
            found = f"{type(answer).__name__} from {maps[number - 1].title} before it"
            raise PenstockError(f"{verb.title}: expected a Batch, found {found}.")
        rng = rng_of(verb, seed, epoch, position, _FIRST_ORDINAL + number)
        try:
            answer = verb.fn(answer, **rng)
        except PenstockError:
            raise
        except Exception as error:
            raise PenstockError(
                f"{verb.title} of step {batch.step}: expected a batch, found {type(error).__name__}: {error}."
            ) from error
        if answer is None:
            raise PenstockError(f"{verb.title} of step {batch.step}: expected a batch, found None; return the batch.")
    return answer
