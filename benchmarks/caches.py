"""Contestants about the cache: passes over what is kept, filling, preloading, and what others would do instead."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
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
    folder = tempfile.TemporaryDirectory(dir=data.MADE)
    path = Path(folder.name) / "pixels.npy"
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
        return {"images": float(images), "kept": float(bool(folder))}

    return lap


def second_from_memory(task: Task) -> Lap:
    """Passes over a cache in shared memory that was filled before."""
    return _filled(task, ps.RAM)


def second_from_disk(task: Task) -> Lap:
    """Passes over a cache in a folder that was filled before; the page cache is warm."""
    folder = tempfile.TemporaryDirectory(dir=data.MADE)
    lap = _filled(task, folder.name)
    return lambda: {**lap(), "kept": float(bool(folder))}


def _filled(task: Task, where: Any) -> Lap:
    line = _resized(task).cache(where, max_bytes=MAX_BYTES)
    line.preload(threads=task.threads)
    if line.cache_info().entries < len(task.paths):
        raise PenstockError(f"bench: expected {len(task.paths)} entries, found {line.cache_info()}.")
    return held(line.normalize(ps.IMAGENET).batch(task.batch, layout="NCHW"), task)


def first_without(task: Task) -> Lap:
    """A first pass, by a run of its own, without a cache."""
    return lambda: _pass(task, _resized(task))


def first_to_memory(task: Task) -> Lap:
    """A first pass that fills an empty cache in the shared memory's file system."""
    return _first(task, _memory())


def first_to_disk(task: Task) -> Lap:
    """A first pass that fills an empty cache on disk."""
    return _first(task, data.MADE)


def _first(task: Task, above: Path) -> Lap:
    def fill(folder: Path) -> dict[str, float]:
        line = _resized(task).cache(folder, max_bytes=MAX_BYTES)
        counted = _pass(task, line)
        if line.cache_info().entries != len(task.paths):
            raise PenstockError(f"bench: expected a full cache, found {line.cache_info()}.")
        return counted

    return _in_turn(above, fill)


def _pass(task: Task, line: ps.Pipeline) -> dict[str, float]:
    made = line.normalize(ps.IMAGENET).batch(task.batch, layout="NCHW")
    return timed(lambda: {"images": float(sum(len(batch) for batch in made.run(threads=task.threads)))})


def preload_to_memory(task: Task) -> Lap:
    """Whole photographs into an empty cache in the shared memory's file system."""
    return _preload(task, _memory())


def preload_to_disk(task: Task) -> Lap:
    """Whole photographs into an empty cache on disk."""
    return _preload(task, data.MADE)


def _preload(task: Task, above: Path) -> Lap:
    def fill(folder: Path) -> dict[str, float]:
        line = ps.files(task.paths).decode().cache(folder, max_bytes=MAX_BYTES)
        counted = timed(lambda: {"images": float(line.preload(threads=task.threads).stored)})
        if counted["images"] != len(task.paths):
            raise PenstockError(f"bench: expected {len(task.paths)} photographs kept, found {counted['images']}.")
        return counted

    return _in_turn(above, fill)


def _in_turn(above: Path, fill: Callable[[Path], dict[str, float]]) -> Lap:
    """Laps that fill a folder each, in the memory of the lap before, whose folder is removed just then.

    A virtual machine gives memory that nobody uses back to its host within seconds, and to fetch it again costs several
    times what writing it does: a lap would measure the host.
    """
    folders = tempfile.TemporaryDirectory(dir=above)
    before: list[str] = []

    def lap() -> dict[str, float]:
        for folder in before:
            shutil.rmtree(folder)
        before[:] = [tempfile.mkdtemp(dir=folders.name)]
        return fill(Path(before[0]) / "cache")

    return lap


def _memory() -> Path:
    shared = Path("/dev/shm")
    return shared if shared.is_dir() else Path(tempfile.gettempdir())


def _resized(task: Task) -> ps.Pipeline:
    return ps.files(task.paths).decode().resize(task.height, task.width)


def _pixels(task: Task) -> npt.NDArray[np.uint8]:
    with _resized(task).batch(task.batch).run(threads=task.threads) as run:
        return np.concatenate([np.asarray(batch.images) for batch in run])
