"""Trainers that hold a loader or a dataset: Lightning, Accelerate and the Hugging Face Trainer, each run for real."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

import penstock as ps
from small_pictures import small_line

torch = pytest.importorskip("torch", reason="torch is not installed")

# What these libraries and their own dependencies say about each other is not about Penstock.
pytestmark = pytest.mark.filterwarnings("ignore")

PIXELS = 12 * 10 * 3


def training() -> ps.Pipeline:
    return small_line().random_horizontal_flip().batch(4, layout="NCHW").to_torch().normalize(ps.UNIT)


def order(epochs: int) -> list[list[int]]:
    """The labels of every batch, epoch after epoch: what a training must have seen."""
    return [batch.labels.tolist() for epoch in range(epochs) for batch in training().run(epoch=epoch)]


# -- Lightning -------------------------------------------------------------------------------------------------------


@pytest.fixture
def lightning(torchvision: Any) -> Any:  # torchmetrics imports it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("lightning", reason="lightning is not installed")


class StoppedError(Exception):
    """What ends a training in the middle of an epoch."""


def lit(lightning: Any, stop_after: int | None = None) -> Any:
    class Lit(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.layer = torch.nn.Linear(PIXELS, 22)
            self.seen: list[tuple[int, int, list[int]]] = []

        def training_step(self, batch: Any, step: int) -> Any:
            if len(self.seen) == stop_after:
                raise StoppedError
            images, labels = batch
            self.seen.append((self.current_epoch, step, labels.tolist()))
            return torch.nn.functional.cross_entropy(self.layer(images.flatten(1)), labels)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)

    return Lit()


def lightning_trainer(lightning: Any, root: Path, *callbacks: Any) -> Any:
    return lightning.Trainer(
        accelerator="cpu",
        max_epochs=3,
        logger=False,
        callbacks=list(callbacks),
        enable_checkpointing=bool(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=root,
    )


def test_lightning_goes_on_in_the_middle_of_an_epoch_by_itself(lightning: Any, tmp_path: Path) -> None:
    line = training().select("images", "labels")
    whole = lit(lightning)
    with line.loader() as loader:
        lightning_trainer(lightning, tmp_path).fit(whole, loader)
    assert [labels for _, _, labels in whole.seen] == order(3)

    save = lightning.pytorch.callbacks.ModelCheckpoint(tmp_path, every_n_train_steps=2, save_top_k=-1)
    stopped = lit(lightning, stop_after=9)
    with line.loader() as loader, pytest.raises(StoppedError):
        lightning_trainer(lightning, tmp_path, save).fit(stopped, loader)
    [checkpoint] = tmp_path.glob("*step=8.ckpt")

    resumed = lit(lightning)
    with line.loader() as loader:
        lightning_trainer(lightning, tmp_path).fit(resumed, loader, ckpt_path=checkpoint)
    assert resumed.seen == whole.seen[8:]
    assert all(torch.equal(a, b) for a, b in zip(resumed.parameters(), whole.parameters(), strict=True))


# -- Accelerate ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("torchvision")
def test_accelerate_leaves_a_loader_as_it_is() -> None:
    accelerate = pytest.importorskip("accelerate", reason="accelerate is not installed")
    accelerator = accelerate.Accelerator(cpu=True)
    with training().select("images", "labels").loader() as loader:
        model = torch.nn.Linear(PIXELS, 22)
        model, optimizer, prepared = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1), loader)
        assert prepared is loader
        seen = []
        for _ in range(2):
            for images, labels in prepared:
                with accelerator.accumulate(model):
                    accelerator.backward(torch.nn.functional.cross_entropy(model(images.flatten(1)), labels))
                    optimizer.step()
                    optimizer.zero_grad()
                seen.append(labels.tolist())
        assert seen == order(2)
        accelerator.register_for_checkpointing(loader)  # saved and loaded with model and optimizer


# -- Hugging Face Trainer --------------------------------------------------------------------------------------------


class Net(torch.nn.Module):
    def __init__(self, stop_after: int | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(PIXELS, 22)
        self.seen: list[list[int]] = []
        self.stop_after = stop_after

    def forward(self, pixel_values: Any, labels: Any = None) -> Any:
        if len(self.seen) == self.stop_after:
            raise StoppedError
        self.seen.append(labels.tolist())
        logits = self.layer(pixel_values.flatten(1))
        return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}


@pytest.fixture
def transformers(torchvision: Any) -> Any:
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    return pytest.importorskip("transformers", reason="transformers is not installed")


def arguments(transformers: Any, root: Path, **more: Any) -> Any:
    settings = {"save_strategy": "no", "logging_strategy": "no", "disable_tqdm": True, "report_to": []} | more
    return transformers.TrainingArguments(
        output_dir=str(root), per_device_train_batch_size=4, num_train_epochs=2, use_cpu=True, **settings
    )


def with_loader(transformers: Any, loader: Any) -> type[Any]:
    class LoaderTrainer(transformers.Trainer):  # type: ignore[misc]
        def get_train_dataloader(self) -> Any:
            return loader

    return LoaderTrainer


def test_the_trainer_of_hugging_face_trains_from_a_loader(transformers: Any, tmp_path: Path) -> None:
    net = Net()
    with training().select(pixel_values="images", labels="labels").loader() as loader:
        with_loader(transformers, loader)(net, arguments(transformers, tmp_path)).train()
        assert loader.epoch == 2
    assert net.seen == order(2)


def test_the_trainer_of_hugging_face_goes_on_with_the_loaders_state(transformers: Any, tmp_path: Path) -> None:
    line = training().select(pixel_values="images", labels="labels")
    whole = Net()
    with line.loader() as loader:
        with_loader(transformers, loader)(whole, arguments(transformers, tmp_path)).train()

    class SaveLoader(transformers.TrainerCallback):  # type: ignore[misc]
        def __init__(self, loader: Any) -> None:
            self.loader = loader

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            (folder / "loader.json").write_text(json.dumps(self.loader.state_dict()))

    saving = arguments(transformers, tmp_path, save_strategy="steps", save_steps=2, ignore_data_skip=True)
    with line.loader() as loader, pytest.raises(StoppedError):
        with_loader(transformers, loader)(Net(stop_after=9), saving, callbacks=[SaveLoader(loader)]).train()

    checkpoint = tmp_path / "checkpoint-8"
    resumed = Net()
    with line.loader() as loader:
        loader.load_state_dict(json.loads((checkpoint / "loader.json").read_text()))
        with_loader(transformers, loader)(resumed, saving).train(resume_from_checkpoint=str(checkpoint))
    assert resumed.seen == order(2)[8:]
    assert all(torch.equal(a, b) for a, b in zip(resumed.parameters(), whole.parameters(), strict=True))


def test_the_trainer_of_hugging_face_trains_with_its_own_data_loader(transformers: Any, tmp_path: Path) -> None:
    data = small_line().random_horizontal_flip().normalize(ps.UNIT)
    data = data.torch_dataset(pixel_values="images", labels="labels")
    net = Net()
    options = arguments(transformers, tmp_path, dataloader_num_workers=1)
    transformers.Trainer(net, options, train_dataset=data).train()
    assert len(net.seen) == 12 and data.epoch == 1  # the Trainer told it of its second epoch
    for epoch in (net.seen[:6], net.seen[6:]):
        assert sorted(label for labels in epoch for label in labels) == list(range(22))
