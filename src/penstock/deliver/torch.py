"""Batches as torch tensors: the batch's own memory on the CPU; through pinned memory and a side stream to a card."""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

from penstock.deliver.feed import Handed, Sent, handed
from penstock.errors import PlanError
from penstock.tensors import converted, import_torch, nested, tensor_of
from penstock.transform.normalize import Normalize

if TYPE_CHECKING:
    from penstock.batch import Selection
    from penstock.deliver.target import Target
    from penstock.types import Batch

__all__ = ["TorchFeed", "device_of"]

FULL_SCALE = {"torch.uint8": 255.0, "torch.uint16": 65535.0, "torch.float32": 255.0}


def device_of(name: str | None) -> Any:
    """Torch's device of that name: the CPU without one; "cuda" is the local rank's card.

    The local rank is the environment's LOCAL_RANK, else torch.distributed's rank among the cards of one machine, else
    the card that is current.
    """
    torch = import_torch(f"to_torch({name!r})")
    try:
        device = torch.device(name or "cpu")
    except RuntimeError as error:
        raise PlanError(f"to_torch({name!r}): expected a device as torch names it, found {error}.") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise PlanError(f"to_torch({name!r}): expected a CUDA device, found none.")
    if device.type != "cuda" or device.index is not None:
        return device
    local = os.environ.get("LOCAL_RANK", "")
    if local.isdigit():
        return torch.device("cuda", int(local))
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.device("cuda", torch.distributed.get_rank() % torch.cuda.device_count())
    return torch.device("cuda", torch.cuda.current_device())


class TorchFeed:
    """Hands over torch tensors.

    On the CPU they share the batch's memory. To a card the bytes go into pinned memory, which is held until the copy's
    event is done, and from there on a side stream, where the verbs of the device run too; the consumer's stream waits
    for that stream, the host for neither.
    """

    def __init__(self, target: Target, selection: Selection | None, *, seed: int) -> None:
        self._torch = import_torch("to_torch()")
        self._target = target
        self._selection = selection
        self._seed = seed
        self.device = device_of(target.device)
        self._on_card = self.device.type == "cuda"
        self._shares = self.device.type == "cpu"
        self.ahead = 1 if self._on_card else 0
        self._stream = self._torch.cuda.Stream(self.device) if self._on_card else None
        self._held: deque[tuple[Any, list[Any]]] = deque()  # (event of the copies, what they read)
        self._pinned: list[Any] = []  # of the batch that is being sent
        self._divisors: dict[tuple[int, ...], tuple[Any, Any]] = {}

    def send(self, batch: Batch) -> Sent:
        """Begins the hand-over of one batch."""
        leaving = handed(self._target, batch, seed=self._seed)
        if not self._on_card:
            made = self._made(leaving)
            return lambda: made
        torch = self._torch
        while self._held and self._held[0][0].query():
            self._held.popleft()
        with torch.cuda.device(self.device), torch.cuda.stream(self._stream):
            made = self._made(leaving)
            done = torch.cuda.Event()
            done.record(self._stream)
        self._held.append((done, self._pinned))
        self._pinned = []

        def take() -> Any:
            current = torch.cuda.current_stream(self.device)
            current.wait_event(done)
            for tensor in tensors_in(torch, made):  # the allocator must not give their memory away before
                tensor.record_stream(current)
            return made

        return take

    def close(self) -> None:
        """Waits for the copies that are on their way."""
        while self._held:
            self._held.popleft()[0].synchronize()

    def _made(self, leaving: Handed) -> Any:
        """What the user gets: a Batch of tensors, or the fields that were selected."""
        batch = leaving.batch
        if self._selection is None:
            layout = "NCHW" if self._target.channels_last else batch.layout
            return converted(batch, self._moved, images=self._images(leaving), layout=layout)
        taken = self._selection.take(batch)
        if isinstance(taken, dict):
            return {name: self._value(value, leaving) for name, value in taken.items()}
        return tuple(self._value(value, leaving) for value in taken)

    def _value(self, value: Any, leaving: Handed) -> Any:
        if value is leaving.batch.images:
            return self._images(leaving)
        if isinstance(value, dict):  # companions, targets, views
            return {name: nested(entry, self._moved) for name, entry in value.items()}
        if isinstance(value, list):  # of targets.boxes or a field: an array for each row
            return nested(value, self._moved)
        return self._moved(value) if isinstance(value, np.ndarray) else value

    def _moved(self, array: Any) -> Any:
        """An array as a tensor on the device."""
        if (
            self._shares and array.dtype.kind in "uif" and array.flags.writeable and min(array.strides) >= 0
        ):  # as tensor_of, for a part of its time
            return self._torch.from_numpy(array)
        tensor = tensor_of(array)
        if not self._on_card:
            return tensor if self.device.type == "cpu" else tensor.to(self.device)
        # A plain copy, so that the batch's own memory is free at once; only pinned memory is read behind our back.
        pinned = self._torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        pinned.copy_(tensor)
        self._pinned.append(pinned)
        return pinned.to(self.device, non_blocking=True)

    def _images(self, leaving: Handed) -> Any:
        images: Any = leaving.batch.images
        if isinstance(images, list):
            return [None if image is None else self._moved(image) for image in images]
        layout = leaving.batch.layout
        if not self._target.channels_last:
            tensor = self._moved(images)
        else:  # the same memory, its axes in torch's order
            layout = "NCHW"
            if self._on_card or not isinstance(images, np.ndarray):
                tensor = self._moved(images).permute(0, 3, 1, 2)
            else:  # NumPy turns them for less
                tensor = self._moved(images.transpose(0, 3, 1, 2))
        if not self._target.verbs:
            return tensor
        flips = iter(leaving.flips)
        for verb in self._target.verbs:
            if isinstance(verb, Normalize):
                tensor = self._normalized(tensor, verb, channels_last=layout == "NHWC")
                if leaving.blank.size:
                    tensor[self._moved(leaving.blank)] = 0
                continue
            horizontal, rows = next(flips)
            self._flip(tensor, np.flatnonzero(rows), leaving.height_axis(layout) + horizontal)
        return tensor

    def _flip(self, tensor: Any, rows: Any, axis: int) -> None:
        """Mirrors some images along an axis, in place."""
        if not rows.size:
            return
        torch = self._torch
        # torch moves no uint16; the same bits under another name are the same pixels.
        same = tensor.view(torch.int16) if tensor.dtype == torch.uint16 else tensor
        chosen = self._moved(rows)
        same[chosen] = same[chosen].flip(axis)

    def _normalized(self, tensor: Any, verb: Normalize, *, channels_last: bool) -> Any:
        """(x / full - mean) / std as float32 true divisions in that order, then rounded to the dtype asked for."""
        torch = self._torch
        full = FULL_SCALE[str(tensor.dtype)]
        channels = tensor.shape[3 if channels_last else 1]
        shape = (channels,) if channels_last else (channels, 1, 1)
        if shape not in self._divisors:
            statistics = verb.statistics(channels)
            self._divisors[shape] = (
                self._moved(np.array(statistics.mean, np.float32)).reshape(shape),
                self._moved(np.array(statistics.std, np.float32)).reshape(shape),
            )
        mean, std = self._divisors[shape]
        # Tensors on the device, not numbers: torch multiplies by the reciprocal of a number on a card.
        made = tensor.to(torch.float32).div_(self._full(full)).sub_(mean).div_(std)
        return made if verb.dtype == "float32" else made.to(getattr(torch, verb.dtype))

    def _full(self, full: float) -> Any:
        key = (int(full),)
        if key not in self._divisors:
            divisor = self._moved(np.array([full], np.float32))
            self._divisors[key] = (divisor, divisor)
        return self._divisors[key][0]


def tensors_in(torch: Any, made: Any) -> list[Any]:
    """The tensors of what is handed over: a Batch's, a tuple's or a dict's, those in lists as well."""
    if isinstance(made, torch.Tensor):
        return [made]
    if isinstance(made, dict):
        return [tensor for value in made.values() for tensor in tensors_in(torch, value)]
    if isinstance(made, (list, tuple)):
        return [tensor for value in made for tensor in tensors_in(torch, value)]
    if hasattr(made, "as_dict"):
        columns = made.as_dict()
        return [
            t for name, value in columns.items() if name not in ("fields", "keys") for t in tensors_in(torch, value)
        ]
    return []
