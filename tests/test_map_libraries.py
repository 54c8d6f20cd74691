"""Albumentations and torchvision in a map: the same pixels for any number of threads and in processes."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

import map_functions as fns
import penstock as ps

COUNT = 400


@pytest.fixture(scope="module")
def base() -> ps.Pipeline:
    rng = np.random.default_rng(0)
    return ps.arrays([rng.integers(0, 255, (24, 24, 3), np.uint8) for _ in range(COUNT)]).center_crop(24, 24)


@pytest.fixture(scope="module")
def composed() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_ALBUMENTATIONS_UPDATE", "1")  # its import would ask the network for a newer version
        library = pytest.importorskip("albumentations", reason="albumentations is not installed")
    return library.Compose(
        [
            library.HorizontalFlip(p=0.5),
            library.RandomBrightnessContrast(p=0.8),
            library.GaussNoise(p=0.5),
            library.Affine(rotate=(-20, 20), p=0.7),
        ]
    )


def images(line: ps.Pipeline, **options: Any) -> np.ndarray[Any, Any]:
    with line.batch(50).run(epoch=1, **options) as run:
        return np.concatenate([batch.images for batch in run])


def check(base: ps.Pipeline, function: Any, workers: int) -> None:
    line = base.map(function)
    serial = images(line, engine="reference")
    assert (serial[:-1] != serial[1:]).any()
    for threads in (1, 4):
        np.testing.assert_array_equal(images(line, threads=threads), serial)
    np.testing.assert_array_equal(images(base.map(function, workers=workers), threads=2), serial)
    np.testing.assert_array_equal(line.batch(50).batch_at(3, epoch=1).images, serial[150:200])


@pytest.mark.timeout(900)
def test_albumentations_is_the_same_in_threads_and_processes(base: ps.Pipeline, composed: Any):
    check(base, ps.albumentations(composed), workers=1)
    line = base.map(ps.albumentations(composed))
    assert "albumentations(Compose), in threads, a copy for each thread" in str(line)
    assert line.fingerprint == base.map(ps.albumentations(composed)).fingerprint


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("torchvision")
def test_torchvision_is_the_same_in_threads_and_processes(base: ps.Pipeline):
    function = ps.torchvision(fns.TorchTransforms())
    check(base, function, workers=1)
    assert "torchvision(TorchTransforms), in threads, one at a time under a lock" in str(base.map(function))
    assert base.map(function).fingerprint == base.map(ps.torchvision(fns.TorchTransforms())).fingerprint


def test_the_global_generators_are_left_as_they_were(base: ps.Pipeline):
    torch = pytest.importorskip("torch", reason="torch is not installed")

    def draw(tensor: Any) -> Any:
        shift = int(torch.randint(9, ())) + random.randrange(9) + int(np.random.randint(9))  # noqa: NPY002
        return (tensor // 2 + shift).to(torch.uint8)

    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    images(base.map(ps.torchvision(draw), version="1"), threads=2)
    assert torch.equal(states[0], torch.get_rng_state()) and states[1] == random.getstate()
    assert states[2] == np.random.get_state()[1].tolist()  # noqa: NPY002


def test_what_is_no_transform_is_refused():
    for make in (ps.albumentations, ps.torchvision):
        with pytest.raises(ps.PlanError, match="expected a transform"):
            make(3)


def test_an_answer_that_is_no_tensor_is_a_failure(base: ps.Pipeline):
    pytest.importorskip("torch", reason="torch is not installed")
    line = base.map(ps.torchvision(lambda tensor: 3), version="1").batch(4)
    with pytest.raises(ps.ItemError, match=r"TypeError: a tensor .* the transform answered int"):
        next(line.run())
