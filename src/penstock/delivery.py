"""Deliver: native columns become a Batch, and failures meet the policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock import _native
from penstock.accounts import Accounts
from penstock.companions import Companion, stacked
from penstock.errors import ItemError, SourceError
from penstock.geometry import Geometry
from penstock.ledger import Ledger
from penstock.lookups import Fields, Keys
from penstock.options import RunOptions
from penstock.patches import PatchColumns, patch_columns
from penstock.ragged import padded, sizes_of
from penstock.results import DAMAGED, FAILED, Clean, Columns
from penstock.sources.source import Source
from penstock.stand_ins import Make, fill_in
from penstock.targets import TargetError, Targets, looked_up
from penstock.transform.map_item import Changes
from penstock.types import (
    Batch,
    Failure,
    LayoutName,
    RaggedName,
    Spec,
    named,
    numpy_dtype,
)
from penstock.views import Views

__all__ = ["Delivery"]


@dataclass(slots=True)
class Delivery:
    """The policy of one run; turns columns into batches, in order, and books what became of each item."""

    source: Source
    options: RunOptions
    items: int
    layout: LayoutName
    statistics: tuple[tuple[float, ...], tuple[float, ...]] | None
    spec: Spec  # what the recipe hands to the batch
    ragged: RaggedName | None = None
    unknown: str = ""  # the stage after which nobody knows where pixels went
    companions: tuple[Companion, ...] = ()
    targeting: Targets | None = None
    viewing: Views | None = None
    ledger: Ledger | None = None
    accounts: Accounts = field(init=False)
    plain: bool = field(init=False)  # whether a batch is its images, as far as the line goes

    def __post_init__(self) -> None:
        self.accounts = Accounts(self.source, self.options, self.items, self.ledger)
        beside = self.companions or self.targeting is not None or self.viewing is not None
        self.plain = not (beside or self.ragged or self.unknown or self.spec.patch is not None)

    def deliver(
        self,
        columns: Columns,
        index: npt.NDArray[np.int64],
        labels: npt.NDArray[np.int64],
        *,
        step: int,
        epoch: int,
        size: tuple[int, int] | None = None,
        progress: Callable[[], npt.NDArray[np.int64]] | None = None,
        stand_ins: Make | None = None,
        draws: npt.NDArray[np.int64] | None = None,
    ) -> Batch:
        """One Batch, its failures handled; raises ItemError or TooManyFailuresError as the options say.

        ``size`` is what every image must have, where batches were filled by size. ``progress()`` is how far into the
        epoch each row's item comes (int64, as the ledger counts), ``stand_ins`` makes items for failed rows. ``draws``
        keys the random draws of each row (``Request.row_draws``), where something is still to be drawn on a device.
        """
        if size is not None:
            self._expect_size(columns, size)
        self._read_targets(columns, index)
        failures = self.accounts.count(columns, index, progress)
        if failures and self.options.on_failure == "raise":
            error = ItemError(failures[0].message)
            error.failure = failures[0]
            raise error
        self.accounts.check_failures()
        replaced_by = None
        if self.options.on_failure == "replace":
            replaced_by, labels, draws = self._replace(columns, index, labels, draws, size, stand_ins)
        made = columns.outcome <= DAMAGED
        valid = made & (index >= 0)
        damaged = columns.outcome == DAMAGED
        images = columns.images
        if isinstance(images, list):  # of the rows that had an item
            images += [None] * (len(index) - len(images))
        if failures and self.options.on_failure == "skip":
            keep = np.flatnonzero(valid | (index < 0))
            columns.keep(keep)
            images = columns.images
            valid, damaged, index, labels = valid[keep], damaged[keep], index[keep], labels[keep]
            draws = None if draws is None else draws[keep]
        elif failures:
            labels = np.where(valid, labels, -1)
        if self.unknown:
            columns.geometry[valid] = np.nan
        shown = index if replaced_by is None else np.where(replaced_by >= 0, replaced_by, index)
        labels, known = self._changed(columns.changes, shown, labels, valid)
        patches = self._patches(columns, valid)
        sizes = None
        if isinstance(images, list) and self.ragged is not None:
            sizes = sizes_of(images, self.layout)
            if self.ragged != "list":
                images = padded(images, self.layout, self.spec.channels, numpy_dtype(self.spec.dtype), size)
        failed_in = self._failed_in(failures, np.where(valid, -1, index)) if failures else {}
        geometry = Geometry(
            columns.geometry,
            columns.stored,
            columns.orientation,
            failed_in,
            self._model_sizes(columns, images),
            self.unknown,
        )
        return Batch(
            images=images,  # pyright: ignore[reportArgumentType]  # a list where each image has its own size
            labels=labels,
            keys=Keys(self.source, index),
            index=index,
            valid=valid,
            damaged=damaged,
            geometry=geometry,
            fields=Fields(self.source, shown, known),
            failures=tuple(failures),
            step=step,
            epoch=epoch,
            layout=self.layout,
            statistics=self.statistics,
            sizes=sizes,
            positions=patches and patches.positions,
            patch_count=patches and patches.patch_count,
            grid=patches and patches.grid,
            patch=self.spec.patch,
            companions=self._companions(columns, valid),
            targets=self._moved(columns.targets, geometry, valid),
            views=columns.views,
            view_geometry=self._view_geometry(columns, failed_in, valid),
            replaced_by=replaced_by,
            _blank=self._blank() if isinstance(images, list) else None,
            _draws=draws,
        )

    def deliver_clean(
        self, made: Clean, index: npt.NDArray[np.int64], labels: npt.NDArray[np.int64], *, step: int, epoch: int
    ) -> Batch:
        """What ``deliver`` makes of a clean batch of a plain line, for a fraction of its time."""
        self.accounts.count_clean(len(index))
        self.accounts.check_failures()
        return Batch.begun(
            partial(late_fields, self.source, made.places, index, self.options.on_failure == "replace"),
            images=named(made.images, self.spec.dtype),
            labels=labels,
            index=index,
            step=step,
            epoch=epoch,
            layout=self.layout,
            statistics=self.statistics,
        )

    def _view_geometry(
        self, columns: Columns, failed_in: dict[int, str], valid: npt.NDArray[np.bool_]
    ) -> dict[str, Geometry | tuple[Geometry, ...]]:
        """Where the pixels of each copy came from, by view."""
        made: dict[str, Geometry | tuple[Geometry, ...]] = {}
        for view in () if self.viewing is None else self.viewing.views:
            spec = view.recipe.spec()
            side = np.array([spec.height, spec.width], dtype=np.int32)
            sizes = np.where(valid[:, None], side, np.int32(0))
            matrices = columns.view_geometry[view.name]
            copies = tuple(
                Geometry(np.ascontiguousarray(matrices[:, copy]), columns.stored, columns.orientation, failed_in, sizes)
                for copy in range(view.count)
            )
            made[view.name] = copies[0] if view.copies is None else copies
        return made

    def _changed(
        self,
        changes: Mapping[int, Changes],
        index: npt.NDArray[np.int64],
        labels: npt.NDArray[np.int64],
        valid: npt.NDArray[np.bool_],
    ) -> tuple[npt.NDArray[np.int64], dict[str, Sequence[Any]]]:
        """Labels and fields as the maps on items left them."""
        changes = {row: change for row, change in changes.items() if valid[row]} if changes else {}
        if not changes:
            return labels, {}
        labels = labels.copy()
        fields = Fields(self.source, np.where(valid, index, -1))  # what cannot be read has failed its rows
        known: dict[str, Sequence[Any]] = {}
        for row, change in changes.items():
            labels[row] = change.get("label", labels[row])
            for name, value in change.get("fields", {}).items():
                if name not in known:
                    known[name] = list(fields[name]) if name in self.source.field_names else [None] * len(index)
                column: Any = known[name]
                column[row] = value
        return labels, known

    def _companions(self, columns: Columns, valid: npt.NDArray[np.bool_]) -> dict[str, Any]:
        """The companions of a batch by name: one array each, or a list where rows differ in size."""
        size = None if self.spec.ragged else (self.spec.height or 0, self.spec.width or 0)
        stacks = {}
        for companion in self.companions:
            rows = columns.companions.get(companion.name) or []
            rows = [*rows, *[None] * (len(valid) - len(rows))]
            made = [row if kept else None for row, kept in zip(rows, valid.tolist(), strict=True)]
            stacks[companion.name] = stacked(companion, made, size, self.spec.channels)
        return stacks

    def _read_targets(self, columns: Columns, index: npt.NDArray[np.int64]) -> None:
        """Boxes, points and polygons as numbers; a row whose field holds something else fails."""
        if self.targeting is None:
            return
        fields = Fields(self.source, index, self._changed(columns.changes, index, index, columns.outcome <= DAMAGED)[1])
        for kind, name in self.targeting.named():
            rows: list[Any] = [None] * len(columns.outcome)
            for row in np.flatnonzero(columns.outcome <= DAMAGED).tolist():
                try:
                    rows[row] = self.targeting.read(kind, name, self._target(fields, name, index, row))
                    continue
                except SourceError as error:
                    columns.fail(row, "read", "read error", str(error))
                    continue
                except TargetError as error:
                    problem = str(error)
                except (KeyError, IndexError, TypeError) as error:
                    problem = f"targets: expected {kind} in the field {name!r}, found none ({error!r})"
                columns.fail(row, "deliver", "no target", problem)
            columns.targets[kind] = rows

    def _target(self, fields: Fields, name: str, index: npt.NDArray[np.int64], row: int) -> Any:
        """What a row's field holds; where a piece of a table cannot be read, that is the matter of its own rows."""
        try:
            return looked_up(fields, name, row)
        except SourceError:
            return looked_up(Fields(self.source, index[row : row + 1]), name, 0)

    def _moved(
        self, targets: dict[str, list[Any]], geometry: Geometry, valid: npt.NDArray[np.bool_]
    ) -> dict[str, list[Any]]:
        if self.targeting is None:
            return {}
        return {
            kind: [
                self.targeting.moved(kind, value, geometry, row) if valid[row] else self.targeting.empty(kind)
                for row, value in enumerate(rows)
            ]
            for kind, rows in targets.items()
        }

    def _replace(
        self,
        columns: Columns,
        index: npt.NDArray[np.int64],
        labels: npt.NDArray[np.int64],
        draws: npt.NDArray[np.int64] | None,
        size: tuple[int, int] | None,
        stand_ins: Make | None,
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64] | None]:
        """Stand-ins for failed rows: the source index of each (-1: the row is its own), and all labels and draws."""
        replaced_by = np.full(len(index), -1, dtype=np.int64)
        failed = np.flatnonzero((columns.outcome == FAILED) & (index >= 0))
        if failed.size and stand_ins is not None:
            labels = labels.copy()
            # Not counted: what a stand-in is like is booked where it comes in its own turn.
            judge = partial(self._judge, size=size)
            replaced_by[failed], labels[failed], drawn = fill_in(columns, failed, stand_ins, judge)
            if draws is not None:
                draws = draws.copy()
                draws[failed] = drawn
        return replaced_by, labels, draws

    def _judge(
        self, columns: Columns, index: npt.NDArray[np.int64], size: tuple[int, int] | None
    ) -> npt.NDArray[np.bool_]:
        """Which stand-ins the batch can take: the rest fail as its own items would."""
        if size is not None:
            self._expect_size(columns, size)
        self._read_targets(columns, index)
        if self.options.on_damage == "fail":
            columns.outcome[columns.outcome == DAMAGED] = FAILED
        made: npt.NDArray[np.bool_] = columns.outcome <= DAMAGED
        return made

    def _blank(self) -> npt.NDArray[Any]:
        """What stands for an image that was not made, where each has its own size: one without a pixel."""
        return np.zeros(self.spec.shape(self.layout), numpy_dtype(self.spec.dtype))

    def _model_sizes(self, columns: Columns, images: Any) -> npt.NDArray[np.int32]:
        """What the model gets of each row, (height, width): with its padding where images are padded to one size."""
        if self.ragged is None or isinstance(images, list):
            return columns.sizes
        height, width = images.shape[1:3] if self.layout == "NHWC" else images.shape[2:4]
        made = columns.sizes.all(axis=1, keepdims=True)
        return np.where(made, np.array([height, width], dtype=np.int32), np.int32(0))

    def _failed_in(self, failures: list[Failure], index: npt.NDArray[np.int64]) -> dict[int, str]:
        """The stage that each failed row of the batch failed in, by row."""
        stages = {failure.index: failure.stage for failure in failures}
        return {row: stages[at] for row, at in enumerate(index.tolist()) if at in stages}

    def _expect_size(self, columns: Columns, size: tuple[int, int]) -> None:
        """Fails the images that are not as large as their headers said when the run began."""
        found = sizes_of(columns.images, self.layout)
        for row in np.flatnonzero((found != size).any(axis=1)).tolist():
            if columns.images[row] is None:
                continue
            said = "no size" if size == (0, 0) else f"H={size[0]} W={size[1]}"
            text = f"expected the size that its header led to, {said}, found H={found[row, 0]} W={found[row, 1]}"
            columns.fail(row, "batch", "size changed", text)

    def _patches(self, columns: Columns, valid: npt.NDArray[np.bool_]) -> PatchColumns | None:
        spec = self.spec
        if spec.patch is None or spec.max_patches is None:
            return None
        return patch_columns(np.where(valid[:, None], columns.sizes, 0), spec.patch, spec.max_patches)


def late_fields(
    source: Source, places: _native.Places, index: npt.NDArray[np.int64], replacing: bool
) -> dict[str, Any]:
    """The fields of a clean batch that most trainings never read."""
    columns = places.columns()
    rows = len(index)
    return {
        "keys": Keys(source, index),
        "valid": np.ones(rows, dtype=np.bool_),
        "damaged": np.zeros(rows, dtype=np.bool_),
        "geometry": Geometry(columns["geometry"], columns["stored"], columns["orientation"], {}, columns["sizes"]),
        "fields": Fields(source, index, {}),
        "replaced_by": np.full(rows, -1, dtype=np.int64) if replacing else None,
        "failures": (),
        **dict.fromkeys(_NEVER_CLEAN),
        **{name: {} for name in ("companions", "targets", "views", "view_geometry")},
    }


_NEVER_CLEAN = ("sizes", "positions", "patch_count", "grid", "patch", "image_row", "image_count", "_blank", "_draws")
