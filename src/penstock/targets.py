"""Boxes, points and polygons of each picture, moved to where the model sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from penstock.errors import PlanError
from penstock.geometry import FrameName, Geometry, transform_boxes, transform_points

__all__ = ["TargetError", "Targets", "looked_up"]

KINDS = ("boxes", "points", "polygons")


class TargetError(Exception):
    """A target that is no box, point or polygon: the message of its item's failure."""


@dataclass(frozen=True, slots=True)
class Targets:
    """Which fields hold boxes, points and polygons in source pixels, and in which frame.

    A field may be named by a path: ``json.bbox`` looks into the field ``json``.

    >>> Targets(boxes="json.bbox").arguments()
    'boxes=json.bbox upright'
    """

    boxes: str | None = None
    points: str | None = None
    polygons: str | None = None
    frame: FrameName = "upright"
    box_format: Literal["xyxy", "xywh"] = "xyxy"
    clip: bool = False

    def __post_init__(self) -> None:
        if not any((self.boxes, self.points, self.polygons)):
            raise PlanError("targets(): expected boxes=, points= or polygons= the name of a field, found none.")
        for kind, name in self.named():
            if not isinstance(name, str):
                raise PlanError(f"targets({kind}={name!r}): expected the name of a field, found {name!r}.")
        if self.frame not in ("upright", "stored"):
            raise PlanError(f"targets(frame={self.frame!r}): expected 'upright' or 'stored', found {self.frame!r}.")
        if self.box_format not in ("xyxy", "xywh"):
            raise PlanError(
                f"targets(box_format={self.box_format!r}): expected 'xyxy' or 'xywh', found {self.box_format!r}."
            )

    def named(self) -> list[tuple[str, str]]:
        """The kinds that were asked for, each with its field."""
        return [(kind, getattr(self, kind)) for kind in KINDS if getattr(self, kind) is not None]

    def arguments(self) -> str:
        """The arguments as ``print(line)`` shows them."""
        fields = " ".join(f"{kind}={name}" for kind, name in self.named())
        return f"{fields} {self.frame}" + (" xywh" if self.box_format == "xywh" else "") + (" clip" * self.clip)

    def read(self, kind: str, name: str, value: Any) -> Any:
        """One row's value as numbers, float64: boxes [K, 4], points [K, 2 or 3], polygons a list of [P, 2].

        Raises TargetError for anything else.
        """
        if value is None:
            value = []
        try:
            if kind == "polygons":
                return [_pairs(polygon) for polygon in value]
            found = np.asarray(value, dtype=np.float64)
        except (TypeError, ValueError):
            found = np.full((1, 1), np.nan)
        if found.size == 0:
            return np.zeros((0, 4 if kind == "boxes" else 2))
        if found.ndim == 1:
            found = found[np.newaxis]
        widths = (4,) if kind == "boxes" else (2, 3)
        if found.ndim != 2 or found.shape[1] not in widths or not np.isfinite(found).all():
            shape = "[K, 4]" if kind == "boxes" else "[K, 2]"
            raise TargetError(
                f"targets: expected {kind} {shape} of finite numbers in the field {name!r}, found {_short(value)}"
            )
        if kind == "boxes" and self.box_format == "xywh":
            found = np.concatenate([found[:, :2], found[:, :2] + found[:, 2:]], axis=1)
        return found

    def moved(self, kind: str, value: Any, geometry: Geometry, row: int) -> Any:
        """What ``read`` gave, in the model's pixels, float64."""
        one = geometry[row]
        affine = one.source_to_model(self.frame)
        if kind == "polygons":
            return [self._clipped(transform_points(affine, polygon), one.model_size) for polygon in value]
        if kind == "points":
            placed = self._clipped(transform_points(affine, value[:, :2]), one.model_size)
            return np.concatenate([placed, value[:, 2:]], axis=1)
        boxes = transform_boxes(affine, value)
        corners = self._clipped(boxes.reshape(-1, 2, 2), one.model_size).reshape(-1, 4)
        if self.box_format == "xywh":
            corners = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
        return corners

    def empty(self, kind: str) -> Any:
        """What a row without an image has."""
        return [] if kind == "polygons" else np.zeros((0, 4 if kind == "boxes" else 2))

    def _clipped(self, points: npt.NDArray[np.float64], size: tuple[int, int] | None) -> npt.NDArray[np.float64]:
        if not self.clip or size is None:
            return points
        return np.clip(points, 0, [size[1], size[0]])


def looked_up(fields: Mapping[str, Sequence[Any]], name: str, row: int) -> Any:
    """One row of the field ``name``, or what a path such as ``json.objects.bbox`` leads to; KeyError where nothing.

    A list on the way is walked through: ``json.objects.bbox`` of a list of objects is the list of their boxes.

    >>> looked_up({"json": [{"objects": [{"bbox": [0, 0, 1, 1]}]}]}, "json.objects.bbox", 0)
    [[0, 0, 1, 1]]
    """
    if name in fields:
        return fields[name][row]
    head, _, rest = name.partition(".")
    value = fields[head][row]
    for part in rest.split(".") if rest else ():
        value = [entry[part] for entry in value] if isinstance(value, list) else value[part]
    return value


def _pairs(polygon: Any) -> npt.NDArray[np.float64]:
    """A polygon as [P, 2], from pairs or from x, y, x, y, ... in a row."""
    found = np.asarray(polygon, dtype=np.float64)
    if found.ndim == 1 and found.size % 2 == 0:
        found = found.reshape(-1, 2)
    if found.ndim != 2 or found.shape[1] != 2 or not np.isfinite(found).all():
        raise TargetError(f"targets: expected polygons [P, 2] of finite numbers, found {_short(polygon)}")
    return found


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "..."
