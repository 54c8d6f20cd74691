"""A loader: each pass is the next epoch, an epoch closes with its last batch, a state resumes anywhere, bit for bit."""

from __future__ import annotations

import gc
import io
import itertools
import json
import os
import re
import threading
import weakref
from functools import cache
from typing import Any

import numpy as np
import pytest
from PIL import Image

import penstock as ps
from penstock import answers as answers_module
from waiting import wait_for_end_of_threads, wait_until


@cache
def pictures(count: int) -> tuple[bytes, ...]:
    blobs = []
    for number in range(count):
        coarse = np.random.default_rng(number).integers(0, 256, (5, 6, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(coarse).resize((31 + number, 40)).save(file, "BMP" if number % 5 == 4 else "JPEG")
        blobs.append(file.getvalue())
    return tuple(blobs)


def training_line(count: int = 22, batch: int = 4, **options: Any) -> ps.Pipeline:
    line = ps.blobs(pictures(count), labels=range(count)).seed(11).shuffle().decode()
    return line.random_resized_crop(12, 10).random_horizontal_flip().normalize(ps.IMAGENET).batch(batch, **options)


def one_epoch(line: ps.Pipeline, epoch: int, rank: int = 0, world_size: int = 1) -> list[ps.Batch]:
    with line.run(epoch=epoch, rank=rank, world_size=world_size) as run:
        return list(run)


def same(one: ps.Batch, other: ps.Batch) -> bool:
    return (
        np.array_equal(one.images, other.images)
        and np.array_equal(one.labels, other.labels)
        and np.array_equal(one.index, other.index)
        and one.epoch == other.epoch
        and np.array_equal(one.geometry.matrices, other.geometry.matrices)
    )


def assert_same(found: list[ps.Batch], expected: list[ps.Batch]) -> None:
    assert len(found) == len(expected)
    assert all(same(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_each_pass_is_the_next_epoch(engine: Any) -> None:
    line = training_line()
    loader = line.loader(engine=engine, epoch=3)
    assert len(loader) == len(line) == 6
    for epoch in (3, 4, 5):
        assert loader.epoch == epoch
        assert_same(list(loader), one_epoch(line, epoch))
    assert not np.array_equal(one_epoch(line, 3)[0].index, one_epoch(line, 4)[0].index)
    loader.close()


@pytest.mark.parametrize("last", ["short", "drop", "blank"])
def test_an_epoch_closes_when_its_last_batch_is_handed_out(last: Any) -> None:
    loader = training_line(last=last).loader()
    steps = len(loader)
    batches = iter(loader)
    for step in range(steps):
        assert loader.epoch == 0
        assert loader.state_dict()["position"] == min(4 * step, 22)
        assert next(batches).epoch == 0
    # Trainers count steps and never ask for the one after the last.
    assert loader.epoch == 1 and loader.state_dict()["position"] == 0 and loader.state_dict()["epoch"] == 1
    assert next(iter(loader)).epoch == 1
    loader.close()


def test_a_pass_left_early_counts_as_an_epoch() -> None:
    line = training_line()
    with line.loader() as loader:
        for batch in loader:
            if batch.step == 1:
                break
        assert loader.epoch == 0 and loader.state_dict()["position"] == 8
        assert_same(list(loader), one_epoch(line, 1))
        assert loader.epoch == 2


def test_a_pass_left_early_frees_the_pool_for_the_next() -> None:
    file = io.BytesIO()
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).resize((4000, 3000)).save(file, "JPEG")
    line = ps.blobs([file.getvalue()] * 450).decode().resize(8, 8).batch(2)
    with line.loader(threads=2, prefetch=200) as loader:
        next(iter(loader))
        left = loader.run
        assert left is not None
        in_flight = list(left._flight)  # many seconds of work
        loader.load_state_dict(loader.state_dict())
        # What nobody wants any more was given up, not finished.
        assert len(in_flight) == 200 and all(flying.ticketed.job.done for flying in in_flight)
        assert loader._engine is not None and loader._engine.times()[6] < 300


def test_a_pass_begun_again_ends_the_open_one() -> None:
    with training_line().loader() as loader:
        first = iter(loader)
        next(first)
        second = iter(loader)
        assert next(second).epoch == 1
        with pytest.raises(ps.EngineError, match="found it closed"):
            next(first)
        assert next(second).epoch == 1


def tasks() -> frozenset[str]:
    """The threads of this process, native ones among them, where the system tells."""
    return frozenset(os.listdir("/proc/self/task") if os.path.isdir("/proc/self/task") else ())


def test_the_pool_is_kept_from_epoch_to_epoch() -> None:
    before, tasks_before = set(threading.enumerate()), tasks()
    with training_line().loader(threads=2) as loader:
        assert loader._engine is None
        pools, threads = set(), set()
        for _ in range(4):
            for _ in loader:
                pass
            assert loader._engine is not None
            pools.add(id(loader._engine._pool))
            threads.add(tasks() - tasks_before)
        assert len(pools) == len(threads) == 1
        engine = loader._engine
        assert engine is not None and engine.usable
    assert not engine.usable and loader._engine is None
    wait_for_end_of_threads(before)


def test_a_closed_loader_starts_anew() -> None:
    line = training_line()
    loader = line.loader()
    next(iter(loader))
    loader.close()
    assert loader.epoch == 1
    assert_same(list(loader), one_epoch(line, 1))
    loader.close()
    loader.close()


@pytest.mark.parametrize("last", ["short", "drop", "blank"])
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_a_state_at_every_step_is_the_rest_bit_for_bit(last: Any, world_size: int) -> None:
    line = training_line(last=last)
    for rank in range(world_size):
        whole = one_epoch(line, 1, rank, world_size)
        following = one_epoch(line, 2, rank, world_size)
        for steps in range(len(whole) + 1):
            with line.loader(epoch=1, rank=rank, world_size=world_size) as taken:
                assert_same(list(itertools.islice(taken, steps)), whole[:steps])
                state = json.loads(json.dumps(taken.state_dict()))
            with line.loader(rank=rank, world_size=world_size) as resumed:
                resumed.load_state_dict(state)
                assert resumed.state_dict() == state
                if steps < len(whole):
                    assert len(resumed) == len(whole)  # of the whole epoch, as trainers count
                    assert_same(list(resumed), whole[steps:])
                assert_same(list(resumed), following)


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1), (2, 3), (4, 1), (1, 4)])
def test_a_state_goes_on_with_another_world_size(before: int, after: int) -> None:
    line = training_line(count=30, batch=3, last="blank")
    rows = {int(row.index): row for batch in one_epoch(line, 1) for row in batch if row.valid}
    for steps in range(len(one_epoch(line, 1, 0, before))):
        seen: list[int] = []
        states = []
        for rank in range(before):
            with line.loader(epoch=1, rank=rank, world_size=before) as loader:
                for batch in itertools.islice(loader, steps):
                    seen.extend(batch.index[batch.valid].tolist())
                states.append(loader.state_dict())
        assert all(state == states[0] for state in states)
        for rank in range(after):
            with line.loader(rank=rank, world_size=after, threads=1 + rank) as loader:
                loader.load_state_dict(states[0])
                for batch in loader:
                    for row in batch:
                        if row.valid:
                            seen.append(row.index)
                            assert np.array_equal(row.image, rows[row.index].image)
                assert loader.epoch == 2
        assert sorted(seen) == list(range(30))


def test_a_state_goes_on_with_another_batch_size_layout_and_engine() -> None:
    line = training_line(batch=4)
    images = np.concatenate([batch.images for batch in one_epoch(line, 0)])
    with line.loader() as loader:
        next(iter(loader))
        state = loader.state_dict()
    other = training_line(batch=7, layout="NCHW")
    with other.loader(engine="reference") as loader:
        loader.load_state_dict(state)
        rest = np.concatenate([batch.images for batch in loader])
    assert np.array_equal(rest.transpose(0, 2, 3, 1), images[4:])


def test_loading_a_state_leaves_the_open_pass() -> None:
    line = training_line()
    with line.loader() as loader:
        start = loader.state_dict()
        for _ in zip(range(3), loader, strict=False):
            pass
        loader.load_state_dict(start)
        assert_same(list(loader), one_epoch(line, 0))


def test_a_state_is_small_json_without_the_file_list() -> None:
    with training_line().loader() as loader:
        next(iter(loader))
        state = loader.state_dict()
    assert len(json.dumps(state)) < 300
    assert (state["epoch"], state["position"], state["items"], state["version"]) == (0, 4, 22, 1)


def test_a_state_of_another_line_is_refused_with_its_reason() -> None:
    with training_line().loader() as loader:
        state = loader.state_dict()
    same_items = ps.blobs(pictures(22), labels=range(22)).seed(11).shuffle().decode()
    cases = [
        (
            training_line(21),
            state,
            "expected the 22 items the state was taken with, found 21; the file list has changed.",
        ),
        (same_items.resize(12, 10).batch(4), state, "expected the line the state was taken with, found another"),
        (training_line(), {**state, "version": 2}, "expected a state of version 1, found 2."),
        (training_line(), {}, "expected a state of version 1, found None."),
    ]
    reseeded = ps.blobs(pictures(22), labels=range(22)).seed(12).shuffle().apply(training_line().recipe).batch(4)
    cases.append((reseeded, state, "or the seed differ"))
    for line, given, sentence in cases:
        with line.loader() as loader, pytest.raises(ps.PlanError, match="^load_state_dict: .*" + re.escape(sentence)):
            loader.load_state_dict(given)
    with training_line(batch=5).loader() as loader:
        loader.load_state_dict(state)  # the batch size is not part of what a state pins down


def test_a_loader_needs_batches_and_takes_a_select() -> None:
    with pytest.raises(ps.PlanError, match=r"found none; add .batch\(n\) before .loader\(\)"):
        ps.blobs(pictures(3)).decode().resize(8, 8).loader()
    with training_line().select("images", "labels").loader() as loader:
        for images, labels in loader:
            assert len(images) == len(labels)


@pytest.mark.parametrize("on_failure", ["skip", "blank"])
def test_an_epoch_whose_last_steps_all_fail_closes_as_well(on_failure: Any) -> None:
    blobs = [*pictures(6), b"broken", b"broken", b"broken", b"broken"]
    line = ps.blobs(blobs).decode().resize(8, 8).batch(2)
    with line.loader(on_failure=on_failure) as loader:
        for epoch in range(3):
            assert loader.epoch == epoch
            batches = list(loader)
            assert len(batches) == (3 if on_failure == "skip" else 5)
            assert loader.epoch == epoch + 1 and loader.state_dict()["position"] == 0
            assert loader.run is not None and loader.run.reached == 10 and len(loader.run.failures) == 4


def test_a_batch_that_was_refused_is_not_counted_as_handed_out() -> None:
    blobs = [*pictures(4), b"broken", *pictures(3)]
    line = ps.blobs(blobs).decode().resize(8, 8).batch(2)
    with line.loader() as loader:
        steps = iter(loader)
        assert [next(steps).index.tolist(), next(steps).index.tolist()] == [[0, 1], [2, 3]]
        with pytest.raises(ps.ItemError, match="decode of '4'"):
            next(steps)
        state = loader.state_dict()
        assert state["position"] == 4
    with line.loader(on_failure="skip") as loader:
        loader.load_state_dict(state)
        assert [batch.index.tolist() for batch in loader] == [[5], [6, 7]]


def test_a_loader_says_what_it_is() -> None:
    loader = training_line().loader(threads=3)
    assert str(loader) == "Loader: epoch 0, 6 batches, 3 threads"
    assert loader.run is None
    loader.close()


def steps_left(line: ps.Pipeline, state: dict[str, Any], rank: int, world_size: int) -> list[list[int]]:
    with line.loader(rank=rank, world_size=world_size) as loader:
        loader.load_state_dict(state)
        expected = len(loader) - state["steps"]
        rest = [batch.index.tolist() for batch in loader]
        assert len(rest) == expected and loader.epoch == state["epoch"] + 1
        return rest


def test_a_pass_that_was_never_begun_is_no_epoch() -> None:
    with training_line().loader() as loader:
        whole = [batch.index.tolist() for batch in loader]
        for _ in range(2):  # trainers make an iterator, look at it, and make another one
            batches = iter(loader)
        assert loader.epoch == 1
        next(batches)
        state = loader.state_dict()
        assert (state["steps"], state["epoch"]) == (1, 1)
        loader.load_state_dict(state)
        iter(loader)
        iter(loader)
        assert loader.state_dict() == state and len(list(loader)) == len(whole) - 1


def test_a_rank_with_a_step_less_has_the_state_of_the_others() -> None:
    line = ps.blobs(pictures(5)).decode().resize(8, 8).batch(2)
    loaders = [line.loader(rank=rank, world_size=2) for rank in range(2)]
    passes = [iter(loader) for loader in loaders]
    assert [next(batches).index.tolist() for batches in passes] == [[0, 2], [1, 3]]
    # Rank 1 has nothing more, and rank 0 has one step: the epoch is not over on either.
    states = [loader.state_dict() for loader in loaders]
    assert states[0] == states[1] and (states[0]["epoch"], states[0]["position"]) == (0, 4)
    assert [steps_left(line, states[1], rank, 2) for rank in range(2)] == [[[4]], []]
    assert steps_left(line, states[1], 0, 1) == [[4]]
    assert next(passes[0]).index.tolist() == [4]
    assert list(passes[1]) == []
    states = [loader.state_dict() for loader in loaders]
    assert states[0] == states[1] and (states[0]["epoch"], states[0]["position"]) == (1, 0)
    for loader in loaders:  # and so it goes on for a trainer that counts its steps and never asks for one more
        next(iter(loader))
        assert next(iter(loader)).epoch == 2
        loader.close()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"position": 10**9}, "position=1000000000: expected a whole number from 0 to 22, found 1000000000."),
        ({"position": -1}, "position=-1: expected a whole number from 0 to 22, found -1."),
        ({"position": "4"}, "position='4': expected a whole number from 0 to 22, found '4'."),
        ({"position": 4.0}, "position=4.0: expected a whole number from 0 to 22, found 4.0."),
        ({"epoch": -1}, "epoch=-1: expected a whole number of at least 0, found -1."),
        ({"epoch": True}, "epoch=True: expected a whole number of at least 0, found True."),
        ({"epoch": ...}, "expected a state with an epoch, found none."),
        ({"position": ...}, "expected a state with a position, found none."),
        ([1], "expected what state_dict() gave, found list."),
    ],
)
def test_a_state_that_cannot_be_is_refused_and_changes_nothing(change: Any, sentence: str) -> None:
    with training_line().loader() as loader:
        next(iter(loader))
        before = loader.state_dict()
        state: Any = change
        if isinstance(change, dict):
            state = {name: value for name, value in {**before, **change}.items() if value is not ...}
        with pytest.raises(ps.PlanError, match="^load_state_dict: " + re.escape(sentence) + "$"):
            loader.load_state_dict(state)
        assert loader.state_dict() == before and loader.run is not None and "open" in str(loader.run)


def test_a_loader_that_is_dropped_ends_its_threads_and_keeps_no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[weakref.ref[Any]] = []
    real = answers_module.decode_pillow

    def watched(*args: Any) -> Any:
        made = real(*args)
        decoded.append(weakref.ref(made.pixels))
        return made

    monkeypatch.setattr(answers_module, "decode_pillow", watched)
    before = set(threading.enumerate())
    bitmap = io.BytesIO()
    Image.new("RGB", (40, 30)).save(bitmap, "BMP")
    loader = ps.blobs([bitmap.getvalue()] * 4).decode().resize(8, 8).batch(2).loader(threads=2)
    list(loader)
    assert len(decoded) == 4 and set(threading.enumerate()) - before  # they wait for the next epoch
    wait_until(lambda: not any(picture() is not None for picture in decoded))
    engine = weakref.ref(loader._engine)  # type: ignore[arg-type]
    del loader
    gc.collect()
    assert engine() is None
    wait_for_end_of_threads(before)


def test_ranks_of_different_length_agree_on_the_position() -> None:
    line = training_line(count=9, batch=2, last="short")
    states = []
    for rank in range(2):
        with line.loader(rank=rank, world_size=2) as loader:
            next(iter(loader))
            states.append(loader.state_dict())
    assert states[0] == states[1] and states[0]["position"] == 4
