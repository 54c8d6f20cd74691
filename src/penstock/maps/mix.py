"""mixup and cutmix: each image of a batch with a share of another one, labels as shares of classes."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from penstock.errors import PenstockError, PlanError
from penstock.transform.verb import number
from penstock.types import Batch

if TYPE_CHECKING:
    from numpy.random import Generator

    from penstock.types import Spec

__all__ = ["CutMix", "MixUp", "cutmix", "mixup"]

Blend = Callable[[npt.NDArray[Any], npt.NDArray[Any]], npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class MixUp:
    """What :func:`mixup` makes: called with a batch and a generator."""

    alpha: float
    classes: int

    @property
    def map_name(self) -> str:
        """The name in prints and failures."""
        return f"mixup({self.alpha:g}, {self.classes})"

    map_fingerprint = map_name

    def map_expects(self, text: str, spec: Spec, several: bool) -> None:
        """Refuses batches that have no image of one size for each label; PlanError."""
        _expect_spec(text, spec, several)

    def __call__(self, batch: Batch, rng: Generator) -> Batch:
        """The batch with its images mixed in place, and labels float32 [N, classes]."""
        share = np.float32(rng.beta(self.alpha, self.alpha))

        def blend(own: npt.NDArray[Any], other: npt.NDArray[Any]) -> npt.NDArray[Any]:
            mixed = own.astype(np.float32) * share + other.astype(np.float32) * (np.float32(1) - share)
            return np.rint(mixed) if own.dtype.kind == "u" else mixed

        return _mixed(batch, self.map_name, self.classes, float(share), blend)


@dataclass(frozen=True, slots=True)
class CutMix:
    """What :func:`cutmix` makes: called with a batch and a generator."""

    alpha: float
    classes: int

    @property
    def map_name(self) -> str:
        """The name in prints and failures."""
        return f"cutmix({self.alpha:g}, {self.classes})"

    map_fingerprint = map_name

    def map_expects(self, text: str, spec: Spec, several: bool) -> None:
        """Refuses batches that have no image of one size for each label; PlanError."""
        _expect_spec(text, spec, several)

    def __call__(self, batch: Batch, rng: Generator) -> Batch:
        """The batch with a box of each image from another one, in place, and labels float32 [N, classes]."""
        _expect_pixels(batch, self.map_name)
        rows_first = batch.layout == "NHWC"
        height, width = batch.images.shape[1:3] if rows_first else batch.images.shape[2:4]
        side = math.sqrt(1.0 - rng.beta(self.alpha, self.alpha))
        top, bottom = _span(height, side, rng)
        left, right = _span(width, side, rng)
        box = (slice(top, bottom), slice(left, right))
        place = (*box, slice(None)) if rows_first else (slice(None), *box)

        def blend(own: npt.NDArray[Any], other: npt.NDArray[Any]) -> npt.NDArray[Any]:
            cut = own.copy()
            cut[place] = other[place]
            return cut

        share = 1.0 - (bottom - top) * (right - left) / (height * width)
        return _mixed(batch, self.map_name, self.classes, share, blend)


def mixup(alpha: float, classes: int) -> MixUp:
    """For ``.map(ps.mixup(0.2, 1000), on="batch")``: each image becomes ``share`` of itself and the rest of another.

    ``share`` is drawn from Beta(alpha, alpha), once a batch; the other is the row before it that has an image. Labels
    become float32 [N, classes], the shares of the classes. Rows without an image stay as they are, their labels zeros.
    uint8 is rounded. Raises PlanError for an alpha that is not above 0. After Zhang et al., "mixup: Beyond Empirical
    Risk Minimization", 2018.

    >>> mixup(0.2, 10)
    MixUp(alpha=0.2, classes=10)
    """
    return MixUp(*_checked("mixup", alpha, classes))


def cutmix(alpha: float, classes: int) -> CutMix:
    """For ``.map(ps.cutmix(1.0, 1000), on="batch")``: each image gets a box of another at the same place.

    The box's share of the area is drawn from Beta(alpha, alpha), once a batch, its centre uniformly; the other is the
    row before it that has an image. Labels become float32 [N, classes], by the area that is left. Rows without an
    image stay as they are. Raises PlanError for an alpha that is not above 0. After Yun et al., "CutMix", 2019.

    >>> cutmix(1, 10)
    CutMix(alpha=1.0, classes=10)
    """
    return CutMix(*_checked("cutmix", alpha, classes))


def _checked(word: str, alpha: Any, classes: Any) -> tuple[float, int]:
    found = number(alpha)
    if found is None or found <= 0:
        raise PlanError(f"{word}({alpha!r}, {classes!r}): expected alpha= a number above 0, found {alpha!r}.")
    try:
        count = 0 if isinstance(classes, bool) else operator.index(classes)
    except TypeError:
        count = 0
    if count < 1:
        raise PlanError(f"{word}({alpha!r}, {classes!r}): expected classes= a whole number above 0, found {classes!r}.")
    return found, count


def _span(size: int, part: float, rng: Generator) -> tuple[int, int]:
    """Where a box of that part of a side begins and ends, around a centre anywhere; cut off at the edges."""
    centre, length = int(rng.integers(size)), int(size * part)
    return max(0, centre - length // 2), min(size, centre + length // 2)


def _expect_spec(text: str, spec: Spec, several: bool) -> None:
    if several:
        raise PlanError(f"{text}: expected one image for each label, found batches with images=.")
    if spec.ragged or spec.patch is not None:
        found = "patches" if spec.patch is not None else "images that have each their own"
        raise PlanError(f"{text}: expected images of one size, found {found}.")


def _expect_pixels(batch: Batch, title: str) -> None:
    images: Any = batch.images
    if isinstance(images, list) or images.ndim != 4 or batch.sizes is not None or batch.views:
        views = " with views" if batch.views else ""
        raise PenstockError(f"map {title}: expected images of one size, found {batch!r}{views}.")


def _mixed(batch: Batch, title: str, classes: int, share: float, blend: Blend) -> Batch:
    _expect_pixels(batch, title)
    rows = np.flatnonzero(batch.valid)
    labels = _shares(batch, title, classes)
    mixed = labels.copy()
    if len(rows):
        before = rows[-1]
        last = batch.images[before].copy()
        for row in rows:
            own = batch.images[row].copy()
            batch.images[row] = blend(own, last)
            mixed[row] = labels[row] * np.float32(share) + labels[before] * np.float32(1.0 - share)
            before, last = row, own
    shares: Any = mixed  # float32 in place of the classes' numbers
    return replace(batch, labels=shares)


def _shares(batch: Batch, title: str, classes: int) -> npt.NDArray[np.float32]:
    """The labels as float32 [N, classes]: a 1 at the class; zeros where there is none."""
    given: npt.NDArray[Any] = batch.labels
    if given.ndim == 2 and given.shape[1] == classes:  # of a mix before this one
        return given.astype(np.float32)
    if given.ndim != 1 or (len(given) and given.max() >= classes):
        found = f"labels of shape {list(given.shape)}" if given.ndim != 1 else f"the label {given.max()}"
        raise PenstockError(f"map {title}: expected labels from 0 to {classes - 1}, found {found}.")
    shares = np.zeros((len(given), classes), np.float32)
    known = np.flatnonzero((given >= 0) & batch.valid)
    shares[known, given[known]] = 1
    return shares
