"""The verb normalize, and the statistics that models were trained with."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np

from penstock.errors import PlanError
from penstock.transform.verb import Verb, call, expect_image, number, numbers, written

if TYPE_CHECKING:
    from penstock.types import Spec

FloatName = Literal["float32", "float16", "bfloat16"]

__all__ = ["CLIP", "IMAGENET", "SIGNED", "UNIT", "NormalizationStats", "Normalize"]


class NormalizationStats(NamedTuple):
    """Mean and standard deviation of each channel, of pixels in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


IMAGENET = NormalizationStats((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = NormalizationStats((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
SIGNED = NormalizationStats((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
UNIT = NormalizationStats((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

COUNTS = (1, 3, 4)
DTYPES = ("float32", "float16", "bfloat16")
LARGEST_FLOAT16 = 65504.0


@dataclass(frozen=True, slots=True, init=False)
class Normalize(Verb):
    """Pixels to floating point: ``(x / full - mean) / std`` for each channel.

    [H, W, C] in and out, by true float32 divisions in that order; ``full`` is 255 for uint8 and for what
    ``resize(precision="float32")`` gives, 65535 for uint16. dtype "float16" and "bfloat16" are that float32 result,
    rounded to nearest, ties to even; bfloat16 needs the package ml_dtypes. Takes statistics (``ps.IMAGENET``,
    ``ps.CLIP``, ``ps.SIGNED`` for [-1, 1], ``ps.UNIT`` for [0, 1]) or as many means and standard deviations as there
    are channels: 1, 3 or 4. Where all are the same, as in SIGNED and UNIT, they do for any number of channels. They
    are kept as given and applied as float32. Raises PlanError for numbers that cannot be.

    >>> Normalize(SIGNED).describe()
    'normalize mean 0.5 0.5 0.5 std 0.5 0.5 0.5 float32'
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    dtype: FloatName

    name: ClassVar[str] = "normalize"

    def __init__(
        self,
        mean: NormalizationStats | Sequence[float],
        std: Sequence[float] | None = None,
        dtype: FloatName = "float32",
    ) -> None:
        text = _written(mean, std, dtype)
        means, deviations = mean, std
        if isinstance(mean, NormalizationStats):
            if std is not None:
                raise PlanError(f"{text}: expected statistics or mean and std, found statistics and std.")
            means, deviations = mean
        elif std is None:
            raise PlanError(
                f"{text}: expected statistics such as IMAGENET, or a mean and a standard deviation for each channel, "
                f"found no std."
            )
        object.__setattr__(self, "mean", _each(text, "mean", means))
        object.__setattr__(self, "std", _each(text, "std", deviations))
        if len(self.mean) != len(self.std):
            raise PlanError(
                f"{text}: expected as many means as standard deviations, found {len(self.mean)} and {len(self.std)}."
            )
        with np.errstate(under="ignore"):
            if any(np.float32(value) <= 0 for value in self.std):
                raise PlanError(f"{text}: expected std= numbers above 0, found {deviations!r}.")
        if dtype not in DTYPES:
            options = ", ".join(repr(option) for option in DTYPES)
            raise PlanError(f"{text}: expected dtype= one of {options}, found {dtype!r}; uint8 needs no normalize.")
        object.__setattr__(self, "dtype", dtype)
        if dtype == "float16" and max(map(abs, self._range())) > LARGEST_FLOAT16:
            raise PlanError(
                f"{text}: expected results that float16 can hold, up to {LARGEST_FLOAT16:g}, found "
                f"{max(map(abs, self._range())):.4g}."
            )
        if dtype == "bfloat16" and importlib.util.find_spec("ml_dtypes") is None:
            raise PlanError(
                f"{text}: expected the package ml_dtypes, which has NumPy's bfloat16, found none; install it with "
                f"pip install ml_dtypes."
            )

    def spec(self, spec: Spec) -> Spec:
        """The dtype asked for, of the same size; the range is that of the channels together."""
        expect_image(self, spec, ("uint8", "uint16", "float32"))
        if len(self.mean) != spec.channels and not self._uniform:
            raise PlanError(
                f"{call(self)}: expected a mean and a standard deviation for each channel, found {len(self.mean)} for "
                f"an image of {spec.channels}; {_other(spec.channels)}."
            )
        low, high = self._range()
        return spec.with_(dtype=self.dtype, range=f"{low:.4g}..{high:.4g}")

    def statistics(self, channels: int) -> NormalizationStats:
        """Mean and standard deviation, one number for each of ``channels``.

        >>> Normalize(SIGNED).statistics(1)
        NormalizationStats(mean=(0.5,), std=(0.5,))
        """
        if len(self.mean) == channels:
            return NormalizationStats(self.mean, self.std)
        assert self._uniform  # spec() refused the others
        return NormalizationStats(self.mean[:1] * channels, self.std[:1] * channels)

    def arguments(self) -> str:
        """The arguments as ``print(line)`` shows them."""
        mean = " ".join(f"{value:g}" for value in self.mean)
        std = " ".join(f"{value:g}" for value in self.std)
        return f"mean {mean} std {std} {self.dtype}"

    @property
    def _uniform(self) -> bool:
        """Whether every channel is treated alike."""
        return len(set(self.mean)) == len(set(self.std)) == 1

    def _range(self) -> tuple[float, float]:
        """The lowest and the highest result of any channel."""
        pairs = list(zip(self.mean, self.std, strict=True))
        return min((0.0 - mean) / std for mean, std in pairs), max((1.0 - mean) / std for mean, std in pairs)


def _other(channels: int) -> str:
    """What to write instead."""
    if channels == 3:
        return "IMAGENET and CLIP are for three"
    return f"SIGNED and UNIT do for any number, or give {channels} of each"


def _written(mean: object, std: object, dtype: object) -> str:
    """The call as the user wrote it; the arguments may be anything."""
    given = [("mean", mean, False)]
    if std is not None:
        given.append(("std", std, False))
    if dtype != "float32":
        given.append(("dtype", dtype, True))
    return written("normalize", given)


def _each(text: str, name: str, value: Any) -> tuple[float, ...]:
    """One finite number for each channel."""
    for count in COUNTS:
        values = None if number(value) is not None else numbers(value, count)
        if values is not None and all(abs(entry) <= 3e38 for entry in values):
            return values
    raise PlanError(f"{text}: expected {name}= 1, 3 or 4 finite numbers, one a channel, found {value!r}.")
