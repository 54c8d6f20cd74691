"""Tars of pictures: what reads them in laps, here and in webdataset, and what lists them."""

from __future__ import annotations

import io
import os
import random
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from lines import held
from others import passes

import penstock as ps
from penstock.bench.task import Lap, Task
from penstock.sources.tar_index import load_indices
from penstock.transform.normalize import IMAGENET


def write(path: Path, files: list[str]) -> None:
    """A tar of these files with a class beside each, as webdataset writes one."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for number, file in enumerate(files):
            for name, data in ((f"{number:06d}.jpg", Path(file).read_bytes()), (f"{number:06d}.cls", b"%d" % number)):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))


def tar(task: Task) -> Lap:
    """The ordinary task on the tars that ``task.paths`` names."""
    line = ps.tar(list(task.paths)).decode().resize(task.height, task.width, filter=task.filter)
    return held(line.normalize(ps.IMAGENET).batch(task.batch, layout="NCHW"), task)


def webdataset_workers(task: Task) -> Lap:
    """webdataset's own decoding by Pillow, in ``task.threads`` worker processes of torch's DataLoader."""
    import torch
    import webdataset
    from PIL import Image

    mean, std = (np.float32(value).reshape(3, 1, 1) for value in (IMAGENET.mean, IMAGENET.std))

    def pixels(image: Image.Image) -> npt.NDArray[np.float32]:
        resized = image.resize((task.width, task.height), Image.Resampling.BILINEAR)
        planes = np.asarray(resized, dtype=np.float32).transpose(2, 0, 1) / np.float32(255)
        return np.ascontiguousarray((planes - mean) / std)

    def stacked(samples: list[tuple[Any, ...]]) -> Any:
        return torch.from_numpy(np.stack([sample[0] for sample in samples]))

    dataset = (
        webdataset.WebDataset(list(task.paths), shardshuffle=False).decode("pil").to_tuple("jpg").map_tuple(pixels)
    )
    loader = torch.utils.data.DataLoader(
        dataset.batched(task.batch, collation_fn=stacked),
        batch_size=None,
        num_workers=task.threads,
        persistent_workers=True,
    )
    return passes(lambda: iter(loader), task)


@contextmanager
def gigabyte() -> Iterator[Path]:
    """A tar of 1 GB, members of 10 to 100 kB with a class beside each; gone afterwards."""
    draws = random.Random(0)
    folder = Path(tempfile.mkdtemp(prefix="penstock-bench-"))
    try:
        with tarfile.open(folder / "gigabyte.tar", "w", format=tarfile.GNU_FORMAT) as archive:
            number = 0
            while archive.offset < 1_000_000_000:
                for extension, size in (("jpg", draws.randrange(10_000, 100_000)), ("cls", 2)):
                    info = tarfile.TarInfo(f"{number:06d}.{extension}")
                    info.size = size
                    archive.addfile(info, io.BytesIO(b"7" * size))
                number += 1
        yield folder / "gigabyte.tar"
    finally:
        shutil.rmtree(folder)


def listing_against_tar(path: Path, rounds: int) -> list[tuple[float, float]]:
    """Seconds of ``tar -t`` and of building and keeping the index, round by round."""
    found = []
    for _ in range(rounds):
        begun = time.perf_counter()
        subprocess.run(["tar", "-tf", path], stdout=subprocess.DEVNULL, check=True)
        between = time.perf_counter()
        load_indices("bench", [os.fsencode(path)], tempfile.mkdtemp(dir=path.parent))
        found.append((between - begun, time.perf_counter() - between))
    return found
