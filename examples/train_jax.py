"""A training that may be killed at any moment: a small network learns which photograph a random crop comes from.

python examples/train_jax.py    trains; killed and started again, it goes on

Parameters and loader are saved together in train-out/, all or nothing. The parameters at the end are those of a training
that was never stopped, bit for bit.
"""

import argparse
import hashlib
import json
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import photographs

import penstock as ps

RATE, FIRST, SECOND = 3e-3, 0.9, 0.999  # Adam's


def training_line(root: Path, rows: int) -> ps.Pipeline:
    """Random crops as uint8 batches; mirrored and normalised on the device."""
    return (
        ps.folder(root / "train").seed(0).shuffle()
        .decode()
        .random_resized_crop(32, 32, scale=(0.2, 0.8))
        .batch(rows, last="drop")
        .to_jax()
        .random_horizontal_flip()
        .normalize(ps.SIGNED)
        .select("images", "labels")
    )  # fmt: skip


def validation_line(root: Path, classes: tuple[str, ...]) -> ps.Pipeline:
    """The middle of pieces that no training crop covers."""
    line = ps.folder(root / "valid", classes=classes).decode().resize(48, 48).center_crop(32, 32)
    return line.batch(64).to_jax().normalize(ps.SIGNED).select("images", "labels")


def parameters(classes: int) -> dict[str, jax.Array]:
    first, second, last = jax.random.split(jax.random.key(0), 3)
    return {
        "first": jax.random.normal(first, (3, 3, 3, 8)) * 0.2,
        "second": jax.random.normal(second, (3, 3, 8, 16)) * 0.1,
        "last": jax.random.normal(last, (7 * 7 * 16, classes)) * 0.03,
        "bias": jnp.zeros(classes),
    }


def logits(weights: dict[str, jax.Array], images: jax.Array) -> jax.Array:
    x = images
    for name in ("first", "second"):
        x = jax.lax.conv_general_dilated(x, weights[name], (2, 2), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        x = jax.nn.relu(x)
    return x.reshape(len(x), -1) @ weights["last"] + weights["bias"]


def loss_of(weights: dict[str, jax.Array], images: jax.Array, labels: jax.Array) -> jax.Array:
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits(weights, images)), labels[:, None], axis=1)
    return -chosen.mean()


@jax.jit
def update(kept: dict, step: int, images: jax.Array, labels: jax.Array) -> tuple[dict, jax.Array]:
    """One step of Adam: ``kept`` holds the weights and both moments."""
    loss, gradient = jax.value_and_grad(loss_of)(kept["weights"], images, labels)
    first = jax.tree.map(lambda m, g: FIRST * m + (1 - FIRST) * g, kept["first"], gradient)
    second = jax.tree.map(lambda v, g: SECOND * v + (1 - SECOND) * g * g, kept["second"], gradient)

    def moved(weight: jax.Array, m: jax.Array, v: jax.Array) -> jax.Array:
        return weight - RATE * (m / (1 - FIRST**step)) / (jnp.sqrt(v / (1 - SECOND**step)) + 1e-8)

    weights = jax.tree.map(moved, kept["weights"], first, second)
    return {"weights": weights, "first": first, "second": second}, loss


def save(path: Path, kept: dict, state: dict) -> None:
    """All or nothing: whoever is killed meanwhile leaves the file of before."""
    beside = path.with_suffix(".new")
    arrays = {f"{kind}/{name}": np.asarray(array) for kind, each in kept.items() for name, array in each.items()}
    with beside.open("wb") as file:
        np.savez(file, state=np.array(json.dumps(state)), **arrays)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def load(path: Path) -> tuple[dict, dict]:
    kept: dict[str, dict[str, jax.Array]] = {}
    with np.load(path) as arrays:
        for kind, name in (key.split("/") for key in arrays if "/" in key):
            kept.setdefault(kind, {})[name] = jnp.asarray(arrays[f"{kind}/{name}"])
        return kept, json.loads(str(arrays["state"]))


def train(out: Path, steps: int, rows: int, save_every: int) -> None:
    photographs.make(out / "photographs")
    line = training_line(out / "photographs", rows)
    print(line, flush=True)
    assert line.classes is not None
    path = out / "state.npz"
    weights = parameters(len(line.classes))
    zeros = jax.tree.map(jnp.zeros_like, weights)
    kept = {"weights": weights, "first": zeros, "second": zeros}
    step = 0
    with line.loader() as loader:
        if path.exists():
            kept, state = load(path)
            step = state["step"]
            loader.load_state_dict(state["loader"])
        while step < steps:
            for images, labels in loader:
                step += 1
                kept, loss = update(kept, step, images, labels)
                print(f"step {step}: loss {float(loss):.4f}", flush=True)
                if step % save_every == 0:
                    save(path, kept, {"step": step, "loader": loader.state_dict()})
                    print(f"saved {step}", flush=True)
                if step == steps:
                    break
    report(kept["weights"], validation_line(out / "photographs", line.classes))


def report(weights: dict, line: ps.Pipeline) -> None:
    """The share of crops that the model knows, and a number that no other weights have."""
    right = total = 0
    for images, labels in line:
        right += int((logits(weights, images).argmax(axis=1) == labels).sum())
        total += len(labels)
    held = b"".join(np.asarray(weights[name]).tobytes() for name in sorted(weights))
    print(f"accuracy {right / total:.3f}")
    print(f"weights {hashlib.sha256(held).hexdigest()}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Learn to tell photographs apart.")
    parser.add_argument("--out", type=Path, default=Path("train-out"), help="where photographs and state are kept")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--rows", type=int, default=24, help="of a batch")
    parser.add_argument("--save-every", type=int, default=10, help="steps")
    chosen = parser.parse_args()
    train(chosen.out, chosen.steps, chosen.rows, chosen.save_every)


if __name__ == "__main__":
    main()
