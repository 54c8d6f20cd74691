"""What a figure is: a value, its bound, and how it was measured; and how a group of figures is measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from penstock.bench.interleave import Result
from penstock.bench.report import HEAD, markdown, rows
from penstock.bench.task import Contestant, Task

THREADS = 2

LIMIT = "penstock.bench.limit:bare_decode"
NATIVE = "penstock.bench.penstock_runs:native"
ANEW = "penstock.bench.penstock_runs:anew"
PILLOW = "penstock.bench.pillow_loops:sequential"
PILLOW_THREADS = "penstock.bench.pillow_loops:threads"


@dataclass(frozen=True)
class Setup:
    """How thoroughly to measure: rounds, a divisor for the longest laps, where real photographs are.

    Laps of ordinary pictures are never made shorter: a batch's first page faults would weigh more than in a real run.
    """

    rounds: int
    divisor: int
    photos: Path | None


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure: what it means, its bound and on which side of it the value must be, and how it was measured.

    The value is None where it could not be measured; then ``detail`` says what was missing.
    """

    name: str
    text: str
    means: str
    value: float | None
    bound: float
    at_most: bool = False
    unit: str = ""
    detail: str

    @property
    def met(self) -> bool | None:
        """True where the value is on the right side of the bound; None without a value."""
        if self.value is None:
            return None
        return self.value <= self.bound if self.at_most else self.value >= self.bound

    def shown(self, value: float) -> str:
        """A value with the figure's unit."""
        return f"{value:.2f}{self.unit}" if self.unit in ("", "x") else f"{value:,.1f} {self.unit}"

    @property
    def measured(self) -> str:
        """The value in words."""
        return "not measured" if self.value is None else self.shown(self.value)

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


def repeated(paths: list[str], count: int) -> tuple[str, ...]:
    """``count`` paths: the list over and over."""
    return tuple(paths[i % len(paths)] for i in range(count))


def entrant(
    name: str,
    maker: str,
    paths: tuple[str, ...],
    threads: int = THREADS,
    batch: int = 64,
    height: int = 224,
    width: int = 224,
) -> Contestant:
    """A contestant on these files."""
    return Contestant(name, maker, Task(paths=paths, threads=threads, batch=batch, height=height, width=width))


def table(name: str, title: str, results: list[Result], base: str = "limit") -> Table:
    """All contestants against the first, which is the limit or what ``base`` says."""
    head = tuple("of " + base if cell == "of limit" else cell for cell in HEAD)
    return Table(name, title, markdown(head, rows(results, results[0])))


def race(name: str, title: str, results: list[Result], other: Result) -> Table:
    """Rates alone, against one contestant: for those whose other processes' CPU time and memory nobody counts."""
    body = [(each.name, str(each.threads), f"{each.rate:,.0f}", f"{each.ratio(other):.2f}") for each in results]
    return Table(name, title, markdown(("", "threads or processes", "images/s", f"of {other.name}"), body))
