"""The verb resize: Pillow's resampling, bit for bit."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from penstock.errors import PlanError
from penstock.transform.pad import pad_steps
from penstock.transform.patch_size import check_patches, patches_native, patches_size, patches_written
from penstock.transform.verb import (
    DTYPES,
    FILTERS,
    MAX_PIXELS,
    Colour,
    Spatial,
    StepError,
    call,
    colour,
    expect_colour,
    expect_image,
    four,
    sides,
    sized,
    whole,
    word,
)
from penstock.types import FilterName, FitName, PrecisionName

if TYPE_CHECKING:
    from penstock._reference import steps as reference
    from penstock._reference.random import Draws
    from penstock.types import Spec

__all__ = ["Resize"]

FITS = ("fill", "cover", "contain", "inside")
FLOAT_FILTERS = ("bilinear", "bicubic", "lanczos")
_WAYS = "(height, width), short_side=, long_side= or max_patches="


@dataclass(frozen=True, slots=True)
class Resize(Spatial):
    """Resizes to (height, width), or with the aspect kept: one side to a length, or the area to a budget of patches.

    uint8 [H, W, C] in and out, bit-identical to Pillow's ``resize`` with the same filter (antialiased).

    ``fit="fill"`` stretches. ``fit="cover"`` fills the size from a centred part of the image with its aspect, in one
    resize (PIL.ImageOps.fit). ``fit="contain"`` keeps the whole image and lays it in the middle of the colour ``fill``
    (PIL.ImageOps.pad). ``fit="inside"`` only keeps the aspect: the largest size inside (height, width)
    (PIL.ImageOps.contain), or with ``rounding="even"`` both sides divided by the larger of the two ratios and rounded,
    as timm and OpenCLIP do.

    With ``short_side=n`` the long side is ``int(n * long / short)``, and with ``long_side=n`` the short one is
    ``int(n * short / long)``, as in torchvision; ``fit="inside"`` is the same with rounding. ``max_side`` caps the long
    side that ``short_side`` leads to: as torchvision's ``max_size``, or with ``rounding="even"`` as the processors of
    Hugging Face do that have a shortest and a longest edge, such as DETR's. ``enlarge=False`` leaves an image as it is
    that would become larger (inside, short_side, long_side).

    With ``max_patches=`` and ``patch=`` the sides are multiples of ``patch * multiple`` and hold at most that many
    patches; ``rounding="ceil"`` is the rule of SigLIP 2 NaFlex and the default, ``rounding="floor"`` that of Gemma 4.

    ``precision="float32"`` rounds nothing, neither between the passes nor after them: float32 [H, W, C] out, 0 to 255,
    also from uint16 (divided by 257) and float32, with the filters bilinear, bicubic and lanczos; jax.image.resize's
    numbers.

    Raises PlanError for sizes and words that cannot be; an image fails when a side of its new size rounds to 0 or its
    new size exceeds 178,956,970 pixels.

    >>> Resize(224, 224, fit="cover").describe()
    'resize H=224 W=224 cover bilinear'
    >>> Resize(short_side=800, max_side=1333, rounding="even").describe()
    'resize short_side=800 max_side=1333 even bilinear'
    >>> Resize(max_patches=256, patch=16).describe()
    'resize max_patches=256 patch=16 bilinear'
    """

    height: int | None = None
    width: int | None = None
    short_side: int | None = field(default=None, kw_only=True)
    max_side: int | None = field(default=None, kw_only=True)
    long_side: int | None = field(default=None, kw_only=True)
    max_patches: int | None = field(default=None, kw_only=True)
    patch: int | None = field(default=None, kw_only=True)
    multiple: int = field(default=1, kw_only=True)
    rounding: Literal["floor", "even", "ceil"] | None = field(default=None, kw_only=True)
    fit: FitName = field(default="fill", kw_only=True)
    fill: Colour = field(default=0, kw_only=True)
    enlarge: bool = field(default=True, kw_only=True)
    filter: FilterName = field(default="bilinear", kw_only=True)
    precision: PrecisionName = field(default="uint8", kw_only=True)

    name: ClassVar[str] = "resize"

    def __post_init__(self) -> None:
        _check_size(self)
        word(self, "fit", FITS)
        _check_aspect(self)
        colour(self)
        if self.fill != 0 and self.fit != "contain":
            raise PlanError(f"{call(self)}: expected fill= with fit='contain' only, found fit={self.fit!r}.")
        if not isinstance(self.enlarge, bool):
            raise PlanError(f"{call(self)}: expected enlarge= True or False, found {self.enlarge!r}.")
        if not self.enlarge and self.short_side is None and self.long_side is None and self.fit != "inside":
            raise PlanError(
                f"{call(self)}: expected enlarge=False with fit='inside', short_side= or long_side=, "
                f"found fit={self.fit!r}."
            )
        word(self, "filter", FILTERS)
        word(self, "precision", ("uint8", "float32"))
        if self.precision == "float32" and self.filter not in FLOAT_FILTERS:
            raise PlanError(
                f"{call(self)}: expected filter= one of {', '.join(map(repr, FLOAT_FILTERS))} with "
                f"precision='float32', found {self.filter!r}."
            )

    def spec(self, spec: Spec) -> Spec:
        """[height, width, C]; ragged where the aspect is kept, unless the size that comes in is known."""
        exact = self.precision == "uint8"
        expect_image(self, spec, ("uint8",) if exact else DTYPES)
        expect_colour(self, spec)
        if self._keeps_aspect or spec.height is not None:
            spec = sized(self, spec)
        else:
            spec = spec.with_(height=self.height, width=self.width)
        if self.max_patches is not None:
            spec = spec.with_(budget=(self.patch, self.max_patches))
        return spec if exact else spec.with_(dtype="float32", range="0..255")

    def arguments(self) -> str:
        """The arguments as ``print(line)`` shows them."""
        words = [
            f"{name}={getattr(self, name)}"
            for name in ("short_side", "max_side", "long_side")
            if getattr(self, name) is not None
        ]
        if self.height is not None:
            words = [f"H={self.height} W={self.width} {self.fit}"]
        words += patches_written(self)
        if self.rounding is not None:
            words.append(self.rounding)
        if self.fit == "contain":
            words.append(f"fill={self.fill}")
        if not self.enlarge:
            words.append("enlarge=False")
        words.append(self.filter)
        if self.precision != "uint8":
            words.append(self.precision)
        return " ".join(words)

    def steps(self, height: int, width: int, draws: Draws | None) -> list[reference.Step]:
        """One resize: from a box when ``fit="cover"``, with a pad after it when ``fit="contain"``; or none."""
        new_height, new_width = self._size(height, width)
        if not self.enlarge and new_height >= height and new_width >= width:
            if self.precision == "uint8":
                return []
            new_height, new_width = height, width  # nothing moves, but samples become float32
        box = cover_box(height, width, new_height, new_width) if self.fit == "cover" else None
        steps: list[reference.Step] = [
            resize_step("resize", height, width, new_height, new_width, box, self.filter, self.precision)
        ]
        if self.fit == "contain":
            assert self.height is not None and self.width is not None  # _check_size saw to it
            down, across = self.height - new_height, self.width - new_width
            top, left = round(down * 0.5), round(across * 0.5)
            around = (top, left, down - top, across - left)
            steps += pad_steps("resize", new_height, new_width, around, "constant", self.fill)
        return steps

    def native(self) -> dict[str, Any]:
        """The fields of native/plan.h's Verb."""
        common = {"filter": self.filter, "enlarge": self.enlarge, "precision": self.precision}
        if self.max_patches is not None:
            return {**patches_native(self), **common}
        if self.short_side is not None:
            return {
                "kind": "resize_short_side",
                "height": self.short_side,
                "width": self.max_side or 0,
                "rounding": self.rounding or "floor",
                **common,
            }
        if self.long_side is not None:
            return {"kind": "resize_long_side", "height": self.long_side, **common}
        return {
            "kind": "resize",
            "height": self.height,
            "width": self.width,
            "fit": self.fit,
            "rounding": self.rounding or "floor",
            "fill": four(self.fill),
            **common,
        }

    @property
    def _keeps_aspect(self) -> bool:
        return self.height is None or self.fit == "inside"

    def _size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the resize, which may be 0 or too large; raises StepError where no budget fits."""
        if self.max_patches is not None:
            return patches_size(self, height, width)
        short, long = sorted((height, width))
        if self.short_side is not None:
            scaled = short_side_even if self.rounding == "even" else short_side_floor
            new_short, new_long = scaled(self.short_side, self.max_side, short, long)
        elif self.long_side is not None:
            new_short, new_long = self.long_side * short // long, self.long_side
        else:
            assert self.height is not None and self.width is not None  # _check_size saw to it
            if self.rounding == "even":
                return divided(height, width, self.height, self.width)
            if self.fit in ("contain", "inside"):
                return contained(height, width, self.height, self.width)
            return self.height, self.width
        return (new_long, new_short) if width <= height else (new_short, new_long)


def _check_size(verb: Resize) -> None:
    """That exactly one way of saying the size is used, with numbers that can be."""
    if isinstance(verb.height, (tuple, list)):
        raise PlanError(
            f"resize({verb.height!r}): expected two numbers, found {type(verb.height).__name__} of them; write "
            f"resize({', '.join(str(side) for side in verb.height)}), height first."
        )
    given = [verb.height is not None or verb.width is not None]
    given += [getattr(verb, name) is not None for name in ("short_side", "long_side", "max_patches")]
    if not any(given):
        raise PlanError(f"{call(verb)}: expected {_WAYS}, found no size.")
    if sum(given) > 1:
        raise PlanError(f"{call(verb)}: expected {_WAYS}, found {'both' if sum(given) == 2 else 'several'}.")
    check_patches(verb)
    if verb.max_patches is not None:
        return
    if verb.short_side is not None:
        whole(verb, "short_side")
    elif verb.long_side is not None:
        whole(verb, "long_side")
    elif verb.height is None or verb.width is None:
        side = verb.height if verb.width is None else verb.width
        raise PlanError(
            f"{call(verb)}: expected (height, width), found one number; write resize({side}, {side}) for a square, "
            f"or resize(short_side={side}) to keep the aspect."
        )
    else:
        sides(verb)


def _check_aspect(verb: Resize) -> None:
    """What belongs to the sizes that keep the aspect, and what does not."""
    kept = next((n for n in ("short_side", "long_side", "max_patches") if getattr(verb, n) is not None), None)
    if kept is not None and verb.fit != "fill":
        raise PlanError(f"{call(verb)}: expected no fit= with {kept}=, which keeps the aspect, found fit={verb.fit!r}.")
    if verb.max_side is None:
        if verb.rounding is None or verb.max_patches is not None:
            return
        if verb.fit != "inside":
            raise PlanError(f"{call(verb)}: expected rounding= with max_side= or fit='inside', found neither.")
        word(verb, "rounding", ("floor", "even"))
        return
    whole(verb, "max_side")
    if verb.short_side is None:
        raise PlanError(f"{call(verb)}: expected max_side= with short_side=, found no short_side=.")
    if verb.max_side < verb.short_side:
        raise PlanError(
            f"{call(verb)}: expected max_side= of at least short_side={verb.short_side}, found {verb.max_side}."
        )
    if verb.rounding is not None:
        word(verb, "rounding", ("floor", "even"))


def short_side_floor(n: int, most: int | None, short: int, long: int) -> tuple[int, int]:
    """The new (short, long); torchvision's Resize(n, max_size=most)."""
    new_short, new_long = n, n * long // short
    if most is not None and new_long > most:
        return most * new_short // new_long, most
    return new_short, new_long


def short_side_even(n: int, most: int | None, short: int, long: int) -> tuple[int, int]:
    """The new (short, long) as Hugging Face's DETR has it.

    Where the long side is capped the short one is rounded, and the long one follows from the short one before that; an
    image whose short side is right already keeps its long one.
    """
    if most is not None and float(long) / float(short) * n > most:
        raw = most * float(short) / float(long)
        return (short, long) if round(raw) == short else (round(raw), int(raw * long / short))
    return n, n * long // short


def contained(height: int, width: int, most_height: int, most_width: int) -> tuple[int, int]:
    """The largest size inside with the image's aspect; PIL.ImageOps.contain, operation by operation."""
    image_ratio, ratio = width / height, most_width / most_height
    if image_ratio > ratio:
        return round(height / width * most_width), most_width
    if image_ratio < ratio:
        return most_height, round(width / height * most_height)
    return most_height, most_width


def divided(height: int, width: int, most_height: int, most_width: int) -> tuple[int, int]:
    """The same up to a pixel, as ResizeKeepRatio of timm and OpenCLIP has it: they differ where a side ends in .5."""
    ratio = max(height / most_height, width / most_width)
    return round(height / ratio), round(width / ratio)


def cover_box(height: int, width: int, new_height: int, new_width: int) -> tuple[float, float, float, float]:
    """(top, left, bottom, right) of the centred part with the new aspect; PIL.ImageOps.fit, operation by operation."""
    live_ratio = width / height
    output_ratio = new_width / new_height
    crop_width, crop_height = float(width), float(height)
    if live_ratio > output_ratio:
        crop_width = output_ratio * height
    elif live_ratio < output_ratio:
        crop_height = width / output_ratio
    left, top = (width - crop_width) * 0.5, (height - crop_height) * 0.5
    return top, left, top + crop_height, left + crop_width


def resize_step(
    verb: str,
    height: int,
    width: int,
    new_height: int,
    new_width: int,
    box: tuple[float, float, float, float] | None,
    filter: FilterName,
    precision: PrecisionName = "uint8",
) -> reference.Resize:
    """The step from an image of height x width; raises StepError when it would be empty or too large."""
    from penstock._reference import steps as reference

    if new_height < 1 or new_width < 1:
        raise StepError(
            "side rounds to 0",
            f"{verb}: expected a size of at least H=1 W=1, found H={new_height} W={new_width} for an image of "
            f"H={height} W={width}",
        )
    if new_height * new_width > MAX_PIXELS:
        raise StepError(
            "too many pixels", f"{verb}: expected at most {MAX_PIXELS} pixels, found H={new_height} W={new_width}"
        )
    if box is not None:
        top, left, bottom, right = struct.unpack("4f", struct.pack("4f", *box))
        if not (bottom - top > 0.0 and right - left > 0.0):
            raise StepError(
                "side rounds to 0",
                f"{verb}: expected a box of some size, found none left in an image of H={height} W={width}",
            )
        box = (top, left, bottom, right)
    return reference.Resize(new_height, new_width, box, filter, precision)
