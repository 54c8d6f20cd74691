"""One map made ready to be called: arguments in, answer checked; the same for every engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from penstock.transform.function import function_name
from penstock.transform.map import Map, rng_of
from penstock.transform.map_item import Changes, MapItem
from penstock.transform.verb import MAX_PIXELS, StepError

if TYPE_CHECKING:
    from penstock.types import Item, Spec

__all__ = ["MapCall", "Mapped"]


class Mapped(NamedTuple):
    """What a function answered: an image without gaps, where its pixels went, and what else it changed."""

    pixels: npt.NDArray[Any]
    matrix: list[float] | None  # six numbers, from the pixels it was given; None: they stayed where they were
    changes: Changes


@dataclass(slots=True)
class MapCall:
    """A map of a recipe with its number among the random steps and what it must answer."""

    verb: Map
    ordinal: int
    spec: Spec  # what flows out
    random: bool = field(init=False)
    keeps: bool = field(init=False)  # it may answer the array it was given
    plain: bool = field(init=False)  # an image is all it takes and answers, in this process
    dtype: np.dtype[Any] = field(init=False)

    def __post_init__(self) -> None:
        self.random = self.verb.random
        self.keeps = self.verb.out is None and self.verb.channels is None
        self.dtype = np.dtype(self.spec.dtype)
        in_threads, on_image = self.verb.workers == "threads", self.verb.on == "image"
        self.plain = in_threads and on_image and not self.random and self.verb.geometry != "returned"

    def __call__(
        self,
        image: npt.NDArray[Any],
        *,
        seed: int,
        epoch: int,
        index: int,
        item: Callable[[], Item] | None = None,
        function: Callable[..., Any] | None = None,
    ) -> Mapped:
        """The answer for one image, [H, W, C], which the function may write to; raises StepError.

        ``function`` is called in place of the map's own: a copy of a thread's own, or one that a process calls.
        """
        shape = image.shape
        fn = self.verb.fn if function is None else function
        arguments = rng_of(self.verb, seed, epoch, index, self.ordinal) if self.random else {}
        on_item = self.verb.on == "item"
        given: Any = MapItem(image, _item(item, index)) if on_item else image
        try:
            answer = fn(given, **arguments)
        except StepError:
            raise
        except Exception as error:
            raise StepError("exception", f"{self._expected(shape)}, found {type(error).__name__}: {error}") from error
        changes: Changes = {}
        if on_item:
            if answer is not None and answer is not given:
                self._refuse(shape, f"{_kind(answer)}; change the item in place and return nothing")
            answer, changes = given.image, self._changes(given)
        matrix: list[float] | None = None
        if self.verb.geometry == "returned":
            answer, matrix = self._split(shape, answer)
        return Mapped(self._checked(shape, image, answer), matrix, changes)

    def plainly(self, image: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The answer for one image where the map is ``plain``, in a fraction of the time; raises StepError."""
        shape = image.shape
        try:
            answer = self.verb.fn(image)
        except StepError:
            raise
        except Exception as error:
            raise StepError("exception", f"{self._expected(shape)}, found {type(error).__name__}: {error}") from error
        return self._checked(shape, image, answer)

    def _checked(self, shape: tuple[int, ...], image: npt.NDArray[Any], answer: Any) -> npt.NDArray[Any]:
        same = answer is image
        if same and self.keeps and image.shape == shape and image.dtype == self.dtype:
            return image
        if not isinstance(answer, np.ndarray):
            self._refuse(shape, _kind(answer))
        out = self.verb.out
        size = shape[:2] if out is None else answer.shape[:2] if out == "any" else out
        if answer.ndim != 3 or answer.shape != (*size, self.spec.channels) or answer.dtype != self.dtype:
            self._refuse(shape, f"{answer.dtype} {list(answer.shape)}")
        if out == "any" and not 0 < answer.shape[0] * answer.shape[1] <= MAX_PIXELS:
            self._refuse(shape, f"{answer.dtype} {list(answer.shape)}")
        return answer if answer.flags.c_contiguous else np.ascontiguousarray(answer)

    def _split(self, shape: tuple[int, ...], answer: Any) -> tuple[Any, list[float]]:
        try:
            image, matrix = answer
            found = np.asarray(matrix, dtype=np.float64)
        except Exception:  # noqa: BLE001 - whatever the answer is, it is no pair
            self._refuse(shape, f"{_kind(answer)} in place of (image, matrix)")
        invertible = found.shape == (2, 3) and np.isfinite(found).all()
        if not invertible or found[0, 0] * found[1, 1] == found[0, 1] * found[1, 0]:
            self._refuse(shape, f"the matrix {found.tolist()} in place of six numbers [2, 3] that can be inverted")
        return image, [float(value) for value in found.ravel()]

    def _changes(self, item: MapItem) -> Changes:
        changes = item.changes()
        label = changes.get("label")
        if "label" in changes and (isinstance(label, bool) or not isinstance(label, (int, np.integer))):
            raise StepError("wrong answer", f"{self.verb.title}: expected a whole number for a label, found {label!r}")
        return changes

    def _refuse(self, shape: tuple[int, ...], found: str) -> NoReturn:
        raise StepError("wrong answer", f"{self._expected(shape)}, found {found}")

    def _expected(self, shape: tuple[int, ...]) -> str:
        out = self.verb.out
        height, width = shape[:2] if out is None else ("H", "W") if out == "any" else out
        return f"{self.verb.title}: expected {self.dtype} [{height}, {width}, {self.spec.channels}]"


def _item(item: Callable[[], Item] | None, index: int) -> Item:
    if item is not None:
        return item()
    from penstock.types import Item

    return Item(index, "image")


def _kind(answer: Any) -> str:
    return "None; return the image" if answer is None else function_name(type(answer))
