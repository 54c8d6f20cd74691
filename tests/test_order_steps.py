"""Each order verb says in closed form which item comes when: any part of a pass is a part of the whole pass."""

from __future__ import annotations

import json
import math
import pickle
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import penstock as ps
from order_lines import ORDERS, numbered, order_of, thirty
from penstock._reference.permute import permute as twin
from penstock.order import Order, Shuffle, hash_position
from penstock.order.cipher import permute_each
from penstock.order.held import Bitmap

GOLDEN = Path(__file__).parent / "golden" / "order.json"


@given(
    rows=st.lists(
        st.tuples(
            st.integers(0, 2**40), st.one_of(st.integers(1, 70), st.integers(1, 2**50)), st.integers(0, 2**64 - 1)
        ),
        max_size=12,
    )
)
@settings(deadline=None, max_examples=60)
def test_the_native_permutation_equals_its_twin(rows):
    values = [value % size for value, size, _ in rows]
    sizes, states = [size for _, size, _ in rows], [state for *_, state in rows]
    signed = np.array(states, dtype=np.uint64).view(np.int64)
    out = permute_each(np.array(values, dtype=np.int64), np.array(sizes, dtype=np.int64), signed)
    assert out.tolist() == twin(values, sizes, states, inverse=False).tolist()
    assert twin(out.tolist(), sizes, states, inverse=True).tolist() == values


def test_what_is_outside_a_permutation_is_refused():
    with pytest.raises(ValueError, match="from 0 to size - 1"):
        permute_each(np.array([5]), 5, 0)
    with pytest.raises(ValueError, match="one number a value, or one"):
        permute_each(np.array([1, 2, 3]), np.array([5, 5]), 0)


@pytest.mark.parametrize("name", ORDERS)
def test_a_part_of_a_pass_is_a_part_of_the_whole(name):
    line = ORDERS[name]()
    for epoch in (0, 5):
        whole = order_of(line, epoch)
        assert len(whole) == len(line) == line.items
        assert all(0 <= index < len(line.source) for index in whole)
        places = np.array([[line.items - 1, -1], [0, line.items // 2]])
        some = line.order.indices(places, len(line.source), epoch)
        assert some.tolist() == [[whole[-1], -1], [whole[0], whole[line.items // 2]]]
    assert (order_of(line, 0) != order_of(line, 1)) == line.order.random


@pytest.mark.parametrize("name", ORDERS)
def test_a_line_with_an_order_is_a_value(name):
    line, again = ORDERS[name](), ORDERS[name]()
    copy = pickle.loads(pickle.dumps(line))
    assert copy == line and hash(copy) == hash(line) and copy.fingerprint == line.fingerprint
    assert order_of(copy, 3) == order_of(line, 3) == order_of(again, 3)
    assert line.fingerprint == again.fingerprint
    others = [ORDERS[other]().fingerprint for other in ORDERS if other != name]
    assert line.fingerprint not in others
    assert "\n" not in "".join(word + arguments for word, arguments in line.order.rows())


def test_no_position_outside_a_pass_has_an_item():
    with pytest.raises(IndexError, match="positions below 20"):
        ORDERS["part"]().order.indices(np.array([20]), 30, 0)


@pytest.mark.parametrize("name", ORDERS)
def test_only_lines_whose_passes_differ_are_refused_a_plain_loop(name):
    line = ORDERS[name]().resize(2, 2).batch(4)
    if line.random:
        with pytest.raises(ps.PlanError, match="changes with the epoch"):
            iter(line)
    else:
        assert sum(len(batch) for batch in line) == line.items


def test_fingerprints_of_seed_and_shuffle_stay_what_users_states_hold():
    assert Order(seed=3).fingerprint() == "seed=3 shuffle=False"
    assert Order(seed=3, steps=(Shuffle(),)).fingerprint() == "seed=3 shuffle=True"


@given(n=st.integers(0, 400), window=st.integers(1, 450), epoch=st.integers(0, 9))
@settings(deadline=None, max_examples=80)
def test_a_window_shuffle_keeps_neighbours_together(n, window, epoch):
    out = Order(7, (Shuffle(window),)).indices(np.arange(n), n, epoch)
    assert np.array_equal(np.sort(out), np.arange(n))
    blocks = out // window
    changes = np.count_nonzero(np.diff(blocks))
    assert changes == max(0, -(-n // window) - 1)  # each block comes in one piece


def test_a_window_shuffle_shuffles_blocks_and_what_is_in_them():
    line = numbered(100).shuffle(window=10)
    first = [[order_of(line, epoch)[0] for epoch in range(200)]]
    assert len({index // 10 for index in first[0]}) == 10 and len({index % 10 for index in first[0]}) == 10
    inside = np.array(order_of(line)).reshape(10, 10) % 10
    assert len({tuple(row) for row in inside.tolist()}) > 5  # each block has a permutation of its own


def test_take_and_skip_are_positions():
    assert order_of(thirty().skip(4).take(3)) == [4, 5, 6]
    assert order_of(thirty().take(99)) == list(range(30)) and len(thirty().skip(99)) == 0
    shuffled = thirty().seed(1).shuffle()
    assert order_of(shuffled.skip(4).take(3), 2) == order_of(shuffled, 2)[4:7]
    assert sorted(order_of(shuffled.take(9).shuffle(), 2)) == sorted(order_of(shuffled, 2)[:9])
    for call in (lambda: thirty().take(-1), lambda: thirty().skip(2.5), lambda: thirty().shuffle(window=0)):
        with pytest.raises(ps.PlanError, match="expected a whole number"):
            call()


def test_filter_asks_each_item_once_and_goes_before_a_shuffle():
    asked = []

    def even(item):
        asked.append(item.key)
        return item.index % 2 == 0

    line = thirty().seed(1).shuffle().filter(even)
    assert asked == [str(i) for i in range(30)]
    assert [step.word for step in line.order.steps] == ["filter", "shuffle"]
    assert sorted(order_of(line, 4)) == list(range(0, 30, 2)) and order_of(line, 4) != order_of(line, 5)
    assert order_of(thirty().skip(10).filter(even).filter(lambda item: item.label == 1)) == [20, 22, 24, 26]
    assert "even: 15 of 30 items" in str(line) and len(asked) == 50
    assert len(thirty().filter(lambda item: False)) == 0


@given(bits=st.lists(st.booleans(), max_size=3000), dense=st.booleans())
@settings(deadline=None, max_examples=40)
def test_a_bitmap_finds_what_it_has(bits, dense):
    chosen = np.array(bits, dtype=bool) | dense
    bitmap = Bitmap.of(chosen)
    assert bitmap.chosen == chosen.sum()
    assert np.array_equal(bitmap.select(np.arange(bitmap.chosen)), np.flatnonzero(chosen))


def test_steps_about_items_are_refused_behind_steps_that_change_them():
    about = [
        lambda line: line.filter(bool),
        lambda line: line.split(a=1),
        lambda line: line.sample_by("label"),
        lambda line: line.balance(),
    ]
    before = [(thirty().shuffle().take(3), "take behind shuffle"), (thirty().balance(), "balance")]
    for line, found in before:
        for call in about:
            with pytest.raises(ps.PlanError, match=f"same items before it in every epoch, found {found}, which"):
                call(line)
    with pytest.raises(ps.PlanError, match=r"^filter\(bool\): expected to come before batch"):
        thirty().resize(2, 2).batch(2).filter(bool)


def test_what_a_filter_raises_names_the_item():
    with pytest.raises(ps.PlanError, match=r"filter\(<lambda>\): expected an answer for '0', found ZeroDivisionError"):
        thirty().filter(lambda item: 1 / item.index)
    with pytest.raises(ps.PlanError, match="expected a function of an Item, found 3"):
        thirty().filter(3)  # type: ignore[arg-type]


@given(n=st.integers(0, 200), shares=st.lists(st.integers(1, 50), min_size=1, max_size=5), rest=st.integers(0, 20))
@settings(deadline=None, max_examples=40)
def test_a_split_shares_out_every_item_once(n, shares, rest):
    total = sum(shares) + rest
    parts = numbered(n).split(**{f"part{i}": share / total for i, share in enumerate(shares)})
    found = [index for part in parts.values() for index in order_of(part)]
    assert len(set(found)) == len(found)
    if rest == 0:
        assert sorted(found) == list(range(n))
    for part, share in zip(parts.values(), shares, strict=True):
        assert abs(len(part) - share * n / total) <= 1


def test_a_split_keeps_to_its_seed_and_no_epoch():
    parts = thirty().split(train=Fraction(8, 10), val=0.2, seed=4)
    assert {name: len(part) for name, part in parts.items()} == {"train": 24, "val": 6}
    assert order_of(parts["val"], 0) == order_of(parts["val"], 1) == order_of(parts["val"].seed(9), 0)
    assert order_of(parts["val"]) != order_of(thirty().split(train=0.8, val=0.2, seed=5)["val"])
    shuffled = thirty().seed(2).shuffle().split(train=0.8, val=0.2, seed=4)["val"]
    assert sorted(order_of(shuffled, 3)) == sorted(order_of(parts["val"]))


def test_a_split_by_groups_keeps_them_together():
    parts = thirty().split(by=lambda item: f"patient {item.index // 4}", train=0.6, val=0.4)
    groups = [{index // 4 for index in order_of(part)} for part in parts.values()]
    assert not groups[0] & groups[1] and len(groups[0] | groups[1]) == 8
    assert abs(len(parts["train"]) - 18) <= 4
    assert order_of(parts["val"]) == sorted(order_of(parts["val"]))
    by_label = thirty().split(by="label", train=0.6, val=0.4)
    assert len({len(part) for part in by_label.values()} & {20, 23, 27, 10, 7, 3}) == 2


@pytest.mark.parametrize(
    ("shares", "sentence"),
    [
        ({}, "expected shares by name"),
        ({"a": 0}, "expected a above 0 and at most 1, found 0"),
        ({"a": 1.5}, "expected a above 0 and at most 1, found 1.5"),
        ({"a": "x"}, "expected a above 0 and at most 1, found 'x'"),
        ({"a": math.nan}, "expected a above 0 and at most 1, found nan"),
        ({"a": 0.7, "b": 0.4}, "add up to 1 at most, found 1.1"),
        ({"a": 0.7, "by": "shape"}, "expected a field of the source, one of 'label', found 'shape'"),
        ({"a": 0.7, "by": lambda item: []}, "expected words or numbers to group by"),
    ],
)
def test_a_split_that_cannot_be_is_refused(shares, sentence):
    with pytest.raises(ps.PlanError, match=f"^split.*{sentence}"):
        thirty().split(**shares)


def test_sample_by_draws_by_weight_anew_each_epoch():
    weights = [1.0] * 10 + [3.0] * 10 + [0.0] * 10
    line = thirty().seed(1).sample_by(weights, n=20_000)
    counts = np.bincount(order_of(line, 1), minlength=30)
    assert counts[20:].sum() == 0
    assert counts[10:20].sum() / counts[:10].sum() == pytest.approx(3, rel=0.1)
    assert order_of(line, 1) != order_of(line, 2)
    assert len(thirty().sample_by(weights)) == 30 and len(thirty().sample_by("label", n=5)) == 5
    assert set(order_of(thirty().skip(20).sample_by("label"), 1)) <= set(range(20, 30))


@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        ([1.0] * 29, "expected 30 weights, one an item, found 29"),
        ([[1.0]] * 30, r"expected 30 weights, one an item, found an array \[30, 1\]"),
        ([1.0] * 29 + [-2.0], "expected a weight of at least 0 for '29', found -2"),
        ([1.0] * 3 + [math.nan] * 27, "expected a weight of at least 0 for '3', found nan"),
        ([1.0] * 3 + [math.inf] * 27, "expected a weight of at least 0 for '3', found inf"),
        ([0.0] * 30, "expected weights with a sum above 0, found none"),
        (["a"] * 30, "expected a number an item"),
        ("weight", "expected a field of the source, one of 'label', found 'weight'"),
    ],
)
def test_weights_that_cannot_be_are_refused(weights, sentence):
    with pytest.raises(ps.PlanError, match=f"^sample_by.*{sentence}"):
        thirty().sample_by(weights)


def test_balance_has_every_class_equally_often():
    line = thirty().seed(1).balance()
    labels = np.array([0] * 20 + [1] * 7 + [2] * 3)
    drawn = np.array(order_of(line, 2))
    assert len(line) == 60 and np.bincount(labels[drawn]).tolist() == [20, 20, 20]
    for first in range(0, 60, 3):
        assert sorted(labels[drawn[first : first + 3]].tolist()) == [0, 1, 2]
    small = drawn[labels[drawn] == 1].tolist()
    laps = [small[first : first + 7] for first in range(0, 14, 7)]
    assert all(sorted(lap) == list(range(20, 27)) for lap in laps) and laps[0] != laps[1]
    assert sorted(drawn[labels[drawn] == 0].tolist()) == list(range(20))
    assert len({tuple(labels[order_of(line, epoch)[:3]].tolist()) for epoch in range(40)}) == 6


def test_balance_needs_a_class_for_every_item():
    with pytest.raises(ps.PlanError, match=r"balance\('label'\): expected a label for every item, found none for '0'"):
        numbered(3).balance()
    with pytest.raises(ps.PlanError, match="expected a field of the source, one of 'label', found 'shape'"):
        thirty().balance("shape")
    with pytest.raises(ps.PlanError, match="expected items, found none"):
        thirty().take(0).balance()


def test_an_item_that_comes_again_draws_anew():
    line = thirty().seed(1).balance()
    indices, draws = line.order.draws(np.arange(60), 30, 0)
    laps = line.order.places(np.arange(60), 30, 0)[1]
    assert np.array_equal(draws[laps == 0], indices[laps == 0])
    assert len(set(draws.tolist())) == 60
    sampled = thirty().sample_by([1.0] * 30, n=500)
    assert len(set(sampled.order.draws(np.arange(500), 30, 0)[1].tolist())) == 500
    plain = ORDERS["part of a shuffle"]()
    assert np.array_equal(*plain.order.draws(np.arange(20), 30, 0))


def test_random_steps_of_one_order_draw_apart():
    line = thirty().seed(3).shuffle().take(30).shuffle()
    once = order_of(thirty().seed(3).shuffle())
    assert order_of(line) != [once[i] for i in once]
    assert sorted(order_of(line)) == list(range(30))
    assert hash_position(0, 0, 0).shape == ()


def test_golden():
    golden = json.loads(GOLDEN.read_text())
    assert golden == {name: [order_of(ORDERS[name](), epoch)[:40] for epoch in (0, 3)] for name in golden}
    assert set(golden) == set(ORDERS)


def test_a_count_is_what_a_run_reaches():
    for name, make in ORDERS.items():
        line = make().resize(2, 2).batch(7)
        with line.run(epoch=1) as run:
            keys = [key for batch in run for key in batch.keys]
        assert Counter(keys) == Counter(line.source.key(index) for index in order_of(make(), 1)), name
        assert run.reached == line.items
