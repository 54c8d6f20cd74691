"""What ``import penstock`` costs beyond ``import numpy``, and what it must leave alone."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

LEFT_ALONE = ("torch", "jax", "pandas", "pyarrow")


def milliseconds(rounds: int) -> float:
    """The median difference between starting with both and starting with NumPy alone, in neighbouring starts."""
    return statistics.median(_start("import numpy, penstock") - _start("import numpy") for _ in range(rounds)) * 1000


def unwanted() -> list[str]:
    """Modules that ``import penstock`` brings and must not: other libraries, the formats of Pillow."""
    script = "import penstock, sys; print(*sys.modules)"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    names = answer.stdout.split()
    plugins = [name for name in names if name.startswith("PIL.") and name.endswith("Plugin")]
    return plugins + [name for name in names if name in LEFT_ALONE]


def _start(statement: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - began
