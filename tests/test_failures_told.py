"""What a failure says: one sentence for every cause, the same on either engine, with a key of any bytes."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import penstock as ps
from broken_pictures import ENGINES, encoded, good


def failures_of(line: ps.Pipeline, engine: str) -> list[tuple[str, str, str]]:
    with line.batch(99).run(on_failure="blank", engine=engine) as run:  # type: ignore[arg-type]
        batch = next(run)
    assert len(batch.failures) == len(batch)
    return [(failure.stage, failure.cause, failure.message) for failure in batch.failures]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("data", "cause", "sentence"),
    [
        (b"", "not an image", "expected an image, found 0 bytes."),
        (b"hello world, this is text", "not an image", "found text ('hello world, this is text')."),
        (b"<!DOCTYPE html><html>", "not an image", "found HTML text ('<!DOCTYPE html><html>')."),
        (b"%PDF-1.4", "not an image", "found bytes 25 50 44 46 (a PDF document)."),
        (b"GIF89a", "broken data", "found bytes 47 49 46 38 (the beginning of a GIF)."),
        (b"\xff\xd8\xff", "broken data", "found bytes ff d8 ff (the beginning of a JPEG)."),
        (good(0)[:-600], "truncated", "expected a whole image, found truncated data (Pillow: "),
        (good(0)[:30], "truncated", "expected a whole image, found truncated data (Pillow: "),
        (good(3)[:300], "truncated", "expected a whole image, found truncated data (Pillow: "),
    ],
)
def test_sentences_of_decode(engine: str, data: bytes, cause: str, sentence: str) -> None:
    ((stage, found, message),) = failures_of(ps.blobs({"dir/it's.jpg": data}).decode().resize(8, 8), engine)
    assert (stage, found) == ("decode", cause)
    assert message.startswith('decode of "dir/it\'s.jpg": expected ') and sentence in message and message.endswith(".")


@pytest.mark.parametrize("engine", ENGINES)
def test_sentences_of_limits(engine: str) -> None:
    large = {"base": encoded(400, 500), "progressive": encoded(400, 500, progressive=True)}

    def with_limits(blobs: dict[str, bytes], **limits: int) -> list[tuple[str, str, str]]:
        return failures_of(ps.blobs(blobs).decode(**limits).resize(8, 8), engine)

    png = {"png": encoded(400, 500, "BMP")}
    assert with_limits({**large, **png}, max_pixels=199_999) == [
        (
            "decode",
            "too many pixels",
            f"decode of {key!r}: expected at most 199999 pixels (max_pixels), found 400 x 500 = 200000.",
        )
        for key in ("base", "progressive", "png")
    ]
    (_, cause, message), (_, _, more) = with_limits(large, max_working_bytes=1000)
    assert cause == "too much memory"
    pattern = r"expected at most 1000 working bytes \(max_working_bytes\), found (\d+)\.$"
    needed, needed_more = (int(re.search(pattern, text)[1]) for text in (message, more))  # type: ignore[index]
    assert 0 < needed < needed_more
    progressive = {"progressive": large["progressive"]}
    assert with_limits(progressive, max_scans=2) == [
        ("decode", "too many scans", "decode of 'progressive': expected at most 2 scans (max_scans), found 10.")
    ]
    # A limit that is just met refuses nothing.
    with (
        ps.blobs(large)
        .decode(max_pixels=200_000, max_scans=10, max_working_bytes=needed_more)
        .resize(8, 8)
        .run() as run
    ):
        assert len(list(run)) == 2


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX files")
def test_sentences_of_read(engine: str, tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "fifo.jpg")
    (tmp_path / "dangling.jpg").symlink_to("nowhere")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    expected = {
        "folder.jpg": ("not a regular file", "expected a regular file, found a directory."),
        "fifo.jpg": ("not a regular file", "expected a regular file, found a FIFO."),
        "none.jpg": ("not found", "expected a file, found no such file."),
        "dangling.jpg": ("not found", "expected a file, found no such file."),
        "loop.jpg": ("read error", 'expected a readable file, found "Too many levels of symbolic links".'),
        "/dev/zero": ("not a regular file", "expected a regular file, found a device."),
    }
    if os.geteuid() != 0:
        (tmp_path / "secret.jpg").write_bytes(good(0))
        (tmp_path / "secret.jpg").chmod(0)
        expected["secret.jpg"] = ("permission denied", "expected a readable file, found permission denied.")
    paths = [str(tmp_path / name) for name in expected]
    found = failures_of(ps.files(paths).decode().resize(8, 8), engine)
    assert found == [
        ("read", cause, f"read of {path!r}: {text}")
        for path, (cause, text) in zip(paths, expected.values(), strict=True)
    ]


@pytest.mark.parametrize("engine", ENGINES)
def test_sentences_of_transform(engine: str) -> None:
    line = ps.blobs({"small": encoded(40, 52)}).decode().crop((0, 0, 52, 41))
    assert failures_of(line, engine) == [
        (
            "transform",
            "crop outside the image",
            (
                "transform of 'small': crop: expected a box inside the image, found bottom=41 right=52 in an image of "
                "H=40 W=52."
            ),
        )
    ]
    arrays = ps.arrays([np.zeros((40, 52, 3), np.uint8)], keys=["small"]).crop((0, 0, 52, 41))
    assert failures_of(arrays, engine) == failures_of(line, engine)


def test_a_broken_file_is_a_broken_file_before_it_is_too_small() -> None:
    line = ps.blobs({"both": good(0)[:-600]}).decode().crop((0, 0, 500, 500))
    assert {failures_of(line, engine)[0][:2] for engine in ENGINES} == {("decode", "truncated")}


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX names")
def test_sentences_name_keys_of_any_bytes(tmp_path: Path) -> None:
    name = os.fsdecode(b"new\nline \xff.jpg")
    try:
        (tmp_path / name).write_bytes(b"")
    except OSError:
        pytest.skip("the file system takes only UTF-8 names")
    with ps.folder(tmp_path).decode().resize(8, 8).batch(1).run(on_failure="blank") as run:
        (failure,) = next(run).failures
    assert failure.message == "decode of 'new\\nline \\udcff.jpg': expected an image, found 0 bytes."
    with ps.folder(tmp_path).decode().resize(8, 8).batch(1).run() as run, pytest.raises(ps.ItemError) as caught:
        next(run)
    str(caught.value).encode("ascii")  # can be printed anywhere
