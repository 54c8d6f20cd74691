"""Companions: a mask goes where its picture goes, through EXIF, crops, flips, pads and warps."""

from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import penstock as ps
from penstock.follow import follow_labels, turned
from penstock.geometry import orientation_matrix

LEVELS = 16


def labels_of(height: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return ((rows * 4 // height) * 4 + columns * 4 // width).astype(np.uint8)


def upright_to_stored(values: np.ndarray, orientation: int) -> np.ndarray:
    stored = next(
        candidate
        for turns in range(4)
        for candidate in (np.rot90(values, turns), np.rot90(values, turns)[:, ::-1])
        if candidate.shape[0] * candidate.shape[1] == values.size
        and np.array_equal(turned(candidate, orientation), values)
    )
    return np.ascontiguousarray(stored)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Eight photographs, one of each orientation, whose grey levels are their labels times 16; masks are upright."""
    (tmp_path / "photo").mkdir()
    (tmp_path / "mask").mkdir()
    for orientation in range(1, 9):
        upright = labels_of(60 + 7 * orientation, 90 - 5 * orientation)
        exif = Image.Exif()
        exif[0x112] = orientation
        picture = np.repeat(upright_to_stored(upright, orientation)[..., np.newaxis] * LEVELS, 3, axis=2)
        Image.fromarray(picture).save(tmp_path / "photo" / f"{orientation}.png", exif=exif)
        Image.fromarray(upright).convert("P").save(tmp_path / "mask" / f"{orientation}.png")
    return tmp_path


LINES: dict[str, Any] = {
    "resize": lambda line: line.resize(40, 30, filter="nearest"),
    "cover": lambda line: line.resize(32, 32, fit="cover", filter="nearest"),
    "contain": lambda line: line.resize(48, 48, fit="contain", fill=240, filter="nearest"),
    "crop and pad": lambda line: line.center_crop(30, 30).pad(3, 4, 5, 6, fill=240),
    "pads that mirror": lambda line: line.center_crop(30, 30).pad(3, 4, 5, 6, mode="reflect"),
    "training": lambda line: (
        line.random_resized_crop(32, 24, filter="nearest").random_horizontal_flip().random_vertical_flip()
    ),
    "turned": lambda line: line.center_crop(40, 40).random_rotate90(1.0),
    "affine": lambda line: line.resize(40, 40, filter="nearest").random_affine(30, shear=10, fill=240),
    "warp": lambda line: line.warp(halve, 30, 30, filter="nearest", fill=240),
}


def halve(height: int, width: int) -> list[list[float]]:
    return [[0.5, 0, 2], [0, 0.5, 3]]


@pytest.mark.parametrize("engine", ["native", "reference"])
@pytest.mark.parametrize("verbs", LINES)
def test_labels_go_where_their_pixels_go(pairs: Path, verbs: str, engine: Any) -> None:
    line = LINES[verbs](ps.folder(pairs / "photo").seed(3).shuffle().decode())
    line = line.companion(mask="../mask/{stem}.png", outside=15).batch(3)
    with line.run(engine=engine, epoch=2) as run:
        for batch in run:
            assert batch.valid.all()
            mask = batch.companions["mask"]
            assert mask.dtype == np.uint8 and mask.shape == batch.images.shape[:3]
            assert np.array_equal(mask * LEVELS, batch.images[..., 0])
            assert np.array_equal(line.batch_at(batch.step, epoch=2).companions["mask"], mask)
    assert run.reached == 8 and not len(run.failures)


def test_colours_change_and_labels_do_not(pairs: Path) -> None:
    line = (
        ps.folder(pairs / "photo").decode().resize(20, 20, filter="nearest").random_color_jitter(0.9, 0.9)
        .jpeg_roundtrip(5).random_erasing(1.0).random_horizontal_flip(1.0).normalize(ps.IMAGENET)
        .companion(mask="../mask/{name}").batch(8)
    )  # fmt: skip
    with line.run() as run:
        mask = next(run).companions["mask"]
    expected = [
        np.array(Image.open(pairs / "mask" / f"{n}.png").resize((20, 20), Image.Resampling.NEAREST))[:, ::-1]
        for n in range(1, 9)
    ]
    assert np.array_equal(mask, expected)


def test_a_mask_as_stored(pairs: Path) -> None:
    for number in range(1, 9):
        upright = np.array(Image.open(pairs / "mask" / f"{number}.png"))
        Image.fromarray(upright_to_stored(upright, number)).save(pairs / "mask" / f"{number}.png")
    line = ps.folder(pairs / "photo").decode().resize(31, 31, filter="nearest")
    line = line.companion(mask="../mask/{stem}.png", frame="stored").batch(8)
    with line.run() as run:
        batch = next(run)
    assert batch.valid.all() and np.array_equal(batch.companions["mask"] * LEVELS, batch.images[..., 0])


@pytest.mark.parametrize("policy", ["raise", "skip", "blank"])
def test_what_is_missing_broken_or_of_another_size_fails_its_item(pairs: Path, policy: Any) -> None:
    (pairs / "mask" / "2.png").unlink()
    (pairs / "mask" / "4.png").write_bytes(b"no mask")
    Image.fromarray(np.zeros((5, 6), np.uint8)).save(pairs / "mask" / "6.png")
    Image.fromarray(np.zeros((100, 55, 3), np.uint8)).save(pairs / "mask" / "7.png")
    line = ps.folder(pairs / "photo").decode().resize(8, 8, filter="nearest")
    line = line.companion(mask="../mask/{stem}.png", outside=9).batch(8)
    with line.run(on_failure=policy) as run:
        if policy == "raise":
            with pytest.raises(ps.ItemError, match=r"read of '2.png': companion mask: expected a file, found no such"):
                next(run)
            return
        batch = next(run)
    causes = {failure.key: (failure.stage, failure.cause) for failure in batch.failures}
    assert causes == {
        "2.png": ("read", "not found"),
        "4.png": ("decode", "not an image"),
        "6.png": ("transform", "companion size"),
        "7.png": ("decode", "not labels"),
    }
    mask = batch.companions["mask"]
    assert len(mask) == len(batch) == (4 if policy == "skip" else 8)
    assert np.array_equal(mask[batch.valid] * LEVELS, batch.images[batch.valid][..., 0])
    assert (mask[~batch.valid] == 9).all() and run.reached == 8


def test_pictures_and_arrays_as_companions(pairs: Path) -> None:
    (pairs / "depth").mkdir()
    for number in range(1, 9):
        upright = np.array(Image.open(pairs / "mask" / f"{number}.png"))
        np.savez(pairs / "depth" / f"{number}.npz", depth=upright.astype(np.float32) / 4)
    line = ps.folder(pairs / "photo").decode().random_resized_crop(16, 16, filter="bicubic")
    line = line.companion(depth="../depth/{stem}.npz", mode="npz").companion(twin="{name}", mode="image").batch(8)
    with line.run() as run:
        batch = next(run)
    depth = batch.companions["depth"]
    assert depth.shape == (8, 16, 16) and depth.dtype == np.float32 and depth.max() <= 3.75
    assert np.array_equal(batch.companions["twin"], batch.images)


def test_sizes_of_their_own_come_as_a_list(pairs: Path) -> None:
    line = ps.folder(pairs / "photo").decode().companion(mask="../mask/{stem}.png").batch(3, ragged="list")
    with line.run() as run:
        for batch in run:
            for image, mask in zip(batch.images, batch.companions["mask"], strict=True):
                assert np.array_equal(image[..., 0], mask * LEVELS)


def test_deep_label_maps(pairs: Path, tmp_path: Path) -> None:
    for number in range(1, 9):
        upright = np.array(Image.open(pairs / "mask" / f"{number}.png")).astype(np.uint16)
        Image.fromarray(upright * 1000).save(pairs / "mask" / f"{number}.png")
    line = ps.folder(pairs / "photo").decode().resize(8, 8, filter="nearest")
    with line.companion(mask="../mask/{stem}.png").batch(8).run(on_failure="blank") as run:
        next(run)
    assert run.failures.by_cause() == {"decode: too large": 8}
    assert "expected values that uint8 holds (dtype=), found" in run.failures[0].message
    with line.companion(mask="../mask/{stem}.png", dtype="int32").batch(8).run() as run:
        batch = next(run)
    assert batch.companions["mask"].dtype == np.int32
    assert np.array_equal(batch.companions["mask"] // 1000 * LEVELS, batch.images[..., 0])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_is_what_the_orientation_means(orientation: int) -> None:
    values = np.arange(6).reshape(2, 3)
    affine = orientation_matrix(2, 3, orientation)
    out = turned(values, orientation)
    for row in range(2):
        for column in range(3):
            x, y = affine @ [column + 0.5, row + 0.5, 1]
            assert out[int(y), int(x)] == values[row, column]


@pytest.mark.parametrize("box", [None, (1.3, 0.2, 30.9, 22.5)])
@pytest.mark.parametrize("size", [(7, 9), (64, 50)])
def test_nearest_is_pillows(box: Any, size: tuple[int, int]) -> None:
    from penstock._reference.steps import Resize

    image = np.random.default_rng(0).integers(0, 256, (33, 27), dtype=np.uint8)
    step = Resize(*size, None if box is None else tuple(np.float32(box).tolist()), "bilinear")
    pillow_box = None if box is None else (box[1], box[0], box[3], box[2])
    expected = Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.NEAREST, box=pillow_box)
    assert np.array_equal(follow_labels(image, [step], 0), np.array(expected))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, "companion(): expected a name and a path, as in mask='../mask/{stem}.png', found none."),
        ({"mask": "{stern}.png"}, "expected one of {stem}, {name}, {suffix}, {parent}, {key}, found {stern}."),
        ({"mask": "mask.png"}, "expected {stem} in the path, or one of the fields (none), found 'mask.png'."),
        ({"mask": "{stem}", "mode": "labels"}, "expected mode= one of 'label', 'image', 'npz', found 'labels'."),
        ({"mask": "{stem}", "frame": "left"}, "expected frame= 'upright' or 'stored', found 'left'."),
        ({"mask": "{stem}", "dtype": "int3"}, "expected dtype= one of uint8, uint16, int32, int64, float32, found"),
        ({"mask": "{stem}", "outside": -100}, "expected outside= a number that uint8 holds, found -100."),
        ({"mask": "{stem}", "outside": 0.5, "dtype": "int32"}, "expected outside= a number that int32 holds, found"),
    ],
)
def test_a_wrong_companion_is_refused(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ps.PlanError) as caught:
        ps.files(["a.jpg"]).decode().companion(**arguments)
    assert sentence in str(caught.value)


def test_a_line_with_companions_is_another_line(pairs: Path) -> None:
    line = ps.folder(pairs / "photo").decode().resize(8, 8)
    assert line.companion(mask="../mask/{stem}.png").batch(2).fingerprint != line.batch(2).fingerprint
    with pytest.raises(ps.PlanError, match="found 'mask'"):
        line.companion(mask="../mask/{stem}.png").companion(mask="{stem}.png")
    assert "companion  mask=../mask/{stem}.png label" in str(line.companion(mask="../mask/{stem}.png"))


def test_a_run_left_early_ends_at_once(pairs: Path) -> None:
    line = ps.folder(pairs / "photo").decode().resize(8, 8).companion(mask="../mask/{stem}.png").batch(1)
    with line.loader(prefetch=4) as loader:
        for _ in range(3):
            batch = next(iter(loader))
            assert np.array_equal(batch.companions["mask"].shape, (1, 8, 8))


def test_the_label_decoder_refuses_what_is_no_label_map() -> None:
    from penstock.decode import DecodeError
    from penstock.decode.values import decode_labels, decode_npz

    with pytest.raises(DecodeError, match="found 0 bytes"):
        decode_labels(b"")
    file = io.BytesIO()
    np.save(file, np.arange(4))
    with pytest.raises(DecodeError, match="at least two axes"):
        decode_npz(file.getvalue())
    file = io.BytesIO()
    np.save(file, np.array([[object()]]), allow_pickle=True)
    with pytest.raises(DecodeError, match="expected an array"):
        decode_npz(file.getvalue())


def test_depth_keeps_its_holes_and_is_rounded_to_float32(tmp_path: Path) -> None:
    depth = np.full((4, 6), 1 / 3)
    depth[0, 0] = np.nan
    Image.new("RGB", (6, 4)).save(tmp_path / "a.png")
    np.savez(tmp_path / "a.npz", depth)
    line = ps.files([tmp_path / "a.png"]).companion(depth="{stem}.npz", mode="npz", dtype="float32").decode()
    with line.resize(4, 6).batch(1).run() as run:
        found = next(run).companions["depth"]
    assert found.dtype == np.float32 and np.array_equal(found[0], depth.astype(np.float32), equal_nan=True)


def test_values_that_cannot_hold_what_is_outside_fail_their_item(tmp_path: Path) -> None:
    Image.new("RGB", (6, 4)).save(tmp_path / "a.png")
    np.savez(tmp_path / "a.npz", np.zeros((4, 6), np.uint8))
    line = ps.files([tmp_path / "a.png"]).companion(classes="{stem}.npz", mode="npz", outside=-1).decode()
    with line.pad(1, 1, 1, 1).batch(1, ragged="list").run(on_failure="blank") as run:
        (failure,) = next(run).failures
    assert "expected values that hold outside=-1 as well, found uint8" in failure.message


def same(image: np.ndarray) -> np.ndarray:
    return image


def moved(image: np.ndarray) -> Any:
    return image[:, ::-1], [[-1, 0, image.shape[1]], [0, 1, 0]]


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_labels_follow_behind_a_map_as_well(pairs: Path, engine: Any) -> None:
    line = ps.files(sorted((pairs / "photo").iterdir())).companion(mask="../mask/{stem}.png").decode()
    line = line.random_horizontal_flip().map(same, geometry="keep").random_vertical_flip().map(same, geometry="keep")
    with line.resize(30, 40, filter="nearest").batch(4).run(engine=engine) as run:
        for batch in run:
            assert np.array_equal(batch.companions["mask"] * LEVELS, batch.images[..., 0])


@pytest.mark.parametrize("how", [{}, {"geometry": "returned"}, {"geometry": "keep", "out": (30, 30)}])
def test_a_map_that_moves_pixels_is_refused_beside_a_companion(how: dict[str, Any]) -> None:
    line = ps.files(["a.jpg"]).decode()
    sentence = "expected .* map moved"
    with pytest.raises(ps.PlanError, match=sentence):
        line.companion(mask="{stem}.png").map(moved, **how)
    with pytest.raises(ps.PlanError, match=sentence):
        line.map(moved, **how).companion(mask="{stem}.png")


def test_work_beside_a_pool_that_closes_is_never_waited_for() -> None:
    from concurrent.futures import CancelledError

    from penstock.beside import Beside

    beside, held, began = Beside(1), threading.Event(), threading.Event()

    def hold() -> int:
        began.set()
        held.wait(10)
        return 3

    first = beside.begin(hold)
    assert began.wait(10)
    second = beside.begin(int)
    beside.close()
    late = beside.begin(int)
    for future in (first, second, late):
        with pytest.raises(CancelledError):
            future.result(timeout=10)
    held.set()
