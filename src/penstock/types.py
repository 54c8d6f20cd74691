"""The words and values that every other module shares: Item, Spec, Failure, Damage, Row, Batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import numpy.typing as npt

from penstock.geometry import Geometry, RowGeometry
from penstock.tensors import host, moved, pinned

if TYPE_CHECKING:
    from PIL.Image import Image

StageName = Literal["source", "read", "decode", "transform", "batch", "deliver"]
FilterName = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
FitName = Literal["fill", "cover", "contain", "inside"]
PrecisionName = Literal["uint8", "float32"]
PadModeName = Literal["constant", "edge", "reflect", "symmetric"]
ModeName = Literal["RGB", "L", "RGBA"]
RaggedName = Literal["pad", "list", "bucket"]
RoundingName = Literal["even", "floor"]
DtypeName = Literal["uint8", "uint16", "float16", "bfloat16", "float32"]
LayoutName = Literal["NHWC", "NCHW"]
LastName = Literal["short", "drop", "blank"]
OnFailure = Literal["raise", "skip", "blank", "replace"]
OnDamage = Literal["keep", "fail"]
EngineName = Literal["native", "reference"]


@dataclass(frozen=True, slots=True)
class Item:
    """One entry of a source: its position, its key, and what the source knows beside the bytes."""

    index: int
    key: str
    label: int | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failure:
    """An item that did not become pixels.

    ``stage`` is where, ``cause`` a short class to group by, ``message`` the complete sentence for a person.
    """

    key: str
    index: int
    stage: StageName
    cause: str
    message: str


@dataclass(frozen=True, slots=True)
class Damage:
    """An item whose codec recovered: the pixels are Pillow's, ``message`` is the codec's sentence."""

    key: str
    index: int
    message: str


@dataclass(frozen=True, slots=True)
class Spec:
    """What flows between two stages: size, channels, dtype, value range, where it lives.

    ``height`` and ``width`` are None where each image has its own (ragged).
    """

    kind: Literal["encoded", "image", "batch"]
    height: int | None = None
    width: int | None = None
    channels: int = 3
    dtype: DtypeName = "uint8"
    range: str = "0..255"
    memory: str = "host"
    count: int | None = None
    layout: LayoutName = "NHWC"
    patch: int | None = None  # side of a patch after patchify: an image is [max_patches, patch * patch * channels]
    max_patches: int | None = None
    # (patch, max_patches) that a resize(max_patches=) has fitted the sides to; gone once another verb changes them.
    budget: tuple[int, int] | None = None
    ragged_as: RaggedName | None = None  # how a batch holds images of different sizes
    copies: int | None = None  # of a view that is made more than once of each image: an axis before the image's own

    @property
    def ragged(self) -> bool:
        """True where each image has its own size; never after patchify, which has one shape for all."""
        return self.patch is None and (self.height is None or self.width is None)

    def with_(self, **changes: Any) -> Spec:
        """This Spec with some fields changed; a new size is no longer one that fits a budget of patches."""
        if "height" in changes or "width" in changes:
            changes.setdefault("budget", None)
        return replace(self, **changes)

    def shape(self, layout: LayoutName | None = None) -> tuple[int, ...]:
        """The shape of one image's array, with its view's copies; sides that each image has its own are 0."""
        if self.patch is not None:
            return self.max_patches or 0, self.patch * self.patch * self.channels
        height, width = self.height or 0, self.width or 0
        planar = (layout or self.layout) == "NCHW"
        copies = () if self.copies is None else (self.copies,)
        return (*copies, self.channels, height, width) if planar else (*copies, height, width, self.channels)

    def __str__(self) -> str:
        return self._text() if self.memory == "host" else f"{self._text()} on {self.memory}"

    def _text(self) -> str:
        if self.kind == "encoded":
            return "encoded bytes"
        if self.patch is not None:
            count = [] if self.kind != "batch" else ["N" if self.count is None else str(self.count)]
            return f"{self.dtype} [{', '.join([*count, *map(str, self.shape())])}] {self.range}"
        height = "H" if self.height is None else str(self.height)
        width = "W" if self.width is None else str(self.width)
        sides = [height, width, str(self.channels)] if self.layout == "NHWC" else [str(self.channels), height, width]
        if self.copies is not None:
            sides.insert(0, str(self.copies))
        if self.kind == "batch" and self.ragged_as == "list":
            rows = "N" if self.count is None else str(self.count)
            return f"list of {rows} {self.dtype} [{', '.join(sides)}] {self.range}"
        if self.kind == "batch":
            sides.insert(0, "N" if self.count is None else str(self.count))
        return f"{self.dtype} [{', '.join(sides)}] {self.range}"


UInt8Image = npt.NDArray[np.uint8]


def numpy_dtype(name: DtypeName) -> np.dtype[Any]:
    """NumPy's dtype of that name; bfloat16 is the package ml_dtypes'.

    >>> numpy_dtype("float16").itemsize
    2
    """
    if name != "bfloat16":
        return np.dtype(name)
    import ml_dtypes  # only where bfloat16 is asked for; normalize says how to install it where it is missing

    bfloat16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return bfloat16


def named(array: Any, name: DtypeName) -> Any:
    """What the native core made, under the dtype it means: bfloat16 comes as uint16."""
    if name != "bfloat16":
        return array
    if isinstance(array, list):
        return [None if image is None else image.view(numpy_dtype(name)) for image in array]
    return array.view(numpy_dtype(name))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Row:
    """One finished image with everything that belongs to it.

    ``image`` is [H, W, C] or [C, H, W] (``layout``), or patches [P, D]; ``statistics`` is what normalised it, so that
    ``show()`` can turn it back into a picture.
    """

    image: npt.NDArray[Any]
    label: int
    key: str
    index: int
    valid: bool = True
    damaged: bool = False
    geometry: RowGeometry | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    failure: Failure | None = None
    layout: LayoutName = "NHWC"
    statistics: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    patch: int | None = None  # side of a patch, where ``image`` is [P, D]
    grid: tuple[int, int] | None = None  # (rows, columns) of its patches
    replaced_by: int = -1  # source index of the item that stands in for this one, which failed; -1: the row is its own

    def show(self) -> Image:
        """This row as a Pillow picture (L, RGB or RGBA), normalisation undone; a notebook displays it."""
        from penstock.sheet import beside, joined, picture

        if self.image.ndim == (4 if self.patch is None else 3):  # several pictures: Batch.pictures has them one by one
            if self.patch is not None:
                return beside([])
            return beside([picture(image, self.layout, self.statistics) for image in self.image])
        if self.patch is not None and self.grid is not None:
            return picture(joined(self.image, self.patch, *self.grid), "NHWC", self.statistics)
        return picture(self.image, self.layout, self.statistics)

    def _repr_png_(self) -> bytes:
        from penstock.sheet import png

        return png(self.show())

    def __repr__(self) -> str:
        state = "valid" if self.valid else "failed"
        return (
            f"Row(key={self.key!r}, index={self.index}, label={self.label}, image={self.image.dtype} "
            f"{list(self.image.shape)}, {'damaged' if self.damaged else state})"
        )


@dataclass(slots=True, eq=False, repr=False)
class Batch:
    """N finished images and what belongs to them; position i of every column is the same item.

    ``images`` is writable, 64-byte aligned, [N, H, W, C] or [N, C, H, W] of 1, 3 or 4 channels: uint8, uint16, float16,
    bfloat16 or float32. ``labels`` is int64 [N], -1 where there is none (float32
    [N, classes] after mixup or cutmix). ``index`` is int64 [N], the position in the
    source (-1: a blank row that pads the last batch).
    ``valid`` and ``damaged`` are bool [N]. ``failures`` are those of this batch. ``step`` counts the batches of this
    pass from where it began, so from 0 again after a state was loaded: that batch is
    ``line.batch_at(step, start=state["position"])``.

    After ``patchify``, ``images`` is [N, P, D], ``grid`` int64 [N, 2] (rows, columns), ``patch_count`` int64 [N], and
    ``positions`` int64 [N, P, 2] says (row, column) of each patch, -1 where a slot holds none of the image's. Where
    images have each their own size (``batch(n, ragged=)``), ``sizes`` is int64 [N, 2] (height, width); with
    ``ragged="list"``, ``images`` is a list of arrays, None for a failed row. All four are None where they do not apply.

    With ``on_failure="replace"``, ``replaced_by`` int64 [N] is the source index of the item that stands in for a failed
    one, -1 where a row is its own; label, fields, sizes and geometry are then the stand-in's, like the pixels. With
    ``batch(n, images=M)`` a row of ``images`` is a picture: ``image_row`` int64 [M] says which of the batch's items it
    belongs to (-1: none), ``image_count`` int64 [N] how many each item has.
    ``companions``, ``targets`` and ``views`` hold by name what ``.companion()``, ``.targets()`` and ``.views()`` made:
    a view is [N, copies, ...], or [N, ...] of a bare recipe, and ``images`` is the first view's array. By the same
    names ``view_geometry`` holds a tuple of Geometry, one a copy; of a bare recipe the Geometry itself.
    """

    images: npt.NDArray[Any]
    labels: npt.NDArray[np.int64]
    keys: Sequence[str]
    index: npt.NDArray[np.int64]
    valid: npt.NDArray[np.bool_]
    damaged: npt.NDArray[np.bool_]
    geometry: Geometry
    fields: Mapping[str, Any]
    failures: tuple[Failure, ...]
    step: int
    epoch: int
    layout: LayoutName = "NHWC"
    statistics: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    sizes: npt.NDArray[np.int64] | None = None
    positions: npt.NDArray[np.int64] | None = None
    patch_count: npt.NDArray[np.int64] | None = None
    grid: npt.NDArray[np.int64] | None = None
    patch: int | None = None
    replaced_by: npt.NDArray[np.int64] | None = None
    image_row: npt.NDArray[np.int64] | None = None
    image_count: npt.NDArray[np.int64] | None = None
    companions: Mapping[str, Any] = field(default_factory=dict)
    targets: Mapping[str, Any] = field(default_factory=dict)
    views: Mapping[str, Any] = field(default_factory=dict)
    view_geometry: Mapping[str, Geometry | tuple[Geometry, ...]] = field(default_factory=dict)
    _blank: npt.NDArray[Any] | None = None  # what a row has for an image where a list holds None
    _draws: npt.NDArray[np.int64] | None = None  # what keys the draws of each row, where a device still draws
    _late: Callable[[], Mapping[str, Any]] | None = None  # the fields that nobody has read yet

    @classmethod
    def begun(cls, late: Callable[[], Mapping[str, Any]], **known: Any) -> Self:
        """A batch of which only what is ``known`` is there; ``late()`` makes the other fields when one is read."""
        batch = cls.__new__(cls)
        for name, value in {**known, "_late": late}.items():
            setattr(batch, name, value)
        return batch

    if not TYPE_CHECKING:  # a checker would take any name for an attribute

        def __getattr__(self, name: str) -> Any:
            if name == "_late" or name not in self.__slots__:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            if self._late is not None:
                for other, value in self._late().items():
                    try:
                        object.__getattribute__(self, other)
                    except AttributeError:  # else somebody has put another value there, or another thread was faster
                        setattr(self, other, value)
                self._late = None
            return object.__getattribute__(self, name)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, position: int) -> Row:
        """Row ``position`` (negative counts from the end); its image is a view of ``images``."""
        count = len(self)
        if not -count <= position < count:
            raise IndexError(f"expected a row between 0 and {count - 1}, found {position}")
        i = position % count
        if self.image_row is not None:
            return self._several(i)
        stand_in = -1 if self.replaced_by is None else int(self.replaced_by[i])
        failed = not self.valid[i] or stand_in >= 0
        failure = next((f for f in self.failures if f.index == self.index[i]), None) if failed else None
        return Row(
            image=self._image(i),
            label=self._label(i),
            key=self.keys[i],
            index=int(self.index[i]),
            valid=bool(self.valid[i]),
            damaged=bool(self.damaged[i]),
            geometry=self.geometry[i],
            fields={name: column[i] for name, column in self.fields.items()},
            failure=failure,
            layout=self.layout,
            statistics=self.statistics,
            patch=self.patch,
            grid=None if self.grid is None else (int(self.grid[i, 0]), int(self.grid[i, 1])),
            replaced_by=stand_in,
        )

    def _several(self, i: int) -> Row:
        """An item with all its pictures: [k, H, W, C], or as ``images`` has them; a view of it."""
        slots = np.flatnonzero(self.image_row == i)
        first = int(slots[0]) if slots.size else 0
        return Row(
            image=self.images[first : first + len(slots)],
            label=self._label(i),
            key=self.keys[i],
            index=int(self.index[i]),
            valid=bool(self.valid[i]),
            damaged=bool(self.damaged[i]),
            fields={name: column[i] for name, column in self.fields.items()},
            failure=next((f for f in self.failures if f.index == self.index[i]), None) if not self.valid[i] else None,
            layout=self.layout,
            statistics=self.statistics,
            patch=self.patch,
        )

    def pictures(self) -> Iterator[Row]:
        """Each picture as a row of its own, with its geometry and what belongs to its item, in order."""
        if self.image_row is None:
            yield from self
            return
        for slot in np.flatnonzero(self.image_row >= 0).tolist():
            of_item = self._several(int(self.image_row[slot]))
            grid = None if self.grid is None else (int(self.grid[slot, 0]), int(self.grid[slot, 1]))
            yield replace(of_item, image=self.images[slot], geometry=self.geometry[slot], grid=grid)

    def _label(self, i: int) -> int:
        """One row's class: the one with the largest share where a map made shares of the labels."""
        label: npt.NDArray[Any] = self.labels[i]
        if label.ndim == 0:
            return int(label)
        return int(label.argmax()) if label.any() else -1

    def _image(self, i: int) -> npt.NDArray[Any]:
        """One row's image: without the padding that other rows' sizes brought; [0, 0, C] where a list has none."""
        image: npt.NDArray[Any] | None = self.images[i]
        if image is None:
            return np.zeros((0, 0, 3), np.uint8) if self._blank is None else self._blank
        if self.sizes is None or image.ndim != 3:
            return image
        height, width = self.sizes[i].tolist()
        return image[:height, :width] if self.layout == "NHWC" else image[:, :height, :width]

    def __iter__(self) -> Iterator[Row]:
        return (self[i] for i in range(len(self)))

    def as_dict(self) -> dict[str, Any]:
        """Every column by name, as they are (no copy)."""
        return {name: getattr(self, name) for name in BATCH_FIELDS}

    def __dlpack__(self, **kwargs: Any) -> Any:
        """``images`` as a DLPack capsule, so that ``torch.from_dlpack(batch)`` works without a copy; not of a list."""
        return self.images.__dlpack__(**kwargs)

    def __dlpack_device__(self) -> tuple[int, int]:
        kind, index = self.images.__dlpack_device__()
        return int(kind), int(index)

    def to(self, device: Any) -> Self:
        """The batch with every array a torch tensor on ``device``; keys, fields and geometry stay as they are.

        Raises PlanError where torch is not installed.
        """
        return moved(self, device)

    def pin_memory(self) -> Self:
        """The batch with every array a torch tensor in page-locked memory; raises PlanError without a CUDA device."""
        return pinned(self)

    def sheet(self, n: int = 16) -> Image:
        """A contact sheet of the first ``n`` rows: one Pillow picture, keys and classes below, failures crossed out."""
        from penstock.sheet import contact_sheet

        return contact_sheet(list(islice(self.pictures(), n)))

    def _repr_png_(self) -> bytes:
        from penstock.sheet import png

        return png(self.sheet())

    def __repr__(self) -> str:
        return (
            f"Batch(step={self.step}, epoch={self.epoch}, images={self._images_text()}, "
            f"valid={int(self.valid.sum())}, damaged={int(self.damaged.sum())}, failures={len(self.failures)})"
        )

    def _images_text(self) -> str:
        """The images' dtype and shape; as ranges of sides where each has its own."""
        images: Any = self.images
        if not isinstance(images, list):
            text = f"{images.dtype} {list(images.shape)}"
            if self.sizes is None or images.ndim != 4:
                return text
            most = images.shape[1:3] if self.layout == "NHWC" else images.shape[2:]
            own = host(self.sizes)[host(self.valid)]
            return text if (own == tuple(most)).all() else f"{text} padded"
        made = [image for image in images if image is not None]
        if not made:
            return f"list of {len(images)} without an image"
        spans = [f"{min(sides)}..{max(sides)}" for sides in zip(*(image.shape for image in made), strict=True)]
        spans = [low if low == high else span for span in spans for low, high in [span.split("..")]]
        return f"list of {len(images)} {made[0].dtype} [{', '.join(spans)}]"


BATCH_FIELDS: tuple[str, ...] = (
    "images",
    "labels",
    "keys",
    "index",
    "valid",
    "damaged",
    "geometry",
    "fields",
    "failures",
    "step",
    "epoch",
    "sizes",
    "positions",
    "patch_count",
    "grid",
    "replaced_by",
    "image_row",
    "image_count",
    "companions",
    "targets",
    "views",
    "view_geometry",
)
