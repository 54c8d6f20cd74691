"""map on batches: mixup, cutmix and functions of the user's own, the same on replay."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

import penstock as ps


def png(number: int) -> bytes:
    data = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), number * 10, np.uint8)).save(data, "PNG")
    return data.getvalue()


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> ps.Pipeline:
    root = tmp_path_factory.mktemp("classes")
    for number in range(22):
        (root / f"c{number % 3}").mkdir(exist_ok=True)
        (root / f"c{number % 3}" / f"{number:02}.png").write_bytes(png(number) if number != 5 else b"broken")
    return ps.folder(root).seed(2).shuffle().decode().resize(8, 8)


@pytest.mark.parametrize("mix", [ps.mixup(0.4, 3), ps.cutmix(1.0, 3)])
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("float_", [False, True])
def test_mixes_keep_the_shares_and_replay(line: ps.Pipeline, mix: Any, layout: Any, float_: bool):
    chain = line.normalize(ps.UNIT) if float_ else line
    plain = list(chain.batch(4, last="blank", layout=layout).run(epoch=1, on_failure="blank"))
    mixed = chain.batch(4, last="blank", layout=layout).map(mix, on="batch")
    found = list(mixed.run(epoch=1, on_failure="blank", threads=2))
    changed = 0
    for step, (before, after) in enumerate(zip(plain, found, strict=True)):
        assert after.labels.dtype == np.float32 and after.labels.shape == (4, 3)
        np.testing.assert_allclose(after.labels.sum(axis=1), after.valid, rtol=1e-6)
        np.testing.assert_array_equal(after.images[~after.valid], before.images[~after.valid])
        # Every picture is of one level, so each pixel's share is the label's.
        rows = np.flatnonzero(before.valid)
        for row, other in zip(rows, np.roll(rows, 1), strict=True):
            mine, theirs = before.images[row].mean(), before.images[other].mean()
            if before.labels[row] != before.labels[other]:
                share = after.labels[row][before.labels[row]]
                expected = share * mine + (1 - share) * theirs
                np.testing.assert_allclose(after.images[row].mean(), expected, atol=0.6 if not float_ else 1e-3)
        changed += int((before.images != after.images).any())
        again = mixed.batch_at(step, epoch=1)
        np.testing.assert_array_equal(again.images, after.images)
        np.testing.assert_array_equal(again.labels, after.labels)
    assert changed >= 3
    assert found[0][0].label in (-1, 0, 1, 2)


def test_another_epoch_draws_anew_and_the_reference_alike(line: ps.Pipeline):
    mixed = line.batch(4).map(ps.mixup(0.4, 3), on="batch")
    assert mixed.random
    first, again, twin, other = (
        next(mixed.run(epoch=epoch, engine=engine, on_failure="blank"))
        for epoch, engine in ((0, "native"), (0, "native"), (0, "reference"), (1, "native"))
    )
    np.testing.assert_array_equal(first.images, again.images)
    np.testing.assert_array_equal(first.images, twin.images)
    assert not np.array_equal(first.images, other.images)


def test_a_resumed_run_mixes_as_the_whole(line: ps.Pipeline):
    mixed = line.batch(4).map(ps.cutmix(1, 3), on="batch").select("images", "labels")
    whole = list(mixed.loader(on_failure="blank"))
    first = mixed.loader(on_failure="blank")
    next(iter(first))
    second = mixed.loader(on_failure="blank")
    second.load_state_dict(first.state_dict())
    for one, other in zip(whole[1:], second, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])


def test_a_function_may_answer_anything(line: ps.Pipeline):
    answers = list(line.batch(4).map(lambda batch: batch.images.mean(), on="batch", version="1").run(on_failure="skip"))
    assert len(answers) == 6 and all(isinstance(answer, np.floating) for answer in answers)


def boom(batch: ps.Batch) -> ps.Batch:
    raise ValueError("no")


def test_what_goes_wrong_is_a_sentence(line: ps.Pipeline):
    batches = line.batch(4)
    for function, text in [
        (boom, r"map boom of step 0: expected a batch, found ValueError: no\."),
        (lambda batch: None, "found None; return the batch"),
        (ps.mixup(1, 2), "expected labels from 0 to 1, found the label 2"),
    ]:
        with pytest.raises(ps.PenstockError, match=text):
            list(batches.map(function, on="batch", version="1").run(on_failure="blank"))
    twice = batches.map(lambda batch: 3, on="batch").map(boom, on="batch")
    with pytest.raises(ps.PenstockError, match="expected a Batch, found int from map <lambda>"):
        list(twice.run(on_failure="blank"))
    ragged = line.source and ps.blobs({"a": png(1)}).decode().batch(1, ragged="list").map(ps.mixup(1, 2), on="batch")
    with pytest.raises(ps.PenstockError, match="expected images of one size"):
        next(ragged.run())


def test_arguments_are_checked():
    for make in (ps.mixup, ps.cutmix):
        for alpha, classes in ((0, 3), (-1, 3), ("a", 3), (1, 0), (1, 2.5), (1, True)):
            with pytest.raises(ps.PlanError, match=r"expected (alpha|classes)="):
                make(alpha, classes)
    with pytest.raises(ps.PlanError, match="expected to come before select"):
        ps.blobs({"a": b""}).decode().resize(2, 2).batch(1).select("images").map(boom, on="batch")


def test_print_and_fingerprint_tell_mixes_apart(line: ps.Pipeline):
    assert "map      mixup(0.2, 3), on batches" in str(line.batch(4).map(ps.mixup(0.2, 3), on="batch"))
    prints = {line.batch(4).map(mix, on="batch").fingerprint for mix in (ps.mixup(0.2, 3), ps.mixup(0.3, 3))}
    assert len(prints | {line.batch(4).fingerprint}) == 3


def test_a_batch_that_a_map_refused_is_the_next_of_a_state(line: ps.Pipeline):
    with line.batch(4).map(boom, on="batch").loader(on_failure="blank") as loader:
        with pytest.raises(ps.PenstockError, match="found ValueError: no"):
            next(iter(loader))
        assert loader.state_dict()["position"] == 0


def test_a_loader_refuses_a_map_that_no_state_can_tell(line: ps.Pipeline):
    with pytest.raises(ps.PlanError, match="expected a function of a module, or version="):
        line.batch(4).map(lambda batch: batch, on="batch").loader()
