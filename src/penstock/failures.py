"""What did not go well, counted without end and kept within bounds: failures, damaged items, notes, the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Generic, TypeVar

from penstock.types import Damage, Failure, StageName

if TYPE_CHECKING:
    from penstock.ledger import Ledger

__all__ = ["Damages", "Failures", "Notes", "Records"]

KEEP = 1000
_EXAMPLES = 3
_NOTE_KINDS = 100

_Entry = TypeVar("_Entry", Failure, Damage)

NOTE_SENTENCES: dict[str, str] = {
    "alpha dropped": "transparency was dropped, as in Pillow; decode(alpha=255) lays it over white",
    "16 bit clipped": "16-bit values above 255 became white, as in Pillow; decode(depth='scale') keeps them",
    "16 bit reduced": "16-bit colours were cut to their high byte, as Pillow opens them",
    "icc ignored": "an embedded colour profile was ignored; decode(color='srgb') applies it",
    "icc broken": "an embedded colour profile could not be applied; the pixels are as stored",
    "colour dropped": "a picture of a colour mode became grey, as decode(mode='L') asks",
    "first frame taken": "only the first frame of several was taken",
    "shard damaged": "a place in a tar held something else than it should; source.damage says what, and where",
    "sample without a picture": "a tar holds sidecars whose picture it does not hold; print(line) names them",
    "cache off": "the cache could not be written any more; the log says why",
    "item without a label": "no class beside a picture, or none that can be read; its label is -1",
}


def sentence(stage: StageName, key: str, message: str) -> str:
    """The complete sentence of a failure: stage, key, then what was expected and found.

    >>> sentence("read", "a.jpg", "expected a regular file, found a directory")
    "read of 'a.jpg': expected a regular file, found a directory."
    """
    return f"{stage} of {key!r}: {message.rstrip('.')}."


def failure_of(key: str, index: int, stage: StageName, cause: str, message: str) -> Failure:
    """The failure of an item: ``message`` is what was expected and found."""
    return Failure(key, index, stage, cause, sentence(stage, key, message))


class Records(Generic[_Entry]):
    """The first 1,000 entries of a kind; all are counted."""

    def __init__(self) -> None:
        self._kept: list[_Entry] = []
        self._count = 0

    def add(self, entry: _Entry) -> None:
        """Counts an entry, and keeps it while there is room."""
        self._count += 1
        if len(self._kept) < KEEP:
            self._kept.append(entry)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[_Entry]:
        return iter(self._kept)

    def __getitem__(self, position: int) -> _Entry:
        return self._kept[position]


class Failures(Records[Failure]):
    """The items that did not become pixels: the first 1,000 kept, all counted, grouped by cause when printed.

    ``earlier`` of them are of the same epoch before this run went on with it, known from the ledger.
    """

    def __init__(self, ledger: Ledger | None = None) -> None:
        super().__init__()
        self._causes: Counter[tuple[str, str]] = Counter()
        self._ledger = ledger
        self.earlier = 0

    def resume(self, start: int) -> None:
        """Goes on with the ledger of an epoch that earlier runs took to ``start``."""
        if self._ledger is not None:
            for entry in self._ledger.resume(start):
                self._record(entry)
                self.earlier += 1

    def add(self, entry: Failure, position: int = -1) -> None:
        """Counts a failure and writes it to the ledger; ``position`` is how far into the epoch it comes."""
        self._record(entry)
        if self._ledger is not None:
            self._ledger.write(entry, position)

    def _record(self, entry: Failure) -> None:
        super().add(entry)
        self._causes[entry.stage, entry.cause] += 1

    def close(self) -> None:
        """Closes the ledger, where there is one."""
        if self._ledger is not None:
            self._ledger.close()

    def by_cause(self) -> dict[str, int]:
        """How many items failed of each cause, as ``{"decode: truncated": 12}``, most frequent first."""
        return {f"{stage}: {cause}": count for (stage, cause), count in self._causes.most_common()}

    def __str__(self) -> str:
        if not len(self):
            return "no failures"
        lines = [f"{len(self):,} failed"]
        for cause, count in self.by_cause().items():
            lines.append(f"  {count:,} x {cause}")
            examples = [f for f in self if f"{f.stage}: {f.cause}" == cause][:_EXAMPLES]
            lines.extend(f"      {example.message}" for example in examples)
        return "\n".join(lines)

    __repr__ = __str__


class Damages(Records[Damage]):
    """The items whose codec recovered from damage: pixels are Pillow's; the first 1,000 kept, all counted."""

    def __str__(self) -> str:
        if not len(self):
            return "no damaged images"
        lines = [f"{len(self):,} damaged"]
        lines.extend(f"  {entry.message}" for _, entry in zip(range(_EXAMPLES), self, strict=False))
        return "\n".join(lines)

    __repr__ = __str__


class Notes(Mapping[str, int]):
    """Every legal loss by name with the number of images it happened to; each says in a sentence what it means."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, name: str, count: int = 1) -> None:
        """Counts a note; past 100 kinds, further ones (Pillow's warnings hold numbers) are counted as one."""
        known = name in self._counts or len(self._counts) < _NOTE_KINDS
        self._counts[name if known else "further notes"] += count

    def __getitem__(self, name: str) -> int:
        if name not in self._counts:
            raise KeyError(name)
        return self._counts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._counts)

    def __len__(self) -> int:
        return len(self._counts)

    def __str__(self) -> str:
        if not self._counts:
            return "no notes"
        lines = []
        for name, count in self._counts.most_common():
            sentence = NOTE_SENTENCES.get(name)
            lines.append(f"{count:,} x {name}" + (f": {sentence}" if sentence else ""))
        return "\n".join(lines)

    __repr__ = __str__
