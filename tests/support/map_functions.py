"""Functions for the tests of map: in a module of their own, because processes are given them by name."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
import types
from typing import Any

import numpy as np


def identity(image: Any) -> Any:
    return image


def invert(image: Any) -> Any:
    return image.max() - image


def in_place(image: Any) -> Any:
    image[::2] //= 2
    return image


def mirrored(image: Any) -> Any:
    return image[:, ::-1]  # a view without a copy, and not contiguous


def noise(image: Any, rng: Any) -> Any:
    image[:] = rng.integers(0, 200, image.shape).astype(image.dtype)
    return image


def trimmed(image: Any, rng: Any) -> Any:
    top, left = rng.integers(0, 3, 2)
    return image[top:, left:] if min(image.shape[:2]) > 3 else image


def larger(image: Any) -> Any:
    return image.repeat(30, 0).repeat(30, 1)


def grey(image: Any) -> Any:
    return image[..., :1].copy()


def shifted(image: Any) -> Any:
    return np.roll(image, (2, 1), (0, 1)), [[1, 0, 1], [0, 1, 2]]


def halved(image: Any) -> Any:
    return image[::2, ::2], [[0.5, 0, 0], [0, 0.5, 0]]


def sometimes_raises(image: Any, rng: Any) -> Any:
    if rng.uniform() < 0.3:
        raise ValueError(f"not this one, {image.shape[2]} channels")
    return image if rng.uniform() < 0.7 else image[:1]


def raises(image: Any) -> Any:
    raise KeyError("nothing")


def relabel(item: Any, rng: Any) -> None:
    item.label = item.index * 10
    item.fields["draw"] = float(rng.uniform())
    item.fields["name"] = item.key.upper()
    item.image[:] = 255 - item.image


def killed(image: Any) -> Any:
    if image[0, 0, 0] == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return image


class Stuck:
    """Takes an hour for an image; a file says that it has begun."""

    def __init__(self, begun: str) -> None:
        self.begun = begun

    def __call__(self, image: Any) -> Any:
        with open(self.begun, "wb"):
            time.sleep(3600)
        return image


class TorchTransforms:
    """torchvision's, also where it was built for another torch; made anew in each process."""

    def __init__(self) -> None:
        sys.modules.setdefault("torchvision._meta_registrations", types.ModuleType("torchvision._meta_registrations"))
        from torchvision.transforms import v2

        self._all = [v2.RandomHorizontalFlip(), v2.ColorJitter(0.4, 0.4, 0.4, 0.1), v2.RandomErasing(p=0.5)]

    def __call__(self, tensor: Any) -> Any:
        for transform in self._all:
            tensor = transform(tensor)
        # Whatever a user's own code draws from: the other two global generators.
        return tensor.clamp(int(random.random() * 20), 255 - int(np.random.random() * 20))  # noqa: NPY002

    def __reduce__(self) -> Any:
        return TorchTransforms, ()

    def __repr__(self) -> str:
        return "TorchTransforms()"
