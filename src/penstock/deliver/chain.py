"""The methods of a line that say where its batches go."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from penstock.deliver.target import Target
from penstock.errors import PlanError

if TYPE_CHECKING:
    from penstock.batch import Batching, Selection
    from penstock.recipe import Recipe
    from penstock.sources.source import Source
    from penstock.types import LayoutName, OnFailure, Spec
    from penstock.views import Views

__all__ = ["Delivered"]


class Delivered:
    """What a line with batches can add after them; shared by no other class, apart so that one file has one job."""

    if TYPE_CHECKING:
        source: Source
        recipe: Recipe
        batching: Batching | None
        selection: Selection | None
        target: Target | None
        maps: tuple[Any, ...]
        viewing: Views | None

        @property
        def spec(self) -> Spec:
            """What comes out of the last stage."""
            raise NotImplementedError

    def to_torch(self, device: Any = None, channels_last: bool = False) -> Self:
        """Hands over torch tensors: a Batch whose images, labels (int64), index, valid and so on are tensors.

        On the CPU (None) they share the batch's memory. To a card, "cuda" (the local rank's) or "cuda:1", the bytes go
        through pinned memory on a side stream while the batch before is worked on. ``channels_last=True`` makes
        [N, C, H, W] of NHWC memory without a copy, strided as torch's channels_last. ``normalize``,
        ``random_horizontal_flip`` and ``random_vertical_flip`` called after it run on the device, so that uint8 crosses
        the bus; they draw and give what they do before it. Raises PlanError before ``batch``.
        """
        if isinstance(device, bool) or not (
            device is None or isinstance(device, (str, int)) or hasattr(device, "type")
        ):
            raise PlanError(f"to_torch({device!r}): expected a device such as 'cuda', found {device!r}.")
        flag: Any = channels_last
        if not isinstance(flag, bool):
            raise PlanError(f"to_torch(channels_last={flag!r}): expected channels_last= True or False, found {flag!r}.")
        name = f"cuda:{device}" if isinstance(device, int) else device and str(device)
        return self._to(Target("torch", device=name, channels_last=channels_last))

    def to_jax(self, sharding: Any = None) -> Self:
        """Hands over JAX arrays: a Batch whose images, labels, index, valid and so on are arrays on the device.

        The next batch is put there while this one is worked on. With a ``jax.sharding.NamedSharding`` the rows of each
        process become global arrays; what has fewer axes than its spec takes the first ones. Verbs called after it run
        on the device, as with ``to_torch``. int64 is int32 unless JAX has 64 bits enabled. Raises PlanError before
        ``batch``.
        """
        return self._to(Target("jax", sharding=sharding))

    def _to(self, target: Target) -> Self:
        if self.batching is None:
            raise PlanError(f"{target.word}(): expected a line with batches, found none; call .batch(n) before it.")
        if self.target is not None:
            raise PlanError(f"{target.word}(): expected one target, found a second one after {self.target.word}().")
        if self.selection is not None:
            raise PlanError(f"{target.word}(): expected to come before select, found select before it.")
        if self.viewing is not None and target.channels_last:
            raise PlanError("to_torch(channels_last=True): expected a line without views, found views before it.")
        ordinal = sum(verb.random for verb in self.recipe.verbs)
        target = replace(target, first_ordinal=ordinal)
        target.stages(self.spec)
        return replace(self, target=target)  # type: ignore[type-var]  # the line is the dataclass

    def executed(self) -> Self:
        """The line as it runs: what is called after ``to_torch()`` on the CPU is part of the native loop, same bits."""
        target = self.target
        if target is None or target.memory != "torch cpu" or not target.verbs:
            return self
        if self.maps:  # on batches: they see the pixels of before
            return self
        recipe = self.recipe
        for verb in target.verbs:
            recipe = recipe._then(verb)
        return replace(self, recipe=recipe, target=replace(target, verbs=()))  # type: ignore[type-var]  # as above

    def torch_dataset(
        self, *fields: str, layout: LayoutName = "NCHW", on_failure: OnFailure = "raise", **renamed: str
    ) -> Any:
        """A map-style torch Dataset of the line's samples, for a DataLoader that is there already.

        Sample ``i`` is a dict of the item at position ``i`` of the order: "images", a tensor [C, H, W] (or [H, W, C]
        with ``layout="NHWC"``), and "labels", a whole number; or the ``fields`` named, or renamed as in
        ``torch_dataset(pixel_values="images", labels="labels")``. It never shards itself: samplers do. ``set_epoch``
        says which epoch's order and draws it has, in workers that live on as well. A failed item raises ItemError, or
        is zeros with label -1 (``on_failure="blank"``). Raises PlanError for a line with ``batch``.
        """
        from penstock.deliver.dataset import dataset_of

        return dataset_of(self, fields, renamed, layout=layout, on_failure=on_failure)
