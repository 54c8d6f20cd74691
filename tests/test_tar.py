"""ps.tar: items, keys, labels, sidecars; damaged shards lose only what was hit; what is refused, and how."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import tarfile

import numpy as np
import pytest

import penstock as ps
from penstock.read import read_item
from penstock.sources import tar_source
from penstock.sources.shard_names import expand_braces
from penstock.testing import check_source
from tars import offsets, picture, samples, tar_bytes, written


def keys(source):
    return list(source.keys())


def rows_of(line, **options):
    """Each item's pixels by key, and the failures by key."""
    pixels, failed = {}, {}
    with line.decode().resize(8, 8).batch(4, last="short").run(on_failure="blank", **options) as run:
        for batch in run:
            for row, key in enumerate(batch.keys):
                if batch.valid[row]:
                    pixels[key] = batch.images[row].tobytes()
        for failure in run.failures:
            failed[failure.key] = (failure.stage, failure.cause)
    return pixels, failed


def npy(array) -> bytes:
    out = io.BytesIO()
    np.save(out, array, allow_pickle=True)
    return out.getvalue()


def npz(**arrays) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


# what is listed


def test_items_are_what_loose_files_are(tmp_path):
    shards = [written(tmp_path, tar_bytes(samples(5, 5 * row)), f"{row:03d}.tar") for row in range(3)]
    names = [f"sample-{number:04d}" for number in range(15)]
    line = ps.tar(str(tmp_path / "{000..002}.tar"))
    assert keys(line.source) == names and line.source.shards == tuple(map(str, shards))
    check_source(line.source)
    loose = ps.blobs({name: picture(number) for number, name in enumerate(names)})
    expected = rows_of(loose)
    for engine in ("native", "reference"):
        assert rows_of(line, engine=engine) == expected
        assert rows_of(line.seed(3).shuffle(), engine=engine) == expected
    assert line.source[7].label == 7 % 3 and line.source.classes is None
    assert not line.source.damage and not line.source.notes


def test_sidecars_are_fields(tmp_path):
    archive = tar_bytes(
        [
            ("a/1.jpg", picture(1)),
            ("a/1.json", b'{"label": "dog", "box": [1, 2]}'),
            ("a/1.txt", "grüße".encode()),
            ("a/1.npy", npy(np.arange(3))),
            ("a/1.npz", npz(x=np.ones((2, 2)))),
            ("a/1.meta.json", b"[1]"),
            ("a/1.pyd", b"never"),
            ("a/2.jpg", picture(2)),
        ]
    )
    source = tar_source(written(tmp_path, archive), labels="json.label")
    assert source.field_names == ("class", "json", "txt", "npy", "npz", "meta.json")
    first, second = source[0].fields, source[1].fields
    assert first["json"] == {"label": "dog", "box": [1, 2]} and first["txt"] == "grüße" and first["meta.json"] == [1]
    assert first["npy"].tolist() == [0, 1, 2] and first["npz"]["x"].tolist() == [[1, 1], [1, 1]]
    assert all(second[name] is None for name in ("json", "txt", "npy", "npz", "meta.json"))
    assert (source[0].label, source[1].label, source.classes) == (0, None, ("dog",))
    assert source.left_out == {".pyd": 1} and source.notes == {"item without a label": 1}
    assert source.field("txt", np.array([1, 0, 0])) == [None, "grüße", "grüße"]
    with pytest.raises(KeyError):
        source.field("pyd", np.array([0]))
    with ps.tar(written(tmp_path, archive)).decode().resize(4, 4).batch(2).run() as run:
        assert next(run).fields["txt"] == ["grüße", None]


def test_nothing_is_unpickled(tmp_path):
    objects = npy(np.array([object.__new__(Trap)], dtype=object))
    archive = tar_bytes([("1.jpg", picture(1)), ("1.npy", objects), ("1.npz", npz(x=np.array([Trap()], dtype=object)))])
    fields = tar_source(written(tmp_path, archive))[0].fields
    for name in ("npy", "npz"):
        assert isinstance(fields[name], ps.Failure) and "allow_pickle" in fields[name].message
    assert not Trap.opened


class Trap:
    opened = False

    def __setstate__(self, state):
        Trap.opened = True

    def __getstate__(self):
        return {"a": 1}


def test_a_sidecar_that_is_not_what_it_is_called_is_a_failure_in_its_place(tmp_path):
    names = [("1.jpg", picture(1)), ("1.json", b"{"), ("1.txt", b"\xff"), ("1.npy", b"PK\3\4"), ("1.npz", b"")]
    source = tar_source(written(tmp_path, tar_bytes([*names, ("2.jpg", picture(2)), ("2.json", b"{}")])))
    for name in ("json", "txt", "npy", "npz"):
        found = source.field(name, np.array([0]))[0]
        assert isinstance(found, ps.Failure) and found.key == "1"
        assert found.message.startswith(f"source of '1': .{name}: expected {name}, found")
    assert source.field("json", np.array([1, 0]))[0] == {}


def test_labels_come_from_classes_in_words_or_numbers(tmp_path):
    words = [member for n, word in enumerate(["cat", "dog\n", "", "cat"]) for member in
             ((f"{n}.jpg", picture(n)), (f"{n}.cls", word.encode()))]  # fmt: skip
    source = tar_source(written(tmp_path, tar_bytes(words)))
    assert source.classes == ("cat", "dog") and [item.label for item in source] == [0, 1, None, 0]
    assert source[1].fields == {"class": "dog", "cls": "dog"}
    ordered = tar_source(written(tmp_path, tar_bytes(words)), classes=["dog", "cat"])
    assert [item.label for item in ordered] == [1, 0, None, 1] and ordered.digest() != source.digest()
    plain = tar_source(written(tmp_path, tar_bytes(words)), labels=None)
    assert plain.classes is None and plain[0].label is None and plain[0].fields["cls"] == "cat"
    check_source(source)
    with pytest.raises(ps.SourceError, match="expected one of the 1 classes given, found 'dog' for '1'"):
        tar_source(written(tmp_path, tar_bytes(words)), classes=["cat"])


def test_json_labels_may_lie_deep(tmp_path):
    members = [(f"{n}.{kind}", data) for n in range(3) for kind, data in
               (("jpg", picture(n)), ("meta.json", json.dumps({"a": {"b": n + 5}}).encode()))]  # fmt: skip
    path = written(tmp_path, tar_bytes(members))
    assert [item.label for item in tar_source(path, labels="meta.json.a.b")] == [5, 6, 7]
    with pytest.raises(ps.SourceError, match=r"expected labels at 'meta.json.x', found none in any item"):
        tar_source(path, labels="meta.json.x")
    with pytest.raises(ps.SourceError, match=r"expected \.json members for the labels, found none"):
        tar_source(path, labels="json.a")


def test_several_pictures_of_a_sample_are_items_of_their_own(tmp_path):
    members = [("a.jpg", picture(1)), ("a.seg.png", picture(2)), ("a.txt", b"both"), ("b.JPG", picture(3))]
    path = written(tmp_path, tar_bytes(members))
    source = tar_source(path)
    assert keys(source) == ["a.jpg", "a.seg.png", "b"] and source.samples_of_several == 1
    assert [item.fields["txt"] for item in source] == ["both", "both", None]
    check_source(source)
    alone = tar_source(path, image="jpg")
    assert keys(alone) == ["a", "b"] and alone.left_out == {}
    assert [item.fields["seg.png"] for item in alone] == [picture(2), None]
    check_source(alone)
    assert keys(tar_source(path, image=["seg.png"])) == ["a"]


def test_a_mask_in_the_shard_goes_with_its_picture(tmp_path):
    path = written(tmp_path, tar_bytes([("a.jpg", picture(1)), ("a.seg.png", picture(6)), ("b.jpg", picture(3))]))
    line = ps.tar(path, image="jpg", labels=None).companion(mask="seg.png", mode="image").decode().resize(6, 5).batch(2)
    with line.run(on_failure="blank") as run:
        batch = next(run)
    assert batch.companions["mask"].shape == (2, 6, 5, 3)
    expected = ps.recipe().decode().resize(6, 5)(picture(6))
    assert np.array_equal(batch.companions["mask"][0], expected)
    assert [failure.key for failure in batch.failures] == ["b"]
    assert "expected bytes or an array in the field 'seg.png', found nothing" in batch.failures[0].message


def test_a_sample_without_a_picture_is_named(tmp_path):
    path = written(tmp_path, tar_bytes([("a.jpg", picture(1)), ("b.txt", b"alone"), ("c.pyd", b"")]))
    line = ps.tar(path)
    assert line.source.without_image == 2 and line.source.notes == {"sample without a picture": 2}
    assert "2 samples without a picture: 'b', 'c'; 1 member left out: 1 .pyd" in str(line)
    with line.decode().resize(4, 4).batch(1).run() as run:
        list(run)
        assert run.notes["sample without a picture"] == 2


def test_names_of_any_bytes_survive(tmp_path):
    source = tar_source(written(tmp_path, tar_bytes([("x/\udcff\udcfe.jpg", picture(1))], "gnu")))
    assert keys(source) == ["x/\udcff\udcfe"] and source.find("x/\udcff\udcfe") == 0
    check_source(source)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset leaves its file open
def test_what_webdataset_writes_is_what_webdataset_reads(tmp_path):
    webdataset = pytest.importorskip("webdataset", reason="webdataset is not installed")
    with webdataset.TarWriter(str(tmp_path / "w.tar"), encoder=False) as writer:
        for number in range(5):
            writer.write(
                {"__key__": f"set/{number}", "jpg": picture(number), "cls": b"%d" % number, "txt": b"t", "json": b"{}"}
            )
    source = tar_source(tmp_path / "w.tar")
    theirs = list(webdataset.WebDataset(str(tmp_path / "w.tar"), shardshuffle=False, empty_check=False))
    assert keys(source) == [sample["__key__"] for sample in theirs] and not source.damage
    for item, sample in zip(source, theirs, strict=True):
        assert read_item(source, item.index) == sample["jpg"]
        assert item.fields == {"cls": int(sample["cls"]), "txt": "t", "json": {}} and item.label == item.index


# damage


def damaged(data: bytes) -> dict[str, bytes]:
    """Each kind of damage, to a shard of six samples of which sample-0002's picture is hit, if any."""
    places = offsets(data)
    header, start, size = places["sample-0002.jpg"]
    other = tar_bytes(samples(2, 100))
    return {
        "a bad header": data[:header] + bytes([data[header] ^ 1]) + data[header + 1 :],
        "a header of noise": data[:header] + b"\xa5" * 512 + data[header + 512 :],
        "a header of zeros": data[:header] + bytes(512) + data[header + 512 :],
        "cut between members": data[:header],
        "cut in a member": data[: start + size // 2],
        "no end": data.rstrip(b"\0") + bytes(-len(data.rstrip(b"\0")) % 512),
        "two shards": data + other,
        "two shards, the first cut": data[: start + 100] + other,
        "bytes lost": data[: start + 50] + data[start + 150 :],
    }


LOST = {
    "a bad header": {"sample-0002"},
    "a header of noise": {"sample-0002"},
    "a header of zeros": {"sample-0002"},
    "cut between members": {"sample-0002", "sample-0003", "sample-0004", "sample-0005"},
    "cut in a member": {"sample-0003", "sample-0004", "sample-0005"},
    "two shards, the first cut": {"sample-0003", "sample-0004", "sample-0005"},
}
FAILED = {"cut in a member", "two shards, the first cut", "bytes lost"}


@pytest.mark.parametrize("kind", ["ustar", "gnu", "pax"])
@pytest.mark.parametrize("what", damaged(tar_bytes(samples(6))))
def test_damage_loses_what_it_hit_and_says_so(tmp_path, what, kind):
    path = written(tmp_path, damaged(tar_bytes(samples(6), kind))[what])
    line = ps.tar(path)
    expected = {f"sample-{number:04d}" for number in range(6)} - LOST.get(what, set())
    if what.startswith("two"):
        expected |= {"sample-0100", "sample-0101"}
    assert set(keys(line.source)) == expected
    places = 1 + (what == "a header of zeros")  # where the zeros are, and where the member's bytes stand in their place
    assert len(line.source.damage) == places and line.source.damage[0].startswith(f"'{path}': expected ")
    assert f"{places} place{'s' * (places > 1)} of damage: see source.damage" in str(line)
    failing = {"sample-0002": ("read", "cut member")} if what in FAILED else {}
    good = {
        key: number for number in (*range(6), 100, 101) if (key := f"sample-{number:04d}") in expected - set(failing)
    }
    pixels, _ = rows_of(ps.blobs({key: picture(number) for key, number in good.items()}))
    for engine in ("native", "reference"):
        assert rows_of(line, engine=engine) == (pixels, failing)
    with line.decode().resize(4, 4).batch(4).run(on_failure="skip") as run:
        list(run)
        assert run.notes["shard damaged"] == places
    check_source(line.source)


def test_tarfile_loses_what_we_keep(tmp_path):
    """The cases that Python's own reader passes over without an error."""
    data = damaged(tar_bytes(samples(6)))
    for what in ("a header of zeros", "two shards"):
        with tarfile.open(fileobj=io.BytesIO(data[what])) as file:
            theirs = {member.name.partition(".")[0] for member in file}
        assert theirs < set(keys(tar_source(written(tmp_path, data[what]))))


def test_sparse_pictures_fail_by_name(tmp_path):
    header = tarfile.TarInfo("b.jpg")
    header.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "b.jpg"}
    sparse = header.tobuf(tarfile.PAX_FORMAT)
    line = ps.tar(written(tmp_path, sparse + tar_bytes([("a.jpg", picture(1))])))
    pixels, failed = rows_of(line)
    assert list(pixels) == ["a"] and failed == {"b": ("read", "sparse member")}


def test_a_shard_replaced_under_a_run_fails_in_its_rows(tmp_path):
    path = written(tmp_path, tar_bytes(samples(4)))
    line = ps.tar(path)
    path.write_bytes(tar_bytes(samples(1)))
    pixels, failed = rows_of(line)
    assert list(pixels) == ["sample-0000"] and len(failed) == 3
    assert ps.tar(path).source != line.source and len(ps.tar(path)) == 1
    path.unlink()
    _, failed = rows_of(line)
    assert set(failed.values()) == {("read", "not found")}
    assert isinstance(line.source.field("cls", np.array([0]))[0], int)  # the index has it


def test_a_sidecar_of_a_shard_that_went_is_a_failure(tmp_path):
    path = written(tmp_path, tar_bytes([("1.jpg", picture(1)), ("1.txt", b"t")]))
    source = tar_source(path)
    path.unlink()
    assert "No such file" in source.field("txt", np.array([0]))[0].message


# which shards


def test_braces_and_wildcards(tmp_path):
    for row in range(3):
        written(tmp_path, tar_bytes(samples(1, row)), f"part-{row}.tar")
    names = [f"sample-{row:04d}" for row in range(3)]
    assert keys(tar_source(tmp_path / "part-{0..2}.tar")) == names
    assert keys(tar_source(tmp_path / "part-{2..0}.tar")) == names[::-1]
    assert keys(tar_source(str(tmp_path / "*.tar"))) == names
    assert keys(tar_source([tmp_path / "part-{2,0}.tar", os.fsencode(tmp_path / "part-1.tar")])) == [
        names[row] for row in (2, 0, 1)
    ]
    with pytest.raises(ps.SourceError, match=r"expected the file '.*part-3.tar', found nothing at that path"):
        tar_source(tmp_path / "part-{0..3}.tar")
    with pytest.raises(ps.SourceError, match=r"expected a file that matches '.*x-\*.tar', found none"):
        tar_source([tmp_path / "*.tar", tmp_path / "x-*.tar"])
    with pytest.raises(ps.SourceError, match="expected each shard once"):
        tar_source([tmp_path / "*.tar", tmp_path / "part-1.tar"])
    literal = written(tmp_path, tar_bytes(samples(1)), "odd-{0..9}[a].tar")
    assert keys(tar_source(literal)) == names[:1]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a.tar", ["a.tar"]),
        ("{1..3}", ["1", "2", "3"]),
        ("{08..10}", ["08", "09", "10"]),
        ("{a,b{1,2}}-x", ["a-x", "b1-x", "b2-x"]),
        ("{a}{", ["{a}{"]),
        ("{,x}y", ["y", "xy"]),
        ("}{1..1}{", ["}1{"]),
    ],
)
def test_braces_expand_as_in_a_shell(pattern, expected):
    assert expand_braces(pattern) == expected


def test_too_many_names_are_refused():
    for pattern in ("{0..99999999999}", "{0..9999}{0..9999}"):
        with pytest.raises(ps.PlanError, match="expected a pattern of at most 1,000,000 names"):
            ps.tar(pattern)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (tar_source, r"expected a tar, found the folder"),
        (lambda folder: tar_source([]), r"expected at least one shard, found an empty list"),
        (lambda folder: tar_source([3]), r"expected paths, found int"),
        (lambda folder: tar_source("https://host/a.tar"), r"expected files, found the address"),
        (lambda folder: tar_source("pipe:curl x"), r"expected files, found the address"),
        (lambda folder: tar_source(folder / "none.tar"), r"found nothing at that path"),
        (lambda folder: tar_source(written(folder, b"")), r"expected at least one picture, found nothing; .*offset 0"),
        (lambda folder: tar_source(written(folder, b"no tar" * 500)), r"expected a header at offset 0, found none"),
        (lambda folder: tar_source(written(folder, tar_bytes([("a.txt", b"")]))), r"1 sample without a picture: 'a'"),
        (lambda folder: tar_source(written(folder, tar_bytes(samples(1))), labels="cls.x"), r'expected labels="cls"'),
        (lambda folder: tar_source(written(folder, tar_bytes(samples(1))), image=""), r"expected image= to name"),
        (lambda folder: tar_source(written(folder, tar_bytes(samples(1))), classes="dog"), r"found the word 'dog'"),
        (lambda folder: tar_source(written(folder, tar_bytes(samples(1))), labels=None, classes=["a"]), r"found none"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(tmp_path, make, sentence):
    with pytest.raises(ps.PenstockError, match=sentence) as caught:
        make(tmp_path)
    assert caught.value.message.endswith(".") and "\n" not in caught.value.message


def test_compressed_tars_are_refused_with_the_way_out(tmp_path):
    path = written(tmp_path, gzip.compress(tar_bytes(samples(2))), "a.tar.gz")
    with pytest.raises(
        ps.SourceError, match=r"compressed with gzip, .*decompress it once: gunzip --keep '.*a.tar.gz'\."
    ):
        ps.tar(path)


# what it is


def test_a_source_survives_pickling_and_knows_its_content(tmp_path):
    path = written(tmp_path, tar_bytes(samples(3)))
    source = tar_source(path)
    before = source.field("cls", np.array([1]))
    copy = pickle.loads(pickle.dumps(source))
    assert copy == source and copy.field("cls", np.array([1])) == before
    (tmp_path / "other").mkdir()
    moved = tar_source(written(tmp_path / "other", path.read_bytes()))
    assert moved.digest() == source.digest() and moved != source


def test_a_loader_resumes_over_shards(tmp_path):
    for row in range(3):
        written(tmp_path, tar_bytes(samples(5, 5 * row)), f"{row}.tar")
    line = ps.tar(str(tmp_path / "{0..2}.tar")).seed(1).shuffle().decode().resize(8, 8).batch(4)
    whole = [(list(batch.keys), batch.images.tobytes()) for batch in line.loader()]
    for stop in range(4):
        first = line.loader()
        passing = iter(first)
        for _ in range(stop):
            next(passing)
        again = line.loader()
        again.load_state_dict(first.state_dict())
        assert [(list(batch.keys), batch.images.tobytes()) for batch in again] == whole[stop:]
