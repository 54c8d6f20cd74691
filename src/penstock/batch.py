"""How rows become batches: Batching (size, last, layout) and Selection (which fields are handed over)."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from penstock.columns import Column
from penstock.errors import PlanError
from penstock.padding import Pad
from penstock.types import BATCH_FIELDS, LastName, LayoutName, RaggedName, Spec

if TYPE_CHECKING:
    from penstock.sources.source import Source

__all__ = ["Batching", "Selection", "expect_items"]

MAX_ROWS = 1 << 20
NAMED_FIELDS = ("companions", "fields", "targets", "views")
"""Columns that hold others by name; ``views.large`` selects one of them."""


@dataclass(frozen=True, slots=True)
class Batching:
    """``size`` rows a batch; what happens to the last one; the order of the axes; how different sizes are held.

    ``images`` slots for the pictures of all rows, where an item may have several; ``pads``: fields padded to a length.

    >>> Batching(64, layout="NCHW").describe()
    'batch 64 last=short NCHW'
    """

    size: int
    last: LastName = "short"
    layout: LayoutName = "NHWC"
    ragged: RaggedName | None = None
    images: int | None = None
    pads: tuple[Pad, ...] = ()

    def __post_init__(self) -> None:
        try:
            size = None if isinstance(self.size, bool) else operator.index(self.size)
        except TypeError:
            size = None
        if size is None or not 1 <= size <= MAX_ROWS:
            raise PlanError(
                f"batch({self.size!r}): expected a whole number of rows from 1 to {MAX_ROWS}, found {self.size!r}."
            )
        object.__setattr__(self, "size", size)
        if self.last not in ("short", "drop", "blank"):
            raise PlanError(
                f"batch({size}, last={self.last!r}): expected last= one of 'short', 'drop', 'blank', "
                f"found {self.last!r}."
            )
        if self.layout not in ("NHWC", "NCHW"):
            raise PlanError(
                f"batch({size}, layout={self.layout!r}): expected layout= one of 'NHWC', 'NCHW', found {self.layout!r}."
            )
        if self.ragged not in (None, "pad", "list", "bucket"):
            raise PlanError(
                f"batch({size}, ragged={self.ragged!r}): expected ragged= one of 'pad', 'list', 'bucket', "
                f"found {self.ragged!r}."
            )

        self._check_images()

    def _check_images(self) -> None:
        if self.images is None:
            return
        text = f"batch({self.size}, images={self.images!r})"
        try:
            images = None if isinstance(self.images, bool) else operator.index(self.images)
        except TypeError:
            images = None
        if images is None or not 1 <= images <= MAX_ROWS:
            raise PlanError(f"{text}: expected a whole number of slots from 1 to {MAX_ROWS}, found {self.images!r}.")
        object.__setattr__(self, "images", images)
        if self.ragged is not None:
            raise PlanError(
                f"{text}: expected images of one size, found ragged={self.ragged!r}; leave it out, and resize or "
                f"patchify before the batch."
            )

    def spec(self, spec: Spec) -> Spec:
        """A batch of images; raises PlanError for bytes, and for images of different sizes without ``ragged``."""
        if spec.kind == "encoded":
            raise PlanError(f"batch({self.size}): expected images, found encoded bytes; call .decode() before it.")
        if spec.kind == "batch":
            raise PlanError(f"batch({self.size}): expected one batch, found a second one; leave it out.")
        if spec.patch is not None and self.layout != "NHWC":
            raise PlanError(
                f"batch({self.size}, layout={self.layout!r}): expected no layout= after patchify, whose patches are "
                f"[N, P, D], found {self.layout!r}."
            )
        if spec.ragged and self.ragged is None:
            raise PlanError(
                f"batch({self.size}): expected images of one size, found {spec}; call .resize(height, width), or "
                f".center_crop(height, width) after .resize(short_side=), before it, or say how to hold them: "
                f"ragged='pad', 'list' or 'bucket'."
            )
        return spec.with_(
            kind="batch",
            count=self.images or self.size,
            layout=self.layout,
            ragged_as=self.ragged if spec.ragged else None,
        )

    def arguments(self, spec: Spec | None = None) -> str:
        """The arguments as ``print(line)`` shows them; patches (``spec``) have no layout."""
        layout = "" if spec is not None and spec.patch is not None else f" {self.layout}"
        ragged = "" if self.ragged is None else f" ragged={self.ragged}"
        images = "" if self.images is None else f" images={self.images}"
        pads = "".join(f" pad {pad}" for pad in self.pads)
        return f"{self.size}{images} last={self.last}{layout}{ragged}{pads}"

    def describe(self) -> str:
        """The stage and its arguments in one short text."""
        return f"batch {self.arguments()}"


def expect_items(source: Source, batching: Batching | None, *, beside: bool, text: str = "") -> None:
    """Refuses a source whose items a batch cannot hold, and fields that it does not have; PlanError.

    ``beside``: companions or targets go with each image.
    """
    several = batching is not None and batching.images is not None
    text = text or ("batch()" if batching is None else f"batch({batching.size})")
    if source.several and not several:
        raise PlanError(
            f"{text}: expected items of one image each, found a source whose items may have several; "
            f"batch(n, images=) says how many pictures a batch holds."
        )
    if several and beside:
        raise PlanError(f"{text}: expected images alone with images=, found companions or targets beside them.")
    for pad in () if batching is None else batching.pads:
        if pad.name not in source.field_names:
            names = ", ".join(map(repr, source.field_names)) or "none"
            raise PlanError(f"{text}: expected pad= to name a field, found {pad.name!r}; there are {names}.")


def _value(batch: Any, field: str) -> Any:
    """A field of a batch, or one entry of it: "views.large"."""
    column, dot, name = field.partition(".")
    value = getattr(batch, column)
    return value[name] if dot else value


@dataclass(frozen=True, slots=True)
class Selection:
    """Which fields of a batch are handed over: as a tuple, or as a dict when ``names`` renames them.

    >>> Selection.of(("images", "labels"), {}).describe()
    'select images, labels'
    >>> Selection.of((), {"pixel_values": "images"}).describe()
    'select pixel_values=images'
    """

    fields: tuple[str | Column, ...]
    names: tuple[str, ...] | None = None

    @classmethod
    def of(
        cls, fields: tuple[str, ...], renamed: Mapping[str, str], hf: Mapping[str, Column] | None = None
    ) -> Selection:
        """From the arguments of ``.select(*fields, hf=..., **renamed)``; raises PlanError for a field no batch has.

        ``hf`` is what ``presets.hf_columns`` finds for that argument: a processor's output by its names.
        """
        columns = hf or {}
        if not (fields or renamed or columns):
            raise PlanError(f"select(): expected names of fields ({', '.join(BATCH_FIELDS)}), found none.")
        for name in (*fields, *renamed.values()):
            column, dot, _ = name.partition(".")
            if name not in BATCH_FIELDS and not (dot and column in NAMED_FIELDS):
                import difflib  # only where somebody has mistyped

                nearest = difflib.get_close_matches(name, BATCH_FIELDS, 1)
                hint = f"; the nearest is {nearest[0]!r}" if nearest else ""
                raise PlanError(f"select(): expected one of {', '.join(BATCH_FIELDS)}, found {name!r}{hint}.")
        names = (*columns, *fields, *renamed)
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise PlanError(f"select(): expected each name once, found {repeated[0]!r} twice.")
        return cls((*columns.values(), *fields, *renamed.values()), names if renamed or columns else None)

    def take(self, batch: Any) -> tuple[Any, ...] | dict[str, Any]:
        """The chosen fields of a batch."""
        values = tuple(field.of(batch) if isinstance(field, Column) else _value(batch, field) for field in self.fields)
        return values if self.names is None else dict(zip(self.names, values, strict=True))

    def arguments(self) -> str:
        """The arguments as ``print(line)`` shows them."""
        texts = [str(field) for field in self.fields]
        if self.names is None:
            return ", ".join(texts)
        pairs = zip(self.names, texts, strict=True)
        return ", ".join(text if name == text else f"{name}={text}" for name, text in pairs)

    def describe(self) -> str:
        """The stage and its arguments in one short text."""
        return f"select {self.arguments()}"
