"""A configuration as its owner wrote it: found, read, and taken apart key by key, so that none is overlooked."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from penstock.errors import PlanError
from penstock.types import FilterName

__all__ = ["Config", "located", "read_json"]

FILTERS: dict[int, FilterName] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
"""Pillow's numbers for its filters (PIL.Image.Resampling)."""


def read_json(path: Path, where: str) -> dict[str, Any]:
    """The JSON object in a file; raises PlanError where there is none."""
    try:
        document = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise PlanError(
            f"{where}: expected a JSON file or the folder that holds it, found nothing at {os.fspath(path)!r}; nothing "
            f"is downloaded."
        ) from None
    except OSError as error:
        found = (error.strerror or type(error).__name__).lower()
        raise PlanError(f"{where}: expected a JSON file, found {path}: {found}.") from None
    except ValueError as error:
        raise PlanError(f"{where}: expected a JSON file, found {path}: {error}.") from None
    if not isinstance(document, dict):
        raise PlanError(f"{where}: expected a JSON object in {path}, found {type(document).__name__}.")
    return document


class Config:
    """The keys of one configuration; each is read with what may stand there, and :meth:`done` refuses the others.

    ``defaults`` stand in for keys that are absent or null. ``where`` begins every sentence.
    """

    def __init__(self, values: Mapping[str, Any], where: str, defaults: Mapping[str, Any] | None = None) -> None:
        self.values = dict(values)
        self.where = where
        self.defaults = dict(defaults or {})
        self.seen: set[str] = set()

    def raw(self, key: str) -> Any:
        """The value of a key, or its default; None where there is neither."""
        self.seen.add(key)
        value = self.values.get(key)
        return self.defaults.get(key) if value is None else value

    def flag(self, key: str) -> bool:
        """True or False; absent is False."""
        value = self.raw(key)
        if value is not None and not isinstance(value, bool):
            raise self.unsupported(key, "true or false")
        return bool(value)

    def whole(self, key: str) -> int:
        """A whole number above 0."""
        return self._whole(self.raw(key), key)

    def number(self, key: str) -> float:
        """A finite number."""
        value = self.raw(key)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise self.unsupported(key, "a number")
        return float(value)

    def three(self, key: str) -> tuple[float, float, float]:
        """One number a channel, or one for all of them."""
        value = self.raw(key)
        values = [value] * 3 if isinstance(value, (int, float)) and not isinstance(value, bool) else value
        if not isinstance(values, (list, tuple)) or len(values) != 3:
            raise self.unsupported(key, "three numbers")
        for entry in values:
            if isinstance(entry, bool) or not isinstance(entry, (int, float)) or not math.isfinite(entry):
                raise self.unsupported(key, "three numbers")
        red, green, blue = (float(entry) for entry in values)
        return red, green, blue

    def word(self, key: str, words: Iterable[str]) -> str:
        """One of these words."""
        value = self.raw(key)
        options = tuple(words)
        if not isinstance(value, str) or value not in options:
            raise self.unsupported(key, " or ".join(repr(option) for option in options))
        return value

    def filter(self, key: str) -> FilterName:
        """A filter by Pillow's number for it."""
        value = self.raw(key)
        if isinstance(value, bool) or not isinstance(value, int) or value not in FILTERS:
            raise self.unsupported(key, ", ".join(f"{number} ({name})" for number, name in FILTERS.items()))
        return FILTERS[int(value)]

    def sides(self, key: str, from_one: Callable[[int], dict[str, int]]) -> dict[str, int]:
        """A size as a dict of whole numbers: from a dict, from (height, width), or from one number."""
        value = self.raw(key)
        if isinstance(value, Mapping):
            return {name: self._whole(side, key) for name, side in value.items() if side is not None}
        if isinstance(value, (list, tuple)):
            if len(value) != 2:
                raise self.unsupported(key, "a height and a width")
            return {"height": self._whole(value[0], key), "width": self._whole(value[1], key)}
        return from_one(self._whole(value, key))

    def off(self, key: str, supported: str = "false or null") -> None:
        """Refuses a key that switches on what no verb does."""
        if self.raw(key):
            raise self.unsupported(key, supported)

    def unused(self, keys: Iterable[str]) -> None:
        """Marks keys that change no pixel here, whatever they say."""
        self.seen.update(keys)

    def done(self) -> None:
        """Raises PlanError for the first key that nothing above has read."""
        unknown = sorted(set(self.values) - self.seen)
        if unknown:
            key = unknown[0]
            raise PlanError(
                f"{self.where}: expected keys that are known, found {key!r}: {self.values[key]!r}; it may change "
                f"pixels, so it is not ignored. Known here: {', '.join(sorted(self.seen))}."
            )

    def unsupported(self, key: str, supported: str) -> PlanError:
        """What to raise for a value that no verb can do."""
        value = self.values.get(key, self.defaults.get(key))
        return PlanError(f"{self.where}: expected {key} = {supported}, found {value!r}.")

    def _whole(self, value: Any, key: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self.unsupported(key, "whole numbers of at least 1")
        return value


def located(path: str | os.PathLike[str], names: Iterable[str], where: str) -> Path:
    """The file itself, or the first of ``names`` in a folder; raises PlanError where there is none."""
    found = Path(path).expanduser()
    if not found.is_dir():
        return found
    options = tuple(names)
    for name in options:
        if (found / name).is_file():
            return found / name
    raise PlanError(f"{where}: expected {' or '.join(options)} in the folder {found}, found no such file.")
