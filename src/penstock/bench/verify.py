"""Every image of a folder against Pillow, pixel by pixel: as decoded, and after one resize."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from penstock.pillow_warnings import recorded_warnings
from penstock.pipeline import Pipeline

if TYPE_CHECKING:
    from PIL import Image

    from penstock.types import Failure, FilterName, ModeName

Answer = Literal["identical", "differs", "only Pillow", "only Penstock", "neither", "limit"]

# Limits that Pillow does not have: asking it would take what the limit is there to spare.
OWN_LIMITS = ("too many scans", "too much memory")


@dataclass(frozen=True, slots=True)
class Verdict:
    """One image: the answer, and in words what differs or why one side has no pixels."""

    key: str
    answer: Answer
    detail: str = ""


def pillow_pixels(data: bytes, mode: ModeName = "RGB") -> Image.Image:
    """What Pillow makes of one file, by its public calls alone: open, upright, convert; raises what Pillow raises."""
    from PIL import ExifTags, Image

    # Written out again on purpose: a referee that shared the decoder's own table would share its mistakes.
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    # Not catch_warnings: that is one for all threads, and Penstock's own are decoding with Pillow meanwhile.
    with recorded_warnings(), Image.open(io.BytesIO(data)) as image:
        image.load()
        try:
            turn = turns.get(image.getexif().get(ExifTags.Base.Orientation, 1))
        except Exception:  # noqa: BLE001 - a broken EXIF block never fails an image; exif_transpose would
            turn = None
        return (image if turn is None else image.transpose(turn)).convert(mode)


def verify(
    line: Pipeline,
    root: str | os.PathLike[str],
    height: int,
    width: int,
    filter: FilterName = "bilinear",
    mode: ModeName = "RGB",
) -> Iterator[Verdict]:
    """One verdict for each item of a folder's line, in order; ``root`` is that folder.

    Both of Penstock's answers come out of running lines, not of a look at the single file.
    """
    base = Path(root)
    decoded = line.decode(mode=mode)
    resized = decoded.resize(height, width, filter=filter)
    with decoded.run(on_failure="blank") as whole, resized.run(on_failure="blank") as small:
        for row, reduced in zip(whole, small, strict=True):
            yield _verdict(row, reduced, base / row.key, (width, height), filter, mode)


def _verdict(row: Any, reduced: Any, path: Path, size: tuple[int, int], filter: FilterName, mode: ModeName) -> Verdict:
    from PIL import Image

    failure: Failure | None = row.failure or reduced.failure
    if failure is not None and failure.cause in OWN_LIMITS:
        return Verdict(row.key, "limit", failure.message)
    try:
        picture = pillow_pixels(path.read_bytes(), mode)
    except Exception as error:  # noqa: BLE001 - whatever Pillow raises is its answer
        refusal = f"{type(error).__name__}: {error}"
        if failure is not None:
            return Verdict(row.key, "neither", failure.message)
        return Verdict(row.key, "only Penstock", f"Pillow: {refusal}")
    if failure is not None:
        return Verdict(row.key, "only Pillow", failure.message)
    wrong = _difference("decoded", row.image, _pixels(picture))
    if not wrong:
        expected = _pixels(picture.resize(size, Image.Resampling[filter.upper()]))
        wrong = _difference("resized", reduced.image, expected)
    return Verdict(row.key, "differs" if wrong else "identical", wrong)


def _pixels(picture: Image.Image) -> npt.NDArray[Any]:
    """uint8 [H, W, C]; Pillow leaves the one channel of a grey picture out."""
    pixels = np.asarray(picture)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def _difference(what: str, found: npt.NDArray[Any], expected: npt.NDArray[Any]) -> str:
    """Empty where both are equal, else how they differ in words."""
    if found.shape != expected.shape:
        return f"{what}: expected shape {list(expected.shape)}, found {list(found.shape)}"
    if np.array_equal(found, expected):
        return ""
    apart = np.abs(found.astype(np.int16) - expected.astype(np.int16))
    share = np.count_nonzero(apart.any(axis=2)) / (apart.shape[0] * apart.shape[1])
    return f"{what}: {share:.2%} of the pixels differ, by up to {apart.max()}"
