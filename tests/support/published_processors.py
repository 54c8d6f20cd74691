"""Image processors of Hugging Face's models, with the settings that were published with each."""

from __future__ import annotations

from typing import Any

CLIP_MEAN, CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
HALF = [0.5, 0.5, 0.5]


# The settings as published with each model, and the processor that reads them.
PUBLISHED: dict[str, tuple[str, dict[str, Any]]] = {
    "openai/clip-vit-base-patch32": (
        "CLIPImageProcessor",
        {
            "crop_size": 224,
            "do_center_crop": True,
            "do_normalize": True,
            "do_resize": True,
            "feature_extractor_type": "CLIPFeatureExtractor",
            "image_mean": CLIP_MEAN,
            "image_std": CLIP_STD,
            "resample": 3,
            "size": 224,
        },
    ),
    "google/siglip-base-patch16-224": (
        "SiglipImageProcessor",
        {
            "do_normalize": True,
            "do_rescale": True,
            "do_resize": True,
            "image_mean": HALF,
            "image_processor_type": "SiglipImageProcessor",
            "image_std": HALF,
            "processor_class": "SiglipProcessor",
            "resample": 3,
            "rescale_factor": 0.00392156862745098,
            "size": {"height": 224, "width": 224},
        },
    ),
    "google/vit-base-patch16-224": (
        "ViTImageProcessor",
        {
            "do_normalize": True,
            "do_rescale": True,
            "do_resize": True,
            "image_mean": HALF,
            "image_processor_type": "ViTFeatureExtractor",
            "image_std": HALF,
            "resample": 2,
            "rescale_factor": 0.00392156862745098,
            "size": {"height": 224, "width": 224},
        },
    ),
    "facebook/deit-base-distilled-patch16-224": (
        "DeiTImageProcessor",
        {
            "crop_size": 224,
            "do_center_crop": True,
            "do_normalize": True,
            "do_resize": True,
            "feature_extractor_type": "DeiTFeatureExtractor",
            "image_mean": IMAGENET_MEAN,
            "image_std": IMAGENET_STD,
            "resample": 3,
            "size": 256,
        },
    ),
    "facebook/dinov2-base": (
        "BitImageProcessor",
        {
            "crop_size": {"height": 224, "width": 224},
            "do_center_crop": True,
            "do_convert_rgb": True,
            "do_normalize": True,
            "do_rescale": True,
            "do_resize": True,
            "image_mean": IMAGENET_MEAN,
            "image_processor_type": "BitImageProcessor",
            "image_std": IMAGENET_STD,
            "resample": 3,
            "rescale_factor": 0.00392156862745098,
            "size": {"shortest_edge": 256},
        },
    ),
    "facebook/convnext-tiny-224": (
        "ConvNextImageProcessor",
        {
            "crop_pct": 0.875,
            "do_normalize": True,
            "do_resize": True,
            "feature_extractor_type": "ConvNextFeatureExtractor",
            "image_mean": IMAGENET_MEAN,
            "image_std": IMAGENET_STD,
            "resample": 3,
            "size": 224,
        },
    ),
    "facebook/convnext-base-384": (
        "ConvNextImageProcessor",
        {
            "crop_pct": 1.0,
            "do_normalize": True,
            "do_rescale": True,
            "do_resize": True,
            "image_mean": IMAGENET_MEAN,
            "image_processor_type": "ConvNextImageProcessor",
            "image_std": IMAGENET_STD,
            "resample": 3,
            "rescale_factor": 0.00392156862745098,
            "size": {"shortest_edge": 384},
        },
    ),
    "microsoft/swinv2-tiny-patch4-window8-256": (
        "ViTImageProcessor",
        {
            "do_normalize": True,
            "do_rescale": True,
            "do_resize": True,
            "image_mean": IMAGENET_MEAN,
            "image_processor_type": "ViTImageProcessor",
            "image_std": IMAGENET_STD,
            "resample": 3,
            "rescale_factor": 0.00392156862745098,
            "size": {"height": 256, "width": 256},
        },
    ),
    "Salesforce/blip-image-captioning-base": (
        "BlipImageProcessor",
        {
            "do_normalize": True,
            "do_resize": True,
            "image_mean": CLIP_MEAN,
            "image_processor_type": "BlipImageProcessor",
            "image_std": CLIP_STD,
            "processor_class": "BlipProcessor",
            "resample": 3,
            "size": {"height": 384, "width": 384},
        },
    ),
    "facebook/detr-resnet-50": (
        "DetrImageProcessor",
        {
            "do_normalize": True,
            "do_resize": True,
            "feature_extractor_type": "DetrFeatureExtractor",
            "format": "coco_detection",
            "image_mean": IMAGENET_MEAN,
            "image_std": IMAGENET_STD,
            "max_size": 1333,
            "size": 800,
        },
    ),
    "google/gemma-3-4b-it": (
        "Gemma3ImageProcessor",
        {
            "do_convert_rgb": None,
            "do_normalize": True,
            "do_pan_and_scan": None,
            "do_rescale": True,
            "do_resize": True,
            "image_mean": HALF,
            "image_processor_type": "Gemma3ImageProcessor",
            "image_seq_length": 256,
            "image_std": HALF,
            "pan_and_scan_max_num_crops": None,
            "pan_and_scan_min_crop_size": None,
            "pan_and_scan_min_ratio_to_activate": None,
            "processor_class": "Gemma3Processor",
            "resample": 2,
            "rescale_factor": 0.00392156862745098,
            "size": {"height": 896, "width": 896},
        },
    ),
    "a crop larger than what is resized": (
        "CLIPImageProcessor",
        {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 97}, "crop_size": 224},
    ),
    "a crop of an odd size": (
        "CLIPImageProcessor",
        {"image_processor_type": "CLIPImageProcessorFast", "size": {"shortest_edge": 128}, "crop_size": [111, 98]},
    ),
    "a cap that is met": (
        "ConditionalDetrImageProcessor",
        {
            "image_processor_type": "ConditionalDetrImageProcessor",
            "size": {"shortest_edge": 211, "longest_edge": 333},
        },
    ),
    "only rescaled": (
        "PvtImageProcessor",
        {"image_processor_type": "PvtImageProcessor", "do_normalize": False, "resample": 1},
    ),
    "all defaults of mobilenet": ("MobileNetV1ImageProcessor", {"image_processor_type": "MobileNetV1ImageProcessor"}),
}


PATCHED: dict[str, tuple[str, dict[str, Any]]] = {
    "google/siglip2-base-patch16-naflex": (
        "Siglip2ImageProcessor",
        {
            "do_convert_rgb": True,
            "do_normalize": True,
            "do_rescale": True,
            "do_resize": True,
            "image_mean": HALF,
            "image_processor_type": "Siglip2ImageProcessor",
            "image_std": HALF,
            "max_num_patches": 256,
            "patch_size": 16,
            "processor_class": "Siglip2Processor",
            "resample": 2,
            "rescale_factor": 0.00392156862745098,
        },
    ),
    "gemma 4, 70 tokens": (
        "Gemma4ImageProcessor",
        {"image_processor_type": "Gemma4ImageProcessor", "max_soft_tokens": 70, "image_seq_length": 70},
    ),
}
