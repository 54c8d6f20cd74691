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
    megabytes = _measured(count, 1000)["most"] * setup.divisor / 1e6
    scaled = f" of {count:,}, times {setup.divisor}" if setup.divisor > 1 else ""
    yield Figure(
        name="names",
        text="10 million files as a source table: memory beyond the names' own bytes",
        means="a list of files is held once, without an object for each, and read by all threads",
        value=megabytes,
        bound=100.0,
        at_most=True,
        unit="MB",
        detail=f"names of 11 bytes, labels of 1,000 classes{scaled}: the peak while listed, digested and one is found",
    )


def _measured(count: int, classes: int) -> dict[str, float]:
    command = [sys.executable, str(Path(__file__).with_name("table_memory.py")), str(count), str(classes)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found
