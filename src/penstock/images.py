"""Several images an item: which slots of a batch are whose, and how the outcomes of pictures become those of items."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from penstock.delivery import Delivery
from penstock.errors import PlanError
from penstock.geometry import Geometry
from penstock.lookups import Fields
from penstock.padding import pad_again
from penstock.patches import patch_columns
from penstock.results import CLEAN, DAMAGED, FAILED, Columns
from penstock.stand_ins import Make
from penstock.types import StageName

if TYPE_CHECKING:
    from penstock.batch import Batching
    from penstock.options import RunOptions
    from penstock.step import Request
    from penstock.types import Batch

__all__ = ["DRAW_SHIFT", "Slots", "deliver_step", "expect_policy", "slots_of"]

DRAW_SHIFT = 40
"""Picture ``k`` of item ``i`` draws as index ``i + (k << DRAW_SHIFT)``; the first one as the item alone would."""

_NO_ITEM = 4  # the outcome of a row that has no item


@dataclass(frozen=True, slots=True)
class Slots:
    """Which of a step's items each filled slot of the batch's ``size`` belongs to.

    ``row`` is int64 [tickets], the row of the slot's item; ``number`` int64 [tickets], which of the item's pictures it
    holds, from 0; ``count`` int64 [items], how many slots an item has. ``refused`` says, by row, the cause and the
    message of an item whose pictures did not fit into what was left.
    """

    size: int
    row: npt.NDArray[np.int64]
    number: npt.NDArray[np.int64]
    count: npt.NDArray[np.int64]
    refused: Mapping[int, tuple[str, str]]


def slots_of(counts: npt.NDArray[np.int64], size: int) -> Slots:
    """Items of so many pictures into ``size`` slots, one after the other; one that does not fit leaves them free.

    >>> slots = slots_of(np.array([2, 3, 1]), 4)
    >>> slots.row.tolist(), slots.count.tolist()
    ([0, 0, 2], [2, 0, 1])
    >>> slots.refused[1]
    ('too many images', 'expected at most 2 images, the slots left of images=4, found 3')
    """
    given = np.zeros(len(counts), dtype=np.int64)
    refused: dict[int, tuple[str, str]] = {}
    free = size
    for row, count in enumerate(counts.tolist()):
        if count <= free:
            given[row] = count
            free -= count
            continue
        most, why = (free, f"the slots left of images={size}") if count <= size else (size, f"as images={size} says")
        words = f"{most} image{'' if most == 1 else 's'}"
        refused[row] = ("too many images", f"expected at most {words}, {why}, found {count}")
    of = np.repeat(np.arange(len(counts), dtype=np.int64), given)
    number = np.arange(len(of), dtype=np.int64) - np.repeat(np.cumsum(given) - given, given)
    return Slots(size, of, number, given, refused)


def expect_policy(batching: Batching | None, options: RunOptions) -> None:
    """Refuses to replace an item whose row has more than its image; PlanError."""
    if batching is None or options.on_failure != "replace":
        return
    if batching.images is not None or batching.pads:
        word = "images=" if batching.images is not None else "pad="
        raise PlanError(
            f"on_failure='replace': expected 'raise', 'skip' or 'blank' for a batch with {word}, found 'replace'; "
            f"another item's pictures and fields need not fit into its place."
        )


def deliver_step(
    delivery: Delivery,
    columns: Columns,
    request: Request,
    *,
    step: int,
    epoch: int,
    size: tuple[int, int] | None = None,
    progress: Callable[[], npt.NDArray[np.int64]] | None = None,
    stand_ins: Make | None = None,
    draws: npt.NDArray[np.int64] | None = None,
) -> Batch:
    """The batch of a request, as ``Delivery.deliver`` makes it of items, with their pictures and padded fields.

    The arguments are those of ``Delivery.deliver``; ``draws`` is one for each row of memory.
    """
    items = columns if request.slots is None else _columns_of_items(columns, request.slots, request.index)
    refused = _refused_after_maps(request, items, delivery)
    for row, (cause, message) in refused.items():
        items.problems = [problem for problem in items.problems if problem[0] != row]
        items.fail(row, "batch", cause, message)
    batch = delivery.deliver(
        items,
        request.index,
        request.labels,
        step=step,
        epoch=epoch,
        size=size,
        progress=progress,
        stand_ins=stand_ins,
        draws=draws if request.slots is None else None,
    )
    if request.slots is None and not request.known:
        return batch
    failed = items.outcome == FAILED
    kept = np.flatnonzero(~failed) if delivery.options.on_failure == "skip" else np.arange(len(failed))
    if request.known:
        known: dict[str, Any] = {
            name: np.where(_along(failed, column), 0, column)[kept] for name, column in request.known.items()
        }
        assert isinstance(batch.fields, Fields)  # of this batch, just made
        batch.fields = batch.fields.with_known(known)
    if request.slots is not None:
        stages: dict[int, StageName] = {row: stage for row, stage, _, _ in items.problems}
        _put_pictures(batch, columns, request.slots, failed, kept, stages, delivery)
        batch._draws = draws  # noqa: SLF001 - of the pictures, which a device may still turn
    return batch


def _refused_after_maps(request: Request, columns: Columns, delivery: Delivery) -> dict[int, tuple[str, str]]:
    """Which items' padded fields are refused, once those that a map on items has changed are padded anew."""
    refused = dict(request.refused)
    names = {pad.name for pad in request.pads}
    for row, change in columns.changes.items():
        changed = change.get("fields", {})
        if names.isdisjoint(changed):
            continue
        here = request.index[row : row + 1]
        read = {name: delivery.source.field(name, here)[0] for name in names - changed.keys()}
        problem = pad_again(request.known, row, {**read, **changed}, request.pads)
        refused.pop(row, None)
        if problem is not None:
            refused[row] = problem
    return refused


def _along(failed: npt.NDArray[np.bool_], column: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    return failed.reshape(-1, *[1] * (column.ndim - 1))


def _columns_of_items(columns: Columns, slots: Slots, index: npt.NDArray[np.int64]) -> Columns:
    """One row an item: failed where one of its pictures is, else damaged where one is; clean without a picture."""
    rows = len(index)
    outcome = np.where(index >= 0, CLEAN, _NO_ITEM).astype(np.uint8)
    damages: dict[int, list[str]] = {}
    problems: dict[int, tuple[int, StageName, str, str]] = {}
    notes: dict[int, tuple[str, ...]] = {}
    for slot, text in sorted(columns.damages):
        row = int(slots.row[slot])
        damages.setdefault(row, []).append(text + _which(slots, slot))
        outcome[row] = DAMAGED
    for slot, names in columns.notes.items():
        if slot < len(slots.row) and columns.outcome[slot] <= DAMAGED:
            row = int(slots.row[slot])
            notes[row] = (*notes.get(row, ()), *names)
    for slot, stage, cause, message in sorted(columns.problems):
        row = int(slots.row[slot])
        problems.setdefault(row, (row, stage, cause, message.rstrip(".") + _which(slots, slot)))
        outcome[row] = FAILED
    for row, (cause, message) in slots.refused.items():
        problems[row] = (row, "batch", cause, message)
        outcome[row] = FAILED
    return Columns(
        images=np.zeros((rows, 0), dtype=np.uint8),  # the pictures join the batch once it is known who is in it
        outcome=outcome,
        geometry=np.zeros((rows, 2, 3)),
        stored=np.zeros((rows, 2), dtype=np.int32),
        orientation=np.ones(rows, dtype=np.int32),
        sizes=np.zeros((rows, 2), dtype=np.int32),
        notes=notes,
        problems=list(problems.values()),
        damages=[(row, "; ".join(texts)) for row, texts in damages.items() if outcome[row] == DAMAGED],
    )


def _which(slots: Slots, slot: int) -> str:
    """Which picture of its item a slot holds, for a sentence; nothing where there is only one."""
    count = int(slots.count[slots.row[slot]])
    return "" if count == 1 else f" (image {int(slots.number[slot]) + 1} of {count})"


def _put_pictures(
    batch: Batch,
    columns: Columns,
    slots: Slots,
    failed: npt.NDArray[np.bool_],
    kept: npt.NDArray[np.int64],
    stages: Mapping[int, StageName],
    delivery: Delivery,
) -> None:
    """The pictures of the items that are in the batch; a slot of an item that failed is as blank as a free one."""
    place = np.full(len(failed), -1, dtype=np.int64)  # where each item of the step is in the batch
    place[kept] = np.arange(len(kept))
    place[failed] = -1
    image_row = np.full(slots.size, -1, dtype=np.int64)
    image_row[: len(slots.row)] = place[slots.row]
    masked = image_row < 0
    for slot in np.flatnonzero(masked[: len(slots.row)]).tolist():
        columns.images[slot] = 0
    columns.forget(masked)
    batch.images = columns.images
    batch.image_row = image_row
    count = np.zeros(len(failed), dtype=np.int64)
    count[: len(slots.count)] = slots.count
    batch.image_count = np.where(failed, 0, count)[kept]
    broken = {slot: stages[row] for slot, row in enumerate(slots.row.tolist()) if row in stages}
    batch.geometry = Geometry(columns.geometry, columns.stored, columns.orientation, broken, columns.sizes)
    spec = delivery.spec
    if spec.patch is not None and spec.max_patches is not None:
        patches = patch_columns(columns.sizes.astype(np.int64), spec.patch, spec.max_patches)
        batch.positions, batch.patch_count, batch.grid = patches.positions, patches.patch_count, patches.grid
