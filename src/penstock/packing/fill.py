"""ps.pack: the loop that fills shards, goes on where it was killed, and makes again what is missing."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from penstock.beside import Beside
from penstock.cores import default_threads
from penstock.errors import ItemError, PenstockError, PlanError, SourceError, TooManyFailuresError
from penstock.failures import Failures
from penstock.ledger import Ledger
from penstock.options import whole
from penstock.packing.flow import Flow
from penstock.packing.journal import LEDGER, Journal, Shard
from penstock.packing.packed import Packed
from penstock.packing.parquet_shard import ParquetShard, ParquetTable
from penstock.packing.plan import (
    PackOnFailure,
    PackOptions,
    PackTo,
    byte_count,
    folder_of_packing,
    head_of,
    line_of,
    raw_sidecars,
)
from penstock.packing.shard import ShardWriter
from penstock.packing.tar_shard import TarShard
from penstock.sources.tar_index import load_indices
from penstock.types import Failure

if TYPE_CHECKING:
    from penstock.pipeline import Pipeline
    from penstock.sources.source import Source

__all__ = ["pack"]

OnProgress = Callable[[int, int], None]


def pack(
    source: Pipeline | Source,
    dest: str | os.PathLike[str],
    *,
    shard_bytes: int | str = "1GB",
    max_side: int | None = None,
    quality: int = 90,
    shuffle: int | None = None,
    to: PackTo = "tar",
    threads: int | None = None,
    on_failure: PackOnFailure = "skip",
    max_failures: int | Fraction | None = None,
    retry_failures: bool = False,
    on_progress: OnProgress | None = None,
) -> Packed:
    """Writes the items of a line, or a source, as shards into the folder ``dest``, once, to be read anywhere.

    Bytes are copied as they are. With ``max_side=``, or from a line that decodes, images are decoded, turned upright,
    made no larger than that, and encoded as JPEGs of ``quality`` (1 to 100). ``to="tar"``: shards as WebDataset reads
    them, with .cls, .txt and .json beside each picture, and the index of ``ps.tar`` beside each shard; ``"parquet"``:
    as Hugging Face has it, which needs the package pyarrow. A shard ends before it would exceed ``shard_bytes`` (a
    number, "1GB", "512MiB"). ``shuffle=seed`` packs a permutation. ``on_progress(done, items)`` is told as it goes.

    Killed at any moment, the same call goes on, and ends with the same bytes. An item that fails is in the ledger
    ``failures.jsonl``; ``on_failure="raise"`` stops at the first, ``max_failures`` (a count, or a Fraction of the
    items) after that many. With ``retry_failures=True`` a packing that is there, finished or not, is made anew from
    its first shard on that lacks an item. Raises PlanError for options that cannot be, and where ``dest`` holds
    another packing or something else; ItemError, TooManyFailuresError, SourceError; PenstockError where the disk
    refuses to be written.

    >>> import io, pathlib, tempfile, PIL.Image
    >>> file = io.BytesIO()
    >>> PIL.Image.new("RGB", (6, 4), "red").save(file, "JPEG")
    >>> folder = pathlib.Path(tempfile.mkdtemp()) / "packed"
    >>> packed = pack(ps.blobs({"a/1.jpg": file.getvalue(), "b/1.jpg": file.getvalue()}, labels=["x", "y"]), folder)
    >>> packed.items, [pathlib.Path(shard).name for shard in packed.shards]
    (2, ['shard-000000.tar'])
    >>> again = ps.tar(packed.shards).source
    >>> list(again.keys()), again.classes, again.labels(np.arange(2)).tolist()
    (['a/1', 'b/1'], ('x', 'y'), [0, 1])
    """
    options = PackOptions(
        shard_bytes=byte_count("shard_bytes", shard_bytes),
        max_side=max_side,
        quality=quality,
        to=to,
        on_failure=on_failure,
        max_failures=max_failures,
    )
    line = line_of(source, options, None if shuffle is None else whole("shuffle", shuffle, 0, (1 << 64) - 1))
    many = default_threads() if threads is None else whole("threads", threads, 1, 1024)
    folder = folder_of_packing(dest)
    table = ParquetTable(line.source) if to == "parquet" else None
    encoded = line.spec.kind == "image"
    flow = Flow(line, quality if encoded else None, raw_sidecars(line, options), many)
    if os.path.isdir(folder) and not os.access(folder, os.W_OK | os.X_OK):
        raise PlanError(f"pack: expected a folder to write to, found {folder!r}: {os.strerror(errno.EACCES)}.")
    with Journal(folder, head_of(line, options)) as journal:
        if retry_failures:
            journal.go_back()
        ledger = Ledger(os.path.join(folder, LEDGER), lambda: line.fingerprint, epoch=0, rank=0, world_size=1)
        packing = _Packing(flow, options, journal, Failures(ledger), table, on_progress)
        try:
            return packing.run()
        except OSError as error:
            raise PenstockError(
                f"pack: expected to write to {folder!r}, found: {error.strerror or error}; the same command goes on "
                f"from here."
            ) from error
        finally:
            packing.failures.close()


@dataclass
class _Packing:
    """One call: what it writes, and what it has found."""

    flow: Flow
    options: PackOptions
    journal: Journal
    failures: Failures
    table: ParquetTable | None
    on_progress: OnProgress | None
    _open: ShardWriter | None = field(default=None, init=False)

    def run(self) -> Packed:
        """Makes what is missing, then goes on where the last shard ended."""
        line = self.flow.line
        present = len(self.journal.shards)
        beside = Beside(self.flow.threads)
        try:
            for shard in self.journal.shards:
                if not self._is_there(shard):
                    present -= 1
                    self._make_again(shard, beside)
            self._index([shard.name for shard in self.journal.shards])
            start = self.journal.shards[-1].end if self.journal.shards else 0
            self.failures.resume(line.items if self.journal.complete else start)
            if len(self.failures):
                self._expect_allowed(self.failures[0])
            if not self.journal.complete:
                self._fill(start, beside)
                self.journal.finish(self._summary())
        finally:
            beside.close()
            if self._open is not None:
                self._open.drop()
        shards = self.journal.shards
        return Packed(
            folder=self.journal.folder,
            items=sum(shard.items for shard in shards),
            bytes=sum(shard.bytes for shard in shards),
            shards=tuple(self._path(shard.name) for shard in shards),
            failures=self.failures,
            damaged=sum(shard.damaged for shard in shards),
            present=present,
        )

    def _fill(self, start: int, beside: Beside) -> None:
        items = self.flow.line.items
        first, damaged = start, 0
        for outcome in self.flow.outcomes(start, items, beside):
            self._say(outcome.position, items)
            if isinstance(outcome.item, Failure):
                self._failed(outcome.item, outcome.position)
                continue
            if self._open is not None and self._open.bytes_with(outcome.item) > self.options.shard_bytes:
                self._close(first, outcome.position, damaged)
                first, damaged = outcome.position, 0
            if self._open is None:
                self._open = self._writer(len(self.journal.shards))
            self._open.add(outcome.item)
            damaged += outcome.damaged
        if self._open is not None:
            self._close(first, items, damaged)
        self._say(items, items)

    def _say(self, done: int, items: int) -> None:
        if self.on_progress is not None:
            self.on_progress(done, items)

    def _writer(self, number: int) -> ShardWriter:
        return self._named(f"shard-{number:06d}.{self.options.to}")

    def _named(self, name: str) -> ShardWriter:
        if self.table is not None:
            return ParquetShard(self.journal.folder, name, self.table)
        return TarShard(self.journal.folder, name)

    def _close(self, first: int, end: int, damaged: int) -> None:
        writer = self._open
        assert writer is not None
        size, sha256 = writer.seal()
        writer.place()
        self._open = None
        self.journal.add(Shard(writer.name, writer.items, damaged, size, sha256, first, end))
        self._index([writer.name])

    def _failed(self, failure: Failure, position: int) -> None:
        self.failures.add(failure, position)
        self._expect_allowed(failure)

    def _expect_allowed(self, failure: Failure) -> None:
        """Raises what the options say of failures; of those that were there before too."""
        if self.options.on_failure == "raise":
            error = ItemError(failure.message)
            error.failure = failure
            raise error
        allowed = self.options.allowed(self.flow.line.items)
        if allowed is not None and len(self.failures) > allowed:
            causes = ", ".join(f"{count} x {cause}" for cause, count in self.failures.by_cause().items())
            raise TooManyFailuresError(
                f"Expected at most {allowed} failed items (max_failures={self.options.max_failures}), found "
                f"{len(self.failures)}: {causes}; the first: {self.failures[0].message}"
            )

    # -- what was there before ---------------------------------------------------------------------------------------

    def _path(self, name: str) -> str:
        return os.path.join(self.journal.folder, name)

    def _is_there(self, shard: Shard) -> bool:
        try:
            return os.stat(self._path(shard.name)).st_size == shard.bytes
        except FileNotFoundError:
            return False

    def _make_again(self, shard: Shard, beside: Beside) -> None:
        """A shard that was finished once and is gone, or cut, with the bytes it had; SourceError where it has not."""
        self._open = self._named(shard.name)
        for outcome in self.flow.outcomes(shard.first, shard.end, beside):
            if not isinstance(outcome.item, Failure):
                self._open.add(outcome.item)
        _, sha256 = self._open.seal()
        if sha256 != shard.sha256:
            raise SourceError(
                f"pack: expected {shard.name!r} to be made again with the bytes it had (sha256 {shard.sha256[:12]}), "
                f"found others ({sha256[:12]}): the source has changed since; pack it into another folder."
            )
        self._open.place()
        self._open = None

    def _index(self, names: list[str]) -> None:
        """The index that ``ps.tar`` keeps beside each shard, made where it is not there or not current."""
        if self.options.to == "tar" and names:
            load_indices("pack", [os.fsencode(self._path(name)) for name in names], "beside")

    def _summary(self) -> dict[str, Any]:
        shards = self.journal.shards
        return {
            "items": sum(shard.items for shard in shards),
            "bytes": sum(shard.bytes for shard in shards),
            "failures": len(self.failures),
            "causes": self.failures.by_cause(),
        }
