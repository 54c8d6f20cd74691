"""Groups of figures about training loops."""

from __future__ import annotations

import importlib.util
import statistics
from collections.abc import Iterator

import data
from figure import Figure, Setup, Table, entrant, repeated

from penstock.bench.interleave import interleave


def steps(setup: Setup) -> Iterator[Figure | Table]:
    share, detail = None, "torch is not installed"
    if importlib.util.find_spec("torch") is not None:
        paths = repeated(data.small(), 3200 // setup.divisor)
        [result] = interleave([entrant("steps", "steps:step_loop", paths, threads=1, batch=16)], setup.rounds)
        share = 100 * statistics.median(lap["waiting_share"] for lap in result.laps)
        step_ms = 1000 * statistics.median(lap["step_s"] for lap in result.laps)
        detail = (
            f"the line of examples/train_torch.py at 224 x 224, batch 16, 1 thread decodes; a step of {step_ms:.0f} ms "
            f"of CPU time, 1.3 times a batch's making, multiplies matrices; counted is "
            f"all that a next() takes, an epoch's first one too, which is begun in the step before (across_epochs=True)"
        )
    yield Figure(
        name="steps",
        text="share of a step loop's time that the model waits, when decode alone would keep up",
        means="loading is behind the model's steps, not between them",
        value=share,
        bound=2.0,
        at_most=True,
        unit="%",
        detail=detail,
    )
