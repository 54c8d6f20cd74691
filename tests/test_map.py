"""map on images and items: the same pixels from every engine and any number of threads, and what is refused."""

from __future__ import annotations

import io
import pickle
import threading
from typing import Any

import numpy as np
import pytest
from PIL import Image

import map_functions as fns
import penstock as ps

ROWS = 24


def encoded(number: int) -> bytes:
    rng = np.random.default_rng(number)
    picture = Image.fromarray(rng.integers(0, 255, (30 + number, 50, 3), np.uint8))
    data = io.BytesIO()
    exif = Image.Exif()
    exif[274] = 1 + number % 8
    kind = ("JPEG", "PNG", "BMP")[number % 3]  # BMP is Pillow's
    picture.save(data, kind, **({} if kind == "BMP" else {"exif": exif}))
    return data.getvalue()


@pytest.fixture(scope="module")
def base() -> ps.Pipeline:
    return ps.blobs({f"{number}": encoded(number) for number in range(ROWS)}).seed(5).shuffle().decode()


def halve(height: int, width: int) -> Any:
    return [[0.5, 0, 0], [0, 0.5, 0]]


LINES: dict[str, Any] = {
    "identity in the slot": lambda line: line.resize(20, 24).map(fns.identity, geometry="keep").batch(5),
    "another array in the slot": lambda line: line.resize(20, 24).map(fns.invert).batch(5),
    "not contiguous": lambda line: line.resize(20, 24).map(fns.mirrored, geometry="keep").batch(5),
    "planar": lambda line: line.resize(20, 24).map(fns.in_place, geometry="keep").batch(5, layout="NCHW"),
    "normalised": lambda line: line.resize(20, 24).map(fns.noise).normalize(ps.IMAGENET).batch(5),
    "before the resize": lambda line: line.map(fns.in_place, geometry="keep").resize(20, 24, fit="cover").batch(5),
    "two, with draws between": lambda line: (
        line.random_horizontal_flip()
        .map(fns.noise, geometry="keep")
        .random_resized_crop(20, 24)
        .map(fns.trimmed, out="any", geometry="keep")
        .resize(9, 9)
        .random_vertical_flip()
        .batch(5)
    ),
    "ragged": lambda line: line.map(fns.trimmed, out="any").batch(5, ragged="list"),
    "padded": lambda line: line.map(fns.trimmed, out="any").batch(5, ragged="pad"),
    "returned": lambda line: line.map(fns.shifted, geometry="returned").resize(20, 24).batch(5),
    "smaller": lambda line: (
        line.resize(20, 24).map(fns.halved, out=(10, 12), geometry="returned").pad(1, 1, 1, 1).batch(5)
    ),
    "grey": lambda line: line.resize(20, 24).map(fns.grey, channels=1).normalize(ps.SIGNED).batch(5),
    "warps before and after": lambda line: (
        line.warp(halve, 30, 30).map(fns.in_place, geometry="keep").warp(halve, 20, 24).batch(5)
    ),
    "float32": lambda line: (
        line.resize(20, 24, precision="float32").map(fns.invert).center_crop(8, 8).normalize(ps.UNIT).batch(5)
    ),
    "patches": lambda line: line.resize(max_patches=9, patch=8).map(fns.in_place, geometry="keep").patchify(8).batch(5),
    "items": lambda line: line.resize(20, 24).map(fns.relabel, on="item", geometry="keep").batch(5),
    "failures": lambda line: line.resize(20, 24).map(fns.sometimes_raises).batch(5),
}


def same(one: ps.Batch, other: ps.Batch) -> None:
    assert list(one.keys) == list(other.keys)
    np.testing.assert_array_equal(one.valid, other.valid)
    np.testing.assert_array_equal(one.labels, other.labels)
    np.testing.assert_array_equal(one.geometry.matrices, other.geometry.matrices)
    assert dict(one.fields) == dict(other.fields)
    assert [failure.message for failure in one.failures] == [failure.message for failure in other.failures]
    for mine, theirs in zip(one.images, other.images, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("name", LINES)
def test_threads_twins_and_replays_give_the_same_bits(base: ps.Pipeline, name: str):
    line: ps.Pipeline = LINES[name](base)
    expected = list(line.run(engine="reference", epoch=1, on_failure="blank"))
    assert sum(len(batch) for batch in expected) == ROWS
    for threads in (1, 2, 8):
        found = list(line.run(threads=threads, epoch=1, on_failure="blank"))
        for one, other in zip(expected, found, strict=True):
            same(one, other)
    same(expected[2], line.batch_at(2, epoch=1))
    row = line.sample(int(expected[1].index[3]), epoch=1)
    np.testing.assert_array_equal(row.image, expected[1][3].image)
    assert row.label == expected[1][3].label and row.fields == expected[1][3].fields


@pytest.mark.parametrize("depth", [8, 16])
def test_a_recipe_alone_calls_its_maps(depth: Any):
    recipe = ps.recipe().decode(depth=depth).resize(8, 8, precision="float32").map(fns.noise).center_crop(4, 4)
    data = encoded(4)
    np.testing.assert_array_equal(recipe(data, seed=1, epoch=2, index=3), recipe(data, seed=1, epoch=2, index=3))
    assert (recipe(data, index=1) != recipe(data, index=2)).any()
    assert recipe(data).shape == (4, 4, 3)


def test_sixteen_bits_reach_the_function():
    seen = []

    def look(image: Any) -> Any:
        seen.append(image.dtype)
        return image

    line = ps.blobs({"a": encoded(1)}).decode(depth=16).center_crop(4, 4).map(look).batch(1)
    assert next(line.run()).images.dtype == np.uint16 and seen == [np.uint16]


def test_arrays_of_the_source_are_never_written_to():
    arrays = [np.full((4, 4, 3), number, np.uint8) for number in range(6)]
    for engine in ("native", "reference"):
        line = ps.arrays(arrays).map(fns.noise).center_crop(4, 4).batch(3)
        list(line.run(engine=engine))
        list(ps.arrays(arrays).map(fns.noise, out=(4, 4)).batch(3).run(engine=engine))
    assert all((array == number).all() for number, array in enumerate(arrays))


def test_geometry_is_composed_or_refused(base: ps.Pipeline):
    kept, moved = (next(LINES[name](base).run()) for name in ("not contiguous", "returned"))
    plain = next(base.resize(20, 24).batch(5).run())
    np.testing.assert_array_equal(kept.geometry.matrices, plain.geometry.matrices)
    for row in range(5):
        height, width = moved[row].geometry.upright_size
        expected = [(10 + 1) * 24 / width, (10 + 2) * 20 / height]
        np.testing.assert_allclose(moved.geometry.to_model([[10, 10]], row=row), [expected])
    lost = next(base.map(fns.invert).resize(20, 24).map(fns.identity, geometry="keep").batch(5).run())
    assert np.isnan(lost.geometry.matrices).all()
    calls = [
        lambda: lost.geometry.to_model([[1, 2]], row=0),
        lambda: lost.geometry.boxes_to_source(np.zeros((5, 1, 4))),
        lambda: lost.geometry.restore(np.zeros((20, 24)), row=1),
        lambda: lost[0].geometry.to_source([[1, 2]]),
        lambda: base.map(fns.invert).sample(0).geometry.to_model([[1, 2]]),
    ]
    for call in calls:
        with pytest.raises(ps.PlanError, match=r"found the stage map invert, which does not say; map\(geometry="):
            call()


def test_a_failed_image_of_a_ragged_batch_is_none():
    def picky(image: Any) -> Any:
        if len(image) % 2:
            raise ValueError("odd")
        return image

    line = ps.blobs({str(n): encoded(3 * n) for n in range(4)}).decode().map(picky).normalize(ps.IMAGENET)
    batch = next(line.batch(4, ragged="list").run(on_failure="blank"))
    failed = {failure.index for failure in batch.failures}
    assert failed and [row for row, image in enumerate(batch.images) if image is None] == sorted(failed)


def test_a_failure_names_function_key_and_what_was_expected(base: ps.Pipeline):
    def wrong(answer: Any, **options: Any) -> str:
        line = ps.blobs({"the key": encoded(1)}).decode().resize(4, 6).map(lambda image: answer, **options)
        (failure,) = next(line.batch(1, ragged="list").run(on_failure="blank")).failures
        assert failure.stage == "transform" and failure.key == "the key" and failure.cause == "wrong answer"
        return failure.message

    start = "transform of 'the key': map <lambda>: expected uint8 [4, 6, 3], found "
    assert wrong(None) == start + "None; return the image."
    assert wrong("text") == start + "str."
    assert wrong(np.zeros((4, 6, 3))) == start + "float64 [4, 6, 3]."
    assert wrong(np.zeros((4, 6, 4), np.uint8)) == start + "uint8 [4, 6, 4]."
    assert wrong(np.zeros((6, 4, 3), np.uint8)) == start + "uint8 [6, 4, 3]."
    assert wrong(np.zeros((4, 6), np.uint8)) == start + "uint8 [4, 6]."
    assert "expected uint8 [9, 9, 3]" in wrong(np.zeros((4, 6, 3), np.uint8), out=(9, 9))
    assert "expected uint8 [H, W, 3]" in wrong(np.zeros((0, 6, 3), np.uint8), out="any")
    assert "in place of (image, matrix)" in wrong(np.zeros((4, 6, 3), np.uint8), geometry="returned")
    assert "can be inverted" in wrong((np.zeros((4, 6, 3), np.uint8), np.zeros((2, 3))), geometry="returned")
    with pytest.raises(ps.ItemError, match=r"transform of 'the key': map raises: .* found KeyError: 'nothing'\."):
        list(ps.blobs({"the key": encoded(1)}).decode().resize(4, 6).map(fns.raises).batch(1).run())
    with pytest.raises(ps.ItemError, match="map raises"):
        ps.recipe().decode().map(fns.raises)(encoded(1))


def test_an_item_that_is_replaced_or_gets_a_wrong_label_fails():
    def replaced(item: Any) -> Any:
        return item.image

    def labelled(item: Any) -> None:
        item.label = "cat"

    for function, text in ((replaced, "change the item in place"), (labelled, "a whole number for a label")):
        line = ps.blobs({"a": encoded(1)}).decode().resize(4, 4).map(function, on="item").batch(1)
        with pytest.raises(ps.ItemError, match=text):
            list(line.run())


def test_refusals_at_the_line():
    line = ps.blobs({"a": b""}).decode()
    for refused, text in [
        (lambda: line.map(3), "expected fn= a function"),
        (lambda: line.map(fns.identity, "rows"), "expected on= one of"),
        (lambda: line.map(fns.identity, geometry="moved"), "expected geometry= one of"),
        (lambda: line.map(fns.identity, channels=2), "expected channels= 1, 3 or 4, found 2"),
        (lambda: line.map(fns.identity, out=(0, 3)), "expected out= "),
        (lambda: line.map(fns.identity, out="some"), "expected out= "),
        (lambda: line.map(fns.identity, workers=0), "expected workers='threads' or a number"),
        (lambda: line.map(lambda image: image, workers=2), "move it into a module"),
        (lambda: line.map(lambda: None), r"called as fn\(image\) or fn\(image, rng=\)"),
        (lambda: line.map(fns.identity, "batch"), "found none; call .batch"),
        (lambda: ps.recipe().decode().map(fns.identity, "batch"), "in a recipe, found 'batch'"),
        (lambda: ps.blobs({"a": b""}).map(fns.identity), "call .decode"),
        (lambda: line.resize(4, 4).normalize(ps.UNIT).map(fns.identity), "call it before .normalize"),
        (lambda: line.resize(4, 4).batch(1).map(fns.identity), "expected to come before batch"),
        (lambda: line.map(fns.relabel, "item", geometry="returned"), "changed in place"),
        (lambda: line.resize(4, 4).batch(1).map(fns.identity, "batch", out="any"), "expected no out= on batches"),
        (lambda: line.map(fns.identity, out="any").batch(2, ragged="bucket"), "expected verbs that tell their size"),
        (line.map(fns.identity).recipe.to_json, "found the function identity"),
        (lambda: line.map(lambda image: image).fingerprint, "version= a text"),
    ]:
        with pytest.raises(ps.PlanError, match=text):
            refused()


def test_the_fingerprint_holds_name_and_version_and_not_where_it_runs():
    line = ps.blobs({"a": b""}).decode()
    plain = line.map(fns.identity)
    assert plain.fingerprint == line.map(fns.identity, workers=3).fingerprint
    assert (
        line.map(lambda image: image, version="1").fingerprint != line.map(lambda image: image, version="2").fingerprint
    )
    others = [line.map(fns.invert), line.map(fns.identity, geometry="keep"), line.map(fns.identity, out="any"), line]
    assert len({plain.fingerprint, *(other.fingerprint for other in others)}) == 5
    assert pickle.loads(pickle.dumps(plain)) == plain


def test_print_names_the_function_and_where_it_runs():
    line = ps.blobs({"a": b""}).decode().resize(4, 4)
    text = str(line.map(fns.noise).map(fns.identity, workers=2, geometry="keep").batch(2))
    assert "map     noise, in threads, geometry unknown" in text and "map     identity, in 2 processes " in text
    assert "fused: decode and resize, then batch run as native loops" in text and "map runs Python between" in text


def test_a_map_that_draws_makes_the_line_random():
    line = ps.blobs({"a": encoded(1)}).decode().resize(4, 4)
    assert line.map(fns.noise).random and not line.map(fns.identity).random
    with pytest.raises(ps.PlanError, match="found map, which changes with the epoch"):
        iter(line.map(fns.noise).batch(1))
    # A map without draws takes no number among the random steps: the flip after it draws as without it.
    flip = line.random_horizontal_flip()
    mapped = line.map(fns.identity).random_horizontal_flip()
    for index in range(8):
        data = encoded(1)
        np.testing.assert_array_equal(flip.recipe(data, index=index), mapped.recipe(data, index=index))


def test_plan_goes_through_maps_that_tell_their_size():
    recipe = ps.recipe().decode().map(fns.identity).resize(short_side=10).map(fns.halved, out=(7, 9)).pad(1, 1, 1, 1)
    assert recipe.plan(100, 200)[:2] == (9, 11)


def test_explain_shows_a_map(base: ps.Pipeline):
    text = str(base.resize(8, 8).map(fns.noise).normalize(ps.UNIT).explain(3))
    assert "map noise, in threads" in text and "DIFFERENT" not in text


def test_an_array_that_a_function_keeps_stays_what_it_was():
    kept = []

    def keep(image: Any) -> Any:
        kept.append(image)
        return image

    line = ps.blobs({str(number): encoded(1) for number in range(64)}).decode().resize(8, 8).map(keep).batch(4)
    for batch in line.run(threads=2):
        batch.images[:] = 1
        del batch
    list(line.run(threads=2))
    assert all((image == 1).all() for image in kept[:64])


def test_little_memory_is_enough(base: ps.Pipeline):
    line = base.map(fns.in_place, geometry="keep").resize(16, 16).batch(8)
    expected = list(line.run(threads=2))
    for one, other in zip(expected, line.run(threads=4, max_memory=10_000), strict=True):
        same(one, other)


def test_a_stuck_function_does_not_hold_up_the_end():
    begun, over = threading.Event(), threading.Event()

    def stuck(image: Any) -> Any:
        begun.set()
        over.wait()
        return image

    line = ps.blobs({str(number): encoded(1) for number in range(8)}).decode().resize(8, 8).map(stuck).batch(4)
    run = line.run(threads=2)
    ended = []

    def consume() -> None:
        with pytest.raises(ps.EngineError):
            next(run)
        ended.append(True)

    consumer = threading.Thread(target=consume)
    consumer.start()
    assert begun.wait(60)
    run.close()
    consumer.join(60)
    assert ended
    over.set()


def test_stats_count_the_calls(base: ps.Pipeline):
    run = base.resize(8, 8).map(fns.identity).map(fns.in_place).batch(8).run(threads=2)
    list(run)
    assert run.stats.map_s > 0 and run.stats.map_items == ROWS * 2
    assert "images through map" in str(run.stats) and "map_s" in run.stats.snapshot()


def test_a_loader_resumes_in_the_middle(base: ps.Pipeline):
    line = base.resize(8, 8).map(fns.noise).batch(4)
    whole = line.loader(threads=2)
    batches = list(whole)
    first = line.loader(threads=2)
    steps = iter(first)
    next(steps), next(steps)
    state = first.state_dict()
    second = line.loader(threads=1)
    second.load_state_dict(state)
    for one, other in zip(batches[2:], second, strict=True):
        same(one, other)
