"""What a run says of a cache that is full: once, how much it holds, and what to pass."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import penstock as ps
from cached_lines import everything, photo, settle, write_pictures


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "pictures")


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
    said = said_of(caplog, start.cache(tmp_path / "small", max_bytes=400).resize(9, 9).batch(4))
    assert len(said) == 1 and "line.cache_info().estimated_bytes says what all of them need." in said[0]


def test_pictures_of_another_folder_count_as_such(tmp_path, caplog):
    for number in range(25):
        folder = tmp_path / ("train" if number < 20 else "test")
        folder.mkdir(exist_ok=True)
        photo(folder / f"{number:02}.png", number)
    settle()

    def line(name: str, max_bytes: int | str) -> ps.Pipeline:
        start = ps.folder(tmp_path / name, label=None).decode().resize(30, 40)
        return start.cache(tmp_path / "cache", max_bytes=max_bytes).batch(4)

    train = line("train", 90_000)
    assert said_of(caplog, train) == []
    said = said_of(caplog, line("test", 81_000))  # another store of the same folder
    assert len(said) == 1
    assert "it holds 20 images of this recipe, of other pictures too" in said[0]
    advised = re.search(r"this line's 5 images need about .*: pass max_bytes='(.*?)'\.$", said[0])
    assert advised is not None
    enough = line("test", advised[1])
    assert said_of(caplog, enough) == []
    assert enough.cache_info().entries == 25


def test_samples_of_torch_say_that_it_is_full(pictures, tmp_path, caplog):
    pytest.importorskip("torch")
    line = ps.folder(pictures).decode().resize(16, 16).cache(tmp_path / "cache", max_bytes=6000)
    samples = line.torch_dataset(on_failure="blank")
    with caplog.at_level("WARNING", logger="penstock"):
        for _ in range(2):
            samples.__getitems__(range(len(samples)))
    said = [record.getMessage() for record in caplog.records if "full, at most 6.0 kB" in record.getMessage()]
    assert len(said) == 1 and f"of {len(samples)} images" in said[0]
