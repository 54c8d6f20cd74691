"""What a packing came to."""

from __future__ import annotations

import os
from dataclasses import dataclass

from penstock.failures import Failures
from penstock.sources.source import counted

__all__ = ["Packed", "shown_bytes"]


@dataclass(frozen=True, slots=True)
class Packed:
    """What ``ps.pack`` wrote: ``items`` in ``shards`` (paths, in order), of ``bytes`` together, in ``folder``.

    ``failures`` are the items that are in no shard: all counted, the first 1,000 kept, every one in ``ledger``.
    ``damaged`` pictures were encoded anew from what a codec recovered. ``manifest`` is the path of the packing's
    manifest, ``present`` how many of the shards were there before.
    """

    folder: str
    items: int
    bytes: int
    shards: tuple[str, ...]
    failures: Failures
    damaged: int = 0
    present: int = 0

    @property
    def manifest(self) -> str:
        """The path of the manifest."""
        return os.path.join(self.folder, "manifest.json")

    @property
    def ledger(self) -> str | None:
        """The path of the ledger, None where nothing failed."""
        return os.path.join(self.folder, "failures.jsonl") if len(self.failures) else None

    def __str__(self) -> str:
        shards = counted(len(self.shards), "shard")
        there = f" ({self.present:,} there before)" if self.present else ""
        damaged = f"; {self.damaged:,} of them damaged" if self.damaged else ""
        text = f"{counted(self.items, 'item')} in {shards}{there}, {shown_bytes(self.bytes)}{damaged}"
        ledger = f"\nthe ledger: {self.ledger}" if self.ledger else ""
        return f"{text}\n{self.failures}{ledger}"


def shown_bytes(size: int) -> str:
    """A size as people say it.

    >>> shown_bytes(999), shown_bytes(1_500_000)
    ('999 bytes', '1.5 MB')
    """
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:,.1f} {unit}"
    return counted(size, "byte")
