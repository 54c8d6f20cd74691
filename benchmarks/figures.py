"""Every group of figures that Penstock must reach: how fast, against whom, with how much memory.

A group is one interleaved run; it yields its figures, and the table of its contestants where people may want to see it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import data
import imports
from figure import ANEW, LIMIT, NATIVE, PILLOW, PILLOW_THREADS, Figure, Setup, Table, entrant, repeated, table
from figures_of_cache import cache
from figures_of_maps import maps
from figures_of_order import order
from figures_of_shards import tar
from figures_of_tables import names
from figures_of_training import steps
from figures_of_verbs import augment, clip, crop_flip, formats, patches, roundtrip, views

from penstock.bench.interleave import Result, interleave


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
    yield Figure(
        name="photographs",
        text="real photographs of 0.15 to 0.6 megapixels, against bare decode",
        means="the ordinary job, on what cameras and the web made",
        value=penstock.ratio(limit),
        bound=0.85,
        detail=f"{words}; to 224 x 224 bilinear float32 NCHW, batch 64",
    )
    yield table("photographs", words, results)


def made(setup: Setup) -> Iterator[Figure | Table]:
    paths = repeated(data.small(), 1024)
    results = interleave(
        [
            entrant("bare decode, the limit", LIMIT, paths),
            entrant("Penstock", NATIVE, paths),
            entrant("Penstock, fast", "lines:fast", paths),
            entrant("Penstock, a new run each lap", ANEW, paths),
            entrant("Pillow + NumPy, threads", PILLOW_THREADS, paths),
            entrant("bare decode", LIMIT, paths, threads=1),
            entrant("Penstock", NATIVE, paths, threads=1),
            entrant("Pillow + NumPy", PILLOW, paths, threads=1),
        ],
        setup.rounds,
    )
    limit, penstock, fast, _, pillow, limit_alone, penstock_alone, _ = results
    work = (
        "500 x 375 quality 92 4:2:0, crops of scikit-image's photographs, to 224 x 224 bilinear float32 NCHW, batch 64"
    )
    yield Figure(
        name="made",
        text="made 500 x 375 JPEGs, against bare decode (goal 0.85)",
        means="the ordinary job, on pictures that anyone can make again",
        value=penstock.ratio(limit),
        bound=0.80,
        detail=work,
    )
    yield Figure(
        name="fast",
        text="500 x 375 JPEGs in fast mode, against bare full decode",
        means='`decode(fidelity="fast")`: near the exact pixels, for less than their decode costs',
        value=fast.ratio(limit),
        bound=1.15,
        unit="x",
        detail=work,
    )
    yield Figure(
        name="pillow",
        text="against Pillow + NumPy on 2 threads, the same files",
        means="what a loop written by hand would take",
        value=penstock.ratio(pillow),
        bound=3.0,
        unit="x",
        detail=work,
    )
    yield Figure(
        name="scaling",
        text="scaling from 1 to 2 threads, against bare decode's own",
        means="whether the second thread does as much as the first",
        value=penstock.ratio(penstock_alone) / limit.ratio(limit_alone),
        bound=0.97,
        detail=f"{penstock.ratio(penstock_alone):.2f}x, bare decode {limit.ratio(limit_alone):.2f}x",
    )
    yield table("made", "made JPEGs of 500 x 375", results)


def large(setup: Setup) -> Iterator[Figure | Table]:
    paths = repeated(data.large(), max(8, 24 // setup.divisor))
    results = interleave(
        [
            entrant("bare decode, the limit", LIMIT, paths),
            entrant("Penstock", NATIVE, paths),
            entrant("Penstock, fast", "lines:fast", paths),
            entrant("Penstock, a tenth of the area", "lines:tenth", paths),
            entrant("Penstock, a new run each lap", ANEW, paths),
            entrant("Pillow + NumPy, threads", PILLOW_THREADS, paths),
        ],
        setup.rounds,
    )
    limit, penstock, fast, tenth, *_ = results
    work = "4000 x 3000 quality 92 baseline 4:2:0, to 224 x 224 bilinear float32 NCHW, batch 64"
    yield Figure(
        name="large",
        text="12-megapixel JPEGs, against bare decode",
        means="the ordinary job, on what a telephone takes",
        value=penstock.ratio(limit),
        bound=0.85,
        detail=work,
    )
    yield Figure(
        name="fast_large",
        text="12-megapixel JPEGs in fast mode, against bare full decode",
        means="fast mode where the picture is much larger than what the model takes",
        value=fast.ratio(limit),
        bound=1.5,
        unit="x",
        detail=work,
    )
    yield Figure(
        name="crop",
        text="a random tenth of 12-megapixel JPEGs, exact, against bare full decode",
        means="only the rows and columns that a crop needs are decoded, with the pixels of crop-after-decode",
        value=tenth.ratio(limit),
        bound=1.8,
        unit="x",
        detail="random_resized_crop(224, 224, scale=(0.1, 0.1)) at random places; else as above",
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
    yield Figure(
        name="spin",
        text="rate beside a thread that spins in Python, against beside a process that does",
        means="a consumer that holds the GIL does not slow the loading",
        value=thread.ratio(process),
        bound=0.95,
        detail=f"made 500 x 375 JPEGs, batch 32: {thread.rate:,.0f} and {process.rate:,.0f} images/s",
    )


def memory(setup: Setup) -> Iterator[Figure | Table]:
    paths = repeated(data.large(), 128 // setup.divisor)
    [result] = interleave([entrant("Penstock", NATIVE, paths, batch=32)], rounds=1)
    yield Figure(
        name="memory",
        text="peak memory above import, 12-megapixel baseline JPEGs",
        means="large pictures are read in strips, never held whole",
        value=result.memory / 1e6,
        bound=120.0,
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
        name="item",
        text="cost of one more item beyond decode, 16 x 16 JPEG blobs",
        means="what the engine itself costs an image",
        value=max(beyond_codec, beyond_limit),
        bound=10.0,
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
        name="import",
        text="`import penstock` beyond `import numpy`",
        means="starting costs little, and loads nobody else's library",
        value=float("inf") if unwanted else imports.milliseconds(setup.rounds * 4),
        bound=40.0,
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
    "formats": formats,
    "crop_flip": crop_flip,
    "views": views,
    "roundtrip": roundtrip,
    "patches": patches,
    "augment": augment,
    "clip": clip,
    "maps": maps,
    "tar": tar,
    "cache": cache,
    "spin": spin,
    "steps": steps,
    "memory": memory,
    "item": item,
    "order": order,
    "names": names,
    "import": importing,
}
