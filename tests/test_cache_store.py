"""The cache's store: native and twin equal, whatever happens to its files and to the processes that write them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import cache_work as work
from cache_work import files, filled, in_a_child, verify
from penstock import _native

SUPPORT = Path(__file__).parent / "support"
GOLDEN = Path(__file__).parent / "golden" / "cache.json"


@pytest.fixture
def twin():
    pytest.importorskip("xxhash", reason="xxhash is not installed")
    from penstock._reference import cache

    return cache


@pytest.fixture
def folder(tmp_path):
    return str(tmp_path / "cache")


def bytes_in(folder: str) -> int:
    return sum(entry.stat().st_size for entry in os.scandir(folder))


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)


def run_work(*words: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(SUPPORT)}
    done = subprocess.run(
        [sys.executable, str(SUPPORT / "cache_work.py"), *words],
        env=environment,
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---- native and twin


@pytest.mark.parametrize("identity", [b"", b"a", b"photos/one.jpg\0123", bytes(range(256)) * 3])
@pytest.mark.parametrize("recipe", [(0, 0), (1, 2), (2**64 - 1, 2**63)])
def test_keys_are_the_twins(identity, recipe, twin):
    assert _native.cache_key(identity, recipe) == twin.cache_key(identity, recipe)
    assert _native.xxh3(identity) == twin.checksum(identity)


def test_what_was_kept_is_read_by_the_twin(folder, twin):
    opened = work.store(folder)
    records = {}
    for n in range(40):
        record = {
            "encoded": n % 2 == 0,
            "size": (n, 2 * n),
            "channels": n % 5,
            "stored": (n * n, 7),
            "orientation": 1 + n % 8,
            "geometry": [n / 3, -0.1, float(n), 1e300, -0.0, 5e-324],
            "notes": 0xFFFFFFFF - n,
            "damaged": n % 3 == 0,
            "damage": "cut \udcff" * (n % 3),
            "party_notes": "one\ntwo ünd drei" * (n % 4),
            "decoder": 2**64 - 1 - n,
        }
        data = work.payload(n) if n else b""
        assert opened.keep(work.key(n), record, data) == "stored"
        records[work.key(n)] = (data, record)
    assert {key: opened.find(key) for key in records} == records
    opened.close()
    found = twin.read_entries(folder, work.RECIPE)
    assert {key: (entry.data, entry.fields) for key, entry in found.items()} == records
    assert verify(folder) == twin.verify(folder)
    assert verify(folder)["problems"] == [] and verify(folder)["entries"] == 40


def test_the_golden_record_is_read_as_ever(tmp_path, twin):
    golden = json.loads(GOLDEN.read_text("utf-8"))
    for name, content in golden["files"].items():
        (tmp_path / name).write_bytes(bytes.fromhex(content))
    opened = work.store(str(tmp_path), recipe=tuple(golden["recipe"]))
    data, fields = opened.find(tuple(golden["key"]))
    assert data.hex() == golden["data"]
    assert json.loads(json.dumps(fields)) == golden["fields"]
    opened.close()
    entry = twin.read_entries(tmp_path, tuple(golden["recipe"]))[tuple(golden["key"])]
    assert (entry.data.hex(), json.loads(json.dumps(entry.fields))) == (golden["data"], golden["fields"])


def test_the_golden_record_is_written_as_ever(folder):
    golden = json.loads(GOLDEN.read_text("utf-8"))
    opened = work.store(folder, recipe=tuple(golden["recipe"]))
    identity = golden["identity"].encode()
    assert _native.cache_key(identity, tuple(golden["recipe"])) == tuple(golden["key"])
    assert opened.keep(tuple(golden["key"]), golden["fields"], bytes.fromhex(golden["data"])) == "stored"
    opened.close()
    (pixels,), (index,) = files(folder, ".pixels"), files(folder, ".index")
    old = {name[-6:]: bytes.fromhex(content) for name, content in golden["files"].items()}
    # All but the header with its time, and the checksums, whose seed it is.
    new_pixels, new_index = pixels.read_bytes(), index.read_bytes()
    assert new_pixels[64:248] == old["pixels"][64:248] and new_pixels[256:] == old["pixels"][256:]
    assert new_index[64:120] == old[".index"][64:120]


# ---- damage


def places_in(path: Path, every: int) -> range:
    return range(3, path.stat().st_size, every)


@pytest.mark.parametrize("tail", [".pixels", ".index"])
def test_a_flipped_byte_is_seen_and_never_delivered(folder, tail, twin):
    opened = work.store(folder)
    for n in range(4):
        work.keep(opened, n * 5)
    opened.close()
    kept = Path(folder + " kept")
    shutil.copytree(folder, kept)
    (path,) = files(folder, tail)
    for at in places_in(path, 397 if tail == ".pixels" else 11):
        flip(path, at)
        report = verify(folder)
        assert report == twin.verify(folder), at
        here = report["corrupt"] + report["damaged_indexes"] + report["torn"]
        in_zeros = not report["problems"] and not here  # the zeros after a record are nobody's
        again = work.store(folder)
        found = [work.right(again, n * 5) for n in range(4)]
        counts = again.counts()
        again.close()
        if tail == ".index":
            assert all(found) and counts["rebuilt"] == 1 and verify(folder)["problems"] == [], at
        elif not in_zeros:
            assert found.count(False) >= 1, at
        shutil.rmtree(folder)
        shutil.copytree(kept, folder)


def test_a_corrupt_entry_is_dropped_counted_and_kept_anew(folder):
    filled(folder, 10)
    (path,) = files(folder, ".pixels")
    flip(path, 64 + 192 + 30)  # in the first payload
    opened = work.store(folder)
    assert not work.right(opened, 0) and work.right(opened, 1)
    assert opened.counts()["corrupt"] == 1 and opened.counts()["entries"] == 9
    assert work.keep(opened, 0) == "stored" and work.right(opened, 0)
    opened.close()
    later = work.store(folder)
    assert work.right(later, 0) and later.counts()["corrupt"] == 0


@pytest.mark.parametrize("place", ["payload", "header", "two headers"])
def test_what_was_made_again_is_no_longer_wrong(folder, place, twin):
    filled(folder, 10)
    (path,) = files(folder, ".pixels")
    second = 64 + -(-(192 + len(work.payload(0)) + len(work.FIELDS["damage"])) // 64) * 64
    flips = {"payload": [64 + 192 + 30], "header": [64 + 20], "two headers": [64 + 20, second + 20]}[place]
    for at in flips:
        flip(path, at)
    report = verify(folder)
    assert report == twin.verify(folder)
    assert (report["corrupt"], len(report["problems"]), report["made_again"]) == (1, 1, [])
    for number in range(len(flips)):
        opened = work.store(folder)
        assert not work.right(opened, number) and work.keep(opened, number) == "stored"
        opened.close()
        report = verify(folder)
        assert report == twin.verify(folder)
        done = number + 1 == len(flips)
        assert (report["corrupt"], len(report["problems"]), len(report["made_again"])) == (not done, not done, done)
    assert report["entries"] == 10
    # What has gone wrong again is wrong again.
    later = max(files(folder, ".pixels"))
    flip(later, 64 + 192 + 30)
    report = verify(folder)
    assert report == twin.verify(folder) and report["corrupt"] == 2 and report["made_again"] == []


def test_what_is_older_does_not_stand_in_for_what_is_wrong(folder, twin):
    fields = {**work.FIELDS, "decoder": 1}
    for decoder in (1, 2):
        opened = work.store(folder)
        assert opened.keep(work.key(0), {**fields, "decoder": decoder}, work.payload(0)) == "stored"
        opened.close()
    flip(max(files(folder, ".pixels")), 64 + 192 + 30)
    report = verify(folder)
    assert report == twin.verify(folder) and report["corrupt"] == 1 and report["made_again"] == []


@pytest.mark.parametrize("harm", ["missing", "cut", "short", "empty"])
def test_an_index_is_rebuilt_from_its_segment(folder, harm):
    filled(folder, 10)
    (index,) = files(folder, ".index")
    whole = index.read_bytes()
    if harm == "missing":
        index.unlink()
    else:
        index.write_bytes({"cut": whole[:-10], "short": whole[: -3 * 64], "empty": b""}[harm])
    opened = work.store(folder)
    assert all(work.right(opened, n) for n in range(10)) and opened.counts()["rebuilt"] == 1
    opened.close()
    assert index.read_bytes() == whole
    index.unlink()
    assert _native.CacheStore.rebuild(os.fsencode(folder)) == 1 and index.read_bytes() == whole
    assert _native.CacheStore.rebuild(os.fsencode(folder)) == 0


# ---- processes


def test_a_writer_killed_at_200_random_moments_leaves_nothing_wrong(folder, twin):
    stored = int(run_work("killed_writers", folder, "200"))
    report = verify(folder)
    assert report["problems"] == [] and report["corrupt"] == 0
    assert report["entries"] >= stored > 200 and report["unindexed"] <= 200
    assert report == twin.verify(folder)
    found = 0
    for which in range(10):
        recipe = (1, which)
        opened = work.store(folder, 1 << 30, recipe)
        for number in range(200):
            if number % 10 == which:
                for n in range(number * 1000, number * 1000 + 1000):
                    if not work.right(opened, n, recipe):
                        break
                    found += 1
        assert opened.counts()["corrupt"] == 0
        opened.close()
    assert found == report["entries"]


def test_two_processes_fill_a_folder_50_times_while_a_third_is_killed(folder):
    max_bytes = 4 << 20
    largest = int(run_work("shared_rounds", folder, "50", str(max_bytes)))
    assert largest <= max_bytes
    report = verify(folder)
    assert report["problems"] == [] and report["entries"] > 50
    opened = work.store(folder, max_bytes)
    assert sum(work.right(opened, n) for n in range(600 + 500)) == opened.counts()["entries"] > 0


def test_a_forked_child_does_no_harm_and_opens_its_own(folder):
    opened = work.store(folder)
    work.keep(opened, 0)

    def child() -> None:
        assert opened.find(work.key(0)) is None and work.keep(opened, 1) == "off"
        assert "forked child" in opened.trouble() and opened.counts()["entries"] == 0
        opened.close()
        own = work.store(folder)
        assert work.right(own, 0) and work.keep(own, 2) == "stored"
        own.close()

    in_a_child(child)
    assert work.keep(opened, 3) == "stored"
    opened.refresh()
    assert [work.right(opened, n) for n in range(4)] == [True, False, True, True]
    opened.close()
    assert verify(folder)["problems"] == []


def test_a_folder_in_memory_goes_with_its_last_user(tmp_path):
    folder = str(tmp_path / "penstock-ram-a")
    first, second = work.store(folder, volatile=True), work.store(folder, volatile=True)
    work.keep(first, 0)
    second.refresh()
    first.close()
    assert work.right(second, 0) and os.path.isdir(folder)
    second.close()
    assert not os.path.exists(folder)


def test_an_orphan_of_a_killed_process_is_removed_by_the_next(tmp_path):
    orphan, used = str(tmp_path / "penstock-ram-orphan"), work.store(str(tmp_path / "penstock-ram-used"), volatile=True)
    (tmp_path / "penstock-ram-but-not-ours").mkdir()

    def killed() -> None:
        opened = work.store(orphan, volatile=True)
        work.keep(opened, 0)
        os.kill(os.getpid(), signal.SIGKILL)

    os.waitpid(work.in_child(killed), 0)
    assert os.path.isdir(orphan)
    work.store(str(tmp_path / "penstock-ram-next"), volatile=True).close()
    assert sorted(os.listdir(tmp_path)) == ["penstock-ram-but-not-ours", "penstock-ram-used"]
    used.close()


def test_threads_share_a_store(folder):
    opened = work.store(folder)

    def fill() -> None:
        for n in range(60):
            if not work.right(opened, n):
                assert work.keep(opened, n) in {"stored", "present"}

    threads = [threading.Thread(target=fill) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert opened.counts()["entries"] == opened.counts()["stored"] == 60
    opened.close()


# ---- room


def test_what_does_not_fit_is_left_out_and_what_is_there_stays(folder):
    opened = work.store(folder, 200_000)
    results = [work.keep(opened, n) for n in range(100)]
    assert results[0] == "stored" and results[-1] == "full" and bytes_in(folder) <= 200_000
    stored = [n for n, result in enumerate(results) if result == "stored"]
    assert all(work.right(opened, n) for n in stored) and opened.counts()["left_out"] == 100 - len(stored)
    assert opened.trouble() == ""
    opened.close()


def test_a_limit_smaller_than_one_image(folder):
    opened = work.store(folder, 3000)
    assert opened.keep(work.key(0), work.FIELDS, bytes(3000)) == "too_large"
    assert opened.keep(work.key(0), work.FIELDS, bytes(2990)) == "too_large"  # with what stands beside it
    assert opened.keep(work.key(1), work.FIELDS, bytes(1500)) == "stored"
    assert bytes_in(folder) <= 3000 and opened.counts()["left_out"] == 2
    opened.close()


def test_two_recipes_in_one_folder_and_eviction(folder):
    other = (9, 9)
    limit = 600_000
    opened = work.store(folder, limit)
    while work.keep(opened, opened.counts()["entries"]) == "stored":
        pass
    kept = opened.counts()["entries"]
    second = work.store(folder, limit, other)
    assert second.find(work.key(0)) is None and work.keep(second, 5, other) == "full"
    second.close()
    opened.close()
    evicting = work.store(folder, limit, other, evict=True)
    assert [work.keep(evicting, n, other) for n in (3, 4, 5)] == ["stored"] * 3
    assert bytes_in(folder) <= limit and evicting.counts()["entries"] == 3
    assert all(work.right(evicting, n, other) for n in (3, 4, 5))
    evicting.close()
    left = work.store(folder, limit)
    assert 0 < left.counts()["entries"] < kept
    assert not work.right(left, 0) and work.right(left, kept - 1)  # the oldest segments went first
    left.close()
    recipes = {tuple(r["recipe"]) for r in _native.CacheStore.summary(os.fsencode(folder))["recipes"]}
    assert recipes == {work.RECIPE, other}


def test_a_recipes_text_lies_beside_its_segments_and_goes_with_them(folder):
    about, other = "what it keeps\n", (9, 9)
    note = Path(folder, f"{work.RECIPE[0]:016x}{work.RECIPE[1]:016x}.recipe.json")
    opened = work.store(folder, about=about)
    assert not note.exists()  # nothing is kept yet
    assert work.keep(opened, 0) == "stored"
    assert note.read_text() == about and stat.S_IMODE(note.stat().st_mode) == 0o600
    opened.refresh()
    assert opened.counts()["bytes"] == bytes_in(folder)
    opened.close()
    written = note.stat().st_mtime_ns
    again = work.store(folder, about="another text")
    assert work.keep(again, 1) == "stored"
    again.close()
    assert (note.read_text(), note.stat().st_mtime_ns) == (about, written)
    note.unlink()
    Path(f"{note}.new").write_text("half")  # of a killed writer
    reader = work.store(folder, read_only=True, about=about)
    assert work.right(reader, 0) and not note.exists()
    small = bytes_in(folder) + 45_000
    greedy = work.store(folder, small, other, evict=True, about="x" * 200)
    assert [work.keep(greedy, n, other) for n in range(3)].count("stored") > 0
    assert bytes_in(folder) <= small and not Path(f"{note}.new").exists()
    greedy.close()
    assert [path.read_text() for path in files(folder, ".recipe.json")] == ["x" * 200]
    _native.CacheStore.clear(os.fsencode(folder))
    assert files(folder, ".recipe.json") == []


def test_a_recipes_text_takes_no_entrys_place(folder):
    one = 192 + len(work.payload(0)) + 64 + 128 + 64 + 100  # an entry, its index, headers, what fills up, other files
    opened = work.store(folder, one, about="x" * 4000)
    assert work.keep(opened, 0) == "stored" and files(folder, ".recipe.json") == []
    opened.close()


def test_a_living_writers_segment_is_neither_evicted_nor_cleared(folder):
    writer = work.store(folder, 100_000)
    work.keep(writer, 0)
    evicting = work.store(folder, 12_000, (9, 9), evict=True)
    assert evicting.keep(work.key(0), work.FIELDS, bytes(11_000)) == "full"
    evicting.close()
    assert _native.CacheStore.clear(os.fsencode(folder)) == 0 and work.right(writer, 0)
    writer.close()
    assert _native.CacheStore.clear(os.fsencode(folder)) > 0 and verify(folder)["entries"] == 0


def test_an_entry_of_another_decoder_is_replaced(folder):
    opened = work.store(folder)
    assert opened.keep(work.key(0), {"decoder": 1}, b"old") == "stored"
    assert opened.keep(work.key(0), {"decoder": 2}, b"new") == "stored"
    opened.close()
    again = work.store(folder)
    data, fields = again.find(work.key(0))
    assert (data, fields["decoder"]) == (b"new", 2)
    again.close()
