"""The index of a tar: the native walk against its twin, on every writer's tars and on damaged ones."""

from __future__ import annotations

import io
import os
import random
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penstock import _native
from penstock._reference import tar as twin
from penstock.sources.tar_index import SUFFIX, ShardIndex, load_indices
from tars import FORMATS, offsets, samples, tar_bytes, written


def by_native(path: Path) -> dict[str, Any]:
    (found,) = _native.index_tars([os.fsencode(path)], 1)
    assert found["problem"][1] == ""
    index = ShardIndex.from_native(found)
    return {
        "keys": list(index.keys),
        "extensions": list(index.extensions),
        "members": list(
            zip(
                *(column.tolist() for column in (index.sample, index.extension, index.offset, index.size, index.state)),
                strict=True,
            )
        ),
        "classes": list(index.classes),
        "damage": [tuple(row) for row in index.damage.tolist()],
        "counts": index.counts.tolist(),
    }


def equal_to_twin(path: Path) -> dict[str, Any]:
    """What native and twin both find."""
    found = by_native(path)
    expected = twin.index_tar(path.read_bytes())
    assert found["keys"] == expected.keys
    assert found["extensions"] == expected.extensions
    assert found["members"] == [tuple(member) for member in expected.members]
    assert found["classes"] == expected.classes
    assert found["damage"] == expected.damage
    assert found["counts"] == expected.counts
    return found


def names_of(found: dict[str, Any]) -> list[bytes]:
    return [found["keys"][sample] + b"." + found["extensions"][code] for sample, code, *_ in found["members"]]


AWKWARD = [
    ("plain.jpg", b"one"),
    ("a/" * 40 + "deep.jpg", b"two" * 400),
    ("n" * 160 + ".jpg", b"three"),
    ("l" * 90 + "/" + "m" * 98 + ".png", b""),
    ("bytes-\udcff\udc80.jpg", b"x" * 512),
    ("é/ü.jpeg", b"y" * 513),
    ("A.JPG", b"z"),
    ("two.seg.png", b"mask"),
    (".hidden.jpg", b"h"),
    ("bare", b"b"),
    ("point.", b"p"),
    ("1.cls", b" 12\n"),
    ("2.cls", b"c" * 5000),
]


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_read_as_tarfile_reads_it(tmp_path, kind):
    members = [
        (name, data) for name, data in AWKWARD if kind != "ustar" or len(os.fsencode(name.rpartition("/")[2])) <= 100
    ]
    path = written(tmp_path, tar_bytes(members, kind))
    found = equal_to_twin(path)
    assert not found["damage"]
    with tarfile.open(path, encoding="utf-8", errors="surrogateescape") as file:
        known = {
            os.fsencode(member.name): (member.offset_data, member.size)
            for member in file
            if not member.name.rpartition("/")[2].startswith(".") and member.name.rpartition(".")[2] not in ("", "bare")
        }
    stored = [(offset, size) for _, _, offset, size, _ in found["members"]]
    lowered = {name.replace(b"A.JPG", b"A.jpg"): place for name, place in known.items()}
    assert dict(zip(names_of(found), stored, strict=True)) == lowered
    assert found["counts"][4:] == [1, 2]
    assert found["classes"] == [b" 12\n", b""]


def test_links_folders_and_devices_are_counted(tmp_path):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as file:
        for kind in (tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, b"Z"):
            info = tarfile.TarInfo("x.jpg")
            info.type = kind
            file.addfile(info)
    found = equal_to_twin(written(tmp_path, out.getvalue()))
    assert found["members"] == [] and found["counts"] == [2, 1, 2, 1, 0, 0]


def test_sparse_members_are_marked_and_what_follows_is_found(tmp_path):
    (tmp_path / "hole.jpg").write_bytes(b"head")
    os.truncate(tmp_path / "hole.jpg", 3 << 20)
    with open(tmp_path / "hole.jpg", "r+b") as file:
        for at in range(0, 3 << 20, 1 << 16):  # more pieces than the header itself has room for
            file.seek(at)
            file.write(b"piece")
    (tmp_path / "after.jpg").write_bytes(b"after")
    for options in ("--format=gnu", "--format=posix --sparse-version=0.0", "--format=posix --sparse-version=1.0"):
        path = tmp_path / "sparse.tar"
        command = f"cd '{tmp_path}' && tar --sparse {options} -cf sparse.tar hole.jpg after.jpg 2>/dev/null"
        if os.system(command) != 0:
            pytest.skip("no GNU tar here")
        found = equal_to_twin(path)
        states = {name: state for name, (*_, state) in zip(names_of(found), found["members"], strict=True)}
        assert states == {b"hole.jpg": twin.SPARSE, b"after.jpg": twin.WHOLE} and not found["damage"]


def test_sizes_beyond_octal_are_read_and_cut(tmp_path):
    info = tarfile.TarInfo("big.jpg")
    info.size = 9 << 30
    for kind in ("gnu", "pax"):
        head = info.tobuf(FORMATS[kind])
        found = equal_to_twin(written(tmp_path, head + b"bytes"))
        assert [member[3:] for member in found["members"]] == [(9 << 30, twin.CUT)]
        assert found["damage"] == [(1, len(head), 9 << 30, 5)]


def test_members_of_a_key_join_wherever_they_stand(tmp_path):
    names = ["a.jpg", "b.jpg", "a.cls", "b.cls", "a.jpg", "a.cls"]
    found = equal_to_twin(written(tmp_path, tar_bytes([(name, b"1") for name in names])))
    assert found["keys"] == [b"a", b"b", b"a"]
    assert [member[0] for member in found["members"]] == [0, 1, 0, 1, 2, 2]


def test_a_tar_inside_the_tar_is_not_taken_for_damage(tmp_path):
    inner = tar_bytes(samples(3))
    data = bytearray(tar_bytes([("a.jpg", b"1"), ("inner.tar", inner), ("b.jpg", b"2"), ("c.jpg", b"3")]))
    assert names_of(equal_to_twin(written(tmp_path, bytes(data)))) == [b"a.jpg", b"inner.tar", b"b.jpg", b"c.jpg"]
    data[offsets(bytes(data))["b.jpg"][0]] ^= 1
    found = equal_to_twin(written(tmp_path, bytes(data)))
    assert names_of(found) == [b"a.jpg", b"inner.tar", b"c.jpg"] and len(found["damage"]) == 1


def test_a_shard_that_a_cut_member_swallowed_is_found(tmp_path):
    large = tar_bytes([("0.jpg", b"j" * 20_000)])
    small = tar_bytes([("1.jpg", b"k" * 900), ("2.jpg", b"m" * 100)])
    for cut in (512 + 512, 512 + 700, 512 + 12_000):  # where the large one ends lies in the zeros behind the small ones
        found = equal_to_twin(written(tmp_path, large[:cut] + small + bytes(20_000)))
        states = {name: state for name, (*_, state) in zip(names_of(found), found["members"], strict=True)}
        assert states == {b"0.jpg": twin.OVERRUN, b"1.jpg": twin.WHOLE, b"2.jpg": twin.WHOLE}
        assert found["damage"] == [(2, 512, 20_000, cut - 512)]
    for last in (tar_bytes(samples(2)), tar_bytes(samples(2), end=False)):
        found = equal_to_twin(written(tmp_path, tar_bytes([("0.jpg", b"j"), ("inner.tar", last)])))
        assert names_of(found) == [b"0.jpg", b"inner.tar"] and not found["damage"]


def test_what_a_shard_lost_in_the_middle_takes_one_member_only(tmp_path):
    data = tar_bytes([(f"{number}.jpg", bytes([number + 65]) * 3000) for number in range(6)])
    _, start, _ = offsets(data)["2.jpg"]
    for lost in (1, 512, 700, 2999):
        found = equal_to_twin(written(tmp_path, data[: start + 10] + data[start + 10 + lost :]))
        states = {name: state for name, (*_, state) in zip(names_of(found), found["members"], strict=True)}
        assert states == {b"%d.jpg" % n: twin.OVERRUN if n == 2 else twin.WHOLE for n in range(6)}, lost
        assert len(found["damage"]) == 1


@pytest.mark.parametrize("seed", range(12))
def test_damaged_tars_are_read_alike_by_native_and_twin(tmp_path, seed):
    draws = random.Random(seed)
    members = [*samples(4), ("x" * 130 + ".png", b"long"), ("t.tar", tar_bytes(samples(1)))]
    whole = [tar_bytes(members, kind, end=draws.random() < 0.7) for kind in ("gnu", "pax")]
    for _ in range(40):
        data = bytearray(draws.choice(whole))
        for _ in range(draws.randrange(4)):
            at = draws.randrange(len(data)) // 512 * 512 if draws.random() < 0.7 else draws.randrange(len(data))
            match draws.randrange(6):
                case 0:
                    del data[at:]
                case 1:
                    del data[at : at + draws.randrange(2000)]
                case 2:
                    data[at : at + 512] = bytes(512)
                case 3:
                    data[at:at] = draws.randbytes(draws.randrange(1500))
                case 4:
                    data += draws.choice(whole)
                case 5:
                    resized(data, at, draws)
            if not data:
                break
        equal_to_twin(written(tmp_path, bytes(data)))


def resized(data: bytearray, at: int, draws: random.Random) -> None:
    """Gives the header at ``at``, if one is there, another size or type with a right checksum."""
    block = data[at : at + 512]
    if block[257:262] != b"ustar":
        return
    if draws.random() < 0.3:
        block[156] = draws.choice(b"0127xLKgSVZ\0")
    else:
        size = draws.choice([0, 1, 511, 513, 1 << 20, (1 << 33) - 1, None])
        block[124:136] = b"%011o\0" % size if size is not None else bytes([draws.choice([0x80, 0xFF])] * 12)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    data[at : at + 512] = block


def test_holes_are_zeros(tmp_path):
    path = written(tmp_path, tar_bytes(samples(1)))
    os.truncate(path, 1 << 40)  # a terabyte of nothing
    (found,) = _native.index_tars([os.fsencode(path)], 1)
    assert len(found["sample"]) == 2 and len(found["damage"]) == 0


def test_many_shards_are_indexed_by_many_threads(tmp_path):
    paths = [written(tmp_path, tar_bytes(samples(3, 3 * row)), f"{row}.tar") for row in range(20)]
    alone = [by_native(path) for path in paths]
    found = _native.index_tars([os.fsencode(path) for path in paths], 8)
    assert [list(ShardIndex.from_native(each).keys) for each in found] == [each["keys"] for each in alone]


# the file it is kept in


def same(one: ShardIndex, other: ShardIndex) -> bool:
    columns = ("sample", "extension", "offset", "size", "state", "damage", "counts")
    return (
        one.identity == other.identity
        and all(list(getattr(one, name)) == list(getattr(other, name)) for name in ("keys", "extensions", "classes"))
        and all(np.array_equal(getattr(one, name), getattr(other, name)) for name in columns)
    )


def test_an_index_survives_its_file_and_nothing_else_passes_for_one(tmp_path):
    path = written(tmp_path, tar_bytes(AWKWARD)[:-3000])
    index = ShardIndex.from_native(_native.index_tars([os.fsencode(path)], 1)[0])
    data = index.to_bytes()
    again = ShardIndex.from_bytes(data)
    assert again is not None and same(index, again)
    assert ShardIndex.from_bytes(b"") is None and ShardIndex.from_bytes(data + b"\0") is None
    draws = random.Random(0)
    for _ in range(300):
        broken = bytearray(data)
        broken[draws.randrange(len(data))] ^= 1 << draws.randrange(8)
        assert ShardIndex.from_bytes(bytes(broken)) is None
    for cut in range(0, len(data), 37):
        assert ShardIndex.from_bytes(data[:cut]) is None


def load(path: Path, keep: Any = "beside") -> ShardIndex:
    return load_indices("test", [os.fsencode(path)], keep)[0]


def test_an_index_is_kept_beside_its_shard_until_the_shard_changes(tmp_path, monkeypatch):
    path = written(tmp_path, tar_bytes(samples(2)))
    kept = tmp_path / (path.name + SUFFIX)
    first = load(path)
    assert sorted(os.listdir(tmp_path)) == [path.name, kept.name]
    with monkeypatch.context() as patched:
        patched.setattr(_native, "index_tars", None)
        assert same(load(path), first)
    kept.write_bytes(b"something else")
    assert same(load(path), first) and kept.read_bytes() == first.to_bytes()
    os.utime(path, ns=(1, 1))
    assert load(path).identity != first.identity
    written(tmp_path, tar_bytes(samples(3)))
    assert len(load(path).keys) == 3
    assert sorted(os.listdir(tmp_path)) == [path.name, kept.name]


def test_an_index_that_is_sound_but_of_another_shard_is_not_taken(tmp_path):
    one = written(tmp_path, tar_bytes(samples(2)), "one.tar")
    other = written(tmp_path, tar_bytes(samples(3)), "other.tar")
    load(one)
    (tmp_path / ("other.tar" + SUFFIX)).write_bytes((tmp_path / ("one.tar" + SUFFIX)).read_bytes())
    assert len(load(other).keys) == 3


def test_an_index_may_be_kept_in_a_folder_or_nowhere(tmp_path):
    path = written(tmp_path, tar_bytes(samples(2)))
    load(path, None)
    assert os.listdir(tmp_path) == [path.name]
    first = load(path, tmp_path / "kept")
    assert os.listdir(tmp_path / "kept")[0].endswith("-shard.tar" + SUFFIX)
    assert same(load(path, tmp_path / "kept"), first)


def test_an_index_goes_to_the_cache_where_its_shard_cannot_have_it(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = written(tmp_path, tar_bytes(samples(2)))
    (tmp_path / (path.name + SUFFIX)).mkdir()  # nothing can be put in its place
    first = load(path)
    assert len(os.listdir(tmp_path / "cache" / "penstock" / "tar")) == 1
    with monkeypatch.context() as patched:
        patched.setattr(_native, "index_tars", None)
        assert same(load(path), first)
    monkeypatch.setenv("XDG_CACHE_HOME", str(path))  # and here neither
    assert same(load(path), first)
