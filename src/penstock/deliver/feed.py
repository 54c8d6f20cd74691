"""What a run does with a batch once it is made: the host's part of the hand-over, and the choice of the library."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from penstock.geometry import compose, matrix
from penstock.transform.random_horizontal_flip import RandomHorizontalFlip
from penstock.transform.random_vertical_flip import RandomVerticalFlip

if TYPE_CHECKING:
    from penstock.batch import Selection
    from penstock.deliver.target import Target
    from penstock.types import Batch, LayoutName

__all__ = ["Feed", "Handed", "Sent", "feed_of", "handed"]

Sent = Callable[[], Any]
"""A batch on its way; called, it is what the user gets, ready for the device's next work."""


_NOTHING = np.zeros(0, dtype=np.int64)


class Feed(Protocol):
    """Brings batches to a device: ``send`` begins and does not wait; ``ahead`` more may be on their way meanwhile."""

    ahead: int

    def send(self, batch: Batch) -> Sent:
        """Begins the hand-over of one batch."""
        raise NotImplementedError

    def close(self) -> None:
        """Waits for what is on its way, so that the memory it comes from may go."""


def feed_of(target: Target, selection: Selection | None, *, seed: int) -> Feed:
    """The feed for a target; imports its library."""
    if target.library == "jax":
        from penstock.deliver.jax import JaxFeed

        return JaxFeed(target, selection, seed=seed)
    from penstock.deliver.torch import TorchFeed

    return TorchFeed(target, selection, seed=seed)


class Handed:
    """A batch as the host knows it when it leaves: geometry and draws are final, the pixels are yet to be changed."""

    __slots__ = ("batch", "blank", "flips")

    def __init__(self, batch: Batch, flips: list[tuple[bool, Any]], blank: Any) -> None:
        self.batch = batch
        self.flips = flips  # (left to right?, bool [N]) in order
        self.blank = blank  # int64: rows without an image, which stay zeros

    def height_axis(self, layout: LayoutName) -> int:
        """The axis of the rows of pixels in a batch's images; the columns' is the next."""
        return 1 if layout == "NHWC" else 2


def handed(target: Target, batch: Batch, *, seed: int) -> Handed:
    """What the host decides before a batch leaves: which rows are mirrored, and where their pixels went."""
    if not target.verbs:
        return Handed(batch, [], _NOTHING)
    filled = batch.valid if batch.image_row is None else batch.image_row >= 0  # of the rows of pixels
    blank = np.flatnonzero(~filled)
    draws = batch.index if batch._draws is None else batch._draws  # noqa: SLF001 - meant for the hand-over
    drawn = target.mirrored(draws, seed=seed, epoch=batch.epoch)
    verbs = [verb for verb in target.verbs if isinstance(verb, (RandomHorizontalFlip, RandomVerticalFlip))]
    flips = [(isinstance(verb, RandomHorizontalFlip), rows & filled) for verb, rows in zip(verbs, drawn, strict=True)]
    statistics = batch.statistics
    if target.normalization is not None:
        channels = batch.images.shape[1 if batch.layout == "NCHW" else 3]
        statistics = target.statistics(channels)
    if not flips:
        return Handed(replace(batch, statistics=statistics), flips, blank)
    height, width = (batch.images.shape[axis] for axis in ((1, 2) if batch.layout == "NHWC" else (2, 3)))
    left_right = matrix(-1.0, 0.0, float(width), 0.0, 1.0, 0.0)
    top_bottom = matrix(1.0, 0.0, 0.0, 0.0, -1.0, float(height))
    matrices = batch.geometry.matrices.copy()
    for horizontal, rows in flips:
        matrices[rows] = compose(matrices[rows], left_right if horizontal else top_bottom)
    geometry = replace(batch.geometry, matrices=matrices)
    return Handed(replace(batch, geometry=geometry, statistics=statistics), flips, blank)
