"""Pillow's warnings, caught per thread: Python's own filters are one list for the whole process."""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["recorded_warnings"]

# Advice of Pillow's that loses nothing, and that says which side decoded: libpng gives the same pixels without it.
UNSAID = ("Palette images with Transparency expressed in bytes",)

_local = threading.local()
_lock = threading.Lock()
_users = 0


class _Recorder:
    """Stands where a filter has its message pattern: keeps the text in a recording thread only."""

    pattern = "warnings of a thread that decodes with Pillow"

    def match(self, text: str) -> bool:
        """True, so that the warning is swallowed, where this thread records."""
        notes: list[str] | None = getattr(_local, "notes", None)
        if notes is None:
            return False
        if not text.startswith(UNSAID):
            notes.append(text)
        return True


_FILTER: Any = ("ignore", _Recorder(), Warning, None, 0)


@contextmanager
def recorded_warnings() -> Iterator[list[str]]:
    """The texts of the warnings this thread raises inside the block; none is shown or raised.

    Other threads keep the filters they have: the one entry added, at the front, matches in no thread but this. It goes
    when the last block ends. A filter that another thread puts in front meanwhile (``simplefilter("error")``)
    still wins, so a caller must take a raised Warning as a reason to try again.
    """
    notes: list[str] = []
    outer = getattr(_local, "notes", None)
    _enter()
    _local.notes = notes
    try:
        yield notes
    finally:
        _local.notes = outer
        _leave()


def _enter() -> None:
    global _users
    with _lock:
        _users += 1
        filters = _filters()
        if not filters or filters[0] is not _FILTER:
            # Another thread's catch_warnings may have taken the entry away, or put one in front.
            _remove(filters)
            filters.insert(0, _FILTER)
        if _users == 1:
            _forget()


def _leave() -> None:
    global _users
    with _lock:
        _users -= 1
        if _users == 0:
            _remove(_filters())


def _filters() -> list[Any]:
    filters: Any = warnings.filters
    return filters  # type: ignore[no-any-return]  # typeshed has a sequence; it is the list that insert works on


def _remove(filters: list[Any]) -> None:
    for position in range(len(filters) - 1, -1, -1):
        if filters[position] is _FILTER:
            del filters[position]


def _start_over() -> None:
    # In a forked child: the threads that recorded, or held the lock, stayed in the parent.
    global _lock, _users
    _lock = threading.Lock()
    _users = 0
    _remove(_filters())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_over)


def _forget() -> None:
    # A warning already shown once is looked up before any filter is asked, so it would go unrecorded.
    for name, module in list(sys.modules.items()):
        if name.startswith("PIL."):
            getattr(module, "__warningregistry__", {}).clear()
