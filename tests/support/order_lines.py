"""Small lines whose order can be read off, for the tests of which item comes when."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import penstock as ps


def numbered(count: int, labels: list[int] | None = None, first: int = 0) -> ps.Pipeline:
    """A line over ``count`` arrays whose key is their number."""
    images = [np.full((2, 2, 3), (first + i) % 256, np.uint8) for i in range(count)]
    return ps.arrays(images, keys=[str(first + i) for i in range(count)], labels=labels)


def thirty() -> ps.Pipeline:
    """Thirty items of three classes: 20, 7 and 3."""
    return numbered(30, [0] * 20 + [1] * 7 + [2] * 3)


def order_of(line: ps.Pipeline, epoch: int = 0) -> list[int]:
    """The source index at each position of a pass."""
    return line.order.indices(np.arange(line.items), len(line.source), epoch).tolist()


ORDERS: dict[str, Callable[[], ps.Pipeline]] = {
    "plain": thirty,
    "shuffle": lambda: thirty().seed(3).shuffle(),
    "window": lambda: thirty().seed(3).shuffle(window=7),
    "windows of one": lambda: thirty().seed(3).shuffle(window=1),
    "one window": lambda: thirty().seed(3).shuffle(window=100),
    "part": lambda: thirty().skip(4).take(20),
    "part of a shuffle": lambda: thirty().seed(3).shuffle().skip(4).take(20),
    "shuffled twice": lambda: thirty().seed(3).shuffle().take(20).shuffle(),
    "filter": lambda: thirty().filter(lambda item: item.index % 3 == 0),
    "filter behind a shuffle": lambda: thirty().seed(3).shuffle().filter(lambda item: item.label == 0),
    "split": lambda: thirty().split(train=0.7, val=0.3)["train"].seed(3).shuffle(),
    "split by": lambda: thirty().split(by=lambda item: item.index // 4, train=0.7, val=0.3)["val"],
    "sample_by": lambda: thirty().seed(3).sample_by([1] * 20 + [5] * 10, n=50),
    "balance": lambda: thirty().seed(3).balance(),
    "concat": lambda: ps.concat(thirty().seed(3).shuffle(), thirty().skip(25), thirty()),
    "mix": lambda: ps.mix({"a": (thirty().seed(3).shuffle(), 0.7), "b": (thirty().take(5), 0.3)}, stop="longest"),
    "mix of a balance": lambda: ps.mix({"a": (thirty().balance(), 1), "b": (thirty(), 2)}, stop=100),
    "shuffled mix": lambda: ps.mix({"a": (thirty(), 1), "b": (thirty(), 1)}).seed(1).shuffle(),
}
"""One line for each kind of order."""
