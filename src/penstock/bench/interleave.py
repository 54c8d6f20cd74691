"""The referee: contestants in processes of their own, laps in turn, so that a busy machine is busy for all of them."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from penstock.bench.task import Contestant
from penstock.errors import PenstockError


@dataclass(frozen=True, slots=True)
class Result:
    """What one contestant did, lap by lap; ``laps`` hold at least images, wall and cpu (seconds).

    ``memory`` is the peak in bytes above what the process held once everything was imported.

    >>> result = Result("made", 2, ({"images": 10.0, "wall": 0.5, "cpu": 1.0},), 1 << 20)
    >>> result.rate, result.cpu_per_1000
    (20.0, 100.0)
    """

    name: str
    threads: int
    laps: tuple[dict[str, float], ...]
    memory: int

    @property
    def rate(self) -> float:
        """Images a second, the median lap's."""
        return statistics.median(lap["images"] / lap["wall"] for lap in self.laps)

    @property
    def cpu_per_1000(self) -> float:
        """CPU seconds for 1,000 images, the median lap's."""
        return statistics.median(1000 * lap["cpu"] / lap["images"] for lap in self.laps)

    def per_image(self, name: str) -> float:
        """A counted quantity (``"wall"``, ``"decode_s"``) an image, the median lap's."""
        return statistics.median(lap[name] / lap["images"] for lap in self.laps)

    def added(self, name: str, other: Result) -> float:
        """How much more of a counted quantity an image takes than the other's: the median over neighbouring laps."""
        pairs = zip(self.laps, other.laps, strict=True)
        return statistics.median(a[name] / a["images"] - b[name] / b["images"] for a, b in pairs)

    def ratio(self, other: Result) -> float:
        """How many times the other's rate: the median of the rounds' own ratios, each of two neighbouring laps."""
        pairs = zip(self.laps, other.laps, strict=True)
        return statistics.median((a["images"] / a["wall"]) / (b["images"] / b["wall"]) for a, b in pairs)

    def cpu_ratio(self, other: Result) -> float:
        """How many times the other's CPU time an image, over neighbouring laps as in :meth:`ratio`."""
        pairs = zip(self.laps, other.laps, strict=True)
        return statistics.median((a["cpu"] / a["images"]) / (b["cpu"] / b["images"]) for a, b in pairs)


class Worker:
    """A contestant's process, asked over a pipe; a ``with`` block ends it."""

    def __init__(self, contestant: Contestant) -> None:
        self._name = contestant.name
        command = [sys.executable, "-m", "penstock.bench.worker"]
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter, this module
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        first = {"path": sys.path, "maker": contestant.maker, "task": contestant.task.to_json()}
        self.imported = int(self._ask(first)["ready"])

    def lap(self) -> dict[str, float]:
        """One lap; raises PenstockError when the contestant cannot go on."""
        return self._ask({})

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        answer = ""
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            pass
        if not answer:
            raise PenstockError(
                f"bench of {self._name!r}: expected an answer, found its process ended with exit status "
                f"{self._process.wait()}."
            )
        told: dict[str, Any] = json.loads(answer)
        if "error" in told:
            raise PenstockError(told["error"])
        return told

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._process.kill()
        self._process.communicate()


def interleave(
    contestants: Sequence[Contestant], rounds: int = 5, on_lap: Callable[[str], None] | None = None
) -> list[Result]:
    """Runs all contestants in turn, ``rounds`` times, after a lap each that warms up and is not counted.

    Each round starts with the next contestant, so that nobody always runs after the same one. ``on_lap`` is told the
    name before each lap. Raises PenstockError when a contestant cannot go on.
    """
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(contestant)) for contestant in contestants]
        laps: list[list[dict[str, float]]] = [[] for _ in contestants]
        for turn in range(rounds + 1):
            for place in range(len(contestants)):
                which = (turn + place) % len(contestants)
                if on_lap is not None:
                    on_lap(contestants[which].name)
                lap = workers[which].lap()
                if turn > 0:
                    laps[which].append(lap)
        return [
            Result(
                contestant.name,
                contestant.task.threads,
                tuple(done),
                max(0, int(done[-1]["peak"]) - worker.imported),
            )
            for contestant, worker, done in zip(contestants, workers, laps, strict=True)
        ]
