"""One image or one step again, bit for bit: recipe(data), line.sample(), line.batch_at(), line.explain()."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from penstock import _native
from penstock.decode import Decode, DecodeError, decode_picture, decode_pillow
from penstock.delivery import Delivery
from penstock.errors import ItemError, PlanError
from penstock.escort import Escort
from penstock.failures import failure_of, sentence
from penstock.geometry import Geometry, compose
from penstock.images import deliver_step, expect_policy
from penstock.options import RunOptions
from penstock.plan import compile_plan
from penstock.read import ReadError, read_file, read_located
from penstock.recipe import Recipe
from penstock.reference import Finished, StageError, call_map, finish, first_part, item_by_item, moved, run_native
from penstock.results import Columns, decode_text, names_of_notes
from penstock.schedule import Schedule
from penstock.step import Request
from penstock.transform.map_item import Changes, changed_item
from penstock.transform.verb import StepError
from penstock.types import Batch, Failure, Item, LayoutName, ModeName, Row, UInt8Image, named, numpy_dtype
from penstock.view_columns import columns_of

if TYPE_CHECKING:
    from penstock.pipeline import Pipeline


DECODERS = {"jpeg": "libjpeg-turbo", "png": "libpng", "webp": "libwebp", "pillow": "Pillow"}


def _make(
    plan: _native.Plan,
    recipe: Recipe,
    data: bytes | npt.NDArray[Any],
    seed: int,
    epoch: int,
    index: int,
    item: Callable[[], Item] | None = None,
) -> Finished:
    """One image by the native path, Pillow asked where the native decoder hands on; raises StageError."""
    notes: tuple[str, ...] = ()
    by_pillow = False
    if isinstance(data, bytes):
        if recipe.decoding is None:
            raise StageError(
                "decode",
                "not decoded",
                "expected an image, found encoded bytes; a recipe for them begins with .decode()",
            )
        result = _run_bytes(plan, recipe, data, seed, epoch, index)
        if result["outcome"] == "referee":
            damage = result["damage"]
            try:
                decoded = decode_pillow(data, recipe.decoding)
            except DecodeError as error:
                raise StageError("decode", error.cause, error.message) from None
            notes = decoded.notes
            stored = (decoded.stored_height, decoded.stored_width)
            result = _run_pixels(plan, recipe, decoded.pixels, stored, decoded.orientation, seed, epoch, index)
            result["damage"] = damage
            by_pillow = True
        else:
            notes = names_of_notes(result["notes"])
    else:
        pixels = np.ascontiguousarray(data)
        result = _run_pixels(plan, recipe, pixels, (pixels.shape[0], pixels.shape[1]), 1, seed, epoch, index)
    _raise_if_failed(result)
    changes: Changes = {}
    size, matrix = result["size"], result["geometry"]
    found = {name: result[name] for name in ("stored", "orientation", "damage")}
    parts = recipe.parts()
    for number, part in enumerate(parts[:-1]):
        assert part.call is not None  # only the last has none
        try:
            mapped = call_map(
                part.call, result["image"], seed=seed, epoch=epoch, index=index, item=item, before=changes
            )
            pixels = mapped.pixels
            matrices = parts[number + 1].matrices(pixels.shape[0], pixels.shape[1], seed, epoch, index)
        except StepError as error:
            raise StageError("transform", error.cause, error.message) from None
        result = _native.run_pixels(plan.parts[number + 1], pixels, pixels.shape[:2], 1, seed, epoch, index, matrices)
        _raise_if_failed(result)
        changes = mapped.changes
        size, matrix = result["size"], compose(moved(matrix, mapped), result["geometry"])
    normalize = recipe.normalization
    image = result["image"] if normalize is None else named(result["image"], normalize.dtype)
    return Finished(
        image, matrix, found["stored"], found["orientation"], size, notes, changes, found["damage"], by_pillow
    )


def _raise_if_failed(result: dict[str, Any]) -> None:
    if result["outcome"] == "failed":
        stage, cause, message = result["problem"]
        raise StageError(stage, cause, decode_text(message))


def _run_bytes(plan: _native.Plan, recipe: Recipe, data: bytes, seed: int, epoch: int, index: int) -> dict[str, Any]:
    try:
        return run_native(recipe, plan, data, seed, epoch, index)
    except StepError as error:
        try:  # a broken file is a broken file first
            decode_pillow(data, recipe.decoding or Decode())
        except DecodeError as broken:
            raise StageError("decode", broken.cause, broken.message) from None
        raise StageError("transform", error.cause, error.message) from None


def _run_pixels(
    plan: _native.Plan,
    recipe: Recipe,
    pixels: npt.NDArray[Any],
    stored: tuple[int, int],
    orientation: int,
    seed: int,
    epoch: int,
    index: int,
) -> dict[str, Any]:
    try:
        matrices = recipe.matrices(pixels.shape[0], pixels.shape[1], seed=seed, epoch=epoch, index=index)
    except StepError as error:
        raise StageError("transform", error.cause, error.message) from None
    return _native.run_pixels(first_part(plan), pixels, stored, orientation, seed, epoch, index, matrices)


def _plan_of(recipe: Recipe, layout: LayoutName) -> _native.Plan:
    """The recipe's plan, made once for the recipes last used: a server asks for one image at a time."""
    try:
        return _kept_plan(recipe, layout)
    except TypeError:  # a warp whose function cannot be hashed
        return compile_plan(recipe, layout)


@lru_cache(maxsize=16)
def _kept_plan(recipe: Recipe, layout: LayoutName) -> _native.Plan:
    return compile_plan(recipe, layout)


def process_one(
    recipe: Recipe, data: Any, seed: int = 0, epoch: int = 0, index: int = 0, layout: LayoutName = "NHWC"
) -> npt.NDArray[Any]:
    """One image through a recipe: a path, bytes, an array as decode makes it or a Pillow image; ItemError."""
    name = "image"
    try:
        if isinstance(data, (str, os.PathLike)):
            name = os.fspath(data)
            data = read_file(os.path.expanduser(os.fsencode(name)))
        elif isinstance(data, (bytearray, memoryview)):
            data = bytes(data)
        elif not isinstance(data, (bytes, np.ndarray)):
            data = _array_of_picture(data, recipe.decoding or Decode())
        if isinstance(data, np.ndarray):
            recipe, data = _undecoded(recipe, data)
        return _make(_plan_of(recipe, layout), recipe, data, seed, epoch, index).image
    except ReadError as error:
        raise ItemError(sentence("read", name, error.message)) from None
    except DecodeError as error:
        raise ItemError(sentence("decode", name, error.message)) from None
    except StageError as error:
        raise ItemError(sentence(error.stage, name, error.message)) from None


def _undecoded(recipe: Recipe, pixels: npt.NDArray[Any]) -> tuple[Recipe, npt.NDArray[Any]]:
    """The recipe for an image that is decoded already, and the image as [H, W, C]; PlanError where they do not fit."""
    decode = recipe.decoding
    rgb = pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.size > 0
    if rgb and decode is not None and (decode.channels != 3 or decode.dtype != "uint8"):
        from PIL import Image

        # As a file that holds these pixels would be decoded.
        pixels = _array_of_picture(Image.fromarray(np.ascontiguousarray(pixels)), decode)
    if decode is None:  # whatever decode can make
        channels = pixels.shape[2] if pixels.ndim == 3 else 3
        mode: ModeName = "L" if channels == 1 else "RGBA" if channels == 4 else "RGB"
        decode = Decode(mode=mode, depth=16 if pixels.dtype == np.uint16 else 8)
    elif pixels.ndim == 2 and decode.channels == 1:
        pixels = pixels[:, :, np.newaxis]
    if pixels.dtype != decode.dtype or pixels.ndim != 3 or pixels.shape[2] != decode.channels or pixels.size == 0:
        hint = "; image[..., np.newaxis] has one channel" if pixels.ndim == 2 and recipe.decoding is None else ""
        raise PlanError(
            f"recipe: expected a {decode.dtype} image of shape [H, W, {decode.channels}], found {pixels.dtype} "
            f"{list(pixels.shape)}{hint}."
        )
    usual = decode.channels == 3 and decode.dtype == "uint8"
    return Recipe(None if usual else Decode(mode=decode.mode, depth=decode.depth), recipe.verbs), pixels


def _array_of_picture(picture: Any, decode: Decode) -> npt.NDArray[Any]:
    if not hasattr(picture, "convert"):
        raise PlanError(
            "recipe: expected a path, bytes, a uint8 [H, W, 3] array or a Pillow image, "
            f"found {type(picture).__name__}."
        )
    try:
        return decode_picture(picture, decode)
    except DecodeError as error:
        raise StageError("decode", error.cause, error.message) from None


def sample(line: Pipeline, index: int, epoch: int, upto: str | int | None) -> Row:
    """One item of a line as the run of that epoch makes it; a failed item is a Row with its failure, not an error."""
    recipe = line.recipe if upto is None else line.recipe.upto(upto)
    layout = "NHWC" if line.batching is None or upto is not None else line.batching.layout
    item = line.source[index]
    failure: Failure | None = None
    made: Finished | None = None
    try:
        plan = compile_plan(recipe, layout)
        made = _make(
            plan,
            recipe,
            _data_of(line, index),
            line.order.seed,
            epoch,
            index,
            item=partial(line.source.__getitem__, index),
        )
    except ReadError as error:
        failure = failure_of(item.key, index, "read", error.cause, error.message)
    except StageError as error:
        failure = failure_of(item.key, index, error.stage, error.cause, error.message)
    spec = recipe.spec()
    if made is None:
        blank = np.zeros(spec.shape(layout), dtype=numpy_dtype(spec.dtype))
        grid = None if spec.patch is None else (0, 0)
        return Row(blank, -1, item.key, index, valid=False, failure=failure, layout=layout, patch=spec.patch, grid=grid)
    geometry = Geometry(
        np.full((1, 2, 3), np.nan) if recipe.unknown else made.matrix[np.newaxis],
        np.array([made.stored], dtype=np.int32),
        np.array([made.orientation], dtype=np.int32),
        model_sizes=np.array([made.size], dtype=np.int32),
        unknown=recipe.unknown,
    )
    item = changed_item(item, made.changes)
    return Row(
        image=made.image,
        label=-1 if item.label is None else item.label,
        key=item.key,
        index=index,
        damaged=bool(made.damage),
        geometry=geometry[0],
        fields=item.fields,
        layout=layout,
        statistics=recipe.statistics,
        patch=spec.patch,
        grid=None if spec.patch is None else (made.size[0] // spec.patch, made.size[1] // spec.patch),
    )


def _data_of(line: Pipeline, index: int) -> bytes | UInt8Image:
    return read_located(line.source.locate(np.array([index], dtype=np.int64)), 0)


def batch_at(line: Pipeline, step: int, options: RunOptions, start: int) -> Batch:
    """The batch that a rank is handed at that step of that epoch. No pool is started."""
    expect_policy(line.batching, options)
    schedule = Schedule(line, options, start)
    request = schedule.request_at(step)
    layout = "NHWC" if line.batching is None else line.batching.layout
    make = partial(_columns_of, line, layout, options.epoch)
    delivery = Delivery(
        source=line.source,
        options=options,
        items=len(request.draws),
        layout=layout,
        statistics=line.recipe.statistics,
        spec=line.recipe.spec(),
        ragged=None if line.batching is None else line.batching.ragged,
        unknown=line.recipe.unknown,
        companions=line.companions,
        targeting=line.targeting,
        viewing=line.viewing,
    )
    batch = deliver_step(
        delivery,
        make(request),
        request,
        step=step,
        epoch=options.epoch,
        size=schedule.size_at(step),
        stand_ins=schedule.stand_ins(step, make),
        draws=request.row_draws if line.target is not None else None,
    )
    mapped: Batch = schedule.mapped(batch)  # or whatever the last map answers
    return mapped


def _columns_of(line: Pipeline, layout: LayoutName, epoch: int, request: Request) -> Columns:
    """The columns of what was requested, item after item, by the native path."""
    make = partial(_columns_by, line, layout, epoch, request)
    columns = columns_of(line.recipe, line.viewing, request.draws, make)
    Escort(line, request, epoch, None).join(columns)
    return columns


def _columns_by(
    line: Pipeline, layout: LayoutName, epoch: int, request: Request, recipe: Recipe, draws: npt.NDArray[Any]
) -> Columns:
    """The columns of what was requested by one recipe, each item with its draws."""
    plan, items = _plan_of(recipe, layout), request.items

    def make(row: int) -> Finished:
        data = read_located(request.located, row)
        item = partial(line.source.__getitem__, int(items[row]))
        return _make(plan, recipe, data, line.order.seed, epoch, int(draws[row]), item=item)

    return item_by_item(recipe.spec(), layout, request.rows, len(draws), make)


@dataclass(frozen=True, slots=True)
class StageReport:
    """One stage of an explained item: what flows out of it and how long it took, natively and by the twins.

    ``difference`` is the mean of how far the two are apart, in the units of the range.
    """

    stage: str
    result: str
    range: str
    native_ms: float | None
    reference_ms: float | None
    identical: bool | None
    difference: float | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """What happened to one item, stage by stage; printable. ``failure`` is the sentence where it failed."""

    key: str
    index: int
    stages: tuple[StageReport, ...]
    failure: str | None = None
    decoder: str = ""
    fast: bool = False

    def __str__(self) -> str:
        lines = [f"item {self.index}, {self.key!r}{f', decoded by {self.decoder}' if self.decoder else ''}"]
        widths = [max([len(row[i]) for row in self._cells()] or [0]) for i in range(3)]
        for stage, cells in zip(self.stages, self._cells(), strict=True):
            times = ""
            if stage.native_ms is not None and stage.reference_ms is not None:
                times = f"{stage.native_ms:8.2f} ms native {stage.reference_ms:8.2f} ms reference"
                times += "  identical" if stage.identical else f"  {self._apart(stage)}"
            elif stage.native_ms is not None:
                times = f"{stage.native_ms:8.2f} ms"
            padded = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
            lines.append(f"  {padded}  {times}".rstrip())
        if self.failure is not None:
            lines.append(f"  failed: {self.failure}")
        return "\n".join(lines)

    __repr__ = __str__

    def _apart(self, stage: StageReport) -> str:
        return f"{'fast' if self.fast else 'DIFFERENT'}: {stage.difference:.2g} apart on average"

    def _cells(self) -> list[tuple[str, str, str]]:
        return [(stage.stage, stage.result, stage.range) for stage in self.stages]

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"


def explain(line: Pipeline, index: int, epoch: int) -> Explanation:
    """Runs one item stage by stage, natively and on the twins, and says what came out and what each stage cost."""
    key = line.source.key(index)
    stages: list[StageReport] = []
    decoder = ""
    found: dict[str, Any] = {}
    begun = time.perf_counter()
    try:
        data = _data_of(line, index)
    except ReadError as error:
        return Explanation(key, index, (), sentence("read", key, error.message))
    if isinstance(data, bytes):
        stages.append(StageReport("read", f"{len(data):,} bytes", "", _ms_since(begun), None, None))
        found = _native.inspect(data)
        decoder = DECODERS[found["backend"]]
    texts = [text for text, _ in line.recipe.specs()]
    seed = line.order.seed
    before = (0.0, 0.0)
    for count, text in enumerate(texts, start=1):
        recipe = line.recipe.upto(count)
        plan = compile_plan(recipe)
        try:
            item = partial(line.source.__getitem__, index)
            native_ms, made = _timed(partial(_make, plan, recipe, data, seed, epoch, index, item))
            twins = partial(finish, recipe, data, seed=seed, epoch=epoch, index=index, layout="NHWC", item=item)
            reference_ms, twin = _timed(twins)
        except StageError as error:
            return Explanation(key, index, tuple(stages), sentence(error.stage, key, error.message), decoder)
        if made.by_pillow:
            decoder = f"Pillow ({found.get('reason') or 'for what decode asks'})"
        if made.damage:
            decoder = f"Pillow, since the codec recovered from damage: {made.damage}"
        image = made.image
        stages.append(
            StageReport(
                stage=text,
                result=f"{image.dtype} {list(image.shape)}",
                range=f"{image.min():.4g}..{image.max():.4g}",
                native_ms=max(0.0, native_ms - before[0]),
                reference_ms=max(0.0, reference_ms - before[1]),
                identical=bool(np.array_equal(image, twin.image)),
                difference=_apart(image, twin.image),
            )
        )
        before = (native_ms, reference_ms)
    fast = line.recipe.decoding is not None and line.recipe.decoding.fidelity == "fast"
    return Explanation(key, index, tuple(stages), None, decoder, fast)


def _apart(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    """The mean absolute difference of two images; infinite where their shapes differ."""
    if one.shape != other.shape:
        return float("inf")
    return float(np.abs(one.astype(np.float64) - other.astype(np.float64)).mean())


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Milliseconds (the better of two) and the result."""
    begun = time.perf_counter()
    call()
    first = _ms_since(begun)
    begun = time.perf_counter()
    result = call()
    return min(first, _ms_since(begun)), result


def _ms_since(begun: float) -> float:
    return (time.perf_counter() - begun) * 1000.0
