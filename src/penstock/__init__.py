"""Penstock feeds images to models: folders and lists of images in; decoded, resized, normalised batches out.

    source -> read -> decode -> transform -> batch -> deliver

>>> import penstock as ps
>>> line = ps.blobs({"a.jpg": b""}).decode().resize(224, 224).normalize(ps.IMAGENET).batch(64, layout="NCHW")
>>> len(line)
1
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from penstock._version import __version__

if TYPE_CHECKING:
    from penstock.batch import Batching
    from penstock.cache import RAM, CacheInfo
    from penstock.errors import (
        EngineError,
        ItemError,
        PenstockError,
        PlanError,
        SourceError,
        TooManyFailuresError,
    )
    from penstock.functions import decode, resize
    from penstock.geometry import Geometry, RowGeometry
    from penstock.headers import Header, header
    from penstock.loader import Loader
    from penstock.maps.albumentations import albumentations
    from penstock.maps.mix import cutmix, mixup
    from penstock.maps.torchvision import torchvision
    from penstock.order.joining import concat, mix
    from penstock.packing import Packed, pack
    from penstock.pipeline import Pipeline, arrays, blobs, csv, files, folder, hf, jsonl, parquet, tar
    from penstock.preload import Preloaded
    from penstock.presets import from_hf, from_openclip, from_timm
    from penstock.recipe import Plan, Recipe, recipe
    from penstock.replay import Explanation
    from penstock.run import Run
    from penstock.sources.source import Source
    from penstock.stats import Stats
    from penstock.transform.map_item import MapItem
    from penstock.transform.normalize import CLIP, IMAGENET, SIGNED, UNIT, NormalizationStats
    from penstock.types import Batch, Damage, Failure, Item, Row, Spec

__all__ = [
    "CLIP",
    "IMAGENET",
    "RAM",
    "SIGNED",
    "UNIT",
    "Batch",
    "Batching",
    "CacheInfo",
    "Damage",
    "EngineError",
    "Explanation",
    "Failure",
    "Geometry",
    "Header",
    "Item",
    "ItemError",
    "Loader",
    "MapItem",
    "NormalizationStats",
    "Packed",
    "PenstockError",
    "Pipeline",
    "Plan",
    "PlanError",
    "Preloaded",
    "Recipe",
    "Row",
    "RowGeometry",
    "Run",
    "Source",
    "SourceError",
    "Spec",
    "Stats",
    "TooManyFailuresError",
    "__version__",
    "albumentations",
    "arrays",
    "blobs",
    "concat",
    "csv",
    "cutmix",
    "decode",
    "files",
    "folder",
    "from_hf",
    "from_openclip",
    "from_timm",
    "header",
    "hf",
    "jsonl",
    "mix",
    "mixup",
    "pack",
    "parquet",
    "recipe",
    "resize",
    "tar",
    "torchvision",
]

# Where each name lives: imported when it is first asked for, so that `import penstock` alone costs next to nothing.
_HOMES = {
    "Batch": "types",
    "Batching": "batch",
    "CLIP": "transform.normalize",
    "CacheInfo": "cache",
    "Damage": "types",
    "EngineError": "errors",
    "Explanation": "replay",
    "Failure": "types",
    "Geometry": "geometry",
    "Header": "headers",
    "IMAGENET": "transform.normalize",
    "Item": "types",
    "ItemError": "errors",
    "Loader": "loader",
    "MapItem": "transform.map_item",
    "NormalizationStats": "transform.normalize",
    "Packed": "packing",
    "PenstockError": "errors",
    "Pipeline": "pipeline",
    "Plan": "recipe",
    "PlanError": "errors",
    "Preloaded": "preload",
    "RAM": "cache",
    "Recipe": "recipe",
    "Row": "types",
    "RowGeometry": "geometry",
    "Run": "run",
    "SIGNED": "transform.normalize",
    "Source": "sources.source",
    "SourceError": "errors",
    "Spec": "types",
    "Stats": "stats",
    "TooManyFailuresError": "errors",
    "UNIT": "transform.normalize",
    "albumentations": "maps.albumentations",
    "arrays": "pipeline",
    "blobs": "pipeline",
    "cutmix": "maps.mix",
    "concat": "order.joining",
    "decode": "functions",
    "parquet": "pipeline",
    "jsonl": "pipeline",
    "hf": "pipeline",
    "csv": "pipeline",
    "files": "pipeline",
    "folder": "pipeline",
    "from_hf": "presets",
    "from_openclip": "presets",
    "from_timm": "presets",
    "header": "headers",
    "mix": "order.joining",
    "mixup": "maps.mix",
    "pack": "packing",
    "recipe": "recipe",
    "resize": "functions",
    "tar": "pipeline",
    "torchvision": "maps.torchvision",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'penstock' has no attribute {name!r}")
    import importlib

    # What a recipe calls is said where the plain functions are.
    importlib.import_module("penstock.functions")
    value = getattr(importlib.import_module(f"penstock.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


class _Package(ModuleType):
    """This package: two of its functions are called as the modules they come from, and stay what the names mean."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
