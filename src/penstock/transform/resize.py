"""The verb resize: Pillow's resampling, bit for bit."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from penstock.errors import PlanError
from penstock.transform.patch_size import check_patches, patches_native, patches_size, patches_spec
from penstock.transform.verb import FILTERS, MAX_PIXELS, Spatial, StepError, call, expect_image, sides, whole, word
from penstock.types import FilterName, FitName, PatchRoundingName

if TYPE_CHECKING:
    from penstock._reference import steps as reference
    from penstock._reference.random import Draws
    from penstock.types import Spec

__all__ = ["Resize"]


@dataclass(frozen=True, slots=True)
class Resize(Spatial):
    """Resizes to (height, width), the short side to ``short_side``, or to a budget of patches with the aspect kept.

    uint8 [H, W, 3] in and out, bit-identical to Pillow's ``resize`` with the same filter (antialiased).
    ``fit="fill"`` stretches; ``fit="cover"`` fills the size from a centred part of the image with its aspect, in one
    resize (PIL.ImageOps.fit). With ``short_side=n`` the long side is ``int(n * long / short)``, as in torchvision.
    With ``max_patches=`` and ``patch=`` the sides are multiples of ``patch * multiple`` and hold at most ``max_patches``
    patches: ``rounding="ceil"`` is the rule of SigLIP 2 NaFlex, ``rounding="floor"`` that of Gemma 4.
    Raises PlanError for sizes and words that cannot be; an image whose new size would exceed 178,956,970 pixels fails.

    >>> Resize(224, 224, fit="cover").describe()
    'resize H=224 W=224 cover bilinear'
    >>> Resize(short_side=256).describe()
    'resize short_side=256 bilinear'
    >>> Resize(max_patches=256, patch=16).describe()
    'resize max_patches=256 patch=16 bilinear'
    """

    height: int | None = None
    width: int | None = None
    short_side: int | None = field(default=None, kw_only=True)
    max_patches: int | None = field(default=None, kw_only=True)
    patch: int | None = field(default=None, kw_only=True)
    multiple: int = field(default=1, kw_only=True)
    rounding: PatchRoundingName = field(default="ceil", kw_only=True)
    fit: FitName = field(default="fill", kw_only=True)
    filter: FilterName = field(default="bilinear", kw_only=True)

    name: ClassVar[str] = "resize"

    def __post_init__(self) -> None:
        if isinstance(self.height, (tuple, list)):
            raise PlanError(
                f"resize({self.height!r}): expected two numbers, found {type(self.height).__name__} of them; write "
                f"resize({', '.join(str(side) for side in self.height)}), height first."
            )
        check_patches(self)
        if self.max_patches is not None:
            pass
        elif self.short_side is not None:
            if self.height is not None or self.width is not None:
                raise PlanError(f"{call(self)}: expected (height, width) or short_side=, found both.")
            if self.fit != "fill":
                raise PlanError(
                    f"{call(self)}: expected no fit= with short_side=, which keeps the aspect, found fit={self.fit!r}."
                )
            whole(self, "short_side")
        elif self.height is None or self.width is None:
            side = self.height if self.width is None else self.width
            if side is None:
                raise PlanError("resize(): expected (height, width) or short_side=, found no size.")
            raise PlanError(
                f"{call(self)}: expected (height, width), found one number; write resize({side}, {side}) for a square, "
                f"or resize(short_side={side}) to keep the aspect."
            )
        else:
            sides(self)
        word(self, "fit", ("fill", "cover"))
        word(self, "filter", FILTERS)

    def spec(self, spec: Spec) -> Spec:
        """uint8 [height, width, 3]; ragged with ``short_side`` unless the size that comes in is fixed."""
        expect_image(self, spec)
        if self.max_patches is not None:
            return patches_spec(self, spec)
        if self.short_side is None:
            return spec.with_(height=self.height, width=self.width)
        if spec.height is None or spec.width is None:
            return spec.with_(height=None, width=None)
        height, width = self._size(spec.height, spec.width)
        if height * width > MAX_PIXELS:
            raise PlanError(f"{call(self)}: expected at most {MAX_PIXELS} pixels, found H={height} W={width}.")
        return spec.with_(height=height, width=width)

    def arguments(self) -> str:
        """The arguments as ``print(line)`` shows them."""
        if self.max_patches is not None:
            multiple = f" multiple={self.multiple}" if self.multiple != 1 else ""
            rounding = f" rounding={self.rounding}" if self.rounding != "ceil" else ""
            return f"max_patches={self.max_patches} patch={self.patch}{multiple}{rounding} {self.filter}"
        if self.short_side is not None:
            return f"short_side={self.short_side} {self.filter}"
        return f"H={self.height} W={self.width} {self.fit} {self.filter}"

    def steps(self, height: int, width: int, draws: Draws | None) -> list[reference.Step]:
        """One resize; from a box when ``fit="cover"``."""
        new_height, new_width = self._size(height, width)
        box = cover_box(height, width, new_height, new_width) if self.fit == "cover" else None
        return [resize_step("resize", height, width, new_height, new_width, box, self.filter)]

    def native(self) -> dict[str, Any]:
        """The fields of native/plan.h's Verb."""
        if self.max_patches is not None:
            return patches_native(self)
        if self.short_side is not None:
            return {"kind": "resize_short_side", "height": self.short_side, "filter": self.filter}
        return {
            "kind": "resize",
            "height": self.height,
            "width": self.width,
            "fit": self.fit,
            "filter": self.filter,
        }

    def _size(self, height: int, width: int) -> tuple[int, int]:
        if self.max_patches is not None:
            return patches_size(self, height, width)
        if self.short_side is None:
            assert self.height is not None and self.width is not None  # __post_init__ saw to it
            return self.height, self.width
        if width <= height:
            return self.short_side * height // width, self.short_side
        return self.short_side, self.short_side * width // height


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
) -> reference.Resize:
    """The step from an image of height x width; raises StepError when it would be too large or its box is empty."""
    from penstock._reference import steps as reference

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
    return reference.Resize(new_height, new_width, box, filter)
