"""What a cache will take, told before it is filled."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import penstock as ps
from penstock.cache_estimate import SAMPLE, Estimate, estimate_of, items_of, record_bytes, sample_of

GB = 10**9


def line_of(folder, sizes, suffix="png"):
    folder.mkdir(exist_ok=True)
    for number, (height, width) in enumerate(sizes):
        Image.new("RGB", (width, height), (number % 256, 0, 0)).save(folder / f"{number:05}.{suffix}")
    return ps.folder(folder, label=None)


def estimated(line, recipe, max_bytes=GB):
    return estimate_of(line.source, items_of(line.order, len(line.source)), recipe, max_bytes)


def test_one_size_is_told_without_a_look_at_any_file(tmp_path):
    line = ps.files([tmp_path / "not there.jpg", tmp_path / "nor this.jpg"])
    found = estimated(line, line.decode().resize(10, 20).recipe)
    # 600 bytes behind a header of 192, to the next multiple of 64; 64 in the index; 128 for the segment's headers
    assert found == Estimate(items=2, bytes=2 * (832 + 64) + 128, sampled=0)
    assert found.exact


def test_sizes_that_differ_are_read_from_headers(tmp_path):
    sizes = [(10, 20), (30, 40), (7, 5)]
    line = line_of(tmp_path / "pictures", sizes)
    found = estimated(line, line.decode().recipe)
    assert found.bytes == sum(record_bytes(height * width * 3).item() for height, width in sizes) + 128
    assert found.sampled == 3 and found.exact


def test_verbs_before_the_cache_decide_the_size(tmp_path):
    line = line_of(tmp_path / "pictures", [(10, 20), (40, 20)])
    found = estimated(line, line.decode(mode="L").resize(long_side=10).recipe)
    assert found.bytes == 2 * record_bytes(50).item() + 128


def test_encoded_bytes_are_the_files_own(tmp_path):
    line = line_of(tmp_path / "pictures", [(100, 200), (300, 400)])
    sizes = [path.stat().st_size for path in sorted((tmp_path / "pictures").iterdir())]
    found = estimated(line, None)
    assert found.bytes == sum(record_bytes(size).item() for size in sizes) + 128


def test_what_fails_takes_nothing(tmp_path):
    line = line_of(tmp_path / "pictures", [(10, 20), (10, 20)])
    (tmp_path / "pictures" / "00001.png").write_bytes(b"no picture")
    assert estimated(line, line.decode().recipe).bytes == record_bytes(600).item() + 128


def test_a_sample_comes_near_and_says_how_near(tmp_path):
    generator = np.random.default_rng(0)
    pictures = [np.zeros((1, int(width), 3), np.uint8) for width in generator.integers(1000, 9000, 3 * SAMPLE)]
    line = ps.arrays(pictures)
    found = estimated(line, line.recipe, 10 * GB)
    truth = record_bytes([picture.nbytes for picture in pictures]).sum()
    assert found.sampled == SAMPLE and not found.exact
    assert 0 < found.error < 0.02 * truth
    assert abs(found.bytes - truth) < 4 * found.error
    assert found == estimated(line, line.recipe, 10 * GB)  # the same sample every time


def test_arrays_and_bytes_in_memory(tmp_path):
    pictures = ps.arrays([np.zeros((4, 6, 3), np.uint8)])
    assert estimated(pictures, pictures.recipe).bytes == record_bytes(72).item() + 128
    line_of(tmp_path / "pictures", [(10, 20)])
    blobs = ps.blobs({"a": (tmp_path / "pictures" / "00000.png").read_bytes()})
    assert estimated(blobs, blobs.decode().recipe).bytes == record_bytes(600).item() + 128
    assert estimated(blobs, None).bytes == 0  # not kept a second time


def test_a_segment_more_has_its_own_headers():
    line = ps.arrays([np.zeros((100, 100, 3), np.uint8)] * 10)
    each = record_bytes(30_000).item()
    assert estimated(line, line.recipe, GB).bytes == 10 * each + 128
    assert estimated(line, line.recipe, 16 * 2 * each).bytes >= 10 * each + 5 * 128


@pytest.mark.parametrize(
    ("chain", "expected"),
    [
        (lambda line: line, range(8)),
        (lambda line: line.shuffle(), range(8)),
        (lambda line: line.take(3), range(3)),
        (lambda line: line.take(3).shuffle(), range(3)),
        (lambda line: line.skip(2).shuffle().take(1), range(2, 8)),  # another one each epoch
        (lambda line: line.filter(lambda item: item.index % 2 == 0).shuffle(), range(0, 8, 2)),
        (lambda line: line.shuffle().filter(lambda item: item.index % 2 == 0), range(0, 8, 2)),
        (lambda line: line.sample_by([1.0] * 8), range(8)),
    ],
)
def test_which_items_a_line_comes_by(chain, expected):
    line = chain(ps.arrays([np.zeros((1, 1, 3), np.uint8)] * 8))
    assert items_of(line.order, 8).tolist() == list(expected)


def test_a_sample_is_spread_over_the_items():
    items = np.arange(0, 100_000, 2)
    chosen = sample_of(items, 1000)
    assert len(set(chosen.tolist())) == 1000 and set(chosen.tolist()) <= set(items.tolist())
    assert np.abs(chosen - np.arange(0, 100_000, 100)).max() < 100
