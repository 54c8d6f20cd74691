"""The verb random_color_jitter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from penstock.errors import PlanError
from penstock.transform.verb import Spatial, call, expect_image, number, numbers

if TYPE_CHECKING:
    from penstock._reference import steps as reference
    from penstock._reference.random import Draws
    from penstock.types import Spec

__all__ = ["RandomColorJitter"]

Range = float | tuple[float, float]

_OPS: tuple[Literal["brightness", "contrast", "saturation", "hue"], ...] = (
    "brightness",
    "contrast",
    "saturation",
    "hue",
)
_MOST = 1e6  # past any picture, and safely a float32


@dataclass(frozen=True, slots=True)
class RandomColorJitter(Spatial):
    """Changes brightness, contrast, saturation and hue by random amounts, in a random order.

    uint8 [H, W, 3] in and out. A number b is the range of factors [max(0, 1 - b), 1 + b] (hue: [-b, b], at most 0.5);
    a pair is the range itself; 0 leaves that property alone: torchvision's ColorJitter, pixel for pixel on Pillow
    images. Draws: the order, then the factors of brightness, contrast, saturation and hue. Drawn from (seed, epoch,
    source index, the step's number among the random ones). Raises PlanError for ranges that cannot be.

    >>> RandomColorJitter(0.4, saturation=(0.5, 1.5)).describe()
    'random_color_jitter brightness 0.6..1.4 saturation 0.5..1.5'
    """

    brightness: Range = 0.0
    contrast: Range = 0.0
    saturation: Range = 0.0
    hue: Range = 0.0

    name: ClassVar[str] = "random_color_jitter"
    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for op in _OPS:
            given = getattr(self, op)
            kept: Range | None = number(given)
            if kept is None:
                pair = numbers(given, 2)
                kept = None if pair is None else (pair[0], pair[1])
            least, most = (-0.5, 0.5) if op == "hue" else (0.0, _MOST)
            if kept is None or (isinstance(kept, float) and kept < 0) or not _within(_range(op, kept), least, most):
                raise PlanError(
                    f"{call(self)}: expected {op}= a number from 0 or a range (low, high) from {least:g} to {most:g}, "
                    f"found {given!r}."
                )
            object.__setattr__(self, op, kept)

    def spec(self, spec: Spec) -> Spec:
        """The same."""
        expect_image(self, spec, channels=(3,))
        return spec

    def arguments(self) -> str:
        """The arguments as ``print(line)`` shows them."""
        ranges = [(op, *_range(op, getattr(self, op))) for op in _OPS if self._active(op)]
        return " ".join(f"{op} {low:g}..{high:g}" for op, low, high in ranges)

    def steps(self, height: int, width: int, draws: Draws | None) -> list[reference.Step]:
        """One colour step for each property that changes."""
        from penstock._reference import steps as reference

        assert draws is not None  # the recipe makes them for every random step
        left, order = list(_OPS), []
        code = draws.integer(24)  # its digits to the bases 4, 3, 2 say which of those left comes next
        while left:
            code, chosen = divmod(code, len(left))
            order.append(left.pop(chosen))
        factors = {op: draws.uniform(*_range(op, getattr(self, op))) for op in _OPS}
        return [reference.Color(op, factors[op]) for op in order if self._active(op)]

    def native(self) -> dict[str, Any]:
        """The fields of native/plan.h's Verb."""
        p = tuple(end for op in _OPS for end in _range(op, getattr(self, op)))
        return {"kind": "random_color_jitter", "p": p}

    def _active(self, op: str) -> bool:
        unchanged = 0.0 if op == "hue" else 1.0
        return _range(op, getattr(self, op)) != (unchanged, unchanged)


def _range(op: str, given: Range) -> tuple[float, float]:
    """Torchvision's range of factors."""
    if isinstance(given, tuple):
        return given
    return (-given, given) if op == "hue" else (max(1.0 - given, 0.0), 1.0 + given)


def _within(ends: tuple[float, float], least: float, most: float) -> bool:
    return least <= ends[0] <= ends[1] <= most
