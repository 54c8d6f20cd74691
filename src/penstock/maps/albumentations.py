"""Albumentations as a function for ``.map``: a copy for each thread, seeded for each image."""

from __future__ import annotations

import copy
import json
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from penstock.errors import PlanError

if TYPE_CHECKING:
    from numpy.random import Generator

__all__ = ["Albumentations", "albumentations"]


class Albumentations:
    """What :func:`albumentations` makes: called with an image and a generator."""

    map_note = "a copy for each thread"

    def __init__(self, transform: Any) -> None:
        self.transform = transform
        self._copies = threading.local()

    def __call__(self, image: npt.NDArray[Any], rng: Generator) -> npt.NDArray[Any]:
        """The transformed image, [H, W, C]."""
        own = getattr(self._copies, "transform", None)
        if own is None:
            own = self._copies.transform = copy.deepcopy(self.transform)
        own.set_random_seed(int(rng.integers(1 << 32)))
        answer: npt.NDArray[Any] = own(image=image)["image"]
        return answer[..., np.newaxis] if getattr(answer, "ndim", 3) == 2 else answer

    @property
    def map_name(self) -> str:
        """The name in prints and failures."""
        return f"albumentations({type(self.transform).__name__})"

    @property
    def map_fingerprint(self) -> str | None:
        """The library's own description; None where the transform has none."""
        try:
            return f"albumentations:{json.dumps(self.transform.to_dict(), sort_keys=True, default=str)}"
        except Exception:  # noqa: BLE001 - a transform of the user's own may not say what it is
            return None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Albumentations) and self.transform is other.transform

    def __hash__(self) -> int:
        return hash(("albumentations", id(self.transform)))

    def __reduce__(self) -> tuple[Any, ...]:
        return Albumentations, (self.transform,)


def albumentations(transform: Any) -> Albumentations:
    """For ``.map(ps.albumentations(A.Compose([...])))``: an Albumentations transform whose draws are the line's.

    Each thread has a copy of its own, seeded for each image from (seed, epoch, source index), so the pixels are the
    same for any number of threads and when a step is replayed. Images alone: boxes and masks do not go with them
    (``geometry="unknown"``); a transform that changes the size needs ``out=``. Raises PlanError for what is no such
    transform.
    """
    if not callable(transform) or not hasattr(transform, "set_random_seed"):
        raise PlanError(
            f"albumentations(...): expected a transform of Albumentations 1.4.19 or newer, with set_random_seed, found "
            f"{type(transform).__name__}."
        )
    return Albumentations(transform)
