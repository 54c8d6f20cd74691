"""The same few pictures, some of them broken, in every kind of source, with masks, boxes and numbers beside them."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import penstock as ps
from failing_lines import damaged
from run_lines import encoded, pixels
from tars import tar_bytes

COUNT = 13
BROKEN, SMALL, DAMAGED = (3, 9), (5,), 7
NO_MASK, WRONG_MASK, NO_BOX = 2, 8, 11


@cache
def size_of(number: int) -> tuple[int, int]:
    return (96, 96) if number == DAMAGED else (9, 9) if number in SMALL else (40 + number, 36 + number % 4)


@cache
def picture(number: int) -> bytes:
    if number == DAMAGED:
        return damaged()
    if number in BROKEN:
        return b"no image"
    return encoded(pixels(*size_of(number), number), ("JPEG", "PNG", "WEBP", "BMP")[number % 4])


@cache
def mask_values(number: int) -> Any:
    height, width = size_of(number)
    height += number == WRONG_MASK
    return np.random.default_rng(number).integers(0, 20, (height, width), dtype=np.uint8)


def mask(number: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(mask_values(number)).save(file, "PNG")
    return file.getvalue()


def boxes(number: int) -> Any:
    return "no box" if number == NO_BOX else [[1, 2, 8 + number, 9], [0, 0, 3, 4]][: number % 3]


def ids(number: int) -> list[int]:
    return list(range(number % 5))


def array(number: int) -> Any:
    return pixels(*size_of(number), number)


def write(root: Path) -> None:
    """Everything that sources over ``root`` need."""
    members = []
    for number in range(COUNT):
        name = f"{number:02d}"
        for folder in ("photos/a", "photos/b", "mask"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        (root / "photos" / "ab"[number % 2] / f"{name}.jpg").write_bytes(picture(number))
        if number != NO_MASK:
            (root / "mask" / f"{name}.png").write_bytes(mask(number))
        said = {"boxes": boxes(number), "ids": ids(number)}
        members += [(f"{name}.jpg", picture(number)), (f"{name}.json", json.dumps(said).encode())]
        members += [(f"{name}.cls", b"%d" % (number % 3))]
        if number != NO_MASK:
            values = io.BytesIO()
            np.save(values, mask_values(number))
            members.append((f"{name}.npy", values.getvalue()))
    (root / "shard.tar").write_bytes(tar_bytes(members))
    rows = []
    for number in range(COUNT):
        path = f"photos/{'ab'[number % 2]}/{number:02d}.jpg"
        rows.append({"image": path, "label": number % 3, "boxes": boxes(number), "ids": ids(number)})
    (root / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    several = [{**row, "images": [other["image"] for other in rows[n : n + n % 4]]} for n, row in enumerate(rows)]
    (root / "several.jsonl").write_text("".join(json.dumps(row) + "\n" for row in several))
    with open(root / "rows.csv", "w", newline="") as file:
        table = csv.DictWriter(file, ["image", "label", "weight"])
        table.writeheader()
        table.writerows({"image": row["image"], "label": row["label"], "weight": row["label"]} for row in rows)


def columns() -> dict[str, list[Any]]:
    """A table of the pictures."""
    sound = [[] if number == NO_BOX else boxes(number) for number in range(COUNT)]
    return {
        "image": [picture(number) for number in range(COUNT)],
        "label": [number % 3 for number in range(COUNT)],
        "boxes": [[[float(side) for side in box] for box in row] for row in sound],
        "ids": [ids(number) for number in range(COUNT)],
        "mask": [None if number == NO_MASK else mask(number) for number in range(COUNT)],
        "weight": [float(number % 4) for number in range(COUNT)],
    }


def parquet(root: Path) -> ps.Pipeline:
    path = root / "rows.parquet"
    if not path.exists():
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table(columns()), path, row_group_size=4)
    return ps.parquet(path, image="image", label="label", cache_bytes=1)


def hf(_: Path) -> ps.Pipeline:
    import datasets

    return ps.hf(datasets.Dataset.from_dict(columns()), image="image", label="label")


def labels() -> list[int]:
    return [number % 3 for number in range(COUNT)]


def files(root: Path) -> ps.Pipeline:
    paths = [root / "photos" / "ab"[number % 2] / f"{number:02d}.jpg" for number in range(COUNT)]
    return ps.files([*paths[:-1], root / "nowhere.jpg"], labels=labels())


SOURCES: dict[str, Callable[[Path], ps.Pipeline]] = {
    "folder": lambda root: ps.folder(root / "photos"),
    "files": files,
    "blobs": lambda _: ps.blobs([picture(number) for number in range(COUNT)], labels=labels()),
    "arrays": lambda _: ps.arrays([array(number) for number in range(COUNT)], labels=labels()),
    "tar": lambda root: ps.tar(root / "shard.tar"),
    "parquet": parquet,
    "hf": hf,
    "csv": lambda root: ps.csv(root / "rows.csv", label="label"),
    "jsonl": lambda root: ps.jsonl(root / "rows.jsonl", images="image", label="label"),
    "several": lambda root: ps.jsonl(root / "several.jsonl", label="label"),
    "concat": lambda root: ps.concat(ps.tar(root / "shard.tar"), files(root)),
    "mix": lambda root: ps.mix(
        {"tar": (ps.tar(root / "shard.tar").shuffle(), 2), "rows": (SOURCES["jsonl"](root), 1)}, stop="longest"
    ),
    "concat of several": lambda root: ps.concat(SOURCES["several"](root), ps.tar(root / "shard.tar")),
}
"""A line over each kind of source, from the folder that ``write`` was given."""

BOXES = {"tar": "json.boxes", "jsonl": "boxes", "parquet": "boxes", "hf": "boxes", "concat": "json.boxes"}
MASKS = {"tar": "npy", "parquet": "mask", "hf": "mask"}


def chance(draws: random.Random, share: float) -> bool:
    return draws.random() < share
