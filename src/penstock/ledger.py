"""The ledger: a file with a line of JSON for each failure; a run that resumes goes on with it."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Any

from penstock.errors import EngineError, PlanError
from penstock.types import Failure

if TYPE_CHECKING:
    from penstock.options import RunOptions
    from penstock.pipeline import Pipeline

__all__ = ["RANK", "Ledger", "ledger_of"]

RANK = "{rank}"
"""What stands for a rank's number in the name of a ledger."""

_NAMES = ("key", "index", "stage", "cause", "message")
_FINGERPRINT_LETTERS = 16


class Ledger:
    """The failures of one epoch of one line, among those of others in the same file.

    Each line of the file is an object: a Failure's fields, ``epoch``, ``position`` (how far into the epoch, counted as
    in ``state["position"]``) and ``line``, the beginning of the line's fingerprint ("" where it has none).
    """

    def __init__(self, pattern: str, fingerprint: Callable[[], str], *, epoch: int, rank: int, world_size: int) -> None:
        self._pattern = pattern
        self._fingerprint = fingerprint
        self._epoch = epoch
        self._rank = rank
        self._world_size = world_size
        self._known: str | None = None
        self._file: IO[str] | None = None

    @property
    def path(self) -> str:
        """This rank's file."""
        return self._of_rank(self._rank)

    def resume(self, start: int) -> Iterator[Failure]:
        """What failed before ``start``; entries of this epoch from there on, which will come again, leave the file."""
        seen: set[int] = set()
        for text in self._resumed(self.path, start):
            record = self._own(text)
            if record is not None and record["position"] not in seen:  # each position fails once
                seen.add(record["position"])
                yield Failure(**{name: record[name] for name in _NAMES})
        if self._rank == 0 and RANK in self._pattern:  # ranks that are no more cannot see to their own
            gone = self._world_size
            while os.path.isfile(self._of_rank(gone)):
                for _ in self._resumed(self._of_rank(gone), start):
                    pass
                gone += 1

    def write(self, failure: Failure, position: int) -> None:
        """Adds a failure, so that it is in the file even when the process is killed the moment after."""
        if self._file is None:
            self._file = _text_file(self.path, "a")  # open while the run is
        record: dict[str, Any] = {name: getattr(failure, name) for name in _NAMES}
        record |= {"epoch": self._epoch, "position": position, "line": self._line}
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Closes the file, where it is open."""
        if self._file is not None:
            self._file.close()
            self._file = None

    @property
    def _line(self) -> str:
        # Asked for late: it takes a hash over all keys, which a run without failures need not wait for.
        if self._known is None:
            self._known = self._fingerprint()[:_FINGERPRINT_LETTERS]
        return self._known

    def _of_rank(self, rank: int) -> str:
        return self._pattern.replace(RANK, str(rank))

    def _own(self, text: str) -> dict[str, Any] | None:
        """The record of this line and epoch in a line of the file; None where it is another's, or none of ours."""
        try:
            record = json.loads(text)
        except ValueError:
            return None
        if not isinstance(record, dict) or not record.keys() >= {*_NAMES, "epoch", "position", "line"}:
            return None
        own = record["epoch"] == self._epoch and isinstance(record["position"], int) and record["line"] == self._line
        return record if own else None

    def _resumed(self, path: str, start: int) -> Iterator[str]:
        """The lines that stay in a file; those that do not are gone from it afterwards, all at once."""
        if not os.path.isfile(path):  # none yet, or a pipe
            return
        over = False
        with _text_file(path, "r") as file:
            for text in file:
                if self._stays(text, start):
                    yield text
                else:
                    over = True
        if over:
            self._rewrite(path, start)

    def _stays(self, text: str, start: int) -> bool:
        if not text.endswith("\n"):  # it was being written when the process was killed
            return False
        record = self._own(text)
        return record is None or bool(record["position"] < start)

    def _rewrite(self, path: str, start: int) -> None:
        target = os.path.realpath(path)
        beside = f"{target}.{os.getpid()}.new"
        try:
            with _text_file(target, "r") as file, _text_file(beside, "w") as kept:
                kept.writelines(text for text in file if self._stays(text, start))
                kept.flush()
                os.chmod(beside, os.stat(target).st_mode & 0o7777)
                os.fsync(kept.fileno())
            os.replace(beside, target)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(beside)
            raise EngineError(
                f"ledger={path!r}: expected to take out the entries that this run will write again, found "
                f"{error.strerror or error}."
            ) from error


def _text_file(path: str, mode: str) -> IO[str]:
    """A file whose lines end as ours do, and come out as they went in whatever they hold."""
    return open(path, mode, encoding="utf-8", errors="surrogateescape", newline="\n")


def ledger_of(line: Pipeline, options: RunOptions) -> Ledger | None:
    """The ledger that a pass over a line is asked for; None where it is asked for none."""
    if options.ledger is None:
        return None

    def fingerprint() -> str:
        try:
            return line.fingerprint
        except PlanError:  # a warp by a function that has no name
            return ""

    return Ledger(
        os.fsdecode(options.ledger),
        fingerprint,
        epoch=options.epoch,
        rank=options.rank,
        world_size=options.world_size,
    )
