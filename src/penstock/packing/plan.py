"""What a packing is asked for, checked before anything is written."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from penstock.batch import expect_items
from penstock.byte_counts import counted
from penstock.errors import PlanError
from penstock.options import whole
from penstock.sources.source import Source
from penstock.sources.tar import TarSource
from penstock.transform.map import Map

if TYPE_CHECKING:
    from fractions import Fraction

    from penstock.pipeline import Pipeline

__all__ = [
    "PackOnFailure",
    "PackOptions",
    "PackTo",
    "byte_count",
    "folder_of_packing",
    "head_of",
    "line_of",
    "raw_sidecars",
]

PackTo = Literal["tar", "parquet"]
PackOnFailure = Literal["skip", "raise"]

_LEAST_SHARD = 1 << 10
_QUALITY = 90


def byte_count(name: str, value: int | str) -> int:
    """A number of bytes, also as a text: "1GB", "512 MiB"; PlanError for what is none.

    >>> byte_count("shard_bytes", "1.5GB"), byte_count("shard_bytes", "64MiB")
    (1500000000, 67108864)
    """
    if isinstance(value, str):
        found = counted(value)
        if found is None:
            raise PlanError(f"{name}={value!r}: expected a number of bytes such as '1GB' or '512MiB', found {value!r}.")
        value = found
    return whole(name, value, _LEAST_SHARD, also=" of bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class PackOptions:
    """The options of ``ps.pack`` as given; PlanError by name for one that cannot be."""

    shard_bytes: int
    max_side: int | None
    quality: int
    to: PackTo
    on_failure: PackOnFailure
    max_failures: int | Fraction | None

    def __post_init__(self) -> None:
        if self.to not in ("tar", "parquet"):
            raise PlanError(f"pack(to={self.to!r}): expected 'tar' or 'parquet', found {self.to!r}.")
        if self.on_failure not in ("skip", "raise"):
            raise PlanError(
                f"pack(on_failure={self.on_failure!r}): expected 'skip' or 'raise', found {self.on_failure!r}."
            )
        whole("quality", self.quality, 1, 100)
        if self.max_side is not None:
            whole("max_side", self.max_side, 1, 65_500)

    def allowed(self, items: int) -> int | None:
        """How many items may fail; None: all of them."""
        from fractions import Fraction

        if self.max_failures is None:
            return None
        if not isinstance(self.max_failures, Fraction):
            return whole("max_failures", self.max_failures, 0, also=", or a Fraction")
        if not 0 <= self.max_failures <= 1:
            raise PlanError(
                f"max_failures={self.max_failures!r}: expected a Fraction from 0 to 1, found {self.max_failures}."
            )
        return int(self.max_failures * items)


def line_of(given: Any, options: PackOptions, shuffle: int | None) -> Pipeline:
    """The line that is packed: its order, and the recipe that its images are encoded after, where they are."""
    from penstock.pipeline import Pipeline

    line = Pipeline(given) if isinstance(given, Source) else given
    if not isinstance(line, Pipeline):
        raise PlanError(f"pack(): expected a line such as ps.folder(path), or a Source, found {type(given).__name__}.")
    _expect_items_alone(line)
    if shuffle is not None:
        line = line.seed(shuffle).shuffle()
    if line.order.repeats:
        raise PlanError("pack(): expected a line that has each item once, found one in which items come again.")
    given_arrays = line.source.kind == "arrays" and options.max_side is None and not line.recipe.steps
    if given_arrays:
        raise PlanError(
            "pack(): expected encoded images to copy, found arrays; max_side= encodes them as JPEGs that size."
        )
    if options.max_side is not None:
        line = line if _has_pixels(line) else line.decode()
        line = line.resize(options.max_side, options.max_side, fit="inside", enlarge=False)
    if _has_pixels(line):
        _expect_plain_images(line)
    elif options.quality != _QUALITY:
        raise PlanError(
            f"pack(quality={options.quality}): expected max_side=, or a line that decodes, for which images are "
            f"encoded anew, found neither: their bytes are copied as they are."
        )
    return line


def _expect_items_alone(line: Pipeline) -> None:
    beside = (
        ("batch", line.batching),
        ("views", line.viewing),
        ("companions", line.companions),
        ("targets", line.targeting),
    )
    for word, found in beside:
        if found:
            raise PlanError(f"pack(): expected a line without {word}, found {word} in it; pack the line before that.")
    expect_items(line.source, None, beside=False, text="pack()")


def _expect_plain_images(line: Pipeline) -> None:
    """Refuses images that differ from pass to pass, change their items, or that no JPEG holds."""
    if line.recipe.random:
        raise PlanError("pack(): expected a line whose images are the same in every epoch, found a random step in it.")
    if any(isinstance(verb, Map) and verb.on == "item" for verb in line.recipe.verbs):
        raise PlanError("pack(): expected a line whose maps change images, found one that changes items, fields too.")
    spec = line.spec
    if spec.dtype != "uint8" or spec.channels not in (1, 3) or spec.patch is not None:
        raise PlanError(f"pack(): expected a line that ends in uint8 images of 1 or 3 channels, found {spec}.")


def _has_pixels(line: Pipeline) -> bool:
    return line.spec.kind == "image"


def head_of(line: Pipeline, options: PackOptions) -> dict[str, Any]:
    """What has to be the same for a packing to be gone on with."""
    encoded = _has_pixels(line)
    made: dict[str, Any] = {}
    if encoded:
        import PIL
        from PIL import features

        # Another Pillow, or another codec in it, may decode, resize and encode to other bytes.
        made["recipe"] = line.recipe.fingerprint
        made["encoder"] = f"Pillow {PIL.__version__}, libjpeg {features.version('jpg')}"
    if options.to == "parquet":
        import pyarrow as pa

        made["writer"] = f"pyarrow {pa.__version__}"
    return {
        "options": {
            "to": options.to,
            "shard_bytes": options.shard_bytes,
            "max_side": options.max_side,
            "quality": options.quality if encoded else None,
            "order": line.order.fingerprint(),
            **made,
        },
        "source": {
            "kind": line.source.kind,
            "items": line.items,
            "digest": line.source.digest(),
            "classes": None if line.source.classes is None else list(line.source.classes),
        },
    }


def raw_sidecars(line: Pipeline, options: PackOptions) -> bool:
    """Whether sidecars are copied as they are: from tar to tar."""
    return options.to == "tar" and isinstance(line.source, TarSource)


def folder_of_packing(dest: Any) -> str:
    """The absolute path of the folder that is packed into."""
    try:
        path = os.path.expanduser(os.fsdecode(dest))
    except TypeError:
        raise PlanError(f"pack(): expected the path of a folder to write to, found {type(dest).__name__}.") from None
    if not path:
        raise PlanError("pack(): expected the path of a folder to write to, found an empty one.")
    return os.path.abspath(path)
