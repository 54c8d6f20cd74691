"""The figures of which item comes when: what a hundred million items cost, and what a shuffle costs the loading."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator
from typing import Any, ClassVar

import data
import numpy as np
import numpy.typing as npt
from figure import Figure, Setup, Table, entrant, race, repeated

import penstock as ps
from penstock.bench.interleave import interleave
from penstock.buckets import grid_of
from penstock.sources.source import Locations

ITEMS = 100_000_000


class Many(ps.Source):
    """A hundred million items without a name of their own: what is measured is the order."""

    kind: ClassVar[str] = "many"
    where = "many"

    def __len__(self) -> int:
        return ITEMS

    def key(self, index: int) -> str:
        return str(index)

    def digest(self) -> str:
        return str(ITEMS)

    def _locate(self, rows: npt.NDArray[np.int64], labels: npt.NDArray[np.int64]) -> Locations:
        return Locations(labels, blobs=[b""] * len(rows))

    def _hash_content(self, update: Any) -> None:
        update(b"")


def first_s() -> float:
    """From nothing to the items of a rank's first batch."""
    line = ps.Pipeline(Many()).seed(0).shuffle().decode().resize(8, 8).batch(64)
    begun = time.perf_counter()
    _first_items(line, start=0)
    return time.perf_counter() - begun


def restored_s(state: dict[str, Any], loader: ps.Loader) -> float:
    """From a state in the middle to the items of the batch that comes next."""
    begun = time.perf_counter()
    loader.load_state_dict(state)
    _first_items(loader.line, start=loader.state_dict()["position"])
    return time.perf_counter() - begun


def _first_items(line: ps.Pipeline, start: int) -> npt.NDArray[np.int64]:
    grid = grid_of(line, epoch=1, rank=3, world_size=8, start=start)
    return line.order.indices(grid.positions(0), ITEMS, epoch=1)


def order(setup: Setup) -> Iterator[Figure | Table]:
    work = "shuffle() over 100 million items, batch 64, rank 3 of 8"
    tries = setup.rounds * 10
    first = min(first_s() for _ in range(tries))
    line = ps.Pipeline(Many()).seed(0).shuffle().decode().resize(8, 8).batch(64)
    loader = line.loader(rank=3, world_size=8)
    state = {**loader.state_dict(), "epoch": 1, "position": ITEMS // 2}
    restored = min(restored_s(state, loader) for _ in range(tries))
    tracemalloc.start()
    restored_s(state, loader)
    memory = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    told = [
        ("order_first", "time to the first items of a shuffled pass over 100 million", first * 1e6, "µs"),
        ("order_restore", "time to the next items of such a pass, restored at its middle", restored * 1e6, "µs"),
        ("order_memory", "memory of such an order", memory / 1e3, "kB"),
    ]
    for name, text, value, unit in told:
        yield Figure(
            name=name,
            text=text,
            means="a shuffle is arithmetic: no list of items is ever made",
            value=value,
            bound=1000.0,
            at_most=True,
            unit=unit,
            detail=f"{work}; best of {tries}" if unit == "µs" else f"{work}; peak of what Python allocates",
        )
    yield from shuffled(setup)


def shuffled(setup: Setup) -> Iterator[Figure | Table]:
    paths = repeated(data.small(), 1024)
    results = interleave(
        [
            entrant("as listed", "lines:as_listed", paths),
            entrant("shuffled", "lines:shuffled", paths),
            entrant("shuffled in windows of 64", "lines:window_shuffled", paths),
        ],
        setup.rounds,
    )
    listed, anywhere, _ = results
    yield Figure(
        name="shuffled",
        text="shuffled against as listed, warm page cache",
        means="a full shuffle costs the loading nothing",
        value=anywhere.ratio(listed),
        bound=0.97,
        detail="made 500 x 375 JPEGs, to 224 x 224 bilinear float32 NCHW, batch 64",
    )
    yield race("shuffled", "orders of the same 1,024 files", results, listed)
