"""The image processors that from_hf knows: what each does when its file says nothing, and what its keys are.

The defaults are the class attributes of Hugging Face transformers' PIL processors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from penstock.transform.normalize import CLIP, IMAGENET, SIGNED, NormalizationStats

__all__ = ["HARMLESS", "MODELS", "PROCESSORS", "Processor"]

BILINEAR, BICUBIC = 2, 3  # Pillow's numbers

HARMLESS: dict[str, str] = {
    "image_processor_type": "names the processor, and is read for that",
    "feature_extractor_type": "what image_processor_type was called before",
    "processor_class": "names the class that also holds the tokenizer",
    "auto_map": "names code of the model's own repository; none of it is run",
    "_valid_processor_keys": "the names of the arguments, saved by accident",
    "_valid_kwargs_names": "as _valid_processor_keys",
    "return_tensors": "the kind of array handed over",
    "data_format": "the order of axes handed over, which is batch(layout=)",
    "input_data_format": "the order of axes of arrays handed in, which here is fixed",
    "device": "where the processor computes",
    "disable_grouping": "whether it groups equal sizes to compute faster",
    "image_seq_length": "how many tokens stand for an image in the text",
}
"""Keys that change no pixel, each with why."""

Kind = Literal["plain", "convnext", "detr", "float", "siglip2", "gemma3", "gemma4"]


@dataclass(frozen=True)
class Processor:
    """One image processor: which arithmetic, its defaults, and what it hands over."""

    kind: Kind
    defaults: Mapping[str, Any]
    outputs: tuple[str, ...] = ("pixel_values",)
    harmless: tuple[str, ...] = field(default=())


def _defaults(
    resample: int, statistics: NormalizationStats, size: dict[str, int] | None, **more: Any
) -> dict[str, Any]:
    mean, std = statistics
    common = {"do_resize": True, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True}
    return {
        **common,
        "default_to_square": True,
        "resample": resample,
        "image_mean": mean,
        "image_std": std,
        "size": size,
        **more,
    }


def _square(side: int) -> dict[str, int]:
    return {"height": side, "width": side}


def _short_side_then_crop(resample: int, statistics: NormalizationStats, size: int, crop: int) -> dict[str, Any]:
    return _defaults(
        resample,
        statistics,
        {"shortest_edge": size},
        default_to_square=False,
        do_center_crop=True,
        crop_size=_square(crop),
    )


_CLIP = {**_short_side_then_crop(BICUBIC, CLIP, 224, 224), "do_convert_rgb": True}
_DETECTION = Processor(
    "detr",
    _defaults(BILINEAR, IMAGENET, {"shortest_edge": 800, "longest_edge": 1333}, default_to_square=False, do_pad=True),
    outputs=("pixel_values", "pixel_mask"),
    # What these say is about annotations, which are not images.
    harmless=("format", "do_convert_annotations", "return_segmentation_masks"),
)

PROCESSORS: dict[str, Processor] = {
    "BitImageProcessor": Processor("plain", _CLIP),
    "BlipImageProcessor": Processor("plain", _defaults(BICUBIC, CLIP, _square(384), do_convert_rgb=True)),
    "CLIPImageProcessor": Processor("plain", _CLIP),
    "ChineseCLIPImageProcessor": Processor("plain", _CLIP),
    "ConditionalDetrImageProcessor": _DETECTION,
    "ConvNextImageProcessor": Processor(
        "convnext",
        _defaults(BICUBIC, SIGNED, {"shortest_edge": 384}, default_to_square=False, crop_pct=224 / 256),
    ),
    "DINOv3ViTImageProcessor": Processor("float", _defaults(BILINEAR, IMAGENET, _square(224))),
    "DeformableDetrImageProcessor": _DETECTION,
    "DeiTImageProcessor": Processor(
        "plain", _defaults(BICUBIC, SIGNED, _square(256), do_center_crop=True, crop_size=_square(224))
    ),
    "DetrImageProcessor": _DETECTION,
    "Gemma3ImageProcessor": Processor(
        "gemma3",
        _defaults(BILINEAR, SIGNED, _square(224), do_convert_rgb=True),
        outputs=("pixel_values", "num_crops"),
    ),
    "Gemma4ImageProcessor": Processor(
        "gemma4",
        _defaults(
            BICUBIC,
            NormalizationStats((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
            None,
            do_normalize=False,
            do_convert_rgb=True,
            patch_size=16,
            max_soft_tokens=280,
            pooling_kernel_size=3,
        ),
        outputs=("pixel_values", "image_position_ids", "num_soft_tokens_per_image"),
    ),
    "GroundingDinoImageProcessor": _DETECTION,
    "MobileNetV1ImageProcessor": Processor("plain", _short_side_then_crop(BILINEAR, SIGNED, 256, 224)),
    "OwlViTImageProcessor": Processor(
        "plain", _defaults(BICUBIC, CLIP, _square(768), crop_size=_square(768), do_convert_rgb=True)
    ),
    "PvtImageProcessor": Processor("plain", _defaults(BICUBIC, IMAGENET, _square(224))),
    "Siglip2ImageProcessor": Processor(
        "siglip2",
        _defaults(BILINEAR, SIGNED, None, patch_size=16, max_num_patches=256),
        outputs=("pixel_values", "pixel_attention_mask", "spatial_shapes"),
    ),
    "SiglipImageProcessor": Processor(
        "plain", _defaults(BICUBIC, SIGNED, _square(224), default_to_square=False, do_convert_rgb=True)
    ),
    "ViTImageProcessor": Processor("plain", _defaults(BILINEAR, SIGNED, _square(224))),
}
"""By the name in ``image_processor_type``, without Fast or Pil at its end."""

MODELS: dict[str, str] = {
    "altclip": "CLIPImageProcessor",
    "blip": "BlipImageProcessor",
    "blip-2": "BlipImageProcessor",
    "clip": "CLIPImageProcessor",
    "conditional_detr": "ConditionalDetrImageProcessor",
    "convnext": "ConvNextImageProcessor",
    "convnextv2": "ConvNextImageProcessor",
    "deformable_detr": "DeformableDetrImageProcessor",
    "deit": "DeiTImageProcessor",
    "detr": "DetrImageProcessor",
    "dinov2": "BitImageProcessor",
    "dinov3_vit": "DINOv3ViTImageProcessor",
    "gemma3": "Gemma3ImageProcessor",
    "resnet": "ConvNextImageProcessor",
    "siglip": "SiglipImageProcessor",
    "siglip2": "Siglip2ImageProcessor",
    "swin": "ViTImageProcessor",
    "swinv2": "ViTImageProcessor",
    "vit": "ViTImageProcessor",
    "vit_mae": "ViTImageProcessor",
}
"""The processor of a model, by config.json's ``model_type``, for old files that do not name it."""
