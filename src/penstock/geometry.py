"""From source pixels to model pixels and back: points, boxes, polygons, masks; (x, y), a pixel's centre at +0.5."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt

from penstock.errors import PlanError
from penstock.restore import InterpolationName, restore

__all__ = ["FrameName", "Geometry", "RowGeometry"]

FrameName = Literal["upright", "stored"]
Matrix = npt.NDArray[np.float64]
Points = npt.NDArray[np.float64]


def matrix(a: float, b: float, c: float, d: float, e: float, f: float) -> Matrix:
    """The affine x' = a x + b y + c, y' = d x + e y + f as float64 [2, 3]."""
    return np.array([[a, b, c], [d, e, f]], dtype=np.float64)


def compose(first: Matrix, then: Matrix) -> Matrix:
    """The affine that applies ``first``, then ``then``; float64 [..., 2, 3]."""
    # Written out, and in this order: native/plan.cpp does the same operations, so the bits are the same. A matrix
    # product would be free to fuse or reorder them.
    rows = []
    for row in range(2):
        p, q, r = then[..., row, 0], then[..., row, 1], then[..., row, 2]
        rows.append(
            np.stack(
                [
                    p * first[..., 0, 0] + q * first[..., 1, 0],
                    p * first[..., 0, 1] + q * first[..., 1, 1],
                    p * first[..., 0, 2] + q * first[..., 1, 2] + r,
                ],
                axis=-1,
            )
        )
    return np.stack(rows, axis=-2)


def invert(affine: Matrix) -> Matrix:
    """The inverse affine, float64 [..., 2, 3]; NaN where there is none."""
    a, b, c = affine[..., 0, 0], affine[..., 0, 1], affine[..., 0, 2]
    d, e, f = affine[..., 1, 0], affine[..., 1, 1], affine[..., 1, 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        determinant = a * e - b * d
        determinant = np.where(determinant == 0, np.nan, determinant)
        inverse = [e, -b, b * f - c * e, -d, a, c * d - a * f]
        flat = np.stack([value / determinant for value in inverse], axis=-1)
    return flat.reshape(*affine.shape[:-2], 2, 3)


def transform_points(affine: Matrix, points: npt.ArrayLike) -> Points:
    """Applies float64 [..., 2, 3] affines to points [..., 2] as (x, y); the leading axes broadcast."""
    values = np.asarray(points, dtype=np.float64)
    if values.ndim == 0 or values.shape[-1] != 2:
        raise PlanError(f"geometry: expected points of shape [..., 2] as (x, y), found shape {list(values.shape)}.")
    x, y = values[..., 0], values[..., 1]
    return np.stack(
        [
            affine[..., 0, 0] * x + affine[..., 0, 1] * y + affine[..., 0, 2],
            affine[..., 1, 0] * x + affine[..., 1, 1] * y + affine[..., 1, 2],
        ],
        axis=-1,
    )


def transform_boxes(affine: Matrix, boxes: npt.ArrayLike) -> Points:
    """Applies affines to boxes [..., 4] as (left, top, right, bottom); the upright box around the moved corners."""
    values = np.asarray(boxes, dtype=np.float64)
    if values.ndim == 0 or values.shape[-1] != 4:
        raise PlanError(
            f"geometry: expected boxes of shape [..., 4] as (left, top, right, bottom), found shape "
            f"{list(values.shape)}."
        )
    left, top, right, bottom = (values[..., side] for side in range(4))
    corners = np.stack(
        [
            transform_points(affine, np.stack(corner, axis=-1))
            for corner in ((left, top), (right, bottom), (right, top), (left, bottom))
        ]
    )
    return np.concatenate([corners.min(axis=0), corners.max(axis=0)], axis=-1)


def transform_polygons(affine: Matrix, polygons: Sequence[npt.ArrayLike]) -> list[Points]:
    """Applies one affine to polygons, each [P, 2] as (x, y) with its own P."""
    return [transform_points(affine, polygon) for polygon in polygons]


def upright_size(height: int, width: int, orientation: int) -> tuple[int, int]:
    """(height, width) of the upright image of a stored one."""
    return (width, height) if 5 <= orientation <= 8 else (height, width)


def orientation_matrix(height: int, width: int, orientation: int) -> Matrix:
    """Stored pixels to upright pixels for an EXIF orientation; 1 and what is not 1 to 8: no change."""
    h, w = float(height), float(width)
    match orientation:
        case 2:  # mirrored left to right
            return matrix(-1.0, 0.0, w, 0.0, 1.0, 0.0)
        case 3:  # half a turn
            return matrix(-1.0, 0.0, w, 0.0, -1.0, h)
        case 4:  # mirrored top to bottom
            return matrix(1.0, 0.0, 0.0, 0.0, -1.0, h)
        case 5:  # transposed
            return matrix(0.0, 1.0, 0.0, 1.0, 0.0, 0.0)
        case 6:  # upright after a quarter turn clockwise
            return matrix(0.0, -1.0, h, 1.0, 0.0, 0.0)
        case 7:  # transposed along the other diagonal
            return matrix(0.0, -1.0, h, -1.0, 0.0, w)
        case 8:  # upright after a quarter turn counter-clockwise
            return matrix(0.0, 1.0, 0.0, -1.0, 0.0, w)
        case _:
            return matrix(1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def _check_frame(frame: str) -> None:
    if frame not in ("upright", "stored"):
        raise PlanError(f"geometry: expected frame='upright' or 'stored', found {frame!r}.")


def _check_known(unknown: str) -> None:
    if unknown:
        raise PlanError(
            f"geometry: expected to know where the pixels went, found the stage {unknown}, which does not say; "
            f"map(geometry='keep' or 'returned') does."
        )


@dataclass(frozen=True, slots=True, eq=False)
class RowGeometry:
    """Where the pixels of one image went.

    ``matrix`` float64 [2, 3] takes stored pixels (before the EXIF orientation) to model pixels; ``height`` and
    ``width`` are the stored image's. Points are (x, y), a pixel's centre at +0.5; ``frame`` says what the source side
    means: "upright" (what viewers and annotation tools show) or "stored" (as in the file). ``model_size`` is (height,
    width) of what the model got, where known: a mask of another size is refused. A row without an image went nowhere:
    each method refuses it with a PlanError that names the stage, ``failed_in``, where there was one; so it is after a
    map of ``unknown`` geometry.

    >>> row = RowGeometry(matrix(0.5, 0.0, 0.0, 0.0, 0.5, 0.0), height=100, width=200)
    >>> row.to_model([[20, 10]])
    array([[10.,  5.]])
    >>> row.to_source([[10, 5]])
    array([[20., 10.]])
    """

    matrix: Matrix
    height: int
    width: int
    orientation: int = 1
    failed_in: str | None = None
    model_size: tuple[int, int] | None = None
    unknown: str = ""  # the stage after which nobody knows where the pixels went: "map blur"

    @property
    def upright_size(self) -> tuple[int, int]:
        """(height, width) of the source image as viewers show it."""
        return upright_size(self.height, self.width, self.orientation)

    def source_to_model(self, frame: FrameName = "upright") -> Matrix:
        """The affine from source pixels in ``frame`` to model pixels, float64 [2, 3]."""
        if self.height < 1 or self.width < 1:
            found = "a blank one" if self.failed_in is None else f"one that failed in {self.failed_in}"
            raise PlanError(f"geometry: expected a row with an image, found {found}.")
        _check_known(self.unknown)
        return self._affine(frame)

    def _affine(self, frame: FrameName) -> Matrix:
        _check_frame(frame)
        if frame == "stored" or self.orientation == 1:
            return self.matrix
        to_stored = invert(orientation_matrix(self.height, self.width, self.orientation))
        return compose(to_stored, self.matrix)

    def to_model(self, points: npt.ArrayLike, *, frame: FrameName = "upright") -> Points:
        """Source points [..., 2] as (x, y) to model pixels, float64 [..., 2]."""
        return transform_points(self.source_to_model(frame), points)

    def to_source(self, points: npt.ArrayLike, *, frame: FrameName = "upright") -> Points:
        """Model points [..., 2] as (x, y) to source pixels, float64 [..., 2]."""
        return transform_points(invert(self.source_to_model(frame)), points)

    def boxes_to_model(self, boxes: npt.ArrayLike, *, frame: FrameName = "upright") -> Points:
        """Source boxes [..., 4] as (left, top, right, bottom) to model pixels, float64 [..., 4]; not clipped."""
        return transform_boxes(self.source_to_model(frame), boxes)

    def boxes_to_source(self, boxes: npt.ArrayLike, *, frame: FrameName = "upright") -> Points:
        """Model boxes [..., 4] as (left, top, right, bottom) to source pixels, float64 [..., 4]; not clipped."""
        return transform_boxes(invert(self.source_to_model(frame)), boxes)

    def polygons_to_model(self, polygons: Sequence[npt.ArrayLike], *, frame: FrameName = "upright") -> list[Points]:
        """Source polygons, each [P, 2] as (x, y) with its own P, to model pixels, float64."""
        return transform_polygons(self.source_to_model(frame), polygons)

    def polygons_to_source(self, polygons: Sequence[npt.ArrayLike], *, frame: FrameName = "upright") -> list[Points]:
        """Model polygons, each [P, 2] as (x, y) with its own P, to source pixels, float64."""
        return transform_polygons(invert(self.source_to_model(frame)), polygons)

    def restore(
        self,
        mask: npt.ArrayLike,
        interpolation: InterpolationName = "nearest",
        *,
        frame: FrameName = "upright",
        outside: float = 0,
    ) -> npt.NDArray[Any]:
        """A map of model pixels, [h, w] or [h, w, C], onto the source picture: [H, W] or [H, W, C], same dtype.

        A source pixel becomes what the map holds at the place of the pixel's centre: the pixel there ("nearest":
        labels, bool, any dtype) or the mean of the four around it by distance ("bilinear": floating-point maps, such as
        logits). Places that the model did not see, cropped away, become ``outside``. Raises PlanError, also where it is
        not known where the pixels went.

        >>> RowGeometry(matrix(0.5, 0.0, -1.0, 0.0, 0.5, 0.0), height=2, width=6).restore([[1, 2]], outside=9)
        array([[9, 9, 1, 1, 2, 2],
               [9, 9, 1, 1, 2, 2]])
        """
        affine = self.source_to_model(frame)
        shape = np.shape(mask)
        if self.model_size is not None and len(shape) >= 2 and shape[:2] != self.model_size:
            raise PlanError(
                f"restore: expected a map of the model's own H={self.model_size[0]} W={self.model_size[1]}, found "
                f"H={shape[0]} W={shape[1]}; resize it to that first."
            )
        if not np.isfinite(affine).all():
            raise PlanError("geometry: expected to know where the pixels went, found a matrix that is not finite.")
        height, width = self.upright_size if frame == "upright" else (self.height, self.width)
        return restore(mask, affine, height, width, interpolation, outside)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Geometry:
    """Where the pixels of each row of a batch went.

    ``matrices`` float64 [N, 2, 3] take stored pixels (before the EXIF orientation) to model pixels, ``sizes``
    integers [N, 2] are the stored (height, width), ``orientation`` [N] is EXIF's 1 to 8. ``geometry[i]`` is one row's.
    A row without an image (failed, or blank at the end) has zeros: its points are NaN among those of all rows; asked
    for alone, and for masks, it is refused with a PlanError that names the stage it failed in (``failed_in``, by row).
    ``model_sizes`` integers [N, 2] are the (height, width) of what the model got: masks have to have them. ``unknown``
    names the stage that did not say where it moved the pixels, a map: everything is refused then, and ``matrices`` are
    NaN.

    With ``row=None`` points are [N, ..., 2], a group for each row; with ``row=i`` they are [..., 2], all of row i.

    >>> geometry = Geometry(
    ...     np.array([[[2.0, 0, 0], [0, 2, 0]]]), np.array([[10, 20]]), np.array([6])
    ... )
    >>> geometry.to_model([[1, 1]], row=0, frame="stored")
    array([[2., 2.]])
    """

    matrices: Matrix
    sizes: npt.NDArray[np.signedinteger[Any]]
    orientation: npt.NDArray[np.signedinteger[Any]]
    failed_in: Mapping[int, str] = field(default_factory=dict)
    model_sizes: npt.NDArray[np.signedinteger[Any]] | None = None
    unknown: str = ""

    def __len__(self) -> int:
        return len(self.sizes)

    def __repr__(self) -> str:
        known = int(np.count_nonzero(self.sizes.all(axis=-1)))
        return f"Geometry({len(self)} rows, {known} with an image)"

    def __getitem__(self, row: int) -> RowGeometry:
        affine = self.matrices[row]
        height, width = (int(side) for side in self.sizes[row])
        if height == 0 or width == 0:
            affine = np.full((2, 3), np.nan)
        place = row % len(self)
        model = None
        if self.model_sizes is not None and self.model_sizes[row].all():
            model = (int(self.model_sizes[row][0]), int(self.model_sizes[row][1]))
        failed_in = self.failed_in.get(place)
        return RowGeometry(affine, height, width, int(self.orientation[row]), failed_in, model, self.unknown)

    def __iter__(self) -> Iterator[RowGeometry]:
        return (self[row] for row in range(len(self)))

    def source_to_model(self, frame: FrameName = "upright") -> Matrix:
        """The affines from source pixels in ``frame`` to model pixels, float64 [N, 2, 3]."""
        _check_frame(frame)
        _check_known(self.unknown)
        found = [row._affine(frame) for row in self]  # noqa: SLF001 - of this file; the public one refuses blank rows
        return np.array(found, dtype=np.float64).reshape(-1, 2, 3)

    def to_model(self, points: npt.ArrayLike, *, row: int | None = None, frame: FrameName = "upright") -> Points:
        """Source points as (x, y) to model pixels, float64, same shape."""
        return transform_points(self._affines(points, row, frame), points)

    def to_source(self, points: npt.ArrayLike, *, row: int | None = None, frame: FrameName = "upright") -> Points:
        """Model points as (x, y) to source pixels, float64, same shape."""
        return transform_points(invert(self._affines(points, row, frame)), points)

    def boxes_to_model(self, boxes: npt.ArrayLike, *, row: int | None = None, frame: FrameName = "upright") -> Points:
        """Source boxes as (left, top, right, bottom) to model pixels, float64, same shape; not clipped."""
        return transform_boxes(self._affines(boxes, row, frame), boxes)

    def boxes_to_source(self, boxes: npt.ArrayLike, *, row: int | None = None, frame: FrameName = "upright") -> Points:
        """Model boxes as (left, top, right, bottom) to source pixels, float64, same shape; not clipped."""
        return transform_boxes(invert(self._affines(boxes, row, frame)), boxes)

    def polygons_to_model(
        self, polygons: Sequence[npt.ArrayLike], *, row: int, frame: FrameName = "upright"
    ) -> list[Points]:
        """Source polygons of row ``row``, each [P, 2] as (x, y) with its own P, to model pixels, float64."""
        return transform_polygons(self._affines(polygons, row, frame), polygons)

    def polygons_to_source(
        self, polygons: Sequence[npt.ArrayLike], *, row: int, frame: FrameName = "upright"
    ) -> list[Points]:
        """Model polygons of row ``row``, each [P, 2] as (x, y) with its own P, to source pixels, float64."""
        return transform_polygons(invert(self._affines(polygons, row, frame)), polygons)

    @overload
    def restore(
        self,
        mask: npt.ArrayLike,
        interpolation: InterpolationName = ...,
        *,
        row: int,
        frame: FrameName = ...,
        outside: float = ...,
    ) -> npt.NDArray[Any]: ...
    @overload
    def restore(
        self,
        mask: npt.ArrayLike | Sequence[npt.ArrayLike],
        interpolation: InterpolationName = ...,
        *,
        row: None = ...,
        frame: FrameName = ...,
        outside: float = ...,
    ) -> list[npt.NDArray[Any]]: ...
    def restore(
        self,
        mask: Any,
        interpolation: InterpolationName = "nearest",
        *,
        row: int | None = None,
        frame: FrameName = "upright",
        outside: float = 0,
    ) -> npt.NDArray[Any] | list[npt.NDArray[Any]]:
        """Maps of model pixels onto the source pictures, as :meth:`RowGeometry.restore` does.

        With ``row=i`` ``mask`` is that row's, [h, w] or [h, w, C], and so is the answer; with ``row=None`` it holds one
        for each row, [N, h, w] or [N, h, w, C] or a sequence, and the answer is a list of N arrays, each of its own
        picture's size. Raises PlanError, naming the row, where it is not known where the pixels went.
        """
        if row is not None:
            return self._restore(mask, row, interpolation, frame, outside)
        if len(mask) != len(self):
            raise PlanError(f"restore: expected a map for each of the {len(self)} rows, or row=, found {len(mask)}.")
        return [self._restore(entry, i, interpolation, frame, outside) for i, entry in enumerate(mask)]

    def _restore(
        self, mask: npt.ArrayLike, row: int, interpolation: InterpolationName, frame: FrameName, outside: float
    ) -> npt.NDArray[Any]:
        try:
            return self[row].restore(mask, interpolation, frame=frame, outside=outside)
        except PlanError as error:
            raise PlanError(f"restore of row {row}: {str(error).split(': ', 1)[1]}") from None

    def _affines(self, values: Any, row: int | None, frame: FrameName) -> Matrix:
        """The affines shaped so that they broadcast over the values' leading axes."""
        if row is not None:
            try:
                return self[row].source_to_model(frame)
            except PlanError as error:
                raise PlanError(str(error).replace("geometry:", f"geometry of row {row}:", 1)) from None
        shape = np.shape(values)
        if len(shape) < 2 or shape[0] != len(self):
            raise PlanError(
                f"geometry: expected a group of points for each of the {len(self)} rows, or row=, "
                f"found shape {list(shape)}."
            )
        affines = self.source_to_model(frame)
        return affines.reshape(len(self), *([1] * (len(shape) - 2)), 2, 3)
