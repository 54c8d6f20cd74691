"""The process one contestant runs in, so that its memory, threads and caches are its own.

``python -m penstock.bench.worker`` reads JSON lines and answers each with one: the first says what to run, every later
one asks for a lap. It ends with its input.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
from typing import Any

from penstock.bench.machine import peak_memory
from penstock.bench.task import Lap, Task
from penstock.errors import PenstockError


def _made(first: dict[str, Any]) -> Lap:
    # What the referee can import, its worker can: benchmarks that bring contestants of their own are no package.
    sys.path[:] = first["path"]
    module, _, function = first["maker"].partition(":")
    lap: Lap = getattr(importlib.import_module(module), function)(Task.from_json(first["task"]))
    return lap


def _timed(lap: Lap) -> dict[str, float]:
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    counted = lap()
    return {
        "wall": time.perf_counter() - wall,
        "cpu": time.process_time() - cpu,
        **counted,
        "peak": float(peak_memory()),
    }


def main() -> None:
    """Serves one referee until it closes the pipe; an error of Penstock's own is answered as {"error": sentence}."""
    # Answers go to the pipe; whatever a contestant prints goes to standard error.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        lap: Lap | None = None
        for line in sys.stdin:
            asked = json.loads(line)
            try:
                if lap is None:
                    lap = _made(asked)
                    answer: dict[str, Any] = {"ready": peak_memory()}
                else:
                    answer = _timed(lap)
            except PenstockError as error:
                answer = {"error": error.message}
            answers.write(json.dumps(answer) + "\n")
            answers.flush()


if __name__ == "__main__":
    main()
