"""Twelve small photographs to pack, and what a packing of them holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import penstock as ps
from penstock.read import read_item
from penstock.sources.tar_index import SUFFIX
from run_lines import encoded


def jpeg(seed: int, height: int = 20, width: int = 24, kind: str = "JPEG", **options: object) -> bytes:
    """Noise, encoded."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return encoded(noise, kind, **options)


def write_photos(folder: Path) -> Path:
    """Twelve pictures in three folders, two of which have files of the same names."""
    for number in range(12):
        path = folder / ("cat", "dog", "emu")[number % 3] / f"{number // 3}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(number))
    return folder


def packed_bytes(folder: Path) -> dict[str, bytes]:
    """Every file of a packing but the indices, which name the times of their shards."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if not path.name.endswith(SUFFIX)}


def contents(source: ps.Source) -> dict[str, bytes]:
    """The bytes of every item, by key."""
    return {source.key(index): read_item(source, index) for index in range(len(source))}
