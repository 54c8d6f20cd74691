"""What several tests share."""

from __future__ import annotations

import ctypes
import os
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from penstock._reference import steps as reference
from penstock.recipe import Recipe
from penstock.transform import StepError
from penstock.transform.verb import PAD_MODES, four

NO_BOX = (0.0, 0.0, 0.0, 0.0)

# No clock judges an example, and every machine has the same ones; --hypothesis-profile=search draws others each time.
settings.register_profile("search", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same", settings.get_profile("search"), derandomize=True, database=None)
settings.load_profile("same")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The test pictures beside the project: PENSTOCK_TEST_DATA, or ../shared/data next to the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("PENSTOCK_TEST_DATA", beside))
    if not (folder / "manifest.csv").is_file():
        pytest.skip(f"the shared test pictures are not at {folder}; PENSTOCK_TEST_DATA names another place")
    return folder


@pytest.fixture(scope="session")
def torchvision() -> Any:
    """torchvision, also where it was built for another torch: its transforms on Pillow images need no operators.

    Its import registers shapes for operators that a torch without its extension does not have; that part is left out.
    """
    torch = pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("PIL")
    if "torchvision" not in sys.modules:
        sys.modules["torchvision._meta_registrations"] = types.ModuleType("torchvision._meta_registrations")
    del torch
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("torchvision", reason="torchvision is not installed")


@pytest.fixture(scope="session")
def same_plan() -> Callable[..., None]:
    """A check that a recipe resolves to the same steps, matrix or refusal natively and on the Python side."""

    def check(made: Recipe, height: int, width: int, key: tuple[int, int, int] = (0, 0, 0)) -> None:
        assert plan_by_native(made, height, width, key) == plan_by_reference(made, height, width, key)

    return check


def step_row(step: reference.Step, height: int, width: int) -> Any:
    """A step of an image of height x width as native resolve() lists it, and what only a step of its kind has."""
    match step:
        case reference.Crop():
            return ("crop", step.top, step.left, step.height, step.width, NO_BOX, "bilinear"), {}
        case reference.Resize():
            box = step.box if step.box is not None else (0.0, 0.0, float(height), float(width))
            own = {"float32": True} if step.precision == "float32" else {}
            return ("resize", 0, 0, step.height, step.width, box, step.filter), own
        case reference.Pad():
            own = {"pad_mode": PAD_MODES.index(step.mode), "fill": list(four(step.fill))}
            return ("pad", step.top, step.left, *step.size(height, width), NO_BOX, "bilinear"), own
        case reference.Erase():
            own = {"fill": list(four(step.fill))}
            return ("erase", step.top, step.left, step.height, step.width, NO_BOX, "bilinear"), own
        case reference.FlipX():
            return ("flip_x", 0, 0, 0, 0, NO_BOX, "bilinear"), {}
        case reference.FlipY():
            return ("flip_y", 0, 0, 0, 0, NO_BOX, "bilinear"), {}
        case reference.Rotate90():
            return ("rotate90", 0, 0, 0, 0, NO_BOX, "bilinear"), {"turns": step.turns}


def plan_by_reference(made: Recipe, height: int, width: int, key: tuple[int, int, int]) -> Any:
    """What native resolve() answers, from the Python side."""
    seed, epoch, index = key
    try:
        resolved = made.resolve(height, width, seed=seed, epoch=epoch, index=index)
    except StepError as error:
        return f"{error.cause}: {error.message}"
    rows = []
    for step in resolved.steps:
        rows.append(step_row(step, height, width))
        height, width = step.size(height, width)
    return rows, resolved.matrix.tolist()


def plan_by_native(made: Recipe, height: int, width: int, key: tuple[int, int, int]) -> Any:
    """The native steps and matrix, or the cause and the sentence."""
    from penstock import _native

    try:
        *rows, matrix = _native.resolve(made.native(), height, width, *key)
    except ValueError as error:
        return str(error)
    own = {"resize": ("float32",), "pad": ("pad_mode", "fill"), "erase": ("fill",), "rotate90": ("turns",)}
    # Frame steps have an eighth entry with the fields of all of them.
    listed = [(row[:7], {name: row[7][name] for name in own[row[0]]} if len(row) > 7 else {}) for row in rows]
    return listed, np.asarray(matrix).reshape(2, 3).tolist()


@pytest.fixture(scope="session")
def pictures() -> dict[str, Any]:
    """Real photographs as uint8 [H, W, 3], whole and cut to awkward sizes: tall, wide, tiny, odd, one pixel wide."""
    data = pytest.importorskip("skimage.data", reason="scikit-image is not installed")
    astronaut, coffee, cat = data.astronaut(), data.coffee(), data.chelsea()
    return {
        "astronaut 512x512": astronaut,
        "coffee 400x600": coffee,
        "cat 300x451": cat,
        "tall 399x133": coffee[1:, 150:283],
        "wide 101x450": cat[60:161, :450],
        "odd 223x225": astronaut[100:323, 150:375],
        "tiny 7x5": astronaut[200:207, 200:205],
        "thin 97x1": astronaut[30:127, 250:251],
        "flat 1x64": coffee[200:201, 100:164],
    }


@pytest.fixture
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Path, Callable[[int], int]]]:
    """A file system of ``SMALL_DISK`` bytes of the test's module, and how to mount it anew; only root may."""
    place = tmp_path / "disk"
    place.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    size = f"size={request.module.SMALL_DISK}".encode()

    def mount(flags: int) -> int:
        return int(libc.mount(b"tmpfs", os.fsencode(place), b"tmpfs", flags, size))

    if sys.platform != "linux" or mount(0) != 0:
        pytest.skip("mounting a small file system is refused here")
    yield place, mount
    libc.umount2(os.fsencode(place), 2)
