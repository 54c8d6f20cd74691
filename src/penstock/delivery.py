"""Deliver: native columns become a Batch, failures meet the policy, and every item reached is counted once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from penstock import _native
from penstock.companions import Companion, stacked
from penstock.errors import EngineError, ItemError, SourceError, TooManyFailuresError
from penstock.failures import Damages, Failures, Notes
from penstock.geometry import Geometry
from penstock.ledger import Ledger
from penstock.lookups import Fields, Keys
from penstock.options import RunOptions
from penstock.patches import PatchColumns, patch_columns
from penstock.ragged import aligned_empty, padded, sizes_of
from penstock.sources.source import Source
from penstock.stand_ins import Make, fill_in
from penstock.targets import TargetError, Targets, looked_up
from penstock.transform.map_item import Changes
from penstock.types import (
    Batch,
    Damage,
    DtypeName,
    Failure,
    LayoutName,
    RaggedName,
    Spec,
    StageName,
    named,
    numpy_dtype,
)
from penstock.views import Views

CLEAN, DAMAGED, FAILED = 0, 1, 2
NOTE_BITS = {
    1: "icc ignored",
    2: "first frame taken",
    4: "alpha dropped",
    8: "16 bit clipped",
    16: "16 bit reduced",
    32: "colour dropped",
}
"""Notes of the native path, by bit (native/header.h)."""


def sentence(stage: StageName, key: str, message: str) -> str:
    """The complete sentence of a failure: stage, key, then what was expected and found.

    >>> sentence("read", "a.jpg", "expected a regular file, found a directory")
    "read of 'a.jpg': expected a regular file, found a directory."
    """
    return f"{stage} of {key!r}: {message.rstrip('.')}."


@dataclass(slots=True)
class Columns:
    """What an engine hands over for one batch, before any policy."""

    images: Any
    outcome: npt.NDArray[np.uint8]
    geometry: npt.NDArray[np.float64]
    stored: npt.NDArray[np.int32]
    orientation: npt.NDArray[np.int32]
    sizes: npt.NDArray[np.int32]  # of the finished images, (height, width)
    notes: dict[int, tuple[str, ...]]  # by row
    problems: list[tuple[int, StageName, str, str]]
    damages: list[tuple[int, str]]
    companions: dict[str, list[npt.NDArray[Any] | None]] = field(default_factory=dict)  # by name, one a row
    targets: dict[str, list[Any]] = field(default_factory=dict)  # by kind, one a row, in source pixels
    changes: dict[int, Changes] = field(default_factory=dict)  # what maps on items changed, by row
    views: dict[str, Any] = field(default_factory=dict)  # by name; `images` is the first one
    view_geometry: dict[str, npt.NDArray[np.float64]] = field(default_factory=dict)  # [rows, copies, 2, 3]

    @classmethod
    def from_native(
        cls,
        results: Mapping[str, Any],
        pillow_notes: Mapping[int, tuple[str, ...]],
        dtype: DtypeName,
        changes: dict[int, Changes] | None = None,
        views: Views | None = None,
    ) -> Columns:
        """The dict of a native job, with the notes that Pillow made meanwhile."""
        notes = dict(pillow_notes)
        if results["notes"].any():
            for row in np.flatnonzero(results["notes"]).tolist():
                notes[row] = names_of_notes(int(results["notes"][row]))
        notes.update((row, tuple(text.split("\n"))) for row, text in results["cached_notes"])
        problems = [(row, stage, cause, decode_text(text)) for row, (stage, cause, text) in results["problems"]]
        several: dict[str, Any] = {}
        view_geometry: dict[str, npt.NDArray[np.float64]] = {}
        for view, made, matrices in zip(
            () if views is None else views.views,
            results.get("views", ()),
            results.get("view_geometry", ()),
            strict=True,
        ):
            array = named(made, view.recipe.spec().dtype)
            several[view.name] = array[:, 0] if view.copies is None else array
            view_geometry[view.name] = matrices
        return cls(
            next(iter(several.values())) if several else named(results["images"], dtype),
            results["outcome"],
            results["geometry"],
            results["stored"],
            results["orientation"],
            results["sizes"],
            notes,
            problems,
            list(results["damages"]),
            changes=changes or {},
            views=several,
            view_geometry=view_geometry,
        )

    def blank(self, row: int) -> None:
        """Makes a row one without an image."""
        for images in self.views.values() or (self.images,):
            if isinstance(images, list):
                images[row] = None
            else:
                images[row] = 0


class Clean(NamedTuple):
    """A batch with an image in every row and nothing to say about any, as the pool hands it over."""

    images: Any
    places: _native.Places  # where the pixels came from
    hits: int
    misses: int


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


def names_of_notes(bits: int) -> tuple[str, ...]:
    """The notes that the native path set, by name."""
    return tuple(name for bit, name in NOTE_BITS.items() if bits & bit)


def blank_images(rows: int, spec: Spec, layout: LayoutName) -> npt.NDArray[Any]:
    """Zeros for a batch of ``spec``: [rows, H, W, C], [rows, C, H, W] or [rows, P, D], aligned like the pool's."""
    images = aligned_empty((rows, *spec.shape(layout)), numpy_dtype(spec.dtype))
    images.view(np.uint8)[...] = 0
    return images


def decode_text(text: bytes) -> str:
    """A native message as text; file names in it may be any bytes."""
    return text.decode("utf-8", "backslashreplace")


@dataclass(slots=True)
class Outcomes:
    """The accounts of a run: ``clean + damaged + failed == reached`` at any time."""

    clean: int = 0
    damaged: int = 0
    failed: int = 0
    reached: int = 0


@dataclass(slots=True)
class Delivery:
    """The policy of one run and its accounts; turns columns into batches in order."""

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
    failures: Failures = field(init=False)
    damaged: Damages = field(default_factory=Damages)
    notes: Notes = field(default_factory=Notes)
    outcomes: Outcomes = field(default_factory=Outcomes)
    plain: bool = field(init=False)  # whether a batch is its images, as far as the line goes
    _before: int = 0  # items of the epoch that this rank had before, where their failures are known

    def __post_init__(self) -> None:
        self.failures = Failures(self.ledger)
        beside = self.companions or self.targeting is not None or self.viewing is not None
        self.plain = not (beside or self.ragged or self.unknown or self.spec.patch is not None)

    def resume(self, start: int) -> None:
        """Goes on with an epoch that earlier runs took to ``start``: what failed there counts, where a ledger knows."""
        self.failures.resume(start)
        if self.ledger is not None:
            self._before = start // self.options.world_size

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
        failures = self._count(columns, index, progress)
        if failures and self.options.on_failure == "raise":
            error = ItemError(failures[0].message)
            error.failure = failures[0]
            raise error
        self._check_failures()
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
            columns.views = {name: _compact(view, keep) for name, view in columns.views.items()}
            columns.view_geometry = {name: matrices[keep] for name, matrices in columns.view_geometry.items()}
            images = next(iter(columns.views.values())) if columns.views else _compact(images, keep)
            valid, damaged, index, labels = valid[keep], damaged[keep], index[keep], labels[keep]
            draws = None if draws is None else draws[keep]
            columns.geometry = columns.geometry[keep]
            columns.stored = columns.stored[keep]
            columns.orientation = columns.orientation[keep]
            columns.sizes = columns.sizes[keep]
            for name, rows in columns.companions.items():
                columns.companions[name] = [rows[row] for row in keep.tolist()]
            for name, rows in columns.targets.items():
                columns.targets[name] = [rows[row] for row in keep.tolist()]
            columns.changes = {
                row: columns.changes[old] for row, old in enumerate(keep.tolist()) if old in columns.changes
            }
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
        self.outcomes.clean += len(index)
        self.outcomes.reached += len(index)
        self._check_failures()
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
                    fail(columns, row, "read", "read error", str(error))
                    continue
                except TargetError as error:
                    problem = str(error)
                except (KeyError, IndexError, TypeError) as error:
                    problem = f"targets: expected {kind} in the field {name!r}, found none ({error!r})"
                fail(columns, row, "deliver", "no target", problem)
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
            fail(columns, row, "batch", "size changed", text)

    def _patches(self, columns: Columns, valid: npt.NDArray[np.bool_]) -> PatchColumns | None:
        spec = self.spec
        if spec.patch is None or spec.max_patches is None:
            return None
        return patch_columns(np.where(valid[:, None], columns.sizes, 0), spec.patch, spec.max_patches)

    def _count(
        self, columns: Columns, index: npt.NDArray[np.int64], progress: Callable[[], npt.NDArray[np.int64]] | None
    ) -> list[Failure]:
        if not (columns.problems or columns.damages or columns.notes or columns.outcome.any()):
            items = int(np.count_nonzero(index >= 0))  # each of them clean: there is nothing to say about any
            self.outcomes.clean += items
            self.outcomes.reached += items
            return []
        problems = list(columns.problems)
        for row, text in columns.damages:
            at = int(index[row])
            if self.options.on_damage == "fail":  # one outcome an item: it is a failure then, not damage as well
                problems.append((row, "decode", "damaged", f"expected an undamaged image, found: {text}"))
                columns.outcome[row] = FAILED
                columns.blank(row)
                continue
            key = self.source.key(at)
            self.damaged.add(Damage(key, at, sentence("decode", key, f"the codec recovered from damage: {text}")))
        failures = []
        reached = None if progress is None or not problems else progress()
        for row, stage, cause, message in sorted(problems):
            at = int(index[row])
            key = self.source.key(at)
            failures.append(Failure(key, at, stage, cause, sentence(stage, key, message)))
            self.failures.add(failures[-1], -1 if reached is None else int(reached[row]))
        made = columns.outcome <= DAMAGED
        for row in sorted(columns.notes):
            if made[row]:  # a loss is an image's that was delivered
                for name in columns.notes[row]:
                    self.notes.add(name)
        # A row without an image has no geometry, however far it came before it failed.
        columns.geometry[~made] = 0
        columns.stored[~made] = 0
        columns.orientation[~made] = 1
        columns.sizes[~made] = 0
        for matrices in columns.view_geometry.values():
            matrices[~made] = 0
        outcome = columns.outcome[index >= 0]
        self.outcomes.clean += int(np.count_nonzero(outcome == CLEAN))
        self.outcomes.damaged += int(np.count_nonzero(outcome == DAMAGED))
        self.outcomes.failed += int(np.count_nonzero(outcome == FAILED))
        self.outcomes.reached += len(outcome)
        self.check_accounts()
        return failures

    def check_accounts(self, *, finished: bool = False) -> None:
        """Asserts that nothing was lost: each item reached has one outcome, and a finished run reached them all."""
        counts = self.outcomes
        if counts.clean + counts.damaged + counts.failed != counts.reached:
            raise EngineError(f"The accounts do not add up: expected one outcome an item reached, found {counts}.")
        if finished and counts.reached != self.items:
            raise EngineError(
                f"The run lost items: expected {self.items} to be reached at its end, found {counts.reached}."
            )

    def _check_failures(self) -> None:
        limit = self.options.max_failures
        if limit is None:
            return
        allowed = int(limit * (self._before + self.items)) if isinstance(limit, Fraction) else limit
        if len(self.failures) > allowed:
            causes = ", ".join(f"{count} x {cause}" for cause, count in self.failures.by_cause().items())
            earlier = f" and {self.failures.earlier} earlier in this epoch" if self.failures.earlier else ""
            raise TooManyFailuresError(
                f"Expected at most {allowed} failed items (max_failures={limit}), found {self.outcomes.failed} of "
                f"{self.outcomes.reached} reached{earlier}: {causes}; the first: {self.failures[0].message}"
            )


def _compact(images: Any, keep: npt.NDArray[np.int64]) -> Any:
    # Rows move up inside the batch's own memory, so that it stays aligned and is recycled whole.
    if isinstance(images, list):
        return [images[i] for i in keep]
    for target, origin in enumerate(keep):
        if target != origin:
            images[target] = images[origin]
    return images[: len(keep)]


def fail(columns: Columns, row: int, stage: StageName, cause: str, message: str) -> None:
    """Fails a row whose image was made."""
    columns.problems.append((row, stage, cause, message))
    columns.damages = [(at, damage) for at, damage in columns.damages if at != row]
    columns.outcome[row] = FAILED
    columns.blank(row)
