"""The verbs, one file each: frozen values with a Spec, steps, a native form and JSON."""

from __future__ import annotations

from penstock.transform.center_crop import CenterCrop
from penstock.transform.crop import Crop
from penstock.transform.jpeg_roundtrip import JpegRoundtrip
from penstock.transform.map import Map
from penstock.transform.normalize import CLIP, IMAGENET, SIGNED, UNIT, NormalizationStats, Normalize
from penstock.transform.pad import Pad
from penstock.transform.pad_to import PadTo
from penstock.transform.pad_to_multiple import PadToMultiple
from penstock.transform.patchify import Patchify
from penstock.transform.rand_augment import RandAugment
from penstock.transform.random_affine import RandomAffine
from penstock.transform.random_color_jitter import RandomColorJitter
from penstock.transform.random_crop import RandomCrop
from penstock.transform.random_erasing import RandomErasing
from penstock.transform.random_grayscale import RandomGrayscale
from penstock.transform.random_horizontal_flip import RandomHorizontalFlip
from penstock.transform.random_resized_crop import RandomResizedCrop
from penstock.transform.random_rotate90 import RandomRotate90
from penstock.transform.random_vertical_flip import RandomVerticalFlip
from penstock.transform.resize import Resize
from penstock.transform.trivial_augment import TrivialAugment
from penstock.transform.verb import Spatial, StepError, Verb
from penstock.transform.warp import Warp

__all__ = [
    "CLIP",
    "IMAGENET",
    "SIGNED",
    "UNIT",
    "CenterCrop",
    "Crop",
    "JpegRoundtrip",
    "Map",
    "NormalizationStats",
    "Normalize",
    "Pad",
    "PadTo",
    "PadToMultiple",
    "Patchify",
    "RandAugment",
    "RandomAffine",
    "RandomColorJitter",
    "RandomCrop",
    "RandomErasing",
    "RandomGrayscale",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "RandomRotate90",
    "RandomVerticalFlip",
    "Resize",
    "Spatial",
    "StepError",
    "TrivialAugment",
    "Verb",
    "Warp",
]
