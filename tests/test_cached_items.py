"""How a cache knows an item: by a file's times, by content, by its place in a shard; the twin finds the same."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

import penstock as ps
from cached_lines import aged, assert_same, everything, photo, settle, write_pictures
from penstock import cache


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "pictures")


def same_times(path: Path, write) -> None:
    """Writes a file anew, as cp -p does: its times and its size are those of before."""
    about = path.stat()
    write()
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    settle()
    assert path.stat().st_size == about.st_size
    assert path.stat().st_mtime_ns == about.st_mtime_ns


@pytest.mark.parametrize("way", ["in place", "replaced"])
@pytest.mark.parametrize("identity", ["stat", "content"])
@pytest.mark.parametrize("place", ["encoded", "pixels"])
def test_a_file_that_was_replaced_is_seen(way, identity, place, tmp_path):
    if (identity, place) == ("content", "encoded"):
        pytest.skip("refused")
    root = tmp_path / "pictures"
    root.mkdir()
    for number in range(3):
        photo(root / f"{number}.bmp", number)
    settle()
    start, options = ps.folder(root), {"max_bytes": "1GB", "identity": identity}
    if place == "encoded":
        line = start.cache(tmp_path / "cache", **options).decode().resize(16, 16).batch(3)
    else:
        line = start.decode().resize(16, 16).cache(tmp_path / "cache", **options).batch(3)
    everything(line)
    other = tmp_path / "other.bmp"
    photo(other, 77)
    target = root / "1.bmp"
    if way == "in place":
        same_times(target, lambda: target.write_bytes(other.read_bytes()))
    else:
        same_times(target, lambda: os.replace(other, target))
    plain = ps.folder(root).decode().resize(16, 16).batch(3)
    found = everything(line)
    assert_same(everything(plain), found)
    assert (found[2].stats.cache_hits, found[2].stats.cache_misses) == (2, 1)
    assert everything(line)[2].stats.cache_hits == 3


@pytest.mark.parametrize("offset_s", [-1, +3600])
def test_a_file_of_this_moment_or_of_the_future_is_not_kept(offset_s, tmp_path):
    root = tmp_path / "pictures"
    root.mkdir()
    photo(root / "old.bmp", 1)
    photo(root / "new.bmp", 2)
    until = time.monotonic() + 60
    while True:  # until a run ended within the moment: a busy machine may let it pass
        moment = time.time_ns() + offset_s * 10**9  # the clock may have been set back
        aged(root / "new.bmp", moment)
        settle()
        line = ps.folder(root).decode().resize(16, 16).cache(tmp_path / f"cache{moment}", max_bytes="1GB").batch(2)
        everything(line)
        if time.time_ns() < moment + 2 * 10**9:
            break
        assert time.monotonic() < until
    assert line.cache_info().entries == 1
    assert everything(line)[2].stats.cache_hits == 1


@pytest.mark.parametrize("place", ["pixels", "encoded"])
def test_bytes_and_arrays_are_known_by_their_content(place, pictures, tmp_path):
    blobs = {path.name: path.read_bytes() for path in sorted(pictures.rglob("*.*")) if path.name != "broken.jpg"}
    start = ps.blobs(blobs)
    plain = start.decode().resize(16, 16).batch(4)
    if place == "encoded":  # they are in memory already
        line = start.cache(tmp_path / "cache", max_bytes="1GB").decode().resize(16, 16).batch(4)
    else:
        line = start.decode().resize(16, 16).cache(tmp_path / "cache", max_bytes="1GB").batch(4)
    assert_same(everything(plain), everything(line))
    found = everything(line)
    assert_same(everything(plain), found)
    assert found[2].stats.cache_hits == (len(blobs) if place == "pixels" else 0)
    if place == "pixels":
        images = [np.random.default_rng(n).integers(0, 256, (9, 9 + n % 3, 3), dtype=np.uint8) for n in range(6)]
        line = ps.arrays(images).resize(16, 16).cache(tmp_path / "cache", max_bytes="1GB").normalize(ps.UNIT).batch(4)
        plain = ps.arrays(images).resize(16, 16).normalize(ps.UNIT).batch(4)
        assert_same(everything(plain), everything(line))
        assert_same(everything(plain), everything(line))
        assert line.cache_info().hits == 6


def test_shards_are_known_by_their_place(pictures, tmp_path):
    import tarfile

    with tarfile.open(tmp_path / "s.tar", "w") as shard:
        for path in sorted(pictures.rglob("*.*")):
            shard.add(path, path.name)
    aged(tmp_path / "s.tar")
    settle()
    plain = ps.tar(tmp_path / "s.tar").decode().resize(16, 16).batch(4)
    line = ps.tar(tmp_path / "s.tar").decode().resize(16, 16).cache(tmp_path / "cache", max_bytes="1GB").batch(4)
    expected = everything(plain)
    assert_same(expected, everything(line))
    found = everything(line)
    assert_same(expected, found)
    assert found[2].stats.cache_misses == 1


def test_another_pillow_decodes_again(pictures, tmp_path, monkeypatch):
    line = ps.folder(pictures).decode().resize(16, 16).cache(tmp_path / "cache", max_bytes="1GB").batch(4)
    by_pillow = everything(line)[2].stats.pillow_items - 1
    monkeypatch.setattr(cache, "_pillow", lambda: 12345)
    found = everything(line)
    assert found[2].stats.cache_misses == by_pillow + 1
    assert found[2].stats.pillow_items == by_pillow + 1
    assert everything(line)[2].stats.cache_misses == 1


def test_tables_and_several_images_an_item(pictures, tmp_path):
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    whole = [path.read_bytes() for path in sorted(pictures.rglob("*.*")) if path.name != "broken.jpg"]
    parquet.write_table(pa.table({"image": whole, "name": [str(n) for n in range(len(whole))]}), tmp_path / "t.parquet")
    rows = [whole[n : n + 1 + n // 3 % 3] for n in range(0, len(whole), 3)]
    parquet.write_table(pa.table({"pages": rows}), tmp_path / "pages.parquet")
    for name in ("t", "pages"):
        aged(tmp_path / f"{name}.parquet")
    settle()
    cases = [
        (ps.parquet(tmp_path / "t.parquet", image="image"), {}),
        (ps.parquet(tmp_path / "pages.parquet", image="pages"), {"images": 12}),
    ]
    for number, (source, options) in enumerate(cases):
        before = source.decode().resize(16, 16)
        plain = before.random_vertical_flip().normalize(ps.UNIT).batch(4, **options)
        place = tmp_path / f"cache{number}"
        line = before.cache(place, max_bytes="1GB").random_vertical_flip().normalize(ps.UNIT).batch(4, **options)
        expected = everything(plain)
        assert_same(expected, everything(line))
        found = everything(line)
        assert_same(expected, found)
        assert found[2].stats.cache_misses == 0
        assert found[2].stats.cache_hits == (sum(map(len, rows)) if options else len(whole))


@pytest.mark.parametrize("identity", ["stat", "content"])
def test_the_twin_finds_every_entry(identity, pictures, tmp_path):
    pytest.importorskip("xxhash")
    from penstock._reference.cache import cache_key, read_entries
    from penstock._reference.cached import content_key, file_key

    root = os.fspath(pictures)
    line = ps.folder(root).decode().resize(16, 16)
    line = line.cache(tmp_path / "cache", max_bytes="1GB", identity=identity).batch(4)
    images = [image for batch in everything(line)[0] for image in batch["images"]]
    recipe = cache_key(line.caching.fingerprint(line.recipe).encode(), (0, 0))
    kept = read_entries(tmp_path / "cache", recipe)
    assert len(kept) == len(images) - 1
    for image, item in zip(images, line.source, strict=True):
        if item.key.endswith("broken.jpg"):
            continue
        path = os.path.join(root, item.key)
        if identity == "stat":
            key = file_key(os.fsencode(path), os.stat(path), recipe)
        else:
            key = content_key(Path(path).read_bytes(), recipe)
        np.testing.assert_array_equal(np.frombuffer(kept[key].data, np.uint8).reshape(16, 16, 3), image)


def test_the_twin_finds_arrays_and_parts_of_files(pictures, tmp_path):
    pytest.importorskip("xxhash")
    import tarfile

    from penstock._reference.cache import cache_key, read_entries
    from penstock._reference.cached import content_key, file_key

    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    line = ps.arrays([image]).cache(tmp_path / "arrays", max_bytes="1GB").resize(4, 4).batch(1)
    everything(line)
    recipe = cache_key(line.caching.fingerprint(line.recipe).encode(), (0, 0))
    assert list(read_entries(tmp_path / "arrays", recipe)) == [content_key(image.tobytes(), recipe, (9, 7))]
    with tarfile.open(tmp_path / "s.tar", "w") as shard:
        shard.add(pictures / "a" / "turned.jpg", "turned.jpg")
    with tarfile.open(tmp_path / "s.tar") as shard:
        start, size = shard.getmembers()[0].offset_data, shard.getmembers()[0].size
    aged(tmp_path / "s.tar")
    settle()
    line = ps.tar(tmp_path / "s.tar").cache(tmp_path / "encoded", max_bytes="1GB").decode().resize(4, 4).batch(1)
    everything(line)
    recipe = cache_key(line.caching.fingerprint(line.recipe).encode(), (0, 0))
    path = os.fsencode(tmp_path / "s.tar")
    kept = read_entries(tmp_path / "encoded", recipe)
    assert list(kept) == [file_key(path, os.stat(path), recipe, start, size)]
    assert bytes(kept[next(iter(kept))].data) == (pictures / "a" / "turned.jpg").read_bytes()
