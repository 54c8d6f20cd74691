"""Penstock feeds images to models: folders and lists of images in; decoded, resized, normalised batches out.

    source -> read -> decode -> transform -> batch -> deliver

>>> import penstock as ps
>>> line = ps.blobs({"a.jpg": b""}).decode().resize(224, 224).normalize(ps.IMAGENET).batch(64, layout="NCHW")
>>> len(line)
1
"""

from typing import TYPE_CHECKING, Any

from penstock._version import __version__
from penstock.batch import Batching
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
from penstock.pipeline import Pipeline, arrays, blobs, files, folder
from penstock.recipe import Plan, Recipe, recipe
from penstock.sources.source import Source
from penstock.transform.normalize import CLIP, IMAGENET, SIGNED, UNIT, NormalizationStats
from penstock.types import Batch, Damage, Failure, Item, Row, Spec

if TYPE_CHECKING:
    from penstock.headers import Header, header
    from penstock.loader import Loader
    from penstock.presets import from_hf, from_openclip, from_timm
    from penstock.replay import Explanation
    from penstock.run import Run
    from penstock.stats import Stats

__all__ = [
    "CLIP",
    "IMAGENET",
    "SIGNED",
    "UNIT",
    "Batch",
    "Batching",
    "Damage",
    "EngineError",
    "Explanation",
    "Failure",
    "Geometry",
    "Header",
    "Item",
    "ItemError",
    "Loader",
    "NormalizationStats",
    "PenstockError",
    "Pipeline",
    "Plan",
    "PlanError",
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
    "arrays",
    "blobs",
    "decode",
    "files",
    "folder",
    "from_hf",
    "from_openclip",
    "from_timm",
    "header",
    "recipe",
    "resize",
]

# What runs a line is imported by the first run: describing one costs a fraction of the time.
_LATE = {
    "Explanation": "replay",
    "Header": "headers",
    "Loader": "loader",
    "Run": "run",
    "Stats": "stats",
    "from_hf": "presets",
    "from_openclip": "presets",
    "from_timm": "presets",
    "header": "headers",
}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module 'penstock' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"penstock.{_LATE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
