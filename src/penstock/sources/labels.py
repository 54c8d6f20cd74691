"""Labels: words or numbers in, int64 by class out."""

from __future__ import annotations

import operator
import os
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.errors import SourceError

__all__ = ["Codes", "LabelCollector", "given_labels"]

Labels = npt.NDArray[np.signedinteger[Any]]

_WIDTHS = "bhiq"  # typecodes of array: 1, 2, 4 and 8 bytes
_CHUNK = 1 << 16  # labels looked at together
_CLASSES_SHOWN = 8  # in a sentence


class Codes:
    """Collects whole numbers, -1 for none, in the smallest dtype that holds them all.

    >>> codes = Codes()
    >>> for number in (3, -1, 400):
    ...     codes.append(number)
    >>> codes.build()
    array([  3,  -1, 400], dtype=int16)
    """

    def __init__(self) -> None:
        self._codes = array(_WIDTHS[0])

    def append(self, code: int) -> None:
        """Add one number at the end, from -1 to 2**63 - 1."""
        try:
            self._codes.append(code)
        except OverflowError:
            wider = _WIDTHS[_WIDTHS.index(self._codes.typecode) + 1]
            self._codes = array(wider, self._codes)
            self.append(code)

    def __len__(self) -> int:
        return len(self._codes)

    def build(self) -> Labels:
        """The numbers as an array that shares the memory; nothing may be added afterwards."""
        return np.frombuffer(self._codes, dtype=np.dtype(self._codes.typecode))


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
                few = ", ".join(map(repr, self.classes)) if len(self.classes) <= _CLASSES_SHOWN else ""
                hint = f"; the nearest is {nearest[0]!r}" if nearest else f"; they are {few}" if few else ""
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

    def finish(self, codes: Labels) -> tuple[Labels, tuple[str, ...] | None]:
        """Codes by sorted class names, -1 staying -1, and those names (None where labels were numbers)."""
        if self.classes is not None:
            return codes, self.classes
        if self.numbers or not self.words:
            return codes, None
        names = sorted(self.words, key=os.fsencode)
        place = {name: index for index, name in enumerate(names)}
        # One more at the end, where -1 points to.
        order = np.array([*(place[name] for name in self.words), -1], dtype=codes.dtype)
        sorted_ = np.empty_like(codes)
        for first in range(0, len(codes), _CHUNK):
            sorted_[first : first + _CHUNK] = order[codes[first : first + _CHUNK]]
        return sorted_, tuple(names)


def given_labels(
    where: str, keys: Iterator[str], count: int, labels: Iterable[str | int] | None, classes: Iterable[str] | None
) -> tuple[Labels | None, tuple[str, ...] | None]:
    """Codes [count], and class names for ``labels`` beside the items; SourceError where they do not fit."""
    if labels is None:
        if classes is not None:
            raise SourceError(f"source of {where}: expected labels beside classes, found none.")
        return None, None
    collector = LabelCollector(where, None if classes is None else tuple(classes))
    codes = Codes()
    left = 0  # labels that no item is left for
    for label in labels:  # never as a list of their own: ten million of them are 80 MB
        key = next(keys, None)
        if key is None:
            left += 1
        else:
            codes.append(collector.code(label, key))
    if len(codes) + left != count:
        raise SourceError(f"source of {where}: expected {count} labels, found {len(codes) + left}.")
    return collector.finish(codes.build())
