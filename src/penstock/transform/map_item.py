"""What a map on items gives its function: one sample, whose image, label and fields may be changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy.typing as npt

from penstock.types import Item

__all__ = ["Changes", "MapItem"]

ItemOf = Callable[[int], Item]
"""What a source knows of the item in a row of a batch."""

Changes = dict[str, Any]
"""What a function changed beside the image: "label", an int, and "fields", a dict; each only where it changed."""


class MapItem:
    """One sample in the hands of a ``map(fn, on="item")``: change it in place.

    ``image`` is [H, W, C], writable; ``label`` an int (-1: none); ``fields`` a dict of what the source knows beside
    them, read when it is first asked for. ``key`` and ``index`` cannot be changed.

    >>> import numpy as np
    >>> item = MapItem(np.zeros((2, 2, 3), np.uint8), Item(7, "a.png", 3))
    >>> item.label = 4
    >>> item.key, item.index, item.changes()
    ('a.png', 7, {'label': 4})
    """

    __slots__ = ("_fields", "_given", "_item", "image", "label")

    def __init__(self, image: npt.NDArray[Any], item: Item) -> None:
        self._item = item
        self.image = image
        self.label = -1 if item.label is None else item.label
        self._fields: dict[str, Any] | None = None
        self._given: dict[str, Any] = {}

    @property
    def key(self) -> str:
        """The item's key in the source."""
        return self._item.key

    @property
    def index(self) -> int:
        """The item's position in the source."""
        return self._item.index

    @property
    def fields(self) -> dict[str, Any]:
        """What the source knows of the item, by name; entries may be changed and added."""
        if self._fields is None:
            self._given = dict(self._item.fields)
            self._fields = dict(self._given)
        return self._fields

    def changes(self) -> Changes:
        """What is not as it came, beside the image."""
        changed: Changes = {}
        if self.label != (-1 if self._item.label is None else self._item.label):
            changed["label"] = self.label
        if self._fields is not None:
            missing = object()
            fields = {k: v for k, v in self._fields.items() if self._given.get(k, missing) is not v}
            fields.update(dict.fromkeys(self._given.keys() - self._fields.keys()))
            if fields:
                changed["fields"] = fields
        return changed


def changed_item(item: Item, changes: Changes) -> Item:
    """The item as an earlier map left it."""
    if not changes:
        return item
    fields: Mapping[str, Any] = {**item.fields, **changes.get("fields", {})}
    return Item(item.index, item.key, changes.get("label", item.label), fields)


def merged(first: Changes, then: Changes) -> Changes:
    """The changes of two maps, one after the other."""
    both = {**first, **then}
    if "fields" in first and "fields" in then:
        both["fields"] = {**first["fields"], **then["fields"]}
    return both
