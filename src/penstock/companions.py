"""A second file beside each picture (a mask, a depth map, a paired picture) that goes where the picture goes."""

from __future__ import annotations

import os
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from penstock.decode import Decode, DecodeError, decode_pillow
from penstock.decode.values import decode_labels, decode_npz
from penstock.errors import PlanError
from penstock.follow import follow_labels, follow_picture, turned
from penstock.geometry import FrameName, upright_size
from penstock.read import ReadError, read_file
from penstock.sources.source import Locations
from penstock.transform.map import Map
from penstock.transform.verb import StepError
from penstock.types import Spec, StageName

if TYPE_CHECKING:
    from penstock.recipe import Recipe
    from penstock.sources.source import Source

__all__ = ["Companion", "CompanionError", "Loaded", "companion_of", "expect_followable", "load", "stacked"]

ModeOfCompanion = Literal["label", "image", "npz"]
MODES = ("label", "image", "npz")
DTYPES = ("", "uint8", "uint16", "int32", "int64", "float32")
PLACES = ("stem", "name", "suffix", "parent", "key")


class CompanionError(Exception):
    """An item whose companion is not to be had: the stage, the cause and the message of its failure."""

    def __init__(self, stage: StageName, cause: str, message: str) -> None:
        super().__init__(stage, cause, message)
        self.stage: StageName = stage
        self.cause = cause
        self.message = message


@dataclass(frozen=True, slots=True)
class Companion:
    """One companion of a line: ``name`` in ``batch.companions``, where its file is, and how it is read and moved.

    ``pattern`` is a path relative to the picture's own folder with {stem}, {name}, {suffix}, {parent} or {key} in it,
    or the name of a field of the source that holds bytes or an array. ``dtype`` is what a map is handed over as: values
    that do not fit fail their item. ``outside`` stands where the picture is padded.

    >>> Companion("mask", "../mask/{stem}.png").path(b"/data/photo/a.jpg", "a.jpg")
    b'/data/photo/../mask/a.png'
    """

    name: str
    pattern: str
    mode: ModeOfCompanion = "label"
    frame: FrameName = "upright"
    outside: float = 0
    dtype: str = ""

    def __post_init__(self) -> None:
        text = f"companion({self.name}={self.pattern!r})"
        if self.mode not in MODES:
            raise PlanError(f"{text}: expected mode= one of 'label', 'image', 'npz', found {self.mode!r}.")
        if self.frame not in ("upright", "stored"):
            raise PlanError(f"{text}: expected frame= 'upright' or 'stored', found {self.frame!r}.")
        if self.dtype not in DTYPES:
            raise PlanError(f"{text}: expected dtype= one of {', '.join(DTYPES[1:])}, found {self.dtype!r}.")
        if self.dtype and self.mode == "image":
            raise PlanError(f"{text}: expected no dtype= for a picture, which is uint8, found {self.dtype!r}.")
        if not self.dtype and self.mode == "label":
            object.__setattr__(self, "dtype", "uint8")
        held = "uint8" if self.mode == "image" else self.dtype or "float64"
        if not _holds(held, self.outside):
            raise PlanError(f"{text}: expected outside= a number that {held} holds, found {self.outside!r}.")
        if not self.pattern or type(self.pattern) is not str:
            raise PlanError(f"{text}: expected a path with {{stem}} in it or a field's name, found {self.pattern!r}.")
        try:
            named = [place for _, place, _, _ in string.Formatter().parse(self.pattern) if place is not None]
        except ValueError as error:
            raise PlanError(f"{text}: expected a path with {{stem}} in it, found {error}.") from None
        for place in named:
            if place not in PLACES:
                known = ", ".join(f"{{{name}}}" for name in PLACES)
                raise PlanError(f"{text}: expected one of {known}, found {{{place}}}.")

    @property
    def field(self) -> bool:
        """True where the pattern is a field's name."""
        return "{" not in self.pattern

    def path(self, image: bytes, key: str) -> bytes:
        """The companion's path, for the picture at the path ``image`` with that key."""
        folder, name = os.path.split(image)
        stem, suffix = os.path.splitext(name)
        places = {
            "stem": os.fsdecode(stem),
            "name": os.fsdecode(name),
            "suffix": os.fsdecode(suffix),
            "parent": os.fsdecode(os.path.basename(folder)),
            "key": key,
        }
        return os.path.join(folder, os.fsencode(os.path.expanduser(self.pattern).format_map(places)))

    def spec(self, image: Spec) -> Spec:
        """What is handed over beside images of ``image``."""
        if self.mode == "image":
            return image.with_(dtype="uint8", range="0..255")
        return image.with_(channels=1, dtype="uint16" if self.dtype == "uint16" else "uint8", range="values")

    def arguments(self) -> str:
        """The arguments as ``print(line)`` shows them."""
        frame = "" if self.frame == "upright" else f" frame={self.frame}"
        outside = "" if self.outside == 0 else f" outside={self.outside:g}"
        dtype = "" if self.dtype in ("", "uint8") else f" dtype={self.dtype}"
        return f"{self.name}={self.pattern} {self.mode}{frame}{outside}{dtype}"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A companion's values before they are moved: [H, W] or [H, W, C], upright or stored as the companion says."""

    values: npt.NDArray[Any]
    source: str  # where it came from, for sentences


def load(companion: Companion, source: Source, located: Locations, row: int, index: int, decode: Decode) -> Loaded:
    """The companion of the item ``index``, which is row ``row`` of what was ``located``; raises CompanionError."""
    said = f"companion {companion.name}"
    try:
        data, where = _bytes_of(companion, source, located, row, index)
        values: bytes | npt.NDArray[Any] = data
        if companion.mode == "image":
            return Loaded(decode_pillow(_encoded(data, where), decode).pixels, where)
        if isinstance(values, bytes):
            values = decode_labels(values) if companion.mode == "label" else decode_npz(values)
        return Loaded(_as_dtype(values, companion.dtype, where), where)
    except ReadError as error:
        raise CompanionError("read", error.cause, f"{said}: {error.message}") from None
    except DecodeError as error:
        raise CompanionError("decode", error.cause, f"{said}: {error.message}") from None


def _bytes_of(
    companion: Companion, source: Source, located: Locations, row: int, index: int
) -> tuple[bytes | npt.NDArray[Any], str]:
    if companion.field:
        value = source.field(companion.pattern, np.array([index], dtype=np.int64))[0]
        if isinstance(value, dict) and isinstance(value.get("bytes"), bytes):
            value = value["bytes"]
        if isinstance(value, (bytes, np.ndarray)):
            return value, f"field {companion.pattern!r}"
        raise ReadError(
            "no companion", f"expected bytes or an array in the field {companion.pattern!r}, found {_kind(value)}"
        )
    image = path_of(located, row)
    if image is None:
        raise ReadError("no companion", "expected a picture in a file of its own, found one without a path")
    path = companion.path(image, source.key(index))
    try:
        return read_file(path), os.fsdecode(path)
    except ReadError as error:
        raise ReadError(error.cause, f"{error.message} at {os.fsdecode(path)!r}") from None


def _encoded(data: bytes | npt.NDArray[Any], where: str) -> bytes:
    if isinstance(data, bytes):
        return data
    raise ReadError("no companion", f"expected an encoded picture, found an array in {where}")


def _as_dtype(values: npt.NDArray[Any], dtype: str, where: str) -> npt.NDArray[Any]:
    """The values as ``dtype``, "" as they are; DecodeError where one of them would change."""
    if values.ndim < 2:
        raise DecodeError("not a map", f"expected an array [H, W] in {where}, found shape {list(values.shape)}")
    if not dtype or values.dtype == dtype:
        return values
    with np.errstate(invalid="ignore", over="ignore"):  # what that leaves behind is found below
        cast = values.astype(dtype)
    if values.dtype.kind == "f" and cast.dtype.kind == "f":  # rounded as numbers are; "no depth here" stays what it is
        changed = np.isfinite(values) & ~np.isfinite(cast)
    else:
        changed = cast != values
    if changed.any():
        raise DecodeError(
            "too large", f"expected values that {dtype} holds (dtype=), found {values[changed].flat[0]} in {where}"
        )
    return cast


def _holds(dtype: npt.DTypeLike, value: object) -> bool:
    """Whether a number is the same as ``dtype``; of floats, whether it is a number."""
    if isinstance(value, (bool, str)) or not isinstance(value, (int, float, np.integer, np.floating)):
        return False
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return True
    if kind.kind == "b":
        return value in (0, 1)
    bounds = np.iinfo(kind.name)
    return bool(bounds.min <= value <= bounds.max and value == int(value))


def _kind(value: object) -> str:
    return "nothing" if value is None else type(value).__name__


def path_of(located: Locations, row: int) -> bytes | None:
    """The path of the file that one row is; None where it lies in memory, or is a part of a file."""
    if located.paths is not None:
        return None if located.ranges is not None else located.paths.path(row)
    for rows, part in located.parts or ():
        within = np.flatnonzero(rows == row)
        if within.size:
            return path_of(part, int(within[0]))
    return None


def companion_of(
    companion: Companion,
    loaded: Loaded,
    recipe: Recipe,
    *,
    stored: tuple[int, int],
    orientation: int,
    seed: int,
    epoch: int,
    index: int,
) -> npt.NDArray[Any]:
    """The companion moved as its picture was, by the same draws; raises CompanionError where their sizes differ.

    ``stored`` and ``orientation`` are the picture's own.
    """
    values = loaded.values
    expected = stored if companion.frame == "stored" else upright_size(stored[0], stored[1], orientation)
    if values.shape[:2] != expected:
        raise CompanionError(
            "transform",
            "companion size",
            f"companion {companion.name}: expected the picture's own size, H={expected[0]} W={expected[1]} "
            f"{companion.frame}, found H={values.shape[0]} W={values.shape[1]} in {loaded.source}",
        )
    if companion.frame == "stored":
        values = turned(values, orientation)
    try:
        steps: Sequence[Any] = recipe.moves(values.shape[0], values.shape[1], seed=seed, epoch=epoch, index=index)
    except StepError as error:
        raise CompanionError("transform", error.cause, error.message) from None
    if companion.mode == "image":
        return follow_picture(values, steps)
    if not _holds(values.dtype, companion.outside):
        raise CompanionError(
            "transform",
            "outside",
            f"companion {companion.name}: expected values that hold outside={companion.outside!r} as well, found "
            f"{values.dtype} in {loaded.source}",
        )
    return follow_labels(values, steps, companion.outside)


def expect_followable(text: str, recipe: Recipe, *, companions: bool) -> None:
    """Refuses a map behind which nobody knows where pixels went or, with ``companions``, that moves them; PlanError."""
    for verb in recipe.verbs:
        if not isinstance(verb, Map):
            continue
        if verb.geometry == "unknown":
            raise PlanError(
                f"{text}: expected to know where the pixels went, found the stage {verb.title}, which does not say; "
                f"give it geometry='keep' or 'returned'."
            )
        if companions and (verb.geometry == "returned" or verb.out is not None):
            found = "geometry='returned'" if verb.geometry == "returned" else f"out={verb.out!r}"
            raise PlanError(
                f"{text}: expected maps that leave each pixel where it is (geometry='keep', no out=), since a "
                f"companion is not given to their functions, found {verb.title} with {found}."
            )


def stacked(
    companion: Companion,
    rows: Sequence[npt.NDArray[Any] | None],
    size: tuple[int, int] | None,
    channels: int,
) -> npt.NDArray[Any] | list[npt.NDArray[Any] | None]:
    """One array for a batch, ``outside`` where a row has none; a list where rows may differ in ``size`` (None)."""
    made = [row for row in rows if row is not None]
    shapes = {row.shape for row in made}
    if size is not None and companion.mode != "npz":
        shapes |= {(*size, channels) if companion.mode == "image" else size}
    if size is None or len(shapes) != 1:
        return list(rows)
    dtype = np.result_type(*{row.dtype for row in made}) if made else np.dtype(companion.dtype or "uint8")
    out = np.full((len(rows), *shapes.pop()), companion.outside, dtype)
    for place, row in enumerate(rows):
        if row is not None:
            out[place] = row
    return out
