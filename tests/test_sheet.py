"""Rows and batches as pictures and as text: every channel count, dtype, layout, and way to hold different sizes."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

import penstock as ps
from penstock.sheet import picture

RANDOM = np.random.default_rng(8)


def png(height: int, width: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(RANDOM.integers(0, 256, (height, width, 4), dtype=np.uint8), "RGBA").save(stream, "PNG")
    return stream.getvalue()


PICTURES = {"a/1.png": png(20, 30), "b/2.png": png(31, 17), "b/broken.png": b"\x89PNG", "a/3.png": png(24, 24)}
MODES = {"L": "L", "RGB": "RGB", "RGBA": "RGBA"}


def line(mode: Any, depth: Any, dtype: Any, held: str) -> ps.Pipeline:
    source = ps.blobs(PICTURES, labels=["x", "y", "y", "x"])
    precision: Any = "float32" if depth == 16 else "uint8"
    size: dict[str, Any] = {
        "list": {"long_side": 16},
        "pad": {"long_side": 16},
        "patches": {"max_patches": 9, "patch": 4},
    }.get(held, {"height": 16, "width": 12})
    chain = source.decode(mode=mode, depth=depth).resize(**size, precision=precision)
    if dtype is not None:
        chain = chain.normalize(ps.SIGNED, dtype=dtype)
    if held == "patches":
        chain = chain.patchify(4)
    ragged: Any = held if held in ("list", "pad") else None
    return chain.batch(3, layout="NCHW" if held == "NCHW" else "NHWC", ragged=ragged)


@pytest.mark.parametrize("held", ["NHWC", "NCHW", "list", "pad", "patches"])
@pytest.mark.parametrize("dtype", [None, "float32", "float16", "bfloat16"])
@pytest.mark.parametrize(("mode", "depth"), [("L", 8), ("RGB", 8), ("RGBA", 8), ("RGBA", 16)])
def test_every_batch_can_be_looked_at(mode: str, depth: Any, dtype: Any, held: str) -> None:
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    chain = line(mode, depth, dtype, held)
    shown = ps.blobs(PICTURES).decode(mode=mode, depth=depth)  # type: ignore[arg-type]
    with chain.run(on_failure="blank") as run:
        batches = list(run)
    for batch in batches:
        assert batch.sheet().mode == "RGB" and batch._repr_png_()
        assert repr(batch).startswith("Batch(step=") and "Geometry(" in repr(batch.geometry)
        assert set(batch.as_dict()) >= {"images", "labels", "keys", "geometry"}
        for row in batch:
            assert repr(row).startswith("Row(key=")
            assert row.show().mode == (MODES[mode] if row.image.size and row.grid != (0, 0) else "RGB")
            if row.valid:
                alone = chain.sample(row.index)
                assert alone.grid == row.grid and alone.show().tobytes() == row.show().tobytes()
    assert not batches[0][2].valid and chain.sample(2).show() and shown.sample(2).show().mode == "RGB"


@pytest.mark.parametrize("statistics", [ps.UNIT, ps.SIGNED])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_normalisation_is_undone(mode: Any, statistics: Any) -> None:
    chain = ps.recipe().decode(mode=mode)
    data = PICTURES["a/1.png"]
    row = ps.blobs([data]).apply(chain).normalize(statistics).sample(0)
    assert np.array_equal(np.asarray(row.show()).reshape(20, 30, -1), chain(data))


def test_sixteen_bits_are_shown_as_eight() -> None:
    deep = np.array([[[0], [65535], [257]]], np.uint16)
    assert np.asarray(picture(deep, "NHWC", None)).tolist() == [[0, 255, 1]]


def test_a_batch_says_how_it_holds_sizes() -> None:
    def text(held: str) -> str:
        return repr(line("L", 8, None, held).batch_at(0)).split("images=")[1].split(", valid")[0]

    assert text("NCHW") == "uint8 [3, 1, 16, 12]"
    assert text("pad") == "uint8 [3, 16, 16, 1] padded"
    assert text("list") == "list of 3 uint8 [10..16, 8..16, 1]"
    assert text("patches") == "uint8 [3, 9, 16]"


def test_a_blank_row_has_the_channels_of_the_others() -> None:
    batch = line("RGBA", 8, "float16", "list").batch_at(0)
    assert batch[2].image.shape == (0, 0, 4) and batch[2].image.dtype == np.float16
    rows = ps.blobs(PICTURES).decode(mode="L").run(on_failure="blank")
    with rows:
        assert [row.image.shape[2] for row in rows] == [1, 1, 1, 1]


def test_the_sheet_names_the_class() -> None:
    from penstock.sheet import _caption

    batch = line("L", 8, None, "NHWC").batch_at(0)
    assert [_caption(row, 40) for row in batch] == ["x a/1.png", "y b/2.png", "b/broken.png"]
