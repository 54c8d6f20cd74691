"""The verb random_resized_crop."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from penstock.transform.drawn_part import drawn_sizes, scale_and_ratio
from penstock.transform.resize import resize_step
from penstock.transform.verb import FILTERS, Spatial, StepError, expect_image, sides, word
from penstock.types import FilterName

if TYPE_CHECKING:
    from penstock._reference import steps as reference
    from penstock._reference.random import Draws
    from penstock.types import Spec

__all__ = ["RandomResizedCrop"]


@dataclass(frozen=True, slots=True)
class RandomResizedCrop(Spatial):
    """Cuts out a random part and resizes it to (height, width).

    uint8 [H, W, C] in, [height, width, C] out; pixels outside the part are never read. The part has ``scale`` =
    (least, most) of the area, uniformly, and an aspect width / height in ``ratio``, uniformly in its logarithm:
    torchvision's distribution. Drawn from (seed, epoch, source index, the step's number among the random ones). Raises
    PlanError for arguments that cannot be.

    >>> RandomResizedCrop(224, 224, scale=(0.35, 1)).describe()
    'random_resized_crop H=224 W=224 scale 0.35..1 ratio 0.75..1.33333 bilinear'
    """

    height: int
    width: int
    scale: tuple[float, float] = field(default=(0.08, 1.0), kw_only=True)
    ratio: tuple[float, float] = field(default=(3.0 / 4.0, 4.0 / 3.0), kw_only=True)
    filter: FilterName = field(default="bilinear", kw_only=True)

    name: ClassVar[str] = "random_resized_crop"
    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        sides(self)
        scale_and_ratio(self, empty=False)
        word(self, "filter", FILTERS)

    def spec(self, spec: Spec) -> Spec:
        """uint8 of height x width."""
        expect_image(self, spec)
        return spec.with_(height=self.height, width=self.width)

    def arguments(self) -> str:
        """The arguments as ``print(line)`` shows them."""
        scale = f"scale {self.scale[0]:g}..{self.scale[1]:g}"
        ratio = f"ratio {self.ratio[0]:g}..{self.ratio[1]:g}"
        return f"H={self.height} W={self.width} {scale} {ratio} {self.filter}"

    def steps(self, height: int, width: int, draws: Draws | None) -> list[reference.Step]:
        """A crop and a resize of it; raises StepError when the central crop's side rounds to 0."""
        assert draws is not None  # the recipe makes them for every random step
        crop = self._draw(height, width, draws) or self._central(height, width)
        return [
            crop,
            resize_step(self.name, crop.height, crop.width, self.height, self.width, None, self.filter),
        ]

    @property
    def by_strips(self) -> bool:
        """Rows flow through."""
        return True

    def native(self) -> dict[str, Any]:
        """The fields of native/plan.h's Verb."""
        return {
            "kind": "random_resized_crop",
            "height": self.height,
            "width": self.width,
            "filter": self.filter,
            "p": (*self.scale, *self.ratio),
        }

    def _draw(self, height: int, width: int, draws: Draws) -> reference.Crop | None:
        from penstock._reference import steps as reference

        for crop_height, crop_width in drawn_sizes(height, width, self.scale, self.ratio, draws):
            if 0 < crop_width <= width and 0 < crop_height <= height:
                top = draws.integer(height - crop_height + 1)
                left = draws.integer(width - crop_width + 1)
                return reference.Crop(top, left, crop_height, crop_width)
        return None

    def _central(self, height: int, width: int) -> reference.Crop:
        from penstock._reference import steps as reference

        image_ratio = width / height
        crop_height, crop_width = height, width
        if image_ratio < self.ratio[0]:
            crop_height = round(width / self.ratio[0])
        elif image_ratio > self.ratio[1]:
            crop_width = round(height * self.ratio[1])
        if crop_height < 1 or crop_width < 1:
            raise StepError(
                "side rounds to 0",
                f"random_resized_crop: expected a crop of at least H=1 W=1, found H={crop_height} W={crop_width} "
                f"in an image of H={height} W={width}",
            )
        return reference.Crop((height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width)
