"""The example with a cache, as a user starts it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def started(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / "ocr_cache.py"), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)


def test_the_second_epoch_of_an_ocr_set_comes_from_ram(tmp_path: Path) -> None:
    before = set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()
    answer = started(tmp_path, "--count", "60")
    assert answer.returncode == 0, answer.stderr
    rates = re.findall(r"epoch (\d): 60 images in [\d.]+ s, hit rate (\d+)%", answer.stdout)
    assert rates == [("0", "0"), ("1", "98")]  # 60 of 61: nobody keeps what is broken
    assert "decode of 'broken.jpg': expected a whole image" in answer.stdout
    left = set(os.listdir("/dev/shm")) - before if os.path.isdir("/dev/shm") else set()
    assert not [name for name in left if name.startswith("penstock-ram-")]


def test_it_says_what_is_wrong(tmp_path: Path) -> None:
    answer = started(tmp_path, "nothing")
    assert answer.returncode == 1
    assert answer.stderr == "ocr_cache: source of 'nothing': expected a folder, found nothing at that path.\n"
