"""Fields of numbers, padded to one length: ``batch(n, pad={"input_ids": 512})``."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import numpy.typing as npt

from penstock.errors import PlanError, SourceError

if TYPE_CHECKING:
    from penstock.sources.source import Source

__all__ = ["Pad", "pad_again", "pads_of", "read_pads"]

PadDtypeName = Literal["int64", "float32", "float64"]
DTYPES = ("int64", "float32", "float64")
MOST = 1 << 24
MOST_INT64 = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Pad:
    """A field whose lists of numbers become rows of one length, zeros behind.

    >>> str(Pad("input_ids", 512))
    'input_ids=512'
    """

    name: str
    length: int
    dtype: PadDtypeName = "int64"

    def __str__(self) -> str:
        return f"{self.name}={self.length}" + ("" if self.dtype == "int64" else f" {self.dtype}")


def pads_of(pad: Mapping[str, Any] | None, text: str) -> tuple[Pad, ...]:
    """The argument ``pad=`` of ``batch``: a length by name, or a length and a dtype; PlanError where it is neither."""
    if pad is None:
        return ()
    if not isinstance(pad, Mapping):
        raise PlanError(f"{text}: expected pad= as {{field: length}}, found {pad!r}.")
    return tuple(_pad(name, value, text) for name, value in pad.items())


def _pad(name: str, value: Any, text: str) -> Pad:
    length: Any
    length, dtype = value if isinstance(value, tuple) and len(value) == 2 else (value, "int64")
    try:
        number = None if isinstance(length, bool) else operator.index(length)
    except TypeError:
        number = None
    if number is None or not 1 <= number <= MOST or dtype not in DTYPES:
        words = ", ".join(map(repr, DTYPES))
        raise PlanError(
            f"{text}: expected a length from 1 to {MOST} for pad={{{name!r}: ...}}, or (length, dtype) with one of "
            f"{words}, found {value!r}."
        )
    return Pad(name, number, cast("PadDtypeName", dtype))


def read_pads(
    source: Source, items: npt.NDArray[np.int64], rows: int, pads: tuple[Pad, ...]
) -> tuple[dict[str, npt.NDArray[Any]], dict[int, tuple[str, str]]]:
    """The padded columns of a step by name, each with its lengths; and what is wrong with a row: cause and message."""
    columns: dict[str, npt.NDArray[Any]] = {}
    refused: dict[int, tuple[str, str]] = {}
    for pad in pads:
        made = columns[pad.name] = np.zeros((rows, pad.length), dtype=pad.dtype)
        lengths = columns[f"{pad.name}_length"] = np.zeros(rows, dtype=np.int64)
        for row, value in enumerate(_values(source, pad.name, items)):
            problem = ("read error", value.message) if isinstance(value, _Unread) else _fill(made[row], value, pad)
            if isinstance(problem, int):
                lengths[row] = problem
            else:
                refused.setdefault(row, problem)
    return columns, refused


@dataclass(frozen=True, slots=True)
class _Unread:
    """What stands for a value that could not be read."""

    message: str


def _values(source: Source, name: str, items: npt.NDArray[np.int64]) -> Sequence[Any]:
    """The field of these items; where a piece of a table cannot be read, that is the matter of its own items."""
    try:
        return source.field(name, items)
    except SourceError:
        return [_value(source, name, items[row : row + 1]) for row in range(len(items))]


def _value(source: Source, name: str, item: npt.NDArray[np.int64]) -> Any:
    try:
        return source.field(name, item)[0]
    except SourceError as error:
        return _Unread(str(error).rstrip("."))


def pad_again(
    columns: Mapping[str, npt.NDArray[Any]], row: int, values: Mapping[str, Any], pads: tuple[Pad, ...]
) -> tuple[str, str] | None:
    """Puts one row's ``values``, by field, into the columns anew; what is wrong with them, if anything.

    For an item whose fields a map has changed since they were read.
    """
    refused = None
    for pad in pads:
        made = columns[pad.name][row]
        made[:] = 0
        problem = _fill(made, values[pad.name], pad)
        columns[f"{pad.name}_length"][row] = problem if isinstance(problem, int) else 0
        if not isinstance(problem, int):
            refused = refused or problem
    return refused


def _fill(row: npt.NDArray[Any], value: Any, pad: Pad) -> int | tuple[str, str]:
    """Puts the numbers into the row and tells how many there are, or what is wrong with them."""
    try:
        numbers = np.asarray(value)
    except ValueError:  # lists of different lengths
        numbers = np.asarray(None)
    kinds = "iub" if pad.dtype == "int64" else "iubf"
    if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in kinds):
        words = "whole numbers" if pad.dtype == "int64" else "numbers"
        hint = f"; pad={{{pad.name!r}: ({pad.length}, 'float32')}} holds these" if numbers.dtype.kind == "f" else ""
        return "not numbers", f"expected a list of {words} in {pad.name!r}, found {_shown(value)}{hint}"
    if numbers.dtype == np.uint64 and pad.dtype == "int64" and numbers.size and int(numbers.max()) > MOST_INT64:
        return "not numbers", f"expected numbers that int64 holds in {pad.name!r}, found {int(numbers.max())}"
    if len(numbers) > pad.length:
        return "too long", f"expected at most {pad.length} numbers in {pad.name!r}, found {len(numbers)}"
    row[: len(numbers)] = numbers
    return len(numbers)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
