"""from_openclip: the recipe of an OpenCLIP model's evaluation transform, from its configuration."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from penstock.errors import PlanError
from penstock.presets.config import Config, located, read_json
from penstock.recipe import Recipe, recipe
from penstock.transform.normalize import CLIP
from penstock.types import FilterName

__all__ = ["from_openclip"]

DEFAULTS: dict[str, Any] = {
    "size": 224,
    "mode": "RGB",
    "mean": CLIP.mean,
    "std": CLIP.std,
    "interpolation": "bicubic",
    "resize_mode": "shortest",
    "fill_color": 0,
}
"""OpenCLIP's PreprocessCfg."""

# OpenCLIP's "random" speaks of training; at evaluation it is bicubic.
INTERPOLATIONS: dict[str, FilterName] = {"bicubic": "bicubic", "bilinear": "bilinear", "random": "bicubic"}


def from_openclip(config: Mapping[str, Any] | str | os.PathLike[str]) -> Recipe:
    """The recipe of an OpenCLIP model's evaluation transform: decode to float32 [H, W, 3], normalised.

    ``config`` is ``open_clip_config.json`` as a dict, a path or its folder, or its ``preprocess_cfg`` alone. As in
    OpenCLIP, the size is the model's ``vision_cfg.image_size`` where the file has one, else ``preprocess_cfg.size``.
    Pixels are those of ``open_clip.image_transform(..., is_train=False)`` on RGB Pillow images. Nothing is downloaded
    and open_clip is not needed. Raises PlanError, by name, for a key or a value that this does not know.

    >>> from_openclip({"size": 256, "resize_mode": "squash"}).upto("resize").verbs[-1].describe()
    'resize H=256 W=256 fill bicubic'
    """
    where = "from_openclip"
    if isinstance(config, Mapping):
        values = dict(config)
    elif isinstance(config, (str, os.PathLike)):
        values = read_json(located(config, ("open_clip_config.json",), where), where)
    else:
        raise PlanError(f"{where}({config!r}): expected a dict or a path, found {type(config).__name__}.")
    if "preprocess_cfg" in values or "model_cfg" in values:
        values = _preprocessing(values, where)
    keys = Config(values, where, DEFAULTS)
    keys.word("mode", ("RGB",))
    filter = INTERPOLATIONS[keys.word("interpolation", INTERPOLATIONS)]
    sides = keys.sides("size", lambda side: {"height": side, "width": side})
    line = _resized(recipe().decode(), keys, (sides["height"], sides["width"]), filter)
    line = line.normalize(keys.three("mean"), keys.three("std"))
    keys.unused(("fill_color",))
    keys.done()
    return line


def _preprocessing(values: dict[str, Any], where: str) -> dict[str, Any]:
    """The preprocess_cfg of a whole file, with the size that the model says."""
    beside = Config(values, where)
    beside.unused(("model_cfg", "preprocess_cfg"))
    beside.done()
    model, preprocessing = values.get("model_cfg") or {}, values.get("preprocess_cfg") or {}
    for key, value in (("model_cfg", model), ("preprocess_cfg", preprocessing)):
        if not isinstance(value, Mapping):
            raise PlanError(f"{where}: expected {key} = a JSON object, found {value!r}.")
    vision = model.get("vision_cfg")
    size = vision.get("image_size") if isinstance(vision, Mapping) else None
    return dict(preprocessing) if size is None else {**preprocessing, "size": size}


def _resized(line: Recipe, keys: Config, size: tuple[int, int], filter: FilterName) -> Recipe:
    """``shortest`` crops what is too long, ``longest`` pads what is too short, ``squash`` stretches."""
    height, width = size
    mode = keys.word("resize_mode", ("shortest", "longest", "squash"))
    if mode == "squash":
        return line.resize(height, width, filter=filter)
    if mode == "longest":
        fill = keys.raw("fill_color")
        if isinstance(fill, bool) or not isinstance(fill, int) or not 0 <= fill <= 255:
            raise keys.unsupported("fill_color", "a whole number from 0 to 255")
        return line.resize(height, width, fit="inside", rounding="even", filter=filter).center_crop(
            height, width, fill=fill
        )
    if height != width:
        raise keys.unsupported("size", "a square where resize_mode is 'shortest'")
    return line.resize(short_side=height, filter=filter).center_crop(height, width)
