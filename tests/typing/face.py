"""The public face as a type checker sees it; read by mypy and pyright, never run.

Every `# type: ignore` below is a mistake that has to be found: both checkers report one that no longer is
(mypy by `warn_unused_ignores`, pyright by `reportUnnecessaryTypeIgnoreComment`).
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true
from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any, assert_type

import numpy as np
import numpy.typing as npt

import penstock as ps

Image = npt.NDArray[np.uint8]


def a_line_is_a_line_after_every_verb(photos: Path) -> ps.Pipeline:
    line = ps.folder(photos)
    assert_type(line, ps.Pipeline)
    line = line.seed(0).shuffle()
    assert_type(line, ps.Pipeline)
    line = line.take(9).skip(1).filter(lambda item: item.label == 1).sample_by("label", n=3)
    assert_type(line.balance("label"), ps.Pipeline)
    assert_type(line.split(train=0.8, val=0.2), dict[str, ps.Pipeline])
    assert_type(ps.concat(line, line), ps.Pipeline)
    assert_type(ps.mix({"a": (line, 1)}, stop="longest"), ps.Pipeline)
    line = line.decode().resize(224, 224, fit="cover", filter="bilinear").normalize(ps.IMAGENET)
    assert_type(line, ps.Pipeline)
    assert_type(line.batch(64, last="drop", layout="NCHW"), ps.Pipeline)
    assert_type(len(line), int)
    return line.batch(64, layout="NCHW")


def a_run_hands_out_batches(line: ps.Pipeline) -> None:
    with line.run(
        epoch=1,
        rank=0,
        world_size=2,
        threads=2,
        prefetch=2,
        engine="native",
        on_failure="skip",
        max_failures=Fraction(1, 100),
        on_damage="keep",
    ) as run:
        assert_type(run, ps.Run)
        for batch in run:  # what is handed out depends on select(), which no type can follow
            a_batch_has_columns(batch)


def a_batch_has_columns(batch: ps.Batch) -> None:
    assert_type(batch.labels, npt.NDArray[np.int64])
    assert_type(batch.valid, npt.NDArray[np.bool_])
    assert_type(batch.damaged, npt.NDArray[np.bool_])
    assert_type(batch.step, int)
    assert_type(batch.epoch, int)
    assert_type(batch.failures, tuple[ps.Failure, ...])
    assert_type(batch[0], ps.Row)
    assert_type(batch.as_dict(), dict[str, Any])


def a_row_is_what_sample_answers(line: ps.Pipeline) -> None:
    row = line.sample(index=3, epoch=0)
    assert_type(row, ps.Row)
    assert_type(row.key, str)
    assert_type(row.label, int)
    assert_type(line.sample(key="cats/a.jpg"), ps.Row)
    assert_type(line.batch_at(7, epoch=1, rank=0, world_size=2), ps.Batch)


def a_recipe_is_a_value() -> None:
    recipe = ps.recipe().decode().resize(224, 224).normalize(ps.CLIP)
    assert_type(recipe, ps.Recipe)
    assert_type(recipe.fingerprint, str)


def one_image_needs_no_line(data: bytes) -> None:
    image = ps.decode(data)
    assert_type(image, npt.NDArray[Any])
    assert_type(ps.resize(image, 224, 224, fit="contain", precision="float32"), npt.NDArray[Any])


def a_wrong_word_is_found(line: ps.Pipeline) -> None:
    line.resize(224, 224, fit="stretch")  # type: ignore[arg-type]
    line.resize(224, 224, filter="linear")  # type: ignore[arg-type]
    line.batch(8, layout="HWC")  # type: ignore[arg-type]
    line.batch(8, last="keep")  # type: ignore[arg-type]
    line.run(on_failure="ignore")  # type: ignore[arg-type]
    line.run(engine="fast")  # type: ignore[arg-type]
    line.normalise(ps.IMAGENET)  # type: ignore[attr-defined]
