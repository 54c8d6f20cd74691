"""The straight line: a source, an order, a recipe, batches; a thin chain, and the only file that knows every stage."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ParamSpec, Self

from penstock.accompanied import Accompanied
from penstock.batch import Batching, Selection, expect_items
from penstock.cache import Caching
from penstock.cached import Cached
from penstock.columns import expect_columns
from penstock.companions import Companion, expect_followable
from penstock.decode import Decode
from penstock.deliver.chain import Delivered
from penstock.deliver.target import Target
from penstock.errors import ItemError, PlanError
from penstock.order import Grid, Order
from penstock.order.chain import Ordered
from penstock.padding import PadDtypeName, pads_of
from penstock.preload import Preloadable
from penstock.recipe import Recipe, written_decode
from penstock.replayed import Replayed
from penstock.running import Running
from penstock.shown import Shown
from penstock.signatures import checked, expect_call
from penstock.sources import (
    arrays_source,
    blobs_source,
    csv_source,
    files_source,
    folder_source,
    hf_source,
    jsonl_source,
    parquet_source,
    tar_source,
)
from penstock.targets import Targets
from penstock.transform.chain import Chain
from penstock.transform.map import Map
from penstock.transform.verb import Verb, call
from penstock.types import BATCH_FIELDS, LastName, LayoutName, RaggedName, Spec
from penstock.views import Viewed, Views

if TYPE_CHECKING:
    from penstock.sources.source import Source

__all__ = ["Pipeline", "arrays", "blobs", "csv", "files", "folder", "hf", "jsonl", "parquet", "tar"]

P = ParamSpec("P")


@dataclass(frozen=True, repr=False)
class Pipeline(Ordered, Chain, Viewed, Accompanied, Cached, Preloadable, Delivered, Shown, Running, Replayed):
    """A line: what each sample becomes, from source to batch. Which pass over it, and how, is given to :meth:`run`.

    Immutable, hashable, picklable; printing it opens nothing. ``len`` is items before :meth:`batch`, batches after.

    >>> line = blobs({"a": b"...", "b": b"..."}).seed(0).shuffle().decode().resize(224, 224).batch(64)
    >>> print(line)
    source   blobs of 2 items           encoded bytes
    shuffle  seed=0, anew each epoch    encoded bytes
    decode                              uint8 [H, W, 3] 0..255
    resize   H=224 W=224 fill bilinear  uint8 [224, 224, 3] 0..255
    batch    64 last=short NHWC         uint8 [64, 224, 224, 3] 0..255
    fused: decode, resize and batch run as one native loop, a strip of rows at a time
    >>> len(line)
    1
    """

    source: Source
    recipe: Recipe = Recipe()
    order: Order = Order()
    batching: Batching | None = None
    selection: Selection | None = None
    maps: tuple[Map, ...] = ()  # on batches
    companions: tuple[Companion, ...] = ()
    targeting: Targets | None = None
    target: Target | None = None
    viewing: Views | None = None  # the recipe is then the first view's
    caching: Caching | None = None
    # Whether seed() was called, so that a second one is refused; the same line otherwise.
    _seeded: bool = field(default=False, compare=False, repr=False)

    # -- building ----------------------------------------------------------------------------------------------------

    def _then(self, step: Decode | Verb) -> Self:
        text = call(step) if isinstance(step, Verb) else written_decode(step)
        if isinstance(step, Map) and step.on == "batch":
            batching = self._expect_batches(text)
            found = "select" if self.selection is not None else None if self.target is None else self.target.word
            if found is not None:
                raise PlanError(f"{text}: expected to come before {found}, found {found} before it.")
            expects = getattr(step.fn, "map_expects", None)  # of mixup and cutmix
            if expects is not None:
                expects(text, batching.spec(self._image_spec()), batching.images is not None)
            return replace(self, maps=(*self.maps, step))
        self.expect_no_views(text)  # a view has its verbs in its own recipe
        if self.target is not None and self.batching is not None and self.selection is None:
            target = self.target.then(step, text, self.batching.spec(self._image_spec()))
            beside = "targets" if self.targeting is not None else "companion" if self.companions else ""
            if beside and target.random and not self.target.random:
                raise PlanError(
                    f"{text}: expected a line without {beside} after {target.word}(), found {beside}, which would not "
                    f"be mirrored with the images; call it before .batch()."
                )
            return replace(self, target=target)
        self._before_batch(text)
        recipe = self.recipe._then(step)
        recipe.spec(self._input)  # the recipe alone cannot know whether the source gives bytes or images
        if self.companions or self.targeting is not None:
            expect_followable(text, recipe, companions=bool(self.companions))
        return replace(self, recipe=recipe)

    def apply(self, recipe: Recipe) -> Self:
        """The steps of a recipe, added in order; raises PlanError where one cannot follow."""
        if not isinstance(recipe, Recipe):
            raise PlanError(f"apply({recipe!r}): expected a Recipe, found {type(recipe).__name__}.")
        line = self
        for step in recipe.steps:
            line = line._then(step)
        return line

    @checked
    def batch(
        self,
        n: int,
        last: LastName = "short",
        layout: LayoutName = "NHWC",
        ragged: RaggedName | None = None,
        images: int | None = None,
        pad: Mapping[str, int | tuple[int, PadDtypeName]] | None = None,
    ) -> Self:
        """Batches of ``n`` rows: [n, H, W, C], or [n, C, H, W] with ``layout="NCHW"``; [n, P, D] after patchify.

        Rows are put into batches before they are decoded. ``last`` says what happens when the items do not fill the
        final one: "short" hands over fewer rows, "drop" none, "blank" fills with zeros (label -1, valid False).

        Images that have each their own size need ``ragged``: "pad" puts zeros below and to the right of each, up to the
        batch's largest height and width (``batch.sizes`` says each row's own); "list" makes ``batch.images`` a list of
        arrays; "bucket" fills batches with images of one size, which a pass over the headers tells before anything is
        decoded. Raises PlanError for such images without it.

        Items of several images need ``images``: the slots for the pictures of all ``n`` items, which lie one after the
        other in ``batch.images`` [images, ...]. ``batch.image_row`` says whose each is, -1 for a free slot, and
        ``batch.image_count`` how many each item has. An item whose pictures do not fit into the slots that are left
        fails, and so does one of which a picture is broken.

        ``pad={"input_ids": 512}`` makes a field of number lists int64 [n, 512] in ``batch.fields``, zeros behind, and
        adds "input_ids_length"; ``(512, "float32")`` gives a dtype. A longer list is a failure of its item.
        """
        pads = pads_of(pad, f"batch({n}, pad={pad!r})")
        batching = Batching(n, last, layout, ragged, images, pads)
        if self.batching is not None:
            raise PlanError(f"batch({n}): expected one batch, found a second one; leave it out.")
        batching.spec(self._image_spec())
        if ragged is not None or images is not None:
            self.expect_no_views(f"batch({n}, {'images' if ragged is None else 'ragged'}=)")
        if batching.images is not None and any(isinstance(v, Map) and v.on == "item" for v in self.recipe.verbs):
            raise PlanError(f"batch({n}, images=): expected no map on items, which may have several images, found one.")
        if ragged == "bucket":
            self._expect_known_sizes(f"batch({n}, ragged='bucket')")
        expect_items(self.source, batching, beside=bool(self.companions) or self.targeting is not None)
        return replace(self, batching=batching)

    def select(self, *fields: str, hf: Any = None, **renamed: str) -> Self:
        """Hands over a tuple of these batch fields, or a dict when they are renamed, in place of the Batch.

        ``.select("images", "labels")`` gives ``(images, labels)``; ``.select(pixel_values="images")`` gives
        ``{"pixel_values": images}``, ``.select("images", "fields.caption", "companions.mask")`` one field and one
        companion by their names. ``hf=`` takes what ``from_hf`` takes, or its recipe, and gives a dict under that
        processor's own names. Raises PlanError for a field that no batch has.
        """
        columns = None
        if hf is not None:
            from penstock.presets.outputs import hf_columns

            columns = hf_columns(hf)
        self._expect_named("select()", (*fields, *renamed.values()))
        selection = Selection.of(fields, renamed, columns)
        if self.batching is None:
            raise PlanError("select(): expected a line with batches, found none; call .batch(n) before it.")
        if columns is not None:
            expect_columns(columns, self.spec)
        if self.selection is not None:
            raise PlanError("select(): expected one select, found a second one; leave it out.")
        return replace(self, selection=selection)

    def _work(self) -> tuple[object, ...]:
        """What becomes of each item, wherever it comes from."""
        return self.recipe, self.companions, self.targeting, self.viewing, self.caching

    # -- what it is --------------------------------------------------------------------------------------------------

    @property
    def _input(self) -> Spec:
        return Spec("image" if self.source.kind == "arrays" else "encoded")

    def _image_spec(self) -> Spec:
        """What the recipe hands to the batch."""
        spec = self.recipe.spec(self._input)
        return spec if self.viewing is None else spec.with_(copies=self.viewing.views[0].copies)

    def _expect_named(self, text: str, fields: Iterable[str]) -> None:
        """Refuses to hand over what the line does not make, as ``views.huge``, and ``mask`` for ``companions.mask``."""
        known: dict[str, list[str]] = {
            "views": [] if self.viewing is None else [view.name for view in self.viewing.views],
            "companions": [companion.name for companion in self.companions],
            "targets": [] if self.targeting is None else [kind for kind, _ in self.targeting.named()],
            "fields": [*self.source.field_names, *self._padded_lengths()],
        }
        made_by_maps = any(isinstance(verb, Map) and verb.on == "item" for verb in self.recipe.verbs)
        for field_name in fields:
            column, dot, name = field_name.partition(".")
            if dot and name not in known.get(column, (name,)) and not (column == "fields" and made_by_maps):
                names = ", ".join(known[column]) or "none"
                raise PlanError(f"{text}: expected one of the line's {column} ({names}), found {field_name!r}.")
            holder = next((word for word, names in known.items() if field_name in names), "")
            if holder and field_name not in BATCH_FIELDS:
                raise PlanError(
                    f"{text}: expected a column of the batch, found {field_name!r}; it is {f'{holder}.{field_name}'!r}."
                )

    def _padded_lengths(self) -> list[str]:
        return [] if self.batching is None else [f"{pad.name}_length" for pad in self.batching.pads]

    def _before_batch(self, text: str) -> None:
        if self.batching is not None:
            raise PlanError(
                f"{text}: expected to come before batch, found batch({self.batching.size}) before it; "
                f"call order is execution order."
            )

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The words that labels count, in order; None where there are none. ``folder(root, classes=train.classes)``."""
        return self.source.classes

    @property
    def random(self) -> bool:
        """True when a pass depends on the seed and the epoch: a random order, or a random step."""
        drawing = (*self.maps, *(part for part in (self.target, self.viewing) if part is not None))
        return self.order.random or self.recipe.random or any(step.random for step in drawing)

    @property
    def spec(self) -> Spec:
        """What comes out of the last stage."""
        spec = self._image_spec()
        if self.batching is None:
            return spec
        batch = self.batching.spec(spec)
        return batch if self.target is None else self.target.spec(batch)

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hex, of the source's list, the order and the recipe: which sample comes when, as what.

        Batch size, layout and selection are left out: a state may be resumed with another of these.
        """
        import hashlib
        import json

        from penstock._reference.resample import installed_order

        # Pillow 13 changed the order of its passes, and with it the last bit of some pixels.
        beside = tuple(companion.arguments() for companion in self.companions)
        if self.targeting is not None:
            beside = (*beside, self.targeting.arguments())
        if self.target is not None and self.target.verbs:
            beside = (*beside, json.dumps(self.target.json_fields(), sort_keys=True))
        beside = (*beside, *(f"{verb.name} {sorted(verb.fingerprint_fields().items())}" for verb in self.maps))
        if self.viewing is not None:
            beside = (*beside, self.viewing.fingerprint())
        order = self.order.fingerprint()
        parts = ("line", self.source.digest(), order, self.recipe.fingerprint, installed_order(), *beside)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def __len__(self) -> int:
        items = self.items
        if self.batching is None:
            return items
        if self.batching.ragged != "bucket":
            return Grid(items=items, batch_size=self.batching.size, last=self.batching.last).steps
        from penstock.buckets import grid_of

        return grid_of(self).steps

    def __bool__(self) -> bool:
        return True  # an empty line is still a line

    # -- what it must have --------------------------------------------------------------------------------------------

    def _expect_known_sizes(self, text: str) -> None:
        """Refuses what the headers cannot tell: a size that draws decide."""
        try:
            self.recipe.plan(480, 640)
        except ItemError:
            return  # this size cannot be; others may
        except PlanError as error:
            raise PlanError(f"{text}: {str(error).split(': ', 1)[1]}") from None

    def _expect_images(self, text: str) -> None:
        if self._image_spec().kind == "encoded":
            raise PlanError(f"{text}: expected images, found encoded bytes; call .decode() before it.")
        expect_items(self.source, self.batching, beside=False, text=text)
        if self.viewing is not None:
            self._expect_batches(text)

    def _expect_batches(self, text: str) -> Batching:
        if self.batching is None:
            raise PlanError(f"{text}: expected a line with batches, found none; call .batch(n) before it.")
        return self.batching


def _line(make: Callable[P, Source], name: str, example: str) -> Callable[P, Pipeline]:
    """A line without a stage yet, with the signature and the docstring of the function that lists the source."""
    signature = inspect.signature(make)

    def line(*args: P.args, **kwargs: P.kwargs) -> Pipeline:
        expect_call(name, signature, args, kwargs)
        return Pipeline(make(*args, **kwargs))

    line.__name__ = line.__qualname__ = name
    text = inspect.getdoc(make) or ""
    line.__doc__ = f"{text.split('>>>')[0].rstrip()}\n\nReturns a line with no stage yet.\n{example}"
    shown = signature.replace(return_annotation="Pipeline")
    line.__dict__["__signature__"] = shown
    return line


folder = _line(folder_source, "folder", "")
files = _line(files_source, "files", "")
blobs = _line(blobs_source, "blobs", "\n>>> len(blobs({'a': b'...'}))\n1\n")
arrays = _line(
    arrays_source, "arrays", "\n>>> import numpy as np\n>>> len(arrays([np.zeros((4, 6, 3), np.uint8)]))\n1\n"
)
csv = _line(csv_source, "csv", "")
jsonl = _line(jsonl_source, "jsonl", "")
parquet = _line(parquet_source, "parquet", "")
hf = _line(hf_source, "hf", "")
tar = _line(tar_source, "tar", "")
