"""Pixels that must never change: small files, kept byte for byte, and hashes of what lines make of them.

golden/pixels.json has the files (base64) and, for each chain, the SHA-256 of shape, dtype and values. It changes only
with a decision note, since a change means that stored features, caches and trained models no longer match.
``python tests/test_golden_pixels.py`` writes the hashes anew from the files that are there.
"""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import penstock as ps
from penstock._reference.resample import installed_order

GOLDEN = Path(__file__).parent / "golden" / "pixels.json"

CHAINS: dict[str, ps.Recipe] = {
    "decode": ps.recipe().decode(),
    "fill": ps.recipe().decode().resize(16, 24),
    "cover lanczos": ps.recipe().decode().resize(20, 20, fit="cover", filter="lanczos"),
    "larger bicubic": ps.recipe().decode().resize(61, 70, filter="bicubic"),
    "nearest": ps.recipe().decode().resize(13, 9, filter="nearest"),
    "box": ps.recipe().decode().resize(11, 17, filter="box"),
    "hamming": ps.recipe().decode().resize(19, 15, filter="hamming"),
    "evaluation": ps.recipe().decode().resize(short_side=20).center_crop(17, 16).normalize(ps.IMAGENET),
    "training": ps.recipe().decode().random_resized_crop(14, 14).random_horizontal_flip().normalize(ps.CLIP),
}


@cache
def golden() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(GOLDEN.read_text())
    return found


@cache
def files() -> dict[str, bytes]:
    return {name: base64.b64decode(text) for name, text in golden()["files"].items()}


def expected(chain: str) -> dict[str, str]:
    """The hashes of a chain, under the pass order of the Pillow that is installed."""
    hashes: dict[str, str] = golden()["pixels"][chain]
    if installed_order() == "adaptive":
        return hashes
    return {**hashes, **golden()["pixels, horizontal pass first"].get(chain, {})}


def fingerprint(image: Any) -> str:
    little = np.ascontiguousarray(image, dtype=image.dtype.newbyteorder("<"))
    return hashlib.sha256(f"{image.dtype.name} {list(image.shape)}\n".encode() + little.tobytes()).hexdigest()


def hashes(engine: Any) -> dict[str, dict[str, str]]:
    """For each chain, each file's hash: rows of an epoch of a seeded line, so that index and epoch count as well."""
    made = {}
    for chain, recipe in CHAINS.items():
        with ps.blobs(files()).seed(42).apply(recipe).run(engine=engine, epoch=3) as run:
            made[chain] = {row.key: fingerprint(row.image) for row in run}
    return made


@pytest.mark.parametrize("engine", ["native", "reference"])
@pytest.mark.parametrize("chain", CHAINS)
def test_pixels_are_golden(engine: Any, chain: str) -> None:
    with ps.blobs(files()).seed(42).apply(CHAINS[chain]).run(engine=engine, epoch=3) as run:
        found = {row.key: fingerprint(row.image) for row in run}
    assert found == expected(chain)


def test_golden_hashes_tell_pictures_and_chains_apart() -> None:
    every = [value for chain in golden()["pixels"].values() for value in chain.values()]
    assert len(set(every)) == len(every) == len(CHAINS) * len(files())
    assert set(golden()["pixels"]) == set(CHAINS)


def test_layouts_and_batches_do_not_change_pixels() -> None:
    for chain, recipe in CHAINS.items():
        if chain == "decode":
            continue
        for layout in ("NHWC", "NCHW"):
            line = ps.blobs(files()).seed(42).apply(recipe).batch(3, layout=layout)  # type: ignore[arg-type]
            with line.run(epoch=3) as run:
                for batch in run:
                    for row in batch:
                        image = row.image if layout == "NHWC" else row.image.transpose(1, 2, 0)
                        assert fingerprint(image) == expected(chain)[row.key]


if __name__ == "__main__":
    written = {"files": golden()["files"], "pixels": hashes("reference")}
    GOLDEN.write_text(json.dumps(written, indent=1) + "\n")
