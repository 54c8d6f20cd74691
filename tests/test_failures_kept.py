"""What a run keeps of its failures: the first thousand, the ledger, groups by cause; and its notes."""

from __future__ import annotations

import io
import json
import os
import pickle
from pathlib import Path

import pytest
from PIL import Image

import penstock as ps
from broken_pictures import BROKEN, ENGINES, encoded, good, line_of
from penstock.failures import Damages, Failures, Notes


def test_first_thousand_are_kept_and_all_are_counted(tmp_path: Path) -> None:
    blobs = {f"item {number}": b"" if number % 3 else b"words" for number in range(2500)}
    ledger = tmp_path / "failures.jsonl"
    with line_of(blobs, 100).run(on_failure="skip", ledger=ledger) as run:
        assert list(run) == []
    assert len(run.failures) == run.reached == 2500 and len(list(run.failures)) == 1000
    assert [failure.index for failure in run.failures] == list(range(1000))
    assert run.failures.by_cause() == {"decode: not an image": 2500}
    lines = ledger.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["index"] for line in lines] == list(range(2500))
    assert json.loads(lines[1]) == {
        "key": "item 1",
        "epoch": 0,
        "position": 1,
        "line": line_of(blobs, 100).fingerprint[:16],
        "index": 1,
        "stage": "decode",
        "cause": "not an image",
        "message": "decode of 'item 1': expected an image, found 0 bytes.",
    }


def test_the_ledger_is_appended_to_and_holds_any_key(tmp_path: Path) -> None:
    ledger = tmp_path / "failures.jsonl"
    key = "line\nbreak \u00e9 " + os.fsdecode(b"\xff\xfe")
    for epoch in range(2):
        with line_of({key: b"", "good": good(0)}).run(on_failure="blank", ledger=str(ledger), epoch=epoch) as run:
            list(run)
    records = [json.loads(line) for line in ledger.read_text(encoding="utf-8").splitlines()]
    assert [record["key"] for record in records] == [key, key]
    with line_of([good(0)]).run(ledger=tmp_path / "none.jsonl") as run:
        list(run)
    assert not (tmp_path / "none.jsonl").exists()  # no failures, no file


def test_the_ledger_has_the_failure_that_raised(tmp_path: Path) -> None:
    ledger = tmp_path / "failures.jsonl"
    with line_of([b"", b""]).run(ledger=ledger) as run, pytest.raises(ps.ItemError):
        next(run)
    assert len(ledger.read_text().splitlines()) == 2 == len(run.failures)


def test_failures_print_grouped_by_cause() -> None:
    blobs = {"a": b"", "b": b"x", "c": b"", "d": b"", "e": b"", "f": BROKEN["cut"]}
    with line_of(blobs).run(on_failure="skip") as run:
        list(run)
    text = str(run.failures).splitlines()
    assert text[0] == "6 failed" and text[1] == "  5 x decode: not an image"
    assert text[2] == "      decode of 'a': expected an image, found 0 bytes."
    assert text[5] == "  1 x decode: truncated" and len(text) == 7  # three examples of a cause are enough
    assert list(run.failures.by_cause().items()) == [("decode: not an image", 5), ("decode: truncated", 1)]
    assert (str(Failures()), str(Damages()), str(Notes())) == ("no failures", "no damaged images", "no notes")


def test_notes_count_legal_losses_of_what_was_delivered() -> None:
    icc = b"\0" * 128
    transparent = io.BytesIO()
    Image.new("RGBA", (9, 9), (1, 2, 3, 4)).save(transparent, "PNG")
    profiled = encoded(icc_profile=icc)
    blobs = {
        "plain": good(0),
        "alpha": transparent.getvalue(),
        "icc": profiled,
        "icc png": encoded(kind="PNG", icc_profile=icc),
        "icc but cut": profiled[: len(profiled) - 500],
    }
    found = {}
    for engine in ENGINES:
        with line_of(blobs).run(on_failure="skip", engine=engine) as run:
            list(run)
        found[engine] = dict(run.notes)
    assert found["native"] == found["reference"] == {"alpha dropped": 1, "icc ignored": 2}
    assert "2 x icc ignored: an embedded colour profile was ignored" in str(run.notes)
    with pytest.raises(KeyError):
        run.notes["never seen"]


@pytest.mark.parametrize(("ledger", "found"), [("{}", "found a folder"), ("{}/none/a.jsonl", "found no folder")])
def test_a_ledger_that_cannot_be_written_is_refused_at_once(tmp_path: Path, ledger: str, found: str) -> None:
    with pytest.raises(ps.PlanError, match=found):
        line_of({"a": b""}, 1).run(ledger=ledger.format(tmp_path))


def test_the_error_of_an_item_carries_its_failure() -> None:
    with pytest.raises(ps.ItemError) as caught, line_of({"a.jpg": b"words"}, 1).run() as run:
        next(run)
    failure = pickle.loads(pickle.dumps(caught.value)).failure
    assert (failure.key, failure.index, failure.stage, failure.cause) == ("a.jpg", 0, "decode", "not an image")
