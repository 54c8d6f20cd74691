"""Penstock itself: cold passes over the files, as a trainer holds them or anew each time, on either engine."""

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
    """The native engine on ``task.threads`` threads, held by a loader: each lap is the next epoch, on one pool."""
    loader = line_of(task).loader(threads=task.threads)

    def lap() -> dict[str, float]:
        images = sum(len(batch) for batch in loader)
        run = loader.run
        return {"images": float(images), "decode_s": 0.0 if run is None else run.stats.busy_s["decode"]}

    return lap


def anew(task: Task) -> Lap:
    """The native engine, a new run each lap: threads are started and batch memory is touched for the first time."""
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
