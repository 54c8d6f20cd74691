"""How far a packing is: a journal while it goes on, the manifest once it is whole. Both survive being killed."""

from __future__ import annotations

import contextlib
import json
import os
import re
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Self

from penstock.errors import PlanError
from penstock.packing.shard import PART, sync_folder
from penstock.sources.tar_index import SUFFIX

try:
    import fcntl
except ImportError:  # a system without it
    fcntl = None  # type: ignore[assignment]

__all__ = ["FORMAT", "JOURNAL", "LEDGER", "MANIFEST", "Journal", "Shard"]

FORMAT = "penstock packing"
VERSION = 1
MANIFEST = "manifest.json"
JOURNAL = "packing.journal"
LEDGER = "failures.jsonl"

# What is left of an index, or a ledger, that was being written when its process was killed.
_HALF = re.compile(rf"shard-\d+\.tar{re.escape(SUFFIX)}\.\d+-[0-9a-f]+|{re.escape(LEDGER)}\.\d+\.new")


@dataclass(frozen=True, slots=True)
class Shard:
    """A finished shard: the positions ``first`` to ``end - 1`` of the packing's order, without those that failed."""

    name: str
    items: int
    damaged: int
    bytes: int
    sha256: str
    first: int
    end: int


class Journal:
    """The packing in a folder; held, by one process at a time, as a ``with`` block.

    ``head`` is what has to be the same to go on with it: the options and the source. Raises PlanError where the folder
    holds a packing with another one, something else, or is being packed into.
    """

    def __init__(self, folder: str, head: dict[str, Any]) -> None:
        self.folder = folder
        self.head = head
        self.shards: list[Shard] = []
        self.complete = False
        self._file: Any = None
        self._lock = -1

    def __enter__(self) -> Self:
        self._open()
        try:
            self._begin()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _open(self) -> None:
        try:
            os.makedirs(self.folder, exist_ok=True)
            self._lock = os.open(self.folder, os.O_RDONLY)
        except OSError as error:
            raise PlanError(f"pack: expected a folder to write to, found {self.folder!r}: {error.strerror}.") from None
        if fcntl is not None:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(self._lock)
                raise PlanError(
                    f"pack: expected {self.folder!r} for this packing alone, found another process that packs into it."
                ) from None
            except OSError:  # a file system that has no locks
                pass

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _begin(self) -> None:
        manifest = self._read_manifest()
        journal = os.path.join(self.folder, JOURNAL)
        if manifest is not None:
            self._expect_same(manifest)
            self.shards = [Shard(**each) for each in manifest["shards"]]
            self.complete = True
            with contextlib.suppress(FileNotFoundError):  # killed after the last step but one
                os.unlink(journal)
            self._clean()
            return
        lines, sound = _lines(journal)
        if not lines:
            known = (JOURNAL, MANIFEST + PART)
            others = sorted(name for name in os.listdir(self.folder) if name not in known and not name.endswith(PART))
            if others:
                raise PlanError(
                    f"pack: expected an empty folder, or a packing to go on with, found {others[0]!r} in "
                    f"{self.folder!r}; take another folder."
                )
        else:
            self._expect_same(lines[0])
            self.shards = [Shard(**each) for each in lines[1:]]
        self._clean()
        self._file = open(journal, "ab")  # noqa: SIM115 - open while the packing is
        self._file.truncate(sound)  # what was being written when it was killed
        if not lines:
            self._write({"format": FORMAT, "version": VERSION, **self.head})
            sync_folder(self.folder)

    def go_back(self) -> None:
        """Forgets the shards from the first on among whose positions an item failed: they are to be made anew."""
        count = next((n for n, shard in enumerate(self.shards) if shard.items < shard.end - shard.first), None)
        if count is None and not (self.complete and not self.shards):
            return
        given_up, self.shards = self.shards[count or 0 :], self.shards[: count or 0]
        if self._file is not None:
            self._file.close()
        path = os.path.join(self.folder, JOURNAL)
        # Killed in between, there is the old journal or manifest with all its shards, or the new journal.
        self._file = open(path + PART, "wb")  # noqa: SIM115 - open while the packing is
        self._write({"format": FORMAT, "version": VERSION, **self.head})
        for shard in self.shards:
            self._write(asdict(shard))
        os.replace(path + PART, path)
        if self.complete:
            os.unlink(os.path.join(self.folder, MANIFEST))
            self.complete = False
        sync_folder(self.folder)
        for shard in given_up:
            for name in (shard.name, shard.name + SUFFIX):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(self.folder, name))

    def _clean(self) -> None:
        for name in os.listdir(self.folder):
            if (name.endswith(PART) and name.startswith((".", MANIFEST, JOURNAL))) or _HALF.fullmatch(name):
                os.unlink(os.path.join(self.folder, name))

    def _read_manifest(self) -> dict[str, Any] | None:
        path = os.path.join(self.folder, MANIFEST)
        found: dict[str, Any] = {}
        try:
            with open(path, encoding="utf-8") as file:
                found = json.load(file)
            whole = found["format"] == FORMAT and found["version"] == VERSION and isinstance(found["shards"], list)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            whole = False
        if not whole:
            raise PlanError(f"pack: expected the manifest of a packing at {path!r}, found something else.")
        return dict(found)

    def _expect_same(self, found: dict[str, Any]) -> None:
        if found.get("version") != VERSION:
            raise PlanError(f"pack: expected a packing of version {VERSION}, found {found.get('version')!r}.")
        for name, value in self.head["options"].items():
            there = found.get("options", {}).get(name)
            if there != value:
                raise PlanError(
                    f"pack: expected the packing in {self.folder!r} to have {name}={value!r}, found one with "
                    f"{name}={there!r}; take another folder, or the same options."
                )
        there, own = found.get("source", {}), self.head["source"]
        if there != own:
            was = f"{there.get('items')} items, digest {str(there.get('digest'))[:12]}"
            raise PlanError(
                f"pack: expected the packing in {self.folder!r} to be of this source ({own['items']} items, digest "
                f"{own['digest'][:12]}), found one of another ({was}); take another folder."
            )

    def _write(self, record: dict[str, Any]) -> None:
        self._file.write(json.dumps(record).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def add(self, shard: Shard) -> None:
        """A shard is in its place; so are the failures before its end."""
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(os.path.join(self.folder, LEDGER), os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        self.shards.append(shard)
        self._write(asdict(shard))

    def finish(self, more: dict[str, Any]) -> None:
        """All shards are in their places: the manifest takes the journal's."""
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            **more,
            **self.head,
            "shards": [asdict(shard) for shard in self.shards],
        }
        path = os.path.join(self.folder, MANIFEST)
        with open(path + PART, "w", encoding="utf-8", newline="\n") as file:
            json.dump(manifest, file, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(path + PART, path)
        sync_folder(self.folder)
        self._file.close()
        self._file = None
        os.unlink(os.path.join(self.folder, JOURNAL))
        self.complete = True


def _lines(path: str) -> tuple[list[dict[str, Any]], int]:
    """The records of a journal and how many bytes they are, without one that was cut off."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        return [], 0
    records: list[dict[str, Any]] = []
    sound = 0
    for line in data.splitlines(keepends=True):
        try:
            record = json.loads(line) if line.endswith(b"\n") else None
        except ValueError:
            record = None
        if not isinstance(record, dict) or (not records and record.get("format") != FORMAT):
            break
        records.append(record)
        sound += len(line)
    return records, sound
