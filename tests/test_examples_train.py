"""The training examples as a user starts them: they learn, are killed, go on, and end with the same weights."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu", "PYTHONWARNINGS": "error::RuntimeWarning"}
CHANCE = 1 / 6

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),  # half a minute on a free machine; each of its processes imports torch or JAX
    pytest.mark.usefixtures("processes"),
    pytest.mark.skipif(importlib.util.find_spec("skimage") is None, reason="scikit-image is not installed"),
]


@pytest.fixture
def processes() -> Iterator[None]:
    """Ends what is left of a test's processes when it is over."""
    yield
    for process in STARTED:
        if process.returncode is None:
            process.kill()
            process.communicate()
    STARTED.clear()


STARTED: list[subprocess.Popen[str]] = []


def started(script: str, out: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLES / script), "--out", str(out), *arguments],
        env={**os.environ, **ENVIRONMENT, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    STARTED.append(process)
    return process


def killed_after(process: subprocess.Popen[str], words: str) -> str:
    """What a process said until it said ``words``; then it is killed, without a chance to do anything."""
    assert process.stdout is not None
    said = until(process.stdout, words)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    return said


def until(output: IO[str], words: str) -> str:
    said = []
    for line in output:
        said.append(line)
        if words in line:
            return "".join(said)
    raise AssertionError("".join(said))


def finished(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 0, said
    return said


def weights(said: str) -> str:
    return said.split("weights ")[1]


def losses(said: str) -> dict[int, str]:
    """The loss of each step, as it was printed."""
    return {int(step): loss for step, loss in re.findall(r"step (\d+): loss (\S+)", said)}


@pytest.mark.parametrize("script", ["train_torch.py", "train_jax.py"])
def test_a_killed_training_ends_with_the_weights_of_one_that_was_not(script: str, tmp_path: Path) -> None:
    library = script.removeprefix("train_").removesuffix(".py")
    pytest.importorskip(library, reason=f"{library} is not installed")
    steps = ("--steps", "80", "--save-every", "10")
    whole = finished(started(script, tmp_path / "whole", *steps))
    accuracy = float(whole.split("accuracy ")[1].split()[0])
    assert accuracy > 0.6 > 3 * CHANCE

    # Between two saves, in the middle of an epoch of 7 steps.
    shutil.copytree(tmp_path / "whole" / "photographs", tmp_path / "killed" / "photographs")
    before = losses(killed_after(started(script, tmp_path / "killed", *steps), "step 34:"))
    after = finished(started(script, tmp_path / "killed", *steps))
    assert min(losses(after)) == 31
    assert {**before, **losses(after)} == losses(whole)
    assert weights(after) == weights(whole)


def ranks_of(out: Path, ranks: int, rows: int) -> list[subprocess.Popen[str]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    options = ("--steps", "20", "--save-every", "10", "--rows", str(rows))
    return [
        started("train_torch.py", out, *options, RANK=str(rank), LOCAL_RANK=str(rank), **shared)
        for rank in range(ranks)
    ]


def finished_all(processes: list[subprocess.Popen[str]]) -> str:
    """What rank 0 said, once all of them have ended well."""
    first, *_ = [finished(process) for process in processes]
    return first


def test_from_two_ranks_to_three_nothing_changes_not_even_the_weights(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    whole = finished_all(ranks_of(tmp_path / "whole", 2, 12))

    shutil.copytree(tmp_path / "whole" / "photographs", tmp_path / "killed" / "photographs")
    first, second = ranks_of(tmp_path / "killed", 2, 12)
    before = losses(killed_after(first, "step 16:"))
    second.kill()
    second.communicate()
    after = finished_all(ranks_of(tmp_path / "killed", 3, 8))
    assert min(losses(after)) == 11
    assert {**before, **losses(after)} == losses(whole)
    assert weights(after) == weights(whole)
