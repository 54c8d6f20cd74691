"""Contestants about the cache: passes over what is kept, filling, preloading, and what others would do instead."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path
from typing import Any

import data
import numpy as np
import numpy.typing as npt
from contestants import timed
from lines import held

import penstock as ps
from penstock import _native
from penstock.bench.task import Lap, Task
from penstock.errors import PenstockError

MAX_BYTES = "3GB"
PREFETCH = 2  # batches in flight, as a loader has


def resident(task: Task) -> Lap:
    """The memory limit: native threads normalise pixels that are in memory into the same batches; nothing else."""
    pixels = _pixels(task)

    def lap() -> dict[str, float]:
        mean, std = list(ps.IMAGENET.mean), list(ps.IMAGENET.std)
        _native.bare_normalize(pixels, mean, std, task.batch, PREFETCH, task.threads)
        return {"images": float(len(pixels))}

    return lap


def mapped(task: Task) -> Lap:
    """What people write: the pixels in a file that NumPy maps, normalised batch by batch in NumPy."""
    path = _folder() / "pixels.npy"
    np.save(path, _pixels(task))
    pixels = np.load(path, mmap_mode="r")
    mean, std = (np.asarray(each, np.float32).reshape(3, 1, 1) for each in (ps.IMAGENET.mean, ps.IMAGENET.std))

    def lap() -> dict[str, float]:
        images = 0
        for start in range(0, len(pixels), task.batch):
            batch = pixels[start : start + task.batch].transpose(0, 3, 1, 2).astype(np.float32)
            batch /= np.float32(255)
            batch -= mean
            batch /= std
            images += len(batch)
        return {"images": float(images)}

    return lap


def second_from_memory(task: Task) -> Lap:
    """Passes over a cache in shared memory that was filled before."""
    return _filled(task, ps.RAM)


def second_from_disk(task: Task) -> Lap:
    """Passes over a cache in a folder that was filled before; the page cache is warm."""
    return _filled(task, _folder() / "cache")


def _filled(task: Task, where: Any) -> Lap:
    line = _resized(task).cache(where, max_bytes=MAX_BYTES)
    line.preload(threads=task.threads)
    if line.cache_info().entries < len(task.paths):
        raise PenstockError(f"bench: expected {len(task.paths)} entries, found {line.cache_info()}.")
    return _normalized(task, line)


def first_without(task: Task) -> Lap:
    """First passes without a cache."""
    return _normalized(task, _resized(task))


def first_to_memory(task: Task) -> Lap:
    """First passes, each of which fills a cache in RAM that was emptied before."""
    return _first(task, _resized(task).cache(ps.RAM, max_bytes=MAX_BYTES))


def first_to_disk(task: Task) -> Lap:
    """First passes, each of which fills a cache in a folder that was emptied before."""
    return _first(task, _resized(task).cache(_folder() / "cache", max_bytes=MAX_BYTES))


def _first(task: Task, line: ps.Pipeline) -> Lap:
    fill = _normalized(task, line)

    def lap() -> dict[str, float]:
        line.cache_clear()
        counted = timed(fill)
        if line.cache_info().entries != len(task.paths):
            raise PenstockError(f"bench: expected a full cache, found {line.cache_info()}.")
        return counted

    return lap


def preload_to_memory(task: Task) -> Lap:
    """Whole photographs into a cache in RAM that was emptied before."""
    return _preload(task, ps.files(task.paths).decode().cache(ps.RAM, max_bytes=MAX_BYTES))


def preload_to_disk(task: Task) -> Lap:
    """Whole photographs into a cache in a folder that was emptied before."""
    return _preload(task, ps.files(task.paths).decode().cache(_folder() / "cache", max_bytes=MAX_BYTES))


def _preload(task: Task, line: ps.Pipeline) -> Lap:
    def lap() -> dict[str, float]:
        line.cache_clear()
        counted = timed(lambda: {"images": float(line.preload(threads=task.threads).stored)})
        if counted["images"] != len(task.paths):
            raise PenstockError(f"bench: expected {len(task.paths)} photographs kept, found {counted['images']}.")
        return counted

    return lap


def _folder() -> Path:
    """A folder for as long as this process lives."""
    folder = tempfile.mkdtemp(dir=data.MADE)
    atexit.register(shutil.rmtree, folder)
    return Path(folder)


def _normalized(task: Task, line: ps.Pipeline) -> Lap:
    return held(line.normalize(ps.IMAGENET).batch(task.batch, layout="NCHW"), task)


def _resized(task: Task) -> ps.Pipeline:
    return ps.files(task.paths).decode().resize(task.height, task.width)


def _pixels(task: Task) -> npt.NDArray[np.uint8]:
    with _resized(task).batch(task.batch).run(threads=task.threads) as run:
        return np.concatenate([np.asarray(batch.images) for batch in run])
