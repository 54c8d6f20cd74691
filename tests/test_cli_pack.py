"""`penstock pack`: what it prints, what it takes and how it ends."""

from __future__ import annotations

import pytest

import penstock as ps
from packings import jpeg, write_photos
from penstock import cli


@pytest.fixture
def photos(tmp_path):
    return write_photos(tmp_path / "photos")


def test_the_command(photos, tmp_path, capsys):
    (photos / "cat" / "broken.jpg").write_bytes(jpeg(0)[:300])
    words = ["pack", str(photos), str(tmp_path / "out"), "--max-side", "10", "--shard-size", "10kB", "--threads", "2"]
    assert cli.main(words) == 0
    captured = capsys.readouterr()
    assert (
        "12 items in" in captured.out and "1 x decode: truncated" in captured.out and "failures.jsonl" in captured.out
    )
    assert "source  folder" in captured.err
    assert cli.main([*words, "--max-failures", "1"]) == 0  # it is packed already
    assert cli.main([*words, "--max-failures", "0"]) == 1 and cli.main([*words, "--on-failure", "raise"]) == 1
    assert cli.main([*words[:2], str(tmp_path / "other"), *words[3:], "--max-failures", "0"]) == 1
    assert "at most 0 failed items" in capsys.readouterr().err
    assert cli.main([*words, "--quality", "80"]) == 1
    assert "to have quality=80, found one with quality=90" in capsys.readouterr().err
    assert cli.main([*words[:2], str(tmp_path / "other"), "--on-failure", "raise", *words[3:]]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("penstock: decode of 'cat/broken.jpg': expected")


def test_the_command_takes_tars_and_tables(photos, tmp_path, capsys):
    assert cli.main(["pack", str(photos), str(tmp_path / "a"), "--no-labels"]) == 0
    assert cli.main(["pack", str(tmp_path / "a" / "shard-{000000..000000}.tar"), str(tmp_path / "b")]) == 0
    (tmp_path / "t.csv").write_text("pic,word\nphotos/cat/0.jpg,x\n")
    assert cli.main(["pack", str(tmp_path / "t.csv"), str(tmp_path / "c"), "--image", "pic", "--label", "word"]) == 0
    assert ps.tar(tmp_path / "c" / "shard-000000.tar").classes == ("x",)
    assert cli.main(["pack", str(photos), str(tmp_path / "d"), "--label", "word"]) == 2
    assert "expected a table as SRC" in capsys.readouterr().err
    assert cli.main(["pack", str(photos), str(tmp_path / "d"), "--seed", "3"]) == 2
    assert "--seed: expected --shuffle with it, found none" in capsys.readouterr().err
    assert not (tmp_path / "d").exists()
    assert cli.main(["pack", str(tmp_path / "nothing"), str(tmp_path / "d")]) == 1
    assert "expected a folder, found nothing at that path" in capsys.readouterr().err
