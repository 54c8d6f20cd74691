"""Several lines as one: concat and mix, over sources that stay what they are."""

from __future__ import annotations

import io
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import penstock as ps
from order_lines import numbered, order_of, thirty
from penstock.order.joined import position_of, slots_of, turns
from penstock.testing import check_source


def png(value: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def lines(tmp_path):
    """Three lines of different kinds: bytes, files and bytes without labels; two keys are the same."""
    first = ps.blobs({f"a{i}": png(i) for i in range(30)}, labels=["x", "y"] * 15)
    for i in range(7):
        (tmp_path / f"b{i}.png").write_bytes(png(100 + i))
    second = ps.files([tmp_path / f"b{i}.png" for i in range(7)], labels=["y"] * 7, classes=["x", "y"])
    third = ps.blobs({f"a{i}": png(200 + i) for i in range(3)})
    return first, second, third


def test_a_joined_source_is_the_sources_one_after_the_other(lines):
    source = ps.concat(*lines).source
    check_source(source)
    assert len(source) == 40 and source.classes == ("x", "y")
    assert [source[i].label for i in (0, 1, 30, 37)] == [0, 1, 1, None]
    assert source.find("a1") == 1 and source[-1].key == "a2" and source[-1].index == 39
    assert source.field("class", np.array([39, 30, 0])) == [None, "y", "x"]
    again = pickle.loads(pickle.dumps(source))
    assert again == source and again.digest() == source.digest()
    assert ps.concat(*lines[::-1]).source.digest() != source.digest()
    with pytest.raises(ps.SourceError, match="expected a key among its 40 items, found 'a77'; the nearest are"):
        source.find("a77")
    with pytest.raises(IndexError, match="below 40, found 40"):
        source[40]


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_rows_of_a_joined_line_are_the_rows_of_its_lines(lines, engine):
    line = ps.concat(*lines).seed(2).shuffle().decode().resize(8, 8).batch(8)
    expected = [*range(30), *range(100, 107), *range(200, 203)]
    with line.run(epoch=1, engine=engine) as run:
        batches = list(run)
    for step, batch in enumerate(batches):
        assert batch.images[:, 0, 0, 0].tolist() == [expected[index] for index in batch.index]
        assert np.array_equal(batch.images, line.batch_at(step, epoch=1).images)
        assert batch.labels.tolist() == [-1 if index > 36 else int(index > 29) or index % 2 for index in batch.index]
    assert sorted(index for batch in batches for index in batch.index.tolist()) == list(range(40))


def test_concat_keeps_each_lines_own_order(lines):
    first, second, third = lines
    line = ps.concat(first.seed(4).shuffle(), second.skip(5), third)
    assert order_of(line, 3) == [*order_of(first.seed(4).shuffle(), 3), 35, 36, 37, 38, 39]
    assert line.random and not ps.concat(first, second).random
    assert ps.concat(first, second).order.steps == ()
    assert order_of(ps.concat(line, ps.concat(first, first)), 3)[:35] == order_of(line, 3)
    assert "concat  30 (shuffle seed=4) + 2 (skip seed=0) + 3" in str(line)


def test_a_mix_has_its_shares_and_says_who_is_who(lines):
    first, second, _ = lines
    line = ps.mix({"clean": (first.seed(1).shuffle(), 0.75), "noisy": (second, 0.25)}, stop=400)
    found = np.array(order_of(line, 2))
    noisy = found >= 30
    assert 70 <= noisy.sum() <= 130
    assert found[noisy].tolist() == [30 + i % 7 for i in range(noisy.sum())]  # listed order, lap after lap
    clean = found[~noisy]
    laps = [clean[i : i + 30].tolist() for i in range(0, 240, 30)]
    assert laps[0] == order_of(first.seed(1).shuffle(), 2)
    assert all(sorted(lap) == list(range(30)) for lap in laps) and len({tuple(lap) for lap in laps}) == len(laps)
    assert len(set(line.order.draws(np.arange(400), 37, 2)[1].tolist())) == 400
    made = line.decode().resize(8, 8).batch(16)
    with made.run(epoch=2) as run:
        for batch in run:
            assert batch.fields["mix"] == ["noisy" if index >= 30 else "clean" for index in batch.index]


@pytest.mark.parametrize("weights", [(3, 1), (1, 1, 1), (0.9, 0.05, 0.05)])
def test_a_mix_is_near_its_shares_from_the_first_items_on(weights):
    parts = {str(number): (numbered(2000), weight) for number, weight in enumerate(weights)}
    line = ps.mix(parts, stop=1000)
    of = np.array(order_of(line)) // 2000
    for number, weight in enumerate(weights):
        expected = weight / sum(weights) * np.arange(1, 1001)
        assert np.abs(np.cumsum(of == number) - expected).max() <= 5
    for ranks in (2, 3, 4):  # and in no rhythm with them
        shares = [(of[rank::ranks] == 0).mean() for rank in range(ranks)]
        assert max(shares) - min(shares) < 0.15


def test_a_mix_stops_as_it_was_told(lines):
    first, second, _ = lines
    pair = {"a": (first, 1), "b": (second, 1)}
    short, long = order_of(ps.mix(pair)), order_of(ps.mix(pair, stop="longest"))
    assert len(set(short)) == len(short)  # nothing comes twice
    assert set(long) == set(range(37)) and long[: len(short)] == short
    assert set(long[:-1]) != set(range(37))  # and it ends as soon as that is so
    following = order_of(ps.mix(pair, stop=len(short) + 1))
    assert len(set(following)) == len(short)  # one more would have been a repetition
    assert order_of(ps.mix(pair, seed=1))[:20] != short[:20]


@given(
    weights=st.lists(st.floats(0.05, 1), min_size=1, max_size=5),
    seed=st.integers(0, 5),
    line=st.integers(0, 4),
    turn=st.integers(0, 3000),
)
@settings(deadline=None, max_examples=40)
def test_turns_count_up_line_by_line(weights, seed, line, turn):
    slots = slots_of(tuple(weights))
    shares = np.array(weights) / sum(weights)
    assert np.abs(np.array(slots) / sum(slots) - shares).max() < 1 / 512
    of, counted = turns(slots, seed, np.arange(3 * sum(slots)))
    for one in range(len(slots)):
        assert np.array_equal(counted[of == one], np.arange(3 * slots[one]))
    line %= len(slots)
    place = position_of(slots, seed, line, turn)
    assert [column[0] for column in turns(slots, seed, np.array([place]))] == [line, turn]


@pytest.mark.parametrize("world", [2, 3, 8, 512, 1024])
def test_no_rank_meets_one_line_alone(world):
    slots = slots_of((0.5, 0.5))
    of, _ = turns(slots, 0, np.arange(world * 200))
    shares = (of.reshape(200, world) == 0).mean(axis=0)
    assert shares.min() > 0.25 and shares.max() < 0.75


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda a, b: ps.concat(), "concat: expected lines, found none"),
        (lambda a, b: ps.concat(a, 3), "concat: expected a line, found int for 'number 2'"),
        (lambda a, b: ps.concat(a.decode(), b), "expected lines that do the same to each picture"),
        (lambda a, b: ps.concat(a, numbered(3)), "found arrays in number 2 and encoded images in number 1"),
        (
            lambda a, b: ps.concat(a, ps.blobs({"z": b""}, labels=["q"])),
            r"found 'x', 'y' \(2\) in number 1 and 'q' \(1\)",
        ),
        (lambda a, b: ps.concat(a, ps.blobs({"z": b""}, labels=[3])), "and numbers in number 2; give both the same"),
        (lambda a, b: ps.concat(a.decode().resize(2, 2).batch(2)), "expected to come before batch"),
        (lambda a, b: ps.mix([a, b]), "expected lines by name, .* found list"),
        (lambda a, b: ps.mix({"a": a}), r"expected \(line, weight\) under a word, found Pipeline for 'a'"),
        (lambda a, b: ps.mix({"a": (a, 0)}), "expected a weight above 0 for 'a', found 0"),
        (lambda a, b: ps.mix({"a": (a, "x")}), "expected a weight above 0 for 'a', found 'x'"),
        (lambda a, b: ps.mix({"a": (a, 1), "b": (b, 1e-6)}), "at least a thousandth of all for 'b'"),
        (lambda a, b: ps.mix({"a": (a, 1), "b": (b.take(0), 1)}), "expected items in every line, found none in 'b'"),
        (
            lambda a, b: ps.mix({"a": (a, 1)}, stop="never"),
            "expected a whole number of at least 0, 'first' or 'longest'",
        ),
    ],
)
def test_lines_that_cannot_be_joined_are_refused(lines, make, sentence):
    with pytest.raises(ps.PlanError, match=sentence):
        make(*lines[:2])


def test_a_mixed_line_goes_on_with_verbs_and_seed():
    line = ps.mix({"a": (thirty(), 1), "b": (numbered(9, [0] * 9, 50), 1)}, stop=40).seed(3)
    wide = line.random_horizontal_flip().resize(2, 2).batch(4)
    assert ("seed", "3") in [(stage.word, stage.arguments) for stage in wide.stages()]
    assert wide.random and not line.random and line.order.seed == 3
    assert len(wide) == 10
