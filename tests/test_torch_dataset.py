"""torch_dataset(): samples in torch's own DataLoader, with any workers, by any start method, and in its collators."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import penstock as ps
from penstock import cores as cores_module
from penstock.errors import ItemError, PlanError
from small_pictures import small_line, small_pictures

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch.utils.data import DataLoader, Dataset, DistributedSampler  # noqa: E402


def line() -> ps.Pipeline:
    return small_line().random_horizontal_flip().normalize(ps.IMAGENET)


def rows(loader: Any) -> tuple[Any, list[int]]:
    batches = list(loader)
    return torch.cat([batch["images"] for batch in batches]), torch.cat([batch["labels"] for batch in batches]).tolist()


def expected(epoch: int) -> tuple[Any, list[int]]:
    batches = list(line().batch(4, layout="NCHW").run(epoch=epoch))
    images = torch.from_numpy(np.concatenate([batch.images for batch in batches]))
    return images, [label for batch in batches for label in batch.labels.tolist()]


def test_samples_are_those_of_a_run() -> None:
    data = line().torch_dataset()
    assert isinstance(data, Dataset) and len(data) == 22 and type(data).__name__ == "TorchDataset"
    for epoch in (0, 3):
        data.set_epoch(epoch)
        images, labels = expected(epoch)
        assert data.epoch == epoch and [data[i]["labels"] for i in range(22)] == labels
        assert torch.equal(torch.stack([sample["images"] for sample in data]), images)
    assert torch.equal(data[-1]["images"], data[21]["images"]) and data[0]["images"].shape == (3, 12, 10)
    with pytest.raises(IndexError, match="expected a position below 22, found 22"):
        data[22]


@pytest.mark.parametrize(
    ("workers", "start"),
    [(0, None), (2, "fork"), pytest.param(2, "spawn", marks=pytest.mark.slow), (1, "forkserver")],
)
def test_a_data_loader_gets_the_same_samples_from_any_workers(workers: int, start: str | None) -> None:
    data = line().torch_dataset()
    data[0]  # a pool is there when workers are forked: they make their own
    options = {"persistent_workers": True, "multiprocessing_context": start} if workers else {}
    loader = DataLoader(data, batch_size=4, num_workers=workers, **options)
    for epoch in (0, 1):
        data.set_epoch(epoch)  # reaches workers that live on
        images, labels = rows(loader)
        assert labels == expected(epoch)[1] and torch.equal(images, expected(epoch)[0])


def test_samplers_shard_not_the_dataset() -> None:
    data = line().torch_dataset("index")
    seen = []
    for rank in range(2):
        sampler = DistributedSampler(data, num_replicas=2, rank=rank, shuffle=True)
        seen += [i for batch in DataLoader(data, batch_size=3, sampler=sampler) for i in batch["index"].tolist()]
    assert sorted(seen) == list(range(22))


def test_names_are_chosen_as_by_select() -> None:
    sample = line().torch_dataset("keys", "valid", pixel_values="images", labels="labels")[3]
    assert list(sample) == ["keys", "valid", "pixel_values", "labels"]
    assert isinstance(sample["keys"], str) and sample["valid"] is True and isinstance(sample["labels"], int)
    assert line().torch_dataset(layout="NHWC")[0]["images"].shape == (12, 10, 3)
    patches = small_line().resize(8, 8).patchify(4).torch_dataset("images", "positions")[0]
    assert patches["images"].shape == (4, 48) and patches["positions"].shape == (4, 2)
    batch = next(iter(DataLoader(line().torch_dataset("keys", "epoch", "images"), batch_size=3)))
    assert len(batch["keys"]) == 3 and batch["epoch"].tolist() == [0, 0, 0]


def test_the_collator_of_transformers_takes_the_samples() -> None:
    collator = pytest.importorskip("transformers", reason="transformers is not installed").default_data_collator
    data = line().torch_dataset(pixel_values="images", labels="labels")
    batch = collator([data[i] for i in range(4)])
    assert batch["pixel_values"].shape == (4, 3, 12, 10) and batch["labels"].dtype == torch.int64


def test_a_failing_item_is_raised_with_its_sentence_or_blank() -> None:
    broken = small_line(broken=7)
    data = broken.torch_dataset("images", "labels", "valid", "index")
    where = next(batch.index.tolist().index(7) for batch in broken.batch(22).run(on_failure="blank"))
    with pytest.raises(ItemError, match="decode of '7': expected an image"):
        data[where]
    with pytest.raises(ItemError, match="decode of '7': expected an image"):
        list(DataLoader(data, batch_size=4, num_workers=1, multiprocessing_context="fork"))
    blank = broken.torch_dataset("images", "labels", "valid", "index", on_failure="blank")[where]
    assert not blank["images"].any() and (blank["labels"], blank["valid"], blank["index"]) == (-1, False, 7)


def test_it_pickles_small_and_copies() -> None:
    data = ps.blobs(small_pictures(4)).decode().resize(8, 8).torch_dataset()
    data[0]
    text = pickle.dumps(data)
    assert len(text) < 6000 + sum(map(len, small_pictures(4)))
    assert torch.equal(pickle.loads(text)[2]["images"], data[2]["images"])


def test_threads_are_the_cores_shared_by_the_workers(monkeypatch: Any) -> None:
    monkeypatch.setattr(cores_module, "usable_cores", lambda: 12)
    assert DataLoader is not None
    for workers, ranks, threads in ((3, "1", 4), (5, "1", 2), (2, "2", 3), (40, "1", 1)):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", ranks)
        info = type("Info", (), {"num_workers": workers})
        monkeypatch.setattr("torch.utils.data.get_worker_info", lambda info=info: info)
        assert cores_module.threads_of_worker() == threads


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: line().batch(4).torch_dataset(), "expected a line without batch, found batch(4); the DataLoader"),
        (lambda: ps.blobs([b""]).torch_dataset(), "expected images, found encoded bytes; call .decode() before it."),
        (lambda: ps.blobs([b""]).decode().torch_dataset(), "expected images of one size, found uint8 [H, W, 3]"),
        (lambda: line().torch_dataset("image"), "torch_dataset(): expected one of images, labels, keys"),
        (lambda: line().torch_dataset(layout="CHW"), "expected layout= one of 'NHWC', 'NCHW', found 'CHW'."),
        (lambda: line().torch_dataset(on_failure="skip"), "expected on_failure= one of 'raise', 'blank', found 'skip'"),
        (lambda: line().torch_dataset().set_epoch(-1), "expected a whole number of at least 0, found -1"),
    ],
)
def test_what_cannot_be_is_refused(make: Any, sentence: str) -> None:
    with pytest.raises(PlanError) as caught:
        make()
    assert sentence in str(caught.value)


def twice_as_bright(image: Any) -> Any:
    return np.minimum(image.astype(np.int64) * 2, 255).astype(np.uint8)


def test_maps_run_in_their_place() -> None:
    mapped = small_line().map(twice_as_bright, geometry="keep", version="1")
    data = mapped.torch_dataset(layout="NHWC")
    [batch] = mapped.batch(22).run()
    assert all(np.array_equal(data[i]["images"].numpy(), batch.images[i]) for i in range(22))
    after = mapped.batch(22).to_torch().normalize(ps.UNIT)
    [device], [host] = after.run(), mapped.normalize(ps.UNIT).batch(22).run()
    assert np.array_equal(device.images.numpy(), host.images)


def test_a_field_that_the_samples_lack_is_refused() -> None:
    with pytest.raises(PlanError, match=r"expected one of images, labels, .*, found 'sizes'"):
        line().torch_dataset("images", "sizes")[0]
