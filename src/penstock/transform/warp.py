"""The verb warp, and what every verb that ends in one affine warp shares."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from penstock.errors import PlanError
from penstock.geometry import Matrix, matrix
from penstock.transform.function import fingerprint_of, function_name, takes_rng, unfit_signature
from penstock.transform.verb import (
    Colour,
    Spatial,
    StepError,
    call,
    colour,
    expect_colour,
    expect_image,
    four,
    sides,
    word,
)
from penstock.types import FilterName

if TYPE_CHECKING:
    from penstock._reference import steps as reference
    from penstock._reference.random import Draws
    from penstock._reference.warp import Six
    from penstock.types import Spec

__all__ = ["WARP_FILTERS", "Warp", "warp_step"]

WARP_FILTERS = ("nearest", "bilinear", "bicubic")


@dataclass(frozen=True, slots=True)
class Warp(Spatial):
    """Moves the image to (height, width) by a 2x3 affine that ``fn`` gives for each image.

    uint8 [H, W, C] in, uint8 [height, width, C] out; pixels from outside are ``fill``. ``fn(height, width)`` or
    ``fn(height, width, rng)`` answers six finite numbers [2, 3]: pixels (x, y) as this verb meets them to output
    pixels, a pixel's centre at +0.5. ``rng`` is a numpy.random.Generator made from (seed, epoch, source index, the
    step's number among the random ones): two draws, its key. Pixels are those of Pillow's Image.transform with the
    inverse. A function has no JSON; the fingerprint holds its name and ``version``. Raises PlanError for arguments
    that cannot be; an image whose matrix cannot be inverted fails.

    >>> def halve(height, width):
    ...     return [[0.5, 0, 0], [0, 0.5, 0]]
    >>> Warp(halve, 112, 112).describe()
    'warp halve H=112 W=112 bilinear fill=0'
    """

    fn: Callable[..., Any]
    height: int
    width: int
    filter: FilterName = field(default="bilinear", kw_only=True)
    fill: Colour = field(default=0, kw_only=True)
    version: str = field(default="", kw_only=True)

    name: ClassVar[str] = "warp"

    def __post_init__(self) -> None:
        if not callable(self.fn):
            raise PlanError(f"{call(self)}: expected fn= a function of height and width, found {self.fn!r}.")
        sides(self)
        self._check_signature()
        word(self, "filter", WARP_FILTERS)
        colour(self)
        if not isinstance(self.version, str):
            raise PlanError(f"{call(self)}: expected version= a text, found {self.version!r}.")

    def _check_signature(self) -> None:
        signature = unfit_signature(self.fn, self.height, self.width)
        if signature is not None:
            raise PlanError(
                f"{call(self)}: expected a function that is called as fn(height, width) or fn(height, width, rng=), "
                f"found {self._function()}{signature}."
            )

    @property
    def random(self) -> bool:  # type: ignore[override]  # here it is the function that says so
        """True where the function takes an ``rng``."""
        return takes_rng(self.fn)

    def spec(self, spec: Spec) -> Spec:
        """uint8 of height x width."""
        expect_image(self, spec)
        expect_colour(self, spec)
        return spec.with_(height=self.height, width=self.width)

    def arguments(self) -> str:
        """The arguments as ``print(line)`` shows them."""
        return f"{self._function()} H={self.height} W={self.width} {self.filter} fill={self.fill}"

    def steps(self, height: int, width: int, draws: Draws | None) -> list[reference.Step]:
        """One warp; raises StepError where the function or its matrix cannot be used."""
        from penstock._reference.steps import Warp as Step
        from penstock._reference.warp import inverse_of

        (a, b, c), (d, e, f) = self._matrix(height, width, draws).tolist()
        return [Step(inverse_of((a, b, c, d, e, f)), self.height, self.width, self.filter, self.fill)]

    def native(self) -> dict[str, Any]:
        """The fields of native/plan.h's Verb; the matrix comes with each image."""
        return {
            "kind": "warp",
            "height": self.height,
            "width": self.width,
            "filter": self.filter,
            "fill": four(self.fill),
        }

    def matrix(self, height: int, width: int, *, seed: int, epoch: int, index: int, ordinal: int) -> Matrix:
        """The function's answer for an image of height x width, float64 [2, 3]; raises StepError."""
        from penstock._reference.random import Draws

        return self._matrix(height, width, Draws(seed, epoch, index, ordinal) if self.random else None)

    def json_fields(self) -> dict[str, Any]:
        """Raises PlanError: a function has no JSON."""
        raise PlanError(f"{call(self)}: expected a recipe that JSON can hold, found the function {self._function()}.")

    def fingerprint_fields(self) -> dict[str, Any]:
        """The arguments, with the function's name for the function; raises PlanError where it has none of its own."""
        return {**Spatial.json_fields(self), "fn": fingerprint_of(self, self.fn, self.version)}

    def _function(self) -> str:
        return function_name(self.fn)

    def _matrix(self, height: int, width: int, draws: Draws | None) -> Matrix:
        written = f"{self._function()}({height}, {width})"
        try:
            answer = self.fn(height, width) if draws is None else self.fn(height, width, rng=draws.generator())
            found = np.asarray(answer, dtype=np.float64)
        except Exception as error:
            raise StepError(
                "matrix", f"warp: expected a matrix [2, 3] from {written}, found {type(error).__name__}: {error}"
            ) from error
        if found.shape != (2, 3):
            raise StepError("matrix", f"warp: expected a matrix [2, 3] from {written}, found shape {list(found.shape)}")
        (a, b, c), (d, e, f) = found.tolist()
        if not _invertible((a, b, c, d, e, f)):
            raise StepError(
                "matrix",
                f"warp: expected six finite numbers from {written} that can be inverted, found {found.tolist()}",
            )
        return matrix(a, b, c, d, e, f)


def warp_step(name: str, inverse: Six, height: int, width: int, filter: FilterName, fill: Colour) -> reference.Step:
    """One warp that keeps the size; raises StepError where a draw made a matrix that cannot be inverted."""
    from penstock._reference.steps import Warp as Step

    determinant = inverse[0] * inverse[4] - inverse[1] * inverse[3]
    if determinant == 0.0 or not all(math.isfinite(value) for value in (determinant, *inverse)):
        raise StepError(
            "broken matrix",
            f"{name}: expected a matrix that can be inverted, found one that cannot; a smaller shear avoids it",
        )
    return Step(inverse, height, width, filter, fill)


def _invertible(affine: Six) -> bool:
    from penstock._reference.warp import inverse_of

    determinant = affine[0] * affine[4] - affine[1] * affine[3]
    if determinant == 0.0 or not all(math.isfinite(value) for value in (determinant, *affine)):
        return False
    return all(math.isfinite(value) for value in inverse_of(affine))
