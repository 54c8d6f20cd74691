"""Random combinations of everything a line can have: both engines, every thread and replay agree; nothing is lost."""

from __future__ import annotations

import dataclasses
import pickle
import random
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import map_functions as fns
import penstock as ps
from many_sources import BOXES, MASKS, SOURCES, chance, write
from penstock.errors import PlanError

CASES = 60


class Refused(Exception):  # noqa: N818 - it is no error of the line's
    """A combination that is refused, with its sentence."""


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("combinations")
    write(folder)
    return folder


# -- drawing a line ----------------------------------------------------------------------------------------------------


def odd(item: Any) -> bool:
    return item.index % 3 != 1


def group(item: Any) -> int:
    return item.index // 3


ORDERS: dict[str, Any] = {
    "shuffle": lambda draws, line: line.shuffle(),
    "window": lambda draws, line: line.shuffle(window=draws.randrange(1, 6)),
    "take": lambda draws, line: line.take(draws.randrange(3, 12)),
    "skip": lambda draws, line: line.skip(draws.randrange(4)),
    "filter": lambda draws, line: line.filter(odd),
    "split": lambda draws, line: line.split(train=0.8, val=0.2)["train"],
    "split by": lambda draws, line: line.split(by=draws.choice((group, "class", "mix")), train=0.7, val=0.3)["train"],
    "sample": lambda draws, line: line.sample_by("weight", n=draws.choice((None, 9, 20))),
    "weights": lambda draws, line: line.sample_by([1.0 + i % 2 for i in range(len(line.source))], n=15),
    "balance": lambda draws, line: line.balance(draws.choice(("label", "class", "mix", "weight"))),
}


MAPS: dict[str, Any] = {
    "keep": lambda line: line.map(fns.invert, geometry="keep"),
    "random": lambda line: line.map(fns.noise, geometry="keep"),
    "item": lambda line: line.map(fns.relabel, on="item", geometry="keep"),
    "returned": lambda line: line.map(fns.halved, geometry="returned", out="any"),
    "shifted": lambda line: line.map(fns.shifted, geometry="returned"),
    "unknown": lambda line: line.map(fns.in_place),
    "raises": lambda line: line.map(fns.sometimes_raises, geometry="keep"),
}


SIZES: dict[str, Any] = {
    "crop": lambda line: line.crop((2, 2, 22, 24)).resize(12, 10),
    "random crop": lambda line: line.crop((0, 0, 24, 24)).random_resized_crop(12, 10),
    "cover": lambda line: line.resize(12, 10, fit="cover"),
    "fill": lambda line: line.resize(12, 10),
    "inside": lambda line: line.resize(14, 12, fit="inside"),
    "nothing": lambda line: line,
}

VERBS: dict[str, Any] = {
    "flip": lambda line: line.random_horizontal_flip(),
    "jitter": lambda line: line.random_color_jitter(brightness=0.3),
    "turn": lambda line: line.random_rotate90(0.5),
    "affine": lambda line: line.random_affine(20, fill=3),
    "pad": lambda line: line.pad(2, 0, 1, 3, fill=9),
    "normalize": lambda line: line.normalize(ps.IMAGENET, dtype="float16"),
}


def companion(draws: random.Random, line: ps.Pipeline, kind: str) -> ps.Pipeline:
    pattern = MASKS.get(kind, draws.choice(("../../mask/{stem}.png", "../mask/{stem}.png", "nothing")))
    if chance(draws, 0.3):
        return line.companion(beside=pattern, mode="image")
    return line.companion(mask=pattern, outside=21, dtype=draws.choice(("uint8", "int32")))


def worked(draws: random.Random, kind: str) -> list[Any]:
    """Verbs, maps, companions and targets, each at its place: functions of a line."""
    steps = [SIZES[draws.choice(sorted(SIZES)[:4] + sorted(SIZES))]]
    steps += [VERBS[name] for name in draws.sample(sorted(VERBS), draws.randrange(4))]
    if chance(draws, 0.35):
        steps.append(lambda line: companion(draws, line, kind))
    if chance(draws, 0.35):
        steps.append(lambda line: line.targets(boxes=BOXES.get(kind, "boxes"), clip=chance(draws, 0.5)))
    steps += [MAPS[name] for name in draws.sample(sorted(MAPS), draws.choice((0, 0, 1, 1, 2)))]
    draws.shuffle(steps)
    return steps


def batched(draws: random.Random, line: ps.Pipeline, kind: str) -> ps.Pipeline:
    given: dict[str, Any] = {"last": draws.choice(("short", "short", "drop", "blank"))}
    if chance(draws, 0.3):
        given["layout"] = "NCHW"
    if line.spec.ragged:
        given["ragged"] = draws.choice(("pad", "list", "bucket"))
    if "several" in kind or chance(draws, 0.1):
        given["images"] = draws.choice((4, 6, 12))
    if chance(draws, 0.5 if "ids" in line.source.field_names else 0.02):
        given["pad"] = {"ids": draws.choice((3, 5))}
    return line.batch(draws.choice((2, 3, 5)), **given)


def after(draws: random.Random) -> list[Any]:
    """What comes behind batch."""
    steps: list[Any] = [] if chance(draws, 0.85) else [lambda line: line.map(ps.mixup(0.4, classes=400), on="batch")]
    if chance(draws, 0.3):
        steps.append(lambda line: line.to_torch("cpu"))
        steps += [VERBS[name] for name in draws.sample(("flip", "normalize", "jitter"), draws.randrange(3))]
    return steps


def unless_refused(line: ps.Pipeline, step: Any) -> ps.Pipeline:
    """The line with one more step, or as it was where that is refused: with a sentence, and with nothing else."""
    try:
        made: ps.Pipeline = step(line)
    except PlanError as error:
        expect_sentence(error)
        return line
    return made


def expect_sentence(error: PlanError) -> None:
    text = str(error)
    assert ": expected " in text and ", found " in text and text.endswith("."), text


def drawn(draws: random.Random, root: Path) -> ps.Pipeline:
    kind = draws.choice(sorted(SOURCES))
    line = SOURCES[kind](root)
    if chance(draws, 0.7):
        line = line.seed(draws.randrange(9))
    for name in draws.choices(sorted(ORDERS), k=draws.randrange(4)):
        line = unless_refused(line, partial(ORDERS[name], draws))
    line = unless_refused(line, lambda line: line.decode())
    for step in worked(draws, kind):
        line = unless_refused(line, step)
    for _ in range(20):
        line = unless_refused(line, lambda line: batched(draws, line, kind))
        if line.batching is not None:
            break
    else:
        raise Refused("no batch could hold it")
    for step in after(draws):
        line = unless_refused(line, step)
    return line


# -- what must hold ----------------------------------------------------------------------------------------------------


def plain(value: Any) -> Any:
    """Tensors as arrays, whatever they are in."""
    if hasattr(value, "detach"):
        return value.numpy()
    return value


def same(one: Any, other: Any, what: str) -> None:
    """Equal to the bit, whatever it is, but for the last bits of a matrix."""
    one, other = plain(one), plain(other)
    if isinstance(one, np.ndarray):
        assert isinstance(other, np.ndarray) and one.dtype == other.dtype and one.shape == other.shape, what
        close = "geometry" in what or "targets" in what
        if close:
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9, err_msg=what)
        elif one.tobytes() != other.tobytes():
            raise AssertionError(f"{what}: {np.argwhere(one != other)[:3].tolist()} differ first")
    elif dataclasses.is_dataclass(one) and not isinstance(one, (type, ps.Failure)):
        for field in dataclasses.fields(one):
            if field.name != "_draws":
                same(getattr(one, field.name), getattr(other, field.name), f"{what}.{field.name}")
    elif hasattr(one, "keys") and not isinstance(one, str):
        assert list(one) == list(other), what
        for name in one:
            same(one[name], other[name], f"{what}.{name}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), what
        for row, (left, right) in enumerate(zip(one, other, strict=True)):
            same(left, right, f"{what}[{row}]")
    else:
        assert one == other, f"{what}: {one!r}, {other!r}"


def taken(line: ps.Pipeline, **options: Any) -> tuple[list[Any], Any]:
    with line.run(**options) as run:
        made = list(run)
    assert run.clean + len(run.damaged) + len(run.failures) == run.reached
    notes = {name: count for name, count in run.notes.items() if not name.startswith("pillow: ")}
    return made, (notes, run.failures.by_cause(), [str(damage) for damage in run.damaged], run.reached)


def indices_of(batches: list[Any]) -> Counter[int]:
    return Counter(index for batch in batches for index in plain(batch.index).tolist() if index >= 0)


def check(draws: random.Random, line: ps.Pipeline) -> None:
    policy: Any = draws.choice(("blank", "blank", "skip", "replace"))
    epoch = draws.randrange(3)
    str(line), hash(line)
    assert pickle.loads(pickle.dumps(line)) == line
    try:
        made, accounts = taken(line, threads=1, on_failure=policy, epoch=epoch)
    except PlanError as error:
        expect_sentence(error)
        raise Refused(str(error)) from None
    if line.batching is not None and line.batching.last != "drop":
        assert accounts[-1] == line.items
    for options in ({"threads": 3}, {"engine": "reference"}):
        others, theirs = taken(pickle.loads(pickle.dumps(line)), on_failure=policy, epoch=epoch, **options)
        same(made, others, f"{options}")
        assert accounts == theirs
    for batch in made:
        same(batch, line.batch_at(batch.step, epoch=epoch, on_failure=policy), "batch_at")
    for index in {index for batch in made[:2] for index in plain(batch.index).tolist() if index >= 0}:
        if not line.source.several:
            assert str(line.explain(index, epoch=epoch)) and line.sample(index, epoch=epoch).index == index
    world, equal = draws.choice((2, 3)), policy != "skip" and chance(draws, 0.5)
    ranks, steps = [], []
    for rank in range(world):
        options = {"rank": rank, "world_size": world, "equal_batches": equal, "epoch": epoch}
        batches, _ = taken(line, on_failure=policy, **options)
        steps.append(len(batches))
        ranks += batches
        promised = len(line.run(on_failure=policy, **options))
        assert len(batches) == promised or policy == "skip"
    assert not equal or len(set(steps)) == 1
    if line.batching.last != "drop" and policy != "skip" and line.batching.ragged != "bucket":
        assert indices_of(ranks) == indices_of(made)
    if len(line):
        resumed(draws, line, made, policy, epoch)


def resumed(draws: random.Random, line: ps.Pipeline, made: list[Any], policy: Any, epoch: int) -> None:
    stop = draws.randrange(len(made) + 1)
    with line.loader(on_failure=policy, epoch=epoch) as loader:
        batches = iter(loader)
        for _ in range(stop):
            next(batches)
        state = loader.state_dict()
    if state["epoch"] == epoch:
        with line.loader(on_failure=policy, threads=2) as loader:
            loader.load_state_dict(state)
            rest = list(loader)
        for batch in rest:
            batch.step += state["steps"]
        same(made[stop:], rest, "resumed")


@pytest.mark.parametrize("case", range(CASES))
def test_features_hold_together(root: Path, case: int) -> None:
    draws = random.Random(case)
    for _ in range(20):  # until one is not refused
        try:
            check(draws, drawn(draws, root))
        except Refused:
            continue
        break


# -- pairs of features -------------------------------------------------------------------------------------------------


def photos(root: Path) -> ps.Pipeline:
    return ps.folder(root / "photos").seed(3).shuffle().decode()


def follow(line: ps.Pipeline) -> ps.Pipeline:
    return line.companion(mask="../../mask/{stem}.png", outside=30)


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_a_companion_follows_the_steps_behind_a_map_that_keeps(root: Path, engine: Any) -> None:
    def line(mapped: bool) -> ps.Pipeline:
        begun = photos(root).resize(20, 22)
        kept = begun.map(fns.invert, geometry="keep") if mapped else begun
        return follow(kept.random_resized_crop(12, 10).random_horizontal_flip().random_rotate90(0.5).resize(8, 8))

    both = [taken(line(mapped).batch(20), on_failure="blank", engine=engine)[0][0] for mapped in (True, False)]
    assert both[0].valid.sum() > 5 and np.array_equal(both[0].companions["mask"], both[1].companions["mask"])
    assert not np.array_equal(both[0].images, both[1].images)


REFUSED: dict[str, tuple[Any, str]] = {
    "a companion behind a map of unknown geometry": (
        lambda line: follow(line.map(fns.invert)),
        r"^companion\(mask=.*\): expected to know where the pixels went, found the stage map invert, which does not",
    ),
    "a map of unknown geometry behind a companion": (
        lambda line: follow(line).map(fns.invert),
        r"^map\(.*\): expected to know where the pixels went, found the stage map invert, which does not say",
    ),
    "targets behind a map of unknown geometry": (
        lambda line: line.map(fns.invert).targets(boxes="class"),
        r"^targets\(.*\): expected to know where the pixels went, found the stage map invert",
    ),
    "a companion and a map that says a matrix": (
        lambda line: follow(line.map(fns.shifted, geometry="returned")),
        r"^companion\(.*\): expected maps that leave each pixel where it is .*, found map shifted with geometry='retur",
    ),
    "a companion and a map that makes another size": (
        lambda line: follow(line).map(fns.trimmed, geometry="keep", out="any"),
        r"^map\(.*\): expected maps that leave each pixel where it is .*, found map trimmed with out='any'",
    ),
    "mixup of patches": (
        lambda line: line.resize(8, 8).patchify(4).batch(2).map(ps.mixup(1, 3), on="batch"),
        r"^map\(.*\): expected images of one size, found patches",
    ),
    "mixup of images of any size": (
        lambda line: line.batch(2, ragged="pad").map(ps.cutmix(1, 3), on="batch"),
        r"^map\(.*\): expected images of one size, found images that have each their own",
    ),
    "mixup of several images an item": (
        lambda line: line.resize(8, 8).batch(2, images=4).map(ps.mixup(1, 3), on="batch"),
        r"^map\(.*\): expected one image for each label, found batches with images=\.$",
    ),
}


@pytest.mark.parametrize("pair", REFUSED)
def test_what_cannot_hold_together_is_refused(root: Path, pair: str) -> None:
    make, sentence = REFUSED[pair]
    with pytest.raises(PlanError, match=sentence):
        make(ps.folder(root / "photos").decode())


def test_a_stand_in_has_what_a_map_on_items_made_of_it(root: Path) -> None:
    line = ps.tar(root / "shard.tar").seed(1).shuffle().decode().crop((0, 0, 20, 20))
    line = line.map(fns.relabel, on="item", geometry="keep").batch(4)
    for engine in ("native", "reference"):
        batches, _ = taken(line, on_failure="replace", engine=engine)
        rows = [row for batch in batches for row in batch]
        assert sum(row.replaced_by is not None and row.replaced_by >= 0 for row in rows) == 3
        for row in rows:
            of = row.index if row.replaced_by is None or row.replaced_by < 0 else row.replaced_by
            assert row.label == of * 10 and row.fields["name"] == f"{of:02d}"


def test_padded_fields_stand_beside_what_a_map_on_items_made(root: Path) -> None:
    line = ps.jsonl(root / "rows.jsonl", images="image").decode().resize(8, 8)
    line = line.map(fns.relabel, on="item", geometry="keep").batch(5, pad={"ids": 5})
    batch = line.batch_at(0)
    assert batch.fields["name"][0] == batch.keys[0].upper() and batch.fields["ids"].shape == (5, 5)


def test_samples_for_torch_have_what_a_map_on_items_made(root: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    line = ps.tar(root / "shard.tar").filter(lambda item: item.index in (0, 1, 4)).decode().resize(8, 8)
    dataset = line.map(fns.relabel, on="item", geometry="keep").torch_dataset()
    assert [sample["labels"] for sample in dataset] == [0, 10, 40]
    with pytest.raises(PlanError, match=r"^torch_dataset\(\): expected items of one image each"):
        ps.jsonl(root / "several.jsonl").decode().resize(8, 8).torch_dataset()
