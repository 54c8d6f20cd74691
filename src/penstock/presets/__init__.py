"""Recipes from the file that a model was published with: Hugging Face, timm, OpenCLIP. No network, no other library."""

from penstock.presets.hf import from_hf
from penstock.presets.openclip import from_openclip
from penstock.presets.timm import from_timm

__all__ = ["from_hf", "from_openclip", "from_timm"]
