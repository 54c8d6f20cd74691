"""ps.concat and ps.mix: several lines as one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from penstock.errors import PlanError
from penstock.options import whole
from penstock.order.algebra import Order
from penstock.order.chain import Ordered
from penstock.order.joined import Child, Concat, Mix, position_of, slots_of
from penstock.sources.joined import joined

if TYPE_CHECKING:
    from penstock.pipeline import Pipeline

__all__ = ["concat", "mix"]

Line = TypeVar("Line", bound="Pipeline")


def concat(*lines: Line) -> Line:
    """All items of the first line, then all of the second, and so on: a line over the sources of all of them.

    Each line keeps its own order and that order's seed. What they do to a picture must be the same (usually nothing
    yet), and none may have ``batch``. Raises PlanError otherwise, and where labels mean different classes.

    >>> from penstock import blobs
    >>> print(concat(blobs({"a": b"..."}), blobs({"b": b"...", "c": b"..."})))
    source  2 joined sources of 3 items  encoded bytes
    """
    names = [f"number {number}" for number in range(1, len(lines) + 1)]
    _check("concat", dict(zip(names, lines, strict=True)))
    source = joined("concat", [line.source for line in lines])
    plain = all(not line.order.steps for line in lines)
    steps = () if plain else (Concat(_children(list(lines))),)
    return lines[0]._with_order(Order(steps=steps), source=source, _seeded=False)


def mix(
    lines: Mapping[str, tuple[Line, float]], stop: Literal["first", "longest"] | int = "first", seed: int = 0
) -> Line:
    """Lines interleaved by weight: ``mix({"photos": (photos, 0.7), "scans": (scans, 0.3)})``.

    In every block of at most 1,024 items each line has its share, in places drawn by ``seed``. ``stop``: ``"first"``
    ends before a line would begin again; ``"longest"`` when every line has come wholly, a number after so many items.
    A line that is through begins again, shuffled anew if it is shuffled, with random steps of its own.
    ``batch.fields["mix"]`` says which line a row is of. Lines keep their own orders and seeds; as for ``concat``, what
    they do to a picture must be the same. Raises PlanError otherwise.

    >>> from penstock import blobs
    >>> a, b = blobs({str(i): b"..." for i in range(9)}), blobs({"x": b"..."})
    >>> len(mix({"a": (a, 0.9), "b": (b, 0.1)}, stop="longest"))
    10
    """
    given = _weighted(lines)
    made = {name: line for name, (line, _) in given.items()}
    _check("mix", made)
    for name, line in made.items():
        if line.items == 0:
            raise PlanError(f"mix: expected items in every line, found none in {name!r}.")
    weights = tuple(weight for _, weight in given.values())
    slots = slots_of(weights)
    if 0 in slots:
        name = list(given)[slots.index(0)]
        raise PlanError(
            f"mix: expected a weight of at least a thousandth of all for {name!r}, found {given[name][1]:g} of "
            f"{sum(weights):g}."
        )
    start = whole("mix: seed", seed, 0, (1 << 64) - 1)
    children = _children(list(made.values()))
    n = _count(stop, slots, start, children)
    source = joined("mix", [line.source for line in made.values()], list(made))
    step = Mix(tuple(made), weights, children, slots, start, n)
    first: Line = next(iter(made.values()))
    return first._with_order(Order(steps=(step,)), source=source, _seeded=False)


def _count(stop: Any, slots: tuple[int, ...], seed: int, children: tuple[Child, ...]) -> int:
    if stop == "first":
        return min(position_of(slots, seed, number, child.count) for number, child in enumerate(children))
    if stop == "longest":
        return max(position_of(slots, seed, number, child.count - 1) + 1 for number, child in enumerate(children))
    return whole("mix: stop", stop, 0, also=", 'first' or 'longest'")


def _children(lines: list[Any]) -> tuple[Child, ...]:
    firsts = np.cumsum([0, *(len(line.source) for line in lines)]).tolist()
    return tuple(Child(line.order, len(line.source), first) for line, first in zip(lines, firsts, strict=False))


def _weighted(lines: Any) -> dict[str, tuple[Any, float]]:
    """Lines and weights by name, looked at."""
    if not isinstance(lines, Mapping):
        raise PlanError(f"mix: expected lines by name, as in {{'photos': (line, 0.7)}}, found {type(lines).__name__}.")
    found = {}
    for name, entry in lines.items():
        if not isinstance(name, str) or not isinstance(entry, tuple) or len(entry) != 2:
            raise PlanError(f"mix: expected (line, weight) under a word, found {type(entry).__name__} for {name!r}.")
        line, weight = entry
        try:
            number = math.nan if isinstance(weight, (bool, str)) else float(weight)
        except (TypeError, ValueError):
            number = math.nan
        if not (number > 0 and math.isfinite(number)):
            raise PlanError(f"mix: expected a weight above 0 for {name!r}, found {weight!r}.")
        found[name] = line, number
    return found


def _check(word: str, lines: Mapping[str, Any]) -> None:
    """Lines of one recipe, without batches."""
    if not lines:
        raise PlanError(f"{word}: expected lines, found none.")
    first_name, first = next(iter(lines.items()))
    for name, line in lines.items():
        if not isinstance(line, Ordered):
            raise PlanError(f"{word}: expected a line, found {type(line).__name__} for {name!r}.")
        line._before_batch(f"{word}({name})")
        if line._work() != first._work():
            raise PlanError(
                f"{word}: expected lines that do the same to each picture, found {first_name!r} and {name!r} apart; "
                f"join the sources first, and add the verbs behind."
            )
