"""Packing: what is written is read back whole, by others too; killed, it ends with the same bytes."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import penstock as ps
from penstock import cli
from penstock.packing import fill
from penstock.packing.names import Names, parted, plain_name
from penstock.packing.plan import byte_count
from penstock.sources.tar_index import SUFFIX


def jpeg(seed: int, height: int = 20, width: int = 24, kind: str = "JPEG", **options: object) -> bytes:
    out = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(out, kind, **options)
    return out.getvalue()


@pytest.fixture
def photos(tmp_path):
    """Twelve pictures in three folders, two of which have files of the same names."""
    for number in range(12):
        path = tmp_path / "photos" / ("cat", "dog", "emu")[number % 3] / f"{number // 3}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(number))
    return tmp_path / "photos"


def packed_bytes(folder: Path) -> dict[str, bytes]:
    """Every file of a packing but the indices, which name the times of their shards."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if not path.name.endswith(SUFFIX)}


def contents(source: ps.Source) -> dict[str, bytes]:
    from penstock.read import read_item

    return {source.key(index): read_item(source, index) for index in range(len(source))}


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


# -- failures --------------------------------------------------------------------------------------------------------


def test_failures_are_counted_named_and_in_the_ledger(photos, tmp_path):
    paths = [*sorted(photos.rglob("*.jpg"))[:3], photos / "gone.jpg", photos / "cat", photos / "emu" / "0.jpg"]
    packed = ps.pack(ps.files(paths), tmp_path / "out")
    assert packed.items == 4 and len(packed.failures) == 2
    entries = [json.loads(line) for line in Path(packed.ledger).read_text().splitlines()]
    assert [(entry["key"], entry["position"], entry["stage"]) for entry in entries] == [
        (str(photos / "gone.jpg"), 3, "read"),
        (str(photos / "cat"), 4, "read"),
    ]
    assert "gone.jpg" in str(packed) and "2 failed" in str(packed)
    manifest = json.loads(Path(packed.manifest).read_text())
    assert manifest["failures"] == 2 and sum(manifest["causes"].values()) == 2
    again = ps.pack(ps.files(paths), tmp_path / "out")
    assert again.present == 1 and len(again.failures) == 2 and again.failures[0] == packed.failures[0]


def test_all_may_fail(tmp_path):
    packed = ps.pack(ps.files(["no.jpg", "none.jpg"]), tmp_path / "out")
    assert packed.items == 0 and packed.shards == () and len(packed.failures) == 2
    assert len(ps.pack(ps.files(["no.jpg", "none.jpg"]), tmp_path / "out").failures) == 2
    assert ps.pack(ps.files([]), tmp_path / "empty").shards == ()


def test_policies_stop_it_and_it_goes_on(photos, tmp_path):
    good = sorted(photos.rglob("*.jpg"))
    line = ps.files([*good[:6], "gone.jpg", *good[6:]])
    with pytest.raises(ps.ItemError, match=r"read of 'gone.jpg'") as caught:
        ps.pack(line, tmp_path / "out", shard_bytes=10_240, on_failure="raise")
    assert caught.value.failure is not None and caught.value.failure.key == "gone.jpg"
    for limit in (0, Fraction(1, 100)):
        with pytest.raises(ps.TooManyFailuresError, match="at most 0 failed items"):
            ps.pack(line, tmp_path / "out", shard_bytes=10_240, max_failures=limit)
    packed = ps.pack(line, tmp_path / "out", shard_bytes=10_240, max_failures=1)
    assert packed.present > 0 and packed.items == 12 and len(packed.failures) == 1
    assert len(Path(packed.ledger).read_text().splitlines()) == 1
    ps.pack(line, tmp_path / "once", shard_bytes=10_240)
    assert packed_bytes(tmp_path / "once") == packed_bytes(tmp_path / "out")


@pytest.mark.parametrize("finished", [True, False])
def test_failures_are_tried_anew_when_told(photos, tmp_path, finished, monkeypatch):
    good = sorted(photos.rglob("*.jpg"))
    gone = good[6].rename(tmp_path / "gone.jpg")
    line = ps.files([str(path) for path in good])
    if not finished:
        placed = fill._Packing._close

        def killed(self, first: int, end: int, damaged: int) -> None:
            placed(self, first, end, damaged)
            if len(self.journal.shards) == 3:
                raise KeyboardInterrupt

        monkeypatch.setattr(fill._Packing, "_close", killed)
        with pytest.raises(KeyboardInterrupt):
            ps.pack(line, tmp_path / "out", shard_bytes=10_240)
        monkeypatch.undo()
    packed = ps.pack(line, tmp_path / "out", shard_bytes=10_240) if finished else None
    gone.rename(good[6])
    if packed is not None:
        assert len(packed.failures) == 1
        assert len(ps.pack(line, tmp_path / "out", shard_bytes=10_240).failures) == 1  # not looked at again
    again = ps.pack(line, tmp_path / "out", shard_bytes=10_240, retry_failures=True)
    assert again.items == 12 and len(again.failures) == 0 and 0 < again.present < len(again.shards)
    assert not (tmp_path / "out" / "packing.journal").exists()
    ps.pack(line, tmp_path / "once", shard_bytes=10_240)
    once, out = packed_bytes(tmp_path / "once"), packed_bytes(tmp_path / "out")
    assert once == {name: data for name, data in out.items() if name != "failures.jsonl"}
    assert out.get("failures.jsonl", b"") == b""
    # With nothing to try anew all stays as it is.
    assert ps.pack(line, tmp_path / "out", shard_bytes=10_240, retry_failures=True).present == len(again.shards)


def test_what_fails_again_is_a_failure_again(photos, tmp_path, monkeypatch):
    assert cli.main(["pack", str(photos), str(tmp_path / "whole")]) == 0
    before = packed_bytes(tmp_path / "whole")
    assert cli.main(["pack", str(photos), str(tmp_path / "whole"), "--retry-failures"]) == 0
    assert packed_bytes(tmp_path / "whole") == before
    monkeypatch.chdir(tmp_path)
    some = ps.files([*sorted(photos.rglob("*.jpg")), "no.jpg"])
    for retry in (False, True, True):
        packed = ps.pack(some, "some", retry_failures=retry)
        assert len(packed.failures) == 1 and packed.items == 12
        assert len(Path(packed.ledger).read_text().splitlines()) == 1
    assert ps.pack(ps.files(["no.jpg"]), "none").items == 0
    Image.new("RGB", (4, 4)).save("no.jpg")
    assert ps.pack(ps.files(["no.jpg"]), "none").items == 0
    assert ps.pack(ps.files(["no.jpg"]), "none", retry_failures=True).items == 1
    assert ps.pack(some, "some", retry_failures=True).items == 13


def test_a_field_that_no_json_can_hold_fails_its_item(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    table = pa.table({"image": [jpeg(0), jpeg(1)], "deep": [[b"\0"], None]})
    pq.write_table(table, tmp_path / "in.parquet")
    packed = ps.pack(ps.parquet(tmp_path / "in.parquet", image="image"), tmp_path / "out")
    assert packed.items == 1 and packed.failures.by_cause() == {"source: unwritable field": 1}


# -- refusals --------------------------------------------------------------------------------------------------------


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


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")
def test_a_full_disk_is_a_sentence_and_is_gone_on_from(photos, tmp_path, monkeypatch):
    from penstock.packing.shard import HashedFile

    written = 0

    def full(self: HashedFile, data: bytes) -> int:
        nonlocal written
        written += len(data)
        if written > 30_000:
            raise OSError(28, "No space left on device")
        return write(self, data)

    write = HashedFile.write
    monkeypatch.setattr(HashedFile, "write", full)
    with pytest.raises(ps.PenstockError, match="No space left on device; the same command goes on from here"):
        ps.pack(ps.folder(photos), tmp_path / "out", shard_bytes=10_240)
    monkeypatch.undo()
    assert ps.pack(ps.folder(photos), tmp_path / "out", shard_bytes=10_240).present > 0
    ps.pack(ps.folder(photos), tmp_path / "once", shard_bytes=10_240)
    assert packed_bytes(tmp_path / "once") == packed_bytes(tmp_path / "out")


# -- killed ----------------------------------------------------------------------------------------------------------

KILLED = """
import sys
import penstock as ps
from penstock.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
@pytest.mark.parametrize("more", [[], ["--max-side", "24", "--shuffle", "--seed", "3"], ["--to", "parquet"]])
def test_killed_at_any_moment_it_ends_with_the_same_bytes(tmp_path, more):
    if "parquet" in more:
        pytest.importorskip("pyarrow")
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(200):
        data = jpeg(number % 7, 40 + number % 5, 48)
        (folder / f"{number:03d}.jpg").write_bytes(data if number % 50 != 9 else data[:100] if more else b"")
    size = ["--shard-size", "30000"]
    command = [sys.executable, "-c", KILLED, "pack", str(folder), str(tmp_path / "out"), *size, *more]
    started = time.monotonic()
    subprocess.run([*command[:4], str(folder), str(tmp_path / "once"), *size, *more], check=True, capture_output=True)
    whole_s = time.monotonic() - started
    moments = np.random.default_rng(1).uniform(0.4, 1.0, 4) * whole_s
    for moment in moments:
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            deadline = time.monotonic() + moment
            while time.monotonic() < deadline and process.poll() is None:
                time.sleep(0.002)
            process.send_signal(signal.SIGKILL)
    subprocess.run(command, check=True, capture_output=True)
    assert packed_bytes(tmp_path / "once") == packed_bytes(tmp_path / "out")
    assert len(packed_bytes(tmp_path / "out")) > 5


@pytest.mark.parametrize("to", ["tar", "parquet"])
def test_killed_between_any_two_steps(photos, tmp_path, monkeypatch, to):
    """Every system call that changes the folder is, in turn, the last one."""
    if to == "parquet":
        pytest.importorskip("pyarrow")

    class Killed(BaseException):
        pass

    line = ps.files([*sorted(photos.rglob("*.jpg")), "gone.jpg"])
    ps.pack(line, tmp_path / "once", shard_bytes=12_000, to=to)
    left = 0

    def last(call):
        def until(*args, **options):
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            return call(*args, **options)

        return until

    step = 0
    while True:
        left = step
        with monkeypatch.context() as patch:
            for name in ("fsync", "replace", "unlink"):
                patch.setattr(os, name, last(getattr(os, name)))
            patch.setattr(fill.ShardWriter, "drop", lambda self: self._file.close())
            try:
                ps.pack(line, tmp_path / "out", shard_bytes=12_000, to=to)
                break
            except Killed:
                pass
        ps.pack(line, tmp_path / "out", shard_bytes=12_000, to=to)
        assert packed_bytes(tmp_path / "once") == packed_bytes(tmp_path / "out")
        for path in (tmp_path / "out").iterdir():
            path.unlink()
        step += 1
    assert step > 10


def test_a_shard_that_is_gone_is_made_again(photos, tmp_path):
    line = ps.folder(photos)
    packed = ps.pack(line, tmp_path / "out", shard_bytes=10_240)
    before = packed_bytes(tmp_path / "out")
    os.unlink(packed.shards[1])
    with open(packed.shards[0], "r+b") as file:
        file.truncate(1000)
    again = ps.pack(line, tmp_path / "out", shard_bytes=10_240)
    assert again.present == len(packed.shards) - 2
    assert packed_bytes(tmp_path / "out") == before
    os.unlink(packed.shards[1])
    for path in photos.rglob("*.jpg"):
        path.write_bytes(jpeg(99))
    with pytest.raises(ps.SourceError, match="the source has changed since"):
        ps.pack(line, tmp_path / "out", shard_bytes=10_240)
    assert not os.path.exists(packed.shards[1])


def test_the_manifest_says_what_is_there(photos, tmp_path):
    packed = ps.pack(ps.folder(photos), tmp_path / "out", shard_bytes=10_240)
    manifest = json.loads(Path(packed.manifest).read_text())
    assert manifest["items"] == 12 and manifest["source"]["classes"] == ["cat", "dog", "emu"]
    assert manifest["source"]["digest"] == ps.folder(photos).source.digest()
    for shard in manifest["shards"]:
        data = (tmp_path / "out" / shard["name"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (shard["bytes"], shard["sha256"])
    assert sum(shard["items"] for shard in manifest["shards"]) == 12


# -- Parquet ---------------------------------------------------------------------------------------------------------


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


def test_without_pyarrow_parquet_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ps.PlanError, match="expected the package pyarrow, found none"):
        ps.pack(ps.files(["a.jpg"]), tmp_path / "out", to="parquet")
    assert not (tmp_path / "out").exists()


# -- the command -----------------------------------------------------------------------------------------------------


def test_the_command(photos, tmp_path, capsys):
    (photos / "cat" / "broken.jpg").write_bytes(jpeg(0)[:300])
    words = ["pack", str(photos), str(tmp_path / "out"), "--max-side", "10", "--shard-size", "10kB", "--threads", "2"]
    assert cli.main(words) == 0
    captured = capsys.readouterr()
    assert (
        "12 items in" in captured.out and "1 x decode: truncated" in captured.out and "failures.jsonl" in captured.out
    )
    assert "source  folder" in captured.err
    assert cli.main([*words, "--max-failures", "1"]) == 0  # it is packed already
    assert cli.main([*words, "--max-failures", "0"]) == 1 and cli.main([*words, "--on-failure", "raise"]) == 1
    assert cli.main([*words[:2], str(tmp_path / "other"), *words[3:], "--max-failures", "0"]) == 1
    assert "at most 0 failed items" in capsys.readouterr().err
    assert cli.main([*words, "--quality", "80"]) == 1
    assert "to have quality=80, found one with quality=90" in capsys.readouterr().err
    assert cli.main([*words[:2], str(tmp_path / "other"), "--on-failure", "raise", *words[3:]]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("penstock: decode of 'cat/broken.jpg': expected")


def test_the_command_takes_tars_and_tables(photos, tmp_path, capsys):
    assert cli.main(["pack", str(photos), str(tmp_path / "a"), "--no-labels"]) == 0
    assert cli.main(["pack", str(tmp_path / "a" / "shard-{000000..000000}.tar"), str(tmp_path / "b")]) == 0
    (tmp_path / "t.csv").write_text("pic,word\nphotos/cat/0.jpg,x\n")
    assert cli.main(["pack", str(tmp_path / "t.csv"), str(tmp_path / "c"), "--image", "pic", "--label", "word"]) == 0
    assert ps.tar(tmp_path / "c" / "shard-000000.tar").classes == ("x",)
    assert cli.main(["pack", str(photos), str(tmp_path / "d"), "--label", "word"]) == 2
    assert "expected a table as SRC" in capsys.readouterr().err
    assert cli.main(["pack", str(photos), str(tmp_path / "d"), "--seed", "3"]) == 2
    assert "--seed: expected --shuffle with it, found none" in capsys.readouterr().err
    assert not (tmp_path / "d").exists()
    assert cli.main(["pack", str(tmp_path / "nothing"), str(tmp_path / "d")]) == 1
    assert "expected a folder, found nothing at that path" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "count"), [("1GB", 10**9), ("2G", 2 * 10**9), ("2 MiB", 2 << 20), ("4096", 4096), ("1.5kB", 1500)]
)
def test_sizes_as_people_write_them(text, count):
    assert byte_count("shard_bytes", text) == count


@pytest.mark.parametrize("folder", ["good", "edge"])
def test_real_files_of_every_format_are_copied_and_found_again(shared_data, tmp_path, folder):
    line = ps.folder(shared_data / folder, label=None)
    packed = ps.pack(line, tmp_path / "out")
    assert not len(packed.failures), packed.failures
    again = ps.tar(packed.shards)
    assert list(contents(again.source).values()) == list(contents(line.source).values())
    assert not again.source.damage
