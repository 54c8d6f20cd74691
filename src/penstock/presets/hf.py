"""from_hf: the recipe of a Hugging Face image processor, from the file it was saved to."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from penstock.errors import PlanError
from penstock.presets.config import Config, located, read_json
from penstock.presets.processors import HARMLESS, MODELS, PROCESSORS, Processor
from penstock.recipe import Recipe, recipe
from penstock.types import FilterName

__all__ = ["from_hf", "processor_of"]

WHITE = (255, 255, 255)
FILES = ("processor_config.json", "preprocessor_config.json")

# What stands beside "image_processor" in processor_config.json: tokens, sound and video, no image.
BESIDE = (
    *(
        "processor_class",
        "auto_map",
        "image_processor",
        "image_seq_length",
        "image_token",
        "num_additional_image_tokens",
    ),
    *("patch_size", "vision_feature_select_strategy", "chat_template", "video_processor", "video_token"),
    *("feature_extractor", "audio_seq_length", "audio_ms_per_token", "tokenizer"),
)


def from_hf(path: str | os.PathLike[str] | Mapping[str, Any]) -> Recipe:
    """The recipe of a Hugging Face image processor: decode to normalised float32 pixels, or patches.

    ``path`` is a ``preprocessor_config.json``, a ``processor_config.json``, a folder that holds one, or its content as
    a dict. Nothing is downloaded and transformers is not needed. Pixels are those of transformers' PIL (slow)
    processor. Raises PlanError, by name, for a processor, a key or a value that this does not know: none is ignored.

    >>> prep = from_hf({"image_processor_type": "ViTImageProcessor", "size": {"height": 224, "width": 224}})
    >>> prep.spec().height, prep.spec().dtype
    (224, 'float32')
    """
    name, config = _read(path)
    processor = PROCESSORS[name]
    config.unused(HARMLESS)
    config.unused(processor.harmless)
    line = recipe().decode(alpha=WHITE) if config.flag("do_convert_rgb") else recipe().decode()
    if processor.kind in ("siglip2", "gemma4"):
        line = _patches(line, config, processor.kind)
    else:
        line = _pixels(line, config, processor.kind)
    config.done()
    return line


def processor_of(path: str | os.PathLike[str] | Mapping[str, Any]) -> tuple[Processor, Config]:
    """The processor that a file, a folder or a dict names, and its keys; raises PlanError."""
    name, config = _read(path)
    return PROCESSORS[name], config


def _read(path: str | os.PathLike[str] | Mapping[str, Any]) -> tuple[str, Config]:
    if isinstance(path, Mapping):
        where, values, model = "from_hf", dict(path), None
    elif isinstance(path, (str, os.PathLike)):
        file = _file(Path(path).expanduser())
        where, values = f"from_hf({file.name})", read_json(file, "from_hf")
        model = file.parent / "config.json"
    else:
        raise PlanError(f"from_hf({path!r}): expected a path or a dict, found {type(path).__name__}.")
    if "image_processor" in values:
        beside = Config(values, where)
        beside.unused(BESIDE)
        beside.done()
        values = values["image_processor"]
        if not isinstance(values, Mapping):
            raise PlanError(f"{where}: expected image_processor = a JSON object, found {values!r}.")
    name = _name(values, where, model)
    return name, Config(values, f"{where}: {name}", PROCESSORS[name].defaults)


def _file(path: Path) -> Path:
    """The file that describes the images: processor_config.json comes first, where it says anything of them."""
    if path.is_dir():
        first = path / FILES[0]
        if first.is_file() and "image_processor" in read_json(first, "from_hf"):
            return first
        return located(path, FILES[1:], "from_hf")
    return path


def _name(values: Mapping[str, Any], where: str, model: Path | None) -> str:
    """The processor's name, without the ends that only say how it computes."""
    given = values.get("image_processor_type") or values.get("feature_extractor_type")
    if given is None and model is not None and model.is_file():
        kind = read_json(model, where).get("model_type")
        given = MODELS.get(str(kind))
        if given is None:
            raise PlanError(
                f"{where}: expected image_processor_type, or a config.json whose model_type is one of "
                f"{', '.join(MODELS)}, found model_type {kind!r}."
            )
    if given is None:
        raise PlanError(
            f"{where}: expected image_processor_type, which says whose settings these are, found no such key."
        )
    name = str(given).removesuffix("Pil").removesuffix("Fast")
    if name.endswith("FeatureExtractor"):
        name = name.removesuffix("FeatureExtractor") + "ImageProcessor"
    if name not in PROCESSORS:
        import difflib  # only where the name is not one of them

        near = difflib.get_close_matches(str(given), list(PROCESSORS), 1)
        hint = f"; the nearest is {near[0]!r}" if near else ""
        raise PlanError(
            f"{where}: expected image_processor_type = one of {', '.join(PROCESSORS)}, found {given!r}{hint}."
        )
    return name


def _pixels(line: Recipe, config: Config, kind: str) -> Recipe:
    """Resize, crop, normalise: in that order, each where its flag says so."""
    cap = None
    if kind == "detr":
        # What longest_edge and do_pad were called before.
        cap = config.raw("max_size")
        config.flag("pad_and_return_pixel_mask")
    if config.flag("do_resize"):
        line = _resize(line, config, kind, cap)
    else:
        config.unused(("size", "resample", "default_to_square"))
        config.unused(("crop_pct",) if kind == "convnext" else ())
    if kind in ("detr", "gemma3"):
        config.off("do_center_crop")
    if config.flag("do_center_crop"):
        sides = config.sides("crop_size", lambda side: {"height": side, "width": side})
        if sides.keys() != {"height", "width"}:
            raise config.unsupported("crop_size", "a height and a width")
        line = line.center_crop(sides["height"], sides["width"], rounding="floor")
    else:
        config.unused(("crop_size",))
    # What pads images to the largest of their batch is batch(ragged="pad"); pixels stay as they are.
    if config.flag("do_pad"):
        config.off("pad_size", "null: batch(ragged='pad') pads to the largest image of a batch")
    else:
        config.unused(("pad_size",))
    if kind == "gemma3":
        config.off("do_pan_and_scan", "false or null, one image for one")
        config.unused(
            ("pan_and_scan_min_crop_size", "pan_and_scan_max_num_crops", "pan_and_scan_min_ratio_to_activate")
        )
    return _normalize(line, config)


def _resize(line: Recipe, config: Config, kind: str, cap: Any) -> Recipe:
    filter = config.filter("resample")
    square = config.flag("default_to_square")

    def from_one(side: int) -> dict[str, int]:
        if square:
            return {"height": side, "width": side}
        return {"shortest_edge": side, "longest_edge": cap or 1333} if kind == "detr" else {"shortest_edge": side}

    sides = config.sides("size", from_one)
    if kind == "convnext":
        return _convnext(line, config, sides, filter)
    if sides.keys() == {"height", "width"}:
        if kind == "float":
            return line.resize(sides["height"], sides["width"], filter=filter, precision="float32")
        return line.resize(sides["height"], sides["width"], filter=filter)
    if kind == "float":
        raise config.unsupported("size", "a height and a width")
    if sides.keys() == {"shortest_edge", "longest_edge"}:
        side, most = sides["shortest_edge"], sides["longest_edge"]
        return line.resize(short_side=side, max_side=most, rounding="even", filter=filter)
    if sides.keys() == {"shortest_edge"} and kind != "detr":
        return line.resize(short_side=sides["shortest_edge"], filter=filter)
    raise config.unsupported("size", "height and width, or shortest_edge, or shortest_edge and longest_edge")


def _convnext(line: Recipe, config: Config, sides: dict[str, int], filter: FilterName) -> Recipe:
    """A central crop of crop_pct below 384 pixels; the whole image, squeezed, from there on."""
    if sides.keys() != {"shortest_edge"}:
        raise config.unsupported("size", "shortest_edge")
    side, share = sides["shortest_edge"], config.number("crop_pct")
    if side >= 384:
        return line.resize(side, side, filter=filter)
    if share <= 0:
        raise config.unsupported("crop_pct", "a number above 0")
    return line.resize(short_side=int(side / share), filter=filter).center_crop(side, side, rounding="floor")


def _patches(line: Recipe, config: Config, kind: str) -> Recipe:
    """Native aspect within a budget of patches, normalised, cut."""
    if not config.flag("do_resize"):
        raise config.unsupported("do_resize", "true")
    filter, patch = config.filter("resample"), config.whole("patch_size")
    for key in ("do_center_crop", "do_pad"):
        config.off(key)
    # Their processors never read these.
    config.unused(("size", "crop_size", "pad_size", "default_to_square"))
    if kind == "siglip2":
        line = line.resize(max_patches=config.whole("max_num_patches"), patch=patch, rounding="ceil", filter=filter)
    else:
        pooling, tokens = config.whole("pooling_kernel_size"), config.whole("max_soft_tokens")
        if tokens not in SOFT_TOKENS:
            raise config.unsupported("max_soft_tokens", " or ".join(str(count) for count in SOFT_TOKENS))
        line = line.resize(
            max_patches=tokens * pooling**2, patch=patch, multiple=pooling, rounding="floor", filter=filter
        )
    return _normalize(line, config).patchify(patch)


SOFT_TOKENS = (70, 140, 280, 560, 1120)


def _normalize(line: Recipe, config: Config) -> Recipe:
    """The flags of rescale and normalize: together (x / 255 - mean) / std, or x / 255 alone, or neither."""
    rescale, normalize = config.flag("do_rescale"), config.flag("do_normalize")
    if rescale and not math.isclose(config.number("rescale_factor"), 1 / 255, rel_tol=1e-9):
        raise config.unsupported("rescale_factor", "1/255")
    if normalize and not rescale:
        raise config.unsupported("do_rescale", "true where do_normalize is true")
    config.unused(("rescale_factor",))
    if not normalize:
        config.unused(("image_mean", "image_std"))
        return line.normalize((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)) if rescale else line
    return line.normalize(config.three("image_mean"), config.three("image_std"))
