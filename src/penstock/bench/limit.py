"""Bare decode, the limit: file read, fresh decoder, rows into one reused frame, on native threads."""

from __future__ import annotations

from penstock import _native
from penstock.bench.task import Lap, Task
from penstock.errors import PenstockError


def bare_decode(task: Task) -> Lap:
    """Decodes every path once and keeps nothing; a lap raises PenstockError for a file that is no whole picture."""
    paths = list(task.paths)

    def lap() -> dict[str, float]:
        if _native.bare_decode(paths, task.threads) < 0:
            raise PenstockError(
                "bench of bare decode: expected JPEG, PNG or WebP files that their codecs decode, found one that "
                "they do not; choose JPEGs with penstock.bench.choose."
            )
        return {"images": float(len(paths))}

    return lap
