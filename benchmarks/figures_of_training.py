"""Groups of figures about training loops."""

from __future__ import annotations

import importlib.util
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

import data
from figure import Figure, Setup, Table, entrant, repeated

from penstock.bench.interleave import interleave

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "train_torch.py"


def rows_of_example() -> int:
    """The batch that the training example takes unless it is told otherwise."""
    found = re.search(r'"--rows", type=int, default=(\d+)', EXAMPLE.read_text(encoding="utf-8"))
    if found is None:
        raise ValueError(f"{EXAMPLE.name}: expected the option --rows with a default, found none.")
    return int(found[1])


def steps(setup: Setup) -> Iterator[Figure | Table]:
    share, detail = None, "torch is not installed"
    if importlib.util.find_spec("torch") is not None:
        rows = rows_of_example()
        paths = repeated(data.small(), 3200 // setup.divisor)
        [result] = interleave([entrant("steps", "steps:step_loop", paths, threads=1, batch=rows)], setup.rounds)
        share = 100 * statistics.median(lap["waiting_share"] for lap in result.laps)
        step_ms = 1000 * statistics.median(lap["step_s"] for lap in result.laps)
        detail = (
            f"the line of examples/train_torch.py at 224 x 224, its batch of {rows}, 1 thread decodes; a step of "
            f"{step_ms:.0f} ms of CPU time, 1.3 times a batch's making, multiplies matrices; counted is all that a "
            f"next() takes by the clock around it, an epoch's first one too, which is begun in the step before "
            f"(across_epochs=True)"
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
