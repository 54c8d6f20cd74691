"""Which files of a folder the comparison is about: those that every contestant decodes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from penstock import _native
from penstock.errors import PenstockError
from penstock.pipeline import files

_MEGAPIXELS_A_LAP = 200.0
_FEWEST, _MOST = 16, 512


@dataclass(frozen=True, slots=True)
class Chosen:
    """The files of one lap, and what was left out of the folder."""

    paths: tuple[str, ...]
    distinct: int
    found: int
    megapixels: float

    def __str__(self) -> str:
        repeated = "" if len(self.paths) == self.distinct else f" ({self.distinct:,} files, repeated)"
        average = self.megapixels / len(self.paths)
        return (
            f"{len(self.paths):,} JPEGs a lap{repeated} of {average:.2f} megapixels on average, "
            f"chosen from {self.found:,} files"
        )


def choose(paths: Sequence[str], images: int | None = None) -> Chosen:
    """JPEGs that the native codec decodes without a warning, spread evenly over the list.

    ``images`` a lap; None: about 200 megapixels of them, from 16 to 512. A short list is repeated. Every file is read,
    so that the laps find it in the page cache. Raises PenstockError where nothing is left.
    """
    wanted = images or _MOST
    candidates = [path for path in paths if _is_plain(path)]
    native = decodable(_spread(candidates, min(wanted, len(candidates))))
    if not native:
        raise PenstockError(
            f"bench: expected JPEGs that the native codec decodes, found none among {len(paths):,} files."
        )
    sizes = {path: _megapixels(path) for path in native}
    average = sum(sizes.values()) / len(native)
    count = images or int(min(_MOST, max(_FEWEST, _MEGAPIXELS_A_LAP / average)))
    taken = _spread(native, count)
    return Chosen(tuple(taken), len(set(taken)), len(paths), sum(sizes[path] for path in taken))


def decodable(paths: Sequence[str]) -> list[str]:
    """Those of the paths that are JPEGs which the native codec decodes without a warning."""
    native = [path for path in paths if _megapixels(path) > 0]
    if not native:
        return []
    with files(native).decode().resize(8, 8, filter="nearest").batch(16).run(on_failure="skip") as run:
        return [native[int(i)] for batch in run for i in batch.index[~batch.damaged]]


def _spread(paths: list[str], count: int) -> list[str]:
    """``count`` of the paths: evenly spaced where there are more, over and over where there are fewer."""
    if count <= len(paths):
        return [paths[i * len(paths) // count] for i in range(count)]
    return [paths[i % len(paths)] for i in range(count)]


def _is_plain(path: str) -> bool:
    # The limit's native list holds text; a name that is none is left out.
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return os.path.isfile(path)


def _megapixels(path: str) -> float:
    """Megapixels of a JPEG for the native codec; 0 for any other file."""
    try:
        with open(path, "rb") as file:
            found = _native.inspect(file.read())
    except OSError:
        return 0.0
    if found["backend"] != "jpeg" or not found["allowed"]:
        return 0.0
    height, width = found["stored"]
    return float(height * width) / 1e6
