"""What a Hugging Face processor hands over, by its names: the columns of ``.select(hf=...)``."""

from __future__ import annotations

from typing import Any

from penstock.columns import Column
from penstock.errors import PlanError
from penstock.presets.hf import processor_of
from penstock.recipe import Recipe
from penstock.transform.resize import Resize

__all__ = ["hf_columns"]

PATCHES = {
    "ceil": ("pixel_values", "pixel_attention_mask", "spatial_shapes"),
    "floor": ("pixel_values", "image_position_ids", "num_soft_tokens_per_image"),
}
"""Which processor a recipe with a budget of patches is of: its rounding tells."""


def hf_columns(hf: Any) -> dict[str, Column]:
    """The columns of a processor's output by its names, from its file or dict, or from a recipe of ``from_hf``.

    >>> list(hf_columns({"image_processor_type": "Siglip2ImageProcessor"}))
    ['pixel_values', 'pixel_attention_mask', 'spatial_shapes']
    """
    if isinstance(hf, Recipe):
        names, share = _of_recipe(hf)
    else:
        processor, config = processor_of(hf)
        names = processor.outputs
        share = config.whole("pooling_kernel_size") ** 2 if processor.kind == "gemma4" else 1
        if processor.kind == "detr" and not _padded(config):
            names = ("pixel_values",)
    columns = {
        "pixel_values": Column("images"),
        "pixel_mask": Column("pixel_mask"),
        "pixel_attention_mask": Column("patch_mask"),
        "spatial_shapes": Column("grid"),
        "image_position_ids": Column("positions_xy"),
        "num_soft_tokens_per_image": Column("patch_count", share),
        "num_crops": Column("zeros"),
    }
    return {name: columns[name] for name in names}


def _of_recipe(recipe: Recipe) -> tuple[tuple[str, ...], int]:
    spec = recipe.spec()
    if spec.patch is None:
        return ("pixel_values", "pixel_mask") if spec.ragged else ("pixel_values",), 1
    budget = next((verb for verb in recipe.verbs if isinstance(verb, Resize) and verb.max_patches is not None), None)
    if budget is None:
        raise PlanError("select(hf=recipe): expected a recipe of from_hf, found patches of another one.")
    return PATCHES[budget.rounding or "ceil"], budget.multiple**2


def _padded(config: Any) -> bool:
    """DETR's do_pad, which old files call pad_and_return_pixel_mask."""
    if config.values.get("do_pad") is None and config.values.get("pad_and_return_pixel_mask") is not None:
        return bool(config.flag("pad_and_return_pixel_mask"))
    return bool(config.flag("do_pad"))
