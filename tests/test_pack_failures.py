"""Items that cannot be packed: counted, named, in the ledger, and the policies that stop for them."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest
from PIL import Image

import penstock as ps
from packings import jpeg, packed_bytes, write_photos
from penstock import cli
from penstock.packing import fill


@pytest.fixture
def photos(tmp_path):
    return write_photos(tmp_path / "photos")


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
