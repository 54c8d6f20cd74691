"""from_timm: the recipe of a timm model's evaluation transform, from its configuration."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

from penstock.errors import PlanError
from penstock.presets.config import Config, located, read_json
from penstock.recipe import Recipe, recipe
from penstock.transform.normalize import IMAGENET
from penstock.transform.verb import FILTERS

__all__ = ["from_timm"]

DEFAULTS: dict[str, Any] = {
    "input_size": (3, 224, 224),
    "interpolation": "bicubic",
    "mean": IMAGENET.mean,
    "std": IMAGENET.std,
    "crop_pct": 0.875,
    "crop_mode": "center",
}
"""What timm.data.resolve_data_config takes where the configuration says nothing."""

HARMLESS: dict[str, tuple[str, ...]] = {
    "where the weights are": (
        *("url", "file", "state_dict", "hf_hub_id", "hf_hub_filename", "source", "architecture", "tag", "custom_load"),
    ),
    "how the model is built": (
        *("num_classes", "num_features", "classifier", "first_conv", "pool_size", "global_pool", "model_args"),
    ),
    "which sizes the model could take, not the one it gets": ("fixed_input_size", "min_input_size"),
    "used for the test size only, which timm takes when it is asked for": ("test_input_size", "test_crop_pct"),
    "words for people": (
        *("description", "license", "origin_url", "paper_name", "paper_ids", "notes"),
        *("label_names", "label_descriptions", "label_offset"),
    ),
}
"""Keys that change no pixel, by why."""


def from_timm(config: Mapping[str, Any] | str | os.PathLike[str]) -> Recipe:
    """The recipe of a timm model's evaluation transform: decode to float32 [H, W, 3], normalised.

    ``config`` is ``model.pretrained_cfg`` or what ``timm.data.resolve_data_config`` returns, as a dict, or the
    ``config.json`` that timm publishes, as a dict, a path or its folder. Pixels are those of
    ``timm.data.create_transform(**config)`` on Pillow images. Nothing is downloaded and timm is not needed. Raises
    PlanError, by name, for a key or a value that this does not know.

    >>> print(from_timm({"input_size": (3, 224, 224), "crop_pct": 0.9, "interpolation": "bicubic"}).upto(3))
    decode                               uint8 [H, W, 3] 0..255
    resize       short_side=248 bicubic  uint8 [H, W, 3] 0..255
    center_crop  H=224 W=224 even        uint8 [224, 224, 3] 0..255
    """
    where = "from_timm"
    if isinstance(config, Mapping):
        values = dict(config)
    elif isinstance(config, (str, os.PathLike)):
        values = read_json(located(config, ("config.json",), where), where)
    else:
        raise PlanError(f"{where}({config!r}): expected a dict or a path, found {type(config).__name__}.")
    if isinstance(values.get("pretrained_cfg"), Mapping):
        beside = Config(values, where)
        beside.unused(key for keys in HARMLESS.values() for key in keys)
        beside.unused(("pretrained_cfg",))
        beside.done()
        values = dict(values["pretrained_cfg"])
    keys = Config(values, where, DEFAULTS)
    keys.unused(key for names in HARMLESS.values() for key in names)
    keys.off("crop_border_pixels", "null: use .crop() for a border")
    height, width = _sides(keys)
    filter = keys.word("interpolation", FILTERS)
    line = _cropped(recipe().decode(), keys, height, width, filter)
    line = line.normalize(keys.three("mean"), keys.three("std"))
    keys.done()
    return line


def _sides(keys: Config) -> tuple[int, int]:
    """Height and width of (channels, height, width)."""
    size = keys.raw("input_size")
    if (
        not isinstance(size, (list, tuple))
        or len(size) != 3
        or size[0] != 3
        or any(isinstance(side, bool) or not isinstance(side, int) or side < 1 for side in size)
    ):
        raise keys.unsupported("input_size", "(3, height, width)")
    return size[1], size[2]


def _cropped(line: Recipe, keys: Config, height: int, width: int, filter: Any) -> Recipe:
    """What is resized is larger than what is kept, by crop_pct; crop_mode says how the aspect is met."""
    share = keys.number("crop_pct")
    if share <= 0:
        raise keys.unsupported("crop_pct", "a number above 0")
    mode = keys.word("crop_mode", ("center", "squash", "border"))
    tall, wide = math.floor(height / share), math.floor(width / share)
    if mode == "squash":
        return line.resize(tall, wide, filter=filter).center_crop(height, width)
    if mode == "border":
        fill = tuple(round(255 * value) for value in keys.three("mean"))
        return line.resize(tall, wide, fit="inside", rounding="even", filter=filter).center_crop(
            height, width, fill=fill
        )
    if tall != wide:
        raise keys.unsupported("input_size", "a square where crop_mode is 'center'")
    return line.resize(short_side=tall, filter=filter).center_crop(height, width)
