"""The cache's store: native and twin equal, and every fault: kills, flipped bytes, full disks, folders that go."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import cache_work as work
from penstock import _native

SUPPORT = Path(__file__).parent / "support"
GOLDEN = Path(__file__).parent / "golden" / "cache.json"


SMALL_DISK = 2 << 20


def in_a_child(child: Callable[[], None]) -> None:
    """Runs it in a forked child, which has to come to its end."""
    pid = os.fork()
    if pid == 0:
        try:
            child()
            os._exit(42)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 42


@pytest.fixture
def twin():
    pytest.importorskip("xxhash", reason="xxhash is not installed")
    from penstock._reference import cache

    return cache


@pytest.fixture
def folder(tmp_path):
    return str(tmp_path / "cache")


def verify(folder: str) -> dict:
    return _native.CacheStore.verify(os.fsencode(folder))


def files(folder: str, tail: str) -> list[Path]:
    return sorted(Path(folder).glob("*" + tail))


def bytes_in(folder: str) -> int:
    return sum(entry.stat().st_size for entry in os.scandir(folder))


def filled(folder: str, count: int = 30, **options) -> None:
    opened = work.store(folder, **options)
    assert [work.keep(opened, n) for n in range(count)] == ["stored"] * count
    opened.close()


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


# ---- what the system refuses


def test_a_folder_deleted_under_a_run(folder):
    opened = work.store(folder, 1 << 20)
    for n in range(3):
        work.keep(opened, n)
    shutil.rmtree(folder)
    assert work.keep(opened, 3) == "off" and work.keep(opened, 4) == "off"
    assert opened.trouble() == (
        f"cache '{folder}': expected the files of the cache, found them removed; nothing more is kept in it"
    )
    assert opened.trouble() == "" and not any(work.right(opened, n) for n in range(3))
    opened.close()


def test_what_is_reserved_on_the_disk_is_given_back(folder):
    def surplus(path: Path) -> int:
        return path.stat().st_blocks * 512 - path.stat().st_size

    def killed() -> None:
        opened = work.store(folder)
        work.keep(opened, 0)
        os.kill(os.getpid(), signal.SIGKILL)

    os.waitpid(work.in_child(killed), 0)
    (left,) = files(folder, ".pixels")
    if surplus(left) < 1 << 20:
        pytest.skip("nothing is reserved on this file system")
    content = left.read_bytes()
    opened = work.store(folder)
    assert work.keep(opened, 1) == "stored" and work.right(opened, 0)
    assert left.read_bytes() == content and surplus(left) < 1 << 18
    assert max(map(surplus, files(folder, ".pixels"))) > 1 << 20
    opened.close()
    assert max(map(surplus, files(folder, ".pixels"))) < 1 << 18
    assert verify(folder)["problems"] == [] and verify(folder)["entries"] == 2


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="/proc says what a process holds")
@pytest.mark.parametrize("look", ["refresh", "trouble", "find"])
def test_a_folder_that_was_removed_holds_no_memory(folder, look):
    def held() -> list[str]:
        names = Path("/proc/self/maps").read_text().splitlines()
        for entry in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):  # other threads close theirs meanwhile
                names.append(os.readlink(f"/proc/self/fd/{entry}"))
        return [name for name in names if folder in name and ".pixels" in name]

    opened = work.store(folder)
    for n in range(50):
        work.keep(opened, n)
    assert work.right(opened, 0) and held()
    shutil.rmtree(folder)
    if look == "find":
        time.sleep(0.6)
        assert not work.right(opened, 0)
    else:
        getattr(opened, look)()
    assert held() == []
    assert not work.right(opened, 0) and work.keep(opened, 0) == "off" and opened.counts()["entries"] == 0
    opened.close()


def test_a_full_disk(small_disk):
    folder = str(small_disk[0] / "cache")
    opened = work.store(folder, 64 << 20)
    results = [work.keep(opened, n) for n in range(400)]
    assert results[-1] == "off" and "found no space left on the device" in opened.trouble()
    stored = [n for n, result in enumerate(results) if result == "stored"]
    assert len(stored) > 20 and all(work.right(opened, n) for n in stored)
    opened.close()
    report = verify(folder)
    assert report["problems"] == [] and report["entries"] >= len(stored)
    nothing = work.store(folder + "2", 64 << 20)  # there is not even room for the folder's own file
    assert work.keep(nothing, 0) == "off" and "no space left" in nothing.trouble()
    nothing.close()


def test_a_read_only_file_system(small_disk):
    place, mount = small_disk
    folder = str(place / "cache")
    filled(folder, 5)
    assert mount(1 | 32) == 0  # MS_RDONLY, MS_REMOUNT
    opened = work.store(folder)
    assert all(work.right(opened, n) for n in range(5)) and work.keep(opened, 9) == "off"
    assert "expected a folder that can be written, found a read-only file system" in opened.trouble()
    opened.close()
    nowhere = work.store(str(place / "new"))
    assert not work.right(nowhere, 0) and work.keep(nowhere, 0) == "off"
    assert "found a read-only file system" in nowhere.trouble()
    nowhere.close()


def test_the_largest_size_of_a_file(folder):
    """A disk that is full, for those who may not mount one."""

    def child() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        opened = work.store(folder)
        results = [work.keep(opened, n) for n in range(50)]
        assert results[-1] == "off" and "the limit of a file's size" in opened.trouble()
        assert all(work.right(opened, n) for n, result in enumerate(results) if result == "stored")

    in_a_child(child)
    assert verify(folder)["problems"] == [] and verify(folder)["torn"] == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_another_users_folder(folder):
    filled(folder, 3)
    try:
        for entry in [folder, *map(str, Path(folder).iterdir())]:
            os.chown(entry, 12345, 12345)
    except OSError as error:
        pytest.skip(f"there is no user 12345 in this container: {error}")
    with pytest.raises(
        ValueError, match=r"^expected a folder of this user, or read_only=True, found one of user 12345$"
    ):
        work.store(folder)
    opened = work.store(folder, read_only=True)
    assert work.right(opened, 1) and work.keep(opened, 9) == "off" and opened.trouble() == ""
    opened.close()
    os.chmod(folder, 0o777)
    with pytest.raises(ValueError, match=r"^expected a folder that only its owner may write to"):
        work.store(folder, read_only=True)


@pytest.mark.parametrize("others", [False, True])
def test_who_may_read(folder, others):
    before = os.umask(0o077)
    try:
        filled(folder, 3, readable_by_others=others)
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(folder).st_mode) == (0o755 if others else 0o700)
    for path in [*files(folder, ".pixels"), *files(folder, ".index"), Path(folder, "penstock-cache.json")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o644 if others else 0o600)


def test_folders_that_are_no_cache(tmp_path):
    (tmp_path / "one.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"^expected an empty folder, or a cache, found 'one.jpg' in it$"):
        work.store(str(tmp_path))
    with pytest.raises(ValueError, match=r"^expected a folder, found a file$"):
        work.store(str(tmp_path / "one.jpg"))
    with pytest.raises(ValueError, match=r"^expected a folder that can be opened, found no such file or folder$"):
        work.store(str(tmp_path / "none"), read_only=True)
    newer = tmp_path / "newer"
    newer.mkdir()
    (newer / "penstock-cache.json").write_text('{"format": "penstock cache", "version": 2}\n')
    with pytest.raises(ValueError, match=r"^expected a cache of version 1, found version 2$"):
        work.store(str(newer))
    with pytest.raises(ValueError, match=r"^expected a cache's folder, found no such file or folder$"):
        verify(str(tmp_path / "none"))


@pytest.mark.parametrize("text", ['{"name": "app", "version": "1.0"}\n', "not ours", '{"format": "penstock'])
def test_a_file_of_that_name_that_is_not_ours_stays(tmp_path, text):
    own = tmp_path / "penstock-cache.json"
    own.write_text(text)
    refused = r"^expected a cache, or a folder without a penstock-cache.json, found one of something else$"
    if text.startswith('{"format'):  # what a loss of power left of ours
        work.store(str(tmp_path)).close()
        assert own.read_text() == '{"format": "penstock cache", "version": 1}\n'
        return
    for options in ({}, {"read_only": True}):
        with pytest.raises(ValueError, match=refused):
            work.store(str(tmp_path), **options)
    assert own.read_text() == text and len(os.listdir(tmp_path)) == 1


def test_what_a_loss_of_power_left_is_made_anew(tmp_path):
    for number, left in enumerate((b"", b"\0" * 44)):
        (tmp_path / "penstock-cache.json").write_bytes(left)
        opened = work.store(str(tmp_path))
        assert work.keep(opened, number) == "stored"
        opened.close()
        assert verify(str(tmp_path))["corrupt"] == 0
