"""What people write by hand: Pillow and NumPy in a loop, and the same on a pool of Python threads."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from penstock.bench.task import Lap, Task
from penstock.transform.normalize import IMAGENET


def _fill(row: npt.NDArray[np.float32], path: str, task: Task) -> None:
    """One file into one row [3, H, W]: open, upright, RGB, resize, normalise in place, transpose."""
    from PIL import Image, ImageOps

    with Image.open(path) as image:
        picture = ImageOps.exif_transpose(image).convert("RGB")
    picture = picture.resize((task.width, task.height), Image.Resampling[task.filter.upper()])
    pixels = np.asarray(picture, dtype=np.float32)
    pixels = pixels / np.float32(255)
    pixels -= np.asarray(IMAGENET.mean, dtype=np.float32)
    pixels /= np.asarray(IMAGENET.std, dtype=np.float32)
    row[...] = pixels.transpose(2, 0, 1)


def _batches(task: Task) -> Iterator[tuple[tuple[str, ...], npt.NDArray[np.float32]]]:
    for start in range(0, len(task.paths), task.batch):
        paths = task.paths[start : start + task.batch]
        yield paths, np.empty((len(paths), 3, task.height, task.width), dtype=np.float32)


def sequential(task: Task) -> Lap:
    """One image after the other in one thread."""
    from PIL import Image

    Image.preinit()

    def lap() -> dict[str, float]:
        for paths, images in _batches(task):
            for row, path in enumerate(paths):
                _fill(images[row], path, task)
        return {"images": float(len(task.paths))}

    return lap


def threads(task: Task) -> Lap:
    """The same on a pool of ``task.threads`` Python threads, made once; a batch is whole before the next one starts."""
    from PIL import Image

    Image.preinit()
    pool = ThreadPoolExecutor(task.threads)

    def lap() -> dict[str, float]:
        for paths, images in _batches(task):
            for _ in pool.map(_fill, images, paths, [task] * len(paths)):
                pass
        return {"images": float(len(task.paths))}

    return lap
