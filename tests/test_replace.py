"""on_failure="replace": who stands in is arithmetic, pixels and labels are of one item, and the accounts stay exact."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import penstock as ps
from failing_lines import BROKEN, COUNT, DAMAGED, blobs, line
from penstock.order import hash_position
from penstock.stand_ins import TRIES, drawn_positions


def everything(given: ps.Pipeline, **options: Any) -> list[ps.Batch]:
    with given.run(on_failure="replace", **options) as run:
        return list(run)


def alike(one: ps.Batch, other: ps.Batch) -> bool:
    columns = ("labels", "index", "valid", "damaged", "replaced_by")
    return (
        all(np.array_equal(np.asarray(a.image), np.asarray(b.image)) for a, b in zip(one, other, strict=True))
        and all(np.array_equal(getattr(one, name), getattr(other, name)) for name in columns)
        and list(one.keys) == list(other.keys)
        and one.failures == other.failures
        and np.array_equal(one.geometry.matrices, other.geometry.matrices)
    )


def test_who_stands_in_is_drawn_by_position_and_try() -> None:
    positions = np.arange(1000)
    drawn = drawn_positions(7, 2, positions, 1, 37)
    assert drawn.min() == 0 and drawn.max() == 36
    assert np.array_equal(drawn, hash_position(7, 2, positions, 1) % 37)
    assert np.array_equal(drawn[100:200], drawn_positions(7, 2, positions[100:200], 1, 37))
    for other in ((8, 2, positions, 1, 37), (7, 3, positions, 1, 37), (7, 2, positions, 2, 37)):
        assert (drawn != drawn_positions(*other)).mean() > 0.9


def test_a_row_holds_the_pixels_label_and_fields_of_one_item() -> None:
    given = line()
    own = {row.index: row for batch in given.run(on_failure="blank") for row in batch}
    replaced = 0
    for batch in everything(given):
        assert batch.valid.all() and batch.replaced_by is not None
        for row in batch:
            assert (row.replaced_by >= 0) == (row.index in BROKEN)
            shown = row.index if row.replaced_by < 0 else row.replaced_by
            assert shown not in BROKEN
            assert np.array_equal(row.image, own[shown].image)  # with the draws it has in its own place
            assert row.label == 100 + shown and row.key == f"{row.index}.jpg"
            assert row.geometry is not None and own[shown].geometry is not None
            assert np.array_equal(row.geometry.matrix, own[shown].geometry.matrix)
            assert row.geometry.failed_in is None
            assert (row.failure is not None) == (row.index in BROKEN)
            replaced += row.replaced_by >= 0
    assert replaced == len(BROKEN)


def test_the_accounts_count_each_item_once() -> None:
    with line().run(on_failure="replace") as run:
        batches = list(run)
    with line().run(on_failure="blank") as plain:
        list(plain)
    assert len(run.failures) == len(BROKEN) == sum(len(batch.failures) for batch in batches)
    assert run.failures.by_cause() == {"decode: not an image": 5}
    assert (run.reached, run.clean, len(run.damaged)) == (COUNT, plain.clean, len(plain.damaged)) == (COUNT, 24, 1)
    assert dict(run.notes) == dict(plain.notes)


@pytest.mark.parametrize("options", [{}, {"layout": "NCHW"}, {"last": "blank"}, {"last": "drop"}])
def test_it_is_the_same_for_every_engine_and_thread_count_and_again_by_batch_at(options: Any) -> None:
    given = line(**options)
    expected = everything(given, threads=1)
    for other in (everything(given, threads=5), everything(given, engine="reference")):
        assert all(map(alike, other, expected)) and len(other) == len(expected)
    again = [given.batch_at(step, on_failure="replace") for step in range(len(given))]
    assert all(map(alike, again, expected))
    assert all((batch.replaced_by is None) for batch in [given.batch_at(0), *given.run(on_failure="skip")])


@pytest.mark.parametrize("ragged", ["pad", "list"])
def test_images_of_different_sizes(ragged: Any) -> None:
    given = (
        ps.blobs(blobs(), labels=range(COUNT)).seed(1).shuffle().decode().resize(short_side=16).batch(6, ragged=ragged)
    )
    own = {row.index: row for batch in given.run(on_failure="blank") for row in batch}
    found = everything(given)
    for batch in found:
        assert batch.valid.all() and batch.sizes is not None and batch.sizes.all()
        for row in batch:
            shown = row.index if row.replaced_by < 0 else row.replaced_by
            assert np.array_equal(row.image, own[shown].image) and row.label == shown
    assert all(map(alike, everything(given, engine="reference"), found))
    assert all(map(alike, [given.batch_at(step, on_failure="replace") for step in range(len(given))], found))


def test_buckets_take_only_what_has_their_size() -> None:
    given = ps.blobs(blobs()).seed(1).shuffle().decode().resize(short_side=16).batch(3, ragged="bucket")
    for batch in everything(given):
        for row in batch:
            if row.replaced_by >= 0:
                assert row.valid and row.image.shape == batch.images.shape[1:]
    assert all(map(alike, everything(given, threads=3), everything(given, engine="reference")))


def test_patches() -> None:
    recipe = ps.recipe().decode().resize(max_patches=12, patch=4).patchify(4)
    given = ps.blobs(blobs()).seed(2).shuffle().apply(recipe).batch(5)
    own = {row.index: row for batch in given.run(on_failure="blank") for row in batch}
    found = everything(given)
    for batch in found:
        assert batch.patch_count is not None and batch.patch_count.all()
        for row in batch:
            shown = row.index if row.replaced_by < 0 else row.replaced_by
            assert np.array_equal(row.image, own[shown].image) and row.grid == own[shown].grid
    assert all(map(alike, everything(given, engine="reference"), found))


def test_a_row_for_which_every_try_fails_is_blank() -> None:
    given = ps.blobs({str(number): b"broken" for number in range(9)}, labels=range(9)).decode().resize(4, 4).batch(3)
    for engine in ("native", "reference"):
        with given.run(on_failure="replace", engine=engine) as run:
            batches = list(run)
        assert len(run.failures) == run.reached == 9
        for batch in batches:
            assert batch.replaced_by is not None and (batch.replaced_by == -1).all()
            assert not batch.valid.any() and (batch.labels == -1).all() and not batch.images.any()
            assert batch[0].failure is not None and batch[0].geometry.failed_in == "decode"


def test_eight_items_are_tried() -> None:
    count = 400  # one good item: a row finds it only where one of eight draws is it
    good = blobs()["0.jpg"]
    given = ps.blobs([b"broken"] * (count - 1) + [good]).decode().resize(4, 4).batch(50)
    positions = np.arange(count)
    draws = np.stack([drawn_positions(0, 0, positions, attempt, count) for attempt in range(1, TRIES + 1)])
    expected = (draws == count - 1).any(axis=0) | (positions == count - 1)
    assert 2 <= expected.sum() <= 20
    assert np.array_equal(np.concatenate([batch.valid for batch in everything(given)]), expected)


def test_a_damaged_item_is_replaced_where_damage_is_a_failure() -> None:
    with line().run(on_failure="replace", on_damage="fail") as run:
        rows = {row.index: row for batch in run for row in batch}
    assert len(run.failures) == len(BROKEN) + 1 and len(run.damaged) == 0
    assert rows[DAMAGED].replaced_by >= 0
    assert all(row.valid and not row.damaged and row.replaced_by != DAMAGED for row in rows.values())
    with line().run(on_failure="replace") as run:
        assert {row.index for batch in run for row in batch if row.damaged and row.replaced_by < 0} == {DAMAGED}


def test_rows_without_batches_and_loaders_replace_too() -> None:
    plain = ps.blobs(blobs()).decode().resize(8, 8)
    with plain.run(on_failure="replace", threads=3) as run:
        rows = list(run)
    assert len(rows) == COUNT and all(row.valid for row in rows)
    assert [row.index for row in rows if row.replaced_by >= 0] == list(BROKEN)
    with line().select("images", "labels", "replaced_by").loader(on_failure="replace") as loader:
        for _ in range(2):
            assert sum(int((replaced >= 0).sum()) for _, _, replaced in loader) == len(BROKEN)


def test_ranks_draw_as_one_rank_does() -> None:
    whole = {row.index: row for batch in everything(line()) for row in batch}
    for world_size in (2, 3):
        for rank in range(world_size):
            for batch in everything(line(3), rank=rank, world_size=world_size):
                for row in batch:
                    assert row.replaced_by == whole[row.index].replaced_by
                    assert np.array_equal(row.image, whole[row.index].image)


@pytest.mark.parametrize("limit", [3, Fraction(1, 10)])
def test_max_failures_holds(limit: Any) -> None:
    with line().run(on_failure="replace", max_failures=limit) as run, pytest.raises(ps.TooManyFailuresError) as caught:
        list(run)
    assert str(caught.value).startswith(f"Expected at most 3 failed items (max_failures={limit}), found 4 of ")


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_a_companion_is_that_of_the_stand_in(tmp_path: Path, engine: Any) -> None:
    paths = []
    for number in range(12):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(np.full((20, 16, 3), 10 * number, np.uint8)).save(paths[-1])
        if number % 4:  # the others have no mask, and so fail
            Image.fromarray(np.full((20, 16), number, np.uint8)).save(tmp_path / f"{number}.mask.png")
    given = ps.files(paths, labels=range(12)).seed(1).shuffle().decode().companion(mask="{stem}.mask.png")
    for batch in everything(given.resize(8, 8).batch(5), engine=engine):
        assert batch.valid.all() and batch.replaced_by is not None
        shown = np.where(batch.replaced_by >= 0, batch.replaced_by, batch.index)
        assert ((batch.replaced_by >= 0) == (batch.index % 4 == 0)).all() and (shown % 4 > 0).all()
        assert (batch.images[:, 0, 0, 0] == 10 * shown).all() and (batch.labels == shown).all()
        assert (np.asarray(batch.companions["mask"])[:, 0, 0] == shown).all()


def mark(item: Any) -> None:
    item.label = 1000 + item.index
    item.fields["mark"] = item.index


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_what_a_map_says_of_a_stand_in_is_delivered(engine: Any) -> None:
    given = ps.blobs(blobs()).decode().map(mark, on="item", geometry="keep").resize(8, 8).batch(7)
    replaced = 0
    for batch in everything(given, engine=engine):
        assert batch.replaced_by is not None
        shown = np.where(batch.replaced_by >= 0, batch.replaced_by, batch.index)
        assert batch.labels.tolist() == (1000 + shown).tolist() and list(batch.fields["mark"]) == shown.tolist()
        replaced += int((batch.replaced_by >= 0).sum())
    assert replaced == len(BROKEN)
