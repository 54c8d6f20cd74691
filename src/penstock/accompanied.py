"""What goes where a picture goes, as methods of a line: files beside it, and boxes, points and polygons in it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Self, cast

from penstock.companions import Companion, expect_followable
from penstock.errors import PlanError
from penstock.geometry import FrameName
from penstock.targets import Targets

if TYPE_CHECKING:
    from penstock.recipe import Recipe
    from penstock.sources.source import Source

__all__ = ["Accompanied"]


class Accompanied:
    """A line's companions and targets: each method returns a longer line."""

    source: Source
    recipe: Recipe
    companions: tuple[Companion, ...]
    targeting: Targets | None

    if TYPE_CHECKING:

        def _before_batch(self, text: str) -> None: ...

        def expect_no_views(self, text: str, *, beside: bool = False) -> None:
            """Refuses what does not go with several views."""

    def companion(
        self,
        *,
        mode: Literal["label", "image", "npz"] = "label",
        frame: FrameName = "upright",
        outside: float = 0,
        dtype: str = "",
        **patterns: str,
    ) -> Self:
        """A second file beside each picture that goes where the picture goes, in ``batch.companions`` by its name.

        ``companion(mask="../mask/{stem}.png")``: a path relative to the picture's own folder with {stem}, {name},
        {suffix}, {parent} or {key} in it, or the name of a field that holds bytes or an array. ``mode="label"``: a map
        of numbers, palette indices kept, moved by nearest neighbour, [N, H, W] of ``dtype`` (uint8); "image": a picture
        as the line decodes them, with the line's own filters, uint8 [N, H, W, C]; "npz": an array [H, W, ...] of any
        dtype, by nearest neighbour. ``frame="stored"``: it lies as the picture is stored, before its EXIF orientation.
        ``outside`` stands where the picture was padded. Verbs that change colours leave it alone. A companion that is
        missing, broken or of another size than its picture is that item's failure. Raises PlanError.
        """
        text = ", ".join(f"{name}={pattern!r}" for name, pattern in patterns.items())
        self._before_batch(f"companion({text})")
        self.expect_no_views(f"companion({text})")
        if not patterns:
            raise PlanError("companion(): expected a name and a path, as in mask='../mask/{stem}.png', found none.")
        made = tuple(Companion(name, pattern, mode, frame, outside, dtype) for name, pattern in patterns.items())
        for companion in made:
            if any(known.name == companion.name for known in self.companions):
                raise PlanError(f"companion({text}): expected another name than one before, found {companion.name!r}.")
            if companion.field and companion.pattern not in self.source.field_names:
                fields = ", ".join(self.source.field_names) or "none"
                raise PlanError(
                    f"companion({text}): expected {{stem}} in the path, or one of the fields ({fields}), "
                    f"found {companion.pattern!r}."
                )
        expect_followable(f"companion({text})", self.recipe, companions=True)
        return cast("Self", replace(cast("Any", self), companions=(*self.companions, *made)))

    def targets(
        self,
        *,
        boxes: str | None = None,
        points: str | None = None,
        polygons: str | None = None,
        frame: FrameName = "upright",
        box_format: Literal["xyxy", "xywh"] = "xyxy",
        clip: bool = False,
    ) -> Self:
        """Boxes, points and polygons from these fields, moved to the model's pixels, in ``batch.targets`` by kind.

        Each is a list with one entry a row: boxes float64 [K, 4], points [K, 2], polygons a list of [P, 2]; empty where
        a row has no image. A field holds them in source pixels, in ``frame``: "upright", as viewers and annotation
        tools show the picture, or "stored". A path such as ``json.bbox`` looks inside a field. ``box_format`` is what
        comes in and goes out: "xyxy" or "xywh". ``clip`` cuts them at the model's picture. What is no box, point or
        polygon is that item's failure. Raises PlanError.
        """
        targeting = Targets(boxes, points, polygons, frame, box_format, clip)
        self._before_batch(f"targets({targeting.arguments()})")
        self.expect_no_views(f"targets({targeting.arguments()})")
        if self.targeting is not None:
            raise PlanError("targets(): expected one targets, found a second one; name all fields in one.")
        for kind, name in targeting.named():
            if name not in self.source.field_names and name.partition(".")[0] not in self.source.field_names:
                fields = ", ".join(self.source.field_names) or "none"
                raise PlanError(f"targets({kind}={name!r}): expected one of the fields ({fields}), found {name!r}.")
        expect_followable(f"targets({targeting.arguments()})", self.recipe, companions=False)
        return cast("Self", replace(cast("Any", self), targeting=targeting))
