"""The coefficients of a baseline JPEG, bit by bit: the twin of ``native/huffman.cpp`` and what it has to agree with."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["Component", "read_coefficients"]

FRAMES, TABLES, SCAN, RESTARTS, QUANTISATION = (0xC0, 0xC1), 0xC4, 0xDA, 0xDD, 0xDB
# Coefficients come along the diagonals of a block, every other one upwards: places in rows of eight.
ORDER = sorted(range(64), key=lambda i: (i // 8 + i % 8, (i // 8 if (i // 8 + i % 8) % 2 else i % 8)))

Codes = dict[tuple[int, int], int]  # (bits, code) to symbol


@dataclass
class Component:
    """One component: its sampling, its quantisation table's number, and its blocks (rows, columns, 64)."""

    horizontal: int
    vertical: int
    quantisation: int
    blocks: NDArray[np.int16] = field(default_factory=lambda: np.zeros((0, 0, 64), np.int16))


class Bits:
    """The bits of one stretch between two markers, free of stuffing."""

    def __init__(self, stretch: bytes) -> None:
        self.text = "".join(f"{byte:08b}" for byte in stretch.replace(b"\xff\x00", b"\xff"))
        self.at = 0

    def take(self, count: int) -> int:
        """The next bits as a number."""
        if self.at + count > len(self.text):
            raise ValueError("bits that are not there")
        self.at += count
        return int(self.text[self.at - count : self.at] or "0", 2)

    def symbol(self, codes: Codes) -> int:
        """The next code's symbol."""
        code = 0
        for bits in range(1, 17):
            code = code * 2 + self.take(1)
            if (bits, code) in codes:
                return codes[bits, code]
        raise ValueError("a code that no table has")

    def value(self, size: int) -> int:
        """A value of so many bits: those that begin with 0 are negative."""
        bits = self.take(size)
        return bits if size == 0 or bits >> (size - 1) else bits - (1 << size) + 1

    def only_padding_left(self) -> bool:
        return len(self.text) - self.at < 8


def codes_of(payload: bytes) -> Codes:
    """The codes of a table: within a length they count up, and a longer one goes on from twice the next."""
    codes: Codes = {}
    symbols = iter(payload[16:])
    code = 0
    for bits, count in enumerate(payload[:16], start=1):
        for _ in range(count):
            codes[bits, code] = next(symbols)
            code += 1
        code *= 2
    return codes


def read_block(bits: Bits, dc: Codes, ac: Codes, before: int) -> list[int]:
    """One block in rows of eight; ``before`` is the first coefficient of the component's last one."""
    block = [0] * 64
    block[0] = before + bits.value(bits.symbol(dc))
    k = 0
    while k < 63:
        run, size = divmod(bits.symbol(ac), 16)
        if size == 0 and run != 15:
            break
        k += run + 1
        if k > 63:
            raise ValueError("a coefficient past the last")
        block[ORDER[k]] = bits.value(size)
    return block


def segments(data: bytes) -> tuple[list[tuple[int, bytes]], int]:
    """The marker segments up to the scan's, and where its data begins."""
    found, at = [], 2
    while True:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        found.append((marker, data[at + 4 : at + 2 + length]))
        at += 2 + length
        if marker == SCAN:
            return found, at


def stretches(data: bytes, at: int) -> list[bytes]:
    """What lies between the restart markers of a scan, to the first other marker."""
    found, begin = [], at
    while True:
        at = data.index(b"\xff", at)
        if data[at + 1] == 0:
            at += 2
            continue
        found.append(data[begin:at])
        if data[at + 1] != 0xD0 + (len(found) - 1) % 8:
            return found
        begin = at = at + 2


@dataclass
class File:
    """What the segments before the scan's data say."""

    height: int = 0
    width: int = 0
    interval: int = 0  # MCUs between two restart markers; 0: none
    components: list[Component] = field(default_factory=list)
    tables: dict[int, Codes] = field(default_factory=dict)  # 16 is added to the number of those for AC
    quantisation: dict[int, list[int]] = field(default_factory=dict)
    chosen: list[int] = field(default_factory=list)  # for each component its tables' numbers, DC's times 16

    def add(self, marker: int, payload: bytes) -> None:
        """One segment."""
        if marker in FRAMES:
            self.height, self.width = int.from_bytes(payload[1:3], "big"), int.from_bytes(payload[3:5], "big")
            for sampling, table in zip(payload[7::3], payload[8::3], strict=True):
                self.components.append(Component(sampling >> 4, sampling & 15, table))
        elif marker == TABLES:
            while payload:
                end = 17 + sum(payload[1:17])
                self.tables[payload[0]] = codes_of(payload[1:end])
                payload = payload[end:]
        elif marker == QUANTISATION:
            for at in range(0, len(payload), 65):
                steps = dict(zip(ORDER, payload[at + 1 : at + 65], strict=True))
                self.quantisation[payload[at]] = [steps[i] for i in range(64)]
        elif marker == RESTARTS:
            self.interval = int.from_bytes(payload, "big")
        elif marker == SCAN:
            self.chosen = list(payload[2 : 2 + 2 * payload[0] : 2])


def read_stretch(bits: Bits, file: File, mcus: range, across: int) -> None:
    """The MCUs between two markers."""
    before = [0] * len(file.components)
    for mcu in mcus:
        row, column = divmod(mcu, across)
        for i, (component, which) in enumerate(zip(file.components, file.chosen, strict=True)):
            for y in range(component.vertical):
                for x in range(component.horizontal):
                    block = read_block(bits, file.tables[which >> 4], file.tables[16 | which & 15], before[i])
                    before[i] = block[0]
                    component.blocks[row * component.vertical + y, column * component.horizontal + x] = block
    if not bits.only_padding_left():
        raise ValueError("more than padding before a marker")


def read_coefficients(data: bytes) -> tuple[list[Component], dict[int, list[int]]]:
    """The components of a file with one scan of all of them, and its quantisation tables in rows of eight."""
    file = File()
    found, at = segments(data)
    for marker, payload in found:
        file.add(marker, payload)
    if len(file.components) == 1:  # then an MCU is one block, whatever the sampling
        file.components[0].horizontal = file.components[0].vertical = 1
    across = -(-file.width // (8 * max(component.horizontal for component in file.components)))
    down = -(-file.height // (8 * max(component.vertical for component in file.components)))
    for component in file.components:
        component.blocks = np.zeros((down * component.vertical, across * component.horizontal, 64), np.int16)
    every = file.interval or across * down
    for begin, stretch in zip(range(0, across * down, every), stretches(data, at), strict=True):
        read_stretch(Bits(stretch), file, range(begin, min(begin + every, across * down)), across)
    return file.components, file.quantisation
