"""Items with several images: slots, masks, failures, draws, padded fields; natively and on the twins."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import penstock as ps
from penstock.errors import ItemError, PlanError
from penstock.images import slots_of
from penstock.padding import Pad, read_pads
from penstock.sources import NameTable
from penstock.sources.source import Locations, Source
from penstock.testing import check_source

ENGINES = ["native", "reference"]


@pytest.fixture
def documents(tmp_path):
    """Seven documents of 0 to 5 pages; the shade of page k of document i is 20 * i + k + 1."""
    counts = [2, 3, 0, 1, 5, 2, 1]
    rows = []
    for i, count in enumerate(counts):
        names = [f"{i}-{k}.png" for k in range(count)]
        for k, name in enumerate(names):
            Image.new("RGB", (6, 4), (20 * i + k + 1,) * 3).save(tmp_path / name)
        rows.append({"id": f"d{i}", "images": names, "y": i, "ids": list(range(1, i + 1)), "box": [0.5] * i})
    table = tmp_path / "documents.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return table


def line_of(table, **batch):
    return ps.jsonl(table, key="id", label="y").decode().resize(4, 6).batch(**batch)


def shades(batch):
    return batch.images.reshape(len(batch.images), -1)[:, 0].tolist()


@pytest.mark.parametrize("engine", ENGINES)
def test_pictures_lie_one_after_the_other_in_a_fixed_number_of_slots(documents, engine):
    line = line_of(documents, n=4, images=8)
    with line.run(engine=engine) as run:
        first, second = list(run)
    assert first.images.shape == (8, 4, 6, 3) and second.images.shape == (8, 4, 6, 3)
    assert shades(first) == [1, 2, 21, 22, 23, 61, 0, 0] and first.image_row.tolist() == [0, 0, 1, 1, 1, 3, -1, -1]
    assert first.image_count.tolist() == [2, 3, 0, 1] and first.valid.all() and len(first) == 4
    assert first.labels.tolist() == [0, 1, 2, 3] and list(first.keys) == ["d0", "d1", "d2", "d3"]
    assert shades(second) == [81, 82, 83, 84, 85, 101, 102, 121] and second.image_count.tolist() == [5, 2, 1]
    assert second.image_row.dtype == np.int64 and second.image_count.dtype == np.int64
    assert (run.clean, run.reached, len(run.failures)) == (7, 7, 0)
    for step, batch in enumerate((first, second)):
        again = line.batch_at(step)
        assert np.array_equal(again.images, batch.images) and np.array_equal(again.image_row, batch.image_row)
        assert again.image_count.tolist() == batch.image_count.tolist()


@pytest.mark.parametrize("engine", ENGINES)
def test_an_item_that_does_not_fit_fails_and_leaves_its_slots_free(documents, engine):
    with line_of(documents, n=7, images=6).run(engine=engine, on_failure="blank") as run:
        (batch,) = list(run)
    assert batch.image_count.tolist() == [2, 3, 0, 1, 0, 0, 0]
    assert batch.valid.tolist() == [True] * 4 + [False] * 3 and batch.labels.tolist() == [0, 1, 2, 3, -1, -1, -1]
    assert [failure.message for failure in batch.failures] == [
        "batch of 'd4': expected at most 0 images, the slots left of images=6, found 5.",
        "batch of 'd5': expected at most 0 images, the slots left of images=6, found 2.",
        "batch of 'd6': expected at most 0 images, the slots left of images=6, found 1.",
    ]
    with line_of(documents, n=7, images=4).run(engine=engine, on_failure="skip") as run:
        (batch,) = list(run)
    assert list(batch.keys) == ["d0", "d2", "d3", "d6"] and batch.image_row.tolist() == [0, 0, 2, 3]
    assert run.failures[1].message == "batch of 'd4': expected at most 4 images, as images=4 says, found 5."
    assert (run.clean, run.reached, len(run.failures)) == (4, 7, 3)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_broken_picture_is_the_failure_of_its_item(documents, engine):
    (documents.parent / "1-1.png").write_bytes(b"no picture at all")
    (documents.parent / "4-4.png").unlink()
    line = line_of(documents, n=7, images=14)
    with line.run(engine=engine, on_failure="blank") as run:
        (batch,) = list(run)
    assert batch.valid.tolist() == [True, False, True, True, False, True, True]
    assert batch.image_count.tolist() == [2, 0, 0, 1, 0, 2, 1]
    assert shades(batch) == [1, 2, 0, 0, 0, 61, 0, 0, 0, 0, 0, 101, 102, 121]
    assert batch.image_row.tolist() == [0, 0, -1, -1, -1, 3, -1, -1, -1, -1, -1, 5, 5, 6]
    assert batch.failures[0].message.startswith("decode of 'd1': ")
    assert batch.failures[0].message.endswith("(image 2 of 3).") and batch.failures[0].index == 1
    assert batch.failures[1].message == "read of 'd4': expected a file, found no such file (image 5 of 5)."
    assert (run.clean, run.reached, len(run.failures)) == (5, 7, 2)
    with line.run(engine=engine, on_failure="skip") as run:
        (less,) = list(run)
    assert list(less.keys) == ["d0", "d2", "d3", "d5", "d6"] and less.image_count.tolist() == [2, 0, 1, 2, 1]
    assert less.image_row.tolist() == [0, 0, -1, -1, -1, 2, -1, -1, -1, -1, -1, 3, 3, 4]
    with line.run(engine=engine) as run, pytest.raises(ItemError, match=r"decode of 'd1'.*\(image 2 of 3\)\."):
        list(run)
    with (
        line.run(engine=engine, on_failure="skip", max_failures=Fraction(1, 7)) as run,
        pytest.raises(ps.TooManyFailuresError),
    ):
        list(run)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_damaged_picture_makes_its_item_damaged_or_failed_as_asked(documents, engine):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for name in ("0-0.png", "0-1.png"):
        Image.fromarray(noise).save(documents.parent / name, format="JPEG")
        data = bytearray((documents.parent / name).read_bytes())
        data[2000:2002] = b"\xff\x01"
        (documents.parent / name).write_bytes(data)
    line = line_of(documents, n=7, images=14)
    with line.run(engine=engine) as run:
        (batch,) = list(run)
    assert batch.damaged.tolist() == [True] + [False] * 6 and len(run.damaged) == 1
    assert "(image 1 of 2); " in run.damaged[0].message
    with line.run(engine=engine, on_damage="fail", on_failure="blank") as run:
        (batch,) = list(run)
    assert batch.image_count.tolist() == [0, 3, 0, 1, 5, 2, 1] and not batch.valid[0] and not batch.images[:2].any()


@pytest.mark.parametrize("last", ["short", "drop", "blank"])
def test_last_counts_items_and_the_slots_stay(documents, last):
    line = line_of(documents, n=4, images=12, last=last)
    with line.run(rank=1, world_size=2, on_failure="skip") as run:
        batches = list(run)
    assert len(batches) == {"short": 1, "drop": 0, "blank": 1}[last]
    for batch in batches:
        assert batch.images.shape[0] == 12 and len(batch) == {"short": 3, "blank": 4}[last]
        assert batch.image_count.tolist() == [3, 1, 2, 0][: len(batch)] and batch.index.tolist()[:3] == [1, 3, 5]


def test_a_loader_goes_on_where_its_state_was_taken(documents):
    line = ps.jsonl(documents, key="id").seed(3).shuffle().decode().random_resized_crop(3, 3).batch(2, images=9)
    loader = line.loader()
    whole = list(loader)
    for taken in range(4):
        loader = line.loader()
        batches = iter(loader)
        for _ in range(taken):
            next(batches)
        state = json.loads(json.dumps(loader.state_dict()))
        other = line.loader(threads=1)
        other.load_state_dict(state)
        rest = list(other)
        assert len(rest) == 4 - taken
        for one, two in zip(whole[taken:], rest, strict=True):
            assert np.array_equal(one.images, two.images) and np.array_equal(one.image_row, two.image_row)
            assert list(one.keys) == list(two.keys)


def test_both_engines_draw_the_same_and_each_picture_its_own(documents):
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    for path in documents.parent.glob("*.png"):
        Image.fromarray(noise).save(path)
    line = ps.jsonl(documents).decode().random_resized_crop(8, 8).random_horizontal_flip().batch(7, images=16)
    (one,), (two,) = list(line.run(engine="native")), list(line.run(engine="reference"))
    assert np.array_equal(one.images, two.images)
    made = one.images[:14].reshape(14, -1)
    assert len({image.tobytes() for image in made}) == 14
    assert one.geometry[3].to_source([[0, 0]]).tolist() == two.geometry[3].to_source([[0, 0]]).tolist()
    # The first picture draws as the item alone would.
    alone = (
        ps.files([documents.parent / "0-0.png"]).decode().random_resized_crop(8, 8).random_horizontal_flip().batch(1)
    )
    (single,) = list(alone.run())
    assert np.array_equal(single.images[0], one.images[0])


def test_patches_of_several_images(documents):
    line = ps.jsonl(documents).decode().resize(4, 6).patchify(2).batch(3, images=6)
    batch = next(iter(line))
    assert batch.images.shape == (6, 6, 12) and batch.patch_count.tolist() == [6, 6, 6, 6, 6, 0]
    assert batch.grid[0].tolist() == [2, 3] and (batch.positions[5] == -1).all()


def test_rows_pictures_and_the_sheet(documents):
    batch = next(iter(line_of(documents, n=4, images=8)))
    assert batch[1].image.shape == (3, 4, 6, 3) and batch[1].key == "d1" and batch[2].image.shape == (0, 4, 6, 3)
    assert batch[1].show().size == (18, 4)
    batch[2].show()
    pictures = list(batch.pictures())
    assert [row.key for row in pictures] == ["d0", "d0", "d1", "d1", "d1", "d3"]
    assert pictures[3].image[0, 0, 0] == 22 and pictures[3].geometry is not None
    batch.sheet()


def test_padded_fields(documents):
    line = line_of(documents, n=4, images=8, pad={"ids": 4, "box": (6, "float32")})
    with line.run(on_failure="blank") as run:
        first, second = list(run)
    assert first.fields["ids"].dtype == np.int64 and first.fields["ids"].tolist()[3] == [1, 2, 3, 0]
    assert first.fields["ids_length"].tolist() == [0, 1, 2, 3] and first.fields["box"].dtype == np.float32
    assert second.valid.tolist() == [True, False, False] and second.fields["ids_length"].tolist() == [4, 0, 0]
    assert second.fields["ids"].tolist() == [[1, 2, 3, 4], [0] * 4, [0] * 4] and second.image_count.tolist() == [
        5,
        0,
        0,
    ]
    assert second.failures[0].message == "batch of 'd5': expected at most 4 numbers in 'ids', found 5."
    assert np.array_equal(line.batch_at(1).fields["ids"], second.fields["ids"])
    with line.run(on_failure="skip") as run:
        less = list(run)[1]
    assert (
        less.fields["ids"].shape == (1, 4) and list(less.keys) == ["d4"] and less.fields["ids_length"].tolist() == [4]
    )
    with line_of(documents, n=7, images=20, pad={"box": 9}).run(on_failure="blank") as run:
        (whole,) = list(run)
    assert whole.failures[0].message == (
        "batch of 'd1': expected a list of whole numbers in 'box', found [0.5]; "
        "pad={'box': (9, 'float32')} holds these."
    )


@pytest.mark.parametrize("policy", ["blank", "skip"])
def test_padded_fields_beside_single_images(tmp_path, policy):
    for name in "abc":
        Image.new("RGB", (6, 4), (ord(name),) * 3).save(tmp_path / f"{name}.png")
    rows = [{"images": "a.png", "t": [1]}, {"images": "b.png", "t": [1, 2, 3]}, {"images": "c.png", "t": "no"}]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    line = ps.jsonl(tmp_path / "t.jsonl").decode().resize(4, 6).batch(3, pad={"t": 2})
    with line.run(on_failure=policy) as run:
        (batch,) = list(run)
    assert batch.fields["t"].tolist() == ([[1, 0], [0, 0], [0, 0]] if policy == "blank" else [[1, 0]])
    assert batch.images[:, 0, 0, 0].tolist() == ([97, 0, 0] if policy == "blank" else [97]) and batch.image_row is None
    assert run.failures[1].message == "batch of 'c.png': expected a list of whole numbers in 't', found 'no'."
    assert run.failures.by_cause() == {"batch: too long": 1, "batch: not numbers": 1}


def test_what_cannot_be_is_refused(documents):
    line = ps.jsonl(documents).decode().resize(4, 6)
    several = r"expected items of one image each, .*; batch\(n, images=\) says how many pictures a batch holds\."
    with pytest.raises(PlanError, match=r"batch\(2\): " + several):
        line.batch(2)
    with pytest.raises(PlanError, match=r"run\(\): " + several):
        line.run()
    with pytest.raises(PlanError, match=r"expected a whole number of slots from 1 to \d+, found 0\."):
        line.batch(2, images=0)
    with pytest.raises(PlanError, match=r"expected images of one size, found ragged='list'"):
        line.batch(2, images=4, ragged="list")
    with pytest.raises(PlanError, match=r"expected pad= to name a field, found 'id_'; there are 'id'"):
        line.batch(2, images=4, pad={"id_": 4})
    with pytest.raises(PlanError, match=r"expected a length from 1 to \d+ for pad=\{'ids': \.\.\.\}, .* found 0\."):
        line.batch(2, images=4, pad={"ids": 0})
    with pytest.raises(PlanError, match=r"expected pad= as \{field: length\}, found 7\."):
        line.batch(2, images=4, pad=7)
    with pytest.raises(PlanError, match=r"on_failure='replace': expected"):
        next(iter(line.batch(2, images=4).run(on_failure="replace")))
    assert "2 images=4 last=short NHWC pad ids=9" in str(line.batch(2, images=4, pad={"ids": 9}))
    row = line.sample(0)
    assert row.failure.message.endswith("expected one image, found 2; batch(n, images=) takes several.")


@given(st.lists(st.integers(0, 6), max_size=12), st.integers(1, 12))
def test_slots_hold_what_fits_in_order(counts, size):
    slots = slots_of(np.array(counts, dtype=np.int64), size)
    assert len(slots.row) <= size and sorted(slots.row.tolist()) == slots.row.tolist()
    assert len(slots.row) == sum(slots.count.tolist()) == len(slots.number)
    for row, count in enumerate(counts):
        fits = row not in slots.refused
        assert int(slots.count[row]) == (count if fits else 0)
        assert slots.number[slots.row == row].tolist() == list(range(count if fits else 0))
        if not fits:
            assert count > size - int(slots.count[:row].sum())


class Pages(Source):
    """Somebody's own source of several blobs an item."""

    kind = "pages"

    def __init__(self, items):
        self.items = items
        self._table = NameTable.from_names(b"%d" % i for i in range(len(items)))

    where = "pages"
    several = True

    def image_counts(self, indices):
        return np.array([len(self.items[i]) for i in self._rows(indices)], dtype=np.int64)

    def locate_images(self, indices):
        blobs = [blob for i in self._rows(indices) for blob in self.items[i]]
        return Locations(np.full(len(blobs), -1), blobs=blobs)

    def _locate(self, rows, labels):
        return Locations(labels, blobs=[self.items[i][0] if self.items[i] else b"" for i in rows])

    def _hash_content(self, update):
        update(repr(self.items).encode())


def test_other_peoples_sources_are_held_to_the_contract():
    check_source(Pages([[b"a", b"b"], [], [b"c"]]))

    class Wrong(Pages):
        def image_counts(self, indices):
            return super().image_counts(indices) + 1

    with pytest.raises(AssertionError, match="expected the 5 images that image_counts says, found 3"):
        check_source(Wrong([[b"a", b"b"], [b"c"]]))


def shorten(item):
    item.fields["ids"] = [*item.fields["ids"][:3], item.index]
    item.fields["y"] = "seen"


def test_padded_fields_are_those_that_a_map_has_left(tmp_path):
    rows = [{"path": f"{i}.png", "ids": list(range(10 * i, 11 * i)), "y": "new"} for i in range(6)]
    for row in rows:
        Image.new("RGB", (6, 4)).save(tmp_path / row["path"])
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    line = ps.jsonl(tmp_path / "rows.jsonl", images="path").decode()
    line = line.map(shorten, on="item", geometry="keep").resize(4, 6).batch(6, pad={"ids": 4})
    for engine in ENGINES:
        with line.run(engine=engine) as run:
            batch = next(run)
        assert batch.fields["ids"].tolist()[2:] == [
            [20, 21, 2, 0],
            [30, 31, 32, 3],
            [40, 41, 42, 4],
            [50, 51, 52, 5],  # too long before the map
        ]
        assert batch.fields["ids_length"].tolist() == [1, 2, 3, 4, 4, 4] and list(batch.fields["y"]) == ["seen"] * 6
    long = ps.jsonl(tmp_path / "rows.jsonl", images="path").decode()
    long = long.map(shorten, on="item", geometry="keep").resize(4, 6).batch(6, pad={"ids": 3})
    with long.run(on_failure="skip") as run:
        assert next(run).index.tolist() == [0, 1, 2]
    assert run.failures.by_cause() == {"batch: too long": 3}


def test_numbers_that_int64_does_not_hold_are_refused():
    columns, refused = read_pads(Numbers([[2**63, 2**63 + 1], [1]]), np.arange(2), 2, (Pad("n", 2),))
    assert columns["n"].tolist() == [[0, 0], [1, 0]]
    assert refused == {0: ("not numbers", f"expected numbers that int64 holds in 'n', found {2**63 + 1}")}


class Numbers:
    """Nothing but a field."""

    def __init__(self, lists):
        self.lists = lists

    def field(self, name, indices):
        return [self.lists[index] for index in indices]
