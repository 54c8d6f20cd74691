"""``penstock cache info | verify | clear``: what they say, their exit codes, and what they leave alone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import penstock as ps
from penstock import cli


@pytest.fixture
def penstock(capsys):
    """Runs the command in this process; gives its exit code, standard output and standard error."""

    def call(*arguments: object) -> SimpleNamespace:
        code = cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return SimpleNamespace(code=code, out=captured.out, err=captured.err)

    return call


@pytest.fixture
def folder(tmp_path) -> Path:
    """A cache of eight pictures, under two recipes of four each; nobody has it open."""
    make(tmp_path / "cache")
    return tmp_path / "cache"


def make(folder: Path) -> None:
    code = """
import sys, numpy as np, penstock as ps
pictures = [np.full((16, 16, 3), number, np.uint8) for number in range(4)]
for side in (8, 4):
    ps.arrays(pictures).resize(side, side).cache(sys.argv[1], max_bytes=1_000_000).preload()
"""
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True, timeout=200)


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.pixels"))


def days_after(word: str, text: str) -> set[str]:
    return set(re.findall(rf"{word}(.{{10}})", text))


def days_of_late() -> set[str]:
    """Today; and, as midnight may have passed meanwhile, the day it was an hour ago."""
    return {time.strftime("%Y-%m-%d", time.localtime(time.time() - past_s)) for past_s in (0, 3600)}


def test_info(penstock, folder):
    answer = penstock("cache", "info", folder)
    assert answer.code == 0, answer.err
    assert "8 entries of 2 recipes in 2 segments" in answer.out
    assert answer.out.count("  recipe ") == 2 and answer.out.count(" 4 entries") == 2
    assert days_after("newest: ", answer.out) <= days_of_late() and "newest: " in answer.out


def test_info_says_what_a_recipe_keeps(penstock, folder):
    answer = penstock("cache", "info", folder)
    for side in (8, 4):
        assert f"    resize H={side} W={side} " in answer.out
    assert answer.out.count("    made with libjpeg") == 2
    assert answer.out.count(" written ") == 2 and days_after(" written ", answer.out) <= days_of_late()
    make(folder)
    notes = sorted(folder.glob("*.recipe.json"))
    assert len(notes) == 2 and all(note.stat().st_mode & 0o777 == 0o600 for note in notes)
    assert penstock("cache", "info", folder).out == answer.out
    # Gone, damaged, or somebody's who wants to write to a terminal: the hash alone, and nothing else changes.
    notes[0].unlink()
    assert penstock("cache", "info", folder).out.count("    resize ") == 1
    for text in (b"", b"\xff\xfe", b"[" * 4000, b'{"keeps": "\\u001b[2J"}', b'{"keeps": 7}', b"7", b'"keeps"'):
        notes[1].write_bytes(text)
        answer = penstock("cache", "info", folder)
        assert answer.code == 0 and answer.out.count("  recipe ") == 2
        assert "resize" not in answer.out and "\x1b" not in answer.out
    notes[1].unlink()
    os.mkfifo(notes[1])
    assert "resize" not in penstock("cache", "info", folder).out
    assert penstock("cache", "verify", folder).code == 0


def test_what_a_recipe_keeps_goes_with_it(penstock, folder):
    before = penstock("cache", "info", folder).out
    assert penstock("cache", "clear", folder, "--yes").code == 0
    assert list(folder.glob("*.recipe.json")) == [], before
    line = ps.blobs({"a": b"x"}, labels=[1]).cache(folder, max_bytes=1_000_000)
    assert line.cache_info().entries == 0 and list(folder.glob("*.recipe.json")) == []  # nothing is kept yet


def test_a_cache_that_is_right(penstock, folder):
    answer = penstock("cache", "verify", folder)
    assert answer.code == 0, answer.out
    assert "8 entries of 2 recipes in 2 segments" in answer.out and "0 wrong" in answer.out


def test_a_byte_that_is_wrong_is_named(penstock, folder):
    segment = segments(folder)[0]
    data = bytearray(segment.read_bytes())
    place = 64 + 192 + 10  # of the first entry's pixels
    data[place] ^= 1
    segment.write_bytes(data)
    answer = penstock("cache", "verify", folder)
    assert answer.code == 1
    assert segment.name in answer.out and " 64" in answer.out
    assert "1 wrong" in answer.out and "made again" in answer.out
    make(folder)  # finds it wrong, and makes it again
    answer = penstock("cache", "verify", folder)
    assert answer.code == 0, answer.out
    assert "; made again since." in answer.out and "; 0 wrong" in answer.out
    assert "1 that was wrong has been made again since; nobody reads it any more." in answer.out


def test_an_index_that_is_wrong_is_named(penstock, folder):
    index = min(folder.glob("*.index"))
    data = bytearray(index.read_bytes())
    data[70] ^= 1
    index.write_bytes(data)
    answer = penstock("cache", "verify", folder)
    assert answer.code == 1
    assert index.stem in answer.out


def test_clear_asks_first(penstock, folder, monkeypatch):
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda prompt: "n")
    answer = penstock("cache", "clear", folder)
    assert answer.code == 1 and "nothing was removed" in answer.out
    assert len(segments(folder)) == 2


def test_what_is_being_written_stays(penstock, folder):
    line = ps.arrays([np.zeros((16, 16, 3), np.uint8)]).resize(3, 3).cache(folder, max_bytes=1_000_000)
    line.preload()  # this process goes on writing
    answer = penstock("cache", "clear", folder, "--yes")
    assert answer.code == 0
    assert "1 of its segments is being written, and stays" in answer.out
    assert len(segments(folder)) == 1


def test_clear(penstock, folder):
    answer = penstock("cache", "clear", folder, "--yes")
    assert answer.code == 0, answer.err
    assert "removed" in answer.out and "8 entries of 2 recipes" in answer.out
    assert segments(folder) == []
    again = ps.arrays([np.zeros((16, 16, 3), np.uint8)]).resize(8, 8).cache(folder, max_bytes=1_000_000)
    assert again.preload().stored == 1


@pytest.mark.parametrize("word", ["info", "verify", "clear"])
def test_what_is_no_cache_is_left_alone(penstock, tmp_path, word):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.pixels").write_text("years of work", "utf-8")
    options = ["--yes"] if word == "clear" else []
    answer = penstock("cache", word, tmp_path / "mine", *options)
    assert answer.code == 1
    assert "expected the folder of a cache, found one without penstock-cache.json" in answer.err
    assert (tmp_path / "mine" / "thesis.pixels").exists()
    assert "found nothing at that path" in penstock("cache", word, tmp_path / "nowhere", *options).err
    assert "found a file" in penstock("cache", word, tmp_path / "mine" / "thesis.pixels", *options).err


def test_a_folder_is_needed(penstock):
    assert penstock("cache", "info").code == 2
