"""Memory of a source of ten million files, measured in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from figure import Figure, Setup, Table

COUNT = 10_000_000


def names(setup: Setup) -> Iterator[Figure | Table]:
    # A quarter of the files says four times less: scaled, so that a quick run tells of the same figure.
    count = COUNT // setup.divisor
    told = {classes: _measured(count, classes) for classes in (0, 1000)}
    megabytes = {classes: found["most"] * setup.divisor / 1e6 for classes, found in told.items()}
    scaled = f" of {count:,}, times {setup.divisor}" if setup.divisor > 1 else ""
    yield Figure(
        name="names",
        text="10 million files as a source table: memory beyond the names' own bytes",
        means="a list of files is held once, without an object for each, and read by all threads",
        value=max(megabytes.values()),
        bound=100.0,
        at_most=True,
        unit="MB",
        detail=(
            f"names of 11 bytes{scaled}: listed, digested, one found; the peak with labels of 1,000 classes "
            f"{megabytes[1000]:.0f}, without {megabytes[0]:.0f}"
        ),
    )


def _measured(count: int, classes: int) -> dict[str, float]:
    command = [sys.executable, str(Path(__file__).with_name("table_memory.py")), str(count), str(classes)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found
