"""The shuffle is a bijection, spread evenly; the grid deals every position out exactly once."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import PlanError
from penstock.order import Grid, Order, Shuffle, hash_position, permute, unpermute

GOLDEN = Path(__file__).parent / "golden" / "permutation.json"


def test_bijection_for_every_small_size():
    for n in [*range(1, 400), *range(400, 5001, 37), 5000]:
        out = permute(np.arange(n), n, seed=n, epoch=1)
        assert out.dtype == np.int64
        assert np.array_equal(np.sort(out), np.arange(n)), n
        assert np.array_equal(unpermute(out, n, seed=n, epoch=1), np.arange(n)), n


@given(n=st.integers(1, 2**62), seed=st.integers(-(2**70), 2**70), epoch=st.integers(0, 2**40), data=st.data())
@settings(deadline=None, max_examples=60)
def test_inverse_for_large_sizes(n, seed, epoch, data):
    places = np.array(data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=20)))
    out = permute(places, n, seed, epoch)
    assert out.min() >= 0 and out.max() < n
    assert np.array_equal(unpermute(out, n, seed, epoch), places)


@pytest.mark.parametrize("n", [2, 3, 5, 16, 17, 50, 64, 65, 250, 1000])
def test_every_item_is_as_likely_at_every_position(n):
    # The smallest sizes walk furthest, and need the fewest draws.
    seeds = 400 if n <= 5 else 1500
    places = np.array([0, 1, n // 2, n - 1])
    drawn = np.stack([permute(places, n, seed, epoch=3) for seed in range(seeds)])
    for column in range(len(places)):
        groups = min(n, 16)
        counts = np.bincount(drawn[:, column] * groups // n, minlength=groups)
        sizes = np.bincount(np.arange(n) * groups // n, minlength=groups)
        expected = seeds * sizes / n
        chi_square = float(((counts - expected) ** 2 / expected).sum())
        # Six standard deviations above the mean of the chi-square distribution.
        assert chi_square < groups - 1 + 6 * np.sqrt(2 * groups), (n, column)


def test_neighbours_come_apart():
    n = 1000
    steps = np.diff(permute(np.arange(n), n, seed=0, epoch=0))
    assert np.mean(np.abs(steps)) == pytest.approx(n / 3, rel=0.1)
    assert np.sum(steps == 1) < 10


def test_seed_and_epoch_change_the_order():
    base = permute(np.arange(100), 100, 0, 0)
    for seed, epoch in [(1, 0), (0, 1), (1, 1), (2**64 - 1, 0)]:
        assert not np.array_equal(base, permute(np.arange(100), 100, seed, epoch))


def test_any_part_is_a_part_of_the_whole():
    whole = permute(np.arange(777), 777, 5, 6)
    assert np.array_equal(permute(np.array([[700, 3], [3, 0]]), 777, 5, 6), whole[[[700, 3], [3, 0]]])
    assert permute(np.arange(0), 777, 5, 6).shape == (0,)


def test_first_index_of_a_hundred_million_is_immediate():
    best = float("inf")
    for epoch in range(20):
        start = time.perf_counter()
        permute(np.array([0]), 100_000_000, 0, epoch)
        best = min(best, time.perf_counter() - start)
    assert best <= 1e-2  # a walk through them would take a second


def test_golden():
    for case in json.loads(GOLDEN.read_text()):
        out = permute(np.array(case["positions"]), case["n"], case["seed"], case["epoch"])
        assert out.tolist() == case["indices"], case


def test_order():
    assert Order().indices(np.array([3, -1, 0]), 4, 0).tolist() == [3, -1, 0]
    shuffled = Order(seed=7, steps=(Shuffle(),))
    out = shuffled.indices(np.array([3, -1, 0]), 4, 9)
    assert out[1] == -1 and out[0] == permute(np.array([3]), 4, 7, 9)[0]


grids = {
    "items": st.integers(0, 200),
    "batch": st.integers(1, 17),
    "world": st.integers(1, 9),
    "last": st.sampled_from(["short", "drop", "blank"]),
}


def all_ranks(items, batch, world, start, last):
    return [Grid(items, batch, world, rank, start, last) for rank in range(world)]


@given(**grids, start=st.integers(0, 220))
def test_ranks_cover_the_rest_exactly_once(items, batch, world, last, start):
    ranks = all_ranks(items, batch, world, start, last)
    dealt = [grid.positions(step) for grid in ranks for step in range(len(grid))]
    flat = np.concatenate([np.zeros(0, np.int64), *dealt])
    left = max(0, items - start)
    if last == "short":
        assert all(1 <= len(places) <= batch for places in dealt)
        assert all(len(grid.positions(step)) == batch for grid in ranks for step in range(len(grid) - 1))
    else:
        assert all(len(places) == batch for places in dealt)
        assert len({len(grid) for grid in ranks}) == 1
    kept = left - left % (batch * world) if last == "drop" else left
    assert np.array_equal(np.sort(flat[flat >= 0]), np.arange(start, start + kept))
    for grid in ranks:
        with pytest.raises(IndexError):
            grid.positions(len(grid))


@given(**grids, other_batch=st.integers(1, 17), other_world=st.integers(1, 9), steps=st.integers(0, 30))
def test_resume_on_another_world_size_covers_exactly_the_rest(
    items, batch, world, last, other_batch, other_world, steps
):
    ranks = all_ranks(items, batch, world, 0, last)
    steps = min(steps, max(len(grid) for grid in ranks))
    done = [grid.positions(step) for grid in ranks for step in range(min(steps, len(grid)))]
    start = ranks[0].reached(steps)
    rest = [
        grid.positions(step)
        for grid in all_ranks(items, other_batch, other_world, start, "short")
        for step in range(len(grid))
    ]
    flat = np.concatenate([np.zeros(0, np.int64), *done, *rest])
    assert np.array_equal(np.sort(flat[flat >= 0]), np.arange(items))


def test_grid_is_refused_with_a_sentence():
    with pytest.raises(PlanError, match="expected batch_size of at least 1, found 0"):
        Grid(10, 0)
    with pytest.raises(PlanError, match="expected a rank from 0 to 1, found 2"):
        Grid(10, 2, world_size=2, rank=2)
    with pytest.raises(PlanError, match="found 'pad'"):
        Grid(10, 2, last="pad")  # type: ignore[arg-type]


def test_a_hashed_position_depends_on_every_number():
    places = np.arange(1000)
    base = hash_position(0, 0, places)
    assert base.dtype == np.int64 and base.min() >= 0 and len(set(base.tolist())) == 1000
    for other in (hash_position(1, 0, places), hash_position(0, 1, places), hash_position(0, 0, places, 1)):
        assert not np.any(other == base)
    assert int(hash_position(0, 0, 7)) == base[7] and hash_position(0, 0, 7).shape == ()
    assert np.array_equal(hash_position(0, 0, places[:, None], np.arange(8))[:, 0], base)
    assert abs(np.mean(base / 2**63) - 0.5) < 0.03
