"""Labels: words or numbers in, int64 by class out."""

from __future__ import annotations

import operator
import os
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from penstock.errors import SourceError

__all__ = ["LabelCollector", "given_labels"]

Labels = npt.NDArray[np.int64]


@dataclass
class LabelCollector:
    """Turns labels given one at a time, words or numbers, into int64 by ``classes``."""

    where: str
    classes: tuple[str, ...] | None = None
    words: dict[str, int] = field(default_factory=dict)
    numbers: bool = False

    def __post_init__(self) -> None:
        if self.classes is not None:
            if len(set(self.classes)) != len(self.classes):
                twice = next(name for name in self.classes if self.classes.count(name) > 1)
                raise SourceError(
                    f"source of {self.where}: expected each class once in classes=, found {twice!r} twice."
                )
            self.words = {name: index for index, name in enumerate(self.classes)}

    def code(self, label: str | int, key: str) -> int:
        """A number for one label: its position in ``classes``, or in order of first sight until ``finish``."""
        if isinstance(label, str):
            if self.classes is None:
                self._no_mixing(numbers=False, key=key)
                return self.words.setdefault(label, len(self.words))
            if label not in self.words:
                import difflib

                nearest = difflib.get_close_matches(label, self.classes, n=1)
                hint = f"; the nearest is {nearest[0]!r}" if nearest else ""
                raise SourceError(
                    f"source of {self.where}: expected one of the {len(self.classes)} classes given, "
                    f"found {label!r} for {key!r}{hint}."
                )
            return self.words[label]
        try:
            number = operator.index(label)
        except TypeError:
            raise SourceError(
                f"source of {self.where}: expected a word or a whole number as the label of {key!r}, "
                f"found {type(label).__name__}."
            ) from None
        if self.classes is None:
            self._no_mixing(numbers=True, key=key)
        highest = 2**63 if self.classes is None else len(self.classes)
        if not 0 <= number < highest:
            allowed = "from 0 up" if self.classes is None else f"from 0 to {highest - 1}"
            raise SourceError(f"source of {self.where}: expected a label {allowed} for {key!r}, found {number}.")
        return number

    def _no_mixing(self, numbers: bool, key: str) -> None:
        if numbers != self.numbers and (self.words or self.numbers):
            raise SourceError(
                f"source of {self.where}: expected labels that are all words or all numbers, found both, at {key!r}."
            )
        self.numbers = numbers

    def finish(self, codes: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], tuple[str, ...] | None]:
        """Codes by sorted class names, and those names (None where labels were numbers without classes)."""
        if self.classes is not None:
            return codes, self.classes
        if self.numbers or not self.words:
            return codes, None
        names = sorted(self.words, key=os.fsencode)
        place = {name: index for index, name in enumerate(names)}
        order = np.array([place[name] for name in self.words], dtype=np.int64)
        return order[codes], tuple(names)


def given_labels(
    where: str, keys: Iterator[str], count: int, labels: Iterable[str | int] | None, classes: Iterable[str] | None
) -> tuple[Labels | None, tuple[str, ...] | None]:
    """Codes, int64 [count], and class names for ``labels`` beside the items; SourceError where they do not fit."""
    if labels is None:
        if classes is not None:
            raise SourceError(f"source of {where}: expected labels beside classes, found none.")
        return None, None
    given = list(labels)
    if len(given) != count:
        raise SourceError(f"source of {where}: expected {count} labels, found {len(given)}.")
    collector = LabelCollector(where, None if classes is None else tuple(classes))
    codes = array("q", (collector.code(label, key) for label, key in zip(given, keys, strict=True)))
    return collector.finish(np.frombuffer(codes, dtype=np.int64))
