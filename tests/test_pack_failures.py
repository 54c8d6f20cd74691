"""Items that cannot be packed: counted, named, in the ledger, and the policies that stop for them."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest

import penstock as ps
from packings import jpeg, packed_bytes, write_photos


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


def test_a_field_that_no_json_can_hold_fails_its_item(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    table = pa.table({"image": [jpeg(0), jpeg(1)], "deep": [[b"\0"], None]})
    pq.write_table(table, tmp_path / "in.parquet")
    packed = ps.pack(ps.parquet(tmp_path / "in.parquet", image="image"), tmp_path / "out")
    assert packed.items == 1 and packed.failures.by_cause() == {"source: unwritable field": 1}
