"""A cache in a line: the same bits with it and without, found again by every later pass, gone with its folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import penstock as ps
from cached_lines import aged, assert_same, everything, photo, settle, write_pictures
from penstock import cache


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "pictures")


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


def test_what_is_behind_a_crop_is_looked_at_for_the_cache(tmp_path):
    photo(tmp_path / "one.jpg", 1, (400, 300))
    whole = (tmp_path / "one.jpg").read_bytes()
    (tmp_path / "one.jpg").write_bytes(whole[:-2] + bytes(40) + whole[-2:])
    aged(tmp_path / "one.jpg")
    settle()
    start = ps.files([tmp_path / "one.jpg"]).decode()
    plain = everything(start.crop((0, 0, 40, 40)).batch(1))[0][0]
    line = start.cache(tmp_path / "cache", max_bytes="1MB").crop((0, 0, 40, 40)).batch(1)
    for _ in range(2):  # made, then found
        found = everything(line)[0][0]
        np.testing.assert_array_equal(found["images"][0], plain["images"][0])
        assert not plain["damaged"][0] and found["damaged"][0]
    assert not everything(line, on_damage="fail")[0][0]["valid"][0]


def test_what_is_there_is_not_decoded(pictures, tmp_path):
    line = ps.folder(pictures).decode().resize(32, 32).cache(tmp_path / "cache", max_bytes="1GB").batch(4)
    (pictures / "b" / "broken.jpg").unlink()
    first = everything(line)[2].stats
    second = everything(line)[2].stats
    assert first.pillow_items > 1 and first.busy_s["decode"] > 0
    assert second.pillow_items == 0 and second.busy_s["decode"] == 0


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
        "from penstock import cache\n"
        "cache.shared_memory = lambda: sys.argv[2]\n"
        "line = ps.folder(sys.argv[1]).decode().resize(17, 19).cache(ps.RAM, max_bytes='100MB').batch(4)\n"
        "for _ in range(2):\n"
        "    with line.run(on_failure='skip') as run:\n"
        "        for batch in run: pass\n"
        "print(run.stats.cache_hits, line.caching.folder(line.caching.fingerprint(line.recipe)))\n"
        "if sys.argv[3] == 'killed':\n"
        "    import os, signal; sys.stdout.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    # A folder of the test's own: what a killed process left in the common one is swept away by any other that comes.
    with tempfile.TemporaryDirectory(dir=cache.shared_memory()) as memory:
        for ending in ("well", "killed", "well"):
            command = [sys.executable, "-c", script, str(pictures), memory, ending]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            hits, folder = done.stdout.split()
            assert int(hits) == len(ps.folder(pictures)) - 1, done.stderr
            assert os.path.dirname(folder) == memory
            assert os.path.exists(folder) == (ending == "killed")
