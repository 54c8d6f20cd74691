"""Figures about tars: against loose files, against tar itself, against webdataset."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Iterator

import data
import others
import shards
from figure import NATIVE, Figure, Setup, Table, entrant, race, repeated

from penstock.bench.interleave import interleave

# Rounds for a bound of a few hundredths: the shorter the laps, the more of them, each pair in the same weather.
CLOSE = 3


def tar(setup: Setup) -> Iterator[Figure | Table]:
    tars, files = data.shards(), repeated(data.small(), 512)
    missing = others.missing("torch", "webdataset")
    entrants = [entrant("loose files", NATIVE, files), entrant("tar shards", "shards:tar", tars)]
    loose, packed = interleave(entrants, setup.rounds * CLOSE)
    yield Figure(
        name="tar",
        text="tar shards, against loose files of the same images",
        means="packing a data set into shards costs nothing when it is read",
        value=packed.ratio(loose),
        bound=0.97,
        detail="500 x 375 JPEGs, page cache warm, to 224 x 224 bilinear float32 NCHW, batch 64",
    )
    yield _listing(setup)
    if missing:
        value, results = None, [loose, packed]
    else:
        results = interleave(
            [entrant("Penstock", "shards:tar", tars), entrant("webdataset", "shards:webdataset_workers", tars)],
            setup.rounds,
        )
        value = results[0].ratio(results[1])
    yield Figure(
        name="webdataset",
        text="tar shards, against webdataset in a DataLoader of 2 workers",
        means="what people read shards with today",
        value=value,
        bound=3.0,
        unit="x",
        detail=missing or "the same tars and work: Pillow decodes and resizes, NumPy normalises; batch 64",
    )
    yield race("tar", "tars of 500 x 375 JPEGs", results, results[-1])


def _listing(setup: Setup) -> Figure:
    value, detail = None, "no tar here"
    if shutil.which("tar"):
        with shards.gigabyte() as path:
            pairs = shards.listing_against_tar(path, setup.rounds * CLOSE)[1:]
        value = statistics.median(theirs / ours for theirs, ours in pairs)
        detail = "members of 10 to 100 kB with a class beside each, page cache warm; the index is written, too"
    return Figure(
        name="tar_index",
        text="building the index of a 1 GB tar, against `tar -t`",
        means="what the first use of a shard costs",
        value=value,
        bound=0.8,
        detail=detail,
    )
