"""Files whose numbers mean something else than colours: label maps, and arrays in .npz and .npy files."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.decode.options import Decode
from penstock.decode.party import DecodeError, opened
from penstock.follow import turned

__all__ = ["decode_labels", "decode_npz"]

LIMITS = Decode()


def decode_labels(data: bytes) -> npt.NDArray[Any]:
    """A label map as [H, W], upright: palette indices, grey levels or bits as stored, never colours.

    uint8, or uint16 and int32 where the file is deeper. Raises DecodeError, also for pictures of several channels.

    >>> import io
    >>> from PIL import Image
    >>> indices = Image.fromarray(np.array([[0, 3]], np.uint8)).convert("P")
    >>> file = io.BytesIO()
    >>> indices.save(file, "png")
    >>> decode_labels(file.getvalue())
    array([[0, 3]], dtype=uint8)
    """
    with opened(data, LIMITS) as (image, orientation):
        if image.width * image.height > LIMITS.max_pixels:
            raise DecodeError(
                "too many pixels", f"expected at most {LIMITS.max_pixels} pixels, found {image.height} x {image.width}"
            )
        if len(image.getbands()) != 1:
            raise DecodeError(
                "not labels", f"expected a label map of one channel, found a picture of mode {image.mode!r}"
            )
        values = np.array(image)
    if values.dtype == np.bool_:
        values = values.astype(np.uint8)
    if values.dtype.byteorder == ">":
        values = values.astype(values.dtype.newbyteorder("="))
    return np.ascontiguousarray(turned(values, orientation))


def decode_npz(data: bytes) -> npt.NDArray[Any]:
    """The first array of an .npz file, or the one of an .npy file: [H, W] or [H, W, ...]; nothing is unpickled.

    Raises DecodeError for anything else.
    """
    try:
        found = np.load(io.BytesIO(data), allow_pickle=False)
        values = found if isinstance(found, np.ndarray) else found[found.files[0]]
    except Exception as error:
        raise DecodeError("broken data", f"expected an array in an .npz or .npy file, found: {error}") from None
    if not isinstance(values, np.ndarray) or values.ndim < 2:
        raise DecodeError("not an image", "expected an array of at least two axes, found another shape")
    return values
