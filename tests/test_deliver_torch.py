"""to_torch: tensors that are the batch's own memory, verbs that run after it, cards where there are any."""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np
import pytest
from PIL import Image

import penstock as ps
from penstock.errors import EngineError, ItemError, PlanError
from penstock.transform.normalize import Normalize
from small_pictures import small_line, small_pictures

torch = pytest.importorskip("torch", reason="torch is not installed")

needs_card = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is there")


def same_batches(one: Any, other: Any) -> None:
    for host, device in zip(one, other, strict=True):
        assert device.images.cpu().numpy().tobytes() == host.images.tobytes()
        for name in ("labels", "index", "valid", "damaged"):
            column = getattr(device, name)
            assert isinstance(column, torch.Tensor) and np.array_equal(column.cpu().numpy(), getattr(host, name))
        assert device.labels.dtype == torch.int64
        assert np.array_equal(device.geometry.matrices, host.geometry.matrices)
        assert list(device.keys) == list(host.keys) and device.statistics == host.statistics


def augmented(line: ps.Pipeline, **options: Any) -> ps.Pipeline:
    return line.random_horizontal_flip().random_vertical_flip(0.3).normalize(ps.IMAGENET, **options)


@pytest.fixture(params=["in the native loop", "by torch"])
def where(request: Any, monkeypatch: Any) -> str:
    """Where the verbs after to_torch() run: on the CPU in the native loop; a card's own code runs there as well."""
    if request.param == "by torch":
        monkeypatch.setattr(ps.Pipeline, "executed", lambda self: self)
    found: str = request.param
    return found


@pytest.mark.usefixtures("where")
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("on_failure", ["blank", "skip"])
@pytest.mark.parametrize("engine", ["native", "reference"])
def test_what_runs_after_to_torch_gives_the_bits_of_what_runs_before(layout: Any, on_failure: Any, engine: Any) -> None:
    line = small_line(broken=5)
    before = augmented(line).batch(4, layout=layout)
    after = augmented(line.batch(4, layout=layout).to_torch())
    for epoch in range(2):
        options = {"epoch": epoch, "on_failure": on_failure, "engine": engine}
        same_batches(before.run(**options), after.run(**options))


@pytest.mark.usefixtures("where")
def test_random_verbs_before_and_after_draw_as_if_all_came_before() -> None:
    line = small_line()
    before = line.random_crop(8, 8).random_horizontal_flip().batch(5)
    after = line.random_crop(8, 8).batch(5).to_torch().random_horizontal_flip()
    same_batches(before.run(), after.run())
    flipped = [b.images for b in line.batch(5).to_torch().random_horizontal_flip(1.0).run()]
    plain = [b.images for b in line.batch(5).run()]
    assert all(np.array_equal(a.numpy(), b[:, :, ::-1]) for a, b in zip(flipped, plain, strict=True))


@pytest.mark.usefixtures("where")
def test_narrow_floats_are_rounded_as_on_the_cpu() -> None:
    pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    for dtype in ("float16", "bfloat16"):
        before = small_line().normalize(ps.CLIP, dtype=dtype).batch(8)
        after = small_line().batch(8).to_torch().normalize(ps.CLIP, dtype=dtype)
        handed = small_line().normalize(ps.CLIP, dtype=dtype).batch(8).to_torch()
        for host, device, tensor in zip(before.run(), after.run(), handed.run(), strict=True):
            assert device.images.dtype == tensor.images.dtype == getattr(torch, dtype)
            assert torch.equal(device.images, tensor.images)
            assert device.images.view(torch.int16).numpy().tobytes() == host.images.tobytes()
        assert device.sheet(2).size == host.sheet(2).size


@pytest.mark.usefixtures("where")
def test_sixteen_bit_pixels() -> None:
    deep = [np.random.default_rng(i).integers(0, 65536, (9, 7, 3), dtype=np.uint16) for i in range(5)]
    files = []
    for image in deep:
        file = io.BytesIO()
        Image.fromarray(image[..., 0]).save(file, "PNG")
        files.append(file.getvalue())
    line = ps.blobs(files).decode(mode="L", depth=16).center_crop(8, 6)
    before = line.random_horizontal_flip().normalize(ps.UNIT).batch(3)
    after = line.batch(3).to_torch().random_horizontal_flip().normalize(ps.UNIT)
    assert line.batch(3).to_torch().spec.dtype == "uint16"
    same_batches(before.run(), after.run())


def test_on_the_cpu_nothing_is_copied() -> None:
    with small_line().batch(4).to_torch().run() as run:
        batch = next(run)
    address = batch.images.data_ptr()
    assert address % 64 == 0 and batch.images.numpy().ctypes.data == address
    batch = next(iter(small_line().batch(4).run()))
    moved = batch.to("cpu")
    assert moved.images.data_ptr() == batch.images.ctypes.data and moved.labels.dtype == torch.int64
    assert moved.keys == batch.keys and isinstance(batch.images, np.ndarray)
    assert moved.to("cpu").images is moved.images


@pytest.mark.usefixtures("where")
def test_channels_last_is_a_view_of_nhwc_memory() -> None:
    plain = list(small_line().batch(4).run())
    line = small_line().batch(4).to_torch(channels_last=True)
    assert line.spec.shape() == (3, 12, 10) and str(line.spec) == "uint8 [4, 3, 12, 10] 0..255 on torch cpu"
    for host, batch in zip(plain, line.run(), strict=True):
        assert batch.images.is_contiguous(memory_format=torch.channels_last) and batch.layout == "NCHW"
        assert np.array_equal(batch.images.permute(0, 2, 3, 1).numpy(), host.images)
        assert batch[0].show().size == (10, 12)
    same = augmented(small_line()).batch(4, layout="NCHW")
    line = augmented(small_line().batch(4).to_torch(channels_last=True))
    for host, batch in zip(same.run(), line.run(), strict=True):
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
        assert np.array_equal(batch.images.numpy(), host.images)


@pytest.mark.usefixtures("where")
def test_select_hands_over_tensors() -> None:
    line = small_line().batch(4).to_torch().normalize(ps.UNIT)
    images, labels, keys = next(iter(line.select("images", "labels", "keys").run()))
    assert images.dtype == torch.float32 and labels.dtype == torch.int64 and isinstance(keys[0], str)
    named = next(iter(line.select(pixel_values="images", labels="labels").run()))
    assert torch.equal(named["pixel_values"], images) and torch.equal(named["labels"], labels)


@pytest.mark.usefixtures("where")
def test_ragged_batches_and_patches_are_handed_over() -> None:
    line = ps.blobs(small_pictures(5)).decode()
    listed = next(iter(line.batch(3, ragged="list").to_torch().run()))
    assert [tuple(image.shape) for image in listed.images] == [(40, 31, 3), (40, 32, 3), (40, 33, 3)]
    padded = next(iter(line.batch(3, ragged="pad").to_torch().run()))
    assert padded.sizes.tolist() == [[40, 31], [40, 32], [40, 33]] and "padded" in repr(padded)
    patches = next(iter(line.resize(8, 8).patchify(4).batch(3).to_torch().run()))
    assert patches.images.shape == (3, 4, 48) and patches.positions.shape == (3, 4, 2)
    buckets = line.batch(2, ragged="bucket").to_torch().normalize(ps.UNIT)
    host = line.normalize(ps.UNIT).batch(2, ragged="bucket")
    same_batches(host.run(), buckets.run())


@pytest.mark.usefixtures("where")
def test_a_state_goes_on_where_it_was_taken_and_fingerprints_know_the_verbs_behind() -> None:
    line = augmented(small_line().batch(4).to_torch())
    with line.loader() as loader:
        whole = [(batch.index.tolist(), batch.images) for batch in loader]
        second = iter(loader)
        next(second)
        state = loader.state_dict()
        rest = [batch.images for batch in second]
    with line.loader() as loader:
        loader.load_state_dict(state)
        assert all(torch.equal(a, b.images) for a, b in zip(rest, loader, strict=True))
    assert len(whole) == 6
    plain = small_line().batch(4)
    assert plain.to_torch().fingerprint == plain.fingerprint == plain.to_torch("cuda").fingerprint
    assert line.fingerprint != plain.fingerprint
    with plain.loader() as loader, pytest.raises(PlanError, match="found another"):
        loader.load_state_dict(state)


@pytest.mark.usefixtures("where")
def test_a_step_is_made_again_with_what_runs_on_the_device() -> None:
    line = augmented(small_line().batch(4).to_torch())
    third = list(line.run(epoch=2))[3]
    assert torch.equal(line.batch_at(3, epoch=2).images, third.images)


def test_a_failure_is_raised_in_its_turn() -> None:
    line = small_line(broken=7).batch(2).to_torch()
    order = [batch.index.tolist() for batch in small_line(broken=7).batch(2).run(on_failure="blank")]
    expected = next(step for step, rows in enumerate(order) if 7 in rows)
    with line.run() as run:
        for _ in range(expected):
            next(run)
        with pytest.raises(ItemError, match="decode of '7'"):
            next(run)


def test_a_closed_run_hands_nothing_over() -> None:
    run = small_line().batch(2).to_torch().run()
    next(run)
    run.close()
    with pytest.raises(EngineError, match="found it closed"):
        next(run)


def test_a_line_with_a_target_is_a_value() -> None:
    line = augmented(small_line().batch(4).to_torch("cuda:1"))
    assert pickle.loads(pickle.dumps(line)) == line and hash(line) == hash(pickle.loads(pickle.dumps(line)))
    assert line.spec.memory == "cuda:1" and line.random and "on cuda:1" in str(line)
    assert small_line().batch(4).to_torch(torch.device("cuda", 2)).spec.memory == "cuda:2"
    assert small_line().batch(4).to_torch(3).spec.memory == "cuda:3"


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda line: line.to_torch(), "to_torch(): expected a line with batches, found none; call .batch(n)"),
        (lambda line: line.batch(2).to_torch().to_jax(), "to_jax(): expected one target, found a second one after"),
        (lambda line: line.batch(2).select("images").to_torch(), "to_torch(): expected to come before select"),
        (lambda line: line.batch(2).to_torch(True), "to_torch(True): expected a device such as 'cuda', found True."),
        (lambda line: line.batch(2).to_torch(1.5), "to_torch(1.5): expected a device such as 'cuda', found 1.5."),
        (
            lambda line: line.batch(2).to_torch(channels_last=1),
            "to_torch(channels_last=1): expected channels_last= True or False, found 1.",
        ),
        (
            lambda line: line.batch(2).to_torch().random_crop(4, 4),
            "random_vertical_flip after to_torch(), found random_crop; call it before .batch().",
        ),
        (
            lambda line: line.batch(2).to_torch().normalize(ps.UNIT).random_horizontal_flip(),
            "found float32; call it before .normalize(), which comes last.",
        ),
        (
            lambda line: line.normalize(ps.UNIT).batch(2).to_torch().normalize(ps.UNIT),
            "expected pixels that are not normalized yet",
        ),
        (
            lambda line: line.batch(2, layout="NCHW").to_torch(channels_last=True),
            "expected batch(n, layout='NHWC'), whose memory torch calls channels_last, found layout='NCHW'",
        ),
        (lambda line: line.batch(2).to_torch().decode(), "decode(): expected one of normalize"),
        (lambda line: line.batch(2).to_torch().seed(1), "seed(1): expected to come before batch"),
        (
            lambda line: line.patchify(2).batch(2).to_torch().normalize(ps.UNIT),
            "expected an image, found patches",
        ),
    ],
)
def test_what_cannot_be_is_refused(make: Any, sentence: str) -> None:
    with pytest.raises(PlanError) as caught:
        make(small_line())
    assert sentence in str(caught.value)


def test_ragged_images_take_no_verbs_on_the_device() -> None:
    line = ps.blobs(small_pictures(5)).decode().batch(2, ragged="pad").to_torch()
    with pytest.raises(PlanError, match="expected images of one size after to_torch"):
        line.normalize(ps.UNIT)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is there")
def test_without_a_card_cuda_is_refused_in_a_sentence() -> None:
    for name in ("cuda:0", "cuda"):
        with pytest.raises(PlanError, match=rf"to_torch\('{name}'\): expected a CUDA device, found none"):
            next(iter(small_line().batch(2).to_torch(name).run()))
    batch = next(iter(small_line().batch(2).run()))
    with pytest.raises(PlanError, match="expected a CUDA device, which pins the memory, found none"):
        batch.pin_memory()


@pytest.mark.usefixtures("where")
def test_every_normalisation_of_every_byte() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    for statistics in (ps.IMAGENET, ps.CLIP, ps.SIGNED, ps.UNIT):
        verb = Normalize(statistics)
        before = ps.arrays([ramp]).center_crop(16, 16).normalize(verb.mean, verb.std).batch(1)
        after = ps.arrays([ramp]).center_crop(16, 16).batch(1).to_torch().normalize(verb.mean, verb.std)
        same_batches(before.run(), after.run())


@needs_card
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_a_card_gets_the_same_bits(layout: Any) -> None:
    before = augmented(small_line(broken=5)).batch(4, layout=layout)
    after = augmented(small_line(broken=5).batch(4, layout=layout).to_torch("cuda"))
    for epoch in range(3):
        same_batches(before.run(epoch=epoch, on_failure="blank"), after.run(epoch=epoch, on_failure="blank"))


@needs_card
def test_a_card_gets_the_next_batch_while_this_one_is_worked_on() -> None:
    line = augmented(small_line().batch(2).to_torch("cuda"))
    with line.loader(prefetch=4) as loader:
        for _ in range(2):
            sums = [batch.images.double().sum() for batch in loader]
    plain = [batch.images.astype(np.float64).sum() for batch in augmented(small_line()).batch(2).run(epoch=1)]
    assert np.allclose([float(value) for value in sums], plain)
    batch = next(iter(small_line().batch(2).run())).pin_memory()
    assert batch.images.is_pinned() and batch.to("cuda").images.device.type == "cuda"
