"""Which rank this process is, of how many: what was given, or what the surroundings say."""

from __future__ import annotations

import os
import sys
from typing import NamedTuple

from penstock.errors import PlanError

__all__ = ["Ranks", "ranks_of"]


class Ranks(NamedTuple):
    """A rank, the world size, and who said so."""

    rank: int
    world_size: int
    origin: str


def ranks_of(rank: int | None, world_size: int | None) -> Ranks:
    """What was given; else torch.distributed's, else JAX's, else ``RANK`` and ``WORLD_SIZE``, else 0 of 1.

    torch and jax are asked only where they are imported and their process group is up already. Raises PlanError where
    one of the two is given alone, or where the environment holds no whole numbers.

    >>> ranks_of(1, 4)
    Ranks(rank=1, world_size=4, origin='as given')
    """
    if rank is not None and world_size is not None:
        return Ranks(rank, world_size, "as given")
    if rank is not None or world_size is not None:
        given, missing = (
            (f"rank={rank!r}", "world_size") if rank is not None else (f"world_size={world_size!r}", "rank")
        )
        raise PlanError(f"{given}: expected {missing}= beside it, found none; give both, or neither.")
    return _of_torch() or _of_jax() or _of_environment() or Ranks(0, 1, "")


def _of_torch() -> Ranks | None:
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    return Ranks(distributed.get_rank(), distributed.get_world_size(), "from torch.distributed")


def _of_jax() -> Ranks | None:
    jax = sys.modules.get("jax")
    is_initialized = getattr(getattr(jax, "distributed", None), "is_initialized", None)
    if jax is None or is_initialized is None or not is_initialized():
        return None
    return Ranks(jax.process_index(), jax.process_count(), "from jax")


def _of_environment() -> Ranks | None:
    found = {name: os.environ.get(name) for name in ("RANK", "WORLD_SIZE")}
    if None in found.values():
        return None
    numbers = []
    for name, text in found.items():
        try:
            numbers.append(int(text or ""))
        except ValueError:
            raise PlanError(
                f"run(): expected a whole number in the environment's {name}, found {text!r}; "
                f"set it, or give rank= and world_size=."
            ) from None
    rank, world_size = numbers
    if not 0 <= rank < world_size:
        raise PlanError(
            f"run(): expected RANK below WORLD_SIZE in the environment, found RANK={rank} and WORLD_SIZE={world_size}; "
            f"set them, or give rank= and world_size=."
        )
    return Ranks(rank, world_size, "from RANK and WORLD_SIZE")
