"""Arrays under the names that torch gives them, and back; torch is imported only when there is an array to rename."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from penstock.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["COLUMNS", "converted", "host", "import_torch", "moved", "pinned", "tensor_of"]

B = TypeVar("B")

# The fields of a batch that are arrays whose first axis is the row.
COLUMNS = (
    *("images", "labels", "index", "valid", "damaged", "sizes", "positions", "patch_count", "grid"),
    *("replaced_by", "image_row", "image_count"),
)
MAPPINGS = ("companions", "targets", "views")


def import_torch(text: str) -> Any:
    """The module torch; ``text`` is the call that needs it, for the sentence where it is not installed."""
    try:
        import torch
    except ImportError as error:
        raise PlanError(f"{text}: expected the package torch, found none ({error}); pip install torch.") from None
    return torch


def tensor_of(array: Any) -> Any:
    """The array's own memory as a torch tensor on the CPU; bfloat16 under torch's name; a tensor as it is.

    An array that cannot be written to, or whose strides torch cannot have, is copied.
    """
    import torch

    if not isinstance(array, np.ndarray):
        if isinstance(array, torch.Tensor):
            return array
        from torch.utils.dlpack import from_dlpack

        return from_dlpack(array)
    if not array.flags.writeable or min(array.strides, default=0) < 0:
        array = array.copy()
    if array.dtype.kind == "V" and array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def host(values: Any) -> npt.NDArray[Any]:
    """A NumPy array of what may be a tensor on any device; what NumPy has no dtype for becomes float32."""
    if isinstance(values, np.ndarray):
        return values
    if hasattr(values, "detach"):  # torch's; its bfloat16 is none of NumPy's dtypes
        values = values.detach().cpu()
        values = values.float() if str(values.dtype) == "torch.bfloat16" else values
    return np.asarray(values)


def converted(batch: Any, convert: Callable[[Any], Any], **changes: Any) -> Any:
    """The batch with ``convert`` applied to each array, those in a list and in its mappings as well; not in place.

    ``changes`` are fields that are given otherwise.
    """
    taken: dict[int, Any] = {}  # an array that two fields share, as a view and the images do, stays one

    def once(array: Any) -> Any:
        if id(array) not in taken:
            taken[id(array)] = convert(array)
        return taken[id(array)]

    if "images" in changes:
        taken[id(batch.images)] = changes["images"]

    def each(value: Any) -> Any:
        if isinstance(value, list):
            return [None if entry is None else once(entry) for entry in value]
        return value if value is None else once(value)

    made = {name: each(getattr(batch, name)) for name in COLUMNS if name not in changes}
    for name in MAPPINGS:
        values = getattr(batch, name)
        if name not in changes and values:
            made[name] = {key: nested(value, once) for key, value in values.items()}
    return replace(batch, **made, **changes)


def nested(value: Any, convert: Callable[[Any], Any]) -> Any:
    """A value with its arrays converted: an array, a list of them (None where a row has none), or something else."""
    if isinstance(value, list):
        return [nested(entry, convert) for entry in value]
    return convert(value) if is_array(value) else value


def is_array(value: Any) -> bool:
    """Whether torch can hold it: an array of numbers, or a tensor."""
    return value.dtype.kind not in "OSUMm" if isinstance(value, np.ndarray) else hasattr(value, "__dlpack__")


def moved(batch: B, device: Any) -> B:
    """The batch with every array a torch tensor on ``device``; what is there already is not copied."""
    torch = import_torch(f"to({device!r})")
    target = torch.device(device)

    def move(array: Any) -> Any:
        return tensor_of(array).to(target, non_blocking=target.type == "cuda")

    made: B = converted(batch, move)
    return made


def pinned(batch: B) -> B:
    """The batch with every array a torch tensor in page-locked memory, from which a card copies by itself."""
    torch = import_torch("pin_memory()")
    if not torch.cuda.is_available():
        raise PlanError("pin_memory(): expected a CUDA device, which pins the memory, found none.")
    made: B = converted(batch, lambda array: tensor_of(array).pin_memory())
    return made
