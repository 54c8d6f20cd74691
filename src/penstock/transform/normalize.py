"""The verb normalize, and the statistics that models were trained with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import numpy as np

from penstock.errors import PlanError
from penstock.transform.verb import Verb, expect_image, number, numbers, written

if TYPE_CHECKING:
    from penstock.types import Spec

__all__ = ["CLIP", "IMAGENET", "SIGNED", "UNIT", "NormalizationStats", "Normalize"]


class NormalizationStats(NamedTuple):
    """Mean and standard deviation of red, green and blue, of pixels in [0, 1]."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


IMAGENET = NormalizationStats((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = NormalizationStats((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
SIGNED = NormalizationStats((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
UNIT = NormalizationStats((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@dataclass(frozen=True, slots=True, init=False)
class Normalize(Verb):
    """Pixels to float32: ``(x / 255 - mean) / std`` for red, green and blue.

    uint8 [H, W, 3] in, float32 [H, W, 3] out, by true float32 divisions in that order. Takes statistics
    (``ps.IMAGENET``, ``ps.CLIP``, ``ps.SIGNED`` for [-1, 1], ``ps.UNIT`` for [0, 1]) or three means and three standard
    deviations; they are kept as given and applied as float32. Raises PlanError for numbers that cannot be.

    >>> Normalize(SIGNED).describe()
    'normalize mean 0.5 0.5 0.5 std 0.5 0.5 0.5 float32'
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    dtype: Literal["float32"]

    name: ClassVar[str] = "normalize"

    def __init__(
        self,
        mean: NormalizationStats | Sequence[float],
        std: Sequence[float] | None = None,
        dtype: Literal["float32"] = "float32",
    ) -> None:
        text = _written(mean, std, dtype)
        means, deviations = mean, std
        if isinstance(mean, NormalizationStats):
            if std is not None:
                raise PlanError(f"{text}: expected statistics or mean and std, found statistics and std.")
            means, deviations = mean
        elif std is None:
            raise PlanError(
                f"{text}: expected statistics such as IMAGENET, or three means and three standard deviations, "
                f"found no std."
            )
        object.__setattr__(self, "mean", _three(text, "mean", means))
        object.__setattr__(self, "std", _three(text, "std", deviations))
        with np.errstate(under="ignore"):
            if any(np.float32(value) <= 0 for value in self.std):
                raise PlanError(f"{text}: expected std= three numbers above 0, found {deviations!r}.")
        if dtype != "float32":
            raise PlanError(f"{text}: expected dtype='float32', found {dtype!r}; uint8 needs no normalize.")
        object.__setattr__(self, "dtype", dtype)

    def spec(self, spec: Spec) -> Spec:
        """float32 of the same size; the range is that of the channels together."""
        expect_image(self, spec)
        low = min((0.0 - mean) / std for mean, std in zip(self.mean, self.std, strict=True))
        high = max((1.0 - mean) / std for mean, std in zip(self.mean, self.std, strict=True))
        return spec.with_(dtype=self.dtype, range=f"{low:.4g}..{high:.4g}")

    def arguments(self) -> str:
        """The arguments as ``print(line)`` shows them."""
        mean = " ".join(f"{value:g}" for value in self.mean)
        std = " ".join(f"{value:g}" for value in self.std)
        return f"mean {mean} std {std} {self.dtype}"


def _written(mean: object, std: object, dtype: object) -> str:
    """The call as the user wrote it; the arguments may be anything."""
    given = [("mean", mean, False)]
    if std is not None:
        given.append(("std", std, False))
    if dtype != "float32":
        given.append(("dtype", dtype, True))
    return written("normalize", given)


def _three(text: str, name: str, value: object) -> tuple[float, float, float]:
    values = None if number(value) is not None else numbers(value, 3)
    if values is None or any(abs(entry) > 3e38 for entry in values):
        raise PlanError(f"{text}: expected {name}= three finite numbers, found {value!r}.")
    return values[0], values[1], values[2]
