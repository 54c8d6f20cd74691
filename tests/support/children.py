"""Processes that run a line and are interrupted: what they are told, what they print, how they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

LIMIT_S = 90.0

PREAMBLE = """
import gc, io, os, signal, sys, threading, time
import numpy as np
from PIL import Image
import penstock as ps
from penstock import answers as answers_module
from penstock import engine as engine_module

def encoded(height, width, kind="JPEG", **options):
    coarse = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((width, height)).save(file, kind, **options)
    return file.getvalue()

def small_line(count=400, batch=4):
    return ps.blobs([encoded(60, 80)] * count).decode().resize(8, 8).batch(batch)

def large_line(**options):
    return ps.blobs([encoded(3000, 4000, quality=92, **options)] * 50_000).decode().resize(224, 224).batch(8)

def stuck_line():
    real = answers_module.decode_pillow
    def sleepy(*args):
        time.sleep(3600)
        return real(*args)
    answers_module.decode_pillow = sleepy
    return ps.blobs([encoded(20, 30, "BMP")] * 50).decode().resize(8, 8).batch(4)

def say(*words):
    print(*words, flush=True)

def settled(done):
    "Waits until it is so, as long as a busy machine may need."
    until = time.monotonic() + 60
    while not done() and time.monotonic() < until:
        time.sleep(0.01)
    return done()

def alone():
    "Whether this thread is the only one, once those that were on their way out have gone."
    return settled(lambda: threading.active_count() == 1)

say("ready")
"""


class Child:
    """A Python process that runs a script; ``end`` waits for it, within the limit."""

    def __init__(self, script: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-W", "ignore::DeprecationWarning", "-c", PREAMBLE + script],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
            start_new_session=True,
        )
        self.wait_for("ready")

    def wait_for(self, word: str) -> None:
        assert self.process.stdout is not None and self.process.stderr is not None
        line = self.process.stdout.readline().strip()
        if line != word:
            self.kill()
            pytest.fail(f"expected {word!r}, found {line!r}: {self.process.stderr.read()}")

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)

    def end(self) -> tuple[int, str, str]:
        """Exit code, the rest of stdout, stderr."""
        begun = time.monotonic()
        try:
            out, err = self.process.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)  # faulthandler writes where it hangs
            time.sleep(0.5)
            self.kill()
            _, err = self.process.communicate()
            pytest.fail(f"still running after {time.monotonic() - begun:.1f} s:\n{err}")
        assert "nanobind" not in err and "Fatal" not in err and "terminate called" not in err, err
        return self.process.returncode, out, but_late_threads(err)


def but_late_threads(err: str) -> str:
    """Without the sentences about threads that a busy machine did not let run for a second; those in reads stay."""
    lines = err.splitlines(keepends=True)
    return "".join(line for line in lines if "stuck" in line or "it was left behind" not in line)


def interrupted(script: str, **environment: str) -> tuple[int, str, str]:
    child = Child(script, **environment)
    child.wait_for("started")
    time.sleep(0.3)  # into the middle of the wait, or a little before it
    child.process.send_signal(signal.SIGINT)
    return child.end()


ENDED_BY_SIGINT = (-signal.SIGINT, 130, 1)
