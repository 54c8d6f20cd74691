"""The index of a tar, on bytes in memory: the twin of native/tar.cpp, tar_header.cpp and tar_samples.cpp."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = [
    "CUT",
    "FAULTS",
    "OVERRUN",
    "SPARSE",
    "WHOLE",
    "TarIndex",
    "TarMember",
    "index_tar",
]

BLOCK = 512
MAGIC, MAGIC_AT = b"ustar", 257
LONGEST_RECORD = 4 << 20
LONGEST_CLASS = 4096
HIGHEST = (1 << 63) - 1

WHOLE, CUT, OVERRUN, SPARSE = range(4)
"""What a member's bytes are: there; cut by the end of the file; with another header among them; not stored in full."""

FAULTS = ("no header", "cut member", "overrun", "no end", "more", "bad extension", "unreadable")
"""What was met where something else was expected, by number (native/tar.h)."""
NO_HEADER, CUT_MEMBER, OVERRUN_MEMBER, NO_END, MORE, BAD_EXTENSION, UNREADABLE = range(7)


class TarMember(NamedTuple):
    """A file of a tar: its sample, the number of its extension, where its bytes are, and what they are."""

    sample: int
    extension: int
    offset: int
    size: int
    state: int


@dataclass
class TarIndex:
    """What a tar holds; ``keys`` are the samples', ``counts`` members left out: links, folders, devices, others, those
    whose name begins with a point, those without an extension. ``damage``: fault, offset, and two numbers by the fault.
    """

    keys: list[bytes] = field(default_factory=list)
    extensions: list[bytes] = field(default_factory=list)
    members: list[TarMember] = field(default_factory=list)
    classes: list[bytes] = field(default_factory=list)
    damage: list[tuple[int, int, int, int]] = field(default_factory=list)
    counts: list[int] = field(default_factory=lambda: [0] * 6)


LINKS, FOLDERS, DEVICES, OTHERS, HIDDEN, UNNAMED = range(6)


@dataclass
class Header:
    """One header block, read."""

    kind: bytes
    size: int
    name: bytes
    longer_map: bool

    @property
    def has_data(self) -> bool:
        """Whether ``size`` bytes follow; links, devices, folders and FIFOs have none."""
        return self.kind not in b"123456"


@dataclass
class Extension:
    """What the records before a header say of its member."""

    name: bytes | None = None
    size: int | None = None
    sparse: bool = False


def index_tar(data: bytes) -> TarIndex:
    """Walks the headers of a tar; where there is none, goes on at the next one behind the damage."""
    walk = _Walk(data)
    walk.run()
    return walk.index


class _Walk:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.index = TarIndex()
        self.samples: dict[bytes, int] = {}
        self.numbers: dict[bytes, int] = {}
        self.taken: set[tuple[int, int]] = set()
        self.extension = Extension()
        self.last_data = 0
        self.last_member: int | None = None
        self.zero_blocks = 0
        self.ended = False

    def run(self) -> None:
        at: int | None = 0
        while at is not None and at < len(self.data):
            at = self.after_rest(at) if len(self.data) - at < BLOCK else self.next(at)
        if at is not None and not self.ended:
            self.report(NO_END, len(self.data), self.zero_blocks)

    def report(self, fault: int, at: int, first: int = 0, second: int = 0) -> None:
        self.index.damage.append((fault, at, first, second))

    def next(self, at: int) -> int | None:
        block = self.data[at : at + BLOCK]
        if not any(block):
            swallowed = self.find_swallowed(at)
            return self.after_zeros(at) if swallowed is None else swallowed
        self.zero_blocks = 0
        header = parse_header(block)
        if header is None:
            return self.recover(at)
        if header.kind in b"xXLKg":
            return self.after_extension(at, header)
        return self.after_member(at, header)

    def after_member(self, at: int, header: Header) -> int | None:
        said, self.extension = self.extension, Extension()
        name = header.name if said.name is None else said.name
        size = header.size if said.size is None else said.size
        data = at + BLOCK
        more_map = header.kind == b"S" and header.longer_map
        while more_map and len(self.data) - data >= BLOCK:
            more_map = self.data[data + 504] != 0
            data += BLOCK
        self.last_member, self.last_data = None, data
        if not header.has_data:
            self.count_other(header.kind, name)
            return data
        cut = size > len(self.data) - data
        if header.kind in b"0\x007S" and name and not name.endswith(b"/"):
            sparse = said.sparse or header.kind == b"S"
            self.last_member = self.add(name, data, size, CUT if cut else SPARSE if sparse else WHOLE)
        else:
            self.count_other(header.kind, name)
        if not cut:
            return min(data + padded(size), len(self.data))
        self.report(CUT_MEMBER, data, size, len(self.data) - data)
        return self.find_header(data, len(self.data))

    def after_extension(self, at: int, header: Header) -> int | None:
        data = at + BLOCK
        self.last_member, self.last_data = None, data
        if header.size > len(self.data) - data:
            self.report(BAD_EXTENSION, at)
            self.extension = Extension()
            return self.find_header(data, len(self.data))
        end = min(data + padded(header.size), len(self.data))
        if header.kind in b"Kg":
            return end
        good = header.size <= LONGEST_RECORD
        if good and header.size > 0:
            records = self.data[data : data + header.size]
            if header.kind == b"L":
                self.extension.name = records.split(b"\0")[0]
            else:
                good = read_pax(records, self.extension)
        if not good:
            self.report(BAD_EXTENSION, at)
        return end

    def after_zeros(self, at: int) -> int:
        end = at
        while len(self.data) - end >= BLOCK and not any(self.data[end : end + BLOCK]):
            end += BLOCK
        self.last_member, self.last_data, self.extension = None, end, Extension()
        self.zero_blocks = (end - at) // BLOCK
        self.ended = len(self.data) - end < BLOCK and self.zero_blocks >= 2
        if len(self.data) - end >= BLOCK:
            self.report(MORE, at, self.zero_blocks, end)
        return end

    def after_rest(self, at: int) -> int | None:
        return self.recover(at) if any(self.data[at:]) else len(self.data)

    def recover(self, at: int) -> int | None:
        self.extension = Extension()
        found = self.find_header(self.last_data, at)
        if found is not None and found < at and self.last_member is not None:
            self.report_overrun(self.last_member, found)
        else:
            self.report(NO_HEADER, at, -1 if found is None else found)
        return found

    def report_overrun(self, row: int, found: int) -> None:
        member = self.index.members[row]
        if member.state == WHOLE:
            self.index.members[row] = member._replace(state=OVERRUN)
        self.report(OVERRUN_MEMBER, self.last_data, member.size, found - self.last_data)

    def find_swallowed(self, at: int) -> int | None:
        if self.last_member is None or at - self.last_data < BLOCK:
            return None
        if parse_header(self.data[self.last_data : self.last_data + BLOCK]) is not None:
            return None
        found = self.find_header(self.last_data, at, before=True)
        if found is not None:
            self.report_overrun(self.last_member, found)
        return found

    def find_header(self, start: int, trusted: int, before: bool = False) -> int | None:
        seen: set[int] = set()
        at = start + MAGIC_AT
        while (magic := self.data.find(MAGIC, at)) >= 0 and len(self.data) - (magic - MAGIC_AT) >= BLOCK:
            found = magic - MAGIC_AT
            if before and found >= trusted:
                return None
            block = self.data[found : found + BLOCK]
            if block[262] in b"\0 " and parse_header(block) is not None:
                anywhere = (trusted >= len(self.data) and not before) or found >= trusted
                if anywhere or self.leads_beyond(found, trusted, before, seen):
                    return found
            at = magic + 1
        return None

    def leads_beyond(self, at: int, goal: int, zeros: bool, seen: set[int]) -> bool:
        while at < goal:
            if len(self.data) - at < BLOCK or at in seen:
                return False
            seen.add(at)
            block = self.data[at : at + BLOCK]
            if zeros and not any(block):
                at += BLOCK
                continue
            header = parse_header(block) if any(block) else None
            if header is None:
                return False
            at += BLOCK + (padded(header.size) if header.has_data else 0)
        return True

    def add(self, name: bytes, offset: int, size: int, state: int) -> int | None:
        folder, slash, base = name.rpartition(b"/")
        stem, _, extension = base.partition(b".")
        if base.startswith(b"."):
            self.index.counts[HIDDEN] += 1
            return None
        if not extension:
            self.index.counts[UNNAMED] += 1
            return None
        key, word = folder + slash + stem, extension.lower()
        if word not in self.numbers:
            self.numbers[word] = len(self.numbers)
            self.index.extensions.append(word)
        number = self.numbers[word]
        if key not in self.samples or (self.samples[key], number) in self.taken:
            self.samples[key] = len(self.index.keys)
            self.index.keys.append(key)
        sample = self.samples[key]
        self.taken.add((sample, number))
        self.index.members.append(TarMember(sample, number, offset, size, state))
        if word == b"cls":
            short = state == WHOLE and size <= LONGEST_CLASS
            self.index.classes.append(self.data[offset : offset + size] if short else b"")
        return len(self.index.members) - 1

    def count_other(self, kind: bytes, name: bytes) -> None:
        if kind in b"12":
            self.index.counts[LINKS] += 1
        elif kind == b"5" or name.endswith(b"/"):
            self.index.counts[FOLDERS] += 1
        elif kind in b"346":
            self.index.counts[DEVICES] += 1
        else:
            self.index.counts[OTHERS] += 1


def padded(size: int) -> int:
    """Bytes up to a multiple of a block."""
    return (size + BLOCK - 1) // BLOCK * BLOCK


def parse_header(block: bytes) -> Header | None:
    """A header block; None where its checksum or its size says that it is none."""
    expected = parse_number(block[148:156])
    summed = block[:148] + b" " * 8 + block[156:]
    plain = sum(summed)
    # Some old writers summed signed bytes.
    with_signs = plain - 256 * sum(byte >= 128 for byte in summed)
    size = parse_number(block[124:136])
    if expected is None or expected not in (plain, with_signs) or size is None:
        return None
    name = block[:100].split(b"\0")[0]
    prefix = block[345:500].split(b"\0")[0]
    # GNU's own header, which ends its magic with a space, keeps other things where ustar has the prefix.
    if block[257:263] == b"ustar\0" and prefix:
        name = prefix + b"/" + name
    return Header(block[156:157], size, name, block[482] != 0)


def parse_number(text: bytes) -> int | None:
    """Octal digits between spaces, ended by a space or a zero; or base 256 behind a set highest bit."""
    if text[0] & 0x80:
        value = int.from_bytes(bytes([text[0] & 0x3F]) + text[1:], "big")
        return None if text[0] & 0x40 or value > HIGHEST else value
    text = text.lstrip(b" ")
    digits = text[: len(text) - len(text.lstrip(b"01234567"))]
    behind = text[len(digits) :]
    return int(digits or b"0", 8) if behind[:1] in (b"", b" ", b"\0") else None


def parse_decimal(text: bytes) -> int | None:
    """Decimal digits and nothing else, as far as 64 bits hold them."""
    if not text or text.strip(b"0123456789") or len(text.lstrip(b"0")) > 20:
        return None
    value = int(text)
    return value if value // 10 <= (HIGHEST - 9) // 10 else None


def read_pax(records: bytes, extension: Extension) -> bool:
    """The records of a pax header, a line each of length, key and value, into ``extension``; False for another form."""
    at, sparse_named = 0, False
    while at < len(records) and records[at] != 0:
        space = records.find(b" ", at)
        length = None if space < 0 else parse_decimal(records[at:space])
        if length is None or length > len(records) - at:
            return False
        end = at + length
        if end < space + 2 or records[end - 1 : end] != b"\n":
            return False
        equals = records.find(b"=", space)
        if not 0 <= equals < end:
            return False
        key, value = records[space + 1 : equals], records[equals + 1 : end - 1]
        if key == b"path" and not sparse_named:
            extension.name = value
        elif key == b"size":
            size = parse_decimal(value)
            if size is None:
                return False
            extension.size = size
        elif key.startswith(b"GNU.sparse."):
            extension.sparse = True
            if key == b"GNU.sparse.name":
                extension.name, sparse_named = value, True
        at = end
    return True
