"""Penstock's lines whose cost the figures ask for, each held by a loader; every batch is looked at."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

import penstock as ps
from penstock import _native
from penstock.bench.task import Lap, Task
from penstock.errors import PenstockError

QUALITY = 95
PATCH = 14
SMALL_CROP = 96
TENTH = (0.1, 0.1)

# openai/clip-vit-base-patch32's preprocessor_config.json.
CLIP: dict[str, Any] = {
    "image_processor_type": "CLIPImageProcessor",
    "crop_size": {"height": 224, "width": 224},
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
    "size": {"shortest_edge": 224},
}


def fast(task: Task) -> Lap:
    """The ordinary task in fast mode."""
    return held(fast_line(task), task)


def tenth(task: Task) -> Lap:
    """A tenth of the area, anywhere, in exact mode."""
    line = ps.files(task.paths).decode().random_resized_crop(task.height, task.width, scale=TENTH)
    return held(line.normalize(ps.IMAGENET).batch(task.batch, layout="NCHW"), task)


def crop_and_flip(task: Task) -> Lap:
    """What training does, with random_resized_crop's own settings."""
    line = ps.files(task.paths).decode().random_resized_crop(task.height, task.width).random_horizontal_flip()
    return held(line.normalize(ps.IMAGENET).batch(task.batch, layout="NCHW"), task)


def views(task: Task) -> Lap:
    """Two large and eight small crops of each picture, from one decode."""
    large, small = _multi_crop(task)
    made = _files(task).views(large=(large, 2), small=(small, 8)).batch(task.batch, layout="NCHW")
    return held(made, task, shape=(2, 3, task.height, task.width))


def views_apart(task: Task) -> Lap:
    """The same crops by ten lines, each of which decodes for itself."""
    large, small = (_files(task).apply(own).batch(task.batch, layout="NCHW") for own in _multi_crop(task))
    laps = [held(large, task)] * 2 + [held(small, task, shape=(3, SMALL_CROP, SMALL_CROP))] * 8

    def lap() -> dict[str, float]:
        return [one() for one in laps][-1]

    return lap


def _files(task: Task) -> ps.Pipeline:
    return ps.files(task.paths).decode()


def _multi_crop(task: Task) -> tuple[ps.Recipe, ps.Recipe]:
    """DINO's crops: large ones of 40 to 100 % of the picture, small ones of 5 to 40 %."""
    large = ps.recipe().random_resized_crop(task.height, task.width, scale=(0.4, 1.0))
    small = ps.recipe().random_resized_crop(SMALL_CROP, SMALL_CROP, scale=(0.05, 0.4))
    flipped, also = (own.random_horizontal_flip().normalize(ps.IMAGENET) for own in (large, small))
    return flipped, also


def whole_and_flip(task: Task) -> Lap:
    """The same verbs, set to take the whole of pictures of one aspect: no pixel less to decode than fill."""
    return held(whole_and_flip_line(task), task)


def augment(task: Task) -> Lap:
    """Crop, flip, rand_augment, normalise."""
    line = ps.files(task.paths).decode().random_resized_crop(task.height, task.width).random_horizontal_flip()
    return held(line.rand_augment().normalize(ps.IMAGENET).batch(task.batch, layout="NCHW"), task)


def clip(task: Task) -> Lap:
    """The recipe of CLIP's own file."""
    return held(clip_line(task), task)


def roundtrip(task: Task) -> Lap:
    """Arrays to JPEG and back, into batches."""
    return held(roundtrip_line(task), task, np.uint8, (task.height, task.width, 3))


def bare_roundtrip(task: Task) -> Lap:
    """libjpeg-turbo called directly, on as many native threads, with the same arrays; keeps nothing."""
    images = pictures(task)

    def lap() -> dict[str, float]:
        if _native.bare_roundtrip(images, QUALITY, task.threads) < 0:
            raise PenstockError("bench of bare roundtrip: expected pictures that libjpeg-turbo encodes, found others.")
        return {"images": float(len(images))}

    return lap


def patches(task: Task) -> Lap:
    """Bicubic, SigLIP's statistics, cut into patches."""
    grid = (task.height // PATCH) * (task.width // PATCH)
    return held(whole_line(task).patchify(PATCH).batch(task.batch), task, shape=(grid, PATCH * PATCH * 3))


def whole(task: Task) -> Lap:
    """The same, not cut."""
    return held(whole_line(task).batch(task.batch), task, shape=(task.height, task.width, 3))


def fast_line(task: Task) -> ps.Pipeline:
    line = ps.files(task.paths).decode(fidelity="fast").resize(task.height, task.width, filter=task.filter)
    return line.normalize(ps.IMAGENET).batch(task.batch, layout="NCHW")


def whole_and_flip_line(task: Task) -> ps.Pipeline:
    with Image.open(task.paths[0]) as image:
        aspect = image.width / image.height
    line = ps.files(task.paths).decode()
    line = line.random_resized_crop(task.height, task.width, scale=(1, 1), ratio=(aspect, aspect))
    return line.random_horizontal_flip().normalize(ps.IMAGENET).batch(task.batch, layout="NCHW")


def clip_line(task: Task) -> ps.Pipeline:
    return ps.files(task.paths).apply(ps.from_hf(CLIP)).batch(task.batch, layout="NCHW")


def roundtrip_line(task: Task) -> ps.Pipeline:
    # The crop takes all there is: it says the size, which a batch has to know.
    line = ps.arrays(pictures(task)).center_crop(task.height, task.width)
    return line.jpeg_roundtrip(QUALITY).batch(task.batch)


def whole_line(task: Task) -> ps.Pipeline:
    line = ps.files(task.paths).decode().resize(task.height, task.width, filter="bicubic")
    return line.normalize(ps.SIGNED)


def pictures(task: Task) -> list[npt.NDArray[np.uint8]]:
    """The task's files as arrays; a file that is named twice is one array."""
    decoded: dict[str, npt.NDArray[np.uint8]] = {}
    for path in set(task.paths):
        with Image.open(path) as image:
            decoded[path] = np.asarray(image.convert("RGB"))
    return [decoded[path] for path in task.paths]


def as_listed(task: Task) -> Lap:
    """The ordinary task, in the order of the list."""
    return held(_ordinary(ps.files(task.paths), task), task)


def shuffled(task: Task) -> Lap:
    """The same, in another permutation each lap."""
    return held(_ordinary(ps.files(task.paths).shuffle(), task), task)


def window_shuffled(task: Task) -> Lap:
    """The same, shuffled in windows of 64."""
    return held(_ordinary(ps.files(task.paths).shuffle(window=64), task), task)


def arrays(task: Task) -> Lap:
    """Pictures in memory, resized and normalised."""
    return held(_normalized(_in_memory(task), task), task)


def mapped(task: Task) -> Lap:
    """The same with a function that changes nothing between resize and normalize."""
    return held(_normalized(_in_memory(task).map(_identity, geometry="keep", version="1"), task), task)


def pixels(task: Task) -> Lap:
    """Resized uint8 pictures as they are."""
    return held(_in_memory(task).batch(task.batch), task, np.uint8, (task.height, task.width, 3))


def pixels_mapped(task: Task) -> Lap:
    """The same with a function that changes nothing at the end."""
    line = _in_memory(task).map(_identity, geometry="keep", version="1")
    return held(line.batch(task.batch), task, np.uint8, (task.height, task.width, 3))


def _in_memory(task: Task) -> ps.Pipeline:
    return ps.arrays(pictures(task)).resize(task.height, task.width)


def _normalized(line: ps.Pipeline, task: Task) -> ps.Pipeline:
    return line.normalize(ps.IMAGENET).batch(task.batch, layout="NCHW")


def _identity(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return image


def _ordinary(line: ps.Pipeline, task: Task) -> ps.Pipeline:
    return line.decode().resize(task.height, task.width).normalize(ps.IMAGENET).batch(task.batch, layout="NCHW")


def held(line: ps.Pipeline, task: Task, dtype: Any = np.float32, shape: tuple[int, ...] | None = None) -> Lap:
    """A loader's epochs as laps; a lap raises PenstockError where a batch is not of that dtype and shape."""
    expected = (np.dtype(dtype), (3, task.height, task.width) if shape is None else shape)
    loader = line.loader(threads=task.threads)

    def lap() -> dict[str, float]:
        images = 0
        for batch in loader:
            found = (batch.images.dtype, batch.images.shape[1:])
            if found != expected:
                raise PenstockError(f"bench: expected {expected[0]} {expected[1]}, found {found[0]} {found[1]}.")
            images += len(batch)
        return {"images": float(images)}

    return lap
