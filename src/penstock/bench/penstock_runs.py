"""Penstock itself: one cold pass over the files, a new run each time, on either engine."""

from __future__ import annotations

from penstock.bench.task import Lap, Task
from penstock.pipeline import Pipeline, files
from penstock.transform.normalize import IMAGENET
from penstock.types import EngineName


def line_of(task: Task) -> Pipeline:
    """The line that does the task."""
    line = files(task.paths).decode().resize(task.height, task.width, filter=task.filter)
    return line.normalize(IMAGENET).batch(task.batch, layout="NCHW")


def native(task: Task) -> Lap:
    """The native engine on ``task.threads`` threads."""
    return _pass(task, "native")


def reference(task: Task) -> Lap:
    """The readable twins: Pillow and NumPy in the consumer's own thread."""
    return _pass(task, "reference")


def _pass(task: Task, engine: EngineName) -> Lap:
    line = line_of(task)

    def lap() -> dict[str, float]:
        with line.run(threads=task.threads, engine=engine) as run:
            images = sum(len(batch) for batch in run)
        return {"images": float(images), "decode_s": run.stats.busy_s["decode"]}

    return lap
