"""Sources: what is listed, in which order, with which labels; what is refused, and how it says so."""

from __future__ import annotations

import io
import os
import pickle
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import penstock as ps
from penstock.errors import PlanError, SourceError
from penstock.read import ReadError, read_file, read_item
from penstock.sources import NameTable, arrays_source, blobs_source, files_source, folder_source
from penstock.sources.names import NameTableBuilder
from penstock.testing import check_source


def tree(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode("utf-8", "surrogateescape"))
    return root


def keys(source):
    return list(source.keys())


# names


@given(st.lists(st.binary(max_size=6), max_size=30))
def test_name_table_holds_what_it_was_given(names):
    table = NameTable.from_names(iter(names))
    assert list(table) == names and len(table) == len(names)
    copy = pickle.loads(pickle.dumps(table))
    assert copy.names == table.names and np.array_equal(copy.offsets, table.offsets)
    for start, stop in [(0, len(names)), (1, 3), (2, 1), (-2, 99)]:
        assert list(table.slice(start, stop)) == names[start:stop]
    for name in {*names, b"absent", b""}:
        assert table.find(name) == (names.index(name) if name in names else None)


def test_a_million_names_cost_little_more_than_their_bytes():
    table = NameTable.from_names(b"class_%03d/%07d.jpg" % (i % 1000, i) for i in range(1_000_000))
    assert table.nbytes <= len(table.names) + 8 * 1_000_001
    assert table.find(b"class_999/0999999.jpg") == 999_999


# folder


def test_folder_is_sorted_by_bytes_of_the_relative_path(tmp_path):
    names = ["a.jpg/x.png", "a/z.jpg", "a/b/c.JPG", "a-b/y.jpeg", "a0/w.webp", "Z/q.gif", "é/u.bmp"]
    source = folder_source(tree(tmp_path, *names))
    assert keys(source) == sorted(names, key=os.fsencode)
    assert source.classes == ("Z", "a", "a-b", "a.jpg", "a0", "é")
    assert source[0].label == 0 and source[0].fields == {"class": "Z"}
    check_source(source)
    assert [read_item(source, i).decode() for i in range(len(source))] == keys(source)


def test_folder_leaves_out_and_counts(tmp_path):
    source = folder_source(tree(tmp_path, "a.jpg", "b.txt", "c.TXT", "d", ".hidden.jpg", ".git/e.jpg", "f.jpg.bak"))
    assert keys(source) == ["a.jpg"]
    assert source.left_out == {".txt": 2, ".bak": 1, "no extension": 1}
    assert source.classes is None and source[0].label is None
    assert source.describe() == (
        f"folder {str(tmp_path)!r}: 1 file, no labels (4 files left out: 2 .txt, 1 .bak, 1 no extension)"
    )
    assert keys(folder_source(tmp_path, extensions=[".txt", "BAK"])) == ["b.txt", "c.TXT", "f.jpg.bak"]


def test_folder_mixed_is_refused_with_an_example_of_each(tmp_path):
    tree(tmp_path, "a.jpg", "cats/b.jpg")
    with pytest.raises(SourceError, match=r"found both: 'cats/b.jpg' and 'a.jpg'; label=None"):
        folder_source(tmp_path)
    assert folder_source(tmp_path, label=None).classes is None


def test_folder_classes_keep_validation_aligned(tmp_path):
    train = folder_source(tree(tmp_path / "train", "cat/1.jpg", "dog/2.jpg", "owl/3.jpg"))
    validation = folder_source(tree(tmp_path / "val", "owl/4.jpg", "cat/5.jpg"), classes=train.classes)
    assert [item.label for item in validation] == [0, 2] and validation.classes == train.classes
    with pytest.raises(
        SourceError, match=r"expected one of the 3 classes given, found 'dogs' for 'dogs/6.jpg'; the nearest is 'dog'"
    ):
        folder_source(tree(tmp_path / "val", "dogs/6.jpg"), classes=train.classes)
    with pytest.raises(SourceError, match="'cat' twice"):
        folder_source(tmp_path / "train", classes=["cat", "dog", "cat"])
    with pytest.raises(SourceError, match=r"expected a sub-folder for each class, .* such as '1.jpg'"):
        folder_source(tree(tmp_path / "flat", "1.jpg"), classes=["cat"])


def test_folder_label_function(tmp_path):
    tree(tmp_path, "cat_1.jpg", "dog_2.jpg", "x/cat_3.jpg")
    source = folder_source(tmp_path, label=lambda key: key.split("/")[-1].split("_")[0])
    assert [item.label for item in source] == [0, 1, 0] and source.classes == ("cat", "dog")
    numbers = folder_source(tmp_path, label=len)
    assert [item.label for item in numbers] == [9, 9, 11] and numbers.classes is None
    with pytest.raises(SourceError, match="all words or all numbers"):
        folder_source(tmp_path, label=lambda key: 1 if "/" in key else "word")
    with pytest.raises(
        SourceError, match=r"expected a word or a whole number as the label of 'cat_1.jpg', found float"
    ):
        folder_source(tmp_path, label=lambda key: 1.5)  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["1.txt"] * 1 + [f"{i}.txt" for i in range(2, 11)] + ["a.csv", "b.csv"], "12 files left out: 10 .txt, 2 .csv"),
        ([], "found nothing"),
    ],
)
def test_folder_without_pictures(tmp_path, names, sentence):
    with pytest.raises(SourceError, match=f"expected at least one picture, found .*{sentence.removeprefix('found ')}"):
        folder_source(tree(tmp_path, *names))


def test_what_is_no_folder(tmp_path):
    with pytest.raises(SourceError, match="expected a folder, found nothing at that path"):
        folder_source(tmp_path / "absent")
    with pytest.raises(SourceError, match="expected a folder, found a file"):
        folder_source(tree(tmp_path, "a.jpg") / "a.jpg")
    with pytest.raises(PlanError, match="found 'folders'"):
        folder_source(tmp_path, label="folders")  # type: ignore[arg-type]
    with pytest.raises(PlanError, match="the word 'jpg'"):
        folder_source(tmp_path, extensions="jpg")
    with pytest.raises(PlanError, match=r"found 'tar.gz'"):
        folder_source(tmp_path, extensions=["tar.gz"])


@pytest.mark.skipif(sys.platform == "win32", reason="FIFOs, sockets and free symbolic links are POSIX")
def test_folder_survives_links_loops_and_special_files(tmp_path):
    outside = tree(tmp_path / "outside", "far.jpg")
    root = tree(tmp_path / "root", "a/1.jpg", "b/2.jpg", "c.jpg/3.jpg")
    (root / "a" / "up").symlink_to(root)
    (root / "a" / "self").symlink_to("self")
    (root / "b" / "beside").symlink_to("../a")
    (root / "b" / "away.jpg").symlink_to(outside / "far.jpg")
    (root / "b" / "gone.jpg").symlink_to("nowhere.jpg")
    (root / "linked").symlink_to(outside)
    os.mkfifo(root / "a" / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as endpoint:
        endpoint.bind(str(root / "b" / "s.jpg"))
        (root / "b" / "null.jpg").symlink_to("/dev/null")
        source = folder_source(root)
    assert keys(source) == ["a/1.jpg", "b/2.jpg", "b/away.jpg", "b/beside/1.jpg", "c.jpg/3.jpg", "linked/far.jpg"]
    assert "links back to a parent folder" in source.describe()
    assert "neither file nor folder" in source.describe()


@pytest.mark.skipif(sys.platform != "linux", reason="names that are no text need a file system that allows them")
def test_folder_names_of_any_bytes(tmp_path):
    names = [b"caf\xe9.jpg", b"new\nline.jpg", "日本.jpg".encode(), b"a b.jpg"]
    for name in names:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(name)
    source = folder_source(os.fsencode(tmp_path))
    assert [os.fsencode(key) for key in keys(source)] == sorted(names)
    assert [read_item(source, i) for i in range(4)] == sorted(names)
    assert source[source.find("caf\udce9.jpg")].key == "caf\udce9.jpg"
    check_source(source)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may list every folder")
def test_folder_that_cannot_be_listed_is_named(tmp_path):
    closed = tree(tmp_path, "a/1.jpg", "b/2.jpg") / "b"
    closed.chmod(0)
    try:
        with pytest.raises(
            SourceError, match="expected a sub-folder 'b/' that can be listed, found: Permission denied"
        ):
            folder_source(tmp_path)
    finally:
        closed.chmod(0o755)


def test_digest_is_of_the_list_and_equality_of_the_place_too(tmp_path):
    one = folder_source(tree(tmp_path / "1", "a/x.jpg", "b/y.jpg"))
    two = folder_source(tree(tmp_path / "2", "a/x.jpg", "b/y.jpg"))
    assert one.digest() == two.digest() and one != two
    assert one == folder_source(tmp_path / "1") and hash(one) == hash(folder_source(tmp_path / "1"))
    assert one.digest() != folder_source(tmp_path / "1", label=None).digest()
    assert one != "a word"


def test_a_relative_folder_survives_a_change_of_directory(tmp_path, monkeypatch):
    tree(tmp_path, "in/a.jpg")
    monkeypatch.chdir(tmp_path)
    folder, files = folder_source("in"), files_source(["in/a.jpg", tmp_path / "in" / "a.jpg"])
    relative = files_source([b"in/a.jpg"])
    monkeypatch.chdir("/")
    assert read_item(folder, 0) == read_item(files, 0) == read_item(files, 1) == read_item(relative, 0) == b"in/a.jpg"
    assert files[0].key == "in/a.jpg"


def test_find_names_the_nearest(tmp_path):
    source = folder_source(tree(tmp_path, "cat/1.jpg", "cat/2.jpg"))
    assert source.find("cat/2.jpg") == 1
    with pytest.raises(SourceError, match=r"found 'cat/3.jpg'; the nearest are 'cat/[12].jpg', 'cat/[12].jpg'\."):
        source.find("cat/3.jpg")
    large = files_source(f"{i:05}/{i}.jpg" for i in range(20_000))
    with pytest.raises(SourceError, match=r"'12345/12345.jpg'"):
        large.find("12345/12346.jpg")


# files, blobs, arrays


def test_files(tmp_path):
    source = files_source(["b.jpg", b"a.jpg", Path("b.jpg")], labels=["x", "y", "x"])
    assert keys(source) == ["b.jpg", "a.jpg", "b.jpg"] and source.find("b.jpg") == 0
    assert [item.label for item in source] == [0, 1, 0]
    check_source(source)
    check_source(files_source([]))
    with pytest.raises(PlanError, match=r"found the single path 'a.jpg'"):
        files_source("a.jpg")
    with pytest.raises(PlanError, match="expected paths, found int"):
        files_source([3])  # type: ignore[list-item]
    with pytest.raises(SourceError, match="expected 1 labels, found 2"):
        files_source(["a"], labels=[1, 2])
    with pytest.raises(SourceError, match="expected a path, found ''"):
        files_source([""])


def test_blobs():
    source = blobs_source({"a": b"1", "b": bytearray(b"2")}, labels=[1, 0], classes=["no", "yes"])
    assert [read_item(source, i) for i in range(2)] == [b"1", b"2"]
    assert source[0].fields == {"class": "yes"}
    check_source(source)
    assert source.digest() != blobs_source({"a": b"1", "b": b"3"}, labels=[1, 0], classes=["no", "yes"]).digest()
    assert blobs_source([b"12", b"3"]).digest() != blobs_source([b"1", b"23"]).digest()
    with pytest.raises(PlanError, match="source of 'a': expected bytes, found str"):
        blobs_source({"a": "text"})  # type: ignore[dict-item]
    with pytest.raises(PlanError, match="found a single bytes"):
        blobs_source(b"one")  # type: ignore[arg-type]
    with pytest.raises(SourceError, match="expected a label from 0 to 1 for '0', found 2"):
        blobs_source([b""], labels=[2], classes=["no", "yes"])


def test_arrays():
    image = np.arange(2 * 4 * 3, dtype=np.uint8).reshape(2, 4, 3)
    source = arrays_source([image, image[:, ::2]], keys=["whole", "part"], labels=[3, 4])
    check_source(source)
    found = source.locate(np.array([0, 1])).arrays
    assert found is not None and found[0] is image and np.array_equal(found[1], image[:, ::2])
    check_source(arrays_source(np.zeros((5, 2, 2, 3), np.uint8)))
    with pytest.raises(ReadError, match="decoded already"):
        read_item(source, 0)
    for wrong, shown in [
        (image.astype(np.float32), r"float32 \[2, 4, 3\]"),
        (image[..., 0], r"uint8 \[2, 4\]"),
        (image[:0], r"uint8 \[0, 4, 3\]"),
        ("word", "str"),
    ]:
        with pytest.raises(SourceError, match=f"source of '1': expected .*found {shown}"):
            arrays_source([image, wrong])  # type: ignore[list-item]
    with pytest.raises(PlanError, match=r"found uint8 \[2, 4, 3\]"):
        arrays_source(image)


def test_indices_outside_are_refused_with_a_sentence():
    source = blobs_source([b"a", b"b"])
    assert source[-1].index == 1
    with pytest.raises(IndexError, match="expected an index below 2, found 2"):
        source[2]
    with pytest.raises(IndexError, match="expected indices from 0 to 1, found -1"):
        source.locate(np.array([0, -1]))


def test_check_source_finds_a_fault():
    class Wrong(type(blobs_source([]))):  # type: ignore[misc]
        def find(self, key):
            return 1

    with pytest.raises(AssertionError, match=r"expected find\('0'\) to be its first index 0, found 1\."):
        check_source(Wrong([b"a", b"b"]))


# read


@pytest.mark.skipif(sys.platform == "win32", reason="FIFOs and sockets are POSIX")
def test_read_refuses_what_is_no_regular_file(tmp_path):
    tree(tmp_path, "empty.jpg", "big.jpg")
    (tmp_path / "empty.jpg").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe")
    assert read_file(os.fsencode(tmp_path / "empty.jpg")) == b""
    for name, cause, message in [
        ("absent", "not found", "expected a file, found no such file"),
        (".", "not a regular file", "expected a regular file, found a directory"),
        ("pipe", "not a regular file", "expected a regular file, found a FIFO"),
    ]:
        with pytest.raises(ReadError) as caught:
            read_file(os.fsencode(tmp_path / name))
        assert (caught.value.cause, caught.value.message) == (cause, message)
    with pytest.raises(ReadError) as caught:
        read_file(os.fsencode(tmp_path / "big.jpg"), max_file_bytes=1)
    assert (caught.value.cause, caught.value.message) == ("too large", "expected at most 1 byte, found 7 bytes")
    with pytest.raises(ReadError, match="found a device"):
        read_file(b"/dev/zero")


def test_a_source_called_with_a_word_it_does_not_know_names_the_nearest() -> None:
    with pytest.raises(TypeError, match=r"^jsonl\(.*unexpected keyword argument 'image'; the nearest is 'images'\.$"):
        ps.jsonl("a.jsonl", image="file")
    with pytest.raises(TypeError, match=r"^csv\(.*unexpected keyword argument 'image'; the nearest is 'path'\.$"):
        ps.csv("a.csv", image="file")


def test_a_class_that_is_not_among_a_few_is_refused_with_them() -> None:
    with pytest.raises(ps.SourceError, match=r"expected one of the 2 classes given, .*; they are 'cat', 'dog'\."):
        ps.blobs({"a": b""}, labels=["zebra"], classes=("cat", "dog"))


def test_a_name_table_takes_eight_bytes_an_offset_once_four_are_too_few(monkeypatch):
    class Far(io.BytesIO):
        def tell(self) -> int:
            return super().tell() + (1 << 32) - 3

    builder = NameTableBuilder()
    builder._names = Far()
    builder.append(b"ab")
    assert builder._ends.itemsize == 4
    builder.append(b"cd")
    assert list(builder._ends) == [0, (1 << 32) - 1, (1 << 32) + 1]
    assert builder.build().offsets.dtype == np.int64


def test_the_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    Image.new("RGB", (6, 4), "red").save(tmp_path / "one.png")
    (tmp_path / "list.csv").write_text("path\none.png\n")
    (tmp_path / "list.jsonl").write_text('{"images": "one.png"}\n')
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "list.csv").write_text("path\none.png\n")
    packed = ps.pack(ps.folder("~"), "~/packed")
    assert packed.shards == (str(tmp_path / "packed" / "shard-000000.tar"),)
    lines = {
        "folder": ps.folder("~").take(1),
        "files": ps.files(["~/one.png"]),
        "csv": ps.csv("~/list.csv"),
        "jsonl": ps.jsonl("~/list.jsonl"),
        "tar": ps.tar("~/packed/shard-*.tar"),
        "root": ps.csv(elsewhere / "list.csv", root="~"),
    }
    for name, line in lines.items():
        with line.decode().resize(4, 6).batch(1).run() as run:
            assert [batch.images.shape for batch in run] == [(1, 4, 6, 3)], name
    assert ps.header("~/one.png").width == 6
    assert ps.recipe().decode()("~/one.png").shape == (4, 6, 3)
    with lines["folder"].companion(mask="~/{stem}.png", mode="image").decode().resize(4, 6).batch(1).run() as run:
        assert next(run).companions["mask"][0].shape == (4, 6, 3)
    line = lines["files"].decode().resize(4, 6).cache("~/cache", max_bytes="1MB")
    assert line.cache_info().where == str(tmp_path / "cache")
    with line.batch(1).run(ledger="~/failures.jsonl") as run:
        next(run)
    assert run.options.ledger == str(tmp_path / "failures.jsonl")
