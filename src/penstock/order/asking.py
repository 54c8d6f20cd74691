"""Makes the steps that look at items: each asks its items once, where the line is written."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from penstock.errors import PlanError
from penstock.order.algebra import Order
from penstock.order.balanced import Balanced
from penstock.order.chosen import Chosen
from penstock.order.cipher import Indices, permute
from penstock.order.held import Bitmap, Held
from penstock.order.part import Portion
from penstock.order.sampled import Sampled
from penstock.order.step import OrderStep
from penstock.order.table import answers, column, grouped, name_of

if TYPE_CHECKING:
    from penstock.sources.source import Source
    from penstock.types import Item

__all__ = ["balanced", "chosen", "parts_of", "sampled"]

SLACK = 1e-9  # by which shares such as 0.7 + 0.2 + 0.1 may miss 1


def chosen(text: str, source: Source, order: Order, fn: Callable[[Item], Any]) -> Chosen:
    """The items of which ``fn`` says something true."""
    if not callable(fn):
        raise PlanError(f"{text}: expected a function of an Item, found {fn!r}.")
    count = order.count(len(source))
    said = np.fromiter((bool(one) for one in answers(text, source, order, fn)), dtype=np.bool_, count=count)
    return Chosen("filter", name_of(fn), Bitmap.of(said), count)


def parts_of(
    text: str,
    source: Source,
    order: Order,
    by: str | Callable[[Item], Any] | None,
    seed: int,
    shares: Mapping[str, float],
) -> list[tuple[str, OrderStep]]:
    """A step for each part of a split."""
    _check_shares(text, shares)
    count = order.count(len(source))
    ends = _ends(list(shares.values()), count)
    if by is None:
        firsts = [0, *ends[:-1]]
        return [
            (name, Portion(name, first, last, seed)) for name, first, last in zip(shares, firsts, ends, strict=True)
        ]
    said = column(text, source, order, by) if isinstance(by, str) else answers(text, source, order, by)
    part = _dealt(grouped(text, said), np.diff([0, *ends, count]), seed)
    return [
        (name, Chosen("split", f"{name} by={name_of(by)} seed={seed}", Bitmap.of(part == number), count))
        for number, name in enumerate(shares)
    ]


def _check_shares(text: str, shares: Mapping[str, Any]) -> None:
    if not shares:
        raise PlanError(f"{text}: expected shares by name, as in split(train=0.8, val=0.2), found none.")
    for name, share in shares.items():
        if isinstance(share, (bool, str)) or not hasattr(share, "__float__") or not 0 < float(share) <= 1:
            raise PlanError(f"{text}: expected {name} above 0 and at most 1, found {share!r}.")
    total = math.fsum(shares.values())
    if total > 1 + SLACK:
        raise PlanError(f"{text}: expected shares that add up to 1 at most, found {total:.6g}.")


def _ends(shares: Sequence[float], count: int) -> list[int]:
    """Where each part ends, of ``count`` items; sums are rounded, not shares, so that nothing is lost."""
    sums = [math.fsum(shares[: number + 1]) for number in range(len(shares))]
    return [count if share > 1 - SLACK else round(share * count) for share in sums]


def _dealt(groups: Indices, wanted: Indices, seed: int) -> Indices:
    """The part of each item (int64 [n]): groups in permuted order, each to the part that lacks most."""
    sizes = np.bincount(groups)
    part = np.zeros(len(sizes), dtype=np.int64)
    lacking = wanted.tolist()
    for group in permute(np.arange(len(sizes)), len(sizes), seed, 0).tolist():
        part[group] = max(range(len(lacking)), key=lacking.__getitem__)
        lacking[part[group]] -= int(sizes[group])
    return part[groups]


def sampled(text: str, source: Source, order: Order, weights: str | Sequence[float], n: int | None) -> Sampled:
    """Items drawn by these weights, or by a field that holds them."""
    count = order.count(len(source))
    given: Any = weights
    if isinstance(weights, str):
        given = list(column(text, source, order, weights))
    numbers = _weights(text, source, order, given, count)
    shown = name_of(weights) if isinstance(weights, str) else "weights"
    # The sum of what came before is rounded after each: the same on every machine.
    return Sampled(shown, count if n is None else n, Held(np.cumsum(numbers)))


def _weights(text: str, source: Source, order: Order, given: Any, count: int) -> npt.NDArray[np.float64]:
    try:
        numbers = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise PlanError(f"{text}: expected a number an item, found {error}.") from None
    if numbers.shape != (count,):
        found = f"{len(numbers):,}" if numbers.ndim == 1 else f"an array {list(numbers.shape)}"
        raise PlanError(f"{text}: expected {count:,} weights, one an item, found {found}.")
    wrong = np.flatnonzero(~(np.isfinite(numbers) & (numbers >= 0)))
    if wrong.size:
        key = source.key(int(order.indices(wrong[:1], len(source), 0)[0]))
        raise PlanError(f"{text}: expected a weight of at least 0 for {key!r}, found {numbers[wrong[0]]:.6g}.")
    if not numbers.sum() > 0 or not np.isfinite(numbers.sum()):
        found = "none" if numbers.sum() == 0 else "a sum that is not finite"
        raise PlanError(f"{text}: expected weights with a sum above 0, found {found}.")
    return numbers


def balanced(text: str, source: Source, order: Order, field: str) -> Balanced:
    """Every class of this field equally often."""
    if not isinstance(field, str):
        raise PlanError(f"{text}: expected the name of a field, found {field!r}.")
    groups = grouped(text, column(text, source, order, field))
    if not len(groups):
        raise PlanError(f"{text}: expected items, found none.")
    members = np.argsort(groups, kind="stable").astype(np.int64)
    firsts = np.concatenate([[0], np.cumsum(np.bincount(groups))]).astype(np.int64)
    return Balanced(repr(field), Held(members), Held(firsts))
