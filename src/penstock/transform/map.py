"""The verb map: a Python function at its place in the line."""

from __future__ import annotations

import math
import operator
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from penstock.errors import PlanError
from penstock.transform.function import fingerprint_of, function_name, takes_rng, unfit_signature
from penstock.transform.verb import DTYPES, MAX_PIXELS, Verb, call, expect_image, word

if TYPE_CHECKING:
    import numpy as np

    from penstock.types import Spec

__all__ = ["Map"]

MapOn = Literal["image", "item", "batch"]
MapGeometry = Literal["unknown", "keep", "returned"]

MAX_WORKERS = 256
CHANNELS = (1, 3, 4)


@dataclass(frozen=True, slots=True)
class Map(Verb):
    """Calls ``fn`` on every image, item or batch, at its place in the line; what is before and after stays native.

    ``on="image"``: ``fn(image)`` or ``fn(image, rng)`` gets uint8 (uint16, float32) [H, W, C], writable, and answers an
    image of the same dtype and shape; ``out=(height, width)`` promises another size, ``out="any"`` each its own,
    ``channels=`` another count. ``on="item"``: ``fn(item)`` changes a MapItem (image, label, fields) in place.
    ``on="batch"``, after ``.batch()``: ``fn(batch)`` answers what is handed over. ``rng`` is a numpy.random.Generator
    made from (seed, epoch, source index, the step's number among the random ones); for a batch, from its place in the
    epoch. ``geometry`` says what becomes of points and masks: "keep" (pixels stay where they are), "returned" (``fn``
    answers ``(image, matrix)``, float [2, 3], pixels (x, y) as it got them to those of its answer) or "unknown" (they
    are refused from here on). ``workers=n`` calls ``fn`` in n processes. A function has no JSON; the fingerprint holds
    its name and ``version``. Raises PlanError for arguments that cannot be; an image whose function raises or answers
    something else fails.

    >>> def invert(image):
    ...     return 255 - image
    >>> Map(invert, geometry="keep").describe()
    'map invert, in threads'
    """

    fn: Callable[..., Any]
    on: MapOn = "image"
    geometry: MapGeometry = field(default="unknown", kw_only=True)
    channels: int | None = field(default=None, kw_only=True)
    out: tuple[int, int] | Literal["any"] | None = field(default=None, kw_only=True)
    version: str = field(default="", kw_only=True)
    workers: int | Literal["threads"] = field(default="threads", kw_only=True)

    name: ClassVar[str] = "map"

    def __post_init__(self) -> None:
        if not callable(self.fn):
            raise PlanError(f"{call(self)}: expected fn= a function, found {self.fn!r}.")
        word(self, "on", ("image", "item", "batch"))
        word(self, "geometry", ("unknown", "keep", "returned"))
        if not isinstance(self.version, str):
            raise PlanError(f"{call(self)}: expected version= a text, found {self.version!r}.")
        if self.channels is not None and self.channels not in CHANNELS:
            raise PlanError(f"{call(self)}: expected channels= 1, 3 or 4, found {self.channels!r}.")
        self._check_out()
        self._check_workers()
        if self.on == "item" and self.geometry == "returned":
            raise PlanError(
                f"{call(self)}: expected geometry='keep' or 'unknown' on items, which are changed in place, found "
                f"'returned'."
            )
        if self.on == "batch":
            given = {"geometry": "unknown", "channels": None, "out": None, "workers": "threads"}
            for argument, usual in given.items():
                if getattr(self, argument) != usual:
                    raise PlanError(
                        f"{call(self)}: expected no {argument}= on batches, found {getattr(self, argument)!r}."
                    )
        self._check_signature()

    def _check_out(self) -> None:
        if self.out is None or self.out == "any":
            return
        try:
            height, width = (operator.index(side) for side in self.out)
        except (TypeError, ValueError):
            height = width = 0
        if min(height, width) < 1 or height * width > MAX_PIXELS:
            raise PlanError(
                f"{call(self)}: expected out= (height, width), two whole numbers of at least 1, or 'any', found "
                f"{self.out!r}."
            )
        object.__setattr__(self, "out", (height, width))

    def _check_workers(self) -> None:
        if self.workers == "threads":
            return
        try:
            number = 0 if isinstance(self.workers, bool) else operator.index(self.workers)
        except TypeError:
            number = 0
        if not 1 <= number <= MAX_WORKERS:
            raise PlanError(
                f"{call(self)}: expected workers='threads' or a number of processes from 1 to {MAX_WORKERS}, found "
                f"{self.workers!r}."
            )
        object.__setattr__(self, "workers", number)
        try:
            pickle.dumps(self.fn)
        except Exception as error:  # noqa: BLE001 - pickle raises whatever the object does
            raise PlanError(
                f"{call(self)}: expected a function that a process can be given, found {function_name(self.fn)} "
                f"({error}); move it into a module."
            ) from None

    def _check_signature(self) -> None:
        signature = unfit_signature(self.fn, None)
        if signature is not None:
            raise PlanError(
                f"{call(self)}: expected a function that is called as fn({self.on}) or fn({self.on}, rng=), found "
                f"{function_name(self.fn)}{signature}."
            )

    @property
    def random(self) -> bool:  # type: ignore[override]  # here it is the function that says so
        """True where the function takes an ``rng``."""
        return takes_rng(self.fn)

    @property
    def title(self) -> str:
        """The stage and its function, as failures and refusals name them: "map blur"."""
        return f"map {function_name(self.fn)}"

    def spec(self, spec: Spec) -> Spec:
        """An image of the same dtype, of the size and the channels that were promised."""
        if self.on == "batch":
            raise PlanError(
                f"{call(self)}: expected on='image' or 'item' in a recipe, found 'batch'; it comes in a line, after "
                f".batch()."
            )
        expect_image(self, spec, DTYPES)
        changes: dict[str, Any] = {} if self.channels is None else {"channels": self.channels}
        if self.out is not None:
            changes["height"], changes["width"] = (None, None) if self.out == "any" else self.out
        return spec.with_(**changes)

    def arguments(self) -> str:
        """The arguments as ``print(line)`` shows them: the function, where it runs, what it changes."""
        where = "in threads" if self.workers == "threads" else f"in {self.workers} processes"
        texts = [function_name(self.fn), where]
        if self.on == "batch":
            texts[1] = "on batches"
        elif self.on == "item":
            texts[1] = f"on items {where}"
        note = getattr(self.fn, "map_note", None)  # of ps.albumentations and ps.torchvision
        if isinstance(note, str) and self.workers == "threads":
            texts.append(note)
        if self.on != "batch" and self.geometry != "keep":
            texts.append(f"geometry {self.geometry}")
        return ", ".join(texts)

    def json_fields(self) -> dict[str, Any]:
        """Raises PlanError: a function has no JSON."""
        found = function_name(self.fn)
        raise PlanError(f"{call(self)}: expected a recipe that JSON can hold, found the function {found}.")

    def fingerprint_fields(self) -> dict[str, Any]:
        """The arguments, with the function's name for the function; where it runs changes no pixel.

        Raises PlanError for a function that has no name of its own.
        """
        fields = {"fn": fingerprint_of(self, self.fn, self.version), "on": self.on, "geometry": self.geometry}
        more = {"channels": self.channels, "out": self.out, "version": self.version}
        return {**fields, **{name: value for name, value in more.items() if value}}


def rng_of(verb: Map, seed: int, epoch: int, index: int, ordinal: int) -> dict[str, np.random.Generator]:
    """The keyword arguments of one call: a generator where the function takes one."""
    from penstock._reference.random import Draws

    return {"rng": Draws(seed, epoch, index, ordinal).generator()} if verb.random else {}


def finite(values: tuple[float, ...]) -> bool:
    """Whether all numbers are finite."""
    return all(math.isfinite(value) for value in values)
