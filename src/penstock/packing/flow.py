"""A packing's items, one after the other: read, or decoded and encoded, beside each other, and handed on in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from penstock.batch import Batching
from penstock.failures import failure_of
from penstock.options import RunOptions
from penstock.packing.names import Names
from penstock.packing.samples import About, Sample, abouts, own_fields, sample_of
from penstock.read import ReadError, read_located
from penstock.run import Run
from penstock.sources.source import Locations
from penstock.types import Failure

if TYPE_CHECKING:
    from concurrent.futures import Future

    from penstock.beside import Beside
    from penstock.pipeline import Pipeline

__all__ = ["Flow", "Outcome"]

_CHUNK = 128  # items that a source is asked for together
_BATCH = 16  # images that are decoded together


class Outcome(NamedTuple):
    """What became of the item at a position: a sample, or its failure."""

    position: int
    item: Sample | Failure
    damaged: bool = False


@dataclass(frozen=True)
class Flow:
    """A line without a batch, and how its items are written; ``quality`` None: their bytes as they are."""

    line: Pipeline
    quality: int | None
    raw: bool
    threads: int

    @cached_property
    def names(self) -> Names:
        """What each item is called."""
        return Names(self.line.source)

    @cached_property
    def with_json(self) -> bool:
        """Whether each sample has a .json: where there is something to say that its name does not."""
        source = self.line.source
        return not self.raw and (source.has_labels or bool(own_fields(source, raw=False)) or self.names.renamed)

    def outcomes(self, first: int, end: int, beside: Beside) -> Iterator[Outcome]:
        """What becomes of the positions ``first`` to ``end - 1``, in order."""
        _ = self.with_json  # asks every item for its name, once, before several threads want to know
        return self._copied(first, end, beside) if self.quality is None else self._encoded(first, end, beside)

    # -- bytes as they are -------------------------------------------------------------------------------------------

    def _copied(self, first: int, end: int, beside: Beside) -> Iterator[Outcome]:
        """The next items are read while those before them are written; where they are is asked one chunk ahead."""
        window: deque[tuple[int, Future[Sample | Failure]]] = deque()
        most = 2 * self.threads + 2
        chunks = range(first, end, _CHUNK)
        asked = beside.begin(partial(self._located, first, min(first + _CHUNK, end))) if chunks else None
        for start in chunks:
            assert asked is not None
            located, known = asked.result()
            after = start + _CHUNK
            if after < end:
                asked = beside.begin(partial(self._located, after, min(after + _CHUNK, end)))
            for row, about in enumerate(known):
                window.append((start + row, beside.begin(partial(self._read, located, row, about))))
                if len(window) > most:
                    yield _outcome(*window.popleft())
        while window:
            yield _outcome(*window.popleft())

    def _located(self, first: int, end: int) -> tuple[Locations, list[About | Failure]]:
        indices = self._indices(first, end)
        return self.line.source.locate(indices), abouts(self.line.source, indices, raw=self.raw)

    def _indices(self, first: int, end: int) -> npt.NDArray[np.int64]:
        return self.line.order.indices(np.arange(first, end, dtype=np.int64), len(self.line.source), 0)

    def _read(self, located: Locations, row: int, about: About | Failure) -> Sample | Failure:
        if isinstance(about, Failure):
            return about
        try:
            data = read_located(located, row)
        except ReadError as error:
            return failure_of(about.key, about.index, "read", error.cause, error.message)
        assert isinstance(data, bytes)  # a source of arrays is refused
        return sample_of(about, self.names, data, encoded=False, with_json=self.with_json)

    # -- decoded, made smaller, encoded ------------------------------------------------------------------------------

    def _encoded(self, first: int, end: int, beside: Beside) -> Iterator[Outcome]:
        """The line runs; what it made of a batch is encoded while it makes the next one."""
        line = replace(self.line, batching=Batching(_BATCH, ragged="list"))
        options = RunOptions(threads=self.threads, on_failure="blank")
        before: list[tuple[int, Future[Sample | Failure] | Failure, bool]] = []
        at = first
        with Run(line, options, start=first) as run:
            while at < end:
                batch = next(run)
                known = beside.begin(partial(abouts, self.line.source, batch.index, raw=self.raw))
                failed = {failure.index: failure for failure in batch.failures}
                begun: list[tuple[int, Future[Sample | Failure] | Failure, bool]] = []
                beside_these = known.result()
                for row, index in enumerate(batch.index.tolist()):
                    if at + row < end:
                        about, image = beside_these[row], batch.images[row]
                        wrong = failed.get(index) or (about if isinstance(about, Failure) else None)
                        if wrong is not None or isinstance(about, Failure):
                            assert wrong is not None
                            begun.append((at + row, wrong, False))
                        else:
                            made = beside.begin(partial(self._sample, image, about))
                            begun.append((at + row, made, bool(batch.damaged[row])))
                at += len(batch)
                yield from map(_done, before)
                before = begun
        yield from map(_done, before)

    def _sample(self, image: npt.NDArray[Any], about: About) -> Sample | Failure:
        try:
            data = jpeg_of(image, self.quality or 0)
        except (OSError, ValueError) as error:
            message = (
                f"expected an image that a JPEG can hold, found {image.shape[1]} x {image.shape[0]} pixels: {error}"
            )
            return failure_of(about.key, about.index, "decode", "not encodable", message)
        return sample_of(about, self.names, data, encoded=True, with_json=self.with_json)


def jpeg_of(image: npt.NDArray[Any], quality: int) -> bytes:
    """uint8 [H, W, 3] or [H, W, 1] as a JPEG, encoded by Pillow with its own subsampling."""
    import io

    from PIL import Image

    out = io.BytesIO()
    pixels = image[:, :, 0] if image.shape[2] == 1 else image
    Image.fromarray(np.ascontiguousarray(pixels)).save(out, "JPEG", quality=quality)
    return out.getvalue()


def _outcome(position: int, future: Future[Sample | Failure]) -> Outcome:
    return Outcome(position, future.result())


def _done(begun: tuple[int, Future[Sample | Failure] | Failure, bool]) -> Outcome:
    position, made, damaged = begun
    item = made if isinstance(made, Failure) else made.result()
    return Outcome(position, item, damaged and not isinstance(item, Failure))
