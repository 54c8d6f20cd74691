"""What the manifest of a packing says to those who read its shards: the words that its labels count."""

from __future__ import annotations

import json
import os

__all__ = ["packed_classes"]


def packed_classes(paths: list[bytes]) -> tuple[str, ...] | None:
    """The class names of the packing that all of these shards are of; None where they are of none, or it has none."""
    folders = {os.path.dirname(path) for path in paths}
    if len(folders) != 1:
        return None
    try:
        with open(os.path.join(folders.pop(), b"manifest.json"), encoding="utf-8") as file:
            found = json.load(file)
        classes = found["source"]["classes"]
        names = {os.fsencode(shard["name"]) for shard in found["shards"]}
        if found["format"] != "penstock packing" or not {os.path.basename(path) for path in paths} <= names:
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    words = isinstance(classes, list) and all(isinstance(name, str) for name in classes)
    return tuple(classes) if words and len(set(classes)) == len(classes) else None
