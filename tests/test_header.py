"""What a header says against what Pillow makes of the whole file; and what a recipe plans against what comes out."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

import penstock as ps
from penstock import _native
from penstock.recipe import Plan

KINDS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "TGA", "JPEG2000")


def saved(kind: str, height: int, width: int, orientation: int = 1, mode: str = "RGB", **options: Any) -> bytes:
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8))
    file = io.BytesIO()
    if orientation != 1:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif
    picture = picture.convert(mode)
    if mode == "RGBA":
        picture.putalpha(128)
    picture.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", KINDS)
def test_sizes_are_those_of_the_decoded_image(kind: str, tmp_path: Path) -> None:
    orientations = range(1, 9) if kind in ("JPEG", "PNG", "WEBP", "TIFF") else [1]
    for orientation in orientations:
        data = saved(kind, 37, 53, orientation)
        found = ps.header(data)
        with Image.open(io.BytesIO(data)) as picture:
            upright = ImageOps.exif_transpose(picture)
            assert (found.height, found.width) == (upright.height, upright.width), (kind, orientation)
        assert (found.stored_height, found.stored_width) == (37, 53)
        assert found.orientation == orientation
        assert found.format == kind
        assert not found.has_alpha and not found.has_icc
        assert (found.height, found.width) == ps.decode(data).shape[:2]
        path = tmp_path / f"{orientation}.bin"
        path.write_bytes(data)
        assert ps.header(path) == ps.header(str(path)) == found


def test_a_path_is_read_only_as_far_as_needed(tmp_path: Path, monkeypatch: Any) -> None:
    import penstock.headers as module

    path = tmp_path / "large.jpg"
    path.write_bytes(saved("JPEG", 900, 800, quality=98))
    assert path.stat().st_size > 2 * module.HEAD_BYTES
    monkeypatch.setattr(module, "read_file", lambda path: pytest.fail("the whole file was read"))
    assert (ps.header(path).height, ps.header(path).width) == (900, 800)


def test_a_long_head_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "profile.jpg"
    path.write_bytes(saved("JPEG", 30, 40, icc_profile=bytes(200_000)))
    found = ps.header(path)
    assert (found.height, found.width, found.has_icc) == (30, 40, True)


def test_alpha_is_told() -> None:
    assert ps.header(saved("PNG", 4, 6, mode="RGBA")).has_alpha
    assert ps.header(saved("WEBP", 4, 6, mode="RGBA", lossless=True)).has_alpha
    assert not ps.header(saved("PNG", 4, 6, mode="L")).has_alpha


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "decode of 'image': expected an image, found 0 bytes."),
        (b"<html>", "decode of 'image': expected an image Pillow can open, found HTML text ('<html>')."),
    ],
)
def test_no_image_is_refused_with_a_sentence(data: bytes, sentence: str) -> None:
    with pytest.raises(ps.ItemError) as caught:
        ps.header(data)
    assert str(caught.value) == sentence


def test_what_cannot_be_read_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ps.ItemError, match="expected a file, found no such file"):
        ps.header(tmp_path / "none.jpg")
    with pytest.raises(ps.ItemError, match="expected a regular file, found a directory"):
        ps.header(tmp_path)
    with pytest.raises(ps.PlanError, match=r"header\(\): expected a path or bytes, found int"):
        ps.header(3)


def test_truncated_headers_are_reported_or_right() -> None:
    data = saved("JPEG", 37, 53, 6)
    for end in range(0, len(data), 7):
        try:
            found = ps.header(data[:end])
        except ps.ItemError:
            continue
        assert (found.stored_height, found.stored_width) == (37, 53)


@pytest.mark.timeout(900)
def test_real_pictures(shared_data: Path) -> None:
    for path in sorted(p for p in shared_data.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"))[
        :150
    ]:
        try:
            decoded = ps.decode(path)
        except ps.ItemError:
            continue
        found = ps.header(path)
        assert (found.height, found.width) == decoded.shape[:2], path.name


def test_many_at_once_are_those_of_one_at_a_time(tmp_path: Path) -> None:
    paths = []
    for number in range(40):
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(saved("JPEG", 10 + number, 90 - number, number % 8 + 1))
        paths.append(os.fsencode(path))
    (tmp_path / "not.jpg").write_bytes(b"none")
    paths += [os.fsencode(tmp_path / "not.jpg"), os.fsencode(tmp_path / "missing.jpg")]
    for threads in (1, 3):
        sizes = _native.inspect_paths(paths, threads)
        assert sizes[-2:].tolist() == [[0, 0], [0, 0]]
        for path, size in zip(paths[:-2], sizes.tolist(), strict=False):
            found = ps.header(os.fsdecode(path))
            assert [found.height, found.width] == size


# -- recipe.plan -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "chain",
    [
        ps.recipe().decode(),
        ps.recipe().decode().resize(short_side=31).normalize(ps.UNIT),
        ps.recipe().decode().resize(short_side=64).center_crop(20, 30),
        ps.recipe().decode().random_resized_crop(9, 11).random_horizontal_flip(),
        ps.recipe().decode().resize(max_patches=30, patch=8),
        ps.recipe().decode().resize(max_patches=36, patch=4, multiple=3, rounding="floor", filter="bicubic"),
    ],
)
def test_plans_are_what_comes_out(chain: Any) -> None:
    for height, width in ((37, 53), (90, 20), (64, 64)):
        data = saved("JPEG", height, width)
        assert chain.plan(height, width) == Plan(*chain.resolve(height, width)[2:])
        if chain.verbs[:1] and "patches" in str(chain.verbs[0]):
            continue
        assert chain(data).shape[:2] == chain.plan(height, width)[:2]


def test_plans_count_patches() -> None:
    assert ps.recipe().decode().resize(896, 896).patchify(14).plan(3, 5) == Plan(896, 896, 4096)
    chain = ps.recipe().decode().resize(max_patches=256, patch=16).normalize(ps.SIGNED).patchify(16)
    for height, width in ((480, 640), (10, 900), (1, 1)):
        plan = chain.plan(height, width)
        assert plan.patches == plan.height * plan.width // 256 <= 256


def test_a_size_that_cannot_be_is_refused_with_a_sentence() -> None:
    with pytest.raises(ps.ItemError) as caught:
        ps.recipe().decode().resize(short_side=224).plan(1, 60000)
    assert str(caught.value) == ("plan(1, 60000): resize: expected at most 178956970 pixels, found H=224 W=13440000.")
    for height, width in ((0, 4), (True, 4), (2.5, 4)):
        with pytest.raises(ps.PlanError, match="expected two whole numbers of at least 1"):
            ps.recipe().decode().plan(height, width)  # type: ignore[arg-type]


def test_draws_that_decide_a_size_are_refused() -> None:
    chain = ps.recipe().decode().random_rotate90()
    assert chain.plan(5, 5) == Plan(5, 5)
    with pytest.raises(ps.PlanError) as caught:
        chain.plan(4, 5)
    assert str(caught.value) == "plan(4, 5): expected verbs whose size no draw decides, found random_rotate90()."
    with pytest.raises(ps.PlanError, match=r"^batch\(2, ragged='bucket'\): expected verbs whose size no draw decides"):
        ps.blobs({"a": b""}).apply(chain).batch(2, ragged="bucket")
