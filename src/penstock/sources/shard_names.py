"""Which files a shard pattern means: braces, then wildcards, each pattern answered for by name."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator

from penstock.errors import PlanError, SourceError

__all__ = ["expand_braces", "shard_paths"]

Pattern = str | bytes | os.PathLike[str] | os.PathLike[bytes]

_RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)")
_MOST = 1_000_000
"""Names that one pattern may stand for."""


def shard_paths(where: str, patterns: Pattern | Iterable[Pattern]) -> list[bytes]:
    """The files that ``patterns`` name, as absolute paths; each pattern's in its own order, wildcards sorted.

    Raises SourceError for a pattern that names nothing, a folder, or a file twice.
    """
    given = [patterns] if isinstance(patterns, (str, bytes, os.PathLike)) else list(patterns)
    if not given:
        raise SourceError(f"source of {where}: expected at least one shard, found an empty list.")
    found: dict[bytes, None] = {}
    for pattern in given:
        try:
            text = os.path.expanduser(os.fsdecode(pattern))
        except TypeError:
            raise PlanError(f"source of {where}: expected paths, found {type(pattern).__name__}.") from None
        for path in _files_of(where, text):
            if path in found:
                raise SourceError(f"source of {where}: expected each shard once, found {os.fsdecode(path)!r} twice.")
            found[path] = None
    return list(found)


def _files_of(where: str, pattern: str) -> Iterator[bytes]:
    if re.match(r"[a-z][a-z0-9+.-]+://|pipe:", pattern):
        raise PlanError(f"source of {where}: expected files, found the address {pattern!r}; download it first.")
    if not pattern or "\0" in pattern:
        raise SourceError(f"source of {where}: expected a path, found {pattern!r}.")
    if os.path.lexists(pattern):  # whatever signs its name holds
        yield _checked(where, pattern)
        return
    for name in expand_braces(pattern):
        if glob.has_magic(name) and not os.path.lexists(name):
            matching = sorted(glob.glob(name, recursive=True), key=os.fsencode)
            if not matching:
                raise SourceError(f"source of {where}: expected a file that matches {name!r}, found none.")
            for match in matching:
                yield _checked(where, match)
        else:
            yield _checked(where, name)


def _checked(where: str, path: str) -> bytes:
    if not os.path.exists(path):
        raise SourceError(f"source of {where}: expected the file {path!r}, found nothing at that path.")
    if os.path.isdir(path):
        tars = os.path.join(path, "*.tar")
        raise SourceError(f"source of {where}: expected a tar, found the folder {path!r}; its tars are {tars!r}.")
    return os.path.abspath(os.fsencode(path))


def expand_braces(pattern: str) -> list[str]:
    """``{000..099}`` counts, with the digits that its first number has; ``{a,b}`` chooses; both may be nested.

    A brace that does neither stays as it is. Raises PlanError for more than a million names.

    >>> expand_braces("{a,b}-{08..10}.tar")
    ['a-08.tar', 'a-09.tar', 'a-10.tar', 'b-08.tar', 'b-09.tar', 'b-10.tar']
    """
    names = [""]
    at = 0
    while at < len(pattern):
        end = _closing(pattern, at) if pattern[at] == "{" else -1
        choices = _choices(pattern[at + 1 : end]) if end > 0 else None
        if choices is None:
            stop = pattern.find("{", at + 1)
            stop = len(pattern) if stop < 0 else stop
            names = [name + pattern[at:stop] for name in names]
            at = stop
            continue
        if len(names) * len(choices) > _MOST:
            raise PlanError(f"tar({pattern!r}): expected a pattern of at most {_MOST:,} names, found more.")
        names = [name + choice for name in names for choice in choices]
        at = end + 1
    return names


def _closing(pattern: str, opening: int) -> int:
    depth = 0
    for at in range(opening, len(pattern)):
        depth += (pattern[at] == "{") - (pattern[at] == "}")
        if depth == 0:
            return at
    return -1


def _choices(inside: str) -> list[str] | None:
    counted = _RANGE.fullmatch(inside)
    if counted:
        first, last = int(counted[1]), int(counted[2])
        if abs(last - first) >= _MOST:
            raise PlanError(f"tar('{{{inside}}}'): expected a pattern of at most {_MOST:,} names, found more.")
        padding = any(re.match(r"-?0\d", number) for number in counted.groups())
        digits = max(len(counted[1]), len(counted[2])) if padding else 0
        step = 1 if last >= first else -1
        return [f"{number:0{digits}d}" for number in range(first, last + step, step)]
    parts, depth, start = [], 0, 0
    for at, sign in enumerate(inside):
        depth += (sign == "{") - (sign == "}")
        if sign == "," and depth == 0:
            parts.append(inside[start:at])
            start = at + 1
    if not parts:
        return None
    return [choice for part in [*parts, inside[start:]] for choice in expand_braces(part)]
