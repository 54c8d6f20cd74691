"""A cache in a line: the same bits with it and without, found again by every later pass, refused where it cannot be."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import penstock as ps
from penstock import cli

OLD_NS = 1_000_000_000 * 10**9
SIDES = [(60, 80), (33, 90), (128, 96), (41, 41)]


def aged(path: Path, ns: int = OLD_NS) -> None:
    """A file that was written long ago."""
    os.utime(path, ns=(ns, ns))


def settle() -> None:
    """The times of what was just written become times that a cache trusts."""
    time.sleep(0.06)


def photo(path: Path, seed: int, size: tuple[int, int] = (60, 80), **options: object) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)
    aged(path)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two classes; JPEG, PNG, WebP and BMP (Pillow's), one turned, one 16 bit, one damaged and one broken file."""
    for number in range(14):
        folder = tmp_path / "pictures" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        kind = ["jpg", "png", "webp", "bmp"][number % 4]
        photo(folder / f"{number:02}.{kind}", number, SIDES[number % 3])
    root = tmp_path / "pictures"
    exif = Image.Exif()
    exif[274] = 6
    photo(root / "a" / "turned.jpg", 20, (40, 70), exif=exif)
    Image.fromarray(np.full((30, 30, 4), 99, np.uint8)).save(root / "a" / "clear.png")
    Image.fromarray(np.arange(900, dtype=np.uint16).reshape(30, 30)).save(root / "a" / "grey.png")
    whole = (root / "a" / "turned.jpg").read_bytes()
    (root / "b" / "damaged.jpg").write_bytes(whole[:-300] + b"\xff\xd9")
    (root / "b" / "broken.jpg").write_bytes(b"no picture")
    for path in root.rglob("*.*"):
        aged(path)
    settle()
    return root


def everything(line, **options):
    """All that a run hands over, and its run."""
    found = []
    with line.run(**{"on_failure": "blank", **options}) as run:
        for batch in run:
            images = batch.images
            found.append(
                {
                    "images": [np.array(image) for image in images],
                    "labels": batch.labels,
                    "valid": batch.valid,
                    "damaged": batch.damaged,
                    "matrices": batch.geometry.matrices,
                    "keys": list(batch.keys),
                    "index": batch.index,
                    "failures": [failure.message for failure in batch.failures],
                    "targets": {
                        kind: [np.asarray(row).tolist() for row in rows] for kind, rows in batch.targets.items()
                    },
                    "companions": {name: [np.array(row) for row in rows] for name, rows in batch.companions.items()},
                }
            )
    told = dict(run.notes), sorted(damage.message for damage in run.damaged), sorted(run.failures.by_cause().items())
    return found, told, run


def assert_same(one, other) -> None:
    assert one[1] == other[1]
    assert len(one[0]) == len(other[0])
    for first, second in zip(one[0], other[0], strict=True):
        for name, value in first.items():
            np.testing.assert_equal(second[name], value, err_msg=name)


def invert(image):
    return 255 - image


def turned(image):
    return np.ascontiguousarray(image[:, ::-1]), [[-1, 0, image.shape[1]], [0, 1, 0]]


def shear(height, width, rng):
    return [[1, rng.uniform(-0.2, 0.2), 0], [0, 1, 0]]


# What comes before the cache, and after it.
LINES = {
    "normalised": (
        lambda line: line.decode().resize(32, 48),
        lambda line: line.normalize(ps.IMAGENET).batch(4, layout="NCHW"),
    ),
    "as it is kept": (lambda line: line.decode().resize(32, 48), lambda line: line.batch(4)),
    "random after": (
        lambda line: line.decode().resize(40, 40),
        lambda line: (
            line.random_crop(32, 32).random_horizontal_flip().random_color_jitter(0.2).normalize(ps.CLIP).batch(5)
        ),
    ),
    "full size": (lambda line: line.decode(), lambda line: line.resize(24, 24, fit="cover").batch(4)),
    "encoded": (lambda line: line, lambda line: line.decode().random_resized_crop(24, 24).normalize(ps.UNIT).batch(4)),
    "ragged": (lambda line: line.decode().resize(short_side=24), lambda line: line.batch(4, ragged="list")),
    "padded": (
        lambda line: line.decode().resize(long_side=24),
        lambda line: line.normalize(ps.UNIT).batch(4, ragged="pad"),
    ),
    "buckets": (lambda line: line.decode().resize(short_side=24), lambda line: line.batch(4, ragged="bucket")),
    "patches": (
        lambda line: line.decode().resize(max_patches=16, patch=8),
        lambda line: line.normalize(ps.UNIT).patchify(8).batch(4),
    ),
    "one by one": (lambda line: line.decode().resize(16, 16), lambda line: line.batch(1)),
    "grey": (lambda line: line.decode(mode="L").resize(16, 16), lambda line: line.batch(4)),
    "transparent": (lambda line: line.decode(mode="RGBA").resize(16, 16), lambda line: line.batch(4)),
    "fast": (lambda line: line.decode(fidelity="fast").resize(16, 16), lambda line: line.normalize(ps.UNIT).batch(4)),
    "frame steps": (
        lambda line: line.decode().resize(20, 20).pad(2, 2, 2, 2).jpeg_roundtrip(80),
        lambda line: line.crop((0, 0, 8, 8)).batch(4),
    ),
    "map before": (
        lambda line: line.decode().resize(20, 20).map(invert, version="1", geometry="keep"),
        lambda line: line.normalize(ps.UNIT).batch(4),
    ),
    "moving map before": (
        lambda line: line.decode().resize(20, 20).map(turned, version="1", geometry="returned").resize(10, 10),
        lambda line: line.normalize(ps.UNIT).batch(4),
    ),
    "map after": (lambda line: line.decode().resize(20, 20), lambda line: line.map(invert, geometry="keep").batch(4)),
    "maps around": (
        lambda line: line.decode().map(invert, version="1", geometry="keep").resize(20, 20),
        lambda line: line.map(turned, geometry="returned").resize(9, 9).map(invert, geometry="keep").batch(4),
    ),
    "warp after": (
        lambda line: line.decode().resize(20, 20),
        lambda line: line.warp(shear, 16, 16).normalize(ps.UNIT).batch(4),
    ),
    "warp after map": (
        lambda line: line.decode().map(invert, version="1", geometry="keep").resize(20, 20),
        lambda line: line.warp(shear, 16, 16).map(invert, geometry="keep").batch(4),
    ),
}


@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize("engine", ["native", "reference"])
def test_a_cache_changes_no_bit(name, engine, pictures, tmp_path):
    before, after = LINES[name]
    start = ps.folder(pictures).seed(3).shuffle()
    plain = after(before(start))
    line = after(before(start).cache(tmp_path / "cache", max_bytes="100MB"))
    expected = everything(plain)
    cold = everything(line, engine=engine)
    if engine == "reference":
        if name != "fast":
            assert_same(expected, cold)
        return
    warm = everything(line)
    assert_same(expected, cold)
    assert_same(expected, warm)
    items = len(ps.folder(pictures))
    assert cold[2].stats.cache_hits == 0
    assert cold[2].stats.cache_misses == items
    assert warm[2].stats.cache_hits == (items if name == "encoded" else items - 1)  # a failure is never kept
    assert_same(everything(plain, epoch=1), everything(line, epoch=1))
    assert line.fingerprint == plain.fingerprint


def test_what_is_there_is_not_decoded(pictures, tmp_path):
    line = ps.folder(pictures).decode().resize(32, 32).cache(tmp_path / "cache", max_bytes="1GB").batch(4)
    first = everything(line)[2].stats
    second = everything(line)[2].stats
    assert first.pillow_items > 1
    assert second.pillow_items == 1  # the broken file
    assert second.busy_s["decode"] < first.busy_s["decode"] / 10


@pytest.mark.parametrize("identity", ["stat", "content"])
def test_another_process_finds_it(identity, pictures, tmp_path):
    script = (
        "import sys, penstock as ps\n"
        "line = ps.folder(sys.argv[1]).decode().resize(32, 32).cache(sys.argv[2], max_bytes='1GB',"
        " identity=sys.argv[3]).batch(4)\n"
        "with line.run(on_failure='skip') as run:\n"
        "    total = sum(int(batch.images.sum()) for batch in run)\n"
        "print(total, run.stats.cache_hits, run.stats.cache_misses)\n"
    )
    command = [sys.executable, "-c", script, str(pictures), str(tmp_path / "cache"), identity]
    said = [subprocess.run(command, check=True, capture_output=True, text=True).stdout.split() for _ in range(2)]
    items = len(ps.folder(pictures))
    assert said[0][1:] == ["0", str(items)]
    assert said[1][1:] == [str(items - 1), "1"]
    assert said[0][0] == said[1][0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_opens_its_own(pictures, tmp_path):
    line = ps.folder(pictures).decode().resize(32, 32).cache(tmp_path / "cache", max_bytes="1GB").batch(4)
    expected = everything(line)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            found = everything(line)
            assert_same(expected, found)
            assert found[2].stats.cache_misses == 1
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert everything(line)[2].stats.cache_misses == 1


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
    settle()
    now = time.time_ns() + offset_s * 10**9  # the clock may have been set back
    aged(root / "new.bmp", now)
    settle()
    line = ps.folder(root).decode().resize(16, 16).cache(tmp_path / "cache", max_bytes="1GB").batch(2)
    everything(line)
    assert everything(line)[2].stats.cache_hits == 1
    assert line.cache_info().entries == 1


def test_two_recipes_in_one_folder(pictures, tmp_path):
    start, place = ps.folder(pictures), tmp_path / "cache"
    lines = [
        start.decode().resize(side, side).cache(place, max_bytes="1GB").normalize(ps.UNIT).batch(4) for side in (16, 24)
    ]
    lines.append(start.cache(place, max_bytes="1GB").decode().resize(16, 16).batch(4))
    for line in lines:
        everything(line)
    for line in lines:
        assert everything(line)[2].stats.cache_misses <= 1


def test_a_cache_that_is_too_small_keeps_what_it_has(pictures, tmp_path):
    plain = ps.folder(pictures).decode().resize(64, 64).batch(4)
    line = ps.folder(pictures).decode().resize(64, 64).cache(tmp_path / "cache", max_bytes=5000).batch(4)
    expected = everything(plain)
    for _ in range(2):
        found = everything(line)
        assert_same(expected, found)
        assert found[2].stats.cache_hits == 0
    assert line.cache_info().entries == 0


def said_of(caplog, line, **options) -> list[str]:
    caplog.clear()
    with caplog.at_level("WARNING", logger="penstock"):
        everything(line, **options)
    return [record.getMessage() for record in caplog.records if record.getMessage().startswith("cache(")]


@pytest.mark.parametrize("place", ["one size", "own sizes", "bytes"])
def test_a_full_cache_says_once_what_all_would_need(place, tmp_path, caplog):
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(30):
        photo(photos / f"{number:02}.png", number)
    settle()

    def line(max_bytes: int | str, **options: bool) -> ps.Pipeline:
        start, where = ps.folder(photos), tmp_path / "cache"
        if place == "bytes":
            return start.cache(where, max_bytes=max_bytes, **options).decode().resize(30, 40).batch(4)
        shaped = start.decode() if place == "own sizes" else start.decode().resize(30, 40)
        return shaped.cache(where, max_bytes=max_bytes, **options).resize(20, 20).batch(4)

    small = line(45_000)
    said = said_of(caplog, small)
    assert len(said) == 1
    kept = small.cache_info().entries
    assert 0 < kept < 30
    assert said[0].startswith(
        f"cache({str(tmp_path / 'cache')!r}): full, at most 45.0 kB: it holds {kept} of 30 images, and makes the "
        f"others anew in each pass; all need about "
    )
    assert said_of(caplog, small) == []
    # Whoever does as it says has all of them.
    advised = re.search(r"pass max_bytes='(.*?)'\.$", said[0])
    assert advised is not None
    enough = line(advised[1])
    assert said_of(caplog, enough) == []
    assert enough.cache_info().entries == 30
    assert everything(enough)[2].stats.cache_misses == 0
    other = ps.folder(photos).decode().resize(25, 25).cache(tmp_path / "cache", max_bytes=advised[1]).batch(4)
    assert "or evict=True, which drops what other recipes keep" in said_of(caplog, other)[0]


def test_a_cache_smaller_than_one_image_says_so(pictures, tmp_path, caplog):
    start = ps.folder(pictures).decode()
    said = said_of(caplog, start.resize(64, 64).cache(tmp_path / "cache", max_bytes=5000).batch(4))
    assert len(said) == 1 and "it holds 0 of" in said[0] and "pass max_bytes='" in said[0]
    said = said_of(caplog, start.cache(ps.RAM, max_bytes=400).resize(9, 9).batch(4))
    assert len(said) == 1 and "line.cache_info().estimated_bytes says what all of them need." in said[0]


def test_a_folder_that_goes_away_under_a_run(pictures, tmp_path):
    start = ps.folder(pictures)
    plain = start.decode().resize(16, 16).batch(2)
    line = start.decode().resize(16, 16).cache(tmp_path / "cache", max_bytes="1GB").batch(2)
    expected = everything(plain)
    with line.run(on_failure="blank") as run:
        for number, batch in enumerate(run):
            np.testing.assert_array_equal(batch.images, expected[0][number]["images"])
            if number == 1:
                shutil.rmtree(tmp_path / "cache")
    for _ in range(2):
        found = everything(line)
        np.testing.assert_equal([b["images"] for b in found[0]], [b["images"] for b in expected[0]])


def test_read_only_reads(pictures, tmp_path):
    start, place = ps.folder(pictures), tmp_path / "cache"
    made = start.decode().resize(16, 16)
    everything(made.take(5).cache(place, max_bytes="1GB").batch(2))
    line = made.cache(place, max_bytes="1GB", read_only=True).batch(2)
    before = sorted(path.name for path in place.iterdir())
    found = everything(line)
    assert found[2].stats.cache_hits > 0
    assert_same(everything(made.batch(2)), found)
    assert sorted(path.name for path in place.iterdir()) == before


def test_a_loader_fills_once(pictures, tmp_path):
    line = (
        ps.folder(pictures).seed(1).shuffle().decode().resize(32, 32).cache(ps.RAM, max_bytes="1GB")
        .random_horizontal_flip().normalize(ps.UNIT).batch(4)
    )  # fmt: skip
    plain = ps.folder(pictures).seed(1).shuffle().decode().resize(32, 32)
    plain = plain.random_horizontal_flip().normalize(ps.UNIT).batch(4)
    with line.loader(on_failure="replace") as loader, plain.loader(on_failure="replace") as other:
        for epoch in range(3):
            for one, two in zip(loader, other, strict=True):
                np.testing.assert_array_equal(one.images, two.images)
                np.testing.assert_array_equal(one.labels, two.labels)
            assert loader.run is not None
            assert (loader.run.stats.cache_misses > 3) == (epoch == 0)
        state = loader.state_dict()
        other.load_state_dict(state)  # the cache is no part of what a line is


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


def test_companions_and_targets_go_along(pictures, tmp_path):
    masks = tmp_path / "masks"
    masks.mkdir()
    paths = sorted(path for path in pictures.rglob("*.*") if path.name not in ("broken.jpg", "damaged.jpg"))
    for path in paths:
        with Image.open(path) as image:
            size = image.size if path.name != "turned.jpg" else image.size[::-1]
        Image.fromarray(np.random.default_rng(1).integers(0, 9, size[::-1], dtype=np.uint8)).save(
            masks / f"{path.stem}.png"
        )
    start = ps.files([str(path) for path in paths]).decode().resize(20, 20)
    pattern = os.path.join(os.fspath(masks), "{stem}.png")
    plain = start.random_horizontal_flip().companion(mask=pattern).batch(4)
    line = start.cache(tmp_path / "cache", max_bytes="1GB").random_horizontal_flip().companion(mask=pattern).batch(4)
    expected = everything(plain)
    assert_same(expected, everything(line))
    assert_same(expected, everything(line))


def test_a_timeout_goes_with_it(pictures, tmp_path):
    line = ps.folder(pictures).decode().resize(16, 16).cache(tmp_path / "cache", max_bytes="1GB").batch(4)
    plain = everything(ps.folder(pictures).decode().resize(16, 16).batch(4))
    assert_same(plain, everything(line, timeout_s=20))
    assert_same(plain, everything(line, timeout_s=20))


def test_another_pillow_decodes_again(pictures, tmp_path, monkeypatch):
    from penstock import cache

    line = ps.folder(pictures).decode().resize(16, 16).cache(tmp_path / "cache", max_bytes="1GB").batch(4)
    by_pillow = everything(line)[2].stats.pillow_items - 1
    monkeypatch.setattr(cache, "_pillow", lambda: 12345)
    found = everything(line)
    assert found[2].stats.cache_misses == by_pillow + 1
    assert found[2].stats.pillow_items == by_pillow + 1
    assert everything(line)[2].stats.cache_misses == 1


def test_a_pass_by_samples_of_torch(pictures, tmp_path):
    pytest.importorskip("torch")
    start = ps.folder(pictures).decode().resize(16, 16)
    line, plain = start.cache(tmp_path / "cache", max_bytes="1GB"), start
    one, two = line.torch_dataset(on_failure="blank"), plain.torch_dataset(on_failure="blank")
    for _ in range(2):
        for left, right in zip(one, two, strict=True):
            assert left["labels"] == right["labels"]
            assert (left["images"] == right["images"]).all()
    assert line.cache_info().hits == len(line) - 1


def test_samples_of_torch_say_that_it_is_full(pictures, tmp_path, caplog):
    pytest.importorskip("torch")
    line = ps.folder(pictures).decode().resize(16, 16).cache(tmp_path / "cache", max_bytes=6000)
    samples = line.torch_dataset(on_failure="blank")
    with caplog.at_level("WARNING", logger="penstock"):
        for _ in range(2):
            samples.__getitems__(range(len(samples)))
    said = [record.getMessage() for record in caplog.records if "full, at most 6.0 kB" in record.getMessage()]
    assert len(said) == 1 and f"of {len(samples)} images" in said[0]


def test_what_is_known_of_it(pictures, tmp_path):
    line = ps.folder(pictures).decode().resize(16, 16).cache(tmp_path / "cache", max_bytes="2MB").batch(4)
    before = line.cache_info()
    assert before.entries == 0
    assert before.hit_rate == 0
    assert before.max_bytes == 2_000_000
    assert before.estimated_bytes is not None
    assert before.estimated_bytes > len(ps.folder(pictures)) * 16 * 16 * 3
    everything(line)
    everything(line)
    after = line.cache_info()
    items = len(ps.folder(pictures))
    assert (after.entries, after.hits, after.misses) == (items - 1, items - 1, items + 1)
    assert "entries" in str(after)
    assert "cache " in str(line)
    assert "2.0 MB" in str(line)
    with pytest.raises(ps.PlanError, match="found none"):
        ps.folder(pictures).cache_info()


def plain_map(image):
    return image


def drawn(image, rng):
    return image


R = ps.RAM
REFUSED = {
    "float pixels": (
        lambda line: line.decode().resize(8, 8).normalize(ps.UNIT).cache(R, max_bytes=9),
        "expected uint8 pixels",
    ),
    "float resize": (
        lambda line: line.decode().resize(8, 8, precision="float32").cache(R, max_bytes=9),
        "expected uint8 pixels",
    ),
    "16 bits": (lambda line: line.decode(depth=16).cache(R, max_bytes=9), "expected uint8 pixels, found uint16"),
    "a draw": (lambda line: line.decode().random_horizontal_flip().cache(R, max_bytes=9), "before random verbs"),
    "a map": (lambda line: line.decode().map(plain_map).cache(R, max_bytes=9), "version="),
    "a drawing map": (lambda line: line.decode().map(drawn, version="1").cache(R, max_bytes=9), "before random verbs"),
    "items": (lambda line: line.decode().map(plain_map, "item", version="1").cache(R, max_bytes=9), "maps on items"),
    "a warp": (lambda line: line.decode().warp(shear, 8, 8).cache(R, max_bytes=9), "before (random verbs|warp)"),
    "views": (
        lambda line: line.decode().views(a=ps.recipe().resize(8, 8)).cache(R, max_bytes=9),
        "without views",
    ),
    "views behind": (
        lambda line: line.decode().cache(R, max_bytes=9).views(a=ps.recipe().resize(8, 8)),
        "without a cache",
    ),
    "a second": (lambda line: line.cache(R, max_bytes=9).decode().cache(R, max_bytes=9), "one cache, found a second"),
    "a batch": (lambda line: line.decode().resize(8, 8).batch(2).cache(R, max_bytes=9), "before batch"),
    "no bytes": (lambda line: line.cache(R, max_bytes=0), "max_bytes"),
    "words": (lambda line: line.cache(R, max_bytes="many"), "max_bytes"),
    "a flag": (lambda line: line.cache(R, max_bytes=True), "max_bytes"),
    "a number for a folder": (lambda line: line.cache(3, max_bytes=9), "a folder or ps.RAM"),
    "identity": (lambda line: line.cache(R, max_bytes=9, identity="etag"), "identity="),
    "content of encoded": (lambda line: line.cache(R, max_bytes=9, identity="content"), "before decode"),
    "before a fast resize": (
        lambda line: line.decode(fidelity="fast").cache(R, max_bytes=9).resize(8, 8),
        "after the resize",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused(name):
    make, text = REFUSED[name]
    with pytest.raises(ps.PlanError, match=text) as caught:
        make(ps.blobs({"a": b"x"}))
    assert str(caught.value).endswith(".")


def test_a_folder_among_the_pictures_is_refused(pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(pictures)
    lines = [
        ps.folder(pictures),
        ps.folder("pictures"),
        ps.folder("link"),
        ps.concat(ps.folder("pictures/b"), ps.folder("pictures/a", classes=("b",), label=lambda key: "b")),
    ]
    for line in lines[:3]:
        for where in (pictures / "cache", "pictures/a/cache/deep", "pictures", "link/cache"):
            with pytest.raises(
                ps.PlanError, match=r"expected a folder beside the pictures, found one inside '.*', whose"
            ):
                line.cache(where, max_bytes="1MB")
    with pytest.raises(ps.PlanError, match=r"found one inside 'pictures/a', whose next scan would walk it"):
        lines[3].cache("pictures/a/cache", max_bytes="1MB")
    for where in ("pictures-cache", "cache", "pictures/../cache", "..", pictures / ".cache", "pictures/.kept/deep"):
        line = ps.folder(pictures).decode().resize(9, 9)
        kept = line.cache(where, max_bytes="1MB")
        assert kept.caching is not None
    kept.preload()
    assert (pictures / ".kept" / "deep" / "penstock-cache.json").exists()
    assert ps.folder(pictures).source.left_out == {}
    ps.files([pictures / "a" / "00.jpg"]).cache(pictures / "cache", max_bytes="1MB")  # a list scans nothing


def test_sizes_in_words():
    line = ps.blobs({"a": b"x"})
    known = (
        ("20GB", 20 * 10**9),
        ("1.5 KiB", 1536),
        ("7", 7),
        (" 3 mb ", 3 * 10**6),
        ("20G", 20 * 10**9),
        ("1.5k", 1500),
        (12, 12),
    )
    for words, count in (*known, ("many", None), (True, None)):
        if count is None:
            with pytest.raises(ps.PlanError):
                line.cache(ps.RAM, max_bytes=words)
        else:
            assert line.cache(ps.RAM, max_bytes=words).caching.max_bytes == count


def test_a_line_with_a_cache_is_a_value(tmp_path):
    import pickle

    line = ps.blobs({"a": b"x"}).decode().cache(ps.RAM, max_bytes="1GB")
    again = pickle.loads(pickle.dumps(line))
    assert again == line
    assert hash(again) == hash(line)
    assert again.caching.where is ps.RAM
    assert line != ps.blobs({"a": b"x"}).decode()


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


@pytest.mark.parametrize("policy", ["skip", "replace", "raise"])
def test_failures_are_met_as_without_it(policy, pictures, tmp_path):
    before = ps.folder(pictures).decode().resize(16, 16)
    plain, line = before.batch(4), before.cache(tmp_path / "cache", max_bytes="1GB").batch(4)
    for _ in range(2):
        if policy == "raise":
            with pytest.raises(ps.ItemError) as one:
                everything(plain, on_failure=policy)
            with pytest.raises(ps.ItemError) as two:
                everything(line, on_failure=policy)
            assert str(one.value) == str(two.value)
        else:
            assert_same(everything(plain, on_failure=policy), everything(line, on_failure=policy))


def test_a_cache_that_cannot_be_written_says_so_once(pictures, tmp_path, caplog):
    line = ps.folder(pictures).decode().resize(16, 16).cache(tmp_path / "cache", max_bytes="1GB").batch(2)
    expected = everything(ps.folder(pictures).decode().resize(16, 16).batch(2))
    with caplog.at_level("WARNING", logger="penstock"):
        with line.run(on_failure="blank") as run:
            next(run)
            shutil.rmtree(tmp_path / "cache")
            for _ in run:
                pass
        everything(line)
        found = everything(line)
    said = [record.getMessage() for record in caplog.records if "cache" in record.getMessage()]
    assert len(said) <= 1
    assert all(text.endswith(".") for text in said)
    np.testing.assert_equal([b["images"] for b in found[0]], [b["images"] for b in expected[0]])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux's shared memory")
def test_ram_goes_with_its_last_user(pictures):
    script = (
        "import sys, penstock as ps\n"
        "line = ps.folder(sys.argv[1]).decode().resize(17, int(sys.argv[2]))\n"
        "line = line.cache(ps.RAM, max_bytes='100MB').batch(4)\n"
        "for _ in range(2):\n"
        "    with line.run(on_failure='skip') as run:\n"
        "        for batch in run: pass\n"
        "print(run.stats.cache_hits, line.caching.folder(line.caching.fingerprint(line.recipe)))\n"
        "if sys.argv[3] == 'killed':\n"
        "    import os, signal; sys.stdout.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    side = 100 + os.getpid() % 5000
    for ending in ("well", "killed", "well"):
        command = [sys.executable, "-c", script, str(pictures), str(side), ending]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        hits, folder = done.stdout.split()
        assert int(hits) == len(ps.folder(pictures)) - 1, done.stderr
        assert os.path.exists(folder) == (ending == "killed")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux's shared memory")
def test_ram_after_sigterm(pictures, capsys):
    script = (
        "import signal, sys, time, penstock as ps\n"
        "if sys.argv[3] == 'ended': signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
        "line = ps.folder(sys.argv[1]).decode().resize(19, int(sys.argv[2])).cache(ps.RAM, max_bytes='100MB')\n"
        "line.preload()\n"
        "print(line.caching.folder(line.caching.fingerprint(line.recipe)), flush=True)\n"
        "time.sleep(60)\n"
    )
    for ending in ("ended", "killed"):
        command = [sys.executable, "-c", script, str(pictures), str(100 + os.getpid() % 5000), ending]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
            assert program.stdout is not None
            folder = program.stdout.readline().strip()
            program.terminate()
            program.wait(30)
        assert os.path.exists(folder) == (ending == "killed")
    assert any(Path(folder).glob("*.pixels"))
    assert cli.main(["cache", "clear", "--yes", folder]) == 0
    assert "removed" in capsys.readouterr().out and not any(Path(folder).glob("*.pixels"))
    shutil.rmtree(folder)


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
