"""Every figure that Penstock must reach, and how it is measured.

A group is one interleaved run; it yields its figures, and the table of its contestants where people may want to see it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import data
import imports

from penstock.bench.interleave import Result, interleave
from penstock.bench.report import HEAD, markdown, rows
from penstock.bench.task import Contestant, Task

THREADS = 2


@dataclass(frozen=True)
class Setup:
    """How thoroughly to measure: rounds, a divisor for the longest laps, where real photographs are.

    Laps of ordinary pictures are never made shorter: a batch's first page faults would weigh more than in a real run.
    """

    rounds: int
    divisor: int
    photos: Path | None


@dataclass(frozen=True)
class Figure:
    """One measured figure: its bound, on which side of it the value must be, and how it was measured."""

    name: str
    text: str
    value: float
    bound: float
    at_most: bool
    unit: str
    detail: str

    @property
    def met(self) -> bool:
        """True where the value is on the right side of the bound."""
        return self.value <= self.bound if self.at_most else self.value >= self.bound

    def shown(self, value: float) -> str:
        """A value with the figure's unit."""
        return f"{value:.2f}{self.unit}" if self.unit in ("", "x") else f"{value:,.1f} {self.unit}"

    @property
    def must(self) -> str:
        """The bound in words."""
        return f"{'at most' if self.at_most else 'at least'} {self.shown(self.bound)}"


@dataclass(frozen=True)
class Table:
    """The contestants of one run, as Markdown."""

    name: str
    title: str
    text: str


def ratio_figure(name: str, text: str, value: float, bound: float, detail: str, unit: str = "") -> Figure:
    return Figure(name, text, value, bound, at_most=False, unit=unit, detail=detail)


def repeated(paths: list[str], count: int) -> tuple[str, ...]:
    return tuple(paths[i % len(paths)] for i in range(count))


def entrant(name: str, maker: str, paths: tuple[str, ...], threads: int = THREADS, batch: int = 64) -> Contestant:
    return Contestant(name, maker, Task(paths=paths, threads=threads, batch=batch))


LIMIT = "penstock.bench.limit:bare_decode"
NATIVE = "penstock.bench.penstock_runs:native"
ANEW = "penstock.bench.penstock_runs:anew"
PILLOW = "penstock.bench.pillow_loops:sequential"
PILLOW_THREADS = "penstock.bench.pillow_loops:threads"


def table(name: str, title: str, results: list[Result]) -> Table:
    return Table(name, title, markdown(HEAD, rows(results, results[0])))


def against_the_limit(setup: Setup, paths: tuple[str, ...]) -> list[Result]:
    return interleave(
        [
            entrant("bare decode, the limit", LIMIT, paths),
            entrant("Penstock", NATIVE, paths),
            entrant("Penstock, a new run each lap", ANEW, paths),
            entrant("Pillow + NumPy, threads", PILLOW_THREADS, paths),
        ],
        setup.rounds,
    )


def photographs(setup: Setup) -> Iterator[Figure | Table]:
    found, words = data.real(setup.photos)
    results = against_the_limit(setup, repeated(found, 920))
    limit, penstock, *_ = results
    yield ratio_figure(
        "photographs",
        "real photographs of 0.15 to 0.6 megapixels, against bare decode",
        penstock.ratio(limit),
        0.85,
        f"{words}; to 224 x 224 bilinear float32 NCHW, batch 64",
    )
    yield table("photographs", words, results)


def made(setup: Setup) -> Iterator[Figure | Table]:
    paths = repeated(data.small(), 1024)
    results = interleave(
        [
            entrant("bare decode, the limit", LIMIT, paths),
            entrant("Penstock", NATIVE, paths),
            entrant("Penstock, a new run each lap", ANEW, paths),
            entrant("Pillow + NumPy, threads", PILLOW_THREADS, paths),
            entrant("bare decode", LIMIT, paths, threads=1),
            entrant("Penstock", NATIVE, paths, threads=1),
            entrant("Pillow + NumPy", PILLOW, paths, threads=1),
        ],
        setup.rounds,
    )
    limit, penstock, _, pillow, limit_alone, penstock_alone, _ = results
    work = (
        "500 x 375 quality 92 4:2:0, crops of scikit-image's photographs, to 224 x 224 bilinear float32 NCHW, batch 64"
    )
    yield ratio_figure(
        "made", "made 500 x 375 JPEGs, against bare decode (goal 0.85)", penstock.ratio(limit), 0.80, work
    )
    yield ratio_figure(
        "pillow", "against Pillow + NumPy on 2 threads, the same files", penstock.ratio(pillow), 3.0, work, unit="x"
    )
    yield ratio_figure(
        "scaling",
        "scaling from 1 to 2 threads, against bare decode's own",
        penstock.ratio(penstock_alone) / limit.ratio(limit_alone),
        0.97,
        f"{penstock.ratio(penstock_alone):.2f}x, bare decode {limit.ratio(limit_alone):.2f}x",
    )
    yield table("made", "made JPEGs of 500 x 375", results)


def large(setup: Setup) -> Iterator[Figure | Table]:
    results = against_the_limit(setup, repeated(data.large(), max(8, 24 // setup.divisor)))
    limit, penstock, *_ = results
    yield ratio_figure(
        "large",
        "12-megapixel JPEGs, against bare decode",
        penstock.ratio(limit),
        0.85,
        "4000 x 3000 quality 92 baseline 4:2:0, to 224 x 224 bilinear float32 NCHW, batch 64",
    )
    yield table("large", "made JPEGs of 12 megapixels", results)


def spin(setup: Setup) -> Iterator[Figure | Table]:
    paths = repeated(data.small(), 512)
    thread, process = interleave(
        [
            entrant("beside a thread", "contestants:beside_thread", paths, batch=32),
            entrant("beside a process", "contestants:beside_process", paths, batch=32),
        ],
        setup.rounds,
    )
    yield ratio_figure(
        "spin",
        "rate beside a thread that spins in Python, against beside a process that does",
        thread.ratio(process),
        0.95,
        f"made 500 x 375 JPEGs, batch 32: {thread.rate:,.0f} and {process.rate:,.0f} images/s",
    )


def memory(setup: Setup) -> Iterator[Figure | Table]:
    paths = repeated(data.large(), 128 // setup.divisor)
    [result] = interleave([entrant("Penstock", NATIVE, paths, batch=32)], rounds=1)
    yield Figure(
        "memory",
        "peak memory above import, 12-megapixel baseline JPEGs",
        result.memory / 1e6,
        120.0,
        at_most=True,
        unit="MB",
        detail="batch 32 of 224 x 224 float32, prefetch 2, 2 threads; two passes in one process",
    )


def item(setup: Setup) -> Iterator[Figure | Table]:
    paths = repeated(data.tiny(), 20_000 // setup.divisor)
    blobs, files, limit = interleave(
        [
            entrant("blobs", "contestants:tiny_blobs", paths, threads=1),
            entrant("files", "contestants:tiny_files", paths, threads=1),
            entrant("bare decode", LIMIT, paths, threads=1),
        ],
        setup.rounds,
    )
    beyond_codec = (blobs.per_image("wall") - blobs.per_image("decode_s")) * 1e6
    beyond_limit = (files.per_image("wall") - limit.per_image("wall")) * 1e6
    yield Figure(
        "item",
        "cost of one more item beyond decode, 16 x 16 JPEG blobs",
        max(beyond_codec, beyond_limit),
        10.0,
        at_most=True,
        unit="µs",
        detail=(
            f"the larger of two, 1 thread: blobs, wall less the codec's time, {beyond_codec:.1f}; the same as files, "
            f"wall less bare decode's wall, {beyond_limit:.1f}"
        ),
    )


def importing(setup: Setup) -> Iterator[Figure | Table]:
    unwanted = imports.unwanted()
    yield Figure(
        "import",
        "`import penstock` beyond `import numpy`",
        float("inf") if unwanted else imports.milliseconds(setup.rounds * 4),
        40.0,
        at_most=True,
        unit="ms",
        detail=f"imports {', '.join(unwanted)}"
        if unwanted
        else "imports no plugin of Pillow, torch, jax, pandas, pyarrow",
    )


GROUPS: dict[str, Callable[[Setup], Iterator[Figure | Table]]] = {
    "photographs": photographs,
    "made": made,
    "large": large,
    "spin": spin,
    "memory": memory,
    "item": item,
    "import": importing,
}
