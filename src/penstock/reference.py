"""``engine="reference"``: a whole line on the readable twins, in the consumer's own thread. Slow on purpose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock import _native
from penstock._reference.pack import pack
from penstock._reference.patches import cut
from penstock.decode import DecodeError, decode_pillow
from penstock.geometry import Matrix, compose, orientation_matrix
from penstock.read import ReadError, read_located
from penstock.recipe import Recipe
from penstock.results import CLEAN, DAMAGED, FAILED, Columns, blank_images
from penstock.sources.source import Locations
from penstock.transform.map_call import MapCall, Mapped
from penstock.transform.map_item import Changes, ItemOf, changed_item, merged
from penstock.transform.verb import StepError
from penstock.types import Item, LayoutName, Spec, StageName, UInt8Image


@dataclass(frozen=True, slots=True)
class Finished:
    """One image done: the array, the affine stored -> model, and what is known of the file."""

    image: npt.NDArray[np.generic]
    matrix: npt.NDArray[np.float64]
    stored: tuple[int, int]
    orientation: int
    size: tuple[int, int]  # of the finished image, (height, width)
    notes: tuple[str, ...]
    changes: Changes = field(default_factory=dict)
    damage: str = ""  # what the native codec had to recover from
    by_pillow: bool = False


class StageError(Exception):
    """An item that failed: in which stage, of which cause, and the message."""

    def __init__(self, stage: StageName, cause: str, message: str) -> None:
        super().__init__(stage, cause, message)
        self.stage: StageName = stage
        self.cause = cause
        self.message = message


def finish(
    recipe: Recipe,
    data: bytes | UInt8Image,
    *,
    seed: int,
    epoch: int,
    index: int,
    layout: LayoutName,
    item: Callable[[], Item] | None = None,
) -> Finished:
    """One image through decode, verbs and pack, on the twins alone; raises StageError."""
    notes: tuple[str, ...] = ()
    orientation = 1
    if isinstance(data, bytes):
        if recipe.decoding is None:
            raise StageError("decode", "not decoded", "expected an image, found encoded bytes")
        try:
            decoded = decode_pillow(data, recipe.decoding)
        except DecodeError as error:
            raise StageError("decode", error.cause, error.message) from None
        pixels, orientation, notes = decoded.pixels, decoded.orientation, decoded.notes
        stored = (decoded.stored_height, decoded.stored_width)
    else:
        pixels = data
        stored = (data.shape[0], data.shape[1])
    matrix = orientation_matrix(stored[0], stored[1], orientation)
    changes: Changes = {}
    size = stored
    for part in recipe.parts():
        try:
            resolved = part.resolve(pixels.shape[0], pixels.shape[1], seed, epoch, index)
            size = resolved.height, resolved.width
            for step in resolved.steps:
                pixels = step.apply(pixels)
            matrix = compose(matrix, resolved.matrix)
            if part.call is None:
                break
            given = pixels.copy()  # it may be the source's own
            mapped = call_map(part.call, given, seed=seed, epoch=epoch, index=index, item=item, before=changes)
        except StepError as error:
            raise StageError("transform", error.cause, error.message) from None
        pixels, changes = mapped.pixels, mapped.changes
        matrix = moved(matrix, mapped)
    statistics = recipe.statistics
    image = pack(
        pixels,
        dtype=recipe.spec().dtype,
        layout=layout,
        mean=None if statistics is None else statistics.mean,
        std=None if statistics is None else statistics.std,
    )
    spec = recipe.spec()
    if spec.patch is not None and spec.max_patches is not None:
        image = cut(image, spec.patch, spec.max_patches)
    return Finished(image, matrix, stored, orientation, size, notes, changes)


def call_map(
    call: MapCall,
    image: npt.NDArray[Any],
    *,
    seed: int,
    epoch: int,
    index: int,
    item: Callable[[], Item] | None,
    before: Changes,
) -> Mapped:
    """What a map makes of an image that it may write to, with all changes so far; raises StepError."""

    def known() -> Item:
        return changed_item(Item(index, "image") if item is None else item(), before)

    mapped = call(image, seed=seed, epoch=epoch, index=index, item=known)
    return mapped._replace(changes=merged(before, mapped.changes))


def moved(matrix: Matrix, mapped: Mapped) -> Matrix:
    """Where pixels are after a map, from where they were before it."""
    return matrix if mapped.matrix is None else compose(matrix, np.reshape(mapped.matrix, (2, 3)))


def first_part(plan: _native.Plan) -> _native.Plan:
    """The plan of what runs before the first map; the plan itself where there is none."""
    return plan.parts[0] if plan.parts else plan


def finish_batch(
    recipe: Recipe,
    located: Locations,
    draws: npt.NDArray[np.int64],
    *,
    plan: _native.Plan,
    rows: int,
    seed: int,
    epoch: int,
    layout: LayoutName,
    item: ItemOf | None = None,
) -> Columns:
    """The columns of one batch, item after item; what was ``located`` fills the first of its ``rows``.

    Pillow recovers from damage without a word, so that verdict alone is the native codec's, by the ``plan``.
    """

    def make(row: int) -> Finished:
        data = read_located(located, row)
        index = int(draws[row])
        known = None if item is None else partial(item, row)
        done = finish(recipe, data, seed=seed, epoch=epoch, index=index, layout=layout, item=known)
        return replace(done, damage=_damage_of(recipe, plan, data, seed, epoch, index))

    return item_by_item(recipe.spec(), layout, rows, len(draws), make)


def item_by_item(spec: Spec, layout: LayoutName, rows: int, tickets: int, make: Callable[[int], Finished]) -> Columns:
    """The columns of one batch of ``rows``, of which ``make`` makes the first ``tickets``, one after the other.

    It raises ReadError or StageError for one that fails.
    """
    outcome = np.full(rows, 4, dtype=np.uint8)
    geometry = np.zeros((rows, 2, 3))
    stored = np.zeros((rows, 2), dtype=np.int32)
    orientation = np.ones(rows, dtype=np.int32)
    sizes = np.zeros((rows, 2), dtype=np.int32)
    notes: dict[int, tuple[str, ...]] = {}
    problems: list[tuple[int, StageName, str, str]] = []
    damages: list[tuple[int, str]] = []
    changes: dict[int, Changes] = {}
    ragged: list[npt.NDArray[Any] | None] = [None] * rows
    images: Any = ragged if spec.ragged else blank_images(rows, spec, layout)
    for row in range(tickets):
        try:
            made = make(row)
        except (ReadError, StageError) as error:
            problems.append((row, "read" if isinstance(error, ReadError) else error.stage, error.cause, error.message))
            outcome[row] = FAILED
            continue
        images[row] = made.image
        outcome[row] = DAMAGED if made.damage else CLEAN
        if made.damage:
            damages.append((row, made.damage))
        geometry[row], stored[row], orientation[row] = made.matrix, made.stored, made.orientation
        sizes[row] = made.size
        notes[row] = made.notes
        changes[row] = made.changes
    return Columns(images, outcome, geometry, stored, orientation, sizes, notes, problems, damages, changes=changes)


def _damage_of(recipe: Recipe, plan: _native.Plan, data: bytes | UInt8Image, seed: int, epoch: int, index: int) -> str:
    """What the native codec had to recover from in an image that Pillow delivers; "" where nothing."""
    if not isinstance(data, bytes):
        return ""
    damage: str = run_native(recipe, plan, data, seed, epoch, index)["damage"]
    return damage


def run_native(recipe: Recipe, plan: _native.Plan, data: bytes, seed: int, epoch: int, index: int) -> dict[str, Any]:
    """One image by the native path alone, up to the first map; the warps' matrices made where they are asked for.

    Raises StepError.
    """
    plan = first_part(plan)
    result = _native.run_bytes(plan, data, seed, epoch, index)
    height, width = result["asked"]
    if height == 0:
        return result
    matrices = recipe.matrices(height, width, seed=seed, epoch=epoch, index=index)
    return _native.run_bytes(plan, data, seed, epoch, index, matrices)
