"""What print(line), print(recipe) and explain say: what is fused, what holds a whole image, what fast mode does."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

import penstock as ps
from penstock.transform.chain import VERBS

EMPTY = ps.blobs([b""])


def encoded(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    stream = io.BytesIO()
    ramp = np.linspace(0, 255, 96 * 128 * 3).reshape(96, 128, 3).astype(np.uint8)
    Image.fromarray(ramp).convert(mode).save(stream, kind, **options)
    return stream.getvalue()


def last(text: object) -> str:
    return str(text).splitlines()[-1]


@pytest.mark.parametrize(
    ("line", "held"),
    [
        (EMPTY.decode().resize(8, 8).random_horizontal_flip().normalize(ps.UNIT).batch(2), ""),
        (EMPTY.decode().crop((0, 0, 2, 2)).center_crop(1, 1).random_crop(1, 1).resize(8, 8), ""),
        (EMPTY.decode().random_resized_crop(8, 8).rand_augment().batch(2), "; rand_augment holds the whole image"),
        (
            EMPTY.decode().resize(8, 8, fit="contain").random_erasing().random_erasing().batch(2),
            "; resize and random_erasing hold the whole image",
        ),
        (EMPTY.decode().resize(8, 8, precision="float32"), "; resize holds the whole image"),
        (EMPTY.decode().random_crop(8, 8, padding=2), "; random_crop holds the whole image"),
    ],
)
def test_a_line_says_what_holds_a_whole_image(line: ps.Pipeline, held: str) -> None:
    assert last(line).startswith("fused: ")
    assert last(line).endswith(f"run as one native loop, a strip of rows at a time{held}")


# The kinds of native steps that run on strips of rows, by native/frame.cpp.
STRIPS = {"Crop", "Resize", "FlipX", "FlipY"}


def examples() -> dict[str, Any]:
    recipe = ps.recipe()
    return {
        "crop": recipe.crop((0, 0, 9, 9)),
        "center_crop": recipe.center_crop(9, 9),
        "resize": recipe.resize(9, 9),
        "random_crop": recipe.random_crop(9, 9),
        "random_resized_crop": recipe.random_resized_crop(9, 9),
        "random_horizontal_flip": recipe.random_horizontal_flip(1.0),
        "random_vertical_flip": recipe.random_vertical_flip(1.0),
        "pad": recipe.pad(1, 1, 1, 1),
        "pad_to": recipe.pad_to(90, 90),
        "random_rotate90": recipe.random_rotate90(1.0),
        "jpeg_roundtrip": recipe.jpeg_roundtrip(),
    }


@pytest.mark.parametrize("name", sorted(examples()))
def test_by_strips_is_what_the_steps_are(name: str) -> None:
    (verb,) = examples()[name].spatial
    steps = {type(step).__name__ for step in examples()[name].resolve(40, 50).steps}
    assert name in VERBS
    if verb.by_strips:
        assert steps <= STRIPS | {"Flip"}
    else:
        assert steps - STRIPS


SCALED = "are decoded by the scaled IDCT, to at least 1.5 times the size needed, and resampled plane by plane as stored"


@pytest.mark.parametrize(
    ("chain", "verb"),
    [
        (ps.recipe().decode(fidelity="fast").resize(8, 8), "resize"),
        (ps.recipe().decode(fidelity="fast").random_resized_crop(8, 8).rand_augment(), "random_resized_crop"),
        (ps.recipe().decode(fidelity="fast").crop((0, 0, 9, 9)).resize(short_side=8, filter="bicubic"), "resize"),
        (ps.recipe().decode(fidelity="fast"), None),
        (ps.recipe().decode(fidelity="fast").resize(8, 8, filter="nearest"), None),
        (ps.recipe().decode(fidelity="fast").resize(8, 8, precision="float32"), None),
        (ps.recipe().decode(fidelity="fast").random_horizontal_flip().resize(8, 8), None),
    ],
)
def test_fast_says_what_it_does(chain: ps.Recipe, verb: str | None) -> None:
    expected = f"fast: JPEGs that {verb} makes smaller {SCALED}" if verb else "fast: nothing, the pixels are exact; "
    assert last(chain).startswith(expected) and last(EMPTY.apply(chain)).startswith(expected)
    assert expected in EMPTY.apply(chain)._repr_html_()
    assert "fast:" not in str(ps.recipe().decode().resize(8, 8))


def test_fast_is_exact_where_the_sentence_says_so() -> None:
    data = encoded("JPEG", quality=95)
    for options in ({"filter": "nearest"}, {"precision": "float32"}):
        chains = [ps.recipe().decode(fidelity=word).resize(20, 20, **options) for word in ("fast", "exact")]  # type: ignore[arg-type]
        assert np.array_equal(chains[0](data), chains[1](data))


def test_repr_is_what_print_shows() -> None:
    line = EMPTY.decode().resize(8, 8).batch(2)
    assert repr(line) == str(line) and repr(line.recipe) == str(line.recipe)
    assert repr(ps.recipe()) == "no step yet"


@pytest.mark.parametrize(
    ("data", "options", "decoder"),
    [
        (encoded("JPEG"), {}, "libjpeg-turbo"),
        (encoded("PNG"), {}, "libpng"),
        (encoded("WEBP"), {}, "libwebp"),
        (encoded("BMP"), {}, "Pillow (not a JPEG, PNG or WebP)"),
    ],
)
def test_explain_names_the_decoder(data: bytes, options: Any, decoder: str) -> None:
    assert str(ps.blobs([data]).decode(**options).explain(0)).splitlines()[0].endswith(f"decoded by {decoder}")


def test_explain_of_fast_pixels_says_how_far_they_are() -> None:
    report = str(ps.blobs([encoded("JPEG")]).decode(fidelity="fast").resize(20, 20).explain(0))
    assert "DIFFERENT" not in report and "fast: 0." in report and "apart on average" in report


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (EMPTY.decode().resize(8, 8).rand_augment(), "rand_augment"),
        (EMPTY.shuffle().decode().trivial_augment().random_erasing(), "shuffle, trivial_augment, random_erasing"),
    ],
)
def test_a_random_line_names_its_random_stages(line: ps.Pipeline, words: str) -> None:
    with pytest.raises(ps.PlanError, match=f"without a random stage, found {words}, which changes"):
        iter(line)


def test_a_line_has_the_classes_of_its_source() -> None:
    assert ps.blobs([b"", b""], labels=["x", "y"]).classes == ("x", "y")
    assert EMPTY.classes is None


def test_a_batch_that_memory_cannot_hold_names_the_bytes() -> None:
    line = ps.blobs([encoded("PNG")]).decode().resize(13_000, 13_000).normalize(ps.UNIT).batch(1 << 20)
    needed = (1 << 20) * 13_000 * 13_000 * 3 * 4
    with pytest.raises(ps.EngineError, match=f"batch of 1048576 rows: expected {needed:,} bytes of memory"):
        next(iter(line))
    from penstock.ragged import aligned_empty

    with pytest.raises(ps.EngineError, match=f"expected {needed:,} bytes of memory for float32"):
        aligned_empty((1 << 20, 13_000, 13_000, 3), np.float32)


@pytest.mark.parametrize("line", [ps.files([]), ps.blobs([]), ps.blobs({}), ps.arrays([])])
def test_an_empty_list_is_a_line_of_no_items(line: ps.Pipeline) -> None:
    chain = line if line.source.kind == "arrays" else line.decode()
    assert list(chain.resize(8, 8).batch(4)) == [] and len(line) == 0
    assert "empty" in ps.files.__doc__.lower()  # type: ignore[union-attr]


def test_colours_are_written_alike_and_patches_have_no_layout() -> None:
    line = EMPTY.decode().resize(8, 8).rand_augment().random_affine(5).pad(1, 1, 1, 1, fill=9).crop((0, 0, 8, 8))
    assert str(line).count("fill=0") == 2 and "fill=9" in str(line)
    batch = str(line.patchify(4).batch(2)).splitlines()[-2]
    assert batch.split()[:3] == ["batch", "2", "last=short"] and "NHWC" not in batch
