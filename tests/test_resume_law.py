"""The law of resume: restored at any step, for any source and policy, the rest of the epoch is the same."""

from __future__ import annotations

import io
import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import penstock as ps

COUNT = 22
SMALL = (1, 8, 9, 17)  # too small for the line's crop
BROKEN = (4, 13, 14, 15, 21)  # not an image; where a source holds arrays, too small as well
POLICIES = ("skip", "blank", "replace")


@cache
def pixels(number: int) -> Any:
    side = 5 if number in SMALL else 30 + number
    return np.random.default_rng(number).integers(0, 256, (side, 34, 3), dtype=np.uint8)


@cache
def encoded(number: int) -> bytes:
    if number in BROKEN:
        return b"not an image" * (number % 2)
    file = io.BytesIO()
    Image.fromarray(pixels(number)).save(file, ("JPEG", "PNG", "BMP")[number % 3])
    return file.getvalue()


def name_of(number: int) -> str:
    return f"{'ab'[number % 2]}/{number:02d}.jpg"


def written(folder: Path, count: int = COUNT) -> Path:
    """A folder of two classes that holds ``count`` files, some of them broken."""
    for number in range(count):
        path = folder / name_of(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(number))
    return folder


def array_of(number: int) -> Any:
    return pixels(SMALL[0]) if number in BROKEN else pixels(number)


def paths_in(folder: Path, count: int = COUNT) -> list[Path]:
    return [written(folder, count) / name_of(number) for number in range(count)]


def labels(count: int = COUNT) -> list[int]:
    return [number % 7 for number in range(count)]


@dataclass(frozen=True)
class Kind:
    """A kind of source: the line over it, its like with another list, and whether items are encoded.

    To hold another source to the law, give it an entry in KINDS.
    """

    source: Callable[[Path], ps.Pipeline]
    changed: dict[str, Callable[[Path], ps.Pipeline]]
    encoded: bool = True


KINDS: dict[str, Kind] = {
    "folder": Kind(
        lambda folder: ps.folder(written(folder)),
        {
            "an item more": lambda folder: ps.folder(written(folder, COUNT + 1)),
            "another name": lambda folder: (
                (written(folder) / name_of(3)).rename(folder / "b" / "03b.jpg") and ps.folder(folder)
            ),
        },
    ),
    "files": Kind(
        lambda folder: ps.files(paths_in(folder), labels=labels()),
        {
            "an item less": lambda folder: ps.files(paths_in(folder)[:-1], labels=labels(COUNT - 1)),
            "another order": lambda folder: ps.files(paths_in(folder)[::-1], labels=labels()),
            "other labels": lambda folder: ps.files(paths_in(folder), labels=labels()[::-1]),
        },
    ),
    "blobs": Kind(
        lambda _: ps.blobs([encoded(number) for number in range(COUNT)], labels=labels()),
        {
            "an item more": lambda _: ps.blobs([encoded(number) for number in range(COUNT + 1)]),
            "other bytes": lambda _: ps.blobs([encoded(max(number, 3)) for number in range(COUNT)], labels=labels()),
            "keys": lambda _: ps.blobs({str(number): encoded(number) for number in range(1, COUNT + 1)}),
        },
    ),
    "arrays": Kind(
        lambda _: ps.arrays([array_of(number) for number in range(COUNT)], labels=labels()),
        {
            "an item less": lambda _: ps.arrays([array_of(number) for number in range(COUNT - 1)]),
            "other pixels": lambda _: ps.arrays([array_of(max(number, 3)) for number in range(COUNT)], labels=labels()),
        },
        encoded=False,
    ),
}


def line_over(source: ps.Pipeline, batch: int, *, decode: bool = True, seed: int = 5, **options: Any) -> ps.Pipeline:
    """A shuffled, augmented line; some items fail in decode, some in transform."""
    shuffled = source.seed(seed).shuffle()
    images = shuffled.decode() if decode else shuffled
    augmented = images.crop((0, 0, 30, 24)).random_resized_crop(12, 10).random_horizontal_flip()
    return augmented.random_color_jitter(brightness=0.2).batch(batch, **options)


def assert_same(found: list[ps.Batch], expected: list[ps.Batch]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        for name in ("images", "labels", "index", "valid", "damaged", "replaced_by"):
            assert np.array_equal(getattr(one, name), getattr(other, name)), name
        assert list(one.keys) == list(other.keys)
        assert one.failures == other.failures
        assert one.epoch == other.epoch
        assert np.array_equal(one.geometry.matrices, other.geometry.matrices)
        assert {name: list(one.fields[name]) for name in one.fields} == {
            name: list(other.fields[name]) for name in other.fields
        }


def states_and_batches(line: ps.Pipeline, **options: Any) -> tuple[list[dict[str, Any]], list[ps.Batch]]:
    """The state before the first batch of epoch 1 and after each, through JSON, and the batches."""
    with line.loader(epoch=1, **options) as loader:
        states, batches = [json.loads(json.dumps(loader.state_dict()))], []
        for batch in loader:
            batches.append(batch)
            states.append(json.loads(json.dumps(loader.state_dict())))
    return states, batches


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("kind", KINDS)
def test_restored_at_every_step_the_rest_is_the_same(tmp_path: Path, kind: str, policy: Any) -> None:
    line = line_over(KINDS[kind].source(tmp_path), 3, decode=KINDS[kind].encoded)
    states, whole = states_and_batches(line, on_failure=policy, threads=1)
    failed = np.concatenate([~batch.valid for batch in whole]).sum()
    assert failed == {"skip": 0, "blank": 9, "replace": 0}[policy]
    with (
        line.loader(on_failure=policy, threads=4) as loader,
        line.loader(on_failure=policy, engine="reference") as slow,
    ):
        for steps, state in enumerate(states[:-1]):
            for resumed in (loader, slow) if steps % 3 == 0 else (loader,):
                resumed.load_state_dict(state)
                assert resumed.state_dict() == state
                assert_same(list(resumed), whole[steps:])
                assert resumed.epoch == 2
        loader.load_state_dict(states[-1])
        assert (loader.state_dict()["epoch"], loader.state_dict()["position"]) == (2, 0)
    if policy != "skip":  # a batch of which nothing is left is not handed out
        for steps, state in enumerate(states[:-1]):
            again = line.batch_at(0, epoch=1, start=state["position"], on_failure=policy)
            assert_same([again], [whole[steps]])


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("kind", KINDS)
def test_from_two_ranks_to_three_every_row_comes_exactly_once(tmp_path: Path, kind: str, policy: Any) -> None:
    source, decode = KINDS[kind].source(tmp_path), KINDS[kind].encoded
    _, whole = states_and_batches(line_over(source, 5, decode=decode), on_failure=policy)
    rows = {row.index: row for batch in whole for row in batch}
    failures = {failure.index: failure for batch in whole for failure in batch.failures}
    before = line_over(source, 2, decode=decode, last="blank")
    after = line_over(source, 3, decode=decode, last="blank")
    ranks = [states_and_batches(before, on_failure=policy, rank=rank, world_size=2, threads=2) for rank in range(2)]
    positions = sorted({state["position"] for states, _ in ranks for state in states if state["epoch"] == 1})
    assert len(positions) >= 5
    for position in positions:
        state = next(state for states, _ in ranks for state in states if state["position"] == position)
        order = before.order.indices(np.arange(position), COUNT, 1).tolist()
        seen = {index: rows[index] for index in order if index in rows}  # what was handed out before
        failed = {index: failures[index] for index in order if index in failures}
        for rank in range(3):
            with after.loader(on_failure=policy, rank=rank, world_size=3, threads=1 + rank) as loader:
                loader.load_state_dict(state)
                for batch in loader:
                    for row in batch:
                        if row.index < 0:
                            continue
                        assert row.index not in seen
                        seen[row.index] = row
                        assert np.array_equal(row.image, rows[row.index].image)
                        assert (row.label, row.key, row.replaced_by, row.valid) == (
                            rows[row.index].label,
                            rows[row.index].key,
                            rows[row.index].replaced_by,
                            rows[row.index].valid,
                        )
                    failed |= {failure.index: failure for failure in batch.failures}
        assert seen.keys() == rows.keys()
        assert all(failures[index] == failure for index, failure in failed.items())
        if policy != "skip":
            assert failed == failures


@pytest.mark.parametrize(
    ("kind", "change"), [(kind, change) for kind, found in KINDS.items() for change in found.changed]
)
def test_a_state_of_another_list_is_refused_with_a_sentence(tmp_path: Path, kind: str, change: str) -> None:
    decode = KINDS[kind].encoded
    states, _ = states_and_batches(
        line_over(KINDS[kind].source(tmp_path / "one"), 4, decode=decode), on_failure="blank"
    )
    changed = line_over(KINDS[kind].changed[change](tmp_path / "two"), 4, decode=decode)
    more = len(changed.source) != COUNT
    sentence = "the file list has changed" if more else "found another .source, verbs, their parameters or the seed"
    with changed.loader() as loader, pytest.raises(ps.PlanError, match=f"^load_state_dict: expected .*{sentence}"):
        loader.load_state_dict(states[2])


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_of_another_recipe_or_seed_is_refused(tmp_path: Path, kind: str) -> None:
    source, decode = KINDS[kind].source(tmp_path), KINDS[kind].encoded
    states, _ = states_and_batches(line_over(source, 4, decode=decode), on_failure="blank")
    images = source.seed(5).shuffle().decode() if decode else source.seed(5).shuffle()
    reseeded = line_over(source, 4, decode=decode, seed=6)
    for other in (images.resize(12, 10).batch(4), reseeded):
        with other.loader() as loader, pytest.raises(ps.PlanError, match=r"^load_state_dict: .* found another"):
            loader.load_state_dict(states[2])


TRAINING = """
import json, os, signal, sys
import numpy as np
sys.path.insert(0, {tests!r})
from test_resume_law import KINDS, line_over
from pathlib import Path

def save(path, loader, weights):
    with open(path + ".new", "w") as file:
        json.dump({{"loader": loader.state_dict(), "weights": weights.tolist()}}, file)
    os.replace(path + ".new", path)

def train(folder, saved, ledger, kill_at, batch, threads):
    line = line_over(KINDS["files"].source(Path(folder)), batch)
    weights, steps = np.zeros((12, 10, 3)), 0
    with line.loader(on_failure="replace", ledger=ledger, threads=threads) as loader:
        if os.path.exists(saved):
            with open(saved) as file:
                state = json.load(file)
            loader.load_state_dict(state["loader"])
            weights = np.array(state["weights"])
        while loader.epoch < 2:
            for images in (batch.images for batch in loader):
                for image in images:  # whatever the batches are, the same sums in the same order
                    weights = weights * 0.75 + image
                steps += 1
                if steps % 2 == 0:
                    save(saved, loader, weights)
                if steps == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)
        failures = len(loader.last_run.failures)
    print(json.dumps([weights.tolist(), failures]))

train(*sys.argv[1:4], *map(int, sys.argv[4:]))
"""


def test_a_killed_training_ends_as_the_uninterrupted_one(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(TRAINING.format(tests=str(Path(__file__).parent)))
    folder = tmp_path / "pictures"

    def train(name: str, kill_at: int = 0, batch: int = 3, threads: int = 2) -> subprocess.CompletedProcess[str]:
        files = [tmp_path / f"{name}.json", tmp_path / f"{name}.jsonl"]
        arguments = [str(part) for part in (folder, *files, kill_at, batch, threads)]
        command = [sys.executable, str(script), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    whole = train("whole")
    assert whole.returncode == 0, whole.stderr
    for kill_at, batch in ((5, 3), (13, 5)):
        name = f"killed{kill_at}"
        assert train(name, kill_at).returncode == -9
        resumed = train(name, 0, batch, threads=3)
        assert resumed.returncode == 0, resumed.stderr
        assert json.loads(resumed.stdout) == json.loads(whole.stdout)
        ledgers = [sorted((tmp_path / f"{run}.jsonl").read_text().splitlines()) for run in (name, "whole")]
        assert ledgers[0] == ledgers[1] and len(ledgers[0]) == 2 * (len(SMALL) + len(BROKEN))


def test_a_state_is_restored_in_the_middle_of_any_pass(tmp_path: Path) -> None:
    line = line_over(KINDS["folder"].source(tmp_path), 4)
    states, whole = states_and_batches(line, on_failure="replace")
    with line.loader(on_failure="replace") as loader:
        for steps, state in itertools.islice(enumerate(states), 1, 5):
            next(iter(loader))  # a pass that is open, wherever it stands
            loader.load_state_dict(state)
            assert_same(list(loader), whole[steps:])
