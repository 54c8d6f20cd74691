"""Every rank's batches are known beforehand, and all ranks together have every item exactly once."""

from __future__ import annotations

import json
import sys
import time
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import penstock as ps
from order_lines import ORDERS, numbered, order_of, thirty
from penstock.buckets import Buckets, arrange
from penstock.options import RunOptions
from penstock.order import Grid, Order, Shuffle
from penstock.order.ranks import ranks_of

GRIDS = {
    "items": st.integers(0, 200),
    "batch": st.integers(1, 17),
    "world": st.integers(1, 9),
    "start": st.integers(0, 220),
    "last": st.sampled_from(["short", "drop", "blank"]),
}


@given(**GRIDS, equal=st.booleans())
@settings(deadline=None)
def test_all_ranks_have_every_position_exactly_once(items, batch, world, start, last, equal):
    ranks = [Grid(items, batch, world, rank, start, last, equal) for rank in range(world)]
    steps = max(len(rank) for rank in ranks)
    dealt = [[rank.positions(step) for rank in ranks if step < len(rank)] for step in range(steps)]
    flat = np.concatenate([np.zeros(0, np.int64), *(places for step in dealt for places in step)])
    left = max(0, items - start)
    kept = left - left % (batch * world) if last == "drop" else left
    assert np.array_equal(np.sort(flat[flat >= 0]), np.arange(start, start + kept))
    assert sum(rank.mine for rank in ranks) == kept
    for step, places in enumerate(dealt):
        assert set(np.concatenate(places).tolist()) - {-1} == set(
            range(start + step * batch * world, min(start + (step + 1) * batch * world, start + kept))
        )
        if equal:
            rows = {len(one) for one in places}
            unused = items - start - step * batch * world
            expected = batch if last != "short" else min(batch, -(-unused // world))
            assert rows == {expected} and len(places) == world
    if equal and last == "short":
        assert np.count_nonzero(flat < 0) < world


@given(
    sizes=st.lists(st.integers(1, 4), max_size=60),
    batch=st.integers(1, 7),
    world=st.integers(1, 5),
    last=st.sampled_from(["short", "drop", "blank"]),
)
@settings(deadline=None)
def test_buckets_of_equal_batches_have_as_many_rows_on_every_rank(sizes, batch, world, last):
    column = np.array([[size, size] for size in sizes], dtype=np.int64).reshape(-1, 2)
    made = arrange(column, batch, last)
    ranks = [Buckets(made, batch, world, rank, last=last, equal=True) for rank in range(world)]
    assert len({len(rank) for rank in ranks}) == 1
    plain = [Buckets(made, batch, world, rank, last=last) for rank in range(world)]
    for step in range(len(ranks[0])):
        dealt = [rank.positions(step) for rank in ranks]
        assert len({len(places) for places in dealt}) == 1
        for places, other in zip(dealt, plain, strict=True):
            same = other.positions(step) if step < len(other) else np.zeros(0, np.int64)
            assert np.array_equal(places[places >= 0], same[same >= 0])
    assert sum(rank.mine for rank in ranks) == sum(rank.mine for rank in plain)


@pytest.mark.parametrize("last", ["short", "drop", "blank"])
@pytest.mark.parametrize("equal", [False, True])
@pytest.mark.parametrize(("batch", "world"), [(4, 3), (3, 4), (7, 1), (16, 4)])
def test_a_loader_knows_its_length_beforehand(last, equal, batch, world):
    line = thirty().seed(5).shuffle().resize(2, 2).batch(batch, last=last)
    made = []
    for rank in range(world):
        with line.loader(rank=rank, world_size=world, equal_batches=equal, threads=1) as loader:
            known = len(loader)
            batches = list(loader)
        assert len(batches) == known
        made.append(batches)
    found = [index for batches in made for one in batches for index in one.index.tolist() if index >= 0]
    assert len(set(found)) == len(found)
    assert sorted(found) == list(range(30)) or last == "drop"
    if equal:
        assert len({tuple(len(one) for one in batches) for batches in made}) == 1
    for batches in made:
        for one in batches:
            assert np.array_equal(one.valid, one.index >= 0) and not one.images[~one.valid].any()
            assert (one.labels[~one.valid] == -1).all()


def test_equal_batches_that_cannot_be_are_refused():
    line = thirty().resize(2, 2).batch(4)
    with pytest.raises(ps.PlanError, match=r"^equal_batches=True: expected on_failure='raise', .* found 'skip'"):
        line.run(equal_batches=True, on_failure="skip")
    with pytest.raises(ps.PlanError, match="expected True or False, found 1"):
        line.loader(equal_batches=1)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ORDERS)
def test_every_order_goes_on_from_every_step_on_another_world(name):
    line = ORDERS[name]().resize(2, 2).batch(4)
    epoch = 2
    expected = order_of(ORDERS[name](), epoch)
    with line.loader(epoch=epoch, rank=0, world_size=1, threads=1) as loader:
        states = [loader.state_dict()]
        states += [loader.state_dict() for _ in loader]
    assert states[-1]["epoch"] == epoch + 1
    for state in states[:-1:3]:
        assert len(json.dumps(state)) < 300 and state["items"] == len(expected)
        rest = {}
        for rank in range(3):
            other = ORDERS[name]().resize(2, 2).batch(5)
            with other.loader(rank=rank, world_size=3, threads=2, equal_batches=True) as loader:
                loader.load_state_dict(json.loads(json.dumps(state)))
                for step, batch in enumerate(loader):
                    for row, index in enumerate(batch.index.tolist()):
                        if index >= 0:
                            rest[state["position"] + (step * 5 + row) * 3 + rank] = index
        assert [rest[place] for place in sorted(rest)] == expected[state["position"] :]
        assert sorted(rest) == list(range(state["position"], len(expected)))


def test_a_state_of_another_order_is_refused():
    with thirty().shuffle().resize(2, 2).batch(4).loader() as loader:
        state = loader.state_dict()
    for other in (thirty().shuffle(window=4), thirty().shuffle().take(30)):
        with other.resize(2, 2).batch(4).loader() as loader, pytest.raises(ps.PlanError, match="the seed differ"):
            loader.load_state_dict(state)
    found = "expected the 30 items the state was taken with, found 5"
    with thirty().take(5).resize(2, 2).batch(4).loader() as loader, pytest.raises(ps.PlanError, match=found):
        loader.load_state_dict(state)


def test_a_hundred_million_items_cost_nothing():
    n = 100_000_000
    order = Order(3, (Shuffle(), Shuffle(window=1000)))

    def one_batch(attempt):
        grid = Grid(order.count(n), 64, world_size=8, rank=3, start=n // 2 + attempt)
        return order.indices(grid.positions(0), n, epoch=attempt)

    tracemalloc.start()
    found = one_batch(0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    best = float("inf")
    for attempt in range(20):
        begun = time.thread_time()  # another process on the same core is nobody's fault
        one_batch(attempt)
        best = min(best, time.thread_time() - begun)
    assert len(found) == 64 and peak < 1_000_000 and best <= 1e-2  # a walk through them would take a second


def test_ranks_come_from_the_surroundings(monkeypatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("torch.distributed", "jax"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert ranks_of(None, None) == (0, 1, "")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert ranks_of(None, None) == (0, 1, "")
    monkeypatch.setenv("RANK", "2")
    assert ranks_of(None, None) == (2, 4, "from RANK and WORLD_SIZE")
    line = numbered(8).resize(2, 2).batch(1)
    with line.run() as run:
        assert [batch.index.tolist() for batch in run] == [[2], [6]]
        assert "rank 2 of 4 (from RANK and WORLD_SIZE)" in str(run)
    with line.loader() as loader:
        assert len(loader) == 2
    assert line.batch_at(0).index.tolist() == [0]

    up = {"on": False}
    jax = SimpleNamespace(
        distributed=SimpleNamespace(is_initialized=lambda: up["on"]), process_index=lambda: 1, process_count=lambda: 3
    )
    monkeypatch.setitem(sys.modules, "jax", jax)
    assert ranks_of(None, None).origin == "from RANK and WORLD_SIZE"
    up["on"] = True
    assert ranks_of(None, None) == (1, 3, "from jax")
    torch = SimpleNamespace(
        is_available=lambda: True, is_initialized=lambda: up["on"], get_rank=lambda: 4, get_world_size=lambda: 5
    )
    monkeypatch.setitem(sys.modules, "torch.distributed", torch)
    assert ranks_of(None, None) == (4, 5, "from torch.distributed")
    with line.run(rank=0, world_size=2) as run:
        assert "rank 0 of 2 (as given)" in str(run)
        assert len(list(run)) == 4


def test_ranks_that_cannot_be_are_refused(monkeypatch):
    line = numbered(8).resize(2, 2).batch(1)
    with pytest.raises(ps.PlanError, match=r"^rank=1: expected world_size= beside it, found none"):
        line.run(rank=1)
    with pytest.raises(ps.PlanError, match=r"^world_size=2: expected rank= beside it, found none"):
        line.loader(world_size=2)
    with pytest.raises(ps.PlanError, match="expected a rank below world_size=2"):
        RunOptions(rank=2, world_size=2)
    for rank, sentence in (
        ("two", "expected a whole number in the environment's RANK, found 'two'"),
        ("4", "RANK below"),
    ):
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("WORLD_SIZE", "4")
        for name in ("torch.distributed", "jax"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        with pytest.raises(ps.PlanError, match=sentence):
            line.run()
