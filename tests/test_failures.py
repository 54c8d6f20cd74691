"""Failures: the policies, the accounts, the bounds, and that nobody's neighbours are harmed."""

from __future__ import annotations

import io
import re
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from PIL import Image

import penstock as ps
from broken_pictures import BROKEN, ENGINES, check_accounts, damaged, encoded, good, line_of, mixed, pillow

# -- raise ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", range(1, 9))
@pytest.mark.parametrize("where", [0, 7, 22])
def test_raise_comes_after_all_earlier_batches_and_names_the_same_item(threads: int, where: int) -> None:
    blobs = {str(number): good(number % 6) for number in range(24)}
    blobs[str(where)] = BROKEN["cut"]
    later = min(23, where + 1)
    blobs[str(later)] = b""  # found sooner, and yet not first
    steps: list[int] = []
    with line_of(blobs).run(threads=threads) as run, pytest.raises(ps.ItemError) as caught:
        steps.extend(batch.step for batch in run)
    assert steps == list(range(where // 4))
    assert str(caught.value).startswith(f"decode of '{where}': expected a whole image, found truncated data")
    check_accounts(run)
    assert run.failures[0].index == where
    with pytest.raises(ps.EngineError, match="found it closed"):
        next(run)


@pytest.mark.parametrize("engine", ENGINES)
def test_raise_in_rows_without_batch(engine: Any) -> None:
    line = ps.blobs({"a": good(0), "b": good(3), "c": b"", "d": good(1)}).decode()
    keys: list[str] = []
    with line.run(engine=engine) as run, pytest.raises(ps.ItemError) as caught:
        keys.extend(row.key for row in run)
    assert str(caught.value) == "decode of 'c': expected an image, found 0 bytes."
    assert keys == ["a", "b"]


# -- skip and blank ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_skip_leaves_out_the_broken_and_keeps_the_rest_as_it_was(threads: int, layout: Any) -> None:
    blobs = mixed()
    with line_of(blobs, layout=layout).run(threads=threads, on_failure="skip") as run:
        batches = list(run)
    keys = list(blobs)
    assert [key for batch in batches for key in batch.keys] == [key for key in keys if key not in BROKEN]
    for batch in batches:
        # Membership is fixed before decode: no row moves to another batch to fill the gap.
        assert all(4 * batch.step <= index < 4 * batch.step + 4 for index in batch.index)
        for row in batch:
            image = row.image if layout == "NHWC" else row.image.transpose(1, 2, 0)
            assert row.valid and np.array_equal(image, pillow(blobs[row.key]))
            alone = line_of({row.key: blobs[row.key]}).batch_at(0)[0]
            assert row.geometry is not None and alone.geometry is not None
            assert np.array_equal(row.geometry.matrix, alone.geometry.matrix)
            assert row.geometry.height == alone.geometry.height
    assert run.reached == len(blobs) and len(run.failures) == 5 and len(run.damaged) == 2
    check_accounts(run)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_blank_keeps_the_place_and_hands_over_zeros(threads: int, dtype: str) -> None:
    blobs = mixed()
    line = ps.blobs(blobs, labels=range(100, 100 + len(blobs))).decode().resize(16, 12)
    line = line.normalize(ps.SIGNED) if dtype == "float32" else line
    with line.batch(4).run(threads=threads, on_failure="blank") as run:
        batches = list(run)
    assert np.concatenate([batch.index for batch in batches]).tolist() == list(range(len(blobs)))
    for batch in batches:
        for row in batch:
            broken = row.key in BROKEN
            assert row.valid != broken and (row.failure is not None) == broken
            assert row.label == (-1 if broken else 100 + row.index)
            assert row.damaged == row.key.startswith("damaged")
            if broken:
                assert not row.image.any() and row.image.dtype == dtype
                assert row.failure is not None and row.failure.index == row.index and row.failure.key == row.key
            elif dtype == "uint8":
                assert np.array_equal(row.image, pillow(blobs[row.key]))
        assert [failure.key for failure in batch.failures] == [key for key in batch.keys if key in BROKEN]
    check_accounts(run)


@pytest.mark.parametrize("on_failure", ["skip", "blank"])
def test_everything_broken(on_failure: Any) -> None:
    with line_of([b""] * 9).run(on_failure=on_failure) as run:
        batches = list(run)
    assert len(batches) == (0 if on_failure == "skip" else 3)
    assert run.reached == 9 and len(run.failures) == 9 and run.clean == 0


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("on_failure", ["skip", "blank"])
def test_rows_without_batch(engine: Any, on_failure: Any) -> None:
    line = ps.blobs({"a": good(0), "b": b"", "c": good(1)}).decode().resize(16, 12)
    with line.run(engine=engine, on_failure=on_failure) as run:
        rows = list(run)
    assert [row.key for row in rows] == (["a", "c"] if on_failure == "skip" else ["a", "b", "c"])
    if on_failure == "blank":
        assert not rows[1].valid and rows[1].failure is not None and not rows[1].image.any()
        assert rows[1].image.shape == (16, 12, 3)
    check_accounts(run)


def test_blank_rows_of_a_ragged_line_have_an_empty_image() -> None:
    line = ps.blobs({"a": good(0), "b": b""}).decode()
    with line.run(on_failure="blank") as run:
        rows = list(run)
    assert not rows[1].valid and rows[1].image.shape == (0, 0, 3) and rows[1].image.dtype == np.uint8
    sample = line.sample(key="b")
    assert not sample.valid and sample.image.shape == (0, 0, 3)


# -- damage --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 3])
def test_damage_is_kept_marked_and_listed(threads: int) -> None:
    blobs = {"a": good(0), "hole": damaged(), "b": good(1), "hole again": damaged()}
    with line_of(blobs).run(threads=threads) as run:
        (batch,) = run
    assert batch.damaged.tolist() == [False, True, False, True] and batch.valid.all()
    assert np.array_equal(batch.images[1], pillow(damaged()))
    assert run.clean == 2 and [(damage.key, damage.index) for damage in run.damaged] == [("hole", 1), ("hole again", 3)]
    assert run.damaged[0].message.startswith("decode of 'hole': the codec recovered from damage: Corrupt JPEG data")
    assert run.damaged[0].message in str(run.damaged) and str(run.damaged).startswith("2 damaged")
    check_accounts(run)


@pytest.mark.parametrize("on_failure", ["skip", "blank"])
def test_damage_as_failure_is_one_outcome_not_two(on_failure: Any) -> None:
    blobs = {"a": good(0), "hole": damaged(), "b": good(1), "empty": b""}
    with line_of(blobs).run(on_damage="fail", on_failure=on_failure) as run:
        (batch,) = run
    assert [failure.key for failure in batch.failures] == ["hole", "empty"]
    assert run.failures.by_cause() == {"decode: damaged": 1, "decode: not an image": 1}
    assert run.failures[0].message.startswith("decode of 'hole': expected an undamaged image, found: Corrupt JPEG data")
    assert run.clean == 2 and len(run.damaged) == 0 and run.reached == 4
    check_accounts(run)
    if on_failure == "blank":
        assert batch.valid.tolist() == [True, False, True, False] and not batch.damaged.any()
        assert not batch.images[1].any() and batch.images[[0, 2]].any(axis=(1, 2, 3)).all()
    else:
        assert list(batch.keys) == ["a", "b"] and np.array_equal(batch.images[1], pillow(good(1)))


def test_damage_as_failure_raises() -> None:
    line = line_of([good(0), damaged()])
    sentence = "decode of '1': expected an undamaged image, found: Corrupt JPEG data"
    with line.run(on_damage="fail") as run, pytest.raises(ps.ItemError, match=sentence):
        next(run)
    check_accounts(run)


# -- max_failures --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on_failure", ["skip", "blank"])
@pytest.mark.parametrize("allowed", [0, 1, 2, Fraction(1, 10), Fraction(19, 200)])
def test_more_failures_than_allowed_end_the_run(on_failure: Any, allowed: Any) -> None:
    blobs = [b"" if number in (3, 9, 17) else good(number % 6) for number in range(20)]
    count = int(allowed * 20) if isinstance(allowed, Fraction) else allowed
    culprit = (3, 9, 17)[count]
    steps: list[int] = []
    run = line_of(blobs).run(on_failure=on_failure, max_failures=allowed)
    with run, pytest.raises(ps.TooManyFailuresError) as caught:
        steps.extend(batch.step for batch in run)
    assert steps == list(range(culprit // 4))
    reached = 4 * (culprit // 4 + 1)
    assert str(caught.value) == (
        f"Expected at most {count} failed items (max_failures={allowed}), found {count + 1} of {reached} reached: "
        f"{count + 1} x decode: not an image; the first: decode of '3': expected an image, found 0 bytes."
    )
    check_accounts(run)


@pytest.mark.parametrize("allowed", [3, Fraction(3, 20), Fraction(1), None])
def test_as_many_failures_as_allowed_are_fine(allowed: Any) -> None:
    blobs = [b"" if number in (3, 9, 17) else good(number % 6) for number in range(20)]
    with line_of(blobs).run(on_failure="skip", max_failures=allowed) as run:
        assert sum(len(batch) for batch in run) == 17
    assert len(run.failures) == 3


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"on_failure": "ignore"},
            "on_failure='ignore': expected one of 'raise', 'skip', 'blank', 'replace', found 'ignore'.",
        ),
        ({"on_damage": "drop"}, "on_damage='drop': expected one of 'keep', 'fail', found 'drop'."),
        ({"max_failures": -1}, "max_failures=-1: expected a whole number of at least 0, or a Fraction, found -1."),
        ({"max_failures": 0.1}, "max_failures=0.1: expected a whole number of at least 0, or a Fraction, found 0.1."),
        ({"max_failures": Fraction(3, 2)}, "max_failures=Fraction(3, 2): expected a Fraction from 0 to 1, found 3/2."),
        ({"ledger": 3}, "ledger=3: expected a path, found 3."),
    ],
)
def test_policies_that_cannot_be(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ps.PlanError, match="^" + re.escape(sentence) + "$"):
        line_of([good(0)]).run(**options)


# -- both engines, row by row ------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_both_engines_tell_the_same_story(threads: int) -> None:
    stories = []
    for engine in ENGINES:
        with line_of(mixed()).run(engine=engine, on_failure="blank", threads=threads) as run:
            batches = list(run)
        images = np.concatenate([batch.images for batch in batches])
        valid = np.concatenate([batch.valid for batch in batches])
        stories.append(
            (
                images.tobytes(),
                valid.tobytes(),
                list(run.failures),
                run.failures.by_cause(),
                dict(run.notes),
                list(run.damaged),
                run.clean,
            )
        )
    assert stories[0] == stories[1]


def unfinished() -> bytes:
    """A progressive JPEG without its last scan: the codec does not even warn."""
    data = encoded(60, 70, progressive=True)
    return data[: data.rfind(b"\xff\xda")] + b"\xff\xd9"


@pytest.mark.parametrize("on_damage", ["keep", "fail"])
def test_both_engines_call_the_same_images_damaged(on_damage: Any) -> None:
    icc = b"\0" * 128
    blobs = {"hole": damaged(), "a": good(0), "unfinished": unfinished(), "b": encoded(icc_profile=icc), "png": good(3)}
    stories = []
    for engine in ENGINES:
        with line_of(blobs, 5).run(engine=engine, on_damage=on_damage, on_failure="blank") as run:
            (batch,) = run
        check_accounts(run)
        marks = (batch.images.tobytes(), batch.damaged.tolist(), batch.valid.tolist(), batch.geometry.sizes.tolist())
        stories.append((marks, run.clean, list(run.damaged), list(run.failures), dict(run.notes)))
    assert stories[0] == stories[1]
    marked = [damage.key for damage in run.damaged] if on_damage == "keep" else [f.key for f in run.failures]
    assert marked == ["hole", "unfinished"] and run.clean == 3


def turned(data: bytes, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.open(io.BytesIO(data)).save(file, "JPEG", exif=exif)
    return file.getvalue()


@pytest.mark.parametrize("engine", [*ENGINES, "batch_at"])
def test_a_failed_row_has_no_geometry(engine: Any) -> None:
    blobs = {"turned": turned(good(0), 6), "bmp": good(3), "cut": BROKEN["cut"], "large": encoded(60, 70)}
    line = ps.blobs(blobs).decode().crop((0, 0, 60, 50)).batch(4)
    if engine == "batch_at":
        batch = line.batch_at(0)
    else:
        with line.run(engine=engine, on_failure="blank") as run:
            (batch,) = run
    assert batch.valid.tolist() == [False, False, False, True]
    assert not batch.geometry.matrices[:3].any() and not batch.geometry.sizes[:3].any()
    assert batch.geometry.orientation.tolist() == [1, 1, 1, 1]
    assert batch.geometry.sizes[3].tolist() == [60, 70] and batch.geometry.matrices[3].any()


@pytest.mark.parametrize("engine", ENGINES)
def test_an_image_refused_for_its_damage_has_no_geometry_and_no_notes(engine: Any) -> None:
    hole = bytearray(encoded(96, 96, icc_profile=b"\0" * 128))
    scan = hole.find(b"\xff\xda")
    hole[scan + 300 : scan + 360] = bytes(60)
    line = line_of({"hole": bytes(hole)})
    with line.run(engine=engine, on_damage="fail", on_failure="blank") as run:
        (batch,) = run
    assert not batch.valid[0] and not batch.geometry.matrices.any() and not batch.geometry.sizes.any()
    assert dict(run.notes) == {}
    with line.run(engine=engine) as run:
        list(run)
    assert dict(run.notes) == {"icc ignored": 1}


@pytest.mark.parametrize("engine", ENGINES)
def test_notes_of_images_that_fail_later_are_not_counted(engine: Any) -> None:
    transparent = io.BytesIO()
    Image.new("RGBA", (40, 30), (1, 2, 3, 4)).save(transparent, "PNG")
    blobs = {"alpha": transparent.getvalue(), "icc": encoded(icc_profile=b"\0" * 128), "fine": encoded(100, 100)}
    with ps.blobs(blobs).decode().crop((0, 0, 90, 90)).batch(3).run(engine=engine, on_failure="blank") as run:
        list(run)
    assert len(run.failures) == 2 and dict(run.notes) == {}


def test_a_party_that_breaks_fails_its_item_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from penstock import answers as answers_module

    real = answers_module.decode_pillow

    def fragile(data: bytes, decode: Any) -> Any:
        if data == good(3):
            raise RuntimeError("a bug in a plugin")
        return real(data, decode)

    monkeypatch.setattr(answers_module, "decode_pillow", fragile)
    with line_of([good(number) for number in range(8)]).run(on_failure="blank", threads=2) as run:
        batches = list(run)
    assert [failure.index for failure in run.failures] == [3]
    assert run.failures[0].message == "decode of '3': expected pixels, found RuntimeError('a bug in a plugin')."
    assert np.array_equal(batches[1].images[3], pillow(good(7)))
