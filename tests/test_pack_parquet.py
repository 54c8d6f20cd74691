"""Packing to Parquet, and every kind of source packed to either format: read back whole, by others too."""

from __future__ import annotations

import json

import numpy as np
import pytest

import penstock as ps
from packings import contents, jpeg, write_photos


@pytest.fixture
def photos(tmp_path):
    return write_photos(tmp_path / "photos")


@pytest.fixture
def table(photos, tmp_path):
    path = tmp_path / "table.jsonl"
    rows = [
        {
            "file": f"photos/dog/{n}.jpg",
            "kind": "ba"[n % 2],
            "n": n or None,
            "mixed": n if n % 2 else "x",
            "key": n,
        }
        for n in range(4)
    ]
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    return ps.jsonl(path, images="file", label="kind")


def test_parquet_reads_back(photos, table, tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    packed = ps.pack(table, tmp_path / "out", to="parquet")
    found = pq.read_table(packed.shards[0])
    assert found.column_names == ["image", "label", "key", "n", "mixed", "key_"]
    assert found.column("image")[0].as_py() == {
        "bytes": (photos / "dog" / "0.jpg").read_bytes(),
        "path": "photos/dog/0.jpg",
    }
    assert found.column("n").to_pylist() == [None, 1, 2, 3] and found.column("mixed").to_pylist() == [
        '"x"',
        "1",
        '"x"',
        "3",
    ]
    again = ps.parquet(tmp_path / "out", label="label", key="key")
    assert again.classes == ("a", "b") and again.source.labels(np.arange(4)).tolist() == [1, 0, 1, 0]
    assert contents(again.source) == contents(table.source)


def test_datasets_reads_it(table, tmp_path):
    datasets = pytest.importorskip("datasets")
    packed = ps.pack(table, tmp_path / "out", to="parquet")
    found = datasets.load_dataset("parquet", data_files=list(packed.shards), cache_dir=str(tmp_path / "hf"))["train"]
    assert isinstance(found.features["image"], datasets.Image)
    assert found.features["label"].names == ["a", "b"]
    assert found[0]["image"].size == (24, 20) and found[1]["label"] == 0
    line = ps.hf(found, key="key")
    tars = ps.pack(line, tmp_path / "tars")
    assert list(contents(ps.tar(tars.shards).source).values()) == list(contents(table.source).values())
    ps.pack(line, tmp_path / "back", to="parquet")
    back = ps.parquet(tmp_path / "back", label="label", key="key")
    assert back.classes == ("a", "b") and contents(back.source) == contents(line.source)


@pytest.mark.parametrize("to", ["tar", "parquet"])
def test_every_kind_of_source(photos, tmp_path, to):
    pytest.importorskip("pyarrow")
    (tmp_path / "table.csv").write_text("image,label,caption\nphotos/cat/0.jpg,b,one\nphotos/cat/1.jpg,a,two\n")
    first = ps.pack(ps.folder(photos), tmp_path / "tar")
    ps.pack(ps.folder(photos), tmp_path / "parquet", to="parquet")
    lines = {
        "csv": ps.csv(tmp_path / "table.csv", label="label"),
        "tar": ps.tar(first.shards),
        "parquet": ps.parquet(tmp_path / "parquet", label="label", key="key"),
        "blobs": ps.blobs({"a": jpeg(0), "b.png": jpeg(1, kind="PNG")}, labels=[3, 1]),
        "files": ps.files([photos / "cat" / "0.jpg"]),
        "joined": ps.concat(ps.folder(photos), ps.tar(first.shards)),
    }
    for name, line in lines.items():
        packed = ps.pack(line, tmp_path / f"{name}-{to}", to=to)
        assert packed.items == len(line), (name, packed)
        labelled = {"label": "label"} if line.source.has_labels else {}
        again = ps.tar(packed.shards) if to == "tar" else ps.parquet(packed.shards, key="key", **labelled)
        assert (
            list(contents(again.source).values())[: len(line)] == list(contents(line.source).values())
            or name == "joined"
        )
        everything = np.arange(len(line))
        assert again.source.labels(everything).tolist() == line.source.labels(everything).tolist(), name
        assert again.classes == line.classes, name
