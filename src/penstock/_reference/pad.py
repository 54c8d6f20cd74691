"""Images of different sizes in one batch: the twin of the native ``pad_images``."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def pad_images(images: Sequence[NDArray[Any] | None], out: NDArray[Any]) -> None:
    """Copies each image into the corner [0, 0, 0] of its row of ``out``; zeros everywhere else."""
    out[...] = np.zeros((), out.dtype)
    for row, image in zip(out, images, strict=True):
        if image is not None:
            row[: image.shape[0], : image.shape[1], : image.shape[2]] = image
