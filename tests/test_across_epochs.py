"""across_epochs: the next epoch's first batches are begun early, and nothing else is different."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import penstock as ps
from children import but_late_threads


@pytest.fixture
def line(tmp_path: Path) -> ps.Pipeline:
    """Ten pictures of noise, one of which is none, shuffled, with random crops; every second one is Pillow's."""
    paths = []
    for number in range(10):
        paths.append(str(tmp_path / f"{number}.{'bmp' if number % 2 else 'png'}"))
        noise = np.random.default_rng(number).integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(noise).save(paths[-1])
    (tmp_path / "7.bmp").write_bytes(b"no picture")
    return ps.files(paths).seed(3).shuffle().decode().random_resized_crop(16, 16).random_horizontal_flip().batch(3)


def told(loader: Any, epochs: int, stop: int | None = None) -> list[Any]:
    """What each batch, state and account is, batch by batch; every pass but the last is left after ``stop`` batches."""
    found: list[Any] = []
    for _ in range(epochs):
        for number, batch in enumerate(loader):
            run = loader.run
            found.append(
                (
                    batch.epoch,
                    batch.step,
                    batch.index.tolist(),
                    batch.images.tobytes(),
                    loader.state_dict(),
                    loader.epoch,
                )
            )
            found.append(
                (run.clean, run.reached, [f.message for f in run.failures], run.stats.items, run.stats.batches)
            )
            if number + 1 == stop:
                break
        found.append((loader.run.reached, loader.run.stats.pillow_items, loader.state_dict()))
    return found


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("prefetch", [1, 2, 9])
@pytest.mark.parametrize("stop", [None, 2])
def test_nothing_but_the_time_is_different(line: ps.Pipeline, threads: int, prefetch: int, stop: int | None) -> None:
    def once(**more: Any) -> list[Any]:
        with line.loader(threads=threads, prefetch=prefetch, on_failure="blank", **more) as loader:
            return told(loader, 3, stop)

    plain, early = once(), once(across_epochs=True)
    if stop is not None:  # how much of what was left lying had been made is a matter of luck
        plain, early = ([one for one in all_ if len(one) != 3] for all_ in (plain, early))
    assert early == plain


def test_the_ledger_has_each_failure_once_an_epoch(line: ps.Pipeline, tmp_path: Path) -> None:
    ledger = tmp_path / "failures.jsonl"
    with line.loader(threads=2, on_failure="blank", ledger=ledger, across_epochs=True) as loader:
        for _ in range(3):
            list(loader)
    assert len(ledger.read_text().splitlines()) == len({*ledger.read_text().splitlines()}) == 3


def test_the_next_epoch_is_begun_with_the_last_batch_and_not_before(line: ps.Pipeline) -> None:
    with line.loader(threads=1, on_failure="blank", across_epochs=True) as loader:
        for number, _ in enumerate(loader):
            assert (loader._early is not None) == (number == 3)
        early = loader._early
        assert early is not None and not early.begun and loader.epoch == 1
        passing = iter(loader)
        assert loader.run is early and loader._early is None
        next(passing)


def test_a_state_that_is_loaded_drops_it(line: ps.Pipeline) -> None:
    with line.loader(threads=2, on_failure="blank") as loader:
        plain = told(loader, 1)
    with line.loader(threads=2, on_failure="blank", across_epochs=True) as loader:
        start = loader.state_dict()
        list(loader)
        loader.load_state_dict(start)
        assert loader._early is None and told(loader, 1)[:-1] == plain[:-1]
        loader.epoch = 0
        assert [one.epoch for one in loader] == [0] * 4


def test_one_that_no_pass_takes_ends_with_the_loader(line: ps.Pipeline) -> None:
    loader = line.loader(threads=2, on_failure="blank", across_epochs=True)
    list(loader)
    loader.close()
    assert loader._early is None
    assert [batch.epoch for batch in loader] == [1] * 4
    loader.close()


def test_one_that_is_left_to_the_end_of_the_interpreter_is_no_trouble(line: ps.Pipeline, tmp_path: Path) -> None:
    script = (
        "import sys, penstock as ps\n"
        "loader = ps.files(sys.argv[1:]).decode().resize(8, 8).batch(2).loader(threads=1, across_epochs=True)\n"
        "list(loader)\n"
    )
    names = [str(tmp_path / f"{number}.png") for number in (0, 2, 4, 6)]
    ended = subprocess.run(
        [sys.executable, "-c", script, *names], capture_output=True, text=True, check=False, timeout=200
    )
    assert (ended.returncode, but_late_threads(ended.stderr)) == (0, "")


def test_a_refused_flag(line: ps.Pipeline) -> None:
    with pytest.raises(ps.PlanError, match=r"across_epochs=1: expected True or False, found 1\."):
        line.loader(across_epochs=1)  # type: ignore[arg-type]


@pytest.mark.parametrize("place", ["RAM", "folder"])
def test_a_cache_is_open_when_batches_are_begun_early(place: str, tmp_path: Path) -> None:
    pixels = [np.full((8, 9, 3), number, np.uint8) for number in range(12)]
    plain = ps.arrays(pixels).seed(1).shuffle().resize(6, 6)
    kept = plain.cache(ps.RAM if place == "RAM" else tmp_path / "cache", max_bytes="1MB")
    with kept.random_crop(4, 4).batch(3).loader(threads=2, across_epochs=True) as loader:
        for epoch, hits in enumerate((0, 12, 12)):
            found = [batch.images.copy() for batch in loader]
            expected = [batch.images.copy() for batch in plain.random_crop(4, 4).batch(3).run(epoch=epoch)]
            np.testing.assert_array_equal(found, expected)
            assert loader.run is not None and loader.run.stats.cache_hits == hits
    kept.cache_clear()
