"""A cache's folder, read on its own: the twin of native/cache_format.cpp, cache_segment.cpp and cache_verify.cpp."""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["CacheEntry", "Key", "cache_key", "checksum", "read_entries", "verify"]

Key = tuple[int, int]
ALIGNMENT = 64
HEADER_BYTES = 64
RECORD_HEADER_BYTES = 192
FORMAT = b'{"format": "penstock cache", "version": 1}\n'
VERSION = 1

# The last 8 bytes of each are its own checksum.
SEGMENT = struct.Struct("<8sII QQQ Q 8x Q")  # magic, version, 0; capacity, recipe; created; checksum
INDEX_HEADER = struct.Struct("<8sI 44x Q")
INDEX_RECORD = struct.Struct("<QQ QQQ Q 8x Q")  # key; offset, payload's bytes and checksum; decoder; checksum
RECORD = struct.Struct("<8s QQ QQQ Q Q ii ii ii I I 6d II 32x Q")
ENCODED, DAMAGED = 1, 2


def cache_key(identity: bytes, recipe: Key) -> Key:
    """The key of an item under a recipe: XXH3-128 of the recipe's two numbers and the bytes that say which item it is.

    With the recipe (0, 0) it is the key of a recipe's fingerprint.
    """
    import xxhash

    number = xxhash.xxh3_128_intdigest(struct.pack("<QQ", *recipe) + identity)
    return number >> 64, number & (1 << 64) - 1


def checksum(data: bytes | memoryview, seed: int = 0) -> int:
    """XXH3-64."""
    import xxhash

    return xxhash.xxh3_64_intdigest(data, seed)


def _own_checksum_ok(block: bytes, seed: int) -> bool:
    return int.from_bytes(block[-8:], "little") == checksum(block[:-8], seed)


class CacheEntry(NamedTuple):
    """One record: its key, where it lies, what stands beside the bytes (as ``CacheStore.find`` tells it), the bytes."""

    key: Key
    offset: int
    whole_bytes: int
    fields: dict[str, Any]
    data: bytes
    payload_checksum: int
    right: bool


class IndexRecord(NamedTuple):
    """One line of an index."""

    key: Key
    offset: int
    payload_bytes: int
    payload_checksum: int
    decoder: int


class Wrong(NamedTuple):
    """Bytes that are wrong: a record's, or a stretch in which none begins, which has no key."""

    start: int
    end: int
    key: Key | None
    text: str


@dataclass
class Segment:
    """A segment's bytes and what its header says; ``seed`` is the seed of all checksums within."""

    name: str
    data: bytes
    recipe: Key
    created_ns: int
    seed: int
    living: bool
    entries: list[CacheEntry] = field(default_factory=list)
    wrong: int = 0
    skipped: int = 0
    torn: bool = False
    problems: list[Wrong] = field(default_factory=list)


def _segment_at(path: Path) -> Segment | None:
    with path.open("rb") as file:
        data = file.read()
        living = False
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            living = True
    head = data[:HEADER_BYTES]
    if len(head) < HEADER_BYTES or not _own_checksum_ok(head, 0):
        return None
    magic, version, _, _, high, low, created_ns, seed = SEGMENT.unpack(head)
    if magic != b"PSTKPIX1" or version != VERSION:
        return None
    segment = Segment(path.stem, data, (high, low), created_ns, seed, living)
    _walk(segment)
    return segment


def _record_at(segment: Segment, offset: int) -> CacheEntry | None:
    data = segment.data
    head = data[offset : offset + RECORD_HEADER_BYTES]
    if len(head) < RECORD_HEADER_BYTES or head[:8] != b"PSTKREC1" or not _own_checksum_ok(head, segment.seed):
        return None
    (_, high, low, written_at, size, payload_sum, texts_sum, decoder, *rest) = RECORD.unpack(head)
    height, width, channels, orientation, stored_height, stored_width, notes, flags = rest[:8]
    geometry, (damage_bytes, notes_bytes) = rest[8:14], rest[14:16]
    texts_at = offset + RECORD_HEADER_BYTES + size
    end = texts_at + damage_bytes + notes_bytes
    whole = -(-(end - offset) // ALIGNMENT) * ALIGNMENT
    if written_at != offset or offset + whole > len(data):
        return None
    payload, texts = data[offset + RECORD_HEADER_BYTES : texts_at], data[texts_at:end]
    fields = {
        "encoded": bool(flags & ENCODED),
        "size": (height, width),
        "channels": channels,
        "stored": (stored_height, stored_width),
        "orientation": orientation,
        "geometry": list(geometry),
        "notes": notes,
        "damaged": bool(flags & DAMAGED),
        "damage": texts[:damage_bytes].decode("utf-8", "surrogateescape"),
        "party_notes": texts[damage_bytes:].decode("utf-8", "surrogateescape"),
        "decoder": decoder,
    }
    right = checksum(payload) == payload_sum and checksum(texts) == texts_sum
    return CacheEntry((high, low), offset, whole, fields, payload, payload_sum, right)


def _walk(segment: Segment) -> None:
    """Every record, in order; behind what is none, the next one is looked for at multiples of 64."""
    offset = HEADER_BYTES
    lost_from: int | None = None
    where = f"{segment.name}.pixels: "
    while offset < len(segment.data):
        entry = _record_at(segment, offset)
        if entry is None:
            lost_from = offset if lost_from is None else lost_from
            offset += ALIGNMENT
            continue
        if lost_from is not None:
            segment.skipped += 1
            said = f"{where}expected a record at byte {lost_from}, found none before byte {offset}"
            segment.problems.append(Wrong(lost_from, offset, None, said))
            lost_from = None
        if entry.right:
            segment.entries.append(entry)
        else:
            segment.wrong += 1
            found = checksum(entry.data)
            said = "other texts beside it" if found == entry.payload_checksum else f"{found:016x}"
            wanted = f"the checksum {entry.payload_checksum:016x} of the record at byte {offset}"
            text = f"{where}expected {wanted}, found {said}"
            segment.problems.append(Wrong(offset, offset + entry.whole_bytes, entry.key, text))
        offset += entry.whole_bytes
    segment.torn = lost_from is not None


def _segments(folder: Path) -> Iterator[tuple[Path, Segment | None]]:
    for path in sorted(folder.glob("*.pixels")):
        yield path, _segment_at(path)


def read_entries(folder: str | os.PathLike[str], recipe: Key) -> dict[Key, CacheEntry]:
    """Every whole entry of a recipe, found by walking the segments; of several of one key the latest."""
    found: dict[Key, CacheEntry] = {}
    for segment in sorted((s for _, s in _segments(Path(folder)) if s is not None), key=lambda s: s.created_ns):
        if segment.recipe == recipe:
            found.update({entry.key: entry for entry in segment.entries})
    return found


def _read_index(path: Path, segment: Segment) -> tuple[str, int, list[IndexRecord]]:
    """What an index is ("good", "missing", "damaged"), its damaged records, and the good ones."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return "missing", 0, []
    head = INDEX_HEADER.pack(b"PSTKIDX1", VERSION, 0)
    if data[:56] != head[:56] or not _own_checksum_ok(data[:HEADER_BYTES], segment.seed):
        return ("good" if segment.living else "damaged"), 0, []
    good: list[IndexRecord] = []
    damaged = 0
    for at in range(HEADER_BYTES, len(data), INDEX_RECORD.size):
        block = data[at : at + INDEX_RECORD.size]
        whole = len(block) == INDEX_RECORD.size and _own_checksum_ok(block, segment.seed)
        high, low, offset, size, payload_sum, decoder, _ = INDEX_RECORD.unpack(block) if whole else (0,) * 7
        if whole and offset % ALIGNMENT == 0 and offset + RECORD_HEADER_BYTES + size <= len(segment.data):
            good.append(IndexRecord((high, low), offset, size, payload_sum, decoder))
        elif segment.living:
            break
        else:
            damaged += 1
    return ("damaged" if damaged else "good"), damaged, good


def _latest(root: Path) -> dict[Key, tuple[int, int]]:
    """Where the last whole entry of each key lies: when its segment was begun, and the byte in it."""
    found: dict[Key, tuple[int, int]] = {}
    for segment in (s for _, s in _segments(root) if s is not None):
        for entry in segment.entries:
            found[entry.key] = max(found.get(entry.key, (0, 0)), (segment.created_ns, entry.offset))
    return found


def _keys_of(wrong: Wrong, state: str, named: list[IndexRecord]) -> list[Key]:
    """The keys of what is wrong: its own, or those the index names in the stretch; none where that leaves a doubt."""
    if wrong.key is not None:
        return [wrong.key]
    inside = [record for record in named if wrong.start <= record.offset < wrong.end]
    if state != "good" or not inside or inside[0].offset != wrong.start:
        return []
    return [record.key for record in inside]


def verify(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """What ``CacheStore.verify`` reports of a folder that nobody writes to, with the same numbers and sentences."""
    root = Path(folder)
    if (root / "penstock-cache.json").read_bytes() != FORMAT:
        raise ValueError("expected a cache of version 1, found another format")
    report: dict[str, Any] = dict.fromkeys(
        ("segments", "entries", "bytes", "corrupt", "torn", "unindexed", "damaged_indexes"), 0
    )
    recipes: dict[Key, dict[str, Any]] = {}
    problems: list[str] = []
    made_again: list[str] = []
    latest = _latest(root)
    report["bytes"] = sum(entry.stat().st_size for entry in os.scandir(root))
    for path, segment in _segments(root):
        index = path.with_suffix(".index")
        size = path.stat().st_size + (index.stat().st_size if index.exists() else 0)
        report["segments"] += 1
        if segment is None:
            if size > HEADER_BYTES:
                problems.append(f"{path.name}: expected the header of a segment, found other bytes")
                report["corrupt"] += 1
            continue
        state, damaged, named = _read_index(index, segment)
        for wrong in segment.problems:
            keys = _keys_of(wrong, state, named)
            later = bool(keys) and all(latest.get(key, (0, 0)) > (segment.created_ns, wrong.start) for key in keys)
            (made_again if later else problems).append(wrong.text)
            report["corrupt"] += not later
        report["torn"] += segment.torn and not segment.living
        report["entries"] += len(segment.entries)
        recipe = recipes.setdefault(
            segment.recipe, {"recipe": segment.recipe, "segments": 0, "entries": 0, "bytes": 0, "written_ns": 0}
        )
        recipe["segments"] += 1
        recipe["entries"] += len(segment.entries)
        recipe["bytes"] += size
        recipe["written_ns"] = max(recipe["written_ns"], path.stat().st_mtime_ns)
        if state == "missing":
            problems.append(f"{index.name}: expected the index of a segment, found none")
        elif state == "damaged":
            problems.append(f"{index.name}: expected whole records, found {damaged} damaged (0: its header is)")
        report["damaged_indexes"] += state != "good"
        there = {
            IndexRecord(e.key, e.offset, len(e.data), e.payload_checksum, e.fields["decoder"]) for e in segment.entries
        }
        report["unindexed"] += 0 if segment.living else len(there - set(named))
    return {**report, "recipes": list(recipes.values()), "problems": problems, "made_again": made_again}
