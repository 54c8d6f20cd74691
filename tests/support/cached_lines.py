"""Pictures that are old enough for a cache to trust, and all that a run over them hands over."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
from PIL import Image

OLD_NS = 1_000_000_000 * 10**9
SIDES = [(60, 80), (33, 90), (128, 96), (41, 41)]


def aged(path: Path, ns: int = OLD_NS) -> None:
    """A file that was written long ago."""
    os.utime(path, ns=(ns, ns))


def settle() -> None:
    """The times of what was just written become times that a cache trusts."""
    time.sleep(0.06)


def photo(path: Path, seed: int, size: tuple[int, int] = (60, 80), **options: object) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)
    aged(path)


def write_pictures(root: Path) -> Path:
    """Two classes; JPEG, PNG, WebP and BMP (Pillow's), one turned, one 16 bit, one damaged and one broken file."""
    for number in range(14):
        folder = root / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        kind = ["jpg", "png", "webp", "bmp"][number % 4]
        photo(folder / f"{number:02}.{kind}", number, SIDES[number % 3])
    exif = Image.Exif()
    exif[274] = 6
    photo(root / "a" / "turned.jpg", 20, (40, 70), exif=exif)
    Image.fromarray(np.full((30, 30, 4), 99, np.uint8)).save(root / "a" / "clear.png")
    Image.fromarray(np.arange(900, dtype=np.uint16).reshape(30, 30)).save(root / "a" / "grey.png")
    whole = (root / "a" / "turned.jpg").read_bytes()
    (root / "b" / "damaged.jpg").write_bytes(whole[:-300] + b"\xff\xd9")
    (root / "b" / "broken.jpg").write_bytes(b"no picture")
    for path in root.rglob("*.*"):
        aged(path)
    settle()
    return root


def everything(line, **options):
    """All that a run hands over, and its run."""
    found = []
    with line.run(**{"on_failure": "blank", **options}) as run:
        for batch in run:
            images = batch.images
            found.append(
                {
                    "images": [np.array(image) for image in images],
                    "labels": batch.labels,
                    "valid": batch.valid,
                    "damaged": batch.damaged,
                    "matrices": batch.geometry.matrices,
                    "keys": list(batch.keys),
                    "index": batch.index,
                    "failures": [failure.message for failure in batch.failures],
                    "targets": {
                        kind: [np.asarray(row).tolist() for row in rows] for kind, rows in batch.targets.items()
                    },
                    "companions": {name: [np.array(row) for row in rows] for name, rows in batch.companions.items()},
                }
            )
    told = dict(run.notes), sorted(damage.message for damage in run.damaged), sorted(run.failures.by_cause().items())
    return found, told, run


def assert_same(one, other) -> None:
    assert one[1] == other[1]
    assert len(one[0]) == len(other[0])
    for first, second in zip(one[0], other[0], strict=True):
        for name, value in first.items():
            np.testing.assert_equal(second[name], value, err_msg=name)
