"""The command line: what it prints where, and its exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from penstock import cli
from penstock.bench import verify as verify_module
from waiting import wait_until

COMMAND = [sys.executable, "-c", "import sys; from penstock.cli import main; sys.exit(main())"]


def save(path: Path, height: int, width: int, seed: int = 0, **options: object) -> Path:
    """A smooth random picture, in the format of the path's extension."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(path, **options)
    return path


@pytest.fixture
def photos(tmp_path):
    """Five good pictures: four JPEGs, one of them turned, and a PNG."""
    folder = tmp_path / "photos"
    for number in range(3):
        save(folder / "a" / f"{number}.jpg", 60 + number, 80, number, quality=90)
    exif = Image.Exif()
    exif[0x0112] = 6
    save(folder / "b" / "turned.jpg", 50, 70, 7, exif=exif)
    save(folder / "b" / "picture.png", 40, 30, 8)
    return folder


@pytest.fixture
def broken(photos):
    """The same with a sixth file that is cut off."""
    whole = (photos / "a" / "0.jpg").read_bytes()
    (photos / "a" / "broken.jpg").write_bytes(whole[: len(whole) // 2])
    return photos


@pytest.fixture
def penstock(capsys):
    """Runs the command in this process; gives its exit code, standard output and standard error."""

    def call(*arguments: object) -> SimpleNamespace:
        code = cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return SimpleNamespace(code=code, out=captured.out, err=captured.err)

    return call


def test_run_says_where_the_time_went(penstock, photos):
    answer = penstock("run", photos, "--size", 32, "--batch", 2, "--threads", 2)
    assert answer.code == 0
    assert "5 items in" in answer.out and "is the bottleneck" in answer.out
    assert "no failures" in answer.out and "no damaged images" in answer.out and "no notes" in answer.out
    assert "resize  H=32 W=32 fill bilinear" in answer.err


def test_a_failed_item_ends_the_run_with_its_sentence(penstock, broken):
    answer = penstock("run", broken, "--size", 32)
    assert answer.code == 1
    assert answer.err.splitlines()[-1].startswith("penstock: decode of 'a/broken.jpg': expected a whole image")
    assert "Traceback" not in answer.err
    assert "1 x decode: truncated" in answer.out


@pytest.mark.parametrize("policy", ["skip", "blank"])
def test_a_policy_that_goes_on_ends_well(penstock, broken, policy):
    answer = penstock("run", broken, "--on-failure", policy)
    assert answer.code == 0
    assert "6 items in" in answer.out and "1 failed" in answer.out


@pytest.mark.parametrize(("most", "code"), [("0", 1), ("1", 0), ("10%", 1), ("17%", 0)])
def test_more_failures_than_allowed_end_it(penstock, broken, most, code):
    assert penstock("run", broken, "--on-failure", "blank", "--max-failures", most).code == code


def test_the_ledger_names_the_failure(penstock, broken, tmp_path):
    ledger = tmp_path / "failures.jsonl"
    assert penstock("run", broken, "--on-failure", "skip", "--ledger", ledger).code == 0
    assert [json.loads(line)["key"] for line in ledger.read_text("utf-8").splitlines()] == ["a/broken.jpg"]


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (["--size", "32x48"], "uint8 [64, 32, 48, 3] 0..255"),
        (["--size", "32", "--layout", "NCHW"], "uint8 [64, 3, 32, 32] 0..255"),
        (["--size", "32", "--dtype", "float32"], "float32 [64, 32, 32, 3] 0..1"),
        (["--size", "32", "--normalize", "signed"], "float32 [64, 32, 32, 3] -1..1"),
        (["--fit", "cover", "--filter", "lanczos"], "H=224 W=224 cover lanczos"),
        (["--shuffle", "--seed", "7", "--last", "blank"], "shuffle  seed=7"),
    ],
)
def test_options_make_the_line(penstock, photos, options, shown):
    answer = penstock("run", photos, *options)
    assert answer.code == 0
    assert shown in answer.err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--size", "0"], "expected a size such as 224"),
        (["--size", "224x"], "expected a size such as 224"),
        (["--max-failures", "few"], "expected a count such as 10"),
        (["--normalize", "clip", "--dtype", "uint8"], "expected --dtype float32"),
        (["--on-failure", "ignore"], "ignore"),
        (["--batch", "0"], "--batch"),
    ],
)
def test_a_command_that_cannot_be_understood_is_2(penstock, photos, options, sentence):
    answer = penstock("run", photos, *options)
    assert answer.code == 2
    assert sentence in answer.err


def test_run_takes_tars(penstock, photos, tmp_path):
    with tarfile.open(tmp_path / "a-0.tar", "w") as shard:
        shard.add(photos / "a", "a")
    answer = penstock("run", tmp_path / "a-{0..0}.tar", "--size", "16")
    assert answer.code == 0 and "1 shard" in answer.err


@pytest.mark.parametrize("command", ["run", "bench", "verify"])
def test_a_folder_that_is_not_there_is_a_sentence(penstock, tmp_path, command):
    answer = penstock(command, tmp_path / "nothing")
    assert answer.code == 1
    assert answer.err.startswith("penstock: source of ") and "found nothing at that path" in answer.err


def test_verify_finds_no_difference(penstock, photos):
    answer = penstock("verify", photos, "--size", 32, "--filter", "bicubic")
    assert answer.code == 0
    assert answer.out == (
        "5 images: 5 identical, 0 differ, 0 on one side only, 0 refused by both, 0 over a limit of Penstock's\n"
    )


def test_verify_counts_what_both_refuse_as_agreement(penstock, broken):
    answer = penstock("verify", broken)
    assert answer.code == 0
    assert "5 identical" in answer.out and "1 refused by both, 0 over a limit of Penstock's" in answer.out


def test_verify_tells_a_difference(penstock, photos, monkeypatch):
    honest = verify_module.pillow_pixels

    def altered(data: bytes, mode: str) -> Image.Image:
        picture = honest(data, mode)
        if picture.size == (80, 61):
            picture.putpixel((3, 4), tuple(255 - value for value in picture.getpixel((3, 4))))
        return picture

    monkeypatch.setattr(verify_module, "pillow_pixels", altered)
    answer = penstock("verify", photos)
    assert answer.code == 1
    assert "differs: 'a/1.jpg': decoded: 0.02% of the pixels differ" in answer.out
    assert "4 identical, 1 differ" in answer.out


def test_verify_tells_what_only_one_side_has(penstock, photos, broken, monkeypatch):
    honest = verify_module.pillow_pixels

    def swapped(data: bytes, mode: str) -> Image.Image:
        if data == (broken / "a" / "broken.jpg").read_bytes():
            return Image.new("RGB", (80, 60))
        if data == (broken / "a" / "1.jpg").read_bytes():
            raise OSError("made to fail")
        return honest(data, mode)

    monkeypatch.setattr(verify_module, "pillow_pixels", swapped)
    answer = penstock("verify", photos)
    assert answer.code == 1
    assert "only Penstock: 'a/1.jpg': Pillow: OSError: made to fail" in answer.out
    assert "only Pillow: 'a/broken.jpg': decode of 'a/broken.jpg'" in answer.out
    assert "2 on one side only" in answer.out


def test_bench_prints_a_row_for_every_contestant(penstock, broken):
    answer = penstock("bench", broken, "--size", 32, "--images", 8, "--rounds", 1, "--threads", 2)
    assert answer.code == 0
    assert "8 JPEGs a lap (4 files, repeated)" in answer.out and "chosen from 6 files" in answer.out
    for name in ("bare decode, the limit", "Pillow, sequential", "Pillow, threads", "Penstock, reference", "Penstock "):
        assert name in answer.out
    assert "instruction set used: " in answer.out


def test_bench_of_a_folder_without_jpegs_is_a_sentence(penstock, tmp_path):
    save(tmp_path / "only.png", 10, 10)
    answer = penstock("bench", tmp_path)
    assert answer.code == 1
    assert answer.err == "penstock: bench: expected JPEGs that the native codec decodes, found none among 1 files.\n"


def test_versions_names_what_pixels_depend_on(penstock):
    answer = penstock("--versions")
    assert answer.code == 0
    assert [line.split()[0] for line in answer.out.splitlines()] == [
        "penstock",
        "codec",
        "SIMD",
        "Pillow",
        "NumPy",
        "Python",
    ]
    assert "libjpeg-turbo" in answer.out


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["bench", "-h"], ["verify", "-h"], ["pack", "-h"]])
def test_help_is_there(penstock, words):
    answer = penstock(*words)
    assert answer.code == 0
    assert "Usage: penstock" in answer.out


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
def test_ctrl_c_is_130_and_quick(tmp_path):
    first = save(tmp_path / "photos" / "0.jpg", 3000, 3000)
    for number in range(1, 5000):  # minutes of work
        os.link(first, first.with_name(f"{number}.jpg"))
    first.with_name(" broken.jpg").write_bytes(b"no picture")
    ledger = tmp_path / "failures.jsonl"
    options = ["--threads", "1", "--batch", "1", "--on-failure", "skip", "--ledger", str(ledger)]
    with subprocess.Popen(
        [*COMMAND, "run", str(first.parent), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        while "fused" not in process.stderr.readline():
            pass
        wait_until(lambda: ledger.exists() and ledger.read_bytes())  # the first of them has its outcome
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    # Before it, at most the sentence about a thread that a busy machine did not let run for a second.
    *before, last = err.strip().splitlines()
    assert last == "penstock: interrupted." and all("it was left behind" in line for line in before), err
    assert "items in" in out


@pytest.mark.skipif(os.name != "posix", reason="POSIX pipes")
def test_a_reader_that_leaves_is_no_traceback(photos):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        answer = subprocess.run(
            [*COMMAND, "run", str(photos)], stdout=writer, stderr=subprocess.PIPE, timeout=200, check=False
        )
    finally:
        os.close(writer)
    assert answer.returncode == 1
    assert b"Traceback" not in answer.stderr and b"BrokenPipe" not in answer.stderr


def test_python_m_penstock_is_the_command():
    answer = subprocess.run([sys.executable, "-m", "penstock", "--version"], capture_output=True, text=True, check=True)
    from penstock import __version__

    assert answer.stdout == f"penstock {__version__}\n" and not answer.stderr


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (["--mode", "L", "--dtype", "float16"], "float16 [64, 32, 32, 1] 0..1"),
        (["--mode", "RGBA", "--normalize", "signed", "--layout", "NCHW"], "float32 [64, 4, 32, 32] -1..1"),
        (["--fit", "inside", "--ragged", "pad"], "uint8 [64, H, W, 3] 0..255"),
        (["--fidelity", "fast"], "fast: JPEGs that resize makes smaller"),
    ],
)
def test_run_takes_what_decode_and_batch_take(penstock, photos, options, shown):
    answer = penstock("run", photos, "--size", 32, *options)
    assert answer.code == 0 and "5 items in" in answer.out
    assert shown in answer.err


def test_a_size_that_differs_needs_ragged(penstock, photos):
    answer = penstock("run", photos, "--size", 32, "--fit", "inside")
    assert answer.code == 1 and "ragged='pad', 'list' or 'bucket'" in answer.err


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_verify_in_every_mode(penstock, photos, mode):
    Image.new("RGBA", (9, 7), (1, 2, 3, 4)).save(photos / "clear.png")
    answer = penstock("verify", photos, "--size", 16, "--mode", mode)
    assert answer.code == 0 and "6 images: 6 identical" in answer.out
