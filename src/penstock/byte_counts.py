"""Bytes as people say them, and as they write them."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["counted", "spoken"]

_UNITS = ("kB", "MB", "GB", "TB", "PB")
_WRITTEN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")
_FACTORS = {"": 1, "B": 1}
_FACTORS |= {f"{letter}{b}": 1000 ** (power + 1) for power, letter in enumerate("KMGTP") for b in ("B", "")}
_FACTORS |= {f"{letter}IB": 1024 ** (power + 1) for power, letter in enumerate("KMGTP")}


def counted(value: Any) -> int | None:
    """The number of bytes that an int, or words such as "1.5GB" and "64 MiB", stand for; None for anything else.

    "20G" is "20GB", 20 * 10**9 bytes; "20GiB" is 20 * 2**30.

    >>> counted("1.5GB"), counted("20G"), counted("64 MiB"), counted(10), counted("many")
    (1500000000, 20000000000, 67108864, 10, None)
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    found = _WRITTEN.fullmatch(value) if isinstance(value, str) else None
    factor = None if found is None else _FACTORS.get(found[2].upper())
    if found is None or factor is None:
        return None
    return int(float(found[1]) * factor) if "." in found[1] else int(found[1]) * factor


def spoken(count: int) -> str:
    """A number of bytes in the largest decimal unit that leaves at least 1.

    >>> spoken(999), spoken(150_528_000), spoken(20 * 10**9)
    ('999 bytes', '150.5 MB', '20.0 GB')
    """
    if abs(count) < 1000:
        return f"{count} byte{'' if count == 1 else 's'}"
    power = 1
    while power < len(_UNITS) and abs(count) >= 999.95 * 1000**power:
        power += 1
    return f"{count / 1000**power:,.1f} {_UNITS[power - 1]}"
