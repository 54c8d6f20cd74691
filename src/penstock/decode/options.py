"""The verb decode: which pixels a line asks its files for, and which limits hold."""

from __future__ import annotations

import operator
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal

import numpy as np

from penstock.errors import PlanError
from penstock.types import DtypeName, ModeName, Spec

__all__ = ["Colour", "Decode"]

Colour = int | tuple[int, ...]

CHANNELS: dict[ModeName, int] = {"RGB": 3, "L": 1, "RGBA": 4}
WORDS: dict[str, tuple[object, ...]] = {
    "mode": ("RGB", "L", "RGBA"),
    "depth": (8, 16, "scale"),
    "color": ("as stored", "srgb"),
    "fidelity": ("exact", "fast"),
}
LIMITS = ("max_pixels", "max_working_bytes", "max_scans")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decode:
    """Encoded bytes to upright pixels [H, W, C]; by default uint8 [H, W, 3], Pillow's ``convert("RGB")`` bit for bit.

    mode: "RGB", "L" (one channel) or "RGBA" (alpha kept; opaque where a file has none), as Pillow converts to it.
    alpha: "drop", as Pillow's convert does, or a colour (0..255, or three of them) that the picture is laid over.
    depth: 8 clips 16-bit greys at 255, as Pillow does; "scale" rounds them to 8 bits instead, ``(v * 255 + 32767) //
    65535``; 16 gives uint16, 8-bit samples times 257.
    color: "as stored", or "srgb": converted by the picture's ICC profile, with Pillow's default intent (perceptual).
    fidelity: "fast" lets the native JPEG decoder come close instead of being exact.
    max_pixels: height x width as stored; Pillow's own limit. The limits hold before any allocation.
    max_working_bytes: memory a native decoder needs beside the encoded bytes and the image itself: a JPEG's rows in
    flight, and its coefficients where it comes in several scans; a PNG's rows, and its whole frame where it is
    interlaced; a WebP's frame. Other formats are bounded by max_pixels alone.
    max_scans: scans of one JPEG; each costs a pass over the whole image.
    Raises PlanError for words and numbers that cannot be.

    >>> Decode(mode="L", depth=16).describe()
    "decode(mode='L', depth=16)"
    >>> str(Decode(mode="L", depth=16).spec(Spec("encoded")))
    'uint16 [H, W, 1] 0..65535'
    """

    mode: ModeName = "RGB"
    alpha: Literal["drop"] | Colour = "drop"
    depth: Literal[8, 16, "scale"] = 8
    color: Literal["as stored", "srgb"] = "as stored"
    fidelity: Literal["exact", "fast"] = "exact"
    max_pixels: int = 178_956_970
    max_working_bytes: int = 256 << 20
    max_scans: int = 500

    name: ClassVar[str] = "decode"
    random: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for name, words in WORDS.items():
            value = getattr(self, name)
            # By type as well: True and 8.0 equal numbers that are meant to be words here.
            if not any(type(value) is type(word) and value == word for word in words):
                options = ", ".join(repr(word) for word in words)
                raise PlanError(f"decode: expected {name}= one of {options}, found {value!r}.")
        if not (isinstance(self.alpha, str) and self.alpha == "drop"):
            object.__setattr__(self, "alpha", _colour(self.alpha))
            if self.mode == "RGBA":
                raise PlanError(
                    f"decode: expected no alpha= with mode='RGBA', which keeps transparency, found {self.alpha!r}."
                )
        for limit in LIMITS:
            value = getattr(self, limit)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise PlanError(f"decode: expected {limit} to be a whole number of at least 1, found {value!r}.")

    @property
    def channels(self) -> int:
        """Channels of the pixels: 1, 3 or 4."""
        return CHANNELS[self.mode]

    @property
    def dtype(self) -> DtypeName:
        """Dtype of the pixels: uint16 with ``depth=16``, else uint8."""
        return "uint16" if self.depth == 16 else "uint8"

    @property
    def background(self) -> tuple[int, int, int] | None:
        """The colour that transparency is laid over, as red, green and blue; None where there is none."""
        if isinstance(self.alpha, str):
            return None
        colour = self.alpha if isinstance(self.alpha, tuple) else (self.alpha,) * 3
        return colour[0], colour[1], colour[2]

    def spec(self, spec: Spec) -> Spec:
        """Encoded bytes in, ragged [H, W, C] out; PlanError for anything else."""
        if spec.kind != "encoded":
            raise PlanError(f"decode: expected encoded bytes, found {spec}; images are decoded already.")
        span = "0..65535" if self.dtype == "uint16" else "0..255"
        return spec.with_(kind="image", height=None, width=None, channels=self.channels, dtype=self.dtype, range=span)

    def native(self) -> dict[str, Any]:
        """The fields of native/types.h's DecodeOptions."""
        return {
            "mode": {"RGB": "rgb", "L": "grey", "RGBA": "rgba"}[self.mode],
            "composite": self.background is not None,
            "background": self.background or (0, 0, 0),
            "depth": {8: "eight", 16: "sixteen", "scale": "scale"}[self.depth],
            "srgb": self.color == "srgb",
            "fast": self.fidelity == "fast",
        }

    def describe(self) -> str:
        """What ``print(line)`` shows: the options that are not the usual ones."""
        usual = Decode()
        changed = [
            f"{entry.name}={getattr(self, entry.name)!r}"
            for entry in fields(self)
            if getattr(self, entry.name) != getattr(usual, entry.name)
        ]
        return f"decode({', '.join(changed)})"

    def to_json(self) -> dict[str, Any]:
        """The verb's word and its options, ready for JSON."""
        return {"verb": self.name, **asdict(self)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Decode:
        """The inverse of ``to_json``; PlanError for an option it does not know."""
        options = {key: value for key, value in data.items() if key != "verb"}
        unknown = sorted(set(options) - {f.name for f in fields(cls)})
        if unknown:
            raise PlanError(f"decode: expected options it knows, found {unknown[0]!r}.")
        return cls(**options)


def _colour(value: object) -> Colour:
    """One number, or three, from 0 to 255."""
    parts = value if isinstance(value, (tuple, list)) else (value,)
    colour = tuple(part for part in map(_sample, parts) if part is not None)
    if len(colour) != len(parts) or len(colour) not in (1, 3):
        raise PlanError(
            f"decode: expected alpha= 'drop', or a colour of one or three whole numbers from 0 to 255, found {value!r}."
        )
    return colour[0] if len(colour) == 1 else colour


def _sample(value: Any) -> int | None:
    """A whole number from 0 to 255 that is not a bool, else None."""
    try:
        number = -1 if isinstance(value, (bool, np.bool_)) else operator.index(value)
    except TypeError:
        return None
    return number if 0 <= number <= 255 else None
