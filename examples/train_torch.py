"""A training that may be killed at any moment: a small network learns which photograph a random crop comes from.

python examples/train_torch.py                         trains; killed and started again, it goes on
torchrun --nproc-per-node 2 examples/train_torch.py    the same in two processes, and from there in three, if you like

Model, optimizer and loader are saved together in train-out/, all or nothing. The weights at the end are those of a
training that was never stopped, bit for bit; with several processes also when their number changed on the way.
"""

import argparse
import hashlib
import os
from pathlib import Path

import photographs
import torch
from torch import distributed, nn

import penstock as ps


def training_line(root: Path, rows: int) -> ps.Pipeline:
    """Random crops as uint8 batches; mirrored and normalised on the device."""
    return (
        ps.folder(root / "train").seed(0).shuffle()
        .decode()
        .random_resized_crop(32, 32, scale=(0.2, 0.8))
        .batch(rows, last="drop")
        .to_torch(channels_last=True)
        .random_horizontal_flip()
        .normalize(ps.SIGNED)
        .select("images", "labels")
    )  # fmt: skip


def validation_line(root: Path, classes: tuple[str, ...]) -> ps.Pipeline:
    """The middle of pieces that no training crop covers."""
    line = ps.folder(root / "valid", classes=classes).decode().resize(48, 48).center_crop(32, 32)
    return line.batch(64).to_torch(channels_last=True).normalize(ps.SIGNED).select("images", "labels")


def network(classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(16 * 7 * 7, classes),
    )  # fmt: skip


def backward(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, ranks: int) -> float:
    """Leaves the gradient of the step's mean loss in the parameters; the loss."""
    if ranks == 1:
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        return loss.item()
    # Floating point sums depend on their order. Each sample's gradient is made alone and summed in the order of the
    # samples, so that the sum is the same on any number of ranks; an all_reduce would be faster, and near it.
    own = torch.stack([gradient(model, image, label) for image, label in zip(images, labels, strict=True)])
    everyone = [torch.empty_like(own) for _ in range(ranks)]
    distributed.all_gather(everyone, own)
    mean = torch.stack(everyone, dim=1).flatten(0, 1).mean(dim=0)  # of a step's rows, rank r has every ranks-th
    start = 1
    for parameter in model.parameters():
        parameter.grad = mean[start : start + parameter.numel()].reshape(parameter.shape)
        start += parameter.numel()
    return float(mean[0])


def gradient(model: nn.Module, image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """One sample's loss and its gradient, in one row."""
    loss = nn.functional.cross_entropy(model(image[None]), label[None])
    parts = torch.autograd.grad(loss, list(model.parameters()))
    return torch.cat([loss.detach().reshape(1), *(part.reshape(-1) for part in parts)])


def save(path: Path, state: dict) -> None:
    """All or nothing: whoever is killed meanwhile leaves the file of before."""
    beside = path.with_suffix(".new")
    with beside.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def train(out: Path, steps: int, rows: int, save_every: int, rank: int, ranks: int) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    line = training_line(out / "photographs", rows)
    say = print if rank == 0 else lambda *_, **__: None
    say(line, flush=True)
    assert line.classes is not None
    model = network(len(line.classes)).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    path = out / "state.pt"
    step = 0
    with line.loader(rank=rank, world_size=ranks, across_epochs=True) as loader:
        if path.exists():
            state = torch.load(path, weights_only=True)
            step = state["step"]
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            loader.load_state_dict(state["loader"])
        while step < steps:
            for images, labels in loader:
                optimizer.zero_grad()
                loss = backward(model, images, labels, ranks)
                optimizer.step()
                step += 1
                say(f"step {step}: loss {loss:.4f}", flush=True)
                if rank == 0 and step % save_every == 0:
                    weights = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
                    save(path, {"step": step, "loader": loader.state_dict(), **weights})
                    say(f"saved {step}", flush=True)
                if step == steps:
                    break
    if rank == 0:
        report(model, validation_line(out / "photographs", line.classes))


def report(model: nn.Module, line: ps.Pipeline) -> None:
    """The share of crops that the model knows, and a number that no other weights have."""
    right = total = 0
    with torch.no_grad():
        for images, labels in line:
            right += int((model(images).argmax(dim=1) == labels).sum())
            total += len(labels)
    weights = b"".join(tensor.contiguous().numpy().tobytes() for tensor in model.state_dict().values())
    print(f"accuracy {right / total:.3f}")
    print(f"weights {hashlib.sha256(weights).hexdigest()}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Learn to tell photographs apart.")
    parser.add_argument("--out", type=Path, default=Path("train-out"), help="where photographs and state are kept")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--rows", type=int, default=24, help="of a batch, on each rank")
    parser.add_argument("--save-every", type=int, default=10, help="steps")
    chosen = parser.parse_args()
    rank, ranks = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if ranks > 1:
        distributed.init_process_group("gloo")
    if rank == 0:
        photographs.make(chosen.out / "photographs")
    if ranks > 1:
        distributed.barrier()
    train(chosen.out, chosen.steps, chosen.rows, chosen.save_every, rank, ranks)
    if ranks > 1:
        distributed.destroy_process_group()


if __name__ == "__main__":
    main()
