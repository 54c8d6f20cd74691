"""The example with a cache, as a user starts it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock import cache

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


# With a part of the shared memory of its own: other tests keep images in the whole of it meanwhile.
IN_MEMORY = """
import runpy, sys
from penstock import cache
memory = sys.argv.pop(1)
cache.shared_memory = lambda: memory
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def started(folder: Path, memory: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", IN_MEMORY, memory, str(EXAMPLES / "ocr_cache.py"), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=200, check=False)


@pytest.fixture
def memory() -> Iterator[str]:
    with tempfile.TemporaryDirectory(dir=cache.shared_memory()) as folder:
        yield folder


def test_the_second_epoch_of_an_ocr_set_comes_from_ram(tmp_path: Path, memory: str) -> None:
    answer = started(tmp_path, memory, "--count", "60")
    assert answer.returncode == 0, answer.stderr
    rates = re.findall(r"epoch (\d): 60 images in [\d.]+ s, hit rate (\d+)%", answer.stdout)
    assert rates == [("0", "0"), ("1", "98")]  # 60 of 61: nobody keeps what is broken
    assert "decode of 'broken.jpg': expected a whole image" in answer.stdout
    assert os.listdir(memory) == []


def test_it_says_what_is_wrong(tmp_path: Path, memory: str) -> None:
    answer = started(tmp_path, memory, "nothing")
    assert answer.returncode == 1
    assert answer.stderr == "ocr_cache: source of 'nothing': expected a folder, found nothing at that path.\n"
