"""A training's step loop: how long the model waits for its next batch when decode alone would keep up."""

from __future__ import annotations

import time

import penstock as ps
from penstock.bench.task import Lap, Task

# A step takes this many times what decoding its batch takes.
STEP = 1.3
SIDE = 192


def step_loop(task: Task) -> Lap:
    """The line of examples/train_torch.py; a step multiplies matrices for 1.3 times what a batch's decode takes."""
    import torch

    torch.set_num_threads(1)  # one core computes, the task's threads decode
    line = ps.files(task.paths).seed(0).shuffle().decode().random_resized_crop(task.height, task.width)
    line = line.batch(task.batch, last="drop").to_torch(channels_last=True).random_horizontal_flip()
    loader = line.normalize(ps.IMAGENET).select("images").loader(threads=task.threads, across_epochs=True)
    weights = torch.eye(SIDE)

    def step(step_s: float) -> None:
        # In CPU time, so that a busy machine makes the step slower as it does the decode.
        ended = time.thread_time() + step_s
        while time.thread_time() < ended:
            torch.mm(weights, weights)

    def lap() -> dict[str, float]:
        begun = time.process_time()
        batches = sum(1 for _ in loader)
        step_s = STEP * (time.process_time() - begun) / batches
        step(step_s)  # of the last batch: the next epoch's first one is made meanwhile
        cpu, waited, end = time.process_time(), 0.0, object()
        begun = asked = time.perf_counter()
        batches_of_pass = iter(loader)
        # Held until the next one is there, as in a training.
        while (_held := next(batches_of_pass, end)) is not end:
            waited += time.perf_counter() - asked
            step(step_s)
            asked = time.perf_counter()
        ended = time.perf_counter()
        waited += ended - asked
        assert loader.run is not None
        return {
            "images": float(loader.run.stats.items),
            "wall": ended - begun,
            "cpu": time.process_time() - cpu,
            "waiting_share": waited / (ended - begun),
            "step_s": step_s,
        }

    return lap
