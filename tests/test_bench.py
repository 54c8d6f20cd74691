"""The referee, the contestants, the choice of files, the pages that the benchmarks write, and the demo."""

from __future__ import annotations

import importlib
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from penstock import _native
from penstock.bench import limit, machine, penstock_runs, pillow_loops
from penstock.bench.choose import choose
from penstock.bench.interleave import Result, interleave
from penstock.bench.report import HEAD, markdown, rows
from penstock.bench.task import Contestant, Task
from penstock.errors import PenstockError

ROOT = Path(__file__).parent.parent


def save(path: Path, height: int, width: int, seed: int = 0) -> str:
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(path)
    return str(path)


@pytest.fixture
def task(tmp_path):
    paths = [save(tmp_path / f"{number}.jpg", 50 + number, 70, number) for number in range(5)]
    return Task(paths=tuple(paths), threads=2, height=24, width=32, batch=2)


def lap(images: float, wall: float, cpu: float = 1.0) -> dict[str, float]:
    return {"images": images, "wall": wall, "cpu": cpu}


def test_a_ratio_is_the_median_of_the_rounds_own_ratios():
    # The machine was slow for both in the second round: the rates' medians would say 1.0, the rounds say 2.
    fast = Result("fast", 1, (lap(10, 1), lap(10, 10), lap(10, 1)), 0)
    slow = Result("slow", 1, (lap(10, 2), lap(10, 20), lap(10, 2)), 0)
    assert fast.ratio(slow) == 2
    assert slow.rate == 5
    assert fast.cpu_per_1000 == 100
    assert fast.cpu_ratio(slow) == 1
    assert fast.per_image("wall") == 0.1


def test_the_table_is_against_the_limit():
    limit, half = Result("limit", 2, (lap(1000, 1),), 1_000_000), Result("half", 2, (lap(1000, 2),), 2_000_000)
    assert rows([limit, half], limit) == [
        ("limit", "2", "1,000", "1.00", "1.00", "1 MB"),
        ("half", "2", "500", "0.50", "1.00", "2 MB"),
    ]
    assert markdown(HEAD, rows([limit], limit)).splitlines()[1] == "|---|---:|---:|---:|---:|---:|"


def test_a_task_survives_the_pipe(task):
    assert Task.from_json(task.to_json()) == task


def test_every_contestant_does_the_whole_task(task):
    makers = [limit.bare_decode, pillow_loops.sequential, pillow_loops.threads, penstock_runs.native]
    for make in [*makers, penstock_runs.reference]:
        once = make(task)
        assert once()["images"] == 5
        assert once()["images"] == 5


def test_pillow_by_hand_makes_the_same_bits(task):
    with penstock_runs.line_of(task).run() as run:
        found = np.concatenate([batch.images for batch in run])
    expected = np.empty_like(found)
    for row, path in enumerate(task.paths):
        pillow_loops._fill(expected[row], path, task)
    assert np.array_equal(found, expected)


def test_the_limit_refuses_what_it_cannot_decode(tmp_path):
    (tmp_path / "text.jpg").write_bytes(b"not a picture")
    with pytest.raises(PenstockError, match="expected JPEG, PNG or WebP files"):
        limit.bare_decode(Task(paths=(str(tmp_path / "text.jpg"),), threads=1))()


@pytest.fixture
def contestants(tmp_path, monkeypatch, task):
    """Contestants that write into a file when they run, hold memory, raise, or end their process."""
    (tmp_path / "made_contestants.py").write_text(
        "import os\n"
        "from penstock.errors import PenstockError\n"
        "def writer(task):\n"
        "    def lap():\n"
        "        with open(task.paths[0], 'a') as file:\n"
        "            file.write(f'{task.threads} ')\n"
        "        print('this must not reach the referee')\n"
        "        return {'images': 3.0, 'wall': 2.0, 'cpu': 1.0}\n"
        "    return lap\n"
        "def holder(task):\n"
        "    def lap():\n"
        "        held = bytearray(os.urandom(1 << 20)) * 64\n"
        "        return {'images': float(len(held))}\n"
        "    return lap\n"
        "def raiser(task):\n"
        "    def lap():\n"
        "        raise PenstockError('It cannot go on.')\n"
        "    return lap\n"
        "def leaver(task):\n"
        "    def lap():\n"
        "        os._exit(3)\n"
        "    return lap\n",
        "utf-8",
    )
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(function: str, threads: int = 1) -> Contestant:
        paths = (str(tmp_path / "order.txt"),)
        return Contestant(function, f"made_contestants:{function}", Task(paths=paths, threads=threads))

    return make


def test_laps_are_in_turn_and_the_first_is_not_counted(contestants, tmp_path):
    told: list[str] = []
    results = interleave([contestants("writer", number) for number in (1, 2, 3)], rounds=2, on_lap=told.append)
    assert (tmp_path / "order.txt").read_text("utf-8").split() == list("123231312")
    assert told == ["writer"] * 9
    assert [len(result.laps) for result in results] == [2, 2, 2]
    assert results[0].rate == 1.5  # the lap's own wall goes before the worker's


def test_memory_is_the_contestants_own(contestants):
    holder, writer = interleave([contestants("holder"), contestants("writer")], rounds=1)
    assert holder.memory > 60 << 20
    assert writer.memory < 10 << 20


def test_an_error_of_a_contestant_is_the_referees(contestants):
    with pytest.raises(PenstockError, match="It cannot go on"):
        interleave([contestants("writer"), contestants("raiser")], rounds=1)


def test_a_process_that_ends_is_named(contestants):
    with pytest.raises(PenstockError, match=r"bench of 'leaver': expected an answer, .* exit status 3\."):
        interleave([contestants("leaver")], rounds=1)


def test_the_choice_leaves_out_what_not_all_can_decode(tmp_path):
    good = [save(tmp_path / f"{number}.jpg", 40, 50, number) for number in range(4)]
    png = save(tmp_path / "picture.png", 40, 50)
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(Path(good[0]).read_bytes()[:300])
    chosen = choose([*good, png, str(cut), str(tmp_path / "nothing.jpg")], images=6)
    assert set(chosen.paths) == set(good)
    assert len(chosen.paths) == 6 and chosen.distinct == 4 and chosen.found == 7
    assert "6 JPEGs a lap (4 files, repeated) of 0.00 megapixels on average, chosen from 7 files" in str(chosen)


def test_the_choice_is_spread_over_the_list(tmp_path):
    paths = [save(tmp_path / f"{number}.jpg", 20, 20, number) for number in range(10)]
    assert choose(paths, images=5).paths == tuple(paths[::2])


def test_the_machine_has_a_name_and_memory():
    assert machine.cpu_model()
    assert machine.peak_memory() > 1 << 20


@pytest.fixture
def benchmarks(monkeypatch):
    """The repository's own scripts, which are no package."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    yield importlib.import_module
    for path in (ROOT / "benchmarks").glob("*.py"):
        sys.modules.pop(path.stem, None)


def test_a_page_is_filled_between_its_marks_only(benchmarks):
    pages = benchmarks("pages")
    text = f"before\n{pages.START}\nold\n{pages.END}\nafter\n"
    once = pages.filled(text, "new")
    assert once == f"before\n{pages.START}\nnew\n{pages.END}\nafter\n"
    assert pages.filled(once, "new") == once


@pytest.mark.parametrize("page", ["README.md", "BENCHMARKS.md"])
def test_the_pages_have_their_marks(benchmarks, page):
    pages = benchmarks("pages")
    text = (ROOT / page).read_text("utf-8")
    assert text.count(pages.START) == text.count(pages.END) == 1
    assert text.index(pages.START) < text.index(pages.END)


@pytest.fixture
def three(benchmarks):
    """A figure that is met, one that is missed, one that nobody could measure."""
    figure = benchmarks("figure").Figure
    return (
        figure(name="a", text="a ratio", means="so much", value=0.86, bound=0.85, detail="how"),
        figure(
            name="b", text="a cost", means="that much", value=10.1, bound=10.0, at_most=True, unit="µs", detail="how"
        ),
        figure(
            name="c", text="a race", means="no more", value=None, bound=2.5, unit="x", detail="not installed: other"
        ),
    )


def test_a_figure_knows_whether_it_is_met(benchmarks, three):
    high, low, unknown = three
    assert high.met and high.must == "at least 0.85"
    assert low.met is False and low.must == "at most 10.0 µs" and low.measured == "10.1 µs"
    assert unknown.met is None and unknown.must == "at least 2.50x" and unknown.measured == "not measured"
    table = benchmarks("pages").figure_table(three)
    assert "| a cost | 10.1 µs | at most 10.0 µs | **no** | how |" in table
    assert "| a race | not measured | at least 2.50x | not known | not installed: other |" in table


def test_the_pages_say_what_a_row_means_and_keep_no_value_that_is_none(benchmarks, three, tmp_path, monkeypatch):
    pages = benchmarks("pages")
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "BENCHMARKS.md").write_text(f"{pages.START}{pages.END}", "utf-8")
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    assert pages.write_pages(three, []) == [
        f"README.md: expected the marks {pages.START} and {pages.END}, found none; left as it is."
    ]
    assert "- **a cost:** that much.\n" in (tmp_path / "BENCHMARKS.md").read_text("utf-8")
    pages.append_history(three)
    kept = [json.loads(line) for line in (tmp_path / "benchmarks" / "history.jsonl").read_text("utf-8").splitlines()]
    assert [(line["figure"], line["value"], line["met"]) for line in kept] == [("a", 0.86, True), ("b", 10.1, False)]


@pytest.mark.parametrize("quick", [["one"], ["one", "none"]])
def test_a_missed_figure_fails_and_one_not_measured_does_not(benchmarks, three, quick, monkeypatch, capsys):
    run = benchmarks("run")
    groups = {"one": lambda _: iter([three[0]]), "none": lambda _: iter([three[2]]), "low": lambda _: iter([three[1]])}
    monkeypatch.setattr(run, "GROUPS", groups)
    monkeypatch.setattr(sys, "argv", ["run.py", *quick])
    assert run.main() == 0
    monkeypatch.setattr(sys, "argv", ["run.py", *quick, "low"])
    assert run.main() == 1
    assert "a cost: 10.1 µs; must be at most 10.0 µs: NOT MET" in capsys.readouterr().out


def test_a_library_that_is_missing_is_named(benchmarks, monkeypatch):
    verbs, others = benchmarks("figures_of_verbs"), benchmarks("others")
    assert others.missing("numpy") == ""
    assert others.missing("numpy", "no_such_module", "nor_this") == "not installed: no_such_module, nor_this"
    monkeypatch.setattr(others, "missing", lambda *names: f"not installed: {names[-1]}")
    for group, name in ((verbs.augment, "torchvision"), (verbs.clip, "transformers")):
        [figure] = group(benchmarks("figure").Setup(rounds=1, divisor=1, photos=None))
        assert figure.met is None and figure.detail == f"not installed: {name}"


LINES = ("fast", "tenth", "crop_and_flip", "whole_and_flip", "augment", "clip")


@pytest.mark.parametrize("name", [*LINES, "roundtrip", "bare_roundtrip", "patches", "whole"])
def test_every_line_does_the_whole_task(benchmarks, tmp_path, name):
    side = 224 if name in LINES else 56
    paths = [save(tmp_path / f"{number}.jpg", side, side, number) for number in range(5)]
    task = Task(paths=tuple(paths), threads=2, height=side, width=side, batch=2)
    once = getattr(benchmarks("lines"), name)(task)
    assert once()["images"] == once()["images"] == 5


def test_a_line_of_another_shape_is_refused(benchmarks, task):
    lines = benchmarks("lines")
    once = lines.held(lines.fast_line(task), task, shape=(7, 7, 3))
    with pytest.raises(PenstockError, match=r"expected float32 \(7, 7, 3\), found float32 \(3, 24, 32\)"):
        once()


def images_of(line):
    with line.run() as run:
        return np.concatenate([batch.images for batch in run])


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_pillow_by_hand_makes_the_same_bits_of_other_formats(tmp_path, suffix):
    paths = [save(tmp_path / f"{number}.{suffix}", 40, 50 + number, number) for number in range(3)]
    task = Task(paths=tuple(paths), threads=2, height=24, width=32, batch=2)
    found = images_of(penstock_runs.line_of(task))
    expected = np.empty_like(found)
    for row, path in enumerate(paths):
        pillow_loops._fill(expected[row], path, task)
    assert np.array_equal(found, expected)
    assert limit.bare_decode(task)()["images"] == 3


def test_the_whole_picture_is_fill_but_for_flips(benchmarks, tmp_path):
    paths = [save(tmp_path / f"{number}.jpg", 75, 100, number) for number in range(8)]
    task = Task(paths=tuple(paths), threads=2, height=24, width=32, batch=3)
    found = images_of(benchmarks("lines").whole_and_flip_line(task))
    fill = images_of(penstock_runs.line_of(task))
    flips = 0
    for one, other in zip(found, fill, strict=True):
        flipped = not np.array_equal(one, other)
        flips += flipped
        assert np.array_equal(one, other[:, :, ::-1] if flipped else other)
    assert 0 < flips < 8


def test_patches_are_the_image_that_is_not_cut(benchmarks, tmp_path):
    lines = benchmarks("lines")
    paths = [save(tmp_path / f"{number}.jpg", 40, 50, number) for number in range(2)]
    task = Task(paths=tuple(paths), threads=2, height=28, width=42, batch=2)
    whole = images_of(lines.whole_line(task).batch(2))
    cut = images_of(lines.whole_line(task).patchify(lines.PATCH).batch(2))
    expected = whole.reshape(2, 2, 14, 3, 14, 3).transpose(0, 1, 3, 2, 4, 5).reshape(2, 6, 14 * 14 * 3)
    assert np.array_equal(cut, expected)


def test_the_roundtrip_is_pillows(benchmarks, tmp_path):
    lines = benchmarks("lines")
    path = save(tmp_path / "0.jpg", 40, 48)
    task = Task(paths=(path, path), threads=2, height=40, width=48, batch=2)
    assert len({id(picture) for picture in lines.pictures(task)}) == 1
    stream = io.BytesIO()
    Image.fromarray(lines.pictures(task)[0]).save(stream, "JPEG", quality=lines.QUALITY)
    with Image.open(stream) as image:
        assert np.array_equal(images_of(lines.roundtrip_line(task)), np.stack([np.asarray(image)] * 2))


def test_bare_roundtrip_takes_pictures_of_one_size():
    with pytest.raises(ValueError, match="of one size"):
        _native.bare_roundtrip([np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5, 3), np.uint8)], 95, 1)


def test_torchvision_makes_its_batches(benchmarks, torchvision, tmp_path):
    others = benchmarks("others")
    paths = [save(tmp_path / f"{number}.jpg", 40, 50, number) for number in range(5)]
    task = Task(paths=tuple(paths), threads=2, height=24, width=32, batch=2)
    assert others.torchvision_threads(task)()["images"] == 5
    image = others.Augmented(task)[0].numpy()
    assert image.shape == (3, 24, 32) and image.dtype == np.float32


def test_other_pixels_of_clips_processor_are_not_timed(benchmarks, torchvision, task, monkeypatch):
    others = benchmarks("others")
    shape = (2, 3, 224, 224)
    monkeypatch.setattr(others, "clip_batches", lambda _: lambda numbers: np.zeros(shape, np.float32)[: len(numbers)])
    with pytest.raises(PenstockError, match=r"expected the same pixels, found some \d+ floats"):
        others.clip_processor(task)


def test_clips_processor_makes_the_same_pixels(benchmarks, torchvision, tmp_path):
    pytest.importorskip("transformers")
    others, lines = benchmarks("others"), benchmarks("lines")
    paths = [save(tmp_path / f"{number}.jpg", 240 + number, 250, number) for number in range(3)]
    task = Task(paths=tuple(paths), threads=2, batch=2)
    found, expected = images_of(lines.clip_line(task)), others.clip_batches(task)(range(3))
    np.testing.assert_array_max_ulp(found, expected, maxulp=1)
    assert others.clip_processor(task)()["images"] == 3
    one = np.array([1.0, -0.0, -1.0], np.float32)
    assert others.ulps_apart(one, np.array([1.0, 0.0, -1.0], np.float32)) == 0
    assert others.ulps_apart(one, np.nextafter(one, np.float32(2))) == 1


def test_every_group_is_explained(benchmarks):
    page = (ROOT / "BENCHMARKS.md").read_text("utf-8")
    assert [name for name in benchmarks("figures").GROUPS if f"`{name}`" not in page] == []


def test_the_demo_runs_on_a_folder(tmp_path):
    for number in range(3):
        save(tmp_path / "pictures" / "class" / f"{number}.jpg", 60, 80, number)
    (tmp_path / "pictures" / "class" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    save(tmp_path / "pictures" / "beside.jpg", 60, 80)
    command = [sys.executable, str(ROOT / "examples" / "demo.py"), "pictures"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False)
    assert answer.returncode == 0, answer.stderr
    assert "5 items in" in answer.stdout
    assert "decode of 'class/broken.jpg': expected" in answer.stdout
    assert answer.stdout.endswith("The first batch, to look at: demo-out/sheet.png\n")
    with Image.open(tmp_path / "demo-out" / "sheet.png") as sheet:
        assert sheet.width >= 3 * 224 and sheet.height >= 2 * 224


def test_the_demo_says_what_is_wrong(tmp_path):
    command = [sys.executable, str(ROOT / "examples" / "demo.py"), "nothing"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False)
    assert answer.returncode == 1
    assert answer.stderr == "demo: source of 'nothing': expected a folder, found nothing at that path.\n"


def test_the_demo_makes_its_own_pictures(tmp_path):
    pytest.importorskip("skimage")
    command = [sys.executable, str(ROOT / "examples" / "demo.py")]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False)
    assert answer.returncode == 0, answer.stderr
    assert "1 x decode: truncated" in answer.stdout and "broken.jpg': expected a whole image" in answer.stdout
    sizes, orientations = set(), set()
    for path in (tmp_path / "demo-out" / "photos").rglob("*mp.jpg"):
        with Image.open(path) as image:
            sizes.add(round(image.width * image.height / 1e6, 1))
            orientations.add(image.getexif().get(0x0112))
    assert {0.2, 0.8, 3.0, 12.0} <= sizes
    assert orientations >= {1, 2, 3, 4, 5, 6, 7, 8}
