"""The samples of a line as a map-style torch Dataset, for a DataLoader that is there already."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from penstock.batch import Selection, expect_items
from penstock.cached import cache_of, cut_of
from penstock.cores import is_first_worker, threads_of_worker
from penstock.delivery import Delivery
from penstock.engine import Engine
from penstock.errors import PlanError
from penstock.escort import Escort
from penstock.options import RunOptions, whole
from penstock.plan import compile_plan
from penstock.results import Columns
from penstock.step import request_of
from penstock.tensors import import_torch, nested, tensor_of
from penstock.types import Batch, LayoutName, OnFailure

if TYPE_CHECKING:
    from penstock._native import Plan
    from penstock.cache import OpenedCache

__all__ = ["Samples", "dataset_of"]

logger = logging.getLogger("penstock")

# What a sample may have, and a default collator can put together; the rest is of the batch as a whole.
SAMPLE_FIELDS = (
    *("images", "labels", "keys", "index", "valid", "damaged", "epoch", "positions", "patch_count", "grid"),
    *("companions", "targets"),
)
_OF_PATCHES = ("positions", "patch_count", "grid")


class Samples:
    """Sample ``i`` of ``len`` is a dict of the item at position ``i`` of the epoch's order; torch's words around it.

    Decodes natively, several samples at once in ``__getitems__``, in a pool that each process makes for itself when it
    is first asked: of the usable cores, divided by the DataLoader's workers.
    """

    def __init__(self, line: Any, selection: Selection, layout: LayoutName, on_failure: OnFailure) -> None:
        torch = import_torch("torch_dataset()")
        self.line = line
        self.selection = selection
        self.layout: LayoutName = layout
        self.on_failure: OnFailure = on_failure
        # In memory that worker processes share, however they were started: one that lives on sees a new epoch.
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()
        # Held here as well: a cache in RAM goes with its last user, and a DataLoader's workers go after each epoch.
        self._cache = cache_of(line)
        self._engine: Engine | None = None
        self._plan: Plan | None = None

    def __len__(self) -> int:
        return len(self.line)

    @property
    def epoch(self) -> int:
        """The epoch whose order and draws the samples have."""
        return int(self._epoch[0])

    def set_epoch(self, epoch: int) -> None:
        """Says which epoch's order and draws the samples have from now on, in every worker."""
        self._epoch[0] = whole("set_epoch: epoch", epoch, 0)

    def __getitem__(self, position: int) -> dict[str, Any]:
        """One sample; IndexError outside the line, ItemError where the item failed."""
        return self.__getitems__([position])[0]

    def __getitems__(self, positions: Sequence[int]) -> list[dict[str, Any]]:
        """The samples at these positions, decoded at once; torch's DataLoader asks so for a batch."""
        batch = self._batch(np.array([self._inside(position) for position in positions], dtype=np.int64))
        values = self.selection.take(batch)
        assert isinstance(values, dict)  # dataset_of gave every field a name
        for name, value in values.items():
            if value is None:
                raise PlanError(
                    f"torch_dataset: expected a field that this line's samples have, found none as {name!r}."
                )
        columns = {name: self._column(value, len(batch)) for name, value in values.items()}
        return [{name: column[row] for name, column in columns.items()} for row in range(len(batch))]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[position] for position in range(len(self)))

    def __getstate__(self) -> dict[str, Any]:
        # A pool belongs to its process; a plan is made again from the line.
        return {**self.__dict__, "_engine": None, "_plan": None}

    def __str__(self) -> str:
        names = ", ".join(self.selection.names or ())
        return f"Dataset of {len(self)} samples ({names}), epoch {self.epoch}"

    __repr__ = __str__

    def _inside(self, position: Any) -> int:
        number = whole("torch_dataset: position", position, -len(self))
        if number >= len(self):
            raise IndexError(f"torch_dataset: expected a position below {len(self)}, found {number}.")
        return number % len(self)

    def _column(self, value: Any, count: int) -> Any:
        """A column whose rows a default collator takes: tensors for arrays of pixels, plain values for the others."""
        if isinstance(value, int):
            return _Same(value)
        if isinstance(value, dict):  # companions or targets: a dict for each row
            rows = {name: nested(entry, tensor_of) for name, entry in value.items()}
            return [{name: entry[row] for name, entry in rows.items()} for row in range(count)]
        if isinstance(value, list):  # of targets.boxes or a field
            return nested(value, tensor_of)
        if not isinstance(value, np.ndarray):
            return value
        return tensor_of(value) if value.ndim > 1 else value.tolist()

    def _batch(self, positions: Any) -> Batch:
        line, epoch = self.line, self.epoch
        engine, cache = self._pool(), cache_of(line)
        if self._plan is None:
            self._plan = compile_plan(line.recipe, self.layout, cut=cut_of(line.caching))
        items, draws = line.order.draws(positions, len(line.source), epoch)
        request = request_of(line.source, items, len(items), draws)
        ticketed = engine.prepare(
            self._plan,
            line.recipe,
            request.located,
            request.draws,
            rows=request.rows,
            capacity=request.rows,
            seed=line.order.seed,
            epoch=epoch,
            item=lambda row: line.source[int(request.index[row])],
            cache=cache,
            cut=cut_of(line.caching),
        )
        engine.submit(ticketed, more=False)
        try:
            results = engine.wait(ticketed)
        except BaseException:
            engine.abandon([ticketed])
            raise
        self._look_at(cache)
        columns = Columns.from_native(results, ticketed.notes, line.recipe.spec().dtype, ticketed.changes)
        Escort(line, request, epoch, engine).join(columns)
        delivery = Delivery(
            source=line.source,
            options=RunOptions(on_failure=self.on_failure, epoch=epoch),
            items=len(items),
            layout=self.layout,
            statistics=line.recipe.statistics,
            spec=line.recipe.spec(),
            unknown=line.recipe.unknown,
            companions=line.companions,
            targeting=line.targeting,
        )
        return delivery.deliver(columns, request.index, request.labels, step=0, epoch=epoch)

    def _look_at(self, cache: OpenedCache | None) -> None:
        """Says why nothing more is kept, once a process; that the cache is full once for all workers."""
        if cache is None:
            return
        if trouble := cache.trouble():
            logger.warning("%s", trouble)
        if is_first_worker():
            full = self.line._full_sentence(cache)  # noqa: SLF001 - the line's own word on its cache
            if full:
                logger.warning("%s", full)

    def _pool(self) -> Engine:
        if self._engine is None or not self._engine.usable:
            self._engine = Engine(threads_of_worker(), 1, None)
        return self._engine


class _Same:
    """One value for every row."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __getitem__(self, row: int) -> Any:
        return self.value


def dataset_of(
    line: Any, fields: tuple[str, ...], renamed: dict[str, str], *, layout: LayoutName, on_failure: OnFailure
) -> Any:
    """The Dataset of a line without batches; raises PlanError for what cannot be."""
    if line.batching is not None:
        raise PlanError(
            f"torch_dataset(): expected a line without batch, found batch({line.batching.size}); the DataLoader makes "
            f"the batches."
        )
    line.expect_no_views("torch_dataset()")
    expect_items(line.source, None, beside=False, text="torch_dataset()")
    spec = line.spec
    if spec.kind == "encoded":
        raise PlanError("torch_dataset(): expected images, found encoded bytes; call .decode() before it.")
    if spec.ragged:
        raise PlanError(
            f"torch_dataset(): expected images of one size, found {spec}; call .resize(height, width) before it."
        )
    if layout not in ("NHWC", "NCHW"):
        raise PlanError(f"torch_dataset(): expected layout= one of 'NHWC', 'NCHW', found {layout!r}.")
    if on_failure not in ("raise", "blank"):
        raise PlanError(
            f"torch_dataset(): expected on_failure= one of 'raise', 'blank', found {on_failure!r}: a sampler has asked "
            f"for this very sample."
        )
    names = {**{name: name for name in fields}, **renamed} or {"images": "images", "labels": "labels"}
    line._expect_named("torch_dataset()", names.values())  # noqa: SLF001 - the line's own word on what it makes
    for field in names.values():
        if field not in SAMPLE_FIELDS and not field.startswith(("companions.", "fields.", "targets.")):
            raise PlanError(f"torch_dataset(): expected one of {', '.join(SAMPLE_FIELDS)}, found {field!r}.")
        if field in _OF_PATCHES and spec.patch is None:
            raise PlanError(
                f"torch_dataset(): expected patches for {field!r}, found images; call .patchify() before it."
            )
    import_torch("torch_dataset()")
    made = __getattr__("TorchDataset")
    return made(line, Selection.of((), names), "NHWC" if spec.patch is not None else layout, on_failure)


def __getattr__(name: str) -> Any:
    """``TorchDataset``: Samples as a subclass of torch's Dataset; made, and torch imported, when it is first named."""
    if name != "TorchDataset":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from torch.utils.data import Dataset

    made = type(name, (Samples, Dataset), {"__module__": __name__, "__doc__": Samples.__doc__})
    globals()[name] = made
    return made
