"""Which files a table is in: a path, a glob, a folder or a list of these."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable

from penstock.errors import PlanError, SourceError

__all__ = ["AnyPath", "folder_of", "listed_files", "nearest", "optional_words", "shown_files"]

AnyPath = str | bytes | os.PathLike[str] | os.PathLike[bytes]


def listed_files(kind: str, files: AnyPath | Iterable[AnyPath], extensions: tuple[str, ...]) -> list[str]:
    """Absolute paths: of a folder those files with one of the ``extensions``, of a pattern what matches, both sorted.

    Raises PlanError for what is no path, SourceError for one that names nothing.
    """
    single = isinstance(files, (str, bytes, os.PathLike))
    given = [files] if isinstance(files, (str, bytes, os.PathLike)) else list(files)
    found: list[str] = []
    for path in given:
        try:
            name = os.path.expanduser(os.fsdecode(path))
        except TypeError:
            raise PlanError(f"source of {kind}: expected paths of files, found {type(path).__name__}.") from None
        found += _listed(kind, name, extensions)
    if not found and not single:
        raise SourceError(f"source of {kind}: expected at least one file, found an empty list.")
    return found


def _listed(kind: str, name: str, extensions: tuple[str, ...]) -> list[str]:
    words = " or ".join(extensions)
    if os.path.isdir(name):
        inside = sorted(entry for entry in os.listdir(name) if entry.endswith(extensions) and entry[0] != ".")
        if not inside:
            raise SourceError(f"source of {kind}: expected files that end in {words} in {name!r}, found none.")
        return [os.path.abspath(os.path.join(name, entry)) for entry in inside]
    if not os.path.exists(name) and glob.has_magic(name):
        matched = sorted(glob.glob(name, recursive=True))
        if not matched:
            raise SourceError(f"source of {kind}: expected files that match {name!r}, found none.")
        return [os.path.abspath(path) for path in matched]
    if not os.path.isfile(name):
        raise SourceError(f"source of {kind}: expected a file, a folder or a pattern, found nothing at {name!r}.")
    return [os.path.abspath(name)]


def folder_of(root: AnyPath | None, file: str) -> str:
    """Where relative paths of a table begin: ``root``, else the folder of its file."""
    return os.path.dirname(file) if root is None else os.path.abspath(os.path.expanduser(os.fsdecode(root)))


def shown_files(files: list[str]) -> str:
    """The files in an error sentence: the name of one, or of the first and how many more."""
    first = repr(os.path.basename(files[0]))
    return first if len(files) == 1 else f"{first} and {len(files) - 1:,} more"


def nearest(word: str, known: Iterable[str]) -> str:
    """What to add to a sentence about a word that is not known: the nearest one, and which there are."""
    import difflib  # only where somebody has mistyped

    words = list(known)
    found = difflib.get_close_matches(word, words, 1)
    hint = f"; the nearest is {found[0]!r}" if found else ""
    return f"{hint}; there are {', '.join(map(repr, words[:12]))}" if words else hint


def optional_words(where: str, name: str, value: object) -> tuple[str, ...] | None:
    """A list of names as a tuple, None as it is; PlanError for a single word and for what is no word."""
    if value is None:
        return None
    if isinstance(value, str) or not isinstance(value, Iterable) or not all(isinstance(word, str) for word in value):
        raise PlanError(f"source of {where}: expected a list of names as {name}=, found {value!r}.")
    return tuple(value)
