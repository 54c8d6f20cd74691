"""What .cache() is asked: where it may stand, what it refuses, its sizes in words; a line that has one is a value."""

from __future__ import annotations

from pathlib import Path

import pytest

import penstock as ps
from cached_lines import write_pictures


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "pictures")


def shear(height, width, rng):
    return [[1, rng.uniform(-0.2, 0.2), 0], [0, 1, 0]]


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
