"""What people use today: torchvision's v2 transforms and transformers' CLIP processor, on Pillow's images."""

from __future__ import annotations

import importlib.util
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import lines
import numpy as np
import numpy.typing as npt
from PIL import Image

from penstock.bench.task import Lap, Task
from penstock.errors import PenstockError
from penstock.transform.normalize import IMAGENET


def missing(*modules: str) -> str:
    """In words, which of these modules are not installed; empty where all are."""
    absent = [name for name in modules if importlib.util.find_spec(name) is None]
    return f"not installed: {', '.join(absent)}" if absent else ""


def import_torchvision() -> None:
    """Imports it, also where it was built for another torch: transforms of Pillow's images need none of its operators.

    Its import registers shapes for operators that a torch without its extension does not have; that part is left out.
    """
    if "torchvision" not in sys.modules:
        sys.modules["torchvision._meta_registrations"] = types.ModuleType("torchvision._meta_registrations")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module("torchvision")


class Augmented:
    """A map-style dataset: a file to float32 [3, height, width] by torchvision v2 on Pillow's image."""

    def __init__(self, task: Task) -> None:
        import_torchvision()
        import torch
        from torchvision.transforms import v2

        self.paths = task.paths
        self.transform = v2.Compose(
            [
                v2.RandomResizedCrop((task.height, task.width)),
                v2.RandomHorizontalFlip(),
                v2.RandAugment(),
                v2.PILToTensor(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(IMAGENET.mean, IMAGENET.std),
            ]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> Any:
        with Image.open(self.paths[number]) as image:
            return self.transform(image.convert("RGB"))


def torchvision_workers(task: Task) -> Lap:
    """torch's DataLoader with ``task.threads`` worker processes, which live on from lap to lap."""
    dataset = Augmented(task)
    import torch

    batches = torch.utils.data.DataLoader(
        dataset,
        batch_size=task.batch,
        num_workers=task.threads,
        persistent_workers=True,
    )
    return passes(lambda: iter(batches), task)


def torchvision_threads(task: Task) -> Lap:
    """The same transforms on as many Python threads, each making whole batches."""
    dataset = Augmented(task)
    import torch

    torch.set_num_threads(1)

    def made(numbers: range) -> Any:
        return torch.stack([dataset[number] for number in numbers])

    return passes(_on_threads(made, task), task)


def clip_processor(task: Task) -> Lap:
    """transformers' processor for Pillow's images on Python threads, each making whole batches.

    Raises PenstockError where its pixels and the line's are further apart than neighbouring floats.
    """
    made = clip_batches(task)
    expected, found = made(range(min(8, task.batch, len(task.paths)))), lines.clip_line(task).batch_at(0).images
    apart = ulps_apart(found[: len(expected)], expected)
    if apart > 1:
        raise PenstockError(f"bench of CLIP's processor: expected the same pixels, found some {apart} floats apart.")
    return passes(_on_threads(made, task), task)


def clip_batches(task: Task) -> Callable[[range], npt.NDArray[np.float32]]:
    """What makes float32 [N, 3, 224, 224] of files by number; raises PenstockError where transformers is too old."""
    import_torchvision()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from transformers import CLIPImageProcessorPil
    except ImportError as error:
        raise PenstockError(
            f"bench of CLIP's processor: expected transformers 5.20 or newer, found: {error}."
        ) from error
    settings = {key: value for key, value in lines.CLIP.items() if key != "image_processor_type"}
    processor = CLIPImageProcessorPil(**settings)

    def made(numbers: range) -> npt.NDArray[np.float32]:
        images = []
        for number in numbers:
            with Image.open(task.paths[number]) as image:
                images.append(image.convert("RGB"))
        return np.asarray(processor(images, return_tensors="np")["pixel_values"])

    return made


def ulps_apart(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> int:
    """The most floats that lie between two values of equal place, and one."""
    if one.shape != other.shape or one.dtype != np.float32 or other.dtype != np.float32:
        raise PenstockError(
            f"expected equal float32 shapes, found {one.dtype} {one.shape}, {other.dtype} {other.shape}."
        )
    ordered = [
        np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)
        for bits in (x.view(np.int32).astype(np.int64) for x in (one, other))
    ]
    return int(np.abs(ordered[0] - ordered[1]).max())


def _on_threads(made: Callable[[range], Any], task: Task) -> Callable[[], Iterator[Any]]:
    pool = ThreadPoolExecutor(task.threads)
    count = len(task.paths)
    spans = [range(start, min(count, start + task.batch)) for start in range(0, count, task.batch)]
    return lambda: pool.map(made, spans)


def passes(batches: Callable[[], Iterator[Any]], task: Task) -> Lap:
    """A lap a pass; each batch is looked at for what it must be."""

    def lap() -> dict[str, float]:
        images = 0
        for batch in batches():
            if tuple(batch.shape[1:]) != (3, task.height, task.width) or "float32" not in str(batch.dtype):
                raise PenstockError(f"bench: expected float32 images, found {batch.dtype} of {tuple(batch.shape)}.")
            images += len(batch)
        return {"images": float(images)}

    return lap
