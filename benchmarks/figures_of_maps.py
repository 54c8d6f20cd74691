"""What a function in Python costs a line: a map that answers the image it was given."""

from __future__ import annotations

from collections.abc import Iterator

import data
from figure import Figure, Setup, Table, entrant, repeated, table

from penstock.bench.interleave import Result, interleave

# The bound is one or two hundredths of an image's time: many short laps, each pair in the same weather. Nothing is
# decoded: what a decoder's time varies by, from process to process, is several times the bound.
CLOSE = 10


def maps(setup: Setup) -> Iterator[Figure | Table]:
    paths = repeated(data.small(), 256)
    results = interleave(
        [
            entrant("float32 NCHW", "lines:arrays", paths),
            entrant("float32 NCHW, mapped", "lines:mapped", paths),
            entrant("uint8 NHWC", "lines:pixels", paths),
            entrant("uint8 NHWC, mapped", "lines:pixels_mapped", paths),
        ],
        setup.rounds * CLOSE,
    )
    plain, mapped, pixels, pixels_mapped = results
    yield _added(
        "map",
        "`.map(identity)` in threads, an image, in a line that normalises",
        "a function between resize and normalize: the image is made, handed to Python, and normalised from there",
        mapped,
        plain,
        "float32 NCHW",
    )
    yield _added(
        "map_last",
        "`.map(identity)` in threads, an image, as the last verb of a line of uint8",
        "the function gets the batch's own memory: what is left is the handing over",
        pixels_mapped,
        pixels,
        "uint8 NHWC",
    )
    yield table("maps", "a map of every image, arrays of 500 x 375", results, base="plain")


def _added(name: str, text: str, means: str, mapped: Result, plain: Result, work: str) -> Figure:
    """Microseconds that the map adds to an image."""
    cpu = mapped.added("cpu", plain) * 1e6
    return Figure(
        name=name,
        text=text,
        means=means,
        value=mapped.added("wall", plain) * 1e6,
        bound=15.0,
        at_most=True,
        unit="µs",
        detail=(
            f"arrays of 500 x 375 to 224 x 224 {work}, batch 64: time of a line with 2 threads, "
            f"whose CPU time grows by {cpu:.0f} µs"
        ),
    )
