"""The cache's folder: removed, full, read only, of others, no cache at all; and what it takes of the machine."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import stat
import time
from pathlib import Path

import pytest

import cache_work as work
from cache_work import files, filled, in_a_child, verify

SMALL_DISK = 2 << 20


@pytest.fixture
def folder(tmp_path):
    return str(tmp_path / "cache")


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
