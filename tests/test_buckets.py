"""Batches filled by size: who comes with whom, on which rank, at which step; and whole runs of such lines."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import penstock as ps
from penstock.buckets import Arrangement, Buckets, arrange, final_sizes

size_lists = st.lists(st.sampled_from([(8, 8), (4, 6), (6, 4), (0, 0), (100, 3)]), max_size=60)
batch_sizes = st.integers(1, 7)
lasts = st.sampled_from(["short", "drop", "blank"])


def column(sizes: list[tuple[int, int]]) -> Any:
    return np.array(sizes, dtype=np.int64).reshape(-1, 2)


def one_by_one(sizes: list[tuple[int, int]], batch_size: int, last: str) -> list[list[int]]:
    """The definition: items come in order; a batch goes out the moment it is full; the rest by height and width."""
    batches: list[list[int]] = []
    waiting: dict[tuple[int, int], list[int]] = {}
    for place, size in enumerate(sizes):
        waiting.setdefault(size, []).append(place)
        if len(waiting[size]) == batch_size:
            batches.append(waiting.pop(size))
    left = [waiting[size] for size in sorted(waiting)]
    return batches if last == "drop" else batches + left


def batches_of(made: Arrangement) -> list[list[int]]:
    return [made.places[a : a + n].tolist() for a, n in zip(made.starts, made.counts, strict=True)]


@settings(max_examples=300)
@given(size_lists, batch_sizes, lasts)
def test_arranged_as_defined(sizes: list[tuple[int, int]], batch_size: int, last: Any) -> None:
    made = arrange(column(sizes), batch_size, last)
    assert batches_of(made) == one_by_one(sizes, batch_size, last)
    for batch, size in zip(batches_of(made), made.sizes.tolist(), strict=True):
        assert {sizes[place] for place in batch} == {tuple(size)}


@settings(max_examples=300)
@given(size_lists, batch_sizes, lasts, st.integers(1, 5))
def test_ranks_have_each_item_once(sizes: list[tuple[int, int]], batch_size: int, last: Any, world_size: int) -> None:
    made = arrange(column(sizes), batch_size, last)
    ranks = [Buckets(made, batch_size, world_size, rank, 0, last) for rank in range(world_size)]
    seen: list[int] = []
    for rank in ranks:
        reached = 0
        for step in range(len(rank)):
            places = rank.positions(step)
            assert len(places) <= batch_size and (last == "short" or len(places) == batch_size)
            real = places[places >= 0].tolist()
            assert {sizes[place] for place in real} <= {rank.size(step)}
            seen += real
            reached += len(real)
        assert rank.mine == reached
        with pytest.raises(IndexError):
            rank.positions(len(rank))
    assert len(set(seen)) == len(seen)
    if last != "drop":
        assert sorted(seen) == list(range(len(sizes)))
    steps = [len(rank) for rank in ranks]
    assert max(steps) - min(steps) <= (last == "short")
    assert ranks[0].reached(max(steps)) == ranks[-1].reached(max(steps))


@settings(max_examples=300)
@given(size_lists, batch_sizes, lasts, st.integers(1, 4), st.integers(1, 4), st.integers(0, 9))
def test_resumed_on_other_ranks(
    sizes: list[tuple[int, int]], batch_size: int, last: Any, before: int, after: int, done: int
) -> None:
    made = arrange(column(sizes), batch_size, last)
    first = [Buckets(made, batch_size, before, rank, 0, last) for rank in range(before)]
    done = min(done, *(len(rank) for rank in first))
    seen = [rank.positions(step) for rank in first for step in range(done)]
    start = first[0].reached(done)
    assert start == sum(int((places >= 0).sum()) for places in seen)
    for rank in range(after):
        rest = Buckets(made, batch_size, after, rank, start, last)
        seen += [rest.positions(step) for step in range(len(rest))]
    real = [place for places in seen for place in places.tolist() if place >= 0]
    assert len(set(real)) == len(real)
    if last != "drop":
        assert sorted(real) == list(range(len(sizes)))


def test_a_start_inside_a_batch_is_refused() -> None:
    made = arrange(column([(4, 4)] * 6), 3)
    with pytest.raises(ps.PlanError, match="expected to begin where a batch ends, found 4 items used already"):
        Buckets(made, 3, start=4)


# -- runs ------------------------------------------------------------------------------------------------------------

SIZES = [(40, 30), (30, 40), (32, 32)]
COUNT = 31


def encoded(height: int, width: int, seed: int, kind: str = "JPEG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    draws = np.random.default_rng(4)
    (tmp_path / "photos").mkdir()
    for number in range(COUNT):
        height, width = SIZES[draws.integers(3)]
        kind = ("JPEG", "PNG", "BMP")[number % 3]
        (tmp_path / "photos" / f"{number:02}.{kind.lower()}").write_bytes(encoded(height, width, number, kind))
    return tmp_path / "photos"


def line_of(folder: Path, n: int = 4, last: Any = "short") -> Any:
    line = ps.files(sorted(folder.iterdir())).seed(5).shuffle()
    return line.decode().resize(short_side=15).random_horizontal_flip().batch(n, last=last, ragged="bucket")


@pytest.mark.parametrize("engine", ["native", "reference"])
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_batches_have_one_size_and_every_item_once(folder: Path, engine: Any, layout: Any) -> None:
    line = ps.files(sorted(folder.iterdir())).seed(5).shuffle().decode().resize(short_side=15)
    line = line.batch(4, layout=layout, ragged="bucket")
    sizes = final_sizes(line.source, line.recipe)
    seen = []
    for rank in range(2):
        with line.run(engine=engine, rank=rank, world_size=2, epoch=1) as run:
            assert run.position == 0
            batches = list(run)
        assert len(batches) == len(run)
        for batch in batches:
            first = 1 if layout == "NHWC" else 2
            assert (sizes[batch.index] == batch.images.shape[first : first + 2]).all()
            assert (batch.sizes == sizes[batch.index]).all()
            again = line.batch_at(batch.step, epoch=1, rank=rank, world_size=2)
            assert np.array_equal(again.images, batch.images) and np.array_equal(again.index, batch.index)
            for row in batch:
                path = sorted(folder.iterdir())[row.index]
                alone = ps.resize(ps.decode(path), short_side=15)
                assert np.array_equal(row.image, alone if layout == "NHWC" else alone.transpose(2, 0, 1))
        seen += [index for batch in batches for index in batch.index.tolist()]
    assert sorted(seen) == list(range(COUNT))


def test_epochs_mix_anew(folder: Path) -> None:
    line = line_of(folder)
    orders = []
    for epoch in (0, 1):
        with line.run(epoch=epoch) as run:
            orders.append(np.concatenate([batch.index for batch in run]).tolist())
    assert orders[0] != orders[1] and sorted(orders[0]) == sorted(orders[1]) == list(range(COUNT))


@pytest.mark.parametrize("last", ["short", "drop", "blank"])
def test_a_loader_goes_on_where_it_was(folder: Path, last: Any) -> None:
    with line_of(folder, last=last).loader() as loader:
        assert len(loader) == len(line_of(folder, last=last))
        whole = [batch.index.tolist() for batch in loader]
        begun = [(batch.index.tolist(), loader.state_dict()) for batch, _ in zip(loader, range(3), strict=False)]
        assert loader.epoch == 1 and len(whole) == len(loader)
    state = begun[-1][1]
    assert state["bucket"] == 4
    rest: list[list[int]] = []
    for rank in range(2):  # on two ranks, what one began
        with line_of(folder, last=last).loader(rank=rank, world_size=2) as loader:
            loader.load_state_dict(state)
            rest += [batch.index.tolist() for batch in loader]
            assert loader.epoch == 2
    seen = [index for batch in [index for index, _ in begun] + rest for index in batch if index >= 0]
    assert len(set(seen)) == len(seen)
    if last != "drop":
        assert sorted(seen) == list(range(COUNT))


def test_a_state_of_other_batches_is_refused(folder: Path) -> None:
    with line_of(folder).loader() as loader:
        for _ in zip(loader, range(2), strict=False):
            state = loader.state_dict()
    with line_of(folder, n=5).loader() as other, pytest.raises(ps.PlanError, match="expected buckets of 4 rows"):
        other.load_state_dict(state)


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_failures_come_together(folder: Path, engine: Any) -> None:
    (folder / "00.jpeg").write_bytes(b"none")
    (folder / "01.png").write_bytes(b"")
    with line_of(folder).run(engine=engine, on_failure="blank") as run:
        batches = list(run)
    assert len(run.failures) == 2 and run.reached == COUNT
    assert [batch.valid.tolist() for batch in batches if not batch.valid.all()] == [[False, False]]
    with line_of(folder).run(engine=engine, on_failure="skip") as run:
        assert sum(len(batch) for batch in run) == COUNT - 2


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_a_file_that_changes_its_size_fails_alone(folder: Path, engine: Any) -> None:
    line = line_of(folder)
    assert len(line) == len(line)  # the headers are known now
    (folder / "03.jpeg").write_bytes(encoded(99, 20, 1))
    with line.run(engine=engine, on_failure="blank") as run:
        batches = list(run)
    assert [failure.cause for failure in run.failures] == ["size changed"]
    assert "expected the size that its header led to, H=" in run.failures[0].message
    assert "found H=74 W=15" in run.failures[0].message
    assert sum(int(batch.valid.sum()) for batch in batches) == COUNT - 1


def test_sizes_of_arrays_need_no_header() -> None:
    arrays = [np.zeros((4 + i % 2, 6, 3), np.uint8) for i in range(6)]
    with ps.arrays(arrays).batch(3, ragged="bucket").run() as run:
        assert [batch.images.shape for batch in run] == [(3, 4, 6, 3), (3, 5, 6, 3)]


def test_images_of_one_size_fill_batches_as_they_come() -> None:
    blobs = {str(i): encoded(8, 8 + i, i) for i in range(5)}
    with ps.blobs(blobs).decode().resize(4, 4).batch(2, ragged="bucket").run() as run:
        assert [batch.index.tolist() for batch in run] == [[0, 1], [2, 3], [4]]
