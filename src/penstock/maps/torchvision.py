"""torchvision's transforms as a function for ``.map``: they draw from global generators, so one at a time."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from penstock.errors import PlanError

if TYPE_CHECKING:
    from numpy.random import Generator

__all__ = ["Torchvision", "torchvision"]

# The generators are the process's, so the lock is too.
_GLOBAL = threading.Lock()


class Torchvision:
    """What :func:`torchvision` makes: called with an image and a generator."""

    map_note = "one at a time under a lock: it draws from global generators"

    def __init__(self, transform: Any) -> None:
        self.transform = transform

    def __call__(self, image: npt.NDArray[Any], rng: Generator) -> npt.NDArray[Any]:
        """The transformed image, [H, W, C]; the global generators are left as they were."""
        import torch

        seed = int(rng.integers(1 << 32))
        tensor = torch.from_numpy(image).permute(2, 0, 1).contiguous()
        generator = torch.default_generator
        with _GLOBAL:
            states = generator.get_state(), random.getstate(), np.random.get_state()  # noqa: NPY002 - they draw from it
            try:
                generator.manual_seed(seed)
                random.seed(seed)
                np.random.seed(seed)  # noqa: NPY002
                answer = self.transform(tensor)
            finally:
                generator.set_state(states[0])
                random.setstate(states[1])
                np.random.set_state(states[2])  # noqa: NPY002
        if not isinstance(answer, torch.Tensor) or answer.ndim != 3:
            raise TypeError(f"a tensor [C, H, W] is needed, the transform answered {_shown(answer)}")
        pixels: npt.NDArray[Any] = answer.permute(1, 2, 0).contiguous().numpy()
        return pixels

    @property
    def map_name(self) -> str:
        """The name in prints and failures."""
        return f"torchvision({type(self.transform).__name__})"

    @property
    def map_fingerprint(self) -> str | None:
        """The library's own description; None where it holds an address, as that of a plain function does."""
        text = repr(self.transform)
        return None if " at 0x" in text else f"torchvision:{text}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Torchvision) and self.transform is other.transform

    def __hash__(self) -> int:
        return hash(("torchvision", id(self.transform)))

    def __reduce__(self) -> tuple[Any, ...]:
        return Torchvision, (self.transform,)


def torchvision(transform: Any) -> Torchvision:
    """For ``.map(ps.torchvision(v2.Compose([...])))``: torchvision transforms of tensors whose draws are the line's.

    The transform gets a tensor [C, H, W] and answers one of the same dtype. Its draws come from the global generators
    of torch, random and NumPy: they are seeded for each image from (seed, epoch, source index), one image at a time
    under a lock, and put back afterwards. With ``workers=n`` each process has generators of its own: use that where the
    model draws from them meanwhile (dropout on the CPU), or the lock is what the line waits for. Raises PlanError for
    what cannot be called.
    """
    if not callable(transform):
        raise PlanError(f"torchvision(...): expected a transform, found {type(transform).__name__}.")
    return Torchvision(transform)


def _shown(answer: Any) -> str:
    shape = getattr(answer, "shape", None)
    return f"{type(answer).__name__}" if shape is None else f"{type(answer).__name__} {list(shape)}"
