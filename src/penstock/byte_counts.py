"""Bytes as people say them."""

from __future__ import annotations

__all__ = ["spoken"]

_UNITS = ("kB", "MB", "GB", "TB", "PB")


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
