"""The shared test pictures, every file: we deliver what Pillow opens, with its pixels, and refuse what it refuses.

The two have the same opinion of every file but those that a limit of ours or of Pillow's names. Files are tried in
processes of their own, so that one that crashes or hangs the process is named and spoils nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
from PIL import Image, ImageOps

import penstock as ps
from penstock.decode.png_repair import without_broken_chunks

SETS = ("photos", "good", "edge", "bad", "fuzz")
LIMITS = {"too many pixels", "too much memory", "too many scans"}
# Formats that Pillow hands to another program or needs a handler for: refused before anything is run.
FOREIGN = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
WORKERS = 2
PILLOWS_LIMIT = 178_956_970
# Files that Pillow opens, given seconds or minutes, and that we refuse.
ONLY_WE_REFUSE = {"bad/bomb/jpeg_progressive_2000_scans_64MP.jpg", "bad/bomb/jpeg_progressive_500_scans_small.jpg"}

SCRIPT = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("real_photos", {path!r})
module = importlib.util.module_from_spec(spec)
sys.modules["real_photos"] = module
spec.loader.exec_module(module)
module.work()
"""


# -- in the worker process -----------------------------------------------------------------------------------


def work() -> None:
    """Answers each path on stdin with a line of JSON on stdout."""
    for line in sys.stdin:
        path = json.loads(line)
        print(json.dumps(opinions(path)), flush=True)


def opinions(path: str) -> dict[str, Any]:
    """What Penstock and what Pillow make of one file; what a limit of ours refuses, Pillow only has to look at."""
    begun = time.process_time()  # of all threads, and of nobody else's
    ours = of_penstock(path)
    between = time.process_time()
    theirs = looked_at(path) if ours.get("cause") in LIMITS else of_pillow(path)
    return {
        "pillow": theirs,
        "penstock": ours,
        "pillow_s": time.process_time() - between,
        "penstock_s": between - begun,
    }


def of_pillow(path: str) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(path) as picture:
                kind = picture.format
                if picture.width * picture.height > PILLOWS_LIMIT:
                    return {"outcome": "limit", "format": kind}
                # Loaded first: what fails here fails for everybody, and some formats have their size only then.
                picture.load()
                try:
                    upright = ImageOps.exif_transpose(picture)
                except Exception:  # noqa: BLE001 - broken EXIF never fails an image
                    upright = picture
                pixels = np.asarray(upright.convert("RGB"))
        except Exception as error:  # noqa: BLE001 - whatever Pillow raises is its refusal
            return {"outcome": "refused", "why": f"{type(error).__name__}: {error}"[:200]}
    return {"outcome": "opened", "format": kind, **summary(pixels)}


def looked_at(path: str) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(path) as picture:
                return {"outcome": "looked at", "pixels": picture.width * picture.height}
        except Exception as error:  # noqa: BLE001 - whatever Pillow raises is its refusal
            return {"outcome": "refused", "why": f"{type(error).__name__}: {error}"[:200]}


def of_penstock(path: str) -> dict[str, Any]:
    with ps.files([path]).decode().run(on_failure="blank", threads=1) as run:
        (row,) = run
    if row.failure is not None:
        return {"outcome": "failed", "stage": row.failure.stage, "cause": row.failure.cause, "why": row.failure.message}
    return {"outcome": "damaged" if row.damaged else "clean", **summary(row.image)}


def summary(pixels: Any) -> dict[str, Any]:
    digest = hashlib.sha256(np.ascontiguousarray(pixels)).hexdigest()
    return {"shape": list(pixels.shape), "sha256": digest}


# -- in the test's process -----------------------------------------------------------------------------------


class Worker:
    """A process that is asked about one file after the other, and replaced when it dies or takes too long."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None

    def ask(self, path: str, limit_s: float = 600.0) -> dict[str, Any]:
        import threading

        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-c", SCRIPT.format(path=__file__)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        assert self.process.stdin is not None and self.process.stdout is not None
        late = threading.Timer(limit_s, self.process.kill)
        late.start()
        try:
            self.process.stdin.write(json.dumps(path) + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except OSError:  # it died of the file before
            answer = ""
        finally:
            late.cancel()
        if answer:
            found: dict[str, Any] = json.loads(answer)
            return found
        code = self.process.wait()
        self.process.stdout.close()
        self.process = None
        return {"died": f"exit code {code}"}

    def close(self) -> None:
        if self.process is not None and self.process.stdin is not None and self.process.stdout is not None:
            self.process.stdin.close()
            self.process.wait(30)
            self.process.stdout.close()


def listed(shared_data: Path, name: str) -> list[Path]:
    return sorted(path for path in (shared_data / name).rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def found(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The opinions on every file of every set, by path relative to the data; asked once for all processes that test."""
    import fcntl

    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    answers = folder / "real_photos.json"
    with (folder / "real_photos.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not answers.exists():
            new = folder / "real_photos.new"
            new.write_text(json.dumps(all_asked(shared_data)), "utf-8")
            new.replace(answers)
    opinions_found: dict[str, dict[str, Any]] = json.loads(answers.read_text("utf-8"))
    return opinions_found


def all_asked(shared_data: Path) -> dict[str, dict[str, Any]]:
    """The opinions, asked on two processes at once."""
    from concurrent.futures import ThreadPoolExecutor

    paths = [path for name in SETS for path in listed(shared_data, name)]
    workers = [Worker() for _ in range(WORKERS)]

    def share(number: int) -> dict[str, dict[str, Any]]:
        return {
            path.relative_to(shared_data).as_posix(): workers[number].ask(str(path)) for path in paths[number::WORKERS]
        }

    with ThreadPoolExecutor(WORKERS) as executor:
        shares = list(executor.map(share, range(WORKERS)))
    for worker in workers:
        worker.close()
    return {name: answer for part in shares for name, answer in part.items()}


def of_set(found: dict[str, dict[str, Any]], name: str) -> dict[str, dict[str, Any]]:
    answers = {path: answer for path, answer in found.items() if path.startswith(f"{name}/")}
    assert answers
    return answers


pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),  # minutes on a free machine, of which the first test takes nearly all
    pytest.mark.skipif(
        int(PIL.__version__.split(".")[0]) < 13,
        reason="Pillow before 13 itself hangs or crashes on some of these pictures",
    ),
]


@pytest.mark.parametrize("name", SETS)
def test_no_file_crashes_or_hangs_the_process(found: dict[str, dict[str, Any]], name: str) -> None:
    assert {path: answer for path, answer in of_set(found, name).items() if "died" in answer} == {}


@pytest.mark.parametrize("name", SETS)
def test_what_pillow_opens_we_deliver_with_its_pixels(found: dict[str, dict[str, Any]], name: str) -> None:
    wrong = {}
    for path, answer in of_set(found, name).items():
        theirs, ours = answer.get("pillow", {}), answer.get("penstock", {})
        if theirs.get("outcome") != "opened" or theirs["format"] in FOREIGN:
            continue
        if ours["outcome"] == "failed":
            wrong[path] = f"refused: {ours['why']}"
        elif (ours["shape"], ours["sha256"]) != (theirs["shape"], theirs["sha256"]):
            wrong[path] = f"other pixels: {ours['shape']} and {theirs['shape']}, {ours['outcome']}"
    assert wrong == {}


@pytest.mark.parametrize("name", SETS)
def test_what_pillow_refuses_is_a_failure(found: dict[str, dict[str, Any]], name: str, shared_data: Path) -> None:
    wrong = {}
    for path, answer in of_set(found, name).items():
        theirs, ours = answer.get("pillow", {}), answer.get("penstock", {})
        if theirs.get("outcome") in ("refused", "limit") and ours["outcome"] != "failed":
            data = (shared_data / path).read_bytes()
            if ours["outcome"] == "damaged" and without_broken_chunks(data) != data:
                continue  # the allowed difference: a PNG whose words beside the image have a wrong checksum
            wrong[path] = f"{ours['outcome']}, while Pillow says {theirs.get('why', 'too many pixels')}"
        if theirs.get("format") in FOREIGN and ours["outcome"] != "failed":
            wrong[path] = f"{theirs['format']} was delivered"
    assert wrong == {}


def test_limits_refuse_few_files_and_name_themselves(found: dict[str, dict[str, Any]]) -> None:
    refused = {path: answer for path, answer in found.items() if answer["penstock"].get("cause") in LIMITS}
    for answer in refused.values():
        ours, theirs = answer["penstock"], answer["pillow"]
        assert ours["stage"] == "decode" and ours["why"].startswith("decode of ") and ours["why"].endswith(".")
        assert re.search(
            r": expected at most \d+ .* ?\((max_pixels|max_working_bytes|max_scans)\), found ", ours["why"]
        )
        if ours["cause"] == "too many pixels":  # Pillow's own limit, so there is nothing that it would open
            assert theirs["outcome"] == "refused" or theirs["pixels"] > PILLOWS_LIMIT, ours["why"]
    assert {Path(path).parts[0] for path in refused} <= {"bad", "edge", "fuzz"}
    others = {path for path, answer in refused.items() if answer["penstock"]["cause"] != "too many pixels"}
    assert others == ONLY_WE_REFUSE


def test_photographs_are_all_clean_and_nearly_all_native(found: dict[str, dict[str, Any]], shared_data: Path) -> None:
    from penstock import _native

    photographs = of_set(found, "photos")
    outcomes = Counter(answer["penstock"]["outcome"] for answer in photographs.values())
    assert set(outcomes) <= {"clean", "damaged"} and outcomes["clean"] >= 0.95 * len(photographs), outcomes
    jpegs = [path for path, answer in photographs.items() if answer["pillow"]["format"] in ("JPEG", "MPO")]
    native = [path for path in jpegs if _native.inspect((shared_data / path).read_bytes())["backend"] == "jpeg"]
    assert len(native) >= 0.9 * len(jpegs), sorted(set(jpegs) - set(native))


def test_failures_are_sentences_and_never_leave_the_decoder_unexplained(found: dict[str, dict[str, Any]]) -> None:
    causes = Counter()
    for path, answer in found.items():
        ours = answer.get("penstock", {})
        if ours.get("outcome") == "failed":
            causes[ours["cause"]] += 1
            assert ours["why"].startswith(f"{ours['stage']} of ") and ": expected " in ours["why"], path
            assert ours["why"].endswith(".") and "\n" not in ours["why"] and " at 0x" not in ours["why"], path
    assert causes["unexpected"] == 0, causes
    assert set(causes) <= LIMITS | {"not an image", "broken data", "truncated", "out of memory", "missing plugin"}, (
        causes
    )


def test_no_file_takes_much_longer_than_in_pillow(found: dict[str, dict[str, Any]]) -> None:
    slow = {
        path: (round(answer["pillow_s"], 2), round(answer["penstock_s"], 2))
        for path, answer in found.items()
        if "penstock_s" in answer and answer["penstock_s"] > 10 + 4 * answer["pillow_s"]
    }
    assert slow == {}


def test_all_photographs_in_one_run_are_resized_as_pillow_resizes(shared_data: Path) -> None:
    files = [path for path in listed(shared_data, "photos") if path.stat().st_size < 1_500_000]
    line = ps.files(files).decode().resize(96, 128, fit="cover", filter="bicubic").batch(16)
    with line.run(threads=2) as run:
        for batch in run:
            for row in batch:
                with Image.open(row.key) as picture:
                    upright = ImageOps.exif_transpose(picture).convert("RGB")
                expected = ImageOps.fit(upright, (128, 96), Image.Resampling.BICUBIC)
                assert np.array_equal(row.image, np.asarray(expected)), row.key
    assert run.reached == len(files) and not run.failures


def test_a_whole_damaged_folder_leaves_its_good_neighbours_alone(shared_data: Path) -> None:
    """Good photographs among all the broken JPEGs: same outcome on any number of threads, good rows untouched."""
    broken = [path for path in listed(shared_data, "bad") if path.suffix.lower() in (".jpg", ".jpeg", ".png")]
    broken = [path for path in broken if path.stat().st_size < 100_000 and "bomb" not in path.parts][:150]
    good = [path for path in listed(shared_data, "photos") if path.stat().st_size < 150_000][:12]
    mixed = [path for number, bad in enumerate(broken) for path in (good[number % len(good)], bad)]
    expected = {}
    for path in good:
        with Image.open(path) as picture:
            upright = ImageOps.exif_transpose(picture).convert("RGB")
        expected[str(path)] = np.asarray(upright.resize((40, 40), Image.Resampling.BILINEAR))
    stories = []
    for threads in (1, 4):
        with ps.files(mixed).decode().resize(40, 40).batch(8).run(threads=threads, on_failure="blank") as run:
            batches = list(run)
        for batch in batches:
            for row in batch:
                if row.key in expected:
                    assert row.valid and not row.damaged and np.array_equal(row.image, expected[row.key])
        assert run.clean + len(run.damaged) + len(run.failures) == run.reached == len(mixed)
        stories.append((b"".join(batch.images.tobytes() for batch in batches), list(run.failures), list(run.damaged)))
    assert stories[0] == stories[1]
