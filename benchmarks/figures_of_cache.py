"""Groups of figures about the cache."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import cache_sharing
import data
from figure import LIMIT, Figure, Setup, Table, entrant, race, table

from penstock.bench.interleave import interleave

IMAGES = 2048  # of 224 x 224: 308 MB, more than any core's cache


def cache(setup: Setup) -> Iterator[Figure | Table]:
    paths = data.distinct(data.small(), IMAGES)
    results = interleave(
        [
            entrant("resident pixels", "caches:resident", paths),
            entrant("cache in RAM", "caches:second_from_memory", paths),
            entrant("cache in a folder", "caches:second_from_disk", paths),
            entrant("memory map + NumPy", "caches:mapped", paths, threads=1),
        ],
        setup.rounds * 2,
    )
    limit, memory, disk, numpy = results
    work = f"{IMAGES:,} images of 224 x 224 to float32 NCHW, batch 64; every batch is dropped"
    yield Figure(
        name="cache_ram",
        text="a second epoch from `ps.RAM`, against a native loop that only normalises resident pixels",
        means="what is kept is handed on at the memory's speed",
        value=memory.ratio(limit),
        bound=0.7,
        detail=work,
    )
    yield Figure(
        name="cache_folder",
        text="a second epoch from a folder, against the same",
        means="the same from disk, when the system still has it in memory",
        value=disk.ratio(limit),
        bound=0.65,
        detail=f"{work}; page cache warm",
    )
    yield Figure(
        name="cache_numpy",
        text="a second epoch from `ps.RAM`, against a memory map of decoded pixels and NumPy",
        means="what people write by hand",
        value=memory.ratio(numpy),
        bound=2.0,
        unit="x",
        detail=f"{work}; NumPy works in one thread",
    )
    yield table("cache", "second epochs", results, base="resident")
    yield from _first(setup, memory.rate)
    yield _sharing()
    yield from _preload(setup)


def _first(setup: Setup, second_rate: float) -> Iterator[Figure | Table]:
    paths = data.distinct(data.small(), IMAGES)
    results = interleave(
        [
            entrant("without a cache", "caches:first_without", paths),
            entrant("filling RAM", "caches:first_to_memory", paths),
            entrant("filling a folder", "caches:first_to_disk", paths),
        ],
        setup.rounds * 2,
    )
    without, memory, disk = results
    yield Figure(
        name="cache_second",
        text="a second epoch, against the first, which decodes",
        means="what a cache is for",
        value=second_rate / memory.rate,
        bound=10.0,
        unit="x",
        detail="500 x 375 JPEGs to 224 x 224 float32 NCHW; from `ps.RAM`; the rates of two runs, one after the other",
    )
    for name, where, result in (("ram", "shared memory", memory), ("folder", "a folder", disk)):
        yield Figure(
            name=f"cache_fill_{name}",
            text=f"a first epoch that fills a cache in {where}, against one without a cache",
            means="filling in passing costs next to nothing",
            value=result.ratio(without),
            bound=0.93,
            detail=f"{IMAGES:,} JPEGs of 500 x 375 to 224 x 224 float32 NCHW; each lap into the room that the lap "
            "before took, freed just then; a loader holds the batches' memory",
        )
    yield race("cache_fill", "first epochs", results, without)


def _sharing() -> Figure:
    value, detail = None, "Linux tells it, other systems do not"
    if sys.platform == "linux":
        told = cache_sharing.measure(IMAGES)
        value = 100 * told["share"]
        detail = (
            f"private memory of the worst of {cache_sharing.PROCESSES}, less that of a process without a cache, "
            f"({told['worst'] / 1e6:.0f} - {told['plain'] / 1e6:.0f} MB) of a cache of {told['cache'] / 1e6:.0f} MB"
        )
    return Figure(
        name="cache_sharing",
        text="private memory of processes that share a cache, against the cache's size",
        means="four processes hold the pictures once",
        value=value,
        bound=5.0,
        at_most=True,
        unit="%",
        detail=detail,
    )


def _preload(setup: Setup) -> Iterator[Figure | Table]:
    paths = data.screens()
    results = interleave(
        [
            entrant("bare decode", LIMIT, paths),
            entrant("preload to RAM", "caches:preload_to_memory", paths),
            entrant("preload to a folder", "caches:preload_to_disk", paths),
        ],
        setup.rounds,
    )
    limit, memory, disk = results
    for name, where, result in (("ram", "shared memory", memory), ("folder", "a folder", disk)):
        yield Figure(
            name=f"preload_{name}",
            text=f"preload of 404 photographs of 1280 x 720 at full size into {where}: time, against bare decode",
            means="filling is as fast as decoding",
            value=1 / result.ratio(limit),
            bound=1.3,
            at_most=True,
            unit="x",
            detail="pixels as decoded, 1.1 GB, into an empty cache; each lap into the room that the lap before took",
        )
    yield race("preload", "preload", results, limit)
