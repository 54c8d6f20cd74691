"""The law of resume: restored at any step, for any source and policy, the rest of the epoch is the same."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import penstock as ps
from tars import tar_bytes

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


def number_of(key: str) -> int:
    """Which picture an item is, whatever its source calls it."""
    return int(re.findall(r"\d+", key)[-1])


def fails(number: int) -> bool:
    return number in SMALL or number in BROKEN


def in_tar(folder: Path, numbers: Iterable[int]) -> Path:
    """A tar of pictures with a class and a caption beside each."""
    members = []
    for number in numbers:
        stem = name_of(number)[:-4]
        members += [(f"{stem}.jpg", encoded(number)), (f"{stem}.cls", b"%d" % (number % 7))]
        members += [(f"{stem}.json", json.dumps({"caption": f"picture {number}"}).encode())]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "shard.tar"
    path.write_bytes(tar_bytes(members))
    return path


def rows_of(numbers: Iterable[int]) -> dict[str, list[Any]]:
    """The columns of a table of pictures."""
    listed = list(numbers)
    return {
        "image": [encoded(number) for number in listed],
        "label": [number % 7 for number in listed],
        "name": [f"{number:02d}" for number in listed],
        "caption": [f"picture {number}" for number in listed],
    }


def in_parquet(folder: Path, numbers: Iterable[int]) -> ps.Pipeline:
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.table(rows_of(numbers)), folder / "rows.parquet", row_group_size=5)
    return ps.parquet(folder / "rows.parquet", image="image", label="label", key="name", cache_bytes=1)


def in_hf(numbers: Iterable[int]) -> ps.Pipeline:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    made = datasets.Dataset.from_dict(rows_of(numbers)).cast_column("image", datasets.Image(decode=True))
    return ps.hf(made, label="label", key="name")


def in_csv(folder: Path, numbers: Iterable[int]) -> ps.Pipeline:
    written(folder)
    with open(folder / "rows.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "label", "caption"])
        table.writerows([name_of(number), number % 7, f"picture {number}"] for number in numbers)
    return ps.csv(folder / "rows.csv", label="label")


def in_jsonl(folder: Path, numbers: Iterable[int]) -> ps.Pipeline:
    written(folder)
    rows = [{"image": name_of(number), "label": number % 7, "caption": f"picture {number}"} for number in numbers]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return ps.jsonl(folder / "rows.jsonl", images="image", label="label")


def tar_and_files(folder: Path, cut: int = 9, first: int = 0) -> tuple[ps.Pipeline, ps.Pipeline]:
    """Some pictures in a tar, the others in files, with labels that mean the same."""
    written(folder)
    files = [folder / name_of(number) for number in range(cut, COUNT)]
    return ps.tar(in_tar(folder / "tar", range(first, cut))), ps.files(files, labels=labels()[cut:])


def mixed(folder: Path, **options: Any) -> ps.Pipeline:
    tar, files = tar_and_files(folder, **options)
    return ps.mix({"tar": (tar.seed(2).shuffle(), 0.4), "files": (files.seed(3).shuffle(), 0.6)}, stop="first")


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
    "tar": Kind(
        lambda folder: ps.tar(in_tar(folder, range(COUNT))),
        {
            "an item more": lambda folder: ps.tar(in_tar(folder, range(COUNT + 1))),
            "another name": lambda folder: ps.tar(in_tar(folder, [*range(COUNT - 1), COUNT])),
            "another order": lambda folder: ps.tar(in_tar(folder, range(COUNT - 1, -1, -1))),
            "no labels": lambda folder: ps.tar(in_tar(folder, range(COUNT)), labels=None),
        },
    ),
    "parquet": Kind(
        lambda folder: in_parquet(folder, range(COUNT)),
        {
            "an item less": lambda folder: in_parquet(folder, range(COUNT - 1)),
            "another row": lambda folder: in_parquet(folder, [*range(COUNT - 1), COUNT]),
        },
    ),
    "hf": Kind(
        lambda _: in_hf(range(COUNT)),
        {
            "an item less": lambda _: in_hf(range(COUNT - 1)),
            "another row": lambda _: in_hf([*range(COUNT - 1), COUNT]),
        },
    ),
    "csv": Kind(
        lambda folder: in_csv(folder, range(COUNT)),
        {
            "an item less": lambda folder: in_csv(folder, range(COUNT - 1)),
            "another order": lambda folder: in_csv(folder, range(COUNT - 1, -1, -1)),
        },
    ),
    "jsonl": Kind(
        lambda folder: in_jsonl(folder, range(COUNT)),
        {
            "an item less": lambda folder: in_jsonl(folder, range(COUNT - 1)),
            "another order": lambda folder: in_jsonl(folder, range(COUNT - 1, -1, -1)),
        },
    ),
    "concat": Kind(
        lambda folder: ps.concat(*tar_and_files(folder)),
        {
            "another cut": lambda folder: ps.concat(*tar_and_files(folder, cut=8)),
            "an item less": lambda folder: ps.concat(*tar_and_files(folder, first=1)),
            "the other way round": lambda folder: ps.concat(*tar_and_files(folder)[::-1]),
        },
    ),
    "mix": Kind(
        mixed,
        {
            "another cut": lambda folder: mixed(folder, cut=8),
            "other lines": lambda folder: ps.mix(
                {name: (line, 0.5) for name, line in zip("ab", tar_and_files(folder), strict=True)}
            ),
        },
    ),
}

ORDERS: dict[str, Callable[[ps.Pipeline], ps.Pipeline]] = {
    "a window": lambda line: line.seed(5).shuffle(window=6),
    "a part of a shuffle": lambda line: line.seed(5).shuffle().skip(3).take(15),
    "a filter": lambda line: line.filter(lambda item: item.label != 3).seed(5).shuffle(),
    "a split": lambda line: line.split(train=0.7, val=0.3)["train"].seed(5).shuffle(),
    "a split by groups": lambda line: line.split(by=lambda item: item.label, train=0.6, val=0.4)["val"].seed(5),
    "drawn by weight": lambda line: line.seed(5).sample_by([1 + number % 3 for number in range(COUNT)], n=27),
    "balanced": lambda line: line.seed(5).balance(),
    "a window of a concat": lambda line: ps.concat(line.seed(5).shuffle(), line.take(5)).shuffle(window=4),
    "one mixed with itself": lambda line: ps.mix(
        {"a": (line.seed(5).shuffle(), 2), "b": (line.balance(), 1)}, stop="longest"
    ),
}
"""Orders over any of the kinds, some of which take items twice."""


def line_over(source: ps.Pipeline, batch: int, *, decode: bool = True, seed: int = 5, **options: Any) -> ps.Pipeline:
    """A shuffled, augmented line; some items fail in decode, some in transform."""
    return augmented(source.seed(seed).shuffle(), batch, decode=decode, **options)


def augmented(ordered: ps.Pipeline, batch: int, *, decode: bool = True, **options: Any) -> ps.Pipeline:
    images = ordered.decode() if decode else ordered
    cropped = images.crop((0, 0, 30, 24)).random_resized_crop(12, 10).random_horizontal_flip()
    return cropped.random_color_jitter(brightness=0.2).batch(batch, **options)


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
    source = line.source
    items = line.order.indices(np.arange(line.items), len(source), 1).tolist()
    failing = sum(fails(number_of(source.key(item))) for item in items)
    assert failing == 9 or kind == "mix"
    assert failed == {"skip": 0, "blank": failing, "replace": 0}[policy]
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


@pytest.mark.parametrize(
    ("order", "kind", "policy"),
    [
        *zip(
            ORDERS,
            itertools.cycle(("folder", "tar", "csv", "concat")),
            itertools.cycle(("blank", "replace", "skip")),
            strict=False,
        )
    ],
)
def test_restored_at_every_step_of_any_order_the_rest_is_the_same(
    tmp_path: Path, order: str, kind: str, policy: Any
) -> None:
    line = augmented(ORDERS[order](KINDS[kind].source(tmp_path)), 3)
    states, whole = states_and_batches(line, on_failure=policy, threads=1)
    with line.loader(on_failure=policy, threads=3) as loader:
        for steps, state in enumerate(states[:-1]):
            loader.load_state_dict(state)
            left = [batch for batch in whole if batch.step >= state["steps"]]
            assert len(left) == len(whole) - steps
            assert_same(list(loader), left)
            assert loader.epoch == 2
    for batch, state in zip(whole, states, strict=False):
        if policy != "skip":
            again = line.batch_at(0, epoch=1, start=state["position"], on_failure=policy)
            assert_same([again], [batch])


@pytest.mark.parametrize(
    ("order", "kind"), [*zip(ORDERS, itertools.cycle(("tar", "concat", "blobs", "jsonl")), strict=False)]
)
def test_from_two_ranks_to_three_every_place_in_any_order_comes_exactly_once(
    tmp_path: Path, order: str, kind: str
) -> None:
    ordered = ORDERS[order](KINDS[kind].source(tmp_path))

    def places(batches: list[ps.Batch]) -> list[tuple[Any, ...]]:
        rows = [row for batch in batches for row in batch if row.index >= 0]
        return [(row.index, row.key, row.label, row.valid, row.image.tobytes()) for row in rows]

    whole = places(states_and_batches(augmented(ordered, 4), on_failure="blank")[1])
    before, after = augmented(ordered, 2, last="blank"), augmented(ordered, 3, last="blank")
    states, _ = states_and_batches(before, on_failure="blank", rank=1, world_size=2)
    for state in states[1:-1:2]:
        rest: list[tuple[Any, ...]] = []
        for rank in range(3):
            with after.loader(on_failure="blank", rank=rank, world_size=3) as loader:
                loader.load_state_dict(state)
                rest += places(list(loader))
        assert Counter(rest) == Counter(whole[state["position"] :])


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
        order = before.order.indices(np.arange(position), len(source.source), 1).tolist()
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
    line = line_over(KINDS[kind].source(tmp_path / "one"), 4, decode=decode)
    states, _ = states_and_batches(line, on_failure="blank")
    changed = line_over(KINDS[kind].changed[change](tmp_path / "two"), 4, decode=decode)
    more = changed.items != line.items
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
sys.path[:0] = [{tests!r}, {tests!r} + "/support"]
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
        return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)

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
