"""The names of packed samples: one an item, read whole by others, with the extension of its bytes."""

from __future__ import annotations

import contextlib
import os
import tarfile

import pytest

import penstock as ps
from packings import contents, jpeg, write_photos
from penstock.packing.names import Names, parted, plain_name


@pytest.fixture
def photos(tmp_path):
    return write_photos(tmp_path / "photos")


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("a/1.jpg", "a/1"),
        ("v1.0/img.v2.final.JPG", "v1.0/img_v2_final"),
        ("../x/./.hidden/.1.png", "x/_hidden/_1"),
        ("__a__/1.jpg", "_a__/1"),
        ("train.parquet/7", "train.parquet/7"),
        (".jpg", "item"),
        ("schön €.webp", "schön €"),
    ],
)
def test_a_name_is_one_that_webdataset_reads_whole(key, name):
    assert plain_name(parted(key)[0]) == name


def test_every_item_has_a_name_of_its_own():
    keys = ["a/1.jpg", "b/1.jpg", "a/1.png", "a/1-2.jpg", "a/1.x.jpg", "a/1_x.jpg", "a/1.jpg"]
    names = Names(ps.files(keys).source)
    found = [names.name(index).stem for index in range(len(keys))]
    assert found == ["a/1", "b/1", "a/1-3", "a/1-2", "a/1_x", "a/1_x-2", "a/1-4"]
    assert names.renamed and not Names(ps.files(keys[:2]).source).renamed


def test_the_folder_of_absolute_paths_is_left_out(photos, tmp_path):
    paths = sorted(photos.rglob("*.jpg"))
    again = ps.tar(ps.pack(ps.files(paths), tmp_path / "out").shards).source
    assert again.key(0) == "cat/0" and again[0].fields["json"]["key"] == str(paths[0])


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_names_of_any_bytes_and_any_length(tmp_path):
    webdataset = pytest.importorskip("webdataset")
    keys = ["x" * 150 + ".jpg", "ü/" + "ä" * 80 + ".jpg", os.fsdecode(b"no\xfftext.jpg")]
    line = ps.blobs({key: jpeg(number) for number, key in enumerate(keys)})
    packed = ps.pack(line, tmp_path / "out")
    assert list(ps.tar(packed.shards).source.keys()) == [parted(key)[0] for key in keys]
    with contextlib.suppress(UnicodeError):
        found = list(webdataset.WebDataset(list(packed.shards), shardshuffle=False))
        assert [sample["__key__"] for sample in found][:2] == [parted(key)[0] for key in keys][:2]


def test_what_has_no_extension_gets_that_of_its_bytes(tmp_path):
    held = {"a": jpeg(0), "b": jpeg(1, kind="PNG"), "c": jpeg(2, kind="WEBP"), "d": jpeg(3, kind="TIFF")}
    packed = ps.pack(ps.blobs(held), tmp_path / "out")
    with tarfile.open(packed.shards[0]) as file:
        assert file.getnames() == ["a.jpg", "b.png", "c.webp", "d.tif"]
    assert contents(ps.tar(packed.shards).source) == held
