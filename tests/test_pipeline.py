"""Lines before they run: what they print, what they refuse, what kind of value they are."""

from __future__ import annotations

import inspect
import pickle
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from penstock.batch import Batching, Selection
from penstock.errors import PlanError, SourceError
from penstock.options import RunOptions
from penstock.pipeline import Pipeline, arrays, blobs, files, folder
from penstock.recipe import recipe
from penstock.transform import IMAGENET
from penstock.types import BATCH_FIELDS

BYTES = {"a": b"not", "b": b"opened", "c": b"yet"}


def line() -> Pipeline:
    return blobs(BYTES).seed(3).shuffle().decode().resize(224, 192, fit="cover").normalize(IMAGENET)


def images() -> Pipeline:
    return arrays([np.zeros((4, 6, 3), np.uint8)] * 3)


def test_print_says_each_stage_and_opens_nothing() -> None:
    text = str(line().batch(2, layout="NCHW").select("images", label="labels"))
    rows = [row.split("  ") for row in text.splitlines()]
    assert [row[0] for row in rows[:-1]] == ["source", "shuffle", "decode", "resize", "normalize", "batch", "select"]
    assert "blobs of 3 items" in text and "seed=3" in text and "H=224 W=192 cover bilinear" in text
    assert "float32 [2, 3, 224, 192] -2.118..2.64" in text and "images, label=labels" in text
    assert text.splitlines()[-1] == (
        "fused: decode, resize, normalize and batch run as one native loop, a strip of rows at a time"
    )
    html = line()._repr_html_()
    assert html.startswith("<table>") and html.count("<tr>") == 5


def test_a_line_is_a_value() -> None:
    made = line().batch(2)
    assert made == line().batch(2) and hash(made) == hash(line().batch(2)) and made != line().batch(3)
    again = pickle.loads(pickle.dumps(made))
    assert again == made and hash(again) == hash(made) and str(again) == str(made)
    assert blobs(BYTES).seed(0) == blobs(BYTES)  # 0 is the seed of a line that names none
    with pytest.raises(AttributeError):
        made.recipe = recipe()  # type: ignore[misc]


def test_len_is_items_then_batches() -> None:
    sized = images().resize(2, 2)
    assert len(sized) == 3
    assert [len(sized.batch(2, last=last)) for last in ("short", "drop", "blank")] == [2, 1, 2]
    assert len(sized.batch(5, last="drop")) == 0 and bool(sized.batch(5, last="drop"))


def test_fingerprint_is_which_sample_and_what_it_becomes() -> None:
    made = line()
    assert made.fingerprint == made.batch(2).fingerprint == made.batch(3, layout="NCHW").select("images").fingerprint
    others = [
        blobs({**BYTES, "d": b""}).seed(3).shuffle().apply(made.recipe),
        blobs(BYTES).seed(4).shuffle().apply(made.recipe),
        blobs(BYTES).seed(3).apply(made.recipe),
        blobs(BYTES).seed(3).shuffle().apply(made.recipe.upto("resize")),
    ]
    assert len({made.fingerprint, *(other.fingerprint for other in others)}) == 5


def test_apply_adds_the_steps() -> None:
    prep = recipe().decode().resize(8, 8)
    assert blobs(BYTES).apply(prep) == blobs(BYTES).decode().resize(8, 8)
    assert blobs(BYTES).decode().apply(recipe().resize(8, 8)) == blobs(BYTES).apply(prep)
    assert images().apply(recipe().resize(8, 8)).spec.height == 8


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: blobs(BYTES).resize(3, 4),
            "resize(3, 4): expected an image, found encoded bytes; call .decode() before it.",
        ),
        (
            lambda: blobs(BYTES).apply(recipe().resize(3, 4)),
            "resize(3, 4): expected an image, found encoded bytes; call .decode() before it.",
        ),
        (
            lambda: images().decode(),
            "decode: expected encoded bytes, found uint8 [H, W, 3] 0..255; images are decoded already.",
        ),
        (
            lambda: images().apply(recipe().decode()),
            "decode: expected encoded bytes, found uint8 [H, W, 3] 0..255; images are decoded already.",
        ),
        (lambda: images().apply(3), "apply(3): expected a Recipe, found int."),  # type: ignore[arg-type]
        (
            lambda: blobs(BYTES).batch(2),
            "batch(2): expected images, found encoded bytes; call .decode() before it.",
        ),
        (
            lambda: images().batch(2),
            (
                "batch(2): expected images of one size, found uint8 [H, W, 3] 0..255; call .resize(height, width), or "
                ".center_crop(height, width) after .resize(short_side=), before it, or say how to hold "
                "them: ragged='pad', 'list' or 'bucket'."
            ),
        ),
        (
            lambda: images().resize(short_side=4).batch(2),
            (
                "batch(2): expected images of one size, found uint8 [H, W, 3] 0..255; call .resize(height, width), or "
                ".center_crop(height, width) after .resize(short_side=), before it, or say how to hold "
                "them: ragged='pad', 'list' or 'bucket'."
            ),
        ),
        (lambda: line().batch(2).batch(3), "batch(3): expected one batch, found a second one; leave it out."),
        (
            lambda: line().batch(2).resize(3, 4),
            "resize(3, 4): expected to come before batch, found batch(2) before it; call order is execution order.",
        ),
        (
            lambda: line().batch(2).shuffle(),
            "shuffle(): expected to come before batch, found batch(2) before it; call order is execution order.",
        ),
        (
            lambda: line().batch(2).seed(1),
            "seed(1): expected to come before batch, found batch(2) before it; call order is execution order.",
        ),
        (lambda: line().seed(1), "seed(1): expected one seed, found a second one after seed(3)."),
        (lambda: line().shuffle(), "shuffle(): expected one shuffle, found a second one; leave it out."),
        (lambda: line().seed(-1), "seed=-1: expected a whole number from 0 to 18446744073709551615, found -1."),
        (
            lambda: line().select("images"),
            "select(): expected a line with batches, found none; call .batch(n) before it.",
        ),
        (
            lambda: line().batch(2).select("image"),
            (
                "select(): expected one of images, labels, keys, index, valid, damaged, geometry, fields, failures, "
                "step, epoch, sizes, positions, patch_count, grid, replaced_by, image_row, image_count, companions, "
                "targets, views, view_geometry, found 'image'; the nearest is 'images'."
            ),
        ),
        (
            lambda: line().batch(2).select("images").select("labels"),
            "select(): expected one select, found a second one; leave it out.",
        ),
        (
            lambda: line().batch(2).select("images", "images"),
            "select(): expected each name once, found 'images' twice.",
        ),
        (lambda: line().batch(0), "batch(0): expected a whole number of rows from 1 to 1048576, found 0."),
        (
            lambda: line().batch(2, last="keep"),  # type: ignore[arg-type]
            "batch(2, last='keep'): expected last= one of 'short', 'drop', 'blank', found 'keep'.",
        ),
        (
            lambda: line().batch(2, layout="CHW"),  # type: ignore[arg-type]
            "batch(2, layout='CHW'): expected layout= one of 'NHWC', 'NCHW', found 'CHW'.",
        ),
        (
            lambda: iter(line().batch(2)),
            (
                "iter(line): expected a line without a random stage, found shuffle, which changes with the epoch; hold "
                "line.loader(), whose every pass is the next epoch, or say which one: line.run(epoch=0)."
            ),
        ),
        (
            lambda: iter(images().random_horizontal_flip()),
            (
                "iter(line): expected a line without a random stage, found random_horizontal_flip, which changes with "
                "the epoch; hold line.loader(), whose every pass is the next epoch, or say which one: "
                "line.run(epoch=0)."
            ),
        ),
        (lambda: blobs(BYTES).run(), "run(): expected images, found encoded bytes; call .decode() before it."),
        (lambda: line().batch_at(0), "batch_at(): expected a line with batches, found none; call .batch(n) before it."),
    ],
)
def test_a_wrong_line_is_refused(make: Any, sentence: str) -> None:
    with pytest.raises(PlanError) as caught:
        make()
    assert str(caught.value) == sentence


def test_items_are_found_by_index_or_key() -> None:
    made = line()
    assert made._index("sample", -1, None) == 2 and made._index("sample", None, "b") == 1
    for index, key, sentence in (
        (None, None, "sample(): expected index= or key=, found neither."),
        (1, "a", "sample(): expected index= or key=, found both."),
        (3, None, "sample(3): expected an index below 3, found 3."),
    ):
        with pytest.raises(PlanError) as caught:
            made._index("sample", index, key)
        assert str(caught.value) == sentence
    with pytest.raises(SourceError, match="found 'z'"):
        made._index("sample", None, "z")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"epoch": -1}, "epoch=-1: expected a whole number of at least 0, found -1."),
        ({"rank": 2, "world_size": 2}, "rank=2: expected a rank below world_size=2, found 2."),
        ({"threads": 0}, "threads=0: expected a whole number from 1 to 1024, found 0."),
        ({"prefetch": 0}, "prefetch=0: expected a whole number of at least 1, found 0."),
        ({"max_memory": "2GB"}, "max_memory='2GB': expected a whole number of at least 1, found '2GB'."),
        ({"engine": "fast"}, "engine='fast': expected one of 'native', 'reference', found 'fast'."),
        (
            {"on_failure": "stop"},
            "on_failure='stop': expected one of 'raise', 'skip', 'blank', 'replace', found 'stop'.",
        ),
        ({"on_damage": "drop"}, "on_damage='drop': expected one of 'keep', 'fail', found 'drop'."),
        ({"max_failures": 0.1}, "max_failures=0.1: expected a whole number of at least 0, or a Fraction, found 0.1."),
        (
            {"max_failures": Fraction(3, 2)},
            "max_failures=Fraction(3, 2): expected a Fraction from 0 to 1, found 3/2.",
        ),
        ({"ledger": 3}, "ledger=3: expected a path, found 3."),
    ],
)
def test_run_options_are_checked(options: Any, sentence: str) -> None:
    with pytest.raises(PlanError) as caught:
        RunOptions(**options)
    assert str(caught.value) == sentence


def test_run_and_loader_take_the_run_options() -> None:
    known = dict(inspect.signature(RunOptions).parameters)
    del known["ranks_from"]  # what run() finds out, for people
    for name in ("rank", "world_size"):
        known[name] = known[name].replace(default=None)  # then the surroundings say it
    expected = list(known.values())
    for method in (Pipeline.run, Pipeline.loader):
        own = list(inspect.signature(method).parameters.values())[1:]
        own = [one for one in own if one.name != "across_epochs"]  # a loader's alone: a run is one epoch
        assert [(one.name, one.default, one.kind) for one in own] == [
            (one.name, one.default, one.kind) for one in expected
        ]


def test_selection_takes_a_tuple_or_a_dict() -> None:
    class Made:
        images, labels = "pixels", "classes"

    assert Selection.of(("images", "labels"), {}).take(Made()) == ("pixels", "classes")
    assert Selection.of((), {"pixel_values": "images"}).take(Made()) == {"pixel_values": "pixels"}
    assert Selection.of(("labels",), {"x": "images"}).take(Made()) == {"labels": "classes", "x": "pixels"}
    with pytest.raises(PlanError, match="expected names of fields"):
        Selection.of((), {})
    assert "images" in BATCH_FIELDS and Batching(np.int64(3)).size == 3  # type: ignore[arg-type]


def test_sources_make_lines(tmp_path: Any) -> None:
    (tmp_path / "a.jpg").write_bytes(b"never opened")
    for made in (folder(tmp_path), files([tmp_path / "a.jpg"]), blobs({"a": b""}), images()):
        assert isinstance(made, Pipeline) and len(made) in (1, 3) and str(made).startswith("source")
    for make in (folder, files, blobs, arrays):
        assert "Returns a line with no stage yet." in (make.__doc__ or "")
