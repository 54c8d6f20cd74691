"""The verb jpeg_roundtrip: pixels as a JPEG of them would have kept them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from penstock.errors import PlanError
from penstock.transform.verb import Spatial, StepError, call, expect_image, whole

if TYPE_CHECKING:
    from penstock._reference import steps as reference
    from penstock._reference.random import Draws
    from penstock.types import Spec

__all__ = ["JpegRoundtrip"]

LONGEST_SIDE = 65_500  # what libjpeg-turbo encodes


@dataclass(frozen=True, slots=True)
class JpegRoundtrip(Spatial):
    """Encodes the image as JPEG in memory and decodes it again, for models trained on re-encoded pictures.

    uint8 [H, W, 3] in and out; 4:2:0 and the pixels of Pillow's ``save(stream, "JPEG", quality=quality)`` and ``open``.
    Raises PlanError unless ``quality`` is a whole number from 1 to 100; an image with a side above 65,500 pixels fails.

    >>> JpegRoundtrip(90).describe()
    'jpeg_roundtrip quality=90'
    """

    quality: int = 95

    name: ClassVar[str] = "jpeg_roundtrip"

    def __post_init__(self) -> None:
        whole(self, "quality", 1, 100)

    def spec(self, spec: Spec) -> Spec:
        """The same."""
        expect_image(self, spec, channels=(3,))
        if max(spec.height or 0, spec.width or 0) > LONGEST_SIDE:
            raise PlanError(
                f"{call(self)}: expected sides of at most {LONGEST_SIDE} pixels, found H={spec.height} W={spec.width}."
            )
        return spec

    def arguments(self) -> str:
        """The arguments as ``print(line)`` shows them."""
        return f"quality={self.quality}"

    def steps(self, height: int, width: int, draws: Draws | None) -> list[reference.Step]:
        """One round trip; raises StepError for a side that JPEG cannot have."""
        from penstock._reference.jpeg import Jpeg

        if max(height, width) > LONGEST_SIDE:
            raise StepError(
                "too large for JPEG",
                f"jpeg_roundtrip: expected sides of at most {LONGEST_SIDE} pixels, found H={height} W={width}",
            )
        return [Jpeg(self.quality)]

    def native(self) -> dict[str, Any]:
        """The fields of native/plan.h's Verb."""
        return {"kind": "jpeg_roundtrip", "p": (float(self.quality),)}
