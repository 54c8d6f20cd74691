"""A run: order and completeness on any number of threads, and the last batch."""

from __future__ import annotations

import random
import threading
import time
from typing import Any

import numpy as np
import pytest

import penstock as ps
from penstock import answers as answers_module
from run_lines import encoded, expected_rows, pixels, plain_line, together

# -- order and completeness ----------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2, 3, 4, 8])
def test_order_and_pixels_do_not_depend_on_threads(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = random.Random(threads)
    real = answers_module.decode_pillow

    def delayed(*args: Any) -> Any:
        time.sleep(slow.uniform(0, 0.02))
        return real(*args)

    monkeypatch.setattr(answers_module, "decode_pillow", delayed)
    with plain_line().batch(5).run(threads=threads, prefetch=3) as run:
        batches = list(run)
    assert [batch.step for batch in batches] == list(range(10))
    assert [len(batch) for batch in batches] == [5] * 9 + [3]
    assert np.concatenate([batch.index for batch in batches]).tolist() == list(range(48))
    assert np.concatenate([batch.labels for batch in batches]).tolist() == list(range(48))
    assert [key for batch in batches for key in batch.keys] == [str(number) for number in range(48)]
    assert np.array_equal(together(batches), expected_rows())
    assert run.reached == run.clean == 48 and not run.failures and not run.damaged


@pytest.mark.parametrize("threads", [1, 2, 5, 8])
@pytest.mark.parametrize("world_size", [1, 3])
def test_shuffled_ranks_together_reach_each_item_once(threads: int, world_size: int) -> None:
    line = plain_line().seed(7)
    shuffled = line.shuffle().batch(4)
    seen: list[int] = []
    for rank in range(world_size):
        with shuffled.run(epoch=2, rank=rank, world_size=world_size, threads=threads) as run:
            for batch in run:
                seen.extend(batch.index.tolist())
                assert np.array_equal(batch.images, expected_rows()[batch.index])
                assert np.array_equal(batch.labels, batch.index)
    assert sorted(seen) == list(range(48)) and seen != list(range(48))


def test_a_slow_consumer_and_a_window_of_one_lose_nothing() -> None:
    with plain_line().batch(7).run(threads=4, prefetch=1) as run:
        rows = []
        for batch in run:
            time.sleep(0.01)
            rows.append(batch.images.copy())
    assert np.array_equal(np.concatenate(rows), expected_rows())


def test_a_budget_smaller_than_any_image_still_ends() -> None:
    with plain_line().batch(6).run(threads=4, max_memory=1) as run:
        assert np.array_equal(together(list(run)), expected_rows())


def test_two_runs_at_once_on_one_line() -> None:
    line = plain_line().batch(6)
    with line.run(threads=2) as one, line.run(threads=3) as other:
        for first, second in zip(one, other, strict=True):
            assert np.array_equal(first.images, second.images)
            assert not np.shares_memory(first.images, second.images)


def test_two_runs_in_two_threads() -> None:
    results: dict[int, Any] = {}

    def consume(number: int) -> None:
        with plain_line().batch(5).run(threads=2) as run:
            results[number] = together(list(run))

    consumers = [threading.Thread(target=consume, args=(number,)) for number in range(3)]
    for consumer in consumers:
        consumer.start()
    for consumer in consumers:
        consumer.join()
    assert len(results) == 3 and all(np.array_equal(rows, expected_rows()) for rows in results.values())


def test_a_second_consumer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    entered, go_on = threading.Event(), threading.Event()
    real = answers_module.decode_pillow

    def held(*args: Any) -> Any:
        entered.set()
        go_on.wait(60)
        return real(*args)

    monkeypatch.setattr(answers_module, "decode_pillow", held)
    png = encoded(pixels(8, 8, 0), "BMP")
    with ps.blobs([png]).decode().resize(8, 8).batch(1).run(threads=1) as run:
        got: list[Any] = []
        first = threading.Thread(target=lambda: got.extend(run))
        first.start()
        assert entered.wait(60)
        with pytest.raises(ps.EngineError, match="expected one consumer, found a second one at the same time"):
            next(run)
        go_on.set()
        first.join()
    assert len(got) == 1 and got[0].valid.all()


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_an_empty_line_ends_at_once(engine: Any) -> None:
    line = ps.blobs({}).decode().resize(8, 8).batch(4)
    with line.run(engine=engine) as run:
        assert len(line) == len(run) == 0 and list(run) == []
    assert run.reached == 0


# -- the last batch ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_last_batch_short_drop_blank(engine: Any) -> None:
    line = plain_line(10)
    for last, sizes, steps in (("short", [4, 4, 2], 3), ("drop", [4, 4], 2), ("blank", [4, 4, 4], 3)):
        batched = line.batch(4, last=last)  # type: ignore[arg-type]
        with batched.run(engine=engine) as run:
            assert len(batched) == len(run) == steps
            batches = list(run)
        assert [len(batch) for batch in batches] == sizes
        assert run.reached == run.clean == (8 if last == "drop" else 10)
    final = batches[-1]
    assert final.index.tolist() == [8, 9, -1, -1] and final.labels.tolist() == [8, 9, -1, -1]
    assert final.valid.tolist() == [True, True, False, False] and not final.damaged.any()
    assert list(final.keys) == ["8", "9", "", ""]
    assert not final.images[2:].any() and final.images[:2].any(axis=(1, 2, 3)).all()
    assert final.failures == () and final[3].failure is None and not final[3].valid


def test_blank_rows_are_zeros_even_in_memory_that_was_used_before() -> None:
    line = plain_line(9).normalize(ps.SIGNED).batch(4, last="blank")
    with line.run(threads=2) as run:
        for batch in run:
            if batch.step == 2:
                assert batch.valid.tolist() == [True, False, False, False]
                assert not batch.images[1:].any()
            batch.images[:] = 99
            del batch


def test_a_rank_whose_last_batch_is_all_blank() -> None:
    line = plain_line(5).batch(2, last="blank")
    with line.run(rank=1, world_size=2) as run:
        batches = list(run)
    assert [batch.index.tolist() for batch in batches] == [[1, 3], [-1, -1]]
    assert not batches[1].images.any() and run.reached == 2
