"""What an engine hands over for one batch, before any policy: columns with an outcome for every row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from penstock import _native
from penstock.ragged import aligned_empty
from penstock.transform.map_item import Changes
from penstock.types import DtypeName, LayoutName, Spec, StageName, named, numpy_dtype
from penstock.views import Views

__all__ = ["CLEAN", "DAMAGED", "FAILED", "Clean", "Columns", "blank_images", "decode_text", "names_of_notes"]

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

    def forget(self, rows: npt.NDArray[np.bool_]) -> None:
        """Takes back where the pixels of these rows came from, however far each came before it failed."""
        self.geometry[rows] = 0
        self.stored[rows] = 0
        self.orientation[rows] = 1
        self.sizes[rows] = 0
        for matrices in self.view_geometry.values():
            matrices[rows] = 0

    def keep(self, rows: npt.NDArray[np.int64]) -> None:
        """Leaves these rows and no others of all that a batch is made of; they move up in the batch's own memory."""
        self.views = {name: _compact(view, rows) for name, view in self.views.items()}
        self.view_geometry = {name: matrices[rows] for name, matrices in self.view_geometry.items()}
        self.images = next(iter(self.views.values())) if self.views else _compact(self.images, rows)
        self.geometry = self.geometry[rows]
        self.stored = self.stored[rows]
        self.orientation = self.orientation[rows]
        self.sizes = self.sizes[rows]
        for name, values in self.companions.items():
            self.companions[name] = [values[row] for row in rows.tolist()]
        for kind, found in self.targets.items():
            self.targets[kind] = [found[row] for row in rows.tolist()]
        self.changes = {row: self.changes[old] for row, old in enumerate(rows.tolist()) if old in self.changes}

    def fail(self, row: int, stage: StageName, cause: str, message: str) -> None:
        """Fails a row whose image was made."""
        self.problems.append((row, stage, cause, message))
        self.damages = [(at, damage) for at, damage in self.damages if at != row]
        self.outcome[row] = FAILED
        self.blank(row)


class Clean(NamedTuple):
    """A batch with an image in every row and nothing to say about any, as the pool hands it over."""

    images: Any
    places: _native.Places  # where the pixels came from
    hits: int
    misses: int


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


def _compact(images: Any, keep: npt.NDArray[np.int64]) -> Any:
    # Rows move up inside the batch's own memory, so that it stays aligned and is recycled whole.
    if isinstance(images, list):
        return [images[i] for i in keep]
    for target, origin in enumerate(keep):
        if target != origin:
            images[target] = images[origin]
    return images[: len(keep)]
