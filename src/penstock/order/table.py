"""What filter, split, sample_by and balance ask of each item before a pass: its fields, its label, the item itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from penstock.errors import PlanError
from penstock.order.algebra import Order
from penstock.order.cipher import Indices

if TYPE_CHECKING:
    from penstock.sources.source import Source
    from penstock.types import Item

__all__ = ["answers", "column", "grouped", "name_of"]

CHUNK = 65_536  # items asked for at a time


def _chunks(source: Source, order: Order) -> Iterator[Indices]:
    """Source indices of the order's items, one chunk after the other."""
    count = order.count(len(source))
    for first in range(0, count, CHUNK):
        yield order.indices(np.arange(first, min(first + CHUNK, count), dtype=np.int64), len(source), 0)


def name_of(fn: Callable[[Item], Any] | str) -> str:
    """A field or a function as a person would say it."""
    return repr(fn) if isinstance(fn, str) else str(getattr(fn, "__name__", type(fn).__name__))


def answers(text: str, source: Source, order: Order, fn: Callable[[Item], Any]) -> Iterator[Any]:
    """What ``fn`` says of each item of the order; PlanError, naming the item, where it raises."""
    for indices in _chunks(source, order):
        for index in indices.tolist():
            item = source[index]
            try:
                yield fn(item)
            except Exception as error:
                raise PlanError(f"{text}: expected an answer for {item.key!r}, found {error!r}.") from error


def column(text: str, source: Source, order: Order, name: str) -> Iterator[Any]:
    """A field, or ``"label"``, of each item of the order; PlanError where the source has none of that name."""
    if name != "label" and name not in source.field_names:
        known = ", ".join(map(repr, ("label", *source.field_names)))
        raise PlanError(f"{text}: expected a field of the source, one of {known}, found {name!r}.")
    for indices in _chunks(source, order):
        values: Sequence[Any] = source.labels(indices).tolist() if name == "label" else source.field(name, indices)
        for index, value in zip(indices.tolist(), values, strict=True):
            if value is None or (name == "label" and value < 0):
                raise PlanError(f"{text}: expected a {name} for every item, found none for {source.key(index)!r}.")
            yield value.item() if isinstance(value, np.generic) else value


def grouped(text: str, values: Iterator[Any]) -> Indices:
    """The number of each value's group, by first sight: int64 [n]."""
    numbers: dict[Any, int] = {}
    try:
        return np.array([numbers.setdefault(value, len(numbers)) for value in values], dtype=np.int64)
    except TypeError as error:
        raise PlanError(f"{text}: expected words or numbers to group by, found {error}.") from None
