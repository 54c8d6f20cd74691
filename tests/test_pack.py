"""Packing to tars: what is written is read back whole, by others too; the order and the pixels are the line's."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import penstock as ps
from packings import contents, jpeg, packed_bytes, write_photos
from penstock.packing.names import parted


@pytest.fixture
def photos(tmp_path):
    return write_photos(tmp_path / "photos")


# -- tars ------------------------------------------------------------------------------------------------------------


def test_ps_tar_reads_back_bytes_keys_labels_and_classes(photos, tmp_path):
    line = ps.folder(photos)
    packed = ps.pack(line, tmp_path / "out", shard_bytes=10_240)
    assert packed.items == 12 and len(packed.shards) > 2 and not len(packed.failures) and packed.ledger is None
    assert all(os.path.getsize(shard) <= 10_240 for shard in packed.shards)
    again = ps.tar(str(tmp_path / "out" / "*.tar"))
    assert {f"{key}.jpg": data for key, data in contents(again.source).items()} == contents(line.source)
    assert list(again.source.keys()) == [parted(key)[0] for key in line.source.keys()]  # noqa: SIM118
    everything = np.arange(12)
    assert again.classes == ("cat", "dog", "emu")
    assert again.source.labels(everything).tolist() == line.source.labels(everything).tolist()
    assert again.source[0].fields["json"] == {"key": "cat/0.jpg", "label": 0, "class": "cat"}
    assert not again.source.damage


def test_ps_tar_opens_it_without_indexing(photos, tmp_path, monkeypatch):
    packed = ps.pack(ps.folder(photos), tmp_path / "out")
    monkeypatch.setattr("penstock._native.index_tars", None)  # which would be called
    assert len(ps.tar(packed.shards)) == 12


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_webdataset_reads_it(photos, tmp_path):
    webdataset = pytest.importorskip("webdataset")
    line = ps.folder(photos)
    packed = ps.pack(line, tmp_path / "out", shard_bytes=10_240)
    raw = contents(line.source)
    plain = list(webdataset.WebDataset(list(packed.shards), shardshuffle=False))
    assert [f"{sample['__key__']}.jpg" for sample in plain] == list(raw)
    assert [sample["jpg"] for sample in plain] == list(raw.values())
    decoded = (
        webdataset.WebDataset(list(packed.shards), shardshuffle=False).decode("pil").to_tuple("jpg", "cls", "json")
    )
    for number, (image, label, about) in enumerate(decoded):
        assert image.size == (24, 20)
        assert label == line.source.labels(np.array([number]))[0] and about["class"] == line.classes[label]


def test_fields_of_a_table_come_back(photos, tmp_path):
    table = tmp_path / "table.jsonl"
    rows = [
        {
            "image": f"photos/cat/{n}.jpg",
            "kind": "b" if n else "a",
            "caption": f"nr {n} ü",
            "box": [n, 1, 2.5],
            "x": None,
        }
        for n in range(4)
    ]
    table.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    packed = ps.pack(ps.jsonl(table, images="image", label="kind"), tmp_path / "out")
    again = ps.tar(packed.shards)
    assert again.classes == ("a", "b")
    for number, item in enumerate(again.source):
        assert item.fields["txt"] == f"nr {number} ü"
        expected = {"key": rows[number]["image"], "label": min(number, 1), "class": "ab"[min(number, 1)]}
        own = {name: rows[number][name] for name in ("caption", "box", "x")}
        assert item.fields["json"] == {**expected, **own}


def test_sidecars_of_a_tar_are_copied_as_they_are(tmp_path):
    members = []
    for number in range(4):
        members += [(f"a/{number}.jpg", jpeg(number)), (f"a/{number}.cls", b"dog" if number else b"cat")]
        members += [(f"a/{number}.json", b'{ "n":  %d}' % number), (f"a/{number}.txt", b"words")]
        members.append((f"a/{number}.pyd", b"never unpickled"))
        members.append((f"a/{number}.seg.png", jpeg(number, kind="PNG")))
    with tarfile.open(tmp_path / "in.tar", "w") as file:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    packed = ps.pack(ps.tar(tmp_path / "in.tar", image="jpg"), tmp_path / "out")
    with tarfile.open(packed.shards[0]) as file:
        found = {member.name: file.extractfile(member).read() for member in file}
    assert found == dict(members)
    again = ps.tar(packed.shards, image="jpg")
    assert again.classes == ("cat", "dog") and again.source[0].fields["seg.png"] == jpeg(0, kind="PNG")


def test_arrays_and_bytes_in_fields_are_sidecars_of_their_own(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    mask = jpeg(5, kind="PNG")
    table = pa.table({"image": [jpeg(0)], "mask": [mask], "blob": [b"\0\1"], "words": [["a", "b"]]})
    pq.write_table(table, tmp_path / "in.parquet")
    packed = ps.pack(ps.parquet(tmp_path / "in.parquet", image="image"), tmp_path / "out")
    with tarfile.open(packed.shards[0]) as file:
        found = {member.name: file.extractfile(member).read() for member in file}
    assert list(found) == [f"in.parquet/0.{end}" for end in ("jpg", "blob.bin", "json", "mask.png")]
    assert found["in.parquet/0.mask.png"] == mask and found["in.parquet/0.blob.bin"] == b"\0\1"
    assert json.loads(found["in.parquet/0.json"]) == {"key": "in.parquet/0", "words": ["a", "b"]}


# -- encoded anew ----------------------------------------------------------------------------------------------------


def test_max_side_is_the_lines_own_pixels(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    held = {"turned.jpg": jpeg(0, 50, 80, exif=exif), "small.png": jpeg(1, 10, 12, kind="PNG"), "bad.jpg": b"none"}
    packed = ps.pack(ps.blobs(held), tmp_path / "out", max_side=40, quality=95)
    assert packed.items == 2 and packed.failures.by_cause() == {"decode: not an image": 1}
    recipe = ps.recipe().decode().resize(40, 40, fit="inside", enlarge=False)
    for key, data in contents(ps.tar(packed.shards).source).items():
        expected = io.BytesIO()
        name = "turned.jpg" if key == "turned" else "small.png"
        Image.fromarray(recipe(held[name])).save(expected, "JPEG", quality=95)
        assert data == expected.getvalue()
    assert ps.decode(contents(ps.tar(packed.shards).source)["turned"]).shape == (40, 25, 3)


def test_a_line_that_decodes_is_encoded_as_it_says(photos, tmp_path):
    line = ps.folder(photos).decode(mode="L").resize(8, 9)
    again = ps.tar(ps.pack(line, tmp_path / "out").shards).source
    image = Image.open(io.BytesIO(contents(again)["cat/0"]))
    assert (image.mode, image.size) == ("L", (9, 8))


def test_the_number_of_threads_changes_nothing(photos, tmp_path):
    for threads in (1, 3):
        ps.pack(ps.folder(photos), tmp_path / f"copy{threads}", shard_bytes=10_240, threads=threads)
        ps.pack(ps.folder(photos), tmp_path / f"small{threads}", shard_bytes=4_000, max_side=16, threads=threads)
    assert packed_bytes(tmp_path / "copy1") == packed_bytes(tmp_path / "copy3")
    assert packed_bytes(tmp_path / "small1") == packed_bytes(tmp_path / "small3")


# -- order -----------------------------------------------------------------------------------------------------------


def test_a_shuffle_is_the_lines_own_and_the_same_each_time(photos, tmp_path):
    line = ps.folder(photos)
    first = ps.pack(line, tmp_path / "a", shuffle=7, shard_bytes=10_240)
    ps.pack(line.seed(7).shuffle(), tmp_path / "b", shard_bytes=10_240)
    assert packed_bytes(tmp_path / "a") == packed_bytes(tmp_path / "b")
    order = line.seed(7).shuffle().order.indices(np.arange(12), 12, 0).tolist()
    assert list(ps.tar(first.shards).source.keys()) == [parted(line.source.key(index))[0] for index in order]
    assert order != sorted(order)


def test_a_part_of_a_line(photos, tmp_path):
    packed = ps.pack(ps.folder(photos).filter(lambda item: item.label == 1).take(3), tmp_path / "out")
    assert list(ps.tar(packed.shards).source.keys()) == ["dog/0", "dog/1", "dog/2"]


# -- what is there ----------------------------------------------------------------------------------------------------


def test_the_manifest_says_what_is_there(photos, tmp_path):
    packed = ps.pack(ps.folder(photos), tmp_path / "out", shard_bytes=10_240)
    manifest = json.loads(Path(packed.manifest).read_text())
    assert manifest["items"] == 12 and manifest["source"]["classes"] == ["cat", "dog", "emu"]
    assert manifest["source"]["digest"] == ps.folder(photos).source.digest()
    for shard in manifest["shards"]:
        data = (tmp_path / "out" / shard["name"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (shard["bytes"], shard["sha256"])
    assert sum(shard["items"] for shard in manifest["shards"]) == 12


@pytest.mark.parametrize("folder", ["good", "edge"])
def test_real_files_of_every_format_are_copied_and_found_again(shared_data, tmp_path, folder):
    line = ps.folder(shared_data / folder, label=None)
    packed = ps.pack(line, tmp_path / "out")
    assert not len(packed.failures), packed.failures
    again = ps.tar(packed.shards)
    assert list(contents(again.source).values()) == list(contents(line.source).values())
    assert not again.source.damage
