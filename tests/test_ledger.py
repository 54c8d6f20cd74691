"""The ledger over a resumed epoch: nothing twice, nothing lost, nothing of anybody else's."""

from __future__ import annotations

import itertools
import json
import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import penstock as ps
from failing_lines import BROKEN, COUNT, blobs, line
from penstock.ledger import Ledger


def entries(path: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in path.read_text("utf-8").splitlines()]


def state_after(steps: int, ledger: Path, lost: int = 0, **options: Any) -> dict[str, Any]:
    """The state after some steps; ``lost`` more were done that no state knows of, as when a process is killed."""
    with line().loader(on_failure="skip", ledger=ledger, **options) as loader:
        batches = iter(loader)
        for _ in range(steps):
            next(batches)
        state: dict[str, Any] = json.loads(json.dumps(loader.state_dict()))
        for _ in range(lost):
            next(batches)
    return state


@pytest.mark.parametrize("steps", range(8))
@pytest.mark.parametrize("lost", [0, 1, 8])
def test_a_resumed_epoch_has_each_failure_once(tmp_path: Path, steps: int, lost: int) -> None:
    ledger = tmp_path / "failures.jsonl"
    expected = tmp_path / "expected.jsonl"
    with line().run(on_failure="skip", ledger=expected) as whole:
        list(whole)
    state = state_after(steps, ledger, min(lost, 7 - steps))
    with line(3).loader(on_failure="skip", ledger=ledger, threads=3) as loader:
        loader.load_state_dict(state)
        list(loader)
        run = loader.last_run
        assert len(run.failures) == len(BROKEN) and run.failures.by_cause() == {"decode: not an image": 5}
        assert run.failures.earlier == len(BROKEN) - (run.reached - run.clean - len(run.damaged))
        assert list(run.failures) == list(whole.failures)
    assert entries(ledger) == entries(expected)


def test_positions_say_where_in_the_epoch(tmp_path: Path) -> None:
    ledger = tmp_path / "failures.jsonl"
    with line().run(on_failure="replace", ledger=ledger) as run:
        list(run)
    positions = np.array([entry["position"] for entry in entries(ledger)])
    assert line().order.indices(positions, COUNT, 0).tolist() == [entry["index"] for entry in entries(ledger)]
    assert [entry["key"] for entry in entries(ledger)] == [failure.key for failure in run.failures]


def test_max_failures_holds_over_a_resumed_epoch(tmp_path: Path) -> None:
    ledger = tmp_path / "failures.jsonl"
    for limit, held in ((5, True), (4, False), (Fraction(5, COUNT), True), (Fraction(4, COUNT), False)):
        ledger.unlink(missing_ok=True)
        state = state_after(4, ledger, lost=2)
        before = len([entry for entry in entries(ledger) if entry["position"] < state["position"]])
        assert 0 < before < 5
        with line().loader(on_failure="skip", ledger=ledger, max_failures=limit) as loader:
            loader.load_state_dict(state)
            if held:
                list(loader)
                continue
            with pytest.raises(ps.TooManyFailuresError, match=f"and {before} earlier in this epoch"):
                list(loader)


def test_other_lines_epochs_and_words_stay(tmp_path: Path) -> None:
    ledger = tmp_path / "failures.jsonl"
    other = ps.blobs(blobs()).decode().resize(9, 9).batch(4)
    with other.run(on_failure="skip", ledger=ledger) as run:
        list(run)
    with line().run(on_failure="skip", ledger=ledger, epoch=1) as run:
        list(run)
    foreign = ledger.read_bytes() + b'{"not": "ours"}\nwords \xff\r\n\n[1]\n'
    ledger.write_bytes(foreign)
    state = state_after(4, ledger, lost=3)
    assert ledger.read_bytes().startswith(foreign)
    with line().loader(on_failure="skip", ledger=ledger) as loader:
        loader.load_state_dict(state)
        list(loader)
    assert ledger.read_bytes().startswith(foreign)
    assert len(ledger.read_bytes().splitlines()) == len(foreign.splitlines()) + len(BROKEN)
    assert sorted(os.listdir(tmp_path)) == ["failures.jsonl"]


def test_a_line_that_was_being_written_when_the_process_was_killed(tmp_path: Path) -> None:
    ledger = tmp_path / "failures.jsonl"
    state = state_after(4, ledger)
    whole = ledger.read_bytes()
    ledger.write_bytes(whole + b'{"key": "17.jpg", "ind')
    ledger.chmod(0o640)
    with line().loader(on_failure="skip", ledger=ledger) as loader:
        loader.load_state_dict(state)
        list(loader)
    assert ledger.read_bytes().startswith(whole)
    assert len(entries(ledger)) == len(BROKEN)
    assert ledger.stat().st_mode & 0o777 == 0o640


def test_each_rank_has_a_file_and_another_world_size_goes_on(tmp_path: Path) -> None:
    pattern = tmp_path / "failures-{rank}.jsonl"
    with pytest.raises(ps.PlanError, match=r"expected \{rank\} in its name where world_size=2, so that each rank"):
        line().run(ledger=tmp_path / "failures.jsonl", rank=0, world_size=2)
    states = []
    for rank in range(3):
        with line(2).loader(on_failure="skip", ledger=pattern, rank=rank, world_size=3) as loader:
            batches = iter(loader)
            list(itertools.islice(batches, 2))
            states.append(loader.state_dict())
            list(batches)  # done, but no state was taken after it
    assert states[0] == states[1] == states[2]
    assert sum(len(entries(file)) for file in tmp_path.iterdir()) == len(BROKEN)
    for rank in range(2):
        with line(2).loader(on_failure="skip", ledger=pattern, rank=rank, world_size=2) as loader:
            loader.load_state_dict(states[0])
            list(loader)
    found = [entry for file in tmp_path.iterdir() for entry in entries(file)]
    assert sorted(entry["index"] for entry in found) == sorted(BROKEN)


def test_a_run_that_never_begins_changes_nothing(tmp_path: Path) -> None:
    ledger = tmp_path / "failures.jsonl"
    state_after(7, ledger)
    before = ledger.read_bytes()
    run = line().run(on_failure="skip", ledger=ledger)
    assert len(line().loader(on_failure="skip", ledger=ledger)) == 8
    run.close()
    assert ledger.read_bytes() == before
    with line().run(on_failure="skip", ledger=ledger) as run:  # the same epoch from its beginning: entries are replaced
        list(run)
    assert len(entries(ledger)) == len(BROKEN)


def test_a_line_without_a_fingerprint_has_a_ledger_all_the_same(tmp_path: Path) -> None:
    ledger = tmp_path / "failures.jsonl"
    unnamed = ps.blobs(blobs()).decode().resize(9, 9).warp(lambda height, width, rng: [[1, 0, 0], [0, 1, 0]], 9, 9)
    for _ in range(2):
        with unnamed.batch(4).run(on_failure="skip", ledger=ledger) as run:
            list(run)
        assert [entry["line"] for entry in entries(ledger)] == [""] * len(BROKEN)


def test_a_ledger_that_cannot_be_rewritten_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "failures.jsonl"
    ledger = Ledger(str(path), lambda: "line", epoch=0, rank=0, world_size=1)
    ledger.write(ps.Failure("a", 0, "read", "not found", "read of 'a': gone."), 7)
    ledger.close()

    def refused(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", refused)
    before = path.read_bytes()
    with pytest.raises(ps.EngineError, match=r"expected to take out the entries .*, found Permission denied"):
        list(ledger.resume(3))
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["failures.jsonl"]
