"""A recipe as the core is told it: its verbs as data, with all that the core needs to know beside them."""

from __future__ import annotations

from typing import Any

from penstock import _native
from penstock._reference.resample import installed_order
from penstock.decode import Decode
from penstock.recipe import Part, Recipe
from penstock.transform.normalize import NormalizationStats
from penstock.types import LayoutName, Spec
from penstock.views import Views

__all__ = ["compile_plan"]


def compile_plan(
    recipe: Recipe, layout: LayoutName = "NHWC", views: Views | None = None, cut: int | None = None
) -> _native.Plan:
    """The native plan of a recipe: its verbs as data, resolved for each image once its size is known.

    Where it has maps, a plan for each part before, between and after them; with ``views``, of which the recipe is the
    first one's, a plan for each. ``cut``: behind how many verbs a cache keeps what they made.
    """
    spec = recipe.spec()
    parts = recipe.parts(cut)
    if views is not None:
        plans = [(compile_plan(view.recipe, layout), view.count) for view in views.views]
        return _plan_of(recipe, parts[0].native(), spec, layout, recipe.statistics, views=plans)
    if len(parts) == 1:
        return _plan_of(recipe, parts[0].native(), spec, layout, recipe.statistics)
    made = []
    given: tuple[int, str] | None = None
    for number, part in enumerate(parts[:-1]):
        in_slot = number == len(parts) - 2 and _stays(recipe, part, parts[-1], layout)
        size = part.spec if in_slot else part.spec.with_(height=None, width=None)
        made.append(
            _plan_of(
                recipe, part.native(), size, "NHWC", None, given=given, goes_on=True, cut=part.kept, in_slot=in_slot
            )
        )
        after = part.spec if part.call is None else part.call.spec
        given = (after.channels, after.dtype)
    made.append(_plan_of(recipe, parts[-1].native(), spec, layout, recipe.statistics, given=given))
    return _plan_of(recipe, [], spec, layout, recipe.statistics, parts=made)


def _stays(recipe: Recipe, part: Part, last: Part, layout: LayoutName) -> bool:
    """Whether the image that the last map is given, and answers, or the cache keeps, is what the slot holds."""
    final, before, after = recipe.spec(), part.spec, part.spec if part.call is None else part.call.spec
    if last.verbs or recipe.statistics is not None or final.patch is not None or layout != "NHWC" or before.ragged:
        return False
    return before.shape() == after.shape() == final.shape() and before.dtype == after.dtype == final.dtype


def _plan_of(
    recipe: Recipe,
    verbs: list[dict[str, Any]],
    spec: Spec,
    layout: LayoutName,
    statistics: NormalizationStats | None,
    *,
    parts: list[_native.Plan] | None = None,
    given: tuple[int, str] | None = None,
    goes_on: bool = False,
    cut: bool = False,
    in_slot: bool = False,
    views: list[tuple[_native.Plan, int]] | None = None,
) -> _native.Plan:
    decode = recipe.decoding or Decode()
    return _native.make_plan(
        verbs=verbs,
        decode=decode.native(),
        height=spec.height or 0,
        width=spec.width or 0,
        channels=spec.channels,
        dtype=spec.dtype,
        layout=layout,
        patch=spec.patch or 0,
        max_patches=spec.max_patches or 0,
        mean=[] if statistics is None else list(statistics.mean),
        std=[] if statistics is None else list(statistics.std),
        max_pixels=decode.max_pixels,
        max_working_bytes=decode.max_working_bytes,
        max_scans=decode.max_scans,
        adaptive_order=installed_order() == "adaptive",
        parts=parts or [],
        given=given,
        goes_on=goes_on,
        cut=cut,
        in_slot=in_slot,
        views=views or [],
    )
