"""The verbs, one file each: frozen values with a Spec, steps, a native form and JSON."""

from __future__ import annotations

from penstock.transform.center_crop import CenterCrop
from penstock.transform.normalize import CLIP, IMAGENET, SIGNED, UNIT, NormalizationStats, Normalize
from penstock.transform.patchify import Patchify
from penstock.transform.random_horizontal_flip import RandomHorizontalFlip
from penstock.transform.random_resized_crop import RandomResizedCrop
from penstock.transform.resize import Resize
from penstock.transform.verb import Spatial, StepError, Verb

__all__ = [
    "CLIP",
    "IMAGENET",
    "SIGNED",
    "UNIT",
    "CenterCrop",
    "NormalizationStats",
    "Normalize",
    "Patchify",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "Resize",
    "Spatial",
    "StepError",
    "Verb",
]
