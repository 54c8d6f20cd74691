"""What packing is asked: sizes in words; options, lines and folders that it refuses, in sentences."""

from __future__ import annotations

import sys
from fractions import Fraction

import numpy as np
import pytest

import penstock as ps
from packings import packed_bytes, write_photos
from penstock.packing.plan import byte_count


@pytest.fixture
def photos(tmp_path):
    return write_photos(tmp_path / "photos")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"shard_bytes": "many"}, "expected a number of bytes such as"),
        ({"shard_bytes": 5}, "expected a whole number of at least 1024 of bytes"),
        ({"quality": 0, "max_side": 5}, "expected a whole number from 1 to 100"),
        ({"quality": 80}, "expected max_side=, or a line that decodes"),
        ({"max_side": 0}, "expected a whole number from 1"),
        ({"to": "zip"}, "expected 'tar' or 'parquet'"),
        ({"on_failure": "blank"}, "expected 'skip' or 'raise'"),
        ({"threads": 0}, "expected a whole number from 1"),
        ({"shuffle": -1}, "expected a whole number from 0"),
        ({"max_failures": Fraction(3, 2)}, "expected a Fraction from 0 to 1"),
    ],
)
def test_options_that_cannot_be(tmp_path, options, sentence):
    with pytest.raises(ps.PlanError, match=sentence):
        ps.pack(ps.files(["gone.jpg"]), tmp_path / "out", **options)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda line: line.decode().resize(8, 8).batch(2), "without batch"),
        (lambda line: line.decode().random_horizontal_flip(), "a random step"),
        (lambda line: line.decode().resize(8, 8).normalize(ps.UNIT), "ends in uint8 images"),
        (lambda line: line.decode(mode="RGBA"), "ends in uint8 images"),
        (lambda line: line.decode().companion(mask="{stem}.png"), "without companions"),
        (lambda line: line.decode().map(lambda item: None, on="item", version="1"), "changes items"),
        (lambda line: line.balance("label"), "each item once"),
        (lambda line: ps.arrays([np.zeros((4, 4, 3), np.uint8)]), "found arrays"),
        (lambda line: "photos", "expected a line such as"),
    ],
)
def test_lines_that_cannot_be_packed(tmp_path, make, sentence):
    line = ps.files(["a.jpg", "b.jpg"], labels=["x", "y"])
    with pytest.raises(ps.PlanError, match=sentence):
        ps.pack(make(line), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_packing_is_refused(photos, tmp_path):
    line = ps.folder(photos)
    ps.pack(line, tmp_path / "out", shard_bytes=10_240)
    before = packed_bytes(tmp_path / "out")
    for options, word in [
        ({"shard_bytes": 20_480}, "shard_bytes=20480, found one with shard_bytes=10240"),
        ({"shard_bytes": 10_240, "max_side": 8}, "max_side=8, found one with max_side=None"),
        ({"shard_bytes": 10_240, "shuffle": 1}, "order="),
    ]:
        with pytest.raises(ps.PlanError, match=word):
            ps.pack(line, tmp_path / "out", **options)
    with pytest.raises(ps.PlanError, match="of this source"):
        ps.pack(ps.folder(photos / "cat"), tmp_path / "out", shard_bytes=10_240)
    assert packed_bytes(tmp_path / "out") == before


def test_a_folder_of_something_else_is_refused(photos, tmp_path):
    with pytest.raises(ps.PlanError, match=r"an empty folder, or a packing to go on with, found 'cat'"):
        ps.pack(ps.folder(photos), photos)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ps.PlanError, match="expected a folder to write to"):
        ps.pack(ps.folder(photos), tmp_path / "file")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "manifest.json").write_text("{}")
    with pytest.raises(ps.PlanError, match="expected the manifest of a packing"):
        ps.pack(ps.folder(photos), tmp_path / "out")


def test_two_at_once_are_refused(photos, tmp_path):
    pytest.importorskip("fcntl")

    def meanwhile(done: int, items: int) -> None:
        with pytest.raises(ps.PlanError, match="another process that packs into it"):
            ps.pack(ps.folder(photos), tmp_path / "out")

    ps.pack(ps.folder(photos), tmp_path / "out", on_progress=meanwhile)


def test_without_pyarrow_parquet_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ps.PlanError, match="expected the package pyarrow, found none"):
        ps.pack(ps.files(["a.jpg"]), tmp_path / "out", to="parquet")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "count"), [("1GB", 10**9), ("2G", 2 * 10**9), ("2 MiB", 2 << 20), ("4096", 4096), ("1.5kB", 1500)]
)
def test_sizes_as_people_write_them(text, count):
    assert byte_count("shard_bytes", text) == count
